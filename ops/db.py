"""`carebell db`: bring the database up to date and say what it is."""

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from ops.common import ConfigOption, JsonOption, connected, load_settings, run
from schemas.clock import to_datetime
from store import migrate as migrations

app = typer.Typer(no_args_is_help=True, help="Look after the database.")


@app.command()
def migrate(config: ConfigOption = None) -> None:
    """Apply the migrations that the database lacks; safe to run again.

    Example: carebell db migrate --config carebell.toml
    """
    applied = run(_migrate(config))
    typer.echo(
        "\n".join(f"applied {name}" for name in applied) or "nothing to do: the database is up to date"
    )


async def _migrate(config: Path | None) -> list[str]:
    settings = load_settings(config)
    async with connected(settings) as connection:
        return await migrations.migrate(connection, to_datetime(settings.clock.clock().now()))


@app.command()
def status(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show edition, server and migrations; exits with 1 if any are missing.

    Example: carebell db status --json
    """
    found = run(_status(config))
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        table = Table("migration", "state", title=f"{found.edition}, {found.server}")
        for name in found.applied:
            table.add_row(name, "applied")
        for name in found.missing:
            table.add_row(name, "missing: run `carebell db migrate`")
        Console().print(table)
    raise typer.Exit(1 if found.missing else 0)


async def _status(config: Path | None) -> migrations.Status:
    async with connected(load_settings(config)) as connection:
        return await migrations.status(connection)
