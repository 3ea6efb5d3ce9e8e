"""One persistent MQTT 5 session: connect, subscribe, receive, acknowledge, reconnect for ever.

The `mqtt5` codec does the packets, asyncio the socket. What was received waits in `Session.inbox` until the
line takes it. A PUBACK counts only on the connection on which its PUBLISH came, so every connection has a
number. No more messages than the receive-maximum are taken unacknowledged, for so many the ledger remembers:
mosquitto 2.0.11 itself stops there at first only, and sends as many more with each PUBACK.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar, cast

import mqtt5
import numpy as np
import numpy.typing as npt

from ingest.inbox import Inbox, Stamp
from schemas.errors import FatalError, WeatherError
from schemas.readings import Delivery
from schemas.settings import BrokerSettings
from schemas.topics import Lane

log = logging.getLogger(__name__)

SESSION_FOREVER: Final = 0xFFFF_FFFF
COALESCE: Final = 0.002
"""Seconds for which the telemetry lane leaves the socket alone, so that one read brings many messages."""
HELD_BYTES: Final = 64 * 1024 * 1024
"""Bytes above which reading pauses: the bound on memory that receive-maximum does not give."""
REPLY_TIMEOUT: Final = 10.0
FIRST_BACKOFF: Final = 0.2
LONGEST_BACKOFF: Final = 5.0
PUBLISH: Final = 3
"""MQTT 5 section 2.1.2: the type of packet that bears a message."""
QOS_2: Final = 0x04
"""MQTT 5 section 3.3.1: the bit of its first byte that no message bears at the QoS that we asked for."""

Reply = TypeVar("Reply")

_HOPELESS = (
    mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD,
    mqtt5.ConnAckReasonCode.NOT_AUTHORIZED,
    mqtt5.ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    mqtt5.ConnAckReasonCode.CLIENT_ID_NOT_VALID,
    mqtt5.ConnAckReasonCode.BANNED,
)


class _Protocol(asyncio.Protocol):
    """The packets of one connection."""

    def __init__(self, session: "Session", number: int) -> None:
        self.session = session
        self.number = number
        self.transport: asyncio.Transport | None = None
        self.connack: asyncio.Future[mqtt5.ConnAckPacket] = asyncio.get_running_loop().create_future()
        self.suback: asyncio.Future[mqtt5.SubAckPacket] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.heard_at = 0.0
        self._rest = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(exc or ConnectionError("the broker closed the connection"))

    def end(self, error: BaseException) -> None:
        """Close, and tell whoever waits why."""
        for future in (self.connack, self.suback):
            if not future.done():
                future.cancel()
        if not self.lost.done():
            self.lost.set_result(error)
        if self.transport:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if self._rest:
            self._rest += data
            if len(self._rest) >= self._needed():
                self._take(self._rest)
        else:
            self._take(data)

    def take_up(self) -> None:
        """Go on with what was read when the session was full."""
        if 0 < self._needed() <= len(self._rest):
            self._take(self._rest)

    def _take(self, data: bytes | bytearray) -> None:
        used = self._packets(data)
        self._rest = bytearray(data[used:])
        self.session.received(self)

    def _needed(self) -> int:
        """Return how many bytes the packet at the head of `_rest` has, so that a long one is read once."""
        length = 0
        for place, byte in enumerate(self._rest[1:5]):
            length |= (byte & 0x7F) << (7 * place)
            if not byte & 0x80:
                return place + 2 + length
        return 0

    def _packets(self, data: bytes | bytearray) -> int:
        """Handle the whole packets at the head of `data`, messages while there is room; return their size."""
        used, size, room, read = 0, len(data), self.session.room, mqtt5.read
        messages: list[mqtt5.PublishPacket] = []
        with memoryview(data) as view:
            while used < size and not (data[used] >> 4 == PUBLISH and len(messages) >= room):
                try:
                    packet, length = read(view[used:])
                except IndexError:
                    break
                except BaseException as error:
                    # The codec panics (a BaseException) on a topic that is not UTF-8.
                    if isinstance(error, KeyboardInterrupt | SystemExit | asyncio.CancelledError):
                        raise
                    self.end(WeatherError(f"the broker sent a malformed packet ({error})"))
                    used = size
                    break
                head, used = data[used], used + length
                if not isinstance(packet, mqtt5.PublishPacket):
                    self._answer(packet)
                elif head & QOS_2 or packet.packet_id == 0:
                    self.end(WeatherError("the broker sent a message at QoS 2, or without a packet id"))
                    used = size
                else:
                    messages.append(packet)
        self.session.publish(self.number, messages)
        return used

    def _answer(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.ConnAckPacket):
            _settle(self.connack, packet)
        elif isinstance(packet, mqtt5.SubAckPacket):
            _settle(self.suback, packet)
        elif isinstance(packet, mqtt5.DisconnectPacket):
            self.end(_disconnected(packet))


def _settle(future: "asyncio.Future[Any]", packet: mqtt5.Packet) -> None:
    if not future.done():
        future.set_result(packet)


def _disconnected(packet: mqtt5.DisconnectPacket) -> Exception:
    if packet.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER:
        return FatalError(
            "another client took over the session (0x8E): is a second bridge running? This one ends."
        )
    return WeatherError(
        f"the broker disconnected: {packet.reason_code.name.lower()} {packet.reason_str or ''}".strip()
    )


class Session:
    """One lane's persistent session. `run` keeps it up; `inbox` fills; `acknowledge_bytes` go back."""

    def __init__(
        self,
        lane: Lane,
        filters: Iterable[str],
        settings: BrokerSettings,
        *,
        receive_max: int,
        stamp: Stamp,
        wake: Callable[[], None],
        session_lost: Callable[[Lane, int], Awaitable[None]],
    ) -> None:
        """Call `wake` when messages arrive, and `session_lost(lane, connection)` if the broker forgot us."""
        self.lane = lane
        self.inbox = Inbox()
        self.connected = False
        self.connections = 0
        self._was_connected = False
        self._filters = list(filters)
        self._settings = settings
        self._receive_max = receive_max
        self._stamp = stamp
        self._wake = wake
        self._session_lost = session_lost
        self._protocol: _Protocol | None = None
        self._paused = False
        self._unacknowledged = 0

    @property
    def room(self) -> int:
        """Return how many messages more may wait for their commit."""
        return 0 if self.inbox.bytes > HELD_BYTES else max(0, self._receive_max - self._unacknowledged)

    @property
    def heard_at(self) -> float:
        """Return when the broker last said anything on this connection, as the event loop counts time."""
        return self._protocol.heard_at if self._protocol else 0.0

    async def run(self) -> None:
        """Stay connected for ever; raises FatalError where a retry would not help."""
        backoff, loop = FIRST_BACKOFF, asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._connected_once()
            except (OSError, WeatherError, TimeoutError) as error:
                log.warning("%s lane: %s; trying again", self.lane.name.lower(), self._sentence(error))
                backoff = FIRST_BACKOFF if loop.time() - began > LONGEST_BACKOFF else backoff
            finally:
                self.connected = False
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            backoff = min(LONGEST_BACKOFF, backoff * 2)

    def _sentence(self, error: BaseException) -> str:
        where = f"{self._settings.host}:{self._settings.port}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate of {where} is not trusted, see broker.ca_file: {error.verify_message}"
        if isinstance(error, ConnectionRefusedError | TimeoutError):
            return f"no MQTT broker answers at {where}"
        return f"the broker at {where}: {error}"

    async def _connected_once(self) -> None:
        loop = asyncio.get_running_loop()
        self.connections += 1
        number = self.connections
        async with asyncio.timeout(REPLY_TIMEOUT):
            _, protocol = await loop.create_connection(
                lambda: _Protocol(self, number), self._settings.host, self._settings.port, ssl=self._tls()
            )
        self._protocol = protocol
        self._paused = False
        self._unacknowledged = 0
        try:
            connack = await self._open(protocol)
            self.connected = self._was_connected = True
            log.info(
                "%s lane: connected to %s:%d",
                self.lane.name.lower(),
                self._settings.host,
                self._settings.port,
            )
            await self._keep_alive(protocol, connack.server_keep_alive or self._settings.keep_alive)
        finally:
            protocol.end(ConnectionError("closed"))
        error = protocol.lost.result()
        if error:
            raise error

    def _tls(self) -> ssl.SSLContext | None:
        if not self._settings.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self._settings.ca_file or None)
        except OSError as error:
            raise FatalError(
                f"broker.ca_file = {self._settings.ca_file!r} cannot be used: {error}"
            ) from error

    async def _open(self, protocol: _Protocol) -> mqtt5.ConnAckPacket:
        """Say CONNECT and SUBSCRIBE, return CONNACK; what ended the connection is raised as itself."""
        self._send(protocol, self._connect_packet().write())
        connack = await self._reply(protocol, protocol.connack)
        if connack.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            reason = connack.reason_code.name.lower()
            if connack.reason_code in _HOPELESS and not self._was_connected:
                raise FatalError(
                    f"the broker at {self._settings.host}:{self._settings.port} refuses user"
                    f" {self._settings.username!r} ({reason}): see broker.username and broker.password_file"
                )
            raise WeatherError(f"the broker refuses: {reason}")
        self._send(protocol, self._subscribe_packet().write())
        if not connack.session_present:
            # Not before SUBSCRIBE: while the database is away the broker must already keep messages for us.
            await self._session_lost(self.lane, protocol.number)
        suback = await self._reply(protocol, protocol.suback)
        if len(suback.reason_codes) != len(self._filters):
            raise WeatherError(
                f"the broker answers {len(self._filters)} subscriptions with {len(suback.reason_codes)} codes"
            )
        for topic_filter, code in zip(self._filters, suback.reason_codes, strict=True):
            if code != mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE:
                raise FatalError(
                    f"the broker refuses the subscription to {topic_filter}: {code.name.lower()}"
                )
        return connack

    async def _reply(self, protocol: _Protocol, future: "asyncio.Future[Reply]") -> Reply:
        while not future.done():
            await asyncio.wait([future], timeout=REPLY_TIMEOUT)
            if not future.done() and self.room:  # else it stands behind messages that we do not read
                raise TimeoutError
        if future.cancelled():
            raise protocol.lost.result() or ConnectionError("closed")
        return future.result()

    def _connect_packet(self) -> mqtt5.ConnectPacket:
        settings = self._settings
        return mqtt5.ConnectPacket(
            f"{settings.client_id}-{self.lane.name.lower()}",
            username=settings.username or None,
            password=settings.secret().encode() if settings.username else None,
            clean_start=False,
            keep_alive=settings.keep_alive,
            session_expiry_interval=SESSION_FOREVER,
            receive_max=self._receive_max,
        )

    def _subscribe_packet(self) -> mqtt5.SubscribePacket:
        return mqtt5.SubscribePacket(
            1,
            [
                mqtt5.TopicFilter(
                    pattern,
                    max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                    retain_as_published=False,
                    retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
                )
                for pattern in self._filters
            ],
        )

    async def _keep_alive(self, protocol: _Protocol, seconds: float) -> None:
        """Ping until the connection is lost; a broker that says nothing for long is taken for lost."""
        loop = asyncio.get_running_loop()
        while not protocol.lost.done():
            self._send(protocol, mqtt5.PingReqPacket().write())
            sent_at = loop.time()
            await asyncio.wait([protocol.lost], timeout=seconds / 2)
            if not protocol.lost.done() and not self._paused and protocol.heard_at < sent_at:
                protocol.end(WeatherError("the broker is silent"))

    @staticmethod
    def _send(protocol: _Protocol, data: bytes) -> None:
        if protocol.transport and not protocol.transport.is_closing():
            protocol.transport.write(data)

    def publish(self, connection: int, packets: list[mqtt5.PublishPacket]) -> None:
        """Take up the PUBLISH packets of one read."""
        first, new = self._stamp.next(len(packets)), tuple.__new__  # half as dear as Delivery(...)
        deliveries = [
            new(Delivery, (p.topic, p.payload, p.packet_id or 0, p.duplicate, p.retain, received_at))
            for received_at, p in enumerate(packets, first)
        ]
        self.inbox.put(connection, deliveries)
        self._unacknowledged += sum(1 for delivery in deliveries if delivery.packet_id)

    def received(self, protocol: _Protocol) -> None:
        """Wake the line after a read, and leave the socket alone for a moment on the telemetry lane."""
        self._wake()
        if protocol.transport is None or self._paused:
            return
        if not self.room or self.lane is Lane.TELEMETRY:
            protocol.transport.pause_reading()
            self._paused = True
            asyncio.get_running_loop().call_later(COALESCE, self._resume, protocol)

    def _resume(self, protocol: _Protocol) -> None:
        """Go on reading once there is room; a connection that is gone leaves the present one alone."""
        if protocol is not self._protocol or protocol.transport is None or protocol.transport.is_closing():
            return
        if not self.room:
            asyncio.get_running_loop().call_later(COALESCE, self._resume, protocol)
            return
        self._paused = False
        protocol.take_up()
        if not self._paused:
            protocol.transport.resume_reading()

    def puback(self, connection: int, packet_ids: npt.NDArray[np.int32]) -> None:
        """Send PUBACKs in one write, in the given order; none if that connection is gone: it redelivers."""
        protocol = self._protocol
        if protocol is None or protocol.number != connection:
            return
        ids = packet_ids[packet_ids > 0]
        self._unacknowledged -= len(ids)
        packets = np.empty(len(ids), [("head", ">u2"), ("packet_id", ">u2")])
        packets["head"] = 0x4002
        packets["packet_id"] = ids
        self._send(protocol, packets.tobytes())
