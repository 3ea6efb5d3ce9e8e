"""Rules with state: a condition is raised once, may rise in severity, and clears once.

Readings are judged in columns; only where one may change something a device is gone through reading by
reading. Of most devices and rules nothing is held, so what is held is sparse: by rule, a dict of devices. For
the columns there are bits: of each device, of which rules a condition is `active` or `pending`, and when its
next timer is due.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rules.each import decided
from rules.expression import Expression, Mask
from rules.look import Index, Ints, Look
from rules.machine import NEVER, PER_TICK, UNKNOWN, Delta, Found, devices_of
from rules.ruleset import LatchedRule, Step
from rules.state import Column, State
from rules.view import View
from schemas.alarms import KINDS, Class, Move, Severity, Transition

_RANK: Final = {severity: rank for rank, severity in enumerate(Severity)}
_WORD: Final = 64
_NONE: Final = np.zeros(0, np.intp)


@dataclass(slots=True)
class Held:
    """What is held of one rule and device; times in microseconds since 1970, UNKNOWN where there is none.

    While a condition is pending, `since` and `last` are the rule times of its first and newest hit (of a
    lasting one the receipt of the first). `fired` is the rule time at which it fired last, `raised` the
    receipt from which steps count. `times` are receipts of the hits that are counted, oldest first.
    """

    active: bool = False
    since: int = UNKNOWN
    last: int = UNKNOWN
    hits: int = 0
    fired: int = UNKNOWN
    raised: int = UNKNOWN
    severity: Severity = Severity.LOW
    times: tuple[int, ...] = ()

    def copy(self) -> "Held":
        """Return another with the same in it."""
        return Held(
            self.active, self.since, self.last, self.hits, self.fired, self.raised, self.severity, self.times
        )

    @property
    def pending(self) -> bool:
        """Say whether a condition has begun that has not fired yet."""
        return self.since != UNKNOWN

    def written(self) -> list[Any]:
        """Return it as a checkpoint keeps it."""
        return [
            self.active,
            self.since,
            self.last,
            self.hits,
            self.fired,
            self.raised,
            self.severity,
            *self.times,
        ]

    @classmethod
    def read(cls, written: Sequence[Any]) -> "Held":
        """Return what a checkpoint kept."""
        active, since, last, hits, fired, raised, severity, *times = written
        return cls(active, since, last, hits, fired, raised, Severity(severity), tuple(times))


@dataclass
class _Run:
    """One rule goes through some readings of a look, and through the timers of their devices."""

    rule: LatchedRule
    found: list[Found] = field(default_factory=list)

    def timers(self, held: Held, device: int, row: int, now: int) -> None:
        """Fire what is due, by date."""
        rule, of = self.rule, (device, row)
        while (due := deadline(rule, held)) <= now:
            if held.pending:
                since = held.since
                self._fire(held, due, due)
                self._say(of, Move.RAISE, due, held, when=rule.when.text, since=since, after=rule.hold)
            elif held.active and due == _ceases(rule, held):
                held.active = False
                newest = held.times[-1]
                self._say(of, Move.CLEAR, due, held, ended=rule.when.text, since=newest, after=rule.within)
            elif step := _next(rule, held) if held.active else None:
                held.severity = step.severity
                self._say(of, Move.STEP, due, held, since=held.raised, after=step.after)
            else:  # hits that are too old to be counted
                held.times = ()

    def _say(self, of: tuple[int, int], move: Move, at: int, held: Held, **values: Any) -> None:  # noqa: ANN401
        (device, row), rule = of, self.rule
        said = Transition(device, rule.kind, move, at, held.severity, values=values, rule=rule.number)
        self.found.append((row, said))

    def _fire(self, held: Held, at: int, time: int) -> None:
        held.active, held.since = True, UNKNOWN
        held.fired, held.raised, held.severity = time, at, self.rule.severity

    def reading(self, view: View, place: int, held: Held, says: Sequence[Any]) -> None:
        """Judge a reading: receipt, rule time, whether it is a hit, a miss, fulfils `clear`, each step."""
        rule, (at, time, hit, miss, over, *risen) = self.rule, says
        if rule.count:
            if hit:
                self._count(view, place, held, at, time)
        elif over and (held.active or (rule.lasting and held.pending)):
            if held.active:
                said = rule.clear or rule.when
                self.found.append(decided(rule, view, place, Move.CLEAR, said, severity=held.severity))
            held.active, held.since = False, UNKNOWN
        elif hit and not held.active:
            self._hit(view, place, held, at, time)
        elif miss and not rule.lasting:
            held.since = UNKNOWN
        if held.active and risen:
            for step, is_so in zip(rule.steps, risen, strict=True):
                if is_so and step.when and _RANK[step.severity] < _RANK[held.severity]:
                    held.severity = step.severity
                    more = {"severity": step.severity}
                    self.found.append(decided(rule, view, place, Move.STEP, step.when, **more))

    def _hit(self, view: View, place: int, held: Held, at: int, time: int) -> None:
        rule = self.rule
        if rule.lasting:
            held.since = held.since if held.pending else at
            return
        if held.since == UNKNOWN or time - held.last > rule.gap:
            held.since, held.hits = time, 0
        held.last = time
        held.hits += 1
        if time - held.since >= rule.hold and held.hits >= rule.samples:
            self._fire_if_cool(view, place, held, (at, time), {"since": held.since, "hits": held.hits})

    def _count(self, view: View, place: int, held: Held, at: int, time: int) -> None:
        rule = self.rule
        held.times = (*held.times, at)[-rule.count :]
        if len(held.times) == rule.count and at - held.times[0] <= rule.within and not held.active:
            self._fire_if_cool(view, place, held, (at, time), {"since": held.times[0], "hits": rule.count})

    def _fire_if_cool(
        self, view: View, place: int, held: Held, when: tuple[int, int], values: dict[str, int]
    ) -> None:
        at, time = when
        if not self.rule.cooldown or held.fired == UNKNOWN or time - held.fired >= self.rule.cooldown:
            self._fire(held, at, time)
            self.found.append(decided(self.rule, view, place, Move.RAISE, self.rule.when, **values))


def _ceases(rule: LatchedRule, held: Held) -> int:
    return held.times[-1] + rule.within if rule.count and held.active else NEVER


def _next(rule: LatchedRule, held: Held) -> Step | None:
    """Return the step that comes next by the clock; none for what was raised before the rule had steps."""
    if held.raised == UNKNOWN:
        return None
    higher = (step for step in rule.steps if step.after and _RANK[step.severity] < _RANK[held.severity])
    return min(higher, key=lambda step: step.after or 0, default=None)


def deadline(rule: LatchedRule, held: Held) -> int:
    """Return when the next timer is due, NEVER if none is set."""
    if held.active:
        step = _next(rule, held)
        return min(_ceases(rule, held), held.raised + step.after if step and step.after else NEVER)
    if rule.lasting and held.pending:
        cool = held.since if held.fired == UNKNOWN else held.fired + rule.cooldown
        return max(held.since + rule.hold, cool)
    return held.times[-1] + rule.within + 1 if held.times else NEVER


Fits = Mapping[int, Mask]
"""For rules with a scope, by number: which readings are of devices within it."""
Changes = dict[int, Held]


class Latched:
    """All rules with state, over all devices."""

    def __init__(self, rules: Sequence[LatchedRule]) -> None:
        """Hold nothing of any device."""
        self.rules = rules
        self.new: set[str] = set()
        """Rules that a restored checkpoint knew nothing of."""
        self._holds: list[dict[int, Held]] = [{} for _ in rules]
        self._timed = [bool(rule.lasting or rule.count or any(s.after for s in rule.steps)) for rule in rules]
        self._of_timers = [place for place, is_timed in enumerate(self._timed) if is_timed]
        self._words = -(-len(rules) // _WORD) or 1

    def columns(self) -> dict[str, Column]:
        """Return whether anything is held of a device, of which rules, and its next timer."""
        bits = np.dtype((np.uint64, (self._words,)))
        return {
            "stirs": (np.bool_, False),
            "active": (bits, 0),
            "pending": (bits, 0),
            "due": (np.int64, NEVER),
        }

    def bind(self, state: State) -> None:
        """Adopt the arrays."""
        self._stirs, self._active, self._pending = state["stirs"], state["active"], state["pending"]
        self._due: Ints = state["due"]

    # ------------------------------------------------------------------------------------------- a batch

    def see(self, view: View, fits: Fits, delta: Delta) -> list[Found]:
        """Judge a batch of readings."""
        look = view.look
        held = np.flatnonzero(self._stirs.take(look.device))
        who = look.device[held]
        overdue = held[self._due[who] <= look.at[held]]
        active, pending = (_Bits(held, array.take(who, axis=0)) for array in (self._active, self._pending))
        found: list[Found] = []
        changes: list[Changes] = []
        for place, rule in enumerate(self.rules):
            timed = overdue if self._timed[place] else _NONE
            rows = _Rows(rule, view, fits.get(rule.number), (active.of(place), pending.of(place), timed))
            changed: Changes = {}
            if len(rows.places):
                run = _Run(rule, found)
                self._go_through(place, run, rows, view, changed)
            changes.append(changed)
        self._change(changes, delta)
        return found

    def _go_through(self, place: int, run: _Run, rows: "_Rows", view: View, changed: Changes) -> None:
        """Judge readings one by one, each device's in their order."""
        look, holds, rule, is_timed = view.look, self._holds[place], run.rule, self._timed[place]
        places, current, held = rows.places, -1, Held()
        of_look = (places, *(each[places] for each in (look.device, look.row)))
        said = (look.at[places], look.time[places], rows.hit, rows.miss, rows.over, *rows.risen)
        listed = zip(*(column.tolist() for column in (*of_look, rows.active, *said)), strict=True)
        for at_place, device, row, is_active, *says in listed:
            if device != current:
                current, known = device, holds.get(device)
                held = known.copy() if known else Held(is_active, severity=rule.severity)
                changed[device] = held
            if is_timed and deadline(rule, held) <= says[0]:
                run.timers(held, device, row, says[0])
            run.reading(view, at_place, held, says)

    def _held(self, place: int, device: int) -> Held:
        """Return a copy of what is held of a rule and device."""
        known = self._holds[place].get(device)
        if known is not None:
            return known.copy()
        word, bit = divmod(place, _WORD)
        is_active = int(self._active[device, word]) >> bit & 1
        return Held(bool(is_active), severity=self.rules[place].severity)

    def _change(self, changes: list[Changes], delta: Delta) -> None:
        """Note in a delta what rules hold of devices from now on; `changes` by rule."""
        devices = sorted(set().union(*changes))
        if not devices:
            return
        index = {device: i for i, device in enumerate(devices)}
        who = np.array(devices)
        active, pending, due = (array[who].tolist() for array in (self._active, self._pending, self._due))
        timed: set[int] = set()
        for place, changed in enumerate(changes):
            if not changed:
                continue
            word, bit = divmod(place, _WORD)
            one, kept = 1 << bit, {}
            for device, held in changed.items():
                i = index[device]
                active[i][word] = active[i][word] | one if held.active else active[i][word] & ~one
                pending[i][word] = (
                    pending[i][word] | one if held.since != UNKNOWN else pending[i][word] & ~one
                )
                kept[device] = held if _is_kept(self.rules[place], held) else None
            delta.held.append((self._holds[place], kept))
            if self._timed[place]:
                timed |= changed.keys()
        for device in timed:
            due[index[device]] = self._next_due(device, changes)
        words = [np.array(each, np.uint64) for each in (active, pending)]
        stirs = words[0].any(axis=1) | words[1].any(axis=1) | (np.array(due) != NEVER)
        delta.updates += [
            (self._active, who, words[0]),
            (self._pending, who, words[1]),
            (self._due, who, np.array(due)),
            (self._stirs, who, stirs),
        ]

    def _next_due(self, device: int, changes: list[Changes]) -> int:
        """Return when the next timer of a device is due."""
        due = NEVER
        for place in self._of_timers:
            held = changes[place].get(device) or self._holds[place].get(device)
            if held is not None:
                due = min(due, deadline(self.rules[place], held))
        return due

    # -------------------------------------------------------------------------------------------- a tick

    def tick(self, now: int, delta: Delta) -> list[Found]:
        """Fire the timers that are due."""
        stirring = devices_of(self._stirs)
        due = stirring[self._due[stirring] <= now]
        if not len(due):
            return []
        due = due[np.argsort(self._due[due], kind="stable")[:PER_TICK]]
        found: list[Found] = []
        changes: list[Changes] = []
        for place, rule in enumerate(self.rules):
            changed: Changes = {}
            if self._timed[place]:
                run = _Run(rule, found)
                for device in due.tolist():
                    if device in self._holds[place]:
                        changed[device] = self._held(place, device)
                        run.timers(changed[device], device, 0, now)
            changes.append(changed)
        self._change(changes, delta)
        return found

    # ----------------------------------------------------------------------------- checkpoints and reloads

    def written(self, devices: range) -> dict[str, Any]:
        """Return what a checkpoint keeps of devices: by rule, places in the range."""
        found: dict[str, Any] = {}
        for place, rule in enumerate(self.rules):
            holds = self._holds[place]
            active = np.flatnonzero(self._is(self._active, place, devices))
            some = (each for each in devices if each in holds) if holds else ()
            held = {str(each - devices.start): holds[each].written() for each in some}
            found[rule.fingerprint] = {"active": active.tolist(), "held": held}
        return found

    def read(self, devices: range, written: Mapping[str, Any]) -> None:
        """Adopt what a checkpoint kept of devices; rules that were not in it are `new`."""
        for place, rule in enumerate(self.rules):
            kept = written.get(rule.fingerprint)
            if kept is None:
                self.new.add(rule.fingerprint)
                kept = {"active": [], "held": {}}
            holds = self._holds[place]
            for device in devices if holds else ():
                holds.pop(device, None)
            holds |= {devices.start + int(each): Held.read(held) for each, held in kept["held"].items()}
            is_active = np.zeros(len(devices), np.bool_)
            is_active[kept["active"]] = True
            is_pending = np.zeros(len(devices), np.bool_)
            is_pending[[int(each) for each, held in kept["held"].items() if Held.read(held).pending]] = True
            self._set(place, devices, is_active, is_pending)
        self._reckon(devices)

    def begin(self) -> None:
        """Forget what happened to rules that are new: it raised no alarm."""
        devices = range(len(self._due))
        nothing = np.zeros(len(devices), np.bool_)
        for place, rule in enumerate(self.rules):
            if rule.fingerprint in self.new:
                self._holds[place].clear()
                self._set(place, devices, nothing, nothing)
        if self.new:
            self._reckon(devices)
        self.new.clear()

    def take_over(self, before: "Latched") -> None:
        """Adopt what the same rules held before a reload."""
        devices = range(len(self._due))
        known = {rule.fingerprint: before.known(place, devices) for place, rule in enumerate(before.rules)}
        for place, rule in enumerate(self.rules):
            if rule.fingerprint in known:
                self._holds[place], active, pending = known[rule.fingerprint]
                self._set(place, devices, active, pending)
        self.new = before.new & {rule.fingerprint for rule in self.rules}
        self._reckon(devices)

    def known(self, place: int, devices: range) -> tuple[Changes, Mask, Mask]:
        """Return what a rule holds, and of which devices a condition is active and pending."""
        active, pending = (self._is(words, place, devices) for words in (self._active, self._pending))
        return self._holds[place], active, pending

    def withdraw(self, rules: Iterable[str], now: int) -> list[Transition]:
        """Return the clears of technical conditions of rules that are taken out, by fingerprint."""
        gone = set(rules)
        found = []
        for place, rule in enumerate(self.rules):
            if rule.fingerprint in gone and KINDS[rule.kind].alarm_class is Class.TECHNICAL:
                active = np.flatnonzero(self._is(self._active, place, range(len(self._due))))
                for device in active.tolist():
                    severity = self._held(place, device).severity
                    clear = Transition(device, rule.kind, Move.CLEAR, now, severity, rule=rule.number)
                    found.append(clear)
        return found

    @staticmethod
    def _is(words: npt.NDArray[np.uint64], place: int, devices: range) -> Mask:
        word, bit = divmod(place, _WORD)
        return (words[devices.start : devices.stop, word] >> np.uint64(bit) & np.uint64(1)).astype(np.bool_)

    def _set(self, place: int, devices: range, active: Mask, pending: Mask) -> None:
        word, bit = divmod(place, _WORD)
        for words, so in ((self._active, active), (self._pending, pending)):
            some = words[devices.start : devices.stop, word]
            some &= ~np.uint64(1 << bit)
            some |= so.astype(np.uint64) << np.uint64(bit)

    def _reckon(self, devices: range) -> None:
        """Reckon the timers of devices anew, and of which of them anything is held."""
        some = slice(devices.start, devices.stop)
        due = np.full(len(devices), NEVER)
        for rule, holds, is_timed in zip(self.rules, self._holds, self._timed, strict=True):
            if is_timed:
                for device in (each for each in devices if each in holds) if holds else ():
                    place = device - devices.start
                    due[place] = min(int(due[place]), deadline(rule, holds[device]))
        self._due[some] = due
        held = self._active[some].any(axis=1) | self._pending[some].any(axis=1)
        self._stirs[some] = held | (due != NEVER)


