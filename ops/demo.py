"""`carebell demo`: the main job on embedded parts, a town that misbehaves, and staff that handles its alarms.

With `--seconds` the town runs at 60 times real time, ends, and is compared with the truth.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import httpx
import typer
from prometheus_client.parser import text_string_to_metric_families
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from device_sims.cards import REGIONS, Registration
from device_sims.publish import Progress, play
from device_sims.staff import staff
from device_sims.town import Town
from device_sims.verify import Report, compare
from duty import alarms
from ops.children import child, write_config
from ops.common import connected, fail, run
from ops.parts import BRIDGE, TOWN, Broker, best_broker, embedded_database, free_port, scratch_dir
from ops.sim import seen
from schemas.alarms import HANDLING_ZH, KINDS, SEVERITY_ZH, Handling, Severity
from schemas.clock import SECOND, Clock
from schemas.settings import (
    BrokerSettings,
    ClockSettings,
    DatabaseSettings,
    DutySettings,
    ListenSettings,
    Settings,
)
from store import sql
from store.migrate import migrate

FAST: Final = 60.0
"""Speed of a demo that ends: a second of ours is a minute of the town's."""
ENDLESS_MINUTES: Final = 60.0
SETTLE: Final = 3.0
"""Real seconds after the last message before the town is compared."""
OPERATOR: Final = "值班员"
SHOWN: Final = 12

_QUERIES = sql.load("demo")


@dataclass
class Demo:
    """What the live table shows."""

    broker: Broker
    settings: Settings
    desk: str
    speed: float
    progress: Progress = field(default_factory=lambda: Progress(0))
    open_alarms: Sequence[alarms.Alarm] = ()
    counts: dict[str, int] = field(default_factory=dict)
    latencies: tuple[float | None, float | None] = (None, None)
    metrics: dict[str, float] = field(default_factory=dict)
    rate: float = 0.0

    def __rich__(self) -> Group:
        """Draw the figures and the newest open alarms."""
        return Group(_figures(self), _alarms(self.open_alarms))


def demo(
    seconds: Annotated[
        int | None,
        typer.Option(
            "--seconds", min=6, max=3600, help="Run at 60x for so long, compare with the truth, end."
        ),
    ] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, max=3000, help="Size of the town.")] = 300,
    seed: Annotated[int, typer.Option("--seed", help="The same seed plays the same town.")] = 7,
) -> None:
    """Run broker, database, bridge, desk and a simulated town; watch alarms come and be handled.

    Example: carebell demo --seconds 40
    """
    report = run(_demo(seconds, devices, seed))
    if report is None:
        return
    Console().print(report)
    if not report.ok:
        fail("what was raised is not what the town's truth says")


async def _demo(seconds: int | None, devices: int, seed: int) -> Report | None:
    console = Console()
    speed = FAST if seconds else 1.0
    async with AsyncExitStack() as stack:
        scratch = stack.enter_context(scratch_dir())
        with console.status("starting broker and database"):
            broker = stack.enter_context(best_broker(scratch))
            database = stack.enter_context(embedded_database(scratch))
        token = secrets.token_urlsafe(24)
        settings = _settings(broker, database.url, token, speed)
        clock = settings.clock.clock()
        connection = await stack.enter_async_context(connected(settings))
        await migrate(connection)
        # The town lives by its own clock: made now, it begins when everything is up.
        await _register(
            connection, Town.build(devices, seconds or ENDLESS_MINUTES, seed, clock.now(), speed=speed)
        )
        config = write_config(settings, scratch / "carebell.toml")
        with console.status("starting bridge and desk"):
            await _start(stack, settings, config, scratch)
        desk = f"http://{settings.duty.host}:{settings.duty.port}"
        screen = Demo(broker, settings, f"{desk}/#token={token}", speed)
        with Live(screen, console=console, refresh_per_second=4):
            watching = asyncio.create_task(_watch(screen, connection))
            stack.callback(watching.cancel)
            while True:
                town = Town.build(
                    devices, seconds or ENDLESS_MINUTES, seed, clock.now() + SECOND, speed=speed
                )
                failures = await _play(town, screen, clock, desk, token)
                if seconds:
                    break
                seed += 1
            watching.cancel()
        report = compare(town.truth, await seen(connection, town.truth))
        _say_what_it_ran_on(console, screen, failures)
        return report


def _settings(broker: Broker, database_url: str, token: str, speed: float) -> Settings:
    login = urlsplit(broker.url)
    return Settings(
        broker=BrokerSettings(
            host=broker.host, port=broker.port, username=BRIDGE, password=login.password or ""
        ),
        database=DatabaseSettings(url=database_url),
        metrics=ListenSettings(port=free_port()),
        duty=DutySettings(port=free_port(), tokens={OPERATOR: hashlib.sha256(token.encode()).hexdigest()}),
        clock=_clock(speed),
    )


def _clock(speed: float) -> ClockSettings:
    now = Clock().now() / SECOND
    return ClockSettings(origin=now, start=now, speed=speed) if speed != 1.0 else ClockSettings()


