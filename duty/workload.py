"""What a month's alarms asked of staff, against ISA-18.2 and EEMUA 191.

Alarms are counted in windows of 10 minutes of the clock, of every class, without those that did not stand
before staff. An operator is at work in an hour in which they acknowledged something; in an hour in which
nobody did, one person is taken to be there. About 1 alarm per operator and window is what one person can bear
for long; a flood begins above 10 and ends below 5.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from rules.backtest import BEARABLE, FLOOD_BEGINS, FLOOD_ENDS
from schemas.clock import SECOND, Moment, to_datetime

WINDOW: Final = 600
HOUR: Final = 3600
_SHANGHAI: Final = 8 * HOUR
_DAY_HOURS: Final = 24


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class HourLoad(_Row):
    """An hour of the day in Shanghai, over all days; rates are alarms per operator and 10 minutes."""

    hour: int
    alarms: int
    mean: float | None
    peak: float


class OperatorLoad(_Row):
    """What one operator acknowledged, of every class."""

    name: str
    alarms: int
    hours: int = Field(description="hours of the clock in which they acknowledged anything")
    mean: float = Field(description="alarms per 10 minutes of these hours")


class Load(_Row):
    """Rates are alarms per operator and 10 minutes, over the part of the month that is over."""

    windows: int
    alarms: int
    mean: float | None
    peak: float
    peak_at: Moment | None = Field(description="when the worst window began")
    bearable: float = BEARABLE
    above_bearable: float | None = Field(description="share of the windows")
    floods: int
    in_flood: float | None = Field(description="share of the windows")
    by_hour: list[HourLoad]
    by_operator: list[OperatorLoad]


@dataclass(frozen=True)
class Work:
    """Alarms by window, operators by hour, each by its first second; each operator's alarms and hours."""

    alarms: Mapping[int, int] = field(default_factory=dict)
    operators: Mapping[int, int] = field(default_factory=dict)
    each: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def at_work(self, window: int) -> int:
        """Return how many operators a window has, at least one."""
        return max(1, self.operators.get(window // HOUR * HOUR, 0))


def load_of(work: Work, start: int, end: int) -> Load:
    """Return the load from `start` up to `end`, seconds since 1970; `start` begins an hour."""
    windows = range(start, end, WINDOW)
    rates = [work.alarms.get(window, 0) / work.at_work(window) for window in windows]
    floods, in_flood = _floods(rates)
    peak = max(rates, default=0.0)
    return Load(
        windows=len(windows),
        alarms=sum(work.alarms.get(window, 0) for window in windows),
        mean=sum(rates) / len(rates) if rates else None,
        peak=peak,
        peak_at=to_datetime(windows[rates.index(peak)] * SECOND) if peak else None,
        above_bearable=sum(rate > BEARABLE for rate in rates) / len(rates) if rates else None,
        floods=floods,
        in_flood=in_flood / len(rates) if rates else None,
        by_hour=_by_hour(work, windows, rates),
        by_operator=[
            OperatorLoad(name=name, alarms=alarms, hours=hours, mean=alarms / (hours * HOUR / WINDOW))
            for name, (alarms, hours) in sorted(work.each.items())
        ],
    )


def _floods(rates: list[float]) -> tuple[int, int]:
    """Return how many floods there were, and how many windows they took."""
    flood, floods, windows = False, 0, 0
    for rate in rates:
        begins = rate > FLOOD_BEGINS and not flood
        flood = begins or (flood and rate >= FLOOD_ENDS)
        floods += begins
        windows += flood
    return floods, windows


def _by_hour(work: Work, windows: range, rates: list[float]) -> list[HourLoad]:
    alarms: Counter[int] = Counter()
    seen: dict[int, list[float]] = {hour: [] for hour in range(_DAY_HOURS)}
    for window, rate in zip(windows, rates, strict=True):
        hour = (window + _SHANGHAI) // HOUR % _DAY_HOURS
        alarms[hour] += work.alarms.get(window, 0)
        seen[hour].append(rate)
    return [
        HourLoad(
            hour=hour,
            alarms=alarms[hour],
            mean=sum(found) / len(found) if found else None,
            peak=max(found, default=0.0),
        )
        for hour, found in seen.items()
    ]
