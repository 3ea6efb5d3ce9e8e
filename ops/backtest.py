"""`carebell rule backtest`: what other rules would have raised, and whether staff could have borne it."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import numpy as np
import typer
from psycopg import AsyncConnection
from pydantic import TypeAdapter, ValidationError
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ingest.decode import Decoder
from ingest.registry import Closed, Registry, registered
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.listing import printable
from rules import ruleset
from rules.backtest import (
    BEARABLE,
    FLOOD_BEGINS,
    FLOOD_ENDS,
    Assumptions,
    Backtest,
    Comparison,
    Difference,
    Load,
)
from rules.durations import HOUR, LONGEST, Interval
from rules.ruleset import RuleSet
from schemas.alarms import KINDS
from schemas.clock import SECOND, to_datetime, to_microseconds
from schemas.readings import Batch, Columns
from schemas.settings import Settings
from schemas.sources import mapping
from schemas.sources.compiled import Sources
from schemas.topics import REGION_PATTERN, Lane
from store import drill, history_stream, rule_sets
from store.history_stream import Window

WARM_UP: Final = 86_400 * SECOND
"""Read before the beginning, so that engines know who is ill, silent or flat already."""
_FIRST_YEAR: Final = 1971
_SHANGHAI: Final = timezone(timedelta(hours=8), "CST")
_MINUTE: Final = 60 * SECOND
_T = TypeVar("_T")
_INTERVAL: Final[TypeAdapter[int]] = TypeAdapter(Interval)

_From = Annotated[
    str, typer.Option("--from", metavar="TIME", help="From when: 2026-03-01 or 2026-03-01T08:00.")
]
_To = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="TIME", help="Until when, at most now; Asia/Shanghai if no zone. [default: now]"
    ),
]


@dataclass
class Meter:
    """Seconds for which the database was read and the engines judged; both go on at the same time."""

    readings: int = 0
    reading: float = 0.0
    judging: float = 0.0


@dataclass(frozen=True)
class Done:
    """What a backtest found, and how it came about."""

    comparison: Comparison
    assumptions: Assumptions
    names: dict[int, str]
    meter: Meter
    files: dict[str, str] = field(default_factory=dict)


def backtest(
    rules: Annotated[Path, typer.Option("--rules", metavar="FILE", help="The new rules.")],
    since: _From,
    until: _To = None,
    current: Annotated[
        Path | None,
        typer.Option(
            "--current", metavar="FILE", help="The rules to compare with. [default: those in force]"
        ),
    ] = None,
    region: Annotated[
        str, typer.Option("--region", help="Only devices of this region and those in it.")
    ] = "",
    operators: Annotated[
        int, typer.Option("--operators", min=1, help="How many staff share the alarms.")
    ] = 1,
    handling: Annotated[
        str, typer.Option("--handling", help="How long staff take to close an alarm of life or health.")
    ] = "10m",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Run the history through new rules and the current ones: what would be raised, missed and changed.

    Nothing is written. The day before --from is read, too, but its alarms do not count.

    Example: carebell rule backtest --rules my-rules.toml --from 2026-02-01 --to 2026-03-01 --operators 3
    """
    for file in filter(None, (rules, current)):
        if not file.is_file():
            fail(f"{file}: no such file", 2)
    if region and not REGION_PATTERN.fullmatch(region):
        fail(f"--region {region}: a region is 6, 9 or 12 digits", 2)
    settings = load_settings(config)
    now = settings.clock.clock().now()
    start = _moment("--from", since)
    end = min(_moment("--to", until), now) if until else now
    if start >= end:
        fail(f"--from {since} is not before {_shown(end)}, {'now' if end == now else '--to'}", 2)
    assumptions = Assumptions(start, end, operators, _duration("--handling", handling))
    done = run(_backtest(settings, rules, current, assumptions, region))
    if not done.meter.readings:
        where = f" of region {region}" if region else ""
        fail(f"nothing{where} was received from {_shown(start)} to {_shown(end)}")
    if as_json:
        typer.echo(json.dumps(_plain(done), ensure_ascii=False, indent=2))
    else:
        _print(done)


def _moment(option: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text}: a time is written 2026-03-01 or 2026-03-01T08:00", 2)
    if moment.year < _FIRST_YEAR:
        fail(f"{option} {text}: no year before {_FIRST_YEAR} has a history", 2)
    return to_microseconds(moment if moment.tzinfo else moment.replace(tzinfo=_SHANGHAI))


