"""What a pipeline's tables say of themselves, for pages: cheap to read, and read again."""
