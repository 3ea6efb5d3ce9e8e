"""One lane's session, over both brokers, and against servers that misbehave as no broker should.

What the brokers do differs, and tests say what holds for each. After a reconnect both send again what they
were not thanked for; mosquitto marks it with DUP and keeps its packet ids, rumqttd (iotcore) does neither, so
that the ledger cannot know it again. rumqttd also sends all at QoS 1, and knows no receive-maximum.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import mqtt5
import numpy as np
import pytest

from ingest.inbox import Inbox, Stamp
from ingest.mqtt import Session, _Protocol
from ops.parts import Broker, free_port, mosquitto_broker
from schemas.clock import Clock
from schemas.errors import FatalError
from schemas.readings import Delivery
from schemas.settings import BrokerSettings
from schemas.topics import Lane
from tests.contract.kit import REGION, WAIT, Listener, settings_for, until
from tests.mqtt import Client

MEBIBYTE = 1024 * 1024


class Rig:
    """A running session on a device of its own, and what it received."""

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        lane: Lane = Lane.URGENT,
        filters: tuple[str, ...] = (),
        receive_max: int = 100,
    ) -> None:
        """Start when the block begins; `filters` are by default those of the device alone."""
        self.device = f"BELL-{secrets.token_hex(4)}"
        self.topic = f"carebell/v1/{REGION}/{self.device}/sos"
        self.lost: list[tuple[Lane, int]] = []
        self.woken = 0
        self.received: list[Delivery] = []
        self.numbers: list[int] = []
        self.session = Session(
            lane,
            filters or (f"carebell/v1/{REGION}/{self.device}/#",),
            settings,
            receive_max=receive_max,
            stamp=Stamp(Clock()),
            wake=self._wake,
            session_lost=self._session_lost,
        )

    def _wake(self) -> None:
        self.woken += 1

    async def _session_lost(self, lane: Lane, number: int) -> None:
        self.lost.append((lane, number))

    async def __aenter__(self) -> Self:
        """Start, without waiting for the connection."""
        self.task = asyncio.create_task(self.session.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Vanish."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, FatalError):
            await self.task

    async def up(self) -> Self:
        """Wait until the session is connected."""
        await until(lambda: self.session.connected or self.task.done(), "the session connects")
        if self.task.done():
            await self.task
        return self

    async def fatal(self) -> str:
        """Wait until the session gives up, and return why."""
        async with asyncio.timeout(WAIT):
            with pytest.raises(FatalError) as found:
                await self.task
        return str(found.value)

    async def take(self, count: int) -> list[Delivery]:
        """Wait for so many messages and return all there are, oldest first."""
        taken: list[Delivery] = []

        def enough() -> bool:
            while self.session.inbox.count:
                number, deliveries = self.session.inbox.take(1000)
                taken.extend(deliveries)
                self.numbers += [number] * len(deliveries)
            return len(taken) >= count

        await until(enough, f"{count} messages arrive")
        return taken

    def puback(self, *deliveries: Delivery, connection: int | None = None) -> None:
        """Acknowledge messages as those of a connection, by default of the present one."""
        number = self.session.connections if connection is None else connection
        self.session.puback(number, np.array([each.packet_id for each in deliveries], np.int32))

    def drop(self) -> None:
        """Break the connection, as a network does."""
        assert self.session._protocol
        assert self.session._protocol.transport
        self.session._protocol.transport.abort()

    async def reconnected(self) -> None:
        """Break the connection and wait for the next one."""
        number = self.session.connections
        self.drop()
        await until(lambda: self.session.connections > number and self.session.connected, "it reconnects")


def broker_settings(broker: Broker, client_id: str = "") -> BrokerSettings:
    """Return settings for a broker, with a client id of the test's own."""
    return settings_for("", broker, client_id or f"test-{secrets.token_hex(4)}").broker


@pytest.fixture
async def rig(broker: Broker) -> AsyncIterator[Rig]:
    """Give a connected session on each broker."""
    async with Rig(broker_settings(broker)) as found:
        yield await found.up()


