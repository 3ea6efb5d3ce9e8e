"""`carebell sim`: play a town of simulated devices, compare what came of it, load a broker."""

import json
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from device_sims.burst import burst as send_burst
from device_sims.load import Load, Outcome
from device_sims.publish import Progress as Played
from device_sims.stamp import FIRST_SEQ
from device_sims.town import Town
from device_sims.truth import Truth, plain
from device_sims.verify import Report, compare
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.town import enter, play_with_staff, seen
from schemas.clock import SECOND
from schemas.settings import BrokerSettings, Settings

app = typer.Typer(no_args_is_help=True, help="Play a town of simulated devices, and load a broker.")

LEAD: Final = 2 * SECOND
"""Real time between building a town and its first message."""

_Devices = Annotated[int, typer.Option("--devices", min=1, help="How many devices the town has.")]
_Minutes = Annotated[float, typer.Option("--minutes", help="How long it lives, in minutes of the clock.")]
_Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same town.")]
_Prefix = Annotated[str, typer.Option("--prefix", help="What device names begin with.")]
_TruthOption = Annotated[
    Path, typer.Option("--truth", help="The file of what was sent and what must come of it.")
]
_Username = Annotated[str, typer.Option("--username", help="The broker's user. [default: broker.username]")]
_Password = Annotated[
    str,
    typer.Option(
        "--password", envvar="CAREBELL_SIM_PASSWORD", help="Its password. [default: broker.password]"
    ),
]


@app.command()
def register(
    devices: _Devices = 300,
    minutes: _Minutes = 40,
    seed: _Seed = 7,
    prefix: _Prefix = "",
    config: ConfigOption = None,
) -> None:
    """Enter a town's devices and people into the registry; the bridge learns of them when it starts.

    Give `run` the same options afterwards.

    Example: carebell sim register --devices 300 --minutes 40 --seed 7
    """
    settings = load_settings(config)
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
    config: ConfigOption = None,
) -> None:
    """Play a town that misbehaves, on the clock of the settings, and write down what must come of it.

    Example: carebell sim run --devices 300 --minutes 40 --seed 7 --truth town.json
    """
    settings = load_settings(config)
    address = desk or f"http://{settings.duty.host}:{settings.duty.port}"
    login = _login(settings, username, password)
    town, failures = run(_run(settings, login, (devices, minutes, seed, prefix), address, token))
    town.truth.write(truth)
    typer.echo(f"{truth}: {len(town.truth.sent)} messages, {len(town.truth.expected)} alarms expected")
    for failure in failures:
        typer.echo(f"the staff could not {failure}", err=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def verify(truth: _TruthOption, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Compare what the database holds with a town's truth; exit with 1 on any difference.

    Example: carebell sim verify --truth town.json
    """
    report = run(_verify(load_settings(config), truth))
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
        int, typer.Option("--window", min=1, max=65_000, help="How many may be in flight.")
    ] = 10_000,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="Write (device, seq) of what was taken over.")
    ] = None,
    username: _Username = "",
    password: _Password = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send messages at QoS 1 as fast as the broker takes them; exit with 1 if it did not take all.

    Example: carebell sim burst --count 100000 --devices 5000 --channel mix
    """
    settings = load_settings(config)
    first = FIRST_SEQ + int(time.time() * 250_000) % (8 * FIRST_SEQ)
    wanted = Load(count, seconds, rate, devices, with_ts, prefix, "430602", channel, window, first)
    outcome = run(send_burst(_login(settings, username, password), wanted, settings.clock.clock()))
    if keys:
        keys.write_text(json.dumps(sorted(outcome.keys())), encoding="utf-8")
    _tell(outcome, as_json)
    if outcome.acked < outcome.sent:
        fail(f"{outcome.sent - outcome.acked} messages were not taken over {outcome.lost}".rstrip())


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


async def _verify(settings: Settings, path: Path) -> Report:
    truth = Truth.read(path)
    async with connected(settings) as connection:
        return compare(truth, await seen(connection, truth))


def _login(settings: Settings, username: str, password: str) -> BrokerSettings:
    """Return the broker with another user where one is given."""
    changes: dict[str, str] = {"username": username} if username else {}
    if password:
        changes |= {"password": password, "password_file": ""}
    return settings.broker.model_copy(update=changes)


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
