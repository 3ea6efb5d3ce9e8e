"""`carebell drill`: devices that nobody wears call for help through the whole line, as in an emergency.

Staff see alarms like any other. What tells them apart is the registry's word about the device, so no message
can say that it is a drill, and no real device is taken for one. A drill ends by itself, also if this command
is killed; if it is interrupted, at once. While the database is away it waits, until the drill is over.
"""

import asyncio
import json
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import psycopg
import typer
from psycopg import AsyncConnection
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from device_sims import cards
from ops.alarm import By, login_name
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.listing import printable
from ops.voice import Voice, voice
from schemas import cells
from schemas.alarms import Handling
from schemas.clock import SECOND, Clock, to_datetime, to_microseconds
from schemas.errors import CarebellError, WeatherError
from schemas.settings import BrokerSettings, Settings
from schemas.topics import DEVICE_PATTERN, uplink
from store import dead_desk
from store import drill as store
from store.imports import turn
from store.migrate import require_current
from store.weather import is_weather

KINDS: Final = ("sos", "fall")
MINUTE: Final = 60 * SECOND
DIGITS: Final = 8
"""Digits at least at the end of a made-up name: fleets that count from 1 never come to such numbers."""
LONGEST_NAME: Final = 50
PATIENCE: Final = 60.0
"""Real seconds after the last call within which all must be alarms; while the database is away they wait."""
RETRY: Final = 1.0
"""Real seconds after which a database that is away is asked again."""
POLL: Final = 0.2
WATCH: Final = 1.0
"""Real seconds between two looks at what has come of the calls: while alarms are awaited, and else."""
_TOWN: Final = "430602"
_NAME: Final = re.compile(r"(.*?)([0-9]*)")
_SOURCES: Final = ("button", "cord", "pendant")

_T = TypeVar("_T")
Look = Callable[[], Awaitable[list[store.Call]]]
"""Returns what has come of the calls so far, and shows it."""


@dataclass(frozen=True)
class Plan:
    """What a drill is to be: times in microseconds of the clock, `length` 0 for all calls at once."""

    region: str
    alarms: int
    kinds: Sequence[str]
    length: int
    end_after: int
    seed: int


@dataclass(frozen=True)
class Drill:
    """A drill that has begun; times in microseconds of the clock."""

    drill_id: int
    began_at: int
    ends_at: int
    calls: Sequence[store.Planned]


