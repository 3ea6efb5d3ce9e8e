"""Simulated people with devices of all families: real broker, bridge, desk and database, and the audit."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from device_sims.district import District
from device_sims.families import FAMILIES
from device_sims.scenario import load
from device_sims.tally import Tally
from ops.district import audit, play
from ops.parts import Broker, Database, find_mosquitto
from schemas.settings import ClockSettings, IngestSettings
from tests.conftest import skip_service
from tests.installation import installation
from tests.month import lived

ROOT = Path(__file__).parents[2]
PEOPLE = """
name = "few"
zh = "几个人"
about = "Twenty people with all families of devices, and every fault."
hours = 8
speed = 1800
closes = 2
household = [
    { people = 1, devices = [ALL] },
    { people = 4, devices = ["bell", "motion"] },
    { people = 4, devices = ["caller"] },
    { people = 5, devices = ["band"] },
    { people = 2, devices = ["setracker"] },
    { people = 2, devices = ["g6xx"] },
    { people = 2, devices = ["zigbee_button"] },
]
event = [
    { kind = "tower_down", after = 4, hours = 1 },
    { kind = "flood", after = 7, hours = 0.5, share = 0.7 },
]

[knobs]
presses = [400, 1200]
phantom_presses = [400, 1200]
falls = 100
duplicates = 0.1
broken = 0.02
wrong_fields = 0.02
astray = 0.01
unreadable = 0.2
strings = 0.2
dead_spots = [0, 30]
skew = [-250, 250]
unregistered = 0.2
"""


DAMAGES = {
    "DELETE FROM heartbeats WHERE ts = (SELECT max(ts) FROM heartbeats)": "lost",
    "UPDATE vitals SET hr = spo2, spo2 = hr WHERE hr <> spo2": "other_values",
    "UPDATE heartbeats SET ts = ts + interval '433 seconds 433 microseconds'": "other_times",
    "UPDATE alarms SET count = count + 1000 WHERE kind = 'sos'": "too_many",
    "UPDATE alarms SET drill = true WHERE kind = 'sos'": "hidden",
    "UPDATE alarms SET closed_by = 'carebell' WHERE closed_by = '值班员'": "hidden",
    "UPDATE alarms SET raised_at = raised_at + interval '1 hour', last_at = last_at + interval '1 hour'": (
        "call_missed"
    ),
    "UPDATE dead_letters SET payload = ''": "dead_missing",
    "DELETE FROM dead_letters WHERE received_at < clock_timestamp()": "dead_missing",
}


@pytest.fixture
def few(scratch: Path) -> Path:
    """Give a scenario of a few people."""
    path = scratch / "few.toml"
    path.write_text(PEOPLE.replace("ALL", ", ".join(f'"{name}"' for name in FAMILIES)))
    return path


async def test_what_people_sent_is_there_and_damage_is_found(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path, few: Path
) -> None:
    """Eight hours of twenty people: `sim verify` finds no difference, and each that is made afterwards."""
    async with lived(fresh_mosquitto, timescale.url, scratch, str(few), hours=8, speed=1800) as (
        installed,
        truth,
    ):
        code, said, errors = await installed.carebell("sim", "verify", "--truth", str(truth), "--json")
        found = json.loads(said)
        assert (code, found["differences"], found["ok"]) == (0, [], True), errors
        assert found["published"] > 1000
        assert found["calls"] >= 15
        assert {"not_json", "bad_message"} <= found["reasons"].keys()
        closed = await installed.rows(
            "SELECT count(*) FROM alarms WHERE class = 'life' AND closed_by = '值班员'"
        )
        assert closed[0][0] > 0
        tally = Tally.read(truth)
        for damage, what in DAMAGES.items():
            async with installed.connection.transaction(force_rollback=True):
                await installed.connection.execute(damage.encode())
                report = await audit(installed.connection, tally, 0)
            assert what in {each.what for each in report.differences}, damage
        await installed.connection.execute(next(iter(DAMAGES)).encode())
        code, said, _ = await installed.carebell(
            "sim", "verify", "--truth", str(truth), "--json", "--wait", "0"
        )
        assert (code, json.loads(said)["ok"]) == (1, False)


async def test_what_is_sent_again_after_the_broker_was_away_is_allowed_for(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path, few: Path
) -> None:
    """The broker is restarted twice: nothing is lost, and the audit knows what may have come twice."""
    scenario = load(str(few)).model_copy(update={"hours": 2.0})
    now = time.time()
    clock = ClockSettings(origin=now, start=now, speed=600)
    ingest = IngestSettings(sources=tuple(scenario.sources))
    async with installation(fresh_mosquitto, timescale.url, scratch, ingest=ingest, clock=clock) as installed:
        await installed.start()
        district = District(scenario, 3, clock.clock().now())
        playing = asyncio.create_task(play(district, installed.town, clock.clock(), lambda _: None, "", ""))
        for _ in range(2):
            await asyncio.sleep(4)
            assert fresh_mosquitto.process
            await asyncio.to_thread(fresh_mosquitto.process.restart)
        tally = await playing
        assert tally.published > 100
        report = await audit(installed.connection, tally, 30)
        assert report.ok, report.differences
        await installed.stack.aclose()


async def carebell(*arguments: str) -> tuple[int, str]:
    """Run a command that needs no installation."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    said = (await process.communicate())[0].decode()
    return process.returncode or 0, said


@pytest.fixture
def two_hours(few: Path) -> Path:
    """Give two hours of them."""
    few.write_text(few.read_text().replace("hours = 8", "hours = 2", 1))
    return few


async def test_the_demo_plays_a_scenario_and_ends(two_hours: Path) -> None:
    """`carebell demo --scenario` runs on embedded parts, shows what came of it, and exits 0."""
    if find_mosquitto() is None:
        skip_service("mosquitto", "not installed")
    code, said = await carebell("demo", "--scenario", str(two_hours))
    assert code == 0, said
    assert "no difference" in said
    assert "几个人" in said
