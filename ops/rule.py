"""`carebell rule`: check, explain, list, show and apply the rules that say what is an alarm."""

import asyncio
import getpass
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.text import Text

from ops.backtest import backtest
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.listing import printable, show_list, table
from rules import explain as explanations
from rules import ruleset
from rules.ruleset import RuleSet
from schemas.errors import UsageError
from store import rule_sets
from store.dead_desk import is_bridge_there
from store.rule_sets import PersonThresholds, RuleSetVersion

app = typer.Typer(no_args_is_help=True, help="Check, explain, list and apply the rules.")
app.command()(backtest)

_LISTED: Final = ("version", "in_force", "applied_at", "applied_by", "used_at", "refused")
POLL: Final = 0.05
PATIENCE: Final = 10.0

_File = Annotated[Path, typer.Argument(metavar="FILE", help="The rule file.")]
_FileOrInForce = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="The rule file. [default: the rules in force]")
]


class Checked(BaseModel):
    """What a check found: the rules and thresholds of a file, and people's limits that no rule asks for."""

    file: str
    rules: int
    thresholds: dict[str, float]
    unknown: list[PersonThresholds]


@app.command()
def check(
    path: _FileOrInForce = None,
    people: Annotated[
        bool, typer.Option("--people", help="Also list people's own limits that no rule asks for.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say what is wrong with a rule file: line, rule, key and what is allowed; nothing is changed.

    Exit code 1: something is wrong, with the file or, with --people, with somebody's limits.

    Example: carebell rule check my-rules.toml --people
    """
    rules = _load(path) if path else run(_in_force(config))
    unknown = run(_unknown(rules, config)) if people else []
    if as_json:
        found = Checked(file=str(path or ""), rules=rules.count, thresholds=rules.thresholds, unknown=unknown)
        typer.echo(found.model_dump_json(indent=2))
    else:
        limits = ", ".join(f"{name} = {value:g}" for name, value in rules.thresholds.items())
        typer.echo(
            f"{path or 'the rules in force'}: {rules.count} rules, {limits or 'no thresholds'}: in order"
        )
        if unknown:
            Console().print(table("limits that no rule asks for", ("person", "name", "thresholds"), unknown))
    if unknown:
        raise typer.Exit(1)


@app.command()
def explain(path: _FileOrInForce = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Say in Chinese and English what each rule does.

    Example: carebell rule explain my-rules.toml
    """
    rules = _load(path) if path else run(_in_force(config))
    found = explanations.explain(rules)
    if as_json:
        typer.echo(TypeAdapter(list[explanations.Explained]).dump_json(found, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for each in found:
        console.print(Text(f"{each.number:>3}  {each.zh}"))
        console.print(Text(f"     {each.en}"))


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many.")] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the versions of the rules, the newest first.

    Example: carebell rule list
    """
    show_list("versions", _LISTED, run(_list(limit, config)), limit, as_json=as_json)


@app.command()
def show(
    version: Annotated[
        int | None, typer.Argument(min=1, metavar="[VERSION]", help="[default: the one in force]")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print the file of a version, word for word: to change it, or to apply it again.

    Example: carebell rule show 3 > before.toml
    """
    typer.echo(run(_source(version, config)), nl=False)


@app.command()
def apply(
    path: _File,
    by: Annotated[str, typer.Option("--by", help="Who does it. [default: the login name]")] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let the bridge decide by these rules from now on, as a new version; a wrong file changes nothing.

    Without a bridge they are written down, and it starts with them. Exit code 1: the bridge did not take
    them.

    Example: carebell rule apply my-rules.toml
    """
    rules = _load(path)
    done = run(_apply(rules.text, by or _login_name(), config))
    if as_json:
        typer.echo(done.model_dump_json(indent=2))
    elif done.in_force:
        typer.echo(f"version {done.version} is in force since {printable(done.used_at)}")
    if done.refused:
        fail(f"the bridge refuses version {done.version} and goes on as before: {done.refused}")


def _load(path: Path) -> RuleSet:
    """Read a rule file; exit with 2 if there is none, with 1 if something is wrong in it."""
    if not path.is_file():
        fail(f"{path}: no such file", 2)
    try:
        return ruleset.load(path)
    except UsageError as error:
        fail(str(error))


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        fail("this process has no login name: say who you are with --by NAME", 2)


async def _in_force(config: Path | None) -> RuleSet:
    """Return the rules in force; before a bridge ever ran, those with which it would start."""
    settings = load_settings(config)
    async with connected(settings) as connection:
        text = await rule_sets.source(connection)
    if text is not None:
        return ruleset.parse(text, "the rules in force")
    return ruleset.load(Path(settings.ingest.rules) if settings.ingest.rules else ruleset.SHIPPED)


async def _unknown(rules: RuleSet, config: Path | None) -> list[PersonThresholds]:
    """Return the people who have limits that no rule asks for, and these limits."""
    async with connected(load_settings(config)) as connection:
        found = await rule_sets.thresholds(connection)
    unknown = (
        each.model_copy(
            update={
                "thresholds": {
                    name: value for name, value in each.thresholds.items() if name not in rules.thresholds
                }
            }
        )
        for each in found
    )
    return [each for each in unknown if each.thresholds]


async def _list(limit: int, config: Path | None) -> list[RuleSetVersion]:
    async with connected(load_settings(config)) as connection:
        return await rule_sets.versions(connection, limit)


async def _source(version: int | None, config: Path | None) -> str:
    async with connected(load_settings(config)) as connection:
        text = await rule_sets.source(connection, version)
    if text is None:
        fail(f"there is no version {version} of the rules" if version else "no bridge ever ran here")
    return text


async def _apply(text: str, by: str, config: Path | None) -> RuleSetVersion:
    """Write a version and wait until the bridge has taken it."""
    async with connected(load_settings(config)) as connection:
        number = await rule_sets.apply(connection, text, by)
        if number is None:
            number = await rule_sets.newest(connection)
            typer.echo(f"carebell: these are the rules of version {number}, applied last", err=True)
        deadline = time.monotonic() + PATIENCE
        while not _is_settled(done := await rule_sets.version(connection, number)):
            if not await is_bridge_there(connection):
                _say(f"version {number} is written down: no bridge runs, it will start with it")
                break
            if await rule_sets.newest(connection) > number:
                fail(f"version {number} was overtaken: somebody applied other rules after it")
            if time.monotonic() > deadline:
                fail(f"version {number} is written down, but the bridge has not taken it: see its log")
            await asyncio.sleep(POLL)
        return done


def _is_settled(version: RuleSetVersion) -> bool:
    return version.used_at is not None or version.refused is not None


def _say(sentence: str) -> None:
    typer.echo(f"carebell: {sentence}", err=True)