@pytest.fixture
async def town(broker: Broker) -> AsyncIterator[Client]:
    """Give an independent client that speaks for every device."""
    with Client(broker.town_url) as client:
        yield client


async def say(town: Client, topic: str, *payloads: bytes, qos: int = 1) -> None:
    """Publish, without waiting for the broker's thanks."""
    for payload in payloads:
        town.paho.publish(topic, payload, qos=qos)


# --------------------------------------------------------------------------------------- receive, acknowledge


async def test_it_receives_at_both_qualities(rig: Rig, town: Client, broker: Broker) -> None:
    """A message at QoS 1 has a packet id, one at QoS 0 has none; times of receipt rise and are unique.

    What was published at QoS 0 comes at QoS 1 from rumqttd.
    """
    await say(town, rig.topic, b"zero", qos=0)
    await say(town, rig.topic, b"one", b"")
    taken = await rig.take(3)
    assert sorted(each.payload for each in taken) == [b"", b"one", b"zero"]
    assert {each.topic for each in taken} == {rig.topic}
    marked = {each.payload: each.packet_id > 0 for each in taken}
    assert marked == {b"zero": not broker.keeps_sessions, b"one": True, b"": True}
    assert not any(each.duplicate or each.retained for each in taken)
    times = [each.received_at for each in taken]
    assert times == sorted(set(times))
    assert rig.woken


async def test_a_new_session_says_that_the_old_one_is_lost(rig: Rig) -> None:
    """The first connect finds no session: packet ids of an earlier one are void before we subscribe."""
    assert rig.lost == [(Lane.URGENT, 1)]


async def test_a_retained_message_is_marked_and_comes_once(broker: Broker, town: Client) -> None:
    """What was retained is marked; a reconnect into the same session does not bring it again."""
    rig = Rig(broker_settings(broker))
    town.publish(rig.topic, b"kept", retain=True)
    try:
        async with rig:
            (kept,) = await (await rig.up()).take(1)
            assert (kept.payload, kept.retained) == (b"kept", True)
            rig.puback(kept)
            await rig.reconnected()
            await say(town, rig.topic, b"new")
            taken = await rig.take(1)
            again = [] if broker.keeps_sessions else [b"kept"]  # a new session is told again
            assert [each.payload for each in taken if each.payload != b"new"] in (again, [])
    finally:
        town.publish(rig.topic, b"", retain=True)


async def test_nothing_is_acknowledged_by_itself(broker: Broker, town: Client) -> None:
    """With a receive-maximum of 2, two messages are taken; each PUBACK makes room for one more, and no more.

    So it is with a broker that does not keep to the receive-maximum as well.
    """
    async with Rig(broker_settings(broker), receive_max=2) as rig:
        await rig.up()
        await say(town, rig.topic, *(b"%d" % n for n in range(50)))
        waiting = await rig.take(2)
        done: list[Delivery] = []
        while len(done) < 48:
            await asyncio.sleep(0.01)
            assert (len(waiting), rig.session.inbox.count) == (2, 0)
            done.append(waiting.pop(0))
            rig.puback(done[-1])
            waiting += await rig.take(1)
        assert [int(each.payload) for each in done + waiting] == list(range(50))


async def test_a_full_session_stays_connected(broker: Broker, town: Client) -> None:
    """While the line waits for its database nothing more is taken, pings go on, and then all of it comes."""
    settings = broker_settings(broker).model_copy(update={"keep_alive": 5})
    async with Rig(settings, lane=Lane.TELEMETRY, receive_max=10) as rig:
        await rig.up()
        await say(town, rig.topic, *(b"%d" % n for n in range(1_000)))
        taken = await rig.take(10)
        await asyncio.sleep(0.5)
        assert len(taken) == 10
        while len(taken) < 1_000:
            rig.puback(*taken[-10:])
            taken += await rig.take(10)
        assert [int(each.payload) for each in taken] == list(range(1_000))
        assert rig.session.connections == 1


