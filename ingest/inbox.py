"""What was received and waits for the line, with its time of receipt: bounded, kept apart by connection."""

from collections import deque
from typing import Final

from schemas.clock import SECOND, Clock
from schemas.readings import Delivery

TAKEN_BYTES: Final = 512 * 1024
"""Payload bytes in one batch: late batches of readings must not make a transaction for which an SOS waits."""
SET_BACK: Final = 5 * SECOND
"""A clock that steps back farther than this was set, and is right now."""

_OBJECTS = 300  # bytes of the Python objects around a message


class Stamp:
    """Give each message a time of receipt of its own: the clock's, or a microsecond after the last one."""

    def __init__(self, clock: Clock) -> None:
        """Share one stamp between the sessions, so that no two messages bear the same time."""
        self._clock = clock
        self._last = 0

    def next(self) -> int:
        """Return a time of receipt, microseconds since 1970, later than the last one.

        Only a clock that was set back by more than a moment is followed.
        """
        now = self._clock.now()
        self._last = now if now < self._last - SET_BACK else max(now, self._last + 1)
        return self._last


class Inbox:
    """Messages received and not yet taken, kept apart by connection."""

    def __init__(self) -> None:
        """Start empty."""
        self._parts: deque[tuple[int, deque[Delivery]]] = deque()
        self.count = 0
        self.bytes = 0

    @property
    def oldest(self) -> int:
        """Return when the message that has waited longest was received; there must be one."""
        return self._parts[0][1][0].received_at

    def put(self, connection: int, delivery: Delivery) -> None:
        """Add one message of a connection."""
        if not self._parts or self._parts[-1][0] != connection:
            self._parts.append((connection, deque()))
        self._parts[-1][1].append(delivery)
        self.count += 1
        self.bytes += _weight(delivery)

    def take(self, most: int) -> tuple[int, list[Delivery]]:
        """Return the oldest messages, all of one connection, at most so many and TAKEN_BYTES, never none."""
        connection, waiting = self._parts[0]
        taken: list[Delivery] = []
        size = 0
        while waiting and len(taken) < most and size < TAKEN_BYTES:
            taken.append(waiting.popleft())
            size += len(taken[-1].payload)
        if not waiting:
            self._parts.popleft()
        self.count -= len(taken)
        self.bytes -= sum(_weight(delivery) for delivery in taken)
        return connection, taken


def _weight(delivery: Delivery) -> int:
    """Return about how many bytes of memory a waiting message takes."""
    return _OBJECTS + len(delivery.topic) + len(delivery.payload)
