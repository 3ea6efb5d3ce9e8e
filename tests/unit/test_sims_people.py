"""People have days that follow from the seed, bodies that answer, batteries that go down."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_sims.families.power import Battery
from device_sims.knobs import Knobs
from device_sims.people import DAY, HOUR, MINUTE, Body, Doing, Person, day_of, midnight, times

TODAY = 20_700


def somebody(seed: int = 1, **knobs: object) -> Person:
    """Return a person."""
    return Person("7", Knobs.model_validate(knobs), seed)


def test_a_day_is_the_same_whether_or_not_the_days_before_were_lived() -> None:
    """The seed alone decides a day."""
    lived, asked = somebody(falls=100), somebody(falls=100)
    for number in range(TODAY - 5, TODAY):
        lived.day(number)
    assert lived.day(TODAY) == asked.day(TODAY)
    assert lived.day(TODAY) != somebody(seed=2, falls=100).day(TODAY)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), number=st.integers(TODAY, TODAY + 400))
def test_a_day_is_whole(seed: int, number: int) -> None:
    """From midnight to midnight something is done, in order; at three at night people are in bed."""
    day = somebody(seed, falls=200).day(number)
    stretches = list(day.stretches())
    assert (stretches[0][0], stretches[-1][1]) == (midnight(number), midnight(number + 1))
    assert all(begin <= end for begin, end, _ in stretches)
    assert day.doing(day.begin + 3 * HOUR) in (Doing.SLEEP, Doing.TOILET)
    assert day_of(day.begin) == number
    assert day_of(day.begin - 1) == number - 1


def test_people_do_everything() -> None:
    """Over some weeks people sleep, sit, eat, walk, bathe, go out; and nobody falls who never does."""
    person = somebody(falls=0)
    done = {doing for n in range(60) for _, _, doing in person.day(TODAY + n).stretches()}
    assert done == set(Doing) - {Doing.LIE}


def test_who_falls_lies_for_a_while() -> None:
    """After a fall nothing else is done until somebody has come."""
    person = somebody(falls=2000)
    day = next(day for day in map(person.day, range(TODAY, TODAY + 9)) if len(day.falls) == 1)
    (fall,) = day.falls
    assert day.doing(fall - 1) is not Doing.LIE
    assert {day.doing(fall + n * MINUTE) for n in range(12)} == {Doing.LIE}
    assert {day.doing(fall + HOUR * 2)} != {Doing.LIE}


def test_pulses_are_those_of_what_is_done() -> None:
    """Walking raises the pulse above sitting, sleeping lowers it, heat adds to it; it stays possible."""
    body = Body(somebody(), random.Random(1))
    means = {doing: sum(body.pulse(doing, 0) for _ in range(300)) / 300 for doing in Doing}
    assert means[Doing.SLEEP] < means[Doing.SIT] < means[Doing.CHORES] < means[Doing.WALK]
    assert sum(body.pulse(Doing.SIT, 15) for _ in range(300)) / 300 > means[Doing.SIT] + 10
    assert all(40 <= body.pulse(doing, 40) <= 130 for doing in Doing for _ in range(100))


def test_steps_begin_anew_each_day() -> None:
    """The counter rises over a day and begins at nothing on the next one."""
    body = Body(somebody(), random.Random(1))
    first = body.steps(Doing.WALK, 30, TODAY)
    assert 2100 <= first <= 3300
    assert body.steps(Doing.SLEEP, 600, TODAY) == first
    assert body.steps(Doing.SIT, 10, TODAY + 1) <= 60


@pytest.mark.parametrize("mean", [0, 0.3, 4, 80])
def test_things_happen_as_often_as_they_do_on_average(mean: float) -> None:
    """The mean of many draws is the mean asked for, and rare things mostly do not happen."""
    rng = random.Random(5)
    drawn = [times(rng, mean) for _ in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(mean, rel=0.08, abs=0.001)
    assert Counter(drawn)[0] > 2800 or mean > 0.3


def test_a_battery_goes_down_and_is_charged() -> None:
    """It falls from full to nearly empty in its days, then lies on the charger for two hours."""
    battery = Battery(random.Random(2), 2.5)
    levels = [battery.level(TODAY * DAY + n * HOUR // 2) for n in range(48 * 10)]
    charged = [n for n in range(1, len(levels)) if levels[n] > levels[n - 1]]
    assert len(charged) in (3, 4)
    assert (min(levels) < 12, max(levels) > 98) == (True, True)
    charging = [battery.is_charging(TODAY * DAY + n * HOUR // 2) for n in range(48 * 10)]
    assert 12 <= sum(charging) <= 18
