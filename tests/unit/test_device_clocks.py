"""Clocks of devices that are wrong by whole hours: how times are moved, and what makes it sure."""

import numpy as np

from ingest.clocks import APART, LEAST, SPAN, Clocks, judge
from schemas.clock import SECOND
from schemas.readings import ABSENT, Columns, Quality
from tests.unit.kit import reading

HOUR = 3600.0
EVERY = 720.0
"""Seconds between two messages: six of them span an hour."""


def said(*hours: float, at: float = 0, device: int = 1, message: int = 0) -> Columns:
    """Return a message received at a moment, whose readings bear times that are ahead by so many hours."""
    rows = np.concatenate([reading(device, at) for _ in hours])
    rows["message"] = message
    rows["ts_sent"] = (
        rows["received_at"] + np.round(np.array(hours) * HOUR * SECOND).astype(np.int64)
    ) // 1000
    return rows


def moved(rows: Columns, known: int = 0) -> list[int]:
    """Return by how many hours each time is moved."""
    found, _ = judge(rows, {1: known} if known else {})
    return [0] * len(rows) if found is None else found.tolist()


def test_a_message_is_moved_as_a_whole() -> None:
    """By the hours that its newest time lies ahead; what was measured before it stays before it."""
    assert moved(said(8.0)) == [8]
    assert moved(said(8.02, 7.0, 6.5, -3.0)) == [8] * 4
    assert moved(said(0.0, -8.0)) == [0, 0]
    assert moved(said(7.5)) == [0]
    assert moved(said(-8.0)) == [0]
    assert moved(np.concatenate([said(8.0), said(0.01, device=2), said(3.0, message=1)])) == [8, 0, 3]


def test_a_known_clock_is_corrected_once() -> None:
    """Never into the future, and never again what has been set right."""
    assert moved(said(-8.0), known=-8) == [-8]
    assert moved(said(-9.0, -10.0), known=-8) == [-8, -8]
    assert moved(said(0.0), known=-8) == [0]
    assert moved(said(-1.0, -2.0, -7.0), known=-8) == [0, 0, 0]
    assert moved(said(6.0, 2.0), known=8) == [8, 8]
    assert moved(said(9.0), known=8) == [9]


def see(
    clocks: Clocks, hours: list[float], *, known: int = 0, every: float = EVERY, quality: Quality = Quality.OK
) -> dict[int, int]:
    """Let a device send messages whose time is ahead by so many hours; return what is sure after them."""
    found: dict[int, int] = {}
    for count, ahead in enumerate(hours):
        row = said(ahead, at=count * every)
        row["quality"] = quality
        knows = {1: known} if known else {}
        clocks.note(judge(row, knows)[1], knows)
        found |= clocks.take()
    return found


def test_a_clock_that_is_wrong_by_the_same_hours_for_long_is_sure() -> None:
    """Six messages over an hour, behind or ahead."""
    assert see(Clocks(), [-8.0] * 6) == {1: -8}
    assert see(Clocks(), [8.01] * 6) == {1: 8}
    assert (LEAST, SPAN, APART) == (6, HOUR * SECOND, HOUR * SECOND)


def test_less_is_not_sure() -> None:
    """Not fewer messages, a burst, a growing delay, one message a day, what is right now and then."""
    assert see(Clocks(), [-8.0] * 5) == {}
    assert see(Clocks(), [-8.0] * 50, every=1) == {}
    assert see(Clocks(), [-8.0 + n / 12 for n in range(12)]) == {}
    assert see(Clocks(), [-8.0] * 30, every=24 * HOUR) == {}
    assert see(Clocks(), [-8.0, -8.0, -8.0, 0.0, -8.0, -8.0, -8.0]) == {}
    assert see(Clocks(), [-8.5] * 9) == {}
    assert see(Clocks(), [-20.0] * 9) == {}
    assert see(Clocks(), [-8.0] * 9, quality=Quality.LATE) == {}


def test_what_was_stored_for_a_while_says_nothing() -> None:
    """Between messages with the wrong clock come some that were measured earlier."""
    assert see(Clocks(), [-8.0, -8.0, -9.4, -8.0, -12.7, -8.0, -8.0, -8.0]) == {1: -8}


def test_what_is_known_is_not_found_again() -> None:
    """A clock that was set right is found to be so."""
    assert see(Clocks(), [-8.0] * 9, known=-8) == {}
    assert see(Clocks(), [0.0] * 6, known=-8) == {1: 0}


def test_messages_without_time_say_nothing() -> None:
    """Neither for nor against."""
    clocks = Clocks()
    for count in range(12):
        row = said(-8.0, at=count * EVERY)
        if count % 2:
            row["ts_sent"] = ABSENT
        clocks.note(judge(row, {})[1], {})
    assert clocks.take() == {1: -8}
