"""Vendors' devices on the real line: states over restarts, aliases, clocks, recordings; on mosquitto, too."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from device_sims.frames import EV07B_SOS, ev07b_alarm, ev07b_frame, setracker_position
from ingest.recorder import Recorder
from ops.cli import app
from ops.parts import Broker, Database
from schemas.readings import Delivery
from schemas.topics import Lane
from tests.contract.kit import (
    Line,
    after,
    make_tables,
    message,
    milliseconds,
    rows,
    script,
    settings_for,
    tuples,
    until,
)
from tests.contract.test_bridge import Running
from tests.mqtt import Client

pytestmark = pytest.mark.one_edition

SOURCES = """
[[source]]
name = "watch"
title = "A watch that tells its SOS key over and over"
topics = ["watch/+"]
lane = "urgent"
id = { level = 2 }
time = { path = "at", format = "ms" }
fields.hr = { path = "hr" }
[[source.events]]
kind = "sos"
when = { path = "sos", is = true }
mode = "edge"

[[source]]
name = "box"
title = "A box that reports in the background"
topics = ["box/+/state"]
lane = "telemetry"
id = { level = 2 }
fields.battery = { path = "power" }
"""
ALARMS = """
SELECT d.device, a.kind, a.count, a.quality FROM alarms a JOIN devices d USING (device_id) ORDER BY alarm_id
"""
CLOSE = "UPDATE alarms SET handling = 'closed', closed_at = now(), closed_by = 'x', outcome = 'test'"


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Give a file of sources."""
    path = tmp_path / "own.toml"
    path.write_text(SOURCES, encoding="utf-8")
    return [str(path)]


