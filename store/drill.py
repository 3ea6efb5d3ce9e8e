"""Drills in the database: devices that nobody wears, what they shall say when, what came of it, and the end.

What makes an alarm one of a drill is the registry's word about its device, which only `enter` sets: nothing
that a message says. When a drill ends stands in the database from its beginning, whatever befalls the
command.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from schemas.clock import Moment
from store import sql

_SQL: Final = sql.load("drill")
_REGISTRY: Final = sql.load("registry")


class Device(NamedTuple):
    """A device of drills."""

    device_id: int
    device: str
    region: str


class Pattern(NamedTuple):
    """A real device for new ones to look like; `place` is where it is, in words."""

    device: str
    model: str
    region: str
    place: str


@dataclass(frozen=True)
class Card:
    """A device of drills that is to be entered, and the made-up person behind it; contacts in their order."""

    device: str
    region: str
    model: str
    person: str
    name: str
    birth_year: int
    sex: str
    phone: str
    address: str
    notes: str
    contacts: Sequence[dict[str, Any]]


class Planned(NamedTuple):
    """A call that a device is to make at `due_at`, on the clock of the installation."""

    device: Device
    kind: str
    due_at: datetime


class Call(BaseModel):
    """What has become of a call: `raised_ms` from before it was published until its alarm was written.

    `sent_at` is None if it was not published, `alarm_id` if it is no alarm (yet).
    """

    device: str
    person: str
    kind: str
    due_at: Moment
    sent_at: Moment | None
    alarm_id: int | None
    raised_ms: float | None
    handling: str | None
    acknowledged_by: str | None
    acknowledged_seconds: float | None


async def free(connection: AsyncConnection, region: str, at: datetime, limit: int) -> list[Device]:
    """Return devices of drills in a region that can call: at most `limit`."""
    rows = await connection.execute(_SQL["free"], {"region": region, "at": at, "limit": limit})
    return [Device(*row) for row in await rows.fetchall()]


async def patterns(connection: AsyncConnection, region: str, seed: int, limit: int) -> list[Pattern]:
    """Return real devices of a region, the same ones for the same seed; one made up if there are none."""
    rows = await connection.execute(_SQL["patterns"], {"region": region, "seed": seed, "limit": limit})
    if found := [Pattern(*row) for row in await rows.fetchall()]:
        return found
    row = await (await connection.execute(_SQL["place"], {"region": region})).fetchone()
    return [Pattern("BELL-", "bell", region, row[0] if row else "")]


async def known(connection: AsyncConnection, devices: Sequence[str]) -> set[str]:
    """Return which names a device bears already."""
    rows = await connection.execute(_SQL["known"], {"devices": list(devices)})
    return {device for (device,) in await rows.fetchall()}


async def enter(connection: AsyncConnection, cards: Sequence[Card], at: datetime) -> list[Device]:
    """Enter devices of drills in a transaction of the caller's, and tell the bridge when it commits."""
    await connection.execute(_REGISTRY["set_time"], {"at": at.isoformat()})
    found = []
    for each in cards:
        values = {**vars(each), "contacts": Jsonb(each.contacts)}
        row = await (await connection.execute(_SQL["enter"], values)).fetchone()
        found += [Device(*row)] if row else []
    await connection.execute(_REGISTRY["tell_bridge"])
    return found


async def begin(
    connection: AsyncConnection,
    plan: Sequence[Planned],
    *,
    region: str,
    by: str,
    began_at: datetime,
    ends_at: datetime,
) -> int:
    """Note a drill with its calls, in a transaction of the caller's; return its number."""
    values = {"region": region, "began_by": by, "began_at": began_at, "ends_at": ends_at}
    row = await (await connection.execute(_SQL["begin"], values)).fetchone()
    drill_id = int(row[0]) if row else 0
    for each in plan:
        call = {"device_id": each.device.device_id, "kind": each.kind, "due_at": each.due_at}
        await connection.execute(_SQL["plan_call"], {"drill_id": drill_id, **call})
    return drill_id


async def send(connection: AsyncConnection, drill_id: int, device: Device) -> bool:
    """Note that a device's call is being published; False: it must not be, the device is somebody's now."""
    values = {"drill_id": drill_id, "device_id": device.device_id}
    return await (await connection.execute(_SQL["send"], values)).fetchone() is not None


async def calls(connection: AsyncConnection, drill_id: int) -> list[Call]:
    """Return what has become of each call so far."""
    async with connection.cursor(row_factory=class_row(Call)) as cursor:
        return await (await cursor.execute(_SQL["calls"], {"drill_id": drill_id})).fetchall()


async def end_at(connection: AsyncConnection, drill_id: int, at: datetime) -> None:
    """Let a drill end already at `at`; a call that is still on its way then belongs to it all the same."""
    await connection.execute(_SQL["end_at"], {"drill_id": drill_id, "at": at})


async def former(connection: AsyncConnection) -> dict[int, datetime]:
    """Return the devices that are somebody's by now, and until when each was one of drills."""
    return dict(await (await connection.execute(_SQL["former"])).fetchall())


async def end_due(connection: AsyncConnection, at: datetime) -> int:
    """Close and mark the alarms of drills that are over at `at`; return how many."""
    row = await (await connection.execute(_SQL["end_due"], {"at": at})).fetchone()
    return int(row[0]) if row else 0
