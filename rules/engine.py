"""The engine: state as a struct of arrays over devices; `evaluate` decides, `apply` adopts.

`evaluate` performs nothing and changes nothing, so a commit that fails can be tried again with the same
answer. A device's number is its index in every array. Rules of this file: only + - and comparisons on times,
no clock, no I/O; the same readings in the same order give the same transitions however they are cut into
batches.
"""

import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rules.ruleset import Rule, RuleSet
from schemas.alarms import Move, Transition
from schemas.readings import Batch, Columns, Event, Quality

Ints = npt.NDArray[np.int64]
Index = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

_NO_EVENT, _LATE = int(Event.NONE), int(Quality.LATE)
PIECE = 4096
"""Devices in one piece of a checkpoint: a piece is written in milliseconds, a million devices are not."""
_UNHEARD = 0
_NEVER = np.iinfo(np.int64).max
_OLDEST = np.iinfo(np.int64).min
_QUALITY = {Quality.LATE: "late", Quality.UNREADABLE: "unreadable"}


@dataclass
class Delta:
    """What a batch changes: transitions in the order of their readings, and new values for state arrays.

    `latest` are times that only move on: of each place the latest counts. They are adopted before `updates`.
    """

    transitions: list[Transition] = field(default_factory=list)
    latest: list[tuple[Ints, Index, Ints]] = field(default_factory=list)
    updates: list[tuple[npt.NDArray[Any], Index, npt.NDArray[Any]]] = field(default_factory=list)


@dataclass
class _Latch:
    """State of one latched rule over n devices."""

    active: Mask
    since: Ints  # first hit of the pending condition; _NEVER while none is pending
    last: Ints  # time of the newest reading judged

    @classmethod
    def empty(cls, n: int) -> "_Latch":
        return cls(np.zeros(n, np.bool_), np.full(n, _NEVER), np.full(n, _OLDEST))

    def take(self, index: Index) -> "_Latch":
        return _Latch(self.active[index], self.since[index], self.last[index])


