"""Silence: raised at its deadline, cleared by the next word."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rules.machine import PER_TICK
from rules.machines.silence import LEARNED_FROM, Silence
from schemas.alarms import Severity
from schemas.readings import Columns, Event, Quality
from tests.unit.kit import MINUTE, batch, moment, reading
from tests.unit.machines.kit import (
    Forgiven,
    Machines,
    Stage,
    Steps,
    Tick,
    Told,
    brief,
    registered,
    run,
    tell,
    ticks,
)

LIMIT = 30 * MINUTE
SILENCE: dict[str, Any] = {"misses": 3, "interval": "10m"}
MACHINES: Machines = {"silence": SILENCE}


def said(at: float, device: int = 1, **columns: Any) -> Columns:  # noqa: ANN401 - any column
    """Return a word of a device."""
    return reading(device, at, hr=80, **columns)


def told(*steps: Steps, **settings: Any) -> list[Told]:  # noqa: ANN401 - of the machine
    """Tell a story of silence."""
    return brief(tell(4, {"silence": SILENCE | settings}, *steps))


def silent(at: float, device: int = 1) -> Told:
    """Return a raise."""
    return device, "device_silent", "raise", at


def heard(at: float, device: int = 1) -> Told:
    """Return a clear."""
    return device, "device_silent", "clear", at


# ---------------------------------------------------------------------------------------------- the deadline


def test_a_silent_device_is_raised_at_its_deadline() -> None:
    """The first tick after three intervals finds it, later ones are quiet, and its next word clears it."""
    found = tell(4, MACHINES, said(0), Tick(LIMIT), Tick(LIMIT + 7), Tick(LIMIT * 9), said(LIMIT * 10))
    assert brief(found) == [silent(LIMIT), heard(LIMIT * 10)]
    assert found[0].values == {"last_heard": moment(0), "limit": round(LIMIT * 1e6)}


def test_a_word_at_the_deadline_is_in_time() -> None:
    """To the microsecond."""
    assert told(said(0), said(LIMIT), Tick(LIMIT + 1)) == []
    assert told(said(0), said(LIMIT + 0.000001)) == [silent(LIMIT), heard(LIMIT + 0.000001)]


def test_a_silence_that_no_tick_saw_is_told_by_the_next_word() -> None:
    """An overdue deadline fires before the reading that ends it, with a tick in between or without."""
    expected = [silent(LIMIT), heard(LIMIT + 60)]
    assert told(said(0), said(LIMIT + 60)) == expected
    assert told(said(0), Tick(LIMIT + 1), said(LIMIT + 60)) == expected


def test_several_silences_in_one_batch_are_several() -> None:
    """A backlog read at once tells of each, and of no more."""
    found = told([said(n * (LIMIT + 1)) for n in range(4)])
    assert [move for _, _, move, _ in found] == ["raise", "clear"] * 3


def test_the_first_two_words_can_be_far_apart() -> None:
    """Also where a device is new in the very batch in which it falls silent."""
    assert told([said(0), said(LIMIT + 5), said(LIMIT + 6)]) == [silent(LIMIT), heard(LIMIT + 5)]


def test_who_was_never_heard_is_never_silent() -> None:
    """A device that was registered and not yet installed is nobody's alarm."""
    assert told(Tick(LIMIT * 99)) == []


def test_ties_are_told_once() -> None:
    """Several readings of one moment end one silence, and two devices of one deadline are told in order."""
    rows: list[Any] = [said(0, 2), said(0, 1), said(0, 1, worn=1)]
    late: list[Any] = [said(LIMIT + 9, 2), said(LIMIT + 9, 1), said(LIMIT + 9, 1)]
    expected = [silent(LIMIT, 1), silent(LIMIT, 2), heard(LIMIT + 9, 2), heard(LIMIT + 9, 1)]
    assert told(rows, Tick(LIMIT + 1), late) == expected


def test_it_does_not_fire_when_the_device_returns() -> None:
    """A dead device is raised while it is dead, not when its next word comes: that one only clears."""
    for back in (LIMIT + 2, LIMIT * 50):
        found = told(said(0), ticks(LIMIT - 1, LIMIT + 2), said(back), ticks(back, back + 3))
        assert found == [silent(LIMIT), heard(back)]


# ------------------------------------------------------------------------------------------- what is no life


@pytest.mark.parametrize("columns", [{"alive": False}, {"alive": False, "event": Event.OFFLINE}])
def test_what_proves_no_life_does_not_count(columns: dict[str, Any]) -> None:
    """Retained messages and last wills neither end a silence nor put it off, nor begin a device's life."""
    no_life: list[Any] = [said(LIMIT - 1, **columns), said(LIMIT - 1, 2, **columns)]
    found = told(said(0), no_life, Tick(LIMIT + 1), said(LIMIT + 5, **columns), Tick(LIMIT * 9))
    assert found == [silent(LIMIT)]


