"""Where records come from: the emulator, files and databases, and the ways to send them."""
