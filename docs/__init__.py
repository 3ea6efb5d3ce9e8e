"""Documents, and beside them what generates some of them."""
