"""Falls: at once, and worse when nothing moves for a minute."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rules.machine import PER_TICK
from rules.machines.fall import Fall
from schemas.alarms import Severity
from schemas.readings import Columns, Event, Quality
from tests.unit.kit import batch, moment, reading
from tests.unit.machines.kit import Machines, Stage, Step, Steps, Tick, Told, brief, registered, run, tell

FALL: Machines = {"fall": {"immobile": "60s"}}


def fell(at: float, device: int = 1) -> Columns:
    """Return a fall that was detected."""
    return reading(device, at, event=Event.FALL_DETECTED)


def told(*steps: Steps) -> list[Told]:
    """Tell a story of falls."""
    return brief(tell(4, FALL, *steps))


def test_a_fall_is_high_at_once_and_critical_after_a_minute() -> None:
    """Whoever lies still for a minute is in danger: dated to the moment, on the first tick that can tell."""
    found = tell(4, FALL, fell(0), Tick(59.999), Tick(60), Tick(61), Tick(600))
    assert brief(found) == [(1, "fall", "raise", 0), (1, "critical", "step", 60)]
    assert [each.severity for each in found] == [Severity.HIGH, Severity.CRITICAL]
    assert found[0].values == {"event": "fall_detected", "ts": moment(0)}
    assert found[1].values == {"since": moment(0), "after": 60_000_000}


def test_a_tick_that_comes_late_dates_by_the_deadline() -> None:
    """The count needs no scan, and its date does not depend on the tick."""
    assert told(fell(0), Tick(75.5, scan=False)) == [(1, "fall", "raise", 0), (1, "critical", "step", 60)]


@pytest.mark.parametrize(
    "moves",
    [
        pytest.param([reading(1, 59, motion=1)], id="motion"),
        pytest.param([reading(1, 59, steps=101)], id="a step"),
        pytest.param([reading(1, 30, steps=3), reading(1, 59, steps=4)], id="steps after a new day"),
    ],
)
def test_movement_ends_the_count(moves: Sequence[Step]) -> None:
    """Who walks away is not immobile; the alarm stays."""
    assert told(reading(1, -60, steps=100), fell(0), moves, Tick(61), Tick(600)) == [(1, "fall", "raise", 0)]


@pytest.mark.parametrize(
    "still",
    [
        reading(1, 59, motion=0),
        reading(1, 59, steps=100),
        reading(1, 59, steps=99),
        reading(1, 59, hr=80),
        reading(2, 59, motion=1),
        reading(1, 59, motion=1, quality=Quality.LATE),
        reading(1, 59, motion=1, alive=False),
    ],
)
def test_what_is_no_movement_does_not(still: Columns) -> None:
    """Neither the same steps, nor fewer, nor a pulse, nor somebody else, nor what was measured long ago."""
    found = told(reading(1, -60, steps=100), fell(0), still, Tick(61))
    assert found == [(1, "fall", "raise", 0), (1, "critical", "step", 60)]


def test_movement_before_the_fall_does_not_count() -> None:
    """A fall that says itself that it moves, and what came before it, leave the count as it is."""
    rows: list[Any] = [reading(1, 0, motion=1), reading(1, 0, event=Event.FALL_DETECTED, motion=1)]
    assert told(rows, Tick(61)) == [(1, "fall", "raise", 0), (1, "critical", "step", 60)]


def test_the_timer_fires_before_a_reading_that_comes_too_late() -> None:
    """Movement at or after the deadline finds a fall that is critical already."""
    for at in (60, 75):
        found = told(fell(0), reading(1, at, motion=1), Tick(100))
        assert found == [(1, "fall", "raise", 0), (1, "critical", "step", 60)]
    assert told(fell(0), reading(1, 59.999999, motion=1), Tick(100)) == [(1, "fall", "raise", 0)]


def test_the_wearer_cancels() -> None:
    """The condition ceases, and the count; what was not raised is not cleared."""
    cancelled = reading(1, 20, event=Event.FALL_CANCELLED)
    assert told(fell(0), cancelled, Tick(61)) == [(1, "fall", "raise", 0), (1, "fall", "clear", 20)]
    assert told(cancelled, Tick(61)) == []
    late = reading(1, 70, event=Event.FALL_CANCELLED)
    assert told(fell(0), late) == [
        (1, "fall", "raise", 0),
        (1, "critical", "step", 60),
        (1, "fall", "clear", 70),
    ]


def test_a_confirmed_fall_is_critical_at_once() -> None:
    """It ends the count: nothing is left to step to."""
    found = tell(4, FALL, fell(0), reading(1, 20, event=Event.FALL_CONFIRMED), Tick(100))
    assert brief(found) == [(1, "fall", "raise", 0), (1, "fall", "raise", 20)]
    assert found[1].severity is Severity.CRITICAL


def test_each_detection_starts_the_count_anew() -> None:
    """A second one at half a minute is another fall, and has a minute of its own."""
    assert told(fell(0), fell(30), Tick(61), Tick(90)) == [
        (1, "fall", "raise", 0),
        (1, "fall", "raise", 30),
        (1, "critical", "step", 90),
    ]
    assert [move for _, _, move, _ in told(fell(0), fell(61), Tick(121))] == [
        "raise",
        "step",
        "raise",
        "step",
    ]


def test_a_late_fall_alarms_and_is_marked() -> None:
    """Whatever its clock says, it is raised when it is received, and counts from then."""
    row = reading(1, 5, ts=-86_400, event=Event.FALL_DETECTED, quality=Quality.LATE)
    found = tell(4, FALL, row, Tick(65))
    assert brief(found) == [(1, "fall", "raise", 5), (1, "critical", "step", 65)]
    assert found[0].quality == "late"


def test_ties_keep_their_order() -> None:
    """Of the same microsecond, movement before a fall does not count and movement after it does."""
    assert told(reading(1, 0, motion=1), fell(0), Tick(60))[1:] == [(1, "critical", "step", 60)]
    assert told(fell(0), reading(1, 0, ts=0.001, motion=1), Tick(60))[1:] == []


def test_a_flood_of_falls_is_told_one_by_one() -> None:
    """A whole town falls at once, half of it gets up; at each tick some are found that did not."""
    n = 3 * PER_TICK
    falls, moves = (np.concatenate([row] * n) for row in (fell(0), reading(1, 30, motion=1)))
    for rows in (falls, moves):
        rows["device_id"] = np.arange(n)
        rows["received_at"] += np.arange(n)
    stage = Stage(registered(n), FALL)
    assert len(run(stage, batch(falls), batch(moves[::2]))) == n
    found = [run(stage, batch(now=at)) for at in (61, 62, 63)]
    assert [len(each) for each in found] == [PER_TICK, PER_TICK // 2, 0]
    assert [each.device_id for some in found for each in some] == list(range(1, n, 2))


@pytest.mark.parametrize(
    "entry", [{"immobile": "0s"}, {"immobile": 60}, {"still": "60s"}, {"immobile": "9000h"}]
)
def test_wrong_settings_are_refused(entry: dict[str, Any]) -> None:
    """No time, a bare number, an unknown key, more than a year."""
    with pytest.raises(ValidationError):
        Fall.read(entry, "fall", Severity.CRITICAL, 1)
