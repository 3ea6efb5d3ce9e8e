"""Arrival, assignment, notes, merging, shelves, re-opening and outages closed whole, in both editions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from duty import alarms, endings
from duty.alarms import StaleVersionError, UnknownAlarmError, end_explanations, end_shelves
from duty.desk import make_pool, opened
from duty.handling import IllegalMoveError, NotAllowedError, Verb
from ops.parts import Database
from schemas.alarms import AREA_DEVICE, Handling, Outcome
from schemas.clock import SECOND, Clock
from store import sql
from tests.contract.kit import until
from tests.desk import (
    AT,
    START,
    add_device,
    close_alarm,
    close_itself,
    connect,
    everything,
    migrated,
    one,
    raise_alarm,
    repeat,
    rows,
)

MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as connection:
        yield connection


async def do(connection: AsyncConnection, alarm_id: int, *verbs: str, **said: Any) -> alarms.Alarm:  # noqa: ANN401
    """Carry out verbs one after the other; what is said goes with the last one."""
    for verb in verbs[:-1]:
        to: dict[str, Any] = {"to": "李强"} if verb == Verb.DISPATCH else {}
        await alarms.handle(connection, alarm_id, Verb(verb), "王芳", AT, **to)
    return await alarms.handle(connection, alarm_id, Verb(verbs[-1]), "王芳", said.pop("at", AT), **said)


async def listed(connection: AsyncConnection, state: alarms.State = "open") -> list[int]:
    """Return the numbers of what is listed."""
    return [alarm.alarm_id for alarm in await alarms.list_alarms(connection, state)]


async def log_of(connection: AsyncConnection, alarm_id: int) -> list[tuple[Any, ...]]:
    """Return who did what, and what was said."""
    query = "SELECT actor, verb, detail FROM alarm_log WHERE alarm_id = %s ORDER BY log_id"
    return await rows(connection, query, alarm_id)


async def test_arrival_is_the_first_one_and_more_may_be_sent(connection: AsyncConnection) -> None:
    """Whoever is first on site sets the time; sending one more afterwards leaves it at that."""
    alarm_id = await raise_alarm(connection)
    with pytest.raises(IllegalMoveError, match="cannot arrive"):
        await do(connection, alarm_id, "acknowledge", "arrive")
    arrived = await do(connection, alarm_id, "dispatch", "arrive", at=AT + MINUTE)
    assert (arrived.handling, arrived.handling_zh) == (Handling.ARRIVED, "已到场")
    sent = await do(connection, alarm_id, "dispatch", to="120", at=AT + 2 * MINUTE)
    assert (sent.handling, sent.arrived_at) == (Handling.ARRIVED, arrived.arrived_at)
    assert sent.dispatched_to == "李强、120"
    closed = await do(connection, alarm_id, "close", outcome=Outcome.FALL)
    assert closed.handling == Handling.CLOSED
    told = await rows(connection, "SELECT message FROM outbox ORDER BY outbox_id")
    assert told == [("acknowledged",), ("dispatched",), ("dispatched",), ("closed",)]


async def test_assigning_and_noting_leave_the_state_and_stand_in_the_log(connection: AsyncConnection) -> None:
    """Who is to see to it and what is to be remembered are said in any state, a note also afterwards."""
    alarm_id = await raise_alarm(connection, kind="hr_high")
    assigned = await do(connection, alarm_id, "assign", to="赵敏")
    assert (assigned.handling, assigned.assigned_to, assigned.version) == ("unacknowledged", "赵敏", 2)
    noted = await do(connection, alarm_id, "note", note="女儿在路上")
    assert (noted.handling, noted.version) == ("unacknowledged", 3)
    await close_alarm(connection, alarm_id)
    await do(connection, alarm_id, "note", note="已回访")
    with pytest.raises(IllegalMoveError):
        await do(connection, alarm_id, "assign", to="赵敏")
    log = await log_of(connection, alarm_id)
    assert ("王芳", "assigned", {"to": "赵敏"}) in log
    assert [detail for _, verb, detail in log if verb == "noted"] == [
        {"note": "女儿在路上"},
        {"note": "已回访"},
    ]


async def test_a_merged_alarm_is_closed_and_names_its_parent(connection: AsyncConnection) -> None:
    """Merging closes with an outcome of its own, both logs tell, and the device's bell is not put out."""
    call, fall = await raise_alarm(connection), await raise_alarm(connection, kind="fall")
    with pytest.raises(IllegalMoveError, match="cannot merge"):
        await do(connection, fall, "merge", parent=call)
    merged = await do(connection, fall, "acknowledge", "merge", parent=call)
    assert (merged.handling, merged.outcome, merged.parent_id) == ("closed", "merged", call)
    assert merged.outcome_zh == "并入"
    assert (await log_of(connection, call))[-1] == ("王芳", "adopted", {"child": fall})
    assert (await log_of(connection, fall))[-1] == ("王芳", "merged", {"parent": call})
    assert await rows(connection, "SELECT message FROM outbox WHERE alarm_id = %s", fall) == [
        ("acknowledged",)
    ]
    assert await listed(connection) == [call]
    again = await raise_alarm(connection, kind="fall", after=60)
    assert await listed(connection) == [call, again]


