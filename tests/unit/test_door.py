"""The door before the desk: who knocks too often waits, nobody else does, and the memory has a bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duty.door import Door, TooManyError, neighbourhood


class Hand:
    """A clock that a test sets by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return its time, in seconds."""
        return self.now


@pytest.fixture
def hand() -> Hand:
    """Give a clock."""
    return Hand()


def test_a_burst_passes_and_then_it_trickles(hand: Hand) -> None:
    """So many pass at once; the next one is told when it may, and passes then."""
    door = Door(rate=2, burst=3, now=hand)
    assert [door.enter("a") for _ in range(3)] == [0, 0, 0]
    assert door.enter("a") == pytest.approx(0.5)
    assert door.enter("a") == pytest.approx(0.5), "a try in vain costs nothing"
    hand.now += 0.5
    assert door.enter("a") == 0
    assert door.enter("a") > 0


def test_nobody_waits_for_somebody_else(hand: Hand) -> None:
    """Names are counted apart."""
    door = Door(rate=1, burst=1, now=hand)
    assert door.enter("a") == 0
    assert door.enter("a") > 0
    assert door.enter("b") == 0


def test_what_is_given_back_can_be_taken_again(hand: Hand) -> None:
    """Who turns out to be known has knocked for nothing; nobody saves up more than a burst."""
    door = Door(rate=1, burst=1, now=hand)
    door.enter("a")
    door.give_back("a")
    door.give_back("a")
    assert door.enter("a") == 0
    assert door.enter("a") > 0


def test_a_changed_burst_counts_at_once(hand: Hand) -> None:
    """A test, or an operator's tool, can open the door wider while it stands."""
    door = Door(rate=1, burst=1, now=hand)
    door.enter("a")
    assert door.enter("a") > 0
    door.burst = 3
    assert [door.enter("a") > 0 for _ in range(3)] == [False, False, True]


def test_the_memory_has_a_bound(hand: Hand) -> None:
    """Who has not knocked for longest is forgotten; a flood of names never forgets who keeps knocking."""
    door = Door(rate=0.001, burst=2, kept=100, now=hand)
    door.enter("a")
    door.enter("a")
    for number in range(100_000):
        hand.now += 0.000_1
        door.enter(number)
        if number % 50 == 0:
            assert door.enter("a") > 0, "it is kept, for it is asked for"
    assert len(door) == 100


@given(st.lists(st.floats(0, 10), max_size=60), st.floats(0.1, 5), st.integers(1, 5))
def test_never_more_than_burst_and_rate(pauses: list[float], rate: float, burst: int) -> None:
    """Whatever the pauses, in any span no more pass than a burst and what the rate allows."""
    hand = Hand()
    door = Door(rate, burst, now=hand)
    passed = []
    for pause in pauses:
        hand.now += pause
        if door.enter("a") == 0:
            passed.append(hand.now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            span = passed[last] - passed[first]
            assert last - first + 1 <= burst + rate * span + 1e-6


@given(st.integers(0, 100), st.floats(0.1, 50))
def test_who_waits_as_told_comes_in(knocks: int, rate: float) -> None:
    """The wait that a refusal names is enough."""
    hand = Hand()
    door = Door(rate, 3, now=hand)
    for _ in range(knocks):
        if wait := door.enter("a"):
            hand.now += TooManyError("requests", wait).wait
            assert door.enter("a") == 0


def test_addresses_of_one_subscriber_count_as_one() -> None:
    """An IPv6 subscriber cannot pass by changing the address within its own net."""
    assert neighbourhood("10.1.2.3") == "10.1.2.3"
    assert neighbourhood("2001:db8:1:2:3::4") == neighbourhood("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert neighbourhood("2001:db8:1:3::4") != neighbourhood("2001:db8:1:2::4")
    assert neighbourhood("") == neighbourhood("x" * 1000) == ""


def test_a_refusal_names_whole_seconds() -> None:
    """Retry-After is a whole number, and never nothing."""
    assert TooManyError("requests", 0.01).wait == 1
    assert TooManyError("requests", 4.2).wait == 5
    assert "5 s" in str(TooManyError("requests", 4.2))