def _duration(option: str, text: str) -> int:
    try:
        return _INTERVAL.validate_python(text)
    except ValidationError:
        longest = f"{LONGEST // HOUR}h"
        fail(f"{option} {text}: a duration is a number and a unit, from 1s to {longest}: 30s, 10m, 2h", 2)


async def _backtest(
    settings: Settings, rules: Path, current: Path | None, assumptions: Assumptions, region: str
) -> Done:
    new = ruleset.load(rules)
    begins, meter, stopped = assumptions.start - WARM_UP, Meter(), threading.Event()
    async with connected(settings) as connection:
        before = await _current(connection, settings, current)
        with _bar() as bar:
            task = bar.add_task("reading and judging", total=assumptions.end - begins)

            def passed(moment: int) -> None:
                """Show how far it came; end the thread that judges if nobody waits for it any more."""
                bar.update(task, completed=moment - begins)
                if stopped.is_set():
                    raise asyncio.CancelledError

            async def judge(work: Callable[[], _T]) -> _T:
                began = time.perf_counter()
                try:
                    return await asyncio.to_thread(work)
                except asyncio.CancelledError:
                    stopped.set()
                    raise
                finally:
                    meter.judging += time.perf_counter() - began

            trial = Backtest(before, new, assumptions, passed)
            registry = Registry(Closed(), settings.ingest)
            async for part in history_stream.devices(connection):
                for each in part:
                    registry.enter(each)
                trial.enrol(registered(part))
            former = {
                device_id: to_microseconds(until)
                for device_id, until in (await drill.former(connection)).items()
            }
            where = await history_stream.span(connection, begins, assumptions.end, region)
            sources = Sources(mapping.load(mapping.texts(settings.ingest.sources)))
            decoder = Decoder(registry, settings.ingest.max_payload, sources)
            async with aclosing(_ahead(history_stream.windows(connection, where), meter)) as windows:
                async for window in windows:
                    readings = _complete(decoder, registry, former, window)
                    await judge(partial(trial.feed, readings))
                    meter.readings += len(window.readings)
            comparison = await judge(trial.finish)
        named = await history_stream.names(connection, [each.device_id for each in comparison.worst])
    return Done(
        comparison, assumptions, named, meter, {"current": str(current or "in force"), "new": str(rules)}
    )


async def _current(connection: AsyncConnection, settings: Settings, file: Path | None) -> RuleSet:
    """Return the rules to compare with; before a bridge ever ran, those with which it would start."""
    if file is not None:
        return ruleset.load(file)
    text = await rule_sets.source(connection)
    if text is not None:
        return ruleset.parse(text, "the rules in force")
    return ruleset.load(Path(settings.ingest.rules) if settings.ingest.rules else ruleset.SHIPPED)


async def _ahead(windows: AsyncIterator[Window], meter: Meter) -> AsyncGenerator[Window]:
    """Yield windows, and read the next one while somebody works on this one."""

    async def read() -> Window | None:
        began = time.perf_counter()
        window = await anext(windows, None)
        meter.reading += time.perf_counter() - began
        return window

    pending = asyncio.create_task(read())
    try:
        while window := await pending:
            pending = asyncio.create_task(read())
            yield window
    finally:
        pending.cancel()


def _complete(decoder: Decoder, registry: Registry, former: dict[int, int], window: Window) -> Columns:
    """Put back what the history does not tell: calls that could not be read, and who is a stranger.

    What devices said for drills is left out: nobody needed help. `former` are those that are somebody's by
    now, and until when each was one of drills.
    """
    batch = Batch(Lane.TELEMETRY, 0, readings=window.readings, dead=window.unreadable)
    decoder.recall(batch)
    device, received = batch.readings["device_id"], batch.readings["received_at"]
    drills = np.isin(device, list(registry.drill_ids))
    for device_id, until in former.items():
        drills |= (device == device_id) & (received < until)
    return batch.readings[~drills] if drills.any() else batch.readings


def _bar() -> Progress:
    """Return a progress bar on standard error, which shows nothing where that is no terminal."""
    screen = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)


def _rates(meter: Meter) -> dict[str, int]:
    """Return readings a second, of the database and of both engines together."""
    seconds = {"database": meter.reading, "engines": meter.judging}
    return {name: round(meter.readings / took) if took else 0 for name, took in seconds.items()}


