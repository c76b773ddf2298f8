"""Reading back what sinks wrote, and proving it."""