async def _start(stack: AsyncExitStack, settings: Settings, config: Path, scratch: Path) -> None:
    """Start bridge and desk side by side."""
    bridge = f"http://{settings.metrics.host}:{settings.metrics.port}/readyz"
    desk = f"http://{settings.duty.host}:{settings.duty.port}/healthz"
    await asyncio.gather(
        stack.enter_async_context(
            child("ingest", "--config", str(config), ready=bridge, log=scratch / "ingest.log")
        ),
        stack.enter_async_context(
            child("duty", "--config", str(config), ready=desk, log=scratch / "duty.log")
        ),
    )


async def _register(connection: AsyncConnection, town: Town) -> None:
    """Enter the town's regions, people and devices."""
    queries = sql.load("registry")
    async with connection.transaction(), connection.cursor() as cursor:
        regions = [{"region": region, "name": name} for region, name in REGIONS.items()]
        await cursor.executemany(queries["enter_region"], regions)
        await cursor.executemany(queries["enter_device"], [_row(each) for each in town.registrations])


def _row(registration: Registration) -> dict[str, Any]:
    row = asdict(registration)
    person = row.pop("person")
    contacts = [{"rank": rank, **contact} for rank, contact in enumerate(person.pop("contacts"), 1)]
    return {**row, **person, "contacts": Jsonb(contacts)}


async def _play(town: Town, screen: Demo, clock: Clock, desk: str, token: str) -> list[str]:
    """Play a town to its end, with its staff; return what the staff could not do."""

    def note(progress: Progress) -> None:
        screen.progress = progress

    login = urlsplit(screen.broker.town_url)
    devices = BrokerSettings(
        host=screen.broker.host, port=screen.broker.port, username=TOWN, password=login.password or ""
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(play(town, devices, clock, note))
        working = group.create_task(staff(town.truth, desk, token, clock))
    await asyncio.sleep(max(0.0, clock.seconds_until(town.truth.end)) + SETTLE)
    return working.result()


async def _watch(screen: Demo, connection: AsyncConnection) -> None:
    """Refresh the figures each second."""
    url = f"http://{screen.settings.metrics.host}:{screen.settings.metrics.port}/metrics"
    async with httpx.AsyncClient(timeout=5) as client:
        while True:
            before = screen.metrics.get("carebell_messages_received_total", 0.0)
            screen.metrics = _sums((await client.get(url)).text)
            screen.rate = screen.metrics.get("carebell_messages_received_total", 0.0) - before
            screen.open_alarms = await alarms.list_alarms(connection, "open", limit=SHOWN)
            rows = await (await connection.execute(_QUERIES["counts"])).fetchall()
            screen.counts = dict(rows)
            row = await (
                await connection.execute(_QUERIES["latencies"], _clock_parameters(screen))
            ).fetchone()
            screen.latencies = (row[0], row[1]) if row else (None, None)
            await asyncio.sleep(1.0)


def _clock_parameters(screen: Demo) -> dict[str, float]:
    clock = screen.settings.clock
    return {"origin": clock.origin, "start": clock.start, "speed": clock.speed}


def _sums(text: str) -> dict[str, float]:
    """Sum each metric over its labels."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def _figures(screen: Demo) -> Table:
    seen_metrics = screen.metrics
    commits = seen_metrics.get("carebell_commit_seconds_count", 0.0)
    mean = seen_metrics.get("carebell_commit_seconds_sum", 0.0) / commits * 1000 if commits else 0.0
    p50, p99 = screen.latencies
    table = Table.grid(padding=(0, 2))
    table.add_row("desk 值班台", Text(screen.desk, style="bold cyan"))
    table.add_row(
        "messages", f"{screen.progress.sent} of {screen.progress.total} sent, {screen.rate:.0f}/s received"
    )
    table.add_row(
        "accounts",
        ", ".join(
            f"{name} {seen_metrics.get(f'carebell_messages_{name}_total', 0):.0f}"
            for name in ("received", "stored", "duplicate", "dead", "ignored")
        ),
    )
    table.add_row("alarms", f"{screen.counts.get('open', 0)} open, {screen.counts.get('closed', 0)} closed")
    table.add_row("life alarm, received to committed", f"p50 {_ms(p50)}, p99 {_ms(p99)}")
    table.add_row("transaction", f"mean {mean:.1f} ms")
    return table


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{float(seconds) * 1000:.0f} ms"


def _alarms(found: Sequence[alarms.Alarm]) -> Table:
    table = Table("级别", "类型", "老人", "设备", "次数", "状态", title="待处理告警", title_justify="left")
    for alarm in found:
        table.add_row(
            SEVERITY_ZH[Severity(alarm.severity)],
            KINDS[alarm.kind].zh,
            Text(alarm.person),
            Text(alarm.device),
            str(alarm.count),
            HANDLING_ZH[Handling(alarm.handling)],
        )
    return table


def _say_what_it_ran_on(console: Console, screen: Demo, failures: Sequence[str]) -> None:
    for failure in failures:
        console.print(f"staff: {failure}")
    if screen.broker.keeps_sessions:
        console.print("broker: mosquitto, keeps what the bridge has not acknowledged over reconnects")
    else:
        console.print(
            "broker: rumqttd (mosquitto is not installed); it forgets a session on disconnect, so promise P1"
            " does not hold across a reconnect of the bridge"
        )
    console.print("database: embedded PostgreSQL, native partitions (TimescaleDB in production)")
