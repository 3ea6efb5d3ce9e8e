"""Follows the alarms: the database tells by NOTIFY which have changed, the feed is told what they are now.

Rules of this file: a notice has numbers only, and rows are read after it, so the order of notices does not
matter. The connection is this file's own and never in a transaction. While it is away the feed says so; once
it is there again, every desk reads the list anew, for what was told meanwhile is lost.
"""

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from duty import alarms
from duty.feed import Feed
from schemas.errors import WeatherError
from store import sql

log = logging.getLogger(__name__)

GATHER: Final = 0.02
"""Seconds for which more changes are waited for: those of one commit come as several notices."""
APART: Final = 0.1
"""Seconds from one event to the next in a flood, so that 200 desks cost little however much happens."""
AT_ONCE: Final = 500
"""Most changed alarms that are told one by one; above that the desks read the list anew."""
RESET_APART: Final = 3.0
"""Seconds from one such word to the next; calls for help are told meanwhile."""
LOOK_EVERY: Final = 2.0
"""Seconds without a notice after which the database is asked: a dead line would be silent as well."""
ANSWER: Final = 3.0
"""Seconds that an answer may take, before the line counts as dead."""
TICK_EVERY: Final = 2.0
FIRST_BACKOFF: Final = 0.1
LONGEST_BACKOFF: Final = 2.0
STEADY: Final = 10.0
"""Seconds for which a line must have held, to be tried again at once and told of when it breaks."""
LEAVE: Final = 1.0
"""Seconds for which the end of the desk waits for a database that is stalled."""

_NUMBER: Final = re.compile(r"(?<![0-9])[0-9]{1,18}(?![0-9])")
# Any role may notify: what is no alarm's number is passed over.
_SQL: Final = sql.load("feed")
_T = TypeVar("_T")


@contextlib.asynccontextmanager
async def following(url: str, feed: Feed) -> AsyncIterator[None]:
    """Follow the database for as long as the block."""
    feed.open()
    tasks = [
        asyncio.create_task(_follow_for_ever(url, feed)),
        asyncio.create_task(_tick_for_ever(feed)),
    ]
    try:
        yield
    finally:
        feed.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=LEAVE)


async def ending_streams(feed: Feed, serving: Awaitable[None]) -> None:
    """Serve until cancelled, and end the streams first: a server waits for those that read."""
    server = asyncio.ensure_future(serving)
    try:
        await asyncio.shield(server)
    finally:
        feed.close()
        server.cancel()
        await asyncio.wait([server])


async def _tick_for_ever(feed: Feed) -> None:
    while True:
        await asyncio.sleep(TICK_EVERY)
        feed.tick()


async def _follow_for_ever(url: str, feed: Feed) -> None:
    """Follow again and again; a database that is away is waited for, and no fault here ends the desk."""
    loop, backoff, told = asyncio.get_running_loop(), FIRST_BACKOFF, False
    while True:
        began = loop.time()
        try:
            async with _connected(url) as connection:
                follower = Follower(connection, feed)
                await follower.begin()
                await follower.follow()
        except Exception as error:  # noqa: BLE001 - a row that cannot be read must not blind desks for good
            if not told:
                said = str(error).strip().partition("\n")[0]
                log.warning("feed: changes cannot be followed: %s; trying on", said)
        finally:
            _say(feed, database=False)
        told = loop.time() - began < STEADY
        backoff = min(LONGEST_BACKOFF, backoff * 2) if told else FIRST_BACKOFF
        await asyncio.sleep(backoff)


def _say(feed: Feed, *, database: bool) -> None:
    """Tell the desks at once that the database went, or is back."""
    if feed.database != database:
        feed.database = database
        feed.tick()


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncConnection]:
    """Give a connection of our own; either end notices within seconds that the other is gone."""
    connection = await AsyncConnection.connect(
        url,
        autocommit=True,
        connect_timeout=2,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
        application_name="carebell-desk-feed",
    )
    try:
        yield connection
    finally:
        await connection.close()


