"""`carebell sim`: play simulated devices, compare what came of it, load a broker."""

import json
import math
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from device_sims.audit import Audit
from device_sims.district import District
from device_sims.load import MOST_IN_FLIGHT, Load, Outcome
from device_sims.publish import Progress as Played
from device_sims.scenario import Scenario, names
from device_sims.scenario import load as load_scenario_named
from device_sims.stamp import FIRST_SEQ
from device_sims.stream import Streamed
from device_sims.tally import Tally
from device_sims.town import Town
from device_sims.truth import Truth, plain
from device_sims.verify import Report, compare
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.crowd import gather, send
from ops.district import audit, district_bar, play, show_streamed
from ops.town import enter, play_with_staff, seen
from schemas.clock import SECOND
from schemas.errors import UsageError
from schemas.settings import BrokerSettings, Settings

app = typer.Typer(
    no_args_is_help=True, help="Play simulated devices with people behind them, and load a broker."
)

LEAD: Final = 2 * SECOND
"""Real time between building a town and its first message."""

_Devices = Annotated[int, typer.Option("--devices", min=1, help="How many devices the town has.")]
_Minutes = Annotated[
    float,
    typer.Option("--minutes", min=0, max=10_000, help="How long it lives, in minutes of the clock."),
]
_Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same town.")]
_Prefix = Annotated[str, typer.Option("--prefix", help="What device names begin with.")]
_TruthOption = Annotated[
    Path, typer.Option("--truth", help="The file of what was sent and what must come of it.")
]
_ScenarioOption = Annotated[
    str,
    typer.Option("--scenario", help="Play this scenario instead of a town: `sim scenarios`, or a TOML file."),
]
_Username = Annotated[str, typer.Option("--username", help="The broker's user. [default: broker.username]")]
_Password = Annotated[
    str,
    typer.Option(
        "--password", envvar="CAREBELL_SIM_PASSWORD", help="Its password. [default: broker.password]"
    ),
]
_To = Annotated[
    str, typer.Option("--to", help="The broker's host as configured: needed where it is another machine.")
]


def load_scenario(name: str) -> Scenario:
    """Read a scenario; exit with code 2 and a sentence for each wrong key."""
    try:
        return load_scenario_named(name)
    except UsageError as error:
        fail(str(error), 2)


@app.command()
def scenarios(as_json: JsonOption = False) -> None:
    """List the scenarios that ship.

    Example: carebell sim scenarios
    """
    found = [load_scenario(name) for name in names()]
    if as_json:
        listed = [
            {"name": each.name, "zh": each.zh, "people": each.people, "devices": each.devices}
            | {"hours": each.hours, "speed": each.speed, "about": each.about}
            for each in found
        ]
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    table = Table("scenario", "名称", "people", "devices", "hours", "speed", "what happens")
    for each in found:
        figures = (each.people, each.devices, f"{each.hours:g}", f"{each.speed:g}x")
        table.add_row(each.name, each.zh, *map(str, figures), each.about)
    Console().print(table)


@app.command()
def register(
    devices: _Devices = 300,
    minutes: _Minutes = 40,
    seed: _Seed = 7,
    prefix: _Prefix = "",
    scenario: _ScenarioOption = "",
    config: ConfigOption = None,
) -> None:
    """Enter the devices and people of a town, or a scenario, into the registry.

    Give `run` the same options afterwards.

    Example: carebell sim register --devices 300 --minutes 40 --seed 7
    """
    settings = load_settings(config)
    if scenario:
        count = run(_register_district(settings, load_scenario(scenario), seed, prefix))
    else:
        count = run(_register(settings, devices, minutes, seed, prefix))
    typer.echo(f"{count} devices entered")


