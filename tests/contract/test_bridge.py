"""The bridge in one process, on mosquitto with TimescaleDB and on rumqttd with plain PostgreSQL.

Messages are published by an independent client and looked for in the database. On rumqttd a message may be
stored twice after a reconnect, because it redelivers without DUP; what holds for mosquitto only says so.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from ingest import metrics
from ingest.bridge import Bridge
from ops.parts import Broker, Database, iotcore_broker, mosquitto_broker
from rules.machines.silence import Silence
from schemas.clock import SECOND
from schemas.errors import FatalError
from schemas.settings import Settings
from schemas.topics import Lane, downlink, uplink
from store.restore import Device
from tests.contract.kit import (
    REGION,
    WAIT,
    counts,
    make_tables,
    milliseconds,
    rows,
    settings_for,
    tuples,
    until,
)
from tests.mqtt import Client


@dataclass
class Parts:
    """A broker and a database of the test's own."""

    broker: Broker
    database: Database

    @property
    def url(self) -> str:
        """Return the database's URL."""
        return self.database.url

    def settings(self, **ingest: Any) -> Settings:  # noqa: ANN401 - of several types
        """Return settings for both."""
        return settings_for(self.url, self.broker, **ingest)


def _parts(request: pytest.FixtureRequest, scratch: Path, pair: str) -> Iterator[Parts]:
    if pair == "mosquitto":
        request.getfixturevalue("mosquitto")  # skips where there is none
    run, edition = {
        "mosquitto": (mosquitto_broker, "timescale"),
        "iotcore": (iotcore_broker, "native"),
    }[pair]
    database = request.getfixturevalue(edition)
    asyncio.run(make_tables(database.url))
    with run(scratch) as broker:
        yield Parts(broker, database)


@pytest.fixture(params=["mosquitto", "iotcore"])
def parts(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Parts]:
    """Give mosquitto with TimescaleDB, and rumqttd with plain PostgreSQL."""
    yield from _parts(request, scratch, request.param)


@pytest.fixture
def kept_parts(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Parts]:
    """Give the pair whose broker marks what it sends again."""
    yield from _parts(request, scratch, "mosquitto")


@pytest.fixture
def town(parts: Parts) -> Iterator[Client]:
    """Give a client that speaks for every device, and hears all."""
    with Client(parts.broker.town_url) as client:
        yield client


class Running:
    """A bridge that runs for a block and is cut off at its end, as by kill -9."""

    def __init__(self, settings: Settings) -> None:
        """Start when the block begins."""
        self.bridge = Bridge(settings)

    async def __aenter__(self) -> Self:
        """Start, and wait until both sessions are up."""
        self.task = asyncio.create_task(self.bridge.run())
        await until(lambda: self.bridge.source.online or self.task.done(), "the bridge is online")
        if self.task.done():
            await self.task
        return self

    async def __aexit__(self, *_: object) -> None:
        """End without a word."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.bridge.store.connection.close()

    def drop(self, lane: Lane) -> None:
        """Break a lane's connection, as a network does."""
        protocol = self.bridge.source.sessions[lane]._protocol
        assert protocol
        assert protocol.transport
        protocol.transport.abort()


@pytest.fixture
async def running(parts: Parts) -> AsyncIterator[Running]:
    """Give a running bridge with the shipped settings."""
    async with Running(parts.settings()) as found:
        yield found


def totals() -> dict[str, float]:
    """Return what was counted since the process began, by what became of the messages; no canaries."""
    canaries = sum(metrics.IGNORED.labels(lane.name.lower(), "canary")._value.get() for lane in Lane)
    return {
        "stored": metrics._sum([metrics.STORED]),
        "duplicate": metrics._sum([metrics.DUPLICATE]),
        "dead": metrics._sum([metrics.DEAD]),
        "ignored": metrics._sum([metrics.IGNORED]) - canaries,
        "partly dead": metrics._sum([metrics.PARTLY_DEAD]),
        "difference": metrics.identity_difference(),
    }


