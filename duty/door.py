"""How often somebody may knock: a token bucket for each, in a memory that has a bound.

Two doors stand before the desk (duty/desk.py): one counts the requests of each caller that is known, one the
tokens that were refused at each address. The second never bars a caller that is known, so that whoever shares
an address with a flood, as everybody behind one proxy does, is not locked out by it.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from schemas.errors import CarebellError

KEPT: Final = 10_000
"""Names that a door remembers; then it forgets who has not knocked for longest."""


class TooManyError(CarebellError):
    """Somebody knocks too often: again after `wait` seconds, a whole number of at least 1."""

    def __init__(self, what: str, seconds: float) -> None:
        self.wait = max(1, math.ceil(seconds))
        super().__init__(f"too many {what}: try again in {self.wait} s")
        self.zh = f"操作过于频繁，请 {self.wait} 秒后再试"


class Door:
    """Lets `burst` pass at once and `rate` a second from then on, each name apart; both may be changed."""

    def __init__(
        self, rate: float, burst: float, *, kept: int = KEPT, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self.burst = burst
        self._kept = kept
        self._now = now
        self._taken: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many names are remembered."""
        return len(self._taken)

    def enter(self, name: Hashable) -> float:
        """Let `name` pass and return 0, or return in how many seconds it may; a try in vain costs nothing."""
        now = self._now()
        taken = self._left(name, now)
        if taken + 1 > self.burst:
            self._keep(name, taken, now)  # remembered, however many others knock
            return (taken + 1 - self.burst) / self.rate
        self._keep(name, taken + 1, now)
        return 0.0

    def give_back(self, name: Hashable) -> None:
        """Count one passage less."""
        now = self._now()
        self._keep(name, max(0.0, self._left(name, now) - 1), now)

    def _left(self, name: Hashable, now: float) -> float:
        """Return how much of what `name` took is not made good yet."""
        taken, at = self._taken.get(name, (0.0, now))
        return max(0.0, taken - (now - at) * self.rate)

    def _keep(self, name: Hashable, taken: float, now: float) -> None:
        self._taken[name] = taken, now
        self._taken.move_to_end(name)
        while len(self._taken) > self._kept:
            self._taken.popitem(last=False)


def neighbourhood(address: str) -> str:
    """Return what an address is counted under: one subscriber has a whole /64 of IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return address
    return str(ipaddress.IPv6Network((int(found), 64), strict=False))
