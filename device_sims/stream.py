"""Publish a stream at QoS 1 at its times, over a few connections with many messages under way at once.

The messages of a device keep to one connection, and so their order. After a lost connection what had no
PUBACK goes out again as new packets, and the tally is told.
"""

import asyncio
import contextlib
import math
import secrets
import ssl
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, cast

import mqtt5

from device_sims.families import Device
from device_sims.links import Sending
from device_sims.tally import Tally
from schemas.clock import Clock
from schemas.errors import FatalError, WeatherError
from schemas.settings import BrokerSettings

CONNECTIONS: Final = 4
WINDOW: Final = 2_000
"""Messages under way on one connection, at most; fewer if the broker says so."""
PATIENCE: Final = 60.0
"""Real seconds without a broker after which the player gives up."""
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 3.0
_REPLY_TIMEOUT: Final = 10.0
_PING_EVERY: Final = 15.0
_BREATH: Final = 0.002
"""Real seconds to sleep at least where there is time: many small sleeps cost more than they are worth."""
_RUN: Final = 200
"""Messages after which PUBACKs are looked at even if there is no time to sleep."""
_REFUSED: Final = 0x80

_HOPELESS: Final = (
    mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD,
    mqtt5.ConnAckReasonCode.NOT_AUTHORIZED,
    mqtt5.ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    mqtt5.ConnAckReasonCode.CLIENT_ID_NOT_VALID,
    mqtt5.ConnAckReasonCode.BANNED,
)


@dataclass
class Streamed:
    """How far it is: `at` is the time of the newest message, `behind` how late that was in real seconds."""

    published: int = 0
    at: int = 0
    behind: float = 0.0
    farthest_behind: float = 0.0
    reconnects: int = 0


async def stream(
    sends: Iterable[tuple[Device, Sending]],
    broker: BrokerSettings,
    clock: Clock,
    tally: Tally,
    on_progress: Callable[[Streamed], None] = lambda _: None,
    *,
    connections: int = CONNECTIONS,
) -> Streamed:
    """Publish all of it, none before its time; returns when every message has its PUBACK.

    Raises WeatherError if the broker stays away, FatalError if it refuses us or a message.
    """
    progress = Streamed()
    lines = [_Line(broker, clock, tally, progress) for _ in range(connections)]
    try:
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(line.keep_up()) for line in lines]
            await _publish(sends, lines, tally, clock=clock, progress=progress, on_progress=on_progress)
            for line in lines:
                await line.drained()
            for keeper in keepers:
                keeper.cancel()
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    for line in lines:
        line.close()
    return progress


async def _publish(
    sends: Iterable[tuple[Device, Sending]],
    lines: list["_Line"],
    tally: Tally,
    *,
    clock: Clock,
    progress: Streamed,
    on_progress: Callable[[Streamed], None],
) -> None:
    for device, sending in sends:
        ahead = clock.seconds_until(sending.at)
        if ahead > 0:
            on_progress(progress)
            await asyncio.sleep(max(ahead, _BREATH))
        elif progress.published % _RUN == 0:
            on_progress(progress)
            await asyncio.sleep(0)
        line = lines[zlib.crc32(device.name.encode()) % len(lines)]
        await line.room()
        tally.note(device.name, sending, clock.now())
        line.put(device.name, sending)
        progress.published += 1
        progress.at, progress.behind = sending.at, max(0.0, -clock.seconds_until(sending.at))
        progress.farthest_behind = max(progress.farthest_behind, progress.behind)
    on_progress(progress)