async def test_merging_into_nothing_oneself_or_the_closed_is_refused(connection: AsyncConnection) -> None:
    """A parent is another alarm that is there and open; a refusal changes nothing."""
    alarm_id, over = await raise_alarm(connection), await raise_alarm(connection, "BELL-2")
    await close_alarm(connection, over)
    await do(connection, alarm_id, "acknowledge")
    before = await everything(connection)
    with pytest.raises(NotAllowedError, match="itself"):
        await do(connection, alarm_id, "merge", parent=alarm_id)
    with pytest.raises(NotAllowedError, match="is closed"):
        await do(connection, alarm_id, "merge", parent=over)
    with pytest.raises(UnknownAlarmError):
        await do(connection, alarm_id, "merge", parent=10**12)
    with pytest.raises(StaleVersionError):
        await do(connection, alarm_id, "merge", parent=alarm_id, version=1)
    assert await everything(connection) == before


async def test_two_that_are_merged_into_each_other_leave_one_open(
    database: Database, connection: AsyncConnection
) -> None:
    """Of two merges that cross, one stands and the other is refused: neither hangs, nobody is forgotten."""
    async with connect(database.url) as other_desk:
        for round_ in range(10):
            one_, two = (
                await raise_alarm(connection, f"A-{round_}"),
                await raise_alarm(connection, f"B-{round_}"),
            )
            await do(connection, one_, "acknowledge")
            await do(connection, two, "acknowledge")
            answers = await asyncio.gather(
                do(connection, one_, "merge", parent=two),
                do(other_desk, two, "merge", parent=one_),
                return_exceptions=True,
            )
            assert [type(answer) for answer in answers].count(alarms.Alarm) == 1
            assert any(isinstance(answer, NotAllowedError | IllegalMoveError) for answer in answers)
            assert len(set(await listed(connection)) & {one_, two}) == 1


async def test_a_shelved_alarm_comes_back_by_itself(connection: AsyncConnection) -> None:
    """What is put away is not before staff, stands in a list of its own, and is back when time is up."""
    battery, call = await raise_alarm(connection, kind="low_battery"), await raise_alarm(connection)
    shelved = await do(connection, battery, "shelve", minutes=30)
    assert Verb.UNSHELVE in shelved.verbs
    assert await listed(connection) == [call]
    assert await listed(connection, "shelved") == [battery]
    counts = await alarms.count_open(connection)
    assert (counts.open, counts.shelved, counts.unacknowledged) == (1, 1, 1)
    assert await end_shelves(connection, AT + 30 * MINUTE - 1) == 0
    assert await end_shelves(connection, AT + 30 * MINUTE) == 1
    assert await listed(connection) == [call, battery]
    assert (await log_of(connection, battery))[-1] == ("carebell", "unshelved", {})
    with pytest.raises(NotAllowedError, match="not shelved"):
        await do(connection, battery, "unshelve")


async def test_a_call_for_help_cannot_be_put_away(connection: AsyncConnection) -> None:
    """Neither the desk nor the database lets an alarm of life be shelved."""
    alarm_id = await raise_alarm(connection, kind="fall")
    with pytest.raises(NotAllowedError, match="never shelved"):
        await do(connection, alarm_id, "shelve", minutes=5)
    with pytest.raises(psycopg.errors.CheckViolation):
        await connection.execute("UPDATE alarms SET shelved_until = now()")


