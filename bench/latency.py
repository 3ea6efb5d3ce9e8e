"""SOS publish -> alarm row committed: while nothing else goes on, and while telemetry runs."""

import asyncio
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.carry import Carried, Contender, carry, shown
from bench.child import child
from bench.ground import Ground
from bench.machine import NotMeasuredError
from bench.presser import NOTICE
from bench.table import Line

LOADED: Final = 0.8
"""Of the maximum just measured."""
LEAD_IN: Final = 1.0
"""Seconds for which telemetry runs before the first press."""

WATCH: Final = f"""
CREATE OR REPLACE FUNCTION bench_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{NOTICE}', device) FROM devices WHERE device_id = NEW.device_id;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER bench_tell AFTER INSERT ON alarms FOR EACH ROW WHEN (NEW.kind = 'sos')
    EXECUTE FUNCTION bench_tell();
"""
UNWATCH: Final = "DROP TRIGGER bench_tell ON alarms; DROP FUNCTION bench_tell;"


@dataclass(frozen=True)
class Latency:
    """Milliseconds from publish to commit, of n presses; `missed` were not seen at all."""

    n: int
    missed: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    @classmethod
    def of(cls, found: list[float], pressed: int) -> "Latency":
        """Read the quantiles off the sorted list: no value is made up between two."""
        if not found:
            raise NotMeasuredError(f"of {pressed} alarms none was seen")
        ordered = sorted(found)
        p50, p99, p999 = (ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.99, 0.999))
        return cls(len(found), pressed - len(found), p50, p99, p999, ordered[-1])

    def line(self, what: str, target_ms: float) -> Line:
        """Show it."""
        said = f"{self.p50_ms:.1f} / {self.p99_ms:.1f} / {self.p999_ms:.1f}"
        missed = f", {self.missed} never" if self.missed else ""
        return Line(f"{what}, ms at p50 / p99 / p999 of {self.n:,}{missed}", said, f"p99 {target_ms:.0f}")

    def figures(self) -> dict[str, Any]:
        """Return it for the JSON."""
        return asdict(self)


async def register(where: Ground) -> tuple[list[str], list[str]]:
    """Register the buttons that will be pressed, each once: idle ones, and those beside a load."""
    n = where.scale.presses
    idle, loaded = ([f"SOS-{group}-{number:06d}" for number in range(n)] for group in ("idle", "loaded"))
    await where.rows(
        "INSERT INTO devices (device, region, model) SELECT unnest(%s::text[]), '430602', 'bell'"
        " RETURNING device_id",
        idle + loaded,
    )
    return idle, loaded


async def idle(where: Ground, contender: Contender, devices: list[str]) -> Latency:
    """Press while nothing else goes on: the database has written what the loads before left to write."""
    await where.connection.execute("CHECKPOINT")
    async with shown(where, f"{len(devices):,} presses, idle"):
        return await _pressed(where, contender, devices)


async def loaded(
    where: Ground, contender: Contender, devices: list[str], most: float
) -> tuple[Latency, Carried]:
    """Press while telemetry runs at LOADED of its maximum."""
    seconds = 2 * LEAD_IN + len(devices) * where.scale.press_every * 1.3
    load = where.load(seconds, rate=round(most * LOADED))
    async with shown(where, f"{len(devices):,} presses beside {load.rate:,.0f} messages a second"):
        carrying = asyncio.create_task(carry(where, contender, load))
        await asyncio.sleep(LEAD_IN)
        found = await _pressed(where, contender, devices)
        return found, await carrying


async def _pressed(where: Ground, contender: Contender, devices: list[str]) -> Latency:
    await where.connection.execute(WATCH.encode())
    try:
        async with child(
            "bench.presser",
            broker_url=contender.broker.town_url,
            database_url=where.database.url,
            devices=devices,
            every=where.scale.press_every,
        ) as presser:
            return Latency.of(await presser.says(), len(devices))
    finally:
        await where.connection.execute(UNWATCH.encode())
