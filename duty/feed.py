"""The feed: every open desk is told of each change of an alarm as it happens, by server-sent events.

Rules of this file (docs/adr/022-live-changes.md): an event is encoded once and all desks get the same bytes.
Nobody waits for a desk that is slow: its stream ends, and it resumes where it was. One that cannot resume is
told `reset`: it reads the list anew. duty/follow.py says what has changed; without it there is no feed.
"""

import asyncio
import logging
import re
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, Field

from duty.alarms import Alarm, Counts
from duty.door import TooManyError
from schemas.clock import Clock, Moment, to_datetime
from schemas.errors import CarebellError

log = logging.getLogger(__name__)

STREAMS: Final = 1_000
"""Most streams at a time."""
STREAMS_EACH: Final = 20
"""Most streams of one caller at a time."""
KEPT: Final = 500
"""Most events that a desk can have missed and resume after."""
KEPT_BYTES: Final = 8 * 2**20
"""The same in bytes; the newest event is kept however long it is."""
WAITING: Final = 2 * KEPT
"""Most events that wait for one desk to read: more than it can have missed, or it would never get through."""
WAITING_BYTES: Final = 2 * KEPT_BYTES
"""The same in bytes. Those who wait for the same event share it, so this bounds all of them together."""
PIECE: Final = 64 * 1024
"""Bytes that are handed to a connection at once: what lies there is a copy for each desk."""
TRY_AGAIN: Final = 10.0
"""Seconds after which a caller with too many streams may have one less."""

Refused = Callable[[str], bool]
"""Tells of the header `Authorization` whether it lets nobody in any more."""

_ID: Final = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})")


class FeedClosedError(CarebellError):
    """There is no feed: the desk ends, or does not follow the database at all."""

    zh = "实时更新暂不可用，请稍后再试"


class FeedFullError(CarebellError):
    """There are as many streams as this desk serves."""

    zh = "打开的值班台太多，请稍后再试"


class TooManyStreamsError(TooManyError):
    """One caller has as many streams as one may have."""

    def __init__(self, caller: str) -> None:
        super().__init__(f"streams of {caller}", TRY_AGAIN)
        self.zh = "同一账号打开的值班台太多，请先关闭不用的页面"


class Tick(BaseModel):
    """The time, how much is open, and whether changes are heard of: where `database` is false, none are."""

    now: Moment
    speed: float
    counts: Counts
    database: bool


class Changes(BaseModel):
    """Alarms that have changed and stand on the open list, and the numbers of those that left it."""

    now: Moment
    speed: float
    counts: Counts
    alarms: list[Alarm]
    gone: list[int] = Field(description="closed, suppressed, shelved, or never on it")


