"""Handling alarms in both editions of the database, alone and against the other writers of the same rows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

import psycopg
import pytest
from psycopg import AsyncConnection

from duty import alarms, cards
from duty.alarms import DatabaseAwayError, StaleVersionError, UnknownAlarmError
from duty.desk import make_pool, opened
from duty.handling import BadOrderError, IllegalMoveError, Verb
from ops.parts import Database
from schemas.alarms import Handling, Outcome
from schemas.clock import SECOND
from schemas.errors import UsageError
from tests.desk import AT, START, close_itself, connect, everything, migrated, one, raise_alarm, repeat, rows

pytestmark = pytest.mark.one_edition


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as found:
        yield found


async def test_life_comes_first_then_severity_then_age(connection: AsyncConnection) -> None:
    """The list of open alarms leads with what is most urgent and waits longest; closed ones are not in it."""
    battery = await raise_alarm(connection, "BELL-1", "low_battery", after=-500)
    silent = await raise_alarm(connection, "BELL-1", "device_silent", after=-400)
    heart = await raise_alarm(connection, "BAND-1", "hr_high", after=-300)
    late = await raise_alarm(connection, "BELL-2", "sos", after=20, quality="late")
    early = await raise_alarm(connection, "BELL-3", "fall", after=10)
    closed = await raise_alarm(connection, "BELL-4", "low_battery", after=-600)
    await close_itself(connection, closed)

    listed = await alarms.list_alarms(connection)

    assert [alarm.alarm_id for alarm in listed] == [early, late, heart, silent, battery]
    assert [alarm.quality_zh for alarm in listed[:2]] == ["", "迟到"]
    assert await alarms.count_open(connection) == alarms.Counts(open=5, life=2, unacknowledged=5)


async def test_what_an_outage_explains_is_counted_apart_and_listed_with_the_rest(
    connection: AsyncConnection,
) -> None:
    """A suppressed alarm is not before staff; among all alarms it says of which area the outage is."""
    await raise_alarm(connection, "BELL-1", "sos")
    await raise_alarm(connection, "BELL-1", "device_silent")
    await connection.execute("UPDATE alarms SET suppressed = 'gateway:G1' WHERE kind = 'device_silent'")
    assert [alarm.kind for alarm in await alarms.list_alarms(connection)] == ["sos"]
    assert [alarm.kind for alarm in await alarms.list_alarms(connection, device="BELL-1")] == ["sos"]
    assert await alarms.count_open(connection) == alarms.Counts(
        open=1, life=1, unacknowledged=1, suppressed=1
    )
    listed = await alarms.list_alarms(connection, "all")
    assert [(alarm.kind, alarm.suppressed_zh) for alarm in listed] == [
        ("device_silent", "因网关 G1 中断而不列出"),
        ("sos", ""),
    ]


async def test_an_alarm_says_why_and_each_line_of_its_log_what(connection: AsyncConnection) -> None:
    """From the values that the rule stored; of an outage, which area it is."""
    alarm_id = await raise_alarm(connection, "BAND-1", "hr_high")
    outage = await raise_alarm(connection, "?area:gateway:G1", "area_outage")
    detail = '{"hr": 140, "when": "hr >= 131"}'
    await connection.execute("UPDATE alarms SET detail = %s WHERE kind = 'hr_high'", (detail,))
    await connection.execute(
        "INSERT INTO alarm_log (alarm_id, at, actor, verb, detail, rule, rule_set_id)"
        " VALUES (%s, now(), 'carebell', 'raised', %s, 4, 2)",
        (alarm_id, detail),
    )
    card = await cards.show(connection, alarm_id)
    assert card.alarm.why_zh == "心率 140 次/分，条件 hr >= 131"
    assert card.alarm.why_en == "heart rate 140 bpm, condition hr >= 131"
    assert [(each.said_zh, each.rule, each.rule_set_id) for each in card.log] == [
        (f"发生：{card.alarm.why_zh}", 4, 2)
    ]
    assert (await cards.show(connection, outage)).alarm.remark_zh == "网关 G1"


async def test_lists_by_state_and_device(connection: AsyncConnection) -> None:
    """Closed and all are newest first, of one device if wanted, and never longer than asked for."""
    first = await raise_alarm(connection, "BELL-1", "low_battery")
    await close_itself(connection, first)
    second = await raise_alarm(connection, "BELL-1", "low_battery")
    other = await raise_alarm(connection, "BELL-2", "sos")

    async def listed(state: alarms.State, device: str | None = None, limit: int = 200) -> list[int]:
        found = await alarms.list_alarms(connection, state, device=device, limit=limit)
        return [alarm.alarm_id for alarm in found]

    assert await listed("all") == [other, second, first]
    assert await listed("all", limit=2) == [other, second]
    assert await listed("closed") == [first]
    assert await listed("all", "BELL-1") == [second, first]
    assert await listed("closed", "BELL-1") == [first]
    assert await listed("open", "BELL-1") == [second]
    assert await listed("all", "NOBODY") == []


async def test_every_name_stands_beside_its_code(connection: AsyncConnection) -> None:
    """An alarm says in Chinese what it is, and which verbs it takes."""
    alarm_id = await raise_alarm(
        connection,
        "BELL-1",
        "sos",
        quality="unreadable",
        name="张奶奶",
        phone="0730-1234567",
        address="1 栋 101",
    )
    await connection.execute("INSERT INTO regions VALUES ('430602', '岳阳楼区')")

    [alarm] = await alarms.list_alarms(connection)

    assert alarm.alarm_id == alarm_id
    assert alarm.person == "张奶奶"
    assert "0730" not in alarm.model_dump_json()
    assert "1 栋" not in alarm.model_dump_json()
    assert (alarm.region, alarm.region_name) == ("430602", "岳阳楼区")
    assert (alarm.kind_zh, alarm.class_zh, alarm.severity_zh) == ("紧急呼叫", "生命", "紧急")
    assert (alarm.handling_zh, alarm.quality_zh, alarm.outcome_zh) == ("未确认", "报文无法解析", "")
    assert alarm.verbs == [Verb.ACKNOWLEDGE, Verb.ASSIGN, Verb.NOTE]
    assert alarm.raised_at == START
    assert '"class":"life"' in alarm.model_dump_json()


async def test_a_kind_that_the_catalogue_lacks_names_itself(connection: AsyncConnection) -> None:
    """An alarm of a rule that is no more can still be shown and handled."""
    alarm_id = await raise_alarm(connection)
    await connection.execute("UPDATE alarms SET kind = 'of_old'")
    assert (await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT)).kind_zh == "of_old"


async def test_from_acknowledge_to_close(connection: AsyncConnection) -> None:
    """Each verb writes the row, the log and, for life, the downlink; a second dispatch adds a person."""
    alarm_id = await raise_alarm(connection, "BELL-1", "fall")

    await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT + 5 * SECOND)
    await alarms.handle(connection, alarm_id, Verb.DISPATCH, "王芳", AT + 9 * SECOND, to="李强")
    sent = await alarms.handle(connection, alarm_id, Verb.DISPATCH, "赵敏", AT + 30 * SECOND, to="120")
    done = await alarms.handle(
        connection,
        alarm_id,
        Verb.CLOSE,
        "赵敏",
        AT + 99 * SECOND,
        outcome=Outcome.MEDICAL,
        note="送医院",
        version=4,
    )

    assert sent.handling == Handling.DISPATCHED
    assert {Verb.DISPATCH, Verb.ARRIVE, Verb.CLOSE} < set(sent.verbs)
    assert (done.acknowledged_by, done.dispatched_to, done.closed_by) == ("王芳", "李强、120", "赵敏")
    moments = (done.acknowledged_at, done.dispatched_at, done.closed_at)
    assert [(moment - START).total_seconds() for moment in moments if moment] == [5, 9, 99]
    assert (done.handling, done.outcome, done.outcome_zh, done.version) == (
        "closed",
        "medical",
        "真实-医疗",
        5,
    )
    card = await cards.show(connection, alarm_id)
    assert [(entry.actor, entry.verb, entry.detail) for entry in card.log] == [
        ("王芳", "acknowledged", {}),
        ("王芳", "dispatched", {"to": "李强"}),
        ("赵敏", "dispatched", {"to": "120"}),
        ("赵敏", "closed", {"outcome": "medical", "note": "送医院"}),
    ]
    assert await rows(
        connection, "SELECT alarm_id, channel, message, sent_at FROM outbox ORDER BY outbox_id"
    ) == [
        (alarm_id, "downlink", message, None)
        for message in ("acknowledged", "dispatched", "dispatched", "closed")
    ]


@pytest.mark.parametrize("kind", ["hr_high", "low_battery"])
async def test_only_alarms_of_life_light_the_bell(connection: AsyncConnection, kind: str) -> None:
    """Nothing is sent to a device because its battery or its wearer's heart rate is being looked after."""
    alarm_id = await raise_alarm(connection, "BAND-1", kind)
    await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT)
    assert await rows(connection, "SELECT message FROM outbox") == []


