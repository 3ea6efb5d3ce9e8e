"""From decoded fields to columns: absent values, no-reading codes, which time counts, a row's digest."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.clocks import HOUR
from schemas.clock import SECOND
from schemas.readings import (
    ABSENT,
    NO_READING,
    READING,
    TS_NEWEST,
    TS_OLDEST,
    VALUES,
    Columns,
    Delivery,
    Event,
    Quality,
)
from schemas.topics import Channel

LATE: Final = 600 * SECOND
"""What was measured longer ago than this goes to the history and is not judged."""

_FULL = 100  # per cent
_CODES = {name: np.array(codes, np.float32) for name, codes in NO_READING.items()}
_DETAILS = ("source", "lat", "lon", "confidence", "room", "retained")
_NUMBERS = {"lat", "lon", "confidence"}


Ints = npt.NDArray[np.int64]


class Row(NamedTuple):
    """One reading before it becomes columns."""

    message: int
    device_id: int
    channel: Channel
    event: Event
    received_at: int
    fields: dict[str, Any]
    alive: bool = True
    readable: bool = True
    quality: Quality = Quality.OK


def as_received(fields: dict[str, Any], delivery: Delivery) -> dict[str, Any]:
    """Return the fields, with a word on it if they were retained: a restore must know of it."""
    return {**fields, "retained": True} if delivery.retained else fields


def as_sent(rows: list[Row], details: list[dict[str, Any]]) -> Columns:
    """Lay rows out as columns, for `finish`; what has no column goes to `details`."""
    if not rows:
        return np.empty(0, READING)
    message, device_id, channel, event, received_at, fields, alive, readable, quality = zip(
        *rows, strict=True
    )
    keys = {
        "message": message,
        "device_id": device_id,
        "channel": channel,
        "event": event,
        "received_at": received_at,
        "alive": alive,
        "stored": readable,
        "quality": quality,
    }
    return lay_out(keys, fields, details)


def lay_out(
    keys: Mapping[str, Any], fields: Sequence[dict[str, Any]], details: list[dict[str, Any]]
) -> Columns:
    """Lay n rows out, for `finish`: `keys` are columns or scalars, `fields` are the rows' own, shape (n,)."""
    readings = np.empty(len(fields), READING)
    readings["quality"] = Quality.OK
    for name, column in keys.items():
        readings[name] = column
    said = set[str]().union(*set(map(tuple, fields)))  # most batches name few fields
    for name, key in (("ts_sent", "ts"), ("seq", "seq")):
        readings[name] = (
            [ABSENT if (value := f.get(key)) is None else value for f in fields] if key in said else ABSENT
        )
    for name in VALUES:
        readings[name] = [f.get(name) for f in fields] if name in said else np.nan
    names = [name for name in _DETAILS if name in said]
    readings["detail"] = _details(names, fields, details) if names else -1
    return readings


def lay_columns(keys: Mapping[str, Any], values: Mapping[str, Any], rows: int) -> Columns:
    """Lay rows out of columns, for `finish`: `values` are those that are there, each of shape (rows,)."""
    readings = np.empty(rows, READING)
    readings["quality"] = Quality.OK
    readings["seq"] = ABSENT
    readings["detail"] = -1
    for name, column in keys.items():
        readings[name] = column
    for name in VALUES:
        readings[name] = values.get(name, np.nan)
    return readings


def finish(readings: Columns, details: list[dict[str, Any]], moved: Ints | None = None) -> Columns:
    """Judge rows as sent; return them in order of receipt, and within a late batch in that of their times.

    So a restore can repeat the order. `moved`, shape (n,), is by how many hours times are moved back, for the
    device's clock is of another zone. A `quality` of late or unreadable is the sender's own word, and stays.
    """
    _blank_no_readings(readings)
    _judge_time(readings, moved)
    readings["digest"] = _digest(readings, details)
    received = readings["received_at"]
    order = np.argsort(received, kind="stable")
    if (np.diff(received[order]) == 0).any():
        order = np.lexsort((readings["digest"], readings["ts"], received))
    return readings[order]


def _details(names: list[str], fields: Sequence[dict[str, Any]], details: list[dict[str, Any]]) -> list[int]:
    """Return each row's place in `details`, -1 for none; rows that say the same may share one."""
    places: dict[tuple[Any, ...], int] = {(None,) * len(names): -1}
    found = []
    for each in fields:
        said = tuple([each.get(name) for name in names])
        place = places.get(said)
        if place is None:
            place = len(details)
            details.append(
                {name: value for name, value in zip(names, said, strict=True) if value is not None}
            )
            if _NUMBERS.isdisjoint(names):  # 0.0 equals -0.0, but a digest tells them apart
                places[said] = place
        found.append(place)
    return found


def _blank_no_readings(readings: Columns) -> None:
    """Turn the codes by which devices say that they have no reading into absent values."""
    for name, codes in _CODES.items():
        readings[name][np.isin(readings[name], codes)] = np.nan
    readings["spo2"][readings["spo2"] > _FULL] = np.nan


def _judge_time(readings: Columns, moved: Ints | None) -> None:
    """Take the device's time where it can be used, else the time of receipt; say which in `quality`."""
    received, sent = readings["received_at"], readings["ts_sent"]
    missing = sent == ABSENT
    retained = ~readings["alive"] & (readings["event"] == Event.NONE)  # nobody knows how old it is
    said = readings["quality"].copy()
    at = np.where(missing, received, np.clip(sent, -(2**53), 2**53) * 1000)
    zone = np.zeros(len(readings), np.bool_) if moved is None else moved != 0
    if moved is not None:
        at = at - moved * HOUR
    future, epoch = at > received + TS_NEWEST, at < received - TS_OLDEST
    late = ~missing & ~epoch & (at < received - LATE)
    readings["ts"] = np.where(future | epoch, received, at)
    readings["quality"] = np.select(
        [
            *(~readings["stored"] | (said == Quality.UNREADABLE), retained, said == Quality.LATE),
            *(missing, future, epoch, late, zone),
        ],
        [
            *(Quality.UNREADABLE, Quality.RETAINED, Quality.LATE),
            *(Quality.MISSING, Quality.FUTURE, Quality.EPOCH, Quality.LATE, Quality.ASSUMED_ZONE),
        ],
        Quality.OK,
    )


def _digest(readings: Columns, details: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Hash what a row says (not when or how it came), 64 bits, the same on every machine and in every run.

    Where a row does not stand under the time that it says, that time counts as well: two such rows may stand
    under one time and say the same, and be two readings.
    """
    mixed = (readings["channel"].astype(np.uint64) << np.uint64(8)) ^ readings["event"].astype(np.uint64)
    said = [np.ascontiguousarray(readings["seq"]).view(np.uint64)]
    said += [np.ascontiguousarray(readings[name]).view(np.uint32).astype(np.uint64) for name in VALUES]
    said_beside = [sorted((name, value) for name, value in d.items() if name != "retained") for d in details]
    sums = np.array([zlib.crc32(repr(each).encode()) if each else 0 for each in said_beside] + [0], np.uint64)
    said.append(sums[readings["detail"]])
    for column in said:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    sent = readings["ts_sent"]
    elsewhere = np.flatnonzero((sent != ABSENT) & (readings["ts"] != sent * 1000))
    if len(elsewhere):
        mixed[elsewhere] ^= sent[elsewhere].view(np.uint64)
    return mixed.view(np.int64)
