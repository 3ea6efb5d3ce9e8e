"""`make bench-history`: fill a TimescaleDB with a city's history, roll it up, and time boards and desk.

Prints a table of the boards' queries and one of the desk's, and writes bench/results/<time>-history.json.
Goals: the slowest query of a board stays under 300 ms with 20 million rows of vitals and 100,000 devices, the
desk's list under 20 ms with 10 million closed alarms. The boards are timed before the alarms are filled in.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg import AsyncConnection
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.desk import Asked, ask_desk, desk_table, fill_alarms
from bench.filling import SPAN, device_name, fill
from bench.machine import RESULTS
from schemas.settings import HistorySettings
from store import boards
from store.connection import connect
from store.growth import INDEX_BYTES
from store.maintain import Maintained, maintain
from store.migrate import migrate
from tests.services import timescale_database

BANDS: Final = 5
"""Of so many devices one is a band, which sends vitals; all send heartbeats and activity."""
BEATS: Final = 30
MOVES: Final = 20
RANGES: Final = {"24 h": timedelta(days=1), "30 d": SPAN}


@dataclass(frozen=True)
class Timed:
    """A board's query over a range of time: milliseconds and the rows it returned."""

    query: str
    over: str
    p50_ms: float
    max_ms: float
    rows: int


def main() -> None:
    """Fill, maintain, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.history", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows of vitals")
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--alarms", type=int, default=10_000_000, help="closed alarms, for the desk; 0: none")
    parser.add_argument("--runs", type=int, default=5, help="times that each query is asked")
    arguments = parser.parse_args()
    console = Console(width=120)
    with timescale_database() as database:
        report = asyncio.run(
            _measure(
                console,
                database.url,
                rows=arguments.rows,
                devices=arguments.devices,
                runs=arguments.runs,
                closed=arguments.alarms,
            )
        )
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    report = {"at": now.isoformat(), "cores": os.cpu_count(), **vars(arguments), **report}
    (RESULTS / f"{now:%Y%m%dT%H%M%S}-history.json").write_text(json.dumps(report, indent=2, default=str))


async def _measure(
    console: Console, url: str, *, rows: int, devices: int, runs: int, closed: int
) -> dict[str, Any]:
    now = datetime.now(UTC)
    async with await connect(url) as connection:
        await migrate(connection, now)
        began = time.perf_counter()
        with Progress(console=console) as bar:
            wanted = {"vitals": rows, "activity": devices * MOVES, "heartbeats": devices * BEATS}
            filled = await fill(connection, bar, now, wanted, devices=devices, bands=BANDS, first_batch=1)
        filling = time.perf_counter() - began
        rolled, rolling = await _maintained(console, url, now)
        index = await _index_bytes(connection)
        timed = await _asked(connection, now, runs)
        desk, opened = await _desk(console, connection, now, closed, runs * 10)
    rolled_rows = sum(rolled.rolled_up.rows.values())
    console.print(_table(timed, rows, devices))
    console.print(
        f"filled {filled:,} rows at {filled / filling:,.0f} a second; maintained {rolled_rows:,} rows in"
        f" {rolling:.1f} s, {rolled_rows / rolling:,.0f} a second; unique index {index:.1f} bytes a row"
        f" (reckoned with {INDEX_BYTES})"
    )
    if desk:
        console.print(desk_table(desk, closed, opened))
    return {
        "filled_per_second": round(filled / filling),
        "maintained_rows": rolled_rows,
        "maintained_per_second": round(rolled_rows / rolling),
        "index_bytes_per_row": round(index, 1),
        "database_bytes": rolled.database_bytes,
        "queries": [asdict(each) for each in timed],
        "desk": [asdict(each) for each in desk],
    }


async def _desk(
    console: Console, connection: AsyncConnection, now: datetime, closed: int, runs: int
) -> tuple[list[Asked], int]:
    """Fill alarms in, ask what the desk asks, and say how many are open."""
    if not closed:
        return [], 0
    await connection.execute("RESET ROLE")
    with Progress(console=console) as bar:
        opened = await fill_alarms(connection, bar, now, closed)
    return await ask_desk(connection, now, runs), opened


async def _maintained(console: Console, url: str, now: datetime) -> tuple[Maintained, float]:
    """Run what `carebell db maintain` runs, and say how long it took."""
    began = time.perf_counter()
    with Progress(console=console) as bar:
        task = bar.add_task("maintain", total=None)
        async with await connect(url) as connection:
            done = await maintain(
                connection,
                HistorySettings(),
                now,
                lambda some, of: bar.update(task, completed=some, total=of),
            )
    assert done is not None  # noqa: S101 - nobody else is on this server
    return done, time.perf_counter() - began


async def _asked(connection: AsyncConnection, now: datetime, runs: int) -> list[Timed]:
    """Ask each of the boards' queries as their role does, over each range; the slowest first."""
    await connection.execute("VACUUM ANALYZE")
    await connection.execute(f"SET ROLE {boards.ROLE}".encode())
    timed = []
    for name, query in boards.queries().items():
        for over, length in RANGES.items():
            text = boards.expand(query, now - length, now, {"device": device_name(BANDS - 1), "person": "P1"})
            took = []
            rows: list[Any] = []
            for _ in range(runs):
                began = time.perf_counter()
                rows = await (await connection.execute(text.encode())).fetchall()
                took.append(round((time.perf_counter() - began) * 1000, 1))
            timed.append(Timed(name, over, statistics.median(took), max(took), len(rows)))
    return sorted(timed, key=lambda each: -each.max_ms)


async def _index_bytes(connection: AsyncConnection) -> float:
    """Return the bytes a row of the unique index on vitals, over its chunks."""
    row = await (
        await connection.execute(
            "SELECT sum(pg_relation_size(i.indexrelid))::float8 / (SELECT count(*) FROM vitals)"
            " FROM pg_inherits h JOIN pg_index i ON i.indrelid = h.inhrelid AND i.indisunique"
            " WHERE h.inhparent = 'vitals'::regclass"
        )
    ).fetchone()
    return float(row[0]) if row else 0.0


def _table(timed: list[Timed], rows: int, devices: int) -> Table:
    table = Table(*Timed.__dataclass_fields__, title=f"{rows:,} rows of vitals, {devices:,} devices")
    for each in timed:
        table.add_row(
            *(f"{value:,}" if not isinstance(value, str) else value for value in asdict(each).values())
        )
    return table


if __name__ == "__main__":
    main()
