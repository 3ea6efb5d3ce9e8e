"""Drills: alarms that look real, count apart and end by themselves; no genuine call is ever taken for one.

The command itself, on mosquitto and TimescaleDB; what the database keeps, in both editions.
"""

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg import AsyncConnection
from typer.testing import CliRunner

from duty import alarms, endings
from duty.desk import make_pool, opened
from duty.handling import Verb
from ingest.metrics import DEVICES
from ops.children import child, write_config
from ops.cli import app
from ops.doctor import database as doctor
from ops.listing import printable
from ops.parts import Broker, Database, free_port
from schemas.alarms import Outcome
from schemas.clock import SECOND, Clock, to_datetime
from schemas.settings import ClockSettings
from schemas.topics import Lane
from store import boards, drill, registry, sql
from tests.contract.kit import Line, after, message, script, settings_for, tuples, until
from tests.contract.registry import KINDS as FILES
from tests.contract.registry import PEOPLE, TWO_PEOPLE, imported
from tests.contract.registry import registry as whole_registry
from tests.desk import add_device, bearer, connect
from tests.desk import settings_for as desk_settings
from tests.installation import Installation, installation
from tests.mqtt import Client

pytestmark = pytest.mark.one_edition

SPEED = 20.0
"""Of the clock: minutes of a drill pass in seconds."""
AT_ONCE = ("drill", "--region", "430602", "--at-once", "--by", "演练组")
OPEN = "SELECT alarm_id FROM alarms WHERE drill AND closed_at IS NULL"
ENDED = "SELECT handling, outcome, closed_by, condition FROM alarms WHERE drill ORDER BY alarm_id"


