"""Escalation: who is told of an alarm that nobody acknowledges, when, by which way, and what became of it."""
