"""kill -9 of the bridge, on mosquitto and TimescaleDB: nothing lost, nothing twice, by key (P1, P4)."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from device_sims.burst import burst
from device_sims.load import Load
from device_sims.stamp import FIRST_SEQ
from ops.parts import Broker, Database
from schemas.settings import IngestSettings
from tests.installation import Installation, installation, until
from tests.mqtt import Client

PARTS, EACH = 4, 1_250
"""Messages; the bridge is killed in the midst of each part but the last."""


async def _stored(installed: Installation) -> Counter[tuple[str, int]]:
    rows = await installed.rows("SELECT device, seq FROM vitals JOIN devices USING (device_id)")
    return Counter((device, seq) for device, seq in rows)


async def _count(installed: Installation) -> int:
    rows = await installed.rows("SELECT count(*) FROM vitals")
    return int(rows[0][0])


@pytest.mark.parametrize("with_ts", [True, False], ids=["with ts", "without ts"])
async def test_kill_9_in_a_burst_loses_and_doubles_nothing(
    *, with_ts: bool, fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> None:
    """Killed three times in 5,000 messages, the bridge has each message that the broker took exactly once."""
    small = IngestSettings(batch_rows=50)
    async with installation(fresh_mosquitto, timescale.url, scratch, ingest=small) as installed:
        await installed.start()
        taken: set[tuple[str, int]] = set()
        for part in range(PARTS):
            load = Load(count=EACH, rate=250, devices=200, with_ts=with_ts, first_seq=FIRST_SEQ + part * EACH)
            sending = asyncio.create_task(burst(installed.town, load))
            if part < PARTS - 1:
                await until(lambda: _count(installed), (part * EACH + EACH // 2).__le__)
                await installed.kill()
                assert await _count(installed) < (part + 1) * EACH, "the kill came too late to show anything"
                await installed.start()
            outcome = await sending
            assert outcome.acked == EACH
            taken |= outcome.keys()
        assert len(taken) == PARTS * EACH
        await installed.until_rows("SELECT count(*) FROM vitals", lambda rows: rows[0][0] >= PARTS * EACH)
        stored = await _stored(installed)
        assert set(stored) == taken, "lost or made up"
        assert max(stored.values()) == 1, "double"


async def test_kill_9_keeps_an_sos_and_its_count(installed: Installation) -> None:
    """Presses before, while and after the bridge is dead are one alarm that counts each press once."""
    topic = "carebell/v1/430602/BELL-1/sos"
    with Client(installed.broker.town_url) as device:
        device.publish(topic)
        await installed.until_rows("SELECT count FROM alarms", lambda rows: rows == [(1,)])
        await installed.kill()
        device.publish(topic)
        device.publish(topic)
        await installed.start()
        device.publish(topic)
    rows = await installed.until_rows("SELECT count FROM alarms", lambda rows: rows == [(4,)])
    assert rows == [(4,)]
    assert await installed.rows("SELECT verb, count(*) FROM alarm_log GROUP BY verb ORDER BY verb") == [
        ("raised", 1),
        ("repeated", 3),
    ]


async def test_restarts_of_the_broker_while_a_backlog_drains_double_nothing(installed: Installation) -> None:
    """Acknowledgements that a dying broker never read are many; each redelivery is known by its packet id."""
    load = Load(count=30_000, devices=100, with_ts=False)
    async with await AsyncConnection.connect(installed.url) as held:
        await held.execute("LOCK TABLE ingest_ledger IN EXCLUSIVE MODE")
        outcome = await burst(installed.town, load)
    for _ in range(3):
        await asyncio.sleep(0.4)
        await asyncio.to_thread(installed.broker.restart)
    await installed.until_rows(
        "SELECT count(DISTINCT seq) FROM vitals", lambda rows: rows[0][0] >= load.count, 60
    )
    stored = await _stored(installed)
    assert set(stored) == outcome.keys()
    assert max(stored.values()) == 1


async def test_a_clean_restart_of_the_broker_loses_and_doubles_nothing(installed: Installation) -> None:
    """What the broker held while it was restarted, and what came before and after, is in exactly once."""
    load = Load(count=2_000, devices=100, with_ts=False)
    first = await burst(installed.town, load)
    installed.broker.restart()
    second = await burst(installed.town, replace(load, prefix="MORE-"))
    keys = first.keys() | second.keys()
    await installed.until_rows("SELECT count(*) FROM vitals", lambda rows: rows[0][0] >= len(keys))
    stored = await _stored(installed)
    assert set(stored) == keys
    assert max(stored.values()) == 1
