"""A crowd of devices on real brokers, at the command line, and against servers that misbehave."""

import asyncio
import contextlib
import itertools
import json
import os
import queue
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import mqtt5
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from device_sims import burst as burst_module
from device_sims.burst import burst
from device_sims.crowd import crowd as crowd_module
from device_sims.crowd import wires
from device_sims.crowd.crowd import Crowd
from device_sims.crowd.figures import Figures, Standing
from device_sims.crowd.wire import Place, Wire, trust
from device_sims.load import Load, Outcome
from device_sims.stamp import FIRST_SEQ
from ops import sim
from ops.children import write_config
from ops.parts import Broker, mosquitto_broker
from schemas.errors import FatalError, UsageError, WeatherError
from schemas.settings import BrokerSettings, Settings
from schemas.topics import parse
from tests.authority import Authority
from tests.contract.kit import WAIT, Listener, until
from tests.contract.test_tls import tls_mosquitto
from tests.fake_broker import CONNACK, PINGRESP, Talk, disconnection
from tests.mqtt import Client

DEVICES = 200
LITTLE = Load(devices=20, seconds=0.3, rate=600.0, channel="heartbeat")
Answer = Callable[[Talk, mqtt5.Packet], Iterable[bytes]]


def login(url: str) -> BrokerSettings:
    """Return settings for the address of a broker."""
    address = urlsplit(url)
    return BrokerSettings(
        host=address.hostname or "",
        port=address.port or 0,
        username=address.username or "",
        password=address.password or "",
    )


async def crowded(broker: BrokerSettings, load: Load, **settings: bool | float) -> Figures:
    """Run a crowd beside what the test does."""
    crowd = Crowd(broker, load, **{"ramp": 2000.0, **settings})  # type: ignore[arg-type]  # as it takes them
    return await asyncio.to_thread(crowd.run)


def heard(client: Client, count: int) -> dict[str, list[int]]:
    """Return the counters that a subscriber has heard, by device: so many at least, and what comes after."""
    found: dict[str, list[int]] = defaultdict(list)
    with contextlib.suppress(queue.Empty):
        for number in itertools.count():
            message = client.messages.get(timeout=WAIT if number < count else 0.2)
            found[parse(message.topic).device].append(json.loads(message.payload)["seq"])
    return found


# ---------------------------------------------------------------------------------------------------- brokers


async def test_every_device_is_heard_on_a_connection_of_its_own(broker: Broker) -> None:
    """All are connected at once, and what is told as acknowledged arrives: each device's counter in order."""
    load = Load(devices=DEVICES, seconds=0.5, rate=3000.0, channel="heartbeat")
    standings: list[Standing] = []
    with Client(broker.url) as client:
        client.subscribe("carebell/v1/+/+/heartbeat")
        crowd = Crowd(login(broker.town_url), load, ramp=2000.0)
        found = await asyncio.to_thread(crowd.run, standings.append)
        seqs = heard(client, found.acked)
    assert (found.connected, found.peak, found.open_at_end, found.reconnects) == (DEVICES,) * 3 + (0,)
    assert (found.fault, found.troubles) == ("", {})
    assert found.sent == found.acked == sum(map(len, seqs.values()))
    assert 1000 < found.sent < 2000
    assert seqs.keys() == {load.name(number) for number in range(DEVICES)}
    for each in seqs.values():
        assert each == list(range(FIRST_SEQ, FIRST_SEQ + len(each)))
    assert 0 < found.connecting.quantile(0.5) <= found.connecting.quantile(1.0) < 10
    assert 0 < found.puback.quantile(0.5) <= found.puback.quantile(0.99) < 10
    assert 0 < found.cpu_seconds < 10
    assert standings[-1].acked == found.acked
    assert max(standing.up for standing in standings) == DEVICES