@app.command("run")
def run_town(
    truth: _TruthOption,
    devices: _Devices = 300,
    minutes: _Minutes = 40,
    seed: _Seed = 7,
    prefix: _Prefix = "",
    desk: Annotated[
        str, typer.Option("--desk", help="The desk's address. [default: duty.host and duty.port]")
    ] = "",
    token: Annotated[
        str,
        typer.Option(
            "--token", envvar="CAREBELL_SIM_TOKEN", help="A token of the desk; without it, no staff acts."
        ),
    ] = "",
    username: _Username = "",
    password: _Password = "",
    scenario: _ScenarioOption = "",
    hours: Annotated[
        float | None,
        typer.Option("--hours", min=0.1, max=10_000, help="Play so much of the scenario. [default: all]"),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Play a town, or a scenario, on the clock of the settings, and write down what must come of it.

    Example: carebell sim run --devices 300 --minutes 40 --seed 7 --truth town.json
    """
    if hours and not scenario:
        fail("--hours is for a --scenario; a town has --minutes", 2)
    settings = load_settings(config)
    address = desk or f"http://{settings.duty.host}:{settings.duty.port}"
    login = _login(settings, username, password)
    _make_room(truth)
    if scenario:
        wanted = load_scenario(scenario)
        wanted = wanted.model_copy(update={"hours": hours or wanted.hours})
        tally = run(_run_scenario(settings, login, (wanted, seed, prefix), address, token))
        tally.write(truth)
        typer.echo(f"{truth}: {tally.published} messages, {sum(tally.causes.values())} calls for help")
        return
    town, failures = run(_run(settings, login, (devices, minutes, seed, prefix), address, token))
    town.truth.write(truth)
    typer.echo(f"{truth}: {len(town.truth.sent)} messages, {len(town.truth.expected)} alarms expected")
    for failure in failures:
        typer.echo(f"the staff could not {failure}", err=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def verify(
    truth: _TruthOption,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", min=0, help="Seconds without news before what is missing counts as lost (scenarios)."
        ),
    ] = 30,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Compare what the database holds with what must have come of a run; exit with 1 on any difference.

    Example: carebell sim verify --truth town.json
    """
    report = run(_verify(load_settings(config), truth, wait))
    if as_json:
        typer.echo(json.dumps(plain(report) | {"ok": report.ok}, indent=2, ensure_ascii=False))
    else:
        Console().print(report)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def burst(
    count: Annotated[
        int, typer.Option("--count", min=0, help="How many messages; 0: as --seconds says.")
    ] = 0,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="For how long; 0: as --count says.")] = 0,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Messages a second; 0: as many as go.")] = 0,
    devices: Annotated[int, typer.Option("--devices", min=1, help="How many devices take turns.")] = 1000,
    channel: Annotated[str, typer.Option("--channel", help="vitals, heartbeat, activity or mix.")] = "vitals",
    with_ts: Annotated[bool, typer.Option(help="Whether messages bear the device's time.")] = True,
    prefix: Annotated[str, typer.Option("--prefix", help="What device names begin with.")] = "LOAD-",
    window: Annotated[
        int, typer.Option("--window", min=1, max=MOST_IN_FLIGHT, help="How many may be in flight.")
    ] = 10_000,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="Write (device, seq) of what was taken over.")
    ] = None,
    username: _Username = "",
    password: _Password = "",
    to: _To = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send messages at QoS 1 as fast as the broker takes them; exit with 1 if it did not take all.

    Example: carebell sim burst --count 100000 --devices 5000 --channel mix
    """
    settings = load_settings(config)
    wanted = Load(count, seconds, rate, devices, with_ts, prefix, "430602", channel, window, _first_seq())
    outcome = run(send(_login(settings, username, password), wanted, settings.clock.clock(), to=to))
    if keys:
        keys.write_text(json.dumps(sorted(outcome.keys())), encoding="utf-8")
    _tell(outcome, as_json)
    if outcome.acked < outcome.sent:
        fail(f"{outcome.sent - outcome.acked} messages were not taken over {outcome.lost}".rstrip())
    if outcome.lost:
        fail(f"the connection died before the end: {outcome.lost}")


@app.command("load")
def load_broker(
    connections: Annotated[
        int, typer.Option("--connections", min=1, help="How many devices, each on a connection of its own.")
    ] = 1000,
    every: Annotated[
        float | None, typer.Option("--every", help="Seconds between messages of a device; 60 without --rate.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Instead: messages a second of all devices; 0: as many as go."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", help="For how long, once all have had their turn to connect.")
    ] = 60,
    count: Annotated[
        int, typer.Option("--count", min=0, help="End after so many messages; 0: as --seconds says.")
    ] = 0,
    ramp: Annotated[float, typer.Option("--ramp", help="Connections opened in a second.")] = 500,
    channel: Annotated[
        str, typer.Option("--channel", help="heartbeat, vitals, activity or mix.")
    ] = "heartbeat",
    with_ts: Annotated[bool, typer.Option(help="Whether messages bear the device's time.")] = True,
    prefix: Annotated[str, typer.Option("--prefix", help="What device names begin with.")] = "LOAD-",
    window: Annotated[
        int, typer.Option("--window", min=1, max=MOST_IN_FLIGHT, help="How many may be in flight in all.")
    ] = 10_000,
    own_logins: Annotated[
        bool,
        typer.Option("--own-logins", help="Each device logs in by its own name, all with one password."),
    ] = False,
    username: _Username = "",
    password: _Password = "",
    to: _To = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Keep many devices connected that send at QoS 1; exit with 1 if one or a message is missing in the end.

    Example: carebell sim load --connections 15000 --every 60 --ramp 500 --seconds 120
    """
    settings = load_settings(config)
    wanted = Load(
        count=count,
        seconds=seconds,
        rate=_rate(connections, every, rate),
        devices=connections,
        with_ts=with_ts,
        prefix=prefix,
        channel=channel,
        window=window,
        first_seq=_first_seq(),
    )
    broker = _login(settings, username, password)
    figures = run(gather(broker, wanted, settings.clock.clock(), to=to, ramp=ramp, own_logins=own_logins))
    if as_json:
        typer.echo(json.dumps(figures.plain()))
    else:
        Console().print(figures)
    if figures.fault:
        fail(figures.fault)


