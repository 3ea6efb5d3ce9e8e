"""`carebell ingest`, `carebell duty` and `carebell serve`: the composition roots of the installation."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from duty.api import create_app, make_pool, opened
from duty.unstored import listening
from ingest.bridge import Bridge
from ingest.health import application
from ingest.watchdog import watchdog
from ops.common import ConfigOption, load_settings, run
from ops.web import serve_app
from schemas.errors import FatalError, UsageError
from schemas.settings import Settings

log = logging.getLogger(__name__)

InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Allow a broker without login and a desk without tokens.")
]

RESTART_AFTER = 1.0
"""Seconds before a part that ended is started again."""
MAINTAIN_EVERY = 3600.0
MAINTAIN_AGAIN = 60.0
"""Seconds after one that failed."""
STARTED = 10.0
"""A part that ends by itself within so many seconds has not started: that is for people to see to."""


def ingest(config: ConfigOption = None) -> None:
    """Run the bridge: MQTT in, alarms and history out, metrics and health beside it.

    Example: carebell ingest --config carebell.toml
    """
    run(run_bridge(load_settings(config)))


def duty(insecure: InsecureOption = False, config: ConfigOption = None) -> None:
    """Run the desk: the page and the API for duty staff.

    Example: carebell duty --config carebell.toml
    """
    run(run_desk(load_settings(config), insecure=insecure))


def serve(insecure: InsecureOption = False, config: ConfigOption = None) -> None:
    """Run bridge and desk, each in a process of its own, and `db maintain` every hour.

    Of bridge and desk, one that ends is started again.

    Example: carebell serve --config carebell.toml
    """
    settings = load_settings(config)
    run(_serve(settings, config, insecure=insecure))


async def run_bridge(settings: Settings) -> None:
    """Run the bridge and its health pages until cancelled; a hanging event loop ends the process."""
    bridge = Bridge(settings)
    pages = application(bridge.readiness)
    async with watchdog(), asyncio.TaskGroup() as group:
        group.create_task(serve_app(pages, settings.metrics.host, settings.metrics.port, "metrics"))
        group.create_task(bridge.run())


async def run_desk(settings: Settings, *, insecure: bool) -> None:
    """Run the desk until cancelled; raises UsageError without tokens unless `insecure`."""
    _require_tokens(settings, insecure=insecure)
    async with opened(make_pool(settings.database.url)) as pool:
        app = create_app(settings, pool, insecure=insecure)
        async with listening(settings.broker, app.state.desk.heard):
            await serve_app(app, settings.duty.host, settings.duty.port, "duty")


def _require_tokens(settings: Settings, *, insecure: bool) -> None:
    if not settings.duty.tokens and not insecure:
        raise UsageError(
            "duty.tokens is empty: `carebell token new NAME` makes one, `--insecure` does without"
        )


async def _serve(settings: Settings, config: Path | None, *, insecure: bool) -> None:
    _require_tokens(settings, insecure=insecure)
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