def test_no_life_between_two_words_changes_nothing() -> None:
    """In one batch as in several, the gap is that between the words."""
    rows: list[Any] = [said(0), said(LIMIT - 5, alive=False), said(LIMIT + 5), said(LIMIT + 6, alive=False)]
    assert told(rows) == [silent(LIMIT), heard(LIMIT + 5)]


def test_an_overdue_device_is_raised_by_what_proves_no_life() -> None:
    """Any message of its own finds the deadline that has passed; none but a living one clears it."""
    assert told(said(0), said(LIMIT + 5, alive=False)) == [silent(LIMIT)]


@pytest.mark.parametrize("quality", [Quality.LATE, Quality.FUTURE, Quality.EPOCH, Quality.MISSING])
def test_silence_runs_on_the_time_of_receipt(quality: Quality) -> None:
    """A device with a wrong clock lives, however late or early its readings say they are."""
    found = told(said(0), said(LIMIT, ts=-9e4, quality=quality), Tick(2 * LIMIT), Tick(2 * LIMIT + 1))
    assert found == [silent(2 * LIMIT)]


# ---------------------------------------------------------------------------------- scans, outages, restarts


def test_without_scan_nobody_is_silent() -> None:
    """While a session is away or a backlog waits, neither ticks nor messages tell of silence."""
    stage = Stage(registered(4), MACHINES)
    late = batch(said(LIMIT * 2), scan=False)
    parts = [batch(said(0), said(0, 2)), batch(now=LIMIT * 2, scan=False), late, batch(now=LIMIT * 2 + 1)]
    assert brief(run(stage, *parts)) == [silent(LIMIT, 2)]
    assert brief(run(stage, batch(said(LIMIT * 3, 2), scan=False))) == [heard(LIMIT * 3, 2)]


def test_an_outage_is_forgiven() -> None:
    """After it every limit counts from its end; people are told when a device was heard in truth."""
    steps = (said(0), Forgiven(LIMIT * 5), Tick(LIMIT * 6), Tick(LIMIT * 6 + 1))
    (found,) = tell(4, MACHINES, *steps)
    assert brief([found]) == [silent(LIMIT * 6)]
    assert found.values == {"last_heard": moment(0), "limit": round(LIMIT * 1e6)}


def test_a_clock_that_was_set_back_leaves_nobody_heard_in_the_future() -> None:
    """Who was heard "later" than now is heard now, and who is silent stays silent until its next word."""
    steps: list[Any] = [said(100), said(0, 2), Tick(LIMIT + 1), Forgiven(-999)]
    found = tell(4, MACHINES, steps, Tick(LIMIT - 998), said(LIMIT - 990, 2))
    assert brief(found) == [silent(LIMIT, 2), silent(LIMIT - 999), heard(LIMIT - 990, 2)]
    assert found[1].values == {"last_heard": moment(-999), "limit": round(LIMIT * 1e6)}


def test_an_alarm_that_the_database_does_not_know_is_raised_again() -> None:
    """After a restart it decides: nobody is silent without an alarm, and whoever has one can clear it."""
    stage = Stage(registered(4), MACHINES)
    run(stage, batch(said(0), said(0, 2)), batch(now=LIMIT + 1))
    stage.holds = {("device_silent", device) for device in (2, 3, 99_999)}
    again = stage.restarted()
    assert brief(run(again, batch(now=LIMIT + 2))) == [silent(LIMIT)]
    assert brief(run(again, batch(said(LIMIT + 3, 2), said(LIMIT + 3, 3)))) == [
        heard(LIMIT + 3, 2),
        heard(LIMIT + 3, 3),
    ]


# -------------------------------------------------------------------------------------- whose interval it is


def test_a_device_has_its_own_interval_or_its_models() -> None:
    """A device's own counts before its model's, and that before what is learned or usual."""
    devices = registered(4, models=["", "bell", "bell", "x"], heartbeat_seconds=[None, None, 60, None])
    settings = SILENCE | {"models": {"bell": "5m"}, "learn": True}
    rows: list[Any] = [said(0, device) for device in range(4)]
    found = brief(tell(devices, {"silence": settings}, rows, Tick(LIMIT + 1)))
    assert found == [silent(180, 2), silent(900, 1), silent(LIMIT, 0), silent(LIMIT, 3)]


