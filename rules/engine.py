"""The engine: state as arrays over devices; `evaluate` decides, `apply` adopts.

`evaluate` performs nothing and changes nothing, so a commit that fails can be tried again with the same
answer. A device's number is its index in every array. No clock, no I/O; the same readings in the same order
give the same transitions however they are cut into batches.
"""

import io
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from rules import each
from rules.latched import Latched
from rules.look import Index, Look, Memory
from rules.machine import Delta, Found, Machine, Registered
from rules.machines import MACHINES, acquaint
from rules.roster import Roster
from rules.ruleset import EachRule, MachineRule, RuleSet
from rules.state import Column, State
from rules.view import View
from schemas.alarms import KINDS, Class, Move, Transition
from schemas.readings import Batch

PIECE = 4096
"""Devices in one piece of a checkpoint: a piece is written in milliseconds, a million devices are not."""
_SPARSE: Final = "sparse"
_OF_0_3: Final = {"silence.base": "heard", "silence.heard": "heard"}
"""What checkpoints of release 0.3 call a column: without it, nobody would be missed who was heard before."""
_SPOKEN: Final = frozenset({Move.RAISE, Move.CLEAR})


class Engine:
    """Judge batches of readings by a rule set."""

    def __init__(self, rules: RuleSet) -> None:
        """Start with no device known."""
        self._state = State()  # what a checkpoint keeps
        self._roster = Roster()
        self._is_incomplete = False
        self._owners: dict[
            str, dict[int, str]
        ] = {}  # by shared kind and device: the rule that raised it last
        self._latched = Latched(())
        self._latched.bind(_columns(self._latched.columns(), 0))
        self._set_up(rules, _machines(rules, {}))

    def _set_up(self, rules: RuleSet, machines: list[Machine]) -> None:
        """Work by these rules from now on; whatever was known by a name that there still is stays known."""
        self.rules = rules
        self._machines = machines
        self._prints = {rule.number: rule.fingerprint for rule in (*rules.each, *rules.latched)}
        self._prints |= {machine.number: machine.fingerprint for machine in machines}
        self._stateless = {rule.number for rule in rules.each}
        self._memory = Memory(rules.expressions)
        columns = self._memory.columns()
        for machine in machines:
            columns |= machine.columns()
        for name in set(self._state.names()) - columns.keys():
            self._state.drop(name)
        for name, column in columns.items():
            self._state.add(name, column)
        self._memory.bind(self._state)
        for machine in machines:
            machine.bind(self._state)
        before, self._latched = self._latched, Latched(rules.latched)
        self._scoped = [rule for rule in (*rules.each, *rules.latched) if rule.scope]
        scopes = {_fits(rule): (np.bool_, False) for rule in self._scoped}
        self._flags = _columns(self._latched.columns() | scopes, self._state.size)
        self._latched.bind(self._flags)
        self._latched.take_over(before)
        self._limits = self._roster.limits(rules.thresholds)
        known = set(self._prints.values())
        self._owners = {
            kind: {who: rule for who, rule in self._owners.get(kind, {}).items() if rule in known}
            for kind in rules.shared
        }

    def adopt(self, rules: RuleSet, now: int) -> list[Transition]:
        """Change the rules between two batches; return what ends by it: technical conditions of rules gone.

        Rules that are the same keep their state, new ones begin empty.
        """
        known = {
            _said(rule): machine for rule, machine in zip(self.rules.machines, self._machines, strict=True)
        }
        machines = _machines(rules, known)
        prints = {rule.fingerprint for rule in (*rules.each, *rules.latched)}
        prints |= {machine.fingerprint for machine in machines}
        ended = self._latched.withdraw(set(self._prints.values()) - prints, now)
        for machine in self._machines:
            if machine.fingerprint not in prints:
                ended += machine.withdraw(now)
        said = self._told([(0, each) for each in ended], Delta())
        for machine, rule in zip(machines, rules.machines, strict=True):
            machine.number = rule.number
        new = [machine for machine in machines if machine not in self._machines]
        self._set_up(rules, machines)
        devices = self._roster.all()
        if len(devices.device_ids):
            for machine in new:
                machine.enrol(devices)
        self._fit(devices.device_ids)
        return [each for _, each in said if KINDS[each.kind].alarm_class is Class.TECHNICAL]

    # -------------------------------------------------------------------------------------------- devices

    def enrol(self, devices: Registered) -> None:
        """Make room for devices and learn what the registry says of them, or says anew."""
        if not len(devices.device_ids):
            return
        size = int(devices.device_ids.max()) + 1
        self._state.grow(size)
        self._flags.grow(self._state.size)
        self._roster.put(devices, self._state.size)
        for machine in self._machines:
            machine.enrol(devices)
        self._fit(devices.device_ids)

    def _fit(self, ids: Index) -> None:
        for rule in self._scoped:
            self._flags[_fits(rule)][ids] = self._roster.fits(rule.scope, ids)

    def forgive(self, now: int, pieces: Iterable[int] | None = None) -> None:
        """Count absence from `now` at the earliest: nobody could be heard before (start-up, broker away).

        A restore repeats it for those pieces that were taken before.
        """
        some = np.full(self._state.size, pieces is None)
        for piece in pieces or ():
            some[piece * PIECE : (piece + 1) * PIECE] = True
        for machine in self._machines:
            machine.forgive(now, some)

    # -------------------------------------------------------------------------------------------- batches

    def evaluate(self, batch: Batch) -> Delta:
        """Return what a batch means; its readings must be in order of receipt.

        A batch of nothing, without receipts, is a tick: timers move.
        """
        delta = Delta()
        found: list[Found] = []
        if len(batch.readings):
            newest = int(batch.readings["device_id"].max())
            if newest >= self._state.size:  # the history may name a device that the registry has lost
                self.enrol(Registered.strangers([newest]))
            with np.errstate(all="ignore"):  # infinities and the like are absent, or just great
                found = self._told(self._see(batch, delta), delta)
        elif not len(batch.receipts) and not batch.letters:
            found = self._told(self._tick(batch, delta), delta)
        delta.transitions = [transition for _, transition in found]
        return delta

    def _see(self, batch: Batch, delta: Delta) -> list[Found]:
        look = Look(batch)
        limits = self._limits.of(look)
        fits = {rule.number: self._flags[_fits(rule)][look.device] for rule in self._scoped}
        if batch.letters:  # what is re-driven tells nothing of now: no state learns from it
            found = each.see(self.rules.each, View(look, limits, fresh=False), fits)
            for machine in self._machines:
                if machine.on_receipt:
                    found += [each for each in machine.see(look, Delta()) if each[1].move in _SPOKEN]
            return sorted(found, key=_row)
        self._memory.freshen(look, delta.updates)
        view = View(look, limits, fresh=True)
        found = each.see(self.rules.each, View(look, limits, fresh=False) if look.any_stale else view, fits)
        found += self._latched.see(view, fits, delta)
        for machine in self._machines:
            found += machine.see(look, delta)
        found.sort(key=_row)
        return sorted(found + self._second_thoughts(found, delta), key=_row)

    def _tick(self, batch: Batch, delta: Delta) -> list[Found]:
        found = self._latched.tick(batch.now, delta)
        for machine in self._machines:
            found += machine.tick(batch.now, batch.scan, delta)
        found.sort(key=_date)
        return sorted(found + self._second_thoughts(found, delta), key=_date)

    def _second_thoughts(self, found: list[Found], delta: Delta) -> list[Found]:
        return [more for machine in self._machines for more in machine.see_transitions(found, delta)]

    def _told(self, found: list[Found], delta: Delta) -> list[Found]:
        """Leave out the clears of rules that did not raise an alarm of a shared kind last."""
        owners: dict[str, dict[int, str]] = {kind: {} for kind in self._owners}
        told = []
        for row, said in found:
            if said.kind in owners and said.device_id >= 0:
                mine, last = self._prints[said.rule], owners[said.kind]
                if said.move is Move.RAISE:
                    last[said.device_id] = mine
                elif said.move is Move.CLEAR:
                    owner = last.get(said.device_id) or self._owners[said.kind].get(said.device_id)
                    if owner != mine and (owner or said.rule in self._stateless):
                        continue  # if nobody knows (rules changed since), rather end one that is another's
            told.append((row, said))
        delta.held += [(self._owners[kind], changed) for kind, changed in owners.items() if changed]
        return told

    @staticmethod
    def apply(delta: Delta) -> None:
        """Adopt a delta, once, before the next `evaluate`."""
        delta.apply()

    # ---------------------------------------------------------------------------------------- checkpoints

    @property
    def pieces(self) -> int:
        """Return how many pieces the state has: each is the state of PIECE devices."""
        return -(-self._state.size // PIECE)

    @staticmethod
    def pieces_of(device_ids: Iterable[int]) -> set[int]:
        """Return the pieces in which these devices are."""
        return {device_id // PIECE for device_id in device_ids}

    def checkpoint(self, piece: int) -> bytes:
        """Return the state of one piece as bytes."""
        devices = range(piece * PIECE, min((piece + 1) * PIECE, self._state.size))
        arrays = self._state.take(slice(devices.start, devices.stop))
        sparse = {
            "rules": self._latched.written(devices),
            "owners": self._written_owners(devices),
            "machines": self._state.written(devices),
        }
        arrays[_SPARSE] = np.frombuffer(json.dumps(sparse).encode(), np.uint8)
        stream = io.BytesIO()
        names = np.array(list(arrays))
        numbered = {f"a{i}": array for i, array in enumerate(arrays.values())}
        np.savez(stream, allow_pickle=False, names=names, **numbered)
        return zlib.compress(stream.getvalue(), 1)

    def _written_owners(self, devices: range) -> dict[str, dict[str, str]]:
        return {
            kind: {str(who - devices.start): known[who] for who in devices if who in known}
            for kind, known in self._owners.items()
            if known
        }

    def restore(self, piece: int, state: bytes) -> range:
        """Adopt a checkpoint, return the pieces in it; rules that were not in it start anew after `begin`."""
        with np.load(io.BytesIO(zlib.decompress(state)), allow_pickle=False) as file:
            arrays = {str(name): file[f"a{i}"] for i, name in enumerate(file["names"])}
        sparse = json.loads(arrays.pop(_SPARSE, np.frombuffer(b"{}", np.uint8)).tobytes())
        for name, old in _OF_0_3.items():
            if old in arrays:
                arrays.setdefault(name, arrays[old])
        size = max(len(array) for array in arrays.values())
        devices = range(piece * PIECE, piece * PIECE + size)
        if devices.stop > self._state.size:
            self.enrol(Registered.strangers([devices.stop - 1]))
        missing = self._state.put(slice(devices.start, devices.stop), arrays)
        self._latched.read(devices, sparse.get("rules", {}))
        self._state.read(devices, sparse.get("machines", {}))
        for kind, known in self._owners.items():
            for who in devices if known else ():
                known.pop(who, None)
            for place, rule in sparse.get("owners", {}).get(kind, {}).items():
                known[devices.start + int(place)] = rule
        self._is_incomplete |= bool(missing or self._latched.new)
        return range(piece, piece + -(-size // PIECE))

    @property
    def has_new_rules(self) -> bool:
        """Say whether a restore met a checkpoint that knew less rules."""
        return self._is_incomplete

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """End a restore: `held` are the devices whose condition of a kind holds in an open alarm.

        What the replay did to rules that are new raised no alarm, so it is forgotten.
        """
        self._latched.begin()
        for machine in self._machines:
            machine.begin(held)
        self._is_incomplete = False


def _machines(rules: RuleSet, known: Mapping[str, Machine]) -> list[Machine]:
    """Return the machines of a rule set, who know each other; new ones know no device."""
    machines = [
        known.get(_said(rule))
        or MACHINES[rule.machine].read(rule.entry, rule.kind, rule.severity, rule.number)
        for rule in rules.machines
    ]
    acquaint(machines)
    return machines


def _said(rule: MachineRule) -> str:
    return repr((rule.machine, rule.kind, rule.severity, rule.entry))


def _columns(columns: Mapping[str, Column], size: int) -> State:
    state = State()
    state.grow(size)
    for name, column in columns.items():
        state.add(name, column)
    return state


def _fits(rule: EachRule) -> str:
    return f"fits {rule.number}"


def _row(found: Found) -> int:
    return found[0]


def _date(found: Found) -> int:
    return found[1].at