async def settled(before: dict[str, float], messages: int) -> dict[str, float]:
    """Wait until something has become of so many messages more, and return what."""

    def growth() -> dict[str, float]:
        return {name: count - before[name] for name, count in totals().items()}

    def become() -> float:
        return sum(growth()[name] for name in ("stored", "duplicate", "dead", "ignored"))

    await until(lambda: become() >= messages, f"{messages} are accounted for")
    return growth()


# ----------------------------------------------------------------------------------------- from call to alarm


@pytest.mark.usefixtures("running")
async def test_a_call_by_hand_is_an_alarm_and_the_bell_hears_of_it(parts: Parts, town: Client) -> None:
    """An SOS of `{}` becomes an alarm row, and its device is told, at QoS 1, on the downlink."""
    town.subscribe(downlink(REGION, "BELL-0001"))
    assert not town.publish(uplink(REGION, "BELL-0001", "sos"), b"{}").is_failure

    (alarm,) = await until(lambda: rows(parts.url, "SELECT * FROM duty_alarms"), "an alarm is raised")
    assert (alarm["device"], alarm["region"], alarm["kind"]) == ("BELL-0001", REGION, "sos")
    assert (alarm["class"], alarm["severity"], alarm["quality"]) == ("life", "critical", "ok")
    assert (alarm["condition"], alarm["handling"], alarm["count"]) == ("active", "unacknowledged", 1)
    heard = await asyncio.to_thread(town.receive)
    assert (heard.topic, heard.qos) == (downlink(REGION, "BELL-0001"), 1)
    assert json.loads(heard.payload) == {"alarm_id": alarm["alarm_id"], "kind": "sos", "state": "raised"}
    await until(
        lambda: rows(parts.url, "SELECT FROM outbox WHERE sent_at IS NOT NULL"), "it is marked as sent"
    )
    town.publish(uplink(REGION, "BELL-0001", "sos"), b"{}")
    await until(lambda: rows(parts.url, "SELECT FROM alarms WHERE count = 2"), "the second call counts")


@pytest.mark.usefixtures("running")
async def test_every_way_to_call_is_an_alarm_once(parts: Parts, town: Client) -> None:
    """Whatever payload, region, spelling or level is wrong: one alarm each, counted once, and a letter."""
    calls = {
        uplink(REGION, "BELL-1", "sos"): b"not json",
        uplink(REGION, "BELL-2", "fall"): b"",
        uplink("abc", "BELL-3", "sos"): b"{}",
        uplink(REGION, "BELL 4", "sos"): b"{}",
        uplink(REGION, "BELL-5", "SOS"): b"{}",
        uplink(REGION, "BELL-6", "sos") + "/sos": b"{}",
        uplink(REGION, "BELL-7", "fall"): bytes(1024 * 1024),
        uplink(REGION, "BELL-8", "sos"): b'{"lat": 500}',
    }
    before = totals()
    for topic, payload in calls.items():
        assert not town.publish(topic, payload).is_failure

    found = await settled(before, 8 + 6)  # all come on the telemetry lane, and six on the urgent one
    assert await tuples(parts.url, "SELECT kind, count, count(*) FROM alarms GROUP BY 1, 2 ORDER BY 1") == [
        ("fall", 1, 2),
        ("sos", 1, 6),
    ]
    assert await tuples(parts.url, "SELECT quality, count(*) FROM alarms GROUP BY 1 ORDER BY 1") == [
        ("ok", 1),
        ("unreadable", 7),
    ]
    letters = await tuples(parts.url, "SELECT topic, whole FROM dead_letters")
    assert sorted(letters) == sorted((topic, topic != uplink(REGION, "BELL-8", "sos")) for topic in calls)
    assert (found["stored"], found["dead"], found["ignored"], found["partly dead"]) == (1, 7, 6, 1)
    assert found["difference"] == 0


