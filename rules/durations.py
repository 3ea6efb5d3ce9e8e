"""Times as rule files write them: durations, hours of the day, time zones."""

import re
from datetime import date, datetime, time
from functools import cache
from typing import Annotated, Final
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, Field

from schemas.clock import SECOND

MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
LONGEST: Final = 366 * DAY
"""No duration of a rule is longer."""

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR}
_DURATION = re.compile(r"(\d{1,8})([smh])")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


def _duration(value: object) -> int:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) * _UNITS[match[2]] > LONGEST:
        raise ValueError("a duration is a number and a unit, at most a year: '30s', '10m', '2h'")
    return int(match[1]) * _UNITS[match[2]]


def clock_minute(value: object) -> int:
    """Return a time of the day, 00:00 to 24:00, in minutes since midnight; raises ValueError."""
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a time of the day is written '06:00', from '00:00' to '24:00'")
    return int(match[1] or 24) * 60 + int(match[2] or 0)


def _zone(value: object) -> ZoneInfo:
    if not isinstance(value, str) or value not in _zones():
        raise ValueError("a time zone is a name such as 'Asia/Shanghai'")
    return ZoneInfo(value)


@cache
def _zones() -> frozenset[str]:
    """Return the names that mean the same on every machine, without leap seconds."""
    return frozenset(name for name in available_timezones() if "/" in name or name == "UTC")


Duration = Annotated[int, BeforeValidator(_duration)]
"""'0s' or longer, in microseconds."""
Interval = Annotated[int, BeforeValidator(_duration), Field(gt=0)]
"""Longer than '0s', in microseconds."""
ClockMinute = Annotated[int, BeforeValidator(clock_minute)]
"""A time of the day, in minutes since midnight."""
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]

SHANGHAI: Final = ZoneInfo("Asia/Shanghai")


def wall(moment: int, zone: ZoneInfo) -> datetime:
    """Return what the clocks of a zone show at a moment, to the second."""
    return datetime.fromtimestamp(moment // SECOND, zone)


def moment_of(day: date, minute: int, zone: ZoneInfo) -> int:
    """Return the moment at which the clocks of a zone show so many minutes of a day."""
    return int(datetime.combine(day, time(minute // 60, minute % 60), zone).timestamp()) * SECOND
