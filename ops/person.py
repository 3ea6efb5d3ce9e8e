"""`carebell person`: import, list, show and set people."""

import math
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.imports import DryRunOption, FileArgument, import_command
from ops.listing import print_fields, show_list, table
from schemas import cells
from schemas.registry import people
from store import registry

app = typer.Typer(no_args_is_help=True, help="Import, list, show and set people.")

_LISTED = ("person", "name", "sex", "birth_year", "phone", "address", "devices")
_CONTACT = ("rank", "name", "relation", "phone")
_SPAN = ("device", "since", "until")
_ALARM = ("alarm_id", "device", "kind", "severity", "handling", "raised_at")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TOO_BIG = 1e9
_VITALS = ("device", "ts", "hr", "spo2", "temp", "sbp", "dbp", "glucose")


@app.command("import")
def import_(
    path: FileArgument,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Import people and their contacts from CSV: all of the file, or with any error nothing of it.

    Columns: person, name, sex, birth_year, phone, address, notes, care_level, contact1_name,
    contact1_relation, contact1_phone and so on to contact5, or in Chinese: 档案编号, 姓名, 性别, 出生年份,
    电话, 住址, 备注, 护理等级, 联系人1姓名, 联系人1关系, 联系人1电话. The first two
    are needed. A column that is absent leaves what is there, an empty cell empties it; contacts are replaced
    as a whole. Importing again changes only what differs.

    Example: carebell person import people.csv
    """
    import_command(people, path, dry_run=dry_run, as_json=as_json, config=config)


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Option("--name", help="Only whose name holds this.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many.")] = 200,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List people by file number.

    Example: carebell person list --name 张
    """
    found = run(_list(name, limit, config))
    show_list("people", _LISTED, found, limit, as_json=as_json)


@app.command()
def show(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="The file number.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show one person: contacts, devices, alarms, and vitals of the time in which each device was theirs.

    Example: carebell person show YY-0017
    """
    _print(run(_show(person, config)), as_json)


@app.command("set")
def set_(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="The file number.")],
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold", metavar="NAME=VALUE", help="A limit of their own; NAME= takes it away again."
        ),
    ] = None,
    care_level: Annotated[
        str | None, typer.Option("--care-level", help="As the house calls it; empty: none.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Set a person's own limits, which count for whatever device they wear, and their care level.

    The names are those of [thresholds] in the rules: `carebell rule check --people` lists what no rule asks
    for.

    Example: carebell person set P17 --threshold spo2_low=87 --care-level 一级
    """
    if threshold is None and care_level is None:
        fail("say --threshold NAME=VALUE or --care-level LEVEL", 2)
    if care_level is not None:
        try:
            care_level = cells.text(care_level, longest=20)
        except ValueError as error:
            fail(f"--care-level {error}", 2)
    _print(run(_set(person, dict(map(_threshold, threshold or [])), care_level, config)), as_json)


def _threshold(said: str) -> tuple[str, float | None]:
    """Return name and value; None takes it away."""
    name, equals, value = said.partition("=")
    try:
        number = float(value) if value else None
    except ValueError:
        number = math.nan
    if not (equals and _NAME.fullmatch(name) and abs(number or 0) <= _TOO_BIG):
        fail(f"--threshold {said}: it is written name=number, such as spo2_low=87; name= takes it away", 2)
    return name, number


def _print(card: registry.PersonCard, as_json: bool) -> None:
    if as_json:
        typer.echo(card.model_dump_json(indent=2))
        return
    print_fields(card.person)
    console = Console()
    console.print(table("contacts, in the order in which to call", _CONTACT, card.contacts))
    console.print(table("devices", _SPAN, card.had))
    console.print(table("newest alarms", _ALARM, card.alarms))
    console.print(table("newest vitals", _VITALS, card.vitals))


async def _set(
    person: str, thresholds: dict[str, float | None], care_level: str | None, config: Path | None
) -> registry.PersonCard:
    async with connected(load_settings(config)) as connection:
        return await registry.set_person(connection, person, thresholds, care_level)


async def _list(name: str | None, limit: int, config: Path | None) -> list[registry.Person]:
    async with connected(load_settings(config)) as connection:
        return await registry.people(connection, name=name, limit=limit)


async def _show(person: str, config: Path | None) -> registry.PersonCard:
    async with connected(load_settings(config)) as connection:
        return await registry.show_person(connection, person)
