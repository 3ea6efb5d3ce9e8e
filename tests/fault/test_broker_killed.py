"""mosquitto killed with -9 loses what it had neither saved nor delivered, nothing else; duty hears of it."""

import asyncio
import time
from collections.abc import Callable

import pytest

from device_sims.load import Load
from tests.fault.account import account, metric, stored
from tests.fault.rig import Rig
from tests.fault.traffic import say, traffic
from tests.installation import until

LOAD = Load(seconds=4, rate=1000, devices=100, with_ts=True)
OWN = "SELECT class, sum(count) FROM alarms WHERE kind = 'session_lost' GROUP BY class"


async def _drained(rig: Rig) -> bool:
    """Say whether the bridge has committed all that it was given."""
    metrics = ("carebell_messages_waiting", "carebell_messages_in_flight")
    return sum([await metric(rig.installed, name) for name in metrics]) == 0


async def _saved(rig: Rig) -> None:
    """Wait until the broker has saved our sessions: one that is killed before that has forgotten them."""
    began = time.time()
    (kept,) = await until(lambda: asyncio.sleep(0, list(rig.installed.scratch.rglob("mosquitto.db"))), bool)
    await until(lambda: asyncio.sleep(0, kept.stat().st_mtime), began.__lt__)


@pytest.mark.parametrize("attached", [True, False], ids=["bridge attached", "bridge away"])
async def test_a_killed_broker_loses_what_it_had_not_saved(
    *, attached: bool, rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    """What was delivered, and all that came afterwards, is in once; the loss is said."""
    await _saved(rig)
    async with traffic(rig.installed.town, LOAD) as published:
        await asyncio.sleep(1)
        if not attached:
            await rig.installed.kill()
        await asyncio.sleep(1)
        await asyncio.to_thread(rig.broker.kill)
        if attached:
            assert await until(lambda: _drained(rig), bool)
        delivered = set(await stored(rig.installed))
        await until(lambda: asyncio.sleep(0, published.connections), bool)
        before = set(published.accepted)
        await asyncio.to_thread(rig.broker.start)
    await rig.heal()
    found = await account(rig.installed, published)
    bridge = "attached" if attached else "away"
    loss = f"{len(found.lost)} of {len(before)} accepted, {len(before - delivered)} not yet delivered"
    record_property("says", f"mosquitto killed with -9, bridge {bridge}: lost {loss}")
    assert found.lost <= before - delivered
    assert (found.double, found.invented, found.alarms, found.others) == (set(), set(), [], [])


async def test_a_lost_session_is_an_alarm(rig: Rig) -> None:
    """Killed before it saved anything, mosquitto has forgotten our sessions: a technical alarm says so."""
    assert await say(rig.installed.town, "CALL-1", "sos", 1)
    await rig.installed.until_rows("SELECT FROM alarms", bool)
    await asyncio.to_thread(rig.broker.kill)
    await asyncio.to_thread(rig.broker.start)
    assert await rig.installed.until_rows(OWN, lambda rows: rows == [("technical", 2)]) == [("technical", 2)]
