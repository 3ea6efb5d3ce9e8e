"""A simulated district and carebell's database: let it play with its staff, read what came of it."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from psycopg import AsyncConnection
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from device_sims.audit import Audit, Held, HeldAlarm, HeldRows, compare
from device_sims.district import District
from device_sims.shift import work_off
from device_sims.stream import Streamed, stream
from device_sims.tally import Bucket, Tally
from device_sims.truth import DeadKey
from schemas.clock import Clock, to_datetime, to_microseconds
from schemas.settings import BrokerSettings
from schemas.topics import Channel
from store.sql import load

LOOK_AGAIN: Final = 2.0
"""Real seconds between two looks at a database that does not have everything yet."""


async def play(
    district: District,
    broker: BrokerSettings,
    clock: Clock,
    on_progress: Callable[[Streamed], None],
    desk: str,
    token: str,
) -> Tally:
    """Let devices and staff of a district play their parts; return what must have come of it.

    Without a token, no staff acts.
    """
    scenario = district.scenario
    tally = Tally(scenario.name, district.seed, district.start, district.end, clock.speed)
    tally.devices = [device.name for device in district.devices]
    async with asyncio.TaskGroup() as group:
        working = None
        if token and scenario.closes:
            working = group.create_task(work_off(desk, token, clock, scenario.closes))
        await stream(district.sends(), broker, clock, tally, on_progress)
        if working:
            working.cancel()
    return tally


def district_bar(console: Console) -> Progress:
    """Return a bar over the time of a district, with what is left of it in real time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
    )


def show_streamed(bar: Progress, line: TaskID, streamed: Streamed, district: District) -> None:
    """Show how far a district is."""
    done = max(0, streamed.at - district.start)
    said = f"{streamed.published:,} messages, {streamed.behind:.1f} s behind"
    bar.update(line, completed=done, said=said)


async def audit(connection: AsyncConnection, tally: Tally, wait: float) -> Audit:
    """Compare the database with a tally; while something may be on its way, look again.

    That ends when nothing has come for `wait` seconds. A look at a long history costs the server as much as
    the line does, so there is as much time between two looks as one took.
    """
    loop = asyncio.get_running_loop()
    before, news_at = (-1, -1), loop.time()
    while True:
        began = loop.time()
        found = compare(tally, await held(connection, tally))
        took = loop.time() - began
        if (present := (found.rows, found.dead)) != before:
            before, news_at = present, began
        if not found.may_be_under_way or began - news_at > wait:
            return found
        await asyncio.sleep(max(LOOK_AGAIN, took))


async def held(connection: AsyncConnection, tally: Tally) -> Held:
    """Read what the database holds since a run began."""
    queries = load("soak")
    payloads = sorted({payload for calls in tally.calls.values() for _, payload in calls.unreadable})
    bound = {"since": to_datetime(tally.start), "payloads": payloads}

    async def rows(name: str) -> list[Any]:
        return await (await connection.execute(queries[name], bound)).fetchall()

    found = Held()
    for device, channel, day, *counts in await rows("rows"):
        found.rows[Bucket(device, Channel(channel).name.lower(), day)] = HeldRows(*counts)
    for device, kind, count, raised, last, closed, hidden in await rows("alarms"):
        between = to_microseconds(raised), to_microseconds(last)
        closed_at = to_microseconds(closed) if closed else None
        found.alarms.append(HeldAlarm(device, kind, count, *between, closed_at, hidden))
    for device, kind, received in await rows("calls"):
        found.received.setdefault((device, kind), []).append(to_microseconds(received))
    for topic, payload, received in await rows("unreadable"):
        found.unreadable.setdefault((topic, payload), []).append(to_microseconds(received))
    for topic, sha256, reason, whole, times in await rows("dead"):
        found.dead[DeadKey(topic, sha256, reason, whole)] = times
    return found
