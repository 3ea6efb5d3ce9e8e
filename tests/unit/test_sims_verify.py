"""The comparison finds every kind of difference, one by one, and nothing where there is none."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from device_sims.town import Town
from device_sims.truth import DeadKey, Expected, Fate, Played, RowKey, Seen, SeenAlarm, Sent, Truth
from device_sims.verify import Report, compare
from schemas.clock import SECOND
from schemas.errors import UsageError

START = 1_790_000_000 * SECOND
SOS = "carebell/v1/430602/BELL-1/sos"


def at(seconds: float) -> int:
    """Return a moment of the town."""
    return START + int(seconds * SECOND)


def truth() -> Truth:
    """Return a town of one bell: two presses closed by duty, a dead letter, a silence, a duplicate."""
    dead = DeadKey(SOS, "ab" * 32, "not_json", whole=True)
    beat = RowKey("BELL-1", "heartbeat", 1)
    return Truth(
        seed=1,
        start=START,
        end=at(2400),
        speed=60.0,
        devices=["BELL-1"],
        sent=[
            Sent(at(10), "BELL-1", "carebell/v1/430602/BELL-1/heartbeat", Fate.STORED, (beat,)),
            Sent(at(11), "BELL-1", "carebell/v1/430602/BELL-1/heartbeat", Fate.DUPLICATE),
            Sent(at(20), "BELL-1", SOS, Fate.DEAD, dead=dead, timed=False, activates="sos"),
            Sent(
                at(30),
                "BELL-1",
                SOS,
                Fate.STORED,
                (RowKey("BELL-1", "sos", 2),),
                timed=False,
                activates="sos",
            ),
            Sent(at(900), "BELL-1", SOS, Fate.STORED, (RowKey("BELL-1", "heartbeat", 3),)),
        ],
        expected=[
            Expected("BELL-1", "sos", 1, 2, raised_by=2, closed="duty", quality="unreadable"),
            Expected("BELL-1", "device_silent", 1, 1, 3, 360 * SECOND, cleared_by=4, closed="carebell"),
        ],
        steps=[],
    )


def seen() -> Seen:
    """Return exactly what must come of it."""
    return Seen(
        alarms=[
            SeenAlarm("BELL-1", "sos", 1, 2, at(21), closed="duty", quality="unreadable"),
            SeenAlarm("BELL-1", "device_silent", 1, 1, at(391), at(901), "carebell"),
        ],
        rows={
            RowKey("BELL-1", "heartbeat", 1): 1,
            RowKey("BELL-1", "sos", 2): 1,
            RowKey("BELL-1", "heartbeat", 3): 1,
        },
        dead={DeadKey(SOS, "ab" * 32, "not_json", whole=True): 1},
    )


def told(report: Report) -> list[tuple[str, str, str, int]]:
    """Return the differences without their words."""
    return [(each.what, each.device, each.kind, each.occurrence) for each in report.differences]


def change(n: int, **fields: object) -> Callable[[Seen], None]:
    """Return what changes one alarm."""

    def apply(found: Seen) -> None:
        found.alarms[n] = replace(found.alarms[n], **fields)  # type: ignore[arg-type]

    return apply


def test_what_must_be_is_found_good() -> None:
    """The exact data have no difference."""
    report = compare(truth(), seen())
    assert report.ok
    assert (report.expected, report.raised, report.lost, report.double) == (2, 2, 0, 0)
    assert (report.sent, report.stored, report.duplicates, report.dead) == (5, 3, 1, 1)


BROKEN: list[tuple[Callable[[Seen], object], tuple[str, str, str, int]]] = [
    (lambda s: s.alarms.pop(0), ("missing", "BELL-1", "sos", 1)),
    (
        lambda s: s.alarms.append(SeenAlarm("BELL-1", "sos", 2, 1, at(50))),
        ("surplus", "BELL-1", "sos", 2),
    ),
    (
        lambda s: s.alarms.append(SeenAlarm("?0123", "sos", 1, 1, at(50))),
        ("surplus", "?0123", "sos", 1),
    ),
    (change(0, count=3), ("count", "BELL-1", "sos", 1)),
    (change(0, count=1), ("count", "BELL-1", "sos", 1)),
    (change(0, cleared_at=at(60)), ("clearing", "BELL-1", "sos", 1)),
    (change(1, cleared_at=None), ("clearing", "BELL-1", "device_silent", 1)),
    (change(1, cleared_at=at(1100)), ("clear_time", "BELL-1", "device_silent", 1)),
    (change(0, closed=""), ("closing", "BELL-1", "sos", 1)),
    (change(1, closed="duty"), ("closing", "BELL-1", "device_silent", 1)),
    (change(0, quality="ok"), ("quality", "BELL-1", "sos", 1)),
    (change(0, raised_at=at(141)), ("raise_time", "BELL-1", "sos", 1)),
    (change(1, raised_at=at(269)), ("raise_time", "BELL-1", "device_silent", 1)),
    (lambda s: s.rows.pop(RowKey("BELL-1", "heartbeat", 1)), ("lost", "BELL-1", "heartbeat", 0)),
    (lambda s: s.rows.update({RowKey("BELL-1", "heartbeat", 1): 2}), ("double", "BELL-1", "heartbeat", 0)),
    (lambda s: s.rows.update({RowKey("BELL-1", "vitals", None): 1}), ("double", "BELL-1", "vitals", 0)),
    (lambda s: s.dead.clear(), ("dead_missing", "", "not_json", 0)),
    (
        lambda s: s.dead.update({DeadKey(SOS, "ab" * 32, "not_json", whole=True): 2}),
        ("dead_surplus", "", "not_json", 0),
    ),
]


@pytest.mark.parametrize(("broken", "difference"), BROKEN)
def test_every_difference_is_found(
    broken: Callable[[Seen], object], difference: tuple[str, str, str, int]
) -> None:
    """One change of the data is one line that names it."""
    found = seen()
    broken(found)
    report = compare(truth(), found)
    assert told(report) == [difference]
    console = Console(width=160, record=True, quiet=True)
    console.print(report)


def test_what_is_not_the_town_s_is_left_out() -> None:
    """Other devices, other topics, and the silence after the end are nobody's difference."""
    found = seen()
    found.alarms.append(SeenAlarm("BELL-9", "sos", 1, 1, at(50)))
    found.alarms.append(SeenAlarm("BELL-1", "device_silent", 2, 1, at(2700)))
    found.rows[RowKey("BELL-9", "sos", None)] = 1
    found.dead[DeadKey("carebell/v1/430602/BELL-9/sos", "cd" * 32, "empty", whole=True)] = 1
    assert compare(truth(), found).ok


