"""`carebell serve`: bridge and desk, each in a process of its own, and maintenance."""

import asyncio
import logging
import sys
from pathlib import Path

from ops.common import ConfigOption, InsecureOption, load_settings, require_tokens, run
from schemas.errors import FatalError, UsageError
from schemas.settings import Settings

log = logging.getLogger(__name__)

RESTART_AFTER = 1.0
"""Seconds before a part that ended is started again."""
MAINTAIN_EVERY = 3600.0
MAINTAIN_AGAIN = 60.0
"""Seconds after one that failed."""
STARTED = 10.0
"""A part that ends by itself within so many seconds has not started: that is for people to see to."""


def serve(insecure: InsecureOption = False, config: ConfigOption = None) -> None:
    """Run bridge and desk, each in a process of its own, and `db maintain` every hour.

    Of bridge and desk, one that ends is started again.

    Example: carebell serve --config carebell.toml
    """
    settings = load_settings(config)
    run(_serve(settings, config, insecure=insecure))


async def _serve(settings: Settings, config: Path | None, *, insecure: bool) -> None:
    await require_tokens(settings, insecure=insecure)
    if not settings.broker.username and not insecure:
        raise UsageError("broker.username is empty: name the bridge's user, or say `--insecure`")
    if not settings.clock.clock().is_real:
        raise UsageError("clock: `serve` runs on real time; only demo, sim and tests may set another")
    file = [] if config is None else ["--config", str(config)]
    async with asyncio.TaskGroup() as group:
        group.create_task(_maintain(*file))
        group.create_task(_keep("ingest", *file))
        group.create_task(_keep("duty", *file, *(["--insecure"] if insecure else [])))


async def _maintain(*file: str) -> None:
    """Maintain the database now and every hour; that it fails stops neither the bridge nor the desk."""
    while True:
        try:
            code = await _end_of("db", "maintain", *file)
        except OSError as error:
            log.warning("carebell db maintain cannot be run: %s; trying again later", error)
        else:
            if not code:
                await asyncio.sleep(MAINTAIN_EVERY)
                continue
            log.warning("carebell db maintain ended with %d; trying again later", code)
        await asyncio.sleep(MAINTAIN_AGAIN)


async def _end_of(*arguments: str) -> int:
    """Run one command and return its exit code; it is ended when we are."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "ops.cli", *arguments)
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise


async def _keep(*arguments: str) -> None:
    """Run one command; start it again when it is killed or ends later on, give up if it cannot start."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        code = await _end_of(*arguments)
        if code >= 0 and loop.time() - began < STARTED:
            raise FatalError(f"`carebell {arguments[0]}` cannot start: it ended with {code}")
        log.warning("carebell %s ended with %d; starting it again", arguments[0], code)
        await asyncio.sleep(RESTART_AFTER)
