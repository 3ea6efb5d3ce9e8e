"""Binary COPY: the stream is read back by hand, field by field, as PostgreSQL reads it."""

import itertools
import random
import struct
from collections import Counter
from typing import Any

import numpy as np
import pytest

from schemas.readings import ABSENT, Columns
from schemas.topics import Channel
from store import copy
from tests.unit.kit import moment, reading

EPOCH_2000 = 946_684_800_000_000
TYPES = {
    "integer": (4, ">i"),
    "smallint": (2, ">h"),
    "bigint": (8, ">q"),
    "timestamptz": (8, ">q"),
    "real": (4, ">f"),
    "boolean": (1, ">?"),
}
NULLABLE = {
    "vitals": ("ts_sent", "seq", "hr", "spo2", "temp", "sbp", "dbp", "glucose", "worn", "steps"),
    "heartbeats": ("ts_sent", "seq", "battery", "rssi", "mains"),
    "activity": ("ts_sent", "seq", "motion", "steps", "room"),
}
FULL = {
    "ts_sent": 1_790_000_000_123,
    "seq": 2**53,
    "hr": 80.0,
    "spo2": 97.0,
    "temp": 36.6,
    "sbp": 130.0,
    "dbp": 85.0,
    "glucose": 5.4,
    "worn": 1.0,
    "steps": 10_000_000.0,
    "battery": 15.0,
    "rssi": -71.5,
    "mains": 0.0,
    "motion": 1.0,
}
ROOMS = ["", "厨房", "客厅", "卧室", "卫生间", "kitchen", "🛏", "一" * 32, "a b"]
CHANNEL = {"vitals": Channel.VITALS, "heartbeats": Channel.HEARTBEAT, "activity": Channel.ACTIVITY}


def parse(table: str, stream: bytes) -> list[dict[str, Any]]:
    """Read a binary COPY stream as documented: header, tuples of length and bytes, trailer."""
    assert stream[:11] == b"PGCOPY\n\xff\r\n\0"
    assert stream[11:19] == bytes(8), "no flags, no extension"
    place = 19
    rows: list[dict[str, Any]] = []
    while True:
        (count,) = struct.unpack_from(">h", stream, place)
        place += 2
        if count == -1:
            assert place == len(stream), "nothing follows the trailer"
            return rows
        assert count == len(copy.TABLES[table])
        row: dict[str, Any] = {}
        for name, kind in copy.TABLES[table].items():
            (length,) = struct.unpack_from(">i", stream, place)
            place += 4
            if length == -1:
                row[name] = None
                continue
            field = stream[place : place + length]
            place += length
            if kind == "text":
                row[name] = field.decode()
                continue
            size, form = TYPES[kind]
            assert length == size, name
            (row[name],) = struct.unpack(form, field)
        rows.append(row)


def written(table: str, readings: Columns, rooms: list[str] | None = None) -> list[dict[str, Any]]:
    """Encode and read back, as the writer does."""
    array = None if rooms is None else np.array([room.encode() for room in rooms], np.bytes_)
    return parse(table, b"".join(copy.encode(table, readings, 77, array)))


def expected(table: str, row: np.void, room: str = "") -> dict[str, Any]:
    """Say what a reading must be in the database."""
    found: dict[str, Any] = {}
    for name, kind in copy.TABLES[table].items():
        if name == "batch":
            found[name] = 77
        elif name == "room":
            found[name] = room or None
        elif name in ("ts", "received_at"):
            found[name] = int(row[name]) - EPOCH_2000
        elif name == "time_quality":
            found[name] = int(row["quality"])
        elif kind in ("real", "boolean") or name == "steps":
            value = float(row[name])
            found[name] = None if np.isnan(value) else (bool(value) if kind == "boolean" else value)
        else:
            found[name] = None if int(row[name]) == ABSENT else int(row[name])
    return found


def counted(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """Count rows, for COPY may change their order."""
    return Counter(tuple(row.values()) for row in rows)


@pytest.mark.parametrize("table", copy.TABLES)
def test_every_null_pattern_arrives_as_it_was(table: str) -> None:
    """All patterns in one stream, shuffled: each row comes back whole, none is lost and none is doubled."""
    rows, rooms = [], []
    for number, present in enumerate(itertools.product([False, True], repeat=len(NULLABLE[table]))):
        given = {name: FULL.get(name) for name, there in zip(NULLABLE[table], present, strict=True) if there}
        rooms.append(ROOMS[1 + number % (len(ROOMS) - 1)] if "room" in given else "")
        given.pop("room", None)
        columns = {"channel": CHANNEL[table], "digest": number - 500, "quality": number % 6, **given}
        rows.append(reading(number, number, ts=-number, **columns))
    order = list(range(len(rows)))
    random.Random(1).shuffle(order)
    readings = np.concatenate([rows[place] for place in order])
    shuffled = [rooms[place] for place in order]
    found = written(table, readings, shuffled if table == "activity" else None)
    wanted = [expected(table, row, room) for row, room in zip(readings, shuffled, strict=True)]
    assert len(found) == 2 ** len(NULLABLE[table])
    assert counted(found) == counted(wanted)


def test_rooms_of_any_length_share_a_stream() -> None:
    """Chinese names of two, three and thirty-two characters and none at all stand beside each other."""
    picked = [random.Random(2).choice(ROOMS) for _ in range(200)] + ROOMS
    readings = np.concatenate(
        [reading(n, n, channel=Channel.ACTIVITY, motion=n % 2, digest=n) for n in range(len(picked))]
    )
    rooms = {row["device_id"]: row["room"] for row in written("activity", readings, picked)}
    assert rooms == {n: room or None for n, room in enumerate(picked)}


@pytest.mark.parametrize("rooms", [None, [""]])
def test_activity_without_a_room_has_none(rooms: list[str] | None) -> None:
    """No rooms at all, or an empty one, is null."""
    (row,) = written("activity", reading(1, 0, channel=Channel.ACTIVITY), rooms)
    assert row["room"] is None


def test_the_ends_of_every_range_arrive() -> None:
    """The largest ids, counters and times, and times before 2000, are exact."""
    one = reading(2**31 - 1, 0, digest=-(2**63), seq=2**53, ts_sent=-(2**53), hr=300)
    one["ts"], one["received_at"] = -1, moment(10**9)
    (row,) = written("vitals", one)
    assert row["device_id"] == 2**31 - 1
    assert (row["digest"], row["seq"], row["ts_sent"]) == (-(2**63), 2**53, -(2**53))
    assert (row["ts"], row["received_at"]) == (-1 - EPOCH_2000, moment(10**9) - EPOCH_2000)


@pytest.mark.parametrize("table", copy.TABLES)
def test_no_reading_is_an_empty_stream(table: str) -> None:
    """Header and trailer alone are a COPY of nothing."""
    assert written(table, reading(1, 0)[:0]) == []


@pytest.mark.parametrize("table", copy.TABLES)
def test_the_statement_names_the_columns_of_the_stream(table: str) -> None:
    """PostgreSQL is told the table and the columns in the order in which they come."""
    statement = copy.statement(table).decode()
    assert statement == f"COPY {table} ({', '.join(copy.TABLES[table])}) FROM STDIN (FORMAT binary)"
