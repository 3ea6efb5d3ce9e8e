"""Inactivity: no movement for longer than the hour allows."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rules.machine import PER_TICK
from rules.machines.inactivity import Inactivity
from schemas.alarms import Severity
from schemas.readings import Columns, Event, Quality
from tests.unit.kit import batch, moment, reading
from tests.unit.machines.kit import (
    Forgiven,
    Machines,
    Stage,
    Steps,
    Tick,
    Told,
    brief,
    clock,
    registered,
    run,
    tell,
)

HOUR = 3600.0
AFTER: Machines = {"inactivity": {"after": {"06:00-22:00": "6h", "22:00-06:00": "12h"}}}
EIGHT = clock("08:00")


def moves(at: float, device: int = 1) -> Columns:
    """Return a movement."""
    return reading(device, at, motion=1)


def told(*steps: Steps, machines: Machines = AFTER) -> list[Told]:
    """Tell a story of movement."""
    return brief(tell(4, machines, *steps))


def still(at: float, device: int = 1) -> Told:
    """Return a raise."""
    return device, "inactivity", "raise", at


def moved(at: float, device: int = 1) -> Told:
    """Return a clear."""
    return device, "inactivity", "clear", at


def test_six_hours_by_day_are_too_long() -> None:
    """At the first tick that can tell, dated to the moment; later ones are quiet, movement clears it."""
    two = clock("14:00")
    steps = [Tick(two - 0.001), Tick(two), Tick(two + 1), Tick(two + HOUR), moves(two + HOUR + 1)]
    found = tell(4, AFTER, moves(EIGHT), steps)
    assert brief(found) == [still(two), moved(two + HOUR + 1)]
    assert found[0].values == {"last_moved": moment(EIGHT), "after": 6 * 3_600_000_000}


def test_a_tick_that_comes_late_dates_by_the_deadline() -> None:
    """As long as the hours are the same."""
    assert told(moves(EIGHT), Tick(clock("17:30"))) == [still(clock("14:00"))]


def test_the_night_allows_more() -> None:
    """Who moved at nine in the evening may sleep until the morning."""
    nine = clock("21:00")
    night = [Tick(clock("03:00", 1)), Tick(clock("05:59", 1))]
    assert told(moves(nine), night) == []
    assert told(moves(nine), night, Tick(clock("06:00", 1))) == [still(clock("06:00", 1))]


def test_what_was_allowed_before_is_dated_at_the_beginning_of_the_hours() -> None:
    """At six in the morning nine hours are too long: it is an alarm from then on, not since three."""
    assert told(moves(clock("21:00")), Tick(clock("06:05", 1))) == [still(clock("06:00", 1))]
    ten_to = clock("09:50")
    assert told(moves(ten_to), Tick(clock("22:10"))) == [still(clock("22:00"))]


def test_a_window_over_midnight_began_yesterday() -> None:
    """Twelve hours since noon are over at midnight, and that is what is said at two."""
    assert told(moves(clock("12:00")), Tick(clock("02:00", 1))) == [still(clock("00:00", 1))]


def test_hours_that_are_not_in_the_table_are_not_judged() -> None:
    """With a table of the day alone the night says nothing; the zone is that of the table."""
    day: Machines = {"inactivity": {"after": {"06:00-22:00": "2h"}}}
    assert told(moves(clock("21:00")), Tick(clock("05:59", 1)), machines=day) == []
    assert told(moves(clock("21:00")), Tick(clock("06:00", 1)), machines=day) == [still(clock("06:00", 1))]
    west: Machines = {"inactivity": {"after": {"06:00-22:00": "2h"}, "zone": "Asia/Urumqi"}}
    found = told(moves(clock("21:00")), Tick(clock("07:59", 1)), Tick(clock("08:01", 1)), machines=west)
    assert found == [still(clock("08:00", 1))]
    whole: Machines = {"inactivity": {"after": {"00:00-24:00": "2h"}}}
    assert told(moves(clock("21:00")), Tick(clock("23:00")), machines=whole) == [still(clock("23:00"))]


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param([reading(1, EIGHT, event=Event.SOS)], id="sos"),
        pytest.param([reading(1, EIGHT, event=Event.CHECK_IN)], id="check-in"),
        pytest.param([reading(1, EIGHT, event=Event.TEST)], id="test"),
        pytest.param([reading(1, EIGHT, event=Event.FALL_CANCELLED)], id="cancelled"),
        pytest.param([reading(1, EIGHT - 9, steps=5), reading(1, EIGHT, steps=6)], id="steps"),
    ],
)
def test_what_is_movement(sign: list[Columns]) -> None:
    """A press, or steps that rose: a device shows by it that it can tell, and that somebody lives."""
    inactive = [still(clock("14:00")), moved(clock("15:00"))]
    found = told(sign, Tick(clock("14:00")), moves(clock("15:00")))
    assert [each for each in found if each[1] == "inactivity"] == inactive
    later = [row.copy() for row in sign]
    for row in later:
        row["received_at"] += round(7 * HOUR * 1e6)
        row["ts"] += round(7 * HOUR * 1e6)
    found = told(moves(EIGHT), Tick(clock("14:00")), later)
    assert [each for each in found if each[1] == "inactivity"] == inactive


@pytest.mark.parametrize(
    "sign",
    [
        [reading(1, EIGHT + HOUR, motion=0)],
        [reading(1, EIGHT + HOUR, hr=80, worn=1)],
        [reading(1, EIGHT + HOUR, steps=100)],
        [reading(1, EIGHT + HOUR, event=Event.LOW_BATTERY)],
        [reading(1, EIGHT + HOUR, motion=1, quality=Quality.LATE)],
        [reading(2, EIGHT + HOUR, motion=1)],
    ],
)
def test_what_is_no_movement(sign: list[Any]) -> None:
    """A pulse, the first steps, a low battery, what was measured long ago, and somebody else."""
    assert told(moves(EIGHT), sign, Tick(clock("14:00"))) == [still(clock("14:00"))]


def test_a_device_that_never_moved_is_not_judged() -> None:
    """It may have no means to tell."""
    assert told(reading(1, EIGHT, motion=0, hr=70), Tick(clock("20:00"))) == []


def test_after_movement_it_counts_anew() -> None:
    """Each time it is told, and each time it clears."""
    steps = [
        moves(EIGHT),
        Tick(clock("14:00")),
        moves(clock("15:00")),
        Tick(clock("20:59")),
        Tick(clock("21:00")),
    ]
    assert told(steps) == [still(clock("14:00")), moved(clock("15:00")), still(clock("21:00"))]


def test_a_reading_does_not_fire_it() -> None:
    """It is judged at ticks only: movement after the deadline that comes before the tick is in time."""
    assert told(moves(EIGHT), moves(clock("14:30")), Tick(clock("14:31"))) == []
    assert told(moves(EIGHT), reading(1, clock("14:30"), hr=80)) == []


def test_a_tick_without_scan_judges_nobody() -> None:
    """While a session is away movement cannot be heard."""
    assert (
        told(moves(EIGHT), Tick(clock("15:00"), scan=False), moves(clock("15:01")), Tick(clock("15:02")))
        == []
    )


def test_after_an_absence_of_ours_a_device_must_be_heard_first() -> None:
    """What it held back comes first; then it is judged by its movement, which nobody forgives."""
    away = [moves(EIGHT), Forgiven(clock("12:00")), Tick(clock("14:00")), Tick(clock("15:00"))]
    assert told(away) == []
    dead = reading(1, clock("15:01"), hr=70, alive=False)
    assert told(away, dead, Tick(clock("15:02"))) == []
    assert told(away, reading(1, clock("15:01"), hr=70), Tick(clock("15:02"))) == [still(clock("14:00"))]
    assert told(away, moves(clock("15:01")), Tick(clock("15:02"))) == []


@pytest.mark.parametrize("said", [{"motion": 1}, {"event": Event.TEST}, {"event": Event.CHECK_IN}])
def test_what_was_retained_is_no_movement(said: dict[str, Any]) -> None:
    """The broker tells it at each reconnect, whoever lies on the floor."""
    retained = reading(1, clock("13:00"), **said, alive=False)
    assert told(moves(EIGHT), retained, Tick(clock("15:00"))) == [still(clock("14:00"))]


def test_a_silent_device_is_not_judged() -> None:
    """Who cannot be heard has one alarm, and not two; back again it is judged."""
    machines = AFTER | {"silence": {"misses": 3, "interval": "1h"}}
    three, back = clock("15:00"), clock("16:00")
    found = told(moves(EIGHT), Tick(three), reading(1, back, hr=70), Tick(back + 1), machines=machines)
    assert found == [
        (1, "device_silent", "raise", clock("11:00")),
        (1, "device_silent", "clear", back),
        still(clock("14:00")),
    ]


def test_silence_and_inactivity_of_one_tick_are_one_alarm() -> None:
    """A device whose silence is told at this very tick is silent."""
    machines = AFTER | {"silence": {"misses": 1, "interval": "5h"}}
    assert told(moves(EIGHT), Tick(clock("14:00")), machines=machines) == [
        (1, "device_silent", "raise", clock("13:00"))
    ]


def test_ties_are_told_once() -> None:
    """Two movements of one moment clear once."""
    again = [moves(clock("15:00")), moves(clock("15:00")), reading(1, clock("15:00"), event=Event.TEST)]
    assert told(moves(EIGHT), Tick(clock("14:00")), again) == [still(clock("14:00")), moved(clock("15:00"))]


def test_after_a_restart_the_database_says_who_is_inactive() -> None:
    """Nobody is inactive without an alarm, and whoever has one can clear it."""
    stage = Stage(registered(4), AFTER)
    run(stage, batch(moves(EIGHT)), batch(now=clock("14:00")))
    stage.holds = {("inactivity", 2)}
    again = stage.restarted()
    assert brief(run(again, batch(now=clock("14:01")))) == [still(clock("14:00"))]
    assert brief(run(again, batch(moves(clock("15:00"), 2)))) == [moved(clock("15:00"), 2)]


def test_a_town_is_told_in_parts() -> None:
    """So many at each tick that an SOS need not wait, the longest still first."""
    n = 2 * PER_TICK + 500
    rows = np.concatenate([moves(EIGHT)] * n)
    rows["device_id"] = np.arange(n)
    rows["received_at"] += np.arange(n)[::-1]
    stage = Stage(registered(n), AFTER)
    run(stage, batch(rows))
    found = [run(stage, batch(now=clock("14:00") + tick)) for tick in range(1, 5)]
    assert [len(each) for each in found] == [PER_TICK, PER_TICK, 500, 0]
    assert [each.device_id for some in found for each in some] == list(range(n))[::-1]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"after": {}},
        {"after": "6h"},
        {"after": {"06:00-22:00": "0s"}},
        {"after": {"06:00-22:00": 6}},
        {"after": {"06:00": "6h"}},
        {"after": {"06:00-06:00": "6h"}},
        {"after": {"06:00-25:00": "6h"}},
        {"after": {"24:00-06:00": "6h"}},
        {"after": {"06:00-22:00": "6h", "21:00-23:00": "8h"}},
        {"after": {"06:00-22:00": "6h", "22:00-06:01": "8h"}},
        {"after": {"06:00-22:00": "6h"}, "zone": "Nowhere"},
        {"after": {"06:00-22:00": "6h"}, "devices": 3},
    ],
)
def test_wrong_settings_are_refused(entry: dict[str, Any]) -> None:
    """Empty tables, hours that are none or overlap, durations and zones that are none, unknown keys."""
    with pytest.raises(ValidationError):
        Inactivity.read(entry, "inactivity", Severity.MEDIUM, 1)
