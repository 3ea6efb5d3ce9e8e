"""The same suite over every broker and every database edition."""