@dataclass
class House:
    """An installation in which drills can be held, with one real device and a desk that can be started."""

    installed: Installation
    stack: AsyncExitStack

    @property
    def login(self) -> tuple[str, ...]:
        """Return who may speak for the devices of a drill."""
        town = self.installed.town
        return "--username", town.username, "--password", town.password

    async def hold(self, *arguments: str) -> dict[str, Any]:
        """Run `carebell drill` to its end and return what it prints with --json."""
        code, output, errors = await self.installed.carebell(*AT_ONCE, *self.login, *arguments, "--json")
        assert code == 0, errors
        found: dict[str, Any] = json.loads(output)
        return found

    async def begin(self, *arguments: str) -> Process:
        """Begin a drill that is spread over time."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", "drill", "--region", "430602", *arguments, *self.login),
            *("--config", str(self.installed.config)),
            stdout=PIPE,
            stderr=PIPE,
        )

    async def desk(self) -> None:
        """Start a desk."""
        settings = self.installed.settings.duty
        ready = f"http://{settings.host}:{settings.port}/healthz"
        log = self.installed.scratch / "duty.log"
        await self.stack.enter_async_context(
            child("duty", "--config", str(self.installed.config), ready=ready, log=log)
        )

    async def ask(self, path: str) -> Any:  # noqa: ANN401 - JSON is anything
        """Return what the desk answers 王芳."""
        settings = self.installed.settings.duty
        async with httpx.AsyncClient(headers=bearer()) as client:
            return (await client.get(f"http://{settings.host}:{settings.port}/api/{path}")).json()

    async def raised(self, metric: str) -> float:
        """Return how many raises the bridge has counted."""
        settings = self.installed.settings.metrics
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{settings.host}:{settings.port}/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric and sample.labels["move"] == "raise"
        )


@pytest.fixture
async def house(fresh_mosquitto: Broker, timescale: Database, scratch: Path) -> AsyncIterator[House]:
    """Give an installation whose bridge runs, and no desk yet."""
    now = time.time()
    clock = ClockSettings(origin=now, start=now, speed=SPEED)
    duty = desk_settings(timescale.url, port=free_port()).duty
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(
            installation(fresh_mosquitto, timescale.url, scratch, clock=clock)
        )
        found.settings = found.settings.model_copy(update={"duty": duty})
        write_config(found.settings, found.config)
        await found.connection.execute("INSERT INTO regions VALUES ('430602', '岳阳市岳阳楼区')")
        await found.connection.execute(
            "INSERT INTO devices (device, region, heartbeat_seconds) VALUES ('BELL-1', '430602', 86400)"
        )
        await found.start()
        yield House(found, stack)


# ------------------------------------------------------------------------------------------------ the command


async def test_a_drill_looks_real_counts_apart_and_ends_by_itself(house: House) -> None:
    """Beside a genuine call: no difference on the desk, figures of that one alone, which alone stays open."""
    installed = house.installed
    await house.desk()
    with Client(installed.broker.town_url) as device:
        device.publish("carebell/v1/430602/BELL-1/sos", '{"drill": true, "outcome": "drill"}')
        device.subscribe("carebell/down/v1/#")
        held = await house.hold("--alarms", "4", "--kind", "sos,fall", "--end-after", "5")
        told = [device.receive() for _ in range(4)]
    assert {json.loads(each.payload)["state"] for each in told} == {"raised"}

    calls = held["calls"]
    assert sorted(each["kind"] for each in calls) == ["fall", "fall", "sos", "sos"]
    assert all(each["raised_ms"] > 0 and each["handling"] == "unacknowledged" for each in calls)
    assert all(each["device"].startswith("BELL-") and len(each["device"]) == 13 for each in calls)

    answer = await house.ask("alarms")
    shown = {each["alarm_id"]: each for each in answer["alarms"]}
    genuine = next(each for each in shown.values() if each["device"] == "BELL-1")
    assert set(shown) == {genuine["alarm_id"], *(each["alarm_id"] for each in calls)}
    assert answer["counts"] == {"open": 5, "life": 5, "unacknowledged": 5, "suppressed": 0, "shelved": 0}
    assert "drill" not in json.dumps([answer, await house.ask(f"alarms/{calls[0]['alarm_id']}")])
    cards = [each for each in shown.values() if each is not genuine]
    assert all(each["person"] for each in cards)
    doors = [await house.ask(f"alarms/{each['alarm_id']}/address") for each in cards]
    assert all(door["address"].startswith("岳阳市岳阳楼区") for door in doors)
    _, output, _ = await installed.carebell("alarm", "list", "--json")
    assert {each["alarm_id"]: each["drill"] for each in json.loads(output)} == {
        number: number != genuine["alarm_id"] for number in shown
    }

    staffed = calls[0]["alarm_id"]
    for verb, outcome in ((Verb.ACKNOWLEDGE, None), (Verb.CLOSE, Outcome.MEDICAL)):
        now = installed.settings.clock.clock().now()
        await alarms.handle(installed.connection, staffed, verb, "王芳", now, outcome=outcome)
    assert await house.raised("carebell_transitions_total") == 1
    assert await house.raised("carebell_drill_transitions_total") == 4

    ended = await installed.until_rows(ENDED, lambda rows: {row[1] for row in rows} == {"drill"}, wait=60)
    assert {(row[0], row[1]) for row in ended} == {("closed", "drill")}
    assert sorted(row[2] for row in ended) == ["carebell", "carebell", "carebell", "王芳"]
    assert [each["alarm_id"] for each in (await house.ask("alarms"))["alarms"]] == [genuine["alarm_id"]]
    log = (await house.ask(f"alarms/{staffed}"))["log"]
    assert [(each["actor"], each["verb"], each["said_zh"]) for each in log[-2:]] == [
        ("王芳", "closed", "关闭：结果：真实-医疗"),
        ("carebell", "marked", "标记：结果：演练"),
    ]
    closed = (await house.ask("alarms?state=closed"))["alarms"]
    assert {each["outcome_zh"] for each in closed} == {"演练"}
    query = "SELECT FROM outbox WHERE message = 'closed' AND sent_at IS NOT NULL"
    sent = await installed.until_rows(query, lambda rows: len(rows) == 4)
    assert len(sent) == 4


async def test_devices_are_entered_once(house: House) -> None:
    """A drill after another one takes the same devices; while they are needed, others."""
    first = await house.hold("--alarms", "3", "--end-after", "0.5")
    meanwhile = await house.hold("--alarms", "2", "--end-after", "0.5")
    names = {each["device"] for each in first["calls"] + meanwhile["calls"]}
    assert len(names) == 5
    await house.desk()
    assert await house.installed.until_rows(OPEN, lambda rows: not rows) == []
    clock = house.installed.settings.clock.clock()
    await until(
        lambda: _free(house.installed.connection, to_datetime(clock.now())), "the devices are free again"
    )
    again = await house.hold("--alarms", "5", "--end-after", "1")
    assert {each["device"] for each in again["calls"]} == names
    assert await house.installed.rows("SELECT count(*) FROM devices WHERE drill") == [(5,)]


async def _free(connection: AsyncConnection, at: datetime) -> bool:
    return len(await drill.free(connection, "430602", at, 10)) == 5


async def test_a_drill_whose_command_was_killed_ends_by_itself(house: House) -> None:
    """At its time, and where no desk runs then, as soon as one does."""
    process = await house.begin("--alarms", "3", "--minutes", "6", "--end-after", "1", "--seed", "5")
    await house.installed.until_rows(OPEN, bool, wait=60)
    process.kill()
    await process.communicate()
    number = len(await house.installed.rows(OPEN))
    assert number < 3
    clock = house.installed.settings.clock.clock()
    ((ends_at,),) = await house.installed.rows("SELECT ends_at FROM drills")
    assert ends_at > to_datetime(clock.now())
    await until(lambda: to_datetime(clock.now()) > ends_at, "it is over")
    assert len(await house.installed.rows(OPEN)) == number
    await house.desk()
    ended = await house.installed.until_rows(ENDED, lambda rows: {row[1] for row in rows} == {"drill"})
    assert [row[:3] for row in ended] == [("closed", "drill", "carebell")] * number


async def test_an_interruption_ends_the_drill_at_once(house: House) -> None:
    """Ctrl-C: what has not called does not, what is open closes long before it was to."""
    await house.desk()
    process = await house.begin("--alarms", "3", "--minutes", "10", "--end-after", "600", "--seed", "5")
    await house.installed.until_rows(OPEN, bool, wait=60)
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.decode() == "drill 1 is over; the desk closes what is open of it\n"
    ended = await house.installed.until_rows(ENDED, lambda rows: {row[1] for row in rows} == {"drill"})
    assert {row[0] for row in ended} == {"closed"}
    assert (0,) not in await house.installed.rows("SELECT count(*) FROM drill_calls WHERE sent_at IS NULL")


async def test_a_drill_goes_on_when_the_database_is_back(house: House, timescale: Database) -> None:
    """What is due while it is away is called afterwards, and all of it becomes alarms."""
    process = await house.begin("--alarms", "4", "--minutes", "2", "--end-after", "600", "--seed", "5")
    await house.installed.until_rows("SELECT FROM drill_calls WHERE sent_at IS NOT NULL", bool, wait=60)
    timescale.stop()
    try:
        await asyncio.sleep(2)
    finally:
        timescale.start()
    await house.installed.reconnect()
    output, errors = await process.communicate()
    assert process.returncode == 0, errors
    assert "4 of 4 calls are alarms" in output.decode()


async def test_a_drill_that_cannot_be_ended_says_when_it_ends(house: House, timescale: Database) -> None:
    """Interrupted while the database is away, it ends at the time that stands there."""
    process = await house.begin("--alarms", "3", "--minutes", "10", "--end-after", "600", "--seed", "5")
    ((ends_at,),) = await house.installed.until_rows("SELECT ends_at FROM drills", bool, wait=60)
    await house.installed.until_rows(OPEN, bool, wait=60)
    timescale.stop()
    try:
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    finally:
        timescale.start()
    await house.installed.reconnect()
    assert process.returncode == 128 + signal.SIGINT
    assert errors.decode() == f"drill 1 ends by itself at {printable(ends_at)}\n"
    assert await house.installed.rows("SELECT ends_at FROM drills") == [(ends_at,)]


async def test_whoever_may_not_speak_for_others_holds_no_drill(house: House) -> None:
    """The broker's refusal is one sentence, and nothing is left of the drill."""
    code, output, errors = await house.installed.carebell(
        *AT_ONCE, "--alarms", "2", "--username", "BELL-1", "--password", "one"
    )
    assert (code, output) == (1, "")
    assert "refuses carebell/v1/430602/BELL-" in errors
    assert "--username" in errors
    code, _, errors = await house.installed.carebell(*AT_ONCE, "--username", "BELL-1", "--password", "wrong")
    assert (code, "does not let BELL-1 in" in errors) == (1, True)
    now = to_datetime(house.installed.settings.clock.clock().now())
    assert await house.installed.rows("SELECT count(*) FROM drills WHERE ends_at > %s", now) == [(0,)]
    assert await house.installed.rows("SELECT count(*) FROM alarms") == [(0,)]


