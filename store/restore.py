"""Start-up, which is recovery: what the database says, in the order in which the line needs it."""

import logging
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from psycopg import AsyncConnection, errors

from schemas.clock import to_microseconds
from schemas.readings import ABSENT, READING, RECEIPT, VALUES, Batch, Columns, DeadLetter
from schemas.topics import Lane
from store import sql
from store.duplicates import TABLES
from store.edition import Edition
from store.migrate import require_current
from store.writer import OLDEST, Store

log = logging.getLogger(__name__)

_INGEST = sql.load("ingest")
_RESTORE = sql.load("restore")

Wanted = dict[str, int | list[int]]
"""Batches by number: first and last serve the index, the numbers themselves spare what lies between."""


async def prepare(store: Store, now: datetime, rules_text: str) -> Edition:
    """Take the lock, check the migrations, make room for the weeks around `now`, note the rules.

    From here on a batch of another bridge is noticed, also while the rest is being restored.
    """

    async def work(connection: AsyncConnection) -> Edition:
        edition = await require_current(connection)
        try:
            await edition.make_room(connection, now)
        except errors.LockNotAvailable:
            log.warning("somebody reads all the time where room is to be made; rows will lie with the strays")
        await connection.execute(_INGEST["rule_set"], {"source": rules_text})
        row = await (await connection.execute(_INGEST["newest_batch"])).fetchone()
        if row:
            store.start_at(row[0], to_microseconds(row[2]))
        else:
            store.start_at(0, OLDEST)
        return edition

    return await store.connection.run(work)


class Device(NamedTuple):
    """A row of the registry, as far as the bridge needs it."""

    device_id: int
    device: str
    model: str
    heartbeat_seconds: int | None
    self_registered: bool


async def devices(store: Store) -> AsyncIterator[list[Device]]:
    """Yield every device in parts; the highest numbers come first, so that room is made for all at once."""
    before = 2**31 - 1

    async def work(connection: AsyncConnection) -> list[Device]:
        rows = await connection.execute(_INGEST["devices"], {"before": before})
        return [Device(*row) for row in await rows.fetchall()]

    while part := await store.connection.run(work):
        yield part
        before = part[-1].device_id


async def checkpoints(store: Store) -> list[tuple[int, int, bytes]]:
    """Return the pieces of the engine's state: number, batch after which it was taken, state."""

    async def work(connection: AsyncConnection) -> list[tuple[int, int, bytes]]:
        return await (await connection.execute(_INGEST["checkpoints"])).fetchall()

    return await store.connection.run(work)


async def held_open(store: Store, kind: str) -> list[int]:
    """Return the devices whose condition of this kind holds in an open alarm."""

    async def work(connection: AsyncConnection) -> list[int]:
        rows = await connection.execute(_INGEST["held_open"], {"kind": kind})
        return [device_id for (device_id,) in await rows.fetchall()]

    return await store.connection.run(work)


class Committed(NamedTuple):
    """A row of the ledger, as far as a replay needs it."""

    number: int
    lane: Lane
    now: int
    scan: bool


async def committed(store: Store) -> list[Committed]:
    """Return the batches of which the ledger tells, oldest first."""

    async def work(connection: AsyncConnection) -> list[Committed]:
        rows = await (await connection.execute(_INGEST["ledger"])).fetchall()
        return [
            Committed(number, Lane(lane), to_microseconds(now), scan) for number, lane, now, scan, *_ in rows
        ]

    return await store.connection.run(work)


async def batches(store: Store, some: Sequence[Committed]) -> list[Batch]:
    """Return committed batches, in their order, as they were judged then.

    Of messages that were unreadable there are only dead letters, without their bytes.
    """
    numbers = [each.number for each in some]
    wanted: Wanted = {"first": numbers[0], "last": numbers[-1], "numbers": numbers}

    async def work(connection: AsyncConnection) -> list[Batch]:
        readings = np.concatenate([await _readings(connection, table, wanted) for table in TABLES])
        readings = readings[np.lexsort((readings["digest"], readings["ts"], readings["received_at"]))]
        brought_by = readings["message"].copy()
        readings["message"] = 0
        dead: dict[int, list[DeadLetter]] = {}
        for number, letter in await _dead_letters(connection, wanted):
            dead.setdefault(number, []).append(letter)
        return [
            Batch(
                each.lane,
                each.now,
                each.scan,
                readings=readings[brought_by == each.number - numbers[0]],
                dead=dead.get(each.number, []),
            )
            for each in some
        ]

    return await store.connection.run(work)


async def ledgers(store: Store) -> None:
    """Fill the store's ledgers."""

    async def work(connection: AsyncConnection) -> None:
        for number, lane, _, _, packet_ids, hashes in await (
            await connection.execute(_INGEST["ledger"])
        ).fetchall():
            ids = np.frombuffer(packet_ids, RECEIPT["packet_id"])
            store.ledgers[Lane(lane)].add(number, ids, np.frombuffer(hashes, RECEIPT["hash"]))

    await store.connection.run(work)


async def _dead_letters(connection: AsyncConnection, wanted: Wanted) -> list[tuple[int, DeadLetter]]:
    found = await (await connection.execute(_RESTORE["dead_letters"], wanted)).fetchall()
    return [
        (number, DeadLetter(to_microseconds(received_at), topic, b"", length, sha256, reason, detail, 0))
        for number, received_at, topic, length, sha256, reason, detail in found
    ]


async def _readings(connection: AsyncConnection, table: str, wanted: Wanted) -> Columns:
    """Lay rows of the history out as readings again; `message` tells the batch, counted from the first."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_RESTORE[table], wanted)
        names = [column.name for column in cursor.description or ()]
        rows = await cursor.fetchall()
    readings = np.zeros(len(rows), READING)
    readings["stored"] = readings["alive"] = True
    readings["channel"] = int(TABLES[table][0])
    readings["detail"] = -1
    for name in ("ts_sent", "seq"):
        readings[name] = ABSENT
    for name in VALUES:
        readings[name] = np.nan
    for name, column in zip(names, zip(*rows, strict=True), strict=False):
        readings[name] = column
    return readings
