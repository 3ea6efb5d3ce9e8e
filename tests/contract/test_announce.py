"""P8 on a real bridge: while the database takes nothing, calls for help are announced; their PUBACK waits.

On mosquitto with TimescaleDB and on rumqttd with plain PostgreSQL; what needs a broker that keeps a session
runs on mosquitto alone. The database is held by a lock that every commit needs.
"""

import asyncio
import contextlib
import json
import queue
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator

from docs.contracts import HERE
from ingest import calls, metrics
from ops.parts import Broker, Database, iotcore_broker, mosquitto_broker
from schemas.settings import AnnounceSettings, Settings
from schemas.topics import UNSTORED_FILTER, Lane
from tests.contract.kit import Listener, make_tables, rows, settings_for, tuples, until
from tests.contract.test_bridge import Running
from tests.mqtt import Client

pytestmark = pytest.mark.one_edition

SOS = "carebell/v1/430602/BELL-1/sos"
HEARTBEAT = "carebell/v1/430602/BELL-1/heartbeat"
SCHEMA: dict[str, Any] = json.loads((HERE / "unstored.schema.json").read_text("utf-8"))


@dataclass
class Scene:
    """A broker, a database that can be held, and an ear on the announcements."""

    broker: Broker
    url: str
    town: Client
    ear: Client
    heard: list[dict[str, Any]] = field(default_factory=list)

    def settings(self, webhook: str = "") -> Settings:
        """Return settings for both, and for a webhook."""
        settings = settings_for(self.url, self.broker)
        return settings.model_copy(update={"announce": AnnounceSettings.model_construct(webhook=webhook)})

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Let no batch be committed for a block."""
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            await connection.execute("LOCK TABLE ingest_ledger IN EXCLUSIVE MODE")
            yield

    def listen(self) -> list[dict[str, Any]]:
        """Return all announcements so far, each valid by the published schema."""
        with contextlib.suppress(queue.Empty):
            while True:
                message = self.ear.messages.get_nowait()
                said = json.loads(message.payload)
                Draft202012Validator(SCHEMA).validate(said)
                self.heard.append({**said, "on": message.topic})
        return self.heard

    async def hear(self, count: int, state: str = "unstored") -> list[dict[str, Any]]:
        """Wait until so many announcements of a state have come, and return them."""

        def found() -> list[dict[str, Any]]:
            return [said for said in self.listen() if said["state"] == state]

        await until(lambda: len(found()) >= count, f"{count} announcements of {state}")
        return found()

    async def alarms(self) -> list[tuple[Any, ...]]:
        """Return device, kind, count and quality of every alarm."""
        return await tuples(
            self.url,
            "SELECT CASE WHEN device LIKE '?%%' THEN '?' ELSE device END, kind, count, quality"
            " FROM alarms JOIN devices USING (device_id) WHERE class = 'life' ORDER BY 1, 2",
        )


def _scene(request: pytest.FixtureRequest, scratch: Path, pair: str) -> Iterator[Scene]:
    if pair == "mosquitto":
        request.getfixturevalue("mosquitto")  # skips where there is none
    run, edition = {"mosquitto": (mosquitto_broker, "timescale"), "iotcore": (iotcore_broker, "native")}[pair]
    database: Database = request.getfixturevalue(edition)
    asyncio.run(make_tables(database.url))
    with run(scratch) as broker, Client(broker.town_url) as town, Client(broker.town_url) as ear:
        ear.subscribe(UNSTORED_FILTER)
        yield Scene(broker, database.url, town, ear)


@pytest.fixture(params=["mosquitto", "iotcore"])
def scene(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Scene]:
    """Give each broker with a database of its own."""
    yield from _scene(request, scratch, request.param)


@pytest.fixture
def kept_scene(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Scene]:
    """Give the pair whose broker keeps sessions."""
    yield from _scene(request, scratch, "mosquitto")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat announcements every second."""
    monkeypatch.setattr(calls, "REPEAT", 1.0)


def test_of_time() -> None:
    """What these tests shorten is in truth 2 s until the first announcement and 10 s until the next."""
    assert (calls.AFTER, calls.REPEAT) == (2.0, 10.0)


