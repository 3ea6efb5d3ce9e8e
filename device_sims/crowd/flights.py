"""What a crowd has in flight: whose messages, since when; and what has become of those before."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from device_sims.crowd.ring import CAPACITY, Ring
from device_sims.crowd.spread import Spread
from device_sims.crowd.turns import Floats
from device_sims.crowd.wire import Puback
from device_sims.stamp import Ints

REFUSED: Final = 0x80
"""Reason codes from here on are refusals."""


class Flights:
    """sent = acked + refused + lost + in flight; `puback` is the time from PUBLISH to PUBACK of all."""

    def __init__(self, devices: int) -> None:
        """`of` counts what each device has in flight."""
        self.sent = self.acked = self.refused = self.lost = 0
        self.of = np.zeros(devices, np.int64)
        self.puback = Spread()
        self._ring = Ring()
        self._sent_at = np.zeros(CAPACITY + 1)

    @property
    def in_flight(self) -> int:
        """Return how many have no PUBACK yet."""
        return self.sent - self.acked - self.refused - self.lost

    def begin(self, who: Ints) -> Ints:
        """Return a packet id for a message of each of these devices."""
        self.sent += len(who)
        self._count(who, 1)
        return self._ring.take(who)

    def left(self, ids: Ints, at: Floats) -> None:
        """Note when each was sent."""
        self._sent_at[ids] = at

    def land(self, pubacks: Sequence[Puback]) -> tuple[Ints, float]:
        """Take PUBACKs, but for those that nobody waits for; return who heard any, and when the last."""
        who, ids, reason = np.array([puback[:3] for puback in pubacks]).T
        at = np.array([puback[3] for puback in pubacks])
        mine = (self._ring.bearers(ids) == who) & self._ring.once(ids)
        self.puback.add((at - self._sent_at[ids])[mine])
        refused = int(np.count_nonzero(reason[mine] >= REFUSED))
        self.refused += refused
        self.acked += int(np.count_nonzero(mine)) - refused
        self._count(self._ring.give_back(ids[mine]), -1)
        return who, float(at[-1])

    def lose(self, who: Sequence[int]) -> None:
        """Give up what is in flight of these devices."""
        ids = self._ring.borne(np.array(who))
        self.lost += len(ids)
        self._count(self._ring.give_back(ids), -1)

    def _count(self, who: Ints, sign: int) -> None:
        np.add.at(self.of, who, sign)
