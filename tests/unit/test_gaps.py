"""Gaps in the counters of devices, against a plain account of one counter after the other."""

import random

import numpy as np
import pytest

from ingest import metrics
from ingest.gaps import FARTHEST, Gaps
from schemas.readings import ABSENT, READING, Columns


def readings(*pairs: tuple[int, int | None]) -> Columns:
    """Return readings of devices with their counters, in order of receipt."""
    found = np.zeros(len(pairs), READING)
    found["stored"] = True
    found["device_id"] = [device for device, _ in pairs]
    found["seq"] = [ABSENT if seq is None else seq for _, seq in pairs]
    return found


def counted() -> tuple[int, int]:
    """Return what is counted as missing and as found."""
    return int(metrics._sum([metrics.MISSING])), int(metrics._sum([metrics.FOUND]))


def growth(*batches: Columns) -> tuple[int, int]:
    """Return what these batches bring, to a bridge that has just started."""
    gaps, (missing, found) = Gaps(), counted()
    for batch in batches:
        gaps.note(batch)
    missing_now, found_now = counted()
    return missing_now - missing, found_now - found


def of(device: int, *counters: int | None) -> Columns:
    """Return the readings of one device."""
    return readings(*((device, seq) for seq in counters))


@pytest.mark.parametrize(
    ("counters", "expected"),
    [
        ((5, 6, 7), (0, 0)),
        ((5, 7), (1, 0)),
        ((5, 9, 7, 6, 8, 10), (3, 3)),
        ((5, 9, 9, 4, 3, 2, 1), (3, 3)),  # what came before the first one was never missed
        ((5, 5, None, 6), (0, 0)),
        ((5, 5 + FARTHEST), (FARTHEST - 1, 0)),
        ((5, 6 + FARTHEST, 8 + FARTHEST), (1, 0)),  # begun anew, then a gap
        ((90_000, 90_002, 1, 2, 4, 3), (2, 1)),
        ((2**53, 0, 2**53, 2), (0, 0)),
        ((0, 2), (1, 0)),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_counter_tells_what_is_missing_and_what_was_found(
    counters: tuple[int | None, ...], expected: tuple[int, int], *, together: bool
) -> None:
    """A jump is missing, a late one that fills is found, a reset starts anew; in one batch or in many."""
    batches = [of(7, *counters)] if together else [of(7, seq) for seq in counters]
    assert growth(*batches) == expected


def test_devices_are_kept_apart() -> None:
    """The counter of one says nothing of another; what is not stored says nothing."""
    batch = readings((3, 1), (9, 100), (3, 2), (9, 102), (3, 5))
    unread = readings((3, 900), (9, 105))
    unread["stored"] = False
    assert growth(batch, unread, readings((3, 6), (9, 103), (9, 101))) == (3, 1)


def plainly(messages: list[tuple[int, int]]) -> tuple[int, int]:
    """Account for one message after the other, as simply as can be."""
    newest: dict[int, int] = {}
    missing_of: dict[int, int] = {}
    missing = found = 0
    for device, seq in messages:
        step = seq - newest.get(device, seq)
        if abs(step) > FARTHEST or device not in newest:
            newest[device], missing_of[device] = seq, 0
        elif step > 0:
            newest[device] = seq
            missing += step - 1
            missing_of[device] += step - 1
        elif step < 0 and missing_of[device]:
            missing_of[device] -= 1
            found += 1
    return missing, found


@pytest.mark.parametrize("seed", range(20))
def test_batches_count_as_one_message_after_the_other(seed: int) -> None:
    """Devices that skip, repeat, come late and begin anew: the same counts, however cut into batches.

    Within a batch, what comes late before its gap opens counts as found, too.
    """
    rng = random.Random(seed)
    at = {device: rng.randrange(100_000) for device in range(1, 9)}
    messages = []
    for _ in range(600):
        device = rng.choice(list(at))
        at[device] += rng.choice([1] * 8 + [2, 5, 40, 3 * FARTHEST, -3 * FARTHEST])
        at[device] = max(at[device], 0)
        messages.append((device, max(0, at[device] - rng.choice([0] * 9 + [3]))))
    one_by_one = growth(*(readings(each) for each in messages))
    assert one_by_one == plainly(messages)
    cut = growth(*(readings(*messages[start : start + 50]) for start in range(0, len(messages), 50)))
    assert cut[0] == one_by_one[0]
    assert cut[1] >= one_by_one[1]