async def test_an_alarm_that_clears_on_its_shelf_is_over(connection: AsyncConnection) -> None:
    """A technical alarm closes itself wherever it is, and does not come back when its shelf ends."""
    alarm_id = await raise_alarm(connection, kind="low_battery")
    await do(connection, alarm_id, "shelve", minutes=5)
    await close_itself(connection, alarm_id)
    assert await end_shelves(connection, AT + 10 * MINUTE) == 0
    assert await listed(connection) == await listed(connection, "shelved") == []


async def test_what_was_closed_by_mistake_is_opened_again(connection: AsyncConnection) -> None:
    """Re-opening makes it the caller's, keeps who was first in the figures, and forgets how it had ended."""
    alarm_id = await raise_alarm(connection)
    await close_alarm(connection, alarm_id)
    opened = await alarms.handle(connection, alarm_id, Verb.REOPEN, "李强", AT + DAY, note="又来电话")
    assert (opened.handling, opened.acknowledged_by, opened.outcome) == ("acknowledged", "王芳", None)
    assert opened.assigned_to == "李强"
    assert (opened.closed_at, opened.closed_by) == (None, None)
    assert opened.acknowledged_at == (await one(connection, "SELECT min(at) AS at FROM alarm_log"))["at"]
    assert (await one(connection, "SELECT reopened FROM alarms"))["reopened"] == 1
    assert await listed(connection) == [alarm_id]


async def test_reopening_is_refused_where_it_would_hide_or_rewrite(connection: AsyncConnection) -> None:
    """Not beside a newer open alarm of the same kind, not after a week, not what ended by itself."""
    first = await raise_alarm(connection)
    await close_alarm(connection, first)
    second = await raise_alarm(connection, after=60)
    with pytest.raises(NotAllowedError, match=f"alarm {second} of the same device"):
        await do(connection, first, "reopen")
    await close_alarm(connection, second)
    with pytest.raises(NotAllowedError, match="more than 7 days"):
        await do(connection, first, "reopen", at=AT + 7 * DAY + MINUTE)
    battery = await raise_alarm(connection, kind="low_battery")
    await close_itself(connection, battery)
    with pytest.raises(NotAllowedError, match="cleared"):
        await do(connection, battery, "reopen")


async def test_a_call_in_the_moment_of_reopening_stands_alone(
    database: Database, connection: AsyncConnection
) -> None:
    """If the device calls while its old alarm is opened, the new one stands and the opening is refused."""
    first = await raise_alarm(connection)
    await close_alarm(connection, first)
    async with connect(database.url) as ingest:
        async with ingest.transaction():
            second = await raise_alarm(ingest, after=60)
            opening = asyncio.ensure_future(do(connection, first, "reopen"))
            await asyncio.sleep(0.2)
        with pytest.raises(NotAllowedError):
            await opening
    assert await listed(connection) == [second]


async def outage(connection: AsyncConnection, area: str) -> tuple[int, list[int], int]:
    """Return the outage of an area, what it explains, and a call for help that stands under it."""
    silent = [await raise_alarm(connection, f"{area}-{n}", "device_silent") for n in range(3)]
    own = await raise_alarm(connection, f"{AREA_DEVICE}{area}", "area_outage")
    call = await raise_alarm(connection, f"{area}-0", "sos")
    explained = "UPDATE alarms SET suppressed = %s WHERE alarm_id = ANY(%s)"
    await connection.execute(explained, (area, silent))
    return own, silent, call


async def test_an_outage_is_closed_and_what_it_explains_put_away(connection: AsyncConnection) -> None:
    """One order closes the outage and shelves its silent devices; calls for help and other areas stay."""
    own, silent, call = await outage(connection, "430602")
    other, still, _ = await outage(connection, "430603")
    await do(connection, own, "acknowledge", "close", outcome=Outcome.EQUIPMENT_FAULT, explained=True)
    closed = await rows(connection, "SELECT alarm_id FROM alarms WHERE closed_at IS NOT NULL ORDER BY 1")
    assert closed == [(own,)]
    away = await rows(connection, "SELECT alarm_id FROM alarms WHERE shelved_until IS NOT NULL ORDER BY 1")
    assert away == [(alarm_id,) for alarm_id in silent]
    told = ("王芳", "shelved", {"minutes": 720, "parent": own})
    assert [(await log_of(connection, alarm_id))[-1] for alarm_id in silent] == [told] * 3
    assert {call, other} <= set(await listed(connection))
    counts = await alarms.count_open(connection)
    assert (counts.suppressed, counts.shelved) == (len(still), len(silent))
    assert await listed(connection, "shelved") == silent


