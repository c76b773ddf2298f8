"""What every room shares, with no input or output of its own."""

__version__ = "0.1.0"
