"""What broker and database do alone: the line beside them can do no more than the lower of the two."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from bench.carry import Carried, Contender, carry, shown
from bench.child import Child, child
from bench.filling import device_ids
from bench.ground import APART, CHANNEL, Ground
from bench.machine import cpu_seconds
from device_sims.load import Load
from device_sims.stamp import FIRST_SEQ
from ops.parts import BRIDGE, mosquitto_broker
from schemas.readings import READING, VALUES, Columns
from schemas.settings import IngestSettings
from schemas.topics import Channel
from store import copy

FIRST_BATCH: Final = -(2**41)
"""Below 0, so that no bridge takes these rows for batches to replay; apart from those of the peers."""


@dataclass(frozen=True)
class Copied:
    """What the database alone took: rows a second, its CPU in microseconds a row."""

    batch_rows: int
    rows: int
    rate: float
    database_us: float

    def figures(self) -> dict[str, Any]:
        """Return it for the JSON."""
        return asdict(self)


async def broker_ceiling(where: Ground) -> Carried:
    """Send as many as go through the broker to a subscriber that does nothing."""
    async with _subscriber(where) as contender, shown(where, f"{contender.who}: as many as go"):
        return await carry(
            where, contender, where.load(where.scale.trial_seconds, where.scale.most), stores=False
        )


@asynccontextmanager
async def _subscriber(where: Ground) -> AsyncIterator[Contender]:
    with mosquitto_broker(where.place("ceiling")) as broker:
        login = urlsplit(broker.url).password
        settings = {"host": broker.host, "port": broker.port, "username": BRIDGE, "password": login}
        async with child("bench.subscriber", **settings) as running:
            yield Contender("broker to an empty subscriber", broker, running.pid, _counts(running))


def _counts(running: Child) -> Any:  # noqa: ANN401 - the wait that Contender names
    """Return a wait for a subscriber that has counted all messages."""

    async def arrived(_: Load, published: int) -> None:
        while await running.says() < published:
            pass

    return arrived


async def copy_ceiling(where: Ground, batch_rows: int) -> Copied:
    """COPY batches into the filled table, one transaction each; only what the database does is timed.

    The rows are those that the load's messages become, laid out as the line lays them out.
    """
    ids, connection = await device_ids(where.connection), where.connection
    began_cpu, spent, rows = cpu_seconds(where.database.pid), 0.0, 0
    statement, first_batch = copy.statement(CHANNEL), FIRST_BATCH + next(where.numbers) * 2**20
    async with shown(where, f"COPY alone, {batch_rows:,} rows at once"):
        for number, readings in enumerate(batches(ids, batch_rows)):
            blocks = list(copy.encode(CHANNEL, readings, first_batch + number))
            began = time.perf_counter()
            async with connection.cursor() as cursor, cursor.copy(statement) as stream:
                for block in blocks:
                    await stream.write(block)
            spent += time.perf_counter() - began
            rows += batch_rows
            if spent >= where.scale.trial_seconds:
                break
    used = cpu_seconds(where.database.pid) - began_cpu
    return Copied(batch_rows, rows, round(rows / spent), round(used / rows * 1e6, 1))


def batches(ids: Any, batch_rows: int) -> Iterator[Columns]:  # noqa: ANN401 - an array of ids
    """Yield for ever what so many messages of a load become: its devices take turns, now is their time."""
    first = 0
    random = np.random.default_rng()
    while True:
        number = np.arange(first, first + batch_rows)
        first += batch_rows
        now = time.time_ns() // 1_000_000
        readings = np.zeros(batch_rows, READING)
        for name in VALUES:
            readings[name] = np.nan
        readings["channel"], readings["detail"] = Channel.VITALS, -1
        readings["device_id"] = ids[number % len(ids)]
        readings["received_at"] = now * 1000 + np.arange(batch_rows)
        readings["ts_sent"], readings["ts"] = now, now * 1000
        readings["seq"] = FIRST_SEQ + number % APART
        readings["digest"] = random.integers(-(2**62), 2**62, batch_rows)
        readings["hr"], readings["spo2"], readings["worn"], readings["steps"] = 60 + number % 40, 97, 1, 1234
        yield readings


def largest_batch() -> int:
    """Return the rows of the largest batch that the line makes with the shipped settings."""
    return IngestSettings().batch_rows
