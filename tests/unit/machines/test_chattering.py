"""Chattering: an alarm that comes again and again says more of its device than of anything else."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rules.machine import PER_TICK
from rules.machines.chattering import Chattering
from schemas.alarms import Severity
from schemas.readings import Columns, Event
from tests.unit.kit import MINUTE, batch, moment, reading
from tests.unit.machines.kit import Machines, Stage, Steps, Tick, Told, brief, registered, run, tell

THRICE: Machines = {"chattering": {"cycles": 3, "window": "10m", "quiet": "30m"}}
QUIET = 30 * MINUTE
EACH = """
[[rule]]
kind = "mains_lost"
when = "event == 'mains_lost'"
each = true

[[rule]]
kind = "low_battery"
when = "event == 'low_battery'"
each = true

[[rule]]
kind = "area_left"
when = "event == 'area_left'"
each = true
"""


def lost(at: float, device: int = 1) -> Columns:
    """Return a loss of mains."""
    return reading(device, at, event=Event.MAINS_LOST)


def low(at: float, device: int = 1) -> Columns:
    """Return a low battery."""
    return reading(device, at, event=Event.LOW_BATTERY)


def told(*steps: Steps, machines: Machines = THRICE) -> list[Told]:
    """Tell a story and return what is said of chattering."""
    return [each for each in brief(tell(4, machines, *steps, more=EACH)) if each[1] == "chattering"]


def chatters(at: float, device: int = 1) -> Told:
    """Return a raise."""
    return device, "chattering", "raise", at


def rests(at: float, device: int = 1) -> Told:
    """Return a clear."""
    return device, "chattering", "clear", at


def test_the_third_raise_within_the_window_is_one_too_many() -> None:
    """It is dated by that one, says which kind it was, and is said once."""
    steps = [lost(0), lost(60), lost(120), lost(180), Tick(200)]
    assert told(steps) == [chatters(120)]
    (found,) = (each for each in tell(4, THRICE, steps, more=EACH) if each.kind == "chattering")
    assert found.values == {"kind": "mains_lost", "cycles": 3, "since": moment(0)}


def test_raises_that_are_too_far_apart_do_not_count() -> None:
    """The first and the third may lie exactly the window apart."""
    assert told(lost(0), lost(300), lost(600)) == [chatters(600)]
    assert told(lost(0), lost(300), lost(600.000001), lost(1000)) == []
    assert told([lost(n * 301) for n in range(20)]) == []


def test_each_kind_counts_for_itself() -> None:
    """Two and two are not three; calls for help and their like never count."""
    assert told(lost(0), low(10), lost(20), low(30), Tick(40)) == []
    assert told([low(n) for n in range(2)], [lost(n) for n in (5, 6, 7)], low(8)) == [chatters(7)]
    urgent: list[Any] = [
        reading(1, n, event=event) for n in range(9) for event in (Event.SOS, Event.AREA_LEFT)
    ]
    assert told(urgent) == []


def test_devices_count_for_themselves() -> None:
    """One each of three devices is nothing."""
    assert told(lost(0, 1), lost(1, 2), lost(2, 3), lost(3, 1), lost(4, 2), lost(5, 1)) == [chatters(5)]


def test_it_clears_when_that_kind_was_quiet() -> None:
    """Each raise of the kind puts it off, others do not; the tick that finds it needs no scan."""
    steps = [lost(0), lost(1), lost(2), lost(900), low(1000)]
    assert told(steps, Tick(900 + QUIET - 0.001)) == [chatters(2)]
    assert told(steps, Tick(900 + QUIET, scan=False), Tick(9999)) == [chatters(2), rests(900 + QUIET)]


def test_the_timer_fires_before_a_reading_of_the_device() -> None:
    """Any word at or after the moment finds it quiet; a raise then begins to count anew."""
    steps = [lost(0), lost(1), lost(2)]
    assert told(steps, reading(1, 2 + QUIET, hr=80)) == [chatters(2), rests(2 + QUIET)]
    assert told(steps, reading(2, 2 + QUIET, hr=80)) == [chatters(2)]
    again = [lost(9000), lost(9001), lost(9002)]
    assert told(steps, again) == [chatters(2), rests(2 + QUIET), chatters(9002)]
    assert told(steps, lost(2 + QUIET), lost(2 + QUIET + 1)) == [chatters(2), rests(2 + QUIET)]


def test_another_kind_has_its_turn_later() -> None:
    """A device chatters once; when that has cleared, the other kind is told at its next raise."""
    both = [lost(0), lost(1), lost(2), low(3), low(4), low(5)]
    late = [low(QUIET - 10), low(QUIET - 9), Tick(2 + QUIET), low(QUIET + 3)]
    assert told(both, late) == [chatters(2), rests(2 + QUIET), chatters(QUIET + 3)]


def test_silences_count_at_their_dates() -> None:
    """A device that flaps is told by ticks and by its own words alike."""
    machines = THRICE | {"silence": {"misses": 1, "interval": "1m"}}
    words: list[Any] = [reading(1, n * 100, hr=80) for n in range(4)]
    assert told(words, machines=machines) == [chatters(260)]
    ticked: list[Any] = [
        step for word, n in zip(words, range(4), strict=True) for step in (word, Tick(n * 100 + 61))
    ]
    assert told(ticked, machines=machines) == [chatters(260)]


def test_ties_count_one_by_one() -> None:
    """Three raises of one moment are three."""
    assert told(lost(0), lost(0), lost(0), lost(0)) == [chatters(0)]


def test_after_a_restart_the_database_says_who_is_chattering() -> None:
    """Whoever has no alarm is not; whoever has one is quiet so long after its newest raise, or at once."""
    stage = Stage(registered(6), THRICE, EACH)
    run(stage, batch(lost(0), lost(1), lost(2), lost(50, 2)))
    stage.holds = {("chattering", device) for device in (2, 3, 99_999)}
    again = stage.restarted()
    found = brief(run(again, batch(now=60), batch(now=2 + QUIET), batch(now=50 + QUIET)))
    assert found == [rests(60, 3), rests(50 + QUIET, 2)]


def test_what_is_long_past_is_forgotten() -> None:
    """So much is held only of devices that were raised lately, or are chattering."""
    stage = Stage(registered(3000), THRICE, EACH)
    day = 86_400
    run(stage, batch(*(lost(n / 1000, n) for n in range(2500)), *(lost(3 + n, 2999) for n in range(3))))
    held = stage.engine._state.sparse("chattering.active")
    assert len(held) == 2501
    run(stage, *(batch(now=day + n) for n in range(10)))
    assert len(held) == 2501
    run(stage, batch(lost(day + 700, 7)), *(batch(now=day + 700 + n) for n in range(20)))
    assert set(held) == {7}


def test_a_mass_of_raises_is_counted_in_one_go() -> None:
    """Thousands of devices lose their mains thrice; they are quiet some at each tick."""
    n = 3 * PER_TICK
    rows = np.concatenate([lost(0)] * n)
    rows["device_id"] = np.arange(n)
    stage = Stage(registered(n), THRICE, EACH)
    found = []
    for _ in range(3):
        found.append([each for each in stage.play(batch(rows)) if each.kind == "chattering"])
        rows["received_at"] += 1_000_000
    assert [len(each) for each in found] == [0, 0, n]
    cleared = [len(stage.play(batch(now=QUIET + 10 + tick))) for tick in range(4)]
    assert cleared == [PER_TICK] * 3 + [0]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"cycles": 1, "window": "1m", "quiet": "1m"},
        {"cycles": 21, "window": "1m", "quiet": "1m"},
        {"cycles": 3, "window": "0s", "quiet": "1m"},
        {"cycles": 3, "window": "1m", "quiet": "800h"},
        {"cycles": 3, "window": "1m", "quiet": "1m", "kind": "sos"},
    ],
)
def test_wrong_settings_are_refused(entry: dict[str, Any]) -> None:
    """Missing, out of bounds, unknown."""
    with pytest.raises(ValidationError):
        Chattering.read(entry, "chattering", Severity.LOW, 1)