class Engine:
    """Judge batches of readings by a rule set."""

    def __init__(self, rules: RuleSet) -> None:
        """Start with no device known."""
        self.rules = rules
        self._heard = np.zeros(0, np.int64)
        self._silent = np.zeros(0, np.bool_)
        self._limit = np.zeros(0, np.int64)
        self._latches = {rule.fingerprint: _Latch.empty(0) for rule in rules.latched}
        self._new: set[str] = set()

    def enrol(self, device_ids: list[int], models: list[str], heartbeat_seconds: list[int | None]) -> None:
        """Make room for devices and set how long each may be silent."""
        if not device_ids:
            return
        self._grow(max(device_ids) + 1)
        silence = self.rules.silence
        if silence is None:
            return
        limits = [silence.limit(*each) for each in zip(models, heartbeat_seconds, strict=True)]
        self._limit[device_ids] = limits

    def _grow(self, size: int) -> None:
        known = len(self._heard)
        if size <= known:
            return
        more = max(size, known + known // 4) - known
        self._heard = np.append(self._heard, np.full(more, _UNHEARD, np.int64))
        self._silent = np.append(self._silent, np.zeros(more, np.bool_))
        self._limit = np.append(self._limit, np.full(more, _NEVER))
        for name, latch in self._latches.items():
            new = _Latch.empty(more)
            self._latches[name] = _Latch(
                np.append(latch.active, new.active),
                np.append(latch.since, new.since),
                np.append(latch.last, new.last),
            )

    def evaluate(self, batch: Batch) -> Delta:
        """Return what a batch means; its readings must be in order of receipt, its devices enrolled."""
        delta = Delta()
        self._grow(int(batch.readings["device_id"].max(initial=-1)) + 1)
        found: list[tuple[int, Transition]] = []
        if batch.letters:  # what is re-driven tells nothing of now: no state learns from it
            found += [each for rule in self.rules.each for each in _each(rule, batch.readings)]
        elif len(batch.readings):
            for rule in self.rules.each:
                found += _each(rule, batch.readings)
            time, late = _rule_time(batch.readings), _measured_late(batch.readings)
            for rule in self.rules.latched:
                found += self._latched(rule, batch.readings, time, late, delta)
            found += self._heard_from(batch, delta)
        elif batch.scan and not len(batch.receipts):
            found += self._scan(batch.now, delta)
        found.sort(key=lambda pair: pair[0])
        delta.transitions = [transition for _, transition in found]
        return delta

    @staticmethod
    def apply(delta: Delta) -> None:
        """Adopt a delta, once, before the next `evaluate`."""
        for times, index, values in delta.latest:
            np.maximum.at(times, index, values)
        for target, index, values in delta.updates:
            target[index] = values

    def forgive(self, now: int) -> None:
        """Count silence from `now` at the earliest: nobody could be heard before (start-up, broker away)."""
        self._heard[self._heard != _UNHEARD] = now

    def _latched(
        self, rule: Rule, readings: Columns, time: Ints, late: Mask, delta: Delta
    ) -> list[tuple[int, Transition]]:
        """Run a rule with state over the readings that concern it.

        Where nothing hits and nothing is pending or active, a reading only moves the time of the newest on.
        """
        known = rule.when.concerns(readings)
        concerned = known | rule.clear.concerns(readings) if rule.clear else known
        rows: Index = np.flatnonzero(concerned & ~late)
        if not len(rows):
            return []
        state, device = self._latches[rule.fingerprint], readings["device_id"][rows]
        delta.latest.append((state.last, device, time[rows]))
        stirs = rule.when.test(readings)[rows] | state.active[device] | (state.since[device] != _NEVER)
        if not stirs.any():
            return []
        rows = rows[np.isin(device, device[stirs])]
        devices, local = np.unique(readings["device_id"][rows], return_inverse=True)
        seen = _look(rule, readings[rows], known[rows])
        work = state.take(devices)
        found: list[tuple[int, Transition]] = []
        for turn in _turns(local):
            fired, cleared = _step(rule, work, local[turn], seen[turn])
            found += [_raised(rule, readings, int(row)) for row in rows[turn[fired]]]
            found += [_cleared(rule, readings, int(row)) for row in rows[turn[cleared]]]
        delta.updates += [(state.active, devices, work.active), (state.since, devices, work.since)]
        return found

    def _heard_from(self, batch: Batch, delta: Delta) -> list[tuple[int, Transition]]:
        """Note who was heard; end silences, and find those that began and ended between two readings."""
        rule = self.rules.silence
        rows: Index = np.flatnonzero(batch.readings["alive"])
        if rule is None or not len(rows):
            return []
        device, at = batch.readings["device_id"][rows], batch.readings["received_at"][rows]
        delta.latest.append((self._heard, device, at))
        first = np.where(self._heard[device] == _UNHEARD, at.min(), np.minimum(self._heard[device], at.min()))
        if not self._silent[device].any() and (at.max() - first <= self._limit[device]).all():
            return []
        order = rows[np.argsort(device, kind="stable")]
        device = batch.readings["device_id"][order]
        at = batch.readings["received_at"][order]
        first = np.append(True, device[1:] != device[:-1])
        before = np.maximum(np.where(first, _UNHEARD, np.append(_UNHEARD, at[:-1])), self._heard[device])
        deadline = before + np.minimum(self._limit[device], _NEVER - before)
        was_silent = first & self._silent[device]
        overdue = (before != _UNHEARD) & (at > deadline) & ~was_silent & batch.scan
        found: list[tuple[int, Transition]] = []
        for i in np.flatnonzero(was_silent | overdue):
            row, who = int(order[i]), int(device[i])
            if overdue[i]:
                values = {"last_heard": int(before[i])}
                found.append(
                    (
                        row,
                        Transition(
                            who, rule.kind, Move.RAISE, int(deadline[i]), rule.severity, values=values
                        ),
                    )
                )
            found.append((row, Transition(who, rule.kind, Move.CLEAR, int(at[i]), rule.severity)))
        delta.updates.append((self._silent, device[first], np.zeros(int(first.sum()), np.bool_)))
        return found

    def _scan(self, now: int, delta: Delta) -> list[tuple[int, Transition]]:
        """Find the devices whose deadline has passed; each is raised at its deadline."""
        rule = self.rules.silence
        if rule is None:
            return []
        due = (self._heard != _UNHEARD) & ~self._silent & (now - self._heard > self._limit)
        devices: Index = np.flatnonzero(due)
        if not len(devices):
            return []
        delta.updates.append((self._silent, devices, np.ones(len(devices), np.bool_)))
        deadline = self._heard[devices] + self._limit[devices]
        order = np.argsort(deadline, kind="stable")
        return [
            (
                rank,
                Transition(
                    int(devices[i]),
                    rule.kind,
                    Move.RAISE,
                    int(deadline[i]),
                    rule.severity,
                    values={"last_heard": int(self._heard[devices[i]])},
                ),
            )
            for rank, i in enumerate(order)
        ]

    @property
    def pieces(self) -> int:
        """Return how many pieces the state has: each is the state of PIECE devices."""
        return -(-len(self._heard) // PIECE)

    @staticmethod
    def pieces_of(device_ids: Iterable[int]) -> set[int]:
        """Return the pieces in which these devices are."""
        return {device_id // PIECE for device_id in device_ids}

    def checkpoint(self, piece: int) -> bytes:
        """Return the state of one piece as bytes."""
        arrays: dict[str, npt.NDArray[Any]] = {"heard": self._heard, "silent": self._silent}
        for name, latch in self._latches.items():
            arrays |= {
                f"{name}#active": latch.active,
                f"{name}#since": latch.since,
                f"{name}#last": latch.last,
            }
        devices = slice(piece * PIECE, (piece + 1) * PIECE)
        stream = io.BytesIO()
        np.savez(
            stream,
            allow_pickle=False,
            names=np.array(list(arrays)),
            **{f"a{i}": a[devices] for i, a in enumerate(arrays.values())},
        )
        return zlib.compress(stream.getvalue(), 1)

    def restore(self, piece: int, state: bytes) -> range:
        """Adopt a checkpoint, return the pieces in it; rules that were not in it start anew after `begin`."""
        with np.load(io.BytesIO(zlib.decompress(state)), allow_pickle=False) as file:
            arrays = {str(name): file[f"a{i}"] for i, name in enumerate(file["names"])}
        first, size = piece * PIECE, len(arrays["heard"])
        self._grow(first + size)
        devices = slice(first, first + size)
        self._heard[devices] = arrays["heard"]
        self._silent[devices] = arrays["silent"]
        for name, latch in self._latches.items():
            if f"{name}#active" in arrays:
                latch.active[devices] = arrays[f"{name}#active"]
                latch.since[devices] = arrays[f"{name}#since"]
                latch.last[devices] = arrays[f"{name}#last"]
            else:
                self._new.add(name)
        return range(piece, piece + -(-size // PIECE))

    @property
    def has_new_rules(self) -> bool:
        """Say whether a restore met a checkpoint that knew less rules."""
        return bool(self._new)

    def begin(self, silent: list[int]) -> None:
        """End a restore: `silent` are the devices whose silence is an open alarm.

        What the replay did to rules that are new raised no alarm, so it is forgotten. Whoever is not silent
        by an alarm can fall silent again: a mistake here must never hide one.
        """
        self._grow(max(silent, default=-1) + 1)
        self._silent[:] = False
        self._silent[silent] = True
        for name in self._new:
            self._latches[name] = _Latch.empty(len(self._heard))
        self._new.clear()


_SEEN = np.dtype(
    [("time", np.int64), ("is_event", np.bool_), ("hit", np.bool_), ("miss", np.bool_), ("clear", np.bool_)]
)
"""What a latched rule sees of a reading; neither hit nor miss: the reading says nothing of `when`."""


def _rule_time(readings: Columns) -> Ints:
    """Return the time that counts for rules with state: of an event its receipt, of a measurement its own."""
    return np.where(readings["event"] != _NO_EVENT, readings["received_at"], readings["ts"])


def _measured_late(readings: Columns) -> Mask:
    return np.asarray((readings["quality"] == _LATE) & (readings["event"] == _NO_EVENT))


def _look(rule: Rule, readings: Columns, known: Mask) -> Columns:
    """Return what a rule sees of readings, both of shape (n,); `known` says where `when` is decided."""
    seen = np.empty(len(readings), _SEEN)
    seen["is_event"] = readings["event"] != Event.NONE
    seen["time"] = _rule_time(readings)
    seen["hit"] = rule.when.test(readings)
    seen["miss"] = known & ~seen["hit"]
    seen["clear"] = rule.clear.test(readings) if rule.clear else seen["miss"]
    return seen


def _step(rule: Rule, work: _Latch, who: Index, seen: Columns) -> tuple[Mask, Mask]:
    """Let each device in `who`, each there once, see one reading; return which fired and which cleared.

    An event counts when it is received; a measurement counts only if it is newer than the last one judged.
    """
    active, since, last, time = work.active[who], work.since[who], work.last[who], seen["time"]
    judged = seen["is_event"] | (time > last)
    begins = np.where((since != _NEVER) & (time - last <= rule.gap), since, time)
    holds = judged & seen["hit"] & ~active
    fired = holds & (time - begins >= rule.hold)
    cleared = judged & active & seen["clear"]
    over = fired | (judged & seen["miss"])
    work.since[who] = np.where(over, _NEVER, np.where(holds, begins, since))
    work.active[who] = (active | fired) & ~cleared
    work.last[who] = np.where(judged, np.maximum(last, time), last)
    return fired, cleared


def _turns(device: Index) -> Iterator[Index]:
    """Cut rows into turns: each device at most once in a turn, its rows in their order over the turns."""
    order = np.argsort(device, kind="stable")
    ordered = device[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(starts, len(ordered)))
    turn = np.arange(len(ordered)) - np.repeat(starts, sizes)
    by_turn = order[np.argsort(turn, kind="stable")]
    ends = np.cumsum(np.bincount(turn))
    for start, end in zip(np.append(0, ends[:-1]), ends, strict=True):
        yield np.sort(by_turn[start:end])


def _each(rule: Rule, readings: Columns) -> list[tuple[int, Transition]]:
    """Fire on every hit, at the moment of receipt, whatever the reading's clock says."""
    found = [_raised(rule, readings, int(row)) for row in np.flatnonzero(rule.when.test(readings))]
    if rule.clear:
        found += [_cleared(rule, readings, int(row)) for row in np.flatnonzero(rule.clear.test(readings))]
    return found


def _raised(rule: Rule, readings: Columns, row: int) -> tuple[int, Transition]:
    reading = readings[row]
    values: dict[str, Any] = {"when": rule.when.text, "ts": int(reading["ts"])}
    values |= {name: float(reading[name]) for name in sorted(rule.when.fields) if not np.isnan(reading[name])}
    if reading["event"] != Event.NONE:
        values["event"] = Event(reading["event"]).name.lower()
    return row, Transition(
        device_id=int(reading["device_id"]),
        kind=rule.kind,
        move=Move.RAISE,
        at=int(reading["received_at"]),
        severity=rule.severity,
        quality=_QUALITY.get(Quality(reading["quality"]), "ok"),
        values=values,
    )


def _cleared(rule: Rule, readings: Columns, row: int) -> tuple[int, Transition]:
    reading = readings[row]
    return row, Transition(
        int(reading["device_id"]), rule.kind, Move.CLEAR, int(reading["received_at"]), rule.severity
    )
