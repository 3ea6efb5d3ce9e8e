"""What the bridge watches itself by, on a real broker and a real database: canaries, losses, drops, gaps."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from ops.parts import Broker, Database
from schemas.settings import Settings
from schemas.topics import canary
from tests.installation import Installation, installation, until
from tests.mqtt import Client

LANES = ("urgent", "telemetry")
LOST = "SELECT count, class, severity, condition, handling FROM alarms WHERE kind = 'session_lost'"


async def page(settings: Settings, name: str) -> httpx.Response:
    """Return a page of the running bridge."""
    async with httpx.AsyncClient(timeout=5) as client:
        return await client.get(f"http://{settings.metrics.host}:{settings.metrics.port}/{name}")


async def metric(installed: Installation, series: str) -> float:
    """Return one series of the running bridge."""
    lines = (await page(installed.settings, "metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{series} ")).rpartition(" ")[2])


async def readiness(installed: Installation) -> dict[str, bool]:
    """Return what the bridge says of itself."""
    found: dict[str, bool] = (await page(installed.settings, "readyz")).json()
    return found


def growing(installed: Installation, series: str) -> Callable[[], Awaitable[float]]:
    """Return a look at one series."""
    return lambda: metric(installed, series)


def edit(scratch: Path, name: str, **texts: str) -> None:
    """Replace texts in a file of the broker."""
    (path,) = scratch.rglob(name)
    for old, new in texts.items():
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


# ------------------------------------------------------------------------------------------------- canaries


async def test_a_canary_comes_back_on_both_lanes_and_leaves_nothing(installed: Installation) -> None:
    """Each counts once on each lane, is ignored by name, and stands nowhere but in the ledger."""
    for lane in LANES:
        look = growing(installed, f'carebell_canary_seconds_count{{lane="{lane}"}}')
        assert await until(look, lambda count: count >= 2) >= 2
        assert (
            await metric(installed, f'carebell_messages_ignored_total{{lane="{lane}",reason="canary"}}') >= 2
        )
    for table in ("vitals", "heartbeats", "activity", "events", "dead_letters", "alarms", "devices"):
        assert await installed.rows(f"SELECT FROM {table}") == []
    assert await installed.rows("SELECT DISTINCT lane FROM ingest_ledger ORDER BY 1") == [(0,), (1,)]


async def test_only_our_own_canaries_count(installed: Installation) -> None:
    """Forged ones, repeated ones and those of another bridge are ignored: no letter, no round trip."""
    topic = canary(installed.settings.broker.client_id)
    with Client(installed.broker.town_url) as town:
        town.subscribe(topic)
        ours = bytes((await asyncio.to_thread(town.receive)).payload)
        looks = [growing(installed, f'carebell_canary_seconds_count{{lane="{lane}"}}') for lane in LANES]
        ignored = growing(installed, 'carebell_messages_ignored_total{lane="telemetry",reason="canary"}')
        flown, before = [await look() for look in looks], await ignored()
        for payload in (ours, b"{}", b"\xff", b""):
            for name in (topic, canary("another")):
                for _ in range(25):
                    town.publish(name, payload)
        assert await until(ignored, lambda count: count >= before + 200) >= before + 200
        assert all([await look() <= was + 3 for look, was in zip(looks, flown, strict=True)])  # our own go on
    assert await installed.rows("SELECT FROM dead_letters") == []
    assert await metric(installed, "carebell_identity_difference") == 0


async def test_a_broker_that_forbids_the_canary_is_named(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> None:
    """The bridge is not ready, and the doctor says which right is missing."""
    edit(
        scratch,
        "acl",
        **{"topic write carebell/v1/canary/+/event": "", "pattern write carebell/v1/+/%u/#": ""},
    )
    await asyncio.to_thread(fresh_mosquitto.restart)
    async with installation(fresh_mosquitto, timescale.url, scratch) as found:
        code, output, _ = await found.carebell("doctor", "--json")
        (finding,) = (each for each in json.loads(output) if each["check"] == "may send its canary")
        assert (code, finding["state"]) == (1, "wrong")
        assert "carebell/v1/canary/+/event" in finding["advice"]


# ------------------------------------------------------------------------------------------- a lost session


def saved(scratch: Path) -> Path:
    """Return the file in which the broker keeps its sessions."""
    (path,) = scratch.rglob("mosquitto.db")
    return path


async def wipe(installed: Installation, scratch: Path) -> None:
    """Restart the broker without what it had saved."""
    await asyncio.to_thread(installed.broker.stop)
    await asyncio.to_thread(saved(scratch).unlink)
    await asyncio.to_thread(installed.broker.start)


async def test_a_lost_session_is_one_alarm_that_duty_closes(installed: Installation, scratch: Path) -> None:
    """The first sessions of a new installation are no loss; later the alarm counts each lane's."""
    assert await installed.rows(LOST) == []
    await until(lambda: lanes_heard(installed), lambda lanes: lanes == 2)
    await wipe(installed, scratch)
    alarm = [(2, "technical", "high", "active", "unacknowledged")]
    assert await installed.until_rows(LOST, lambda rows: rows == alarm) == alarm
    assert await installed.rows("SELECT DISTINCT detail->>'lane' FROM alarm_log ORDER BY 1") == [
        ("telemetry",),
        ("urgent",),
    ]
    for lane in LANES:
        assert await metric(installed, f'carebell_sessions_lost_total{{lane="{lane}"}}') == 1
    await installed.until_ready()
    await installed.kill()
    await installed.start()
    assert await installed.rows(LOST) == alarm, "a session that is there was taken for lost"
    code, output, errors = await installed.carebell("alarm", "show", "1")
    assert code == 0, errors
    assert "会话丢失" in output
    assert {lane for lane in ("紧急通道可能丢失报文", "遥测通道可能丢失报文") if lane in output}
    for verb in (("ack", "1"), ("close", "1", "--outcome", "equipment_fault")):
        code, _, errors = await installed.carebell("alarm", *verb)
        assert code == 0, errors
    await wipe(installed, scratch)
    assert await installed.until_rows(f"{LOST} AND closed_at IS NULL", lambda rows: rows == alarm) == alarm


