"""`carebell rule backtest` on the history of both editions: what it reads, what it prints, how it ends."""

import asyncio
import json
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ops.cli import app
from schemas.clock import SECOND, to_datetime
from schemas.readings import READING, VALUES, Columns
from schemas.topics import Lane
from store import history_stream, restore
from tests.contract.kit import Line, after, message, milliseconds, script, settings_for, tuples, until
from tests.desk import connect

pytestmark = pytest.mark.one_edition

HOUR = 3600
DAY = 24 * HOUR
MUST = """
[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"
immobile = "60s"
"""
BATTERY = """
[[rule]]
kind = "low_battery"
when = "battery <= {limit}"
clear = "battery >= 60"
"""
SPAN = ("--from", "2026-03-01T16:00", "--to", "2026-03-02T16:00")  # START is 16:00 in Shanghai
URGENT = Lane.URGENT


class Shell:
    """A command line on a database, with two files of rules: batteries are low at 10 % now, at 20 % soon."""

    def __init__(self, url: str, home: Path) -> None:
        """Write the files."""
        self.config, self.new, self.current = home / "carebell.toml", home / "new.toml", home / "current.toml"
        clock = f"[clock]\norigin = {time.time()}\nstart = {after(10 * DAY) / SECOND}\n"
        self.config.write_text(f'[database]\nurl = "{url}"\n{clock}', encoding="utf-8")
        self.current.write_text(MUST + BATTERY.format(limit=10), encoding="utf-8")
        self.new.write_text(MUST + BATTERY.format(limit=20), encoding="utf-8")

    def run(self, *arguments: str, rules: str = "") -> Result:
        """Run `carebell rule backtest`."""
        given = ("--rules", rules or str(self.new), *arguments, "--config", str(self.config))
        environment = {"COLUMNS": "160", "NO_COLOR": "1"}
        return CliRunner().invoke(app, ["rule", "backtest", *given], env=environment)

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON is anything
        """Return what the command prints with --json, compared with the current rules."""
        result = self.run("--current", str(self.current), *arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def shell(url: str, tmp_path: Path) -> Shell:
    """Give a command line."""
    return Shell(url, tmp_path)


async def live(url: str) -> None:
    """Let a day pass: batteries that run down, presses, a call that cannot be read, another region."""
    await script(
        url, "INSERT INTO devices (device, region) VALUES ('BELL-1', '430602001'), ('BELL-2', '430603')"
    )
    async with Line(settings_for(url, checkpoint_every=86_400)) as line:
        await line.feed(message("BELL-1", "heartbeat", {"battery": 15}, at=-HOUR))  # before the span
        for hour, level in enumerate((90, 15, 90, 5, 90, 15)):
            for device in ("BELL-2", "BELL-3"):
                await line.feed(message(device, "heartbeat", {"battery": level}, at=1 + hour * HOUR))
        await line.feed(message("BELL-1", "heartbeat", {"battery": 15}, at=2 * HOUR))
        await line.feed(message("BELL-2", "sos", {}, at=HOUR), lane=URGENT)
        await line.feed(message("BELL-2", "sos", b"\xff", at=HOUR + 60), lane=URGENT)
        await line.feed(message("BELL-1", "sos", b"{", at=2 * HOUR), lane=URGENT)
        await line.feed(message("BELL-1", "heartbeat", {"battery": 90}, at=DAY + HOUR))  # after the span


def test_what_would_be_raised(url: str, shell: Shell) -> None:
    """By kind and day, as the desk would have seen it: calls that cannot be read are among them."""
    asyncio.run(live(url))
    found = shell.json(*SPAN)
    kinds = found["by_kind"]
    assert (kinds["sos"]["current"], kinds["sos"]["same"]) == (2, 2)  # the second press repeats the first
    assert found["load"]["new"]["repeated"] == 1
    battery = kinds["low_battery"]
    assert (battery["current"], battery["new"], battery["same"], battery["only_new"]) == (2, 6, 2, 4)
    assert {day: each["total"]["new"] for day, each in found["by_day"].items()} == {"2026-03-01": 8}
    assert [each["device"] for each in found["worst"]] == ["BELL-2", "BELL-3", "BELL-1"]
    assert found["readings"] == 14 + 1  # of the day and of the day before
    assert found["readings_per_second"]["database"] > 0


def test_a_region_and_its_parts(url: str, shell: Shell) -> None:
    """A region means all in it, calls that cannot be read too, and none of another."""
    asyncio.run(live(url))
    found = shell.json(*SPAN, "--region", "430602")
    assert (found["total"]["new"], [each["device"] for each in found["worst"]]) == (4, ["BELL-3", "BELL-1"])
    assert (shell.json(*SPAN, "--region", "430603"))["by_kind"]["sos"]["current"] == 1


def test_handling_and_operators(url: str, shell: Shell) -> None:
    """Staff that close an alarm at once see the second press as another; two share the load."""
    asyncio.run(live(url))
    found = shell.json(*SPAN, "--handling", "30s", "--operators", "2")
    assert (found["by_kind"]["sos"]["current"], found["operators"]) == (3, 2)
    assert found["load"]["new"]["peak"] == 2.0  # four in ten minutes


def test_the_table_says_it_all(url: str, shell: Shell) -> None:
    """Kinds in both languages, days, load, devices, what was taken for given, and the rates."""
    asyncio.run(live(url))
    shown = shell.run(*SPAN, "--current", str(shell.current))
    assert shown.exit_code == 0, shown.output
    for word in ("low_battery 电量低", "2026-03-01", "BELL-2", "ISA-18.2", "10 min after it", "readings/s"):
        assert word in shown.stdout
    assert shown.stderr == ""  # no bar where there is no terminal


def test_without_a_file_the_rules_in_force_are_compared(url: str, shell: Shell) -> None:
    """Which are those of the bridge that ran: the shipped ones miss nothing of themselves."""
    asyncio.run(live(url))
    shipped = shell.run(*SPAN, "--json", rules="rules/shipped.toml")
    total = json.loads(shipped.stdout)["total"]
    assert total["same"] == total["current"] == total["new"] > 4
    assert json.loads(shipped.stdout)["rules"]["current"] == "in force"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from", "yesterday"), "--from yesterday: a time is written"),
        (("--from", "2026-03-02", "--to", "2026-03-01"), "is not before"),
        ((*SPAN, "--region", "43"), "a region is 6, 9 or 12 digits"),
        ((*SPAN, "--handling", "soon"), "--handling soon: a duration"),
        ((*SPAN, "--handling", "0s"), "from 1s to 8784h"),
        ((*SPAN, "--handling", "99999999h"), "from 1s to 8784h"),
        (("--from", "0001-01-01", "--to", "9999-12-31"), "--from 0001-01-01: no year before 1971"),
        (("--from", "2026-03-01", "--to", "0001-01-01"), "--to 0001-01-01: no year before 1971"),
        (("--from", "9999-12-31"), "--from 9999-12-31 is not before 2026-03-11 16:00, now"),
        ((*SPAN, "--current", "nowhere.toml"), "nowhere.toml: no such file"),
    ],
)
def test_what_is_wrong_is_told(shell: Shell, arguments: tuple[str, ...], says: str) -> None:
    """In one sentence, with exit code 2."""
    result = shell.run(*arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.output
    assert says in result.stderr


def test_rules_that_are_wrong_are_refused(shell: Shell) -> None:
    """With file and rule, before anything is read."""
    shell.new.write_text(MUST + BATTERY.format(limit="'low'"), encoding="utf-8")
    result = shell.run(*SPAN)
    assert result.exit_code == 2
    assert "new.toml" in result.stderr
    assert "low_battery" in result.stderr or "rule 3" in result.stderr


def test_an_empty_history_is_an_error(shell: Shell) -> None:
    """Nothing was received: exit code 1, and the span is named."""
    result = shell.run(*SPAN)
    assert result.exit_code == 1
    assert "nothing was received from 2026-03-01 16:00" in result.stderr
    result = shell.run(*SPAN, "--region", "999999")
    assert "nothing of region 999999 was received from 2026-03-01 16:00" in result.stderr


def test_the_future_is_not_judged(url: str, shell: Shell) -> None:
    """Nobody can be silent in it: an end after now is now."""
    asyncio.run(live(url))
    found = shell.json("--from", "2026-03-01T16:00", "--to", "9999-12-31")
    assert found["to"].startswith("2026-03-11T08:00")


async def test_it_can_be_stopped_while_time_passes(url: str, shell: Shell) -> None:
    """After the last reading, too, though years are left: at once, and without a traceback."""
    await live(url)
    text = shell.config.read_text(encoding="utf-8")
    shell.config.write_text(text.replace("start = ", "start = 1"), encoding="utf-8")  # centuries later
    given = ("--rules", str(shell.new), "--from", "2026-03-01", "--config", str(shell.config))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", "rule", "backtest", *given), stdout=PIPE, stderr=PIPE
    )
    read = "SELECT FROM pg_stat_activity WHERE state = 'idle' AND query LIKE '%%starts_with(coalesce%%'"
    await until(lambda: tuples(url, read), "the history is read")
    await asyncio.sleep(0.5)
    assert child.returncode is None
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)  # Ctrl-C goes the same way, but a shell may have it ignored
    said, errors = await child.communicate()
    assert time.monotonic() - began < 3
    assert await child.wait() == 128 + signal.SIGTERM, errors
    assert said == b""
    assert b"Traceback" not in errors, errors