async def test_without_a_bridge_there_is_no_drill(house: House) -> None:
    """It would go through no line."""
    await house.installed.kill()
    code, _, errors = await house.installed.carebell(*AT_ONCE, *house.login)
    assert (code, "no bridge runs" in errors) == (1, True)
    assert await house.installed.rows("SELECT count(*) FROM devices WHERE drill") == [(0,)]


async def test_with_wait_it_ends_when_staff_have_taken_all_up(house: House) -> None:
    """The table then says who took each up, and how soon."""
    process = await house.begin("--alarms", "2", "--at-once", "--end-after", "600", "--wait")
    taken = await house.installed.until_rows(OPEN, lambda rows: len(rows) == 2, wait=60)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait(), 1.5)
    for (number,) in taken:
        now = house.installed.settings.clock.clock().now()
        await alarms.handle(house.installed.connection, number, Verb.ACKNOWLEDGE, "王芳", now)
    output, errors = await process.communicate()
    assert process.returncode == 0, errors
    assert output.decode().count("王芳") == 2
    assert "2 of 2 calls are alarms" in output.decode()


# ---------------------------------------------------------------------------------------- what is kept of one


def card(device: str) -> drill.Card:
    """Return a device of drills with somebody behind it."""
    person = f"DRILL-{device}", "张桂英", 1941, "female", "", "1栋", ""
    return drill.Card(device, "430602", "bell", *person, contacts=[])


