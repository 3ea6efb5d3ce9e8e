"""What the engine decides, as rows: raises, steps, suppressions, clears, one by one and by the thousand."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg import AsyncConnection

from schemas.alarms import KINDS, Move, Severity, Transition
from schemas.clock import to_datetime
from store import rows
from tests.contract.kit import after, script, tuples
from tests.desk import connect

VERSION = 7
SILENT = "device_silent"


@pytest.fixture
async def connection(url: str) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database that knows the devices 1 to 3000."""
    await script(
        url, "INSERT INTO devices (device, region) SELECT 'D-' || n, '430602' FROM generate_series(1, 3000) n"
    )
    async with connect(url) as found:
        yield found


def decision(device_id: int, move: Move, at: float, kind: str = SILENT, **more: Any) -> Transition:  # noqa: ANN401 - of Transition
    """Return a decision of rule 4, `at` seconds after START, with the severity of its kind."""
    told = Transition(device_id, kind, move, after(at), KINDS[kind].severity, rule=4)
    return dataclasses.replace(told, **more)


def outage(move: Move, at: float, area: str = "430602", **more: Any) -> Transition:  # noqa: ANN401 - as above
    """Return a decision about an area."""
    return decision(-1, move, at, "area_outage", area=area, **more)


async def write(connection: AsyncConnection, *decisions: Transition) -> None:
    """Write decisions in one transaction, as VERSION of the rules made them."""
    async with connection.transaction():
        await rows.write_transitions(connection, decisions, VERSION)


async def alarms(url: str, columns: str) -> list[tuple[Any, ...]]:
    """Return columns of all alarms, by device and number."""
    return await tuples(url, f"SELECT {columns} FROM alarms ORDER BY device_id, alarm_id")


async def log(url: str, columns: str = "verb") -> list[Any]:
    """Return columns of the log, of one column its values."""
    found = await tuples(url, f"SELECT {columns} FROM alarm_log ORDER BY log_id")
    return [row[0] for row in found] if "," not in columns else found


async def test_an_alarm_tells_which_rule_raised_it(url: str, connection: AsyncConnection) -> None:
    """The row has the first raise's rule and version, the log those of each decision."""
    await write(connection, decision(1, Move.RAISE, 1, "hr_high", values={"hr": 140}))
    await write(connection, decision(1, Move.CLEAR, 2, "hr_high", rule=5))
    await write(connection, decision(1, Move.RAISE, 3, "hr_high", rule=6))
    assert await alarms(url, "rule, rule_set_id, detail, count") == [(4, VERSION, {"hr": 140}, 2)]
    assert await log(url, "verb, rule, rule_set_id") == [
        ("raised", 4, VERSION),
        ("cleared", 5, VERSION),
        ("repeated", 6, VERSION),
    ]


async def test_severity_rises_and_never_falls(url: str, connection: AsyncConnection) -> None:
    """By a step or a more urgent raise; a step to what is less urgent is not even logged."""
    low, medium, critical = Severity.LOW, Severity.MEDIUM, Severity.CRITICAL
    await write(connection, decision(1, Move.RAISE, 1, "hr_high", severity=low))
    await write(connection, decision(1, Move.STEP, 2, "hr_high", severity=medium, values={"after": 60}))
    await write(connection, decision(1, Move.STEP, 3, "hr_high", severity=low))
    assert await alarms(url, "severity, version") == [("medium", 2)]
    await write(connection, decision(1, Move.RAISE, 4, "hr_high", severity=critical))
    await write(connection, decision(1, Move.RAISE, 5, "hr_high", severity=low))
    assert await alarms(url, "severity") == [("critical",)]
    assert await log(url) == ["raised", "stepped", "repeated", "repeated"]
    detail = {"after": 60, "severity": "medium"}
    assert await tuples(url, "SELECT detail FROM alarm_log WHERE verb = 'stepped'") == [(detail,)]


async def test_a_closed_alarm_is_not_stepped(url: str, connection: AsyncConnection) -> None:
    """A timer that comes after duty has closed the alarm changes nothing."""
    await write(connection, decision(1, Move.RAISE, 1, severity=Severity.LOW), decision(1, Move.CLEAR, 2))
    await write(connection, decision(1, Move.STEP, 3, severity=Severity.HIGH))
    assert await alarms(url, "severity") == [("low",)]
    assert await log(url) == ["raised", "closed"]


async def test_suppressed_alarms_stand_in_the_history_only(url: str, connection: AsyncConnection) -> None:
    """Neither desk nor boards list them as open; they are there with the reason, and may come back."""
    await write(connection, decision(1, Move.RAISE, 1), decision(2, Move.RAISE, 1))
    await write(
        connection, outage(Move.RAISE, 5), decision(1, Move.SUPPRESS, 5, parent="430602", values={"of": 9})
    )

    for view in ("board_open_alarms", "duty_alarms WHERE closed_at IS NULL AND suppressed IS NULL"):
        assert await tuples(url, f"SELECT device, kind FROM {view} ORDER BY alarm_id") == [
            ("D-2", SILENT),
            ("?area:430602", "area_outage"),
        ], view
    assert await tuples(url, "SELECT device, suppressed FROM board_alarms ORDER BY alarm_id") == [
        ("D-1", "430602"),
        ("D-2", None),
        ("?area:430602", None),
    ]
    await write(connection, decision(1, Move.UNSUPPRESS, 9, parent="430602"))
    assert len(await tuples(url, "SELECT FROM board_open_alarms")) == 3
    assert await log(url, "verb, detail") == [
        ("raised", {}),
        ("raised", {}),
        ("raised", {}),
        ("suppressed", {"of": 9, "area": "430602"}),
        ("unsuppressed", {}),
    ]


