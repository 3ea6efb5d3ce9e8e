"""One injected clock for bridge, desk and simulators: real time, or a time that runs `speed` times as fast.

All carebell times inside the process are integers: microseconds since 1970 UTC.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

SECOND = 1_000_000
"""Microseconds in a second: the unit of every time and duration inside the process."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _to_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A time in UTC, whatever time zone the session of the database has."""


@dataclass(frozen=True)
class Clock:
    """Tell the time: `start` was, or will be, shown at the real moment `origin`, both in epoch seconds.

    Only `demo`, `sim` and tests may set anything else than real time.
    """

    origin: float = 0.0
    start: float = 0.0
    speed: float = 1.0

    @property
    def is_real(self) -> bool:
        """Say whether this clock shows real time."""
        return self.speed == 1.0 and self.origin == self.start

    def now(self) -> int:
        """Return the present in microseconds since 1970."""
        return int((self.start + (time.time() - self.origin) * self.speed) * SECOND)

    def seconds_until(self, moment: int) -> float:
        """Return the real seconds from now until this clock shows `moment`; negative if it has passed."""
        return (moment - self.now()) / SECOND / self.speed


def to_datetime(moment: int) -> datetime:
    """Return microseconds since 1970 as an aware UTC datetime, exactly."""
    return _EPOCH + timedelta(microseconds=moment)


def to_microseconds(moment: datetime) -> int:
    """Return an aware datetime as microseconds since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
