"""What a card shows, in both editions: whom it is about, whom to call, what was measured, how it is found."""

import json
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from duty import alarms, cards, people
from duty.alarms import UnknownAlarmError
from duty.handling import BadOrderError, Verb
from duty.people import UnknownDeviceError, UnknownPersonError
from ops.parts import Database
from schemas.clock import to_microseconds
from store import sql
from tests.desk import AT, START, add_device, add_to_log, close_alarm, migrated, one, raise_alarm, rows

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NAMES = ("hr", "spo2", "temp", "sbp", "dbp")


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as found:
        yield found


async def measure(
    connection: AsyncConnection, device: str, ts: datetime, *, quality: int = 0, **values: float
) -> None:
    """Store a row of vitals, received when it was measured."""
    columns = "".join(f", {name}" for name in values)
    marks = ", %s" * len(values)
    await connection.execute(
        f"INSERT INTO vitals (device_id, ts, received_at, time_quality, digest, batch{columns})"
        f" SELECT device_id, %s, %s, %s, 1, 1{marks} FROM devices WHERE device = %s".encode(),
        (ts, ts, quality, *values.values(), device),
    )


async def give(connection: AsyncConnection, device: str, person_id: int | None, at: datetime) -> None:
    """Pass a device on."""
    async with connection.transaction():
        await connection.execute("SELECT set_config('carebell.at', %s, true)", (at.isoformat(),))
        await connection.execute("UPDATE devices SET person_id = %s WHERE device = %s", (person_id, device))


async def add_person(connection: AsyncConnection, name: str, **columns: str) -> int:
    """Enter a person and return the number."""
    row = await one(
        connection,
        f"INSERT INTO people (name{''.join(f', {column}' for column in columns)})"
        f" VALUES (%s{', %s' * len(columns)}) RETURNING person_id",
        name,
        *columns.values(),
    )
    return int(row["person_id"])


async def worn_since(connection: AsyncConnection, at: datetime) -> None:
    """Set when devices came to whom they are with: the trigger took the server's time."""
    await connection.execute("UPDATE assignments SET since = %s WHERE until IS NULL", (at,))


async def test_a_card_has_all_that_the_call_back_takes(connection: AsyncConnection) -> None:
    """Person, contacts in their order, what else is open, device and steps; the address comes apart."""
    alarm_id = await raise_alarm(
        connection, name="张奶奶", phone="0730-1234567", address="洞庭路 1 号", notes="高血压", sex="female"
    )
    other = await raise_alarm(connection, kind="hr_low", after=5)
    await connection.execute(
        "INSERT INTO contacts (person_id, rank, name, phone)"
        " SELECT p.person_id, c.rank, c.name, '1' FROM people p,"
        " (VALUES (2, '第二'), (1, '第一'), (3, '第三')) AS c (rank, name)"
    )
    await add_to_log(connection, alarm_id, "raised")
    card = await cards.show(connection, alarm_id)
    assert (card.alarm.alarm_id, card.alarm.person) == (alarm_id, "张奶奶")
    assert card.person
    assert (card.person.name, card.person.sex_zh, card.person.phone) == ("张奶奶", "女", "0730-1234567")
    assert card.person.notes == "高血压"
    assert [contact.name for contact in card.contacts] == ["第一", "第二", "第三"]
    assert [found.alarm_id for found in card.others] == [other]
    assert "立即回拨老人" in card.steps[0]
    assert card.device
    assert (card.device.device, card.device.heard_at, card.device.battery) == ("BELL-1", None, None)
    assert [entry.verb for entry in card.log] == ["raised"]
    assert "洞庭路" not in card.model_dump_json()
    assert (await cards.address(connection, alarm_id)).address == "洞庭路 1 号"


async def test_an_alarm_about_nobody_has_a_card(connection: AsyncConnection) -> None:
    """Where nobody had the device, the card lacks the person; others about nobody are not on it."""
    alarm_id = await raise_alarm(connection)
    await raise_alarm(connection, "BELL-2")
    card = await cards.show(connection, alarm_id)
    assert (card.person, card.contacts, card.others) == (None, [], [])
    assert card.steps
    assert (await cards.address(connection, alarm_id)).address == ""
    assert (await cards.vitals(connection, alarm_id, 6, AT)).points == []


@pytest.mark.parametrize("number", [1, 77777, 2**63 - 1])
async def test_of_an_unknown_alarm_there_is_nothing(connection: AsyncConnection, number: int) -> None:
    """Card, address and vitals of a number that no alarm has are refused by name."""
    for work in (
        cards.show(connection, number),
        cards.address(connection, number),
        cards.vitals(connection, number, 6, AT),
    ):
        with pytest.raises(UnknownAlarmError):
            await work


