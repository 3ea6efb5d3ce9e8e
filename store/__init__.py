"""The database: SQL files, migrations, the two editions, and the one writer of the line."""
