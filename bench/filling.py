"""Fill a database with a city's history: registry, alarms, and readings by the million, by COPY."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from psycopg import AsyncConnection
from rich.progress import Progress

from device_sims.stamp import NUMBER_DIGITS
from schemas.clock import to_microseconds
from schemas.readings import ABSENT, READING, VALUES, Columns
from schemas.topics import Channel
from store import copy

BATCH: Final = 5_000
SPAN: Final = timedelta(days=30)
ROOMS: Final = np.array([b"bedroom", b"kitchen", b"toilet"])
PREFIX: Final = "DEVICE-"

Senders = npt.NDArray[np.int64]
"""Ids of devices, shape (n,)."""


def device_name(number: int) -> str:
    """Return the name of the device of this number, from 0, as device_sims.load names those of a load."""
    return f"{PREFIX}{number:0{NUMBER_DIGITS}d}"


async def fill(
    connection: AsyncConnection,
    bar: Progress,
    now: datetime,
    wanted: Mapping[str, int],
    *,
    devices: int,
    bands: int,
    first_batch: int | None = None,
) -> int:
    """Fill registry, alarms, and history with so many rows a table; return the rows of the history.

    Of `bands` devices one sends vitals; all send the rest. Batches are numbered from `first_batch` on; None:
    so that they end at 0, and a bridge which starts here has nothing to replay.
    """
    # events bear the first number and the ledger has only the last: no restore shall read them all
    batches = 1 + max(1, sum(-(-count // BATCH) for count in wanted.values()))
    first = 1 - batches if first_batch is None else first_batch
    for name, value in {"devices": devices, "bands": bands, "now": now, "batch": first}.items():
        await connection.execute("SELECT set_config('bench.' || %s, %s, false)", (name, str(value)))
    await connection.execute(Path(__file__).with_name("history.sql").read_bytes())
    ids = await device_ids(connection)
    random = np.random.default_rng(1)
    span = to_microseconds(now - SPAN), to_microseconds(now)
    batch, filled = first, 0
    task = bar.add_task("rows", total=sum(wanted.values()))
    for table, count in wanted.items():
        senders = ids[bands - 1 :: bands] if table == "vitals" else ids
        for readings in _readings(random, table, senders, span, count):
            rooms = ROOMS[random.integers(0, len(ROOMS), len(readings))] if table == "activity" else None
            async with connection.cursor() as cursor, cursor.copy(copy.statement(table)) as stream:
                for block in copy.encode(table, readings, batch, rooms):
                    await stream.write(block)
            batch += 1
            filled += len(readings)
            bar.update(task, completed=filled)
    await connection.execute(
        "INSERT INTO ingest_ledger (batch, run, lane, now, scan, newest_ts, packet_ids, hashes)"
        " VALUES (%s, gen_random_uuid(), 1, %s, true, %s, '', '')",
        (first + batches - 1, now, now),
    )
    return filled


async def device_ids(connection: AsyncConnection) -> Senders:
    """Return the ids of the filled devices, in the order of their numbers."""
    rows = await connection.execute(
        "SELECT device_id FROM devices WHERE starts_with(device, %s) ORDER BY device", (PREFIX,)
    )
    return np.array([device_id for (device_id,) in await rows.fetchall()])


def _readings(
    random: np.random.Generator, table: str, senders: Senders, span: tuple[int, int], count: int
) -> Iterator[Columns]:
    """Yield `count` readings in batches, in order of time: the senders take turns, some are a little late."""
    start, end = span
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        number = np.arange(first, first + size)
        readings = np.zeros(size, READING)
        for name in ("ts_sent", "seq"):
            readings[name] = ABSENT
        for name in VALUES:
            readings[name] = np.nan
        readings["received_at"] = start + number * ((end - start) // count)
        readings["ts"] = readings["received_at"] - random.integers(0, 30_000_000, size)
        readings["device_id"] = senders[number % len(senders)]
        readings["digest"] = random.integers(-(2**62), 2**62, size)
        _measure_values(random, table, readings, size)
        yield readings


def _measure_values(random: np.random.Generator, table: str, readings: Columns, size: int) -> None:
    """Give each kind of reading values as its devices measure them."""
    if table == "vitals":
        readings["channel"] = Channel.VITALS
        readings["hr"] = random.normal(72, 8, size).round()
        readings["spo2"] = random.normal(97, 1, size).round()
        readings["temp"] = random.normal(36.5, 0.2, size).round(1)
        readings["worn"] = 1
        readings["steps"] = random.integers(0, 8000, size)
        pressed = random.random(size) < 0.1
        readings["sbp"][pressed], readings["dbp"][pressed] = 135, 82
    elif table == "activity":
        readings["channel"] = Channel.ACTIVITY
        readings["motion"] = random.random(size) < 0.7
    else:
        readings["channel"] = Channel.HEARTBEAT
        readings["battery"] = random.integers(5, 101, size)
        readings["rssi"] = random.integers(-100, -50, size)
