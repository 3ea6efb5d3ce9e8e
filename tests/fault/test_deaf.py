"""When we could not hear, nobody was silent: one outage never becomes an alarm for every device (P6)."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from ops.parts import Broker, Database
from schemas.settings import ClockSettings
from tests.installation import Installation, installation
from tests.mqtt import Client, RefusedError

SPEED = 360.0
"""At this speed the limit of 30 minutes is five seconds."""
DEVICES = 20
OUTAGE = 11


def _stop_database(_: Installation, database: Database) -> None:
    database.stop()
    time.sleep(OUTAGE)
    database.start()


def _stop_process(installed: Installation, _: Database) -> None:
    os.kill(installed.bridge_pid, signal.SIGSTOP)
    time.sleep(OUTAGE)
    os.kill(installed.bridge_pid, signal.SIGCONT)


def _stop_broker(installed: Installation, _: Database) -> None:
    installed.broker.stop()
    time.sleep(OUTAGE)
    installed.broker.start()


def _beat(installed: Installation) -> None:
    """Let every device say that it lives, if the broker is there to hear it."""
    with suppress(OSError, RefusedError), Client(installed.broker.town_url) as device:
        for number in range(DEVICES):
            device.publish(f"carebell/v1/430602/BELL-{number}/heartbeat")


@asynccontextmanager
async def _beating(installed: Installation) -> AsyncIterator[None]:
    """Let the devices go on living for as long as the block lasts."""
    alive = True

    async def beat() -> None:
        while alive:
            await asyncio.to_thread(_beat, installed)
            await asyncio.sleep(0.5)

    beats = asyncio.create_task(beat())
    try:
        yield
    finally:
        alive = False
        await beats


@pytest.mark.parametrize("stop", [_stop_database, _stop_process, _stop_broker])
async def test_an_outage_of_ours_is_nobodys_silence(
    stop: Callable[[Installation, Database], None],
    fresh_mosquitto: Broker,
    timescale: Database,
    scratch: Path,
) -> None:
    """Deaf for twice the limit, the bridge calls nobody silent who speaks; who then stops is found."""
    now = time.time()
    clock = ClockSettings(origin=now, start=now, speed=SPEED)
    async with installation(fresh_mosquitto, timescale.url, scratch, clock=clock) as installed:
        await installed.start()
        _beat(installed)
        await installed.until_rows("SELECT FROM heartbeats", lambda rows: len(rows) == DEVICES)
        async with _beating(installed):
            await asyncio.to_thread(stop, installed, timescale)
            await installed.until_ready()
            await asyncio.sleep(OUTAGE)
            await installed.reconnect()
            assert await installed.rows("SELECT device, raised_at FROM board_alarms") == []
        raised = await installed.until_rows(
            "SELECT FROM alarms WHERE kind = 'device_silent'", lambda rows: len(rows) == DEVICES
        )
        assert len(raised) == DEVICES, "they say nothing from now on"
