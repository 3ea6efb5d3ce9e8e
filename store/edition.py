"""The two editions of the database, and all that differs between them.

TimescaleDB keeps the history in hypertables; plain PostgreSQL 16+ keeps it in native range partitions of a
week with a default one behind them, so that a row of any time has a place.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg import AsyncConnection, sql

_MARK = re.compile(r"CREATE TABLE (\w+) \((?:(?!;).)*?\) /\*PARTITION BY (\w+)\*/;", re.DOTALL)

HISTORY = {
    "vitals": "ts",
    "heartbeats": "ts",
    "activity": "ts",
    "events": "ts",
    "dead_letters": "received_at",
}
"""Tables of the history and the column that divides each."""

CHUNK = timedelta(days=7)
KEPT_BEHIND = timedelta(days=31)
KEPT_AHEAD = timedelta(days=15)

_STRAYS = "SELECT EXISTS (SELECT FROM {default} WHERE {column} >= {start} AND {column} < {end})"
_NEW_WEEK = "CREATE TABLE {week} PARTITION OF {table} FOR VALUES FROM ({start}) TO ({end})"
_NEW_WEEK_OF_STRAYS = (
    "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
    "CREATE TEMPORARY TABLE strays AS SELECT * FROM {default} WHERE {column} >= {start} AND {column} < {end}",
    "DELETE FROM {default} WHERE {column} >= {start} AND {column} < {end}",
    _NEW_WEEK,
    "INSERT INTO {week} OVERRIDING SYSTEM VALUE SELECT * FROM strays",
    "DROP TABLE strays",
)
"""Rows that came before their week was made lie in the default partition; there they forbid making it."""


@dataclass(frozen=True)
class Edition:
    """One of the two; `name` is timescale or native."""

    name: str

    def render(self, script: str) -> str:
        """Return a migration with its partition marks put into this edition's words."""
        if self.name == "timescale":
            return _MARK.sub(self._hypertable, script)
        return _MARK.sub(self._partitioned, script)

    @staticmethod
    def _hypertable(match: re.Match[str]) -> str:
        table, column = match[1], match[2]
        create = match[0].replace(f" /*PARTITION BY {column}*/", "")
        interval = f"INTERVAL '{CHUNK.days} days'"
        return (
            f"{create}\nSELECT create_hypertable('{table}', by_range('{column}', {interval}),"
            " create_default_indexes => false);"
        )

    @staticmethod
    def _partitioned(match: re.Match[str]) -> str:
        table, column = match[1], match[2]
        create = match[0].replace(f"/*PARTITION BY {column}*/", f"PARTITION BY RANGE ({column})")
        return f"{create}\nCREATE TABLE {table}_default PARTITION OF {table} DEFAULT;"

    async def make_room(self, connection: AsyncConnection, now: datetime) -> None:
        """Create the partitions of the weeks around `now`; TimescaleDB makes its own chunks."""
        if self.name == "timescale":
            return
        weeks = int(now.timestamp() // CHUNK.total_seconds())
        behind, ahead = KEPT_BEHIND // CHUNK + 1, KEPT_AHEAD // CHUNK + 1
        for table in HISTORY:
            for week in range(weeks - behind, weeks + ahead):
                await self._partition(connection, table, week)

    @staticmethod
    async def _partition(connection: AsyncConnection, table: str, week: int) -> None:
        start = datetime.fromtimestamp(week * CHUNK.total_seconds(), tz=UTC)
        name = f"{table}_{start:%Y%m%d}"
        known = await connection.execute("SELECT to_regclass(%s)", (name,))
        row = await known.fetchone()
        if row and row[0] is not None:
            return
        values = {
            "week": sql.Identifier(name),
            "table": sql.Identifier(table),
            "default": sql.Identifier(f"{table}_default"),
            "column": sql.Identifier(HISTORY[table]),
            "start": sql.Literal(start),
            "end": sql.Literal(start + CHUNK),
        }
        found = await (await connection.execute(sql.SQL(_STRAYS).format(**values))).fetchone()
        async with connection.transaction():
            for statement in _NEW_WEEK_OF_STRAYS if found and found[0] else (_NEW_WEEK,):
                await connection.execute(sql.SQL(statement).format(**values))