async def test_a_new_call_after_closing_is_a_new_alarm(connection: AsyncConnection) -> None:
    """Closing makes room for the next alarm of the same device and kind, which nobody has acknowledged."""
    first = await raise_alarm(connection)
    await alarms.handle(connection, first, Verb.ACKNOWLEDGE, "王芳", AT)
    await alarms.handle(connection, first, Verb.CLOSE, "王芳", AT, outcome=Outcome.ACCIDENTAL)
    second = await raise_alarm(connection, after=60)
    [alarm] = await alarms.list_alarms(connection)
    assert (alarm.alarm_id, alarm.handling) == (second, Handling.UNACKNOWLEDGED)


async def _refused(
    connection: AsyncConnection, work: Awaitable[object], error: type[Exception], says: str
) -> None:
    """Assert that `work` raises `error` with these words and changes nothing."""
    before = await everything(connection)
    with pytest.raises(error, match=says):
        await work
    assert await everything(connection) == before


async def test_what_is_refused_changes_nothing(connection: AsyncConnection) -> None:
    """An illegal move, a stale version, an unknown alarm or a bad order leaves row, log and outbox alone."""
    new = await raise_alarm(connection)
    taken = await raise_alarm(connection, "BELL-2")
    await alarms.handle(connection, taken, Verb.ACKNOWLEDGE, "王芳", AT)
    close, acknowledge = Verb.CLOSE, Verb.ACKNOWLEDGE
    outcome = Outcome.TEST

    def handle(alarm_id: int, verb: Verb, **said: object) -> Awaitable[object]:
        return alarms.handle(connection, alarm_id, verb, "李强", AT, **said)  # type: ignore[arg-type]

    await _refused(connection, handle(new, close, outcome=outcome), IllegalMoveError, "unacknowledged")
    await _refused(connection, handle(taken, acknowledge), IllegalMoveError, "王芳 was first")
    await _refused(connection, handle(taken, acknowledge, version=1), IllegalMoveError, "王芳 was first")
    stale = f"alarm {taken} has changed: version 1 was looked at, 2 is present"
    await _refused(connection, handle(taken, close, outcome=outcome, version=1), StaleVersionError, stale)
    await _refused(connection, handle(10**12, acknowledge), UnknownAlarmError, "no alarm 1000000000000")
    await _refused(connection, handle(taken, close, outcome=Outcome.CLEARED), BadOrderError, "outcome")


