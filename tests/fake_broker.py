"""A server that speaks MQTT 5 over a real socket, and says on purpose what no broker should.

It answers every client as a broker does (CONNACK, SUBACK, PINGRESP, PUBACK), or with the bytes that it was
given, and keeps what it heard. Its test writes the mischief: a function of a `Talk`, run after each SUBACK.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import mqtt5

from schemas.settings import BrokerSettings
from schemas.topics import Lane
from tests.contract.kit import Listener

CONNACK: Final = mqtt5.ConnAckPacket().write()
RESUMED: Final = mqtt5.ConnAckPacket(session_present=True).write()
PINGRESP: Final = mqtt5.PingRespPacket().write()

READ = 65_536
_Code = TypeVar("_Code")


def every(codes: type[_Code]) -> dict[int, _Code]:
    """Return all codes of an enumeration of the codec, which does not list them itself."""
    found = [getattr(codes, name) for name in dir(codes) if name.isupper()]
    return {int(code): code for code in found}


def publication(
    topic: str,
    payload: bytes,
    packet_id: int,
    *,
    duplicate: bool = False,
    qos: int = 1,
    alias: int | None = None,
) -> bytes:
    """Return the bytes of a PUBLISH; at QoS 0 the packet id is left out."""
    return mqtt5.PublishPacket(
        topic,
        payload,
        qos=every(mqtt5.QoS)[qos],
        packet_id=packet_id if qos else None,
        duplicate=duplicate,
        topic_alias=alias,
    ).write()


def disconnection(code: int, said: str | None = None) -> bytes:
    """Return the bytes of a DISCONNECT."""
    return mqtt5.DisconnectPacket(
        reason_code=every(mqtt5.DisconnectReasonCode)[code], reason_str=said
    ).write()


class Talk:
    """One connection of one client."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin; `number` counts the connections of all clients from 1."""
        self.number = number
        self.began = asyncio.get_running_loop().time()
        self.client_id = ""
        self.filters: list[str] = []
        self.pings = 0
        self.pubacks: list[int] = []
        self.reads: list[bytes] = []
        self._reader = reader
        self._writer = writer

    @property
    def lane(self) -> Lane | None:
        """Return the lane whose session this is; the bridge's other clients have none."""
        return {lane.name.lower(): lane for lane in Lane}.get(self.client_id.rsplit("-", 1)[-1])

    async def say(self, *data: bytes) -> None:
        """Send each piece as a write of its own, and wait until the network has room for more."""
        for piece in data:
            self._writer.write(piece)
            await self._writer.drain()

    def hang_up(self) -> None:
        """Close the connection after what was said."""
        self._writer.close()

    async def packets(self) -> AsyncIterator[mqtt5.Packet]:
        """Yield what the client says until it hangs up."""
        rest = b""
        while data := await self._reader.read(READ):
            self.reads.append(data)
            rest += data
            with contextlib.suppress(IndexError):  # the rest of a packet comes with the next read
                while rest:
                    packet, length = mqtt5.read(memoryview(rest))
                    rest = rest[length:]
                    yield packet


async def nothing(_: Talk) -> None:
    """Do no mischief."""


class FakeBroker(Listener):
    """Answer all clients, and do the test's mischief to the sessions of the lanes alone."""

    def __init__(
        self,
        then: Callable[[Talk], Awaitable[None]] = nothing,
        *,
        connack: Callable[[Talk], bytes] = lambda _: CONNACK,
        suback: bytes | None = None,
        heard: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """Send `suback` instead of the right one, and call `heard(packet_id)` before a PUBACK is taken up."""
        super().__init__()
        self.talks: list[Talk] = []
        self._then = then
        self._connack = connack
        self._suback = suback
        self._heard = heard

    @property
    def settings(self) -> BrokerSettings:
        """Return settings that lead here."""
        return BrokerSettings(port=self.port, username="u", password="p", client_id="c", keep_alive=5)

    @property
    def pubacks(self) -> list[int]:
        """Return the packet ids of all PUBACKs, in the order of their coming."""
        return [packet_id for talk in self.talks for packet_id in talk.pubacks]

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until it leaves."""
        talk = Talk(self.connections, reader, writer)
        self.talks.append(talk)
        async with asyncio.TaskGroup() as group:
            async for packet in talk.packets():
                if isinstance(packet, mqtt5.SubscribePacket):
                    await talk.say(self._suback_for(talk, packet))
                    if talk.lane is not None:
                        group.create_task(self._mischief(talk))
                elif answer := await self._answer(talk, packet):
                    await talk.say(answer)

    async def _mischief(self, talk: Talk) -> None:
        with contextlib.suppress(ConnectionError):
            await self._then(talk)

    def _suback_for(self, talk: Talk, packet: mqtt5.SubscribePacket) -> bytes:
        talk.filters += [each.pattern for each in packet.topic_filters]
        granted = [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE] * len(packet.topic_filters)
        right = mqtt5.SubAckPacket(packet.packet_id, granted).write()
        return right if self._suback is None or talk.lane is None else self._suback

    async def _answer(self, talk: Talk, packet: mqtt5.Packet) -> bytes:
        if isinstance(packet, mqtt5.ConnectPacket):
            talk.client_id = packet.client_id
            return self._connack(talk) if talk.lane is not None else CONNACK
        if isinstance(packet, mqtt5.PingReqPacket):
            talk.pings += 1
            return PINGRESP
        if isinstance(packet, mqtt5.PublishPacket) and packet.packet_id:
            return mqtt5.PubAckPacket(packet.packet_id).write()
        if isinstance(packet, mqtt5.PubAckPacket):
            if self._heard:
                await self._heard(packet.packet_id)
            talk.pubacks.append(packet.packet_id)
        return b""
