"""What may stand in a file of sources: `[[source]]` entries map a vendor's messages onto readings and events.

docs/devices/README.md explains each key. Unknown keys are errors; so are filters that overlap.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from schemas.errors import UsageError
from schemas.readings import CALLS, Event
from schemas.sources.units import UNITS
from schemas.sources.values import time_parser
from schemas.sources.words import as_sought
from schemas.topics import PREFIX, Lane

SHIPPED: Final = Path(__file__).parent
OWN: Final = "carebell/#"
"""What vendors may not speak on: the contract's own topics."""

_LONGEST: Final = 1_000


def _one_or_many(value: Any) -> Any:  # noqa: ANN401 - TOML can be anything
    return value if isinstance(value, list) else [value]


def _filter(value: str) -> str:
    """Return an MQTT topic filter; raises ValueError."""
    levels = value.split("/")
    wild = [place for place, level in enumerate(levels) if level == "#"]
    if any(level not in ("+", "#") and re.search(r"[+#\x00]", level) for level in levels) or (
        wild and wild != [len(levels) - 1]
    ):
        raise ValueError("this is no topic filter: + and # stand for whole levels, # for the last ones")
    if levels[0] == "$share":
        raise ValueError("carebell shares no subscription: say the filter alone")
    if levels[0] in ("+", "#"):
        raise ValueError("a filter whose first level is + or # would take other sources' messages")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("no such time zone: a name as Asia/Shanghai or UTC") from error
    return value


def _path(value: str) -> str:
    if not all(value.split(".")):
        raise ValueError("a path is names with dots between, as params.heartRate")
    return value


def _records(value: str) -> str:
    if not re.fullmatch(r"(?:[^.\[\]]+(?:\.[^.\[\]]+)*)?\[\](?:\.[^.\[\]]+(?:\.[^.\[\]]+)*\[\])*", value):
        raise ValueError("where records stand is a path of arrays, as services[] or params[].properties[]")
    return value


def _word(value: str) -> str:
    as_sought(value)
    return value


def _range(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("a range is [least, greatest]")
    return value


Text = Annotated[str, Field(min_length=1, max_length=200)]
Filter = Annotated[Text, AfterValidator(_filter)]
JsonPath = Annotated[Text, AfterValidator(_path)]
Paths = Annotated[tuple[JsonPath, ...], BeforeValidator(_one_or_many), Field(min_length=1)]
RecordPaths = Annotated[tuple[Annotated[Text, AfterValidator(_records)], ...], BeforeValidator(_one_or_many)]
Scalar = bool | int | float | str
Scalars = Annotated[tuple[Scalar, ...], BeforeValidator(_one_or_many)]
Words = Annotated[tuple[Annotated[Text, AfterValidator(_word)], ...], BeforeValidator(_one_or_many)]
EventName = Literal[
    "sos", "fall", "fall_detected", "fall_confirmed", "fall_cancelled", "low_battery", "tamper", "mains_lost",
    "mains_restored", "test", "reset", "removed", "worn", "check_in", "area_left", "area_entered", "online",
    "offline", "unknown_alarm",
]  # fmt: skip
FieldName = Literal[
    "hr", "spo2", "temp", "sbp", "dbp", "glucose", "worn", "steps", "battery", "rssi", "mains", "motion",
    "room", "seq", "confidence",
]  # fmt: skip


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Id(_Entry):
    """Where the vendor's id of the device stands: a level of the topic, from 1, or a path in the payload.

    With `rest` it is that level and all after it. With both, the level counts where the path is not there.
    """

    level: Annotated[int, Field(ge=1, le=64)] | None = None
    rest: bool = False
    path: Paths | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.level is None and self.path is None:
            raise ValueError("say level or path")
        return self


class Time(_Entry):
    """Where a time stands and what it looks like; several paths are joined by a blank: a date, a time."""

    path: Paths
    format: Text = "epoch"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.format not in ("ms", "s", "epoch", "iso") and "%" not in self.format:
            raise ValueError("format is ms, s, epoch (either of them), iso, or a pattern as %d/%m/%Y %H:%M")
        time_parser(self.format, UTC)
        return self


class Condition(_Entry):
    """What must hold of a value of the payload or a level of the topic; texts are compared without case.

    Of several paths it must hold at one; with `every` at each that is there, and of all that it says.
    `there` holds for anything that is not null, "" or false.
    """

    path: Paths | None = None
    level: Annotated[int, Field(ge=1, le=64)] | None = None
    is_: Annotated[Scalars | None, Field(alias="is", min_length=1)] = None
    ends: Annotated[Scalars | None, Field(min_length=1)] = None
    has: Annotated[Words | None, Field(min_length=1)] = None
    above: float | None = None
    below: float | None = None
    there: Literal[True, "object"] | None = None
    every: Literal[True] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.level is None) is (self.path is None):
            raise ValueError("say either path or level")
        said = (self.is_, self.ends, self.has, self.above, self.below, self.there)
        if sum(each is not None for each in said) != 1:
            raise ValueError("say one of is, ends, has, above, below and there")
        if self.every and (self.path is None or (len(self.path) == 1 and self.has is None)):
            raise ValueError("every is for several paths, or for has: here it would do nothing")
        return self