async def test_whoever_was_erased_leaves_a_card(connection: AsyncConnection) -> None:
    """A person of whom only the number is left, or not even that: the alarm can be shown and handled."""
    first, second = (
        await raise_alarm(connection, name="甲"),
        await raise_alarm(connection, "BELL-2", name="乙"),
    )
    await connection.execute(
        "UPDATE people SET name = '', phone = '', address = '', notes = '', sex = NULL, birth_year = NULL,"
        " care_level = '' WHERE name = '甲'"
    )
    card = await cards.show(connection, first)
    assert card.person
    assert (card.person.name, card.person.sex_zh, card.alarm.person) == ("", "", "")
    await connection.execute("UPDATE alarms SET person_id = NULL WHERE alarm_id = %s", (second,))
    await connection.execute("UPDATE devices SET person_id = NULL WHERE device = 'BELL-2'")
    await connection.execute("DELETE FROM people WHERE name = '乙'")
    assert (await cards.show(connection, second)).person is None
    assert (await cards.vitals(connection, second, 48, AT)).points == []


async def test_a_button_that_sticks_does_not_bury_what_people_did(connection: AsyncConnection) -> None:
    """The log of a card has a bound; within it stand all that people did and what came last, in order."""
    alarm_id = await raise_alarm(connection, logged=True)
    await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT)
    await connection.execute(
        "INSERT INTO alarm_log (alarm_id, at, actor, verb, detail)"
        " SELECT %s, %s, 'carebell', 'repeated', jsonb_build_object('n', n) FROM generate_series(1, 600) n",
        (alarm_id, START),
    )
    log = (await cards.show(connection, alarm_id)).log
    assert len(log) == cards.MOST_LINES
    assert [entry.verb for entry in log[:2]] == ["acknowledged", "repeated"]
    assert log[-1].detail == {"n": 600}


async def test_each_line_of_the_log_says_what_was_done(connection: AsyncConnection) -> None:
    """In words that can be read aloud: the verb, then what goes with it, and nothing twice."""
    alarm_id, other = await raise_alarm(connection, logged=True), await raise_alarm(connection, kind="fall")
    for verb, said in (
        (Verb.ACKNOWLEDGE, {}),
        (Verb.DISPATCH, {"to": "李强"}),
        (Verb.NOTE, {"note": "门已打开"}),
        (Verb.MERGE, {"parent": other}),
    ):
        await alarms.handle(connection, alarm_id, verb, "王芳", AT, **said)
    log = (await cards.show(connection, alarm_id)).log
    assert [entry.said_zh for entry in log] == [
        "发生",
        "确认",
        "派人：李强",
        "备注：门已打开",
        f"并入报警 {other}",
    ]
    [adopted] = (await cards.show(connection, other)).log
    assert adopted.said_zh == f"报警 {alarm_id} 并入本报警"


async def test_others_have_a_bound_and_life_goes_first(connection: AsyncConnection) -> None:
    """However much is open about a person, the card shows the most urgent."""
    alarm_id = await raise_alarm(connection, name="张奶奶")
    person_id = (await one(connection, "SELECT person_id FROM people"))["person_id"]
    for number in range(cards.MOST_OTHERS + 5):
        device = f"B-{number}"
        await add_device(connection, device)
        await give(connection, device, person_id, START)
        await raise_alarm(connection, device, "low_battery", after=number)
    await add_device(connection, "LAST")
    await give(connection, "LAST", person_id, START)
    last = await raise_alarm(connection, "LAST", "fall", after=99)
    others = (await cards.show(connection, alarm_id)).others
    assert len(others) == cards.MOST_OTHERS
    assert others[0].alarm_id == last


