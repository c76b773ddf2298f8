"""What every room shares, without input or output."""

__version__ = "0.1.0"
