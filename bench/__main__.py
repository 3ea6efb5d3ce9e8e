"""`make bench`: a burst through the whole line, on mosquitto and TimescaleDB and on embedded parts.

Prints one table and writes bench/results/<time>.json. Load generator, broker, database and bridge share this
machine's cores.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from device_sims.burst import burst
from device_sims.load import Load
from ops.parts import (
    Broker,
    Database,
    PartError,
    embedded_database,
    iotcore_broker,
    mosquitto_broker,
    scratch_dir,
)
from tests.installation import Installation, installation, until
from tests.mqtt import Client
from tests.services import timescale_database

RESULTS: Final = Path(__file__).with_name("results")
TICKS: Final = os.sysconf("SC_CLK_TCK")
SOS_EVERY: Final = 0.1
DRAIN_WITHIN: Final = 60.0
POLL: Final = 0.5
EMBEDDED_RATE: Final = 10_000.0
"""rumqttd takes any flood and silently drops what it cannot hand on in time, so it is paced."""


@dataclass(frozen=True)
class Row:
    """One setting's figures: rates in messages a second, CPU in microseconds a message, latencies in ms."""

    parts: str
    devices: int
    seconds: float
    published_rate: float
    stored_rate: float
    lost: int
    double: int
    bridge_us: float
    broker_us: float
    database_us: float
    load_us: float
    sos_p50_ms: float
    sos_p99_ms: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the burst")
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second; 0: as many as go")
    parser.add_argument("--devices", type=int, default=5_000)
    arguments = parser.parse_args()
    load = Load(seconds=arguments.seconds, rate=arguments.rate, devices=arguments.devices, channel="mix")
    console = Console(width=160)
    rows = []
    for name, rate in (("mosquitto + TimescaleDB", 0.0), ("rumqttd + PostgreSQL, embedded", EMBEDDED_RATE)):
        with console.status(name):
            try:
                rows.append(_measure(name, replace(load, rate=load.rate or rate)))
            except PartError as error:
                console.print(f"{name}: not measured: {error}")
    console.print(_table(rows))
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    report = {"at": now.isoformat(), "cores": os.cpu_count(), "rows": [asdict(row) for row in rows]}
    (RESULTS / f"{now:%Y%m%dT%H%M%S}.json").write_text(json.dumps(report, indent=2))


def _measure(name: str, load: Load) -> Row:
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_dir())
        if name.startswith("mosquitto"):
            broker, database = mosquitto_broker(scratch), timescale_database()
        else:
            broker, database = iotcore_broker(scratch), embedded_database(scratch)
        return asyncio.run(
            _burst(name, load, stack.enter_context(broker), stack.enter_context(database), scratch)
        )


async def _burst(name: str, load: Load, broker: Broker, database: Database, scratch: Path) -> Row:
    """Send the load beside an SOS each tenth of a second, wait until all is stored, and count by key."""
    async with installation(broker, database.url, scratch) as installed:
        await installed.start()
        pids = {"bridge": installed.bridge_pid, "broker": broker.pid, "database": database.pid}
        before = {part: _cpu(pid) for part, pid in pids.items()}
        began = time.perf_counter()
        calling = asyncio.create_task(asyncio.to_thread(_call_for_help, broker, load.seconds))
        outcome = await burst(installed.town, load)
        await _drained(installed, outcome.acked)
        took = time.perf_counter() - began
        pressed = await calling
        used = {part: _cpu(pid) - before[part] for part, pid in pids.items()}
        latencies = await _latencies(installed, pressed)
        distinct, total = await _stored(installed, "count(DISTINCT (device_id, seq))", "count(*)")
        each = {part: round(seconds / outcome.acked * 1e6, 1) for part, seconds in used.items()}
        return Row(
            parts=name,
            devices=load.devices,
            seconds=round(took, 1),
            published_rate=round(outcome.rate),
            stored_rate=round(outcome.acked / took),
            lost=outcome.acked - distinct,
            double=total - distinct,
            bridge_us=each["bridge"],
            broker_us=each["broker"],
            database_us=each["database"],
            load_us=round(outcome.cpu_seconds / outcome.acked * 1e6, 1),
            sos_p50_ms=latencies[len(latencies) // 2],
            sos_p99_ms=latencies[len(latencies) * 99 // 100],
        )


def _call_for_help(broker: Broker, seconds: float) -> list[tuple[int, float]]:
    """Press a button of its own each tenth of a second; return seq and moment of each press."""
    pressed = []
    with Client(broker.town_url) as device:
        for seq in range(int(seconds / SOS_EVERY)):
            pressed.append((seq, time.time()))
            device.publish(f"carebell/v1/430602/SOS-{seq:05d}/sos", json.dumps({"seq": seq}))
            time.sleep(SOS_EVERY)
    return pressed


async def _drained(installed: Installation, wanted: int) -> None:
    """Wait until so many rows of the load are stored."""

    async def look() -> int:
        await asyncio.sleep(POLL)
        return (await _stored(installed, "count(*)"))[0]

    await until(look, wanted.__le__, DRAIN_WITHIN)


async def _stored(installed: Installation, *what: str) -> tuple[int, ...]:
    """Return aggregates over the load's rows in the history."""
    tables = " UNION ALL ".join(
        f"SELECT device_id, seq FROM {t}" for t in ("vitals", "heartbeats", "activity")
    )
    rows = await installed.rows(f"SELECT {', '.join(what)} FROM ({tables}) AS rows")
    return tuple(rows[0])


async def _latencies(installed: Installation, pressed: list[tuple[int, float]]) -> list[float]:
    """Return, sorted, the milliseconds from each press to the commit of its alarm."""
    rows = await installed.rows(
        "SELECT seq, extract(epoch FROM committed_at)::float8 FROM alarms JOIN events USING (device_id)"
    )
    committed = dict(rows)
    return sorted(round((committed[seq] - at) * 1000, 1) for seq, at in pressed if seq in committed)


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process and its living and finished children."""
    return sum(_own_cpu(each) for each in _family(pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _family(int(child))


def _own_cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS


def _table(rows: list[Row]) -> Table:
    """Show each figure as a line, each setting as a column."""
    table = Table(
        "", *(row.parts for row in rows), title=f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores"
    )
    for figure in list(Row.__dataclass_fields__)[1:]:
        table.add_row(figure, *(f"{getattr(row, figure):,}" for row in rows))
    return table


if __name__ == "__main__":
    main()
