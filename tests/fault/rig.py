"""An installation on mosquitto and TimescaleDB with a proxy on either side of the bridge.

The devices speak to the broker and the tests to the database directly: what fails is the bridge's connection.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ops import children
from ops.parts import Broker, Database
from schemas.settings import IngestSettings
from tests.fault.proxy import Proxy
from tests.installation import Installation, installation


@dataclass
class Rig:
    """The installation, its parts, and the wires between them."""

    installed: Installation
    database: Database
    to_broker: Proxy
    to_database: Proxy

    @property
    def broker(self) -> Broker:
        """Return the broker itself."""
        return self.installed.broker

    @property
    def said(self) -> str:
        """Return what the bridge wrote to its log."""
        return (self.installed.scratch / "ingest.log").read_text("utf-8")

    @property
    def runs(self) -> bool:
        """Say whether the bridge runs; a fault that kills it starts it again."""
        return self.installed.bridge is not None and self.installed.bridge.returncode is None

    async def start_as(self, module: str, *arguments: str) -> None:
        """Start `python -m MODULE CONFIG ...`, a bridge that was altered, in place of the one that runs."""
        installed = self.installed
        if self.runs:
            await installed.kill()
        path, page = installed.scratch / "ingest.log", installed.settings.metrics
        with path.open("ab") as log:
            installed.bridge = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, str(installed.config), *arguments), stdout=log, stderr=log
            )
        installed.stack.push_async_callback(_end, process)
        await children._until_ready(process, module, f"http://{page.host}:{page.port}/readyz", path)

    async def heal(self) -> None:
        """Mend both wires, bring back what is down, and wait until the bridge does its work."""
        await self.to_broker.heal()
        await self.to_database.heal()
        if not self.runs:
            await self.installed.start()
        await self.installed.until_ready()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def rigged(
    broker: Broker,
    database: Database,
    scratch: Path,
    *,
    ingest: IngestSettings | None = None,
    keep_alive: int = 30,
) -> AsyncIterator[Rig]:
    """Give a rig with its bridge running."""
    async with (
        Proxy(broker.url) as to_broker,
        Proxy(database.url) as to_database,
        installation(broker, database.url, scratch, ingest=ingest) as installed,
    ):
        given = installed.settings
        installed.settings = given.model_copy(
            update={
                "broker": given.broker.model_copy(update={"port": to_broker.port, "keep_alive": keep_alive}),
                "database": given.database.model_copy(update={"url": to_database.url}),
            }
        )
        children.write_config(installed.settings, installed.config)
        await installed.start()
        yield Rig(installed, database, to_broker, to_database)