@pytest.mark.usefixtures("often")
async def test_a_call_that_cannot_be_stored_is_announced_until_it_is(scene: Scene) -> None:
    """After 2 s and not before, again and again, then as stored; the alarm stands once."""
    async with Running(scene.settings()):
        async with scene.held():
            began = time.monotonic()
            await asyncio.to_thread(scene.town.publish, SOS, b'{"source": "cord"}')
            (first, *_) = await scene.hear(1)
            took = time.monotonic() - began
            assert calls.AFTER <= took < calls.AFTER + 2
            again = (await scene.hear(3))[-1]
            assert metrics._sum([metrics.UNSTORED]) == 1
            assert await scene.alarms() == []
        (stored,) = await scene.hear(1, "stored")
        assert await scene.alarms() == [("BELL-1", "sos", 1, "ok")]
        await until(lambda: metrics._sum([metrics.UNSTORED]) == 0, "none is left")
    names = ("device", "region", "channel", "event", "topic", "payload", "on", "received_at")
    assert [first[name] for name in names[:-1]] == [
        *("BELL-1", "430602", "sos", "sos", SOS, '{"source": "cord"}'),
        "carebell/unstored/v1/430602/BELL-1/sos",
    ]
    assert (
        [again[name] for name in names] == [first[name] for name in names] == [stored[name] for name in names]
    )
    assert first["waiting"] < again["waiting"] <= stored["waiting"]
    ((raised_at,),) = await tuples(
        scene.url,
        "SELECT to_char(raised_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM alarms",
    )
    assert first["received_at"] == raised_at


async def test_what_is_stored_in_time_is_not_announced(scene: Scene) -> None:
    """While the database works nobody is told anything, nor of what is no call for help while it does not."""
    async with Running(scene.settings()):
        await asyncio.to_thread(scene.town.publish, SOS)
        await until(scene.alarms, "the alarm stands")
        async with scene.held():
            await asyncio.to_thread(scene.town.publish, HEARTBEAT)
            await asyncio.to_thread(
                scene.town.publish, "carebell/v1/430602/BELL-1/event", b'{"kind": "check_in"}'
            )
            await asyncio.sleep(calls.AFTER + 1)
        await until(lambda: rows(scene.url, "SELECT FROM heartbeats"), "the heartbeat is stored")
    assert scene.listen() == []


async def test_every_call_is_announced_however_malformed(scene: Scene) -> None:
    """Two presses, a fall, an unreadable payload, topics that no device should use: all are told."""
    sent = [
        (SOS, b"{}"),
        (SOS, b"{}"),
        ("carebell/v1/430602/BAND-1/fall", b'{"phase": "confirmed"}'),
        ("carebell/v1/430602/BELL-2/sos", b"help!\x00\xff"),
        ("carebell/v1/yueyang/BELL-3/sos", b"{}"),
        ("carebell/v1/430602/铃/extra/sos", b"{}"),
    ]
    async with Running(scene.settings()):
        async with scene.held():
            await asyncio.to_thread(
                scene.town.publish, HEARTBEAT
            )  # a batch is under way, the calls wait behind it
            for topic, payload in sent:
                await asyncio.to_thread(scene.town.publish, topic, payload)
            said = await scene.hear(len(sent))
        await scene.hear(len(sent), "stored")
        assert await scene.alarms() == [
            ("?", "sos", 1, "unreadable"),
            ("BAND-1", "fall", 1, "ok"),
            ("BELL-1", "sos", 2, "ok"),
            ("BELL-2", "sos", 1, "unreadable"),
            ("BELL-3", "sos", 1, "unreadable"),
        ]
        devices = {row["device"] for row in await rows(scene.url, "SELECT device FROM devices")}
    assert sorted(each["topic"] for each in said) == sorted(topic for topic, _ in sent)
    assert {each["device"] for each in said} <= devices
    unreadable = next(each for each in said if each["device"] == "BELL-2")
    assert ("event" not in unreadable, unreadable["payload"]) == (True, "help!\x00\ufffd")
    assert {each["on"].split("/")[3] for each in said} == {"430602", "unknown"}


@pytest.mark.usefixtures("often")
async def test_an_announced_call_is_not_acknowledged(kept_scene: Scene) -> None:
    """A bridge killed after the announcement gets the call again, announces it again, and stores it once."""
    settings = kept_scene.settings()
    async with contextlib.AsyncExitStack() as stack:
        async with Running(settings):
            await stack.enter_async_context(kept_scene.held())
            await asyncio.to_thread(kept_scene.town.publish, SOS)
            (first, *_) = await kept_scene.hear(1)
        kept_scene.heard.clear()
        async with Running(settings) as running:
            (second, *_) = await kept_scene.hear(1)
            assert (second["topic"], second["received_at"] > first["received_at"]) == (SOS, True)
            waiting = [each.topic for each in running.bridge.source.unacknowledged(Lane.URGENT)]
            assert waiting.count(SOS) == 1
    async with Running(settings):
        await until(kept_scene.alarms, "the alarm stands")
    assert await kept_scene.alarms() == [("BELL-1", "sos", 1, "ok")]


