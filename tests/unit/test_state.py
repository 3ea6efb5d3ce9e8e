"""Arrays over devices: they grow where they are, and are cut into pieces."""

import numpy as np
import pytest

from rules.state import State

TIMES = (np.int64, -1)
PAIRS = (np.dtype((np.uint64, (2,))), 7)
FLAGS = (np.bool_, True)


def state(size: int = 3) -> State:
    """Return arrays of three sorts."""
    found = State()
    found.grow(size)
    for name, column in (("times", TIMES), ("pairs", PAIRS), ("flags", FLAGS)):
        found.add(name, column)
    return found


def test_a_new_array_is_empty() -> None:
    """Each device has the value of one of which nothing is known; a second `add` finds what there is."""
    arrays = state()
    assert arrays["times"].tolist() == [-1] * 3
    assert arrays["pairs"].tolist() == [[7, 7]] * 3
    assert arrays["flags"].tolist() == [True] * 3
    arrays["times"][0] = 4
    assert arrays.add("times", TIMES) is arrays["times"]
    assert arrays["times"].tolist() == [4, -1, -1]


@pytest.mark.parametrize("size", [4, 40, 100_000])
def test_arrays_grow_where_they_are(size: int) -> None:
    """Whoever holds an array has it for ever; what was known stays, and what is new is empty."""
    arrays = state()
    names = ("times", "pairs", "flags")
    held = [arrays[name] for name in names]
    arrays["times"][:] = [1, 2, 3]
    arrays["pairs"][1] = [8, 9]
    arrays.grow(size)
    assert all(
        array is arrays[name] and len(array) == arrays.size for array, name in zip(held, names, strict=True)
    )
    assert arrays.size >= size
    assert arrays["times"][:5].tolist() == [1, 2, 3, -1, -1][: arrays.size]
    assert arrays["pairs"][:4].tolist() == [[7, 7], [8, 9], [7, 7], [7, 7]]
    assert arrays["flags"][-1].item() is True


def test_they_grow_by_a_quarter_and_never_shrink() -> None:
    """A device a minute does not move a million each minute."""
    arrays = state(1000)
    arrays.grow(1001)
    assert arrays.size == 1250
    arrays.grow(3)
    assert arrays.size == 1250


def test_a_piece_is_taken_and_put_elsewhere() -> None:
    """Rows of some devices make the same rows of another state, and nothing else."""
    arrays, other = state(), state()
    arrays["times"][:] = [1, 2, 3]
    arrays["flags"][2] = False
    assert other.put(slice(1, 3), arrays.take(slice(1, 3))) == set()
    assert other["times"].tolist() == [-1, 2, 3]
    assert other["flags"].tolist() == [True, True, False]


def test_what_a_piece_lacks_is_told() -> None:
    """An array of another name, or whose rows have another shape, is left as it is."""
    arrays = state()
    rows = arrays.take(slice(0, 3)) | {"pairs": np.zeros((3, 5), np.uint64), "else": np.zeros(3)}
    del rows["times"]
    assert arrays.put(slice(0, 3), rows) == {"times", "pairs"}
    assert arrays["pairs"].tolist() == [[7, 7]] * 3


def test_an_array_can_be_dropped() -> None:
    """Then nothing of it is taken or grown any more."""
    arrays = state()
    arrays.drop("pairs")
    arrays.grow(10)
    assert sorted(arrays.take(slice(0, 2))) == sorted(arrays.names()) == ["flags", "times"]
