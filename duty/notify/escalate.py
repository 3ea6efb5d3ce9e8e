"""Escalation: look again and again at what came before staff, and note who is to be told of it.

Any number of desks may do it: each takes up other alarms. One that is away leaves its alarms to the others,
or to itself when it is back, for all that is due stands in the database.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Final

import psycopg

from duty.alarms import database_errors
from duty.desk import Pool, opened
from duty.notify import notices
from duty.notify.channels import PATIENCE, Channels
from duty.notify.ladders import Climbing, Ladders, Verdict, arrival_limit
from duty.notify.send import Pace, Sender
from schemas.clock import Clock, to_datetime
from schemas.errors import CarebellError
from schemas.settings import DutySettings, Settings

log = logging.getLogger(__name__)

KEPT: Final = timedelta(days=1)
"""What is due is kept so long where nobody takes it up, on the clock of the installation."""
LEAVE: Final = 1.0
"""Seconds for which the end of the desk waits for a database that is stalled."""


class Escalator:
    """Note what is due, for ever."""

    def __init__(self, pool: Pool, ladders: Ladders, settings: DutySettings, clock: Clock) -> None:
        """Nothing is looked at before `look`."""
        self._pool = pool
        self._ladders = ladders
        self._settings = settings
        self._clock = clock

    async def look(self) -> tuple[bool, set[str]]:
        """Look once; return whether there may be more, and for whom there are notices now."""
        at = to_datetime(self._clock.now())
        with database_errors():
            async with self._pool.connection() as connection:
                news = await notices.take_up(connection, at)
                looked, told = await notices.climb(connection, at, lambda alarm: self._judge(alarm, at))
        return max(news, looked) >= notices.AT_ONCE, told

    async def tidy(self, give_up: float) -> None:
        """Give up what could not be sent for so many seconds, and forget what is long over."""
        at = to_datetime(self._clock.now())
        with database_errors():
            async with self._pool.connection() as connection:
                for name, count in (await notices.give_up(connection, at, give_up)).items():
                    log.error("notify: %d notices for %s are given up: nobody took them", count, name)
                await notices.tidy(connection, at, KEPT)

    def _judge(self, alarm: Climbing, at: datetime) -> Verdict:
        return self._ladders.judge(alarm, at, arrival_limit(self._settings, alarm.region))


@contextlib.asynccontextmanager
async def telling(
    settings: Settings, ladders: Ladders, pace: Pace | None = None, patience: float = PATIENCE
) -> AsyncIterator[None]:
    """Escalate and tell for as long as the block; without recipients, only tidy up."""
    pace, clock = pace or Pace(), settings.clock.clock()
    async with (
        opened(notices.make_pool(settings.database.url)) as pool,
        Channels(ladders, settings.broker, patience) as channels,
    ):
        escalator = Escalator(pool, ladders, settings.duty, clock)
        sender = Sender(pool, channels, clock, pace)
        tasks = [asyncio.create_task(_tidy_for_ever(escalator, pace))]
        if ladders.recipient:
            tasks += [
                asyncio.create_task(_look_for_ever(escalator, sender, pace)),
                asyncio.create_task(sender.run()),
            ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=LEAVE)


async def _look_for_ever(escalator: Escalator, sender: Sender, pace: Pace) -> None:
    """Look again and again; a database that is away is waited for, and no fault here ends the desk."""
    told = False
    while True:
        more = False
        try:
            more, recipients = await escalator.look()
            sender.wake(recipients)
            told = False
        except (CarebellError, psycopg.Error) as error:
            if not told:
                log.warning("notify: what is due cannot be read: %s; trying on", error)
            told = True
        except Exception:
            log.exception("notify: a fault in looking at what is due; trying on")
        if not more:
            await asyncio.sleep(pace.look)


async def _tidy_for_ever(escalator: Escalator, pace: Pace) -> None:
    while True:
        await asyncio.sleep(pace.tidy)
        with contextlib.suppress(CarebellError, psycopg.Error):  # the next time will do
            await escalator.tidy(pace.give_up)
