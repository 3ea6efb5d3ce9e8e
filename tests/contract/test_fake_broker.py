"""The sessions against a server that says what no broker should: the line goes on, and loses nothing.

What is not MQTT, or not for us, ends in one clear warning and a new connection. Nothing is acknowledged that
was not stored.
"""

import asyncio
import contextlib
from itertools import pairwise

import mqtt5
import pytest

from ingest.mqtt import FIRST_BACKOFF
from ops.parts import Database
from schemas.topics import Lane, uplink
from tests.contract.kit import REGION, make_tables, settings_for, tuples, until
from tests.contract.test_bridge import Running
from tests.contract.test_session import Rig
from tests.fake_broker import (
    CONNACK,
    PINGRESP,
    RESUMED,
    FakeBroker,
    Talk,
    disconnection,
    every,
    publication,
)

SOS = uplink(REGION, "BELL-1", "sos")
GOOD = publication(SOS, b'{"seq": 1}', 7)


def raw(first: int, body: bytes) -> bytes:
    """Return a packet of fewer than 128 bytes."""
    return bytes([first, len(body)]) + body


# -------------------------------------------------------------------------------------------- what is no MQTT

BROKEN = {
    "reserved type": raw(0x00, b"\0\0"),
    "AUTH with flags": raw(0xF2, b"\x18\0"),
    "SUBACK with flags": raw(0x92, b"\0\1\0\1"),
    "PUBACK with flags": raw(0x42, b"\0\1"),
    "CONNACK of one byte": raw(0x20, b"\0"),
    "length of five bytes": b"\x30\x80\x80\x80\x80\x01",
    "length longer than it needs to be": b"\x30\x84\0\0\1a\0",
    "QoS 3": raw(0x36, b"\0\1a\0\1\0x"),
    "no room for its packet id": raw(0x32, b"\0\1a\0"),
    "topic that is a surrogate": raw(0x30, b"\0\3\xed\xa0\x80\0"),
    "property text that is not UTF-8": raw(0x30, b"\0\1a\6\3\0\3\xff\xff\xff"),
    "unknown property": raw(0x30, b"\0\1a\2\x7f\0"),
    "properties longer than the packet": raw(0x30, b"\0\1a\x7f\1"),
    "the same property twice": raw(0x30, b"\0\1a\4\1\0\1\1"),
    "no topic": raw(0x30, b"\0\0\0"),
    "unknown reason to disconnect": raw(0xE0, b"\x8c"),
}
FORBIDDEN = {
    "QoS 2, which nobody asked for": publication(SOS, b"{}", 8, qos=2),
    "packet id 0 at QoS 1": raw(0x32, b"\0\1a\0\0\0x"),
}


