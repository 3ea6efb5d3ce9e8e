"""The people behind devices, for days and weeks: what they do, when they fall, how their body answers.

A day is drawn by itself from the seed, so any day can be had without those before it. Times are microseconds
since 1970; a day is one in Asia/Shanghai, by its number since 1970.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final

from device_sims.knobs import Knobs
from device_sims.person import Pace
from schemas.clock import SECOND

MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
_SHANGHAI: Final = 8 * HOUR
YEAR_DAYS: Final = 365.25

_LIES: Final = (0.2, 1.5)
"""Hours for which somebody lies who fell (assumed)."""
_WALKS: Final = 0.8
_GOES_OUT: Final = 0.35
_BATHES: Final = 0.4
"""Shares of days (assumed)."""


class Doing(Enum):
    """What an elderly person does over a day."""

    SLEEP = Pace(-6, (0, 0), "卧室")
    SIT = Pace(0, (0, 6), "客厅")
    MEAL = Pace(6, (0, 3), "餐厅")
    CHORES = Pace(12, (5, 25), "厨房")
    TOILET = Pace(4, (3, 12), "卫生间")
    BATH = Pace(8, (0, 4), "浴室")
    WALK = Pace(28, (70, 110), "室外")
    OUT = Pace(14, (20, 60), "室外")
    LIE = Pace(18, (0, 0), "地上")  # after a fall

    @property
    def at_home(self) -> bool:
        """Say whether it is done at home."""
        return self not in (Doing.WALK, Doing.OUT)


def day_of(moment: int) -> int:
    """Return the number of the day in Asia/Shanghai."""
    return (moment + _SHANGHAI) // DAY


def midnight(day: int) -> int:
    """Return the moment at which a day begins."""
    return day * DAY - _SHANGHAI


def times(rng: Random, mean: float) -> int:
    """Return how often something happens that happens `mean` times on average (Poisson)."""
    if mean > 30:  # noqa: PLR2004 - where the normal distribution will do
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, n, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        n, product = n + 1, product * rng.random()
    return n


@dataclass
class Day:
    """A person's day: what is done from when on, and when the person falls; `begin` is its midnight."""

    number: int
    begin: int
    starts: list[int]
    doings: list[Doing]
    falls: list[int] = field(default_factory=list)

    def doing(self, moment: int) -> Doing:
        """Return what the person does at a moment of this day."""
        return self.doings[max(0, bisect_right(self.starts, moment) - 1)]

    def stretches(self) -> Iterator[tuple[int, int, Doing]]:
        """Yield from when until when each thing is done."""
        ends = [*self.starts[1:], self.begin + DAY]
        yield from zip(self.starts, ends, self.doings, strict=True)


