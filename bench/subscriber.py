"""A subscriber that does nothing: the bridge's telemetry session, each message acknowledged at once.

What a broker can deliver to it is the most that it could deliver to the bridge. So it is made cheaper than
any bridge can be: of packets that are all of one length, as a load's are, it looks at nothing but their ids.
"""

import asyncio
import contextlib
from typing import Any, Final, cast

import mqtt5
import numpy as np
import numpy.typing as npt

from bench.child import say, task
from ingest.mqtt import COALESCE, SESSION_FOREVER
from schemas.settings import BrokerSettings, IngestSettings
from schemas.topics import TELEMETRY_FILTERS

REPORT_EVERY: Final = 0.05
PUBLISH_QOS_1: Final = 0x32
LEAST: Final = 8
"""Bytes below which a packet cannot be looked at."""


class Subscriber(asyncio.Protocol):
    """Counts what comes and acknowledges it."""

    def __init__(self, settings: BrokerSettings, receive_max: int) -> None:
        """Connect as the bridge does."""
        self.count = 0
        self.subscribed = asyncio.get_running_loop().create_future()
        self._settings = settings
        self._receive_max = receive_max
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say CONNECT and SUBSCRIBE at once."""
        self._transport = cast("asyncio.Transport", transport)
        connect = mqtt5.ConnectPacket(
            "bench-subscriber",
            username=self._settings.username,
            password=self._settings.password.encode(),
            clean_start=False,
            keep_alive=0,
            session_expiry_interval=SESSION_FOREVER,
            receive_max=self._receive_max,
        )
        filters = [mqtt5.TopicFilter(each, max_qos=mqtt5.QoS.AT_LEAST_ONCE) for each in TELEMETRY_FILTERS]
        self._transport.write(connect.write() + mqtt5.SubscribePacket(1, filters).write())

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection: what it counted is void."""
        if not self.subscribed.done():
            self.subscribed.set_exception(exc or ConnectionError("the broker closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Acknowledge all that came in one write, and leave the socket alone as the bridge does."""
        data = self._rest + data
        ids, used = _alike(data)
        if not used:
            ids, used = self._one_by_one(data)
        self._rest = data[used:]
        self._acknowledge(ids)
        transport = self._transport
        if transport is not None and self.subscribed.done():
            transport.pause_reading()
            asyncio.get_running_loop().call_later(COALESCE, transport.resume_reading)

    def _acknowledge(self, ids: npt.NDArray[Any]) -> None:
        self.count += len(ids)
        packets = np.empty(len(ids), [("head", ">u2"), ("packet_id", ">u2")])
        packets["head"] = 0x4002
        packets["packet_id"] = ids
        if len(ids) and self._transport is not None and not self._transport.is_closing():
            self._transport.write(packets.tobytes())

    def _one_by_one(self, data: bytes) -> tuple[npt.NDArray[Any], int]:
        """Read packets by the codec; return the ids of the messages and the bytes read."""
        ids, used = [], 0
        with memoryview(data) as view, contextlib.suppress(IndexError):
            while used < len(data):
                packet, length = mqtt5.read(view[used:])
                used += length
                if isinstance(packet, mqtt5.PublishPacket) and packet.packet_id:
                    ids.append(packet.packet_id)
                elif isinstance(packet, mqtt5.SubAckPacket) and not self.subscribed.done():
                    self.subscribed.set_result(None)
        return np.array(ids, np.uint16), used


def _alike(data: bytes) -> tuple[npt.NDArray[Any], int]:
    """Return the ids of packets that are all messages of one length, and their bytes; else nothing."""
    nothing = np.empty(0, np.uint16), 0
    if len(data) < LEAST or data[0] != PUBLISH_QOS_1:
        return nothing
    head = 3 if data[1] & 0x80 else 2  # bytes of the fixed header: a length from 128 on takes two
    length = head + (data[1] & 0x7F) + (data[2] << 7 if head > 2 else 0)
    whole = len(data) // length * length
    packets = np.frombuffer(data, np.uint8, whole).reshape(-1, length)
    if not whole or (packets[:, : head + 2] != packets[0, : head + 2]).any():
        return nothing
    place = head + 2 + (data[head] << 8 | data[head + 1])
    return packets[:, place].astype(np.uint16) << 8 | packets[:, place + 1], whole


async def main() -> None:
    """Subscribe, say so, and say the count whenever it has changed."""
    settings = BrokerSettings(**task())
    loop = asyncio.get_running_loop()
    _, subscriber = await loop.create_connection(
        lambda: Subscriber(settings, IngestSettings().telemetry_in_flight), settings.host, settings.port
    )
    await subscriber.subscribed
    say("ready")
    said = 0
    while True:
        if subscriber.count != said:
            said = subscriber.count
            say(said)
        await asyncio.sleep(REPORT_EVERY)


if __name__ == "__main__":
    asyncio.run(main())