def test_a_repeated_send_may_be_in_twice_if_it_has_no_time() -> None:
    """Repeated sends without a time of their own may double their row, their letter and their count."""
    town, found = truth(), seen()
    town.uncertain = {0, 2, 3}
    found.rows[RowKey("BELL-1", "sos", 2)] = 2
    found.dead[DeadKey(SOS, "ab" * 32, "not_json", whole=True)] = 2
    found.alarms[0] = replace(found.alarms[0], count=4)
    assert compare(town, found).ok
    found.rows[RowKey("BELL-1", "heartbeat", 1)] = 2
    assert told(compare(town, found)) == [("double", "BELL-1", "heartbeat", 0)]


def test_times_count_from_what_was_played() -> None:
    """A send that went out late moves what it decides, and may fall anywhere until its PUBACK."""
    town, found = truth(), seen()
    town.played = {2: Played(at(200), at(500)), 3: Played(at(200), at(200)), 4: Played(at(900), at(900))}
    found.alarms = [
        replace(found.alarms[0], raised_at=at(610)),
        replace(found.alarms[1], raised_at=at(560)),
    ]
    report = compare(town, found)
    assert report.ok
    assert report.latest == 110 * SECOND


def test_a_truth_file_comes_back_as_it_was(tmp_path: Path) -> None:
    """What is written is read again, whole."""
    town = Town.build(30, 20, 3, START).truth
    town.played = {0: Played(1, 2)}
    town.uncertain = {0, 5}
    town.write(tmp_path / "truth.json")
    again = Truth.read(tmp_path / "truth.json")
    assert again == copy.deepcopy(town)


def test_a_truth_file_that_is_none_is_named(tmp_path: Path) -> None:
    """What cannot be read is a sentence with the file's name."""
    wrong = tmp_path / "wrong.json"
    with pytest.raises(UsageError, match=r"wrong\.json"):
        Truth.read(wrong)
    wrong.write_text("{}")
    with pytest.raises(UsageError, match="not a truth file"):
        Truth.read(wrong)
