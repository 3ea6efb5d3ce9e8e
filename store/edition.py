"""The two editions of the database, and all that differs between them.

TimescaleDB keeps the divided tables in hypertables and makes a chunk when a row needs it; plain PostgreSQL
16+ keeps them in native range partitions with a default one behind them: a row of any time has a place.
Both are called chunks here. Widths may be mixed: what stands is never cut, only what is missing is made.

Whoever makes or drops a chunk takes turns with the others, and waits for a lock no longer than an SOS may
wait behind him.
"""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import ClassVar, Final, TypeVar

from psycopg import AsyncConnection, errors, sql
from psycopg.types.json import Jsonb

from store.growth import WEEK, WIDTHS, gaps
from store.sql import load

T = TypeVar("T")

_MARK = re.compile(r"CREATE TABLE (\w+) \((?:(?!;).)*?\) /\*PARTITION BY (\w+)\*/;", re.DOTALL)
_QUERIES = load("history")

HISTORY: Final = {
    "vitals": "ts",
    "heartbeats": "ts",
    "activity": "ts",
    "events": "ts",
    "dead_letters": "received_at",
}
"""Tables of the history and the column that divides each."""

ROLLUPS: Final = {"vitals_hourly": "hour", "activity_daily": "day"}
"""The roll-ups and the column that divides each, always in weeks: rows go there in order of their keys."""

DIVIDED: Final = HISTORY | ROLLUPS

TRIES: Final = 10
PAUSE: Final = 0.3
"""Seconds between tries to get a lock within 50 ms: the line must not stand behind us in the queue."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a divided table, for the rows of [start, end)."""

    table: str
    schema: str
    name: str
    start: datetime
    end: datetime

    @property
    def identifier(self) -> sql.Identifier:
        """Return its name for a statement."""
        return sql.Identifier(self.schema, self.name)


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Do `work`, a transaction that takes heavy locks, until it gets them; LockNotAvailable at last."""
    for _ in range(TRIES - 1):
        try:
            return await work()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            await asyncio.sleep(PAUSE)
    return await work()


class Edition(ABC):
    """What both have in common; `named` returns one of the two."""

    name: ClassVar[str]
    behind: ClassVar[timedelta]
    ahead: ClassVar[timedelta]
    """How far back and ahead of now chunks are made; back in weeks, for little comes late."""

    @staticmethod
    def named(name: str) -> "Edition":
        """Return the edition `timescale` or `native`."""
        return Timescale() if name == Timescale.name else Native()

    def render(self, script: str) -> str:
        """Return a migration with its partition marks put into this edition's words."""
        return _MARK.sub(self._divided, script)

    async def make_room(
        self, connection: AsyncConnection, now: datetime, widths: Mapping[str, timedelta] | None = None
    ) -> list[str]:
        """Make the chunks around `now` that are missing and return their names.

        A table in `widths` gets chunks so wide: new ones are, and those ahead that are wider and still empty
        are made anew. The others stay as wide as they were.
        """
        made = []
        for table in DIVIDED:
            width = (widths or {}).get(table)
            if width is not None:
                await self._narrow(connection, table, now, width)
            own = width or await self._width(connection, table)
            made += await self._fill(connection, table, now, now + self.ahead, own)
            made += await self.make_room_back(connection, table, now - self.behind, now)
        return made

    async def make_room_back(
        self, connection: AsyncConnection, table: str, since: datetime, now: datetime
    ) -> list[str]:
        """Make the weeks of a table that are missing between `since` and now; return their names."""
        return await self._fill(connection, table, since, now, WEEK)

    async def chunks(self, connection: AsyncConnection, table: str) -> list[Chunk]:
        """Return the chunks of a table, the oldest first."""
        rows = await connection.execute(_QUERIES[f"chunks_{self.name}"], {"table": table})
        return [Chunk(*row) for row in await rows.fetchall()]

    async def drop(self, connection: AsyncConnection, chunk: Chunk, after: int | None) -> bool:
        """Drop a chunk unless it holds a row of a batch later than `after`; say whether it is gone.

        None: its rows bear no batch. Raises LockNotAvailable if it is in use whenever it is tried.
        """

        async def work() -> bool:
            async with connection.transaction():
                await connection.execute(_QUERIES["lock_room"])
                for table in self._locked_to_drop(chunk):
                    await connection.execute(
                        sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(table)
                    )
                if after is not None and await _holds_later(connection, chunk, after):
                    return False
                await self._drop(connection, chunk)
                return True

        # asked before there is a lock as well: while it is held the answer must come out of the memory
        if after is not None and await _holds_later(connection, chunk, after):
            return False
        return await patiently(work)

    async def _narrow(self, connection: AsyncConnection, table: str, now: datetime, width: timedelta) -> None:
        """Let coming chunks be so wide, and drop the empty ones ahead that are wider."""
        await self._set_width(connection, table, width)
        for chunk in await self.chunks(connection, table):
            if chunk.start > now and chunk.end - chunk.start > width:
                await self.drop(connection, chunk, after=-1)

    async def _fill(
        self, connection: AsyncConnection, table: str, start: datetime, end: datetime, width: timedelta
    ) -> list[str]:
        """Make what is missing of [start, end), each chunk in a transaction of its own; return the names."""
        made: list[str] = []

        async def one() -> bool:
            async with connection.transaction():
                await connection.execute(_QUERIES["lock_room"])
                covered = [(chunk.start, chunk.end) for chunk in await self.chunks(connection, table)]
                gap = next(gaps(covered, start, end, width), None)
                if gap is None:
                    return False
                name = await self._add(connection, table, *gap)
            made.append(name)
            return True

        while await patiently(one):
            pass
        return made

    @abstractmethod
    def _divided(self, match: re.Match[str]) -> str: ...
    @abstractmethod
    async def _width(self, connection: AsyncConnection, table: str) -> timedelta: ...
    @abstractmethod
    async def _set_width(self, connection: AsyncConnection, table: str, width: timedelta) -> None: ...
    @abstractmethod
    async def _add(self, connection: AsyncConnection, table: str, start: datetime, end: datetime) -> str: ...
    @abstractmethod
    def _locked_to_drop(self, chunk: Chunk) -> list[sql.Identifier]: ...
    @abstractmethod
    async def _drop(self, connection: AsyncConnection, chunk: Chunk) -> None: ...


