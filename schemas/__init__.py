"""The ground floor: what messages, topics, readings, alarms and settings are. Imports nothing of carebell."""
