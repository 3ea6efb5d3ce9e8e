"""Two rule sets over the same stream: which alarms each would have raised, and whether staff could bear them.

Pure: readings go in as arrays in order of receipt, a comparison comes out. Ticks are put between them at a
step of the stream's own time, each with `scan`; a tick is repeated until nothing more is due. What people
would have done is not known, so an alarm of life or health is taken for handled `handling` after it was
raised, and a raise until then for a repetition (P3); a technical alarm is open until it clears.

Limits of the load are those of ISA-18.2 and EEMUA 191, per operator and 10 minutes: about 1 alarm is what one
person can bear for long; a flood begins above 10 and ends below 5.
"""

import struct
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from rules.engine import Engine
from rules.fold import AlarmRow, Fold, key_of
from rules.machine import Registered
from rules.ruleset import RuleSet
from schemas.alarms import KINDS, Class, Severity
from schemas.clock import SECOND
from schemas.readings import Batch, Columns
from schemas.topics import Lane

Rows = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]
Index = npt.NDArray[np.intp]

WINDOW: Final = 600 * SECOND
"""Alarms are counted in so many microseconds at a time."""
BEARABLE: Final = 1.0
FLOOD_BEGINS: Final = 10.0
FLOOD_ENDS: Final = 5.0
"""Alarms per operator and window."""
ROWS: Final = 40_000
"""Readings that an engine judges at once."""
WORST: Final = 10
"""Devices that are named."""

_MOST_TURNS: Final = 10_000
_DAY: Final = 86_400 * SECOND
_SHANGHAI: Final = 8 * 3600 * SECOND  # one zone, no summer time
_HIDDEN: Final = -1
_KINDS: Final = list(KINDS)
_SEVERITIES: Final = list(Severity)

_PACKED: Final = struct.Struct("<qbbqq")
_ROW: Final = np.dtype(
    [
        ("who", "<i8"),  # the device, or -2 - n for the n-th area
        ("kind", "i1"),
        ("severity", "i1"),  # the highest that it came to
        ("raised_at", "<i8"),
        ("shown_at", "<i8"),  # when it first stood before staff; _HIDDEN if an outage hid it
    ]
)


@dataclass(frozen=True)
class Assumptions:
    """What a backtest takes for given; times in microseconds.

    Alarms count from `start` on; what is fed before only warms the engines up. An alarm of one rule set is
    that of the other if they are of one device and kind and begin within `tolerance`.
    """

    start: int
    end: int
    operators: int = 1
    handling: int = 600 * SECOND
    tolerance: int = 1800 * SECOND
    step: int = 60 * SECOND