@pytest.mark.usefixtures("running")
async def test_every_message_is_accounted_for_once(parts: Parts, town: Client) -> None:
    """Good, bad, duplicate and ignored messages: received = stored + duplicate + dead + ignored."""
    before = totals()
    beat = json.dumps({"ts": milliseconds(0), "battery": 50}).encode()
    sent = [
        *((uplink(REGION, f"BELL-{n}", "heartbeat"), b"{}") for n in range(20)),
        *((uplink(REGION, "BELL-1", "heartbeat"), beat) for _ in range(3)),
        (uplink(REGION, "BELL-1", "vitals"), b'{"hr": 70, "spo2": "?"}'),
        (uplink(REGION, "BELL-1", "vitals"), b"\x00\x00"),
        (uplink(REGION, "BELL-1", "nonsense"), b"{}"),
        (uplink(REGION, "BELL-1", "status"), b"online"),
        ("carebell/v1/too/many/levels/here", b"{}"),
        *((uplink(REGION, f"BELL-{n}", "sos"), b"{}") for n in range(5)),
        (uplink(REGION, "BELL-1", "event"), b'{"kind": "check_in"}'),
    ]
    for topic, payload in sent:
        town.publish(topic, payload)

    found = await settled(before, len(sent) + 6)  # six are urgent and come on both lanes
    assert found == {
        "stored": 20 + 1 + 1 + 1 + 6,
        "duplicate": 2,
        "dead": 3,
        "ignored": 6,
        "partly dead": 1,
        "difference": 0,
    }
    there = await counts(parts.url)
    assert (there["heartbeats"], there["vitals"], there["events"], there["dead_letters"]) == (21, 1, 7, 4)


# ------------------------------------------------------------------------------------------- unknown devices


async def heard(parts: Parts, town: Client, *said: tuple[str, str]) -> None:
    """Publish for devices on channels, and wait until all of it is accounted for."""
    before = totals()
    for device, channel in said:
        town.publish(uplink(REGION, device, channel), b"{}")
    await settled(before, len(said) + sum(channel == "sos" for _, channel in said))
    assert await tuples(parts.url, "SELECT count(*) FROM devices") != [(0,)]


async def test_unknown_devices_register_themselves_up_to_a_cap(parts: Parts, town: Client) -> None:
    """Up to the cap a stranger is registered; above it its telemetry is dead-lettered, but its SOS alarms."""
    async with Running(parts.settings(unknown_devices="register", max_registered=2)):
        await heard(parts, town, ("BELL-1", "heartbeat"), ("BELL-2", "heartbeat"))
        await heard(parts, town, ("BELL-3", "heartbeat"), ("BELL-4", "sos"))
        await heard(parts, town, ("BELL-4", "heartbeat"), ("BELL-3", "heartbeat"))
    assert await tuples(parts.url, "SELECT device, region, self_registered FROM devices ORDER BY 1") == [
        (f"BELL-{n}", REGION, True) for n in (1, 2, 4)
    ]
    assert (
        await tuples(parts.url, "SELECT topic, reason FROM dead_letters")
        == [(uplink(REGION, "BELL-3", "heartbeat"), "unknown_device")] * 2
    )
    assert await tuples(parts.url, "SELECT device, kind FROM duty_alarms") == [("BELL-4", "sos")]
    assert (await counts(parts.url))["heartbeats"] == 3


