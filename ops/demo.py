"""`carebell demo`: the main job on embedded parts, a town that misbehaves, and staff that handles its alarms.

With `--seconds` the town runs at 60 times real time, ends, and is compared with the truth.
"""

import asyncio
import hashlib
import secrets
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from psycopg import AsyncConnection
from rich.console import Console
from rich.live import Live

from device_sims.publish import Progress
from device_sims.town import Town
from device_sims.verify import Report, compare
from ops.children import child, write_config
from ops.common import connected, fail, run
from ops.parts import BRIDGE, TOWN, Broker, PartError, best_broker, embedded_database, free_port, scratch_dir
from ops.screen import Screen, watch
from ops.town import enter, play_with_staff, seen
from schemas.clock import SECOND, Clock
from schemas.errors import FatalError
from schemas.settings import (
    BrokerSettings,
    ClockSettings,
    DatabaseSettings,
    DutySettings,
    ListenSettings,
    Settings,
)
from schemas.topics import uplink
from store.migrate import migrate

FAST: Final = 60.0
"""Speed of a demo that ends: a second of ours is a minute of the town's."""
LEISURELY: Final = 10.0
"""Speed of a demo without end: slow enough to handle alarms by hand, fast enough that there are some."""
ENDLESS_MINUTES: Final = 60.0
"""Length of each of the towns that follow each other in a demo without end."""
LEAD: Final = 2.0
"""Real seconds between writing a town's script and its first message."""
SETTLE: Final = 3.0
"""Real seconds after the town's end before it is compared."""
OPERATOR: Final = "值班员"


@dataclass(frozen=True)
class _Stage:
    """Everything that runs, ready for a town."""

    broker: Broker
    connection: AsyncConnection
    settings: Settings
    token: str
    scratch: Path

    @property
    def clock(self) -> Clock:
        return self.settings.clock.clock()

    @property
    def desk(self) -> str:
        return f"http://{self.settings.duty.host}:{self.settings.duty.port}"

    def town(self, devices: int, minutes: float, seed: int) -> Town:
        clock = self.clock
        return Town.build(
            devices, minutes, seed, clock.now() + int(LEAD * SECOND * clock.speed), speed=clock.speed
        )


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
    Console().print(report)
    if not report.ok:
        fail("what was raised is not what the town's truth says")


async def _demo(seconds: int | None, devices: int, seed: int) -> Report:
    """Play towns: one at 60x that is compared, or one after the other for ever."""
    console = Console()
    minutes = seconds or ENDLESS_MINUTES
    async with AsyncExitStack() as stack:
        stage = await _set_up(stack, console, FAST if seconds else LEISURELY)
        await enter(stage.connection, stage.town(devices, minutes, seed))
        await _start(stack, stage)
        _say_what_it_runs_on(console, stage)
        if not seconds:
            _say_how_to_try(console, stage)
        screen = Screen(stage.settings, f"{stage.desk}/#token={stage.token}")
        with Live(screen, console=console, refresh_per_second=4):
            watching = asyncio.create_task(watch(screen, stage.connection))
            stack.callback(watching.cancel)
            while True:
                town = stage.town(devices, minutes, seed)
                failures = await _play(town, stage, screen)
                if seconds:
                    break
                seed += 1
        watching.cancel()
        console.print()
        for failure in failures:
            console.print(f"staff could not {failure}")
        return compare(town.truth, await seen(stage.connection, town.truth))


async def _set_up(stack: AsyncExitStack, console: Console, speed: float) -> _Stage:
    """Start broker and database; write the configuration of bridge and desk."""
    scratch = stack.enter_context(scratch_dir())
    try:
        with console.status("starting broker and database"):
            broker = stack.enter_context(best_broker(scratch))
            database = stack.enter_context(embedded_database(scratch))
    except PartError as error:
        raise FatalError(str(error)) from error
    token = secrets.token_urlsafe(24)
    settings = _settings(broker, database.url, token, speed)
    write_config(settings, scratch / "carebell.toml")
    connection = await stack.enter_async_context(connected(settings))
    await migrate(connection)
    return _Stage(broker, connection, settings, token, scratch)


def _settings(broker: Broker, database_url: str, token: str, speed: float) -> Settings:
    now = Clock().now() / SECOND
    return Settings(
        broker=_login(broker.url, BRIDGE),
        database=DatabaseSettings(url=database_url),
        metrics=ListenSettings(port=free_port()),
        duty=DutySettings(port=free_port(), tokens={OPERATOR: hashlib.sha256(token.encode()).hexdigest()}),
        clock=ClockSettings(origin=now, start=now, speed=speed),
    )


def _login(url: str, user: str) -> BrokerSettings:
    address = urlsplit(url)
    return BrokerSettings(
        host=address.hostname or "", port=address.port or 0, username=user, password=address.password or ""
    )


async def _start(stack: AsyncExitStack, stage: _Stage) -> None:
    """Start bridge and desk side by side, as the commands that they are in production."""
    metrics, scratch = stage.settings.metrics, stage.scratch
    config = ("--config", str(scratch / "carebell.toml"))
    bridge = child(
        "ingest", *config, ready=f"http://{metrics.host}:{metrics.port}/readyz", log=scratch / "ingest.log"
    )
    desk = child("duty", *config, ready=f"{stage.desk}/healthz", log=scratch / "duty.log")
    await asyncio.gather(stack.enter_async_context(bridge), stack.enter_async_context(desk))


async def _play(town: Town, stage: _Stage, screen: Screen) -> list[str]:
    """Play a town to its end, with its staff; return what the staff could not do."""

    def note(progress: Progress) -> None:
        screen.progress = progress

    devices = _login(stage.broker.town_url, TOWN)
    failures = await play_with_staff(town, devices, stage.clock, note, stage.desk, stage.token)
    await asyncio.sleep(max(0.0, stage.clock.seconds_until(town.truth.end)) + SETTLE)
    return failures


def _say_how_to_try(console: Console, stage: _Stage) -> None:
    """Show how to enter a device and its person by hand, let it call for help, and see whose alarm it is."""
    town = urlsplit(stage.broker.town_url)
    login = f"-h {town.hostname} -p {town.port} -u {town.username} -P {town.password}"
    topic = uplink("430602", "BELL-9001", "sos")
    lines = (
        f"export CAREBELL_CONFIG={stage.scratch / 'carebell.toml'} PATH={Path(sys.executable).parent}:$PATH",
        "carebell person import docs/examples/people.csv",
        "carebell device import docs/examples/devices.csv",
        f"mosquitto_pub -V 5 {login} -q 1 -t {topic} -m '{{}}'",
        "carebell alarm list --device BELL-9001",
    )
    console.print("by hand, in a second terminal:")
    for line in lines:
        console.print(f"    {line}", soft_wrap=True, highlight=False)


def _say_what_it_runs_on(console: Console, stage: _Stage) -> None:
    if stage.broker.keeps_sessions:
        console.print("broker    mosquitto: keeps what the bridge has not acknowledged over reconnects")
    else:
        console.print(
            "broker    rumqttd, for mosquitto is not installed: it does not keep sessions as MQTT says, so"
            " promise P1 does not hold across a reconnect of the bridge"
        )
    console.print("database  embedded PostgreSQL, native partitions (production: TimescaleDB)")
