"""Measurements: real parts, one run, ratios rather than single times. Not a test: nothing is asserted."""
