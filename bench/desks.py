"""SOS publish -> seen at 200 open desks, and as a row on the page: the whole way, with every part a real one.

Broker, bridge, database and desk run as they are shipped, on a database of their own. Buttons are pressed one
at a time at irregular moments: what is measured is the way, not a queue.
"""

import asyncio
import hashlib
import itertools
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.carry import shown
from bench.child import child
from bench.ground import Ground
from bench.latency import Latency
from bench.line import bridge
from bench.machine import cpu_seconds
from bench.presser import press
from bench.table import Line
from ops.children import child as carebell
from ops.children import write_config
from ops.parts import Broker, free_port, mosquitto_broker
from schemas.settings import DutySettings
from store.connection import connect
from store.migrate import migrate
from tests.installation import Installation
from tests.services import fresh_database

TARGET_MS: Final = 500
EACH: Final = 10
"""Desks that one operator's token opens."""
REGISTER: Final = "INSERT INTO devices (device, region, model) SELECT unnest(%s::text[]), '430602', 'bell'"


@dataclass(frozen=True)
class Desks:
    """What came of it; `page` is None without a Chromium, `ended` are streams that broke."""

    desks: int
    presses: int
    streams: Latency
    page: Latency | None
    ended: int
    cpu_share: float
    cpu_ms: float

    def lines(self) -> list[Line]:
        """Show it."""
        rows = f"row on the page beside {self.desks} desks"
        return [
            self.streams.line(f"read at every one of {self.desks} desks", TARGET_MS),
            self.page.line(rows, TARGET_MS) if self.page else Line(rows, "not measured: no Chromium"),
            Line("streams that broke", f"{self.ended}", "0"),
            Line("CPU of the desk: of one core / ms a press", f"{self.cpu_share:.1%} / {self.cpu_ms:.1f}"),
        ]

    def figures(self) -> dict[str, Any]:
        """Return it for the JSON."""
        return {
            "desks": self.desks,
            "presses": self.presses,
            "streams": self.streams.figures(),
            "page": self.page.figures() if self.page else None,
            "ended": self.ended,
            "cpu_share": self.cpu_share,
            "cpu_ms": self.cpu_ms,
        }


@dataclass(frozen=True)
class Server:
    """The desk that runs, and the tokens that open it."""

    address: str
    tokens: list[str]
    pid: int


async def desks(where: Ground) -> Desks:
    """Open the desks, press, and see when each press arrives where."""
    devices = [f"SOS-desk-{number:06d}" for number in range(where.scale.desk_presses)]
    async with shown(where, f"{len(devices):,} presses before {where.scale.desks} desks"):
        with fresh_database(where.database.url) as url, mosquitto_broker(where.place("desks")) as broker:
            there = replace(where, database=replace(where.database, url=url))
            async with await connect(url) as connection:
                await migrate(connection)
                await connection.execute(REGISTER, (devices,))
            async with bridge(there, broker) as installed, _desk(there, installed) as server:
                return await _seen(there, broker, server, devices)


@asynccontextmanager
async def _desk(where: Ground, installed: Installation) -> AsyncIterator[Server]:
    """Run `carebell duty` with a token for each desk and one more for the page."""
    names = [f"desk-{number:03d}" for number in range(where.scale.desks // EACH + 1)]
    operators = {name: secrets.token_hex(16) for name in names}
    digests = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in operators.items()}
    settings = installed.settings.model_copy(update={"duty": DutySettings(port=free_port(), tokens=digests)})
    place = where.place("duty")
    config = write_config(settings, place / "carebell.toml")
    address = f"http://127.0.0.1:{settings.duty.port}/"
    tokens = itertools.islice(itertools.cycle(operators.values()), where.scale.desks + 1)
    command = "duty", "--config", str(config)
    async with carebell(*command, ready=f"{address}healthz", log=place / "duty.log") as process:
        yield Server(address, list(tokens), process.pid)


async def _seen(where: Ground, broker: Broker, server: Server, devices: list[str]) -> Desks:
    token, *tokens = server.tokens
    watching = {"address": server.address, "token": token, "tokens": tokens, "presses": len(devices)}
    async with child("bench.viewer", **watching) as viewer:
        before, began = cpu_seconds(server.pid), time.perf_counter()
        apart = time.time() - time.perf_counter()
        pressed = await asyncio.to_thread(press, broker.town_url, devices, where.scale.desk_press_every)
        took, used = time.perf_counter() - began, cpu_seconds(server.pid) - before
        said = await viewer.says()
    rows, read = said["rows"], [ms for desk in said["desks"] for ms in _late(desk, pressed)]
    return Desks(
        desks=len(tokens),
        presses=len(devices),
        streams=Latency.of(read, len(devices) * len(tokens)),
        page=None if rows is None else Latency.of(_late(rows, pressed, apart), len(devices)),
        ended=said["ended"],
        cpu_share=round(used / took, 4),
        cpu_ms=round(used / len(devices) * 1000, 2),
    )


def _late(seen: dict[str, float], pressed: dict[str, float], apart: float = 0.0) -> list[float]:
    """Return after how many milliseconds each press was seen; `apart` is between the clocks, seconds."""
    return [round((at - apart - pressed[device]) * 1000, 2) for device, at in seen.items()]