async def test_what_was_not_acknowledged_comes_again(rig: Rig, town: Client, broker: Broker) -> None:
    """After a reconnect the broker sends again what it was not thanked for, and only that."""
    await say(town, rig.topic, b"a", b"b", b"c")
    taken = await rig.take(3)
    rig.puback(taken[0])
    await rig.reconnected()
    await say(town, rig.topic, b"d")
    again = await rig.take(3)
    assert [each.payload for each in again] == [b"b", b"c", b"d"]
    assert rig.lost == [(Lane.URGENT, 1)]
    assert set(rig.numbers) == {1, 2}
    if broker.keeps_sessions:
        assert [each.duplicate for each in again] == [True, True, False]
        assert [each.packet_id for each in again[:2]] == [each.packet_id for each in taken[1:]]
    else:
        assert not any(each.duplicate for each in again)


async def test_an_old_connection_acknowledges_nothing(rig: Rig, town: Client) -> None:
    """A PUBACK for messages of an earlier connection is not sent: the broker still owes them."""
    await say(town, rig.topic, b"a")
    taken = await rig.take(1)
    await rig.reconnected()
    rig.puback(*taken, connection=1)
    (again,) = await rig.take(1)
    await rig.reconnected()
    (third,) = await rig.take(1)
    assert [each.payload for each in (again, third)] == [b"a", b"a"]
    rig.puback(third)
    await rig.reconnected()
    await say(town, rig.topic, b"end")
    assert [each.payload for each in await rig.take(1)] == [b"end"]


async def test_a_session_outlives_its_process(broker: Broker, town: Client) -> None:
    """The broker keeps for the next run what came while nobody was there."""
    settings = broker_settings(broker)
    async with Rig(settings) as first:
        await first.up()
    await asyncio.to_thread(town.publish, first.topic, b"while away")
    async with Rig(settings, filters=(f"carebell/v1/{REGION}/{first.device}/#",)) as second:
        await second.up()
        await asyncio.to_thread(town.publish, first.topic, b"end")
        assert [each.payload for each in await second.take(2)] == [b"while away", b"end"]
        assert second.lost == []


async def test_a_mebibyte_arrives_whole(rig: Rig, town: Client) -> None:
    """A payload far above the limit is received, so that it can become a dead letter."""
    body = secrets.token_bytes(MEBIBYTE)
    await say(town, rig.topic, b"before", body, b"after")
    assert [each.payload for each in await rig.take(3)] == [b"before", body, b"after"]


async def test_a_flood_on_the_telemetry_lane_arrives_in_order(broker: Broker, town: Client) -> None:
    """Thousands of messages, read in pauses, come whole and in order, and are acknowledged in bulk."""
    async with Rig(broker_settings(broker), lane=Lane.TELEMETRY, receive_max=500) as rig:
        await rig.up()
        count = 3_000
        await say(town, rig.topic, *(b"%d" % n for n in range(count)))
        taken: list[Delivery] = []
        while len(taken) < count:
            some = await rig.take(1)
            rig.puback(*some)
            taken += some
        assert [int(each.payload) for each in taken] == list(range(count))


# -------------------------------------------------------------------------------------- connect, and stay so


async def test_a_wrong_password_ends_it_with_a_sentence(mosquitto: Broker) -> None:
    """The broker refuses: no retry, and a sentence that names the user and the settings."""
    wrong = broker_settings(mosquitto).model_copy(update={"password": "wrong"})
    async with Rig(wrong) as rig:
        said = await rig.fatal()
    assert f"127.0.0.1:{mosquitto.port} refuses user 'carebell'" in said
    assert "broker.password_file" in said
    assert "wrong" not in said