async def test_a_raise_can_be_suppressed_at_once_and_clears_as_any(
    url: str, connection: AsyncConnection
) -> None:
    """Said by the raise itself or right after it, it never stands before staff; it ends when it clears."""
    await write(connection, decision(1, Move.RAISE, 1, parent="broker"))
    await write(connection, decision(2, Move.RAISE, 1), decision(2, Move.SUPPRESS, 1, parent="broker"))
    assert await tuples(url, "SELECT FROM board_open_alarms") == []
    await write(connection, decision(1, Move.CLEAR, 2), decision(2, Move.CLEAR, 2))
    assert await alarms(url, "suppressed, closed_by, outcome") == [("broker", "carebell", "cleared")] * 2


async def test_a_call_is_never_suppressed(url: str, connection: AsyncConnection) -> None:
    """Whatever a decision says, alarms of life stand before staff."""
    await write(connection, decision(1, Move.RAISE, 1, "sos", parent="broker"))
    await write(connection, decision(1, Move.SUPPRESS, 2, "sos", parent="broker"))
    assert await tuples(url, "SELECT kind, severity FROM board_open_alarms") == [("sos", "critical")]
    assert await log(url) == ["raised"]


async def test_areas_have_devices_of_their_own(url: str, connection: AsyncConnection) -> None:
    """One for each area, however often it is out; a region's bears its code, and they count as no device."""
    for at in (1, 5):
        areas = ("broker", "430602", "gateway:G 1")
        await write(connection, *(outage(Move.RAISE, at, area) for area in areas))
        await write(connection, *(outage(Move.CLEAR, at + 1, area) for area in areas))
    found = await tuples(
        url, "SELECT device, region, self_registered FROM devices WHERE starts_with(device, '?') ORDER BY 1"
    )
    assert found == [
        ("?area:430602", "430602", True),
        ("?area:broker", None, True),
        ("?area:gateway:G 1", None, True),
    ]
    assert (
        len(await tuples(url, "SELECT FROM alarms WHERE kind = 'area_outage' AND closed_at > raised_at")) == 6
    )


async def test_decisions_about_one_alarm_keep_their_order(url: str, connection: AsyncConnection) -> None:
    """However they are mixed with those about others in one commit, each alarm goes through its own."""
    raised, closed = Move.RAISE, Move.CLEAR
    order = [(1, raised), (2, raised), (1, closed), (1, raised), (3, raised), (2, closed), (1, closed)]
    await write(connection, *(decision(device, move, at) for at, (device, move) in enumerate(order, 1)))
    assert await alarms(url, "device_id, raised_at, closed_at") == [
        (1, to_datetime(after(1)), to_datetime(after(3))),
        (1, to_datetime(after(4)), to_datetime(after(7))),
        (2, to_datetime(after(2)), to_datetime(after(6))),
        (3, to_datetime(after(5)), None),
    ]
    verbs = await tuples(
        url,
        "SELECT device_id, array_agg(verb ORDER BY log_id) FROM alarm_log JOIN alarms USING (alarm_id)"
        " GROUP BY 1 ORDER BY 1",
    )
    assert verbs == [
        (1, ["raised", "closed", "raised", "closed"]),
        (2, ["raised", "closed"]),
        (3, ["raised"]),
    ]


async def test_thousands_are_a_few_statements(
    url: str, connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3000 devices that fall silent, are suppressed, shown again and heard are one statement each time."""
    executed: list[object] = []
    execute = connection.execute

    async def counting(query: Any, *more: Any, **named: Any) -> Any:  # noqa: ANN401 - as execute has it
        executed.append(query)
        return await execute(query, *more, **named)

    monkeypatch.setattr(connection, "execute", counting)
    for at, move in enumerate((Move.RAISE, Move.SUPPRESS, Move.UNSUPPRESS, Move.CLEAR), 1):
        parent = "430602" if move is Move.SUPPRESS else ""
        await write(connection, *(decision(n, move, at, parent=parent) for n in range(1, 3001)))
    assert len(executed) == 4
    assert await tuples(url, "SELECT verb, count(*) FROM alarm_log GROUP BY 1 ORDER BY min(log_id)") == [
        ("raised", 3000),
        ("suppressed", 3000),
        ("unsuppressed", 3000),
        ("closed", 3000),
    ]
    numbers = await tuples(url, "SELECT alarm_id FROM alarms ORDER BY device_id")
    assert numbers == sorted(numbers)  # as the decisions came


async def test_a_call_rings_the_device_once_for_each_press(url: str, connection: AsyncConnection) -> None:
    """Each activation of a life alarm goes out to the device, in the order of the presses."""
    await write(
        connection,
        decision(2, Move.RAISE, 1, "sos"),
        decision(1, Move.RAISE, 2, "sos"),
        decision(3, Move.RAISE, 3),
    )
    await write(connection, decision(2, Move.RAISE, 4, "sos"))
    rung = "SELECT device_id, message FROM outbox JOIN alarms USING (alarm_id) ORDER BY outbox_id"
    assert await tuples(url, rung) == [(2, "raised"), (1, "raised"), (2, "raised")]