@dataclass(eq=False)
class Subscriber:
    """One stream: what waits to be read, and the word that it is over."""

    caller: str
    authorization: str
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _frames: deque[bytes] = field(default_factory=deque)
    _bytes: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, frame: bytes) -> None:
        """Take a frame; a stream that has too much waiting is over."""
        self._frames.append(frame)
        self._bytes += len(frame)
        if len(self._frames) > WAITING or self._bytes > WAITING_BYTES:
            log.warning("feed: a desk of %r reads too slowly: its stream ends", self.caller)
            self.end()
        self._news.set()

    def end(self) -> None:
        """End the stream; what waits is not sent any more."""
        self._frames.clear()
        self._bytes = 0
        self.over.set()
        self._news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give what comes, until it is over."""
        while not self.over.is_set():
            while self._frames:
                frame = self._frames[0]
                for begin in range(0, len(frame), PIECE):
                    yield frame[begin : begin + PIECE]
                    if self.over.is_set():
                        return
                self._bytes -= len(self._frames.popleft())
            self._news.clear()
            await self._news.wait()


class Feed:
    """Who reads, and the events that they may have missed."""

    def __init__(
        self, clock: Clock, is_refused: Refused, settle: Callable[[list[Alarm]], None] = lambda _: None
    ) -> None:
        """Nobody can subscribe before `open`; `settle` hears of each alarm that the desks are told of."""
        self.boot = secrets.token_hex(4)
        self.database = False
        self.counts = Counts()
        self._clock = clock
        self._is_refused = is_refused
        self._settle = settle
        self._is_open = False
        self._readers: set[Subscriber] = set()
        self._of_caller: Counter[str] = Counter()
        self._last = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0

    def open(self) -> None:
        """Let desks subscribe."""
        self._is_open = True

    def close(self) -> None:
        """End all streams, and let nobody subscribe any more."""
        self._is_open = False
        for reader in list(self._readers):
            reader.end()

    def subscribe(self, caller: str, authorization: str, last_id: str) -> Subscriber:
        """Return a stream that begins with a tick and what was missed since `last_id`, or with `reset`.

        Give it back by `leave`. Raises FeedClosedError, FeedFullError or TooManyStreamsError.
        """
        if not self._is_open:
            raise FeedClosedError("this desk does not tell of changes now: try again")
        if len(self._readers) >= STREAMS:
            raise FeedFullError(f"{STREAMS:,} streams are open, more are not served: try again later")
        if self._of_caller[caller] >= STREAMS_EACH:
            raise TooManyStreamsError(caller)
        reader = Subscriber(caller, authorization)
        # Without an id, for whoever goes away between it and what comes next has not seen that.
        for frame in (self._tick(None), *self._missed(last_id)):
            reader.put(frame)
        self._readers.add(reader)
        self._of_caller[caller] += 1
        return reader

    def leave(self, reader: Subscriber) -> None:
        """Forget a stream; once is enough, and twice does no harm."""
        if reader in self._readers:
            self._readers.discard(reader)
            self._of_caller[reader.caller] -= 1
            self._of_caller += Counter()  # drops those that are at none
        reader.end()

    def tell(self, alarms: list[Alarm], gone: Iterable[int]) -> None:
        """Tell all desks what has changed."""
        self._settle(alarms)
        now = to_datetime(self._clock.now())
        changes = Changes(
            now=now, speed=self._clock.speed, counts=self.counts, alarms=alarms, gone=sorted(gone)
        )
        self._send("alarms", changes.model_dump_json(by_alias=True))

    def reset(self) -> None:
        """Tell all desks to read the list anew; nobody can resume from what was before."""
        self._kept.clear()
        self._kept_bytes = 0
        self._send("reset", "{}")

    def tick(self) -> None:
        """Tell all desks the time and how things stand; a stream whose token is refused by now ends."""
        shown = {reader.authorization for reader in self._readers}
        refused = {each for each in shown if self._is_refused(each)}
        for reader in [each for each in self._readers if each.authorization in refused]:
            log.info("feed: a token of %r is not valid any more: its stream ends", reader.caller)
            reader.end()
        self._put(self._tick(self._id(self._last)))

    def _missed(self, last_id: str) -> list[bytes]:
        found = _ID.fullmatch(last_id)
        seen = int(found[2]) if found and found[1] == self.boot else -1
        first = self._last - len(self._kept)
        if first <= seen <= self._last:
            return [frame for number, frame in self._kept if number > seen]
        return [_frame("reset", "{}", self._id(self._last))]

    def _send(self, event: str, data: str) -> None:
        self._last += 1
        frame = _frame(event, data, self._id(self._last))
        self._kept.append((self._last, frame))
        self._kept_bytes += len(frame)
        while len(self._kept) > KEPT or (self._kept_bytes > KEPT_BYTES and len(self._kept) > 1):
            self._kept_bytes -= len(self._kept.popleft()[1])
        self._put(frame)

    def _put(self, frame: bytes) -> None:
        for reader in self._readers:
            if not reader.over.is_set():
                reader.put(frame)

    def _id(self, number: int) -> str:
        return f"{self.boot}-{number}"

    def _tick(self, event_id: str | None) -> bytes:
        now = to_datetime(self._clock.now())
        tick = Tick(now=now, speed=self._clock.speed, counts=self.counts, database=self.database)
        return _frame("tick", tick.model_dump_json(by_alias=True), event_id)


def _frame(event: str, data: str, event_id: str | None) -> bytes:
    """Write an event; JSON has no line ends, so that its data is one line."""
    name = f"id: {event_id}\n" if event_id else ""
    return f"{name}event: {event}\ndata: {data}\n\n".encode()
