"""A second client takes over one of our sessions: what it got and did not thank for is ours again."""

import asyncio

import mqtt5
import pytest

from device_sims.load import Load
from tests.fault.account import account
from tests.fault.rig import Rig
from tests.fault.traffic import traffic


async def _intrude(rig: Rig, client_id: str, seconds: float) -> int:
    """Hold a session under somebody's client id for a while; return how many bytes the broker sent us."""
    broker = rig.installed.settings.broker
    packet = mqtt5.ConnectPacket(
        client_id,
        username=broker.username,
        password=broker.password.encode(),
        clean_start=False,
        session_expiry_interval=0xFFFF_FFFF,
    )
    reader, writer = await asyncio.open_connection(rig.broker.host, rig.broker.port)
    writer.write(packet.write())
    await asyncio.sleep(seconds)
    got = len(await reader.read(65_536))
    writer.close()
    return got


@pytest.mark.parametrize("lane", ["urgent", "telemetry"])
async def test_a_session_taken_over_loses_nothing(lane: str, rig: Rig) -> None:
    """Whether the bridge ends (0x8E) or comes back (mosquitto 2.0.11 says no reason), all is stored once."""
    load = Load(seconds=4, rate=800, devices=100, with_ts=False)
    async with traffic(rig.installed.town, load, calls_every=0.05) as published:
        await asyncio.sleep(1)
        assert await _intrude(rig, f"carebell-{lane}", 0.3)
    await rig.heal()
    assert (await account(rig.installed, published)).sentences() == []
    assert "the broker closed the connection" in rig.said or "0x8E" in rig.said
