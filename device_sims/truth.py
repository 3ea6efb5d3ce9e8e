"""The truth about a town: what was sent and what must have come of it, as a JSON file.

It is computed from the script alone, never by the engine. Times are microseconds since 1970.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from schemas.clock import SECOND
from schemas.errors import UsageError

TOLERANCE_SECONDS = 2.0
"""How far a moment may be off, in real seconds: publish, receive, commit."""


class Fate(StrEnum):
    """What must become of a message."""

    STORED = "stored"
    PARTIAL = "partial"  # stored without its bad fields, which stand in the dead letters
    DUPLICATE = "duplicate"
    DEAD = "dead"


class RowKey(NamedTuple):
    """A row of the history; rows may share a key where the device gave no `seq`, or no usable time."""

    device: str
    channel: str
    seq: int | None


class DeadKey(NamedTuple):
    """A dead letter: topic, sha256 of the payload in hex, reason, and whether the whole message is dead."""

    topic: str
    sha256: str
    reason: str
    whole: bool


@dataclass(frozen=True)
class Sent:
    """One publish. `timed`: the rows' time is the payload's, so that a repeated publish is a duplicate.

    `activates` names the kind of alarm that each stored copy activates, or is empty.
    """

    at: int
    device: str
    topic: str
    fate: Fate
    rows: tuple[RowKey, ...] = ()
    dead: DeadKey | None = None
    timed: bool = True
    activates: str = ""


@dataclass(frozen=True)
class Expected:
    """An alarm that must have been raised.

    `raised_by` is the number of the send that decides it, `raised_after` what passes from there to the raise;
    `cleared_by` is the send that clears it, if one does. `closed` is empty, duty or carebell. An empty
    `quality` is not compared.
    """

    device: str
    kind: str
    occurrence: int
    count: int
    raised_by: int
    raised_after: int = 0
    cleared_by: int | None = None
    closed: str = ""
    quality: str = ""


@dataclass(frozen=True)
class Step:
    """What duty staff does about an alarm at a moment; `body` is the request's."""

    at: int
    device: str
    kind: str
    verb: str
    body: dict[str, str]


class Played(NamedTuple):
    """When a send was first tried and when the broker took it over."""

    tried: int
    acknowledged: int


@dataclass
class Truth:
    """All of it. `played` and `uncertain` are filled in by the player.

    `uncertain` holds the numbers of the sends that were repeated after a lost connection: without a time of
    their own they may be in twice.
    """

    seed: int
    start: int
    end: int
    speed: float
    devices: list[str]
    sent: list[Sent]
    expected: list[Expected]
    steps: list[Step]
    played: dict[int, Played] = field(default_factory=dict)
    uncertain: set[int] = field(default_factory=set)

    @property
    def tolerance(self) -> int:
        """Return how far a moment may be off, in microseconds of the injected clock."""
        return int(TOLERANCE_SECONDS * self.speed * SECOND)

    def when(self, number: int) -> Played:
        """Return when a send took place: as played, or as scripted where it has not been played."""
        at = self.sent[number].at
        return self.played.get(number, Played(at, at))

    def write(self, path: Path) -> None:
        """Write the truth as JSON."""
        path.write_bytes(_ADAPTER.dump_json(self))

    @staticmethod
    def read(path: Path) -> "Truth":
        """Read what `write` wrote; raises UsageError that names the file."""
        try:
            return _ADAPTER.validate_json(path.read_bytes())
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            raise UsageError(
                f"{path}: not a truth file of this version: {error.errors()[0]['msg']}"
            ) from error


_ADAPTER: TypeAdapter[Truth] = TypeAdapter(Truth)


@dataclass(frozen=True)
class SeenAlarm:
    """An alarm as the database holds it; `closed` is empty, duty or carebell."""

    device: str
    kind: str
    occurrence: int
    count: int
    raised_at: int
    cleared_at: int | None = None
    closed: str = ""
    quality: str = "ok"


@dataclass
class Seen:
    """What the database holds: alarms, and how often each key stands in history and dead letters."""

    alarms: list[SeenAlarm] = field(default_factory=list)
    rows: dict[RowKey, int] = field(default_factory=dict)
    dead: dict[DeadKey, int] = field(default_factory=dict)


def plain(value: object) -> Any:  # noqa: ANN401  # JSON has many types
    """Return a dataclass as what JSON can hold."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")
