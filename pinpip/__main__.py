"""`python -m pinpip` is `pinpip`."""

from pinpip.cli import main

main()