def hang_up(connection: AsyncConnection) -> None:
    """End the line under a connection: whoever waits on it gets an error, where a cancel would wait too."""
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


class Follower:
    """Follows over one connection, until it breaks."""

    def __init__(self, connection: AsyncConnection, feed: Feed) -> None:
        """Nothing is asked before `begin`."""
        self._connection = connection
        self._feed = feed
        self._changed: set[int] = set()
        self._sent_at = self._reset_at = float("-inf")
        self._must_reset = False
        self._newest: int | None = None
        self._heard = self._doubted = False

    async def begin(self) -> None:
        """Listen, and have every desk read the list: it may have changed since it was read."""
        await self._bounded(lambda: alarms.bound_session(self._connection))
        await self._bounded(lambda: self._connection.execute(_SQL["listen"]))
        await self._look()
        self._feed.reset()
        _say(self._feed, database=True)

    async def follow(self) -> None:
        """Tell of changes until the line breaks, and look where there are none."""
        loop = asyncio.get_running_loop()
        while True:
            if not await self._gather(self._patience(loop.time()), stop_after=1):
                await self._look()
            if self._changed:
                await self._gather(max(GATHER, self._sent_at + APART - loop.time()))
                await self._tell()
                self._sent_at = loop.time()
            if self._must_reset and loop.time() >= self._reset_at + RESET_APART:
                self._feed.reset()
                self._reset_at, self._must_reset = loop.time(), False

    def _patience(self, now: float) -> float:
        """Return how long to wait for a notice, seconds."""
        return (
            min(LOOK_EVERY, max(0.0, self._reset_at + RESET_APART - now)) if self._must_reset else LOOK_EVERY
        )

    async def _gather(self, seconds: float, stop_after: int | None = None) -> bool:
        """Take up the numbers that come within this time; return whether any came."""
        found = False
        async for notice in self._connection.notifies(timeout=seconds, stop_after=stop_after):
            self._changed.update(map(int, _NUMBER.findall(notice.payload)))
            found = self._heard = True
        return found

    async def _tell(self) -> None:
        """Read what has changed as it is now, and tell it."""
        changed, self._changed = self._changed, set()
        self._feed.counts = await self._bounded(lambda: alarms.count_open(self._connection))
        if len(changed) <= AT_ONCE:
            found = await self._bounded(lambda: self._read("changed_alarms", changed))
            self._feed.tell(found, changed - {each.alarm_id for each in found})
            return
        self._must_reset = True
        if urgent := await self._bounded(lambda: self._read("changed_life_alarms", changed)):
            self._feed.tell(urgent, [])

    async def _read(self, name: str, changed: set[int]) -> list[alarms.Alarm]:
        values = {"alarm_ids": sorted(changed), "limit": AT_ONCE}
        async with self._connection.cursor(row_factory=class_row(alarms.Alarm)) as cursor:
            return await (await cursor.execute(_SQL[name], values)).fetchall()

    async def _look(self) -> None:
        """Ask for what is open, which shows that the line is alive, and whether notices come at all.

        A line of the log may be seen just before its notice comes: what has not by the next look will not.
        Raises WeatherError then, for something in between swallows notices.
        """
        self._feed.counts = await self._bounded(lambda: alarms.count_open(self._connection))
        newest = await self._bounded(self._newest_line)
        unheard = self._newest not in {None, newest} and not self._heard
        if unheard and self._doubted:
            raise WeatherError("alarms change and no notice of it comes: a pooler may be in between")
        self._doubted = unheard
        if not unheard:
            self._newest, self._heard = newest, False

    async def _newest_line(self) -> int:
        row = await (await self._connection.execute(_SQL["newest_line"])).fetchone()
        return int(row[0]) if row else 0

    async def _bounded(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Return what the database answers; one that does not answer in time is hung up on."""
        timer = asyncio.get_running_loop().call_later(ANSWER, hang_up, self._connection)
        try:
            return await ask()
        finally:
            timer.cancel()
