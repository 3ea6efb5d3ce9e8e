"""The line out of order, on purpose: the account notices it under faults that the true line survives."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from psycopg import AsyncConnection

from device_sims.burst import burst
from device_sims.load import Load
from tests.fault.account import account, settle
from tests.fault.broken import CHANGES
from tests.fault.rig import Rig
from tests.fault.traffic import Published

LOAD = Load(count=200, devices=20, with_ts=False)
WAITS = "SELECT FROM pg_stat_activity WHERE application_name = 'carebell' AND wait_event = 'relation'"


@contextlib.asynccontextmanager
async def _in_mid_commit(rig: Rig, published: Published, prefix: str) -> AsyncIterator[None]:
    """Publish while nobody can commit, and give the moment at which the bridge waits for its commit."""
    async with await AsyncConnection.connect(rig.database.url) as held:
        await held.execute("LOCK TABLE vitals IN EXCLUSIVE MODE")
        published.add(await burst(rig.installed.town, replace(LOAD, prefix=prefix)))
        assert await rig.installed.until_rows(WAITS, bool)
        yield


@pytest.mark.parametrize(
    ("change", "noticed"),
    [("as it is", set()), ("acknowledges first", {"lost"}), ("without the ledger", {"double"})],
    ids=CHANGES,
)
async def test_a_line_out_of_order_is_noticed(change: str, noticed: set[str], rig: Rig) -> None:
    """Cut off from the broker, then killed, each in mid-commit: the true line loses and doubles nothing."""
    published = Published()
    await rig.start_as("tests.fault.broken", change)
    async with _in_mid_commit(rig, published, "CUT-"):
        rig.to_broker.stop()
    await rig.installed.until_rows("SELECT FROM vitals", bool)
    await rig.to_broker.heal()
    assert await settle(rig.installed, published) == []
    async with _in_mid_commit(rig, published, "KILLED-"):
        await rig.installed.kill()
    await rig.installed.start()
    found = await account(rig.installed, published)
    assert {what for what in ("lost", "double", "invented") if getattr(found, what)} == noticed
    assert bool(found.sentences()) == bool(noticed), found.sentences()
