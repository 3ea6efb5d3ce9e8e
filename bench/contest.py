"""The peers, on the same database, the same broker and the same load as the line.

A flood would bury them: a broker that must keep ever more messages saves them ever more slowly. So they are
paced, and the highest rate that they keep up is looked for, which is the kindest way to measure them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from bench.carry import Carried, Contender, best_rate, rows_arrive
from bench.child import child
from bench.ground import Ground
from ops.parts import BRIDGE, mosquitto_broker

GROWTH: Final = 1.6
PEERS: Final = {
    "paho-mqtt + pydantic + executemany": "bench.peers.paho_executemany",
    "paho-mqtt + pydantic + COPY": "bench.peers.paho_copy",
}


async def contested(where: Ground, name: str) -> list[Carried]:
    """Look for the highest rate that a peer keeps up; the best try last."""
    async with _running(where, name) as contender:
        return await best_rate(where, contender, where.scale.peer_rate, GROWTH)


@asynccontextmanager
async def _running(where: Ground, name: str) -> AsyncIterator[Contender]:
    with mosquitto_broker(where.place("peer")) as broker:
        login = {"username": BRIDGE, "password": urlsplit(broker.url).password}
        address = {"host": broker.host, "port": broker.port, "database_url": where.database.url}
        async with child(PEERS[name], **address, **login) as running:
            yield Contender(name, broker, running.pid, rows_arrive(where))
