"""What must stand after a long run: counts of rows, calls and dead letters, as a file of some megabytes.

It is added up from what the families say of their messages while these are published; nothing that is tested
is asked. Times are microseconds since 1970 unless said otherwise.

A message that is published twice is one row where its time can be used, two where it bears none: then nothing
tells one reading from the other. Where the device's time can be used or not, according to how late broker and
line are, both are right.
"""

import hashlib
import json
from collections import Counter
from dataclasses import astuple, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from device_sims.links import Sending
from device_sims.message import Message, Row
from device_sims.people import DAY
from device_sims.truth import DeadKey
from schemas.clock import SECOND
from schemas.errors import UsageError

DAY_MS: Final = 86_400_000

_AHEAD: Final = 300 * SECOND
"""A time that is no farther ahead of its publish is used, for it is received later still."""
_NEVER_AHEAD: Final = 180 * DAY
_BEHIND, _NEVER_BEHIND = 25 * DAY, 60 * DAY
"""Times that lie between these, before and after, count or do not count: nobody is that late."""


class Use(Enum):
    """Whether a row's time is the device's."""

    ALWAYS = "always"
    NEVER = "never"
    PERHAPS = "perhaps"


def use_of(sent: int | None, published: int) -> Use:
    """Say whether the time that a message bears, milliseconds, will be used."""
    if sent is None:
        return Use.NEVER
    ahead = sent * 1000 - published
    if -_BEHIND <= ahead <= _AHEAD:
        return Use.ALWAYS
    if ahead > _NEVER_AHEAD or ahead < -_NEVER_BEHIND:
        return Use.NEVER
    return Use.PERHAPS


class Bucket(NamedTuple):
    """Rows of a device and channel whose device time lies on a day since 1970 (UTC); None: they bear none."""

    device: str
    channel: str
    day: int | None


@dataclass
class Rows:
    """What must stand in a bucket.

    `distinct` rows differ in time or content; `sent` and `said` are the sums of their device times in ms and
    of what they say. Copies of them come as so many rows more: `again` surely, for their time is never used,
    `perhaps` as the line judges it, and `folded` none, unless a line that is late took a device's clock for
    one of another zone. Of all these, with their copies, `unused` surely do not stand under the device's
    time, and `unsure` may or may not.
    """

    distinct: int = 0
    again: int = 0
    perhaps: int = 0
    folded: int = 0
    unused: int = 0
    unsure: int = 0
    sent: int = 0
    said: int = 0

    def add(self, row: Row, use: Use) -> None:
        """Count a row that must stand."""
        self.distinct += 1
        self.sent += row.sent or 0
        self.said += row.said
        if row.sent is not None:
            self.unused += use is Use.NEVER
            self.unsure += use is Use.PERHAPS

    def add_copy(self, row: Row, use: Use) -> None:
        """Count a copy of a row; of one without a time nobody can say that it is a copy."""
        if row.sent is None:
            self.add(row, use)
        elif use is Use.NEVER:
            self.again += 1
            self.unused += 1
        elif use is Use.PERHAPS:
            self.perhaps += 1
            self.unsure += 1
        else:
            self.folded += 1

    def add_perhaps(self, row: Row, use: Use) -> None:
        """Count a copy that may have come or not."""
        if use is Use.ALWAYS:
            self.folded += 1
        else:
            self.perhaps += 1
            self.unsure += row.sent is not None


