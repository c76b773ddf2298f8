"""The parts that the chaos run breaks, composed."""