async def enter(url: str, *devices: str) -> list[drill.Device]:
    """Enter devices of drills, and two real ones."""
    async with connect(url) as connection, connection.transaction():
        for device in ("BELL-1", "BELL-2"):
            await add_device(connection, device)
        return await drill.enter(connection, [card(device) for device in devices], to_datetime(after(0)))


async def plan(url: str, *devices: drill.Device, ends: float) -> int:
    """Note a drill in which devices press at START, and which ends so many seconds after."""
    async with connect(url) as connection, connection.transaction():
        calls = [drill.Planned(device, "sos", to_datetime(after(0))) for device in devices]
        return await drill.begin(
            connection,
            calls,
            region="430602",
            by="演练组",
            began_at=to_datetime(after(0)),
            ends_at=to_datetime(after(ends)),
        )


async def end(url: str, at: float) -> int:
    """Look for drills that are over, so many seconds after START; return how many alarms ended."""
    async with connect(url) as connection:
        return await drill.end_due(connection, to_datetime(after(at)))


STANDS = (
    "SELECT d.device, a.kind, a.drill, a.count, a.outcome"
    " FROM alarms a JOIN devices d USING (device_id) ORDER BY alarm_id"
)


async def test_only_the_registry_says_what_is_a_drill(url: str) -> None:
    """Neither a field nor a channel of a message does; what its devices say is of it, also if unreadable."""
    await enter(url, "BELL-7")
    async with Line(settings_for(url)) as line:
        await line.feed(
            message("BELL-1", "sos", {"drill": True}),
            message("STRANGER", "sos", {"drill": True}, at=1),
            message("BELL-7", "sos", b"\xff", at=2),
            lane=Lane.URGENT,
        )
        await line.feed(message("BELL-1", "drill", {}, at=3))
    assert await tuples(url, STANDS) == [
        ("BELL-1", "sos", False, 1, None),
        ("STRANGER", "sos", False, 1, None),
        ("BELL-7", "sos", True, 1, None),
    ]


async def test_no_genuine_alarm_becomes_one_of_a_drill(url: str) -> None:
    """One that is open stays what it was; one of a drill becomes genuine as soon as a press may be."""
    await enter(url, "BELL-7")
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-1", "sos"), message("BELL-7", "sos", at=1), lane=Lane.URGENT)
        await script(url, "UPDATE devices SET drill = device = 'BELL-1'")
        await line.feed(message("BELL-1", "sos", at=2), message("BELL-7", "sos", at=3), lane=Lane.URGENT)
    assert await tuples(url, STANDS) == [("BELL-1", "sos", False, 2, None), ("BELL-7", "sos", False, 2, None)]


