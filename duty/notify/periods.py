"""Periods of the on-call calendar: hours of days, holidays and the days that are worked in their stead.

A period that passes midnight belongs to the day on which it begins: Friday's night reaches into Saturday.
"""

import re
from datetime import date, datetime
from typing import Annotated, Final, NamedTuple

from pydantic import BeforeValidator, Field

from duty.notify.recipients import as_list
from rules.schedule import Schedule

_SPAN: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?", re.ASCII)


class Span(NamedTuple):
    """Days from the first to the last, both included."""

    first: date
    last: date


def _span(given: object) -> Span:
    match = _SPAN.fullmatch(given) if isinstance(given, str) else None
    if match:
        span = Span(date.fromisoformat(match[1]), date.fromisoformat(match[2] or match[1]))
        if span.first <= span.last:
            return span
    raise ValueError("days are written '2026-10-01' or '2026-10-01..2026-10-07'")


Spans = Annotated[
    tuple[Annotated[Span, BeforeValidator(_span)], ...], BeforeValidator(as_list), Field(max_length=400)
]


class Period(Schedule):
    """Hours of weekdays as rules have them, and of the calendar: `dates` alone, `not_on`, `also_on`."""

    dates: Spans = ()
    not_on: Spans = ()
    also_on: Spans = ()

    def covers(self, moment: datetime) -> bool:
        """Say whether a moment lies within."""
        local = moment.astimezone(self.zone)
        minute, day = local.hour * 60 + local.minute, local.toordinal()
        if self.begin < self.end:
            return self.begin <= minute < self.end and self._is_day(date.fromordinal(day))
        if minute >= self.begin:
            return self._is_day(date.fromordinal(day))
        return minute < self.end and self._is_day(date.fromordinal(day - 1))

    def _is_day(self, day: date) -> bool:
        usual = day.weekday() in self.days and (not self.dates or _has(self.dates, day))
        return _has(self.also_on, day) or (usual and not _has(self.not_on, day))


def _has(spans: Spans, day: date) -> bool:
    return any(span.first <= day <= span.last for span in spans)