class Timescale(Edition):
    """Hypertables. A late row makes its own chunk; those ahead are made so that the line need not."""

    name = "timescale"
    behind = timedelta(0)
    ahead = timedelta(days=2)

    async def make_room_back(
        self, connection: AsyncConnection, table: str, since: datetime, now: datetime
    ) -> list[str]:
        """Do nothing: an old row makes its own chunk."""
        del connection, table, since, now
        return []

    def _divided(self, match: re.Match[str]) -> str:
        table, column = match[1], match[2]
        create = match[0].replace(f" /*PARTITION BY {column}*/", "")
        return (
            f"{create}\nSELECT create_hypertable('{table}',"
            f" by_range('{column}', INTERVAL '{WEEK.days} days'), create_default_indexes => false);"
        )

    async def _width(self, connection: AsyncConnection, table: str) -> timedelta:
        row = await (await connection.execute(_QUERIES["width_timescale"], {"table": table})).fetchone()
        width: timedelta = row[0] if row else WEEK
        return width

    async def _set_width(self, connection: AsyncConnection, table: str, width: timedelta) -> None:
        if await self._width(connection, table) != width:
            await connection.execute("SELECT set_chunk_time_interval(%s::regclass, %s)", (table, width))

    async def _add(self, connection: AsyncConnection, table: str, start: datetime, end: datetime) -> str:
        """Let a row make the chunk: the Apache edition has no other way. Device 0 does not exist."""
        values: dict[str, object] = dict.fromkeys(_NUMBERS, 0) | dict.fromkeys(_TEXTS, "")
        values |= dict.fromkeys({"received_at", *DIVIDED.values()}, start.isoformat()) | {"whole": True}
        row = {
            "table": sql.Identifier(table),
            "key": sql.Identifier("dead_letter_id" if table == "dead_letters" else "device_id"),
            "column": sql.Identifier(DIVIDED[table]),
            "record": sql.SQL("NULL::{}").format(sql.Identifier(table)),
            "values": sql.Literal(Jsonb(values)),
            "start": sql.Literal(bound(table, start)),
        }
        for statement in _BY_A_ROW:
            await connection.execute(sql.SQL(statement).format(**row))
        return f"{table} from {start:%Y-%m-%d} to {end:%Y-%m-%d}"

    def _locked_to_drop(self, chunk: Chunk) -> list[sql.Identifier]:
        return [chunk.identifier]

    async def _drop(self, connection: AsyncConnection, chunk: Chunk) -> None:
        await connection.execute(
            "SELECT drop_chunks(%s::regclass, newer_than => %s, older_than => %s)",
            (chunk.table, bound(chunk.table, chunk.start), bound(chunk.table, chunk.end)),
        )


