"""Tables on a terminal of what people and devices wrote: as text, never as markup or control characters."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

import typer
from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text

_SHANGHAI: Final = timezone(timedelta(hours=8), "CST")  # one zone, no summer time: needs no zone files


def printable(value: object) -> str:
    """Return a value as one line; what would move the cursor or hide letters becomes U+FFFD."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(_SHANGHAI):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        return ", ".join(map(printable, value))
    if isinstance(value, dict):
        return ", ".join(f"{printable(name)}={printable(each)}" for name, each in value.items())
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def table(title: str, columns: Sequence[str], found: Iterable[BaseModel]) -> Table:
    """Lay rows out under the names that they have in files and in JSON."""
    shown = Table(title=Text(title), title_justify="left")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for each in found:
        shown.add_row(*(Text(printable(getattr(each, column))) for column in columns))
    return shown


def show_list(
    title: str, columns: Sequence[str], found: Sequence[BaseModel], limit: int, *, as_json: bool
) -> None:
    """Print a list as a table or as JSON, and on standard error that there may be more."""
    if as_json:
        typer.echo(TypeAdapter(Sequence[BaseModel]).dump_json(list(found), indent=2, serialize_as_any=True))
    else:
        Console().print(table(f"{len(found)} {title}", columns, found))
    if len(found) == limit:
        typer.echo(f"carebell: there may be more than {limit}: see --limit", err=True)


def print_fields(shown: BaseModel) -> None:
    """Print the fields of one thing, a line each."""
    for name in type(shown).model_fields:
        Console(highlight=False, soft_wrap=True).print(Text(f"{name:18} {printable(getattr(shown, name))}"))
