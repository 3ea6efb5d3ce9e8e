"""One value of a vendor's message: numbers as numbers or texts, truth in its many spellings, times.

Rules of this file: what means "nothing" is None; what makes no sense raises ValueError in words for a dead
letter. Nothing else is raised, whatever JSON brings.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

import numpy as np
import numpy.typing as npt

MISSING: Final = object()
"""Stands for a value that is not there at all; null is there, and nothing."""

FARTHEST: Final = 2**53
"""Beyond it a number is not exact; no time lies farther before 1970, in milliseconds."""

_LATEST: Final = 7_258_118_400_000
"""Milliseconds: the year 2200. What is later is no time, but digits of another form."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE: Final = re.compile(r"0*([0-9]{1,20})(?:\.0*)?")
_BEYOND: Final = 1e30
_SHOWN: Final = 60
_TRUE: Final = frozenset({"true", "1"})
_FALSE: Final = frozenset({"false", "0"})
_DIRECTIVES: Final = {
    "d": ("day", 2),
    "m": ("month", 2),
    "y": ("year", 2),
    "Y": ("year", 4),
    "H": ("hour", 2),
    "M": ("minute", 2),
    "S": ("second", 2),
}
_CENTURY: Final = 2000
_SMALLEST_MS: Final = 100_000_000_000
"""As seconds it lies in the year 5138, as milliseconds in 1973: what is smaller is meant as seconds."""

Parse = Callable[[Any], int | None]
"""From a value to epoch milliseconds; None for nothing."""


def shown(value: object) -> str:
    """Return a value for a sentence, cut short."""
    text = f"{value:.8g}" if isinstance(value, float) else ascii(value) if _huge(value) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _huge(value: object) -> bool:
    return isinstance(value, int) and abs(value) > FARTHEST**4


def number(value: Any) -> float | None:  # noqa: ANN401 - JSON can be anything
    """Return a finite number; a text may hold one."""
    if value is None:
        return None
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")  # noqa: TRY004 - one kind of error for all
    if isinstance(value, int | float):
        if not -_BEYOND < value < _BEYOND:
            raise ValueError("the number is beyond all bounds")
        return value
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if _NUMBER.fullmatch(text):
            found = float(text)
            if math.isfinite(found):
                return found
    raise ValueError(f"{shown(value)} is no number")


def plain(value: Any) -> str | None:  # noqa: ANN401 - JSON can be anything
    """Return a scalar as the text by which values are compared, "01" and 1.0 as 1; None for what is none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value) if abs(value) <= FARTHEST else "beyond"
    if not isinstance(value, str):
        return None
    text = value.strip().casefold()
    whole = _WHOLE.fullmatch(text) if "0" <= text[:1] <= "9" else None
    return whole[1] if whole else text


def neither(value: object) -> str:
    """Say that a value is no truth."""
    return f"{shown(value)} is neither true nor false"


def spellings(values: Iterable[Any]) -> frozenset[str]:
    """Return the texts that equal one of these values: true and 1 are the same, so are false and 0."""
    found = {plain(value) or "" for value in values}
    for same in (_TRUE, _FALSE):
        if found & same:
            found |= same
    return frozenset(found)


TRUTHS: Final = spellings((True, "on", "yes"))
LIES: Final = spellings((False, "off", "no"))


def time_parser(form: str, zone: tzinfo) -> Parse:
    """Return what reads times of one form: ms, s, epoch, iso, or a pattern of %d %m %y %Y %H %M %S."""
    if form in ("ms", "s", "epoch"):
        return Epoch({"ms": 1, "s": 1000, "epoch": 0}[form])
    if form == "iso":
        return lambda value: _iso(value, zone)
    return _pattern(form, zone)


@dataclass(frozen=True)
class Epoch:
    """Read times since 1970: `factor` makes them milliseconds, 0 for one that their size tells."""

    factor: int

    def __call__(self, value: Any) -> int | None:  # noqa: ANN401 - JSON can be anything
        """Return epoch milliseconds, None for nothing; raises ValueError."""
        found = number(value)
        if found is None:
            return None
        factor = self.factor or (1 if abs(found) >= _SMALLEST_MS else 1000)
        return _within(round(found * factor), value)

    def together(self, values: list[int]) -> npt.NDArray[np.int64] | None:
        """Return the same of many whole numbers, shape (n,); None if one of them makes no sense."""
        try:
            found = np.array(values, np.int64)
        except OverflowError:
            return None
        if ((found <= -FARTHEST) | (found >= FARTHEST)).any():
            return None
        found *= self.factor or np.where(np.abs(found) >= _SMALLEST_MS, 1, 1000)
        return found if ((found >= -FARTHEST) & (found < _LATEST)).all() else None


def _within(milliseconds: int, value: object) -> int:
    if not -FARTHEST <= milliseconds < _LATEST:
        raise ValueError(f"{shown(value)} is no time")
    return milliseconds


def _iso(value: Any, zone: tzinfo) -> int | None:  # noqa: ANN401 - JSON can be anything
    if value is None or value == "":
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        return _milliseconds(found if found.tzinfo else found.replace(tzinfo=zone))
    except (AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"{shown(value)} is no time of ISO 8601") from error


def _milliseconds(at: datetime) -> int:
    return round((at.astimezone(UTC) - _EPOCH).total_seconds() * 1000)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _pattern(form: str, zone: tzinfo) -> Parse:
    """Return what reads a pattern; raises ValueError if it is none."""
    parts = re.split(r"%(.)", form)
    if unknown := set(parts[1::2]) - _DIRECTIVES.keys():
        raise ValueError(f"%{min(unknown)} is not known: %d %m %y %Y %H %M %S are")
    named = [_DIRECTIVES[letter] for letter in parts[1::2]]
    names = [name for name, _ in named]
    if len(set(names)) < len(names) or not {"year", "month", "day"} <= set(names):
        raise ValueError("a time has a year, a month and a day, each once")
    apart = any(parts[2:-1:2])  # signs between the numbers: then a leading zero may be missing
    text = re.escape(parts[0])
    for (_, width), after in zip(named, parts[2::2], strict=True):
        text += rf"([0-9]{{{1 if apart and width == 2 else width},{width}}})" + re.escape(after)  # noqa: PLR2004
    matcher = re.compile(text.replace(r"\ ", r"\s+"))
    width = sum(each for _, each in named)
    short_year = "y" in parts[1::2]

    def parse(value: Any) -> int | None:  # noqa: ANN401 - JSON can be anything
        if value is None or value == "":
            return None
        written = str(value).zfill(width) if type(value) is int and 0 <= value < 10**width else value
        found = matcher.fullmatch(written.strip()) if isinstance(written, str) else None
        if not found:
            raise ValueError(f"{shown(value)} is no time as {form}")
        numbers = dict(zip(names, map(int, found.groups()), strict=True))
        if short_year:
            numbers["year"] += _CENTURY
        try:
            return _milliseconds(datetime(**numbers, tzinfo=zone))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{shown(value)} is no time as {form}: {error}") from error

    return parse