@pytest.mark.usefixtures("often")
async def test_a_broker_that_restarts_brings_no_second_call(kept_scene: Scene) -> None:
    """What it sends again while the database is held is announced as the call that it was."""
    async with Running(kept_scene.settings()) as running:
        async with kept_scene.held():
            await asyncio.to_thread(kept_scene.town.publish, SOS)
            (first, *_) = await kept_scene.hear(1)
            await asyncio.to_thread(kept_scene.broker.restart)
            await until(lambda: running.bridge.source.online, "the bridge is back")
            urgent = running.bridge.source.sessions[Lane.URGENT]
            await until(lambda: urgent.inbox.count, "the call is sent again")
            before = len(kept_scene.listen())
            with Client(kept_scene.broker.town_url) as ear:
                ear.subscribe(UNSTORED_FILTER)
                kept_scene.ear = ear
                said = await kept_scene.hear(before + 8)  # enough for another call to be told
                assert {each["received_at"] for each in said} == {first["received_at"]}
        await until(kept_scene.alarms, "the alarm stands")
        assert await kept_scene.alarms() == [("BELL-1", "sos", 1, "ok")]


async def test_a_backlog_is_announced_from_its_oldest_call(kept_scene: Scene) -> None:
    """Of many calls the first comes first, each once, and the line is free to store them meanwhile."""
    count = 150
    async with Running(kept_scene.settings()):
        async with kept_scene.held():
            for number in range(count):
                await asyncio.to_thread(kept_scene.town.publish, f"carebell/v1/430602/BELL-{number}/sos")
            said = await kept_scene.hear(count)
        await kept_scene.hear(count, "stored")
        assert len(await kept_scene.alarms()) == count
    assert [each["device"] for each in said[:count]] == [f"BELL-{number}" for number in range(count)]


# ------------------------------------------------------------------------------------------------ the webhook


class Receiver(Listener):
    """A webhook's receiver that answers each request as it is told: a status, or None to hang."""

    def __init__(self, *answers: int | None, then: int = 204) -> None:
        """Give these answers first."""
        super().__init__()
        self._answers = list(answers)
        self._then = then
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.port}/hook?key=secret"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read requests for ever, or hang."""
        while line := await reader.readline():
            assert line == b"POST /hook?key=secret HTTP/1.1\r\n"
            headers = {}
            while line := (await reader.readline()).strip():
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.requests.append((headers, body))
            status = self._answers.pop(0) if self._answers else self._then
            if status is None:
                await asyncio.Event().wait()
            writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a receiver a second to answer, and try again soon."""
    monkeypatch.setattr("ingest.webhook.ANSWER", 1.0)
    monkeypatch.setattr("ingest.webhook.FIRST_BACKOFF", 0.2)


@pytest.mark.usefixtures("often", "impatient")
@pytest.mark.parametrize("answers", [(), (500, 302, 404), (None,), (None, 503)], ids=str)
async def test_the_webhook_is_told_until_it_answers(
    kept_scene: Scene, answers: tuple[int | None, ...]
) -> None:
    """One that fails or hangs is told again, with the same key, until a 2xx, and then no more."""
    async with Receiver(*answers) as receiver, Running(kept_scene.settings(receiver.url)):
        async with kept_scene.held():
            await asyncio.to_thread(kept_scene.town.publish, SOS)
            await until(lambda: len(receiver.requests) > len(answers), "the receiver was asked")
            said = await kept_scene.hear(3)
            assert len(receiver.requests) == len(answers) + 1
        await until(kept_scene.alarms, "the alarm stands")
    assert len({headers["idempotency-key"] for headers, _ in receiver.requests}) == 1
    for headers, body in receiver.requests:
        Draft202012Validator(SCHEMA).validate(body)
        assert headers["content-type"] == "application/json"
        assert {**body, "waiting": 0, "on": said[0]["on"]} == {**said[0], "waiting": 0}


@pytest.mark.usefixtures("often", "impatient")
async def test_a_webhook_that_hangs_delays_nothing(
    kept_scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """The announcements go on, the calls are stored, then it is asked no more; its key is not logged."""
    hangs = [None] * 100
    async with Receiver(*hangs) as receiver, Running(kept_scene.settings(receiver.url)):
        async with kept_scene.held():
            for number in range(3):
                await asyncio.to_thread(kept_scene.town.publish, f"carebell/v1/430602/BELL-{number}/sos")
            said = await kept_scene.hear(6)
            await until(lambda: len(receiver.requests) > 3, "each was tried")
        await kept_scene.hear(3, "stored")
        await asyncio.sleep(1.5)  # the request under way ends
        asked = len(receiver.requests)
        await asyncio.sleep(1.5)
        assert len(receiver.requests) == asked
    assert {each["device"] for each in said[:3]} == {body["device"] for _, body in receiver.requests[:3]}
    assert "the webhook does not take a call" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("often", "impatient")
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::bad/", "http://127.0.0.1:99999/"])
async def test_a_webhook_that_is_not_there_ends_nothing(kept_scene: Scene, url: str) -> None:
    """Nobody listening, or a URL that is none: calls are announced over MQTT and stored all the same."""
    async with Running(kept_scene.settings(url)) as running:
        async with kept_scene.held():
            await asyncio.to_thread(kept_scene.town.publish, SOS)
            await kept_scene.hear(2)
        await until(kept_scene.alarms, "the alarm stands")
        assert not running.task.done()