@dataclass
class Calls:
    """How often calls of a device and kind must have activated an alarm, and when each call was published.

    `unreadable` are topic and payload (sha256) of those that stand among the dead letters and have no row.
    """

    least: int = 0
    most: int = 0
    at: list[int] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Tally:
    """All of it."""

    scenario: str
    seed: int
    start: int
    end: int
    speed: float
    published: int = 0
    again: int = 0
    devices: list[str] = field(default_factory=list)
    rows: dict[Bucket, Rows] = field(default_factory=dict)
    calls: dict[tuple[str, str], Calls] = field(default_factory=dict)
    causes: Counter[str] = field(default_factory=Counter)
    dead: Counter[DeadKey] = field(default_factory=Counter)
    dead_again: Counter[DeadKey] = field(default_factory=Counter)
    topics: set[str] = field(default_factory=set)
    _holds: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    def note(self, device: str, sending: Sending, published: int) -> None:
        """Count what must come of a publish that goes out now."""
        message, is_copy = sending.message, sending.copy > 0
        self.published += 1
        self.topics.add(message.topic)
        for row in message.rows:
            use = use_of(row.sent, published)
            if is_copy:
                self._rows(device, row).add_copy(row, use)
            else:
                self._rows(device, row).add(row, use)
        if message.state is not None:
            self._note_state(device, message, published, is_copy=is_copy)
        elif message.call:
            self._note_call(device, message, published, is_copy=is_copy)
        if message.dead:
            self.dead[_dead(message)] += 1

    def note_again(self, device: str, sending: Sending, published: int) -> None:
        """Count what may come of a publish that goes out again, for its PUBACK was lost."""
        message = sending.message
        self.again += 1
        for row in (*message.rows, *([message.edge] if message.edge else ())):
            self._rows(device, row).add_perhaps(row, use_of(row.sent, published))
        if message.call:
            self._calls(device, message).most += 1
        if message.dead:
            self.dead_again[_dead(message)] += 1

    def _rows(self, device: str, row: Row) -> Rows:
        bucket = Bucket(device, row.channel, None if row.sent is None else row.sent // DAY_MS)
        found = self.rows.get(bucket)
        if found is None:
            found = self.rows[bucket] = Rows()
        return found

    def _calls(self, device: str, message: Message) -> Calls:
        return self.calls.setdefault((device, message.call), Calls())

    def _note_state(self, device: str, message: Message, published: int, *, is_copy: bool) -> None:
        """Count a call where a state begins, as it is told; a copy that begins it again may be a retry."""
        began = message.state and not self._holds.get(device)
        self._holds[device] = bool(message.state)
        if message.cause and not is_copy:
            self._calls(device, message).at.append(published)
            self.causes[f"{message.call} {message.cause}"] += 1
        if not began or message.edge is None:
            return
        calls = self._calls(device, message)
        calls.most += 1
        if not message.cause and not message.has_called:
            calls.at.append(published)
        use = use_of(message.edge.sent, published)
        if message.has_called:
            self._rows(device, message.edge).add_copy(message.edge, use)
        else:
            self._rows(device, message.edge).add(message.edge, use)
        if not message.has_called or use is Use.NEVER:
            calls.least += 1
        message.has_called = True

    def _note_call(self, device: str, message: Message, published: int, *, is_copy: bool) -> None:
        """Count a call: a copy of it is a retry where it bears a time, or a call again if it comes late."""
        calls = self._calls(device, message)
        calls.most += 1
        readable = [use_of(row.sent, published) for row in message.rows]
        if not any(row.channel == message.call for row in message.rows) and message.dead:
            calls.unreadable.append(_dead(message)[:2])
        if not is_copy:
            calls.at.append(published)
            self.causes[f"{message.call} {message.cause}"] += 1
        if not is_copy or not readable or readable == [Use.NEVER]:
            calls.least += 1

    # ---------------------------------------------------------------------------------------------- as a file

    def write(self, path: Path) -> None:
        """Write it as JSON: devices by number, one array for each count."""
        numbers = {device: number for number, device in enumerate(self.devices)}
        said: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        said |= {
            "devices": self.devices,
            "rows": [
                [numbers[each.device], each.channel, each.day, *astuple(rows)]
                for each, rows in self.rows.items()
            ],
            "calls": [
                [numbers[device], kind, *astuple(calls)] for (device, kind), calls in self.calls.items()
            ],
            "causes": dict(sorted(self.causes.items())),
            "dead": [[*key, n, self.dead_again[key]] for key, n in self.dead.items()],
            "topics": sorted(self.topics),
        }
        said["lines"] = _lines(said["rows"], said["calls"], said["dead"])
        path.write_text(json.dumps({"tally": _FORMAT} | said, ensure_ascii=False), encoding="utf-8")

    @staticmethod
    def is_one(path: Path) -> bool:
        """Say whether a file is a tally, by its beginning."""
        try:
            with path.open("rb") as file:
                return file.read(len(_HEAD)) == _HEAD
        except OSError:
            return False

    @classmethod
    def read(cls, path: Path) -> "Tally":
        """Read what `write` wrote; raises UsageError that names the file."""
        try:
            said = _ADAPTER.validate_json(path.read_bytes())
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            raise UsageError(f"{path}: not a tally of this version: {error.errors()[0]['msg']}") from error
        names = said.devices
        numbers = {each[0] for each in said.rows} | {each[0] for each in said.calls}
        if said.lines != _lines(said.rows, said.calls, said.dead) or max(numbers, default=-1) >= len(names):
            raise UsageError(f"{path}: not all of a tally: play the scenario again")
        return cls(
            **{name: getattr(said, name) for name in _PLAIN},
            devices=names,
            rows={Bucket(names[n], channel, day): Rows(*counts) for n, channel, day, *counts in said.rows},
            calls={(names[each[0]], each[1]): Calls(*each[2:]) for each in said.calls},
            causes=Counter(said.causes),
            dead=Counter({DeadKey(*each[:4]): each[4] for each in said.dead}),
            dead_again=Counter({DeadKey(*each[:4]): each[5] for each in said.dead}),
            topics=set(said.topics),
        )


_Count = Annotated[int, Field(ge=0)]


@dataclass
class _File:
    """The JSON of a tally."""

    tally: int
    scenario: str
    seed: int
    start: int
    end: int
    speed: float
    published: int
    again: int
    devices: list[str]
    rows: list[tuple[_Count, str, int | None, _Count, _Count, _Count, _Count, _Count, _Count, int, int]]
    calls: list[tuple[_Count, str, _Count, _Count, list[int], list[tuple[str, str]]]]
    causes: dict[str, int]
    dead: list[tuple[str, str, str, bool, _Count, _Count]]
    topics: list[str]
    lines: tuple[int, int, int]


_FORMAT: Final = 2
_HEAD: Final = b'{"tally": 2,'
_PLAIN: Final = ("scenario", "seed", "start", "end", "speed", "published", "again")
_ADAPTER: Final = TypeAdapter(_File)


def _lines(*parts: list[Any]) -> tuple[int, ...]:
    """Return how many lines each part has: a file from which some were lost proves nothing."""
    return tuple(map(len, parts))


def _dead(message: Message) -> DeadKey:
    assert message.dead  # noqa: S101 - asked for only then
    return DeadKey(message.topic, hashlib.sha256(message.payload).hexdigest(), *message.dead)
