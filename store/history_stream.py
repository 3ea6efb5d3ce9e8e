"""The history as the stream that it was: in the order in which it was judged, some batches at a time.

Rows are read by the numbers of their batches, which are in that order and have an index; which batches these
are is found once, by a look at the times of all rows about the span. What is in memory is bounded by WANTED
rows, whatever the span.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from psycopg import AsyncConnection

from schemas.clock import SECOND, to_datetime, to_microseconds
from schemas.readings import (
    ABSENT,
    READING,
    TS_NEWEST,
    TS_OLDEST,
    VALUES,
    Columns,
    DeadLetter,
    Quality,
)
from store import sql
from store.copy import POSTGRES_EPOCH
from store.duplicates import TABLES
from store.restore import Device

WANTED: Final = 200_000
"""Rows that are read at once."""
MOST_BATCHES: Final = 1_000
"""That are read at once: the next ones may be as full as those before were empty."""
BLOCK: Final = 1_000
"""Batches that are read together if any of them brought something of the span."""
OLDEST: Final = TS_OLDEST + 86_400 * SECOND
NEWEST: Final = TS_NEWEST + 3_600 * SECOND
"""No row has a `ts` further than this before or after its receipt."""

_QUERIES = sql.load("backtest")
_INGEST = sql.load("ingest")
_HISTORY = sql.load("history")
_ARRAY_HEAD: Final = 20
_ELEMENT_TYPE: Final = slice(8, 12)
_WIRE: Final = {16: "u1", 20: ">i8", 21: ">i2", 23: ">i4", 700: ">f4", 1184: ">i8"}
"""Types of PostgreSQL by their numbers, as arrays bear them in the binary format."""


class Span(NamedTuple):
    """Where to read: of the batches in `parts` what was received in [since, until), microseconds.

    `region` is 6, 9 or 12 digits, or "" for all.
    """

    parts: list[range]
    since: int
    until: int
    region: str


@dataclass(frozen=True)
class Window:
    """Some of the stream: readings in order of receipt, and calls that could not be read."""

    readings: Columns
    unreadable: list[DeadLetter]


async def span(connection: AsyncConnection, since: int, until: int, region: str) -> Span:
    """Find the batches that brought what was received in [since, until); prepares the session.

    Looks at the times of all rows of the span and of the OLDEST before it, one after another.
    """
    wanted = {
        "size": BLOCK,
        "since": to_datetime(since),
        "until": to_datetime(until),
        "oldest": to_datetime(since - OLDEST),
        "newest": to_datetime(until + NEWEST),
    }
    await connection.execute(_HISTORY["own_session"])
    async with connection.transaction():
        await connection.execute(_QUERIES["read_through"])
        found = await (await connection.execute(_QUERIES["blocks"], wanted)).fetchall()
    parts: list[range] = []
    for first in sorted(block * BLOCK for (block,) in found):
        begins = parts.pop().start if parts and parts[-1].stop == first else first
        parts.append(range(begins, first + BLOCK))
    return Span(parts, since, until, region)


async def windows(connection: AsyncConnection, where: Span) -> AsyncIterator[Window]:
    """Yield the stream."""
    batches = 64
    for part in where.parts:
        first = part.start
        while first < part.stop:
            last = min(part.stop, first + batches) - 1
            window = await _read(connection, where, first, last)
            yield window
            rows = len(window.readings)
            batches = min(MOST_BATCHES, batches * 4, max(1, batches * WANTED // max(1, rows)))
            first = last + 1


async def _read(connection: AsyncConnection, where: Span, first: int, last: int) -> Window:
    wanted = {
        "first": first,
        "last": last,
        "since": to_datetime(where.since),
        "until": to_datetime(where.until),
        "region": where.region,
    }
    parts = [await _readings(connection, table, wanted) for table in TABLES]
    readings = np.concatenate(parts)
    received = readings["received_at"]
    order = np.argsort(received, kind="stable")
    if (np.diff(received[order]) == 0).any():
        order = np.lexsort((readings["digest"], readings["ts"], received))
    found = await (await connection.execute(_QUERIES["unreadable_calls"], wanted)).fetchall()
    letters = [
        DeadLetter(to_microseconds(at), topic, b"", length, sha256, reason, detail, 0)
        for at, topic, length, sha256, reason, detail in found
    ]
    return Window(readings[order], letters)


async def _readings(connection: AsyncConnection, table: str, wanted: dict[str, Any]) -> Columns:
    """Return the rows of one table as readings."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_QUERIES[table], wanted)
        names = [column.name for column in cursor.description or ()]
        result = cursor.pgresult
        columns = [result.get_value(0, place) if result else None for place in range(len(names))]
    if columns[0] is None:
        return np.empty(0, READING)
    found = {name: _array(column or b"") for name, column in zip(names, columns, strict=True)}
    readings = np.zeros(len(found["device_id"]), READING)
    readings["stored"] = readings["alive"] = True
    readings["channel"] = int(TABLES[table][0])
    readings["detail"] = -1
    for name in ("ts_sent", "seq"):
        readings[name] = ABSENT
    for name in VALUES:
        readings[name] = np.nan
    for name, column in found.items():
        readings[name] = column + POSTGRES_EPOCH if name in ("ts", "received_at") else column
    readings["alive"] &= readings["quality"] != Quality.RETAINED
    return readings


def _array(binary: bytes) -> npt.NDArray[Any]:
    """Read a one-dimensional array without nulls, as the server sends it in the binary format."""
    kind = _WIRE[int.from_bytes(binary[_ELEMENT_TYPE])]
    return np.frombuffer(binary, [("length", ">i4"), ("value", kind)], offset=_ARRAY_HEAD)["value"]


async def devices(connection: AsyncConnection) -> AsyncIterator[list[Device]]:
    """Yield every device in parts, the highest numbers first."""
    before = 2**31 - 1
    while rows := await (await connection.execute(_INGEST["devices"], {"before": before})).fetchall():
        part = [Device(*row) for row in rows]
        yield part
        before = part[-1].device_id


async def names(connection: AsyncConnection, device_ids: Sequence[int]) -> dict[int, str]:
    """Return what devices are called."""
    found = await connection.execute(_QUERIES["names"], {"device_ids": list(device_ids)})
    return dict(await found.fetchall())
