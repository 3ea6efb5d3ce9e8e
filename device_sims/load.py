"""A load for a broker and what came of it."""

import math
from dataclasses import dataclass, field
from typing import Final

from device_sims.stamp import CHANNELS, FIRST_SEQ, NUMBER_DIGITS, Ints
from schemas.errors import UsageError
from schemas.topics import DEVICE_PATTERN, REASONS, REGION_PATTERN

MOST_IN_FLIGHT: Final = 65_000
"""A little below the number of packet ids."""


@dataclass(frozen=True)
class Load:
    """What to send: `count` messages, or as many as fit into `seconds`.

    `rate` is in messages a second, 0 for all that goes.
    `channel` is vitals, heartbeat, activity or mix. `window` bounds what is in flight, below the broker's
    receive-maximum. `seq` runs from `first_seq`, ten digits; devices are `prefix` and seven digits.
    """

    count: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    devices: int = 1000
    with_ts: bool = True
    prefix: str = "LOAD-"
    region: str = "430602"
    channel: str = "vitals"
    window: int = 10_000
    first_seq: int = FIRST_SEQ

    def check(self) -> None:
        """Raise UsageError that names what is wrong."""
        if not all(0 <= each < math.inf for each in (self.count, self.seconds, self.rate)):
            raise UsageError("count, seconds and rate are numbers from 0 up")
        if not self.count and not self.seconds:
            raise UsageError("a load needs count or seconds")
        if self.channel not in (*CHANNELS, "mix"):
            raise UsageError(f"channel = {self.channel!r}: allowed are {', '.join(CHANNELS)}, mix")
        if not 1 <= self.devices < 10**NUMBER_DIGITS or not FIRST_SEQ <= self.first_seq < 9 * FIRST_SEQ:
            raise UsageError(f"devices below 10^{NUMBER_DIGITS} and first_seq of ten digits, please")
        if not 1 <= self.window <= MOST_IN_FLIGHT:
            raise UsageError(f"window = {self.window}: allowed are 1 to {MOST_IN_FLIGHT}")
        if not DEVICE_PATTERN.fullmatch(self.name(0)):
            raise UsageError(f"prefix = {self.prefix!r}: {REASONS['bad_device']}")
        if not REGION_PATTERN.fullmatch(self.region):
            raise UsageError(f"region = {self.region!r}: {REASONS['bad_region']}")

    def name(self, device: int) -> str:
        """Return the device id of the device of this number, from 0."""
        return f"{self.prefix}{device:0{NUMBER_DIGITS}d}"


@dataclass(frozen=True)
class Outcome:
    """What came of a burst; `rate` counts PUBACKs a second, `lost` says why the connection died."""

    sent: int
    acked: int
    refused: int
    seconds: float
    rate: float
    cpu_seconds: float
    lost: str
    load: Load
    _acked: Ints = field(repr=False)

    def keys(self) -> set[tuple[str, int]]:
        """Return (device, seq) of every message that the broker took over."""
        load = self.load
        return {
            (load.name(number % load.devices), load.first_seq + number) for number in self._acked.tolist()
        }