async def test_a_move_is_whole_or_not_at_all(connection: AsyncConnection) -> None:
    """If the downlink cannot be written down, the alarm is not acknowledged either."""
    alarm_id = await raise_alarm(connection)
    await connection.execute("ALTER TABLE outbox ADD CONSTRAINT nothing CHECK (false)")
    failing = alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT)
    await _refused(connection, failing, psycopg.errors.CheckViolation, "nothing")


async def test_of_two_at_once_the_first_wins_and_the_second_is_told_who(
    database: Database, connection: AsyncConnection
) -> None:
    """Two operators who acknowledge at the same moment get one acknowledgement and one name."""
    async with connect(database.url) as one_desk, connect(database.url) as other_desk:
        for round_ in range(20):
            alarm_id = await raise_alarm(connection, f"BELL-{round_}")
            answers = await asyncio.gather(
                alarms.handle(one_desk, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT),
                alarms.handle(other_desk, alarm_id, Verb.ACKNOWLEDGE, "李强", AT),
                return_exceptions=True,
            )
            [won] = [answer for answer in answers if isinstance(answer, alarms.Alarm)]
            [lost] = [answer for answer in answers if isinstance(answer, IllegalMoveError)]
            assert lost.first == won.acknowledged_by
            log = await rows(connection, "SELECT actor FROM alarm_log WHERE alarm_id = %s", alarm_id)
            assert log == [(won.acknowledged_by,)]
            assert (await one(connection, "SELECT count(*) FROM outbox"))["count"] == round_ + 1