async def test_heard_is_what_the_device_said_itself(connection: AsyncConnection) -> None:
    """The newest message of any table counts, not the broker's word: last wills, retained ones."""
    alarm_id = await raise_alarm(connection)
    device_id = await add_device(connection, "BELL-1")
    for minutes, event, quality in ((1, 13, 0), (2, 17, 0), (3, 16, 7)):
        await connection.execute(
            "INSERT INTO events (device_id, ts, received_at, time_quality, digest, batch, channel, event)"
            " VALUES (%s, %s, %s, %s, 1, 1, 3, %s)",
            (device_id, START + minutes * MINUTE, START + minutes * MINUTE, quality, event),
        )
    device = (await cards.show(connection, alarm_id)).device
    assert device
    assert device.heard_at == START + MINUTE
    for minutes, battery in ((-5, 80), (4, 30), (5, None)):
        await connection.execute(
            "INSERT INTO heartbeats (device_id, ts, received_at, time_quality, digest, batch, battery)"
            " VALUES (%s, %s, %s, 0, 1, 1, %s)",
            (device_id, START + minutes * MINUTE, START + minutes * MINUTE, battery),
        )
    device = (await cards.show(connection, alarm_id)).device
    assert device
    assert (device.heard_at, device.battery) == (START + 5 * MINUTE, 30)


async def test_vitals_of_the_last_hours(connection: AsyncConnection) -> None:
    """What was measured in the time, by time and in UTC, with nothing where nothing was measured."""
    alarm_id = await raise_alarm(connection, name="张奶奶")
    await worn_since(connection, START - 9 * HOUR)
    await measure(connection, "BELL-1", START - 7 * HOUR, hr=50)
    await measure(connection, "BELL-1", START - HOUR, hr=80, spo2=97)
    await measure(connection, "BELL-1", START - 2 * HOUR, temp=36.6)
    await measure(connection, "BELL-1", START, sbp=150, dbp=90)
    await measure(connection, "BELL-1", START - MINUTE, worn=True, steps=10)
    await measure(connection, "BELL-1", START + MINUTE, hr=99)
    found = await cards.vitals(connection, alarm_id, 6, AT)
    assert (found.since, found.until) == (START - 6 * HOUR, START)
    assert [(point.ts, point.hr, point.spo2, point.temp, point.sbp, point.dbp) for point in found.points] == [
        (START - 2 * HOUR, None, None, 36.6, None, None),
        (START - HOUR, 80, 97, None, None, None),
        (START, None, None, None, 150, 90),
    ]
    assert (found.measured, found.left_out) == (3, 0)
    assert '"ts":"2026-03-01T06:00:00Z"' in found.model_dump_json()


async def test_what_a_wrong_clock_measured_is_counted_and_not_drawn(connection: AsyncConnection) -> None:
    """A time ahead, or of a clock not set, never becomes the latest; late and timeless ones count."""
    alarm_id = await raise_alarm(connection, name="张奶奶")
    await worn_since(connection, START - 9 * HOUR)
    for quality in range(8):
        await measure(connection, "BELL-1", START - HOUR + quality * MINUTE, quality=quality, hr=60 + quality)
    found = await cards.vitals(connection, alarm_id, 6, AT)
    assert [point.hr for point in found.points] == [60, 61, 62, 65]
    assert found.left_out == 4


async def test_a_closed_alarm_shows_the_hours_before_it_was_closed(connection: AsyncConnection) -> None:
    """Whoever looks at it months later sees what was measured then, and nothing newer."""
    alarm_id = await raise_alarm(connection, name="张奶奶")
    await worn_since(connection, START - 9 * HOUR)
    await measure(connection, "BELL-1", START - MINUTE, hr=140)
    await measure(connection, "BELL-1", START + MINUTE, hr=80)
    await close_alarm(connection, alarm_id)
    found = await cards.vitals(connection, alarm_id, 1, to_microseconds(START + timedelta(days=90)))
    assert [point.hr for point in found.points] == [140]
    assert found.until == START


async def test_vitals_are_of_whoever_had_the_device(connection: AsyncConnection) -> None:
    """A device that passed on shows each person their own hours, and an alarm about nobody nobody else's."""
    first = await raise_alarm(connection, name="甲")
    await worn_since(connection, START - 5 * HOUR)
    await give(connection, "BELL-1", None, START - 3 * HOUR)
    second = await add_person(connection, "乙")
    await give(connection, "BELL-1", second, START - HOUR)
    await add_device(connection, "WATCH")
    await give(connection, "WATCH", second, START - 4 * HOUR)
    for hours, rate in ((4.5, 45), (2.5, 25), (0.5, 5)):
        await measure(connection, "BELL-1", START - hours * HOUR, hr=rate)
        await measure(connection, "WATCH", START - hours * HOUR, hr=100 + rate)
    about_first = await cards.vitals(connection, first, 48, AT)
    assert [point.hr for point in about_first.points] == [45]
    about_second = await raise_alarm(connection, "WATCH")
    found = await cards.vitals(connection, about_second, 48, AT)
    assert {point.hr for point in found.points} == {125, 105, 5}
    assert found.points[0].hr == 125
    await connection.execute("UPDATE alarms SET person_id = NULL WHERE alarm_id = %s", (first,))
    about_nobody = await cards.vitals(connection, first, 48, AT)
    assert [point.hr for point in about_nobody.points] == [25]


