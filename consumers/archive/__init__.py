"""Files as a source: what a pipeline archived, and what a connector wrote, read in order."""
