"""The boards on each database edition, read as Grafana reads them: with the role that sees views only.

The database is that of a town of simulated devices, which was played through a broker and a bridge.
"""

import asyncio
import dataclasses
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from device_sims.publish import play
from device_sims.town import Town
from grafana import BOARDS, DASHBOARDS, alerts
from ops.parts import Database, find_mosquitto, mosquitto_broker, scratch_dir
from ops.town import enter
from schemas.alarms import KINDS, Class, area_zh
from schemas.clock import SECOND, to_datetime
from schemas.settings import ClockSettings
from store import boards
from store.connection import connect
from store.migrate import migrate
from store.rollup import roll_up, roll_up_slice
from tests.conftest import DEVICES, skip_service
from tests.contract.kit import tuples
from tests.installation import Installation, installation, until
from tests.mqtt import Client
from tests.services import fresh_database

SPEED = 60.0
MINUTES = 20
DEVICE = "BAND-0001"
"""Has all that a board of one device may show; the town alone measures no blood pressure and no glucose."""

DRILL = """
WITH drill AS (
    INSERT INTO drills (region, began_at, began_by, ends_at, heard_until, after_alarm_id)
    VALUES ('430602', now() - interval '2 h', '王芳', now() - interval '1 h', now() - interval '1 h', 0)
    RETURNING drill_id
)
INSERT INTO drill_calls (drill_id, device_id, kind, due_at)
SELECT drill_id, 1, 'sos', now() - interval '2 h' FROM drill
"""
"""One that is over."""

PERSON = "B-1"
"""Who wears it."""

PAST = """
WITH given (device_id, kind, class, after, answered, sent, arrived, outcome, operator) AS (VALUES
    (1, 'sos', 'life', 0, 20, true, 500, 'medical', '王芳'),
    (2, 'sos', 'life', 9, 90, true, 1200, 'fall', '李强'),
    (3, 'fall', 'life', 20, 200, false, NULL, 'accidental', '王芳'),
    (4, 'hr_high', 'health', 30, 50, false, NULL, 'check_in', '李强')
)
INSERT INTO alarms (device_id, kind, class, severity, quality, condition, handling, count, raised_at,
                    last_at, acknowledged_at, acknowledged_by, dispatched_at, arrived_at, closed_at,
                    closed_by, outcome)
SELECT device_id, kind, class, 'high', 'ok', 'active', 'closed', 3, at, at, at + answered * interval '1 s',
       operator, CASE WHEN sent THEN at + answered * interval '2 s' END, at + arrived * interval '1 s',
       at + interval '25 min', operator, outcome
FROM given, LATERAL (SELECT now() - interval '40 min' + after * interval '1 s' AS at) AS t
"""
"""What people closed."""

PRESENT = """
UPDATE regions SET lat = 29.37, lon = 113.13 WHERE region = '430602001';
UPDATE people SET person = 'B-1'
WHERE person_id = (SELECT person_id FROM devices WHERE device = 'BAND-0001');
INSERT INTO devices (device, region, self_registered) VALUES ('?area:430602002', '430602002', true);
INSERT INTO alarms (device_id, kind, class, severity, quality, condition, raised_at, last_at, suppressed,
                    shelved_until)
SELECT device_id, 'area_outage', 'technical', 'high', 'ok', 'active', now(), now(), NULL, NULL::timestamptz
FROM devices WHERE device = '?area:430602002'
UNION ALL SELECT 2, 'mains_lost', 'technical', 'medium', 'ok', 'active', now(), now(), '430602002', NULL
UNION ALL
SELECT 3, 'tamper', 'technical', 'medium', 'ok', 'active', now() - interval '30 h', now(), NULL, NULL
UNION ALL SELECT 4, 'temp_low', 'health', 'high', 'ok', 'active', now(), now(), NULL, now() + interval '1 h'
"""
"""An area that is out, what it explains, what is stale, what shelved; where a region is, whose the band."""

LENGTHS = [timedelta(minutes=1), timedelta(hours=2), timedelta(days=3 * 365)]


@dataclasses.dataclass(frozen=True)
class Filled:
    """A database with a town's day in it, and the moment after which nothing happened."""

    database: Database
    end: datetime


@pytest.fixture(scope="module", params=["timescale", "native"])
def filled(request: pytest.FixtureRequest) -> Iterator[Filled]:
    """Give a database of each edition that the real line has filled."""
    server: Database = request.getfixturevalue(f"{request.param}_server")
    if not find_mosquitto():
        skip_service("mosquitto", "not installed")
    with (
        scratch_dir() as scratch,
        mosquitto_broker(scratch / "broker", DEVICES) as broker,
        fresh_database(server.url) as url,
    ):
        now = time.time()
        clock = ClockSettings(origin=now, start=now, speed=SPEED)

        async def fill() -> datetime:
            async with installation(broker, url, scratch, clock=clock) as installed:
                await _play(installed)
                return to_datetime(clock.clock().now())

        end = asyncio.run(fill())
        yield Filled(dataclasses.replace(server, url=url), end)