@dataclass(frozen=True)
class Weatherproof:
    """The database, asked until it answers: a drill goes on while it is away."""

    settings: Settings
    clock: Clock
    ends_at: int

    async def do(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """Do `work`, which can be done twice, when the database is there.

        Raises what keeps it away once the drill would be over.
        """
        while True:
            try:
                async with connected(self.settings) as connection:
                    return await work(connection)
            except (WeatherError, psycopg.Error) as error:
                time_helps = isinstance(error, WeatherError) or is_weather(error)
                if not time_helps or self.clock.now() >= self.ends_at:
                    raise
            await asyncio.sleep(RETRY)


def drill(
    region: Annotated[str, typer.Option("--region", help="Where: this code and what is below it.")],
    alarms: Annotated[int, typer.Option("--alarms", min=1, max=200, help="How many devices call.")] = 5,
    kind: Annotated[str, typer.Option("--kind", help="What they say: sos, fall, or both.")] = "sos,fall",
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, max=1440, help="The calls are spread over so many minutes.")
    ] = 15,
    at_once: Annotated[bool, typer.Option("--at-once", help="All call at the same moment.")] = False,
    end_after: Annotated[
        float,
        typer.Option("--end-after", min=0.1, max=1440, help="It ends so many minutes after the last call."),
    ] = 30,
    seed: Annotated[
        int | None, typer.Option("--seed", help="The same seed draws the same. [default: a new one]")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until staff have taken all up, or the drill ends.")
    ] = False,
    by: By = "",
    username: Annotated[
        str, typer.Option("--username", help="A user of the broker who may call. [default: broker.username]")
    ] = "",
    password: Annotated[
        str,
        typer.Option(
            "--password", envvar="CAREBELL_DRILL_PASSWORD", help="Its password. [default: broker.password]"
        ),
    ] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Hold a drill: made-up people call for help, and staff see it as they see any call.

    Their devices are entered when they are needed, and stand in the registry as devices of drills. Their
    alarms count in no figure. When the drill is over, the desk closes what is still open and marks all of it
    as 演练. Ctrl-C ends it early. Exit code 1: not every call became an alarm.

    Example: carebell drill --region 430602 --alarms 5 --kind sos,fall --minutes 15
    """
    settings = load_settings(config)
    try:
        region = cells.region(region)
    except ValueError as error:
        fail(f"--region {error}", 2)
    kinds = list(dict.fromkeys(each.strip() for each in kind.split(",")))
    if not set(kinds) <= set(KINDS):
        fail(f"--kind {kind}: it is {' or '.join(KINDS)}, or both with a comma between", 2)
    length = 0 if at_once else round(minutes * MINUTE)
    drawn = secrets.randbits(31) if seed is None else seed
    plan = Plan(region, alarms, kinds, length, round(end_after * MINUTE), drawn)
    login = {"username": username} if username else {}
    if password:
        login |= {"password": password, "password_file": ""}
    broker = settings.broker.model_copy(update=login)
    held, calls = run(_hold(settings, broker, plan, by or login_name(), wait=wait))
    if as_json:
        typer.echo(json.dumps(_plain(plan, held, calls), ensure_ascii=False, indent=2))
    else:
        _print(held, calls)
    missing = sum(each.alarm_id is None for each in calls)
    if missing:
        fail(f"{missing} of {len(calls)} calls became no alarm: `carebell doctor` looks at the line")


async def _hold(
    settings: Settings, broker: BrokerSettings, plan: Plan, by: str, *, wait: bool
) -> tuple[Drill, list[store.Call]]:
    """Hold a drill and return what came of it; an error or an interruption ends it at once."""
    clock = settings.clock.clock()
    async with voice(broker, "drill") as caller:
        async with connected(settings) as connection:
            await require_current(connection)
            if not await dead_desk.is_bridge_there(connection):
                raise CarebellError(
                    "no bridge runs, and a drill goes through the whole line: `carebell serve`"
                )
            held = await _begin(connection, clock, plan, by)
        there = Weatherproof(settings, clock, held.ends_at)
        try:
            with _bars() as bars:
                look = _looking(there, held, bars)
                await _call(there, caller, clock, held, random.Random(plan.seed), look)  # noqa: S311 - repeatable
                return held, await _follow(clock, held, look, wait=wait)
        except BaseException:
            typer.echo(await _end(settings, clock, held), err=True)
            raise


async def _end(settings: Settings, clock: Clock, held: Drill) -> str:
    """End a drill now if the database is there, and say how it ends."""
    try:
        async with connected(settings) as connection:
            await store.end_at(connection, held.drill_id, to_datetime(clock.now()))
    except (CarebellError, psycopg.Error):
        return f"drill {held.drill_id} ends by itself at {printable(to_datetime(held.ends_at))}"
    return f"drill {held.drill_id} is over; the desk closes what is open of it"


# ------------------------------------------------------------------------------------------- before the calls


async def _begin(connection: AsyncConnection, clock: Clock, plan: Plan, by: str) -> Drill:
    """Choose devices, enter those that are missing, and write down what is to be and when it ends."""
    rng = random.Random(plan.seed)  # noqa: S311 - must be repeatable, not secret
    async with turn(connection, lambda doing: typer.echo(doing, err=True)), connection.transaction():
        now = clock.now()
        devices = await store.free(connection, plan.region, to_datetime(now), plan.alarms)
        missing = plan.alarms - len(devices)
        if missing:
            new = await _cards(connection, plan, rng, missing, to_datetime(now).year)
            devices += await store.enter(connection, new, to_datetime(now))
        times = sorted(now + rng.randint(0, plan.length) for _ in devices)
        kinds = [plan.kinds[place % len(plan.kinds)] for place in range(plan.alarms)]
        rng.shuffle(kinds)
        rng.shuffle(devices)
        calls = [
            store.Planned(device, kind, to_datetime(at))
            for device, kind, at in zip(devices, kinds, times, strict=True)
        ]
        ends_at = now + plan.length + plan.end_after
        drill_id = await store.begin(
            connection,
            calls,
            region=plan.region,
            by=by,
            began_at=to_datetime(now),
            ends_at=to_datetime(ends_at),
        )
    return Drill(drill_id, now, ends_at, calls)


async def _cards(
    connection: AsyncConnection, plan: Plan, rng: random.Random, count: int, year: int
) -> list[store.Card]:
    """Draw devices that look like those of the region, under names that nobody bears, and people for them."""
    patterns = await store.patterns(connection, plan.region, plan.seed, count)
    names: list[str] = []
    while len(names) < count:
        more = [_name(rng, patterns[place % len(patterns)].device) for place in range(len(names), count)]
        taken = await store.known(connection, more)
        names += [name for name in dict.fromkeys(more) if name not in taken and name not in names]
    return [_card(rng, name, patterns[place % len(patterns)], year) for place, name in enumerate(names)]


def _name(rng: random.Random, like: str) -> str:
    """Return a name like a device's, with a number for which no real one is likely to be made."""
    match = _NAME.fullmatch(like)
    stem, digits = match.groups() if match else ("", "")
    length = max(DIGITS, len(digits))
    name = f"{stem}{rng.randrange(10 ** (length - 1), 10**length)}"
    fits = len(name) <= LONGEST_NAME and DEVICE_PATTERN.fullmatch(name)
    return name if fits else _name(rng, "BELL-")


