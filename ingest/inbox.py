"""What was received and waits for the line, with its time of receipt: bounded, kept apart by connection."""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from operator import attrgetter
from typing import Final

from schemas.clock import SECOND, Clock
from schemas.readings import Delivery

TAKEN_BYTES: Final = 512 * 1024
"""Payload bytes in one batch: late batches of readings must not make a transaction for which an SOS waits."""
SET_BACK: Final = 5 * SECOND
"""A clock that steps back farther than this was set, and is right now."""

_TOPIC, _PAYLOAD = attrgetter("topic"), attrgetter("payload")
_OBJECTS = 300  # bytes of the Python objects around a message


class Stamp:
    """Give each message a time of receipt of its own: the clock's, or a microsecond after the last one."""

    def __init__(self, clock: Clock) -> None:
        """Share one stamp between the sessions, so that no two messages bear the same time."""
        self._clock = clock
        self._last = 0

    def next(self, messages: int = 1) -> int:
        """Return the first of so many consecutive times, microseconds since 1970, later than the last one.

        Only a clock that was set back by more than a moment is followed.
        """
        now = self._clock.now()
        first = now if now < self._last - SET_BACK else max(now, self._last + 1)
        self._last = first + messages - 1
        return first


class Inbox:
    """Messages received and not yet taken, kept apart by connection."""

    def __init__(self) -> None:
        """Start empty."""
        self._parts: deque[tuple[int, list[Delivery]]] = deque()
        self.count = 0
        self.bytes = 0
        self.since = 0.0
        """When it was empty last, as the event loop counts time."""

    @property
    def oldest(self) -> Delivery | None:
        """Return the message that has waited longest."""
        return self._parts[0][1][0] if self._parts else None

    def put(self, connection: int, deliveries: list[Delivery]) -> None:
        """Add messages of a connection, in their order."""
        if not deliveries:
            return
        if not self.count:
            self.since = time.monotonic()
        if not self._parts or self._parts[-1][0] != connection:
            self._parts.append((connection, []))
        self._parts[-1][1].extend(deliveries)
        self.count += len(deliveries)
        self.bytes += _weight(deliveries)

    def newest_first(self) -> Iterator[Delivery]:
        """Yield what waits, the newest first; nothing may be put or taken meanwhile."""
        for _, waiting in reversed(self._parts):
            yield from reversed(waiting)

    def take(self, most: int) -> tuple[int, list[Delivery]]:
        """Return the oldest messages, all of one connection, at most so many and TAKEN_BYTES, never none."""
        connection, waiting = self._parts[0]
        taken = waiting[:most]
        sizes = list(accumulate(map(len, map(_PAYLOAD, taken))))
        del taken[bisect_left(sizes, TAKEN_BYTES) + 1 :]
        del waiting[: len(taken)]
        if not waiting:
            self._parts.popleft()
        self.count -= len(taken)
        self.bytes -= _weight(taken)
        return connection, taken


def _weight(deliveries: list[Delivery]) -> int:
    """Return about how many bytes of memory waiting messages take."""
    topics, payloads = map(_TOPIC, deliveries), map(_PAYLOAD, deliveries)
    return _OBJECTS * len(deliveries) + sum(map(len, topics)) + sum(map(len, payloads))