_BY_A_ROW = (
    ("INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_record({record}, {values})"),
    "DELETE FROM {table} WHERE {key} = 0 AND {column} = {start}",
)
_NUMBERS = (
    *("device_id", "dead_letter_id", "time_quality", "digest", "batch", "channel", "event", "n"),
    "payload_length",
)
_TEXTS = ("topic", "payload", "payload_sha256", "reason", "detail")


class Native(Edition):
    """Range partitions. Rows for which there is none lie in the default one until their chunk is made."""

    name = "native"
    behind = timedelta(days=31)  # the time of a row reaches back 30 days
    ahead = timedelta(days=15)  # a bridge that nobody maintains finds room for so long

    def _divided(self, match: re.Match[str]) -> str:
        table, column = match[1], match[2]
        create = match[0].replace(f"/*PARTITION BY {column}*/", f"PARTITION BY RANGE ({column})")
        return f"{create}\nCREATE TABLE {table}_default PARTITION OF {table} DEFAULT;"

    async def _width(self, connection: AsyncConnection, table: str) -> timedelta:
        """Go on as the newest chunk, which may have been cut at another: so take the next wider."""
        chunks = await self.chunks(connection, table)
        newest = chunks[-1].end - chunks[-1].start if chunks else WEEK
        return min((width for width in WIDTHS if width >= newest), default=WEEK)

    async def _set_width(self, connection: AsyncConnection, table: str, width: timedelta) -> None:
        """Do nothing: each partition says how wide it is."""

    async def _add(self, connection: AsyncConnection, table: str, start: datetime, end: datetime) -> str:
        """Make a partition beside the table, move the strays into it, and attach it.

        ATTACH locks out whoever makes or drops partitions, and of the rows those of the default one;
        CREATE TABLE ... PARTITION OF would lock out the line.
        """
        name = f"{table}_{start:%Y%m%d}"
        names = {
            "table": sql.Identifier(table),
            "chunk": sql.Identifier(name),
            "default": sql.Identifier(f"{table}_default"),
            "column": sql.Identifier(DIVIDED[table]),
            "start": sql.Literal(bound(table, start)),
            "end": sql.Literal(bound(table, end)),
        }
        for statement in _ATTACH:
            await connection.execute(sql.SQL(statement).format(**names))
        return name

    def _locked_to_drop(self, chunk: Chunk) -> list[sql.Identifier]:
        return [sql.Identifier(chunk.table), chunk.identifier]

    async def _drop(self, connection: AsyncConnection, chunk: Chunk) -> None:
        await connection.execute(sql.SQL("DROP TABLE {}").format(chunk.identifier))


_ATTACH = (
    "CREATE TABLE {chunk} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
    "LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE",
    (
        "WITH strays AS (DELETE FROM {default} WHERE {column} >= {start} AND {column} < {end} RETURNING *)"
        " INSERT INTO {chunk} SELECT * FROM strays"
    ),
    "ALTER TABLE {table} ATTACH PARTITION {chunk} FOR VALUES FROM ({start}) TO ({end})",
)


def bound(table: str, moment: datetime) -> datetime | date:
    """Return a bound of a chunk in the type of the column that divides the table."""
    return moment.date() if DIVIDED[table] == "day" else moment


async def _holds_later(connection: AsyncConnection, chunk: Chunk, after: int) -> bool:
    """Say whether a chunk of the history holds rows of batches later than `after`."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE batch > %s)").format(chunk.identifier)
    row = await (await connection.execute(query, (after,))).fetchone()
    return bool(row and row[0])
