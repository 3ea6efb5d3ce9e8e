"""The feed over real sockets: what desks are told, how they resume, and who is cut off."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx
import pytest
from fastapi import FastAPI
from psycopg import AsyncConnection

from duty import alarms, feed, follow
from duty.access import Role
from duty.answers import HEADERS
from duty.api import create_app
from duty.desk import make_pool, opened
from duty.feed import KEPT, STREAMS, STREAMS_EACH, WAITING, WAITING_BYTES, Feed
from duty.follow import ending_streams, following
from duty.handling import Verb
from duty.keys import Key, digest_of
from ops.parts import Database, free_port
from ops.web import listen, serve_app
from schemas.clock import Clock
from tests.desk import AT, bearer, migrated, raise_alarm, settings_for

pytestmark = pytest.mark.one_edition

WITHIN = 20.0  # a test gives up: never a measurement
EVENTS = "/api/events"


@dataclass(frozen=True)
class Event:
    """One event as it came."""

    raw: bytes

    @property
    def fields(self) -> dict[str, str]:
        """Return its lines by name."""
        return dict(line.split(": ", 1) for line in self.raw.decode().splitlines() if line)

    @property
    def name(self) -> str:
        """Return what it is called."""
        return self.fields["event"]

    @property
    def data(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """Return what it says."""
        return json.loads(self.fields["data"])


class Stream:
    """One open stream and what came on it."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id = ""
        self._pieces = answer.aiter_raw()
        self._rest = b""

    async def next(self, name: str = "") -> Event:
        """Return the next event, or the next of this name; raises EOFError at the end."""
        async with asyncio.timeout(WITHIN):
            while True:
                event = await self._event()
                self.last_id = event.fields.get("id", self.last_id)
                if name in {"", event.name}:
                    return event

    async def told(self) -> list[int]:
        """Return the numbers of the alarms of the next event that tells of any."""
        return [each["alarm_id"] for each in (await self.next("alarms")).data["alarms"]]

    async def ends(self) -> None:
        """Wait for the end."""
        with contextlib.suppress(EOFError, httpx.RemoteProtocolError):
            await self.next("nothing")

    async def _event(self) -> Event:
        while b"\n\n" not in self._rest:
            piece = await anext(self._pieces, b"")
            if not piece:
                raise EOFError
            self._rest += piece
        whole, _, self._rest = self._rest.partition(b"\n\n")
        return Event(whole)


