"""Notices in the database: what is due, what waits to be sent, what became of it.

Rules of this file: SQL stands in store/queries/notify.sql; a notice is taken up for the time of a lease and
noted as sent after it was sent, so that a desk that dies in between leaves it to be sent again, with its key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import quote

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

from duty import alarms
from duty.notify.ladders import Climbing, Due, Verdict
from schemas.alarms import Class, Severity
from store import sql

State = Literal["waiting", "sent", "failed", "withdrawn"]

AT_ONCE: Final = 1000
"""Alarms that are taken up or looked at in one transaction."""

_SQL: Final = sql.load("notify")


@dataclass(frozen=True)
class Notice:
    """What is to be told to somebody: the alarm as it is now. Person and address are empty for most."""

    notice_id: int
    alarm_id: int
    round: int
    step: int
    recipient: str
    state: State
    attempts: int
    created_at: datetime
    kind: str
    alarm_class: Class
    severity: Severity
    handling: str
    raised_at: datetime
    last_at: datetime
    closed_at: datetime | None
    count: int
    device: str
    region: str
    region_name: str
    person: str = ""
    address: str = ""
    trial: str = ""

    @property
    def key(self) -> str:
        """Return what tells a repetition from another notice, in ASCII: receivers may go by it."""
        return self.trial or f"carebell-{self.alarm_id}-{self.round}-{self.step}-{quote(self.recipient)}"


class Listed(BaseModel):
    """A notice as ops see it."""

    notice_id: int
    alarm_id: int
    round: int
    step: int
    recipient: str
    state: State
    attempts: int
    created_at: datetime
    next_at: datetime
    ended_at: datetime | None
    error: str


def make_pool(url: str) -> AsyncConnectionPool[AsyncConnection]:
    """Return a pool, not yet open: apart from the desk's, so that neither can take the other's connections.

    A line that went dead is given up within seconds.
    """
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=4,
        open=False,
        timeout=2.0,
        reconnect_timeout=1.0,
        check=AsyncConnectionPool.check_connection,
        configure=alarms.bound_session,
        kwargs={
            "autocommit": True,
            "connect_timeout": 2,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "application_name": "carebell-notify",
        },
        name="notify",
    )


async def take_up(connection: AsyncConnection, at: datetime) -> int:
    """Put what came before staff on its ladder; return how much news there was, AT_ONCE at most."""
    row = await (await connection.execute(_SQL["take_up"], {"at": at, "most": AT_ONCE})).fetchone()
    return int(row[0]) if row else 0


async def climb(
    connection: AsyncConnection, at: datetime, judge: Callable[[Climbing], Verdict]
) -> tuple[int, set[str]]:
    """Judge the alarms that are to be looked at; return how many, and for whom there are notices now."""
    async with connection.transaction():
        async with connection.cursor(row_factory=class_row(Climbing)) as cursor:
            locked = await connection.execute(_SQL["lock_due"], {"at": at, "most": AT_ONCE})
            values = {"at": at, "alarm_ids": [alarm_id for (alarm_id,) in await locked.fetchall()]}
            found = await (await cursor.execute(_SQL["due"], values)).fetchall()
        judged = [(alarm, judge(alarm)) for alarm in found]
        told = await _add(connection, [(alarm, due) for alarm, verdict in judged for due in verdict.due])
        going = [(alarm, verdict) for alarm, verdict in judged if verdict.next_at]
        if going:
            await connection.execute(
                _SQL["go_on"],
                {
                    "alarm_id": [alarm.alarm_id for alarm, _ in going],
                    "next_at": [verdict.next_at for _, verdict in going],
                    "round": [verdict.round for _, verdict in going],
                    "since": [verdict.since for _, verdict in going],
                },
            )
        ended = [alarm.alarm_id for alarm, verdict in judged if not verdict.next_at]
        if ended:
            await connection.execute(_SQL["end"], {"alarm_ids": ended})
    return len(found), told


async def _add(connection: AsyncConnection, due: Sequence[tuple[Climbing, Due]]) -> set[str]:
    if not due:
        return set()
    columns = {
        "alarm_id": [alarm.alarm_id for alarm, _ in due],
        "round": [alarm.round for alarm, _ in due],
        "step": [each.step for _, each in due],
        "recipient": [each.recipient for _, each in due],
        "life": [alarm.alarm_class is Class.LIFE for alarm, _ in due],
        "unless": [each.unless for _, each in due],
    }
    rows = await connection.execute(_SQL["add_notices"], columns)
    return {name for (name,) in await rows.fetchall()}


async def waiting(connection: AsyncConnection, recipients: Sequence[str]) -> list[str]:
    """Return which of these have something to be sent now."""
    rows = await connection.execute(_SQL["waiting"], {"recipients": list(recipients)})
    return [name for (name,) in await rows.fetchall()]


async def claim(
    connection: AsyncConnection, recipient: str, *, most: int, lease: float, personal: bool, drills: bool
) -> list[Notice]:
    """Take up what is to be sent to a recipient, calls for help first; it is ours for `lease` seconds.

    What became needless is withdrawn and comes back in that state.
    """
    values = {"recipient": recipient, "most": most, "lease": lease, "personal": personal, "drills": drills}
    async with connection.cursor(row_factory=class_row(Notice)) as cursor:
        return await (await cursor.execute(_SQL["claim"], values)).fetchall()


async def note_sent(
    connection: AsyncConnection, told: Sequence[Notice], at: datetime, *, personal: bool
) -> None:
    """Note that these were sent, here and in the log of their alarms."""
    values = {"notice_ids": [each.notice_id for each in told], "at": at, "personal": personal}
    await connection.execute(_SQL["sent"], values)


async def note_failed(
    connection: AsyncConnection, tried: Sequence[Notice], error: str, seconds: Sequence[float]
) -> None:
    """Note why these were not sent, and after how many seconds each is tried again."""
    values: dict[str, Any] = {
        "notice_ids": [each.notice_id for each in tried],
        "attempts": [each.attempts for each in tried],
        "seconds": list(seconds),
        "error": error,
    }
    await connection.execute(_SQL["failed"], values)


async def give_up(connection: AsyncConnection, at: datetime, seconds: float) -> dict[str, int]:
    """Give up what has been waiting for so long; return how much for whom."""
    rows = await connection.execute(_SQL["give_up"], {"at": at, "seconds": seconds, "most": AT_ONCE})
    return dict(await rows.fetchall())


async def tidy(connection: AsyncConnection, at: datetime, kept: timedelta) -> None:
    """Forget notices of long ago, and what was due so long ago that nobody wanted to know."""
    await connection.execute(_SQL["trim_notices"])
    await connection.execute(_SQL["forget_due"], {"before": at - kept})


async def list_notices(connection: AsyncConnection, state: State | None, limit: int) -> list[Listed]:
    """Return notices, newest first."""
    async with connection.cursor(row_factory=class_row(Listed)) as cursor:
        return await (await cursor.execute(_SQL["list_notices"], {"state": state, "limit": limit})).fetchall()
