"""What the contract tests of the line share: a line without a broker, a proxy that cuts, SQL questions.

The clock of these tests shows START when the test begins; times of receipt are given in seconds after it.
"""

import asyncio
import contextlib
import io
import json
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import numpy as np
import psycopg
from psycopg.rows import dict_row

from ingest.bridge import Bridge
from ingest.line import run_line
from ingest.source import Source
from ops.parts import Broker
from rules.engine import Engine
from schemas.clock import SECOND, to_datetime
from schemas.readings import Batch, Delivery
from schemas.settings import BrokerSettings, ClockSettings, DatabaseSettings, IngestSettings, Settings
from schemas.topics import Lane, uplink
from store.migrate import migrate

START = 1_772_352_000 * SECOND  # 2026-03-01 08:00 UTC
WAIT = 20.0  # seconds after which a test gives up: never a measurement
REGION = "430602"


def after(seconds: float) -> int:
    """Return the moment so many seconds after START, in microseconds since 1970."""
    return START + round(seconds * SECOND)


def milliseconds(seconds: float) -> int:
    """Return the same as a device sends it in `ts`."""
    return after(seconds) // 1000


def settings_for(url: str, broker: Broker | None = None, client_id: str = "test", **ingest: Any) -> Settings:  # noqa: ANN401 - of several types
    """Return settings for a database, and for a broker if there is one; `ingest` sets keys of its own."""
    login = urlsplit(broker.url if broker else "mqtt://127.0.0.1:1")
    return Settings(
        broker=BrokerSettings(
            host=login.hostname or "",
            port=login.port or 0,
            username=unquote(login.username or ""),
            password=unquote(login.password or ""),
            client_id=client_id,
        ),
        database=DatabaseSettings(url=url),
        ingest=IngestSettings(**ingest),
        clock=ClockSettings(origin=time.time(), start=START / SECOND),
    )


async def until(holds: Callable[[], Awaitable[Any]] | Callable[[], Any], what: str) -> Any:  # noqa: ANN401 - what `holds` returns
    """Wait until `holds` returns something true, and return that."""
    async with asyncio.timeout(WAIT * 3):
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            found = holds()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)
    raise AssertionError(f"waited {WAIT} s in vain: {what}")


# --------------------------------------------------------------------------------------------------- database


async def rows(url: str, query: str, *values: object) -> list[dict[str, Any]]:
    """Return what a query finds, each row by the names of its columns."""
    async with await psycopg.AsyncConnection.connect(
        url, autocommit=True, row_factory=dict_row
    ) as connection:
        cursor = await connection.execute(query.encode(), values)
        return await cursor.fetchall() if cursor.description is not None else []


