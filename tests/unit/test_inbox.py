"""The inbox: what waits for the line, in order, bounded in number and bytes, never across connections."""

from itertools import pairwise

from ingest.inbox import TAKEN_BYTES, Inbox, Stamp
from schemas.clock import Clock
from schemas.readings import Delivery


def delivery(size: int) -> Delivery:
    """Return a message of so many bytes."""
    return Delivery("t", b"x" * size, 1, duplicate=False, retained=False, received_at=1)


def test_messages_are_taken_in_order_and_at_most_so_many() -> None:
    """The oldest come first, and the inbox counts what is left."""
    inbox = Inbox()
    for size in (1, 2, 3):
        inbox.put(7, [delivery(size)])
    connection, taken = inbox.take(2)
    assert (connection, [len(each.payload) for each in taken]) == (7, [1, 2])
    assert (inbox.count, inbox.bytes > 3) == (1, True)


def test_a_batch_is_of_one_connection() -> None:
    """Packet ids of two connections never meet in one batch."""
    inbox = Inbox()
    for connection in (1, 1, 2):
        inbox.put(connection, [delivery(1)])
    assert [(number, len(taken)) for number, taken in (inbox.take(10), inbox.take(10))] == [(1, 2), (2, 1)]
    assert (inbox.count, inbox.bytes) == (0, 0)


def test_a_batch_is_bounded_in_bytes_and_never_empty() -> None:
    """One huge message is a batch of its own; many large ones do not come all at once."""
    inbox = Inbox()
    for size in (TAKEN_BYTES * 3, TAKEN_BYTES // 2, TAKEN_BYTES // 2, 10):
        inbox.put(1, [delivery(size)])
    assert [len(inbox.take(100)[1]) for _ in range(3)] == [1, 2, 1]


def test_no_two_messages_bear_the_same_time_of_receipt() -> None:
    """Also when the clock stands still or goes back, each message is later than the one before."""
    stamp = Stamp(Clock(origin=0, start=0, speed=1e-9))
    moments = [stamp.next() for _ in range(1000)]
    assert all(later > earlier for earlier, later in pairwise(moments))
