"""`carebell db`: bring the database up to date, keep its history bounded, say what it is."""

import json
import math
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ops.common import ConfigOption, JsonOption, connected, load_settings, run
from schemas.clock import to_datetime
from store import migrate as migrations
from store.growth import SHARE
from store.maintain import Maintained
from store.maintain import maintain as keep_bounded
from store.sizes import Sizes, TableSize, sizes

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
def maintain(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Roll up what came, make room ahead, drop what is kept no longer; `serve` does so every hour.

    Exits with 1 and a sentence if a person must see to something, such as a disk that fills.

    Example: carebell db maintain --config carebell.toml
    """
    done = run(_maintain(config))
    if done is None:
        _show({"busy": True}, "another `carebell db maintain` is at work: nothing done here", as_json=as_json)
    _show(asdict(done), _sentences(done), as_json=as_json, wrong=done.wrong)


async def _maintain(config: Path | None) -> Maintained | None:
    settings = load_settings(config)
    now = to_datetime(settings.clock.clock().now())
    console = Console(stderr=True)
    columns = TextColumn("rolling up batches"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    async with connected(settings) as connection:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None, visible=False)

            def progress(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total, visible=True)

            return await keep_bounded(connection, settings.history, now, progress)


def _show(found: dict[str, Any], text: str, *, as_json: bool, wrong: list[str] | None = None) -> NoReturn:
    typer.echo(json.dumps(found, default=str) if as_json else text)
    for sentence in wrong or []:
        typer.echo(f"carebell: {sentence}", err=True)
    raise typer.Exit(1 if wrong else 0)


def _sentences(done: Maintained) -> str:
    dropped = done.dropped
    lines = [
        f"rolled up {done.rolled_up.batches} batches, {sum(done.rolled_up.rows.values())} rows",
        f"made {len(done.made)} chunks, dropped {len(dropped.gone)} and {dropped.strays} strays",
    ]
    if dropped.needed:
        lines.append(f"kept {len(dropped.needed)} old chunks: the bridge may still need them")
    if dropped.in_use:
        lines.append(f"kept {len(dropped.in_use)} old chunks: somebody reads them all the time; next time")
    return "\n".join(lines)


@app.command()
def status(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show migrations, sizes, growth and how long the disk lasts; exits with 1 if migrations are missing.

    Example: carebell db status --json
    """
    found, history = run(_status(config))
    if as_json:
        typer.echo(json.dumps(_finite(asdict(found) | (asdict(history) if history else {})), default=str))
    else:
        console = Console()
        console.print(_migrations(found))
        if history:
            console.print(_tables(history))
            console.print(_totals(history))
    raise typer.Exit(1 if found.missing else 0)


async def _status(config: Path | None) -> tuple[migrations.Status, Sizes | None]:
    settings = load_settings(config)
    async with connected(settings) as connection:
        found = await migrations.status(connection)
        if found.missing:
            return found, None
        edition = await migrations.edition_of(connection)
        now = to_datetime(settings.clock.clock().now())
        return found, await sizes(connection, edition, settings.history, now)


def _finite(found: dict[str, Any]) -> dict[str, Any]:
    """Say -1 days left where the database does not grow, for JSON knows no infinity."""
    return found | {"days_left": -1} if found.get("days_left") == math.inf else found


def _migrations(found: migrations.Status) -> Table:
    table = Table("migration", "state", title=f"{found.edition}, {found.server}")
    for name in found.applied:
        table.add_row(name, "applied")
    for name in found.missing:
        table.add_row(name, "missing: run `carebell db migrate`")
    return table


def _tables(history: Sizes) -> Table:
    table = Table(
        *("table", "size", "rows", "a day", "from", "to", "kept", "chunks"),
        title="history",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for each in history.tables:
        table.add_row(*_row(each))
    return table


def _row(each: TableSize) -> tuple[str, ...]:
    return (
        each.table,
        _size(each.total_bytes),
        "unknown" if each.rows is None else f"{each.rows:,}",
        "unknown" if each.rows_a_day is None else f"{each.rows_a_day:,.0f}",
        *("" if moment is None else f"{moment:%Y-%m-%d}" for moment in (each.oldest, each.newest)),
        f"{each.kept_days} d",
        str(each.chunks),
    )


def _totals(history: Sizes) -> Table:
    disk, growth = history.disk, history.growth_a_day
    table = Table.grid(padding=(0, 2))
    table.add_row("database", _size(history.database_bytes))
    table.add_row(
        "growth", "unknown until a day was maintained" if growth is None else f"{_size(growth)} a day"
    )
    table.add_row(
        "disk",
        "not measured: name a directory on it, history.disk in the configuration"
        if disk is None
        else f"{_size(disk.free_bytes)} of {_size(disk.size_bytes)} free ({disk.directory})",
    )
    table.add_row("days left", _days(history.days_left))
    table.add_row("active indexes", _indexes(history))
    table.add_row("roll-ups", _lag(history))
    table.add_row("maintained", _moment(history.maintained_at))
    return table


def _days(left: float | None) -> str:
    if left is None:
        return "unknown"
    return "it does not grow" if left == math.inf else f"{left:,.0f}"


def _indexes(history: Sizes) -> str:
    """Say whether the indexes that are written to fit in the memory, and what to do if they do not."""
    text = f"{_size(history.index_bytes)} in chunks of {history.chunk_days} d"
    if history.index_bytes <= history.index_share_bytes:
        return text
    return f"{text}; for speed set shared_buffers to {_size(history.index_bytes * SHARE)}, if memory allows"


def _lag(history: Sizes) -> str:
    behind = history.batch - history.rolled_up_batch
    return f"{behind} batches behind, up to {_moment(history.rolled_up_until)}" if behind else "up to date"


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _size(count: float) -> str:
    """Write bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:  # noqa: PLR2004 - powers of ten, as disks are sold
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
