"""The ledger: which redeliveries were stored before their acknowledgement got lost."""

import numpy as np
import pytest

from schemas.readings import RECEIPT, Columns
from store.ledger import Ledger


def receipts(*rows: tuple[int, int], duplicate: bool = True) -> Columns:
    """Return receipts of packet ids and hashes."""
    found = np.zeros(len(rows), RECEIPT)
    for place, (packet_id, crc) in enumerate(rows):
        found[place] = (packet_id, duplicate, crc)
    return found


def add(ledger: Ledger, batch: int, *rows: tuple[int, int]) -> None:
    """Commit messages."""
    taken = receipts(*rows)
    ledger.add(batch, taken["packet_id"], taken["hash"])


def found(ledger: Ledger, *rows: tuple[int, int], duplicate: bool = True) -> list[bool]:
    """Say which of these were stored before."""
    answer: list[bool] = ledger.stored_before(receipts(*rows, duplicate=duplicate)).tolist()
    return answer


def test_an_empty_ledger_knows_nothing() -> None:
    """On a fresh session every message is new, also a redelivered one."""
    ledger = Ledger(10)
    assert found(ledger, (1, 5), (65_535, 0)) == [False, False]
    assert found(ledger) == []
    assert ledger.oldest == 0


def test_a_redelivery_of_a_committed_message_is_found() -> None:
    """By packet id and hash, each on its own."""
    ledger = Ledger(10)
    add(ledger, 7, (1, 11), (65_535, 12))
    assert found(ledger, (1, 11), (65_535, 12), (2, 11), (1, 12)) == [True, True, False, False]


def test_without_dup_nothing_is_found() -> None:
    """A message that the broker sends for the first time is new, whatever its packet id was used for."""
    ledger = Ledger(10)
    add(ledger, 7, (1, 11))
    assert found(ledger, (1, 11), duplicate=False) == [False]


def test_a_message_of_qos_0_is_never_found() -> None:
    """It has no packet id, so it cannot be redelivered."""
    ledger = Ledger(10)
    add(ledger, 7, (0, 11))
    assert found(ledger, (0, 11)) == [False]


def test_a_packet_id_used_again_stands_for_the_newer_message() -> None:
    """The broker gives an id out again only after its acknowledgement."""
    ledger = Ledger(10)
    add(ledger, 7, (1, 11))
    add(ledger, 8, (1, 12))
    assert found(ledger, (1, 11), (1, 12)) == [False, True]


@pytest.mark.parametrize("in_flight", [1, 2, 3, 10])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_what_the_broker_may_still_hold_is_known_and_little_more(in_flight: int, size: int) -> None:
    """The last receive-maximum of messages are found; of what is older, at most a batch."""
    ledger = Ledger(in_flight)
    sent = [(n, n + 100) for n in range(1, 41)]
    for batch, start in enumerate(range(0, len(sent), size), 1):
        add(ledger, batch, *sent[start : start + size])
    known = found(ledger, *sent)
    assert all(known[-in_flight:])
    assert sum(known) <= in_flight + size


def test_qos_0_pushes_nothing_out() -> None:
    """The broker's receive-maximum counts QoS 1 alone, and so does the ledger."""
    ledger = Ledger(2)
    add(ledger, 1, (1, 11), (2, 12))
    add(ledger, 2, *[(0, 0)] * 100)
    assert found(ledger, (1, 11), (2, 12)) == [True, True]


def test_batches_without_messages_push_nothing_out() -> None:
    """Ticks are committed as well, and take no room."""
    ledger = Ledger(1)
    add(ledger, 1, (1, 11))
    for batch in range(2, 50):
        add(ledger, batch)
    assert found(ledger, (1, 11)) == [True]
    assert ledger.oldest == 1


def test_a_lost_session_is_forgotten() -> None:
    """After it the packet ids start anew, and what comes then is found by its own batch."""
    ledger = Ledger(10)
    add(ledger, 7, (1, 11), (2, 12))
    ledger.clear()
    assert ledger.oldest == 0
    assert found(ledger, (1, 11), (2, 12)) == [False, False]
    add(ledger, 8, (2, 12))
    assert found(ledger, (1, 11), (2, 12)) == [False, True]