Conditions = Annotated[tuple[Condition, ...], BeforeValidator(_one_or_many)]


class Value(_Entry):
    """A field of a reading: where it stands (the first path that is there counts) and how it is measured.

    It is looked at only where `when` holds.
    """

    path: Paths
    unit: str = ""
    full: Annotated[float, Field(gt=0)] | None = None
    range: Annotated[tuple[float, float], AfterValidator(_range)] | None = None
    none: Scalars = ()
    true: Scalars = ()
    false: Scalars = ()
    when: Conditions = ()

    @model_validator(mode="after")
    def _each_by_itself(self) -> Self:
        if any(each.every for each in self.when):
            raise ValueError("every is for events and late, not for fields")
        return self


Ways = Annotated[tuple[Value, ...], BeforeValidator(_one_or_many), Field(min_length=1)]
"""How a field is read: the first way that gives a value counts."""


class EventEntry(_Entry):
    """An event: raised by each message in which `when` holds and `unless` does not.

    With `edge` it is raised when that begins to hold; `over` names the event of its end.
    """

    kind: EventName
    when: Conditions = ()
    unless: Conditions = ()
    mode: Literal["level", "edge"] = "level"
    over: EventName | None = None

    @model_validator(mode="after")
    def _edge(self) -> Self:
        if self.mode == "edge" and not self.when:
            raise ValueError("an edge needs `when`")
        if self.over and self.mode != "edge":
            raise ValueError('only an event with mode = "edge" can be over')
        return self

    @property
    def event(self) -> Event:
        """Return the event's number."""
        return Event.FALL_DETECTED if self.kind == "fall" else Event[self.kind.upper()]


class Position(_Entry):
    """Where a position stands: two paths, or one path of a text "lon,lat" or "lat,lon"."""

    lat: Paths | None = None
    lon: Paths | None = None
    path: Paths | None = None
    order: Literal["lon,lat", "lat,lon"] = "lon,lat"
    datum: Literal["wgs84", "gcj02", "bd09"] = "wgs84"

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) is (self.lat is None or self.lon is None):
            raise ValueError("say either path, or lat and lon")
        return self


class Unwrap(_Entry):
    """Names inside an object that stands for a value with a time of its own: {"value": 72, "time": ...}."""

    value: Text = "value"
    time: Text = "time"


_FOR_JSON: Final = frozenset(
    {"records", "unwrap", "late", "presence", "time", "fields", "position", "events"}
)
"""Keys that mean nothing to a decoder."""


