"""Alarms of the line itself, in both editions: durable with what they tell of, and each told once."""

import pytest

from schemas.topics import Lane
from store.own_alarms import Trouble
from tests.contract.kit import Cutter, Line, after, message, settings_for, tuples

ALARMS = "SELECT device, region, kind, count, class, handling FROM duty_alarms ORDER BY alarm_id"
LOG = "SELECT verb, detail FROM alarm_log ORDER BY log_id"
VOID = "SELECT count(*) FROM ingest_ledger WHERE lane = 0 AND packet_ids = ''"


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_session_is_told_with_the_voided_ledger_and_once(url: str, *, landed: bool) -> None:
    """Cut off before COMMIT arrived, or before its reply did: one alarm that counts one loss."""
    async with Cutter(url) as proxy, Line(settings_for(proxy.url)) as line:
        await line.feed(message("BELL-1", "event", {"kind": "test"}, packet_id=1), lane=Lane.URGENT)
        (proxy.cut_reply if landed else proxy.cut_command)()
        assert await line.bridge.store.void_ledger(Lane.URGENT, 2, after(5))
        assert proxy.cuts == 1
    assert await tuples(url, VOID) == [(1,)]
    assert await tuples(url, ALARMS) == [
        ("?carebell", "", "session_lost", 1, "technical", "unacknowledged"),
    ]
    assert await tuples(url, LOG) == [("raised", {"lane": "urgent"})]


async def test_the_first_session_of_a_lane_is_no_loss(url: str) -> None:
    """However much the other lane has committed; and the device of the line appears with its first alarm."""
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-1", "heartbeat", packet_id=1))
        assert not await line.bridge.store.void_ledger(Lane.URGENT, 1, after(1))
        assert await tuples(url, "SELECT device FROM devices") == [("BELL-1",)]
        assert await line.bridge.store.void_ledger(Lane.TELEMETRY, 1, after(1))
    assert await tuples(url, "SELECT device FROM devices ORDER BY device_id") == [("BELL-1",), ("?carebell",)]


async def test_no_device_can_speak_for_the_line(url: str) -> None:
    """A topic that names it raises its alarm elsewhere; after a restart the line's device is a stranger."""
    async with Line(settings_for(url)) as line:
        await line.bridge.store.raise_own(Trouble("messages_dropped", after(1), {"dropped": 5, "more": 5}))
        assert await line.bridge.store.dropped_told() == 5
    async with Line(settings_for(url)) as line:
        await line.feed(message("?carebell", "sos", at=2), lane=Lane.URGENT)
        await line.feed(message("?carebell", "heartbeat", at=3))
        await line.tick(90_000)
        assert await line.bridge.store.dropped_told() == 5
    found = await tuples(
        url, "SELECT device = '?carebell', kind FROM duty_alarms WHERE kind <> 'inactivity' ORDER BY 1 DESC"
    )
    assert found == [(True, "messages_dropped"), (False, "sos")]
