"""Start-up, which is recovery: what the database says, in the order in which the line needs it."""

import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from psycopg import AsyncConnection, errors
from psycopg.rows import dict_row

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


async def devices(store: Store) -> list[Device]:
    """Return every device."""

    async def work(connection: AsyncConnection) -> list[Device]:
        rows = await (await connection.execute(_INGEST["devices"])).fetchall()
        return [Device(*row) for row in rows]

    return await store.connection.run(work)


async def checkpoint(store: Store) -> tuple[int, bytes | None]:
    """Return the newest checkpoint of the engine and the batch after which it was taken."""

    async def work(connection: AsyncConnection) -> tuple[int, bytes | None]:
        row = await (await connection.execute(_INGEST["checkpoint"])).fetchone()
        return (row[0], row[2]) if row else (0, None)

    return await store.connection.run(work)


async def held_open(store: Store, kind: str) -> list[int]:
    """Return the devices whose condition of this kind holds in an open alarm."""

    async def work(connection: AsyncConnection) -> list[int]:
        rows = await connection.execute(_INGEST["held_open"], {"kind": kind})
        return [device_id for (device_id,) in await rows.fetchall()]

    return await store.connection.run(work)


async def batches_after(store: Store, batch: int) -> list[Batch]:
    """Return what was committed after a batch, oldest first, as it was judged then.

    Of messages that were unreadable there are only dead letters, without their bytes.
    """

    async def work(connection: AsyncConnection) -> list[Batch]:
        ledger = await (await connection.execute(_INGEST["ledger"])).fetchall()
        rows = [row for table in TABLES async for row in _rows(connection, table, batch)]
        rows.sort(key=lambda row: (row["batch"], row["received_at"], row["ts"], row["digest"]))
        by_batch: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            by_batch.setdefault(row["batch"], []).append(row)
        dead: dict[int, list[DeadLetter]] = {}
        for number, letter in await _dead_letters(connection, batch):
            dead.setdefault(number, []).append(letter)
        return [
            Batch(
                Lane(lane),
                to_microseconds(now),
                scan,
                readings=_columns(by_batch.get(number, [])),
                dead=dead.get(number, []),
            )
            for number, lane, now, scan, _, _ in ledger
            if number > batch
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


async def _rows(connection: AsyncConnection, table: str, batch: int) -> AsyncIterator[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_RESTORE[table], {"batch": batch})
        async for row in cursor:
            yield {"channel": int(TABLES[table][0]), "event": 0, "alive": True, **row}


async def _dead_letters(connection: AsyncConnection, batch: int) -> list[tuple[int, DeadLetter]]:
    found = await (await connection.execute(_RESTORE["dead_letters"], {"batch": batch})).fetchall()
    return [
        (number, DeadLetter(to_microseconds(received_at), topic, b"", length, sha256, reason, detail, 0))
        for number, received_at, topic, length, sha256, reason, detail in found
    ]


def _columns(rows: list[dict[str, Any]]) -> Columns:
    """Lay rows of the history out as readings again."""
    readings = np.zeros(len(rows), READING)
    readings["stored"] = True
    readings["detail"] = -1
    for name in ("ts_sent", "seq"):
        readings[name] = ABSENT
    for name in ("device_id", "channel", "event", "alive"):
        readings[name] = [row[name] for row in rows]
    readings["quality"] = [row["time_quality"] for row in rows]
    for name in ("ts", "received_at"):
        readings[name] = [to_microseconds(row[name]) for row in rows]
    for name in VALUES:
        readings[name] = [row.get(name) for row in rows]
    return readings