# ---------------------------------------------------------------------------------------- reading the history


async def fill(url: str, seed: int) -> None:
    """Commit random messages in batches of all sizes, urgent ones before telemetry received earlier."""
    rng = random.Random(seed)
    at = 0.0
    async with Line(settings_for(url, checkpoint_every=86_400)) as line:
        for turn in range(60):
            if turn == 30:
                line.bridge.store.batch += 500  # as if so many batches had brought no row
            sent = []
            for _ in range(rng.randrange(1, 30)):
                at += rng.choice([0.001, 5.0, 200.0])
                kinds: list[tuple[str, dict[str, Any]]] = [
                    (
                        "heartbeat",
                        {"battery": rng.randrange(100), "mains": rng.random() < 0.5, "rssi": -70},
                    ),
                    (
                        "vitals",
                        {"ts": milliseconds(at - rng.randrange(900)), "hr": rng.randrange(40, 150)},
                    ),
                    ("vitals", {"readings": [{"spo2": 90 + n, "worn": True} for n in range(3)]}),
                    (
                        "vitals",
                        {"ts": milliseconds(at), "temp": 36.6, "sbp": 120, "dbp": 80, "glucose": 5.5},
                    ),
                    (
                        "activity",
                        {"motion": rng.random() < 0.5, "steps": rng.randrange(9000), "room": "厨房"},
                    ),
                    ("status", {"status": rng.choice(["online", "offline"])}),
                ]
                channel, payload = rng.choice(kinds)
                sent.append(message(f"D-{rng.randrange(9)}", channel, payload, at=at))
            await line.feed(
                message(f"D-{rng.randrange(9)}", "event", {"kind": "test"}, at=at + 0.01), lane=URGENT
            )
            await line.feed(*sent)
            at += 0.02