async def test_an_outage_holds_nothing_while_it_waits_for_what_it_explains(
    database: Database, connection: AsyncConnection
) -> None:
    """What it explains is locked first where it is older, so that nobody who merges into it is in the way."""
    own, silent, _ = await outage(connection, "430602")
    await do(connection, own, "acknowledge")
    async with connect(database.url) as other, connect(database.url) as looker:
        async with other.transaction():
            await repeat(other, silent[1])
            closing = asyncio.ensure_future(
                do(connection, own, "close", outcome=Outcome.EQUIPMENT_FAULT, explained=True)
            )
            await asyncio.sleep(0.15)
            free = "SELECT alarm_id FROM alarms WHERE alarm_id = ANY(%s) FOR UPDATE SKIP LOCKED"
            assert await rows(looker, free, [*silent, own]) == [(silent[2],), (own,)]
        assert (await closing).handling == Handling.CLOSED


async def test_an_order_that_crosses_with_ingest_is_tried_again(
    database: Database, connection: AsyncConnection
) -> None:
    """If the database ends the desk's order for the sake of ingest's, it is carried out after that one."""
    own, silent, _ = await outage(connection, "430602")
    await do(connection, own, "acknowledge")
    async with connect(database.url) as ingest, connection.transaction():
        async with ingest.transaction():
            await repeat(ingest, silent[1])
            closing = asyncio.ensure_future(
                do(connection, own, "close", outcome=Outcome.EQUIPMENT_FAULT, explained=True)
            )
            await asyncio.sleep(0.3)
            await repeat(ingest, silent[0])
        assert (await closing).handling == Handling.CLOSED
    found = await rows(
        connection, "SELECT shelved_until IS NULL, count FROM alarms WHERE alarm_id = ANY(%s)", silent
    )
    assert sorted(found) == [(False, 1), (False, 2), (False, 2)]


async def unsuppress(connection: AsyncConnection, device: str, kind: str) -> None:
    """Say as ingest does that an outage is over and a device of it is silent still."""
    values = {
        "device_id": [await add_device(connection, device)],
        "kind": [kind],
        "at": [START],
        "detail": ["{}"],
        "suppressed": [None],
        "rule": [1],
        "rule_set_id": None,
    }
    await connection.execute(sql.load("ingest")["suppress_alarms"], values)


async def test_what_outlasts_the_outage_with_which_it_was_put_away_comes_back(
    connection: AsyncConnection,
) -> None:
    """A device that is silent still when its area is back stands before staff when its shelf ends."""
    own, silent, call = await outage(connection, "430602")
    await do(connection, own, "acknowledge", "close", outcome=Outcome.EQUIPMENT_FAULT, explained=True)
    await unsuppress(connection, "430602-1", "device_silent")
    await close_itself(connection, silent[0])
    assert await listed(connection) == [call]
    assert await listed(connection, "shelved") == silent[1:]
    assert await end_shelves(connection, AT + 720 * MINUTE) == 2
    assert await listed(connection) == [call, *silent[1:]]


async def test_what_a_further_outage_explains_stays_explained(connection: AsyncConnection) -> None:
    """When the shelf ends while the area is out anew, the new outage speaks for its silences."""
    own, silent, call = await outage(connection, "430602")
    await do(connection, own, "acknowledge", "close", outcome=Outcome.EQUIPMENT_FAULT, explained=True)
    anew = await raise_alarm(connection, f"{AREA_DEVICE}430602", "area_outage")
    assert await end_shelves(connection, AT + 720 * MINUTE) == len(silent)
    assert await listed(connection) == [call, anew]


async def test_what_no_open_outage_explains_stands_before_staff(connection: AsyncConnection) -> None:
    """An outage that is closed alone leaves its silences to staff, after a while; an open one keeps them."""
    own, silent, call = await outage(connection, "430602")
    _, kept, _ = await outage(connection, "430603")
    await do(connection, own, "acknowledge", "close", outcome=Outcome.EQUIPMENT_FAULT)
    assert await end_explanations(connection, AT + 9 * MINUTE) == 0
    assert await end_explanations(connection, AT + 11 * MINUTE) == len(silent)
    found = await listed(connection)
    assert set(silent) <= set(found)
    assert not set(kept) & set(found)
    assert (await log_of(connection, silent[0]))[-1] == ("carebell", "unsuppressed", {})
    assert call in found