class _Line:
    """One connection at a time, and what has no PUBACK yet."""

    def __init__(self, broker: BrokerSettings, clock: Clock, tally: Tally, progress: Streamed) -> None:
        self._broker, self._clock, self._tally, self._progress = broker, clock, tally, progress
        self._free = deque(range(1, WINDOW + 1))
        self._window = WINDOW
        self._under_way: dict[int, tuple[str, Sending]] = {}
        self._unsent: list[bytes] = []
        self._moved = asyncio.Event()
        self._protocol: _Protocol | None = None
        self.refused = ""

    async def room(self) -> None:
        """Return when another message may be put."""
        while len(self._under_way) >= self._window or (self._protocol and self._protocol.is_full):
            self._moved.clear()
            await self._moved.wait()

    async def drained(self) -> None:
        """Return when every message has its PUBACK."""
        while self._under_way:
            self._moved.clear()
            await self._moved.wait()

    def put(self, device: str, sending: Sending) -> None:
        """Send a message, now or with the next connection."""
        packet_id = self._free.popleft()
        self._under_way[packet_id] = device, sending
        if self._protocol:
            if not self._unsent:
                asyncio.get_running_loop().call_soon(self._flush)
            self._unsent.append(_packet(packet_id, sending))

    def settle(self, packet_id: int) -> None:
        """Take note of a PUBACK."""
        if self._under_way.pop(packet_id, None):
            self._free.append(packet_id)
            self.moved()

    def moved(self) -> None:
        """Wake whoever waits for room."""
        self._moved.set()

    def close(self) -> None:
        """Take leave of the broker."""
        if self._protocol:
            self._protocol.leave()

    def _flush(self) -> None:
        if self._protocol and self._unsent:
            self._protocol.write(b"".join(self._unsent))
        self._unsent = []

    async def keep_up(self) -> None:
        """Stay connected until cancelled; raises WeatherError, FatalError."""
        backoff, away_since = _FIRST_BACKOFF, math.inf
        loop = asyncio.get_running_loop()
        while True:
            settled = len(self._free)
            trouble = await self._connected()
            self._protocol = None
            self._unsent = []
            self._progress.reconnects += 1
            if len(self._free) > settled:
                backoff, away_since = _FIRST_BACKOFF, math.inf
            away_since = min(away_since, loop.time())
            if loop.time() - away_since > PATIENCE:
                raise WeatherError(f"the broker at {self._address} stays away: {trouble}")
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF)

    @property
    def _address(self) -> str:
        return f"{self._broker.host}:{self._broker.port}"

    async def _connected(self) -> str:
        """Hold one connection; return what ended it."""
        broker = self._broker
        tls = ssl.create_default_context(cafile=broker.ca_file or None) if broker.tls else None
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_connection(
                lambda: _Protocol(self), broker.host, broker.port, ssl=tls
            )
            connack = await asyncio.wait_for(protocol.begin(broker), _REPLY_TIMEOUT)
        except (OSError, TimeoutError) as error:
            return str(error) or type(error).__name__
        if connack.reason_code in _HOPELESS:
            name = connack.reason_code.name.lower()
            raise FatalError(f"the broker at {self._address} refuses the simulators: {name}")
        if connack.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            protocol.leave()
            return connack.reason_code.name.lower()
        self._protocol, self._window = protocol, min(WINDOW, connack.receive_max)
        self._send_again()
        self.moved()
        while not protocol.lost.done():
            await asyncio.wait([protocol.lost], timeout=_PING_EVERY)
            protocol.write(mqtt5.PingReqPacket().write())
        if self.refused:
            raise FatalError(self.refused)
        return protocol.lost.result()

    def _send_again(self) -> None:
        """Send what is without a PUBACK: the broker may have it or not."""
        now = self._clock.now()
        for packet_id, (device, sending) in self._under_way.items():
            self._tally.note_again(device, sending, now)
            self._unsent.append(_packet(packet_id, sending))
        self._flush()


def _packet(packet_id: int, sending: Sending) -> bytes:
    message = sending.message
    return mqtt5.PublishPacket(
        message.topic,
        message.payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        retain=message.retain,
        packet_id=packet_id,
    ).write()


class _Protocol(asyncio.Protocol):
    """The packets of one connection."""

    def __init__(self, line: _Line) -> None:
        loop = asyncio.get_running_loop()
        self._line = line
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self._connack: asyncio.Future[mqtt5.ConnAckPacket] = loop.create_future()
        self.lost: asyncio.Future[str] = loop.create_future()
        self.is_full = False

    async def begin(self, broker: BrokerSettings) -> mqtt5.ConnAckPacket:
        """Say who we are; return the broker's answer."""
        secret = broker.secret()
        packet = mqtt5.ConnectPacket(
            f"sim-{secrets.token_hex(6)}",
            username=broker.username or None,
            password=secret.encode() if secret else None,
            clean_start=True,
            keep_alive=60,
        )
        self.write(packet.write())
        return await self._connack

    def write(self, data: bytes) -> None:
        """Send bytes, unless there is nobody any more."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(data)

    def leave(self) -> None:
        """Close the connection properly."""
        with contextlib.suppress(OSError):
            self.write(mqtt5.DisconnectPacket().write())
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc or "the broker closed the connection"))

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._line.moved()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        used = 0
        with memoryview(data) as view:
            while used < len(data):
                try:
                    packet, length = mqtt5.read(view[used:])
                except IndexError:
                    break
                used += length
                self._take(packet)
        self._rest = data[used:]

    def _take(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.PubAckPacket):
            if int(packet.reason_code) >= _REFUSED:
                self._line.refused = f"the broker refuses a message: {packet.reason_code.name.lower()}"
                self._end(self._line.refused)
            else:
                self._line.settle(packet.packet_id)
        elif isinstance(packet, mqtt5.ConnAckPacket) and not self._connack.done():
            self._connack.set_result(packet)
        elif isinstance(packet, mqtt5.DisconnectPacket):
            self._end(f"the broker said {packet.reason_code.name.lower()}")

    def _end(self, why: str) -> None:
        if not self._connack.done():
            self._connack.set_exception(ConnectionError(why))
        if not self.lost.done():
            self.lost.set_result(why)
        if self._transport:
            self._transport.abort()
        self.is_full = False
        self._line.moved()
