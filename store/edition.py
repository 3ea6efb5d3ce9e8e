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
        await connection.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(name), sql.Identifier(table), sql.Literal(start), sql.Literal(start + CHUNK)
            )
        )
