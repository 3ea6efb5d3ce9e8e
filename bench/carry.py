"""One load through one contender: what was published, what was stored, and what it cost each process.

A contender is whoever takes the messages: the bridge, a peer, a subscriber that does nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from bench.filling import device_name
from bench.ground import CHANNEL, Ground, stored, town
from bench.machine import NotMeasuredError, cpu_seconds, is_running
from bench.table import Line, whole
from device_sims.burst import burst
from device_sims.load import Load
from ops.parts import Broker

POLL: Final = 0.05
LOOKED_FOR: Final = 20
"""Messages at the end of a load whose rows are waited for."""
KEPT_UP: Final = 0.95
"""A rate is kept up if so much of it was published and stored."""
CLOCKS: Final = timedelta(seconds=10)
TRIAL_GROWTH: Final = 1.3


@dataclass(frozen=True)
class Carried:
    """Rates in messages a second, CPU in microseconds a message; `rate` 0: all that went."""

    who: str
    rate: float
    seconds: float
    published: int
    published_rate: float
    stored_rate: float
    lost: int
    double: int
    batch_rows: float
    bridge_us: float
    broker_us: float
    database_us: float
    load_us: float

    @property
    def is_kept_up(self) -> bool:
        """Say whether all came, once, and nothing was left to be caught up with."""
        asked = self.rate or self.published_rate
        return not self.lost and not self.double and self.stored_rate >= KEPT_UP * asked

    def lines(self, target: str = "", bridge_target: str = "") -> list[Line]:
        """Show it."""
        asked = f"paced at {whole(self.rate)}" if self.rate else "as many as go"
        return [
            Line(f"published, msg/s ({asked}, {self.seconds:.0f} s)", whole(self.published_rate)),
            Line("stored end to end, msg/s", whole(self.stored_rate), target),
            Line("lost / double, by key", f"{self.lost:,} / {self.double:,}", "0 / 0"),
            Line("rows in a batch", whole(self.batch_rows)),
            Line("CPU of the bridge, us/msg", f"{self.bridge_us:.1f}", bridge_target),
            Line(
                "CPU of broker / database / load, us/msg",
                f"{self.broker_us:.1f} / {self.database_us:.1f} / {self.load_us:.1f}",
            ),
        ]

    def figures(self) -> dict[str, Any]:
        """Return it for the JSON."""
        return asdict(self) | {"kept_up": self.is_kept_up}


@dataclass(frozen=True)
class Contender:
    """Who runs: `arrived` returns when the end of a load has come, or raises TimeoutError."""

    who: str
    broker: Broker
    pid: int
    arrived: Callable[[Load, int], Coroutine[Any, Any, None]]


async def carry(where: Ground, contender: Contender, load: Load, *, stores: bool = True) -> Carried:
    """Send a load, wait until its end has come, and count by key."""
    pids = {"bridge": contender.pid, "broker": contender.broker.pid, "database": where.database.pid}
    before = {part: cpu_seconds(pid) for part, pid in pids.items()}
    since, began = datetime.now(UTC) - CLOCKS, time.perf_counter()
    outcome = await burst(town(contender.broker), load)
    if outcome.lost or not outcome.acked:
        raise NotMeasuredError(f"the load ended early: {outcome.lost or 'the broker took nothing'}")
    try:
        async with asyncio.timeout(where.scale.patience):
            await _while_running(contender, contender.arrived(load, outcome.acked))
    except TimeoutError:
        where.console.print(f"{contender.who}: the last rows did not come")
    took = time.perf_counter() - began
    used = {part: cpu_seconds(pid) - before[part] for part, pid in pids.items()}
    lost, double, batches = await _counted(where, load, outcome.acked, since) if stores else (0, 0, 0)
    each = {part: round(seconds / outcome.acked * 1e6, 1) for part, seconds in used.items()}
    return Carried(
        who=contender.who,
        rate=load.rate,
        seconds=round(took, 1),
        published=outcome.acked,
        published_rate=round(outcome.rate),
        stored_rate=round((outcome.acked - lost) / took),
        lost=lost,
        double=double,
        batch_rows=round((outcome.acked - lost + double) / max(1, batches), 1),
        bridge_us=each["bridge"],
        broker_us=each["broker"],
        database_us=each["database"],
        load_us=round(outcome.cpu_seconds / outcome.acked * 1e6, 1),
    )


async def _while_running(contender: Contender, arriving: Coroutine[Any, Any, None]) -> None:
    """Wait for the end of a load; raise NotMeasuredError once its contender has ended: nothing will come."""
    waiting = asyncio.create_task(arriving)
    try:
        while not waiting.done():
            if not is_running(contender.pid):
                raise NotMeasuredError(f"{contender.who} ended during the load: its last words are above")
            await asyncio.wait([waiting], timeout=1.0)
        await waiting
    finally:
        waiting.cancel()


async def _counted(where: Ground, load: Load, published: int, since: datetime) -> tuple[int, int, int]:
    """Return how many messages are lost, how many rows too many there are, and in how many batches."""
    found, batches = await stored(where, load, since)
    distinct = np.unique(found)
    wanted = np.arange(load.first_seq, load.first_seq + published)
    return len(np.setdiff1d(wanted, distinct)), len(found) - len(distinct), batches


def rows_arrive(where: Ground) -> Callable[[Load, int], Coroutine[Any, Any, None]]:
    """Return a wait for the rows of the last messages of a load, by key."""

    async def arrived(load: Load, published: int) -> None:
        last = range(max(0, published - LOOKED_FOR), published)
        names = [device_name(number % load.devices) for number in last]
        found = await where.rows("SELECT device_id FROM devices WHERE device = ANY(%s)", names)
        ids, seqs = [device_id for (device_id,) in found], [load.first_seq + number for number in last]
        since = datetime.now(UTC) - timedelta(seconds=where.scale.patience + load.seconds)
        query = (  # by the head of the key, so that looking costs next to nothing
            f"SELECT count(DISTINCT seq) FROM {CHANNEL}"
            " WHERE device_id = ANY(%s::int[]) AND ts >= %s AND seq = ANY(%s)"
        )
        while (await where.rows(query, ids, since, seqs))[0][0] < len(last):  # noqa: ASYNC110 - rows
            await asyncio.sleep(POLL)

    return arrived


@asynccontextmanager
async def shown(where: Ground, what: str) -> AsyncIterator[None]:
    """Say what is being done, for as long as it is."""
    with where.console.status(what, refresh_per_second=2):
        yield


async def best_rate(
    where: Ground, contender: Contender, first: float = 0.0, growth: float = TRIAL_GROWTH
) -> list[Carried]:
    """Look for the highest rate that a contender keeps up; return all tries, the best one last.

    It begins with `first`, or with as many as go. A broker that is flooded spends its time on its queue, so a
    contender that falls behind may do more when it is paced: each next rate is higher, then between.
    """
    tries = [await _trial(where, contender, first or where.scale.most)]
    low, high = tries[0].stored_rate, 0.0
    if tries[0].rate == 0.0 and tries[0].is_kept_up:
        return tries  # the load itself is the limit: no rate is higher
    for _ in range(where.scale.trials):
        rate = round((low + high) / 2 if high else low * growth)
        tries.append(await _trial(where, contender, rate))
        low, high = (rate, high) if tries[-1].is_kept_up else (low, rate)
    best = max(tries, key=lambda each: (not each.lost, each.stored_rate))
    return [each for each in tries if each is not best] + [best]


async def _trial(where: Ground, contender: Contender, rate: float) -> Carried:
    pace = f"{rate:,.0f} a second" if rate else "as many as go"
    async with shown(where, f"{contender.who}: {pace}"):
        return await carry(where, contender, where.load(where.scale.trial_seconds, rate))


def final_load(where: Ground, tries: list[Carried], seconds: float) -> Load:
    """Return the load for the figure that counts: the best of the tries, again and for longer."""
    return replace(where.load(seconds), rate=tries[-1].rate)
