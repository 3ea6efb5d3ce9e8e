"""What every request needs: who may come in, the time, and a database that may be away or stalled."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from duty import alarms
from duty.access import Caller, Role
from duty.door import Door, TooManyError, neighbourhood
from duty.keys import Key, Keys, UnauthorizedError, digest_of, token_of
from duty.trail import Refusals
from duty.unstored import Heard
from schemas.clock import Clock
from schemas.settings import DutySettings

Pool = AsyncConnectionPool[AsyncConnection]

ANSWER_SECONDS: Final = 4.0
"""How long a request waits for the database before it says 503."""

ANONYMOUS: Final = "desk"
"""Who signs the log where `insecure` lets anybody in."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Desk:
    """What every request needs: who may come in, the time, the way to the database, and what is not in it."""

    pool: Pool
    clock: Clock
    settings: DutySettings
    keys: Keys
    insecure: bool
    heard: Heard = field(default_factory=Heard)
    requests: Door = field(default_factory=lambda: Door(rate=20, burst=100))
    """Of each caller: a page that polls and acts is far below."""
    refusals: Door = field(default_factory=lambda: Door(rate=0.2, burst=10))
    """At each address, of those whom nobody knows."""
    strangers: Door = field(default_factory=lambda: Door(rate=20, burst=50))
    """In all, how often the database is asked for a key that memory lacks."""
    refused: Refusals = field(default_factory=Refusals)
    _asked: set[asyncio.Task[Any]] = field(default_factory=set)

    async def caller(self, authorization: str, address: str) -> Caller:
        """Return who is asking. Raises UnauthorizedError, TooManyError or DatabaseAwayError.

        A key that memory has needs no database. One that it lacks is asked for at once, so that a new key
        opens at once, but not more often than the doors for refused ones let pass.
        """
        key = await self._key(token_of(authorization), address)
        name = key.name if key else ANONYMOUS
        if wait := self.requests.enter((name, "" if key else neighbourhood(address))):
            raise TooManyError("requests", wait)
        return Caller(name, key.role if key else Role.ADMIN, address)

    async def _key(self, token: str, address: str) -> Key | None:
        """Return the key of a token; None lets anybody in, for it is meant so."""
        key = self.keys.find(digest_of(token)) if token else None
        if key and not key.refused:
            return key
        if self.insecure:
            return None
        where = neighbourhood(address)
        if wait := self.refusals.enter(where):
            raise TooManyError("requests without a token that counts", wait)
        if token and key is None:
            if wait := self.strangers.enter(""):
                raise TooManyError("requests without a token that counts", wait)
            key = await self.ask(lambda connection: self.keys.ask(connection, digest_of(token)))
        if key is None:
            said = "send the header `Authorization: Bearer TOKEN`; `carebell user token NAME` makes a token"
            raise UnauthorizedError(said)
        if key.refused:
            raise UnauthorizedError(f"this token of {key.name} does not count: {key.refused}", key)
        self.refusals.give_back(where)
        return key

    async def ask(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """Return what `work` gets from the database. Raises DatabaseAwayError after ANSWER_SECONDS.

        A driver that waits for a stalled server cannot be interrupted, so the work is left to itself then; it
        gives its connection back when the server answers or resets it.
        """
        task = asyncio.ensure_future(self._work(work))
        self._asked.add(task)
        task.add_done_callback(self._forget)
        try:
            done, _ = await asyncio.wait({task}, timeout=ANSWER_SECONDS)
        except asyncio.CancelledError:
            task.cancel()  # who asked is going: the work must not outlive the pool
            raise
        if not done:
            task.cancel()
            raise alarms.DatabaseAwayError(f"the database does not answer within {ANSWER_SECONDS:g} s")
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, lest asyncio report what nobody waits for any more

    async def _work(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        with alarms.database_errors():
            async with self.pool.connection() as connection:
                return await work(connection)


def make_pool(url: str) -> Pool:
    """Return a pool, not yet open, that needs no database to open and finds one as soon as there is one."""
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=8,
        open=False,
        timeout=2.0,
        max_waiting=100,
        reconnect_timeout=1.0,  # give up soon: the next request tries anew, without a grown backoff
        check=AsyncConnectionPool.check_connection,
        configure=alarms.bound_session,
        kwargs={"autocommit": True, "connect_timeout": 2, "application_name": "carebell-duty"},
        name="duty",
    )


@asynccontextmanager
async def opened(pool: Pool) -> AsyncIterator[Pool]:
    """Open a pool without waiting for the database, and close it without waiting for a stalled one."""
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        await pool.close(timeout=1.0)
