"""Who has a device and who had it, in both editions: moves, and what stays whose."""

import itertools
import random
from datetime import datetime
from typing import Any

import pytest
from psycopg import AsyncConnection

from duty import cards
from ops.parts import Database
from schemas.clock import to_datetime
from schemas.registry import DEVICES
from schemas.topics import Lane
from store import registry
from store.migrate import edition_of, numbered
from tests.contract.kit import START, Line, after, make_tables, message, rows, script, settings_for, tuples
from tests.contract.registry import enter_both, imported, wearers

ALARMS = "SELECT alarm_id, kind, person, count FROM duty_alarms ORDER BY 1"


@pytest.fixture
async def url(database: Database) -> str:
    """Give a database of each edition in turn with two people and three devices."""
    await make_tables(database.url)
    await enter_both(database.url)
    return database.url


async def move(url: str, device: str, person: str | None, at: datetime) -> registry.DeviceCard:
    """Move a device."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        return await registry.move(connection, device, person, None, at)


async def person(url: str, number: str) -> registry.PersonCard:
    """Show a person."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        return await registry.show_person(connection, number)


async def close_all(url: str) -> None:
    """Close every open alarm as duty does."""
    await script(url, "UPDATE alarms SET handling = 'closed', closed_at = now() WHERE closed_at IS NULL")


async def spans(url: str) -> list[tuple[Any, ...]]:
    """Return who had what when, in seconds after START."""
    found = await tuples(
        url,
        "SELECT device, person, since, until FROM assignments JOIN devices USING (device_id)"
        " JOIN people ON people.person_id = assignments.person_id ORDER BY device, since",
    )
    start = to_datetime(START)
    return [
        (device, who, (since - start).total_seconds(), until and (until - start).total_seconds())
        for device, who, since, until in found
    ]


