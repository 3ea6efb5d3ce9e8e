"""The figures of a month in both editions of the database: by hand, by a slow reckoning, and over HTTP."""

import json
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from duty.figures import Figures, Group, Question, Report, read
from ops.parts import Database
from schemas.alarms import Class, Outcome
from schemas.clock import to_microseconds
from schemas.settings import DutySettings
from store import sql
from tests.contract.test_duty_api import desk
from tests.desk import add_device, migrated, rows

MONTH = datetime.fromisoformat("2026-02-28T16:00Z")
"""Midnight of the first of March in Shanghai."""
AT = datetime.fromisoformat("2026-04-02T00:00Z")
SETTINGS = DutySettings(arrival_minutes=40, arrival={"4306": 10, "430626": 20})
COLUMNS = (
    *("device_id", "kind", "class", "severity", "quality", "condition", "handling", "raised_at", "last_at"),
    *(
        "acknowledged_at",
        "acknowledged_by",
        "dispatched_at",
        "arrived_at",
        "closed_at",
        "outcome",
        "reopened",
    ),
    *("drill", "suppressed"),
)
OPERATORS = ["王芳", "李强", "=HYPERLINK(1)", "<script>", "a\r\nb"]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as found:
        yield found


async def add(
    connection: AsyncConnection,
    raised: datetime,
    *,
    device: str = "BELL-1",
    region: str | None = "430602001",
    answered: float | None = None,
    by: str = "王芳",
    dispatched: bool = False,
    arrived: float | None = None,
    closed: float | None = None,
    **columns: Any,  # noqa: ANN401 - of any column
) -> None:
    """Write one alarm: seconds are from raised."""
    device_id = await add_device(connection, device)
    await connection.execute("UPDATE devices SET region = %s WHERE device_id = %s", (region, device_id))

    def later(seconds: float | None) -> datetime | None:
        return None if seconds is None else raised + timedelta(seconds=seconds)

    values: dict[str, Any] = {
        "device_id": device_id,
        "kind": "sos",
        "class": "life",
        "severity": "high",
        "quality": "ok",
        "condition": "active",
        "raised_at": raised,
        "last_at": raised,
        "reopened": 0,
        "drill": False,
        "handling": "unacknowledged" if closed is None else "closed",
        "acknowledged_at": later(answered),
        "acknowledged_by": None if answered is None else by,
        "dispatched_at": later(answered) if dispatched else None,
        "arrived_at": later(arrived),
        "closed_at": later(closed),
        "outcome": None,
        "suppressed": None,
        **columns,
    }
    marks = ", ".join("%s" for _ in COLUMNS)
    await connection.execute(
        f"INSERT INTO alarms ({', '.join(COLUMNS)}) VALUES ({marks})".encode(),
        [values[column] for column in COLUMNS],
    )


async def march(connection: AsyncConnection, region: str = "", at: datetime = AT) -> Report:
    """Return the figures of March 2026."""
    return await read(connection, Question("2026-03", region, to_microseconds(at)), SETTINGS)


def by_key(groups: Iterable[Group]) -> dict[str, Group]:
    """Return groups by their keys."""
    return {each.key: each for each in groups}


async def test_a_month_without_alarms(connection: AsyncConnection) -> None:
    """All counts are 0, and what would be of nothing is None."""
    found = await march(connection)
    assert found.life == found.drills == Figures()
    assert (found.by_region, found.by_operator, found.by_kind) == ([], [], [])
    assert (found.load.alarms, found.load.windows, found.load.mean) == (0, 31 * 144, 0.0)


async def test_a_month_by_hand(connection: AsyncConnection) -> None:
    """Six calls: in time, late, never, merged, of a drill, re-opened and stale."""
    eight = MONTH + timedelta(hours=8)
    await add(
        connection, eight, device="A", answered=60, dispatched=True, arrived=600, closed=900, outcome="fall"
    )
    await add(
        connection,
        eight,
        device="B",
        answered=60.001,
        by="李强",
        dispatched=True,
        arrived=600.5,
        closed=900,
        outcome="accidental",
    )
    await add(connection, eight + timedelta(hours=8), device="C", region="430626")
    merged: dict[str, Any] = {"answered": 5, "closed": 6, "outcome": "merged"}
    await add(connection, eight, device="D", **merged)
    await add(connection, eight, device="E", answered=1, drill=True, closed=10, outcome="drill")
    stale: dict[str, Any] = {"answered": 200, "closed": 86_401, "outcome": "test", "reopened": 2}
    await add(connection, MONTH, device="F", region=None, **stale)
    found = await march(connection)
    life = found.life
    assert (life.raised, life.merged, life.alarms, life.answered) == (5, 1, 4, 3)
    assert (life.within_60, life.within_180, life.share_60, life.share_180) == (1, 2, 0.25, 0.5)
    assert (life.median_seconds, life.p95_seconds) == (60.001, 200)
    assert (life.dispatched, life.arrived, life.arrived_in_time) == (2, 2, 1)
    assert life.outcomes == {Outcome.FALL: 1, Outcome.ACCIDENTAL: 1, Outcome.TEST: 1}
    assert (life.false_alarms, life.false_share) == (2, 2 / 3)
    assert (life.reopened, life.stale) == (1, 2)  # C is open to this day
    shifts = by_key(found.by_shift)
    assert {key: each.raised for key, each in shifts.items()} == {"early": 3, "late": 1, "night": 1}
    assert shifts["early"].merged == 1
    regions = by_key(found.by_region)
    assert {key: each.raised for key, each in regions.items()} == {"": 1, "430602": 3, "430626": 1}
    operators = by_key(found.by_operator)
    assert {key: each.answered for key, each in operators.items()} == {"": 0, "王芳": 2, "李强": 1}
    assert operators["王芳"].merged == 1
    assert (found.drills.raised, found.drills.within_60) == (1, 1)
    assert [(each.name, each.alarms, each.hours) for each in found.load.by_operator] == [
        ("李强", 1, 1),
        ("王芳", 2, 2),
    ]


