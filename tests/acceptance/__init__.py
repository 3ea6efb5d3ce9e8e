"""The real command line, a real broker, a real database."""