def _is_kept(rule: LatchedRule, held: Held) -> bool:
    """Say whether more is to be held than a bit says."""
    if held.since != UNKNOWN or held.times:
        return True
    return (held.active and bool(rule.steps)) or (rule.cooldown > 0 and held.fired != UNKNOWN)


class _Bits:
    """For some readings, of which rules something is so of their device."""

    def __init__(self, places: Index, words: npt.NDArray[np.uint64]) -> None:
        self._places = places
        self._words = words
        self._any = np.bitwise_or.reduce(words, axis=0).tolist()

    def of(self, place: int) -> Index:
        """Return the readings for which it is so of a rule."""
        word, bit = divmod(place, _WORD)
        if not self._any[word] >> bit & 1:
            return _NONE
        is_so: Mask = (self._words[:, word] >> np.uint64(bit) & np.uint64(1)) != 0
        return self._places[is_so]


class _Rows:
    """What the readings of a look say of a rule: only those of devices of which one may change something.

    `active` and `pending` are readings of devices of which the condition is so before the batch; `timed` are
    those that come when a timer of their device is due. `places` are the places in the look of those that are
    to be gone through; the columns are of these.
    """

    def __init__(self, rule: LatchedRule, view: View, fits: Mask | None, watched: Sequence[Index]) -> None:
        active, pending, timed = watched
        self.places = _NONE
        is_watched = any(map(len, watched))
        asked = rule.expressions if is_watched else [rule.when]
        if not len(timed) and not any(view.may_concern(each) for each in asked):
            return
        hits = rule.when.hits(view) if view.may_concern(rule.when) else _NONE
        if not is_watched and not len(hits):
            return
        some = _of_same_devices(view.look, np.concatenate((hits, *watched)))
        self._part, self._fits = view.part(some), None if fits is None else fits[some]
        hit, miss = rule.when.judge(self._part)
        within = self._fits
        if rule.schedule:
            within = rule.schedule.holds(view.look.time[some]) & (True if within is None else within)
        if within is not None:
            hit, miss = hit & within, miss & within
        over = self._said(rule.clear) if rule.clear else miss
        risen = [self._said(s.when) if s.when else np.zeros_like(hit) for s in rule.steps]
        stirs = hit.copy()
        was_active, was_pending = (np.searchsorted(some, each) for each in (active, pending))
        if not rule.count:
            stirs[was_active] = over[was_active]
        for mask in risen:
            stirs[was_active] |= mask[was_active]
        stirs[was_pending] = over[was_pending] if rule.lasting else (hit | miss)[was_pending]
        stirs[np.searchsorted(some, timed)] = True
        if not view.look.single:  # a device's reading can make its later ones mean something
            said = stirs | hit | miss | over
            stirs = np.isin(view.look.of[some], view.look.of[some[stirs]])
            if not (rule.lasting or rule.count or rule.steps):
                stirs &= said
        self.active = np.zeros_like(hit)
        self.active[was_active] = True
        self.places = some[stirs]
        self.active, self.hit, self.miss, self.over = (e[stirs] for e in (self.active, hit, miss, over))
        self.risen = [each[stirs] for each in risen]

    def _said(self, expression: Expression) -> Mask:
        hit, _ = expression.judge(self._part)
        return hit if self._fits is None else hit & self._fits


def _of_same_devices(look: Look, places: Index) -> Index:
    """Return these places and those of all other readings of their devices, in order."""
    if look.single:
        return np.unique(places)
    of_device = np.zeros(len(look.who), np.bool_)
    of_device[look.of[places]] = True
    return np.flatnonzero(of_device[look.of])
