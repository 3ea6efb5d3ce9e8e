"""`carebell ingest`: the composition root of the bridge."""

import asyncio

from ingest.bridge import Bridge
from ingest.health import application
from ingest.watchdog import watchdog
from ops.common import ConfigOption, load_settings, run
from ops.web import listen, serve_app
from schemas.settings import Settings


def ingest(config: ConfigOption = None) -> None:
    """Run the bridge: MQTT in, alarms and history out, metrics and health beside it.

    Example: carebell ingest --config carebell.toml
    """
    run(run_bridge(load_settings(config)))


async def run_bridge(settings: Settings) -> None:
    """Run the bridge and its health pages until cancelled; a hanging event loop ends the process."""
    bridge = Bridge(settings)
    pages = application(bridge.readiness)
    with listen(settings.metrics.host, settings.metrics.port, "metrics") as listener:
        async with watchdog(), asyncio.TaskGroup() as group:
            group.create_task(serve_app(pages, listener))
            group.create_task(bridge.run())