async def _play(installed: Installation) -> None:
    """Let a town live, and one of its devices measure what no other does."""
    clock = installed.settings.clock.clock()
    start = clock.now() + 120 * SECOND
    town = Town.build(60, MINUTES, 7, start, speed=SPEED, duty=False)
    await enter(installed.connection, town)
    await installed.start()
    with Client(installed.broker.town_url) as band:
        for channel, payload in (
            ("vitals", {"hr": 71, "spo2": 97, "temp": 36.5, "sbp": 131, "dbp": 82, "glucose": 5.6}),
            ("vitals", {"worn": True}),
            ("activity", {"motion": True}),
            ("heartbeat", {"battery": 8, "rssi": -71}),
            ("event", {"kind": "low_battery"}),
            ("sos", {"source": "button", "lat": 29.371234, "lon": 113.128765}),
        ):
            band.publish(f"carebell/v1/430602/{DEVICE}/{channel}", json.dumps(payload))
    await play(town, installed.town, clock)
    kinds = {expected.kind for expected in town.truth.expected if not expected.closed}
    assert {"sos", "low_battery", "device_silent"} <= kinds, "a town in which too little happens"
    found = await installed.until_rows(
        "SELECT DISTINCT kind FROM alarms WHERE closed_at IS NULL", lambda rows: {k for (k,) in rows} >= kinds
    )
    assert {kind for (kind,) in found} >= kinds
    await installed.connection.execute(DRILL)
    await installed.connection.execute(PAST)
    await installed.connection.execute(PRESENT)


def panels() -> list[dict[str, Any]]:
    """Return every panel of every board that asks the database."""
    found = [
        panel
        for name in BOARDS
        for panel in json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))["panels"]
    ]
    return [panel for panel in found if "rawSql" in panel["targets"][0]]


def sql_of(panel: dict[str, Any]) -> str:
    """Return a panel's query, macros and variables still in it."""
    return str(panel["targets"][0]["rawSql"])


