"""Pure tests, in milliseconds."""