def said(topic: str, payload: Any, at: float, *, packet_id: int = 0, duplicate: bool = False) -> Delivery:  # noqa: ANN401 - any JSON
    """Return a vendor's message, `at` seconds after the start."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return message("", "", body, at=at, topic=topic, packet_id=packet_id, duplicate=duplicate)


async def feed(line: Line, *messages: Delivery) -> None:
    """Let messages go down the urgent lane."""
    await line.feed(*messages, lane=Lane.URGENT)


async def close(url: str) -> None:
    """Close every alarm, as duty does."""
    await script(url, CLOSE)


async def test_a_state_outlives_a_crash(url: str, sources: list[str]) -> None:
    """While it holds there is one alarm, whatever crashes; its next beginning is another."""
    settings = settings_for(url, sources=sources)
    async with Line(settings) as line:
        await feed(line, said("watch/W1", {"sos": "true", "hr": 70}, 1), said("watch/W1", {"sos": "true"}, 2))
        assert await tuples(url, ALARMS) == [("W1", "sos", 1, "ok")]
    await close(url)
    async with Line(settings) as line:
        await feed(line, said("watch/W1", {"sos": "true"}, 3))
        assert len(await tuples(url, ALARMS)) == 1
        await feed(line, said("watch/W1", {"sos": "false", "hr": 71}, 4))
    async with Line(settings) as line:
        await feed(line, said("watch/W1", {"sos": "true"}, 5))
        assert await tuples(url, ALARMS) == [("W1", "sos", 1, "ok")] * 2
    assert await tuples(url, "SELECT count(*) FROM vitals") == [(2,)]
    assert await tuples(url, "SELECT count(*) FROM events WHERE event = 1") == [(2,)]


async def test_what_is_redelivered_changes_no_state(url: str, sources: list[str]) -> None:
    """The same packets after a crash: the alarm is there once, and the state is the last one said."""
    sent = [
        said("watch/W1", {"sos": on}, n, packet_id=n) for n, on in enumerate([True, False, True, True], 1)
    ]
    async with Line(settings_for(url, sources=sources)) as line:
        await feed(line, *sent)
    async with Line(settings_for(url, sources=sources)) as line:
        again = [each._replace(duplicate=True, received_at=after(9 + n)) for n, each in enumerate(sent)]
        await feed(line, *again)
        assert await tuples(url, ALARMS) == [("W1", "sos", 2, "ok")]
        assert await tuples(url, "SELECT state FROM device_states") == [("watch.sos",)]
        await feed(line, said("watch/W1", {"sos": True}, 20))
    assert await tuples(url, ALARMS) == [("W1", "sos", 2, "ok")]


async def test_repeats_without_an_id_are_one_alarm(url: str, sources: list[str]) -> None:
    """Every message is stored; while the alarm is open they raise its count."""
    async with Line(settings_for(url, sources=sources)) as line:
        for n in range(3):
            await feed(line, said("watch/W1", b'{"sos":true,', n))  # no state can be told from what is broken
            await feed(line, said("watch/W1", {"sos": False, "hr": 70}, n + 0.5))
    assert await tuples(url, ALARMS) == [("W1", "sos", 3, "unreadable")]
    assert await tuples(url, "SELECT count(*) FROM events WHERE event = 1") == [(3,)]
    assert await tuples(url, "SELECT count(*), bool_and(whole) FROM dead_letters") == [(3, False)]


async def test_a_restored_engine_knows_an_unreadable_call(url: str, sources: list[str]) -> None:
    """The call stands in the history, so nothing is made up of its dead letter."""
    settings = settings_for(url, sources=sources)
    async with Line(settings) as line:
        await feed(line, said("watch/W1", b'{"sos":true,', 1))
    async with Line(settings) as line:
        await line.tick(10)
    assert await tuples(url, ALARMS) == [("W1", "sos", 1, "unreadable")]


async def test_what_cannot_be_read_twice_is_accounted_for(url: str) -> None:
    """A frame with a wrong checksum bears a time, so the second one is a duplicate, and is counted as one."""
    frame = ev07b_frame("860000000000017", ev07b_alarm(after(0), EV07B_SOS))
    broken = frame[:4] + bytes([frame[4] ^ 1]) + frame[5:]
    async with Line(settings_for(url, sources=["ev07b"])) as line:
        await feed(line, said("ev07b/x", broken, 1), said("ev07b/x", broken, 2))
        batch = line.acknowledged[-1]
    assert len(await tuples(url, ALARMS)) == 1
    stored = len(set(batch.readings["message"][batch.readings["stored"]].tolist()))
    assert stored + batch.duplicates + sum(letter.whole for letter in batch.dead) == 2


async def test_a_clock_that_stands_still_does_not_hide_an_alarm(url: str) -> None:
    """The same frame after its alarm was closed is another alarm, whatever its kind."""
    frame = setracker_position("8800000015", after(0), command="AL")
    async with Line(settings_for(url, sources=["setracker"])) as line:
        await feed(line, said("setracker/x", frame, 1))
        await close(url)
        await feed(line, said("setracker/x", frame, 4000))
    kinds = [kind for _, kind, *_ in await tuples(url, ALARMS)]
    assert kinds.count("unknown_alarm") == 2


async def test_an_alias_is_the_registered_device(url: str, sources: list[str], tmp_path: Path) -> None:
    """Imported names reach the running bridge; a name cannot mean two devices."""
    file = tmp_path / "devices.csv"
    config = tmp_path / "carebell.toml"
    config.write_text(f'[database]\nurl = "{url}"\n', encoding="utf-8")

    async def imported(text: str) -> tuple[int, str]:
        await asyncio.to_thread(file.write_text, text, encoding="utf-8")
        command = ("device", "import", str(file), "--config", str(config))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", *command), stdout=PIPE, stderr=STDOUT
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async with Line(settings_for(url, sources=sources)) as line:
        await feed(line, said("watch/860001", {"hr": 70}, 1))
        code, output = await imported("设备编号,行政区划,别名\nBELL-1,430602,860001; 浴室按钮\n")
        assert code == 0, output
        for text, sentence in (
            ("device,region,aliases\nBELL-2,430602,860001\n", "860001 means BELL-1 already"),
            ("device,region,aliases\nBELL-2,430602,X\nBELL-3,430602,X\n", "X means BELL-2 already"),
            ("device,region,aliases\nBELL-2,430602,BELL-1\n", "BELL-1 means BELL-1 already"),
            ("device,region\n860001,430602\n", "860001 means BELL-1 already"),
            ("device,region,aliases\nBELL-2,430602,a?;?b\n", "cannot be the name"),
        ):
            code, output = await imported(text)
            assert (code, sentence in output) == (1, True), output
        fresh = await rows(url, "SELECT device_id, device, aliases FROM devices WHERE device = 'BELL-1'")
        line.bridge.registry.learn(
            "BELL-1", fresh[0]["device_id"], self_registered=False, aliases=fresh[0]["aliases"]
        )
        await feed(line, said("watch/860001", {"sos": True}, 2), said("watch/浴室按钮", {"hr": 71}, 3))
    assert await tuples(url, ALARMS) == [("BELL-1", "sos", 1, "ok")]
    heard = "SELECT device FROM vitals JOIN devices USING (device_id) ORDER BY ts"
    assert await tuples(url, heard) == [("860001",), ("BELL-1",)]
    code, output = await imported("device,region,aliases\nBELL-1,430602,\n")
    assert code == 0, output
    assert await tuples(url, "SELECT aliases FROM devices WHERE device = 'BELL-1'") == [([],)]


async def test_a_clock_of_another_zone_is_found_and_corrected(url: str, sources: list[str]) -> None:
    """Eight hours behind for an hour; then its readings are judged, and the registry says why."""
    settings = settings_for(url, sources=sources)
    eight = 8 * 3600
    async with Line(settings) as line:
        for n in range(6):
            at = n * 720 + 1
            await feed(line, said("watch/W1", {"hr": 70, "at": milliseconds(at - eight)}, at))
        found = line.bridge._clocks.take()
        ((device_id,),) = await tuples(url, "SELECT device_id FROM devices")
        assert found == {device_id: -8}
        await line.bridge.store.set_clocks(found)
    async with Line(settings) as line:
        await feed(line, said("watch/W1", {"hr": 71, "at": milliseconds(4000 - eight)}, 4001))
    qualities = "SELECT time_quality, received_at - ts < '1 minute' FROM vitals ORDER BY received_at"
    assert await tuples(url, qualities) == [(5, False)] * 6 + [(2, True)]
    assert await tuples(url, "SELECT clock_hours FROM devices") == [(-8,)]


async def test_a_recording_reads_vendors_as_the_line_did(
    url: str, sources: list[str], tmp_path: Path
) -> None:
    """With the mappings and the states of its time: what held before it begins is no event in it."""
    file = tmp_path / "stream.jsonl"
    async with Line(settings_for(url, sources=sources)) as line:
        await feed(line, said("watch/W1", {"sos": True}, 1))
    await close(url)
    async with Line(settings_for(url, sources=sources, record=str(file))) as line:
        await feed(line, said("watch/W1", {"sos": True, "hr": 70}, 2), said("watch/W2", {"sos": True}, 3))
        await feed(line, said("watch/W1", {"sos": False}, 4), said("watch/W1", {"sos": True}, 5))
        assert isinstance(line.engine, Recorder)
        await line.engine.finish()
    await asyncio.to_thread(Path(sources[0]).unlink)
    config = tmp_path / "replay.toml"
    config.write_text("", encoding="utf-8")
    for cut in ([], ["--cut", "1"], ["--cut", "random", "--seed", "3"]):
        result = CliRunner().invoke(app, ["replay", str(file), "--compare", *cut, "--config", str(config)])
        assert (result.exit_code, result.stdout) == (0, "equal: 2 alarms\n"), result.output


@pytest.fixture
def broker_and_url(mosquitto: Broker, timescale: Database) -> tuple[Broker, str]:
    """Give mosquitto and TimescaleDB with tables."""
    asyncio.run(make_tables(timescale.url))
    return mosquitto, timescale.url


async def test_on_mosquitto_both_lanes_hear_vendors(
    broker_and_url: tuple[Broker, str], sources: list[str]
) -> None:
    """Each message once; a call that is not stored in time is announced with the vendor's device."""
    broker, url = broker_and_url
    text = SOURCES.replace("watch/+", "iw/+").replace("box/+", "iw/+")  # which the shipped ACL lets us read
    await asyncio.to_thread(Path(sources[0]).write_text, text, encoding="utf-8")
    settings = settings_for(url, broker, sources=sources)
    async with Running(settings) as running:
        with Client(broker.town_url) as town, Client(broker.town_url) as ear:
            ear.subscribe("carebell/unstored/v1/#")
            town.publish("iw/W1", b'{"sos":1,"hr":70}')
            town.publish("iw/B1/state", b'{"power":50}')
            town.publish("carebell/v1/430602/BELL-1/heartbeat", b'{"battery":80}')
            await until(
                lambda: tuples(url, "SELECT 1 FROM heartbeats HAVING count(*) = 2"), "both are stored"
            )
            await until(lambda: tuples(url, ALARMS), "the call is an alarm")
            async with await psycopg.AsyncConnection.connect(url) as holding:
                await holding.execute("LOCK TABLE ingest_ledger IN EXCLUSIVE MODE")
                town.publish("iw/W2", b'{"sos":1}')
                told = await asyncio.to_thread(ear.receive)
                body = json.loads(told.payload)
                assert (body["device"], body["channel"], body["event"], body["state"]) == (
                    "W2",
                    "sos",
                    "sos",
                    "unstored",
                )
            await until(lambda: tuples(url, ALARMS + " OFFSET 1"), "the second call is an alarm")
        assert running.bridge.readiness()["identity"]
    assert await tuples(url, ALARMS) == [("W1", "sos", 1, "ok"), ("W2", "sos", 1, "ok")]
