"""The person behind a device: a day rhythm, and from it heart rate, oxygen, steps and the room.

Outside scripted incidents no value comes near an alarm band, and everything follows from the seed.
"""

import random
from dataclasses import dataclass
from enum import Enum
from typing import Any

from schemas.clock import SECOND

_HOUR = 3600 * SECOND
_DAY = 24 * _HOUR
_SHANGHAI = 8 * _HOUR

LOWEST_PULSE, HIGHEST_PULSE = 48, 116
LOWEST_OXYGEN, HIGHEST_OXYGEN = 95, 99


@dataclass(frozen=True)
class Pace:
    """How one kind of activity shows: pulse above rest in bpm, steps a minute, the room."""

    effort: float
    steps: tuple[int, int]
    room: str


class Doing(Enum):
    """What an elderly person does over a day."""

    SLEEP = Pace(-6, (0, 0), "卧室")
    REST = Pace(0, (0, 8), "客厅")
    MEAL = Pace(6, (0, 3), "餐厅")
    CHORES = Pace(12, (5, 25), "厨房")
    WALK = Pace(28, (70, 110), "室外")


def hour_of(moment: int) -> float:
    """Return the hour of the day in Asia/Shanghai, 0 to 24, of microseconds since 1970."""
    return (moment + _SHANGHAI) % _DAY / _HOUR


class Person:
    """Somebody with habits of their own, drawn once, and a pulse that wanders about what they do."""

    def __init__(self, rng: random.Random) -> None:
        """Draw the habits."""
        self._rng = rng
        self._resting = rng.uniform(58, 74)
        self._drift = 0.0
        self._steps = 0
        up, down = rng.uniform(5.0, 6.8), rng.uniform(20.8, 22.3)
        nap, walk = rng.uniform(12.4, 13.2), rng.uniform(0.4, 1.0)
        self._day = (
            (up, Doing.SLEEP),
            (up + 0.7, Doing.CHORES),
            (up + 1.2, Doing.MEAL),
            (up + 1.3 + walk, Doing.WALK),
            (11.0, Doing.REST),
            (11.6, Doing.CHORES),
            (12.2, Doing.MEAL),
            (nap, Doing.REST),
            (nap + 1.2, Doing.SLEEP),
            (16.6, Doing.REST),
            (17.3, Doing.CHORES),
            (17.9, Doing.MEAL),
            (18.2 + walk, Doing.WALK),
            (down, Doing.REST),
            (24.0, Doing.SLEEP),
        )

    def doing(self, moment: int) -> Doing:
        """Return what the person does at this moment."""
        hour = hour_of(moment)
        return next(doing for until, doing in self._day if hour <= until)

    def vitals(self, moment: int) -> dict[str, Any]:
        """Return what a band on the wrist measures now; call it in order of time, about once a minute."""
        pace = self.doing(moment).value
        self._drift = 0.7 * self._drift + self._rng.gauss(0, 2.2)
        self._steps += self._rng.randint(*pace.steps)
        pulse = round(self._resting + pace.effort + self._drift)
        return {
            "hr": min(max(pulse, LOWEST_PULSE), HIGHEST_PULSE),
            "spo2": self._rng.randint(LOWEST_OXYGEN, HIGHEST_OXYGEN),
            "worn": True,
            "steps": self._steps,
        }

    def activity(self, moment: int) -> dict[str, Any]:
        """Return what a motion sensor sees now."""
        doing = self.doing(moment)
        return {"motion": doing is not Doing.SLEEP, "room": doing.value.room}
