"""Gaps in the counters of devices: what a device sent and we never stored, as far as its `seq` tells.

A message that became a dead letter counts as missing, too: nobody can say whose counter it bears.

`seq` counts a device's messages over all its channels. Nothing here outlives the process: after a restart the
first counter of each device is taken as it comes.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from ingest import metrics
from schemas.readings import ABSENT, Columns

FARTHEST: Final = 1_000
"""A counter farther from the newest one has begun anew: the device was reset, or replaced."""

_UNKNOWN: Final = -1
_ROOM: Final = 1 << 32
"""For the counters of one device in one batch, as long as none of them began anew."""

Ints = npt.NDArray[np.int64]


class Gaps:
    """The newest counter of each device, and how many below it never came."""

    def __init__(self) -> None:
        """Start without knowing any device."""
        self._newest = np.zeros(0, np.int64)
        self._missing = np.zeros(0, np.int64)

    def note(self, readings: Columns) -> None:
        """Count what these readings, in order of receipt, leave out, and what they bring after all."""
        rows = np.flatnonzero(readings["stored"] & (readings["seq"] != ABSENT))
        if not len(rows):
            return
        order = rows[np.argsort(readings["device_id"][rows], kind="stable")]
        device, seq = readings["device_id"][order], readings["seq"][order]
        self._grow(int(device[-1]) + 1)
        starts = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
        who = device[starts]
        base = np.where(self._newest[who] == _UNKNOWN, seq[starts], self._newest[who])
        above, steps = _climb(seq, base, starts)
        began_anew = np.maximum.reduceat(np.abs(steps), starts) > FARTHEST
        self._count(
            who[~began_anew],
            (base + np.maximum.reduceat(above, starts))[~began_anew],
            np.add.reduceat(np.maximum(steps - 1, 0), starts)[~began_anew],
            np.add.reduceat((steps < 0).astype(np.int64), starts)[~began_anew],
        )
        ends = np.append(starts[1:], len(seq))
        alone = began_anew & (ends - starts == 1)
        self._newest[who[alone]], self._missing[who[alone]] = seq[starts[alone]], 0
        for each in np.flatnonzero(began_anew & ~alone):
            self._one_by_one(int(who[each]), seq[starts[each] : ends[each]].tolist())

    def _count(self, who: npt.NDArray[np.int32], newest: Ints, missing: Ints, late: Ints) -> None:
        """Adopt the newest counters; no more can be found than was missing."""
        open_gaps = self._missing[who] + missing
        found = np.minimum(late, open_gaps)
        self._newest[who], self._missing[who] = newest, open_gaps - found
        metrics.MISSING.inc(int(missing.sum()))
        metrics.FOUND.inc(int(found.sum()))

    def _one_by_one(self, who: int, counters: list[int]) -> None:
        """Follow a device whose counter begins anew."""
        for seq in counters:
            step = seq - int(self._newest[who])
            if self._newest[who] == _UNKNOWN or abs(step) > FARTHEST:
                self._newest[who], self._missing[who] = seq, 0
                continue
            one = (np.array([each]) for each in (max(seq, seq - step), max(step - 1, 0), int(step < 0)))
            self._count(np.array([who], np.int32), *one)

    def _grow(self, size: int) -> None:
        known = len(self._newest)
        if size > known:
            more = max(size, known + known // 4) - known
            self._newest = np.append(self._newest, np.full(more, _UNKNOWN, np.int64))
            self._missing = np.append(self._missing, np.zeros(more, np.int64))


def _climb(seq: Ints, base: Ints, starts: npt.NDArray[np.intp]) -> tuple[Ints, Ints]:
    """Return how far each counter is above its device's base (at least 0), and above the newest before it.

    Shapes (n,), (devices,), (devices,): the counters of a device stand together, from its start on.
    """
    rank = np.repeat(np.arange(len(starts), dtype=np.int64), np.diff(np.append(starts, len(seq))))
    apart = seq - base[rank]
    above = np.clip(apart, 0, _ROOM - 1)
    floor = rank * _ROOM
    highest = np.maximum.accumulate(above + floor)
    before = np.roll(highest, 1)
    before[starts] = floor[starts]
    steps: Ints = apart - before + floor
    return above, steps