@pytest.mark.parametrize("seed", range(4))
async def test_no_spike_is_lost_when_there_are_too_many(connection: AsyncConnection, seed: int) -> None:
    """At most 500 rows, each as it was measured: lowest and highest of each value, and the newest."""
    rng = random.Random(seed)
    alarm_id = await raise_alarm(connection, name="张奶奶")
    await worn_since(connection, START - 9 * HOUR)
    device_id = await add_device(connection, "BELL-1")
    occur = rng.sample(NAMES, rng.randint(1, 5))
    made: dict[datetime, tuple[float | None, ...]] = {}
    for number in range(rng.choice([501, 2000])):
        values = [round(rng.gauss(80, 3)) if name in occur and rng.random() < 0.8 else None for name in NAMES]
        if any(values):
            made[START - number * 7 * timedelta(seconds=1)] = tuple(values)
    spike, dip = rng.sample(list(made), 2)
    place = NAMES.index(occur[0])
    made[spike] = tuple(199.0 if index == place else value for index, value in enumerate(made[spike]))
    made[dip] = tuple(31.0 if index == place else value for index, value in enumerate(made[dip]))
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO vitals"
            " (device_id, ts, received_at, time_quality, digest, batch, hr, spo2, temp, sbp, dbp)"
            " VALUES (%s, %s, %s, 0, 1, 1, %s, %s, %s, %s, %s)",
            [(device_id, ts, ts, *values) for ts, values in made.items()],
        )
    found = await cards.vitals(connection, alarm_id, 6, AT)
    shown = {point.ts: (point.hr, point.spo2, point.temp, point.sbp, point.dbp) for point in found.points}
    assert found.measured == len(made)
    assert len(found.points) <= cards.MOST_POINTS
    assert shown.items() <= made.items()
    assert [point.ts for point in found.points] == sorted(shown)
    assert {spike, dip, max(made)} <= shown.keys()
    assert len(shown) > cards.MOST_POINTS / 25
    for hours in range(6):
        within = [ts for ts in made if START - (hours + 1) * HOUR < ts <= START - hours * HOUR]
        for each in range(5):
            measured = {value for ts in within if (value := made[ts][each]) is not None}
            kept = {value for ts in within if ts in shown and (value := shown[ts][each]) is not None}
            assert not measured or {min(measured), max(measured)} <= kept


@pytest.mark.parametrize("whose", ["person_id", "device_id"])
async def test_vitals_are_found_by_device_and_time(connection: AsyncConnection, whose: str) -> None:
    """Among many devices, whoever asks reads only the rows of one, of only the chunks of the time."""
    await connection.execute(
        "INSERT INTO people (name) SELECT 'p' || n FROM generate_series(1, 200) n;"
        "INSERT INTO devices (device, person_id) SELECT 'd' || person_id, person_id FROM people;"
        "INSERT INTO devices (device) VALUES ('nobody')"
    )
    await worn_since(connection, START - timedelta(days=60))
    await connection.execute(
        "INSERT INTO vitals (device_id, ts, received_at, time_quality, digest, batch, hr)"
        " SELECT device_id, %s - n * interval '2 hours', now(), 0, n, 1, 70"
        " FROM devices, generate_series(0, 300) n",
        (START,),
    )
    await connection.execute("ANALYZE")
    values = {
        "person_id": None,
        "device_id": None,
        whose: (await one(connection, f"SELECT max({whose}) AS n FROM devices"))["n"],
        "since": START - 6 * HOUR,
        "until": START,
        "most": 500,
    }
    await connection.execute("SET plan_cache_mode = force_generic_plan")  # the worst that preparing can do
    explained = await connection.execute(
        b"EXPLAIN (ANALYZE, FORMAT JSON) " + sql.load("cards")["vitals"], values, prepare=True
    )
    plan = await explained.fetchone()
    assert plan
    scans = [node for node in nodes(plan[0][0]["Plan"]) if is_read(node, "vitals")]
    assert 1 <= len(scans) <= 2
    for scan in scans:
        assert scan["Node Type"] in {"Index Scan", "Bitmap Index Scan", "Index Only Scan"}, json.dumps(scan)
        assert "device_id" in scan["Index Cond"]
        assert "ts" in scan["Index Cond"]
    assert sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in scans) <= 6


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a plan's nodes, itself first."""
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]


