"""What the machines have in common."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from rules.expression import Mask
from rules.look import Index, Ints, Look
from rules.machine import PER_TICK, Delta, Found, Registered
from rules.state import State
from schemas.alarms import Move, Severity, Transition


class Settings(BaseModel):
    """What a machine is told in the rule file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Base:
    """A machine that does nothing; each overrides what it needs."""

    name: ClassVar[str]
    on_receipt: ClassVar[bool] = False

    def __init__(self, kind: str, severity: Severity, number: int) -> None:
        self.kind, self.severity, self.number = kind, severity, number
        self.fingerprint = self.name  # what is remembered is true whatever the limits are

    def bind(self, state: State) -> None:
        """Adopt the arrays."""

    def enrol(self, devices: Registered) -> None:
        """Learn of devices."""

    def see(self, look: Look, delta: Delta) -> list[Found]:  # noqa: ARG002 - for those that do
        """Judge a batch."""
        return []

    def tick(self, now: int, scan: bool, delta: Delta) -> list[Found]:  # noqa: ARG002, FBT001 - as above
        """Let time pass."""
        return []

    def see_transitions(self, found: list[Found], delta: Delta) -> list[Found]:  # noqa: ARG002 - as above
        """Judge what was found."""
        return []

    def forgive(self, now: int, some: Mask) -> None:
        """Nobody could be heard."""

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """End a restore."""

    def said(
        self,
        row: int,
        device: int,
        move: Move,
        at: int,
        severity: Severity | None = None,
        **more: Any,  # noqa: ANN401 - of Transition
    ) -> Found:
        """Return a decision of this machine."""
        return row, Transition(
            device, self.kind, move, at, severity or self.severity, rule=self.number, **more
        )

    def _cleared(self, devices: Index, now: int) -> list[Transition]:
        return [self.said(0, int(device), Move.CLEAR, now)[1] for device in devices]


def earliest(devices: Index, times: Ints) -> Index:
    """Return as many devices as are decided at one tick, those of the earliest times, in their order."""
    if len(devices) > PER_TICK:
        some = times <= np.partition(times, PER_TICK - 1)[PER_TICK - 1]
        devices, times = devices[some], times[some]
    return devices[np.argsort(times, kind="stable")[:PER_TICK]]


def of_devices(look: Look, stirs: Mask) -> Iterator[tuple[int, range]]:
    """Yield each device that has a reading which stirs, and the places of all its readings in the look."""
    if stirs.any():
        place = np.unique(look.of[stirs])
        start, size = look.starts[place], look.sizes[place]
        for device, first, end in zip(
            look.who[place].tolist(), start.tolist(), (start + size).tolist(), strict=True
        ):
            yield device, range(first, end)


def within(held: list[int], array: npt.NDArray[Any]) -> Index:
    """Return the devices for which an array has room; those of deleted ones may lie beyond."""
    devices = np.asarray(held, np.intp)
    return devices[(devices >= 0) & (devices < len(array))]
