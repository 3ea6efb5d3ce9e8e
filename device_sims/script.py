"""What one device is going to say, and what must come of it: messages and incidents before they get numbers.

All times here are microseconds after the start of the town.
"""

import json
import random
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from device_sims.person import Person
from schemas.clock import SECOND

MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE

TAIL = 4 * MINUTE
"""Nothing decisive happens in the last minutes of a town."""

MARGIN = 6 * MINUTE
"""How far a decision stays from what would turn it: 3 times the tolerance at the highest speed."""

HIGHEST_SPEED = 60.0


class DeviceClock(Enum):
    """How a device's clock goes wrong; the value is added to its time, in microseconds."""

    RIGHT = 0
    NONE = -1  # sends no time
    EPOCH = -2  # 1970: counts from its own start
    YEAR = 365 * DAY
    ZONE = 8 * 60 * MINUTE  # local time labelled UTC


@dataclass(frozen=True)
class Device:
    """One simulated device; the registry knows it only if it is `registered`. `model` is its family."""

    name: str
    region: str
    model: str
    registered: bool
    heartbeat_seconds: int


@dataclass(eq=False)
class Reading:
    """One measurement inside a late batch."""

    measured: int
    fields: dict[str, Any]
    seq: int = 0


@dataclass(eq=False)
class Message:
    """One message: what it says, when it was measured, when it goes out.

    `raw` stands in place of the fields, `topic` in place of the device's own. `dead` is the reason and
    whether the whole message is dead. `copies` are the delays after which the same bytes go out again.
    """

    at: int
    channel: str
    fields: dict[str, Any] = field(default_factory=dict)
    measured: int = 0
    clock: DeviceClock = DeviceClock.RIGHT
    numbered: bool = True
    retain: bool = False
    raw: bytes | None = None
    topic: str = ""
    dead: tuple[str, bool] | None = None
    copies: list[int] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    seq: int = 0
    number: int = -1

    @property
    def timed(self) -> bool:
        """Say whether the rows' time is a function of the payload alone; whole hours ahead are corrected."""
        return self.clock in (DeviceClock.RIGHT, DeviceClock.ZONE) and self.raw is None

    def payload(self, start: int) -> bytes:
        """Return the bytes, with times as the device's clock shows them; `start` in epoch microseconds."""
        if self.raw is not None:
            return self.raw
        if self.readings:
            fields: dict[str, Any] = {"readings": [self._stamped(start, each) for each in self.readings]}
        else:
            fields = self._stamped(start, Reading(self.measured, self.fields, self.seq))
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()

    def _stamped(self, start: int, reading: Reading) -> dict[str, Any]:
        stamp: dict[str, Any] = {}
        if self.clock is DeviceClock.EPOCH:
            stamp["ts"] = max(reading.measured, 0) // 1000 + 60_000
        elif self.clock is not DeviceClock.NONE:
            stamp["ts"] = (start + reading.measured + self.clock.value) // 1000
        if self.numbered:
            stamp["seq"] = reading.seq
        return stamp | reading.fields


@dataclass(eq=False)
class Incident:
    """An alarm that must come of messages: activated by these, cleared by that one."""

    kind: str
    activations: list[Message]
    raised_after: int = 0
    clears: Message | None = None
    closed: str = ""
    quality: str = ""

    @property
    def count(self) -> int:
        """Return how many activations are stored: a copy counts only if it has no time of its own."""
        return sum(1 if message.timed else 1 + len(message.copies) for message in self.activations)


@dataclass(frozen=True)
class Handled:
    """What duty staff does at a moment after the start."""

    at: int
    kind: str
    verb: str
    body: dict[str, str]


@dataclass
class Script:
    """A device's part in the play; plots add messages, incidents and steps to its routine."""

    device: Device
    person: Person
    rng: random.Random
    start: int
    end: int
    messages: list[Message] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    steps: list[Handled] = field(default_factory=list)

    def say(self, at: int, channel: str, fields: dict[str, Any] | None = None, **more: Any) -> Message:  # noqa: ANN401  # the fields of Message
        """Add a message sent at a moment, measured a little before."""
        measured = at - self.rng.randrange(SECOND // 5, SECOND)
        message = Message(at, channel, fields or {}, **{"measured": measured} | more)
        self.messages.append(message)
        return message

    def expect(self, kind: str, *activations: Message, **more: Any) -> Incident:  # noqa: ANN401  # the fields of Incident
        """Add an alarm that must come of these messages."""
        incident = Incident(kind, list(activations), **more)
        self.incidents.append(incident)
        return incident

    def between(self, begin: int, end: int, channel: str = "") -> list[Message]:
        """Return the messages measured from `begin` up to `end`, in order, of one channel or of all."""
        found = [
            message
            for message in self.messages
            if begin <= message.measured < end and (not channel or message.channel == channel)
        ]
        return sorted(found, key=lambda message: message.measured)

    def drop(self, messages: list[Message]) -> None:
        """Take messages back: they are never sent."""
        gone = set(map(id, messages))
        self.messages = [message for message in self.messages if id(message) not in gone]

    def duty(self, at: int, kind: str, verb: str, **body: str) -> None:
        """Let duty staff do something about the device's open alarm."""
        self.steps.append(Handled(at, kind, verb, body))

    def duty_closes(self, at: int, kind: str, outcome: str) -> None:
        """Let duty staff take an alarm up, send somebody, and close it at `at`."""
        self.duty(at - 3 * MINUTE, kind, "acknowledge")
        self.duty(at - 2 * MINUTE, kind, "dispatch", to="社区网格员")
        self.duty(at, kind, "close", outcome=outcome)
