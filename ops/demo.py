"""`carebell demo`: the main job on embedded parts, devices that misbehave, and staff that handles alarms.

With `--seconds` a town runs at 60 times real time, ends, and is compared with the truth; with `--scenario`
the people of a scenario live through it at its own speed, and what came of it is compared as well.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from rich.console import Console, Group
from rich.live import Live

from device_sims import scenario as scenarios
from device_sims.audit import Audit
from device_sims.district import District
from device_sims.people import day_of, midnight
from device_sims.publish import Progress
from device_sims.stream import Streamed
from device_sims.town import Town
from device_sims.verify import Report, compare
from ops.common import fail, run
from ops.district import audit, district_bar, play, show_streamed
from ops.screen import Screen, watch
from ops.stage import Stage, say_what_it_runs_on, set_up, start
from ops.town import enter, play_with_staff, seen
from schemas.clock import SECOND, Clock
from schemas.settings import ClockSettings
from schemas.topics import uplink

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
GETTING_READY: Final = 12.0
"""Real seconds before a scenario's midnight: broker, database, bridge and desk start meanwhile."""
PATIENCE: Final = 30.0
"""Real seconds for which what a scenario sent may be on its way."""


def demo(
    seconds: Annotated[
        int | None,
        typer.Option(
            "--seconds", min=6, max=3600, help="Run at 60x for so long, compare with the truth, end."
        ),
    ] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, max=3000, help="Size of the town.")] = 300,
    seed: Annotated[int, typer.Option("--seed", help="The same seed plays the same town.")] = 7,
    scenario: Annotated[
        str, typer.Option("--scenario", help="Play this instead, compare, end: see `carebell sim scenarios`.")
    ] = "",
) -> None:
    """Run broker, database, bridge, desk and simulated devices; watch alarms come and be handled.

    Example: carebell demo --seconds 40
    """
    if scenario and seconds:
        fail("--scenario has its own length: leave out --seconds", 2)
    report: Report | Audit
    report = run(_demo_scenario(scenario, seed)) if scenario else run(_demo(seconds, devices, seed))
    Console().print(report)
    if not report.ok:
        fail("what came of it is not what the truth says")


async def _demo(seconds: int | None, devices: int, seed: int) -> Report:
    """Play towns: one at 60x that is compared, or one after the other for ever."""
    console = Console()
    minutes = seconds or ENDLESS_MINUTES
    now = Clock().now() / SECOND
    async with AsyncExitStack() as stack:
        stage = await set_up(
            stack, console, ClockSettings(origin=now, start=now, speed=FAST if seconds else LEISURELY)
        )
        await enter(stage.connection, _town(stage, devices, minutes, seed))
        await start(stack, stage)
        say_what_it_runs_on(console, stage)
        if not seconds:
            _say_how_to_try(console, stage)
        screen = Screen(stage.settings, f"{stage.desk}/#token={stage.token}")
        with Live(screen, console=console, refresh_per_second=4):
            watching = asyncio.create_task(watch(screen, stage.connection))
            stack.callback(watching.cancel)
            while True:
                town = _town(stage, devices, minutes, seed)
                failures = await _play(town, stage, screen)
                if seconds:
                    break
                seed += 1
        watching.cancel()
        console.print()
        for failure in failures:
            console.print(f"staff could not {failure}")
        return compare(town.truth, await seen(stage.connection, town.truth))


async def _demo_scenario(name: str, seed: int) -> Audit:
    """Let a scenario's people live from midnight on, at its speed; return what is not as it must be."""
    console = Console()
    scenario = scenarios.load(name)
    now = Clock().now()
    begin = midnight(day_of(now))
    clock = ClockSettings(origin=now / SECOND + GETTING_READY, start=begin / SECOND, speed=scenario.speed)
    async with AsyncExitStack() as stack:
        stage = await set_up(stack, console, clock, tuple(scenario.sources))
        await enter(stage.connection, District(scenario, seed, begin))
        await start(stack, stage)
        say_what_it_runs_on(console, stage)
        console.print(f"scenario  {scenario.name} {scenario.zh}: {scenario.about}")
        district = District(scenario, seed, max(begin, stage.clock.now()))
        screen, bar = Screen(stage.settings, f"{stage.desk}/#token={stage.token}"), district_bar(console)
        line = bar.add_task(scenario.zh, total=district.end - district.start, said="")

        def note(streamed: Streamed) -> None:
            screen.progress = Progress(0, streamed.published)
            show_streamed(bar, line, streamed, district)

        with Live(Group(screen, bar), console=console, refresh_per_second=4):
            watching = asyncio.create_task(watch(screen, stage.connection))
            stack.callback(watching.cancel)
            tally = await play(district, stage.devices, stage.clock, note, stage.desk, stage.token)
        watching.cancel()
        console.print()
        return await audit(stage.connection, tally, PATIENCE)


def _town(stage: Stage, devices: int, minutes: float, seed: int) -> Town:
    clock = stage.clock
    begin = clock.now() + int(LEAD * SECOND * clock.speed)
    return Town.build(devices, minutes, seed, begin, speed=clock.speed)


async def _play(town: Town, stage: Stage, screen: Screen) -> list[str]:
    """Play a town to its end, with its staff; return what the staff could not do."""

    def note(progress: Progress) -> None:
        screen.progress = progress

    failures = await play_with_staff(town, stage.devices, stage.clock, note, stage.desk, stage.token)
    await asyncio.sleep(max(0.0, stage.clock.seconds_until(town.truth.end)) + SETTLE)
    return failures


def _say_how_to_try(console: Console, stage: Stage) -> None:
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
    address = f"{stage.desk}/#token={stage.token}"
    console.print(f"desk      {address}", soft_wrap=True, highlight=False)
    console.print("by hand, in a second terminal:")
    for line in lines:
        console.print(f"    {line}", soft_wrap=True, highlight=False)
