"""Whose turn it is in a crowd of devices: to connect, and to speak. Times are seconds of a steady clock."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from device_sims.stamp import Ints

Floats = npt.NDArray[np.float64]

FIRST_BACKOFF: Final = 0.5
LONGEST_BACKOFF: Final = 30.0
JITTER: Final = 0.1
"""By which part of it an interval is longer or shorter than said."""
_AT_ONCE: Final = 0.05
"""Seconds whose connections may be opened together: after a pause not all that were missed are."""
_MOST_DOUBLINGS: Final = 10


class Doors:
    """When each device tries to connect: so many a second, and ever more seldom if it fails."""

    def __init__(self, devices: int, ramp: float, random: np.random.Generator) -> None:
        self._at = np.zeros(devices)
        self._failures = np.zeros(devices, np.int64)
        self._ramp, self._random = ramp, random
        self._allowed, self._asked_at = 1.0, 0.0

    def due(self, now: float, wanted: int) -> list[int]:
        """Return who of the first `wanted` devices is to try now; each is due again when it has failed."""
        most = max(1.0, self._ramp * _AT_ONCE)
        self._allowed = min(most, self._allowed + self._ramp * (now - self._asked_at))
        self._asked_at = now
        waiting = np.flatnonzero(self._at[:wanted] <= now)
        who = waiting[np.argsort(self._at[waiting], kind="stable")][: int(self._allowed)]
        self._allowed -= len(who)
        self._at[who] = math.inf
        return [int(device) for device in who]

    def failed(self, device: int, now: float) -> None:
        """Let it try again after a while."""
        backoff = FIRST_BACKOFF * 2.0 ** min(self._failures[device], _MOST_DOUBLINGS)
        self._failures[device] += 1
        self._at[device] = now + min(backoff, LONGEST_BACKOFF) * self._random.uniform(0.5, 1.0)

    def passed(self, device: int) -> None:
        """Forget its failures."""
        self._failures[device] = 0


class Turns:
    """When each device speaks: every so many seconds, or as often as may be.

    `behind` is how late the latest message is, gone out or not; `missed` counts those whose device was away.
    """

    def __init__(self, devices: int, every: float, random: np.random.Generator) -> None:
        """Let nobody speak yet; `every` is 0 for as often as may be."""
        self.behind = 0.0
        self.missed = 0
        self._every, self._random = every, random
        self._at = np.full(devices, math.inf)
        self._next = 0
        self._end = math.inf

    def begin(self, now: float) -> None:
        """Let all speak from now on, spread over one interval."""
        self._at = now + self._every * self._random.random(len(self._at))

    def end(self, at: float) -> None:
        """Let nothing fall due after this."""
        self._end = min(self._end, at)

    def unsent(self, now: float) -> int:
        """Return how many messages are due and have not gone out; 0 where none has a time of its own."""
        who = np.flatnonzero(self._at <= min(now, self._end))
        if not self._every or not len(who):
            return 0
        self.behind = max(self.behind, now - float(self._at[who].min()))
        return int(self._due(who, now).sum())

    def take(self, now: float, up: npt.NDArray[np.bool_], room: Ints, most: int) -> tuple[Ints, Ints]:
        """Return who speaks now and how often: `room` at most each, `most` in all; who is away misses it."""
        who = np.flatnonzero(self._at <= min(now, self._end))
        away, who = who[~up[who]], who[up[who] & (room[who] > 0)]
        if self._every:
            passed = self._due(away, now)
            self.missed += int(passed.sum())
            self._at[away] += passed * self._intervals(len(away))
        if not len(who) or most < 1:
            return who[:0], who[:0]
        times = np.minimum(np.minimum(self._owed(who, now, most), room[who]), most)
        if times.sum() > most:
            who, times = self._first(who, times, most)
        if self._every:
            self.behind = max(self.behind, now - float(self._at[who].min()))
            self._at[who] += times * self._intervals(len(who))
        return who, times

    def _intervals(self, count: int) -> Floats:
        return self._every * self._random.uniform(1 - JITTER, 1 + JITTER, count)

    def _owed(self, who: Ints, now: float, most: int) -> Ints:
        if not self._every:
            return np.full(len(who), max(1, most // len(who)))
        return self._due(who, now)

    def _due(self, who: Ints, now: float) -> Ints:
        return ((min(now, self._end) - self._at[who]) // self._every).astype(np.int64) + 1

    def _first(self, who: Ints, times: Ints, most: int) -> tuple[Ints, Ints]:
        """Return those after whom it was last time cut off, round about, as long as `most` reaches."""
        turned = np.roll(np.arange(len(who)), -int(np.searchsorted(who, self._next)))
        turned = turned[: int(np.searchsorted(np.cumsum(times[turned]), most, side="right"))]
        self._next = int(who[turned[-1]]) + 1
        return who[turned], times[turned]
