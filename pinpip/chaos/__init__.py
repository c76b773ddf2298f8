"""The environment and the payloads of `pinpip chaos`."""
