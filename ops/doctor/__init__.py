"""`carebell doctor`: look at the whole installation and say what to do about each thing that is not right."""

import asyncio
import json
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.common import ConfigOption, JsonOption, load_settings, run
from ops.doctor.broker import check_broker
from ops.doctor.database import check_database
from ops.doctor.finding import Finding, State
from ops.doctor.installation import (
    check_bridge,
    check_rules,
    check_settings,
    check_sources,
    check_tokens,
)
from schemas.settings import Settings

_STYLE = {State.OK: "green", State.WARNING: "yellow", State.WRONG: "bold red"}


def doctor(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Check settings, broker, database, registry, rules and boards; exits with 1 if anything is wrong.

    It changes nothing. Example: carebell doctor --config carebell.toml
    """
    settings = load_settings(config)
    console = Console(stderr=True)
    with console.status("looking at the installation"):
        findings = run(_look(settings))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        Console().print(_table(findings))
    raise typer.Exit(1 if any(finding.state is State.WRONG for finding in findings) else 0)


async def _look(settings: Settings) -> list[Finding]:
    """Ask broker and database at the same time, for either may be slow to say no."""
    broker, database = await asyncio.gather(
        asyncio.to_thread(lambda: list(check_broker(settings))),
        _collect(settings),
    )
    return [
        *check_settings(settings),
        await check_tokens(settings),
        *check_rules(settings),
        *check_sources(settings),
        *broker,
        *database,
        *await check_bridge(settings),
    ]


async def _collect(settings: Settings) -> list[Finding]:
    return [finding async for finding in check_database(settings)]


def _table(findings: list[Finding]) -> Table:
    wrong = sum(finding.state is State.WRONG for finding in findings)
    warnings = sum(finding.state is State.WARNING for finding in findings)
    table = Table(title=f"{wrong} wrong, {warnings} to look at, of {len(findings)}", title_justify="left")
    for title in ("part", "check", "state", "found", "what to do"):
        table.add_column(title, overflow="fold")
    for each in findings:
        cells = (each.part, each.check, Text(each.state, style=_STYLE[each.state]), each.found, each.advice)
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    return table