async def lanes_heard(installed: Installation) -> int:
    """Return how many lanes have committed something."""
    return len(await installed.rows("SELECT DISTINCT lane FROM ingest_ledger"))


# ---------------------------------------------------------------------------------- what the broker dropped


QUEUE = 10


def absent(installed: Installation) -> None:
    """Leave a session at the broker that nobody takes up: its queue of QUEUE messages fills."""
    with Client(installed.broker.town_url, "absent", session_expiry=600) as client:
        client.subscribe("carebell/none")


def flood(installed: Installation, count: int) -> None:
    """Publish for who is absent."""
    with Client(installed.broker.town_url) as town:
        for _ in range(count):
            town.publish("carebell/none")


async def test_what_the_broker_drops_is_an_alarm(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> None:
    """Once for each rise, also one that happened while the bridge was away; a restart repeats nothing."""
    edit(
        scratch, "mosquitto.conf", **{"max_queued_messages 0": f"max_queued_messages {QUEUE}\nsys_interval 1"}
    )
    await asyncio.to_thread(fresh_mosquitto.restart)
    query = "SELECT verb, detail FROM alarm_log ORDER BY log_id"
    async with installation(fresh_mosquitto, timescale.url, scratch) as found:
        await asyncio.to_thread(absent, found)
        await asyncio.to_thread(flood, found, QUEUE + 5)
        await found.start()
        said: list[Any] = [("raised", {"dropped": 5, "more": 5})]
        assert await found.until_rows(query, lambda rows: rows == said) == said
        assert await metric(found, "carebell_broker_dropped") == 5
        await found.kill()
        await found.start()
        await until(growing(found, "carebell_broker_dropped"), lambda count: count == 5)
        await asyncio.to_thread(flood, found, 3)
        rows = await found.until_rows(query, lambda rows: bool(rows) and rows[-1][1]["dropped"] == 8)
        assert sum(detail["more"] for _, detail in rows) == 8
        assert await found.rows("SELECT device, kind FROM duty_alarms") == [("?carebell", "messages_dropped")]


# ----------------------------------------------------------------------------------------------------- gaps


async def test_gaps_in_the_counters_of_devices_are_counted(installed: Installation) -> None:
    """What a device skipped is missing, and found when it comes after all."""
    with Client(installed.broker.town_url) as device:
        for seq in (1, 2, 6, 4, 7):
            device.publish("carebell/v1/430602/BELL-1/heartbeat", json.dumps({"seq": seq}))
    missing = growing(installed, "carebell_messages_missing_total")
    assert await until(missing, lambda count: count == 3) == 3
    assert await metric(installed, "carebell_messages_found_total") == 1
