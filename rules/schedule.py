"""Hours of some days, by the clocks of a time zone."""

from datetime import datetime
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rules.durations import DAY, MINUTE, SHANGHAI, ClockMinute, Zone
from rules.expression import Mask
from rules.look import Ints
from schemas.clock import SECOND

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_THURSDAY: Final = 3
"""On which 1970 began."""
_QUARTER: Final = 15 * MINUTE
"""Clocks are only ever set at a quarter of an hour."""
_LATEST: Final = 4_102_444_800 * SECOND
"""The year 2100: no reading is from later, and no zone is known so far ahead."""


def _days(value: object) -> frozenset[int]:
    found: set[int] = set()
    for part in value.split(",") if isinstance(value, str) else [""]:
        first, dash, last = (each.strip() for each in part.partition("-"))
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError("days are written 'Mon-Fri' or 'Sat,Sun'")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found |= {(start + step) % 7 for step in range((end - start) % 7 + 1)}
    return frozenset(found)


class Schedule(BaseModel):
    """`days` count from Monday; `begin` and `end` in minutes since midnight; over it if `end` comes first."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    days: Annotated[frozenset[int], BeforeValidator(_days)] = frozenset(range(7))
    begin: ClockMinute = Field(default=0, alias="from")
    end: ClockMinute = Field(default=24 * 60, alias="to")
    zone: Zone = SHANGHAI

    @model_validator(mode="after")
    def _is_long(self) -> "Schedule":
        if self.begin in {self.end, 24 * 60}:
            raise ValueError("`from` and `to` must differ, and `from` must be before 24:00")
        return self

    def __str__(self) -> str:
        days = ",".join(DAYS[day] for day in sorted(self.days))
        return f"{days} {self.begin}-{self.end} {self.zone.key}"

    def holds(self, times: Ints) -> Mask:
        """Say which times lie within, shape (n,)."""
        quarters, which = np.unique(np.clip(times, 0, _LATEST) // _QUARTER, return_inverse=True)
        ahead = np.array([self._ahead(int(each) * _QUARTER) for each in quarters], np.int64)[which]
        local = np.clip(times, 0, _LATEST) + ahead
        minute, day = local % DAY // MINUTE, (local // DAY + _THURSDAY) % 7
        is_day = np.isin(np.arange(-1, 7) % 7, list(self.days))  # the day before Monday is Sunday
        today, yesterday = is_day[day + 1], is_day[day]
        if self.begin < self.end:
            found: Mask = (minute >= self.begin) & (minute < self.end) & today
        else:
            found = ((minute >= self.begin) & today) | ((minute < self.end) & yesterday)
        return found

    def _ahead(self, moment: int) -> int:
        """Return how far the clocks are ahead of UTC."""
        offset = datetime.fromtimestamp(moment // SECOND, self.zone).utcoffset()
        return int(offset.total_seconds()) * SECOND if offset else 0
