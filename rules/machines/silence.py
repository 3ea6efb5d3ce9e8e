"""Silence: a device that was heard, and then not for a number of its intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rules.durations import DAY, MINUTE, Duration, Interval
from rules.expression import Mask
from rules.look import Floats, Index, Ints, Look, Rows
from rules.machine import NEVER, Delta, Found, Registered, devices_of
from rules.machines.base import Base, Settings, earliest, of_devices, within
from rules.state import Column, State
from schemas.alarms import Move, Severity, Transition
from schemas.clock import SECOND

LEARNED_FROM: Final = 20
"""So many gaps must have been seen before an interval is believed."""
_PART: Final = 8
_DEVIATIONS: Final = 4
_LONG_AGO: Final = 1
"""When a silence began of which only the alarm is remembered."""
_COLUMNS: Final[dict[str, Column]] = {
    "silence.due": (np.int64, NEVER),
    "silence.base": (np.int64, 0),
    "silence.heard": (np.int64, 0),
    "silence.began": (np.int64, 0),
    "silence.again": (np.int64, 0),
    "silence.mean": (np.float64, 0),
    "silence.deviation": (np.float64, 0),
    "silence.gaps": (np.uint8, 0),
}


class SilenceSettings(Settings):
    """A device is silent after `misses` of its interval; durations in microseconds."""

    misses: Annotated[int, Field(strict=True, ge=1, le=100)]
    interval: Interval = 10 * MINUTE
    models: Annotated[dict[str, Interval], Field(default_factory=dict, max_length=10_000)]
    learn: Annotated[bool, Field(strict=True)] = False
    steady: Duration = 0

    def interval_of(self, model: str, heartbeat_seconds: int | None) -> int | None:
        """Return the interval that is given for a device, None if it has none of its own."""
        return heartbeat_seconds * SECOND if heartbeat_seconds else self.models.get(model)

    @property
    def least(self) -> int:
        """Return the shortest interval that is learned."""
        return max(MINUTE, self.interval // 10)

    def learned(self, mean: Floats, deviation: Floats) -> Ints:
        """Return how long devices may say nothing whose gaps are such."""
        interval = (mean + _DEVIATIONS * deviation).astype(np.int64)
        return np.asarray(self.misses * np.minimum(np.maximum(interval, self.least), DAY))


@dataclass(slots=True)
class _Life:
    """The row of one device in each array."""

    due: int
    base: int
    heard: int
    began: int
    again: int
    mean: float
    deviation: float
    gaps: int


class Silence(Base):
    """Raises at the deadline, and clears when the device is heard again and stays so.

    Times are 0 where there is none. `due` is the deadline; NEVER while none is watched, which is before a
    device was heard at all, and while it is silent and was not heard again. It is counted from `base`: when
    the device was heard or forgiven; `heard` is the truth for people. `began` is when the silence was raised,
    `again` when the device was heard since, but not yet for long enough.
    """

    name: ClassVar[str] = "silence"
    base: Ints
    began: Ints
    _due: Ints
    _heard: Ints
    _again: Ints
    _mean: Floats
    _deviation: Floats
    _gaps: npt.NDArray[np.uint8]

    def __init__(self, settings: SilenceSettings, kind: str, severity: Severity, number: int) -> None:
        super().__init__(kind, severity, number)
        self._settings = settings
        self._limit = np.zeros(0, np.int64)  # of those that learn: until they have
        self._learns = np.zeros(0, np.bool_)
        self._late = np.zeros(0, np.intp)  # whose deadline had passed before the tick
        self.news: list[Found] = []
        """What was found in the batch or tick that is being judged."""

    @classmethod
    def read(cls, entry: Mapping[str, Any], kind: str, severity: Severity, number: int) -> "Silence":
        """Check the settings; raises ValidationError."""
        return cls(SilenceSettings.model_validate(entry), kind, severity, number)

    def columns(self) -> dict[str, Column]:
        """Return deadlines, times of life and silence, and what was learned of intervals."""
        return _COLUMNS

    def bind(self, state: State) -> None:
        """Adopt the arrays."""
        self._arrays = [state[name] for name in _COLUMNS]
        self._due, self.base, self._heard, self.began, self._again = self._arrays[:5]
        self._mean, self._deviation, self._gaps = self._arrays[5:]

    # ------------------------------------------------------------------------------------------- intervals

    def enrol(self, devices: Registered) -> None:
        """Set how long each may be silent, and move the deadlines that are watched."""
        settings, ids, known = self._settings, devices.device_ids, len(self._limit)
        if (size := len(self._due)) > known:
            self._limit.resize(size, refcheck=False)
            self._learns.resize(size, refcheck=False)
            self._limit[known:] = settings.misses * settings.interval
            self._learns[known:] = settings.learn
        said = list(zip(devices.models, devices.heartbeat_seconds, strict=True))
        own = {each: settings.interval_of(*each) or 0 for each in dict.fromkeys(said)}
        intervals = np.array(list(map(own.__getitem__, said)), np.int64)
        self._limit[ids] = settings.misses * np.where(intervals, intervals, settings.interval)
        self._learns[ids] = settings.learn & (intervals == 0)
        self._watch(ids)

    def limits(self, devices: Index) -> Ints:
        """Return for how long, in microseconds, each device may say nothing."""
        limits = self._limit[devices]
        if self._settings.learn:
            learned = self._learns[devices] & (self._gaps[devices] >= LEARNED_FROM)
            who = devices[learned]
            limits[learned] = self._settings.learned(self._mean[who], self._deviation[who])
        return limits

    def _watch(self, devices: Index) -> None:
        """Reckon the deadlines of these devices anew, where one is watched."""
        base = self.base[devices]
        watched = (base != 0) & ((self.began[devices] == 0) | (self._again[devices] != 0))
        self._due[devices] = np.where(watched, base + self.limits(devices), NEVER)

    # -------------------------------------------------------------------------------------------- readings

    def see(self, look: Look, delta: Delta) -> list[Found]:
        """Note who was heard; end silences, and find those that began before a reading."""
        alive, due = look.alive, self._due[look.device]
        stirs = self._stirs(look, due)
        self.news = []
        if stirs.any():
            alive &= ~self._relive(look, stirs, delta)
        if alive.all():
            self._live(look, look.at, due, delta)
        elif alive.any():
            self._live(Rows(look.device[alive]), look.at[alive], due[alive], delta)
        return self.news

    def _stirs(self, look: Look, due: Ints) -> Mask:
        """Say which readings are of devices that are silent, or may have been between two of them."""
        settings = self._settings
        stirs: Mask = due == NEVER
        if stirs.any():  # of those that were never heard only a second reading can mean anything
            stirs &= (self.base[look.device] != 0) | (self.began[look.device] != 0) | ~look.first
        if look.batch.scan:
            stirs |= look.at > due
            if settings.learn:  # between two readings the limit may have become less
                apart = look.at[1:] - look.at[:-1] > settings.misses * settings.least
                stirs[1:] |= apart & ~look.first[1:]
        if settings.steady:
            stirs |= self._again[look.device] != 0
        return stirs

    def _live(self, rows: Rows, at: Ints, due: Ints, delta: Delta) -> None:
        """Note readings of devices that keep their intervals; `due` is of each before them."""
        who, newest = rows.who, at if rows.single else at[rows.ends]
        known = due if rows.single else due[rows.starts]
        limit = self._limit[who]
        if self._settings.learn:
            learns = np.flatnonzero(self._learns[who])
            if len(learns):
                limit[learns] = self._follow(who[learns], rows.starts[learns], rows.sizes[learns], at, delta)
            newest = np.maximum(newest, self.base[who])
        elif (
            behind := (newest + limit < known) & (known != NEVER)
        ).any():  # something later was heard before
            who, newest, limit = who[~behind], newest[~behind], limit[~behind]
        delta.updates += [
            (self.base, who, newest),
            (self._heard, who, newest),
            (self._due, who, newest + limit),
        ]

    def _follow(self, who: Index, starts: Index, sizes: Index, at: Ints, delta: Delta) -> Ints:
        """Learn from the gaps of devices, whose readings begin at `at[start]`; return their limits."""
        base, mean, deviation, gaps = self.base[who], self._mean[who], self._deviation[who], self._gaps[who]
        for turn in range(int(sizes.max())):
            place = np.flatnonzero(sizes > turn)
            now, before = at[starts[place] + turn], base[place]
            base[place] = np.maximum(before, now)
            counts = (before != 0) & (now > before) & (now - before <= DAY)
            place, gap = place[counts], (now - before)[counts].astype(np.float64)
            learned = _learned(mean[place], deviation[place], gap)
            first = gaps[place] == 0
            mean[place] = np.where(first, gap, learned[0])
            deviation[place] = np.where(first, 0.0, learned[1])
            gaps[place] = np.minimum(gaps[place] + 1, LEARNED_FROM)
        delta.updates += [(self._mean, who, mean), (self._deviation, who, deviation), (self._gaps, who, gaps)]
        return np.where(gaps < LEARNED_FROM, self._limit[who], self._settings.learned(mean, deviation))

    def _relive(self, look: Look, stirs: Mask, delta: Delta) -> Mask:
        """Judge the devices that are or may have been silent; return where their readings are."""
        devices = list(of_devices(look, stirs))
        who = np.array([device for device, _ in devices])
        done = np.isin(look.device, who)
        alive, at, row = look.alive.tolist(), look.at.tolist(), look.row.tolist()
        lives = [_Life(*each) for each in zip(*(array[who].tolist() for array in self._arrays), strict=True)]
        for (device, rows), life in zip(devices, lives, strict=True):
            limit = self._limit_of(device, life)
            for i in rows:
                now = at[i]
                if look.batch.scan and life.base and now - life.base > limit:
                    life.again = 0
                    if not life.began:
                        life.began = life.base + limit
                        self.news.append(self._raised(row[i], device, life.began, life.base, life.heard))
                if alive[i]:
                    if self._learns[device]:
                        _learn(life, now)
                        limit = self._limit_of(device, life)
                    life.base, life.heard = max(life.base, now), max(life.heard, now)
                    if life.began:
                        life.again = life.again or now
                        if now - life.again >= self._settings.steady:
                            life.began = life.again = 0
                            self.news.append(self.said(row[i], device, Move.CLEAR, now))
            is_watched = life.base and (life.again or not life.began)
            life.due = life.base + limit if is_watched else NEVER
        for array, name in zip(self._arrays, _Life.__slots__, strict=True):
            delta.updates.append((array, who, np.array([getattr(life, name) for life in lives])))
        return done

    def _limit_of(self, device: int, life: _Life) -> int:
        if self._learns[device] and life.gaps >= LEARNED_FROM:
            return int(self._settings.learned(np.array(life.mean), np.array(life.deviation)))
        return int(self._limit[device])

    def _raised(self, row: int, device: int, deadline: int, base: int, heard: int) -> Found:
        values = {"last_heard": heard, "limit": deadline - base}
        return self.said(row, device, Move.RAISE, deadline, values=values)

    # ----------------------------------------------------------------------------------------------- ticks

    def tick(self, now: int, scan: bool, delta: Delta) -> list[Found]:  # noqa: FBT001 - as a batch says it
        """Find the devices whose deadline has passed; each is raised at its deadline."""
        self.news = []
        late = self._late = devices_of(self._due < now)
        if not scan or not len(late):
            return self.news
        new = self.began[late] == 0  # the others were silent, heard again, and are silent again
        raised = earliest(late[new], self._due[late[new]])
        late = np.concatenate((raised, late[~new]))
        due = self._due[raised]
        delta.updates += [
            (self._due, late, np.full(len(late), NEVER)),
            (self._again, late, np.zeros(len(late), np.int64)),
            (self.began, raised, due),
        ]
        columns = (raised, due, self.base[raised], self._heard[raised])
        self.news = [self._raised(0, *row) for row in zip(*(each.tolist() for each in columns), strict=True)]
        return self.news

    def is_silent(self, devices: Index, now: int) -> Mask:
        """Say which devices are silent at a tick, whether that was told already or not."""
        return np.asarray((self.began[devices] != 0) | (self._due[devices] < now))

    def silent(self) -> tuple[Index, Ints]:
        """Return the devices that are silent at this tick, told or not, and when their silence began."""
        devices = np.union1d(devices_of(self.began != 0), self._late)
        began = self.began[devices]
        return devices, np.where(began, began, self._due[devices])

    def forgive(self, now: int, some: Mask) -> None:
        """Count silence from now: nobody could be heard before (start-up, broker away)."""
        known = np.flatnonzero(some & (self.base != 0))
        self.base[known] = now
        self._heard[known] = np.minimum(self._heard[known], now)  # a clock may have been set back
        self._watch(known)

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """Let the alarms say who is silent.

        Whoever is not silent by an alarm can fall silent again: a mistake here must never hide one.
        """
        silent = within(held.get(self.kind, []), self.began)
        began = self.began[silent]
        self.began[:] = 0
        self.began[silent] = np.where(began, began, np.maximum(self.base[silent], _LONG_AGO))
        self._again[self.began == 0] = 0
        self._watch(np.flatnonzero(self.base))

    def withdraw(self, now: int) -> list[Transition]:
        """Return the clears of all that are silent."""
        return self._cleared(np.flatnonzero(self.began), now)


def _learned(mean: Any, deviation: Any, gap: Any) -> tuple[Any, Any]:  # noqa: ANN401 - numbers or arrays
    """Return the mean gap and the mean deviation after one more gap."""
    error = gap - mean
    return mean + error / _PART, deviation + (abs(error) - deviation) / _PART


def _learn(life: _Life, now: int) -> None:
    """Learn from the gap before a reading."""
    gap = now - life.base
    if life.base and 0 < gap <= DAY:
        if life.gaps:
            life.mean, life.deviation = _learned(life.mean, life.deviation, gap)
        else:
            life.mean, life.deviation = float(gap), 0.0
        life.gaps = min(life.gaps + 1, LEARNED_FROM)
