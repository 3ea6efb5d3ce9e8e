"""Clocks of devices that are wrong by whole hours: seen in a message, or learned over a while.

A message whose newest time lies whole hours ahead was sent now, by a clock of another zone: all its times
move.
What lies whole hours behind says little, for it may as well have been stored for so long. A device that
sends for an hour, and each time what is eight hours old to the minute, has a clock of another zone. What is
found goes into the registry (devices.clock_hours), from where the bridge learns it as everything of devices.

A message is moved once, by the first of these that makes sense: not at all if its newest time is now; by what
is known of the clock, unless that would lie ahead; by the whole hours that it lies ahead.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.clock import SECOND
from schemas.readings import ABSENT, TS_NEWEST, Columns, Quality

HOUR: Final = 3_600 * SECOND
FARTHEST_ZONE: Final = 14
"""Hours: no zone is farther from another one's clock that somebody could have meant."""
LEAST: Final = 6
"""Messages that must agree."""
SPAN: Final = HOUR
"""Over so long."""
APART: Final = HOUR
"""No two of them farther apart: a device that sends once a day may as well store for eight hours."""
_MOST: Final = 100_000

Ints = npt.NDArray[np.int64]


class Signs(NamedTuple):
    """What messages tell of their devices' clocks, in order of receipt: fast by so many hours, 0 if right.

    Each column has the shape (messages,); what tells nothing is not in it.
    """

    device_id: npt.NDArray[np.int32]
    hours: Ints
    received_at: Ints


def whole_hours(ahead: Ints) -> Ints:
    """Return of differences in microseconds, shape (n,), how many hours each is, 0 if it is no zone's.

    An hour may be off by TS_NEWEST: a clock that is wrong by hours is wrong by seconds, too.
    """
    hours = (ahead + HOUR // 2) // HOUR
    is_zone = (np.abs(hours) <= FARTHEST_ZONE) & (np.abs(ahead - hours * HOUR) <= TS_NEWEST)
    return np.asarray(np.where(is_zone, hours, 0))


def judge(readings: Columns, known: Mapping[int, int]) -> tuple[Ints | None, Signs]:
    """Return by how many hours times are to be moved back, shape (n,), None for not at all, and the signs.

    `known` is by how many hours clocks are fast, by device.
    """
    timed = np.flatnonzero(readings["ts_sent"] != ABSENT)
    rows = readings[["message", "device_id", "received_at", "ts_sent", "quality", "alive"]][timed]
    ahead = np.clip(rows["ts_sent"], -(2**53), 2**53) * 1000 - rows["received_at"]
    proves = rows["alive"] & (rows["quality"] != Quality.LATE)  # not what is old by its own word
    if not (known or (np.abs(ahead) > TS_NEWEST).any()):
        return None, _signs(rows[proves], np.zeros(int(proves.sum()), np.int64))
    _, first, group = np.unique(
        rows["message"].astype(np.int64) << 32 | rows["device_id"], return_index=True, return_inverse=True
    )
    newest = np.full(len(first), np.iinfo(np.int64).min)
    np.maximum.at(newest, group, ahead)
    hours = whole_hours(newest)
    shift = np.maximum(hours, 0)
    if known:
        told = np.array([known.get(each, 0) for each in rows["device_id"][first].tolist()], np.int64)
        shift = np.where((told != 0) & (newest - told * HOUR <= TS_NEWEST), told, shift)
    is_now = np.abs(newest) <= TS_NEWEST
    shift[is_now] = 0
    moved = np.zeros(len(readings), np.int64)
    moved[timed] = shift[group]
    tells = proves[first] & (is_now | (hours != 0))
    return (moved if moved.any() else None), _signs(rows[first[tells]], hours[tells])


def _signs(rows: Columns, hours: Ints) -> Signs:
    return Signs(rows["device_id"], hours, rows["received_at"])


class _Doubt(NamedTuple):
    hours: int
    since: int
    last: int
    seen: int


class Clocks:
    """Devices whose clocks seem to be others than is known of them, and those of which it is sure."""

    def __init__(self) -> None:
        """Start without a doubt."""
        self._doubts: dict[int, _Doubt] = {}
        self._found: dict[int, int] = {}

    def note(self, signs: Signs, known: Mapping[int, int]) -> None:
        """Take note of signs; `known` is by how many hours clocks are fast, by device."""
        seen = signs.hours != 0
        if followed := [*self._doubts, *known]:
            seen |= np.isin(signs.device_id, followed)
        columns = (signs.device_id[seen], signs.hours[seen], signs.received_at[seen])
        for device_id, hours, received_at in zip(*(each.tolist() for each in columns), strict=True):
            if hours == known.get(device_id, 0):
                self._doubts.pop(device_id, None)
            else:
                self._doubt(device_id, hours, received_at)

    def _doubt(self, device_id: int, hours: int, at: int) -> None:
        doubt = self._doubts.get(device_id)
        if doubt is None or doubt.hours != hours or at - doubt.last > APART:
            if len(self._doubts) >= _MOST:
                self._doubts.clear()
            self._doubts[device_id] = _Doubt(hours, at, at, 1)
            return
        doubt = self._doubts[device_id] = doubt._replace(last=at, seen=doubt.seen + 1)
        if doubt.seen >= LEAST and at - doubt.since >= SPAN:
            del self._doubts[device_id]
            self._found[device_id] = hours

    def take(self) -> dict[int, int]:
        """Return by how many hours clocks are fast of which that has become sure, once."""
        found, self._found = self._found, {}
        return found