def test_an_interval_that_changes_moves_the_deadline() -> None:
    """The registry has the last word, also for who is being watched, and wakes nobody who is silent."""
    stage = Stage(registered(4), MACHINES)
    run(stage, batch(said(0), said(60, 2)), batch(now=LIMIT + 1))
    stage.engine.enrol(registered(4, heartbeat_seconds=[None, 3600, 3600, None]))
    assert run(stage, batch(now=LIMIT * 3)) == []
    stage.engine.enrol(registered(4, heartbeat_seconds=[None, 60, 60, None]))
    assert brief(run(stage, batch(now=LIMIT * 3))) == [silent(240, 2)]


def test_the_world_grows() -> None:
    """Devices that are enrolled later keep those before as they were."""
    stage = Stage(registered(2), MACHINES)
    run(stage, batch(said(0)))
    stage.engine.enrol(registered(5000))
    run(stage, batch(said(0, 4999)))
    assert brief(run(stage, batch(now=LIMIT + 1))) == [silent(LIMIT), silent(LIMIT, 4999)]


# ------------------------------------------------------------------------------------------------- learning


def words(gaps: Sequence[float]) -> tuple[list[Any], float]:
    """Return words with gaps between them, and when the last one was."""
    at = np.cumsum([0.0, *gaps]).tolist()
    return [said(each) for each in at], at[-1]


def test_an_interval_is_learned_from_twenty_gaps() -> None:
    """A device that speaks each two minutes is missed after six, and not before that is known for sure."""
    rows, last = words([120] * (LEARNED_FROM - 1))
    assert told(rows, Tick(last + 361), Tick(last + LIMIT + 1), learn=True) == [silent(last + LIMIT)]
    rows, last = words([120] * LEARNED_FROM)
    assert told(rows, Tick(last + 360), Tick(last + 361), learn=True) == [silent(last + 360)]
    assert told(rows, Tick(last + 361), learn=False) == []


