"""The vectorized engine: arrays and `now` go in, a delta comes out. No I/O, no clock, no SQL."""
