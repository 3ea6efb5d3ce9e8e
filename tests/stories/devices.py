"""All devices of a story on one connection to a real broker, at QoS 1: a whole district speaks fast."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

import mqtt5

from ops.parts import Broker
from tests.installation import until

MOST: Final = 60_000
"""Messages under way: fewer than there are packet ids."""
_IDS: Final = 65_535


class Devices(asyncio.Protocol):
    """A connection as the town; `owed` are the messages that the broker has not acknowledged."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.owed = 0
        self._sent = 0
        self._rest = b""
        self._connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls, broker: Broker) -> "Devices":
        """Connect and log in."""
        transport, devices = await asyncio.get_running_loop().create_connection(cls, broker.host, broker.port)
        login = urlsplit(broker.town_url)
        password = (login.password or "").encode()
        packet = mqtt5.ConnectPacket("stories", username=login.username, password=password, clean_start=True)
        devices._transport = transport
        transport.write(packet.write())
        await asyncio.wait_for(devices._connected, 10)
        return devices

    async def publish(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Send a message; wait only where too many are under way."""
        if self.owed >= MOST:
            await self.all_taken(MOST)
        self.owed += 1
        self._sent += 1
        packet_id = self._sent % _IDS + 1
        packet = mqtt5.PublishPacket(
            topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id, retain=retained
        )
        self._transport.write(packet.write())

    async def all_taken(self, but: int = 1) -> None:
        """Wait until the broker has taken all, or all but some."""

        async def owed() -> int:
            return self.owed

        assert await until(owed, lambda number: number < but) < but, "the broker does not acknowledge"

    def close(self) -> None:
        """Leave."""
        self._transport.write(mqtt5.DisconnectPacket().write())
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Count what the broker has taken."""
        data = self._rest + data
        used = 0
        with memoryview(data) as view:
            while used < len(data):
                try:
                    packet, length = mqtt5.read(view[used:])
                except IndexError:
                    break
                used += length
                if isinstance(packet, mqtt5.PubAckPacket):
                    self.owed -= 1
                elif isinstance(packet, mqtt5.ConnAckPacket):
                    assert packet.reason_code == mqtt5.ConnAckReasonCode.SUCCESS
                    self._connected.set_result(None)
        self._rest = data[used:]
