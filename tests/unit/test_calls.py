"""Calls for help that are not stored: what is one, and what is announced when, without a broker."""

import json

import pytest

from ingest.announce import _topic
from ingest.calls import AFTER, REPEAT, SHOWN, Call, Calls
from schemas.messages import Unstored
from schemas.readings import Delivery
from schemas.topics import URGENT_FILTERS, Lane, unstored
from tests.unit.kit import START, delivery, moment

LATE = AFTER
"""Seconds after the first look at which a call is first announced."""


def seen(*deliveries: Delivery, lane: Lane = Lane.URGENT) -> Calls:
    """Return the calls after a look at these messages at 0 s, the oldest given first."""
    calls = Calls()
    calls.look(lane, reversed(deliveries), 0.0)
    return calls


def presses(count: int) -> list[Delivery]:
    """Return so many presses of so many devices."""
    topic = "carebell/v1/430602/BELL-{}/sos"
    return [delivery(topic.format(n), at=n, packet_id=n + 1) for n in range(count)]


def said(calls: Calls, now: float, most: int = 20) -> list[str]:
    """Announce what is due, as the announcer does, and return which devices in which state."""
    found = calls.due(now, most)
    for call in found:
        call.told_at = now
        call.is_over = call.stored_at is not None
    return [f"{call.message(now).device} {call.message(now).state}" for call in found]


def test_a_call_is_announced_after_two_seconds_and_every_ten() -> None:
    """Not before, not in between, and without an end while it waits."""
    calls = seen(*presses(1))
    assert [now for now in (0.0, 1.9, 2.0, 2.2, 11.9, 12.0, 21.9, 22.0) if said(calls, now)] == [
        2.0,
        12.0,
        22.0,
    ]


def test_what_is_stored_in_time_is_never_spoken_of() -> None:
    """Neither as waiting nor as stored."""
    calls = seen(*(press := presses(1)))
    calls.stored(press, 1.0)
    assert not [now for now in range(60) if said(calls, now)]
    assert calls.overdue(60) == []


def test_what_was_announced_is_said_to_be_stored_once() -> None:
    """The end is told one time, and nothing is repeated after it."""
    calls = seen(*(press := presses(1)))
    assert said(calls, LATE) == ["BELL-0 unstored"]
    calls.stored(press, 5.0)
    assert said(calls, 5.0) == ["BELL-0 stored"]
    assert not [now for now in range(6, 60) if said(calls, now)]


def test_news_goes_first_and_repeats_take_turns() -> None:
    """With more than can be said at once, the oldest are told first, each once before any is told again."""
    calls = seen(*presses(30))
    rounds = [said(calls, now, most=20) for now in (LATE, LATE + 1, LATE + REPEAT, LATE + REPEAT + 1)]
    assert [len(each) for each in rounds] == [20, 10, 20, 10]
    assert [word for each in rounds for word in each] == [f"BELL-{n} unstored" for n in range(30)] * 2


def test_what_was_stored_goes_before_what_is_repeated() -> None:
    """That a call is dealt with is news; that another still waits is not."""
    calls = seen(*(all_of := presses(3)))
    said(calls, LATE)
    calls.stored(all_of[:1], 4.0)
    assert said(calls, LATE + REPEAT, most=2) == ["BELL-0 stored", "BELL-1 unstored"]


def test_each_message_is_looked_at_once() -> None:
    """A look ends at the newest message of the last one: a long backlog costs nothing twice."""
    all_of, looked = presses(5), []

    def newest_first(upto: int) -> list[Delivery]:
        return all_of[:upto][::-1]

    calls = Calls()
    for upto in (3, 3, 5):
        turns = iter(newest_first(upto))
        calls.look(Lane.URGENT, turns, 0.0)
        looked.append(upto - len(list(turns)))
    assert looked == [3, 1, 3]  # the message at which it ends is read too
    assert len(calls.overdue(LATE)) == 5


def test_what_the_broker_sends_again_is_the_same_call() -> None:
    """On a new connection each waiting message comes once more, and is announced as what it was."""
    first = delivery("sos", packet_id=7)
    again = first._replace(duplicate=True, received_at=moment(60))
    calls = seen(first)
    assert said(calls, LATE) == ["BELL-1 unstored"]
    calls.look(Lane.URGENT, [again, first], 3.0)
    assert said(calls, 6.0) == []
    (call,) = calls.overdue(6.0)
    assert call.delivery.received_at == START