def _card(rng: random.Random, name: str, like: store.Pattern, year: int) -> store.Card:
    """Draw a person; staff will call the numbers, so they are such as no telephone has."""
    person = cards.card(rng, _TOWN, year)
    contacts = [asdict(replace(each, phone=_phone(rng))) for each in person.contacts]
    street = person.address.partition("区")[2]
    return store.Card(
        device=name,
        region=like.region,
        model=like.model,
        person=f"DRILL-{name}",
        name=person.name,
        birth_year=person.birth_year,
        sex=person.sex,
        phone=_phone(rng),
        address=like.place + street,
        notes=person.notes,
        contacts=[{"rank": rank, **each} for rank, each in enumerate(contacts, 1)],
    )


def _phone(rng: random.Random) -> str:
    """Return a number of the form that numbers have; but none begins with 0 behind its area code."""
    return f"0730-0{rng.randrange(10**6):06d}"


# -------------------------------------------------------------------------------------------------- the calls


async def _call(
    there: Weatherproof, caller: Voice, clock: Clock, held: Drill, rng: random.Random, look: Look
) -> None:
    """Let each device call at its time, unless the drill is over by then or the device is somebody's now."""
    for each in held.calls:
        while (left := clock.seconds_until(to_microseconds(each.due_at))) > 0:
            await asyncio.sleep(min(left, WATCH))
            await look()
        may = partial(store.send, drill_id=held.drill_id, device=each.device)
        if clock.now() < held.ends_at and await there.do(may):
            topic = uplink(each.device.region, each.device.device, each.kind)
            await caller.say(
                topic, _payload(rng, each.kind, clock.now()), expires=clock.seconds_until(held.ends_at)
            )


def _payload(rng: random.Random, kind: str, now: int) -> str:
    """Return what a device says; with its time, so that it is one call however often it is sent."""
    said: dict[str, Any] = {"ts": now * 1000 // SECOND}
    if kind == "sos":
        said["source"] = rng.choice(_SOURCES)
    else:
        said |= {"phase": "detected", "confidence": round(rng.uniform(0.7, 0.99), 2)}
    return json.dumps(said)


def _looking(there: Weatherproof, held: Drill, bars: Progress) -> Look:
    """Return what looks at the calls and moves the bars."""
    names = {
        "called": lambda each: each.sent_at is not None,
        "alarms": lambda each: each.alarm_id is not None,
        "taken up": _is_taken_up,
    }
    tasks = {name: bars.add_task(name, total=len(held.calls)) for name in names}

    async def look() -> list[store.Call]:
        calls = await there.do(partial(store.calls, drill_id=held.drill_id))
        for name, holds in names.items():
            bars.update(tasks[name], completed=sum(map(holds, calls)))
        return calls

    return look


async def _follow(clock: Clock, held: Drill, look: Look, *, wait: bool) -> list[store.Call]:
    """Wait until each call is an alarm; with `wait` also until staff have taken all up or the drill ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        asked = time.monotonic()
        calls = await look()
        deadline += time.monotonic() - asked
        stands = all(each.alarm_id for each in calls if each.sent_at)
        over = not wait or all(map(_is_taken_up, calls)) or clock.now() >= held.ends_at
        if over and (stands or time.monotonic() > deadline):
            return calls
        await asyncio.sleep(WATCH if stands else POLL)


def _is_taken_up(call: store.Call) -> bool:
    return call.handling not in {None, Handling.UNACKNOWLEDGED}


# ---------------------------------------------------------------------------------------------- what is shown


def _bars() -> Progress:
    """Return progress bars on standard error, which show nothing where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = Console(stderr=True)
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)


def _plain(plan: Plan, held: Drill, calls: list[store.Call]) -> dict[str, Any]:
    """Return everything as JSON takes it."""
    return {
        "drill": held.drill_id,
        "region": plan.region,
        "seed": plan.seed,
        "began_at": to_datetime(held.began_at).isoformat(),
        "ends_at": to_datetime(held.ends_at).isoformat(),
        "calls": [each.model_dump(mode="json") for each in calls],
    }


def _print(held: Drill, calls: list[store.Call]) -> None:
    shown = Table(title=f"drill {held.drill_id}", title_justify="left")
    for title in ("device", "person", "kind", "alarm", "raised ms", "acknowledged by", "after s"):
        shown.add_column(title, overflow="fold")
    for each in calls:
        numbers = _number(each.alarm_id), _number(each.raised_ms)
        taken_up = each.acknowledged_by or "", _number(each.acknowledged_seconds)
        row = (each.device, each.person, each.kind, *numbers, *taken_up)
        shown.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(shown)
    typer.echo(
        f"{sum(each.alarm_id is not None for each in calls)} of {len(calls)} calls are alarms;"
        f" what is open of them closes by itself at {printable(to_datetime(held.ends_at))}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