@dataclass
class Desk:
    """A desk that serves on a real port; `stop` ends it as SIGTERM does."""

    app: FastAPI
    client: httpx.AsyncClient
    serving: asyncio.Task[None]

    @property
    def feed(self) -> Feed:
        """Return its feed."""
        found = self.app.state.feed
        assert isinstance(found, Feed)
        return found

    @contextlib.asynccontextmanager
    async def stream(self, last_id: str = "", **headers: str) -> AsyncIterator[Stream]:
        """Open a stream, resumed after an event if one is named."""
        resume = {"Last-Event-ID": last_id} if last_id else {}
        async with self.client.stream("GET", EVENTS, headers=resume | headers) as answer:
            assert answer.status_code == 200
            yield Stream(answer)

    @contextlib.asynccontextmanager
    async def fresh(self) -> AsyncIterator[Stream]:
        """Open a stream of a page that has just come, past its first words."""
        async with self.stream() as found:
            assert [(await found.next()).name for _ in range(2)] == ["tick", "reset"]
            yield found

    async def until_readers(self, count: int) -> None:
        """Wait until the desk has so many streams."""
        async with asyncio.timeout(WITHIN):
            while len(self.feed._readers) != count:  # noqa: ASYNC110 - the server's event
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End it, and wait until it has ended."""
        self.serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.serving

    @classmethod
    @contextlib.asynccontextmanager
    async def serve(cls, url: str) -> AsyncIterator[Self]:
        """Serve, and wait until the database is followed."""
        port = free_port()
        async with opened(make_pool(url)) as pool:
            app = create_app(settings_for(url, port=port), pool)
            address = f"http://127.0.0.1:{port}"
            limits = httpx.Limits(max_connections=None)
            async with (
                following(url, app.state.feed),
                httpx.AsyncClient(
                    base_url=address, headers=bearer(), timeout=WITHIN, limits=limits, trust_env=False
                ) as client,
            ):
                serving = ending_streams(app.state.feed, serve_app(app, listen("127.0.0.1", port, "duty")))
                desk = cls(app, client, asyncio.ensure_future(serving))
                async with asyncio.timeout(WITHIN):
                    while not app.state.feed.database:  # noqa: ASYNC110 - the same
                        await asyncio.sleep(0.02)
                yield desk
                await desk.stop()


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as found:
        yield found


@pytest.fixture
async def desk(database: Database, connection: AsyncConnection) -> AsyncIterator[Desk]:
    """Give a desk that serves."""
    del connection  # the tables must be there
    async with Desk.serve(database.url) as found:
        yield found


async def test_a_stream_begins_with_the_time_and_the_word_to_read_the_list(
    desk: Desk, connection: AsyncConnection
) -> None:
    """A page that comes is told the time and to read the list, and from then on each change as it is."""
    async with desk.stream() as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["x-accel-buffering"] == "no"
        assert {name: stream.answer.headers[name] for name in HEADERS} == HEADERS
        tick = await stream.next()
        assert (tick.name, "id" in tick.fields) == ("tick", False)
        assert tick.data.keys() == {"now", "speed", "counts", "database"}
        assert (tick.data["database"], tick.data["counts"]["open"]) == (True, 0)
        reset = await stream.next()
        assert (reset.name, reset.data) == ("reset", {})
        assert re.fullmatch(r"[0-9a-f]{8}-\d+", reset.fields["id"])
        alarm_id = await raise_alarm(connection, "BELL-1", name="张奶奶\n\ndata: x", logged=True)
        told = await stream.next("alarms")
        [listed] = (await desk.client.get("/api/alarms")).json()["alarms"]
        assert told.data["alarms"] == [listed]
        assert told.data["counts"]["open"] == 1
        await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "李强", AT)
        assert (await stream.next("alarms")).data["alarms"][0]["acknowledged_by"] == "李强"
        assert (await stream.next("tick")).fields["id"] == stream.last_id


async def test_all_desks_get_the_same_bytes(desk: Desk, connection: AsyncConnection) -> None:
    """An event is encoded once: two desks that are open get it to the byte."""
    async with desk.fresh() as one, desk.fresh() as other:
        await raise_alarm(connection, logged=True)
        assert (await one.next("alarms")).raw == (await other.next("alarms")).raw


async def test_who_resumes_has_missed_nothing(desk: Desk, connection: AsyncConnection) -> None:
    """What happened while a stream was cut comes in order and once, then what happens."""
    async with desk.fresh() as stream:
        first = await raise_alarm(connection, "BELL-1", logged=True)
        assert await stream.told() == [first]
        seen = stream.last_id
    missed = []
    async with desk.fresh() as neighbour:
        for number in range(2, 5):
            missed.append(await raise_alarm(connection, f"BELL-{number}", logged=True))
            assert await neighbour.told() == missed[-1:]
    async with desk.stream(seen) as stream:
        assert (await stream.next()).name == "tick"
        assert [(await stream.told())[0] for _ in missed] == missed
        last = await raise_alarm(connection, "BELL-5", logged=True)
        assert await stream.told() == [last]
        seen = stream.last_id
    async with desk.stream(seen) as stream:
        assert [(await stream.next()).name for _ in range(2)] == ["tick", "tick"]


@pytest.mark.parametrize("last_id", ["00000000-1", "BOOT-999999", "BOOT--1", "7", "x" * 100, "BOOT-1x"])
async def test_an_id_that_is_not_known_reads_the_list_anew(desk: Desk, last_id: str) -> None:
    """An id of another run, of the future, or of no shape at all begins with `reset`."""
    async with desk.stream(last_id.replace("BOOT", desk.feed.boot)) as stream:
        assert [(await stream.next()).name for _ in range(2)] == ["tick", "reset"]


async def test_an_id_that_is_too_old_reads_the_list_anew(desk: Desk) -> None:
    """Events are kept up to a number, and those before a `reset` not at all."""
    async with desk.fresh() as stream:
        desk.feed.tell([], [1])
        await stream.next("alarms")
        seen = stream.last_id
    for number in range(KEPT):
        desk.feed.tell([], [number])
    async with desk.stream(seen) as stream:
        assert [(await stream.next()).name for _ in range(2)] == ["tick", "alarms"]
    desk.feed.tell([], [1])
    async with desk.stream(seen) as stream:
        assert [(await stream.next()).name for _ in range(2)] == ["tick", "reset"]
    desk.feed.reset()
    for before in (1, 2):
        async with desk.stream(f"{desk.feed.boot}-{desk.feed._last - before}") as stream:
            assert [(await stream.next()).name for _ in range(2)] == ["tick", "reset"]
            assert stream.last_id == f"{desk.feed.boot}-{desk.feed._last}"


async def test_a_restarted_database_is_told_and_then_the_list_read_anew(
    database: Database, connection: AsyncConnection
) -> None:
    """Desks stay connected through it: ticks say that the database is away, then comes `reset`."""
    await connection.close()
    async with Desk.serve(database.url) as desk, desk.fresh() as stream:
        database.stop()
        try:
            while (await stream.next("tick")).data["database"]:
                pass
        finally:
            database.start()
        await stream.next("reset")
        assert (await stream.next("tick")).data["database"] is True
        async with migrated(database.url) as back:
            assert [await raise_alarm(back, logged=True)] == await stream.told()


async def test_a_reader_that_does_not_read_is_cut_off(desk: Desk) -> None:
    """Its stream ends while others read on, and no more waits for it than the bound."""
    stuck, writer = await asyncio.open_connection("127.0.0.1", desk.client.base_url.port)
    token = bearer("李强")["Authorization"]
    writer.write(f"GET {EVENTS} HTTP/1.1\r\nHost: desk\r\nAuthorization: {token}\r\n\r\n".encode())
    await stuck.readuntil(b"event: reset")
    transport = writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    transport.pause_reading()
    async with desk.fresh() as stream, contextlib.AsyncExitStack() as stack:
        stack.callback(writer.transport.abort)
        await desk.until_readers(2)
        [held] = [each for each in desk.feed._readers if each.caller == "李强"]
        most = 0
        for number in range(WAITING * 3):
            desk.feed.tell([], range(number * 10_000, number * 10_000 + 5_000))
            await stream.next("alarms")
            most = max(most, held._bytes)
            if held.over.is_set():
                break
        assert 0 < most <= WAITING_BYTES
        await desk.until_readers(1)
        desk.feed.tell([], [1])
        assert (await stream.next("alarms")).data["gone"] == [1]


async def test_a_reader_that_goes_is_noticed(desk: Desk) -> None:
    """A page that is closed is forgotten at once, although nothing is sent to it."""
    async with desk.fresh(), desk.fresh():
        await desk.until_readers(2)
    await desk.until_readers(0)
    assert not desk.feed._of_caller


async def test_a_stream_needs_a_token_and_ends_with_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads without a token that counts; a viewer may; where it expires the stream ends."""
    monkeypatch.setattr(follow, "TICK_EVERY", 0.1)
    refused = await desk.client.get(EVENTS, headers={"Authorization": "Bearer wrong"})
    assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")
    until = datetime.now(UTC) + timedelta(seconds=3)
    desk.app.state.desk.keys._users[digest_of("short")] = Key("赵敏", Role.VIEWER, until)
    async with desk.stream(Authorization="Bearer short") as stream, desk.fresh() as other:
        await stream.next("reset")
        await stream.ends()
        assert datetime.now(UTC) >= until
        assert (await other.next("tick")).data["database"] is True


