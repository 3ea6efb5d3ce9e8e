"""`carebell report`: the figures of a month, on the terminal, for a spreadsheet, or as a page to print."""

from datetime import timedelta, timezone
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from duty.figures import Question, Report, read
from duty.handling import BadOrderError
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.listing import printable
from ops.report_files import as_csv, as_page
from ops.report_tables import Sheet, heading, remark, sheets
from schemas.clock import to_datetime
from schemas.settings import Settings

_SHANGHAI: Final = timezone(timedelta(hours=8), "CST")


def report(
    month: Annotated[
        str, typer.Option("--month", help="Which month in Asia/Shanghai: 2026-10. [default: the present one]")
    ] = "",
    region: Annotated[
        str,
        typer.Option("--region", help="Only this region, or the beginning of its code: 4306."),
    ] = "",
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a file for a spreadsheet instead.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page to print (A4) instead.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Report how the alarms of a month were answered, by shift, region and operator.

    What each figure means stands in docs/figures.md.

    Example: carebell report --month 2026-10 --region 4306 --html october.html
    """
    if sum((csv is not None, html is not None, as_json)) > 1:
        fail("one of --csv, --html and --json at a time", 2)
    settings = load_settings(config)
    now = settings.clock.clock().now()
    asked = Question(month or f"{to_datetime(now).astimezone(_SHANGHAI):%Y-%m}", region, now)
    try:
        asked.span()
    except BadOrderError as error:
        fail(f"--{error}", 2)
    found = run(_read(settings, asked))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    elif csv is not None:
        _write(csv, as_csv(found))
    elif html is not None:
        _write(html, as_page(found))
    else:
        _print(found)


async def _read(settings: Settings, asked: Question) -> Report:
    async with connected(settings) as connection:
        return await read(connection, asked, settings.duty)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        fail(f"{file}: cannot be written: {error.strerror}")
    typer.echo(f"wrote {file}")


def _print(found: Report) -> None:
    console = Console(highlight=False)
    console.print(Text(heading(found)))
    console.print(Text(remark(found)))
    for sheet in sheets(found):
        console.print(_table(sheet))
        if sheet.note:
            console.print(Text(sheet.note))


def _table(sheet: Sheet) -> Table:
    table = Table(title=Text(sheet.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, column in enumerate(sheet.columns):
        table.add_column(column, justify="right" if place else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