def is_read(node: dict[str, Any], table: str) -> bool:
    """Say whether a node read a chunk of the table, by name or through an index, and was not passed over."""
    named = f"{node.get('Relation Name', '')} {node.get('Index Name', '')}"
    is_scan = node["Node Type"].endswith("Scan") and node["Node Type"] != "Bitmap Heap Scan"
    return is_scan and node["Actual Loops"] > 0 and (table in named or "_hyper_" in named)


async def test_people_are_found_by_name_number_and_telephone(connection: AsyncConnection) -> None:
    """By how each begins; signs between digits do not count, and +86 neither."""
    await add_person(connection, "张桂英", person="YY-0017", phone="0730-822 1234")
    await add_person(connection, "张建国", person="YY-0018", phone="+86 138-0730-1111")
    await add_person(connection, "李张", person="1380", phone="")

    async def found(query: str, limit: int = 20) -> list[str]:
        return [person.name for person in await people.find_people(connection, query, limit)]

    assert await found("张") == ["张建国", "张桂英"]
    assert await found(" 张桂英 ") == ["张桂英"]
    assert await found("YY-00") == ["张建国", "张桂英"]
    assert await found("0730-8221") == ["张桂英"]
    assert await found("0730822") == ["张桂英"]
    assert sorted(await found("1380")) == ["张建国", "李张"]
    assert await found("+86 138 0730") == ["张建国"]
    assert await found("8221234") == []
    assert await found("张", 1) == ["张建国"]


@pytest.mark.parametrize(
    "query", ["%", "_", "张%", "%英", "\\", "\\%", "' OR true --", "张\\", "+", "()", "   -"]
)
async def test_a_wildcard_finds_only_itself(connection: AsyncConnection, query: str) -> None:
    """What is looked for is text: no sign in it means anything to the database."""
    await add_person(connection, "张桂英", phone="0730-8221234")
    await add_device(connection, "BELL-1")
    assert await people.find_people(connection, query, 20) == []
    assert await people.find_devices(connection, query, 20) == []


@pytest.mark.parametrize("query", ["", "  ", "a\x00b", "a\nb", "\ud800", "\u202e", "n" * 65])
async def test_what_nobody_is_called_is_not_looked_for(connection: AsyncConnection, query: str) -> None:
    """Nothing, too much, and what is no plain text are refused with a reason."""
    with pytest.raises(BadOrderError):
        await people.find_people(connection, query, 20)
    with pytest.raises(BadOrderError):
        await people.find_devices(connection, query, 20)


async def test_a_million_people_are_not_read_to_find_one(connection: AsyncConnection) -> None:
    """Name, number, telephone, device and alias each have an index by which they are found."""
    await connection.execute(
        "INSERT INTO people (name, phone) SELECT 'p' || n, '1380000' || n FROM generate_series(1, 20000) n;"
        "INSERT INTO devices (device, aliases)"
        " SELECT 'd' || n, ARRAY['a' || n] FROM generate_series(1, 20000) n;"
        "ANALYZE people; ANALYZE devices"
    )
    looks = {
        "find_people": {"prefix": "p1777%", "digits": "13800001%", "limit": 20},
        "find_devices": {"prefix": "d1777%", "name": "a1778", "limit": 20},
    }
    for name, values in looks.items():
        plan = await rows_of(connection, b"EXPLAIN " + sql.load("cards")[name], values)
        assert "Seq Scan on people p" not in plan, plan
        assert "Seq Scan on devices d" not in plan, plan


async def rows_of(connection: AsyncConnection, query: bytes, values: dict[str, Any]) -> str:
    """Return an explanation as text."""
    found = await (await connection.execute(query, values)).fetchall()
    return "\n".join(line for (line,) in found)


async def test_a_person_and_what_is_about_them(connection: AsyncConnection) -> None:
    """Contacts, devices and alarms, open ones first; nobody's number is refused by name."""
    closed = await raise_alarm(connection, name="张奶奶", address="洞庭路 1 号")
    await close_alarm(connection, closed)
    opened = await raise_alarm(connection)
    newest = await raise_alarm(connection, kind="fall")
    await close_alarm(connection, newest)
    person_id = int((await one(connection, "SELECT person_id FROM people"))["person_id"])
    found = await people.show_person(connection, person_id)
    assert found.person.name == "张奶奶"
    assert [(line.device, line.open) for line in found.devices] == [("BELL-1", 1)]
    assert [alarm.alarm_id for alarm in found.alarms] == [opened, newest, closed]
    assert "洞庭路" not in found.model_dump_json()
    with pytest.raises(UnknownPersonError):
        await people.show_person(connection, person_id + 1)


