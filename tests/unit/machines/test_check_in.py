"""The daily check-in: who has not said by ten that all is well."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rules.machine import PER_TICK
from rules.machines.check_in import CheckIn
from schemas.alarms import Severity
from schemas.readings import Columns, Event
from tests.unit.kit import batch, moment, reading
from tests.unit.machines.kit import (
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
    ticks,
)

BY_TEN: Machines = {"check_in": {"by": "10:00"}}
TEN = clock("10:00")


def well(at: float, device: int = 1) -> Columns:
    """Return a check-in."""
    return reading(device, at, event=Event.CHECK_IN)


def told(*steps: Steps) -> list[Told]:
    """Tell a story of check-ins."""
    return brief(tell(4, BY_TEN, *steps))


def missed(at: float, device: int = 1) -> Told:
    """Return a raise."""
    return device, "check_in_missed", "raise", at


def came(at: float, device: int = 1) -> Told:
    """Return a clear."""
    return device, "check_in_missed", "clear", at


YESTERDAY = well(clock("09:00", -1))


def test_who_says_nothing_by_ten_is_missed() -> None:
    """At the first tick from then on, dated ten; later ticks say no more, the check-in clears it."""
    steps = [Tick(TEN - 1), Tick(TEN), Tick(TEN + 1), well(clock("11:00")), Tick(clock("12:00"))]
    found = tell(4, BY_TEN, YESTERDAY, steps)
    assert brief(found) == [missed(TEN), came(clock("11:00"))]
    assert found[0].values == {"by": moment(TEN), "last_check_in": moment(clock("09:00", -1))}


def test_a_check_in_at_any_hour_of_the_day_counts() -> None:
    """From midnight on, to the microsecond; what came before is of another day."""
    assert told(YESTERDAY, well(clock("00:00")), Tick(TEN)) == []
    assert told(YESTERDAY, well(clock("00:00") - 0.000001), Tick(TEN)) == [missed(TEN)]
    assert told(YESTERDAY, well(TEN), Tick(TEN)) == []


def test_a_day_is_judged_once_whatever_the_hour() -> None:
    """A new hour in the rules is for the days to come."""
    stage = Stage(registered(4), BY_TEN)
    found = [stage.play(batch(YESTERDAY)), stage.play(batch(now=TEN))]
    assert brief([each for some in found for each in some]) == [missed(TEN)]
    earlier = Stage(registered(4), {"check_in": {"by": "09:00"}})
    for piece in range(stage.engine.pieces):
        earlier.engine.restore(piece, stage.engine.checkpoint(piece))
    assert earlier.play(batch(now=clock("12:00"))) == []
    assert brief(earlier.play(batch(now=clock("09:00", 1)))) == [missed(clock("09:00", 1))]


def test_a_retained_check_in_is_none() -> None:
    """The broker tells it at each reconnect, whoever is still there."""
    retained = reading(1, clock("08:00"), event=Event.CHECK_IN, alive=False)
    assert told(YESTERDAY, retained, Tick(TEN), retained) == [missed(TEN)]


def test_a_day_can_begin_later() -> None:
    """With `from` in the morning a check-in of the night does not count."""
    settings = {"check_in": {"by": "10:00", "from": "06:00"}}
    assert brief(tell(4, settings, well(clock("05:59")), Tick(TEN))) == [missed(TEN)]
    assert tell(4, settings, well(clock("06:00")), Tick(TEN)) == []


def test_hours_are_those_of_the_zone() -> None:
    """Ten in Urumqi by its own clock is noon in Shanghai."""
    settings = {"check_in": {"by": "10:00", "zone": "Asia/Urumqi"}}
    found = tell(4, settings, YESTERDAY, Tick(TEN), Tick(clock("12:00")))
    assert brief(found) == [missed(clock("12:00"))]


def test_nobody_is_missed_who_never_checked_in() -> None:
    """Other words are no check-in, and who was never asked for one is nobody's alarm."""
    assert told(reading(1, 0, event=Event.SOS), reading(2, 0, hr=70), Tick(TEN))[1:] == []


