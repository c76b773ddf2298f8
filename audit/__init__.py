"""Read tables and archives back and verify them."""
