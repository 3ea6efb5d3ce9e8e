"""What the parts of the bench stand on: a TimescaleDB filled once, and loads whose keys never meet.

The load's devices are those of the history, in turn, and each message is one row of `vitals`: every row goes
into the filled table, at another place of its unique index each time.
"""

import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from psycopg import AsyncConnection
from rich.console import Console
from rich.progress import Progress

from bench.filling import PREFIX, fill
from bench.scale import Scale
from device_sims.load import Load
from device_sims.stamp import FIRST_SEQ
from ops.parts import TOWN, Broker, Database
from schemas.settings import BrokerSettings
from store.connection import connect
from store.migrate import migrate

CHANNEL: Final = "vitals"
APART: Final = 20_000_000
"""Messages that one load may have: the next one's `seq` begin so much later."""

_SEQ_AND_BATCH: Final = np.dtype(
    [("fields", ">i2"), ("l1", ">i4"), ("seq", ">i8"), ("l2", ">i4"), ("batch", ">i8")]
)
_COPY_HEAD, _COPY_TAIL = 19, 2


@dataclass
class Ground:
    """A filled database and who may ask it; `scale` says how much is measured."""

    database: Database
    connection: AsyncConnection
    scratch: Path
    scale: Scale
    console: Console
    filled_per_second: float = 0.0
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Numbers that are given once, to loads and directories."""

    def load(self, seconds: float, rate: float = 0.0) -> Load:
        """Return a load with keys of its own; rate 0 is all that goes."""
        return Load(
            seconds=seconds,
            rate=rate,
            devices=self.scale.devices,
            prefix=PREFIX,
            channel=CHANNEL,
            first_seq=FIRST_SEQ + next(self.numbers) * APART,
        )

    def place(self, name: str) -> Path:
        """Return a directory that is new, for a broker or an installation."""
        found = self.scratch / f"{name}-{next(self.numbers)}"
        found.mkdir(mode=0o711)
        return found

    async def rows(self, query: str, *parameters: object) -> list[Any]:
        """Return what a query finds."""
        return await (await self.connection.execute(query.encode(), parameters)).fetchall()


@asynccontextmanager
async def ground(database: Database, scratch: Path, scale: Scale, console: Console) -> AsyncIterator[Ground]:
    """Migrate and fill a database, and leave it in the order in which a database that has run for long is."""
    connection = await connect(database.url)
    async with connection:
        found = Ground(database, connection, scratch, scale, console)
        now = datetime.now(UTC)
        await migrate(connection, now)
        began = time.perf_counter()
        with Progress(console=console, refresh_per_second=2) as bar:
            filled = await fill(connection, bar, now, {CHANNEL: scale.rows}, devices=scale.devices, bands=1)
        found.filled_per_second = filled / (time.perf_counter() - began)
        with console.status("VACUUM ANALYZE"):
            for table in ("devices", CHANNEL):
                await connection.execute(f"VACUUM ANALYZE {table}".encode())
            await connection.execute("CHECKPOINT")
        yield found


@asynccontextmanager
async def empty_ground(
    database: Database, scratch: Path, scale: Scale, console: Console
) -> AsyncIterator[Ground]:
    """Give the same with the devices only."""
    async with ground(database, scratch, replace(scale, rows=0), console) as found:
        yield found


def town(broker: Broker) -> BrokerSettings:
    """Return the login of a whole town of devices."""
    password = urlsplit(broker.town_url).password or ""
    return BrokerSettings(host=broker.host, port=broker.port, username=TOWN, password=password)


async def stored(where: Ground, load: Load, since: datetime) -> tuple[npt.NDArray[np.int64], int]:
    """Return the `seq` of every row that a load left since then, and in how many batches they came."""
    query = (
        f"COPY (SELECT seq, batch FROM {CHANNEL} WHERE ts >= '{since.isoformat()}'"
        f" AND seq >= {load.first_seq} AND seq < {load.first_seq + APART}) TO STDOUT (FORMAT binary)"
    )
    async with where.connection.cursor() as cursor, cursor.copy(query.encode()) as stream:
        raw = b"".join([bytes(block) async for block in stream])
    rows = np.frombuffer(raw[_COPY_HEAD : len(raw) - _COPY_TAIL], _SEQ_AND_BATCH)
    return rows["seq"].astype(np.int64), len(np.unique(rows["batch"]))