async def test_unknown_devices_can_be_kept_out(parts: Parts, town: Client) -> None:
    """By setting a stranger's telemetry is dead-lettered, before and after its SOS, and over a restart."""
    settings = parts.settings(unknown_devices="dead_letter")
    async with await psycopg.AsyncConnection.connect(parts.url) as connection:
        await connection.execute("INSERT INTO devices (device, region) VALUES ('BELL-1', '430602')")
    async with Running(settings):
        await heard(parts, town, ("BELL-1", "heartbeat"), ("BELL-2", "heartbeat"))
        await heard(parts, town, ("BELL-2", "sos"))
        await heard(parts, town, ("BELL-2", "heartbeat"))
    async with Running(settings):
        await heard(parts, town, ("BELL-2", "heartbeat"), ("BELL-2", "sos"), ("BELL-1", "heartbeat"))
    assert await tuples(parts.url, "SELECT device, kind, count FROM duty_alarms") == [("BELL-2", "sos", 2)]
    assert (
        await tuples(parts.url, "SELECT topic, reason FROM dead_letters")
        == [(uplink(REGION, "BELL-2", "heartbeat"), "unknown_device")] * 3
    )
    assert (await counts(parts.url))["heartbeats"] == 2


# ------------------------------------------------------------------------------------- what operators enter


pytestmark = pytest.mark.one_edition

ENTER = """
    INSERT INTO devices (device, region, model, heartbeat_seconds, changed_at)
    SELECT device, '430602', 'bell', 60, now() FROM unnest(%s::text[]) AS n(device)
    ON CONFLICT (device) DO UPDATE SET model = 'bell', heartbeat_seconds = 60, self_registered = false,
        changed_at = now()
"""


async def enter(url: str, *devices: str) -> None:
    """Enter devices as an operator does: one transaction, which notifies."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(ENTER, (list(devices),))
        await connection.execute("SELECT pg_notify('carebell_registry', now()::text)")


async def test_a_device_that_is_entered_is_heard_without_a_restart(parts: Parts, town: Client) -> None:
    """A stranger's telemetry is refused; entered, he is heard, with the interval that was entered."""
    async with Running(parts.settings(unknown_devices="dead_letter")) as running:
        town.publish(uplink(REGION, "BELL-1", "sos"), b"{}")
        town.publish(uplink(REGION, "BELL-1", "heartbeat"), b"{}")
        await until(
            lambda: rows(parts.url, "SELECT FROM dead_letters"), "the stranger's heartbeat is refused"
        )
        await enter(parts.url, "BELL-1", "BELL-2")
        await until(lambda: running.bridge.registry.telemetry_id("BELL-2"), "both are known")
        for device in ("BELL-1", "BELL-2"):
            town.publish(uplink(REGION, device, "heartbeat"), b"{}")
        await until(lambda: rows(parts.url, "SELECT FROM heartbeats OFFSET 1"), "both are stored")
        assert not running.bridge.registry.stranger_ids
        number = running.bridge.registry.telemetry_id("BELL-1")
        (silence,) = (each for each in running.bridge.engine._machines if isinstance(each, Silence))
        assert silence._limit[number] == 180 * SECOND
    assert (await counts(parts.url))["dead_letters"] == 1