class Source(_Entry):
    """What one kind of device says: its topics, and what of its messages becomes readings and events."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    title: Text
    topics: Annotated[tuple[Filter, ...], Field(min_length=1, max_length=20)]
    lane: Literal["urgent", "telemetry"]
    format: Literal["json", "senml", "setracker", "ev07b"] = "json"
    id: Id
    zone: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"
    ignore: dict[Filter, Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]] = {}
    words: dict[str, Literal["online", "offline"]] = {"online": "online", "offline": "offline"}
    records: RecordPaths = ()
    unwrap: Unwrap | None = None
    late: bool | Conditions = False
    presence: bool = False
    time: Annotated[tuple[Time, ...], BeforeValidator(_one_or_many)] = ()
    fields: dict[FieldName, Ways] = {}
    position: Position | None = None
    events: tuple[EventEntry, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        decodes = self.format in ("setracker", "ev07b")
        if decodes and (idle := sorted(_FOR_JSON & self.model_fields_set)):
            raise ValueError(f"{self.format} has a decoder of its own: it takes no {', '.join(idle)}")
        if idle := [each for each in self.ignore if not any(overlap(each, own) for own in self.topics)]:
            raise ValueError(f"ignore: {idle[0]}: no topic of this source is like that")
        edges = [each.kind for each in self.events if each.mode == "edge"]
        if twice := sorted({kind for kind in edges if edges.count(kind) > 1}):
            raise ValueError(f'{twice[0]} has two events with mode = "edge": which of them is over?')
        alarms = decodes or any(each.event in CALLS for each in self.events)
        if alarms and self.lane != "urgent":
            raise ValueError('it can carry a call for help: lane must be "urgent"')
        for name, value in ((name, value) for name, ways in self.fields.items() for value in ways):
            if value.unit and unit_of(name, value.unit) is None:
                allowed = ", ".join(UNITS.get(name, {})) or "none"
                raise ValueError(
                    f"fields.{name}: unit {value.unit!r}: allowed are {allowed}, also with a number before"
                )
            if (value.unit == "mAh") is (value.full is None):
                raise ValueError(f"fields.{name}: unit mAh and full belong together")
        return self

    @property
    def urgent(self) -> bool:
        """Say which session carries it."""
        return self.lane == Lane.URGENT.name.lower()


def unit_of(name: str, unit: str) -> tuple[float, float] | None:
    """Return factor and offset that turn a unit, as "0.1 degC", into the contract's; None: no such unit."""
    number, _, plain = unit.rpartition(" ")
    known = UNITS.get(name, {}).get(plain)
    if known is None or (number and not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", number)):
        return None
    factor, offset = known
    return factor * float(number or 1), offset


class _File(_Entry):
    source: Annotated[tuple[Source, ...], Field(min_length=1, max_length=200)]


def parse(text: str, where: str) -> tuple[Source, ...]:
    """Return the sources of a file's text; raises UsageError that names file, key and what is allowed."""
    try:
        found = _File.model_validate(tomllib.loads(text)).source
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: not TOML: {error}") from error
    except ValidationError as error:
        raise UsageError("\n".join(_sentence(where, line) for line in error.errors()[:20])) from error
    check_overlaps(found, where)
    return found


def _sentence(where: str, error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    key = ".".join(str(part + 1 if isinstance(part, int) else part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: {key}: no such key"
    shown = f" = {error['input']!r}"[:200] if isinstance(error["input"], Scalar) else ""
    return f"{where}: {key}{shown}: {error['msg'].removeprefix('Value error, ')}"


def texts(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return name and text of each file: a shipped one by its name, any other by its path.

    Raises UsageError.
    """
    return [(name, _read(name)) for name in names]


def shipped() -> list[str]:
    """Return the names of the mappings that ship."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def file_of(name: str) -> Path:
    """Return the file that a name means."""
    own = re.fullmatch(r"[a-z0-9_-]+", name) and (SHIPPED / f"{name}.toml").is_file()
    return SHIPPED / f"{name}.toml" if own else Path(name)


def _read(name: str) -> str:
    try:
        return file_of(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"source {name}: cannot be read: {said}; shipped are {', '.join(shipped())}, others are paths"
        ) from error


def load(files: Iterable[tuple[str, str]]) -> tuple[Source, ...]:
    """Return the sources of several files, given by name and text as `texts` does.

    Raises UsageError if one is wrong or two of them overlap.
    """
    found = tuple(source for name, text in files for source in parse(text, name))
    check_overlaps(found, "ingest.sources")
    return found


def check_overlaps(sources: Iterable[Source], where: str) -> None:
    """Raise UsageError if a message could come to two sources, or to one twice: brokers send a copy each."""
    filters = [(each.name, topic) for each in sources for topic in each.topics]
    for name, topic in filters:
        if overlap(topic, OWN):
            raise UsageError(f"{where}: {name}: {topic} overlaps {PREFIX}: vendors have topics of their own")
    for (name, one), (other, two) in combinations(filters, 2):
        if overlap(one, two):
            raise UsageError(
                f"{where}: {name}: {one} overlaps {two} of {other}: a message would come twice; one source"
                " can name several topics, and `ignore` some of them"
            )
    names = [each.name for each in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{where}: the name {twice[0]} stands twice")


def overlap(one: str, two: str) -> bool:
    """Say whether some topic is matched by both filters."""
    left, right = one.split("/"), two.split("/")
    for a, b in zip(left, right, strict=False):
        if "#" in (a, b):
            return True
        if a != b and "+" not in (a, b):
            return False
    longer = left[len(right) :] or right[len(left) :]
    return not longer or longer == ["#"]


def matches(topic_filter: str, levels: Sequence[str]) -> bool:
    """Say whether a filter matches a topic, given by its levels."""
    wanted = topic_filter.split("/")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        if len(levels) < len(wanted):
            return False
    elif len(levels) != len(wanted):
        return False
    return all(want in ("+", level) for want, level in zip(wanted, levels, strict=False))