def test_what_is_learned_is_the_mean_and_four_deviations() -> None:
    """Each followed by an eighth, the first gap being the first mean, in exact microseconds."""
    gaps = [120.0, 300.0] * (LEARNED_FROM // 2)
    mean, deviation = gaps[0] * 1e6, 0.0
    for gap in gaps[1:]:
        error = gap * 1e6 - mean
        mean, deviation = mean + error / 8, deviation + (abs(error) - deviation) / 8
    rows, last = words(gaps)
    limit = 3 * int(mean + 4 * deviation) / 1e6
    (found,) = told(rows, Tick(last + limit), Tick(last + limit + 1), learn=True)
    assert found == silent(round(last + limit, 6))


@pytest.mark.parametrize(
    ("gap", "settings", "limit"),
    [
        pytest.param(1, {}, 180, id="at least a minute"),
        pytest.param(1, {"interval": "20m"}, 360, id="at least a tenth of the interval"),
        pytest.param(80_000, {"misses": 1, "interval": "48h"}, 80_000, id="hours are learned"),
    ],
)
def test_what_is_learned_has_bounds(gap: float, settings: dict[str, Any], limit: float) -> None:
    """A chatty device is not missed after seconds."""
    rows, last = words([gap] * LEARNED_FROM)
    found = told(rows, Tick(last + limit), Tick(last + limit + 1), learn=True, **settings)
    assert found == [silent(last + limit)]


def test_a_learned_interval_is_at_most_a_day() -> None:
    """However much the gaps vary."""
    rows, last = words([60, 86_000] * 10)
    found = told(rows, Tick(last + 86_400), Tick(last + 86_401), learn=True, misses=1, interval="48h")
    assert found == [silent(last + 86_400)]


def test_gaps_over_a_day_and_ties_teach_nothing() -> None:
    """A week in a drawer and two messages of one moment are no interval."""
    gaps = [120.0] * 10 + [86_401.0, 0.0] + [120.0] * 10
    rows, last = words(gaps)
    limit = 3 * 54 * MINUTE  # a tenth of the interval
    found = told(rows, Tick(last + limit), Tick(last + limit + 1), learn=True, interval="9h")
    assert found == [silent(last + limit)]


def test_a_silence_teaches_as_well() -> None:
    """The gap that was a silence counts like any other below a day, in one batch as in many."""
    rows, last = words([120] * LEARNED_FROM + [3600])
    found = told(rows, Tick(last + 20_000), learn=True)
    limit = 3 * (120 + 3480 / 8 + 4 * 3480 / 8)
    assert found == [silent(last - 3600 + 360), heard(last), silent(last + limit)]


def test_a_limit_that_shrinks_within_a_batch_is_kept() -> None:
    """After many short gaps a gap is too long that was not when the batch began."""
    rows, last = words([7000.0] * LEARNED_FROM + [60.0] * 60 + [3000.0])
    slow, quick = rows[: LEARNED_FROM + 1], rows[LEARNED_FROM + 1 :]
    found = told(slow, Tick(7000 * LEARNED_FROM + 1), quick, learn=True, interval="2h", misses=1)
    assert [move for _, _, move, _ in found] == ["raise", "clear"]
    assert found[1] == heard(last)


# ------------------------------------------------------------------------------------------------- flapping


def test_a_device_must_stay_to_clear() -> None:
    """With `steady` the first message that is so long after its return clears, dated by itself."""
    back = LIMIT + 100
    rows: list[Any] = [said(back + n * MINUTE) for n in range(7)]
    assert told(said(0), Tick(LIMIT + 1), rows, steady="5m") == [silent(LIMIT), heard(back + 300)]
    assert told(said(0), Tick(LIMIT + 1), rows[:5], steady="5m") == [silent(LIMIT)]


def test_a_device_that_flaps_has_one_alarm() -> None:
    """A word now and then is no return: not before it stays is the alarm over."""
    flaps = [LIMIT * n * 1.1 for n in range(1, 20)]
    found = told(said(0), [step for at in flaps for step in (Tick(at - 1), said(at))], steady="1h")
    assert found == [silent(LIMIT)]
    assert len(told(said(0), [said(at) for at in flaps])) == 2 * len(flaps)


@pytest.mark.parametrize("ticked", [False, True])
def test_another_silence_begins_the_return_anew(*, ticked: bool) -> None:
    """Heard, gone again and heard again: the time counts from the last return, with a tick or without."""
    first, second = LIMIT + 100, LIMIT * 2 + 200
    between: list[Any] = [Tick(first + LIMIT + 1)] if ticked else []
    rows: list[Any] = [said(second), said(second + 1000), said(second + 2000)]
    found = told(said(0), Tick(LIMIT + 1), said(first), between, rows, Tick(second + 2001), steady="30m")
    assert found == [silent(LIMIT), heard(second + 2000)]


def test_a_return_that_is_not_steady_yet_is_watched() -> None:
    """Silent again within it nothing is raised anew, and after the clear it can be."""
    rows: list[Any] = [said(LIMIT + 100), said(LIMIT + 200)]
    last = LIMIT + 200
    found = told(said(0), Tick(LIMIT + 1), rows, ticks(last + LIMIT, last + LIMIT + 3), steady="100s")
    assert found == [silent(LIMIT), heard(LIMIT + 200), silent(LIMIT + 200 + LIMIT)]


# --------------------------------------------------------------------------------------------------- floods


def test_twenty_thousand_fall_silent_at_once() -> None:
    """All are told, in the order of their deadlines, some at each tick, and all return."""
    n = 20_000
    rows = np.concatenate([said(0)] * n)
    rows["device_id"] = np.arange(n)
    rows["received_at"] += np.arange(n)[::-1]
    stage = Stage(registered(n), MACHINES)
    later = [run(stage, batch(rows)), *(run(stage, batch(now=LIMIT + tick)) for tick in range(1, 12))]
    assert [len(found) for found in later] == [0] + [PER_TICK] * (n // PER_TICK) + [0]
    assert [each.device_id for found in later for each in found] == list(range(n))[::-1]
    assert [each.at for found in later for each in found] == [moment(LIMIT) + i for i in range(n)]
    rows["received_at"] += 2 * round(LIMIT * 1e6)
    assert len(run(stage, batch(rows))) == n
    assert run(stage, batch(now=LIMIT * 2 + 1)) == []


def test_one_device_floods() -> None:
    """Two thousand words within a second, and then silence."""
    rows: list[Any] = [said(n / 2000) for n in range(2000)]
    stage = Stage(registered(4), {"silence": SILENCE | {"learn": True}})
    found = run(stage, batch(*rows), batch(now=200))
    assert brief(found) == [silent(1999 / 2000 + 180)]


def test_the_rule_can_be_taken_away() -> None:
    """Whatever it holds is cleared then."""
    stage = Stage(registered(4), MACHINES)
    run(stage, batch(said(0), said(1, 2)), batch(now=LIMIT + 5))
    assert brief(stage.without_machines(9999)) == [heard(9999), heard(9999, 2)]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"misses": 0},
        {"misses": 101},
        {"misses": 3, "interval": "0s"},
        {"misses": True},
        {"misses": "3"},
        {"misses": 3, "learn": "yes"},
        {"misses": 3, "interval": 600},
        {"misses": 3, "models": {"bell": "soon"}},
        {"misses": 3, "learned": True},
        {"misses": 3, "steady": "-1s"},
    ],
)
def test_wrong_settings_are_refused(entry: dict[str, Any]) -> None:
    """Missing, out of bounds, of another type, unknown."""
    with pytest.raises(ValidationError):
        Silence.read(entry, "device_silent", Severity.MEDIUM, 1)
