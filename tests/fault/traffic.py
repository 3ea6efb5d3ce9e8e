"""What devices do while parts fail: telemetry and calls for help, each with a (device, seq) of its own.

Devices speak to the broker directly. A broker that is away is waited for; what had no PUBACK is not sent
again, for that would be another message. So what was accepted is known by key, and nothing else may appear.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Final

import mqtt5

from device_sims.burst import burst
from device_sims.load import Load, Outcome
from device_sims.stamp import NUMBER_DIGITS
from schemas.errors import WeatherError
from schemas.settings import BrokerSettings
from schemas.topics import uplink

Key = tuple[str, int]
"""Device and seq: one message."""

REGION: Final = "430602"
REPLY_WITHIN: Final = 5.0
AGAIN: Final = 0.1


@dataclass
class Published:
    """What was sent, and what of it the broker took over; `called` and `heard` count calls by device."""

    sent: set[Key] = field(default_factory=set)
    accepted: set[Key] = field(default_factory=set)
    called: Counter[str] = field(default_factory=Counter)
    heard: Counter[str] = field(default_factory=Counter)
    connections: int = 0

    def __str__(self) -> str:
        """Tell how many."""
        return f"{len(self.accepted)} messages, {self.heard.total()} of them calls"

    def add(self, outcome: Outcome) -> None:
        """Note what came of a burst."""
        load = outcome.load
        self.sent |= {
            (f"{load.prefix}{number % load.devices:0{NUMBER_DIGITS}d}", load.first_seq + number)
            for number in range(outcome.sent)
        }
        self.accepted |= outcome.keys()
        self.connections += 1

    def call(self, device: str) -> int:
        """Return the seq of a device's next call."""
        self.called[device] += 1
        self.sent.add((device, self.called[device]))
        return self.called[device]

    def hear(self, device: str, seq: int) -> None:
        """Note that the broker took a call over."""
        self.heard[device] += 1
        self.accepted.add((device, seq))


async def say(town: BrokerSettings, device: str, channel: str, seq: int, **fields: object) -> bool:
    """Publish one message on a connection of its own; return whether the broker took it over."""
    payload = json.dumps({"seq": seq, **fields}).encode()
    packet = mqtt5.PublishPacket(
        uplink(REGION, device, channel), payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1
    )
    hello = mqtt5.ConnectPacket("", username=town.username, password=town.password.encode(), clean_start=True)
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(REPLY_WITHIN):
            return await _thanked(town, hello.write() + packet.write())
    return False


async def _thanked(town: BrokerSettings, packets: bytes) -> bool:
    reader, writer = await asyncio.open_connection(town.host, town.port)
    try:
        writer.write(packets)
        while True:  # every packet of an answer is shorter than 128 bytes
            head, length = await reader.readexactly(2)
            packet, _ = mqtt5.read(memoryview(bytes((head, length)) + await reader.readexactly(length)))
            if isinstance(packet, mqtt5.PubAckPacket):
                return int(packet.reason_code) < 0x80
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def traffic(town: BrokerSettings, load: Load, calls_every: float = 0.2) -> AsyncIterator[Published]:
    """Send a load of so many seconds beside the block, and calls; the block ends when both have."""
    published = Published()
    flow = asyncio.create_task(_flow(town, load, published))
    calls = asyncio.create_task(_calls(town, load, calls_every, published))
    try:
        yield published
        await flow
        await calls
    finally:
        flow.cancel()
        calls.cancel()
        await asyncio.gather(flow, calls, return_exceptions=True)


async def _flow(town: BrokerSettings, load: Load, published: Published) -> None:
    """Send bursts one after the other, a new one when the connection died."""
    end = time.monotonic() + load.seconds
    while (left := end - time.monotonic()) > 0:
        try:
            outcome = await burst(town, replace(load, seconds=left))
        except WeatherError:
            await asyncio.sleep(AGAIN)
            continue
        published.add(outcome)
        load = replace(load, first_seq=load.first_seq + outcome.sent)


async def _calls(town: BrokerSettings, load: Load, every: float, published: Published) -> None:
    """Call for help from three devices in turn; without `ts` only packet ids tell them apart."""
    end, turn = time.monotonic() + load.seconds, 0
    while time.monotonic() < end:
        device = f"CALL-{turn % 3}"
        seq = published.call(device)
        if await say(
            town, device, "sos", seq, **({"ts": time.time_ns() // 1_000_000} if load.with_ts else {})
        ):
            published.hear(device, seq)
        turn += 1
        await asyncio.sleep(every)