async def test_a_month_ends_at_midnight_in_shanghai(connection: AsyncConnection) -> None:
    """What is raised at 16:00 UTC on the last of February is of March; a microsecond before it is not."""
    tick = timedelta(microseconds=1)
    for place, raised in enumerate(
        (MONTH - tick, MONTH, MONTH + timedelta(days=31) - tick, MONTH + timedelta(days=31))
    ):
        await add(connection, raised, device=f"BELL-{place}")
    found = await march(connection)
    assert found.life.raised == 2
    assert {each.key: each.raised for each in found.by_shift} == {"early": 0, "late": 1, "night": 1}


async def test_shifts_change_on_the_hour(connection: AsyncConnection) -> None:
    """Early from 8, late from 16, night from midnight, in Shanghai."""
    for place, hour in enumerate((0, 7.999, 8, 15.999, 9, 16, 23.999)):
        await add(connection, MONTH + timedelta(hours=hour), device=f"BELL-{place}")
    found = {each.key: each.raised for each in (await march(connection)).by_shift}
    assert found == {"early": 3, "late": 2, "night": 2}


async def test_the_longest_prefix_sets_the_limit(connection: AsyncConnection) -> None:
    """On site in 20 min in 430626, 10 in the rest of 4306, 40 elsewhere and where no region is known."""
    minutes = [("430602", 10), ("430602", 11), ("430626", 20), ("430626001", 21), ("110101", 40), (None, 41)]
    for place, (region, arrived) in enumerate(minutes):
        sent: dict[str, Any] = {"answered": 5, "dispatched": True, "arrived": arrived * 60}
        await add(connection, MONTH, device=f"BELL-{place}", region=region, **sent)
    found = {each.key: (each.arrived, each.arrived_in_time) for each in (await march(connection)).by_region}
    assert found == {"": (1, 0), "110101": (1, 1), "430602": (2, 1), "430626": (2, 1)}


async def test_who_is_under_way_is_not_on_site(connection: AsyncConnection) -> None:
    """Of the dispatched, somebody who has not come yet is not in time."""
    await add(connection, MONTH, answered=5, dispatched=True)
    found = (await march(connection)).life
    assert (found.dispatched, found.arrived, found.share_in_time) == (1, 0, 0.0)


async def test_only_a_region(connection: AsyncConnection) -> None:
    """A prefix of a code chooses what is in it, and limits nothing else."""
    for place, region in enumerate(("430602001", "430626", "110101", None)):
        await add(connection, MONTH, device=f"BELL-{place}", region=region)
    assert (await march(connection, "4306")).life.raised == 2
    assert (await march(connection, "430626")).life.raised == 1
    assert (await march(connection, "99")).life.raised == 0
    await connection.execute("INSERT INTO regions VALUES ('430626', '平江县')")
    names = {each.key: each.name for each in (await march(connection)).by_region}
    assert names == {"": "未填区划", "110101": "110101", "430602": "430602", "430626": "平江县"}


async def test_technical_alarms_end_by_themselves(connection: AsyncConnection) -> None:
    """Of what waited for staff are neither those that cleared first nor those that an outage explains."""
    technical: dict[str, Any] = {"class": "technical", "kind": "device_silent"}
    await add(connection, MONTH, device="A", closed=5, outcome="cleared", **technical)
    await add(connection, MONTH, device="B", suppressed="430602", **technical)
    await add(connection, MONTH, device="C", answered=30, **technical)
    await add(connection, MONTH, device="C", **{**technical, "kind": "chattering"})
    found = await march(connection)
    assert found.life == Figures(chattering=1)
    it = by_key(found.by_class)["technical"]
    assert (it.raised, it.suppressed, it.alarms, it.cleared_alone, it.answered) == (4, 1, 3, 1, 1)
    assert (it.share_60, it.false_share, found.load.alarms) == (0.5, None, 3)


