"""What a device's clock shows: about the right time, local time as if UTC, a year ahead, 1970, nothing."""

from random import Random
from typing import Final

from device_sims.knobs import Knobs
from device_sims.people import DAY, HOUR
from schemas.clock import SECOND

_AHEAD: Final = {"clock_8h": 8 * HOUR, "clock_year": 365 * DAY}
_BOOTED: Final = HOUR
"""How long before the beginning a device began to count from 1970."""


class DeviceClock:
    """One device's clock; `how` is "" for a good one, else the knob that made it wrong."""

    def __init__(self, rng: Random, knobs: Knobs, start: int, *, zero: int = 0) -> None:
        """Draw it; the run begins at `start`. `zero` is where it counts from if it was never set."""
        self._rng, self._no_time = rng, knobs.no_time
        dice, self.how = rng.random(), ""
        for name in ("no_clock", "clock_1970", *_AHEAD):
            share: float = getattr(knobs, name)
            if 0 <= dice < share:
                self.how = name
            dice -= share
        self._ahead = _AHEAD.get(self.how) or int(rng.uniform(*knobs.skew) * SECOND)
        if self.how == "clock_1970":
            self._ahead = zero + _BOOTED - start

        self._latest = 0

    def shows(self, moment: int) -> int | None:
        """Return what it shows at a moment, epoch milliseconds; None if this message goes without a time."""
        if self.how == "no_clock" or self._rng.random() < self._no_time:
            return None
        return (moment + self._ahead) // 1000

    def shows_second(self, moment: int) -> int | None:
        """Return the same in whole seconds, each of them once: two messages never bear the same time."""
        shown = self.shows(moment)
        if shown is None:
            return None
        self._latest = max(self._latest + 1, shown // 1000)
        return self._latest * 1000