async def test_what_is_opened_again_stands_before_staff(connection: AsyncConnection) -> None:
    """An alarm that an outage explained is on the list when somebody opens it again."""
    _, silent, _ = await outage(connection, "430602")
    await close_alarm(connection, silent[0])
    await do(connection, silent[0], "reopen")
    assert silent[0] in await listed(connection)


async def test_the_desk_looks_for_what_nothing_explains(
    database: Database, connection: AsyncConnection
) -> None:
    """A desk that runs brings it back by itself."""
    silent = await raise_alarm(connection, "BELL-1", "device_silent")
    await connection.execute("UPDATE alarms SET suppressed = '430602'")

    async def is_back() -> bool:
        return await listed(connection) == [silent]

    async with opened(make_pool(database.url)) as pool, endings.ending(pool, Clock()):
        await until(is_back, "it stands before staff")


async def test_what_staff_will_end_is_not_merged_into_what_may_end_by_itself(
    connection: AsyncConnection,
) -> None:
    """A fault of a device closes itself, and would take the pulse of a person with it."""
    battery = await raise_alarm(connection, "BELL-2", "low_battery")
    pulse = await raise_alarm(connection, "BAND-1", "hr_high")
    with pytest.raises(NotAllowedError, match="may end by itself"):
        await do(connection, pulse, "acknowledge", "merge", parent=battery)


@pytest.mark.parametrize(
    "column", ["shelved_until = now()", "suppressed = '430602'", "drill = true", "kind = kind"]
)
async def test_a_call_is_merged_only_into_what_staff_will_end(
    connection: AsyncConnection, column: str
) -> None:
    """What is hidden, of a drill, or may end by itself takes no call for help in."""
    call, battery = await raise_alarm(connection), await raise_alarm(connection, "BELL-2", "low_battery")
    await connection.execute(f"UPDATE alarms SET {column} WHERE alarm_id = {battery}".encode())
    with pytest.raises(NotAllowedError):
        await do(connection, call, "acknowledge", "merge", parent=battery)
    assert call in await listed(connection)


async def send_hundreds(connection: AsyncConnection, alarm_id: int) -> None:
    """Send more people than can be named."""
    for n in range(100, 400):
        await do(connection, alarm_id, "dispatch", to=f"{n}" * 30)


async def test_who_is_sent_twice_is_named_once_and_not_without_end(connection: AsyncConnection) -> None:
    """A second click names nobody twice, and a list of hundreds is refused."""
    alarm_id = await raise_alarm(connection)
    sent = await do(connection, alarm_id, "acknowledge", "dispatch", "dispatch", to="李强")
    assert sent.dispatched_to == "李强"
    with pytest.raises(NotAllowedError, match="too many"):
        await send_hundreds(connection, alarm_id)


async def test_only_an_outage_takes_others_along(connection: AsyncConnection) -> None:
    """Whoever asks to close what an ordinary alarm explains is refused, and nothing is closed."""
    alarm_id = await raise_alarm(connection)
    await do(connection, alarm_id, "acknowledge")
    before = await everything(connection)
    with pytest.raises(NotAllowedError, match="only the outage"):
        await do(connection, alarm_id, "close", outcome=Outcome.TEST, explained=True)
    assert await everything(connection) == before


async def test_the_open_list_does_not_go_through_what_is_closed(connection: AsyncConnection) -> None:
    """However many alarms are closed, list and counts read an index of the open ones alone."""
    await connection.execute(
        "INSERT INTO devices (device) SELECT 'D-' || n FROM generate_series(1, 200) n;"
        " INSERT INTO alarms (device_id, kind, class, severity, quality, condition, handling, raised_at,"
        " last_at, closed_at)"
        " SELECT device_id, 'sos', 'life', 'critical', 'ok', 'active', 'closed', now(), now(), now()"
        " FROM devices, generate_series(1, 100)"
    )
    await raise_alarm(connection)
    await connection.execute("ANALYZE alarms")
    for name in ("open_alarms", "shelved_alarms", "count_open"):
        query = b"EXPLAIN " + alarms._SQL[name]
        values = {"device": None, "limit": 200}
        plan = "\n".join(line for (line,) in await (await connection.execute(query, values)).fetchall())
        assert "Seq Scan on alarms" not in plan, plan
