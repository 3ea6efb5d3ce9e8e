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
from grafana import BOARDS, DASHBOARDS
from ops.parts import Database, find_mosquitto, mosquitto_broker, scratch_dir
from ops.town import enter
from schemas.alarms import KINDS, Class
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
            ("heartbeat", {"battery": 8, "rssi": -71}),
            ("event", {"kind": "low_battery"}),
            ("sos", {"source": "button"}),
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
        text = boards.expand(query, end - length, end, {"device": DEVICE, **variables})
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
    if panel["type"] != "table":
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
    assert (len(every), len({value for value, _ in every})) == (60, 60)
    _, bells = board.ask(query, filled.end, __searchFilter="BELL%")
    assert bells == [row for row in every if row[0].startswith("BELL")]
    (name,) = {text.removeprefix(f"{value} ") for value, text in every if value == DEVICE}
    _, found = board.ask(query, filled.end, __searchFilter=f"{name}%")
    assert (DEVICE, f"{DEVICE} {name}") in found
    assert {text.split(" ")[1] for _, text in found} == {name}


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
    assert len(views) >= 8
    assert writable == []


@pytest.mark.parametrize("table", ["people", "contacts", "alarms", "devices", "vitals", "duty_alarms"])
def test_the_role_is_refused_a_table(table: str, board: Board) -> None:
    """To ask for a table ends in the server's refusal."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        board.connection.execute(f"SELECT FROM {table}".encode())


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
    """No value of the variable, which anybody may write into the address, brings a row or changes anything.

    A value that holds a macro breaks its quotes in Grafana itself; then the role is what stands in the way.
    """
    for name, query in boards.queries().items():
        if "${device" in query:
            try:
                _, rows = board.ask(query, filled.end, device=device)
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
                assert rows in ([], [(None,)]) or set(rows[0]) == {0}, name


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
