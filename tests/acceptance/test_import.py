"""A town's own files at the real command line: from CSV to the name on the alarm, and what goes wrong."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from tests.contract.registry import THREE_DEVICES, TWO_PEOPLE
from tests.installation import Installation, until
from tests.mqtt import Client

LINES = 20_000
"""A tenth of a second's writing for each 1,000: long enough to be killed, short enough for every run."""


@pytest.fixture
def files(scratch: Path) -> Path:
    """Give a directory with files as a town brings them: the people's in GBK, as spreadsheets save it."""
    (scratch / "people.csv").write_bytes(TWO_PEOPLE.replace("\n", "\r\n").encode("gbk"))
    (scratch / "devices.csv").write_text(THREE_DEVICES, "utf-8-sig")
    lines = (f"D-{n:05d},430602001" for n in range(LINES))
    (scratch / "many.csv").write_text("\n".join(("device,region", *lines)), "utf-8")
    return scratch


async def test_a_call_bears_the_name_from_the_file(installed: Installation, files: Path) -> None:
    """People and devices are imported while the bridge runs; the next press shows who it is."""
    code, output, errors = await installed.carebell("person", "import", str(files / "people.csv"))
    assert (code, errors) == (0, "")
    assert "GB18030" in output
    code, _, errors = await installed.carebell("device", "import", str(files / "devices.csv"))
    assert code == 0, errors
    assert "430602001 (line 2)" in errors
    with Client(installed.broker.town_url) as device:
        device.publish("carebell/v1/430602001/BELL-1/sos")
        await installed.until_rows("SELECT FROM alarms", bool)
    _, output, _ = await installed.carebell("alarm", "show", "1", "--json")
    card = json.loads(output)
    assert (card["person"]["name"], card["person"]["notes"]) == ("张桂英", "高血压")
    assert [contact["name"] for contact in card["contacts"]] == ["张强"]


async def test_a_file_with_errors_changes_nothing(installed: Installation, files: Path) -> None:
    """Each error is told with its line on standard error, the exit code is 1, and --json has the same."""
    bad = files / "bad.csv"
    bad.write_text("device,region\nA-1,430602\nA-2,4.30602E+11\n=A,430602\nA-1,430602\n", "utf-8")
    code, output, errors = await installed.carebell("device", "import", str(bad))
    assert (code, output) == (1, "")
    said = [line for line in errors.splitlines() if not line.startswith("warning")]
    assert [line.partition(":")[0] for line in said] == ["line 3", "line 4", "line 5", "carebell"]
    assert said[-1] == f"carebell: nothing was imported: 3 errors in {bad}"
    code, output, _ = await installed.carebell("device", "import", str(bad), "--json", "--dry-run")
    assert code == 1
    assert [error["line"] for error in json.loads(output)["errors"]] == [3, 4, 5]
    assert await installed.rows("SELECT FROM devices") == []


ODD: list[tuple[bytes | None, int, str]] = [
    (b"device,region\nA,430602,\xff\xff\n", 1, "neither UTF-8 (see line 2) nor GB18030"),
    (b"", 1, "the file is empty"),
    (b'device,region\n"' + b"A,430602\n" * 50_000, 1, "line 2: is longer than 65536 characters"),
    (b"\x00" * 1_000_000, 1, "line 1: is longer than 65536 characters"),
    (None, 2, "does not exist"),
]


async def test_what_is_no_such_file_is_refused(installed: Installation, files: Path) -> None:
    """Neither a wrong encoding nor an endless record nor no file at all ends in a traceback."""
    for number, (content, code, says) in enumerate(ODD):
        path = files / f"{number}.csv"
        if content is not None:
            path.write_bytes(content)
        found, _, errors = await installed.carebell("device", "import", str(path))
        assert found == code
        assert says in " ".join(errors.replace("│", " ").split())
        assert "Traceback" not in errors


async def test_a_big_file_comes_in_and_comes_in_again(installed: Installation, files: Path) -> None:
    """Twenty thousand lines are twenty thousand devices; the second time there is nothing to do."""
    for new in (LINES, 0):
        code, output, errors = await installed.carebell("device", "import", str(files / "many.csv"), "--json")
        assert code == 0, errors
        summary = json.loads(output)
        assert (summary["rows"], summary["new"], summary["changed"]) == (LINES, new, 0)
        assert await installed.rows("SELECT count(*) FROM devices") == [(LINES,)]


async def test_killed_in_the_middle_it_has_done_nothing_and_holds_nothing(
    installed: Installation, files: Path
) -> None:
    """After kill -9 while writing no line is in, whoever of the file calls is heard, and importing works."""
    command = ("device", "import", str(files / "many.csv"), "--config", str(installed.config))
    async with await AsyncConnection.connect(installed.url) as obstacle:
        # what the import waits for, so that it is killed when it has written all but the last line
        await obstacle.execute("INSERT INTO devices (device) VALUES (%s)", (f"D-{LINES - 1:05d}",))
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "ops.cli", *command)
        waiting = (
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, 'wanted') > 0"
        )
        assert await installed.until_rows(waiting, bool)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        with Client(installed.broker.town_url) as device:
            device.publish("carebell/v1/430602001/D-00000/sos")
            assert await installed.until_rows("SELECT FROM alarms", bool)
        await obstacle.rollback()
    assert await installed.rows("SELECT device, self_registered FROM devices") == [("D-00000", True)]
    assert await until(lambda: installed.rows(waiting), lambda rows: not rows) == []
    code, output, errors = await installed.carebell("device", "import", str(files / "many.csv"), "--json")
    assert code == 0, errors
    assert [json.loads(output)[name] for name in ("new", "changed")] == [LINES - 1, 1]
