"""The one table: a line a figure, with the target that DESIGN section 9 sets for it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Column, Table

SHOWN: Final = 240
"""Characters of a failure in the table: the end says what it was, the JSON has all of it."""


@dataclass(frozen=True)
class Line:
    """One figure as it is shown."""

    what: str
    measured: str
    target: str = ""


@dataclass(frozen=True)
class Part:
    """What came of one part of the bench: its lines, and all its figures for the JSON."""

    name: str
    lines: list[Line]
    figures: dict[str, Any] = field(default_factory=dict)


def not_measured(name: str, why: str) -> Part:
    """Return a part that tells why it has no figures."""
    return Part(name, [Line("not measured", why[-SHOWN:])], {"not_measured": why})


def table(parts: Iterable[Part], title: str) -> Table:
    """Show every part as a section."""
    shown = Table(Column(no_wrap=True), "measured", "target", title=title)
    for part in parts:
        shown.add_section()
        shown.add_row(f"[bold]{part.name}")
        for line in part.lines:
            shown.add_row(f"  {line.what}", line.measured, line.target)
    return shown


def whole(value: float) -> str:
    """Write a number with thousands set apart."""
    return f"{value:,.0f}"
