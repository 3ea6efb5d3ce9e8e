"""What rules see of a batch: its readings by device, their rule time, their values that are fresh.

`Memory` is what this takes to be remembered of each device; it is a part of the engine's state.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial, reduce
from operator import or_
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rules.expression import EVENTS, SINCE, Expression, Mask
from rules.state import Column, State
from schemas.readings import READING, VALUES, Batch, Event, Quality

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Updates = list[tuple[npt.NDArray[Any], Index, npt.NDArray[Any]]]

_FIELDS: Final[Mapping[str, Any]] = READING.fields or {}
_MINUTE: Final = 60e6
_LONGEST_WALK: Final = 30
_MADE_OF: Final = 64
"""So many pulses make the usual one."""
_BELIEVED: Final = (30, 220)
_UNKNOWN: Final = int(np.iinfo(np.int64).min)
_DECIMALS: Final = 1e4
_TELLING: Final[Mapping[str, frozenset[Event]]] = {
    "worn": frozenset({Event.WORN, Event.REMOVED}),
    "mains": frozenset({Event.MAINS_LOST, Event.MAINS_RESTORED}),
    "battery": frozenset({Event.LOW_BATTERY}),
}
"""Events that tell what a field is: what was measured of it before them is stale."""


class Rows:
    """Some rows of a look, sorted by device: `who` are the devices, each once, of shape (k,).

    Columns of the rows have shape (m,); `of` is each row's place in `who`.
    """

    def __init__(self, device: Index) -> None:
        self.device = device
        self.first: Mask = np.empty(len(device), np.bool_)
        self.first[:1] = True
        np.not_equal(device[1:], device[:-1], out=self.first[1:])
        self.starts: Index = np.flatnonzero(self.first)
        self.single = len(self.starts) == len(device)
        """Whether no device is there twice."""
        self.who: Index = device if self.single else device[self.starts]

    @cached_property
    def of(self) -> Index:
        """Return each row's place in `who`."""
        return np.cumsum(self.first) - 1

    @cached_property
    def sizes(self) -> Index:
        """Return how many rows each device has."""
        return np.diff(np.append(self.starts, len(self.device)))

    @property
    def ends(self) -> Index:
        """Return the last row of each device."""
        return self.starts + self.sizes - 1

    def turns(self) -> Iterable[Index]:
        """Cut the rows into turns: each device at most once in a turn, its rows in their order."""
        starts, sizes = self.starts, self.sizes
        for turn in range(int(sizes.max(initial=0))):
            left = sizes > turn
            starts, sizes = starts[left], sizes[left]
            yield starts + turn

    def newest(self, times: Ints) -> Ints:
        """Return the greatest of each row's time and those before it of the same device."""
        found = times.copy()
        nth = np.arange(len(times)) - self.starts[self.of]
        reach = 1
        while reach < self.sizes.max(initial=0):
            before = np.maximum(found[reach:], found[:-reach])
            found[reach:] = np.where(nth[reach:] >= reach, before, found[reach:])
            reach *= 2
        return found

    def shifted(self, known: npt.NDArray[Any], column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return for each row what the row before it says; for the first of a device, what was known."""
        found = known[self.of]
        later = np.flatnonzero(~self.first)
        found[later] = column[later - 1]
        return found

    def before(self, known: Ints, newest: Ints) -> Ints:
        """Return for each row the greatest of what was known of its device and of the rows before it."""
        found: Ints = np.maximum(known[self.of], self.shifted(known, newest))
        return found


class Look(Rows):
    """A batch by device: all columns have shape (n,), are sorted by device, and by receipt within a device.

    `row` is a reading's place in the batch: what a transition is sorted by. `value` and `moved` are of fresh
    values once a `Memory` has looked, else of all.
    """

    def __init__(self, batch: Batch) -> None:
        readings = np.ascontiguousarray(batch.readings)
        n = len(readings)
        bits = n.bit_length()
        keys = readings["device_id"].astype(np.int64)
        keys <<= bits
        keys |= np.arange(n)
        keys.sort()  # a stable argsort takes five times as long
        super().__init__(keys >> bits)
        self.batch = batch
        self.row: Index = keys & ((1 << bits) - 1)
        self._words = readings.view(np.uint64).reshape(n, READING.itemsize // 8)
        self._sorted: dict[int, npt.NDArray[np.uint64]] = {}
        self.event: npt.NDArray[np.int8] = self.column("event").copy()
        self.is_event: Mask = self.event != int(Event.NONE)
        self.at: Ints = self.column("received_at")
        self.time: Ints = self.column("ts")
        """Rule time: of an event its receipt, of a measurement its own."""
        quality = self.column("quality")
        self.late: Mask = (quality == int(Quality.LATE)) | (quality == int(Quality.RETAINED))
        """Measurements that go to the history only; they still prove life."""
        self.any_event = bool(self.is_event.any())
        """Whether anything happened, beside what was measured."""
        if self.any_event:
            self.time = np.where(self.is_event, self.at, self.time)
            self.late &= ~self.is_event
        self.any_late = bool(self.late.any())
        self.states: dict[str, Callable[[], Floats]] = {}
        """What reckons a state name, NaN where absent; one that is not here is absent everywhere."""
        self.moved: Mask = np.zeros(n, np.bool_)
        """Where motion was seen or steps rose, in messages that prove life."""
        self._sent: dict[str, Floats] = {}
        self._fresh: dict[str, Floats] = {}
        self._borne: dict[str, Mask] = {}
        self._has: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self.row)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of the readings; not to be changed."""
        dtype, offset = _FIELDS[name][:2]
        word, place = divmod(offset, 8)
        if word not in self._sorted:  # copied first: rows are long, and far from each other in their order
            self._sorted[word] = self._words[:, word].copy().take(self.row)
        found: npt.NDArray[Any] = self._sorted[word].view(dtype)
        return found[place // dtype.itemsize :: 8 // dtype.itemsize]

    @property
    def last(self) -> Mask:
        """Say which readings are the last of their device."""
        return np.append(self.first[1:], True)[: len(self)]

    @cached_property
    def alive(self) -> Mask:
        """Say which readings prove that the device lives, as they were received, late or not."""
        return self.column("alive").copy()

    def tells(self, name: str) -> Mask | None:
        """Say which readings are events that tell what a field is, None if there are none."""
        events = _TELLING.get(name, frozenset()) & self.events
        return np.isin(self.event, [*map(int, events)]) if events else None

    @cached_property
    def events(self) -> frozenset[Event]:
        """Return what happened in the batch at all."""
        if not self.any_event:
            return frozenset()
        return frozenset(map(Event, np.flatnonzero(np.bincount(self.event[self.is_event])).tolist()))

    def sent(self, name: str) -> Floats:
        """Return a value as it was sent (to four decimals), NaN where it is absent or late."""
        found = self._sent.get(name)
        if found is None:
            found = self.column(name).astype(np.float64)
            found *= _DECIMALS
            np.rint(found, out=found)
            found /= _DECIMALS  # 36.6, and not the nearest number of 32 bits
            if self.any_late:
                found[self.late] = np.nan
            self._sent[name] = found
        return found

    def has(self, name: str) -> bool:
        """Say whether a value was sent at all, late or not."""
        found = self._has.get(name)
        if found is None:
            sent = self.batch.readings[name]
            found = not (np.isnan(sent[:1]).all() and np.isnan(sent).all())
            self._has[name] = found
        return found

    def bears(self, name: str, *, fresh: bool = False) -> Mask:
        """Say where a value was sent and is not late; nor stale, if it is to be fresh."""
        if fresh and name in self._fresh:
            return ~np.isnan(self._fresh[name])
        found = self._borne.get(name)
        if found is None:
            found = self._borne[name] = ~np.isnan(self.sent(name))
        return found

    def value(self, name: str) -> Floats:
        """Return a value as it was sent, NaN where it is absent, late or stale."""
        found = self._fresh.get(name)
        return self.sent(name) if found is None else found

    @property
    def any_stale(self) -> bool:
        """Say whether any value is stale."""
        return bool(self._fresh)

    def take_away(self, name: str, rows: Index | Mask) -> None:
        """Let a value be absent for rules with state."""
        found = self._fresh[name] = self.value(name).copy()
        found[rows] = np.nan


_TABLES: Final = {
    "look.vital": ("hr", "spo2", "worn", "steps"),
    "look.body": ("temp", "sbp", "dbp", "glucose"),
    "look.house": ("battery", "rssi", "mains", "motion"),
}
"""Fields that travel together: their newest times lie side by side, for each device a row."""
_WALKED_AT, _WALKED, _PULSE, _PULSES = range(4, 8)
"""Beside the vital ones, so that all is 64 bytes: the rule time of the newest steps, these (a float64), the
usual pulse (a float64), and how many made it, up to _MADE_OF."""


class Memory:
    """What is remembered of each device so that its readings can be looked at."""

    def __init__(self, expressions: Iterable[Expression]) -> None:
        """Remember what these expressions ask for, and movement."""
        expressions = list(expressions)
        states = {name for each in expressions for name in each.states}
        pulses = [each for each in expressions if "baseline_hr" in each.states]
        self._fields = {"steps", "motion"}.union(*(each.fields for each in expressions))
        self._since = sorted(name.removeprefix(SINCE) for name in states if name.startswith(SINCE))
        self._walks = "steps_per_min" in states
        self._learns = bool(pulses)
        self._everywhere = any(each.events or each.fields - set(_TABLES["look.vital"]) for each in pulses)
        """Whether a pulse is asked for where no vital sign is."""
        self._fields |= {name for name in self._since if name in VALUES}
        if self._learns:
            self._fields |= {"hr", "worn"}
        self._arrays: dict[str, Ints] = {}

    def columns(self) -> dict[str, Column]:
        """Return the newest time of each field, the steps, the pulse; and what `minutes_since` asks for."""
        found: dict[str, Column] = {}
        for table, names in _TABLES.items():
            empty = [_UNKNOWN] * len(names) + ([_UNKNOWN, 0, 0, 0] if table == "look.vital" else [])
            found[table] = (np.dtype((np.int64, (len(empty),))), empty)
        return found | {f"look.{SINCE}{name}": (np.int64, _UNKNOWN) for name in self._since}

    def bind(self, state: State) -> None:
        """Adopt the arrays."""
        self._arrays = {name: state[name] for name in self.columns()}

    def freshen(self, look: Look, updates: Updates) -> None:
        """Tell a look what is stale, who moved, and the state names; what is remembered is an update."""
        for table, names in _TABLES.items():
            told = {name: look.tells(name) for name in names if name in self._fields}
            borne = {
                name: look.bears(name) if by is None else look.bears(name) | by
                for name, by in told.items()
                if by is not None or look.has(name)
            }
            is_vital = table == "look.vital"
            if not borne and not (is_vital and self._everywhere):
                continue
            is_whole = (is_vital and self._everywhere) or any(each.all() for each in borne.values())
            part = _Part(look, None if is_whole else reduce(or_, borne.values()))
            # a row of the table for each device is read at once, then turned into columns
            known = self._arrays[table].take(part.rows.who, axis=0).T.copy()
            for name in borne:
                part.sift(name, told[name], known[names.index(name)])
            if is_vital and look.has("steps"):
                _walk(part, known, rate=self._walks)
            if is_vital and self._learns:
                _learn(part, known)
            updates.append((self._arrays[table], part.rows.who, known.T))
        if look.has("motion"):
            look.moved |= look.value("motion") == 1
        if look.moved.any():
            look.moved &= look.alive
        for name in self._since:
            updates.append(_pass(look, name, self._arrays[f"look.{SINCE}{name}"]))


class _Part:
    """Some readings of a look: its rows `at`."""

    def __init__(self, look: Look, some: Mask | None) -> None:
        """Take some of the rows, or all."""
        self.look = look
        self.rows: Rows = look
        self.at: Index | slice = slice(None)
        if some is not None and not some.all():
            self.at = np.flatnonzero(some)
            self.rows = Rows(look.device[self.at])

    def places(self, some: Mask) -> Index:
        """Return the places in the look of some of the rows."""
        found = np.flatnonzero(some)
        return found if isinstance(self.at, slice) else self.at[found]

    def spread(self, values: Floats) -> Floats:
        """Return a column of these rows as one of the look, absent elsewhere."""
        if isinstance(self.at, slice):
            return values
        found = np.full(len(self.look), np.nan)
        found[self.at] = values
        return found

    def sift(self, name: str, told: Mask | None, known: Ints) -> None:
        """Take stale values away, and know the newest time of the others, and of what events told."""
        rows, times, measured = self.rows, self.look.time[self.at], self.look.bears(name)[self.at]
        if self.look.any_event:
            measured = measured & ~self.look.is_event[self.at]
        if not measured.all():
            counts = measured if told is None else measured | told[self.at]
            times = np.where(counts, times, _UNKNOWN)
        newest = times if rows.single else rows.newest(times)
        before = known if rows.single else rows.before(known, newest)
        stale = times <= before
        if stale.any() and (stale := stale & measured).any():
            self.look.take_away(name, self.places(stale))
        np.maximum(known, newest if rows.single else newest[rows.ends], out=known)


def _walk(vital: _Part, known: Ints, *, rate: bool) -> None:
    """Find who moved, and how fast; fresh steps become the ones before."""
    look = vital.look
    part = _Part(look, look.bears("steps", fresh=True))
    rows, steps, time = part.rows, look.value("steps")[part.at], look.time[part.at]
    place: Index | slice = slice(None)
    if len(rows.who) < known.shape[1]:
        place = np.searchsorted(vital.rows.who, rows.who)
    walked, walked_at = known[_WALKED].view(np.float64), known[_WALKED_AT]
    before, then = walked[place], walked_at[place]
    if not rows.single:
        before, then = rows.shifted(before, steps), rows.shifted(then, time)
    look.moved[part.at] = (steps > before) & (then != _UNKNOWN)
    if rate:
        before, then = np.array(before), np.array(then)

        def rates() -> Floats:
            minutes = (time - then) / _MINUTE
            found = (steps - before) / minutes
            found[(then == _UNKNOWN) | (steps < before) | (minutes <= 0) | (minutes > _LONGEST_WALK)] = np.nan
            return part.spread(found)

        look.states["steps_per_min"] = rates
    walked[place] = steps if rows.single else steps[rows.ends]
    walked_at[place] = time if rows.single else time[rows.ends]


def _learn(part: _Part, known: Ints) -> None:
    """Find the usual pulse before each reading; each that can be believed moves it."""
    look, rows, hr = part.look, part.rows, part.look.value("hr")[part.at]
    believed = (hr >= _BELIEVED[0]) & (hr <= _BELIEVED[1])
    if look.has("worn"):
        believed &= look.value("worn")[part.at] != 0
    pulse, pulses = known[_PULSE].view(np.float64), known[_PULSES]
    if rows.single:
        usual = _follow(pulse, pulses, hr, believed)
    else:
        usual = np.empty(len(hr))
        for turn in rows.turns():
            who = rows.of[turn]
            now, seen = pulse[who], pulses[who]
            usual[turn] = _follow(now, seen, hr[turn], believed[turn])
            pulse[who], pulses[who] = now, seen
    look.states["baseline_hr"] = partial(part.spread, usual)


def _follow(pulse: Floats, pulses: Ints, hr: Floats, believed: Mask) -> Floats:
    """Move what is usual by a reading of each device; return what it was before."""
    usual = pulse.copy()
    usual[pulses < _MADE_OF] = np.nan
    moved = pulse + (hr - pulse) / _MADE_OF
    np.copyto(moved, hr, where=pulses == 0)
    np.copyto(pulse, moved, where=believed)
    pulses += believed
    np.minimum(pulses, _MADE_OF, out=pulses)
    return usual


def _pass(look: Look, name: str, array: Ints) -> tuple[Ints, Index, Ints]:
    """Reckon the minutes since the newest event or value of a name before each reading."""
    is_so = look.event == int(EVENTS[name]) if name in EVENTS else np.zeros(len(look), np.bool_)
    if name in VALUES:
        is_so |= look.bears(name, fresh=True)
    known, newest = array.take(look.who), look.newest(np.where(is_so, look.time, _UNKNOWN))
    before = look.before(known, newest)
    minutes = (look.time - before) / _MINUTE
    minutes[before == _UNKNOWN] = np.nan
    look.states[SINCE + name] = lambda: minutes
    return array, look.who, np.maximum(known, newest[look.ends])
