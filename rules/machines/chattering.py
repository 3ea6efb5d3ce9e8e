"""Chattering: a device whose alarm of one kind is raised again and again."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from rules.durations import DAY, Interval
from rules.expression import Mask
from rules.look import Look
from rules.machine import Delta, Found
from rules.machines.base import Base, Settings, earliest, of_devices, within
from rules.state import Column, State
from schemas.alarms import KINDS, Class, Move, Severity, Transition

_COUNTED: Final = frozenset(kind.name for kind in KINDS.values() if kind.alarm_class is not Class.LIFE)
_FORGOTTEN_AT_ONCE: Final = 500
_LATENESS: Final = DAY
"""By how much a raise may be dated before the tick or message that brings it."""


class ChatteringSettings(Settings):
    """`cycles` raises of one kind within `window`; over when none has come for `quiet`."""

    cycles: Annotated[int, Field(strict=True, ge=2, le=20)]
    window: Annotated[Interval, Field(le=31 * DAY)]
    quiet: Annotated[Interval, Field(le=31 * DAY)]


class Chattering(Base):
    """Judges what the other rules raised.

    What is held of a device that was raised lately is a list: the kind for which it is chattering or "", when
    it will have been quiet, and the times of its newest raises by kind.
    """

    name: ClassVar[str] = "chattering"
    _active: Mask
    _held: dict[int, Any]

    def __init__(self, settings: ChatteringSettings, kind: str, severity: Severity, number: int) -> None:
        super().__init__(kind, severity, number)
        self.settings = settings
        self._look: Look | None = None
        self._now = 0
        self._round: list[int] = []

    @classmethod
    def read(cls, entry: Mapping[str, Any], kind: str, severity: Severity, number: int) -> "Chattering":
        """Check the settings; raises ValidationError."""
        return cls(ChatteringSettings.model_validate(entry), kind, severity, number)

    def columns(self) -> dict[str, Column]:
        """Return who is chattering."""
        return {"chattering.active": (np.bool_, False)}

    def bind(self, state: State) -> None:
        """Adopt the array and what is held beside it."""
        self._active, self._held = state["chattering.active"], state.sparse("chattering.active")

    def see(self, look: Look, delta: Delta) -> list[Found]:  # noqa: ARG002 - it judges what is found of it
        """Remember what is being judged."""
        self._look = look
        return []

    def tick(self, now: int, scan: bool, delta: Delta) -> list[Found]:  # noqa: ARG002, FBT001 - as above
        """Remember what is being judged."""
        self._look, self._now = None, now
        return []

    def see_transitions(self, found: list[Found], delta: Delta) -> list[Found]:
        """Count raises, and find who is quiet."""
        raised: dict[int, list[Found]] = {}
        for each in found:
            said = each[1]
            counts = said.kind in _COUNTED and said.kind != self.kind and said.device_id >= 0
            if counts and said.move is Move.RAISE:
                raised.setdefault(said.device_id, []).append(each)
        look, self._look = self._look, None
        past = self._in_batch(look, raised) if look is not None else self._at_tick(raised)
        forgotten = self._forgotten(self._now) if look is None else {}
        if past or forgotten:
            changes = forgotten | {each.device: each.held for each in past}
            delta.held.append((self._held, changes))
            who = np.array([each.device for each in past], np.intp)
            delta.updates.append((self._active, who, np.array([each.of != "" for each in past], np.bool_)))
        return [each for one in past for each in one.found]

    def _in_batch(self, look: Look, raised: Mapping[int, list[Found]]) -> "list[_Past]":
        """Judge devices that are chattering or were raised, reading by reading."""
        stirs = self._active[look.device]
        if raised:
            place = np.empty(len(look), np.intp)
            place[look.row] = np.arange(len(look))
            stirs[place[[row for some in raised.values() for row, _ in some]]] = True
        past = []
        for device, places in of_devices(look, stirs):
            some = raised.get(device, [])
            one = _Past(self, device, self._held.get(device))
            for i in places:
                row = int(look.row[i])
                one.raised(said for said in some if said[0] == row)
                one.quiet(row, int(look.at[i]))
            past.append(one)
        return past

    def _at_tick(self, raised: Mapping[int, list[Found]]) -> "list[_Past]":
        """Judge devices that were raised at this tick, and those that may have become quiet."""
        active = np.flatnonzero(self._active)
        until = np.array([self._held[device][1] for device in active.tolist()], np.int64)
        due = until <= self._now
        past = []
        for device in sorted(raised.keys() | earliest(active[due], until[due]).tolist()):
            one = _Past(self, device, self._held.get(device))
            one.raised(raised.get(device, []))
            one.quiet(0, self._now)
            past.append(one)
        return past

    def _forgotten(self, now: int) -> dict[int, None]:
        """Return devices whose raises can mean nothing any more; some are looked at in turn."""
        if not self._round:
            self._round = list(self._held)
        some, self._round = self._round[-_FORGOTTEN_AT_ONCE:], self._round[:-_FORGOTTEN_AT_ONCE]
        oldest = now - self.settings.window - _LATENESS
        return {
            device: None
            for device in some
            if device in self._held
            and not self._held[device][0]
            and all(times[-1] < oldest for times in self._held[device][2].values())
        }

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """Let the alarms say who is chattering; of what, the newest raise tells."""
        chatters = np.zeros(len(self._active), np.bool_)
        chatters[within(held.get(self.kind, []), self._active)] = True
        for device in np.flatnonzero(self._active & ~chatters).tolist():
            self._held[device][0] = ""
        for device in np.flatnonzero(chatters & ~self._active).tolist():
            raises = self._held.get(device, ["", 0, {}])[2]
            newest, kind = max(((times[-1], kind) for kind, times in raises.items()), default=(0, "?"))
            self._held[device] = [kind, newest + self.settings.quiet if newest else 0, raises]
        self._active[:] = chatters

    def withdraw(self, now: int) -> list[Transition]:
        """Return the clears of all that are chattering."""
        return self._cleared(np.flatnonzero(self._active), now)


class _Past:
    """What is held of one device, and what is found of it."""

    def __init__(self, machine: Chattering, device: int, held: list[Any] | None) -> None:
        self.device = device
        self.of, self.until, raises = held or ["", 0, {}]
        self.found: list[Found] = []
        self._raises = dict(raises)
        self._machine, self._settings = machine, machine.settings

    @property
    def held(self) -> list[Any]:
        """Return what is to be held from now on."""
        return [self.of, self.until, self._raises]

    def raised(self, some: Iterable[Found]) -> None:
        """Count raises."""
        cycles, window, quiet = self._settings.cycles, self._settings.window, self._settings.quiet
        for row, said in some:
            self.quiet(row, said.at)
            times = self._raises[said.kind] = [*self._raises.get(said.kind, []), said.at][-cycles:]
            if self.of == said.kind:
                self.until = max(self.until, said.at + quiet)
            if not self.of and len(times) == cycles and said.at - times[0] <= window:
                self.of, self.until = said.kind, max(times) + quiet
                values = {"kind": said.kind, "cycles": cycles, "since": times[0]}
                self.found.append(self._machine.said(row, self.device, Move.RAISE, said.at, values=values))

    def quiet(self, row: int, now: int) -> None:
        """Find that the kind has not been raised for long enough."""
        if self.of and self.until <= now:
            self.found.append(self._machine.said(row, self.device, Move.CLEAR, self.until or now))
            self.of = ""
