"""`make bench-layout`: what row order, index order, batch size and a full chunk cost a COPY.

One connection copies batches of vitals into a filled table for a few seconds in each arrangement; the shipped
one comes again at the end, for the table grows meanwhile.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.ceilings import FIRST_BATCH, batches
from bench.filling import device_ids
from bench.ground import CHANNEL, Ground, ground
from bench.machine import cpu_seconds
from bench.scale import Scale
from ops.parts import Database
from schemas.clock import SECOND
from schemas.readings import Columns
from store import copy
from tests.services import timescale_database

SHIPPED_INDEX = "(device_id, ts, digest)"
BY_TIME = "(ts, device_id, digest)"
AHEAD = timedelta(days=14)
"""Into a chunk that is empty: what the narrowest chunk interval could win at most."""


@dataclass(frozen=True)
class Arrangement:
    """How rows come, and into what."""

    batch_rows: int = 5_000
    sorted_by_device: bool = False
    index: str = SHIPPED_INDEX
    into_empty_chunk: bool = False

    def __str__(self) -> str:
        """Return it in words."""
        order = "by device" if self.sorted_by_device else "as received"
        chunk = "empty chunk" if self.into_empty_chunk else "filled chunk"
        return f"{self.batch_rows:,} rows at once, {order}, {self.index}, {chunk}"


SHIPPED = Arrangement(sorted_by_device=True)
ARRANGEMENTS = (
    *(
        replace(SHIPPED, batch_rows=n, sorted_by_device=by_device)
        for n in (500, 2_000, 5_000, 20_000)
        for by_device in (False, True)
    ),
    replace(SHIPPED, into_empty_chunk=True),
    replace(SHIPPED, index=BY_TIME, sorted_by_device=False),
    replace(SHIPPED, index=BY_TIME),
    SHIPPED,
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.layout", description=__doc__)
    parser.add_argument("--rows", type=int, default=Scale.rows, help="rows that are there before")
    parser.add_argument("--seconds", type=float, default=8.0, help="of COPY in each arrangement")
    arguments = parser.parse_args()
    console = Console(width=140)
    scale = replace(Scale(), rows=arguments.rows, trial_seconds=arguments.seconds)
    with TemporaryDirectory() as scratch, timescale_database() as database:
        asyncio.run(_measure(console, scale, database, Path(scratch)))


async def _measure(console: Console, scale: Scale, database: Database, scratch: Path) -> None:
    table = Table("arrangement", "rows/s", "CPU of the database, us/row", title=f"{scale.rows:,} rows before")
    async with ground(database, scratch, scale, console) as where:
        index = SHIPPED_INDEX
        for number, each in enumerate(ARRANGEMENTS):
            with console.status(str(each)):
                if each.index != index:
                    index = each.index
                    await where.connection.execute("DROP INDEX vitals_key")
                    await where.connection.execute(
                        f"CREATE UNIQUE INDEX vitals_key ON vitals {index}".encode()
                    )
                    await where.connection.execute("CHECKPOINT")
                table.add_row(str(each), *await _copied(where, each, FIRST_BATCH + number * 2**30))
    console.print(table)


async def _copied(where: Ground, each: Arrangement, first_batch: int) -> tuple[str, str]:
    """COPY for a while; return rows a second and microseconds of CPU a row, of the database only."""
    ids = np.random.default_rng(1).permutation(await device_ids(where.connection))  # as messages come
    began_cpu, spent, rows = cpu_seconds(where.database.pid), 0.0, 0
    for number, readings in enumerate(_arranged(each, batches(ids, each.batch_rows))):
        blocks = list(copy.encode(CHANNEL, readings, first_batch + number))
        began = time.perf_counter()
        async with where.connection.cursor() as cursor, cursor.copy(copy.statement(CHANNEL)) as stream:
            for block in blocks:
                await stream.write(block)
        spent += time.perf_counter() - began
        rows += len(readings)
        if spent >= where.scale.trial_seconds:
            break
    used = cpu_seconds(where.database.pid) - began_cpu
    return f"{rows / spent:,.0f}", f"{used / rows * 1e6:.1f}"


def _arranged(each: Arrangement, found: Iterator[Columns]) -> Iterator[Columns]:
    for readings in found:
        if each.into_empty_chunk:
            readings["ts"] += int(AHEAD.total_seconds()) * SECOND
        yield (
            readings[np.argsort(readings["device_id"], kind="stable")] if each.sorted_by_device else readings
        )


if __name__ == "__main__":
    main()
