"""What ends by itself: drills that are over, whose calls close and are marked as 演练, shelves, explanations.

The desk does it, for handling is duty's; what ended while no desk ran ends when one starts.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

import psycopg

from duty.alarms import database_errors, end_explanations, end_shelves
from duty.desk import Pool
from schemas.clock import Clock, to_datetime
from schemas.errors import CarebellError
from store import drill

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 5.0
"""Real seconds between two looks for what is over."""
LEAVE: Final = 1.0
"""Seconds for which the end of the desk waits for a look at a database that is stalled."""


@contextlib.asynccontextmanager
async def ending(pool: Pool, clock: Clock) -> AsyncIterator[None]:
    """End what is over for as long as the block."""
    task = asyncio.create_task(_end_for_ever(pool, clock))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=LEAVE)


async def _end_for_ever(pool: Pool, clock: Clock) -> None:
    """Look again and again; a database that is away is waited for, and no fault here ends the desk."""
    told = False
    while True:
        try:
            with database_errors():
                async with pool.connection() as connection:
                    shelved = await end_shelves(connection, clock.now())
                    explained = await end_explanations(connection, clock.now())
                    drilled = await drill.end_due(connection, to_datetime(clock.now()))
            if drilled:
                log.info("drill: %d alarms of drills that are over are closed and marked", drilled)
            if shelved:
                log.info("shelf: %d alarms stand before staff again", shelved)
            if explained:
                log.info("outage: %d alarms stand before staff that no open outage explains", explained)
            told = False
        except (CarebellError, psycopg.Error) as error:
            if not told:
                log.warning("what is over cannot be ended: %s; trying on", error)
            told = True
        await asyncio.sleep(LOOK_EVERY)
