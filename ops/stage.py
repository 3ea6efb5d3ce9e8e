"""Where a simulation is played: broker, database, bridge and desk of its own, on a clock of its own."""

import asyncio
import hashlib
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from psycopg import AsyncConnection
from rich.console import Console

from ops.children import child, write_config
from ops.common import connected
from ops.parts import BRIDGE, TOWN, Broker, PartError, best_broker, embedded_database, free_port, scratch_dir
from schemas.clock import Clock
from schemas.errors import FatalError
from schemas.settings import (
    BrokerSettings,
    ClockSettings,
    DatabaseSettings,
    DutySettings,
    IngestSettings,
    ListenSettings,
    Settings,
)
from store.migrate import migrate

OPERATOR: Final = "值班员"


@dataclass(frozen=True)
class Stage:
    """Everything that is needed, ready for a play."""

    broker: Broker
    connection: AsyncConnection
    settings: Settings
    token: str
    scratch: Path

    @property
    def clock(self) -> Clock:
        """Return the clock of the installation and the simulators."""
        return self.settings.clock.clock()

    @property
    def desk(self) -> str:
        """Return the desk's address."""
        return f"http://{self.settings.duty.host}:{self.settings.duty.port}"

    @property
    def devices(self) -> BrokerSettings:
        """Return how devices log in."""
        return _login(self.broker.town_url, TOWN)


async def set_up(
    stack: AsyncExitStack, console: Console, clock: ClockSettings, sources: tuple[str, ...] = ()
) -> Stage:
    """Start broker and database; write the configuration of bridge and desk."""
    scratch = stack.enter_context(scratch_dir())
    try:
        with console.status("starting broker and database"):
            broker = stack.enter_context(best_broker(scratch))
            database = stack.enter_context(embedded_database(scratch))
    except PartError as error:
        raise FatalError(str(error)) from error
    token = secrets.token_urlsafe(24)
    settings = Settings(
        broker=_login(broker.url, BRIDGE),
        database=DatabaseSettings(url=database.url),
        ingest=IngestSettings(sources=sources),
        metrics=ListenSettings(port=free_port()),
        duty=DutySettings(port=free_port(), tokens={OPERATOR: hashlib.sha256(token.encode()).hexdigest()}),
        clock=clock,
    )
    write_config(settings, scratch / "carebell.toml")
    connection = await stack.enter_async_context(connected(settings))
    await migrate(connection)
    return Stage(broker, connection, settings, token, scratch)


def _login(url: str, user: str) -> BrokerSettings:
    address = urlsplit(url)
    return BrokerSettings(
        host=address.hostname or "", port=address.port or 0, username=user, password=address.password or ""
    )


async def start(stack: AsyncExitStack, stage: Stage) -> None:
    """Start bridge and desk side by side, as the commands that they are in production."""
    metrics, scratch = stage.settings.metrics, stage.scratch
    config = ("--config", str(scratch / "carebell.toml"))
    bridge = child(
        "ingest", *config, ready=f"http://{metrics.host}:{metrics.port}/readyz", log=scratch / "ingest.log"
    )
    desk = child("duty", *config, ready=f"{stage.desk}/healthz", log=scratch / "duty.log")
    await asyncio.gather(stack.enter_async_context(bridge), stack.enter_async_context(desk))


def say_what_it_runs_on(console: Console, stage: Stage) -> None:
    """Name broker and database, and what is weaker about them than in production."""
    if stage.broker.keeps_sessions:
        console.print("broker    mosquitto: keeps what the bridge has not acknowledged over reconnects")
    else:
        console.print(
            "broker    rumqttd, for mosquitto is not installed: it does not keep sessions as MQTT says, so"
            " promise P1 does not hold across a reconnect of the bridge"
        )
    console.print("database  embedded PostgreSQL, native partitions (production: TimescaleDB)")