async def read(url: str, since: float, until: float) -> list[Columns]:
    """Return the windows of a span of the history."""
    async with connect(url) as connection:
        where = await history_stream.span(connection, after(since), after(until), "")
        return [window.readings async for window in history_stream.windows(connection, where)]


async def test_the_stream_is_what_the_line_judged(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value of every row, in order of receipt, as a restore reads it; however small the windows are."""
    await fill(url, 1)
    line = Line(settings_for(url))
    async with line:
        judged = [
            batch.readings
            for batch in await restore.batches(line.bridge.store, await restore.committed(line.bridge.store))
        ]
    expected = np.concatenate(judged)
    expected = expected[np.lexsort((expected["digest"], expected["ts"], expected["received_at"]))]
    expected["message"] = 0
    monkeypatch.setattr(history_stream, "WANTED", 50)
    monkeypatch.setattr(history_stream, "MOST_BATCHES", 30)
    monkeypatch.setattr(history_stream, "BLOCK", 7)
    windows = await read(url, 0, DAY)
    assert len(windows) > 5
    found = np.concatenate(windows)
    assert len(found) == len(expected) > 500
    found = found[np.lexsort((found["digest"], found["ts"], found["received_at"]))]
    for name in READING.names or ():
        assert np.array_equal(found[name], expected[name], equal_nan=name in VALUES), name
    received = np.concatenate([np.diff(window["received_at"]) for window in windows])
    assert (received >= 0).all()


@pytest.mark.parametrize(
    ("since", "until"),
    [(0, 900), (1000, 4000), (9_000, 40_000), (20_000, 10 * DAY), (-DAY, 0), (9 * DAY, 10 * DAY)],
)
async def test_a_span_has_all_that_was_received_in_it(
    url: str, monkeypatch: pytest.MonkeyPatch, since: float, until: float
) -> None:
    """And nothing else, wherever it begins and ends."""
    monkeypatch.setattr(history_stream, "BLOCK", 3)
    await fill(url, 2)
    assert sum(len(window) for window in await read(url, since, until)) == await stored(url, since, until)


async def stored(url: str, since: float, until: float) -> int:
    """Return how many rows of the history were received in a span."""
    span = (to_datetime(after(since)), to_datetime(after(until)))
    query = "SELECT count(*) FROM {} WHERE received_at >= %s AND received_at < %s"
    tables = ("vitals", "heartbeats", "activity", "events")
    return sum([(await tuples(url, query.format(table), *span))[0][0] for table in tables])


async def test_a_batch_that_came_again_hides_no_others(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is re-driven keeps its time of receipt, which is long before that of the batches around it."""
    monkeypatch.setattr(history_stream, "BLOCK", 1)
    await fill(url, 3)
    for table in ("vitals", "heartbeats", "activity", "events"):  # in the midst, where no other is
        await script(url, f"UPDATE {table} SET batch = 400 WHERE batch <= 4")
    spans = [(0, DAY), (0, 900), (900, DAY), (9_000, 40_000), (-DAY, 40_000)]
    counted = [await stored(url, *span) for span in spans]
    assert [sum(map(len, await read(url, *span))) for span in spans] == counted
    assert counted[0] > counted[3] > 100