class Board:
    """A connection that is the boards' role."""

    def __init__(self, url: str) -> None:
        """Become the role for as long as the connection lives."""
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(boards.ROLE)))

    def ask(
        self, query: str, end: datetime, length: timedelta = timedelta(hours=2), **variables: str
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the columns and rows that Grafana would get for a range that ends at `end`."""
        text = boards.expand(query, end - length, end, {"device": DEVICE, "person": PERSON, **variables})
        cursor = self.connection.execute(text.encode())
        return [column.name for column in cursor.description or []], cursor.fetchall()


@pytest.fixture
def board(filled: Filled) -> Iterator[Board]:
    """Give the role's view of the filled database."""
    found = Board(filled.database.url)
    with found.connection:
        yield found


# ----------------------------------------------------------------------------------------------------- panels


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_every_panel_gives_rows_and_the_columns_it_names(
    panel: dict[str, Any], board: Board, filled: Filled
) -> None:
    """Its query has rows; each column that it shows in its own way is there, each word of it has a name."""
    columns, rows = board.ask(sql_of(panel), filled.end)

    assert rows
    overrides = panel["fieldConfig"]["overrides"]
    assert {override["matcher"]["id"] for override in overrides} <= {"byName"}
    assert {override["matcher"]["options"] for override in overrides} <= set(columns)
    for override in overrides:
        shown = {row[columns.index(override["matcher"]["options"])] for row in rows}
        for each in override["properties"]:
            if each["id"] == "mappings":
                assert {_as_grafana(value) for value in shown} <= {"null", *each["value"][0]["options"]}
    if panel["type"] == "geomap":
        assert columns[1:3] == ["latitude", "longitude"]
        assert all(isinstance(value, float) for row in rows for value in row[1:3])
    if panel["type"] in ("stat", "timeseries"):
        numbers = rows[0][1:] if panel["type"] == "timeseries" else rows[0]
        assert all(isinstance(value, int | float | None) for value in numbers)
        assert any(value is not None for value in numbers)
    if panel["type"] == "timeseries":
        assert columns[0] == "time"
        assert [row[0] for row in rows] == sorted({row[0] for row in rows})


def _as_grafana(value: object) -> str:
    """Write a value as the key of a mapping."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


@pytest.mark.parametrize("length", LENGTHS, ids=str)
def test_no_range_is_too_short_or_too_long(length: timedelta, board: Board, filled: Filled) -> None:
    """Every query answers for a minute, for two hours and for three years; a series has a bounded length."""
    for query in boards.queries().values():
        _, rows = board.ask(query, filled.end, length)
        assert len(rows) <= 2 * boards.MAX_DATA_POINTS


def test_the_list_of_devices_is_searched_by_device_and_by_person(board: Board, filled: Filled) -> None:
    """What is typed is the beginning of a device's name or of a person's; the device is what is chosen."""
    query = boards.queries()["device_choices"]
    columns, every = board.ask(query, filled.end)
    assert columns == ["__value", "__text"], "what Grafana takes for value and text"
    assert (len(every), len({value for value, _ in every})) == (61, 61), "60 and the area that is out"
    _, bells = board.ask(query, filled.end, __searchFilter="BELL%")
    assert bells == [row for row in every if row[0].startswith("BELL")]
    (name,) = {text.removeprefix(f"{value} ") for value, text in every if value == DEVICE}
    _, found = board.ask(query, filled.end, __searchFilter=f"{name}%")
    assert (DEVICE, f"{DEVICE} {name}") in found
    assert {text.split(" ")[1] for _, text in found} == {name}


def test_the_list_of_people_is_searched_by_number_and_by_name(board: Board, filled: Filled) -> None:
    """What is typed is the beginning of a number or of a name; the number is what is chosen."""
    query = boards.queries()["person_choices"]
    columns, every = board.ask(query, filled.end)
    assert columns == ["__value", "__text"]
    with psycopg.connect(filled.database.url) as admin:
        assert {number for number, _ in every} == {
            number for (number,) in admin.execute("SELECT person FROM people").fetchall()
        }
    ((number, text),) = board.ask(query, filled.end, __searchFilter=f"{PERSON}%")[1]
    assert number == PERSON
    name = text.removeprefix(f"{PERSON} ")
    assert (number, text) in board.ask(query, filled.end, __searchFilter=f"{name}%")[1]


def test_the_map_shows_a_call_by_the_place_that_it_came_with(board: Board, filled: Filled) -> None:
    """To about a hundred metres, beside the regions of which somebody entered where they are."""
    _, rows = board.ask(boards.queries()["region_map"], filled.end)
    assert (DEVICE, 29.371, 113.129, 1, 1) in rows
    assert [row[1:3] for row in rows if row[0] == "岳阳楼街道"] == [(29.37, 113.13)]


def test_an_outage_shows_what_it_explains(board: Board, filled: Filled) -> None:
    """One line for the area, with the number of alarms behind it, which no list shows; nor what shelved."""
    columns, rows = board.ask(boards.queries()["region_outages"], filled.end)
    (out,) = [dict(zip(columns, row, strict=True)) for row in rows]
    assert (out["区域"], out["因此不列出"]) == ("三眼桥街道", 1)
    columns, rows = board.ask(boards.queries()["region_now"], filled.end)
    now = dict(zip(columns, rows[0], strict=True))
    assert (now["中断区域"], now["因中断而不列出"], now["搁置"]) == (1, 1, 1)
    columns, rows = board.ask(boards.queries()["duty_alarms"], filled.end)
    with psycopg.connect(filled.database.url) as admin:
        hidden = admin.execute(
            "SELECT alarm_id FROM alarms WHERE suppressed IS NOT NULL OR shelved_until IS NOT NULL"
        ).fetchall()
    assert len(hidden) == 2
    assert {number for (number,) in hidden}.isdisjoint(row[columns.index("编号")] for row in rows)


def test_a_person_has_what_their_device_measured(board: Board, filled: Filled) -> None:
    """The pulse of the band stands on its wearer's board, over each range, and so do its alarms."""
    for length in LENGTHS[1:]:
        own = board.ask(boards.queries()["person_heart"], filled.end, length)[1]
        assert own == board.ask(boards.queries()["device_heart"], filled.end, length)[1] != []
    columns, rows = board.ask(boards.queries()["person_alarms"], filled.end)
    assert "sos" in {row[columns.index("告警")] for row in rows}
    assert {row[columns.index("设备")] for row in rows} == {DEVICE}


def test_the_newest_life_alarm_stands_on_top(board: Board, filled: Filled) -> None:
    """Life alarms come first, the newest of them on top; then the severest; contacts stand in order."""
    columns, rows = board.ask(boards.queries()["duty_alarms"], filled.end)
    listed = [dict(zip(columns, row, strict=True)) for row in rows]
    of_life = {kind.name for kind in KINDS.values() if kind.alarm_class is Class.LIFE}
    life = [row for row in listed if row["告警"] in of_life]
    assert life == listed[: len(life)]
    assert [row["发生时间"] for row in life] == sorted((row["发生时间"] for row in life), reverse=True)
    order = ["critical", "high", "medium", "low"]
    ranks = [order.index(row["级别"]) for row in listed[len(life) :]]
    assert ranks == sorted(ranks)
    (called,) = [row for row in life if row["设备"] == DEVICE and row["告警"] == "sos"]
    with psycopg.connect(filled.database.url) as admin:
        contacts = admin.execute(
            "SELECT c.name, c.relation FROM contacts c JOIN devices USING (person_id) WHERE device = %s"
            " ORDER BY rank",
            (DEVICE,),
        ).fetchall()
    assert contacts
    assert called["联系顺序"] == " → ".join(f"{name}（{relation}）" for name, relation in contacts)


async def test_the_hours_show_what_the_rows_showed(board: Board, filled: Filled) -> None:
    """Rolled up not at all, half or whole: each row counts once, and three years of a pulse look the same."""
    query = boards.queries()["device_heart"]
    hours = "SELECT sum(hr_n)::integer, min(hr_min), max(hr_max) FROM board_vitals WHERE hourly"
    counted = await tuples(filled.database.url, "SELECT count(hr)::integer, min(hr), max(hr) FROM vitals")
    before = board.ask(query, filled.end, LENGTHS[-1])
    assert len(before[1]) == 1, "a day's interval"
    assert board.ask(hours, filled.end)[1] == counted
    async with await connect(filled.database.url) as connection:
        newest = await (await connection.execute("SELECT max(batch) FROM ingest_ledger")).fetchone()
        assert newest is not None
        await roll_up_slice(connection, newest[0] // 2, newest[0])
        assert board.ask(hours, filled.end)[1] == counted
        await roll_up(connection, lambda *_: None)
    assert await tuples(filled.database.url, "SELECT sum(hr_n)::integer FROM vitals_hourly") == [
        counted[0][:1]
    ]
    assert board.ask(hours, filled.end)[1] == counted
    assert board.ask(query, filled.end, LENGTHS[-1]) == before


async def test_days_whose_rows_are_gone_show_their_hours(database: Database) -> None:
    """However short the range is: what retention dropped is seen by its hours."""
    at = datetime.now(UTC) - timedelta(days=100)
    async with await connect(database.url) as connection:
        await migrate(connection)
        await connection.execute("INSERT INTO devices (device) VALUES (%s)", (DEVICE,))
        await connection.execute(
            "INSERT INTO vitals_hourly (device_id, hour, n, hr_n, hr_min, hr_sum, hr_max)"
            " SELECT device_id, date_trunc('hour', %s::timestamptz), 1, 1, 70, 70, 70 FROM devices",
            (at,),
        )
    found = Board(database.url)
    with found.connection:
        shown = found.ask(boards.queries()["device_heart"], at + timedelta(hours=1))[1]
    assert [row[1:] for row in shown] == [(70, 70, 70)]


# ---------------------------------------------------------------------------------------------------- figures


class Desk:
    """A database in which calls are raised and handled at will, and its boards."""

    def __init__(self, url: str, board: Board) -> None:
        """Raise everything on devices of one region, a day ago at the earliest."""
        self.admin = psycopg.connect(url, autocommit=True)
        self.board = board
        self.now = datetime.now(UTC)
        self.admin.execute("INSERT INTO regions (region, name) VALUES ('430602001', '岳阳楼街道')")

    def device(self, device: str, region: str = "430602001") -> int:
        """Return a device's number; it is made if there is none."""
        row = self.admin.execute(
            "INSERT INTO devices (device, region, model) VALUES (%s, %s, 'bell')"
            " ON CONFLICT (device) DO UPDATE SET device = excluded.device RETURNING device_id",
            (device, region),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def call(self, device: str, ago: float, *, kind: str = "sos", **columns: object) -> int:
        """Raise an alarm so many seconds ago; times among the columns are seconds after that."""
        at = self.now - timedelta(seconds=ago)
        row = {
            "device_id": self.device(device),
            "kind": kind,
            "class": KINDS[kind].alarm_class.value,
            "severity": KINDS[kind].severity.value,
            "quality": "ok",
            "condition": "active",
            "raised_at": at,
            "last_at": at,
        }
        for name, value in columns.items():
            timed = name.endswith("_at") and isinstance(value, int | float)
            row[name] = at + timedelta(seconds=float(str(value))) if timed else value
        names = sql.SQL(", ").join(map(sql.Identifier, row))
        marks = sql.SQL(", ").join(map(sql.Placeholder, row))
        insert = sql.SQL("INSERT INTO alarms ({}) VALUES ({}) RETURNING alarm_id").format(names, marks)
        found = self.admin.execute(insert, row).fetchone()
        assert found is not None
        return int(found[0])

    def handled(self, device: str, answer: float, outcome: str = "check_in", **columns: Any) -> int:  # noqa: ANN401 - of any column
        """Raise a call an hour ago that 王芳 acknowledged after so many seconds and closed."""
        ended: dict[str, Any] = {
            "handling": "closed",
            "closed_at": 1200,
            "closed_by": "王芳",
            "outcome": outcome,
        }
        taken: dict[str, Any] = {"acknowledged_at": answer, "acknowledged_by": "王芳"}
        return self.call(device, 3600, **ended, **taken, **columns)

    def shown(self, name: str, length: timedelta = timedelta(hours=6)) -> list[dict[str, Any]]:
        """Return what a query of the boards says."""
        columns, rows = self.board.ask(boards.queries()[name], self.now, length)
        return [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """Give a desk without alarms."""
    board = Board(database.url)
    found = Desk(database.url, board)
    with board.connection, found.admin:
        yield found


def test_calls_are_answered_in_time_or_not(desk: Desk) -> None:
    """Within 60 and 180 s of the calls that waited for staff: what nobody took yet was not taken in time."""
    for number, seconds in enumerate((10, 60, 61, 180, 400)):
        desk.handled(f"B-{number}", seconds)
    desk.call("B-6", 200)
    (found,) = desk.shown("quality_shares")
    assert (found["60 秒内接"], found["180 秒内接"]) == (2 / 6, 4 / 6)
    days = desk.shown("quality_answered")
    assert {(day["目标 97.5 %"], day["目标 99 %"]) for day in days} == {(0.975, 0.99)}
    assert desk.shown("quality_unanswered") == [{"至今未接的呼叫": 1}]


def test_somebody_came_in_time_or_not(desk: Desk) -> None:
    """Of the calls to which somebody was sent, from the call on; who has not come is not in time."""
    for number, arrived in enumerate((599, 601, 2400, 2401)):
        desk.handled(f"B-{number}", 10, dispatched_at=30, arrived_at=arrived)
    desk.handled("B-5", 10, dispatched_at=30)
    desk.handled("B-6", 10)
    (found,) = desk.shown("quality_shares")
    assert (found["10 分钟内到场"], found["40 分钟内到场"]) == (1 / 5, 3 / 5)


def test_drills_merged_and_explained_alarms_do_not_count(desk: Desk) -> None:
    """Neither in shares nor in outcomes, models, load, operators, devices that chatter."""
    kept = desk.handled("B-1", 10, "accidental", count=4)
    desk.handled("B-2", 500, "medical", drill=True)
    desk.handled("B-3", 500, "merged", parent_id=kept)
    desk.handled("B-4", 500, "medical", suppressed="430602")
    (shares,) = desk.shown("quality_shares")
    assert (shares["60 秒内接"], shares["误报"]) == (1, 1)
    assert [(row["结果"], row["合计"], row["占比"]) for row in desk.shown("quality_outcomes")] == [
        ("accidental", 1, 1)
    ]
    (model,) = desk.shown("quality_models")
    assert (model["型号"], model["已关闭"], model["误触"], model["误报率"]) == ("bell", 1, 1, 1)
    assert [(row["设备"], row["触发"]) for row in desk.shown("quality_chattering")] == [("B-1", 4)]
    assert [row["已接"] for row in desk.shown("quality_operators")] == [1]
    assert [row["每坐席 10 分钟告警"] for row in desk.shown("quality_load")] == [1]


def test_what_ended_by_itself_is_nobodys_answer(desk: Desk) -> None:
    """A technical alarm that cleared is no outcome and no false alarm."""
    ended: dict[str, Any] = {
        "handling": "closed",
        "closed_at": 60,
        "closed_by": "carebell",
        "outcome": "cleared",
    }
    desk.call("B-1", 3600, kind="low_battery", **ended)
    assert desk.shown("quality_outcomes") == desk.shown("quality_models") == []
    desk.handled("B-2", 10, "equipment_fault")
    desk.handled("B-3", 10, "medical")
    (shares,) = desk.shown("quality_shares")
    assert shares["误报"] == 1 / 2


def test_a_flood_begins_above_ten_and_ends_below_five(desk: Desk) -> None:
    """Each operator's by 10 minutes: 11 begin it, 5 keep it up, 4 end it, and 10 begin no other."""
    start = desk.now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    for window, alarms in enumerate((10, 11, 5, 4, 10)):
        for number in range(alarms):
            ago = (desk.now - start).total_seconds() - 600 * window - number
            ended: dict[str, Any] = {
                "handling": "closed",
                "closed_at": 30,
                "closed_by": "王芳",
                "outcome": "check_in",
            }
            desk.call(f"B-{window}-{number}", ago, acknowledged_at=5, acknowledged_by="王芳", **ended)
    (wang,) = desk.shown("quality_operators")
    assert (wang["坐席"], wang["已接"], wang["平均用时"]) == ("王芳", 40, 5)
    assert (wang["10 分钟平均"], wang["10 分钟最多"], wang["洪水分钟"]) == (40 / 6, 11, 20)
    assert max(row["每坐席 10 分钟告警"] for row in desk.shown("quality_load")) == 11


def test_two_operators_share_what_comes(desk: Desk) -> None:
    """The load is divided by those who acknowledged anything in the hour; with nobody there it is whole."""
    at = desk.now.replace(minute=10, second=0, microsecond=0) - timedelta(hours=3)
    ago = (desk.now - at).total_seconds()
    for number, operator in enumerate(("王芳", "李强", "王芳", "李强")):
        desk.call(f"B-{number}", ago - number, acknowledged_at=5, acknowledged_by=operator)
    for number in range(3):
        desk.call(f"C-{number}", ago - 3600 - number)
    assert [row["每坐席 10 分钟告警"] for row in desk.shown("quality_load")] == [2, 3]


def test_what_is_open_for_more_than_a_day_is_stale(desk: Desk) -> None:
    """And shows first what is oldest; what is closed or younger does not stand there."""
    old = desk.call("B-1", 25 * 3600)
    older = desk.call("B-2", 50 * 3600, kind="low_battery")
    desk.call("B-3", 23 * 3600)
    assert [row["编号"] for row in desk.shown("quality_stale")] == [older, old]


def test_a_street_has_its_own_line(desk: Desk) -> None:
    """Communities stand under their street, with what is open, silent and out; the worst comes first."""
    for device, region in (("B-1", "430602001001"), ("B-2", "430602001002"), ("B-3", "430602002")):
        desk.device(device, region)
    desk.call("B-1", 100)
    desk.call("B-2", 100, kind="device_silent")
    desk.device("?area:430602002", "430602002")
    desk.admin.execute("UPDATE devices SET self_registered = true WHERE device LIKE '?area:%'")
    desk.call("?area:430602002", 50, kind="area_outage")
    first, second = desk.shown("region_list")
    assert (first["地区"], first["生命"], first["技术"], first["未确认"]) == ("岳阳楼街道", 1, 1, 2)
    assert (first["在册设备"], first["失联"], first["失联率"], first["中断"]) == (2, 1, 0.5, 0)
    assert (second["地区"], second["在册设备"], second["失联率"], second["中断"]) == ("430602002", 1, 0, 1)


@pytest.mark.parametrize("area", ["broker", "gateway:G-7"])
def test_an_area_that_is_no_region_has_its_chinese_name(area: str, desk: Desk) -> None:
    """The catalogue's, as on the desk."""
    desk.call(f"?area:{area}", 50, kind="area_outage")
    assert [row["区域"] for row in desk.shown("region_outages")] == [area_zh(area).strip()]


# ---------------------------------------------------------------------------------------------------- people


def _person(desk: Desk, number: str, name: str) -> int:
    row = desk.admin.execute(
        "INSERT INTO people (person, name, phone) VALUES (%s, %s, '13900000000') RETURNING person_id",
        (number, name),
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_an_identity_number_is_not_shown(desk: Desk) -> None:
    """Where files number people by it, the boards know them by another, by which they are found."""
    of_eighteen = _person(desk, "43060219400101123X", "李桂英")
    of_fifteen = _person(desk, "430602400101123", "王秀兰")
    written = [
        _person(desk, number, "陈玉珍")
        for number in (
            "430602-19400307-1237",
            "SFZ430602194003071239",
            "４３０６０２１９４００３０７１２３６",
            "13907300001",
        )
    ]
    _person(desk, "A-17", "张德华")
    chosen = {value: text for each in desk.shown("person_choices") for value, text in [tuple(each.values())]}
    assert chosen == {
        f"#{of_eighteen}": f"#{of_eighteen} 李桂英",
        f"#{of_fifteen}": f"#{of_fifteen} 王秀兰",
        **{f"#{person_id}": f"#{person_id} 陈玉珍" for person_id in written},
        "A-17": "A-17 张德华",
    }
    query = boards.queries()["person_card"]
    _, found = desk.board.ask(query, desk.now, person=f"#{of_eighteen}")
    assert [row[:2] for row in found] == [(f"#{of_eighteen}", "李桂英")]
    assert desk.board.ask(query, desk.now, person="43060219400101123X")[1] == []


def test_a_device_that_passed_on_leaves_its_past_behind(desk: Desk) -> None:
    """What it measured stays with whom it was about: each sees their own pulse, by rows and by hours."""
    before, after = _person(desk, "P-before", "李桂英"), _person(desk, "P-after", "王秀兰")
    device = desk.device("BAND-1")
    hour = desk.now.replace(minute=0, second=0, microsecond=0)
    for person, since in ((before, hour - timedelta(days=60)), (after, hour - timedelta(hours=10))):
        desk.admin.execute("SELECT set_config('carebell.at', %s, false)", (since.isoformat(),))
        desk.admin.execute("UPDATE devices SET person_id = %s WHERE device_id = %s", (person, device))
    for ago, pulse in ((12, 61), (8, 81)):
        at = hour - timedelta(hours=ago, minutes=-5)
        desk.admin.execute(
            "INSERT INTO vitals (device_id, ts, received_at, time_quality, digest, batch, hr, worn)"
            " VALUES (%s, %s, %s, 0, 1, 1, %s, true)",
            (device, at, at, pulse),
        )
    hours = ((59 * 24, 60), (11, 62), (9, 82))
    for ago, pulse in hours:
        desk.admin.execute(
            "INSERT INTO vitals_hourly (device_id, hour, n, hr_n, hr_min, hr_sum, hr_max)"
            " VALUES (%s, %s, 1, 1, %s, %s, %s)",
            (device, hour - timedelta(hours=ago), pulse, pulse, pulse),
        )
    query = boards.queries()["person_heart"]

    def pulses(person: str, length: timedelta) -> set[float]:
        return {row[2] for row in desk.board.ask(query, desk.now, length, person=person)[1]}

    assert pulses("P-before", timedelta(days=2)) == {61}
    assert pulses("P-after", timedelta(days=2)) == {81}
    desk.admin.execute("UPDATE rolled_up SET batch = 1, until = now()")
    day = timedelta(days=9)
    assert (pulses("P-before", day), pulses("P-after", day)) == ({62}, {82})
    assert pulses("P-before", timedelta(days=70)) == {60, 62}


# ---------------------------------------------------------------------------------------------------- alerts


def _alert(desk: Desk, name: str) -> tuple[float | None, bool]:
    """Return the number that a rule of Grafana gets, and whether it is beyond the rule's limit."""
    (rule,) = [each for each in alerts.RULES if each.name == name]
    _, ((value,),) = desk.board.ask(boards.queries()[rule.ask], desk.now)
    assert rule.beyond == "gt"
    return value, value is not None and value > rule.limit


def test_a_call_that_nobody_takes_is_told(desk: Desk) -> None:
    """From 3 minutes on; what is acknowledged, or no call for help, does not."""
    assert _alert(desk, "life") == (0, False)
    desk.call("B-1", 9000, acknowledged_at=10, acknowledged_by="王芳", handling="acknowledged")
    desk.call("B-2", 9000, kind="low_battery")
    assert _alert(desk, "life") == (0, False)
    desk.call("B-3", 150)
    value, fires = _alert(desk, "life")
    assert value == pytest.approx(150, abs=25)
    assert not fires
    desk.call("B-4", 190)
    assert _alert(desk, "life")[1]


def test_a_line_that_stores_nothing_is_told_and_ends_the_watchdog(desk: Desk) -> None:
    """The watchdog fires while batches are stored; two minutes without silence it, after the alert."""
    assert _alert(desk, "line") == (None, False), "no number: Grafana alerts on that too"
    assert _alert(desk, "watchdog") == (0, False)
    for batch, ago, stalls in ((1, 300, True), (2, 90, True), (3, 5, False)):
        desk.admin.execute(
            "INSERT INTO ingest_ledger (batch, run, lane, now, scan, newest_ts, packet_ids, hashes)"
            " VALUES (%s, gen_random_uuid(), 0, %s, false, now(), '', '')",
            (batch, desk.now - timedelta(seconds=ago)),
        )
        assert _alert(desk, "line")[1] == stalls
        assert _alert(desk, "watchdog")[1] == (ago < 120)


def test_many_silent_devices_are_told(desk: Desk) -> None:
    """A fifth of the registry, and at least 20: a house that is out is no alert."""
    for number in range(60):
        desk.device(f"B-{number}")
    for number in range(19):
        desk.call(f"B-{number}", 60, kind="device_silent")
    assert _alert(desk, "silent") == (0, False)
    desk.call("B-19", 60, kind="device_silent")
    assert _alert(desk, "silent") == (20 / 60, True)


def test_what_could_not_be_told_is_told_another_way(desk: Desk) -> None:
    """A notice that was given up a short while ago, or is tried in vain; not what is at its first try."""
    alarm = desk.call("B-1", 10)
    for step, (state, attempts, created, ended, fires) in enumerate(
        (
            ("sent", 1, 5, 4, False),
            ("waiting", 0, 20, None, False),
            ("waiting", 3, 4, None, False),
            ("failed", 9, 60, 16, False),
            ("waiting", 3, 6, None, True),
            ("failed", 9, 60, 14, True),
        )
    ):
        moments = [None if ago is None else desk.now - timedelta(minutes=ago) for ago in (created, ended)]
        desk.admin.execute(
            "INSERT INTO notices (alarm_id, round, step, recipient, life, unless, state, attempts,"
            " created_at, ended_at) VALUES (%s, 1, %s, 'A', true, 'nothing', %s, %s, %s, %s)",
            (alarm, step, state, attempts, *moments),
        )
        assert _alert(desk, "notices")[1] == fires
    assert _alert(desk, "notices")[0] == 2


# ----------------------------------------------------------------------------------------------------- limits


def test_the_role_may_read_the_views_and_nothing_else(filled: Filled) -> None:
    """Of all tables, views, chunks and partitions it may read the board_* views; it may write nowhere."""
    with psycopg.connect(filled.database.url) as admin:
        readable = admin.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege(%s, c.oid, 'SELECT')"
            " AND nspname NOT IN ('pg_catalog', 'information_schema')"
            " AND NOT (nspname LIKE %s AND relname NOT LIKE %s)",
            (boards.ROLE, "%timescaledb%", "_hyper%"),
        ).fetchall()
        views = admin.execute("SELECT viewname FROM pg_views WHERE viewname LIKE 'board\\_%'").fetchall()
        writable = admin.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'f')"
            " AND has_table_privilege(%s, oid, 'INSERT, UPDATE, DELETE, TRUNCATE')"
            " AND relname <> 'pg_settings'",
            (boards.ROLE,),
        ).fetchall()
    assert {name for (name,) in readable} == {name for (name,) in views}
    assert len(views) >= 17
    assert writable == []


@pytest.mark.parametrize("table", ["people", "contacts", "alarms", "devices", "vitals", "duty_alarms"])
def test_the_role_is_refused_a_table(table: str, board: Board) -> None:
    """To ask for a table ends in the server's refusal."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        board.connection.execute(f"SELECT FROM {table}".encode())


@pytest.mark.parametrize(
    "query", ["SELECT phone FROM people", "SELECT phone FROM contacts", "SELECT person FROM people"]
)
def test_the_role_sees_neither_phones_nor_identity_numbers(query: str, board: Board) -> None:
    """To ask for one is refused; the number by which a person is chosen comes from a view that hides such."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        board.connection.execute(query.encode())


def test_no_view_is_made_of_a_phone_or_an_illness(filled: Filled) -> None:
    """Of no view's definition is one a part, whatever it is called there; the number is of one view's."""
    used = "SELECT view_name FROM information_schema.view_column_usage WHERE view_name LIKE 'board\\_%'"
    with psycopg.connect(filled.database.url) as admin:
        assert admin.execute(f"{used} AND table_name = 'people' AND column_name = 'name'").fetchall()
        assert admin.execute(f"{used} AND column_name IN ('phone', 'notes')").fetchall() == []
        numbers = f"{used} AND table_name = 'people' AND column_name = 'person'"
        assert admin.execute(numbers).fetchall() == [("board_people",)]


def test_no_board_shows_a_phone_or_an_illness(board: Board, filled: Filled) -> None:
    """No column is called so, and no telephone number or note of the registry stands in any view's rows."""
    with psycopg.connect(filled.database.url) as admin:
        secrets = admin.execute(
            "SELECT phone FROM people UNION SELECT phone FROM contacts UNION SELECT notes FROM people"
        ).fetchall()
        views = admin.execute("SELECT viewname FROM pg_views WHERE viewname LIKE 'board\\_%'").fetchall()
    wanted = {secret for (secret,) in secrets if secret}
    assert len(wanted) > 60
    for (view,) in views:
        cursor = board.connection.execute(f"SELECT * FROM {view}".encode())
        names = {column.name for column in cursor.description or []}
        assert not [name for name in names if "phone" in name or "notes" in name]
        shown = repr(cursor.fetchall())
        assert not [secret for secret in wanted if secret in shown], view


@pytest.mark.parametrize(
    "device",
    [
        "'",
        "'; SELECT phone FROM people; --",
        "' UNION SELECT phone, phone, phone, phone FROM people --",
        "\\'; DROP TABLE people; --",
        '"',
        "%",
        "老人'\n--",
        "$__timeFrom() UNION SELECT phone FROM contacts --",
        "x" * 100_000,
    ],
)
def test_a_hostile_name_finds_nothing(device: str, board: Board, filled: Filled) -> None:
    """No value of a variable, which anybody may write into the address, brings a row or changes anything.

    A value that holds a macro breaks its quotes in Grafana itself; then the role is what stands in the way.
    """
    for name, query in boards.queries().items():
        if "${device" in query or "${person" in query:
            try:
                _, rows = board.ask(query, filled.end, device=device, person=device)
            except psycopg.errors.SyntaxError:
                assert "$__" in device, name
            else:
                assert rows == [], name


# ------------------------------------------------------------------------------------------ new installations


async def test_a_new_installation_has_boards_without_errors(database: Database) -> None:
    """On an empty database every query answers, for every range, and every count is there and 0."""
    async with await connect(database.url) as connection:
        await migrate(connection)
    board = Board(database.url)
    now = datetime.fromtimestamp(time.time()).astimezone()
    with board.connection:
        for name, query in boards.queries().items():
            for length in LENGTHS:
                _, rows = board.ask(query, now, length)
                assert rows == [] or set(rows[0]) <= {0, None}, name


@pytest.fixture
def without_role(database: Database) -> Iterator[Database]:
    """Give a database on a server that has no role for the boards; what a test made of it is removed."""
    role, aside = sql.Identifier(boards.ROLE), sql.Identifier(f"{boards.ROLE}_aside")
    rename = sql.SQL("ALTER ROLE {} RENAME TO {}")
    with psycopg.connect(database.url, autocommit=True) as admin:
        found = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (boards.ROLE,)).fetchone()
        if found is not None:
            admin.execute(rename.format(role, aside))
        yield database
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (boards.ROLE,)).fetchone():
            admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
            admin.execute(sql.SQL("DROP ROLE {}").format(role))
        if found is not None:
            admin.execute(rename.format(aside, role))


