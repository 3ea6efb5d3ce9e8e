"""Promise P5: what was recorded is judged again to the same rows, byte for byte, however it is cut.

On both editions a line without a broker; at the end a town on mosquitto and TimescaleDB.
"""

import asyncio
import errno
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from device_sims.publish import play
from device_sims.town import Town
from ingest import recording
from ingest.recorder import Recorder
from ops.children import child
from ops.cli import app
from ops.parts import Broker, Database
from ops.town import enter
from rules import ruleset
from rules.engine import Engine
from schemas.clock import SECOND
from schemas.errors import UsageError
from schemas.settings import ClockSettings, IngestSettings
from schemas.topics import Lane
from store import dead, dead_desk
from store import recording as recorded
from store.dead_desk import Chosen
from tests.contract.kit import Line, after, message, milliseconds, settings_for, tuples
from tests.desk import close_alarm, connect
from tests.installation import Installation, installation

pytestmark = pytest.mark.one_edition

MINUTE = 60
CUTS = ("", "--cut 1", "--cut 100000", "--cut random --seed 1", "--cut random --seed 2")
URGENT = Lane.URGENT
RETRY = [{"ts": milliseconds(60 + n), "hr": 140 + n, "worn": True} for n in range(4)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a place for a recording."""
    return tmp_path / "stream.jsonl"


def recording_line(url: str, file: Path, **ingest: Any) -> Line:  # noqa: ANN401 - of several types
    """Return a line that records."""
    return Line(settings_for(url, record=str(file), **ingest))


async def end(line: Line) -> None:
    """End a line in order."""
    assert isinstance(line.engine, Recorder)
    await line.engine.finish()
    await line.crash()


def replay(file: Path, *arguments: str, url: str = "") -> Result:
    """Run `carebell replay`, with a database if there is one."""
    config = file.with_name("replay.toml")
    config.write_text(f'[database]\nurl = "{url}"\n' if url else "", encoding="utf-8")
    return CliRunner().invoke(app, ["replay", str(file), *arguments, "--config", str(config)])


def want_equal(file: Path, *, alarms: int, url: str = "") -> None:
    """See that the replay has so many alarms, to the byte those that there were, whatever the cut."""
    for cut in CUTS:
        result = replay(file, "--compare", *cut.split(), url=url)
        assert (result.exit_code, result.stdout) == (0, f"equal: {alarms} alarms\n"), (cut, result.output)


def change(file: Path, how: Callable[[bytes], bytes]) -> None:
    """Change what a file holds."""
    file.write_bytes(how(file.read_bytes()))


def written(entries: list[recording.Entry]) -> bytes:
    """Return entries as a recording holds them."""
    return b"".join(map(recording.line, entries, range(1, len(entries) + 1)))


async def story(line: Line) -> None:
    """Let much happen: calls, duplicates, nonsense, silence, durations."""
    await line.feed(message("BELL-1", "sos", {}, at=1, packet_id=5), lane=URGENT)
    await line.feed(
        message("BELL-1", "sos", {}, at=2, packet_id=5, duplicate=True), lane=URGENT
    )  # redelivered
    await line.feed(message("BAND-1", "vitals", {"readings": RETRY[:2]}, at=70))
    await line.feed(
        message("BAND-1", "vitals", {"readings": RETRY}, at=71),  # a retry that says more
        message("BAND-1", "vitals", {"readings": RETRY[3:]}, at=72),  # and one in the same batch
        message("BELL-2", "heartbeat", {"battery": 9, "mains": False}, at=73),
    )
    await line.feed(message("BELL-3", "sos", b"\xff", at=80), lane=URGENT)
    await line.feed(message("BELL-2", "heartbeat", b"nonsense", at=81))
    await line.feed(message("", "", b"", at=82, topic="carebell/v1/x/y"), message("BELL-1", "sos", {}, at=83))
    await line.feed(message("BELL-1", "fall", {"phase": "detected"}, at=90), lane=URGENT)
    for minute in range(2, 14):
        pulse = {"ts": milliseconds(minute * MINUTE), "hr": 150, "worn": True}
        await line.feed(message("BAND-1", "vitals", pulse, at=minute * MINUTE + 1))
        await line.tick(minute * MINUTE + 2)


async def test_what_the_line_did_is_done_again(url: str, file: Path) -> None:
    """Redeliveries, retries, unreadable calls, durations and silence: the same alarms from every cut."""
    async with recording_line(url, file) as line:
        await story(line)
        await line.tick(80 * MINUTE)  # everybody is silent
        await line.feed(message("BELL-2", "heartbeat", {"battery": 90}, at=81 * MINUTE))
        await end(line)
    found = await tuples(url, "SELECT count(*), count(DISTINCT kind) FROM alarms")
    assert found[0] >= (8, 5)
    want_equal(file, alarms=found[0][0])


async def test_without_the_setting_nothing_records(url: str) -> None:
    """The line has the bare engine: nothing is asked and nothing written."""
    async with Line(settings_for(url)) as line:
        assert type(line.engine) is Engine


@pytest.mark.parametrize("committed", [True, False])
async def test_a_crash_leaves_file_and_database_agreed(url: str, file: Path, *, committed: bool) -> None:
    """Killed before or after the commit of what was written down, with a torn line: a batch counts once."""
    first = recording_line(url, file)
    async with first as line:
        await story(line)
        last = await line.decode(message("BELL-7", "sos", {}, at=14 * MINUTE), lane=URGENT)
        delta = line.engine.evaluate(last)
        if committed:
            await line.bridge.store.commit(last, delta.transitions)
    change(file, lambda raw: raw + b'{"is":"batch","mess')
    async with recording_line(url, file) as line:
        if not committed:  # the broker has it still
            await line.feed(message("BELL-7", "sos", {}, at=15 * MINUTE), lane=URGENT)
        await line.feed(message("BELL-7", "sos", {}, at=16 * MINUTE), lane=URGENT)
        await line.tick(60 * MINUTE)
        await end(line)
    assert await tuples(
        url,
        "SELECT count FROM alarms a JOIN devices USING (device_id) WHERE device = 'BELL-7' AND kind = 'sos'",
    ) == [(2,)]
    want_equal(file, alarms=(await tuples(url, "SELECT count(*) FROM alarms"))[0][0])


async def test_what_staff_closed_stays_closed(url: str, file: Path) -> None:
    """A press after an alarm was closed is another alarm, also if it was open before the recording began."""

    async def close(device: str) -> None:
        query = "SELECT alarm_id FROM duty_alarms WHERE device = %s AND closed_at IS NULL AND class = 'life'"
        async with connect(url) as connection:
            ((alarm_id,),) = await tuples(url, query, device)
            await close_alarm(connection, alarm_id)

    async with Line(settings_for(url)) as line:
        for device in ("BELL-1", "BELL-2", "BELL-3"):
            await line.feed(message(device, "sos", {}, at=1), lane=URGENT)
        await close("BELL-3")
    async with recording_line(url, file) as line:
        for at in range(10, 70, 10):
            await line.feed(*(message(f"BELL-{n}", "sos", {}, at=at + n) for n in (1, 2, 3)), lane=URGENT)
            if at in {10, 40}:
                await close("BELL-1")
        await close("BELL-2")
        await end(line)
    query = (
        "SELECT device, count FROM alarms JOIN devices USING (device_id) WHERE kind = 'sos' ORDER BY alarm_id"
    )
    found = await tuples(url, query)
    assert found == [("BELL-1", 2), ("BELL-2", 7), ("BELL-3", 1), ("BELL-3", 6), ("BELL-1", 3), ("BELL-1", 2)]
    ((alarms,),) = await tuples(url, "SELECT count(*) FROM alarms")
    want_equal(file, alarms=alarms - 1)  # what was closed before is none of it


async def test_conditions_that_held_before_are_known(url: str, file: Path) -> None:
    """A duration that had begun and a silence that lasts when the recording begins go on in the replay."""
    async with Line(settings_for(url)) as line:
        await story(line)
        await line.feed(message("BAND-2", "vitals", {"ts": milliseconds(840), "hr": 160}, at=841))
        await line.feed(message("BELL-9", "heartbeat", {"battery": 90}, at=842))
        await line.tick(60 * MINUTE)
    async with recording_line(url, file) as line:
        await line.feed(message("BELL-9", "heartbeat", {"battery": 90}, at=61 * MINUTE))
        await line.feed(message("BELL-2", "heartbeat", {"battery": 90}, at=61 * MINUTE + 1))
        await end(line)
    before = recording.first_line(file)["alarms"]
    assert {row["kind"] for row in before} >= {"sos", "fall", "device_silent", "low_battery"}
    want_equal(file, alarms=len(before))


async def test_a_restart_believes_the_alarms(url: str, file: Path) -> None:
    """Staff closed the alarm of a silence that lasts: after a restart the device can fall silent again."""
    async with recording_line(url, file) as line:
        await line.feed(message("BELL-2", "heartbeat", {"battery": 90}, at=1))
        await line.tick(60 * MINUTE)
        async with connect(url) as connection:
            await close_alarm(connection, 1)
        await line.tick(120 * MINUTE)
        assert await tuples(url, "SELECT count(*) FROM alarms") == [(1,)]
    async with recording_line(url, file) as line:
        await line.tick(180 * MINUTE)
        await end(line)
    assert await tuples(url, "SELECT kind FROM alarms") == [("device_silent",)] * 2
    want_equal(file, alarms=2)


async def test_rules_that_change_change_there_too(url: str, file: Path) -> None:
    """What ends by a change of rules, and what the new ones raise, is in the replay at the same place."""
    without = "".join(
        part for part in ruleset.SHIPPED.read_text().split("[[rule]]") if '"low_battery"' not in part
    ).replace("\nkind", "\n[[rule]]\nkind")
    async with recording_line(url, file) as line:
        await line.feed(message("BELL-2", "heartbeat", {"battery": 9}, at=1))
        changed = line.engine.adopt(ruleset.parse(without), after(2))
        line.bridge.store.use_rules(99, changed)
        await line.tick(3)
        await line.feed(message("BELL-2", "heartbeat", {"battery": 8}, at=4))
        await end(line)
    assert await tuples(url, "SELECT condition, count FROM alarms") == [("cleared", 1)]
    want_equal(file, alarms=1)


async def test_calls_that_are_redriven_are_told_once(url: str, file: Path) -> None:
    """A dead letter that goes down the line again alarms in the replay where it alarmed then."""
    async with recording_line(url, file, unknown_devices="dead_letter") as line:
        await line.feed(message("BELL-1", "sos", b"\xff", at=1), lane=URGENT)  # which was heard
        await line.feed(message("BELL-1", "vitals", {"hr": 70}, at=2))
        async with connect(url) as connection:
            await dead_desk.mark(connection, Chosen(), lambda _: None)
            letters = await dead.waiting(connection, 500, 10**6)
        assert len(letters) == 2
        await line.move(await line.bridge.source._again(letters))
        await end(line)
    want_equal(file, alarms=1)


def test_a_recording_that_was_broken_off_asks_the_database(url: str, file: Path) -> None:
    """As long as that has not gone on; nothing is compared with what came later."""

    async def record() -> int:
        async with recording_line(url, file) as line:
            await story(line)
        return len(await tuples(url, "SELECT FROM alarms"))

    async def go_on_without() -> None:
        async with Line(settings_for(url)) as line:
            for at in (1, 2):
                await line.feed(message("BELL-1", "sos", {}, at=20 * MINUTE + at), lane=URGENT)

    async def go_on() -> None:
        async with recording_line(url, file):
            pass

    alarms = asyncio.run(record())
    want_equal(file, alarms=alarms, url=url)
    result = replay(file)
    assert len(result.stdout.splitlines()) == alarms
    assert "broken off" in result.stderr
    asyncio.run(go_on_without())
    result = replay(file, "--compare", url=url)
    assert result.exit_code == 1
    assert "nothing to compare with" in result.stderr
    old = recording.first_line(file)
    asyncio.run(go_on())
    assert recording.first_line(file)["batch"] > old["batch"]  # a new one, for batches are missing
    assert [recording.first_line(aside) for aside in sorted(file.parent.glob("*.before-*"))] == [old]


async def test_a_difference_is_shown(url: str, file: Path) -> None:
    """Rows that are not what the stream says are printed, and the command says so by its exit code."""
    async with recording_line(url, file) as line:
        await story(line)
        await end(line)
    entries = list(recording.read(file))
    entries[-1]["alarms"][0]["severity"] = "low"
    change(file, lambda _: written(entries))
    result = replay(file, "--compare")
    assert result.exit_code == 1
    assert '-{"class": "life"' in result.stdout
    assert '+{"class": "life"' in result.stdout
    told = json.loads((replay(file, "--compare", "--json")).stdout)
    assert (told["equal"], len(told["differences"]) > 3) == (False, True)


async def test_other_rules_can_be_tried_on_a_recording(url: str, file: Path, tmp_path: Path) -> None:
    """`--rules` judges the same stream by them, from its first message on."""
    async with recording_line(url, file) as line:
        await story(line)
        await end(line)
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rule]]\nkind = "sos"\nwhen = "event == \'sos\'"\neach = true\n'
        '[[rule]]\nkind = "fall"\nmachine = "fall"\nimmobile = "60s"\n'
        '[[rule]]\nkind = "hr_low"\nwhen = "hr == 150"\n'
    )
    result = replay(file, "--rules", str(rules), "--json")
    kinds = sorted(row["kind"] for row in json.loads(result.stdout))
    assert kinds == ["fall", "hr_low", "sos", "sos"]
    refused = replay(file, "--rules", str(rules), "--compare")
    assert refused.exit_code == 2


def test_wrong_arguments_are_told(file: Path) -> None:
    """No file, no recording, a cut that is none: one sentence and exit code 2."""
    assert replay(file).exit_code == 2
    start = {"is": "start", "format": recording.FORMAT, "n": 1, "marks": [0, 0, []]}
    file.write_bytes(recording.line(start, 1))
    for cut in ("0", "x", "-1"):
        assert replay(file, f"--cut={cut}").exit_code == 2
    file.write_text("hello\n")
    assert "this is no recording" in replay(file).stderr


def test_damage_is_told(url: str, file: Path) -> None:
    """Whatever was changed in whichever line: one sentence that names the line, and exit code 2."""

    async def record() -> None:
        async with recording_line(url, file) as line:
            await story(line)
            await end(line)

    asyncio.run(record())
    good = file.read_bytes()
    for name in (b"lane", b"redriven", b"messages", b"devices", b"held", b"format", b"now", b"alarms", b"n"):
        at = good.rindex(b'"%s":' % name)
        file.write_bytes(good[:at] + b'"x' + good[at + 1 :])
        number = good.count(b"\n", 0, at) + 1
        said = "this is no recording" if number == 1 else f"line {number} is damaged"
        for argument in ("--compare", "--json"):
            result = replay(file, argument)
            assert (result.exit_code, result.stderr.count("\n")) == (2, 1), (name, result.output)
            assert result.stderr.startswith(f"carebell: {file}: {said}"), name


def test_a_recording_of_another_database_is_moved_aside(url: str, file: Path) -> None:
    """Also if that is at the same batch; and what was moved aside before stays, however often it happens."""

    async def go_on() -> None:
        async with recording_line(url, file):
            pass

    file.write_text("my notes")
    asyncio.run(go_on())
    own = recording.first_line(file)["database"]
    for database in (own, "another", "a third"):
        entries = list(recording.read(file))
        entries[0]["database"] = database
        file.write_bytes(written(entries))
        before = file.read_bytes()
        asyncio.run(go_on())
        assert file.read_bytes().startswith(before) == (database == own)
    aside = file.with_name(f"{file.name}.before-{recording.first_line(file)['batch']}")
    assert aside.read_text() == "my notes"
    others = [recording.first_line(file.with_name(f"{aside.name}-{n}"))["database"] for n in (2, 3)]
    assert others == ["another", "a third"]


@pytest.mark.parametrize("ended", [True, False])
async def test_a_beginning_without_a_batch_is_a_beginning(url: str, file: Path, *, ended: bool) -> None:
    """Ended or killed before anything was committed, it is gone on with, and what was open then is known."""
    async with Line(settings_for(url)) as line:
        await story(line)
    async with recording_line(url, file) as line:
        if ended:
            await end(line)
    begun = recording.first_line(file)["alarms"]
    if ended:
        want_equal(file, alarms=len(begun))
    async with recording_line(url, file) as line:
        await line.feed(message("BELL-9", "sos", {}, at=20 * MINUTE), lane=URGENT)
        await end(line)
    assert not list(file.parent.glob("*.before-*"))
    want_equal(file, alarms=len(begun) + 1)


async def test_one_batch_without_the_recorder_is_missed(url: str, file: Path) -> None:
    """A recording that was ended in order knows which batch was its last."""
    async with recording_line(url, file) as line:
        await line.feed(message("BELL-1", "sos", {}, at=1), lane=URGENT)
        await end(line)
    async with Line(settings_for(url)) as line:
        await line.feed(message("BELL-2", "sos", {}, at=2), lane=URGENT)
    async with recording_line(url, file):
        pass
    assert len(list(file.parent.glob("*.before-*"))) == 1


async def test_each_database_has_its_name(url: str) -> None:
    """It is always the same, and another one for another database of the same server."""
    names = []
    for database in (url, url, f"{url.rpartition('/')[0]}/postgres"):
        async with connect(database) as connection:
            names.append(await recorded.database(connection))
    assert names[0] == names[1] != names[2]
    assert all(names)


async def test_a_file_that_cannot_be_opened_is_refused(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bridge does not start without the recording that was asked for."""

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("ingest.recording.os.open", refuse)
    with pytest.raises(UsageError, match=r"stream.jsonl cannot be written: Permission denied: name another"):
        async with recording_line(url, file):
            pass


@pytest.mark.parametrize("lines_before", [0, 3])
async def test_a_full_disk_ends_the_recording_alone(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lines_before: int
) -> None:
    """The line goes on, and the log says once that the recording has ended."""
    real, left = os.write, iter(range(lines_before))

    def write(handle: int, data: bytes) -> int:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr("ingest.recording.os.write", write)
    async with recording_line(url, file) as line:
        for at in (1, 2, 3, 4):
            await line.feed(message("BELL-1", "sos", {}, at=at), lane=URGENT)
        await end(line)
    assert await tuples(url, "SELECT count FROM alarms") == [(4,)]
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == [f"the recording has ended, the line goes on: {file}: No space left on device"]


# ----------------------------------------------------------------------------------------- a town, real parts


@pytest.fixture
async def installed(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> AsyncIterator[Installation]:
    """Give an installation that records, whose clock runs at sixty times real time."""
    clock = ClockSettings(origin=time.time(), start=time.time(), speed=60)
    ingest = IngestSettings(record=str(scratch / "stream.jsonl"), checkpoint_every=1.0)
    async with installation(fresh_mosquitto, timescale.url, scratch, ingest=ingest, clock=clock) as found:
        yield found


async def stop(installed: Installation) -> None:
    """End the bridge in order."""
    assert installed.bridge is not None
    installed.bridge.terminate()
    await installed.bridge.wait()


async def close_some(installed: Installation) -> None:
    """Let staff close what stands open."""
    clock = installed.settings.clock.clock()
    open_ = "SELECT alarm_id FROM alarms WHERE closed_at IS NULL AND class <> 'technical' ORDER BY 1 LIMIT 5"
    for (alarm_id,) in await installed.rows(open_):
        await close_alarm(installed.connection, alarm_id, clock.now())


async def test_a_town_with_a_restart_inside(installed: Installation, scratch: Path) -> None:
    """Killed, ended and started again while a town misbehaves and staff close alarms: the same rows again."""
    clock = installed.settings.clock.clock()
    town = Town.build(60, 20, 7, clock.now() + 120 * SECOND, speed=60)
    await enter(installed.connection, town)
    await installed.start()
    playing = asyncio.create_task(play(town, installed.town, clock))
    for fault in (installed.kill, lambda: stop(installed)):
        await asyncio.sleep(5)
        await close_some(installed)
        await fault()
        await installed.start()
    await playing
    await close_some(installed)
    await asyncio.sleep(3)
    await stop(installed)
    file = scratch / "stream.jsonl"
    entries = [entry["is"] for entry in recording.read(file)]
    assert (entries.count("start"), entries.count("restart"), entries[-1]) == (1, 2, "end")
    ((alarms,),) = await installed.rows("SELECT count(*) FROM alarms WHERE kind NOT IN ('session_lost')")
    assert alarms > 30
    want_equal(file, alarms=alarms)
    change(file, lambda raw: raw[: raw.rstrip().rindex(b"\n") + 1])  # as if it had been killed
    code, told, _ = await installed.carebell("replay", str(file), "--compare", "--cut", "random")
    assert (code, told) == (0, f"equal: {alarms} alarms\n")


async def test_the_command_runs_the_bridge(installed: Installation, scratch: Path) -> None:
    """`carebell record` is a bridge that records; beside one that runs already it refuses."""
    file, metrics = scratch / "other.jsonl", installed.settings.metrics
    command = ("record", "--out", str(file))
    await installed.start()
    code, _, errors = await installed.carebell(*command)
    assert (code, "a bridge runs already" in errors) == (1, True)
    await stop(installed)
    code, _, errors = await installed.carebell("record", "--out", str(scratch))
    assert (code, f"{scratch} is no regular file" in errors) == (2, True)
    ready = f"http://{metrics.host}:{metrics.port}/readyz"
    async with child(*command, "--config", str(installed.config), ready=ready):
        pass
    assert [entry["is"] for entry in recording.read(file)][-1] == "end"
