"""A simulated month: a thousand people with every fault there is, on mosquitto and TimescaleDB; an audit.

    python -m tests.month                      30 days at 1,000 times real time, some 45 minutes
    python -m tests.month --days 3 --seed 5    less of it, other people

Everything runs as in production: `carebell ingest`, `carebell duty`, `carebell sim register | run | verify`.
"""

import argparse
import asyncio
import hashlib
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from device_sims.people import day_of, midnight
from device_sims.scenario import load
from ops.children import child, write_config
from ops.parts import Broker, PartError, free_port, mosquitto_broker, scratch_dir
from schemas.clock import SECOND, Clock
from schemas.errors import UsageError
from schemas.settings import ClockSettings, DutySettings, IngestSettings
from tests.installation import Installation, installation
from tests.services import timescale_database

GETTING_READY: Final = 10.0
"""Real seconds before the first midnight: bridge and desk start meanwhile."""
PATIENCE: Final = "120"
"""Real seconds without a new row after which what is missing counts as lost."""
DATABASE: Final = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
LAST_LINES: Final = 20


@asynccontextmanager
async def lived(
    broker: Broker, url: str, scratch: Path, scenario: str, *, hours: float, speed: float, seed: int = 7
) -> AsyncIterator[tuple[Installation, Path]]:
    """Let a scenario's people live until now; give the installation, and the file of what must come of it.

    Raises RuntimeError if a command fails.
    """
    now = Clock().now()
    begin = midnight(day_of(now - int(hours * 3600 * SECOND)))
    clock = ClockSettings(origin=now / SECOND + GETTING_READY, start=begin / SECOND, speed=speed)
    token = secrets.token_urlsafe(24)
    duty = DutySettings(port=free_port(), tokens={"值班员": hashlib.sha256(token.encode()).hexdigest()})
    ingest = IngestSettings(sources=tuple(load(scenario).sources))
    async with installation(broker, url, scratch, ingest=ingest, clock=clock) as installed:
        installed.settings = installed.settings.model_copy(update={"duty": duty})
        write_config(installed.settings, installed.config)
        who = ("--scenario", scenario, "--seed", str(seed))
        await carebell(installed, "sim", "register", *who)
        await installed.start()
        ready = f"http://{duty.host}:{duty.port}/healthz"
        desk = child("duty", "--config", str(installed.config), ready=ready, log=scratch / "duty.log")
        await installed.stack.enter_async_context(desk)
        truth = scratch / "truth.json"
        login = ("--username", installed.town.username, "--password", installed.town.password)
        more = ("--truth", str(truth), "--token", token, "--hours", str(hours))
        await carebell(installed, "sim", "run", *who, *login, *more)
        try:
            yield installed, truth
        finally:
            await installed.stack.aclose()


async def carebell(installed: Installation, *arguments: str) -> None:
    """Run a command on our own terminal; raise RuntimeError with the bridge's last words if it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", *arguments, "--config", str(installed.config))
    )
    if await process.wait():
        log = installed.scratch / "ingest.log"
        said = log.read_text().splitlines()[-LAST_LINES:] if log.exists() else []
        raise RuntimeError("\n".join([f"carebell {' '.join(arguments[:2])} failed", *said]))


async def month(
    broker: Broker, url: str, *, scenario: str, days: float | None, speed: float | None, seed: int
) -> None:
    """Let a month pass and compare; raise RuntimeError if anything is not as it must be."""
    wanted = load(scenario)
    hours = days * 24 if days else wanted.hours
    with scratch_dir() as scratch:
        async with lived(
            broker, url, scratch, scenario, hours=hours, speed=speed or wanted.speed, seed=seed
        ) as (installed, truth):
            _say(f"the truth is {truth.stat().st_size / 1e6:.1f} MB long")
            await carebell(installed, "sim", "verify", "--truth", str(truth), "--wait", PATIENCE)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Read the arguments, and let the month pass."""
    parser = argparse.ArgumentParser(description="A simulated month; see tests/month.py.")
    parser.add_argument("--scenario", default="month")
    parser.add_argument("--days", type=float, help="how much of it; all of it if left out")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--speed", type=float, help="times real time; the scenario's if left out")
    given = parser.parse_args()
    began = time.monotonic()
    try:
        with ExitStack() as stack:
            broker = stack.enter_context(mosquitto_broker(stack.enter_context(scratch_dir())))
            database = stack.enter_context(timescale_database(DATABASE))
            asyncio.run(month(broker, database.url, **vars(given)))
    except (PartError, RuntimeError, UsageError, ValueError) as trouble:
        sys.stderr.write(f"month: {trouble}\n")
        return 1
    _say(f"{given.scenario}, seed {given.seed}: {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