async def test_a_call_outside_any_drill_waits_for_duty(url: str) -> None:
    """Before a drill or after it, an alarm of its devices counts apart, and staff alone close it."""
    one, other = await enter(url, "BELL-7", "BELL-8")
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-8", "sos", at=-10), lane=Lane.URGENT)
        await plan(url, one, ends=600)
        await line.feed(message("BELL-7", "sos", at=1), message("BELL-7", "fall", at=2), lane=Lane.URGENT)
        assert await end(url, 599) == 0
        assert await end(url, 601) == 2
        await line.feed(message("BELL-7", "sos", at=1000), lane=Lane.URGENT)
        await plan(url, other, ends=1200)
        assert await end(url, 9000) == 0
    assert await tuples(url, STANDS) == [
        ("BELL-8", "sos", True, 1, None),
        ("BELL-7", "sos", True, 1, "drill"),
        ("BELL-7", "fall", True, 1, "drill"),
        ("BELL-7", "sos", True, 1, None),
    ]


async def test_what_is_still_on_its_way_when_a_drill_is_ended_early_belongs_to_it(url: str) -> None:
    """The broker delivers until the end that was planned; so long the devices take part in no other drill."""
    (one,) = await enter(url, "BELL-7")
    number = await plan(url, one, ends=600)
    async with connect(url) as connection:
        await drill.end_at(connection, number, to_datetime(after(100)))
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-7", "sos", at=500), lane=Lane.URGENT)
    async with connect(url) as connection:
        assert (await drill.calls(connection, number))[0].handling == "unacknowledged"
        assert await end(url, 505) == 1
        assert await drill.free(connection, "430602", to_datetime(after(659)), 10) == []
        assert await drill.free(connection, "430602", to_datetime(after(661)), 10) == [one]


async def test_a_call_that_overtakes_the_news_is_of_its_drill(url: str) -> None:
    """A bridge that has not heard of a device asks the registry, so nobody is counted or missed in error."""
    async with Line(settings_for(url)) as line:
        await enter(url, "BELL-7")
        await script(url, "UPDATE devices SET heartbeat_seconds = 86400 WHERE device = 'BELL-1'")
        await line.feed(message("BELL-7", "sos", at=1), message("BELL-1", "sos", at=2), lane=Lane.URGENT)
        assert line.bridge.registry.drill_ids == line.bridge.registry.stranger_ids == {3}
        dead = await line.feed(message("BELL-7", "heartbeat", {"battery": 3}, at=3))
        assert [letter.reason for letter in dead.dead] == ["unknown_device"]
        await line.tick(3600)
        assert await tuples(url, STANDS) == [
            ("BELL-7", "sos", True, 1, None),
            ("BELL-1", "sos", False, 1, None),
        ]
        await line.tick(5 * 86_400)
    found = await tuples(
        url, "SELECT DISTINCT d.device FROM alarms a JOIN devices d USING (device_id) WHERE kind <> 'sos'"
    )
    assert found == [("BELL-1",)]


async def test_the_end_closes_whatever_staff_are_at_and_leaves_what_is_locked(url: str) -> None:
    """Unacknowledged, acknowledged or dispatched; a row that somebody holds comes at the next look."""
    devices = await enter(url, "BELL-7", "BELL-8", "BELL-9")
    await plan(url, *devices, ends=600)
    async with Line(settings_for(url)) as line:
        await line.feed(*(message(each.device, "sos", at=1) for each in devices), lane=Lane.URGENT)
    async with connect(url) as connection, connect(url) as other:
        await alarms.handle(connection, 2, Verb.ACKNOWLEDGE, "王芳", after(5))
        await alarms.handle(connection, 3, Verb.ACKNOWLEDGE, "王芳", after(5))
        await alarms.handle(connection, 3, Verb.DISPATCH, "王芳", after(6), to="李强")
        async with connection.transaction():
            await connection.execute("SELECT FROM alarms WHERE alarm_id = 1 FOR UPDATE")
            assert await drill.end_due(other, to_datetime(after(601))) == 2
        assert await drill.end_due(other, to_datetime(after(602))) == 1
        assert await drill.end_due(other, to_datetime(after(603))) == 0
        reported = await drill.calls(connection, 1)
    assert [(each.handling, each.acknowledged_by, each.acknowledged_seconds) for each in reported] == [
        ("closed", None, None),
        ("closed", "王芳", 4.0),
        ("closed", "王芳", 4.0),
    ]
    assert await tuples(url, "SELECT DISTINCT handling, outcome, closed_by FROM alarms") == [
        ("closed", "drill", "carebell")
    ]
    verbs = "SELECT array_agg(verb ORDER BY log_id) FROM alarm_log WHERE alarm_id = 3"
    assert await tuples(url, verbs) == [(["raised", "acknowledged", "dispatched", "closed"],)]


