"""Readings as columns, and the batch that travels down the line.

A message of any channel becomes rows of one structured array; absent values are NaN. The same rows are what
the engine judges and what the store writes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.clock import SECOND
from schemas.topics import Lane

Columns = npt.NDArray[np.void]
"""A structured array of READING or RECEIPT rows, shape (n,)."""

ABSENT = np.iinfo(np.int64).min
"""Stands for an absent integer: no `ts` sent, no `seq`."""


class Event(IntEnum):
    """What happened, for rows that are events; the numbers are stored, so they never change."""

    NONE = 0
    SOS = 1
    FALL_DETECTED = 2
    FALL_CONFIRMED = 3
    FALL_CANCELLED = 4
    LOW_BATTERY = 5
    TAMPER = 6
    MAINS_LOST = 7
    MAINS_RESTORED = 8
    TEST = 9
    RESET = 10
    REMOVED = 11
    WORN = 12
    CHECK_IN = 13
    AREA_LEFT = 14
    AREA_ENTERED = 15
    ONLINE = 16
    OFFLINE = 17
    UNKNOWN_ALARM = 18


CALLS: Final = frozenset(
    {Event.SOS, Event.FALL_DETECTED, Event.FALL_CONFIRMED, Event.UNKNOWN_ALARM, Event.AREA_LEFT}
)
"""Events by which somebody calls for help: never taken for a retry once their alarm is closed, and sought in
what cannot be read."""


class Quality(IntEnum):
    """How far a row's time can be trusted (DESIGN section 7)."""

    OK = 0
    MISSING = 1
    ASSUMED_ZONE = 2
    FUTURE = 3
    EPOCH = 4
    LATE = 5
    UNREADABLE = 6
    RETAINED = 7


TS_OLDEST: Final = 30 * 86_400 * SECOND
TS_NEWEST: Final = 300 * SECOND
"""A device's time counts if it lies between these, before and after its receipt; else the receipt does."""

VALUES = (
    "hr",
    "spo2",
    "temp",
    "sbp",
    "dbp",
    "glucose",
    "worn",
    "steps",
    "battery",
    "rssi",
    "mains",
    "motion",
)
"""Value columns: float32, NaN where absent, booleans as 0 and 1. Units: bpm, %, degC, mmHg, mmHg, mmol/L,
-, count, %, dBm, -, -."""

NO_READING: Final[dict[str, tuple[int, ...]]] = {
    **dict.fromkeys(("hr", "spo2"), (0, 1, 254, 255)),
    **dict.fromkeys(("temp", "sbp", "dbp", "glucose"), (0,)),
}
"""The codes by which devices say that they have no reading, by column."""

READING = np.dtype(
    [
        ("device_id", np.int32),
        ("channel", np.int8),
        ("event", np.int8),
        ("quality", np.int8),
        ("alive", np.bool_),  # proves that the device lives: false for retained messages and last wills
        ("stored", np.bool_),  # false: the engine sees it, the history does not (an unreadable life alarm)
        ("message", np.int32),  # index of the delivery it came in
        ("detail", np.int32),  # index into Batch.details, -1 for none
        ("received_at", np.int64),  # microseconds since 1970
        ("ts", np.int64),  # microseconds since 1970; received_at where the device's time cannot be used
        ("ts_sent", np.int64),  # as the device sent it, milliseconds; ABSENT for none
        ("seq", np.int64),  # ABSENT for none
        ("digest", np.int64),  # of channel, event, seq, values and details; of a time that is not used
        *((name, np.float32) for name in VALUES),
    ],
    align=True,  # numpy copies what is not aligned before it counts with it
)

RECEIPT = np.dtype([("packet_id", np.int32), ("duplicate", np.bool_), ("hash", np.uint32)])
"""One row per delivery: the MQTT packet id (0 at QoS 0), the DUP flag, a hash of topic and payload."""


class Delivery(NamedTuple):
    """One PUBLISH as received; `packet_id` is 0 at QoS 0, `received_at` is unique and rises."""

    topic: str
    payload: bytes
    packet_id: int
    duplicate: bool
    retained: bool
    received_at: int


KEPT_BYTES: Final = 65_536
"""Bytes of a payload that a dead letter keeps."""


@dataclass(frozen=True)
class DeadLetter:
    """A message, or a part of one, that could not be used: kept with its bytes and the reason.

    `whole` is false if the rest of the message was stored.
    """

    received_at: int
    topic: str
    payload: bytes
    length: int
    sha256: bytes
    reason: str
    detail: str
    message: int
    whole: bool = True

    @classmethod
    def of(
        cls, message: int, delivery: Delivery, reason: str, detail: str, *, whole: bool = True
    ) -> "DeadLetter":
        """Return what is kept of a delivery: at most KEPT_BYTES, with the length and sha256 of all."""
        return cls(
            received_at=delivery.received_at,
            topic=delivery.topic,
            payload=delivery.payload[:KEPT_BYTES],
            length=len(delivery.payload),
            sha256=hashlib.sha256(delivery.payload).digest(),
            reason=reason,
            detail=detail,
            message=message,
            whole=whole,
        )


class StateChange(NamedTuple):
    """A state that a device tells over and over, as "the SOS key is pressed", began or ended.

    `device` is what the vendor calls it, whatever other names it has; `state` is named by source and event.
    """

    device: str
    state: str
    on: bool


class Letter(NamedTuple):
    """A dead letter that goes down the line again; `redrive_id` is the redrive that asked for it."""

    dead_letter_id: int
    redrive_id: int
    batch: int
    whole: bool


@dataclass
class Batch:
    """What travels down the line at once: the messages of one lane, or none (a tick).

    `now` is the clock at the moment the batch was closed. `scan` allows silence to be judged: false while a
    session is away or a backlog is being drained. `connection` names the connection that the packet ids
    belong to, for they mean nothing on another one. `deliveries` are what it was made from, in the order of
    `receipts`, for whoever must show a message's bytes again; a batch read from the history has none.
    `letters` are the dead letters that the deliveries were; a batch that is re-driven has no receipts.
    `states` are what began or ended in this batch, in their order; `clocks` what it tells of devices' clocks.
    `canaries` are the payloads of what bridges sent to themselves: ignored, and back once this is committed.
    """

    lane: Lane
    now: int
    scan: bool = True
    connection: int = 0
    receipts: Columns = field(default_factory=lambda: np.empty(0, RECEIPT))
    deliveries: Sequence[Delivery] = ()
    readings: Columns = field(default_factory=lambda: np.empty(0, READING))
    details: list[dict[str, Any]] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    canaries: list[bytes] = field(default_factory=list)
    states: list[StateChange] = field(default_factory=list)
    clocks: Any = None
    duplicates: int = 0
    letters: Sequence[Letter] = ()
