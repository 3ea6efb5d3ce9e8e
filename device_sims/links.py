"""Between device and broker: when there is a link, and what befalls messages on their way.

A message that cannot be sent is kept by its device and told afterwards; one whose sending fails is tried
again, and overtaken meanwhile; one whose acknowledgement is lost is sent twice. Calls are never given up.
"""

import heapq
from collections.abc import Iterable, Iterator
from random import Random
from typing import Final, NamedTuple

from device_sims.knobs import Knobs
from device_sims.message import Message
from device_sims.people import HOUR, times
from schemas.clock import SECOND

_MONTH: Final = 30.0
_RETRY: Final = (2 * SECOND, 90 * SECOND)
_AT_ONCE: Final = (SECOND // 10, 2 * SECOND)


class Span(NamedTuple):
    """From when until when."""

    begin: int
    end: int


class Link:
    """When a device can reach the broker: not in dead spots, nor while the tower is down."""

    def __init__(self, rng: Random, knobs: Knobs, outages: Iterable[Span]) -> None:
        """`outages` are those of the tower."""
        self._rng = rng
        self._spots = rng.uniform(*knobs.dead_spots) / _MONTH
        self._hours = knobs.dead_spot_hours
        self._down = sorted(outages)

    def begin_day(self, begin: int, end: int) -> list[int]:
        """Draw the dead spots of a day; return when the link comes back on it."""
        for _ in range(times(self._rng, self._spots)):
            at = self._rng.randrange(begin, end)
            self._down.append(Span(at, at + int(self._rng.uniform(*self._hours) * HOUR)))
        self._down = _joined(span for span in self._down if span.end > begin)
        return [span.end for span in self._down if begin <= span.end < end]

    def back_at(self, moment: int) -> int:
        """Return when the link is there again: the moment itself if it is there."""
        for span in self._down:
            if span.begin <= moment < span.end:
                return span.end
        return moment


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Return spans that do not touch, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.begin <= found[-1].end:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


class Sending(NamedTuple):
    """One publish; `copy` is 0 for the first of a message, `place` makes it differ from all of its device."""

    at: int
    place: int
    copy: int
    message: Message


class Way:
    """What befalls the messages of one device between it and the broker."""

    def __init__(self, rng: Random, knobs: Knobs, link: Link) -> None:
        """Draw how bad the link is."""
        self._rng, self._knobs, self._link = rng, knobs, link
        self._fails = rng.uniform(*knobs.sends_fail)

    def send(self, messages: Iterable[Message], end: int) -> Iterator[Sending]:
        """Yield publishes in order of their times, from messages in order of theirs; all up to `end`."""
        waiting: list[Sending] = []
        place = 0
        for message in messages:
            while waiting and waiting[0].at <= message.at:
                yield heapq.heappop(waiting)
            for copy, at in enumerate(self._tries(message)):
                place += 1
                heapq.heappush(waiting, Sending(self._link.back_at(at), place, copy, message))
        while waiting:
            last = heapq.heappop(waiting)
            yield last._replace(at=min(last.at, end))

    def _tries(self, message: Message) -> list[int]:
        """Return when a message is sent."""
        rng, knobs = self._rng, self._knobs
        if not (message.call or message.sure) and rng.random() < knobs.dropped:
            return []
        at = message.at
        if rng.random() < self._fails:
            at += rng.randrange(*_RETRY)
        if rng.random() >= knobs.duplicates:
            return [at]
        return [at, at + rng.randrange(*(_AT_ONCE if rng.random() < 0.5 else _RETRY))]  # noqa: PLR2004 - half of them
