"""Simulated fleets: people with devices that misbehave, and the truth of what must come of it.

Imports schemas only.
"""
