"""Delivery: each recipient has a worker of its own, so that one who hangs or is away delays nobody else.

Rules of this file: what is sent is noted after it was sent. Whatever ends in between (we, the database, the
line) leaves the notice to be sent again when its lease is over, with the same key.
"""

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from duty.alarms import database_errors
from duty.desk import Pool
from duty.notify import notices
from duty.notify.answers import Answer
from duty.notify.channels import Channels
from duty.notify.notices import Notice
from schemas.clock import Clock, to_datetime
from schemas.errors import CarebellError

log = logging.getLogger(__name__)

_CHANCE: Final = random.SystemRandom()


@dataclass(frozen=True)
class Pace:
    """How often and how long is tried, in real seconds."""

    look: float = 0.5
    """Between two looks for what is due or waits."""
    first: float = 1.0
    """Until a notice is tried again that was not taken; twice as long each time."""
    longest: float = 60.0
    first_refused: float = 60.0
    """The same for one that was refused, for only people can mend that."""
    longest_refused: float = 3600.0
    rest: float = 30.0
    """A recipient that takes nothing is left alone for so long at most, whatever waits for it."""
    lease: float = 30.0
    """For so long nobody else sends a notice: longer than a delivery may take."""
    give_up: float = 24 * 3600.0
    tidy: float = 60.0


class Sender:
    """Send what waits, for ever."""

    def __init__(self, pool: Pool, channels: Channels, clock: Clock, pace: Pace) -> None:
        """Nothing is sent before `run`."""
        self._pool = pool
        self._channels = channels
        self._clock = clock
        self._pace = pace
        self._news = {name: asyncio.Event() for name in channels.ladders.recipient}
        self._troubles: dict[str, str] = {}
        self._away = False

    def wake(self, recipients: Iterable[str]) -> None:
        """Tell that something waits for these."""
        for name in recipients:
            if name in self._news:
                self._news[name].set()

    async def run(self) -> None:
        """Work for all recipients."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            for name in self._news:
                group.create_task(self._work(name))

    async def _look(self) -> None:
        """Find what other desks left, and what is to be tried again."""
        while True:
            try:
                with database_errors():
                    async with self._pool.connection() as connection:
                        self.wake(await notices.waiting(connection, list(self._news)))
                self._away = False
            except (CarebellError, psycopg.Error) as error:
                if not self._away:
                    log.warning("notify: what waits cannot be read: %s; trying on", error)
                self._away = True
            except Exception:
                log.exception("notify: a fault in looking for what waits; trying on")
            await asyncio.sleep(self._pace.look)

    async def _work(self, name: str) -> None:
        """Send to one recipient what waits for it, one message after the other."""
        failures = 0
        while True:
            await self._news[name].wait()
            self._news[name].clear()
            try:
                while answer := await self._send_next(name):
                    failures = 0 if answer.is_sent else failures + 1
                    await asyncio.sleep(self._rest(answer, failures))
            except (CarebellError, psycopg.Error) as error:
                log.info("notify: %s waits: %s", name, error)  # _look has warned
            except Exception:  # a fault of ours in one message must not end the way to a recipient
                log.exception("notify: a fault in telling %s; trying on", name)
                await asyncio.sleep(self._pace.rest)

    async def _send_next(self, name: str) -> Answer | None:
        """Send one message; return what came of it, or None when nothing waits any more."""
        while found := await self._claim(name):
            waiting = [notice for notice in found if notice.state == "waiting"]
            if waiting:
                answer = await self._channels.send(name, waiting)
                self._tell(name, answer)
                await self._note(name, waiting, answer)
                return answer
        return None

    async def _claim(self, name: str) -> list[Notice]:
        recipient = self._channels.ladders.recipient[name]
        with database_errors():
            async with self._pool.connection() as connection:
                return await notices.claim(
                    connection,
                    name,
                    most=self._channels.most(name),
                    lease=self._pace.lease,
                    personal=recipient.personal,
                    drills=recipient.drills,
                )

    async def _note(self, name: str, tried: Sequence[Notice], answer: Answer) -> None:
        """Note what came of it; a database that is away gets the time of the lease to come back."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._pace.lease / 2
        while True:
            try:
                await self._note_once(name, tried, answer)
            except (CarebellError, psycopg.Error):
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(self._pace.look)
            else:
                return

    async def _note_once(self, name: str, tried: Sequence[Notice], answer: Answer) -> None:
        personal = self._channels.ladders.recipient[name].personal
        with database_errors():
            async with self._pool.connection() as connection:
                if answer.is_sent:
                    at = to_datetime(self._clock.now())
                    await notices.note_sent(connection, tried, at, personal=personal)
                else:
                    later = [self._later(notice, answer) for notice in tried]
                    await notices.note_failed(connection, tried, answer.said, later)

    def _later(self, notice: Notice, answer: Answer) -> float:
        """Return after how many seconds a notice is tried again."""
        pace = self._pace
        first, longest = (
            (pace.first_refused, pace.longest_refused) if answer.refused else (pace.first, pace.longest)
        )
        return max(answer.wait, _jitter(_grown(first, longest, notice.attempts)))

    def _rest(self, answer: Answer, failures: int) -> float:
        """Return for how many seconds a recipient is left alone; one that refuses may take the next ones."""
        if answer.is_sent:
            return 0.0
        counted = failures - 2 if answer.refused else failures
        rest = _jitter(_grown(self._pace.first, self._pace.rest, counted)) if counted > 0 else 0.0
        return max(min(answer.wait, self._pace.rest), rest)

    def _tell(self, name: str, answer: Answer) -> None:
        """Log when a recipient takes nothing any more, why, and when it does again."""
        before = self._troubles.get(name, "")
        if answer.said == before:
            return
        self._troubles[name] = answer.said
        if answer.is_sent:
            log.warning("notify: %s takes notices again", name)
        elif answer.refused:
            log.warning("notify: %s refuses, which somebody must mend: %s", name, answer.said)
        else:
            log.warning("notify: %s takes nothing: %s; trying on", name, answer.said)


def _grown(first: float, longest: float, times: int) -> float:
    return float(min(longest, first * 2 ** min(times - 1, 30)))


def _jitter(seconds: float) -> float:
    """Return a bit less, so that what failed together is not tried again together."""
    return seconds * _CHANCE.uniform(0.5, 1.0)
