"""One row that the database refuses, amid a load: that message is a dead letter, the rest is stored (P7)."""

import asyncio

from device_sims.load import Load
from tests.fault.account import account, buried
from tests.fault.rig import Rig
from tests.fault.traffic import say, traffic

LOAD = Load(seconds=3, rate=500, devices=100, with_ts=False, channel="mix")


async def test_a_refused_row_is_a_dead_letter_and_stops_nobody(rig: Rig) -> None:
    """Of thousands of messages exactly those stand in the dead letters that the database does not take."""
    await rig.installed.connection.execute("ALTER TABLE vitals ADD CONSTRAINT sane CHECK (hr <> 123)")
    refused = [("POISON-1", seq) for seq in range(3)]
    async with traffic(rig.installed.town, LOAD) as published:
        for device, seq in refused:
            await asyncio.sleep(0.5)
            published.sent.add((device, seq))
            assert await say(rig.installed.town, device, "vitals", seq, hr=123)
            published.accepted.add((device, seq))
    assert (await account(rig.installed, published)).sentences() == []
    assert sorted(await buried(rig.installed)) == refused
    assert await rig.installed.rows("SELECT DISTINCT reason, whole FROM dead_letters") == [("refused", True)]
