"""The watchdog on a real bridge: a hanging event loop ends the process, everything else lets it live."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.watchdog import BEAT, EXIT_CODE, LIMIT
from ops.parts import Broker, Database
from ops.serve import STARTED
from tests.installation import Installation, installation
from tests.mqtt import Client

SOON = 3
"""Looks after which the watchdog of these tests gives up: so many seconds."""


@asynccontextmanager
async def hanging(installed: Installation, how: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the bridge with an engine that does `how` when somebody calls for help."""
    with (installed.scratch / "hanging.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fault.hanging", str(installed.config), how, str(SOON)),
            stdout=log,
            stderr=log,
        )
    try:
        await installed.until_ready()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def still(fresh_mosquitto: Broker, timescale: Database, scratch: Path) -> AsyncIterator[Installation]:
    """Give an installation whose bridge is not started."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as found:
        yield found


def call(installed: Installation) -> None:
    """Call for help."""
    with Client(installed.broker.town_url) as device:
        device.publish("carebell/v1/430602/BELL-1/sos")


@pytest.mark.parametrize(("how", "code"), [("sleep", EXIT_CODE), ("hold Python's lock", 1)])
async def test_a_hanging_loop_ends_the_process(still: Installation, how: str, code: int) -> None:
    """It says where everything hangs; the call that it hung on is judged by its successor."""
    async with hanging(still, how) as process:
        await asyncio.to_thread(call, still)
        async with asyncio.timeout(60):
            assert await process.wait() == code
    said = await asyncio.to_thread((still.scratch / "hanging.log").read_text)
    assert "tests/fault/hanging.py" in said
    assert ("the event loop has not answered" in said) is (how == "sleep")
    await still.start()
    assert await still.until_rows("SELECT kind, count FROM alarms", bool) == [("sos", 1)]


async def _locked(installed: Installation) -> None:
    """Make every commit wait for a lock, for longer than the limit."""
    await installed.connection.execute("BEGIN; LOCK TABLE ingest_ledger IN EXCLUSIVE MODE")
    await asyncio.to_thread(call, installed)
    await asyncio.sleep(3 * SOON)
    await installed.connection.execute("ROLLBACK")


async def _stopped(installed: Installation) -> None:
    """Stop the process for longer than the limit, and let it go on."""
    pid = installed.bridge_pid
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(3 * SOON)
    os.kill(pid, signal.SIGCONT)
    await asyncio.to_thread(call, installed)


@pytest.mark.parametrize("trouble", [_locked, _stopped])
async def test_whoever_waits_or_was_stopped_lives(
    still: Installation, trouble: Callable[[Installation], Awaitable[None]]
) -> None:
    """A commit that takes long, and a process that was stopped, are not taken for a hanging loop."""
    async with hanging(still, "nothing") as process:
        still.bridge = process
        await trouble(still)
        assert await still.until_rows("SELECT kind, count FROM alarms", bool) == [("sos", 1)]
        await asyncio.sleep(SOON)
        assert process.returncode is None


def test_serve_starts_again_what_the_watchdog_ended() -> None:
    """Whoever hangs has run for longer than what `serve` takes for a part that cannot start."""
    assert LIMIT * BEAT > STARTED
