"""Memory and start-up of the bridge as the fleet grows, and for how long a checkpoint stops the loop."""

import asyncio
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import httpx

from bench.carry import shown
from bench.ground import Ground, town
from bench.line import bridge
from bench.machine import NotMeasuredError, memory_mib
from bench.table import Line
from device_sims.burst import burst
from device_sims.load import Load
from ops.parts import Broker, mosquitto_broker
from schemas.settings import IngestSettings
from store.connection import connect
from store.migrate import migrate
from tests.installation import Installation, installation
from tests.mqtt import Client
from tests.services import fresh_database

PREFIX: Final = "FLEET-"
REGISTER: Final = """
INSERT INTO devices (device, region, model)
SELECT 'FLEET-' || lpad(n::text, 7, '0'), '430602', CASE n %% 5 WHEN 0 THEN 'band' ELSE 'bell' END
FROM generate_series(0, %s - 1) AS n
"""
CHECKPOINT_EVERY: Final = 1.0
PROBE_EVERY: Final = 0.005
TARGETS: Final = {1_000_000: ("15", "1,024")}


@dataclass(frozen=True)
class Fleet:
    """A fleet's figures: seconds, MiB, and the longest that the loop did not answer, in milliseconds."""

    devices: int
    start_seconds: float
    started_mib: float
    peak_mib: float
    checkpoint_bytes: int
    quiet_ms: float
    blocked_ms: float

    def lines(self) -> list[Line]:
        """Show it."""
        start, memory = TARGETS.get(self.devices, ("", ""))
        return [
            Line(f"{self.devices:,} devices: start to ready, s", f"{self.start_seconds:.1f}", start),
            Line(
                "  memory after start / at its peak, MiB",
                f"{self.started_mib:,.0f} / {self.peak_mib:,.0f}",
                memory,
            ),
            Line(
                "  longest that the loop stood, without / with checkpoints, ms",
                f"{self.quiet_ms:.0f} / {self.blocked_ms:.0f}",
            ),
        ]

    def figures(self) -> dict[str, Any]:
        """Return it for the JSON."""
        return asdict(self)


def growth(fleets: list[Fleet]) -> list[Line]:
    """Say what each 100,000 devices more cost, between the smallest fleet and the largest."""
    if len(fleets) < 2:
        return []
    first, last = fleets[0], fleets[-1]
    more = (last.devices - first.devices) / 100_000
    start = (last.start_seconds - first.start_seconds) / more
    memory = (last.started_mib - first.started_mib) / more
    peak = (last.peak_mib - first.peak_mib) / more
    blocked = (last.blocked_ms - first.blocked_ms) / more
    return [
        Line("each 100,000 more: s to start / ms that the loop stands", f"{start:.2f} / {blocked:.1f}"),
        Line("  MiB after start / at the peak", f"{memory:.0f} / {peak:.0f}"),
    ]


async def fleet(where: Ground, devices: int) -> Fleet:
    """Register a fleet in a database of its own, let a bridge leave a checkpoint there, and start another."""
    async with shown(where, f"a fleet of {devices:,}"):
        with fresh_database(where.database.url) as url, mosquitto_broker(where.place("fleet")) as broker:
            there = replace(where, database=replace(where.database, url=url))
            async with await connect(url) as connection:
                await migrate(connection)
                await connection.execute(REGISTER, (devices,))
                await connection.execute("ANALYZE devices")
            async with bridge(there, broker) as first:
                await _checkpointed(first)
            return await _started(there, broker, devices)


async def _checkpointed(installed: Installation) -> None:
    """Wait for the checkpoint that comes with the first commit of a run."""
    with Client(installed.broker.town_url) as device:
        _beat(device)
        await installed.until_rows("SELECT FROM engine_checkpoints", bool)


def _beat(device: Client) -> None:
    device.publish(f"carebell/v1/430602/{PREFIX}0000000/heartbeat", '{"battery": 80}')


async def _started(where: Ground, broker: Broker, devices: int) -> Fleet:
    limits = IngestSettings(checkpoint_every=CHECKPOINT_EVERY)
    async with installation(broker, where.database.url, where.place("line"), ingest=limits) as installed:
        began = time.perf_counter()
        await installed.start()
        took = time.perf_counter() - began
        started, _ = memory_mib(installed.bridge_pid)
        touched = min(devices, where.scale.touched)
        await burst(town(broker), Load(count=touched, devices=touched, prefix=PREFIX))
        rows = await installed.until_rows("SELECT count(*) FROM vitals", lambda rows: rows[0][0] >= touched)
        if rows[0][0] < touched:
            raise NotMeasuredError(f"of {touched:,} messages {rows[0][0]:,} were stored in time")
        quiet = await _longest_wait(installed, where.scale.probe_seconds)
        beating = asyncio.create_task(_beats(installed))
        blocked = await _longest_wait(installed, where.scale.probe_seconds)
        beating.cancel()
        size = (
            await installed.rows(
                "SELECT coalesce(sum(octet_length(state)), 0)::bigint FROM engine_checkpoints"
            )
        )[0][0]
        _, peak = memory_mib(installed.bridge_pid)
    return Fleet(devices, round(took, 2), started, peak, size, quiet, blocked)


async def _beats(installed: Installation) -> None:
    """Send something now and then, so that a checkpoint is due as often as the settings allow."""
    with Client(installed.broker.town_url) as device:
        while True:
            await asyncio.to_thread(_beat, device)
            await asyncio.sleep(CHECKPOINT_EVERY / 5)


async def _longest_wait(installed: Installation, seconds: float) -> float:
    """Ask the bridge's loop for a page again and again; return the longest wait for it, in milliseconds."""
    metrics, longest, end = installed.settings.metrics, 0.0, time.perf_counter() + seconds
    async with httpx.AsyncClient(timeout=60) as client:
        while (began := time.perf_counter()) < end:
            await client.get(f"http://{metrics.host}:{metrics.port}/healthz")
            longest = max(longest, time.perf_counter() - began)
            await asyncio.sleep(PROBE_EVERY)
    return round(longest * 1000, 1)
