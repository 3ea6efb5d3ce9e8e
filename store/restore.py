"""Start-up, which is recovery: what the database says, in the order in which the line needs it."""

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from psycopg import AsyncConnection, errors

from schemas.alarms import AREA_DEVICE
from schemas.clock import to_microseconds
from schemas.readings import ABSENT, READING, RECEIPT, VALUES, Batch, Columns, DeadLetter, Quality
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


async def prepare(store: Store, now: datetime) -> Edition:
    """Take the lock, check the migrations, make room for the weeks around `now`.

    From here on a batch of another bridge is noticed, also while the rest is being restored.
    """

    async def work(connection: AsyncConnection) -> Edition:
        edition = await require_current(connection)
        try:
            await edition.make_room(connection, now)
        except errors.LockNotAvailable:
            log.warning("somebody reads all the time where room is to be made; rows will lie with the strays")
        row = await (await connection.execute(_INGEST["newest_batch"])).fetchone()
        if row:
            store.start_at(row[0], to_microseconds(row[2]))
        else:
            store.start_at(0, OLDEST)
        return edition

    return await store.connection.run(work)


class Version(NamedTuple):
    """A rule file, word for word, and its number."""

    number: int
    text: str


async def rules_to_use(store: Store, otherwise: str) -> Version:
    """Return the rules that were applied last; without any the text given, noted as a version of its own."""

    async def work(connection: AsyncConnection) -> Version:
        row = await (await connection.execute(_INGEST["applied_rules"])).fetchone()
        if row:
            return Version(*row)
        row = await (await connection.execute(_INGEST["rules_of_settings"], {"source": otherwise})).fetchone()
        return Version(row[0] if row else 0, otherwise)

    return await store.connection.run(work)


async def rule_texts(store: Store, versions: Iterable[int]) -> list[Version]:
    """Return the rule files of these numbers, as far as there are any."""

    async def work(connection: AsyncConnection) -> list[Version]:
        rows = await connection.execute(_INGEST["rule_sources"], {"versions": list(versions)})
        return [Version(*row) for row in await rows.fetchall()]

    return await store.connection.run(work)


async def note_use(store: Store, rule_set_id: int) -> None:
    """Let it be seen which version is in force."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(_INGEST["use_rules"], {"rule_set_id": rule_set_id})

    await store.connection.run(work)


class Device(NamedTuple):
    """A row of the registry, as far as the bridge needs it; `thresholds` are the person's own.

    Nobody wears a device of `drill`: it is never missed, so all that is heard of it are calls for help.
    """

    device_id: int
    device: str
    model: str
    heartbeat_seconds: int | None
    self_registered: bool
    region: str = ""
    gateway: str = ""
    care_level: str = ""
    person: str = ""
    thresholds: dict[str, float] | None = None
    drill: bool = False
    aliases: list[str] | None = None
    clock_hours: int = 0


async def devices(store: Store) -> AsyncIterator[list[Device]]:
    """Yield every device in parts; the highest numbers come first, so that room is made for all at once."""
    before = 2**31 - 1

    async def work(connection: AsyncConnection) -> list[Device]:
        rows = await connection.execute(_INGEST["devices"], {"before": before})
        return [Device(*row) for row in await rows.fetchall()]

    while part := await store.connection.run(work):
        yield part
        before = part[-1].device_id


class Checkpoint(NamedTuple):
    """A piece of the engine's state: the batch after which it was taken, the state, the rules it is of."""

    piece: int
    batch: int
    state: bytes
    rules: int


async def checkpoints(store: Store) -> list[Checkpoint]:
    """Return the pieces of the engine's state."""

    async def work(connection: AsyncConnection) -> list[Checkpoint]:
        rows = await connection.execute(_INGEST["checkpoints"])
        return [Checkpoint(*row) for row in await rows.fetchall()]

    return await store.connection.run(work)


async def held_open(store: Store) -> dict[str, list[int]]:
    """Return the devices whose condition holds in an open alarm, by kind.

    Outages are of no device: `area_outage:<area>` says which are open. `suppressed` are the devices of which
    an alarm is.
    """

    async def work(connection: AsyncConnection) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        rows = await connection.execute(_INGEST["held_open"])
        for kind, device_id, device, suppressed in await rows.fetchall():
            found.setdefault(kind, []).append(device_id)
            if device.startswith(AREA_DEVICE):
                found[f"{kind}:{device.removeprefix(AREA_DEVICE)}"] = [device_id]
            if suppressed:
                found.setdefault("suppressed", []).append(device_id)
        return found

    return await store.connection.run(work)


async def states(store: Store, sources: Sequence[str]) -> list[tuple[str, str]]:
    """Return the states that hold, device and state; those of other sources are forgotten."""

    async def work(connection: AsyncConnection) -> list[tuple[str, str]]:
        await connection.execute(_INGEST["forget_states"], {"sources": list(sources)})
        return await (await connection.execute(_INGEST["device_states"])).fetchall()

    return await store.connection.run(work)


class Committed(NamedTuple):
    """A row of the ledger, as far as a replay needs it; `rules` is the version that judged it.

    What was no tick must not become one where nothing is left to be judged: a timer that it would let fire
    did not fire then.
    """

    number: int
    lane: Lane
    now: int
    scan: bool
    rules: int
    tick: bool
    forgiven: int | None


async def committed(store: Store) -> list[Committed]:
    """Return the batches of which the ledger tells, oldest first."""

    async def work(connection: AsyncConnection) -> list[Committed]:
        rows = await (await connection.execute(_INGEST["ledger"])).fetchall()
        return [
            Committed(
                number,
                Lane(lane),
                to_microseconds(now),
                scan,
                rules,
                tick,
                forgiven and to_microseconds(forgiven),
            )
            for number, lane, now, scan, rules, tick, forgiven, *_ in rows
        ]

    return await store.connection.run(work)


async def batches(store: Store, some: Sequence[Committed]) -> list[Batch]:
    """Return committed batches, in their order, as they were judged then; what is no tick has a receipt.

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
                receipts=np.zeros(0 if each.tick else 1, RECEIPT),
                readings=readings[brought_by == each.number - numbers[0]],
                dead=dead.get(each.number, []),
            )
            for each in some
        ]

    return await store.connection.run(work)


async def ledgers(store: Store) -> None:
    """Fill the store's ledgers."""

    async def work(connection: AsyncConnection) -> None:
        for number, lane, *_, packet_ids, hashes in await (
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
    readings["alive"] &= readings["quality"] != Quality.RETAINED
    return readings