async def test_a_broker_that_hangs_up_without_a_word_is_tried_again(
    iotcore: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password answered by hanging up, as rumqttd does, could be anything: it is tried again."""
    wrong = broker_settings(iotcore).model_copy(update={"password": "wrong"})
    async with Rig(wrong) as rig:
        await until(lambda: rig.session.connections >= 2, "it tries again")
        assert not rig.task.done()
    assert "urgent lane: " in caplog.text
    assert "trying again" in caplog.text


async def test_it_waits_for_a_broker_that_is_away(scratch: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Before it is there, and after it went: one sentence, and connected as soon as it answers."""
    with mosquitto_broker(scratch) as broker:
        broker.stop()
        async with Rig(broker_settings(broker)) as rig:
            sentence = f"no MQTT broker answers at 127.0.0.1:{broker.port}"
            await until(lambda: sentence in caplog.text, "it says that nobody answers")
            await asyncio.to_thread(broker.start)
            await rig.up()
            await asyncio.to_thread(broker.restart)
            await until(lambda: rig.session.connections > 1 and rig.session.connected, "it reconnects")
            assert rig.lost[:1] == [(Lane.URGENT, rig.lost[0][1])]
            assert len(rig.lost) == 1  # a clean restart loses no session
            with Client(broker.town_url) as town:
                await say(town, rig.topic, b"back")
                assert [each.payload for each in await rig.take(1)] == [b"back"]


async def test_a_session_taken_over_is_noticed(mosquitto: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """A second client of the same name takes over: this one ends for good.

    mosquitto 2.0.11 hangs up without the reason 0x8E. Then it must be taken for the weather.
    """
    settings = broker_settings(mosquitto)
    async with Rig(settings) as rig:
        await rig.up()
        _, writer = await asyncio.open_connection(mosquitto.host, mosquitto.port)
        hello = rig.session._connect_packet()
        writer.write(hello.write())
        await until(lambda: rig.task.done() or rig.session.connections > 1, "it ends, or connects again")
        if rig.task.done():
            assert "0x8E" in await rig.fatal()
        else:
            assert "the broker closed the connection; trying again" in caplog.text
        writer.close()


# ------------------------------------------------------------------------------------- servers that misbehave


CONNACK = mqtt5.ConnAckPacket().write()
SUBACK = mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]).write()


def publication(topic: str, payload: bytes, packet_id: int) -> bytes:
    """Return the bytes of a PUBLISH at QoS 1."""
    return mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id).write()


class FakeBroker(Listener):
    """A server that answers CONNECT and SUBSCRIBE, then sends given bytes and reads."""

    def __init__(self, *, connack: bytes = CONNACK, suback: bytes = SUBACK, then: bytes = b"") -> None:
        """Answer every connection alike."""
        super().__init__()
        self._answers = connack, suback + then
        self.asked: list[bytes] = []
        self.heard = bytearray()

    @property
    def settings(self) -> BrokerSettings:
        """Return settings that lead here."""
        return BrokerSettings(port=self.port, username="u", password="p", client_id="c", keep_alive=5)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer twice, then listen."""
        for answer in self._answers:
            self.asked.append(await reader.read(65_536))
            writer.write(answer)
        while data := await reader.read(65_536):
            self.heard += data


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x30\xff\xff\xff\xff\xff",  # a length of five bytes
        b"\xff\xff\xff\xff\xff\xff\xff",  # a packet type that has none of these
        b"\x00\x00",  # the forbidden packet type 0
        b"\x36\x07\x00\x01a\x00\x01\x00x",  # QoS 3
        b"\x32\x0a\x00\x04\xff\xfe\xfd\xfc\x00\x01\x00x",  # a topic that is not UTF-8
        b"\x32\x03\x00\x40a",  # a topic longer than its packet
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_malformed_bytes_end_the_connection(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What is not MQTT ends the connection with a warning; nothing is acknowledged, and it connects again."""
    async with FakeBroker(then=publication("carebell/v1/430602/B/sos", b"{}", 7) + garbage) as broker:
        async with Rig(broker.settings) as rig:
            await until(lambda: broker.connections >= 2, "it connects again")
            taken = await rig.take(1)
            assert (taken[0].payload, taken[0].packet_id) == (b"{}", 7)
            assert not rig.task.done()
        assert b"\x40\x02" not in bytes(broker.heard)
    assert "malformed" in caplog.text