async def test_streams_are_bounded_for_each_and_in_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One caller has so many streams, the desk so many: more are refused by name until one is closed."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(STREAMS_EACH - 1):
            await stack.enter_async_context(desk.fresh())
        async with desk.fresh():
            answer = await desk.client.get(EVENTS)
            assert (answer.status_code, answer.json()["error"]) == (429, "too_many")
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["detail_zh"] == "同一账号打开的值班台太多，请先关闭不用的页面"
            other = await stack.enter_async_context(desk.stream(**bearer("李强")))
            await other.next("reset")
        await desk.until_readers(STREAMS_EACH)
        await stack.enter_async_context(desk.fresh())
        monkeypatch.setattr(feed, "STREAMS", STREAMS_EACH + 1)
        answer = await desk.client.get(EVENTS, headers=bearer("李强"))
        assert (answer.status_code, answer.json()["error"]) == (503, "feed_full")
    assert STREAMS >= 1_000


async def test_the_end_of_the_desk_ends_its_streams_first(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """With 200 streams open the server is gone within seconds, and nothing had to be cut."""
    users = desk.app.state.desk.keys._users
    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for number in range(200):
            token = f"token-{number // 10}"
            users[digest_of(token)] = Key(f"desk {number // 10}", Role.VIEWER)
            stream = await stack.enter_async_context(desk.stream(Authorization=f"Bearer {token}"))
            streams.append(stream)
        await desk.until_readers(200)
        began = time.monotonic()
        await desk.stop()
        assert time.monotonic() - began < 3.0
        for stream in streams:
            await stream.ends()
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
    with pytest.raises(httpx.ConnectError):
        await desk.client.get(EVENTS)


async def test_without_a_follower_there_is_no_feed(database: Database) -> None:
    """A desk that does not follow the database says so, where silence would look like peace."""
    async with opened(make_pool(database.url)) as pool:
        transport = httpx.ASGITransport(create_app(settings_for(database.url), pool))
        async with httpx.AsyncClient(transport=transport, base_url="http://desk", headers=bearer()) as client:
            answer = await client.get(EVENTS)
    assert (answer.status_code, answer.json()["error"]) == (503, "feed_closed")


def test_the_events_that_are_kept_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long events push out old ones, down to the newest, however long that is."""
    monkeypatch.setattr(feed, "KEPT_BYTES", 1_000)
    told = Feed(Clock(), lambda _: False)
    for _ in range(50):
        told.tell([], range(30))
    assert 1 < len(told._kept) < 50
    assert told._kept_bytes == sum(len(frame) for _, frame in told._kept) <= 1_000
    told.tell([], range(1_000))
    assert len(told._kept) == 1
