"""The line: MQTT sessions, decode, engine, commit, acknowledge, in that order."""
