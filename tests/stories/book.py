"""When something is in a story, the book of alarms that its telling writes, and what is looked for in it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from schemas.clock import SECOND, to_microseconds

SHANGHAI = timezone(timedelta(hours=8))
MIDNIGHT = to_microseconds(datetime(2026, 3, 2, tzinfo=SHANGHAI))


def moment(time: str) -> int:
    """Return a time of the story in microseconds since 1970."""
    hours, minutes, seconds = (*time.split(":"), "0")[:3]
    return MIDNIGHT + round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * SECOND)


def told(at: int) -> str:
    """Say a moment as stories do."""
    minutes, rest = divmod(at - MIDNIGHT, 60 * SECOND)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest / SECOND:06.3f}"


class Span(NamedTuple):
    """From one moment up to, and without, another."""

    start: int
    end: int

    def __contains__(self, at: object) -> bool:
        return isinstance(at, int) and self.start <= at < self.end

    def __str__(self) -> str:
        return f"between {told(self.start)} and {told(self.end)}"


@dataclass(frozen=True)
class Alarm:
    """How an alarm stands; `who` is the device, or the area for which it stands."""

    who: str
    kind: str
    severity: str
    quality: str = "ok"
    count: int = 1
    suppressed: bool = False
    cleared: bool = False
    open: bool = True
    values: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


class Entry(NamedTuple):
    """A line of the log and how the alarm stands after it."""

    at: int
    verb: str
    alarm: Alarm

    def __str__(self) -> str:
        return f"{told(self.at)} {self.verb:8} {self.alarm}"


class Book(list[Entry]):
    """The log of all alarms of a story."""

    def board(self, at: int) -> list[Alarm]:
        """Return what stands before staff at a moment."""
        last = {(each.alarm.who, each.alarm.kind): each.alarm for each in self if each.at <= at}
        return [alarm for alarm in last.values() if alarm.open and not alarm.suppressed]


@dataclass(frozen=True)
class Looks:
    """What an alarm looks like that is wanted: of a kind, of whom, and what else it must show."""

    kind: str
    who: str
    says: dict[str, Any]
    verbs: tuple[str, ...] = ("raise", "step", "suppress", "unsuppress")

    def fits(self, alarm: Alarm) -> bool:
        """Say whether an alarm looks so."""
        says = {"kind": self.kind, "who": self.who or alarm.who, **self.says}
        return all(getattr(alarm, name) == value for name, value in says.items())

    def entries(self, book: Book, span: Span) -> list[Entry]:
        """Return the lines of a span after which an alarm looks so."""
        return [e for e in book if e.at in span and e.verb in self.verbs and self.fits(e.alarm)]
