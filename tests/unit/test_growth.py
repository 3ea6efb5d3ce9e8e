"""Arithmetic of the history's growth: widths of chunks, gaps between them, rates, days left."""

import itertools
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.growth import (
    INDEX_BYTES,
    WEEK,
    Mark,
    choose_width,
    days_left,
    floor,
    gaps,
    growth_a_day,
    rows_a_day,
)

DAY = timedelta(days=1)
MB = 1024**2
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ORIGIN = datetime(2026, 2, 26, tzinfo=UTC)  # a Thursday, as 1970 began: weeks do so as well


@pytest.mark.parametrize(
    ("rows", "kept_days", "shared_buffers", "width"),
    [
        (0, 90, 128 * MB, WEEK),  # nobody there yet
        (10_000, 90, 128 * MB, WEEK),
        (14_400_000, 90, 128 * MB, DAY),  # 100,000 devices, a beat each ten minutes: not even a day fits
        (14_400_000, 90, 16_384 * MB, DAY),
        (14_400_000, 90, 32_768 * MB, WEEK),
        (14_400_000, 401, 128 * MB, WEEK),  # a day each would make too many chunks
        (14_400_000, 400, 128 * MB, DAY),
    ],
)
def test_the_active_index_gets_a_quarter_of_the_memory(
    rows: int, kept_days: int, shared_buffers: int, width: timedelta
) -> None:
    """The widest chunk whose indexes fit is chosen, else the narrowest that does not make too many chunks."""
    assert choose_width(rows, kept_days, shared_buffers) == width


def test_a_week_that_just_fits_is_a_week() -> None:
    """One row a day more than fits into a quarter, and it is a day."""
    rows = 1_000_000
    exactly = 4 * 7 * rows * INDEX_BYTES
    assert choose_width(rows, 90, exactly) == WEEK
    assert choose_width(rows + 1, 90, exactly) == DAY


def test_pieces_of_time_are_counted_from_1970() -> None:
    """A week begins on a Thursday at midnight UTC, a day at midnight; before 1970 as well."""
    assert floor(NOW, WEEK) == ORIGIN
    assert floor(NOW, DAY) == datetime(2026, 3, 1, tzinfo=UTC)
    assert floor(datetime(1969, 12, 31, 5, tzinfo=UTC), WEEK) == datetime(1969, 12, 25, tzinfo=UTC)


_PIECES = st.lists(st.sampled_from([1, 1, 2, 7]), max_size=12)


@given(
    _PIECES,
    st.sets(st.integers(0, 11)),
    st.integers(-10, 40),
    st.integers(0, 40),
    st.sampled_from([WEEK, DAY]),
)
def test_gaps_fill_what_is_missing_and_nothing_else(
    lengths: list[int], left_out: set[int], start: int, length: int, width: timedelta
) -> None:
    """With what stands they cover the range, overlap nothing, and are cut at the width."""
    covered, day = [], 0
    for number, each in enumerate(lengths):
        if number not in left_out:
            covered.append((ORIGIN + day * DAY, ORIGIN + (day + each) * DAY))
        day += each
    begins, ends = ORIGIN + start * DAY, ORIGIN + (start + length) * DAY

    found = list(gaps(reversed(covered), begins, ends, width))

    pieces = sorted(covered + found)
    for one, other in itertools.pairwise(pieces):
        assert one[1] <= other[0]
    for piece_begins, piece_ends in found:
        assert piece_begins < piece_ends
        assert floor(piece_begins, width) == floor(piece_ends - timedelta(microseconds=1), width)
    for number in range(length):
        moment = begins + number * DAY
        assert any(one <= moment < other for one, other in pieces)
    assert list(gaps(pieces, begins, ends, width)) == []


def _mark(hours: float, *, vitals: int = 0, bytes_: int = 0, until: bool = True) -> Mark:
    at = NOW + timedelta(hours=hours)
    return Mark(at, at if until else None, {"vitals": vitals, "events": 5}, bytes_)


def test_rows_a_day_are_what_came_between_the_marks() -> None:
    """240 rows in 12 hours are 480 a day; what was there before the first mark does not count."""
    marks = [_mark(-1, until=False), _mark(0, vitals=1000), _mark(7, vitals=1010), _mark(12, vitals=1240)]
    assert rows_a_day(marks) == {"vitals": 480.0, "events": 0.0}


def test_a_table_that_came_later_counts_from_nothing() -> None:
    """A table that the first mark does not know had no rows then."""
    first = Mark(NOW, NOW, {}, 0)
    assert rows_a_day([first, _mark(24, vitals=10)]) == {"vitals": 10.0, "events": 5.0}


@pytest.mark.parametrize(
    "marks", [[], [_mark(0)], [_mark(0), _mark(0.9)], [_mark(0, until=False), _mark(9, until=False)]]
)
def test_rows_a_day_are_unknown_at_first(marks: list[Mark]) -> None:
    """Less than an hour between the marks says nothing about a day."""
    assert rows_a_day(marks) is None


def test_growth_is_unknown_before_a_day_has_passed() -> None:
    """Then it is the difference of the sizes over the days, and may be negative."""
    assert growth_a_day([]) is None
    assert growth_a_day([_mark(0, bytes_=100), _mark(23, bytes_=200)]) is None
    assert growth_a_day([_mark(0, bytes_=100), _mark(9, bytes_=900), _mark(48, bytes_=300)]) == 100.0
    assert growth_a_day([_mark(0, bytes_=300), _mark(48, bytes_=100)]) == -100.0


def test_days_left() -> None:
    """Free bytes over bytes a day; unknown where one of them is; without end where nothing grows."""
    assert days_left(1000, 10.0) == 100.0
    assert days_left(None, 10.0) is None
    assert days_left(1000, None) is None
    assert days_left(1000, 0.0) == math.inf
    assert days_left(1000, -5.0) == math.inf