async def test_as_many_as_go_end_after_their_count(broker: Broker) -> None:
    """Without a rate the devices share the count, which is sent to the message, over all channels."""
    load = Load(devices=50, seconds=30.0, count=2000, channel="mix", window=1000)
    with Client(broker.url) as client:
        client.subscribe("carebell/v1/+/+/+")
        found = await crowded(login(broker.town_url), load)
        arrived = heard(client, 2000)
    assert (found.sent, found.acked, found.fault) == (2000, 2000, "")
    assert sum(map(len, arrived.values())) == 2000
    counts = sorted(map(len, arrived.values()))
    assert counts[0] > 0.5 * counts[-1]


async def test_devices_come_back_to_a_broker_that_restarts(
    fresh_mosquitto: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reconnects and speaks on; what was in flight is told as lost: every message is accounted for."""
    monkeypatch.setattr("device_sims.crowd.turns.LONGEST_BACKOFF", 0.3)
    load = Load(devices=100, seconds=600.0, rate=2000.0, channel="heartbeat")
    crowd = Crowd(login(fresh_mosquitto.town_url), load, ramp=2000.0)
    standings: list[Standing] = []
    running = asyncio.create_task(asyncio.to_thread(crowd.run, standings.append))
    await until(lambda: standings and standings[-1].acked > 500, "they speak")
    await asyncio.to_thread(fresh_mosquitto.kill)
    await until(lambda: standings[-1].up == 0, "all notice")
    before = standings[-1].acked
    await asyncio.sleep(1.0)
    await asyncio.to_thread(fresh_mosquitto.start)
    await until(lambda: standings[-1].up == 100 and standings[-1].acked > before + 500, "all speak again")
    crowd.stop()
    found = await running
    assert (found.connected, found.open_at_end) == (100, 100)
    assert found.reconnects == 100
    assert sum(found.troubles.values()) >= 100
    assert found.sent == found.acked + found.lost
    assert crowd._flights.in_flight == 0  # those of dead connections were not waited for
    assert found.behind < 1.0  # missed turns are not made up for
    assert found.missed > 1500
    assert f"{found.missed} messages had no connection to go by" in found.fault


def test_devices_log_in_by_their_own_names(scratch: Path) -> None:
    """With logins of their own they publish under the shipped access rules, each in its own name only."""
    names = [LITTLE.name(number) for number in range(LITTLE.devices)]
    with mosquitto_broker(scratch, dict.fromkeys(names, "shared")) as broker:
        own = login(broker.url).model_copy(update={"password": "shared"})
        found = Crowd(own, LITTLE, own_logins=True).run()
        assert (found.fault, found.acked) == ("", found.sent)
        with pytest.raises(FatalError, match=r"refuses the load: (bad_user|not_authorized)"):
            Crowd(own.model_copy(update={"password": "wrong"}), LITTLE, own_logins=True).run()
        as_one_device = own.model_copy(update={"username": names[0]})
        found = Crowd(as_one_device, LITTLE).run()
    assert found.acked > 0
    assert found.refused == found.sent - found.acked > 0
    assert "were not taken over" in found.fault


def test_a_broker_over_tls(authority: Authority, tmp_path: Path) -> None:
    """With `ca_file` all connect and speak; without it, and with one that is none, a sentence names it."""
    with tls_mosquitto(tmp_path, *authority.vouch("IP:127.0.0.1")) as settings:
        trusting = settings.model_copy(update={"ca_file": authority.certificate})
        found = Crowd(trusting, LITTLE, ramp=100.0).run()
        assert (found.peak, found.fault) == (20, "")
        assert found.acked == found.sent > 100
        with pytest.raises(WeatherError, match=r"not trusted, see broker\.ca_file"):
            Crowd(settings, LITTLE).run()
        with pytest.raises(UsageError, match=r"broker\.ca_file = .* cannot be used"):
            Crowd(settings.model_copy(update={"ca_file": "/nowhere"}), LITTLE).run()


def test_no_broker_is_told_at_once() -> None:
    """Where nobody listens, or no name leads, the first device says so."""
    with pytest.raises(WeatherError, match=r"no broker at 127\.0\.0\.1:1: .*refused"):
        Crowd(BrokerSettings(port=1), LITTLE).run()
    with pytest.raises(WeatherError, match=r"no broker at nowhere\.invalid:1883: "):
        Crowd(BrokerSettings(host="nowhere.invalid"), LITTLE).run()


def test_all_addresses_of_a_name_are_tried(mosquitto: Broker) -> None:
    """Localhost is found though the broker listens at only one of its addresses."""
    found = Crowd(login(mosquitto.town_url).model_copy(update={"host": "localhost"}), LITTLE).run()
    assert (found.peak, found.fault) == (20, "")


# ---------------------------------------------------------------------------------------------------- servers


class Server(Listener):
    """A server that answers each packet with what the test says; to CONNECT, as a broker does."""

    def __init__(self, answer: Answer) -> None:
        """Hang up where the answer raises ConnectionError."""
        super().__init__()
        self._answer = answer

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until it leaves."""
        talk = Talk(self.connections, reader, writer)
        async for packet in talk.packets():
            if isinstance(packet, mqtt5.ConnectPacket):
                talk.client_id = packet.client_id
            for piece in self._answer(talk, packet):
                await talk.say(piece)
                await asyncio.sleep(0)

    @property
    def settings(self) -> BrokerSettings:
        """Return settings that lead here."""
        return BrokerSettings(port=self.port)


def as_a_broker(_: Talk, packet: mqtt5.Packet) -> Iterator[bytes]:
    """Answer as a broker does."""
    if isinstance(packet, mqtt5.ConnectPacket):
        yield CONNACK
    elif isinstance(packet, mqtt5.PingReqPacket):
        yield PINGRESP
    elif isinstance(packet, mqtt5.PublishPacket):
        yield mqtt5.PubAckPacket(packet.packet_id or 0).write()


@contextlib.asynccontextmanager
async def serving(to_publish: Callable[[Talk, int], Iterable[bytes]]) -> AsyncIterator[Server]:
    """Run a server that answers each message, of which it gets the packet id, as the test says."""

    def answer(talk: Talk, packet: mqtt5.Packet) -> Iterable[bytes]:
        if isinstance(packet, mqtt5.PublishPacket):
            return to_publish(talk, packet.packet_id or 0)
        return as_a_broker(talk, packet)

    async with Server(answer) as server:
        yield server


def puback(packet_id: int, *, reason: int | None = None, said: str | None = None) -> bytes:
    """Return a PUBACK of 4, 5 or more bytes."""
    if said is not None:
        return mqtt5.PubAckPacket(packet_id, reason_str=said).write()
    tail = b"" if reason is None else bytes([reason])
    return bytes([0x40, 2 + len(tail)]) + packet_id.to_bytes(2, "big") + tail


WAYS: dict[str, Callable[[Talk, int], Iterable[bytes]]] = {
    "byte by byte": lambda _, packet_id: (bytes([byte]) for byte in puback(packet_id, reason=0x10)),
    "with a reason and no properties": lambda _, packet_id: [
        b"\x40\x04" + packet_id.to_bytes(2, "big") + b"\0\0"
    ],
    "with a sentence": lambda _, packet_id: [puback(packet_id, said="thank you " * 20)],
    "twice": lambda _, packet_id: [puback(packet_id) * 2],
    "with ids of nobody": lambda _, packet_id: [puback(packet_id) + puback(0) + puback(65_535)],
    "before that a message": lambda _, packet_id: [
        mqtt5.PublishPacket("carebell/down/v1/430602/X/alarm", b"{}").write() + puback(packet_id)
    ],
}


async def test_a_puback_counts_once_however_it_comes() -> None:
    """In pieces, with properties, twice, among others, to each device in a way of its own: it counts once."""
    ways = list(WAYS.values())

    def in_its_way(talk: Talk, packet_id: int) -> Iterable[bytes]:
        return ways[int(talk.client_id[-2:]) % len(ways)](talk, packet_id)

    async with serving(in_its_way) as server:
        found = await crowded(server.settings, LITTLE)
    assert found.sent == found.acked > 100
    assert (found.reconnects, found.fault) == (0, "")


async def test_a_refusal_is_no_acknowledgement() -> None:
    """A PUBACK with a reason from 0x80 on counts as refused, in each of its lengths."""
    async with serving(lambda _, packet_id: [puback(packet_id, reason=0x97)]) as server:
        found = await crowded(server.settings, LITTLE)
    assert (found.acked, found.lost) == (0, 0)
    assert found.refused == found.sent > 100


async def test_the_pubacks_of_another_device_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said on the wrong connection acknowledges nothing."""
    monkeypatch.setattr(crowd_module, "PATIENCE", 0.3)
    talks: list[Talk] = []

    def elsewhere(talk: Talk, packet_id: int) -> Iterable[bytes]:
        talks.append(talk)
        others = [each for each in talks if each is not talk]
        if others:
            others[0]._writer.write(puback(packet_id))
        return []

    async with serving(elsewhere) as server:
        found = await crowded(server.settings, LITTLE)
    assert (found.acked, found.refused) == (0, 0)
    assert found.lost == found.sent > 100


MISCHIEF = {
    "what is no MQTT": (b"\xf0\x00", "the broker sent a malformed packet"),
    "text that is not UTF-8": (b"\x30\x07\0\3\xed\xa0\x80\0x", "the broker sent a malformed packet"),
    "CONNACK again": (CONNACK, "the broker said connack twice"),
    "DISCONNECT": (disconnection(0x97), "the broker said quota_exceeded"),
    "an endless packet": (
        b"\x30\xff\xff\xff\x7f" + bytes(200_000),
        "the broker sent a packet that is too long",
    ),
}


async def test_a_connection_on_which_nonsense_comes_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each device's first message is answered with nonsense: it reconnects, and the trouble has a name."""
    monkeypatch.setattr("device_sims.crowd.turns.FIRST_BACKOFF", 0.1)
    nonsense = [each for each, _ in MISCHIEF.values()]
    spoilt: set[str] = set()

    def once(talk: Talk, packet_id: int) -> Iterable[bytes]:
        if talk.client_id in spoilt:
            return [puback(packet_id)]
        spoilt.add(talk.client_id)
        return [nonsense[int(talk.client_id[-1])]]

    load = Load(devices=len(MISCHIEF), seconds=1.2, rate=100.0, channel="heartbeat")
    async with serving(once) as server:
        found = await crowded(server.settings, load)
    assert found.reconnects == 5
    assert found.troubles == Counter(trouble for _, trouble in MISCHIEF.values())
    assert found.lost >= 5
    assert found.acked == found.sent - found.lost > 50


async def test_silent_devices_ping_and_leave_a_server_that_falls_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All ping within the server's keep-alive; who gets an answer stays, who gets none connects again."""
    monkeypatch.setattr("device_sims.crowd.turns.FIRST_BACKOFF", 0.1)
    pings: list[int] = []

    def answer(talk: Talk, packet: mqtt5.Packet) -> Iterable[bytes]:
        number = int(talk.client_id[-1])
        if isinstance(packet, mqtt5.ConnectPacket):
            return [mqtt5.ConnAckPacket(server_keep_alive=1).write()]
        if isinstance(packet, mqtt5.PingReqPacket):
            pings.append(number)
        return as_a_broker(talk, packet) if number < 5 else []

    load = Load(devices=10, seconds=2.6, rate=0.001, channel="heartbeat")
    async with Server(answer) as server:
        found = await crowded(server.settings, load)
    assert (found.sent, found.reconnects, found.open_at_end) == (0, 5, 10)
    assert found.troubles == {"the broker says nothing": 5}
    assert all(2 <= pings.count(number) <= 4 for number in range(5))


async def test_a_server_that_goes_away_for_good_is_told() -> None:
    """All are cut off and little is lost: what could not go is told, and that nobody is connected."""
    taken = 0

    def answer(_: Talk, packet_id: int) -> Iterable[bytes]:
        nonlocal taken
        taken += 1
        if taken > 50:
            server._server.close()
            server.hang_up()
            return []
        return [puback(packet_id)]

    async with serving(answer) as server:
        found = await crowded(server.settings, replace(LITTLE, window=5))
    assert 50 <= found.acked <= found.sent <= 55
    assert found.open_at_end == 0
    assert 100 < found.missed < 200
    assert "20 devices had no connection at the end" in found.fault
    assert f"{found.missed} messages had no connection to go by" in found.fault


async def test_a_server_that_stalls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its turn when the load ends is late by then, and told though all that went was taken."""
    monkeypatch.setattr(crowd_module, "LEEWAY", 0.1)
    kept: list[tuple[Talk, int]] = []

    def answer(talk: Talk, packet_id: int) -> Iterable[bytes]:
        kept.append((talk, packet_id))
        return [puback(packet_id)] if len(kept) <= 50 else []

    async with serving(answer) as server:
        crowd = Crowd(server.settings, replace(LITTLE, window=10), ramp=2000.0)
        running = asyncio.create_task(asyncio.to_thread(crowd.run))
        await until(lambda: len(kept) == 60 and not crowd._speaking, "its time is over")
        for talk, packet_id in kept[50:]:
            await talk.say(puback(packet_id))
        found = await running
    assert found.sent == found.acked == 60
    assert (found.missed, found.open_at_end) == (0, 20)
    assert 80 < found.unsent < 180
    assert found.behind > 0.2
    assert found.fault == f"{found.unsent} messages were due and did not go out"


async def test_a_server_that_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gets no CONNACK gives up; of a server that answers only some, the others are told."""
    monkeypatch.setattr(wires, "REPLY_TIMEOUT", 0.5)
    async with Server(lambda _, __: []) as server:
        with pytest.raises(WeatherError, match="the broker says nothing"):
            await crowded(server.settings, LITTLE)

    def every_other(talk: Talk, packet: mqtt5.Packet) -> Iterable[bytes]:
        return as_a_broker(talk, packet) if int(talk.client_id[-1]) % 2 == 0 else []

    async with Server(every_other) as server:
        found = await crowded(server.settings, LITTLE)
    assert (found.connected, found.peak) == (10, 10)
    assert "10 of 20 devices could not connect" in found.fault
    assert found.acked == found.sent > 50


@pytest.mark.parametrize(("window", "sent"), [(50, 50), (1000, 60)])
async def test_no_more_is_in_flight_than_allowed(
    window: int, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window of all and the server's receive-maximum of each, which is 3 for 20 devices, are kept."""
    monkeypatch.setattr(crowd_module, "PATIENCE", 0.3)
    taken: Counter[str] = Counter()

    def answer(talk: Talk, packet: mqtt5.Packet) -> Iterable[bytes]:
        if isinstance(packet, mqtt5.ConnectPacket):
            yield mqtt5.ConnAckPacket(receive_max=3).write()
        taken[talk.client_id] += isinstance(packet, mqtt5.PublishPacket)

    load = Load(devices=20, seconds=0.3, channel="heartbeat", window=window)
    async with Server(answer) as server:
        found = await crowded(server.settings, load)
    assert found.sent == found.lost == taken.total() == sent
    assert max(taken.values()) == 3


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_what_a_socket_does_not_take_is_sent_later(authority: Authority, *, tls: bool) -> None:
    """Megabytes for a server that does not read for a while arrive whole and in order."""
    sent = np.arange(1_200_000, dtype=">u4").tobytes()
    key, certificate = authority.vouch("IP:127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        settings = BrokerSettings(port=listening.getsockname()[1], tls=tls, ca_file=authority.certificate)
        received, read = bytearray(), threading.Event()

        def serve() -> None:
            end, _ = listening.accept()
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate, key)
                end = context.wrap_socket(end, server_side=True)
            with end:
                read.wait(WAIT)
                while len(received) < len(b"hello" + sent) and (data := end.recv(65_536)):
                    received.extend(data)

        thread = threading.Thread(target=serve)
        thread.start()
        place = Place("127.0.0.1", socket.AF_INET, listening.getsockname(), trust(settings))
        wire, poll = Wire(0, place, b"hello"), select.epoll()
        poll.register(wire.file, select.EPOLLOUT)
        while not wire.is_open and poll.poll(WAIT):
            poll.modify(wire.file, wire.advance())
        waits = [wire.send(sent[begin : begin + 100_000]) for begin in range(0, len(sent), 100_000)]
        assert waits[-1]
        read.set()
        poll.modify(wire.file, select.EPOLLOUT)
        while wire.advance() & select.EPOLLOUT and poll.poll(WAIT):
            pass
        thread.join(WAIT)
        wire.close()
        poll.close()
    assert received == b"hello" + sent


async def test_an_early_end_waits_for_the_last_pubacks() -> None:
    """`stop` ends a long load at once, and what is in flight still counts."""

    async def late(talk: Talk, packet_id: int) -> None:
        await asyncio.sleep(0.3)
        await talk.say(puback(packet_id))

    tasks = set()

    def answer(talk: Talk, packet_id: int) -> Iterable[bytes]:
        tasks.add(asyncio.create_task(late(talk, packet_id)))
        return []

    load = Load(devices=20, seconds=600.0, rate=1000.0, channel="heartbeat")
    async with serving(answer) as server:
        crowd = Crowd(server.settings, load, ramp=2000.0)
        standings: list[Standing] = []
        running = asyncio.create_task(asyncio.to_thread(crowd.run, standings.append))
        await until(lambda: standings and standings[-1].acked > 100, "they speak")
        crowd.stop()
        found = await asyncio.wait_for(running, 5)
    assert found.acked == found.sent > 100


async def test_who_was_not_to_connect_any_more_has_not_failed() -> None:
    """`stop` while they still connect: those that had no turn are no fault."""
    async with serving(lambda _, packet_id: [puback(packet_id)]) as server:
        crowd = Crowd(server.settings, replace(LITTLE, devices=1000, rate=1e7), ramp=20.0)
        standings: list[Standing] = []
        running = asyncio.create_task(asyncio.to_thread(crowd.run, standings.append))
        await until(lambda: standings and standings[-1].up > 5, "some are connected")
        crowd.stop()
        found = await asyncio.wait_for(running, 5)
    assert 5 < found.connected <= found.wanted < 100
    assert (found.fault, found.sent) == ("", 0)


# ------------------------------------------------------------------------------------------------------ burst


async def test_a_burst_to_a_server_that_acknowledges_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds without a PUBACK it ends, and says so."""
    monkeypatch.setattr(burst_module, "_REPLY_TIMEOUT", 0.5)
    async with serving(lambda _, __: []) as server:
        outcome = await asyncio.wait_for(burst(server.settings, Load(count=100)), 10)
    assert (outcome.sent, outcome.acked) == (100, 0)
    assert outcome.lost == "no PUBACK for 0.5 s"


async def test_a_burst_believes_a_puback_once() -> None:
    """A server that says every PUBACK twice, and some for nobody, has taken over each message once."""
    load = Load(count=5000, window=1000)
    async with serving(lambda _, packet_id: [puback(packet_id) * 2 + puback(65_000)]) as server:
        outcome = await burst(server.settings, load)
    assert (outcome.sent, outcome.acked, outcome.lost) == (5000, 5000, "")
    assert len(outcome.keys()) == 5000


# ---------------------------------------------------------------------------------------------- command line


@pytest.fixture
def config(mosquitto: Broker, tmp_path: Path) -> Path:
    """Give a configuration in which the simulators log in as the town."""
    write_config(Settings(broker=login(mosquitto.town_url)), tmp_path / "carebell.toml")
    return tmp_path / "carebell.toml"


def command(arguments: str, config: Path, *more: str) -> Result:
    """Run `carebell sim`."""
    environment = {"COLUMNS": "120"}
    return CliRunner().invoke(sim.app, [*arguments.split(), *more, "--config", str(config)], env=environment)


def shell(config: Path, arguments: str, before: str = "true") -> subprocess.Popen[str]:
    """Start `carebell sim load` out of a shell."""
    command = f"{before}; exec {sys.executable} -m ops.cli sim load {arguments} --config {config}"
    return subprocess.Popen(
        ("/bin/sh", "-c", command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
    )


def test_the_command_raises_the_limit_of_open_files_and_ends_on_ctrl_c(
    config: Path, mosquitto: Broker
) -> None:
    """Where a shell allows 100 open files 200 devices connect; Ctrl-C ends ten minutes with every figure."""
    arguments = "--connections 200 --rate 400 --seconds 600 --ramp 1000 --json"
    with Client(mosquitto.url) as client:
        client.subscribe("carebell/v1/+/+/heartbeat")
        process = shell(config, arguments, "ulimit -Sn 100")
        try:
            for _ in range(100):
                client.receive()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, f"load for {mosquitto.host}:{mosquitto.port}\n")
    found = json.loads(output)
    assert (found["wanted"], found["connected"], found["peak"], found["reconnects"]) == (200, 200, 200, 0)
    assert found["sent"] == found["acked"] >= 100
    assert (found["missed"], found["unsent"]) == (0, 0)
    assert found["asked_rate"] == 400
    for spread in (found["connect_ms"], found["puback_ms"]):
        assert 0 < spread["p50"] <= spread["p90"] <= spread["p99"] <= spread["max"]
    assert found["cpu_us_per_message"] == pytest.approx(found["cpu_seconds"] / found["sent"] * 1e6, rel=0.05)


def test_the_command_fails_where_messages_are_refused(config: Path, mosquitto: Broker) -> None:
    """The bridge's user may not speak for devices: exit code 1, all figures, and a sentence says how many."""
    as_bridge = ["--username", "carebell", "--password", login(mosquitto.url).password]
    result = command("load --connections 5 --rate 50 --seconds 1", config, *as_bridge)
    assert result.exit_code == 1
    for said in ("5 of 5 devices", " 0 acknowledged, ", "PUBLISH to PUBACK", "us a message", "of a core"):
        assert said in result.stdout
    assert "messages were not taken over" in result.stderr


def test_a_burst_that_is_cut_off_fails(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that dies with nothing in flight has lost no message, yet not sent all: exit code 1."""
    outcome = Outcome(10, 10, 0, 1.0, 10.0, 0.1, "the broker closed the connection", Load(), np.arange(10))

    async def cut_off(*_: object) -> Outcome:  # as burst is
        return outcome

    monkeypatch.setattr("ops.crowd.burst", cut_off)
    result = command("burst --seconds 60", config)
    assert (result.exit_code, result.stdout[:9]) == (1, "10 of 10 ")
    assert "the connection died before the end: the broker closed the connection" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--every 5 --rate 5", "--every or --rate, not both"),
        ("--every 0", "--every 0: seconds above 0"),
        ("--every nan", "--every nan: seconds above 0"),
        ("--rate inf", "count, seconds and rate are numbers from 0 up"),
        ("--seconds 0", "count or seconds"),
        ("--seconds 0 --count 5", "seconds = 0"),
        ("--ramp 0", "ramp = 0"),
        ("--connections 9000000", "9000000 connections need"),
        ("--prefix +/", "prefix = '+/'"),
        ("--to mqtt.example", "--to mqtt.example: broker.host is"),
        ("--channel sos", "channel = 'sos'"),
    ],
)
def test_nonsense_is_a_usage_error(config: Path, arguments: str, says: str) -> None:
    """What cannot be is refused with a sentence and code 2, before anybody connects."""
    result = command(f"load {arguments}", config)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert says in result.stderr
