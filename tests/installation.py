"""An installation as ops would run it: the real command line over a real broker and a real database."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from psycopg import AsyncConnection

from ops.children import child, write_config
from ops.parts import BRIDGE, TOWN, Broker, free_port
from schemas.settings import (
    BrokerSettings,
    ClockSettings,
    DatabaseSettings,
    IngestSettings,
    ListenSettings,
    Settings,
)
from store.connection import connect
from store.migrate import migrate

T = TypeVar("T")
WAIT = 30.0


async def until(look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], wait: float = WAIT) -> T:
    """Look again and again until it is as wanted; return the last look, wanted or not, when patience ends."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait
    while not wanted(found := await look()) and loop.time() < end:  # noqa: ASYNC110 - another process's event
        await asyncio.sleep(0.02)
    return found


@dataclass
class Installation:
    """Broker, database, and a bridge that can be started, stopped and killed."""

    broker: Broker
    url: str
    scratch: Path
    settings: Settings
    connection: AsyncConnection
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    bridge: asyncio.subprocess.Process | None = None

    @property
    def config(self) -> Path:
        """Return the file that the commands read."""
        return self.scratch / "carebell.toml"

    @property
    def town(self) -> BrokerSettings:
        """Return the login of a whole town of devices."""
        login = urlsplit(self.broker.town_url)
        return BrokerSettings(
            host=self.broker.host, port=self.broker.port, username=TOWN, password=login.password or ""
        )

    async def start(self) -> None:
        """Start the bridge and wait until it is ready."""
        metrics = self.settings.metrics
        self.bridge = await self.stack.enter_async_context(
            child(
                *("ingest", "--config", str(self.config)),
                ready=f"http://{metrics.host}:{metrics.port}/readyz",
                log=self.scratch / "ingest.log",
            )
        )

    async def until_ready(self) -> None:
        """Wait until the bridge says that it does its work."""
        metrics = self.settings.metrics

        async def ready() -> bool:
            async with httpx.AsyncClient(timeout=5) as client:
                with suppress(httpx.HTTPError):
                    return (await client.get(f"http://{metrics.host}:{metrics.port}/readyz")).is_success
            return False

        assert await until(ready, bool)

    @property
    def bridge_pid(self) -> int:
        """Return the id of the running bridge."""
        assert self.bridge is not None
        return self.bridge.pid

    async def kill(self) -> None:
        """Kill the bridge with -9."""
        os.kill(self.bridge_pid, signal.SIGKILL)
        assert self.bridge is not None
        await self.bridge.wait()

    async def reconnect(self) -> None:
        """Connect to the database anew, which was stopped."""
        await self.connection.close()
        self.connection = await connect(self.url)

    async def carebell(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, output and errors."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", *arguments, "--config", str(self.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()

    async def rows(self, query: str, *parameters: object) -> list[Any]:
        """Return what a query finds."""
        return await (await self.connection.execute(query.encode(), parameters)).fetchall()

    async def until_rows(
        self, query: str, wanted: Callable[[list[Any]], bool], wait: float = WAIT
    ) -> list[Any]:
        """Ask again until the rows are as wanted."""
        return await until(lambda: self.rows(query), wanted, wait)


@asynccontextmanager
async def installation(
    broker: Broker,
    url: str,
    scratch: Path,
    *,
    ingest: IngestSettings | None = None,
    clock: ClockSettings | None = None,
) -> AsyncIterator[Installation]:
    """Give an installation with a migrated database; the bridge is not started yet."""
    settings = Settings(
        broker=BrokerSettings(
            host=broker.host, port=broker.port, username=BRIDGE, password=urlsplit(broker.url).password or ""
        ),
        database=DatabaseSettings(url=url),
        ingest=ingest or IngestSettings(),
        metrics=ListenSettings(port=free_port()),
        clock=clock or ClockSettings(),
    )
    write_config(settings, scratch / "carebell.toml")
    async with AsyncExitStack() as stack:
        found = Installation(broker, url, scratch, settings, await connect(url), stack)
        try:
            await migrate(found.connection)
            yield found
        finally:
            await found.connection.close()