def test_two_presses_are_two_calls() -> None:
    """The same payload of the same device in another packet is another call, and so is each at QoS 0."""
    calls = seen(*(delivery("sos", packet_id=n, at=at) for at, n in enumerate((1, 2, 0, 0))))
    assert len(calls.overdue(LATE)) == 4


@pytest.mark.parametrize(
    ("lane", "topic", "is_call"),
    [
        (Lane.URGENT, "carebell/v1/430602/BELL-1/sos", True),
        (Lane.URGENT, "carebell/v1/430602/BELL-1/fall", True),
        (Lane.URGENT, "carebell/v1/yueyang/铃/sos", True),
        (Lane.URGENT, "carebell/v1/430602/BELL-1/event", False),
        (Lane.TELEMETRY, "carebell/v1/430602/BELL-1/sos", False),
        (Lane.TELEMETRY, "carebell/v1/430602/BELL-1/extra/sos", True),
        (Lane.TELEMETRY, "carebell/v1/430602/BELL-1/SOS/", True),
        (Lane.TELEMETRY, "carebell/v1/430602/BELL-1/ fall ", True),
        (Lane.TELEMETRY, "carebell/v1/430602/BELL-1/vitals", False),
        (Lane.TELEMETRY, "carebell/v1/430602/BELL-1/heartbeat", False),
        (Lane.TELEMETRY, "carebell/v1/sos", True),
    ],
)
def test_calls_are_told_from_the_rest(lane: Lane, topic: str, *, is_call: bool) -> None:
    """Whatever ends as a life alarm's topic does, on the lane on which it alone arrives; nothing else."""
    assert bool(seen(delivery(topic), lane=lane).overdue(LATE)) is is_call


@pytest.mark.parametrize(
    ("topic", "announced", "device", "region"),
    [
        ("carebell/v1/430602/BELL-1/sos", "carebell/unstored/v1/430602/BELL-1/sos", "BELL-1", "430602"),
        ("carebell/v1/yueyang/BELL-1/sos", "carebell/unstored/v1/unknown/BELL-1/sos", "BELL-1", None),
        ("carebell/v1/430602/铃 1/sos", "carebell/unstored/v1/unknown/unknown/sos", "?", None),
        ("carebell/v1/a/b/c/d/FALL/", "carebell/unstored/v1/unknown/unknown/fall", "?", None),
    ],
)
def test_a_malformed_topic_is_announced_on_a_safe_one(
    topic: str, announced: str, device: str, region: str | None
) -> None:
    """What cannot be read is not in the topic, and the whole topic is in the message."""
    message = Call(delivery(topic), 0.0).message(2.5)
    assert _topic(message) == announced
    assert message.device.startswith(device)
    assert (message.region, message.topic, message.waiting) == (region, topic, 2.5)


def test_no_announcement_comes_back_as_a_message_of_a_device() -> None:
    """The topics of announcements lie outside what the bridge subscribes to."""
    assert not unstored("430602", "BELL-1", "sos").startswith(URGENT_FILTERS[0].split("+", maxsplit=1)[0])


@pytest.mark.parametrize(
    ("channel", "payload", "event"),
    [
        ("sos", b"{}", "sos"),
        ("sos", b"help", None),
        ("sos", b"", None),
        ("sos", b"\xff\x00", None),
        ("sos", b'{"source":"' + b" " * 200_000 + b'"}', None),
        ("fall", b"{}", "fall_detected"),
        ("fall", b'{"phase":"cancelled"}', "fall_cancelled"),
    ],
)
def test_an_announcement_says_what_happened_if_it_can(
    channel: str, payload: bytes, event: str | None
) -> None:
    """A payload that cannot be read is shown, in part if it is long, and announced all the same."""
    message = Call(delivery(channel, payload), 0.0).message(2.0)
    assert message.event == event
    assert len(message.payload) <= SHOWN
    assert message.payload == payload.decode(errors="replace")[:SHOWN]
    said = message.model_dump_json(exclude_none=True)
    assert Unstored.model_validate_json(said) == message
    assert ("event" in json.loads(said)) is (event is not None)