def test_a_day_that_was_over_before_the_first_check_in_is_not_judged() -> None:
    """Whoever begins in the afternoon is first missed the next day."""
    first = well(clock("15:00"))
    assert told(Tick(TEN), first, Tick(clock("16:00")), Tick(clock("10:00", 1))) == [
        missed(clock("10:00", 1))
    ]


def test_each_day_is_judged() -> None:
    """Who is missed a second day is raised again, for the first alarm may be closed; that is a repetition."""
    found = told(YESTERDAY, *[Tick(clock(hour, day)) for day in (0, 1) for hour in ("10:00", "18:00")])
    assert found == [missed(TEN), missed(clock("10:00", 1))]


@pytest.mark.parametrize("begin", [False, True])
def test_what_staff_closed_is_not_raised_again_by_a_restart(*, begin: bool) -> None:
    """A day is judged once, also if a restart judges it again and the database knows of no alarm any more."""
    stage = Stage(registered(4), BY_TEN)
    assert len(run(stage, batch(YESTERDAY, well(clock("08:00"), 2)), batch(now=TEN))) == 1
    stage.holds.clear()
    again = stage.restarted(begin=begin)
    assert run(again, batch(now=TEN + 5), batch(now=clock("23:00"))) == []
    assert brief(run(again, batch(now=clock("10:00", 1)))) == [missed(clock("10:00", 1), d) for d in (1, 2)]


def test_an_alarm_that_only_the_database_knows_is_cleared() -> None:
    """Whoever has one and says that all is well is not missed any more."""
    stage = Stage(registered(4), BY_TEN)
    stage.holds = {("check_in_missed", 1), ("check_in_missed", 99_999)}
    assert brief(run(stage.restarted(), batch(well(5)))) == [came(5)]


def test_a_tick_without_scan_judges_nobody() -> None:
    """The first one with scan does, by what came until then; a day before the newest is not made up."""
    late = ticks(TEN, TEN + 3, scan=False)
    assert told(YESTERDAY, late, well(clock("11:00")), Tick(clock("12:00"))) == []
    assert told(YESTERDAY, late, Tick(clock("12:00"))) == [missed(TEN)]
    assert told(YESTERDAY, late, Tick(clock("09:00", 1))) == [missed(TEN)]
    assert told(YESTERDAY, late, Tick(clock("10:30", 1))) == [missed(clock("10:00", 1))]


def test_a_late_reading_does_not_fire_it() -> None:
    """It is judged at ticks only: a check-in after ten that comes before the tick is in time."""
    assert told(YESTERDAY, well(TEN + 0.5), Tick(TEN + 1)) == []


def test_ties_are_told_once() -> None:
    """Two check-ins of one moment clear once."""
    assert told(YESTERDAY, Tick(TEN), well(TEN + 5), well(TEN + 5)) == [missed(TEN), came(TEN + 5)]


def test_a_town_is_missed_in_parts() -> None:
    """So many at each tick that an SOS need not wait, and all of them in the end."""
    n = 2 * PER_TICK + 500
    rows = np.concatenate([YESTERDAY] * n)
    rows["device_id"] = np.arange(n)
    stage = Stage(registered(n), BY_TEN)
    run(stage, batch(rows))
    found = [run(stage, batch(now=TEN + tick)) for tick in range(4)]
    assert [len(each) for each in found] == [PER_TICK, PER_TICK, 500, 0]
    assert {each.at for some in found for each in some} == {moment(TEN)}
    assert {each.device_id for some in found for each in some} == set(range(n))


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"by": "25:00"},
        {"by": "10"},
        {"by": 10},
        {"by": "24:00"},
        {"by": "10:00", "from": "10:00"},
        {"by": "10:00", "from": "22:00"},
        {"by": "10:00", "zone": "Mars/Olympus"},
        {"by": "10:00", "zone": "../etc/passwd"},
        {"by": "10:00", "zone": 8},
        {"by": "10:00", "since": "06:00"},
    ],
)
def test_wrong_settings_are_refused(entry: dict[str, Any]) -> None:
    """Hours that are none, in the wrong order, zones that are none, unknown keys."""
    with pytest.raises(ValidationError):
        CheckIn.read(entry, "check_in_missed", Severity.MEDIUM, 1)
