"""The file of a recording: what is read is what was written, after every crash, and nothing else."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import recording
from ingest.recorder import Recorder
from ingest.recording import Entry, Tape
from ingest.replay import Replay, at_random, every, lines
from rules import ruleset
from rules.engine import Engine
from rules.machine import Delta
from schemas.errors import CarebellError, UsageError
from schemas.readings import Batch, Delivery
from tests.unit.kit import Bench, delivery, moment

START: Entry = {"is": "start", "format": recording.FORMAT, "n": 1}


def write(path: Path, *entries: Entry, more: bytes = b"") -> Path:
    """Write a recording."""
    path.unlink(missing_ok=True)
    tape = Tape(path)
    tape.write(START, *entries)
    tape.close()
    path.write_bytes(path.read_bytes() + more)
    return path


def tick(number: int, now: int = 0) -> Entry:
    """Return a tick."""
    return {"is": "tick", "now": now, "scan": True, "n": number}


def restart(batch: int) -> Entry:
    """Return a restart that finds so many batches in the database."""
    return {"is": "restart", "batch": batch, "n": batch + 1}


def shown(path: Path, batch: int | None = None) -> list[Any]:
    """Return what is read, without the start: ticks by what they say, the others by what they are."""
    return [entry.get("now", entry["is"]) for entry in list(recording.read(path, batch))[1:]]


@pytest.mark.parametrize(
    "payload", [b'{"hr": 71}', "房间".encode(), b"", b"\xff\xfe{", b"\n\r\x00\x85", b'"\\u2028"']
)
def test_a_message_is_kept_to_the_byte(payload: bytes) -> None:
    """Topic, flags, time and payload, whether it is text or not, in one line."""
    sent = [Delivery("carebell/v1/430602/\x85/sos", payload, 7, True, False, 123)]  # noqa: FBT003 - as in the tuple
    raw = recording.line({"messages": recording.said(sent)}, 1)
    assert raw.count(b"\n") == 1
    assert recording.deliveries(json.loads(raw)["messages"]) == sent


def test_what_was_not_committed_never_was(tmp_path: Path) -> None:
    """Lines of the number that a crash kept from its commit are left out, those that it did not keep stay."""
    path = write(tmp_path / "f", tick(1, 10), tick(2, 20), tick(2, 21), restart(1), tick(2, 22), tick(3, 30))
    assert shown(path) == [10, "restart", 22, 30]
    path = write(tmp_path / "g", tick(1, 10), tick(2, 20), tick(2, 21), restart(2), tick(3, 30))
    assert shown(path) == [10, 20, 21, "restart", 30]


def test_a_crash_at_the_restart_restarts_again(tmp_path: Path) -> None:
    """What a restart wrote before it was killed itself is left out, too."""
    device = {"is": "device", "devices": [], "n": 2}
    path = write(tmp_path / "f", tick(1, 10), restart(1), device, restart(1), device, tick(2, 20))
    assert shown(path) == [10, "restart", "device", 20]


def test_who_asks_the_database_says_what_was_committed(tmp_path: Path) -> None:
    """At the end of a recording that was broken off only the database knows; else the end does."""
    path = write(tmp_path / "f", tick(1, 10), tick(2, 20))
    assert [shown(path), shown(path, 2), shown(path, 1)] == [[10, 20], [10, 20], [10]]
    path = write(tmp_path / "f", tick(1, 10), tick(2, 20), {"is": "end", "batch": 1, "n": 2})
    assert shown(path, 1) == [10, "end"]


@pytest.mark.parametrize("torn", [b'{"is": "tick", "n"', b"{}", b"\xff\xff"])
def test_a_torn_last_line_is_what_a_crash_leaves(tmp_path: Path, torn: bytes) -> None:
    """It is passed over; a damaged line in the middle is an error that names it."""
    path = write(tmp_path / "f", tick(1, 10), more=torn)
    assert shown(path) == [10]
    path = write(tmp_path / "f", tick(1, 10), more=b'{"is": "ti\n' + recording.line(tick(2), 4))
    with pytest.raises(UsageError, match="line 3 is damaged"):
        shown(path)


@pytest.mark.parametrize("changed", [b'"now":1e999', b'"now":21', b'"then":20', b"", b'"now":20,"now":22'])
def test_a_line_that_was_changed_is_damaged(tmp_path: Path, changed: bytes) -> None:
    """Also if it is JSON still, and whether or not it is the last one."""
    path = write(tmp_path / "f", tick(1, 10), tick(2, 20))
    path.write_bytes(path.read_bytes().replace(b'"now":20', changed))
    for ask in (shown, recording.last_line):
        with pytest.raises(UsageError, match="line 3 is damaged"):
            ask(path)
    path.write_bytes(path.read_bytes() + recording.line(tick(3, 30), 4))
    with pytest.raises(UsageError, match="line 3 is damaged"):
        shown(path)


@pytest.mark.parametrize(
    ("order", "where"),
    [
        ((0, 1, 3), "line 3 was written as line 4"),
        ((0, 2, 1, 3), "line 2 was written as line 3"),
        ((0, 1, 1, 2, 3), "line 3 was written as line 2"),
    ],
)
def test_a_line_that_is_lost_or_moved_is_missed(tmp_path: Path, order: tuple[int, ...], where: str) -> None:
    """Each line says which it is, so what is gone, swapped or doubled is told."""
    path = write(tmp_path / "f", tick(1, 10), tick(1, 11), tick(2, 20))
    raw = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(raw[each] for each in order))
    with pytest.raises(UsageError, match=f"{where}: lines are missing, or not in their place"):
        shown(path)


@pytest.mark.parametrize("size", [1, 65_536, 200_000])
def test_the_last_line_is_found_from_the_end(tmp_path: Path, size: int) -> None:
    """However long lines are, and whatever a crash has left behind it; writing goes on after it."""
    last = {"is": "tick", "n": 9, "text": "x" * size}
    path = write(tmp_path / "f", {"is": "tick", "n": 8, "text": "y" * size}, last, more=b"torn" * size)
    found, end = recording.last_line(path)
    assert found.items() > last.items()
    tape = Tape(path, end, found["line"])
    tape.write(tick(10, 99))
    tape.close()
    assert path.read_bytes()[end:] == recording.line(tick(10, 99), 4)
    assert shown(path) == ["tick", "tick", 99]


def test_a_recording_is_for_its_owner(tmp_path: Path) -> None:
    """Nobody else can read what people's devices said, also if it could be read when it was gone on with."""
    path = tmp_path / "f"
    for _ in range(2):
        Tape(path).close()
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)


