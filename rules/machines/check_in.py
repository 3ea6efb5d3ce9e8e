"""The daily check-in (报平安): who has not said by an agreed hour that all is well."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from rules.durations import SHANGHAI, ClockMinute, Zone, moment_of, wall
from rules.look import Ints, Look
from rules.machine import NEVER, PER_TICK, Delta, Found
from rules.machines.base import Base, Settings, within
from rules.state import Column, State
from schemas.alarms import Move, Severity, Transition
from schemas.readings import Event

_CHECK_IN = int(Event.CHECK_IN)
_ONE_DAY = timedelta(days=1)
_MIDNIGHT = 24 * 60
_SOME_DAY = 1
"""Stands for the day that was judged where only the alarm is remembered."""


class CheckInSettings(Settings):
    """`by`: when a day is judged; `from`: since when a check-in counts for it."""

    by: ClockMinute
    since: ClockMinute = Field(default=0, alias="from")
    zone: Zone = SHANGHAI

    @model_validator(mode="after")
    def _in_order(self) -> "CheckInSettings":
        if not self.since < self.by < _MIDNIGHT:
            raise ValueError("`from` must be before `by`, and that before 24:00")
        return self


class CheckIn(Base):
    """Judges each day once, whoever ever checked in; a check-in clears it."""

    name: ClassVar[str] = "check_in"
    _newest: Ints  # NEVER for those that never did
    _missed: Ints  # when the newest day was judged at which it was missed; 0 for none

    def __init__(self, settings: CheckInSettings, kind: str, severity: Severity, number: int) -> None:
        super().__init__(kind, severity, number)
        self._settings = settings
        self._judged = np.zeros(1, np.int64)  # a day that is judged again after a restart finds nobody new

    @classmethod
    def read(cls, entry: Mapping[str, Any], kind: str, severity: Severity, number: int) -> "CheckIn":
        """Check the settings; raises ValidationError."""
        return cls(CheckInSettings.model_validate(entry), kind, severity, number)

    def columns(self) -> dict[str, Column]:
        """Return the newest check-ins and the newest days without."""
        return {"check_in.newest": (np.int64, NEVER), "check_in.missed": (np.int64, 0)}

    def bind(self, state: State) -> None:
        """Adopt the arrays."""
        self._newest, self._missed = state["check_in.newest"], state["check_in.missed"]

    def see(self, look: Look, delta: Delta) -> list[Found]:
        """Note check-ins."""
        if not look.any_event:
            return []
        rows = np.flatnonzero((look.event == _CHECK_IN) & look.alive)
        if not len(rows):
            return []
        device = look.device[rows]
        none = np.zeros(len(rows), np.int64)
        delta.updates += [(self._newest, device, look.at[rows]), (self._missed, device, none)]
        first = np.append(True, device[1:] != device[:-1])
        return [
            self.said(int(look.row[i]), int(look.device[i]), Move.CLEAR, int(look.at[i]))
            for i in rows[first & (self._missed[device] != 0)]
        ]

    def tick(self, now: int, scan: bool, delta: Delta) -> list[Found]:  # noqa: FBT001 - as a batch says it
        """Judge the newest day whose hour has come, once."""
        settings = self._settings
        day = wall(now, settings.zone).date()
        if moment_of(day, settings.by, settings.zone) > now:
            day -= _ONE_DAY
        by = moment_of(day, settings.by, settings.zone)
        if not scan or by <= self._judged[0]:
            return []
        since = moment_of(day, settings.since, settings.zone)
        due = np.flatnonzero(self._newest < since)
        due = due[self._missed[due] < since]  # once a day, also if `by` was another when it was judged
        if len(due) <= PER_TICK:
            delta.updates.append((self._judged, np.zeros(1, np.intp), np.array([by])))
        due = due[:PER_TICK]
        delta.updates.append((self._missed, due, np.full(len(due), by)))
        return [
            self.said(0, device, Move.RAISE, by, values={"by": by, "last_check_in": newest})
            for device, newest in zip(due.tolist(), self._newest[due].tolist(), strict=True)
        ]

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """Let whoever has an alarm clear it."""
        devices = within(held.get(self.kind, []), self._missed)
        self._missed[devices] = np.maximum(self._missed[devices], _SOME_DAY)

    def withdraw(self, now: int) -> list[Transition]:
        """Return the clears of all that missed a check-in."""
        return self._cleared(np.flatnonzero(self._missed), now)
