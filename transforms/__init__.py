"""From bytes to clean rows: pure functions, no input, no output, no clock."""
