"""What every request needs: who may come in, the time, and a database that may be away or stalled."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from duty import alarms
from duty.unstored import Heard
from schemas.clock import Clock
from schemas.errors import CarebellError

Pool = AsyncConnectionPool[AsyncConnection]

ANSWER_SECONDS: Final = 4.0
"""How long a request waits for the database before it says 503."""

ANONYMOUS: Final = "desk"
"""Who signs the log where `insecure` lets anybody in."""

_T = TypeVar("_T")


class UnauthorizedError(CarebellError):
    """No token, or none that we know."""


@dataclass(frozen=True)
class Desk:
    """What every request needs: who may come in, the time, the way to the database, and what is not in it."""

    pool: Pool
    clock: Clock
    tokens: dict[str, str]
    insecure: bool
    heard: Heard = field(default_factory=Heard)
    _asked: set[asyncio.Task[Any]] = field(default_factory=set)

    def operator(self, authorization: str) -> str:
        """Return whose token this is. Raises UnauthorizedError.

        All tokens are compared, each in constant time, so that the time taken tells nothing.
        """
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        found = [name for name, known in self.tokens.items() if hmac.compare_digest(digest, known)]
        if found and scheme.lower() == "bearer":
            return found[0]
        if self.insecure:
            return ANONYMOUS
        if not self.tokens:
            raise UnauthorizedError("no tokens are configured: `carebell token new NAME` makes one")
        raise UnauthorizedError("send the header `Authorization: Bearer TOKEN` with a token of [duty.tokens]")

    async def ask(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """Return what `work` gets from the database. Raises DatabaseAwayError after ANSWER_SECONDS.

        A driver that waits for a stalled server cannot be interrupted, so the work is left to itself then; it
        gives its connection back when the server answers or resets it.
        """
        task = asyncio.ensure_future(self._work(work))
        self._asked.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait({task}, timeout=ANSWER_SECONDS)
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
