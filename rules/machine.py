"""What rules over readings and machines have in common: how they are called, and what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from rules.expression import Mask
from rules.look import Index, Ints, Look
from rules.state import Column, State
from schemas.alarms import Severity, Transition

Found = tuple[int, Transition]
"""A transition and the row of the batch that brought it: they are sorted by it, else left in their order. At
a tick the number means nothing: there they are sorted by date."""

NEVER = int(np.iinfo(np.int64).max)
UNKNOWN = int(np.iinfo(np.int64).min)
"""Times that never come, and that no reading has."""
PER_TICK = 2_000
"""Decisions of a machine at one tick; the rest follows at the next ones. They are one transaction, and an SOS
waits for it."""


def devices_of(mask: Mask) -> Index:
    """Return the devices for which a mask over all is true: where they are few, faster than flatnonzero."""
    whole = len(mask) // 8 * 8
    words = np.flatnonzero(mask[:whole].view(np.uint64) != 0)
    some = (words[:, np.newaxis] * 8 + np.arange(8)).ravel()
    return np.concatenate((some[mask[some]], whole + np.flatnonzero(mask[whole:])))


@dataclass
class Delta:
    """What a batch changes: transitions in the order of their readings, and new values for state arrays.

    `latest` are times that only move on: of each place the latest counts. They are adopted before `updates`.
    `held` are new values of sparse state by device; None where there is nothing left to hold.
    """

    transitions: list[Transition] = field(default_factory=list)
    latest: list[tuple[Ints, Index, Ints]] = field(default_factory=list)
    updates: list[tuple[npt.NDArray[Any], Index, npt.NDArray[Any]]] = field(default_factory=list)
    held: list[tuple[dict[int, Any], dict[int, Any]]] = field(default_factory=list)

    def apply(self) -> None:
        """Adopt it, once."""
        for times, index, values in self.latest:
            np.maximum.at(times, index, values)
        for target, index, values in self.updates:
            if target.ndim > 1:  # numpy copies rows number by number, bytes at once
                raw = f"V{target.strides[0]}"
                target.view(raw)[index, 0] = np.ascontiguousarray(values, target.dtype).view(raw)[:, 0]
            else:
                target[index] = values
        for holds, changes in self.held:
            for device, value in changes.items():
                if value is None:
                    holds.pop(device, None)
                else:
                    holds[device] = value


@dataclass(frozen=True)
class Registered:
    """What the registry says of n devices: columns of shape (n,), lists of n.

    Empty texts where it does not know; `thresholds` are those of the person who wears the device.
    """

    device_ids: Index
    models: Sequence[str]
    heartbeat_seconds: Sequence[int | None]
    regions: Sequence[str]
    gateways: Sequence[str]
    care_levels: Sequence[str]
    people: Sequence[str]
    thresholds: Sequence[Mapping[str, float]]
    devices: Sequence[str]

    @classmethod
    def strangers(cls, device_ids: Sequence[int]) -> "Registered":
        """Return devices of which nothing is known but their numbers."""
        n = len(device_ids)
        none = [""] * n
        return cls(np.asarray(device_ids, np.intp), none, [None] * n, none, none, none, none, [{}] * n, none)


class Machine(Protocol):
    """A rule that no expression can say; it is bound before all else, and enrolled again after each reload.

    `see` and `tick` change nothing: they put what they change into `delta.updates` (array, index, values) or
    `delta.latest` (array, index, times; the latest wins).
    """

    kind: str
    severity: Severity
    number: int
    fingerprint: str
    """Names its state in a checkpoint and over a reload. Of the settings it holds only those without which
    the state would be wrong: what merely says how it is read (a limit) would make it forget for nothing."""
    on_receipt: ClassVar[bool]
    """Whether its raises and clears count for dead letters that are re-driven; no state learns from those."""

    @classmethod
    def read(cls, entry: Mapping[str, Any], kind: str, severity: Severity, number: int) -> "Machine":
        """Check the settings of a [[rule]], without `kind`, `machine` and `severity`.

        Raises pydantic's ValidationError, the keys of which the parser names.
        """
        ...

    def columns(self) -> dict[str, Column]:
        """Return its state over devices: name -> dtype, empty value."""
        ...

    def bind(self, state: State) -> None:
        """Adopt its arrays: `state[name]` are the same objects for ever, views of them are not."""
        ...

    def enrol(self, devices: Registered) -> None:
        """Learn of devices, or anew of known ones; the arrays have room for them."""
        ...

    def see(self, look: Look, delta: Delta) -> list[Found]:
        """Judge a batch of readings."""
        ...

    def tick(self, now: int, scan: bool, delta: Delta) -> list[Found]:  # noqa: FBT001 - as a batch says it
        """Let time pass."""
        ...

    def see_transitions(self, found: list[Found], delta: Delta) -> list[Found]:
        """Judge what the others found, in its order."""
        ...

    def forgive(self, now: int, some: Mask) -> None:
        """Nobody of some could be heard until now."""
        ...

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """End a restore: devices whose condition of a kind holds in an open alarm."""
        ...

    def withdraw(self, now: int) -> list[Transition]:
        """Return the clears (and unsuppressions) of all that it holds: its rule is taken out of the file."""
        ...
