"""`carebell dead`: list, show, re-drive and purge what could not be used."""

import asyncio
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Final

import typer
from psycopg import AsyncConnection
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.listing import print_fields, printable, show_list
from schemas.topics import REASONS
from store import dead_desk as desk

app = typer.Typer(no_args_is_help=True, help="List, show, re-drive and purge dead letters.")

_LISTED = ("dead_letter_id", "received_at", "reason", "detail", "topic", "payload_length", "tries", "waiting")
_SHANGHAI: Final = timezone(timedelta(hours=8), "CST")
POLL: Final = 0.2
PATIENCE: Final = 10.0

_Ids = Annotated[
    list[int] | None, typer.Argument(min=1, metavar="[ID]...", help="Numbers, as `list` shows them.")
]
_Reason = Annotated[str | None, typer.Option("--reason", help=f"Only with this one: {', '.join(REASONS)}.")]
_Topic = Annotated[str | None, typer.Option("--topic", help="Only of topics that begin so.")]
_Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="Only received then or later: 2026-03-01 or 2026-03-01T08:00."
    ),
]
_Until = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Only received before; Asia/Shanghai if no zone."),
]
_All = Annotated[bool, typer.Option("--all", help="All there are.")]


@app.command("list")
def list_(
    reason: _Reason = None,
    topic: _Topic = None,
    since: _Since = None,
    until: _Until = None,
    by_reason: Annotated[bool, typer.Option("--by-reason", help="Only how many of each reason.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many.")] = 200,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List dead letters, the newest first.

    Example: carebell dead list --reason unknown_device --since 2026-03-01
    """
    chosen = _chosen(None, reason, topic, since, until)
    if by_reason:
        reasons = run(_by_reason(chosen, config))
        show_list("reasons", tuple(desk.Reason.model_fields), reasons, len(REASONS) + 1, as_json=as_json)
        return
    found = run(_list(chosen, limit, config))
    show_list("dead letters", _LISTED, found, limit, as_json=as_json)


@app.command()
def show(
    dead_letter_id: Annotated[int, typer.Argument(min=1, metavar="ID", help="Its number.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show one dead letter with its payload, as text or in hex, and what its reason means.

    Example: carebell dead show 12
    """
    card = run(_show(dead_letter_id, config))
    if as_json:
        typer.echo(card.model_dump_json(indent=2))
        return
    print_fields(desk.Letter.model_validate(card.model_dump()))
    for name, value in {
        "means": REASONS.get(card.reason, ""),
        "tried_at": printable(card.tried_at),
        "batch": card.batch,
        "sha256": card.sha256,
        "payload": card.hex if card.text is None else card.text,
    }.items():
        Console(highlight=False, soft_wrap=True).print(Text(f"{name:18} {printable(value)}"))
    if card.kept < card.payload_length:
        typer.echo(f"only {card.kept} of {card.payload_length} bytes were kept: it cannot be re-driven")


@app.command()
def redrive(
    ids: _Ids = None,
    reason: _Reason = None,
    topic: _Topic = None,
    since: _Since = None,
    until: _Until = None,
    everything: _All = False,
    wait: Annotated[bool, typer.Option(help="Wait until the bridge is through.")] = True,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send dead letters down the line again, as if received when they were; after the cause was mended.

    Each is stored and gone, or stays with what is wrong with it now. History is filled up and a call that
    nobody heard is an alarm, marked 迟到; conditions and silence are judged by what comes now. The bridge
    does it: without one, they are marked, and it does it when it starts. Exit code 1: some were refused.

    Example: carebell dead redrive --reason unknown_device
    """
    chosen = _meant(ids, reason, topic, since, until, everything)
    done = run(_redrive(chosen, config, wait=wait))
    if as_json:
        typer.echo(done.model_dump_json(indent=2) if done else "{}")
    elif done and not done.waiting:
        typer.echo(
            f"{done.marked} re-driven: {done.stored} stored, {done.partly} stored in part,"
            f" {done.duplicate} stood in the history already, {done.refused} refused again"
        )
    if done and done.partly + done.refused:
        raise typer.Exit(1)


@app.command()
def purge(
    ids: _Ids = None,
    reason: _Reason = None,
    topic: _Topic = None,
    since: _Since = None,
    until: _Until = None,
    everything: _All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Delete dead letters for ever.

    Example: carebell dead purge --reason not_json --until 2026-01-01
    """
    run(_purge(_meant(ids, reason, topic, since, until, everything), config, yes=yes))


def _chosen(
    ids: list[int] | None, reason: str | None, topic: str | None, since: str | None, until: str | None
) -> desk.Chosen:
    if reason is not None and reason not in REASONS:
        fail(f"--reason {reason}: it is one of {', '.join(REASONS)}", 2)
    return desk.Chosen(tuple(ids or ()), reason, topic, _moment("--since", since), _moment("--until", until))


def _meant(
    ids: list[int] | None,
    reason: str | None,
    topic: str | None,
    since: str | None,
    until: str | None,
    everything: bool,
) -> desk.Chosen:
    """Return what is chosen for a command that changes things: it must be said."""
    chosen = _chosen(ids, reason, topic, since, until)
    if bool(chosen) is everything:
        fail("say which dead letters: their numbers, --reason, --topic, --since, --until, or --all", 2)
    return chosen


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=_SHANGHAI)
    except ValueError:
        fail(f"{option} {text}: a time is written 2026-03-01 or 2026-03-01T08:00", 2)


async def _list(chosen: desk.Chosen, limit: int, config: Path | None) -> list[desk.Letter]:
    async with connected(load_settings(config)) as connection:
        return await desk.letters(connection, chosen, limit)


async def _by_reason(chosen: desk.Chosen, config: Path | None) -> list[desk.Reason]:
    async with connected(load_settings(config)) as connection:
        return await desk.by_reason(connection, chosen)


async def _show(dead_letter_id: int, config: Path | None) -> desk.Card:
    async with connected(load_settings(config)) as connection:
        return await desk.show(connection, dead_letter_id)


async def _redrive(chosen: desk.Chosen, config: Path | None, *, wait: bool) -> desk.Redriven | None:
    async with connected(load_settings(config)) as connection:
        survey = await desk.survey(connection, chosen)
        _say(max(0, len(set(chosen.ids)) - survey.found), "are not there")
        _say(survey.cut, "cannot be re-driven: not all of their bytes were kept")
        _say(survey.parts, "are parts of messages whose rest is stored: not re-driven")
        _say(survey.waiting, "wait to be re-driven already")
        with _bars() as bars:
            marking = bars.add_task("marking", total=survey.found)
            redrive_id = await desk.mark(connection, chosen, lambda n: bars.advance(marking, n))
            done = await desk.redriven(connection, redrive_id)
            bars.update(marking, completed=survey.found)
            if not await desk.is_bridge_there(connection):
                _say(done.waiting, "are marked: no bridge runs, it will re-drive them when it starts")
                return done
            return await _follow(connection, redrive_id, bars) if wait else done


async def _follow(connection: AsyncConnection, redrive_id: int, bars: Progress) -> desk.Redriven:
    """Wait until none of a redrive's letters waits any more."""
    done = await desk.redriven(connection, redrive_id)
    task = bars.add_task("re-driving", total=done.marked)
    moved_at, told = time.monotonic(), False
    while done.waiting:
        await asyncio.sleep(POLL)
        before, done = done.waiting, await desk.redriven(connection, redrive_id)
        bars.update(task, completed=done.marked - done.waiting)
        if done.waiting != before:
            moved_at = time.monotonic()
        elif time.monotonic() - moved_at > PATIENCE and not told:
            told = True
            _say(
                done.waiting, "wait and none moves: Ctrl-C leaves them marked, the bridge goes on when it can"
            )
    return done


async def _purge(chosen: desk.Chosen, config: Path | None, *, yes: bool) -> None:
    async with connected(load_settings(config)) as connection:
        survey = await desk.survey(connection, chosen)
        _say(survey.waiting, "of these wait to be re-driven: some may be stored all the same")
        if survey.found and not yes:
            typer.confirm(f"Delete {survey.found} dead letters for ever?", abort=True, err=True)
        with _bars() as bars:
            task = bars.add_task("deleting", total=survey.found)
            gone = await desk.purge(connection, chosen, lambda n: bars.advance(task, n))
    typer.echo(f"{gone} purged")
    _say(survey.needed, "stay: a bridge that starts now still reads them; purge again in some minutes")


def _say(count: int, what: str) -> None:
    if count:
        typer.echo(f"carebell: {count} {what}", err=True)


def _bars() -> Progress:
    """Return a progress bar on standard error, which shows nothing where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    screen = Console(stderr=True)
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
