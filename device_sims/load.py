"""A load for a broker and what came of it."""

from dataclasses import dataclass, field

from device_sims.stamp import CHANNELS, FIRST_SEQ, NUMBER_DIGITS, Ints
from schemas.errors import UsageError


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
        if not self.count and not self.seconds:
            raise UsageError("a burst needs count or seconds")
        if self.channel not in (*CHANNELS, "mix"):
            raise UsageError(f"channel = {self.channel!r}: allowed are {', '.join(CHANNELS)}, mix")
        if not 1 <= self.devices < 10**NUMBER_DIGITS or not FIRST_SEQ <= self.first_seq < 9 * FIRST_SEQ:
            raise UsageError(f"devices below 10^{NUMBER_DIGITS} and first_seq of ten digits, please")


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
            (f"{load.prefix}{number % load.devices:0{NUMBER_DIGITS}d}", load.first_seq + number)
            for number in self._acked.tolist()
        }