@pytest.mark.parametrize("way", ["move", "import"])
async def test_a_move_keeps_both_histories_apart(url: str, way: str) -> None:
    """Alarms and vitals of the time before stay with whoever had the device; those after are the other's."""
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-1", "sos", at=10), lane=Lane.URGENT)
        await line.feed(message("BELL-1", "vitals", {"hr": 71, "ts": after(10) // 1000}, at=11))
        await close_all(url)
        if way == "move":
            card = await move(url, "BELL-1", "YY-2", to_datetime(after(60)))
            assert (card.device.person, [span.person for span in card.had_by]) == ("YY-2", ["YY-2", "YY-1"])
        else:
            text = "device,region,person\nBELL-1,430602001,YY-2\n"
            assert (await imported(url, DEVICES, text, at=to_datetime(after(60)))).moved == 1
        await line.feed(message("BELL-1", "sos", at=70), lane=Lane.URGENT)
        await line.feed(message("BELL-1", "vitals", {"hr": 72, "ts": after(60) // 1000}, at=71))
        await line.feed(message("BELL-1", "vitals", {"hr": 70, "ts": after(59) // 1000}, at=80))  # late
    assert await spans(url) == [
        ("BELL-1", "YY-1", 0, 60),
        ("BELL-1", "YY-2", 60, None),
        ("BELL-2", "YY-2", 0, None),
    ]
    assert await tuples(url, ALARMS) == [(1, "sos", "张桂英", 1), (2, "sos", "李建国", 1)]
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        seen = [await cards.show(connection, number) for number in (1, 2)]
    assert [card.person and card.person.notes for card in seen] == ["高血压", ""]
    assert [[contact.name for contact in card.contacts] for card in seen] == [["张强"], []]
    one, other = await person(url, "YY-1"), await person(url, "YY-2")
    assert [alarm.alarm_id for alarm in one.alarms] == [1]
    assert [alarm.alarm_id for alarm in other.alarms] == [2]
    assert sorted(vitals.hr or 0 for vitals in one.vitals) == [70, 71]
    assert [vitals.hr for vitals in other.vitals] == [72]


async def test_a_repeat_is_about_who_has_the_device_now(url: str) -> None:
    """A press while an older alarm is open shows the present person, however the device came to them."""
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-1", "sos", at=10), lane=Lane.URGENT)
        await script(
            url,
            "UPDATE devices SET person_id = (SELECT person_id FROM people WHERE person = 'YY-2')"
            " WHERE device = 'BELL-1'",
        )
        assert await tuples(url, ALARMS) == [(1, "sos", "张桂英", 1)]
        await line.feed(message("BELL-1", "sos", at=20), lane=Lane.URGENT)
    assert await tuples(url, ALARMS) == [(1, "sos", "李建国", 2)]


async def test_a_call_keeps_the_device_with_its_person(url: str) -> None:
    """While a call is open, neither move nor import takes the device from its person; afterwards both do."""
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-1", "sos", at=10), lane=Lane.URGENT)
    for to in ("YY-2", None):
        with pytest.raises(
            registry.RegistryError, match="BELL-1 stays with its person while its alarm 1 is open"
        ):
            await move(url, "BELL-1", to, to_datetime(after(60)))
    summary = await imported(
        url, DEVICES, "device,region,person\nBELL-3,430602,YY-1\nBELL-1,430602001,YY-2\n"
    )
    assert [(error.line, "alarm 1 is open" in error.said) for error in summary.errors] == [(3, True)]
    assert await wearers(url) == [("BELL-1", "YY-1"), ("BELL-2", "YY-2"), ("BELL-3", None)]
    assert (await imported(url, DEVICES, "device,region\nBELL-1,430602003\n")).changed == 1
    await close_all(url)
    assert (await move(url, "BELL-1", None, to_datetime(after(60)))).device.person is None


async def test_an_open_technical_alarm_goes_along(url: str) -> None:
    """A low battery is the device's: it goes to whoever has it, with a line in its log and a new version."""
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-1", "event", {"kind": "low_battery"}, at=10), lane=Lane.URGENT)
    await move(url, "BELL-1", "YY-2", to_datetime(after(60)))
    assert await tuples(url, "SELECT kind, person, version FROM duty_alarms") == [
        ("low_battery", "李建国", 2)
    ]
    log = await rows(url, "SELECT actor, verb, at, detail FROM alarm_log ORDER BY log_id")
    assert [entry["verb"] for entry in log] == ["raised", "moved"]
    assert (log[1]["at"], log[1]["detail"]) == (to_datetime(after(60)), {"person": "YY-2"})


async def test_an_alarm_about_nobody_finds_its_person(url: str) -> None:
    """Whoever calls before the registry knows them is named as soon as it does; that takes it from nobody."""
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-3", "sos", at=10), lane=Lane.URGENT)
        await line.feed(message("NEW-1", "sos", at=11), lane=Lane.URGENT)
    text = "device,region,person\nBELL-3,430602,YY-1\nNEW-1,430602,YY-2\n"
    assert (await imported(url, DEVICES, text)).errors == []
    assert await tuples(url, "SELECT device, person FROM duty_alarms ORDER BY 1") == [
        ("BELL-3", "张桂英"),
        ("NEW-1", "李建国"),
    ]


async def test_however_devices_move_no_moment_has_two_people(url: str) -> None:
    """Spans of a device never overlap, also when the clock is set back; the open one is who has it now."""
    drawn = random.Random(5)
    for _ in range(40):
        to = drawn.choice(["YY-1", "YY-2", None])
        await move(url, "BELL-1", to, to_datetime(after(drawn.choice([0, 5, 5, drawn.randrange(1000)]))))
        found = [span for span in await spans(url) if span[0] == "BELL-1"]
        for (_, _, since, until), (_, _, next_since, _) in itertools.pairwise(found):
            assert since < until <= next_since
        still = [who for _, who, _, until in found if until is None]
        assert still == ([to] if to else [])
        assert (await wearers(url))[0] == ("BELL-1", to)


@pytest.mark.no_tables
async def test_what_was_there_before_comes_along(database: Database) -> None:
    """People get numbers, devices their spans and alarms their people when an older database is migrated."""
    async with await AsyncConnection.connect(database.url, autocommit=True) as connection:
        edition = await edition_of(connection)
        if edition.name == "timescale":
            await connection.execute("CREATE EXTENSION timescaledb")
        await connection.execute("CREATE TABLE migrations (name text, applied_at timestamptz DEFAULT now())")
        for path in numbered()[:4]:
            await connection.execute(edition.render(path.read_text("utf-8")).encode())
            await connection.execute("INSERT INTO migrations (name) VALUES (%s)", (path.stem,))
    await script(
        database.url,
        "INSERT INTO people (name) VALUES ('张桂英'), ('李建国');"
        "INSERT INTO devices (device, person_id) VALUES ('BELL-1', 2), ('BELL-2', NULL);"
        "INSERT INTO alarms (device_id, kind, class, severity, quality, condition, raised_at, last_at)"
        " SELECT device_id, 'sos', 'life', 'critical', 'ok', 'active', now(), now() FROM devices",
    )
    await make_tables(database.url)
    await script(database.url, "INSERT INTO people (name) VALUES ('王芳')")
    assert await tuples(database.url, "SELECT person, name FROM people ORDER BY person_id") == [
        ("P1", "张桂英"),
        ("P2", "李建国"),
        ("P3", "王芳"),
    ]
    assert await tuples(
        database.url,
        "SELECT s.person_id, since = registered_at, until FROM assignments s JOIN devices USING (device_id)",
    ) == [(2, True, None)]
    assert await tuples(database.url, "SELECT device, person FROM duty_alarms ORDER BY 1") == [
        ("BELL-1", "李建国"),
        ("BELL-2", ""),
    ]