def _make_room(truth: Path) -> None:
    """See before a long run that its truth can be written; exit with code 2 if not."""
    try:
        truth.open("ab").close()
    except OSError as error:
        fail(f"--truth {truth}: {error.strerror}", 2)


async def _register(settings: Settings, devices: int, minutes: float, seed: int, prefix: str) -> int:
    clock = settings.clock.clock()
    town = Town.build(devices, minutes, seed, clock.now(), speed=clock.speed, prefix=prefix)
    async with connected(settings) as connection:
        return await enter(connection, town)


async def _run(
    settings: Settings, broker: BrokerSettings, shape: tuple[int, float, int, str], desk: str, token: str
) -> tuple[Town, list[str]]:
    """Build the town that begins in a moment, and let devices and staff play their parts."""
    clock = settings.clock.clock()
    devices, minutes, seed, prefix = shape
    start = clock.now() + int(LEAD * clock.speed)
    town = Town.build(devices, minutes, seed, start, speed=clock.speed, duty=bool(token), prefix=prefix)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        line = bar.add_task("messages", total=len(town.sends))

        def on_progress(played: Played) -> None:
            bar.update(line, completed=played.acknowledged)

        return town, await play_with_staff(town, broker, clock, on_progress, desk, token)


async def _register_district(settings: Settings, scenario: Scenario, seed: int, prefix: str) -> int:
    district = District(scenario, seed, settings.clock.clock().now(), prefix=prefix)
    async with connected(settings) as connection:
        return await enter(connection, district)


async def _run_scenario(
    settings: Settings, broker: BrokerSettings, shape: tuple[Scenario, int, str], desk: str, token: str
) -> Tally:
    """Populate the district that begins in a moment, and let devices and staff play their parts."""
    clock = settings.clock.clock()
    scenario, seed, prefix = shape
    district = District(scenario, seed, clock.now() + int(LEAD * clock.speed), prefix=prefix)
    with district_bar(Console(stderr=True)) as bar:
        line = bar.add_task(scenario.name, total=district.end - district.start, said="")

        def on_progress(streamed: Streamed) -> None:
            show_streamed(bar, line, streamed, district)

        return await play(district, broker, clock, on_progress, desk, token)


async def _verify(settings: Settings, path: Path, wait: float) -> Report | Audit:
    if Tally.is_one(path):
        tally = Tally.read(path)
        async with connected(settings) as connection:
            return await audit(connection, tally, wait)
    truth = Truth.read(path)
    async with connected(settings) as connection:
        return compare(truth, await seen(connection, truth))


def _login(settings: Settings, username: str, password: str) -> BrokerSettings:
    """Return the broker with another user where one is given."""
    changes: dict[str, str] = {"username": username} if username else {}
    if password:
        changes |= {"password": password, "password_file": ""}
    return settings.broker.model_copy(update=changes)


def _first_seq() -> int:
    """Return where the counters of a load begin: above those of all loads before it."""
    return FIRST_SEQ + int(time.time() * 250_000) % (8 * FIRST_SEQ)


def _rate(connections: int, every: float | None, rate: float | None) -> float:
    """Return the messages a second of so many devices; exit with code 2 if that cannot be told."""
    if rate is not None:
        if every is not None:
            fail("--every or --rate, not both", 2)
        return rate
    interval = 60.0 if every is None else every
    if not 0 < interval < math.inf:
        fail(f"--every {interval:g}: seconds above 0; --rate 0 is for as many as go", 2)
    return connections / interval


def _tell(outcome: Outcome, as_json: bool) -> None:
    figures = {
        "sent": outcome.sent,
        "acked": outcome.acked,
        "refused": outcome.refused,
        "seconds": round(outcome.seconds, 3),
        "rate": round(outcome.rate),
        "cpu_seconds": round(outcome.cpu_seconds, 3),
        "lost": outcome.lost,
    }
    if as_json:
        typer.echo(json.dumps(figures))
        return
    cpu = outcome.cpu_seconds / max(outcome.sent, 1) * 1e6
    typer.echo(
        f"{outcome.acked} of {outcome.sent} messages in {outcome.seconds:.2f} s:"
        f" {outcome.rate:,.0f} a second, {cpu:.2f} us of CPU each"
    )
