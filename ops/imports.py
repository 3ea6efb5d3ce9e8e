"""What the commands `import` of device, person and region share: the file, its errors, the summary."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ops.common import connected, fail, load_settings, run
from ops.listing import printable
from schemas.clock import to_datetime
from schemas.csv_file import LineError, encoding_of
from schemas.registry import Kind, Row, rows
from store.imports import Summary, import_file

FileArgument = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, metavar="FILE.csv", help="The file.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check the file and say what would come of it; change nothing.")
]

_ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 with a byte order mark",
    "gb18030": "GB18030 (GBK): see that names look right",
}


def import_command(
    kind: Callable[[int], Kind], path: Path, *, dry_run: bool, as_json: bool, config: Path | None
) -> None:
    """Import a file whose kind is `kind(this year)` and print what came of it; exits with 1 on errors."""
    encoding, summary = run(_import(kind, path, dry_run, config))
    if as_json:
        typer.echo(json.dumps(_as_json(path, encoding, summary, dry_run), ensure_ascii=False, indent=2))
    else:
        _print(path, encoding, summary, dry_run)
    count = len(summary.errors) + summary.more_errors
    if count:
        fail(f"nothing was imported: {count} error{'s' if count > 1 else ''} in {path}")


async def _import(
    kind: Callable[[int], Kind], path: Path, dry_run: bool, config: Path | None
) -> tuple[str, Summary]:
    settings = load_settings(config)
    now = to_datetime(settings.clock.clock().now())
    size = max(1, path.stat().st_size)  # noqa: ASYNC240 - nothing else runs yet
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    screen = Console(stderr=True)
    bars = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    with path.open("rb") as file, bars:
        encoding = encoding_of(file)
        found = _noting(
            rows(file, encoding, kind(now.year)), file, bars, bars.add_task("reading", total=size)
        )

        def step(doing: str) -> None:
            for task in bars.task_ids[
                1:
            ]:  # of these nobody knows how much there is: they pulse till the next
                bars.update(task, total=1, completed=1)
            bars.add_task(doing, total=None)

        async with connected(settings) as connection, connected(settings) as lookout:
            return encoding, await import_file(
                connection, lookout, kind(now.year), found, now, dry_run=dry_run, step=step
            )


def _noting(
    found: Iterable[Row | LineError], file: BinaryIO, bars: Progress, task: TaskID
) -> Iterator[Row | LineError]:
    """Pass rows on and show how far the file is read."""
    for number, row in enumerate(found):
        if number % 1000 == 0:
            bars.update(task, completed=file.tell())
        yield row
    bars.update(task, completed=file.tell())


def _as_json(path: Path, encoding: str, summary: Summary, dry_run: bool) -> dict[str, Any]:
    return {
        "file": str(path),
        "encoding": encoding,
        "dry_run": dry_run,
        **asdict(summary),
        "unchanged": summary.unchanged,
        "errors": [error._asdict() for error in summary.errors],
    }


def _print(path: Path, encoding: str, summary: Summary, dry_run: bool) -> None:
    for warning in summary.warnings:
        typer.echo(f"warning: {printable(warning)}", err=True)
    for error in summary.errors:
        typer.echo(f"line {error.line}: {printable(error.said)}", err=True)
    if summary.more_errors:
        typer.echo(f"... and {summary.more_errors} more", err=True)
    if summary.errors:
        return
    names = ("rows", "new", "changed", "moved", "unchanged")
    table = Table(*names, title=Text(f"{printable(path)}, {_ENCODINGS[encoding]}"), title_justify="left")
    table.add_row(*(str(getattr(summary, name)) for name in names))
    Console().print(table)
    if dry_run:
        typer.echo("nothing was changed: this was a dry run")