async def test_a_desk_whose_database_was_away_ends_what_is_over(
    url: str, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says once that it cannot, goes on, and does it when the database is back."""
    monkeypatch.setattr(endings, "LOOK_EVERY", 0.05)
    devices = await enter(url, "BELL-7")
    await plan(url, *devices, ends=600)
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-7", "sos", at=1), lane=Lane.URGENT)
    clock = Clock(time.time(), after(601) / SECOND)
    database.stop()
    async with opened(make_pool(url)) as pool, endings.ending(pool, clock):
        try:
            await until(lambda: "cannot be ended" in caplog.text, "it says so")
            await asyncio.sleep(0.5)
        finally:
            database.start()
        await until(lambda: tuples(url, "SELECT FROM alarms WHERE outcome = 'drill'"), "it ends")
    assert caplog.text.count("cannot be ended") == 1


async def test_nobody_misses_a_device_of_drills(url: str) -> None:
    """Days later it is neither silent nor inactive, also after a restart; a real one that pressed is."""
    await enter(url, "BELL-7")
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-1", "sos"), message("BELL-7", "sos", at=1), lane=Lane.URGENT)
        await line.tick(3600)
        dead = await line.feed(message("BELL-7", "heartbeat", {"battery": 3}, at=3601))
        assert [letter.reason for letter in dead.dead] == ["unknown_device"]
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-7", "fall", at=3700), lane=Lane.URGENT)
        await line.tick(3800)
        await line.tick(2 * 86_400)
        assert line.bridge.registry.drill_ids == {3}
    found = await tuples(
        url, "SELECT d.device, a.kind FROM alarms a JOIN devices d USING (device_id) ORDER BY alarm_id"
    )
    assert [row for row in found if row[0] == "BELL-7"] == [("BELL-7", "sos"), ("BELL-7", "fall")]
    assert ("BELL-1", "device_silent") in found


async def test_no_file_makes_a_device_of_drills_somebodys(url: str) -> None:
    """An import that names one changes nothing and says how to make it one like any other; then it is."""
    await enter(url, "BELL-7")
    await imported(url, PEOPLE, TWO_PEOPLE)
    before = await whole_registry(url)
    file = "device,region,person\nBELL-3,430602,YY-1\nBELL-7,430602,YY-2\n"
    summary = await imported(url, FILES["device"], file)
    (error,) = summary.errors
    assert error.line == 3
    assert error.said.startswith("BELL-7 is a device of drills")
    assert "`carebell device move BELL-7 --none`" in error.said
    assert await whole_registry(url) == before
    async with connect(url) as connection:
        assert (await registry.show_device(connection, "BELL-7")).device.drill
        moved = await registry.move(connection, "BELL-7", None, None, to_datetime(after(5)))
    assert not moved.device.drill
    assert (await imported(url, FILES["device"], file)).errors == []
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-7", "sos", at=6), lane=Lane.URGENT)
    assert await tuples(url, "SELECT drill, person_id IS NOT NULL FROM alarms") == [(False, True)]


async def test_a_device_that_has_become_somebodys_calls_in_no_drill(url: str) -> None:
    """It was given away between the plan and its call: the call must not be published."""
    (one,) = await enter(url, "BELL-7")
    number = await plan(url, one, ends=600)
    async with connect(url) as connection:
        await registry.move(connection, "BELL-7", None, None, to_datetime(after(5)))
        assert not await drill.send(connection, number, one)


async def test_figures_leave_drills_out_and_lists_do_not(url: str) -> None:
    """New alarms, devices and what the backtest reads are the real ones; what is open is all of it."""
    devices = await enter(url, "BELL-7", "BELL-8")
    await plan(url, *devices, ends=600)
    async with Line(settings_for(url)) as line:
        await line.feed(
            *(message(name, "sos", at=1) for name in ("BELL-1", "BELL-7", "BELL-8")), lane=Lane.URGENT
        )
    assert await board(url, "duty_life") == [(3,)]
    assert len(await board(url, "duty_alarms")) == 3
    assert [row[1:] for row in await board(url, "duty_raised")] == [(1, 0, 0)]
    assert await board(url, "fleet_counts") == [(2, 0, 0, 0)]
    assert [row[1] for row in await board(url, "fleet_regions")] == [2]
    assert len(await board(url, "device_card", device="BELL-7")) == 1
    async with connect(url) as connection:
        await alarms.handle(connection, 2, Verb.ACKNOWLEDGE, "王芳", after(31))
    assert await end(url, 601) == 2
    assert await board(url, "duty_life") == [(1,)]
    drills = await tuples(url, "SELECT calls, alarms, acknowledged, seconds, closed FROM board_drills")
    assert drills == [(0, 2, 1, 30.0, 0)]
    assert [row[10] for row in await board(url, "device_alarms", device="BELL-7")] == ["drill"]


async def board(url: str, name: str, **variables: str) -> list[tuple[Any, ...]]:
    """Return what a panel shows an hour after START, of the two hours before."""
    end = to_datetime(after(3600))
    query = boards.expand(boards.queries()[name], end - timedelta(hours=2), end, variables)
    return await tuples(url, query.replace("%", "%%"))


async def test_counts_of_the_installation_leave_drills_out(url: str) -> None:
    """Neither the bridge's gauge, nor the doctor, nor the list of regions counts their devices and people."""
    await enter(url, "BELL-7", "BELL-8")
    await script(url, "UPDATE devices SET region = '430603' WHERE device = 'BELL-8'; DELETE FROM contacts")
    async with Line(settings_for(url)) as line:
        line.bridge.readiness()
    assert [each.value for family in DEVICES.collect() for each in family.samples] == [2]
    async with connect(url) as connection:
        found = {each.check: each.found for each in await doctor._registry(connection, settings_for(url))}
        listed = await registry.regions(connection, limit=10)
    assert found["devices"] == "2"
    assert (found["people without a contact"], found["regions without a name"]) == ("0", "1")
    assert [(each.region, each.devices) for each in listed] == [("430602", 2)]


async def test_what_was_for_a_drill_stays_so_when_the_device_is_somebodys(url: str) -> None:
    """Of its rows those count, from when it was moved."""
    await plan(url, *await enter(url, "BELL-7"), ends=600)
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-7", "sos", {"seq": 1}, at=1), lane=Lane.URGENT)
        assert await end(url, 601) == 1
        async with connect(url) as connection:
            await registry.move(connection, "BELL-7", None, None, to_datetime(after(700)))
            await registry.move(connection, "BELL-7", None, None, to_datetime(after(900)))
        await line.feed(message("BELL-7", "sos", {"seq": 2}, at=800), lane=Lane.URGENT)
    async with connect(url) as connection:
        values = {"since": to_datetime(after(-60))}
        rows = await (await connection.execute(sql.load("verify")["rows"], values)).fetchall()
        assert [(device, seq) for device, _, seq, _ in rows] == [("BELL-7", 2)]
        assert await drill.former(connection) == {3: to_datetime(after(700))}


def test_the_backtest_leaves_drills_out(url: str, tmp_path: Path) -> None:
    """Of five presses it judges the real ones, one of them on a device that was moved after a drill."""

    async def live() -> None:
        await plan(url, *await enter(url, "BELL-7", "BELL-8", "BELL-9"), ends=600)
        async with Line(settings_for(url)) as line:
            await line.feed(
                message("BELL-1", "sos", at=1),
                message("BELL-7", "sos", at=2),
                message("BELL-8", "sos", b"\xff", at=3),
                message("BELL-9", "sos", b"\xff", at=4),
                lane=Lane.URGENT,
            )
            assert await end(url, 601) == 3
            async with connect(url) as connection:
                for device in ("BELL-8", "BELL-9"):
                    await registry.move(connection, device, None, None, to_datetime(after(3600)))
            await line.feed(message("BELL-8", "sos", at=7200), lane=Lane.URGENT)

    asyncio.run(live())
    config = tmp_path / "carebell.toml"
    clock = f"[clock]\norigin = {time.time()}\nstart = {after(86_400) / 1e6}\n"
    config.write_text(f'[database]\nurl = "{url}"\n{clock}', encoding="utf-8")
    rules = ("--rules", "rules/shipped.toml", "--from", "2026-03-01T16:00")
    found = CliRunner().invoke(app, ["rule", "backtest", *rules, "--json", "--config", str(config)])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["by_kind"]["sos"]["new"] == 2