def _plain(done: Done) -> dict[str, Any]:
    """Return everything as JSON takes it."""
    found, given = done.comparison, done.assumptions
    by_day: dict[str, Any] = {}
    for day, total in found.by_day.items():
        kinds = {kind: asdict(each) for (kind, of), each in found.by_kind_and_day.items() if of == day}
        by_day[_day(day)] = {"total": asdict(total), "by_kind": kinds}
    return {
        "rules": done.files,
        "from": to_datetime(given.start).isoformat(),
        "to": to_datetime(given.end).isoformat(),
        "operators": given.operators,
        "handling_seconds": given.handling // SECOND,
        "tolerance_seconds": given.tolerance // SECOND,
        "step_seconds": given.step // SECOND,
        "readings": done.meter.readings,
        "readings_per_second": _rates(done.meter),
        "total": asdict(found.total),
        "by_kind": {kind: asdict(each) for kind, each in found.by_kind.items()},
        "by_day": by_day,
        "load": {
            name: {**asdict(load), "peak_at": to_datetime(load.peak_at).isoformat()}
            for name, load in (("current", found.current), ("new", found.new))
        },
        "worst": [
            {"device": _name(done, each.device_id, each.area), **each._asdict()} for each in found.worst
        ],
    }


def _print(done: Done) -> None:
    found, given, console = done.comparison, done.assumptions, Console(highlight=False)
    console.print(Text(f"{_shown(given.start)} to {_shown(given.end)}, {done.meter.readings:,} readings"))
    console.print(Text(f"current: {done.files['current']}; new: {done.files['new']}"))
    kinds = {f"{kind} {KINDS[kind].zh}": each for kind, each in found.by_kind.items()}
    console.print(_differences("alarms by kind", {**kinds, "all": found.total}))
    console.print(_differences("alarms by day", {_day(day): each for day, each in found.by_day.items()}))
    console.print(_loads(found, given.operators))
    console.print(_worst(done))
    console.print(Text(_said(done)))


def _differences(title: str, rows: dict[str, Difference]) -> Table:
    table = _table(title, "", "current", "new", "same", "severer", "milder", "earlier", "later")
    for column in ("suppressed", "missed", "only new"):
        table.add_column(column, justify="right")
    for name, each in rows.items():
        table.add_row(Text(name), *(f"{count:,}" if count else "" for count in asdict(each).values()))
    return table


def _loads(found: Comparison, operators: int) -> Table:
    table = _table(
        f"load of each of {operators} operators" if operators > 1 else "load of one operator",
        *(
            "rules",
            "alarms",
            "in 10 min",
            "worst 10 min",
            "began",
            f"above {BEARABLE:g}",
            "floods",
            "in flood",
        ),
        *("repeated", "suppressed"),
    )
    for name, load in (("current", found.current), ("new", found.new)):
        table.add_row(name, *_load(load))
    return table


def _load(load: Load) -> tuple[str, ...]:
    return (
        f"{load.alarms:,}",
        f"{load.mean:.2f}",
        f"{load.peak:.3g}",
        _shown(load.peak_at) if load.peak else "",
        f"{load.above_bearable:.1%}",
        f"{load.floods:,}",
        f"{load.in_flood:.1%}",
        f"{load.repeated:,}",
        f"{load.suppressed:,}",
    )


def _worst(done: Done) -> Table:
    table = _table("worst devices", "device", "current", "new", "share of new", "most of all")
    total = max(1, done.comparison.new.alarms)
    for each in done.comparison.worst:
        name = printable(_name(done, each.device_id, each.area))
        cells = (name, f"{each.current:,}", f"{each.new:,}", f"{each.new / total:.1%}", each.kind)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False
    )
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _said(done: Done) -> str:
    given, rates = done.assumptions, _rates(done.meter)
    return (
        f"An operator bears about {BEARABLE:g} alarm in 10 minutes; a flood begins above {FLOOD_BEGINS:g} and"
        f" ends below {FLOOD_ENDS:g} (ISA-18.2, EEMUA 191).\n"
        f"Taken for given: staff close an alarm of life or health {given.handling // _MINUTE} min after it"
        " was raised, and raises until then are repetitions; a technical one is open until it clears.\n"
        f"An alarm is the same if it begins within {given.tolerance // _MINUTE} min. Ticks come every"
        f" {given.step // SECOND} s. Where nothing was received at all, devices count as silent.\n"
        f"The database was read at {rates['database']:,} readings/s; both engines together judged"
        f" {rates['engines']:,} readings/s."
    )


def _name(done: Done, device_id: int, area: str) -> str:
    return area or done.names.get(device_id, str(device_id))


def _day(moment: int) -> str:
    return f"{to_datetime(moment).astimezone(_SHANGHAI):%Y-%m-%d}"


def _shown(moment: int) -> str:
    return f"{to_datetime(moment).astimezone(_SHANGHAI):%Y-%m-%d %H:%M}"
