"""The boards' queries, and what Grafana makes of one before the database sees it.

`queries/boards.sql` holds them with Grafana's macros and variables in them. Grafana itself is not needed to
run one: `expand` does what its PostgreSQL data source would, variables first, macros second.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from store import sql

ROLE: Final = "carebell_board"
"""The role that may read the views the boards read, and nothing else."""

MAX_DATA_POINTS: Final = 1000
SHORTEST_INTERVAL: Final = 60
"""Seconds; the data source is provisioned with the same (grafana/provisioning)."""

_M, _H, _D = 60, 3600, 86_400
_STEPS = (
    *(_M, 2 * _M, 5 * _M, 10 * _M, 15 * _M, 20 * _M, 30 * _M),
    *(_H, 2 * _H, 3 * _H, 6 * _H, 12 * _H, _D, 7 * _D, 30 * _D),
)
"""The seconds that Grafana rounds an interval to; its thresholds between them lie a little elsewhere."""

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::(\w+))?\})")
_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")
_ESCAPED = {"'": "''", '"': '\\"'}


def queries() -> dict[str, str]:
    """Return the boards' queries by name, with Grafana's macros and variables in them."""
    return {name: text.decode() for name, text in sql.load("boards").items()}


def expand(query: str, start: datetime, end: datetime, variables: Mapping[str, str]) -> str:
    """Return a query as Grafana sends it for a time range and the values of the board's variables.

    Raises ValueError for a macro or a format of a variable that the boards do not use.
    """
    known = {"__searchFilter": "%", "__interval": _short(interval(end - start)), **variables}
    macros: dict[str, Callable[[list[str]], str]] = {
        "__timeFilter": lambda given: f"{given[0]} BETWEEN {_moment(start)} AND {_moment(end)}",
        "__timeFrom": lambda _: _moment(start),
        "__timeTo": lambda _: _moment(end),
    }

    def variable(match: re.Match[str]) -> str:
        name, form = match[1] or match[2], match[3]
        return _value(known[name], form) if name in known else match[0]

    def macro(match: re.Match[str]) -> str:
        if match[1] not in macros:
            raise ValueError(f"{match[0]}: the boards use {', '.join(macros)} only")
        return macros[match[1]]([each.strip() for each in match[2].split(",")])

    return _MACRO.sub(macro, _VARIABLE.sub(variable, query))


def interval(length: timedelta) -> int:
    """Return about the seconds that Grafana lets one point stand for in a range of this length."""
    wanted = length.total_seconds() / MAX_DATA_POINTS
    return max(SHORTEST_INTERVAL, min(_STEPS, key=lambda step: abs(step - wanted)))


def _value(value: str, form: str | None) -> str:
    """Write a variable's value; without a format a single value is escaped and not quoted."""
    if form is None:
        return value.replace("'", "''")
    if form != "sqlstring":
        raise ValueError(f"{form}: the boards use the format sqlstring only")
    return "'" + "".join(_ESCAPED.get(letter, letter) for letter in value) + "'"


def _moment(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"


def _short(seconds: int) -> str:
    """Write an interval in its largest unit: 60 is 1m, 604800 is 7d."""
    length, unit = next(
        (length, unit) for length, unit in ((_D, "d"), (_H, "h"), (_M, "m")) if not seconds % length
    )
    return f"{seconds // length}{unit}"
