"""The bridge's clock is set, forward and back, by an hour: times are wrong then, and nothing else is."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from device_sims.burst import burst
from device_sims.load import Load
from tests.fault.account import account
from tests.fault.rig import Rig
from tests.fault.traffic import traffic

FORWARD, BACK = signal.SIGUSR1, signal.SIGUSR2


@pytest.mark.parametrize("with_ts", [True, False], ids=["with ts", "without ts"])
async def test_a_clock_that_jumps_loses_and_silences_nobody(*, with_ts: bool, rig: Rig) -> None:
    """An hour ahead, right, an hour behind, right: all is stored once, nobody is called silent."""
    await rig.start_as("tests.fault.jumping")
    load = Load(seconds=7, rate=500, devices=100, with_ts=with_ts)
    quiet = replace(load, count=50, seconds=0, rate=0, prefix="QUIET-")
    async with traffic(rig.installed.town, load) as published:
        published.add(await burst(rig.installed.town, quiet))
        for jump in (FORWARD, BACK, BACK, FORWARD):
            await asyncio.sleep(1.5)
            os.kill(rig.installed.bridge_pid, jump)
    assert (await account(rig.installed, published)).sentences() == []
    hours = await rig.installed.rows(
        "SELECT DISTINCT round(extract(epoch FROM received_at - now()) / 3600)::int FROM vitals ORDER BY 1"
    )
    assert hours == [(-1,), (0,), (1,)], "the clock did jump"
