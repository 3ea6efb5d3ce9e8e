"""The writer's one connection: opened with the writer's lock, opened again when the weather took it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import psycopg
from psycopg import AsyncConnection

from schemas.errors import FatalError
from store import sql
from store.weather import is_weather

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_BACKOFF: Final = 0.1
LONGEST_BACKOFF: Final = 2.0
LOCK_POLL: Final = 0.5


async def connect(url: str) -> AsyncConnection:
    """Open a connection in autocommit; either end notices within seconds that the other is gone."""
    connection = await AsyncConnection.connect(
        url,
        autocommit=True,
        connect_timeout=5,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
        application_name="carebell",
    )
    try:
        await connection.execute(sql.load("ingest")["watch_client"])
    except BaseException:
        await connection.close()
        raise
    return connection


def where(url: str) -> str:
    """Return where a database URL points, without secrets, for messages to people."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "the given URL"
    return f"{parts.get('host', 'the local socket')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


class LockedConnection:
    """Run work on a connection that holds the writer's advisory lock; weather is waited out for ever.

    The lock is taken before anything is read, so an orphaned commit of a killed process cannot overlap.
    `reopened` is called after each opening, before the work is tried again. One work is done at a time: who
    voids the ledger waits for a commit that may still bring packet ids of the lost session.
    """

    def __init__(self, url: str, reopened: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Nothing is opened before the first `run`."""
        self.retries = 0
        self._url = url
        self._reopened = reopened
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()

    @property
    def is_up(self) -> bool:
        """Say whether the connection is open and nothing is being retried."""
        return self._connection is not None and not self._connection.closed

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do `work` until it succeeds; errors that are not weather are raised."""
        async with self._turn:
            return await self._until_done(work)

    async def _until_done(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        backoff = FIRST_BACKOFF
        while True:
            try:
                return await work(self._connection or await self._open())
            except psycopg.Error as error:
                if not is_weather(error):
                    raise
                log.warning(
                    "database at %s: %s; trying again", where(self._url), str(error).strip().split("\n")[0]
                )
            self.retries += 1
            await self.close()
            await asyncio.sleep(backoff)
            backoff = min(LONGEST_BACKOFF, backoff * 2)

    async def _open(self) -> AsyncConnection:
        connection = await connect(self._url)
        try:
            await self._lock(connection)
            await self._reopened(connection)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        return connection

    async def _lock(self, connection: AsyncConnection) -> None:
        told = False
        while True:
            row = await (await connection.execute(sql.load("ingest")["lock"])).fetchone()
            if row and row[0]:
                return
            if not told:
                log.warning("another bridge writes to this database; waiting for it to end")
                told = True
            await asyncio.sleep(LOCK_POLL)

    async def close(self) -> None:
        """Close the connection, and with it give up the lock."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


class OverlapError(FatalError):
    """Another bridge has written to this database: this one holds a state that is not the database's."""