async def test_a_refused_subscription_ends_it() -> None:
    """Without its topics the bridge is deaf: it ends, and names filter and reason."""
    refused = mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]).write()
    async with FakeBroker(suback=refused) as broker, Rig(broker.settings, filters=("carebell/v1/#",)) as rig:
        assert await rig.fatal() == "the broker refuses the subscription to carebell/v1/#: not_authorized"


async def test_a_session_taken_over_ends() -> None:
    """DISCONNECT with 0x8E: this one ends for good, says why, and does not take back."""
    taken = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER).write()
    async with FakeBroker(then=taken) as broker, Rig(broker.settings) as rig:
        assert "0x8E" in await rig.fatal()
        assert (broker.connections, rig.session.connected) == (1, False)


async def test_a_broker_that_is_busy_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal that time can heal is warned of and tried again."""
    busy = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.SERVER_BUSY).write()
    async with FakeBroker(connack=busy) as broker, Rig(broker.settings) as rig:
        await until(lambda: broker.connections >= 2, "it connects again")
        assert not rig.task.done()
    assert "the broker refuses: server_busy" in caplog.text


async def test_a_broker_that_says_goodbye_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """DISCONNECT with a reason is repeated in the warning, and the session comes back."""
    goodbye = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN).write()
    async with FakeBroker(then=goodbye) as broker, Rig(broker.settings) as rig:
        await until(lambda: broker.connections >= 2, "it connects again")
        assert not rig.task.done()
    assert "the broker disconnected: server_shutting_down" in caplog.text


async def test_a_broker_that_falls_silent_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """A server that answers no ping within half the keep-alive is taken for lost, and tried again."""
    async with FakeBroker() as broker, Rig(broker.settings) as rig:
        await rig.up()
        await until(lambda: broker.connections >= 2, "it connects again")
        assert mqtt5.PingReqPacket().write() in bytes(broker.heard)
    assert "the broker is silent" in caplog.text


@pytest.mark.parametrize("answered", [b"", CONNACK])
async def test_a_broker_that_never_answers_is_tried_again(
    answered: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No reply to CONNECT or to SUBSCRIBE: given up after a while, warned of, and tried again."""
    monkeypatch.setattr("ingest.mqtt.REPLY_TIMEOUT", 0.2)
    async with FakeBroker(connack=answered, suback=b"") as broker, Rig(broker.settings) as rig:
        await until(lambda: broker.connections >= 2, "it connects again")
        assert not rig.session.connected
    assert "no MQTT broker answers" in caplog.text


async def test_what_the_session_says_to_a_broker() -> None:
    """CONNECT asks for the old session, kept for ever, with the receive-maximum and no maximum of size."""
    async with (
        FakeBroker() as broker,
        Rig(broker.settings, lane=Lane.TELEMETRY, filters=("a/#",), receive_max=321) as rig,
    ):
        await rig.up()
    connect, subscribe = (mqtt5.read(memoryview(asked))[0] for asked in broker.asked)
    assert isinstance(connect, mqtt5.ConnectPacket)
    assert (connect.client_id, connect.clean_start, connect.keep_alive) == ("c-telemetry", False, 5)
    assert (connect.session_expiry_interval, connect.receive_max) == (0xFFFF_FFFF, 321)
    assert (connect.max_packet_size, connect.username, connect.password) == (None, "u", b"p")
    assert isinstance(subscribe, mqtt5.SubscribePacket)
    (wanted,) = subscribe.topic_filters
    assert (wanted.pattern, wanted.max_qos) == ("a/#", mqtt5.QoS.AT_LEAST_ONCE)
    assert wanted.retain_handling == mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS


async def test_the_ledger_is_voided_before_anything_can_come() -> None:
    """The broker forgot us: SUBSCRIBE waits until whoever must know has said that it is done."""
    done = asyncio.Event()
    async with FakeBroker() as broker:
        rig = Rig(broker.settings)

        async def slowly(_lane: Lane, _number: int) -> None:
            await done.wait()

        rig.session._session_lost = slowly
        async with rig:
            await until(lambda: broker.connections == 1, "it connects")
            await asyncio.sleep(0.2)
            assert not rig.session.connected
            done.set()
            await rig.up()


# ----------------------------------------------------------------------------------------- bytes into packets


def stream() -> tuple[bytes, list[tuple[str, bytes, int, bool]]]:
    """Return many packets as one stream of bytes, and the messages in it."""
    said = [
        (f"carebell/v1/430602/BELL-{n}/sos", bytes([n % 256]) * size, n if n % 3 else 0, n % 2 == 0)
        for n, size in enumerate((0, 1, 2, 100, 127, 128, 300, 16_383, 16_384, 40_000, 5), 1)
    ]
    packets = [
        mqtt5.PublishPacket(
            topic,
            payload,
            qos=mqtt5.QoS.AT_LEAST_ONCE if packet_id else mqtt5.QoS.AT_MOST_ONCE,
            packet_id=packet_id or None,
            duplicate=duplicate and bool(packet_id),
            user_properties=[("a", "b")] if len(payload) == 100 else None,
        ).write()
        for topic, payload, packet_id, duplicate in said
    ]
    data = (CONNACK + SUBACK).join([b"", b"".join(packets)]) + mqtt5.PingRespPacket().write()
    return data, [(topic, payload, number, dup and bool(number)) for topic, payload, number, dup in said]


def whole(data: bytes) -> list[bytes]:
    """Give all at once."""
    return [data]


def one_by_one(data: bytes) -> list[bytes]:
    """Give each byte alone."""
    return [bytes([byte]) for byte in data]


def in_pieces(size: int) -> Callable[[bytes], list[bytes]]:
    """Return a way to give so many bytes at a time."""
    return lambda data: [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize(
    "cut", [whole, one_by_one, in_pieces(2), in_pieces(3), in_pieces(997), in_pieces(16_384)]
)
async def test_packets_come_out_however_reads_are_cut(cut: Callable[[bytes], list[bytes]]) -> None:
    """Many packets in one read, and one packet over many reads, give the same messages."""
    data, said = stream()
    rig = Rig(BrokerSettings())
    protocol = _Protocol(rig.session, 3)
    for piece in cut(data):
        protocol.data_received(piece)
    number, taken = rig.session.inbox.take(1000)
    assert number == 3
    assert [(each.topic, each.payload, each.packet_id, each.duplicate) for each in taken] == said
    assert (protocol.connack.done(), protocol.suback.done(), protocol.lost.done()) == (True, True, False)


async def test_the_inbox_keeps_connections_apart() -> None:
    """What is taken at once is of one connection, the oldest first, and is counted in messages and bytes."""
    inbox = Inbox()
    for connection, payload in ((1, b"a"), (1, b"bb"), (2, b"ccc"), (2, b"d"), (3, b"")):
        inbox.put(connection, [Delivery("t", payload, 1, duplicate=False, retained=False, received_at=0)])
    assert inbox.count == 5
    assert inbox.bytes >= 7
    found = []
    while inbox.count:
        number, taken = inbox.take(1 if inbox.count == 5 else 10)
        found.append((number, [each.payload for each in taken]))
    assert found == [(1, [b"a"]), (1, [b"bb"]), (2, [b"ccc", b"d"]), (3, [b""])]
    assert (inbox.count, inbox.bytes) == (0, 0)


async def test_a_port_where_nobody_listens_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The warning says where no broker answers."""
    port = free_port()
    async with Rig(BrokerSettings(port=port)):
        await until(lambda: f"no MQTT broker answers at 127.0.0.1:{port}" in caplog.text, "it says so")