async def _waits(connection: AsyncConnection) -> None:
    """Return as soon as some session waits for a row."""
    for _ in range(500):
        if await rows(connection, "SELECT 1 FROM pg_locks WHERE NOT granted"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_a_repeat_at_the_same_time_is_neither_lost_nor_in_the_way(
    database: Database, connection: AsyncConnection
) -> None:
    """An acknowledgement that comes while ingest counts one more waits, and then both stand."""
    alarm_id = await raise_alarm(connection)
    async with connect(database.url) as ingest, connect(database.url) as desk:
        async with ingest.transaction():
            await repeat(ingest, alarm_id)
            move = asyncio.ensure_future(alarms.handle(desk, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT))
            await _waits(connection)
        alarm = await move
    assert (alarm.count, alarm.handling, alarm.version) == (2, Handling.ACKNOWLEDGED, 3)


async def test_a_call_that_comes_while_closing_is_not_closed_unseen(
    database: Database, connection: AsyncConnection
) -> None:
    """Closing with the version that was looked at is refused if a new activation came in between."""
    alarm_id = await raise_alarm(connection)
    seen = await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT)
    async with connect(database.url) as ingest, connect(database.url) as desk:
        async with ingest.transaction():
            await repeat(ingest, alarm_id)
            move = asyncio.ensure_future(
                alarms.handle(
                    desk, alarm_id, Verb.CLOSE, "王芳", AT, outcome=Outcome.ACCIDENTAL, version=seen.version
                )
            )
            await _waits(connection)
        with pytest.raises(StaleVersionError):
            await move
    [alarm] = await alarms.list_alarms(connection)
    assert (alarm.count, alarm.handling) == (2, Handling.ACKNOWLEDGED)


async def test_an_alarm_that_closes_itself_meanwhile_is_not_acknowledged(
    database: Database, connection: AsyncConnection
) -> None:
    """Who acknowledges a technical alarm while it clears is told that carebell was first."""
    alarm_id = await raise_alarm(connection, kind="low_battery")
    async with connect(database.url) as ingest, connect(database.url) as desk:
        async with ingest.transaction():
            await close_itself(ingest, alarm_id)
            move = asyncio.ensure_future(alarms.handle(desk, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT))
            await _waits(connection)
        with pytest.raises(IllegalMoveError, match="closed: carebell was first"):
            await move
    assert await rows(connection, "SELECT * FROM alarm_log") == []


async def test_many_writers_lose_nothing(database: Database, connection: AsyncConnection) -> None:
    """While ingest counts 30 activations, 10 dispatches by two desks all stand; the version counts all."""
    alarm_id = await raise_alarm(connection)
    await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT)
    url = database.url
    async with connect(url) as ingest, connect(url) as desk, connect(url) as other:

        async def count() -> None:
            for _ in range(30):
                await repeat(ingest, alarm_id)

        async def send(who: AsyncConnection, by: str) -> None:
            for turn in range(5):
                await alarms.handle(who, alarm_id, Verb.DISPATCH, by, AT, to=f"{by}{turn}")

        await asyncio.gather(count(), send(desk, "王芳"), send(other, "李强"))
    alarm = (await cards.show(connection, alarm_id)).alarm
    assert (alarm.count, alarm.version) == (31, 1 + 1 + 30 + 10)
    assert len(set((alarm.dispatched_to or "").split("、"))) == 10
    assert (await one(connection, "SELECT count(*) FROM alarm_log"))["count"] == 11


async def test_a_stalled_desk_keeps_no_row_from_ingest(
    database: Database, connection: AsyncConnection
) -> None:
    """The server itself ends a desk that locks a row and goes silent, long before ingest would be late."""
    alarm_id = await raise_alarm(connection)
    async with opened(make_pool(database.url)) as pool:
        stalled = contextlib.AsyncExitStack()
        desk = await stalled.enter_async_context(pool.connection())
        await stalled.enter_async_context(desk.transaction())
        await repeat(desk, alarm_id)
        await asyncio.wait_for(repeat(connection, alarm_id), 10)
        with pytest.raises(DatabaseAwayError):
            await alarms.check_health(desk)
        with contextlib.suppress(psycopg.OperationalError):
            await stalled.aclose()
    assert (await cards.show(connection, alarm_id)).alarm.count == 2


@pytest.mark.no_tables
async def test_a_database_without_tables_says_what_to_do(database: Database) -> None:
    """The command that makes the tables is named."""
    async with connect(database.url) as connection:
        with pytest.raises(UsageError, match="carebell db migrate"):
            await alarms.list_alarms(connection)


async def test_a_lost_connection_is_weather(database: Database, connection: AsyncConnection) -> None:
    """A connection that the server ended is reported as a database that is away, and not as our fault."""
    alarm_id = await raise_alarm(connection)
    async with connect(database.url) as desk:
        await connection.execute("SELECT pg_terminate_backend(%s)", (desk.info.backend_pid,))
        for _ in range(2):
            with pytest.raises(DatabaseAwayError):
                await alarms.handle(desk, alarm_id, Verb.ACKNOWLEDGE, "王芳", AT)