@pytest.mark.no_tables
async def test_the_first_migration_of_a_server_makes_the_role(without_role: Database) -> None:
    """Where nobody made the role before, the boards can be read after the migration."""
    async with await connect(without_role.url) as connection:
        await migrate(connection)
    with Board(without_role.url).connection as connection:
        assert connection.execute("SELECT count(*) FROM board_devices").fetchone() == (0,)


@pytest.mark.no_tables
async def test_a_role_that_another_migration_makes_meanwhile_is_taken(without_role: Database) -> None:
    """A role that another database's migration is making is waited for, and then used."""
    waits = "SELECT count(*)::integer FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    async with await connect(without_role.url) as connection, await connect(without_role.url) as other:
        async with other.transaction():
            await other.execute("CREATE ROLE carebell_board NOLOGIN")
            migration = asyncio.create_task(migrate(connection))
            pid = connection.info.backend_pid
            looked = await until(lambda: tuples(without_role.url, waits, pid), lambda found: found == [(1,)])
            assert looked == [(1,)]
        await migration
    with Board(without_role.url).connection as board:
        assert board.execute("SELECT count(*) FROM board_devices").fetchone() == (0,)


@pytest.mark.no_tables
async def test_an_owner_who_may_make_no_roles_can_migrate(
    without_role: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The migration goes through, and says what an admin must run; that done, the boards can be read."""
    owner = sql.Identifier("test_owner")
    with psycopg.connect(without_role.url, autocommit=True) as admin:
        name = sql.Identifier(admin.info.dbname)
        if without_role.edition_hint == "timescale":
            admin.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(owner))
        try:
            admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, owner))
            async with await connect(without_role.url) as connection:
                await connection.execute(sql.SQL("SET ROLE {}").format(owner))
                await migrate(connection)
            (said,) = [record.getMessage() for record in caplog.records]
            assert "must run: CREATE ROLE carebell_board NOLOGIN;" in said
            admin.execute(said.partition("must run: ")[2].encode())
            with Board(without_role.url).connection as connection:
                assert connection.execute("SELECT count(*) FROM board_devices").fetchone() == (0,)
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(owner))
            admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(name))
            admin.execute(sql.SQL("DROP ROLE {}").format(owner))