async def test_a_clock_set_back_answers_at_once(connection: AsyncConnection) -> None:
    """An acknowledgement before the alarm counts as one after 0 s."""
    await add(connection, MONTH, answered=-5)
    found = (await march(connection)).life
    assert (found.within_60, found.median_seconds) == (1, 0)


async def test_it_equals_a_slow_reckoning(connection: AsyncConnection) -> None:
    """Of 300 random alarms each figure of each group is what a loop counts, and parts sum to the whole."""
    chance = random.Random(7)
    for number in range(300):
        await add(connection, **some(chance, number))
    found = await march(connection)
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT a.*, d.region, d.model FROM alarms a JOIN devices d USING (device_id)")
        alarms = [alarm for alarm in await cursor.fetchall() if MONTH <= alarm["raised_at"] < found.until]
    assert 100 < len(alarms) < 300
    drills = [alarm for alarm in alarms if alarm["drill"]]
    real = [alarm for alarm in alarms if not alarm["drill"]]
    assert_alike(found.drills, drills, drills)
    assert_alike(found.life, real, real)
    for groups, key in (
        (found.by_shift, shift_of),
        (found.by_region, region_of),
        (found.by_operator, operator_of),
    ):
        assert sum(each.raised for each in groups) == found.life.raised
        for each in groups:
            part = [alarm for alarm in real if key(alarm) == each.key]
            assert_alike(each, part, part)
    for each in found.by_class:
        part = [alarm for alarm in real if alarm["class"] == each.key]
        assert_alike(each, part, part, of=each.key)
    for kind in found.by_kind:
        part = [alarm for alarm in real if (alarm["kind"], alarm["model"]) == (kind.kind, kind.model)]
        assert kind.raised == len(part)
        assert kind.false_alarms == sum(
            alarm["outcome"] in {"accidental", "test", "equipment_fault"} for alarm in part if own(alarm)
        )
    assert sum(each.raised for each in found.by_kind) == len(real)
    assert found.load.alarms == sum(map(own, real))
    worked = [alarm for alarm in real if own(alarm) and alarm["acknowledged_at"]]
    assert sum(each.alarms for each in found.load.by_operator) == len(worked)


def some(chance: random.Random, number: int) -> dict[str, Any]:
    """Return an alarm of any kind and fate, in the month or beside it."""
    kind, alarm_class = chance.choice(
        [("sos", "life")] * 3 + [("hr_high", "health"), ("chattering", "technical")]
    )
    answered = chance.choice([None, 0, 59.9, 60, 61, 180, 181, chance.random() * 1000])
    dispatched = answered is not None and chance.random() < 0.5
    outcome = chance.choice([None, "merged", *(code for code in Outcome if code != "merged")])
    return {
        "raised": MONTH + timedelta(hours=chance.uniform(-240, 900)),
        "device": f"BELL-{number}",
        "region": chance.choice([None, "430602", "430602001", "430626", "110101"]),
        "answered": answered,
        "by": chance.choice(OPERATORS),
        "dispatched": dispatched,
        "arrived": chance.choice([None, 599, 601, 1199, 1201, 2399, 2401]) if dispatched else None,
        "closed": None if outcome is None else chance.choice([2000, 86_400, 86_401, 200_000]),
        "outcome": outcome,
        "kind": kind,
        "class": alarm_class,
        "reopened": chance.choice([0, 0, 1, 3]),
        "drill": chance.random() < 0.1,
        "suppressed": "430602" if alarm_class != "life" and chance.random() < 0.2 else None,
    }


def own(alarm: dict[str, Any]) -> bool:
    """Say whether an alarm counts in what is said of answering."""
    return alarm["outcome"] != "merged" and alarm["suppressed"] is None


def shift_of(alarm: dict[str, Any]) -> str:
    """Return the shift in which it was raised."""
    hour = (alarm["raised_at"] + timedelta(hours=8)).astimezone(MONTH.tzinfo).hour
    return "night" if hour < 8 else "early" if hour < 16 else "late"


def region_of(alarm: dict[str, Any]) -> str:
    """Return the county of its device."""
    return (alarm["region"] or "")[:6]


def operator_of(alarm: dict[str, Any]) -> str:
    """Return who acknowledged it."""
    return alarm["acknowledged_by"] or ""


def limit_of(alarm: dict[str, Any]) -> float:
    """Return within how many seconds somebody is to be on site."""
    region = alarm["region"] or ""
    return 1200 if region.startswith("430626") else 600 if region.startswith("4306") else 2400


