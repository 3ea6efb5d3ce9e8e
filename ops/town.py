"""A simulated town and carebell's database: enter its people, let it play, read what came of it."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from device_sims.cards import REGIONS, Registration
from device_sims.district import District
from device_sims.publish import Progress, play
from device_sims.staff import staff
from device_sims.town import Town
from device_sims.truth import DeadKey, RowKey, Seen, SeenAlarm, Truth
from schemas.clock import Clock, to_datetime, to_microseconds
from schemas.settings import BrokerSettings
from schemas.topics import Channel
from store.sql import load


async def enter(connection: AsyncConnection, town: Town | District) -> int:
    """Enter regions, devices, people and contacts of a town or a district; return how many devices were new.

    Devices that are there stay as they are.
    """
    queries = load("registry")
    known = {device for (device,) in await _rows(connection, load("verify")["known"], {})}
    entries = [_entry(each) for each in town.registrations if each.device not in known]
    regions = [
        {"region": region, "name": name, "lat": lat, "lon": lon}
        for region, (name, lat, lon) in REGIONS.items()
    ]
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.executemany(queries["enter_region"], regions)
        await cursor.executemany(queries["enter_device"], entries)
    return len(entries)


async def play_with_staff(
    town: Town,
    broker: BrokerSettings,
    clock: Clock,
    on_progress: Callable[[Progress], None],
    desk: str,
    token: str,
) -> list[str]:
    """Let devices and staff play their parts; return what the staff could not do.

    Without a token, no staff acts.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(play(town, broker, clock, on_progress))
        working = group.create_task(staff(town.truth, desk, token, clock)) if token else None
    return working.result() if working else []


async def seen(connection: AsyncConnection, truth: Truth) -> Seen:
    """Read what the database holds since a town began."""
    queries = load("verify")
    bound: dict[str, datetime] = {"since": to_datetime(truth.start)}
    found = Seen()
    for device, kind, occurrence, count, raised, cleared, closed, quality in await _rows(
        connection, queries["alarms"], bound
    ):
        at = to_microseconds(cleared) if cleared else None
        raised_at = to_microseconds(raised)
        found.alarms.append(SeenAlarm(device, kind, occurrence, count, raised_at, at, closed, quality))
    for device, channel, seq, times in await _rows(connection, queries["rows"], bound):
        found.rows[RowKey(device, Channel(channel).name.lower(), seq)] = times
    for topic, sha256, reason, whole, times in await _rows(connection, queries["dead"], bound):
        found.dead[DeadKey(topic, sha256, reason, whole)] = times
    return found


def _entry(registration: Registration) -> dict[str, Any]:
    row = asdict(registration)
    person = row.pop("person")
    contacts = [{"rank": rank, **contact} for rank, contact in enumerate(person.pop("contacts"), 1)]
    return {**row, **person, "contacts": Jsonb(contacts)}


async def _rows(connection: AsyncConnection, query: bytes, bound: dict[str, datetime]) -> list[Any]:
    return await (await connection.execute(query, bound)).fetchall()
