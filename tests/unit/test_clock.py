"""The clock: real time, or a time that runs at its own speed; moments are exact to the microsecond."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.clock import SECOND, Clock, to_datetime, to_microseconds


def test_the_default_is_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock without settings shows the machine's time."""
    monkeypatch.setattr(time, "time", lambda: 1_790_000_000.5)
    assert Clock().is_real
    assert Clock().now() == 1_790_000_000_500_000


def test_a_clock_starts_and_runs_as_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its origin it shows its start, ten real seconds later ten minutes more at speed 60."""
    clock = Clock(origin=1000.0, start=1_790_000_000.0, speed=60.0)
    assert not clock.is_real
    for later, shown in ((0, 0), (10, 600), (-1, -60)):
        monkeypatch.setattr(time, "time", lambda later=later: 1000.0 + later)
        assert clock.now() == (1_790_000_000 + shown) * SECOND


def test_waiting_is_in_real_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """At speed 60 a minute of the clock is a second, and what has passed is negative."""
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    clock = Clock(origin=1000.0, start=5000.0, speed=60.0)
    assert clock.seconds_until(5060 * SECOND) == 1.0
    assert clock.seconds_until(4940 * SECOND) == -1.0


@pytest.mark.parametrize("clock", [Clock(speed=2.0), Clock(origin=5.0), Clock(start=5.0)])
def test_a_clock_that_was_set_is_not_real(clock: Clock) -> None:
    """`serve` refuses each of them."""
    assert not clock.is_real


@given(st.integers(-(10**15), 10**17))
def test_a_moment_survives_the_way_there_and_back(moment: int) -> None:
    """Microseconds to datetime and back lose nothing."""
    assert to_microseconds(to_datetime(moment)) == moment


def test_a_datetime_of_any_zone_is_the_same_moment() -> None:
    """Shanghai's eight o'clock is midnight in UTC."""
    eight = datetime(2026, 9, 21, 8, tzinfo=timezone(timedelta(hours=8)))
    assert to_microseconds(eight) == to_microseconds(datetime(2026, 9, 21, tzinfo=UTC))
    assert to_datetime(0) == datetime(1970, 1, 1, tzinfo=UTC)