@pytest.mark.parametrize(
    "bad",
    [
        *(pytest.param(bad, id=name) for name, bad in BROKEN.items()),
        *(pytest.param(bad, id=name) for name, bad in FORBIDDEN.items()),
    ],
)
async def test_what_a_server_must_not_say_ends_the_connection(
    bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, a new connection; what came before it is kept, what came after it is not looked at."""
    after = publication(SOS, b"after", 9)
    async with FakeBroker(lambda talk: talk.say(GOOD + bad + after)) as broker, Rig(broker.settings) as rig:
        await until(lambda: broker.connections >= 2, "it connects again")
        taken = await rig.take(1)
        assert {each.payload for each in taken} == {b'{"seq": 1}'}
        assert broker.pubacks == []
    assert "urgent lane: the broker " in caplog.text
    assert "trying again" in caplog.text


async def test_a_packet_that_is_cut_off_was_never_said(caplog: pytest.LogCaptureFixture) -> None:
    """The half of a message at the end of a connection is forgotten with it."""

    async def cut(talk: Talk) -> None:
        await talk.say(GOOD, publication(SOS, b"x" * 100, 8)[:-1])
        talk.hang_up()

    async with FakeBroker(cut) as broker, Rig(broker.settings) as rig:
        await until(lambda: broker.connections >= 3, "it connects again")
        assert {each.packet_id for each in await rig.take(2)} == {7}
        assert broker.pubacks == []
    assert "the broker closed the connection" in caplog.text


@pytest.mark.parametrize("lane", Lane)
async def test_packets_come_whole_byte_by_byte_and_many_at_once(lane: Lane) -> None:
    """However the network cuts them, messages are taken once and in order."""
    said = [publication(SOS, b"%d" % n, n, qos=n % 2) for n in range(1, 60)]

    async def drip(talk: Talk) -> None:
        await talk.say(*(bytes([byte]) for byte in b"".join(said[:20])))
        await talk.say(b"".join(said[20:50]) + said[50][:3], said[50][3:] + b"".join(said[51:]))

    async with FakeBroker(drip) as broker, Rig(broker.settings, lane=lane) as rig:
        taken = await rig.take(59)
        assert [int(each.payload) for each in taken] == list(range(1, 60))
        assert [each.packet_id for each in taken] == [n if n % 2 else 0 for n in range(1, 60)]
        rig.puback(*taken)
        await until(lambda: len(broker.pubacks) == 30, "it is thanked")
        assert broker.pubacks == list(range(1, 60, 2))
        assert rig.session.connections == 1


async def test_answers_to_nothing_are_passed_over() -> None:
    """What answers no question, or should come from clients only, changes nothing."""
    stray = (
        PINGRESP,
        mqtt5.PubAckPacket(7).write(),
        mqtt5.PubRelPacket(7).write(),
        mqtt5.SubAckPacket(99, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]).write(),
        mqtt5.UnsubAckPacket(3, [mqtt5.UnsubAckReasonCode.SUCCESS]).write(),
        mqtt5.PingReqPacket().write(),
        refusal(0x87),
    )
    async with FakeBroker(lambda talk: talk.say(*stray, GOOD)) as broker, Rig(broker.settings) as rig:
        assert [each.packet_id for each in await rig.take(1)] == [7]
        assert (rig.session.connected, broker.connections) == (True, 1)


# ----------------------------------------------------------------------------------------- CONNACK and SUBACK

REFUSALS = {code: reason for code, reason in every(mqtt5.ConnAckReasonCode).items() if code}
HOPELESS = (0x84, 0x85, 0x86, 0x87, 0x8A)


def refusal(code: int) -> bytes:
    """Return the bytes of a CONNACK that refuses."""
    return mqtt5.ConnAckPacket(reason_code=REFUSALS[code]).write()


@pytest.mark.parametrize("code", REFUSALS, ids=hex)
async def test_a_refusal_is_repeated_in_the_log(code: int, caplog: pytest.LogCaptureFixture) -> None:
    """What a person must mend ends the bridge at its start; what time can mend is tried again."""
    async with FakeBroker(connack=lambda _: refusal(code)) as broker, Rig(broker.settings) as rig:
        if code in HOPELESS:
            assert REFUSALS[code].name.lower() in await rig.fatal()
            assert broker.connections == 1
        else:
            await until(lambda: broker.connections >= 2, "it connects again")
            assert f"the broker refuses: {REFUSALS[code].name.lower()}" in caplog.text


@pytest.mark.parametrize("code", HOPELESS, ids=hex)
async def test_a_login_that_worked_once_is_tried_again(code: int) -> None:
    """A broker that has just lost its password file must not end a bridge that was connected."""

    def connack(talk: Talk) -> bytes:
        return refusal(code) if talk.number == 2 else CONNACK

    async def leave(talk: Talk) -> None:
        if talk.number == 1:
            talk.hang_up()

    async with FakeBroker(leave, connack=connack) as broker, Rig(broker.settings) as rig:
        await until(lambda: broker.connections == 3 and rig.session.connected, "it is let in again")
        assert not rig.task.done()


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(raw(0x20, b"\0\1\0"), id="a reason that MQTT 5 does not know"),
        pytest.param(raw(0x20, b"\2\0\0"), id="flags that must be 0"),
        pytest.param(raw(0x20, b"\0\5"), id="MQTT 3.1.1"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="HTTP"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x28", id="TLS"),
        pytest.param(disconnection(0x87), id="DISCONNECT"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="SSH"),
    ],
)
async def test_whoever_is_no_broker_is_named_and_tried_again(
    first: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to CONNECT that is none leaves a warning that names the broker; nothing is subscribed."""
    monkeypatch.setattr("ingest.mqtt.REPLY_TIMEOUT", 1.0)
    async with FakeBroker(connack=lambda _: first) as broker, Rig(broker.settings) as rig:
        await until(lambda: broker.connections >= 2, "it connects again")
        assert not rig.session.connected
        assert not any(talk.filters for talk in broker.talks)
        assert ("urgent lane: the broker " in caplog.text) or "no MQTT broker answers at" in caplog.text


GRANTS = every(mqtt5.SubAckReasonCode)


def suback(*codes: int) -> bytes:
    """Return the bytes of a SUBACK."""
    return mqtt5.SubAckPacket(1, [GRANTS[code] for code in codes]).write()


@pytest.mark.parametrize("code", [code for code in GRANTS if code >= 0x80], ids=hex)
async def test_one_refused_filter_among_several_ends_it(code: int) -> None:
    """A bridge that is deaf to falls must not run: it ends, and names the filter and the reason."""
    filters = ("a/+/sos", "a/+/fall", "a/+/event")
    async with (
        FakeBroker(suback=suback(1, code, 1)) as broker,
        Rig(broker.settings, filters=filters) as rig,
    ):
        assert (
            await rig.fatal()
            == f"the broker refuses the subscription to a/+/fall: {GRANTS[code].name.lower()}"
        )


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(suback(), id="no code"),
        pytest.param(suback(1, 1), id="a code too few"),
        pytest.param(suback(1, 1, 1, 1), id="a code too many"),
        pytest.param(raw(0x90, b"\0\1\0\1\1\x55"), id="an unknown code"),
        pytest.param(suback(1, 0, 1), id="QoS 0 granted"),
    ],
)
async def test_a_subscription_that_is_not_what_was_asked_for_is_no_connection(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless every filter is granted at QoS 1 the session is not up: it says so, and ends or tries again."""
    filters = ("a/+/sos", "a/+/fall", "a/+/event")
    async with FakeBroker(suback=answer) as broker, Rig(broker.settings, filters=filters) as rig:
        await until(lambda: broker.connections >= 2 or rig.task.done(), "it connects again, or ends")
        said = str(rig.task.exception()) if rig.task.done() else caplog.text
        assert "the broker " in said


# ------------------------------------------------------------------------------------------------- DISCONNECT


GOODBYES = every(mqtt5.DisconnectReasonCode)


@pytest.mark.parametrize("code", [code for code in GOODBYES if code != 0x8E], ids=hex)
async def test_the_reason_of_a_disconnect_is_in_the_log(code: int, caplog: pytest.LogCaptureFixture) -> None:
    """Each reason is named, with what the broker says of it, and the session comes back."""

    async def leave(talk: Talk) -> None:
        await talk.say(disconnection(code, "磁盘已满"))
        talk.hang_up()

    async with FakeBroker(leave) as broker, Rig(broker.settings) as rig:
        await until(lambda: broker.connections >= 2, "it connects again")
        assert not rig.task.done()
    assert f"the broker disconnected: {GOODBYES[code].name.lower()} 磁盘已满; trying again" in caplog.text


@pytest.mark.parametrize("when", ["before CONNACK", "before SUBACK"])
async def test_being_taken_over_ends_it_at_any_moment(when: str) -> None:
    """0x8E means exit, also while the connection is being opened."""
    taken = disconnection(0x8E)
    early = when == "before CONNACK"
    async with (
        FakeBroker(connack=lambda _: taken if early else CONNACK, suback=taken) as broker,
        Rig(broker.settings) as rig,
    ):
        assert "0x8E" in await rig.fatal()
        assert broker.connections == 1


# ------------------------------------------------------------------------------ too much, too little, silence


@pytest.mark.parametrize("lane", Lane)
async def test_a_flood_beyond_the_receive_maximum_waits_in_the_network(lane: Lane) -> None:
    """From a server that does not count, no more is taken than allowed, and then all of it in order."""
    flood = b"".join(publication(SOS, b"%d" % n, n) for n in range(1, 5_001))
    async with (
        FakeBroker(lambda talk: talk.say(flood)) as broker,
        Rig(broker.settings, lane=lane, receive_max=100) as rig,
    ):
        taken = await rig.take(100)
        await asyncio.sleep(0.1)
        assert (len(taken), rig.session.inbox.count) == (100, 0)
        while len(taken) < 5_000:
            rig.puback(*taken[-100:])
            taken += await rig.take(100)
        assert [int(each.payload) for each in taken] == list(range(1, 5_001))
        assert rig.session.connections == 1


async def test_what_needs_no_thanks_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood at QoS 0, which no receive-maximum bounds, waits in the network as well."""
    monkeypatch.setattr("ingest.mqtt.HELD_BYTES", 1_000_000)
    one = publication(SOS, bytes(10_000), 0, qos=0)
    async with (
        FakeBroker(lambda talk: talk.say(*[one] * 3_000)) as broker,
        Rig(broker.settings, lane=Lane.TELEMETRY) as rig,
    ):
        await until(lambda: rig.session.inbox.bytes > 1_000_000, "it is full")
        await asyncio.sleep(0.3)
        assert rig.session.inbox.bytes < 2_000_000
        assert len(await rig.take(3_000)) == 3_000


async def test_thanks_leave_in_order_of_arrival_and_at_once() -> None:
    """A batch is thanked for in one write, its packet ids as they came; QoS 0 has none."""
    ids = [500, 3, 65_535, 1, 0, 77, *range(1_000, 3_000)]
    said = b"".join(publication(SOS, b"{}", each, qos=int(each > 0)) for each in ids)
    async with (
        FakeBroker(lambda talk: talk.say(said)) as broker,
        Rig(broker.settings, receive_max=5_000) as rig,
    ):
        taken = await rig.take(len(ids))
        (talk,) = broker.talks
        before = len(talk.reads)
        rig.puback(*taken)
        await until(lambda: len(broker.pubacks) == len(ids) - 1, "it is thanked")
        assert broker.pubacks == [each for each in ids if each]
        assert max(map(len, talk.reads[before:])) >= 4 * (len(ids) - 1)


async def test_a_packet_that_never_ends_holds_nothing_up() -> None:
    """256 MiB announced and hardly any sent: pings go on, and the session is still there."""
    head = b"\x32\xff\xff\xff\x7f\0\1a\0\1\0" + bytes(100_000)
    async with FakeBroker(lambda talk: talk.say(head)) as broker, Rig(broker.settings) as rig:
        await rig.up()
        await until(lambda: broker.talks[0].pings >= 2, "it pings on")
        assert (rig.session.connections, rig.session.inbox.count) == (1, 0)


async def test_a_broker_that_asks_for_a_shorter_keep_alive_gets_it() -> None:
    """MQTT 5 section 3.2.2.3.14: what the server says holds, or it will hang up on us."""
    hurried = mqtt5.ConnAckPacket(server_keep_alive=1).write()
    async with FakeBroker(connack=lambda _: hurried) as broker, Rig(broker.settings) as rig:
        await rig.up()
        begun = asyncio.get_running_loop().time()
        await until(lambda: broker.talks[0].pings >= 4, "it pings")
        assert asyncio.get_running_loop().time() - begun < 2 * 2.5  # with its own it would take longer


async def test_tries_are_farther_and_farther_apart_and_never_in_step() -> None:
    """Twenty bridges whose broker hangs up come back later each time, and not all at once."""
    began: dict[str, list[float]] = {}

    async def hang_up(talk: Talk) -> None:
        talk.hang_up()

    def note(talk: Talk) -> bytes:
        began.setdefault(talk.client_id, []).append(talk.began)
        talk.hang_up()
        return b""

    async with FakeBroker(hang_up, connack=note) as broker, contextlib.AsyncExitStack() as stack:
        for n in range(20):
            settings = broker.settings.model_copy(update={"client_id": f"c{n}"})
            await stack.enter_async_context(Rig(settings))
        await until(lambda: len(began) == 20 and all(len(t) >= 4 for t in began.values()), "they try again")
    gaps = [[later - earlier for earlier, later in pairwise(times)] for times in began.values()]
    for number in range(3):
        least = FIRST_BACKOFF * 2**number / 2
        assert min(gap[number] for gap in gaps) >= least * 0.99
    third = [gap[2] for gap in gaps]
    assert max(third) - min(third) > FIRST_BACKOFF / 2


async def test_a_session_that_is_gone_is_told_of_and_subscribed_anew() -> None:
    """Each connection subscribes; only those into which no session was carried over void the ledger."""
    present = {1: CONNACK, 2: RESUMED, 3: CONNACK, 4: RESUMED}

    async def leave(talk: Talk) -> None:
        if talk.number < 4:
            talk.hang_up()

    filters = ("a/+/sos", "a/+/fall")
    async with (
        FakeBroker(leave, connack=lambda talk: present[talk.number]) as broker,
        Rig(broker.settings, filters=filters) as rig,
    ):
        await until(lambda: broker.connections == 4 and rig.session.connected, "it connects four times")
        assert rig.lost == [(Lane.URGENT, 1), (Lane.URGENT, 3)]
        assert [talk.filters for talk in broker.talks] == [list(filters)] * 4


# ---------------------------------------------------------------------------------- with a database behind it


def vitals(seq: int, packet_id: int, *, duplicate: bool = False) -> bytes:
    """Return a message that is stored as one row of vitals."""
    topic, payload = uplink(REGION, "BAND-1", "vitals"), b'{"seq": %d, "hr": 80}' % seq
    return publication(topic, payload, packet_id, duplicate=duplicate)


@pytest.fixture
def tables(native: Database) -> str:
    """Give a migrated database of plain PostgreSQL, which these tests ask nothing of."""
    asyncio.run(make_tables(native.url))
    return native.url


async def test_nothing_is_acknowledged_that_is_not_stored(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through every fault of the server: when a PUBACK comes, the row is there, and in the end all are."""
    monkeypatch.setattr("ingest.mqtt.LONGEST_BACKOFF", FIRST_BACKOFF)
    faults = [*BROKEN.values(), publication(SOS, b"x" * 90, 999)[:-1], disconnection(0x8B), b""]
    everything = list(range(1, 1 + 3 * len(faults)))
    early: list[int] = []

    async def row_is_there(packet_id: int) -> None:
        found = await tuples(tables, "SELECT FROM vitals WHERE seq = %s", packet_id)
        early.extend([] if found else [packet_id])

    async def mischief(talk: Talk) -> None:
        if talk.lane is not Lane.TELEMETRY:
            return
        place = sum(each.lane is Lane.TELEMETRY for each in broker.talks) - 1
        if place < len(faults):
            new = everything[3 * place : 3 * place + 3]
            await talk.say(b"".join(vitals(n, n) for n in new) + faults[place])
            talk.hang_up()
        else:
            owed = sorted(set(everything) - set(broker.pubacks))
            await talk.say(b"".join(vitals(n, n, duplicate=True) for n in owed))

    async with FakeBroker(mischief, connack=lambda _: RESUMED, heard=row_is_there) as broker:
        settings = settings_for(tables).model_copy(update={"broker": broker.settings})
        async with Running(settings):
            await until(lambda: set(broker.pubacks) == set(everything), "all are acknowledged")
    assert early == []
    assert await tuples(tables, "SELECT seq FROM vitals ORDER BY seq") == [(n,) for n in everything]


async def test_a_topic_that_no_client_may_publish_on_is_a_dead_letter(tables: str) -> None:
    """A broker that lets one through would send it again for ever: it is kept, and thanked for."""
    said = {
        "#": publication("topic", b"{}", 1).replace(b"\0\x05topic", b"\0\x05a/b/#"),
        "NUL": publication("topic", b"{}", 2).replace(b"\0\x05topic", b"\0\x05a/\0/b"),
        "newline": publication("to\npic", b"{}", 3),
        "alias": raw(0x32, b"\0\0\0\x04\3\x23\0\1{}"),
        "a call": publication("carebell/v1/430602/BELL\1/vitals", b"{}", 5),
    }

    async def say(talk: Talk) -> None:
        if talk.lane is Lane.TELEMETRY and talk.number < 9:
            await talk.say(*said.values(), vitals(6, 6))

    async with FakeBroker(say, connack=lambda _: RESUMED) as broker:
        settings = settings_for(tables).model_copy(update={"broker": broker.settings})
        async with Running(settings):
            await until(lambda: set(broker.pubacks) == {1, 2, 3, 4, 5, 6}, "all are thanked for")
    letters = await tuples(tables, "SELECT reason, count(*) FROM dead_letters GROUP BY 1 ORDER BY 1")
    assert letters == [("bad_device", 1), ("bad_topic", 4)]
    assert await tuples(tables, "SELECT seq FROM vitals") == [(6,)]


async def test_the_ledger_knows_a_message_again_until_the_session_is_gone(tables: str) -> None:
    """What was stored and comes again with DUP is thanked for only; in a new session it is a new message."""
    call = publication(SOS, b"{}", 7)
    again = publication(SOS, b"{}", 7, duplicate=True)

    async def sos(talk: Talk) -> None:
        if talk.lane is Lane.URGENT:
            await talk.say(call if mine(talk) == 1 else again)

    def mine(talk: Talk) -> int:
        return [each for each in broker.talks if each.lane is talk.lane].index(talk) + 1

    async def stored() -> int:
        return int((await tuples(tables, "SELECT count(*) FROM events"))[0][0])

    async with FakeBroker(sos, connack=lambda talk: CONNACK if mine(talk) in (1, 3) else RESUMED) as broker:
        settings = settings_for(tables).model_copy(update={"broker": broker.settings})
        async with Running(settings) as running:
            for thanks, rows in ((1, 1), (2, 1), (3, 2)):
                await until(lambda thanks=thanks: len(broker.pubacks) == thanks, "it is thanked for")
                assert await stored() == rows
                running.drop(Lane.URGENT)