async def test_devices_are_found_by_name_and_alias(connection: AsyncConnection) -> None:
    """By how the name begins or by a whole alias; what stands for topics, areas and the line is no device."""
    for device in ("BELL-1", "BELL-2", "bell-3", "?carebell", "?area:430602"):
        await add_device(connection, device)
    await connection.execute(
        "UPDATE devices SET aliases = '{861234050000018,平安钟}' WHERE device = 'BELL-2'"
    )

    async def found(query: str) -> list[str]:
        return [line.device for line in await people.find_devices(connection, query, 20)]

    assert await found("BELL-") == ["BELL-1", "BELL-2"]
    assert await found("861234050000018") == ["BELL-2"]
    assert await found("平安钟") == ["BELL-2"]
    assert await found("8612340500") == []
    assert await found("?") == []


@pytest.mark.parametrize("name", ["?carebell", "", "a/b", "..", "a\x00", "\ud800", "BELL-1 ", "n" * 65, "'"])
async def test_what_is_no_device_is_refused_by_name(connection: AsyncConnection, name: str) -> None:
    """A name that no device bears, or none can bear, is refused."""
    await add_device(connection, "BELL-1")
    await add_device(connection, "?carebell")
    for work in (
        people.show_device(connection, name),
        people.history(connection, name, START - HOUR, START),
    ):
        with pytest.raises(UnknownDeviceError):
            await work


async def test_a_device_shows_whose_it_is_and_what_is_open(connection: AsyncConnection) -> None:
    """The registry's row, when it was heard, and its open alarms; names need not be ASCII."""
    alarm_id = await raise_alarm(connection, "客厅按钮", name="张奶奶")
    closed = await raise_alarm(connection, "客厅按钮", "fall")
    await close_alarm(connection, closed)
    await measure(connection, "客厅按钮", START, hr=70)
    found = await people.show_device(connection, "客厅按钮")
    assert (found.device.device, found.device.person, found.device.model) == ("客厅按钮", "张奶奶", "bell")
    assert found.device.heard_at == START
    assert [alarm.alarm_id for alarm in found.alarms] == [alarm_id]
    assert "drill" not in found.model_dump_json()


async def test_the_history_of_a_device(connection: AsyncConnection) -> None:
    """What it told in a time: alarms and events newest first, signs of life by time and never too many."""
    alarm_id = await raise_alarm(connection, after=-60)
    await raise_alarm(connection, kind="fall", after=60)
    device_id = await add_device(connection, "BELL-1")
    await connection.execute(
        "INSERT INTO events (device_id, ts, received_at, time_quality, digest, batch, channel, event, detail)"
        " SELECT %s, %s - n * interval '1 minute', %s, CASE n WHEN 1 THEN 3 ELSE 0 END, n, 1, 3, 13,"
        " '{\"lat\": 29.37}'"
        " FROM generate_series(0, 70) n",
        (device_id, START, START),
    )
    await connection.execute(
        "INSERT INTO heartbeats (device_id, ts, received_at, time_quality, digest, batch, battery)"
        " SELECT %s, %s - n * interval '1 second', %s, 0, n, 1, n %% 100 FROM generate_series(0, 5000) n",
        (device_id, START, START),
    )
    found = await people.history(connection, "BELL-1", START - HOUR, START)
    assert [alarm.alarm_id for alarm in found.alarms] == [alarm_id]
    assert len(found.events) == 60
    assert [(each.event, each.event_zh, each.time_zh) for each in found.events[:2]] == [
        ("check_in", "报平安", ""),
        ("check_in", "报平安", "时间超前"),
    ]
    times = [each.ts for each in found.heartbeats]
    assert 400 < len(times) <= people.MOST_HEARTBEATS
    assert times == sorted(times)
    assert times[-1] == START
    assert "29.37" not in found.model_dump_json()


@pytest.mark.parametrize("hours", [0, -1, 31 * 24 + 1])
async def test_a_history_has_a_bound(connection: AsyncConnection, hours: int) -> None:
    """No time, time that runs backwards and more than a month are refused."""
    await add_device(connection, "BELL-1")
    with pytest.raises(BadOrderError):
        await people.history(connection, "BELL-1", START - hours * HOUR, START)
    assert await rows(connection, "SELECT 1 FROM audit_log") == []
