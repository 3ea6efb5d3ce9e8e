"""Each machine by itself, on arrays."""
