"""The audit log: who handled what, who read personal data, and who was refused.

Rules of this file: what was carried out is recorded in its own transaction, so that there is no deed without
its line; a read of personal data that cannot be recorded is not answered. Refusals change nothing and anybody
can cause them: they are counted by the minute, one line for all that are alike, and written behind the
answer. What is counted and not yet written when the process is killed is lost.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from starlette.types import Scope

from duty.access import Caller, address_of
from schemas.clock import Moment
from schemas.errors import CarebellError
from store import sql

if TYPE_CHECKING:
    from duty.desk import Desk

log = logging.getLogger(__name__)

WRITE_EVERY: Final = 60.0
"""Real seconds between two writings of what was refused."""
KINDS_KEPT: Final = 200
"""Different refusals that are told apart between two writings; of the others only the number is written."""
LONGEST_PATH: Final = 120
REFUSALS: Final = range(400, 500)
LEAVE: Final = 2.0
"""Seconds for which the end of the desk waits for the last writing."""

MAX_LINES: Final = 1000
"""Most lines in one list."""
NEWEST: Final = 2**63 - 1

_ALARM = re.compile(r"/api/alarms/(\d{1,18})(?:/|$)", re.ASCII)
_SQL: Final = sql.load("access")


async def record(
    connection: AsyncConnection,
    caller: Caller,
    action: str,
    *,
    alarm_id: int | None = None,
    person_id: int | None = None,
    status: int = 200,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write one line in the caller's name, in the transaction that is open, else in one of its own."""
    values = {
        "actor": caller.name,
        "role": caller.role,
        "action": action,
        "alarm_id": alarm_id,
        "person_id": person_id,
        "status": status,
        "address": caller.address,
        "detail": Jsonb(detail or {}),
    }
    await connection.execute(_SQL["record"], values)


async def record_read(
    connection: AsyncConnection,
    caller: Caller,
    action: str,
    *,
    alarm_id: int | None = None,
    person_id: int | None = None,
) -> None:
    """Write down that the caller is about to see personal data; `action` is the name of the operation."""
    await record(connection, caller, action, alarm_id=alarm_id, person_id=person_id)


async def record_command(connection: AsyncConnection, by: str, action: str, detail: dict[str, Any]) -> None:
    """Write down what was done at the command line, whose user is whoever the machine let in."""
    values = {"actor": by, "role": "ops", "action": action, "alarm_id": None, "person_id": None}
    await connection.execute(_SQL["record"], {**values, "status": 0, "address": "", "detail": Jsonb(detail)})


class AuditLine(BaseModel):
    """A line of the audit log."""

    audit_id: int
    at: Moment
    actor: str
    role: str
    action: str
    alarm_id: int | None
    person_id: int | None
    status: int
    address: str
    detail: dict[str, Any]


async def read_before(connection: AsyncConnection, before: int, limit: int) -> list[AuditLine]:
    """Return lines with a lower number than `before`, newest first, at most MAX_LINES."""
    return await _lines(connection, "audit_before", {"before": before, "limit": min(limit, MAX_LINES)})


async def read_since(connection: AsyncConnection, since: datetime, limit: int) -> list[AuditLine]:
    """Return lines of a time and later, newest first."""
    return await _lines(connection, "audit_since", {"since": since, "limit": limit})


async def _lines(connection: AsyncConnection, query: str, values: dict[str, Any]) -> list[AuditLine]:
    async with connection.cursor(row_factory=class_row(AuditLine)) as cursor:
        return await (await cursor.execute(_SQL[query], values)).fetchall()


@dataclass(frozen=True)
class Refusal:
    """What makes refusals alike. Of strangers not the path: they choose it."""

    actor: str
    role: str
    address: str
    status: int
    error: str
    action: str


@dataclass
class _Count:
    since: datetime
    alarm_id: int | None
    path: str
    count: int = 0


@dataclass
class Refusals:
    """What was refused and is not written yet; `beyond` is how many could not be told apart any more."""

    counts: dict[Refusal, _Count] = field(default_factory=dict)
    beyond: int = 0

    def note(self, refusal: Refusal, path: str) -> None:
        """Count one."""
        found = self.counts.get(refusal)
        if found is None:
            if len(self.counts) >= KINDS_KEPT:
                self.beyond += 1
                return
            found = self.counts[refusal] = _Count(datetime.now(UTC), _alarm_of(path), path)
        found.count += 1

    async def write(self, connection: AsyncConnection) -> None:
        """Write what was counted until now, in one transaction; what cannot be written stays counted."""
        counts, beyond = {each: count.count for each, count in self.counts.items()}, self.beyond
        lines = [_line(each, self.counts[each], count) for each, count in counts.items()]
        if beyond:
            lines.append(_beyond(beyond))
        async with connection.transaction(), connection.cursor() as cursor:
            await cursor.executemany(_SQL["record"], lines)
        self.beyond -= beyond
        for each, count in counts.items():
            self.counts[each].count -= count
            if not self.counts[each].count:
                del self.counts[each]


def _line(refusal: Refusal, counted: _Count, count: int) -> dict[str, Any]:
    detail = {"error": refusal.error, "count": count, "since": counted.since.isoformat(timespec="seconds")}
    return {
        "actor": refusal.actor,
        "role": refusal.role,
        "action": refusal.action,
        "alarm_id": counted.alarm_id,
        "person_id": None,
        "status": refusal.status,
        "address": refusal.address,
        "detail": Jsonb(detail if refusal.actor else {**detail, "first": counted.path}),
    }


def _beyond(count: int) -> dict[str, Any]:
    """Say how many were refused of whom nothing else is written."""
    nobody = Refusal("", "", "", 0, "not told apart", "refused")
    return _line(nobody, _Count(datetime.now(UTC), None, ""), count)


def _alarm_of(path: str) -> int | None:
    found = _ALARM.match(path)
    return int(found[1]) if found else None


def note_refusal(scope: Scope, status: int) -> None:
    """Count an answer that refuses, of a request that passed the guard or was stopped by it."""
    desk = getattr(scope["app"].state, "desk", None)
    if desk is None or status not in REFUSALS:
        return
    caller: Caller | None = scope["state"].get("caller")
    path = "".join(letter if letter.isprintable() else "\ufffd" for letter in scope["path"][:LONGEST_PATH])
    error = scope["state"].get("refused") or HTTPStatus(status).name.lower()
    action = f"{scope['method'][:10]} {path}" if caller else "refused"
    who = (caller.name, caller.role, caller.address) if caller else ("", "", address_of(scope))
    desk.refused.note(Refusal(*who, status, error, action), path)


@contextlib.asynccontextmanager
async def writing(desk: "Desk", every: float = WRITE_EVERY) -> AsyncIterator[None]:
    """Write what is refused for as long as the block, and the rest at its end."""
    task = asyncio.create_task(_write_for_ever(desk, every))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=LEAVE)
        with contextlib.suppress(CarebellError, psycopg.Error, TimeoutError):
            async with asyncio.timeout(LEAVE):
                await _write(desk)


async def _write_for_ever(desk: "Desk", every: float) -> None:
    told = False
    while True:
        await asyncio.sleep(every)
        try:
            await _write(desk)
            told = False
        except (CarebellError, psycopg.Error) as error:
            if not told:
                log.warning("refusals cannot be written: %s; they are counted on", error)
            told = True


async def _write(desk: "Desk") -> None:
    if desk.refused.counts or desk.refused.beyond:
        await desk.ask(desk.refused.write)
