"""Which piece of the engine's state is written when: the oldest first, few at once, all when asked."""

import math
from collections.abc import Iterable

import pytest

from store.checkpoints import AT_ONCE, Checkpoints


class Numbered:
    """A state whose pieces are their own numbers."""

    def __init__(self, pieces: int) -> None:
        """Start with so many."""
        self.pieces = pieces

    def checkpoint(self, piece: int) -> bytes:
        """Return the piece's number."""
        return b"%d" % piece

    @staticmethod
    def pieces_of(device_ids: Iterable[int]) -> set[int]:
        """Return a piece for each device."""
        return set(device_ids)


def written(checkpoints: Checkpoints, batch: int) -> list[int]:
    """Write what is due after a batch; return which pieces."""
    due = checkpoints.due(batch)
    assert due == {piece: b"%d" % piece for piece in due}
    checkpoints.written(due, batch)
    return list(due)


def test_few_pieces_are_written_at_once_and_each_has_its_turn() -> None:
    """An SOS waits for the transaction, so it bears two pieces at most; none is left behind."""
    checkpoints = Checkpoints(Numbered(5), every=0.0)
    assert written(checkpoints, 0) == [], "nothing has happened yet"
    turns = [written(checkpoints, batch) for batch in (1, 1, 1, 1)]
    assert turns == [[0, 1], [2, 3], [4], []]
    assert max(map(len, turns)) == AT_ONCE
    assert checkpoints.oldest == 1
    assert [written(checkpoints, batch) for batch in (2, 3, 4)] == [[0, 1], [2, 3], [0, 4]]


def test_nothing_is_due_before_the_interval_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are as old as the interval, and then they are due."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    checkpoints = Checkpoints(Numbered(1), every=60.0)
    checkpoints.restored([0], behind=())
    assert written(checkpoints, 1) == []
    clock[0] = 60.0
    assert written(checkpoints, 2) == [0]
    assert written(checkpoints, 3) == []
    assert checkpoints.oldest == 2


def test_all_pieces_come_at_once_when_they_must() -> None:
    """Where the batches do not tell the whole state, the next transaction brings all of it, once."""
    checkpoints = Checkpoints(Numbered(5), every=math.inf)
    checkpoints.soon()
    assert written(checkpoints, 7) == [0, 1, 2, 3, 4]
    assert checkpoints.oldest == 7
    assert written(checkpoints, 8) == []


def test_pieces_of_new_devices_begin_with_the_batch_before_them() -> None:
    """What was committed before they were there need not be replayed for them."""
    state = Numbered(1)
    checkpoints = Checkpoints(state, every=math.inf)
    checkpoints.restored([3], behind=())
    state.pieces = 2
    assert written(checkpoints, 9) == []
    assert checkpoints.oldest == 3
    checkpoints.written({0: b""}, 12)
    assert checkpoints.oldest == 9
    assert written(checkpoints, 12) == [1], "what was never written is behind"


def test_pieces_that_a_restore_found_behind_come_first() -> None:
    """They are written with the next commits, not after the interval."""
    checkpoints = Checkpoints(Numbered(3), every=math.inf)
    checkpoints.restored([3, 3, 3], behind={1})
    assert written(checkpoints, 4) == [1]


def test_pieces_that_are_wanted_come_with_the_next_commit() -> None:
    """What no batch tells of some devices is written at once, with as few others as ever."""
    checkpoints = Checkpoints(Numbered(5), every=86_400)
    checkpoints.restored([0] * 5, behind=())
    checkpoints.soon_for([3, 1])
    assert checkpoints.wanted == {1, 3}
    assert written(checkpoints, 1) == [1, 3]
    assert (checkpoints.wanted, written(checkpoints, 2)) == (set(), [])
