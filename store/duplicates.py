"""Finding rows that stand already: twins within a batch, and retries of rows committed before.

A row newer than all that its device ever stored in its table cannot stand already: it goes straight to COPY.
The others are looked up by their key.
"""

from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from schemas.clock import SECOND, to_datetime, to_microseconds
from schemas.readings import CALLS, Columns
from schemas.topics import Channel
from store import sql

TABLES: Final[dict[str, tuple[Channel, ...]]] = {
    "vitals": (Channel.VITALS,),
    "heartbeats": (Channel.HEARTBEAT,),
    "activity": (Channel.ACTIVITY,),
    "events": (Channel.SOS, Channel.FALL, Channel.EVENT, Channel.STATUS),
}
"""Where the readings of each channel are kept."""

Mask = npt.NDArray[np.bool_]

RETRIES_WITHIN: Final = 600 * SECOND
"""How long after the first try a device may send the same call again as a retry, microseconds."""

_ODD, _ODDER = np.int64(0x1E3779B97F4A7C15), np.int64(0x42B2AE3D27D4EB4F)

_CALLS = [int(event) for event in CALLS]

_PLACES = {table: place for place, table in enumerate(TABLES)}
_TABLE_OF_CHANNEL = np.zeros(max(Channel) + 1, np.intp)
for _table, _channels in TABLES.items():
    _TABLE_OF_CHANNEL[list(_channels)] = _PLACES[_table]


def of_table(readings: Columns, table: str) -> Columns:
    """Return the readings that are kept in a table."""
    return np.asarray(readings[_TABLE_OF_CHANNEL[readings["channel"]] == _PLACES[table]])


def twins_within(readings: Columns) -> Mask:
    """Mark every stored reading, shape (n,), whose key an earlier one in the same batch has."""
    mixed = readings["digest"] ^ readings["ts"] * _ODD ^ readings["device_id"] * _ODDER
    mixed.sort()
    if (mixed[1:] != mixed[:-1]).all():  # equal keys mix to equal numbers: here are none
        return np.zeros(len(readings), np.bool_)
    order = np.lexsort((np.arange(len(readings)), readings["digest"], readings["ts"], readings["device_id"]))
    ordered = readings[order]
    same = np.zeros(len(readings), np.bool_)
    same[1:] = (
        (ordered["device_id"][1:] == ordered["device_id"][:-1])
        & (ordered["ts"][1:] == ordered["ts"][:-1])
        & (ordered["digest"][1:] == ordered["digest"][:-1])
    )
    twins = np.zeros(len(readings), np.bool_)
    twins[order] = same
    return np.asarray(twins & readings["stored"])


class Watermarks:
    """The newest time stored, per device and table; a device not seen yet has that of the whole history."""

    def __init__(self) -> None:
        """Start on an empty history."""
        self._floor = np.iinfo(np.int64).min
        self._marks = np.empty((0, len(TABLES)), np.int64)

    def start_above(self, newest_ts: int) -> None:
        """Take `newest_ts` for every device: nothing in the history is newer."""
        self._floor = newest_ts
        self._marks[:] = np.maximum(self._marks, newest_ts)

    def _grow(self, readings: Columns) -> None:
        size = int(readings["device_id"].max(initial=-1)) + 1
        if size > len(self._marks):
            more = max(size, len(self._marks) * 5 // 4) - len(self._marks)
            self._marks = np.append(self._marks, np.full((more, len(TABLES)), self._floor), axis=0)

    def suspects(self, readings: Columns) -> Mask:
        """Mark the readings that may stand already: not newer than the watermark."""
        self._grow(readings)
        marks = self._marks[readings["device_id"], _TABLE_OF_CHANNEL[readings["channel"]]]
        return np.asarray(readings["stored"] & (readings["ts"] <= marks))

    def raise_to(self, readings: Columns) -> None:
        """Note what was committed."""
        self._grow(readings)
        stored = np.flatnonzero(readings["stored"])
        place = readings["device_id"].astype(np.intp) * len(TABLES) + _TABLE_OF_CHANNEL[readings["channel"]]
        np.maximum.at(self._marks.reshape(-1), place[stored], readings["ts"][stored])


async def twins_stored(connection: AsyncConnection, readings: Columns) -> tuple[Mask, Mask]:
    """Ask the database which of n readings stand there, by key, and which of these are calls all the same."""
    received_before = np.zeros(len(readings), np.int64)
    tables = _TABLE_OF_CHANNEL[readings["channel"]]
    for number, table in enumerate(TABLES):
        rows = np.flatnonzero(tables == number)
        if len(rows):
            for place, at in await _standing(connection, table, readings[rows]):
                received_before[rows[place]] = to_microseconds(at)
    return np.asarray(received_before > 0), await _calls_again(connection, readings, received_before)


async def _calls_again(
    connection: AsyncConnection, readings: Columns, received_before: npt.NDArray[np.int64]
) -> Mask:
    """Mark calls for help that stand already, but are no retries: too late, or their alarm is closed.

    A device whose clock stands still gives every press the same time: it is heard all the same (promise P2).
    """
    calls = np.isin(readings["event"], _CALLS) & (received_before > 0)
    if not calls.any():
        return np.asarray(calls)
    callers = readings["device_id"][calls].tolist()
    cursor = await connection.execute(sql.load("ingest")["being_handled"], {"device_ids": callers})
    being_handled = [device_id for (device_id,) in await cursor.fetchall()]
    late = readings["received_at"] - received_before > RETRIES_WITHIN
    return np.asarray(calls & (late | ~np.isin(readings["device_id"], being_handled)))


async def _standing(connection: AsyncConnection, table: str, readings: Columns) -> list[tuple[int, datetime]]:
    """Return the places of those readings whose key is in `table`, and when the rows there were received."""
    query = SQL(
        "SELECT k.place::int - 1, t.received_at FROM unnest(%s::int[], %s::timestamptz[], %s::bigint[])"
        " WITH ORDINALITY AS k(device_id, ts, digest, place)"
        " JOIN {} t ON t.device_id = k.device_id AND t.ts = k.ts AND t.digest = k.digest"
        " WHERE t.ts BETWEEN %s AND %s"  # says nothing new, but spares all chunks of other times
    ).format(Identifier(table))
    keys = (
        readings["device_id"].tolist(),
        [to_datetime(moment) for moment in readings["ts"].tolist()],
        readings["digest"].tolist(),
        to_datetime(int(readings["ts"].min())),
        to_datetime(int(readings["ts"].max())),
    )
    return await (await connection.execute(query, keys)).fetchall()
