"""What operators enter while the bridge runs: the database says so, and the devices are read again.

Who writes the registry notifies `carebell_registry` with the time that the changed rows bear. What arrives is
only laid ready here: the line learns it between two batches, a part at a time, so that no message waits for a
million devices.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from psycopg import AsyncConnection

from store import sql
from store.connection import connect
from store.restore import Device
from store.weather import is_weather

log = logging.getLogger(__name__)

RETRY: Final = 2.0
PART: Final = 2_000
"""Devices that the line learns at once."""
LONGEST_IMPORT: Final = timedelta(hours=1)
"""Rows bear the time at which their transaction began, so after a pause this much is read again."""

_QUERIES = sql.load("ingest")


class News:
    """Devices that were changed and that the line has not learnt yet."""

    def __init__(self, url: str) -> None:
        """Read from the database of this URL; `run` does it."""
        self._url = url
        self._parts: deque[list[Device]] = deque()
        self._heard_until = datetime.now(UTC)

    def take(self) -> list[Device]:
        """Return the next devices to learn, at most PART; none if there is no news."""
        return self._parts.popleft() if self._parts else []

    async def run(self, arrived: Callable[[], None]) -> None:
        """Listen for ever and call `arrived` for each part; a database that is away is waited for."""
        while True:
            try:
                async with await connect(self._url) as connection:
                    await self._listen(connection, arrived)
            except psycopg.Error as error:
                if not is_weather(error):
                    raise
                log.warning("registry: the database is away; listening again when it is back")
            await asyncio.sleep(RETRY)

    async def _listen(self, connection: AsyncConnection, arrived: Callable[[], None]) -> None:
        await connection.execute(_QUERIES["listen_to_registry"])
        since = self._heard_until - LONGEST_IMPORT
        while True:
            async for part in self._changed(connection, since):
                self._parts.append(part)
                arrived()
            notices = [notice async for notice in connection.notifies(stop_after=1)]
            since = min(self._time(notice.payload) for notice in notices)

    def _time(self, payload: str) -> datetime:
        """Read what a notice says; anybody may send one, and one without a time means what is recent."""
        try:
            return datetime.fromisoformat(payload).astimezone(UTC)
        except ValueError:
            return self._heard_until - LONGEST_IMPORT

    async def _changed(self, connection: AsyncConnection, since: datetime) -> AsyncIterator[list[Device]]:
        self._heard_until = datetime.now(UTC)
        async with connection.transaction(), connection.cursor("news") as cursor:
            await cursor.execute(_QUERIES["devices_since"], {"since": since})
            while rows := await cursor.fetchmany(PART):
                yield [Device(*row) for row in rows]
