"""`carebell notify`: check who is told of alarms, try the way to them, and see what became of each notice."""

import asyncio
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from pydantic import BaseModel, TypeAdapter

from duty.alarms import database_errors
from duty.notify import notices
from duty.notify.channels import Channels
from duty.notify.ladders import Ladders, ladders_of, load
from duty.notify.words import trial
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.listing import printable, show_list
from schemas.errors import UsageError
from schemas.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Check, try and watch who is told of alarms.")

_LISTED: Final = (
    *("notice_id", "alarm_id", "round", "step", "recipient", "state"),
    *("attempts", "created_at", "next_at", "ended_at", "error"),
)

_ChannelName = Literal["webhook", "alertmanager", "dingtalk", "wecom", "city", "smtp", "mqtt"]


class Tried(BaseModel):
    """What came of a trial."""

    recipient: str
    channel: str
    sent: bool
    said: str


@app.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file: see docs/notify.md.")],
) -> None:
    """Say what is wrong with a file of recipients and ladders; nothing is sent.

    Secrets are read, so that one that is missing is told. Exit code 2: something is wrong.

    Example: carebell notify check notify.toml
    """
    try:
        ladders = load(path)
    except UsageError as error:
        fail(str(error), 2)
    typer.echo(f"{path}: {len(ladders.recipient)} recipients, {len(ladders.ladder)} ladders: in order")
    if not ladders.covers_life():
        typer.echo("carebell: no ladder is for every call for help: some may be told to nobody", err=True)
    for name in ladders.gaps():
        said = "has no shift without `during`: at some hours it may be nobody"
        typer.echo(f"carebell: rota {printable(name)} {said}", err=True)
    for name in ladders.idle():
        typer.echo(f"carebell: {printable(name)} is in no ladder", err=True)


@app.command("test")
def try_(
    recipient: Annotated[str, typer.Argument(metavar="RECIPIENT", help="A recipient, a rota, or `all`.")],
    channel: Annotated[
        _ChannelName | None, typer.Option("--channel", help="Only those who are told this way.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send a message to a recipient that says that it is a test, and say what came of it.

    Exit code 1: it was not taken. It needs no database and no desk.

    Example: carebell notify test 值班群
    """
    settings = load_settings(config)
    tried = run(_try(settings, recipient, channel))
    if as_json:
        typer.echo(TypeAdapter(list[Tried]).dump_json(tried, indent=2))
    else:
        for each in tried:
            said = "sent" if each.sent else f"not sent: {printable(each.said)}"
            typer.echo(f"{printable(each.recipient)} ({each.channel}): {said}")
    if not all(each.sent for each in tried):
        raise typer.Exit(1)


@app.command("list")
def list_(
    state: Annotated[
        Literal["waiting", "sent", "failed", "withdrawn"] | None,
        typer.Option("--state", help="Only those; withdrawn: needless before it was sent."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many.")] = 200,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List notices, the newest first: who was told of which alarm, and what was not to be delivered.

    Example: carebell notify list --state failed --json
    """
    show_list("notices", _LISTED, run(_list(load_settings(config), state, limit)), limit, as_json=as_json)


async def _list(settings: Settings, state: notices.State | None, limit: int) -> list[notices.Listed]:
    with database_errors():
        async with connected(settings) as connection:
            return await notices.list_notices(connection, state, limit)


async def _try(settings: Settings, name: str, channel: str | None) -> list[Tried]:
    ladders = ladders_of(settings.duty)
    if not ladders.recipient:
        raise UsageError("duty.notify names no file, or one without recipients: nobody is to be told")
    meant = [each for each in _meant(ladders, name) if channel in {None, ladders.recipient[each].channel}]
    if not meant:
        raise UsageError(f"{name}: no recipient of this name is told by {channel}")
    now = datetime.now(UTC)
    async with Channels(ladders, settings.broker) as channels:
        answers = await asyncio.gather(
            *(channels.send(each, [trial(each, secrets.token_hex(8), now)]) for each in meant)
        )
    return [
        Tried(recipient=each, channel=ladders.recipient[each].channel, sent=answer.is_sent, said=answer.said)
        for each, answer in zip(meant, answers, strict=True)
    ]


def _meant(ladders: Ladders, name: str) -> list[str]:
    """Return everybody whom a name means, on call now or not."""
    if name == "all":
        return list(ladders.recipient)
    if name in ladders.rota:
        return list(dict.fromkeys(each for shift in ladders.rota[name] for each in shift.to))
    if name not in ladders.recipient:
        known = ", ".join([*ladders.recipient, *ladders.rota, "all"])
        raise UsageError(f"{name}: no such recipient; there are {known}")
    return [name]
