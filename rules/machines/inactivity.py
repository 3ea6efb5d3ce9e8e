"""Inactivity: no movement for longer than the hour of the day allows."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from rules.durations import SHANGHAI, Interval, Zone, clock_minute, moment_of, wall
from rules.expression import Mask
from rules.look import Ints, Look
from rules.machine import NEVER, Delta, Found, devices_of
from rules.machines.base import Base, Settings, earliest, within
from rules.machines.silence import Silence
from rules.state import Column, State
from schemas.alarms import Move, Severity, Transition
from schemas.readings import Event

PRESSES = (Event.SOS, Event.CHECK_IN, Event.TEST, Event.FALL_CANCELLED)
"""Events that somebody's hand makes."""
_IS_PRESS = np.isin(np.arange(128), PRESSES)
_ONE_DAY = timedelta(days=1)
_UNHEARD, _HEARD, _INACTIVE = np.arange(3, dtype=np.uint8)
"""What a device may be: not heard since nobody could be, heard, or raised and not moved since."""


class Hours(NamedTuple):
    """A part of the day, in minutes since midnight; over midnight if `end` is not after `begin`."""

    begin: int
    end: int

    def holds(self, minute: int) -> bool:
        """Say whether a minute of the day lies within."""
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


def _hours(value: object) -> Hours:
    begin, dash, end = str(value).partition("-")
    if not dash or begin in {end, "24:00"}:
        raise ValueError("hours are written '06:00-22:00' or, over midnight, '22:00-06:00'")
    return Hours(clock_minute(begin), clock_minute(end))


def _apart(value: object) -> object:
    """Refuse hours of the day that overlap, before their durations are read."""
    if isinstance(value, dict):
        some = [_hours(text) for text in value]
        if any(sum(hours.holds(minute) for hours in some) > 1 for minute in {hours.begin for hours in some}):
            raise ValueError("the hours overlap")
    return value


class InactivitySettings(Settings):
    """`after`: for which part of the day, how long without movement."""

    after: Annotated[
        dict[Annotated[Hours, BeforeValidator(_hours)], Interval],
        BeforeValidator(_apart),
        Field(min_length=1, max_length=24),
    ]
    zone: Zone = SHANGHAI


class Inactivity(Base):
    """Judges at ticks whoever ever moved; movement clears it.

    A device is not judged before it is `_HEARD` after a time in which nobody could be.
    """

    name: ClassVar[str] = "inactivity"
    _moved: Ints  # NEVER for those that never did
    _is: npt.NDArray[np.uint8]

    def __init__(self, settings: InactivitySettings, kind: str, severity: Severity, number: int) -> None:
        super().__init__(kind, severity, number)
        self._settings = settings
        self._silence: Silence | None = None

    @classmethod
    def read(cls, entry: Mapping[str, Any], kind: str, severity: Severity, number: int) -> "Inactivity":
        """Check the settings; raises ValidationError."""
        return cls(InactivitySettings.model_validate(entry), kind, severity, number)

    def meet(self, silence: Silence | None) -> None:
        """Learn who knows which devices are silent."""
        self._silence = silence

    def columns(self) -> dict[str, Column]:
        """Return the newest movements, and who is heard or inactive."""
        return {
            "inactivity.moved": (np.int64, NEVER),
            "inactivity.is": (np.uint8, _UNHEARD),
        }

    def bind(self, state: State) -> None:
        """Adopt the arrays."""
        self._moved, self._is = (state[name] for name in self.columns())

    def see(self, look: Look, delta: Delta) -> list[Found]:
        """Note life and movement; who was inactive is not any more."""
        moved = look.moved
        if look.any_event:
            moved = moved | (_IS_PRESS[look.event] & look.alive)
        rows = np.flatnonzero(moved)
        delta.updates.append((self._moved, look.device[rows], look.at[rows]))
        known = self._is[look.device]
        if (known == _HEARD).all():
            return []
        ends = np.flatnonzero((known == _INACTIVE) & moved)
        who, first = np.unique(look.device[ends], return_index=True)
        heard = np.concatenate((look.device[(known == _UNHEARD) & look.alive], who))
        delta.updates.append((self._is, heard, np.full(len(heard), _HEARD)))
        return [
            self.said(int(look.row[i]), int(look.device[i]), Move.CLEAR, int(look.at[i])) for i in ends[first]
        ]

    def tick(self, now: int, scan: bool, delta: Delta) -> list[Found]:  # noqa: FBT001 - as a batch says it
        """Find those that have not moved for too long, but could have said so."""
        window = self._window(now) if scan else None
        if window is None:
            return []
        begun, after = window
        due = devices_of(self._moved <= now - after)
        due = due[self._is[due] == _HEARD]
        if self._silence and len(due):
            due = due[~self._silence.is_silent(due, now)]
        if not len(due):
            return []
        due = earliest(due, self._moved[due])
        delta.updates.append((self._is, due, np.full(len(due), _INACTIVE)))
        return [
            self.said(
                0, device, Move.RAISE, max(begun, moved + after), values={"last_moved": moved, "after": after}
            )
            for device, moved in zip(due.tolist(), self._moved[due].tolist(), strict=True)
        ]

    def _window(self, now: int) -> tuple[int, int] | None:
        """Return when the present part of the day began and the duration for it, if there is one."""
        zone = self._settings.zone
        clock = wall(now, zone)
        minute = clock.hour * 60 + clock.minute
        for hours, after in self._settings.after.items():
            if hours.holds(minute):
                day = clock.date() if hours.begin <= minute else clock.date() - _ONE_DAY
                return moment_of(day, hours.begin, zone), after
        return None

    def forgive(self, now: int, some: Mask) -> None:  # noqa: ARG002 - movement has its time
        """Judge only those that are heard again: what they held back comes first."""
        self._is[some & (self._is == _HEARD)] = _UNHEARD

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """Let the alarms say who is inactive."""
        self._is[self._is == _INACTIVE] = _HEARD
        self._is[within(held.get(self.kind, []), self._is)] = _INACTIVE

    def withdraw(self, now: int) -> list[Transition]:
        """Return the clears of all that are inactive."""
        return self._cleared(np.flatnonzero(self._is == _INACTIVE), now)
