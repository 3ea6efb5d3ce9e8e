"""A fall: detected, then cancelled by the wearer, confirmed, moving again, or still immobile."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rules.durations import Interval
from rules.expression import Mask
from rules.look import Index, Look
from rules.machine import NEVER, PER_TICK, Delta, Found
from rules.machines.base import Base, Settings, of_devices, within
from rules.state import Column, State
from schemas.alarms import Move, Severity, Transition
from schemas.clock import SECOND
from schemas.readings import Event, Quality

_FALLS = (int(Event.FALL_DETECTED), int(Event.FALL_CONFIRMED), int(Event.FALL_CANCELLED))
_IS_FALL = np.isin(np.arange(128), _FALLS)


class FallSettings(Settings):
    """`immobile`: how long nothing may move after a fall before it is critical."""

    immobile: Interval = 60 * SECOND


class Fall(Base):
    """Raises at once; steps to critical when nothing has moved for a while."""

    name: ClassVar[str] = "fall"
    on_receipt: ClassVar[bool] = True
    _waits: Mask  # for movement
    _until: dict[int, int]  # when it becomes critical, for those of whom it is waited for
    _fallen: Mask  # the condition holds

    def __init__(self, settings: FallSettings, kind: str, severity: Severity, number: int) -> None:
        super().__init__(kind, severity, number)
        self._immobile = settings.immobile

    @classmethod
    def read(cls, entry: Mapping[str, Any], kind: str, severity: Severity, number: int) -> "Fall":
        """Check the settings; raises ValidationError."""
        return cls(FallSettings.model_validate(entry), kind, severity, number)

    def columns(self) -> dict[str, Column]:
        """Return of whom movement is waited for, and who has fallen."""
        return {"fall.waits": (np.bool_, False), "fall.fallen": (np.bool_, False)}

    def bind(self, state: State) -> None:
        """Adopt the arrays, and the deadlines beside them."""
        self._waits, self._fallen = state["fall.waits"], state["fall.fallen"]
        self._until = state.sparse("fall.waits")

    def see(self, look: Look, delta: Delta) -> list[Found]:
        """Judge devices that fell or for which movement is looked for."""
        stirs = self._waits[look.device]
        if look.any_event:
            stirs |= _IS_FALL[look.event]
        found: list[Found] = []
        for device, rows in of_devices(look, stirs):
            until, fallen = self._until.get(device, NEVER), bool(self._fallen[device])
            for i in rows:
                row, at, event = int(look.row[i]), int(look.at[i]), Event(look.event[i])
                if until <= at and not look.batch.letters:
                    found.append(self._critical(row, device, until))
                    until = NEVER
                if event is Event.FALL_DETECTED:
                    until, fallen = at + self._immobile, True
                    found.append(self._fell(look, row, Severity.HIGH))
                elif event is Event.FALL_CONFIRMED:
                    until, fallen = NEVER, True
                    found.append(self._fell(look, row, Severity.CRITICAL))
                elif event is Event.FALL_CANCELLED:
                    if fallen:
                        found.append(self.said(row, device, Move.CLEAR, at))
                    until, fallen = NEVER, False
                elif look.moved[i]:
                    until = NEVER
            self._note(np.array([device]), until, delta)
            delta.updates.append((self._fallen, np.array([device]), np.array([fallen])))
        return found

    def _note(self, devices: Index, until: int, delta: Delta) -> None:
        waits = until != NEVER
        delta.updates.append((self._waits, devices, np.full(len(devices), waits)))
        delta.held.append((self._until, dict.fromkeys(devices.tolist(), until if waits else None)))

    def _fell(self, look: Look, row: int, severity: Severity) -> Found:
        reading = look.batch.readings[row]
        quality = {Quality.LATE: "late", Quality.UNREADABLE: "unreadable"}.get(
            Quality(reading["quality"]), "ok"
        )
        values = {"event": Event(reading["event"]).name.lower(), "ts": int(reading["ts"])}
        device, at = int(reading["device_id"]), int(reading["received_at"])
        return self.said(row, device, Move.RAISE, at, severity, quality=quality, values=values)

    def _critical(self, row: int, device: int, until: int) -> Found:
        values = {"since": until - self._immobile, "after": self._immobile}
        return self.said(row, device, Move.STEP, until, Severity.CRITICAL, values=values)

    def tick(self, now: int, scan: bool, delta: Delta) -> list[Found]:  # noqa: ARG002, FBT001 - needs no scan
        """Find those that are still immobile."""
        late = sorted((until, device) for device, until in self._until.items() if until <= now)[:PER_TICK]
        if late:
            self._note(np.array([device for _, device in late]), NEVER, delta)
        return [self._critical(0, device, until) for until, device in late]

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """Let the alarms say who has fallen."""
        self._fallen[:] = False
        self._fallen[within(held.get(self.kind, []), self._fallen)] = True

    def withdraw(self, now: int) -> list[Transition]:
        """Return the clears of all that have fallen."""
        return self._cleared(np.flatnonzero(self._fallen), now)