async def tuples(url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a query finds."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await (await connection.execute(query.encode(), values)).fetchall()


async def script(url: str, text: str) -> None:
    """Run several statements."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(text.encode())


async def make_tables(url: str) -> None:
    """Migrate an empty database, at START."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await migrate(connection, to_datetime(START))


WRITTEN = (
    "vitals",
    "heartbeats",
    "activity",
    "events",
    "dead_letters",
    "alarms",
    "alarm_log",
    "outbox",
    "ingest_ledger",
)
"""Every table that a commit may write rows of a batch to."""


async def counts(url: str) -> dict[str, int]:
    """Return how many rows each table has that a commit writes to, without those that have none."""
    query = " UNION ALL ".join(f"SELECT '{table}' AS name, count(*) AS n FROM {table}" for table in WRITTEN)
    return {row["name"]: row["n"] for row in await rows(url, query) if row["n"]}


# --------------------------------------------------------------------------------------------- messages, line


def message(
    device: str,
    channel: str,
    payload: dict[str, Any] | bytes | None = None,
    *,
    at: float = 0,
    packet_id: int = 0,
    duplicate: bool = False,
    retained: bool = False,
    topic: str = "",
) -> Delivery:
    """Return a message as a session receives it, `at` seconds after START."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload or {}, ensure_ascii=False).encode()
    return Delivery(topic or uplink(REGION, device, channel), body, packet_id, duplicate, retained, after(at))


class _Script:
    """A source of one batch, which notes when that is acknowledged."""

    def __init__(self, batch: Batch, source: Source) -> None:
        self._batch, self._source = batch, source
        self.acknowledged: list[Batch] = []

    async def batches(self) -> AsyncIterator[Batch]:
        yield self._batch

    async def ack(self, batch: Batch) -> None:
        self.acknowledged.append(batch)
        await self._source.ack(batch)  # which sends nothing, for no session is up


class Line:
    """A bridge without a broker: what is fed to it is decoded and goes down the real line, batch by batch."""

    def __init__(self, settings: Settings) -> None:
        """Connect nothing yet."""
        self.bridge = Bridge(settings)
        self.acknowledged: list[Batch] = []

    @property
    def engine(self) -> Engine:
        """Return the engine of the bridge."""
        return self.bridge.engine

    async def __aenter__(self) -> Self:
        """Restore from the database."""
        try:
            await self.bridge.restore()
        except BaseException:
            await self.crash()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Crash."""
        await self.crash()

    async def crash(self) -> None:
        """Vanish as a killed process does: nothing is said, nothing is saved."""
        await self.bridge.store.connection.close()

    async def decode(
        self,
        *messages: Delivery,
        lane: Lane = Lane.TELEMETRY,
        connection: int = 1,
        scan: bool = True,
    ) -> Batch:
        """Return the batch that messages make on their way in; its now is the last one's time of receipt."""
        source = self.bridge.source
        for each in messages:
            source.sessions[lane].inbox.put(connection, [each])
        batch = await source._take(lane)
        batch.now = messages[-1].received_at
        batch.scan = scan
        return batch

    async def feed(
        self,
        *messages: Delivery,
        lane: Lane = Lane.TELEMETRY,
        connection: int = 1,
        scan: bool = True,
    ) -> Batch:
        """Move messages down the line as one batch and return it, as it was acknowledged."""
        return await self.move(await self.decode(*messages, lane=lane, connection=connection, scan=scan))

    async def tick(self, at: float) -> Batch:
        """Move an empty batch down the line, `at` seconds after START."""
        return await self.move(Batch(Lane.TELEMETRY, after(at)))

    async def move(self, batch: Batch) -> Batch:
        """Move a batch down the line."""
        source = _Script(batch, self.bridge.source)
        try:
            await run_line(source, self.bridge.store, self.engine)
        finally:
            self.acknowledged += source.acknowledged
        return self.acknowledged[-1]


def state(engine: Engine) -> dict[str, list[Any]]:
    """Return the whole state of an engine by name, without the room it keeps for devices to come."""
    arrays: dict[str, Any] = {}
    sparse = []
    for piece in range(engine.pieces):
        with np.load(io.BytesIO(zlib.decompress(engine.checkpoint(piece))), allow_pickle=False) as file:
            part = {str(name): file[f"a{i}"] for i, name in enumerate(file["names"])}
        sparse.append(json.loads(part.pop("sparse").tobytes()))
        arrays = {name: np.append(arrays.get(name, part[name][:0]), part[name], axis=0) for name in part}
    known = int(engine._roster.all().device_ids.max(initial=-1)) + 1
    return {name: array[:known].tolist() for name, array in arrays.items()} | {"sparse": sparse}


# ---------------------------------------------------------------------------------------------------- servers


class Listener:
    """A TCP server on a free port of 127.0.0.1, for a block, that leaves nothing open at its end."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen when the block begins."""
        self._tls = tls
        self.port = 0
        self.connections = 0
        self._talks: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client; hang up by returning."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up everywhere."""
        self._server.close()
        await asyncio.sleep(0.02)  # who was just let in
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        self.hang_up()
        await self._server.wait_closed()
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        """Break all connections."""
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._ends.add(writer)
        self._talks.add(asyncio.create_task(self._talk(reader, writer)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await self.converse(reader, writer)
        writer.close()


class Cutter(Listener):
    """A proxy before a database that hangs up at a chosen word, which it keeps to itself."""

    REPLY_TO_COMMIT = b"COMMIT\x00"  # the server's CommandComplete
    COMMIT = b"COMMIT"  # the client's command

    def __init__(self, url: str) -> None:
        """Take the database's URL; `url` is the one through the proxy."""
        super().__init__()
        self._given = url
        self.cuts = 0
        self._to_server: bytes | None = None
        self._to_client: bytes | None = None

    @property
    def url(self) -> str:
        """Return the database's URL through the proxy."""
        there = urlsplit(self._given)
        return self._given.replace(f"{there.hostname}:{there.port}", f"127.0.0.1:{self.port}")

    def cut_reply(self) -> None:
        """Hang up, once, instead of carrying the server's reply to COMMIT."""
        self._to_client = self.REPLY_TO_COMMIT

    def cut_command(self) -> None:
        """Hang up, once, instead of carrying the client's COMMIT."""
        self._to_server = self.COMMIT

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry both ways."""
        there = urlsplit(self._given)
        far_reader, far_writer = await asyncio.open_connection(there.hostname, there.port)
        self._ends.add(far_writer)
        await asyncio.gather(
            self._carry(reader, far_writer, from_server=False),
            self._carry(far_reader, writer, from_server=True),
        )

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                word = self._to_client if from_server else self._to_server
                if word is not None and word in data:
                    self._to_client = self._to_server = None
                    self.cuts += 1
                    self.hang_up()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()