async def test_many_devices_entered_at_once_are_learnt_in_parts(parts: Parts, running: Running) -> None:
    """More devices than one part holds, in two transactions one after the other: all are known soon."""
    first, second = ([f"{name}-{n}" for n in range(5_000)] for name in "AB")
    await enter(parts.url, *first)
    for nonsense in ("nonsense", "", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        await rows(parts.url, f"NOTIFY carebell_registry, '{nonsense}'")
    await enter(parts.url, *second)
    await until(lambda: len(running.bridge.registry) == 10_000, "all are known")


async def test_parts_that_arrive_together_do_not_wait_for_ticks(running: Running) -> None:
    """More parts than there are ticks till patience ends, and one wake-up for all of them."""
    devices = [Device(n, f"BELL-{n}", "", None, self_registered=False) for n in range(1, 4 * int(WAIT))]
    running.bridge.news._parts.extend([device] for device in devices)
    running.bridge.source.wake()
    await until(lambda: len(running.bridge.registry) == len(devices), "all are known")


async def test_what_is_entered_while_nobody_listens_is_learnt_afterwards(
    parts: Parts, running: Running
) -> None:
    """The bridge's connections are cut, and a device is entered before it listens again."""
    await until(lambda: rows(parts.url, f"{OTHERS} OFFSET 2"), "writer, downlink and listener are there")
    await rows(parts.url, f"SELECT pg_terminate_backend(pid) FROM ({OTHERS}) AS others")
    await enter(parts.url, "BELL-1")
    await until(lambda: running.bridge.registry.telemetry_id("BELL-1"), "the device is known")


OTHERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


# -------------------------------------------------------------------------------------------- parts that fail


async def test_readiness_names_what_is_missing(
    parts: Parts, running: Running, town: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each check is true while all is well, and false while its part is away."""
    for name, seconds in (("canary.EVERY", 0.2), ("canary.FRESH", 3), ("bridge.STALLED", 3)):
        monkeypatch.setattr(f"ingest.{name}", seconds)
    ready = running.bridge.readiness
    await until(lambda: all(ready().values()), "all is well")
    await asyncio.to_thread(parts.database.stop)
    try:
        town.publish(uplink(REGION, "BELL-1", "heartbeat"), b"{}")
        await until(lambda: not ready()["database"], "the database is missed")
        assert {name for name, holds in ready().items() if not holds} == {"database"}
        await until(lambda: not ready()["canary"], "no canary comes back")
        await until(lambda: not ready()["line"], "the line has stalled")
    finally:
        await asyncio.to_thread(parts.database.start)
    await until(lambda: all(ready().values()), "the database is back")
    await until(lambda: rows(parts.url, "SELECT FROM heartbeats"), "what came meanwhile is stored")
    await asyncio.to_thread(parts.broker.stop)
    await until(lambda: not ready()["broker"] and not ready()["urgent_session"], "the broker is missed")
    await asyncio.to_thread(parts.broker.start)
    await until(lambda: all(ready().values()), "the broker is back")


def test_a_bridge_that_did_not_start_is_not_ready(parts: Parts) -> None:
    """Nothing is claimed before it is so."""
    ready = Bridge(parts.settings()).readiness()
    assert {name for name, holds in ready.items() if holds} <= {"identity", "line"}  # metrics of the process


async def test_a_message_is_acknowledged_after_its_commit(parts: Parts, town: Client) -> None:
    """While the database is away nothing is acknowledged: the next bridge gets what was not committed."""
    async with Running(parts.settings()) as first:
        await asyncio.to_thread(parts.database.stop)
        town.publish(uplink(REGION, "BELL-1", "sos"), b"{}")
        town.publish(uplink(REGION, "BELL-1", "heartbeat"), b"{}")
        await until(lambda: first.bridge.store.connection.retries, "the commit was tried")
    await asyncio.to_thread(parts.database.start)
    async with Running(parts.settings()):
        await until(lambda: rows(parts.url, "SELECT FROM alarms"), "the call is an alarm")
        await until(lambda: rows(parts.url, "SELECT FROM heartbeats"), "the heartbeat is stored")
    assert await tuples(parts.url, "SELECT count FROM alarms WHERE kind = 'sos'") == [(1,)]


async def numbered(parts: Parts) -> list[int]:
    """Return the counters of all calls in the history."""
    return [seq for (seq,) in await tuples(parts.url, "SELECT seq FROM events ORDER BY seq")]


async def test_a_reconnect_under_a_backlog_doubles_nothing(kept_parts: Parts) -> None:
    """Messages without ts, received and not yet committed when the connection breaks, are stored once each.

    More of them are on the way than the receive-maximum, which mosquitto 2.0.11 does not keep to.
    """
    parts, count, before = kept_parts, 400, metrics.identity_difference()
    with Client(parts.broker.town_url) as town:
        async with Running(parts.settings(urgent_in_flight=10, batch_rows=5)) as running:
            for n in range(count):
                town.paho.publish(uplink(REGION, "BELL-1", "sos"), json.dumps({"seq": n}), qos=1)
            for stop in (50, 150, 250):
                await until(lambda stop=stop: running.bridge.store.batch * 5 > stop, "some are committed")
                async with await psycopg.AsyncConnection.connect(parts.url) as blocker:
                    await blocker.execute("LOCK TABLE ingest_ledger IN SHARE MODE")
                    await asyncio.sleep(0.2)
                    running.drop(Lane.URGENT)
                    await asyncio.sleep(0.2)
            await until(lambda: complete(parts, count), "all are stored")
            await until(lambda: metrics.identity_difference() == before, "all are accounted for")
    assert await numbered(parts) == list(range(count))
    assert await tuples(parts.url, "SELECT count FROM alarms WHERE kind = 'sos'") == [(count,)]


async def complete(parts: Parts, count: int) -> bool:
    """Say whether every number below `count` is stored."""
    return len(set(await numbered(parts))) == count


async def test_bridges_that_end_anywhere_lose_nothing(parts: Parts) -> None:
    """One bridge after the other is cut off amid a stream of calls without ts: each call is stored.

    On mosquitto each is stored once; rumqttd redelivers without DUP.
    """
    count = 1_000
    settings = parts.settings(batch_rows=7, urgent_in_flight=50)
    with Client(parts.broker.town_url) as town:
        async with Running(settings):
            pass  # the session exists from here on
        for n in range(count):
            town.paho.publish(uplink(REGION, "BELL-1", "sos"), json.dumps({"seq": n}), qos=1)
        for stop in (100, 300, 600):
            async with Running(settings) as running:
                await until(lambda: running.bridge.store.batch * 7 > stop, "some are committed")  # noqa: B023 - used within this turn only
        async with Running(settings):
            await until(lambda: complete(parts, count), "all are stored")
    if parts.broker.keeps_sessions:
        assert await numbered(parts) == list(range(count))
        assert await tuples(parts.url, "SELECT count FROM alarms WHERE kind = 'sos'") == [(count,)]


async def test_a_downlink_waits_for_its_broker(kept_parts: Parts) -> None:
    """What could not be sent is not marked as sent, and goes out when the broker is back."""
    parts = kept_parts
    query = "SELECT sent_at IS NOT NULL FROM outbox"
    with Client(parts.broker.town_url) as town:
        async with Running(parts.settings()) as running:
            town.publish(uplink(REGION, "BELL-1", "sos"), b"{}")
            await until(lambda: rows(parts.url, f"{query} WHERE sent_at IS NOT NULL"), "the first is sent")
            await asyncio.to_thread(parts.broker.stop)
            await until(lambda: not running.bridge.source.online, "the broker is missed")
            async with await psycopg.AsyncConnection.connect(parts.url) as connection:
                await connection.execute(
                    "INSERT INTO outbox (alarm_id, channel, message) VALUES (1, 'downlink', 'closed')"
                )
            await asyncio.sleep(1)
            assert await tuples(parts.url, f"{query} ORDER BY outbox_id") == [(True,), (False,)]
            await asyncio.to_thread(parts.broker.start)
            await until(lambda: tuples_are_sent(parts, 2), "the second is sent")


async def tuples_are_sent(parts: Parts, count: int) -> bool:
    """Say whether so many messages of the outbox are sent."""
    return len(await rows(parts.url, "SELECT FROM outbox WHERE sent_at IS NOT NULL")) == count


async def test_a_wrong_password_ends_the_bridge(kept_parts: Parts) -> None:
    """The bridge does not run on without its broker: it raises, with the sentence for people."""
    settings = kept_parts.settings()
    wrong = settings.model_copy(update={"broker": settings.broker.model_copy(update={"password": "wrong"})})
    bridge = Bridge(wrong)
    async with asyncio.timeout(WAIT):
        with pytest.raises(BaseExceptionGroup) as found:
            await bridge.run()
    assert found.group_contains(FatalError, match=r"broker\.password_file")
    await bridge.store.connection.close()