@pytest.mark.parametrize(
    "make",
    [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")],
    ids=["folder", "fifo", "device"],
)
def test_what_is_no_file_is_not_recorded_to(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A folder, a FIFO or a device is refused before anything is connected, and stays what it is."""
    path = tmp_path / "X"
    make(path)
    before = path.lstat()
    with pytest.raises(UsageError, match="X is no regular file"):
        Recorder(ruleset.load(ruleset.SHIPPED), path, 1)
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    """Whoever wants a recording shall not learn afterwards that there is none."""
    with pytest.raises(UsageError, match=r"there is no folder .*missing: make it, or name another file"):
        Recorder(ruleset.load(ruleset.SHIPPED), tmp_path / "missing" / "f", 1)


@pytest.mark.parametrize("text", [b"", b"hello\n", b"{}\n", b'{"is": "start", "format": 0}\n', b"[]\n"])
def test_another_file_is_no_recording(tmp_path: Path, text: bytes) -> None:
    """It is refused with its name."""
    path = tmp_path / "other"
    path.write_bytes(text)
    with pytest.raises(UsageError, match="other: this is no recording"):
        list(recording.read(path))
    with pytest.raises(UsageError, match="missing: cannot be read"):
        recording.first_line(tmp_path / "missing")


# ------------------------------------------------------------------------------------------------ the stream


class Recorded:
    """A recording of messages of one device, as a recorder writes them."""

    def __init__(self) -> None:
        rules = ruleset.load(ruleset.SHIPPED).text
        self.bench = Bench()
        self.entries: list[Entry] = [
            START | {"max_payload": 1000, "alarms": [], "rules": rules},
            {"is": "device", "devices": [[1, "BELL-1", False, "", None, "430602", "", "", "", None]]},
            {"is": "begin", "held": {}, "rules": rules},
        ]

    def hear(self, *sent: Delivery, without: tuple[int, ...] = ()) -> None:
        """Add messages as a batch; of its readings some were taken for duplicates."""
        batch = self.bench.decode(*sent)
        names = np.delete(recording.identities(batch.readings), without)
        self.entries.append(
            {
                "is": "batch",
                "n": len(self.entries),
                "lane": batch.lane.name.lower(),
                "now": sent[-1].received_at,
                "scan": True,
                "redriven": False,
                "messages": recording.said(sent),
                "readings": recording.packed(names),
            }
        )


def pulse(minute: float, hr: int) -> Delivery:
    """Return a pulse, measured and received in a minute."""
    return delivery("vitals", b'{"hr": %d}' % hr, at=minute * 60)


def test_only_what_was_judged_is_judged_again() -> None:
    """A reading that stood in the history already is left out, also within a message of several."""
    whole, partly = Recorded(), Recorded()
    late = b'{"readings": [{"battery": 1}, {"hr": 150}]}'
    for recorded, without in ((whole, ()), (partly, (1,))):
        recorded.hear(
            delivery("heartbeat", b'{"battery": 5}', at=1), delivery("vitals", late, at=2), without=without
        )
    counted = []
    for recorded in (whole, partly):
        replay = Replay()
        counted.append((len(replay.play(recorded.entries)), replay.readings))
    assert counted == [(1, 3), (1, 2)]


def test_a_message_that_is_read_in_another_way_is_told() -> None:
    """A replay by a release that decodes otherwise must not pretend that it saw the same."""
    recorded = Recorded()
    recorded.hear(pulse(1, 70))
    recorded.entries[-1]["messages"][0][2] = '{"hr": 71}'
    with pytest.raises(CarebellError, match="batch 3: messages are read in another way"):
        Replay().play(recorded.entries)


@pytest.mark.parametrize("cut", [every(1), every(7), every(10_000), at_random(1), at_random(2)])
def test_the_cut_changes_no_alarm(cut: Any) -> None:  # noqa: ANN401 - a Cut
    """High pulses for a quarter of an hour, alone and in batches, are the same alarm to the byte."""
    recorded = Recorded()
    for start in range(0, 40, 5):
        recorded.hear(*(pulse(start + n, 150 if start < 20 else 90) for n in range(5)))
        recorded.entries.append(
            {"is": "tick", "n": len(recorded.entries), "now": moment((start + 4.5) * 60), "scan": True}
        )
    expected = lines(Replay().play(recorded.entries))
    assert len(expected) == 1
    assert lines(Replay(cut=cut).play(recorded.entries)) == expected


def test_what_a_cut_may_not_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes where it passed, and an urgent batch that went first goes first: each batch is in order."""
    recorded = Recorded()
    for minute in (1, 5):
        recorded.hear(delivery("event", b'{"kind": "test"}', at=(minute + 2) * 60))
        recorded.hear(pulse(minute, 70), pulse(minute + 1, 70))
        recorded.hear(pulse(minute + 3, 70))
        recorded.entries.append({"is": "tick", "n": 0, "now": moment((minute + 3) * 60 + 1), "scan": False})
    judged = []
    real = Engine.evaluate

    def evaluate(engine: Engine, batch: Batch) -> Delta:
        minutes = (batch.readings["received_at"] - moment(0)) // 60_000_000
        judged.append(minutes.tolist() or batch.scan)
        return real(engine, batch)

    monkeypatch.setattr(Engine, "evaluate", evaluate)
    Replay(cut=every(100)).play(recorded.entries)
    assert judged == [[3], [1, 2, 4], False, [7], [5, 6, 8], False]
