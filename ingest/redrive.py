"""Dead letters that go down the line again: read from the database, laid ready, judged as calls only.

They come last: whatever was just received goes before them, but under load one batch a second is theirs. The
next letters are read only when those before them are settled, so each is in one hand at a time.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import psycopg

from ingest.columns import LATE
from ingest.inbox import TAKEN_BYTES
from schemas.readings import RECEIPT, Batch, Event, Quality
from store import dead
from store.connection import connect
from store.dead import Waiting
from store.weather import is_weather

log = logging.getLogger(__name__)

MOST: Final = 500
"""Letters in one batch: an SOS waits for no more than this."""
EVERY: Final = 1.0
"""Seconds between two batches while messages wait."""
RETRY: Final = 2.0


class Redrive:
    """Letters that are to be re-driven next."""

    def __init__(self, url: str) -> None:
        """Read from the database of this URL; `run` does it."""
        self._url = url
        self._asked = asyncio.Event()
        self._settled = asyncio.Event()
        self._ready: list[Waiting] = []
        self._next = 0.0

    def ask(self) -> None:
        """Look for letters that wait: some were marked, or may have been while nobody listened."""
        self._asked.set()

    def take(self, *, busy: bool) -> list[Waiting]:
        """Return the next letters; none if there are none, or while the line is busy and had its turn."""
        if not self._ready or (busy and time.monotonic() < self._next):
            return []
        self._next = time.monotonic() + EVERY
        taken, self._ready = self._ready, []
        return taken

    def settled(self) -> None:
        """Go on: what was taken is committed; must be called before the next letters can come."""
        self._settled.set()

    async def run(self, arrived: Callable[[], None]) -> None:
        """Lay letters ready for ever and call `arrived` each time; a database that is away is waited for."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._lay_ready(arrived)
            except psycopg.Error as error:
                if not is_weather(error):
                    raise
                log.warning("dead letters: the database is away; re-driving goes on when it is back")
                self.ask()
                await asyncio.sleep(RETRY)

    async def _lay_ready(self, arrived: Callable[[], None]) -> None:
        """Lay all that waits ready, a batch at a time."""
        async with await connect(self._url) as connection:
            while found := await dead.waiting(connection, MOST, TAKEN_BYTES):
                self._settled.clear()
                self._ready = found
                arrived()
                await self._settled.wait()


def complete(batch: Batch, taken: Sequence[Waiting]) -> Batch:
    """Make a decoded batch one of re-driven letters: nobody is to be thanked, and nothing tells of now.

    What calls for help, and can be read, is late if it is old.
    """
    batch.letters = [each.letter for each in taken]
    batch.receipts = np.empty(0, RECEIPT)
    batch.scan = False
    old = batch.readings["received_at"] < batch.now - LATE
    late = old & batch.readings["stored"] & (batch.readings["event"] != Event.NONE)
    batch.readings["quality"][late] = Quality.LATE
    return batch
