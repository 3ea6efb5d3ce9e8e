"""Duplicates: twins within a batch, and readings that may stand in the history already."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.readings import READING, Columns
from schemas.topics import Channel
from store.duplicates import TABLES, Watermarks, of_table, twins_within
from tests.unit.kit import moment, reading

Key = tuple[int, int, int]


def readings(*rows: Columns) -> Columns:
    """Return readings as one array."""
    return np.concatenate(rows) if rows else np.empty(0, READING)


def keyed(keys: list[Key]) -> Columns:
    """Return readings with these keys: device, second, digest."""
    return readings(*(reading(who, ts, digest=digest) for who, ts, digest in keys))


def suspects(marks: Watermarks, *rows: Columns) -> list[bool]:
    """Say which readings may stand already."""
    answer: list[bool] = marks.suspects(readings(*rows)).tolist()
    return answer


def test_every_channel_has_one_table() -> None:
    """A reading is kept in exactly one place."""
    assert sorted(channel for channels in TABLES.values() for channel in channels) == sorted(Channel)
    each = readings(*(reading(1, 0, channel=channel) for channel in Channel))
    assert sum(len(of_table(each, table)) for table in TABLES) == len(Channel)
    assert of_table(each, "events")["channel"].tolist() == [1, 2, 3, 7]


@pytest.mark.parametrize(
    ("other", "twin"),
    [
        ({}, True),
        ({"received_at": moment(99), "quality": 5, "message": 7}, True),
        ({"device_id": 2}, False),
        ({"ts": moment(1)}, False),
        ({"digest": 6}, False),
        ({"stored": False}, False),
    ],
)
def test_a_twin_has_the_same_key(other: dict[str, Any], *, twin: bool) -> None:
    """Device, time and digest are the key; what is not stored cannot stand twice."""
    second = reading(1, 0, digest=5)
    for name, value in other.items():
        second[name] = value
    assert twins_within(readings(reading(1, 0, digest=5), second)).tolist() == [False, twin]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-1, 1)), max_size=20))
def test_of_each_key_the_first_remains(keys: list[Key]) -> None:
    """In any order of any keys exactly the later ones of each are twins."""
    expected = [key in keys[:place] for place, key in enumerate(keys)]
    assert twins_within(keyed(keys)).tolist() == expected


def test_on_an_empty_history_nothing_is_suspect() -> None:
    """The first message of a device is new, and so is an empty batch."""
    assert suspects(Watermarks(), reading(3, 0), reading(0, -9e8)) == [False, False]
    assert suspects(Watermarks()) == []


def test_what_is_not_newer_than_the_newest_is_suspect() -> None:
    """At the watermark or below is the slow way, above it the fast one."""
    marks = Watermarks()
    marks.raise_to(readings(reading(1, 50), reading(1, 100), reading(1, 70)))
    assert suspects(marks, reading(1, 99), reading(1, 100), reading(1, 100.000001)) == [True, True, False]


def test_a_mark_is_of_one_device_and_one_table() -> None:
    """A heartbeat says nothing of vitals, nor one device of another; SOS and events share a table."""
    marks = Watermarks()
    marks.raise_to(readings(reading(1, 100, channel=Channel.SOS)))
    rows = [reading(1, 50, channel=channel) for channel in Channel]
    assert suspects(marks, *rows) == [True, True, True, False, False, False, True]
    assert suspects(marks, reading(2, 50, channel=Channel.SOS)) == [False]


def test_a_mark_never_falls() -> None:
    """A late reading leaves the newest where it was."""
    marks = Watermarks()
    marks.raise_to(readings(reading(1, 100)))
    marks.raise_to(readings(reading(1, 20)))
    assert suspects(marks, reading(1, 60)) == [True]


def test_what_is_not_stored_neither_raises_a_mark_nor_is_suspect() -> None:
    """An unreadable call leaves no row behind."""
    marks = Watermarks()
    marks.raise_to(readings(reading(1, 100, stored=False)))
    assert suspects(marks, reading(1, 50)) == [False]
    marks.raise_to(readings(reading(1, 100)))
    assert suspects(marks, reading(1, 50, stored=False)) == [False]


def test_after_a_restart_the_newest_of_the_history_counts_for_all() -> None:
    """Devices seen before the start and devices seen after it are above the same mark."""
    marks = Watermarks()
    marks.raise_to(readings(reading(1, 10), reading(2, 200)))
    marks.start_above(moment(100))
    rows = [reading(who, at) for who in (1, 2, 900) for at in (100, 101)]
    assert suspects(marks, *rows) == [True, False, True, True, True, False]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=30))
def test_growing_loses_no_mark(committed: list[tuple[int, int]]) -> None:
    """However devices turn up, each keeps its own newest."""
    marks = Watermarks()
    newest: dict[int, int] = {}
    for who, at in committed:
        marks.raise_to(readings(reading(who, at)))
        newest[who] = max(at, newest.get(who, -1))
    for who in range(61):
        mark = newest.get(who, -1)
        assert suspects(marks, reading(who, mark), reading(who, mark + 1)) == [who in newest, False]
