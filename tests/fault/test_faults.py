"""Each fault under load, on mosquitto and TimescaleDB: nothing lost or double, every alarm true (P1, P4)."""

import asyncio

import pytest

from device_sims.load import Load
from tests.fault.account import account
from tests.fault.faults import FAULTS
from tests.fault.rig import Rig
from tests.fault.traffic import traffic

LOAD = Load(seconds=4, rate=800, devices=100, with_ts=False, channel="mix")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_under_load_costs_time_only(fault: str, rig: Rig) -> None:
    """What the broker took over is stored or a dead letter, once, and each caller has one true alarm."""
    async with traffic(rig.installed.town, LOAD) as published:
        await asyncio.sleep(1)
        await FAULTS[fault](rig, 1.5)
    assert rig.runs, "nothing but a kill ends the bridge"
    await rig.heal()
    assert (await account(rig.installed, published)).sentences() == []
    assert len(published.accepted) > LOAD.rate
    assert rig.to_database.cuts == (fault == "reply of COMMIT lost")