class Person:
    """Somebody with habits of their own, drawn once."""

    def __init__(self, name: str, knobs: Knobs, seed: int) -> None:
        """Draw the habits of the person of this name."""
        self._key = f"{seed}/{name}/day"
        rng = Random(f"{seed}/{name}")
        self._falls = knobs.falls / YEAR_DAYS
        self._up, self._down = rng.uniform(5.0, 6.8), rng.uniform(20.8, 22.3)
        self.resting = rng.uniform(58, 74)
        self.checks_in = rng.random() < knobs.check_in
        self.always_wears = rng.random() < knobs.always_worn
        self.wears_at_night = self.always_wears or rng.random() < 0.5  # noqa: PLR2004 - assumed
        self._drawer = knobs.drawer
        self._latest: tuple[Day, bool] | None = None

    def day(self, number: int) -> Day:
        """Return the person's day of this number."""
        return self._drawn(number)[0]

    def leaves_it(self, number: int) -> bool:
        """Say whether the wearable lies in a drawer on a day."""
        return self._drawn(number)[1]

    def _drawn(self, number: int) -> tuple[Day, bool]:
        if self._latest is None or self._latest[0].number != number:
            rng = Random(f"{self._key}/{number}")
            self._latest = self._draw(number, rng), not self.always_wears and rng.random() < self._drawer
        return self._latest

    def _draw(self, number: int, rng: Random) -> Day:
        plan = sorted(self._plan(rng), key=_first)
        begin = midnight(number)
        starts = [begin + int(hour * HOUR) for hour, _ in plan]
        day = Day(number, begin, starts, [doing for _, doing in plan])
        for _ in range(times(rng, self._falls)):
            moment = begin + rng.randrange(int(self._up * HOUR), int(self._down * HOUR))
            _fall(day, moment, int(rng.uniform(*_LIES) * HOUR))
        return day

    def _plan(self, rng: Random) -> Iterator[tuple[float, Doing]]:
        """Yield the hours at which the person begins with something else."""
        up, down = self._up + rng.uniform(-0.3, 0.3), self._down + rng.uniform(-0.3, 0.3)
        yield 0.0, Doing.SLEEP
        for _ in range(rng.choice((0, 1, 1, 2))):
            night = rng.uniform(0.5, 4.5)
            yield night, Doing.TOILET
            yield night + rng.uniform(0.05, 0.15), Doing.SLEEP
        yield up, Doing.TOILET
        yield up + 0.2, Doing.CHORES
        yield up + 0.8, Doing.MEAL
        if rng.random() < _WALKS:
            yield up + 1.2, Doing.WALK
        yield up + 1.2 + rng.uniform(0.3, 0.9), Doing.SIT
        if rng.random() < _GOES_OUT:
            yield 9.2, Doing.OUT
            yield 9.2 + rng.uniform(0.5, 1.6), Doing.SIT
        yield 11.0, Doing.CHORES
        yield 11.6, Doing.MEAL
        yield 12.2, Doing.SIT
        nap = rng.uniform(12.5, 13.2)
        yield nap, Doing.SLEEP
        yield nap + rng.uniform(0.6, 1.4), Doing.SIT
        yield 16.6, Doing.CHORES
        yield 17.3, Doing.MEAL
        if rng.random() < _WALKS:
            yield 18.0, Doing.WALK
        yield 18.0 + rng.uniform(0.3, 0.9), Doing.SIT
        if rng.random() < _BATHES:
            yield 19.8, Doing.BATH
            yield 20.1, Doing.SIT
        yield down, Doing.SLEEP


def _fall(day: Day, moment: int, lies: int) -> None:
    """Let the person fall, and lie until somebody comes."""
    end = min(moment + lies, day.begin + DAY - 1)
    after = day.doing(end)
    kept = [
        (start, doing)
        for start, doing in zip(day.starts, day.doings, strict=True)
        if not moment <= start <= end
    ]
    day.starts, day.doings = map(
        list, zip(*sorted([*kept, (moment, Doing.LIE), (end, after)], key=_first), strict=True)
    )
    day.falls.append(moment)


def _first(pair: tuple[float, Doing]) -> float:
    return pair[0]


class Body:
    """What a wearable could measure of a person: a pulse that wanders about what they do, steps, warmth."""

    def __init__(self, person: Person, rng: Random) -> None:
        """Begin with no steps."""
        self._person, self._rng = person, rng
        self._drift = 0.0
        self._counted = 0
        self._day = 0

    def pulse(self, doing: Doing, heat: float) -> int:
        """Return the true pulse; `heat` is what hot weather adds to it."""
        self._drift = 0.7 * self._drift + self._rng.gauss(0, 2.2)
        return round(min(max(self._person.resting + doing.value.effort + heat + self._drift, 44), 128))

    def steps(self, doing: Doing, minutes: float, day: int) -> int:
        """Return the steps of the day so far, after so many more minutes of this."""
        if day != self._day:
            self._day, self._counted = day, 0
        self._counted += round(self._rng.uniform(*doing.value.steps) * min(minutes, 30.0))
        return self._counted