@dataclass
class Difference:
    """Numbers of alarms that would have stood before staff.

    What is in both is the same or has changed: in its severity, or else in its time. `current` is that and
    what is suppressed and missed, `new` is that and what is only new.
    """

    current: int = 0
    new: int = 0
    same: int = 0
    severer: int = 0
    milder: int = 0
    earlier: int = 0
    later: int = 0
    suppressed: int = 0
    """Which the new rules hide, for they see an outage."""
    missed: int = 0
    only_new: int = 0

    def add(self, other: "Difference") -> None:
        """Add the numbers of another part."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)


@dataclass(frozen=True)
class Load:
    """What one rule set would have put before staff; rates are alarms per operator and 10 minutes."""

    alarms: int
    suppressed: int
    repeated: int
    """Raises of alarms that were open already."""
    mean: float
    peak: float
    peak_at: int
    """When the worst window began."""
    above_bearable: float
    """Share of the windows with more than BEARABLE."""
    floods: int
    in_flood: float
    """Share of the windows."""


class Device(NamedTuple):
    """Who would raise many alarms: a device, or the area whose outages they are (then `device_id` is -1)."""

    device_id: int
    area: str
    current: int
    new: int
    kind: str
    """The one that is raised most by the new rules, or by the current ones."""


@dataclass(frozen=True)
class Comparison:
    """What a backtest found. A day is the first microsecond of it in Shanghai."""

    total: Difference
    by_kind: dict[str, Difference]
    by_day: dict[int, Difference]
    by_kind_and_day: dict[tuple[str, int], Difference]
    current: Load
    new: Load
    worst: list[Device]


@dataclass
class _Run:
    """One rule set at work, and the alarms that it has raised so far, packed."""

    engine: Engine
    assumptions: Assumptions
    areas: dict[str, int]
    packed: bytearray = field(default_factory=bytearray)
    repeated: int = 0

    def __post_init__(self) -> None:
        self.fold = Fold(self._is_handled, self._settle)

    def _is_handled(self, row: AlarmRow, at: int) -> bool:
        return row.alarm_class is not Class.TECHNICAL and at >= row.raised_at + self.assumptions.handling

    def _settle(self, row: AlarmRow) -> None:
        if row.raised_at < self.assumptions.start:
            return
        device_id, area, kind = row.key
        shown = row.raised_at if row.shown_at is None else row.shown_at
        if row.shown_at is None and row.suppressed is not None:
            shown = _HIDDEN
        self.packed += _PACKED.pack(
            -2 - self.areas.setdefault(area, len(self.areas)) if area else device_id,
            _KINDS.index(kind),
            _SEVERITIES.index(row.severity),
            row.raised_at,
            shown,
        )
        self.repeated += row.count - 1

    def judge(self, batch: Batch) -> bool:
        """Let the engine see a batch; say whether it decided anything."""
        delta = self.engine.evaluate(batch)
        self.engine.apply(delta)
        for decision in delta.transitions:
            self.fold.take(decision)
        for decision in delta.transitions:  # what is hidden at once was never seen
            row = self.fold.open.get(key_of(decision))
            if row is not None and row.shown_at is None and row.suppressed is None:
                row.shown_at = decision.at
        return bool(delta.transitions)

    def tick(self, now: int) -> None:
        """Let time pass until nothing more is due: an engine does not do all that is due at once."""
        for _ in range(_MOST_TURNS):
            if not self.judge(Batch(Lane.TELEMETRY, now)):
                return
        raise AssertionError("the engine decides something at every tick, without end")

    def rows(self) -> Rows:
        """Return all alarms, shape (n,), also those that are open; nothing may come after."""
        for row in self.fold.open.values():
            self._settle(row)
        return np.frombuffer(bytes(self.packed), _ROW)


class Backtest:
    """Feed it readings, then ask what it found."""

    def __init__(
        self,
        current: RuleSet,
        new: RuleSet,
        assumptions: Assumptions,
        passed: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Both start with nothing known; `passed` is told at each tick what time it is, and may raise."""
        self.readings = 0
        self._assumptions = assumptions
        self._passed = passed
        self._areas: dict[str, int] = {}
        self._runs = [_Run(Engine(rules), assumptions, self._areas) for rules in (current, new)]
        self._next_tick = 0

    def enrol(self, devices: Registered) -> None:
        """Tell what the registry says of devices; must come before their readings."""
        for run in self._runs:
            run.engine.enrol(devices)

    def feed(self, readings: Columns) -> None:
        """Judge readings, shape (n,), in order of receipt; earlier calls brought earlier ones."""
        if not len(readings):
            return
        received = np.maximum.accumulate(readings["received_at"])
        if not self.readings:
            self._next_tick = (int(received[0]) // self._assumptions.step + 1) * self._assumptions.step
        self.readings += len(readings)
        start = 0
        while start < len(readings):
            end = int(np.searchsorted(received, self._next_tick))
            for first in range(start, end, ROWS):
                some = readings[first : min(end, first + ROWS)]
                for run in self._runs:
                    run.judge(Batch(Lane.TELEMETRY, int(some["received_at"][-1]), readings=some))
            if end < len(readings):
                self._tick()
            start = max(start, end)

    def _tick(self) -> None:
        now = self._next_tick
        self._passed(now)
        self._next_tick += self._assumptions.step
        for run in self._runs:
            run.tick(now)
            if now // WINDOW != self._next_tick // WINDOW:
                run.fold.sweep(now)

    def finish(self) -> Comparison:
        """Let time pass up to the end, and compare; nothing may be fed after."""
        while self.readings and self._next_tick <= self._assumptions.end:
            self._tick()
        current, new = (run.rows() for run in self._runs)
        cells = _differences(current, new, self._assumptions.tolerance)
        total = Difference()
        by_kind: defaultdict[str, Difference] = defaultdict(Difference)
        by_day: defaultdict[int, Difference] = defaultdict(Difference)
        for (kind, day), cell in cells.items():
            for sum_ in (total, by_kind[kind], by_day[day]):
                sum_.add(cell)
        return Comparison(
            total,
            dict(by_kind),
            dict(sorted(by_day.items())),
            cells,
            _load(current, self._runs[0].repeated, self._assumptions),
            _load(new, self._runs[1].repeated, self._assumptions),
            _worst(current, new, list(self._areas)),
        )


def _differences(current: Rows, new: Rows, tolerance: int) -> dict[tuple[str, int], Difference]:
    """Return the numbers by kind and day, as KINDS are ordered; what is in both counts on its current day."""
    mine, other = _matched(current, new, tolerance)
    before, after = current[mine], new[other]
    shown, shown_new = current["shown_at"] != _HIDDEN, new["shown_at"] != _HIDDEN
    both = shown[mine] & shown_new[other]
    severity = after["severity"] - before["severity"]
    moved = np.where(severity == 0, after["raised_at"] - before["raised_at"], 0)
    missed, only_new = shown.copy(), shown_new.copy()
    missed[mine] = only_new[other[both]] = False
    parts = {
        "current": current[shown],
        "new": new[only_new],
        "same": before[both & (severity == 0) & (moved == 0)],
        "severer": before[both & (severity < 0)],
        "milder": before[both & (severity > 0)],
        "earlier": before[both & (moved < 0)],
        "later": before[both & (moved > 0)],
        "suppressed": before[shown[mine] & ~both],
        "missed": current[missed],
        "only_new": new[only_new],
    }
    cells: defaultdict[tuple[int, int], Difference] = defaultdict(Difference)
    for name, rows in parts.items():
        days = (rows["raised_at"] + _SHANGHAI) // _DAY * _DAY - _SHANGHAI
        for place, count in Counter(zip(rows["kind"].tolist(), days.tolist(), strict=True)).items():
            setattr(cells[place], name, count)
    for cell in cells.values():
        cell.new += cell.same + cell.severer + cell.milder + cell.earlier + cell.later
    return {(_KINDS[kind], day): cells[kind, day] for kind, day in sorted(cells)}


def _matched(current: Rows, new: Rows, tolerance: int) -> tuple[Index, Index]:
    """Return which alarms are the same in both, as places in each, shape (n,): the nearest in time first."""
    keys = ["who", "kind", "raised_at"]
    _, mine, other = np.intersect1d(current[keys], new[keys], return_indices=True)
    pairs = list(zip(mine.tolist(), other.tolist(), strict=True))
    left: defaultdict[tuple[int, int], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, (rows, matched) in enumerate(((current, mine), (new, other))):
        rest = np.ones(len(rows), np.bool_)
        rest[matched] = False
        places = np.flatnonzero(rest)
        places = places[np.argsort(rows["raised_at"][places], kind="stable")]
        for place, who, kind in zip(
            places.tolist(), rows["who"][places].tolist(), rows["kind"][places].tolist(), strict=True
        ):
            left[who, kind][side].append(place)
    for some, others in left.values():
        pairs += _nearest(some, others, current["raised_at"], new["raised_at"], tolerance)
    found = np.array(pairs, np.intp).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _nearest(
    some: list[int], others: list[int], some_at: Ints, others_at: Ints, tolerance: int
) -> list[tuple[int, int]]:
    """Pair places of one device and kind, each used once; both are given in order of time."""
    times = [int(others_at[other]) for other in others]
    apart = [
        (abs(times[n] - int(some_at[one])), one, others[n])
        for one in some
        for n in range(
            bisect_left(times, int(some_at[one]) - tolerance),
            bisect_right(times, int(some_at[one]) + tolerance),
        )
    ]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, one, other in sorted(apart):
        if one not in pairs and other not in taken:
            pairs[one] = other
            taken.add(other)
    return list(pairs.items())


def _load(rows: Rows, repeated: int, assumptions: Assumptions) -> Load:
    """Return what the alarms of one rule set would have been for staff."""
    shown = rows["shown_at"][rows["shown_at"] != _HIDDEN]
    windows = max(1, -(-(assumptions.end - assumptions.start) // WINDOW))
    window = np.clip((shown - assumptions.start) // WINDOW, 0, windows - 1)
    rates = np.bincount(window, minlength=windows) / assumptions.operators
    floods = in_flood = 0
    flood = False
    for rate in rates.tolist():
        if flood and rate < FLOOD_ENDS:
            flood = False
        elif not flood and rate > FLOOD_BEGINS:
            flood, floods = True, floods + 1
        in_flood += flood
    worst = int(rates.argmax())
    return Load(
        alarms=len(shown),
        suppressed=len(rows) - len(shown),
        repeated=repeated,
        mean=float(rates.mean()),
        peak=float(rates[worst]),
        peak_at=assumptions.start + worst * WINDOW,
        above_bearable=float((rates > BEARABLE).mean()),
        floods=floods,
        in_flood=in_flood / windows,
    )


def _worst(current: Rows, new: Rows, areas: list[str]) -> list[Device]:
    """Return who would raise the most alarms, by the new rules first."""
    before, after = (Counter(rows["who"][rows["shown_at"] != _HIDDEN].tolist()) for rows in (current, new))
    found = sorted({*before, *after}, key=lambda who: (-after[who], -before[who], who))[:WORST]
    return [
        Device(
            max(-1, who),
            areas[-2 - who] if who < -1 else "",
            before[who],
            after[who],
            _most_of(new if after[who] else current, who),
        )
        for who in found
    ]


def _most_of(rows: Rows, who: int) -> str:
    kinds = np.bincount(rows["kind"][rows["who"] == who], minlength=len(_KINDS))
    return _KINDS[int(kinds.argmax())]
