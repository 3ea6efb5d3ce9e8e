"""What befalls messages on their way: failed and doubled sends, dead spots, towers that are down."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_sims.knobs import Knobs
from device_sims.links import Link, Span, Way
from device_sims.message import Message
from device_sims.people import DAY, HOUR, MINUTE, midnight
from schemas.clock import SECOND

TODAY = midnight(20_700)
END = TODAY + 2 * DAY


def way(seed: int = 1, outages: tuple[Span, ...] = (), **knobs: object) -> Way:
    """Return the way of a device over a link that is perfect but for these knobs."""
    wanted = Knobs.gentle(**knobs)
    rng = random.Random(seed)
    return Way(rng, wanted, Link(rng, wanted, outages))


def messages(count: int = 2000, *, call: str = "", sure: bool = False) -> list[Message]:
    """Return messages, one a minute."""
    return [Message(TODAY + n * MINUTE, "t", b"%d" % n, call=call, sure=sure) for n in range(count)]


def test_a_perfect_link_changes_nothing() -> None:
    """Each message is sent once, at its time."""
    sent = list(way().send(messages(), END))
    assert [(each.at, each.copy, each.message.payload) for each in sent] == [
        (each.at, 0, each.payload) for each in messages()
    ]


@pytest.mark.parametrize(("share", "least", "most"), [(0, 0, 0), (0.1, 140, 260), (1, 2000, 2000)])
def test_duplicates_are_sent_again_with_the_same_bytes(share: float, least: int, most: int) -> None:
    """So many messages go out a second time, a little later."""
    sent = list(way(duplicates=share).send(messages(), END))
    copies = [each for each in sent if each.copy]
    assert least <= len(copies) <= most
    assert len(sent) == 2000 + len(copies)
    assert all(0 < each.at - each.message.at <= 90 * SECOND for each in copies)


@pytest.mark.parametrize(("share", "least", "most"), [(0, 0, 0), (0.1, 140, 260), (1, 2000, 2000)])
def test_what_is_dropped_is_never_sent_but_for_calls(share: float, least: int, most: int) -> None:
    """Telemetry may be given up; calls, and what must follow them, are not."""
    assert least <= 2000 - len(list(way(dropped=share).send(messages(), END))) <= most
    for kept in (messages(call="sos"), messages(sure=True)):
        assert len(list(way(dropped=share).send(kept, END))) == 2000


def test_what_fails_is_tried_again_and_overtaken() -> None:
    """A failed send comes within a minute and a half, so that later ones go before it."""
    sent = list(way(sends_fail=(0.5, 0.5)).send(messages(), END))
    late = [each for each in sent if each.at > each.message.at]
    assert 850 < len(late) < 1150
    assert max(each.at - each.message.at for each in late) < 90 * SECOND
    order = [int(each.message.payload) for each in sent]
    assert sorted(order) == list(range(2000))
    assert order != sorted(order)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_publishes_come_in_order_of_their_times(seed: int) -> None:
    """Whatever befalls messages, the stream of a device goes forward in time."""
    bad = way(seed, (Span(TODAY + HOUR, TODAY + 3 * HOUR),), sends_fail=(0, 1), duplicates=0.5, dropped=0.2)
    times = [each.at for each in bad.send(messages(300), END)]
    assert times == sorted(times)


def test_nothing_is_sent_while_the_tower_is_down() -> None:
    """What would be tried then is tried when the tower is back."""
    down = Span(TODAY + HOUR, TODAY + 3 * HOUR)
    sent = list(way(outages=(down,), sends_fail=(1, 1)).send(messages(300), END))
    assert len(sent) == 300
    assert not [each for each in sent if down.begin <= each.at < down.end]
    assert [each.at for each in sent].count(down.end) >= 119


def test_dead_spots_are_as_many_and_as_long_as_they_are_said_to_be() -> None:
    """Thirty a month are one a day, each within its hours; those that touch are one; none means none."""
    knobs = Knobs.gentle(dead_spots=(30, 30), dead_spot_hours=(0.5, 2))
    link = Link(random.Random(3), knobs, ())
    back = [each for n in range(300) for each in link.begin_day(TODAY + n * DAY, TODAY + (n + 1) * DAY)]
    assert 240 <= len(back) <= 340
    assert back == sorted(set(back))
    none = Link(random.Random(3), Knobs.gentle(), ())
    assert [each for n in range(30) for each in none.begin_day(TODAY + n * DAY, TODAY + (n + 1) * DAY)] == []


def test_spans_that_touch_are_one() -> None:
    """The link is back when the last of them is over."""
    spans = [Span(TODAY + 2, TODAY + 5), Span(TODAY, TODAY + 3), Span(TODAY + 5, TODAY + 9)]
    link = Link(random.Random(3), Knobs.gentle(), spans)
    assert link.begin_day(TODAY, TODAY + DAY) == [TODAY + 9]
    assert (link.back_at(TODAY - 1), link.back_at(TODAY), link.back_at(TODAY + 9)) == (
        TODAY - 1,
        TODAY + 9,
        TODAY + 9,
    )