def assert_alike(
    found: Figures, part: list[dict[str, Any]], all_: list[dict[str, Any]], of: str = ""
) -> None:
    """Count one by one and compare: life alarms, or those of a class, or all of a drill."""
    chosen = [alarm for alarm in part if alarm["drill"] or alarm["class"] == (of or Class.LIFE)]
    mine = [alarm for alarm in chosen if own(alarm)]
    seconds = sorted(
        (a["acknowledged_at"] - a["raised_at"]).total_seconds() for a in mine if a["acknowledged_at"]
    )
    sent = [alarm for alarm in mine if alarm["dispatched_at"]]
    came = [
        (a["arrived_at"] - a["raised_at"]).total_seconds() <= limit_of(a) for a in sent if a["arrived_at"]
    ]
    chattering = [
        alarm
        for alarm in (mine if of or chosen == all_ else all_)
        if alarm["kind"] == "chattering" and own(alarm)
    ]

    def count(wanted: Callable[[dict[str, Any]], object]) -> int:
        return sum(bool(wanted(alarm)) for alarm in mine)

    expected = Figures(
        raised=len(chosen),
        merged=sum(alarm["outcome"] == "merged" for alarm in chosen),
        suppressed=sum(alarm["suppressed"] is not None and alarm["outcome"] != "merged" for alarm in chosen),
        alarms=len(mine),
        cleared_alone=count(lambda a: a["outcome"] == "cleared" and a["acknowledged_at"] is None),
        answered=len(seconds),
        within_60=sum(each <= 60 for each in seconds),
        within_180=sum(each <= 180 for each in seconds),
        median_seconds=seconds[math.ceil(len(seconds) * 0.5) - 1] if seconds else None,
        p95_seconds=seconds[math.ceil(len(seconds) * 0.95) - 1] if seconds else None,
        dispatched=len(sent),
        arrived=len(came),
        arrived_in_time=sum(came),
        closed=count(lambda a: a["closed_at"]),
        outcomes=dict(Counter(Outcome(a["outcome"]) for a in mine if a["outcome"])),
        reopened=count(lambda a: a["reopened"]),
        stale=count(lambda a: (a["closed_at"] or AT) - a["raised_at"] > timedelta(hours=24)),
        chattering=len(chattering),
    )
    assert {name: getattr(found, name) for name in Figures.model_fields} == dict(expected)


async def test_the_range_of_an_index_is_read(connection: AsyncConnection) -> None:
    """A month among years is found by its times, not by looking at every alarm."""
    await add_device(connection, "BELL-1")
    await connection.execute(
        "INSERT INTO alarms (device_id, kind, class, severity, quality, condition, handling, raised_at,"
        " last_at, closed_at, outcome)"
        " SELECT 1, 'sos', 'life', 'critical', 'ok', 'cleared', 'closed', at, at, at, 'test'"
        " FROM generate_series(timestamptz '2024-01-01', '2026-12-31', interval '30 min') AS at"
    )
    await connection.execute("ANALYZE alarms")
    question = Question("2026-03", "", to_microseconds(AT))
    since, until = question.span()
    values = {
        "since": since,
        "until": until,
        "at": AT,
        "within": "",
        "arrival": 2400.0,
        "prefixes": [],
        "limits": [],
    }
    plan = await connection.execute(b"EXPLAIN " + sql.load("figures")["figures"], values)
    said = "\n".join(line for (line,) in await plan.fetchall())
    assert "Scan using alarms_raised" in said or "Bitmap Index Scan on alarms_raised" in said
    assert "Seq Scan on alarms" not in said
    assert (await march(connection)).life.raised == 31 * 48


@pytest.mark.one_edition
async def test_supervisors_ask_over_http(database: Database, connection: AsyncConnection) -> None:
    """The desk answers a supervisor with the figures, an operator with 403 and what is no month with 422."""
    await add(connection, MONTH, answered=5, by="<script>")
    async with desk(database.url, insecure=True) as client:
        answer = await client.get("/api/figures", params={"month": "2026-03"})
        assert answer.status_code == 200
        found = json.loads(answer.content)
        assert (found["life"]["share_60"], found["by_operator"][0]["key"]) == (1.0, "<script>")
        assert found["since"] == "2026-02-28T16:00:00Z"
        for params in ({}, {"month": "2026-13"}, {"month": "2026-03", "region": "x"}, {"month": "2026-03\n"}):
            assert (await client.get("/api/figures", params=params)).status_code == 422
    async with desk(database.url) as client:
        assert (await client.get("/api/figures?month=2026-03")).status_code == 401
        headers = {"Authorization": "Bearer token-of-wang"}
        refused = await client.get("/api/figures?month=2026-03", headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (403, "role_too_low")
    assert len(await rows(connection, "SELECT 1 FROM alarms")) == 1
