"""Importing files in both editions: all or nothing, the second time without effect, never in the way."""

import asyncio
import re
from contextlib import AsyncExitStack

import pytest
from psycopg import AsyncConnection

from schemas.registry import DEVICES, REGIONS
from schemas.topics import Lane
from tests.contract.kit import Line, message, rows, script, settings_for, tuples, until
from tests.contract.registry import (
    KINDS,
    PEOPLE,
    THREE_DEVICES,
    TWO_PEOPLE,
    enter_both,
    imported,
    registry,
    wearers,
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
async def test_files_come_in_whole(url: str, encoding: str) -> None:
    """People with their contacts, then devices with their people, in whichever encoding the file is."""
    summary = await imported(url, PEOPLE, TWO_PEOPLE.encode(encoding))
    assert (summary.rows, summary.new, summary.changed, summary.errors) == (2, 2, 0, [])
    summary = await imported(url, DEVICES, THREE_DEVICES.encode(encoding))
    assert (summary.rows, summary.new, summary.moved, summary.errors) == (3, 3, 0, [])
    assert await tuples(
        url,
        "SELECT person, p.name, sex, birth_year, p.phone, address, notes, rank, c.name, c.phone"
        " FROM people p LEFT JOIN contacts c USING (person_id) ORDER BY 1",
    ) == [
        (
            "YY-1",
            "张桂英",
            "female",
            1941,
            "0730-8881234",
            "岳阳楼街道3栋",
            "高血压",
            1,
            "张强",
            "13900000001",
        ),
        ("YY-2", "李建国", "male", 1938, "", "", "", None, None, None),
    ]
    assert await tuples(
        url,
        "SELECT device, region, model, person, heartbeat_seconds, self_registered FROM devices"
        " LEFT JOIN people USING (person_id) ORDER BY device",
    ) == [
        ("BELL-1", "430602001", "bell", "YY-1", 60, False),
        ("BELL-2", "430602001", "band", "YY-2", None, False),
        ("BELL-3", "430602", "", None, None, False),
    ]


WRONG = [
    ("device", "device,region\nN-1,430602\nN-2,16\nN-3,430602\n", {3: "16"}),
    ("device", "device,region\nN-1,430602\nN-2,430602\nN-1,430602\n", {4: "N-1 stands in line 2"}),
    ("device", "device,region,person\nN-1,430602,YY-1\nN-2,430602,YY-7\n", {3: "nobody has.*YY-7"}),
    ("device", "device,region,person\nBELL-1,430602,YY-2\nN-2,430602,17\n", {3: "0017 is known.*zeros"}),
    ("device", 'device,region\nN-1,430602\n"N-2,430602\n', {3: "quotes"}),
    ("person", "person,name\nN-1,张\nYY-1,李\nN-1,王\n", {4: "N-1 stands in line 2 already"}),
    ("person", "person,name,phone\nYY-1,李,13900000002\nYY-2,李,139\x00\n", {3: r"U\+0000"}),
    ("region", "region,name\n430602,岳阳楼区\n430602,岳阳\n", {3: "430602 stands in line 2"}),
]  # fmt: skip


async def test_with_one_error_nothing_comes_in(url: str) -> None:
    """Whatever is wrong is told with its line, and not one of the good lines is in the registry."""
    await enter_both(url)
    await script(url, "INSERT INTO people (person, name) VALUES ('0017', '王')")
    before = await registry(url)
    for kind, text, errors in WRONG:
        summary = await imported(url, KINDS[kind], text)
        assert [error.line for error in summary.errors] == list(errors), text
        for error in summary.errors:
            assert re.search(errors[error.line], error.said), error.said
        assert await registry(url) == before


async def test_of_many_errors_the_first_are_told_and_all_are_counted(url: str) -> None:
    """A hundred errors by line, found by reading or by comparing, and how many more there are."""
    lines = [f"N-{n % 150},{'430602' if n < 150 else '16' if n % 2 else '430602'}" for n in range(1000)]
    summary = await imported(url, DEVICES, "device,region\n" + "\n".join(lines))
    assert len(summary.errors) == 100
    assert [error.line for error in summary.errors] == list(range(152, 252))
    assert len(summary.errors) + summary.more_errors == 850


async def test_a_dry_run_tells_and_changes_nothing(url: str) -> None:
    """What would come of a file is what comes of it."""
    await enter_both(url)
    before = await registry(url)
    text = "device,region,person\nBELL-1,430602001,YY-2\nBELL-2,430602001,YY-2\nN-1,430602001,YY-1\n"
    told = await imported(url, DEVICES, text, dry_run=True)
    assert (told.rows, told.new, told.changed, told.moved, told.unchanged) == (3, 1, 1, 1, 1)
    assert await registry(url) == before
    assert await imported(url, DEVICES, text) == told
    assert await wearers(url) == [("BELL-1", "YY-2"), ("BELL-2", "YY-2"), ("BELL-3", None), ("N-1", "YY-1")]


async def test_importing_again_changes_nothing(url: str) -> None:
    """The second time no row is written, not even with the values that it has."""
    regions = "region,name\n430602,岳阳楼区\n430602001,岳阳楼街道\n"
    await enter_both(url)
    await imported(url, REGIONS, regions)
    before = await registry(url)
    for kind, text in ((PEOPLE, TWO_PEOPLE), (DEVICES, THREE_DEVICES), (REGIONS, regions)):
        summary = await imported(url, kind, text)
        assert (summary.new, summary.changed, summary.moved) == (0, 0, 0)
        assert summary.unchanged == summary.rows > 0
    assert await registry(url) == before


async def test_what_differs_changes_and_what_is_not_spoken_of_stays(url: str) -> None:
    """Absent columns leave what is there, empty cells empty it; only rows that differ are written."""
    await enter_both(url)
    before = await registry(url)
    summary = await imported(url, DEVICES, "device,region,model\nBELL-1,430602001,\nBELL-2,430602001,band\n")
    assert (summary.changed, summary.unchanged) == (1, 1)
    summary = await imported(url, PEOPLE, "person,name,phone\nYY-1,张桂英,120\nYY-2,李建国,\n")
    assert (summary.changed, summary.unchanged) == (1, 1)
    assert await tuples(
        url,
        "SELECT model, heartbeat_seconds, person, phone, notes FROM devices JOIN people USING (person_id)"
        " ORDER BY device",
    ) == [("", 60, "YY-1", "120", "高血压"), ("band", None, "YY-2", "", "")]
    after = await registry(url)
    for table, changed in (("devices", 1), ("people", 1), ("contacts", 0), ("assignments", 0)):
        assert len(set(after[table]) - set(before[table])) == changed


async def test_what_rules_ask_for_is_imported_and_the_bridge_reads_it(url: str) -> None:
    """A gateway stands with its device; of whom the care level changes, the devices are read again."""
    await enter_both(url)
    await imported(url, DEVICES, "device,region,gateway\nBELL-1,430602001,G-1\nBELL-2,430602001,\n")
    gateways = "SELECT device, gateway FROM devices ORDER BY device"
    assert await tuples(url, gateways) == [("BELL-1", "G-1"), ("BELL-2", ""), ("BELL-3", "")]
    before = await registry(url)
    await imported(url, PEOPLE, "person,name,care_level\nYY-1,张桂英,一级\nYY-2,李建国,\n")
    after = await registry(url)
    assert [len(set(after[table]) - set(before[table])) for table in ("people", "devices")] == [1, 1]
    read = "SELECT device FROM devices WHERE changed_at = (SELECT max(changed_at) FROM devices)"
    assert await tuples(url, read) == [("BELL-1",)]
    await imported(url, DEVICES, "device,region\nBELL-1,430602001\n")
    await imported(url, PEOPLE, "person,name\nYY-1,张桂英\n")
    assert await tuples(
        url, "SELECT gateway, care_level FROM devices JOIN people USING (person_id) ORDER BY 1 DESC"
    ) == [
        ("G-1", "一级"),
        ("", ""),
    ]


async def test_contacts_are_replaced_as_a_whole(url: str) -> None:
    """A file with contact columns says all contacts; one without them leaves them."""
    await enter_both(url)
    await imported(url, PEOPLE, "person,name,contact2_name,contact2_phone\nYY-1,张桂英,王芳,120\n")
    assert await tuples(url, "SELECT rank, name, relation, phone FROM contacts") == [(2, "王芳", "", "120")]
    await imported(url, PEOPLE, "person,name\nYY-1,张桂英花\n")
    assert await tuples(url, "SELECT rank, name FROM contacts") == [(2, "王芳")]
    summary = await imported(url, PEOPLE, "person,name,contact1_phone\nYY-1,张桂英花,\n")
    assert summary.changed == 1
    assert await tuples(url, "SELECT FROM contacts") == []


async def test_a_device_that_registered_itself_becomes_a_registered_one(url: str) -> None:
    """Importing takes it over, with all that came before, and whoever gets it has it from then on."""
    await imported(url, PEOPLE, TWO_PEOPLE)
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-1", "heartbeat", {"battery": 80}))
    (device,) = await rows(url, "SELECT device_id, self_registered FROM devices")
    assert device["self_registered"]
    summary = await imported(url, DEVICES, THREE_DEVICES)
    assert (summary.new, summary.changed, summary.moved) == (2, 1, 0)
    (after,) = await rows(url, "SELECT device_id, self_registered FROM devices WHERE device = 'BELL-1'")
    assert after == {"device_id": device["device_id"], "self_registered": False}
    assert await tuples(url, "SELECT count(*) FROM heartbeats JOIN devices USING (device_id)") == [(1,)]
    assert await wearers(url) == [("BELL-1", "YY-1"), ("BELL-2", "YY-2"), ("BELL-3", None)]


async def test_a_code_is_put_on_the_map_and_stays_there(url: str) -> None:
    """Degrees are taken, left by files without them, emptied by empty cells; half a place is refused."""
    where = "SELECT name, lat, lon FROM regions"
    await imported(url, REGIONS, "region,name,lat,lon\n430602,岳阳楼区,29.372,113.129\n")
    assert await tuples(url, where) == [("岳阳楼区", 29.372, 113.129)]
    summary = await imported(url, REGIONS, "region,name\n430602,岳阳楼\n")
    assert (summary.new, summary.changed) == (0, 1)
    assert await tuples(url, where) == [("岳阳楼", 29.372, 113.129)]
    assert (
        await imported(url, REGIONS, "行政区划,名称,纬度,经度\n430602,岳阳楼,29.372,113.129\n")
    ).changed == 0
    for half in ("region,name,lat\n430602,岳阳楼,29.4\n", "region,name,lat,lon\n430602,岳阳楼,29.4,\n"):
        assert "give both or neither" in (await imported(url, REGIONS, half)).errors[0].said
    assert (await imported(url, REGIONS, "region,name,lat,lon\n430602,岳阳楼,,\n")).changed == 1
    assert await tuples(url, where) == [("岳阳楼", None, None)]


async def test_codes_without_a_name_are_taken_with_a_warning(url: str) -> None:
    """The warning lists the codes with a line each, and says how they are named."""
    await imported(url, REGIONS, "region,name\n430602,岳阳楼区\n")
    text = "device,region\nA,430602\nB,430602001\nC,430602001\nD,340100\n"
    summary = await imported(url, DEVICES, text)
    assert summary.errors == []
    (warning,) = summary.warnings
    assert "340100 (line 5), 430602001 (line 3)" in warning
    assert "carebell region import" in warning
    await imported(url, REGIONS, "行政区划,名称\n430602001,岳阳楼街道\n340100,合肥市\n")
    assert (await imported(url, DEVICES, text)).warnings == []


async def test_the_bridge_is_told(url: str) -> None:
    """A changed row bears the moment that the notification names; a dry run tells nothing."""
    async with await AsyncConnection.connect(url, autocommit=True) as listening:
        await listening.execute("LISTEN carebell_registry")
        await imported(url, PEOPLE, TWO_PEOPLE)
        await imported(url, DEVICES, THREE_DEVICES, dry_run=True)
        await imported(url, DEVICES, THREE_DEVICES)
        await imported(url, DEVICES, "device,region\nBELL-1,430602001\nBELL-2,430602002\n")
        told = [each.payload async for each in listening.notifies(timeout=2, stop_after=3)]
    assert len(told) == 3
    since = await tuples(
        url,
        "SELECT device, changed_at = %s::timestamptz FROM devices WHERE changed_at >= %s",
        told[2],
        told[2],
    )
    assert since == [("BELL-2", True)]


async def test_two_imports_at_once_come_one_after_the_other(url: str) -> None:
    """Both end well, and the registry is as one of them left it, not a mixture."""
    await imported(url, PEOPLE, TWO_PEOPLE)
    header = "device,region,person\n"
    files = [header + "".join(f"D-{n},43060200{k},YY-{k}\n" for n in range(2000)) for k in (1, 2)]
    one, other = await asyncio.gather(*(imported(url, DEVICES, file) for file in files))
    assert {one.new, other.new} == {0, 2000}
    assert {one.changed, other.changed} == {0, 2000}
    assert len(await tuples(url, "SELECT DISTINCT region, person_id FROM devices")) == 1


class Obstacle:
    """A session that has inserted a device and not committed: an import of this device waits for it."""

    def __init__(self, url: str, device: str) -> None:
        self._url, self._device = url, device
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> AsyncConnection:
        """Insert the device."""
        self.connection = await self._stack.enter_async_context(await AsyncConnection.connect(self._url))
        await self.connection.execute("INSERT INTO devices (device) VALUES (%s)", (self._device,))
        return self.connection

    async def __aexit__(self, *_: object) -> None:
        """Take it back."""
        await self.connection.rollback()
        await self._stack.aclose()


async def waits(url: str) -> bool:
    """Say whether an import waits for an obstacle."""
    return bool(
        await tuples(
            url,
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND strpos(query, 'INSERT INTO devices (device_id, device') > 0",
        )
    )


async def test_who_registers_meanwhile_does_not_wait_for_the_import(url: str) -> None:
    """A device of the file that calls for the first time is let in at once; the import begins anew.

    What is broken off uses up no numbers: one for each device of the file, the obstacle and the caller.
    """
    text = "device,region,model\nA-1,430602001,bell\nA-2,430602001,bell\nZ-9,430602001,bell\n"
    async with Obstacle(url, "Z-9"):
        importing = asyncio.create_task(imported(url, DEVICES, text))
        await until(lambda: waits(url), "the import has written A-1 and waits for Z-9")
        async with Line(settings_for(url)) as line:
            await asyncio.wait_for(line.feed(message("A-1", "sos"), lane=Lane.URGENT), 10)
        assert not importing.done()
        assert await tuples(url, "SELECT device, kind FROM alarms JOIN devices USING (device_id)") == [
            ("A-1", "sos")
        ]
    summary = await importing
    assert summary.made_way == 1
    assert await tuples(url, "SELECT device, model, self_registered FROM devices ORDER BY device") == [
        (device, "bell", False) for device in ("A-1", "A-2", "Z-9")
    ]
    assert await tuples(url, "SELECT nextval(pg_get_serial_sequence('devices', 'device_id'))") == [(6,)]


async def test_who_is_known_calls_while_the_import_writes(url: str) -> None:
    """An import that has changed a device and not committed holds up no alarm, and is not broken off."""
    await enter_both(url)
    async with Line(settings_for(url)) as line:
        async with Obstacle(url, "Z-9"):
            text = "device,region,person\nBELL-1,430602009,YY-1\nBELL-2,430602009,YY-1\nZ-9,430602001,\n"
            importing = asyncio.create_task(imported(url, DEVICES, text))
            await until(lambda: waits(url), "the import has changed both and waits for Z-9")
            await asyncio.wait_for(line.feed(message("BELL-1", "sos"), lane=Lane.URGENT), 10)
            await asyncio.wait_for(line.feed(message("NEW-1", "sos"), lane=Lane.URGENT), 10)
            assert not importing.done()
        assert (await importing).made_way == 0
    assert await tuples(url, "SELECT device, person FROM duty_alarms ORDER BY alarm_id") == [
        ("BELL-1", "张桂英"),
        ("NEW-1", ""),
    ]


async def test_a_call_while_the_import_writes_keeps_the_device_with_its_person(url: str) -> None:
    """Whoever calls between check and commit stays who the device belongs to: nothing is imported."""
    await enter_both(url)
    before = await registry(url)
    async with Line(settings_for(url)) as line:
        async with Obstacle(url, "Z-9"):
            text = "device,region,person\nBELL-1,430602001,YY-2\nZ-9,430602001,\n"
            importing = asyncio.create_task(imported(url, DEVICES, text))
            await until(lambda: waits(url), "the import has moved BELL-1 and waits for Z-9")
            await line.feed(message("BELL-1", "sos"), lane=Lane.URGENT)
        summary = await importing
    (error,) = summary.errors
    assert (error.line, "alarm 1 is open" in error.said) == (2, True)
    assert await registry(url) == before


async def test_a_break_that_nobody_needs_is_not_taken_for_one(url: str) -> None:
    """An operator's cancelling of the statement ends the import; it does not try for ever."""
    async with Obstacle(url, "Z-9") as other:
        importing = asyncio.create_task(imported(url, DEVICES, "device,region\nZ-9,430602\n"))
        await until(lambda: waits(url), "the import waits for Z-9")
        await other.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        with pytest.raises(BaseExceptionGroup) as ended:
            await importing
    assert "QueryCanceled" in repr(ended.value)
    assert await tuples(url, "SELECT FROM devices") == []
