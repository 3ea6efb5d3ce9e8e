"""notify.toml: who is told of which alarms, when, in which order. docs/notify.md is its language.

Rules of this file: no input or output but the file itself. `judge` gets an alarm and a time and says who is
to be told; the same alarm, file and time give the same answer, so that any desk may ask, and ask again.
"""

import tomllib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from duty.notify.periods import Period
from duty.notify.recipients import Name, Recipient, as_list
from rules.durations import HOUR, MINUTE, Duration
from schemas.alarms import KINDS, Class
from schemas.errors import UsageError
from schemas.settings import DutySettings

LONGEST_FILE: Final = 300_000
"""Bytes."""
MOST_RECIPIENTS: Final = 200
MOST_ROUNDS: Final = 100
"""Of an alarm whose ladder begins again by itself."""
REST: Final = timedelta(minutes=5)
"""A round lasts so long at least: somebody who presses again and again calls staff once."""
USUAL: Final = (0, MINUTE, 3 * MINUTE)
"""When the first steps of a ladder are due that do not say so, microseconds."""

When = Literal["not_acknowledged", "not_arrived", "always"]
UNLESS: Final[dict[str, str]] = {
    "not_acknowledged": "acknowledged",
    "not_arrived": "arrived",
    "always": "nothing",
}
"""What makes a step needless, as `notices.unless` has it."""


def _kind(given: str) -> str:
    if given not in KINDS:
        raise ValueError(f"no such kind; there are {', '.join(KINDS)}")
    return given


Names = Annotated[tuple[Name, ...], BeforeValidator(as_list), Field(min_length=1, max_length=20)]
_After = Annotated[Duration, Field(le=24 * HOUR)]
_Region = Annotated[str, Field(pattern=r"^[0-9]{2,12}$")]
_Kind = Annotated[str, AfterValidator(_kind)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Shift(_Part):
    """Who of a rota is on call in some periods; without any, always."""

    during: Names | None = None
    to: Names


_Shifts = Annotated[tuple[Shift, ...], Field(min_length=1, max_length=100)]


class Step(_Part):
    """Whom to tell, how long after the beginning, and as long as what has not been done."""

    after: _After | None = None
    when: When = "not_acknowledged"
    to: Names


class Ladder(_Part):
    """The steps for some alarms: those that all its conditions hold for."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    region: Annotated[tuple[_Region, ...], BeforeValidator(as_list), Field(max_length=1000)] = ()
    classes: Annotated[tuple[Class, ...], BeforeValidator(as_list), Field(alias="class")] = ()
    kind: Annotated[tuple[_Kind, ...], BeforeValidator(as_list)] = ()
    during: Names | None = None
    again: Annotated[Duration, Field(ge=REST // timedelta(microseconds=1), le=24 * HOUR)] | None = None
    step: Annotated[tuple[Step, ...], Field(min_length=1, max_length=10)]

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        for number, step in enumerate(self.step, 1):
            if step.after is None and step.when != "not_arrived" and number > len(USUAL):
                raise ValueError(f"step {number}: `after` is missing")
        return self

    def is_for(self, alarm: "Climbing") -> bool:
        """Say whether region, class and kind are meant."""
        return (
            (not self.region or alarm.region.startswith(self.region))
            and (not self.classes or alarm.alarm_class in self.classes)
            and (not self.kind or alarm.kind in self.kind)
        )


class Climbing(BaseModel):
    """An alarm that is on its ladder, as the database has it; times on the clock of the installation."""

    model_config = ConfigDict(frozen=True)

    alarm_id: int
    round: int
    since: datetime
    next_at: datetime
    """When it was to be looked at; what was due before had its look."""
    last_at: datetime
    """The newest activation."""
    alarm_class: Class
    kind: str
    region: str
    drill: bool
    handling: str
    closed: bool
    arrived: bool
    hidden: bool

    def needs(self, when: When) -> bool:
        """Say whether what a step waits for has not been done yet."""
        if when == "not_acknowledged":
            return self.handling == "unacknowledged" and not self.closed
        return when == "always" or not (self.arrived or self.closed)


class Due(NamedTuple):
    """Somebody who is to be told, and what would make it needless."""

    step: int
    recipient: str
    unless: str


class Verdict(NamedTuple):
    """Who is to be told now, and when to look again; None: the ladder is through."""

    due: list[Due]
    next_at: datetime | None
    round: int
    since: datetime


class Ladders(_Part):
    """All of notify.toml."""

    desk_url: Annotated[str, Field(pattern=r"^(https?://[A-Za-z0-9.:\[\]/_~-]{1,200})?$")] = ""
    period: Annotated[dict[Name, Period], Field(max_length=100)] = {}
    recipient: Annotated[dict[Name, Recipient], Field(max_length=MOST_RECIPIENTS)] = {}
    rota: Annotated[
        dict[Name, Annotated[tuple[Shift, ...], Field(max_length=100)]], Field(max_length=100)
    ] = {}
    ladder: Annotated[tuple[Ladder, ...], Field(max_length=200)] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        both = self.recipient.keys() & self.rota.keys()
        faults = [f"{name} is a recipient and a rota" for name in sorted(both)]
        for where, during, to in self._uses():
            faults += [
                f"{where}: there is no period {name}" for name in during or () if name not in self.period
            ]
            known = self.recipient if where.startswith("rota") else {**self.recipient, **self.rota}
            faults += [f"{where}: there is no recipient {name}" for name in to if name not in known]
        if faults:
            raise ValueError("; ".join(faults[:20]))
        return self

    def _uses(self) -> Iterator[tuple[str, Names | None, Names | tuple[()]]]:
        for name, shifts in self.rota.items():
            for shift in shifts:
                yield f"rota {name}", shift.during, shift.to
        for ladder in self.ladder:
            yield f"ladder {ladder.name}", ladder.during, ()
            for step in ladder.step:
                yield f"ladder {ladder.name}", None, step.to

    def covers_life(self) -> bool:
        """Say whether there is a ladder for every call for help, wherever and whenever it comes."""
        return any(
            not (ladder.region or ladder.kind or ladder.during) and Class.LIFE in (ladder.classes or Class)
            for ladder in self.ladder
        )

    def gaps(self) -> list[str]:
        """Return the rotas of which nobody may be on call at some hours: no shift of theirs is for always."""
        return [name for name, shifts in self.rota.items() if all(shift.during for shift in shifts)]

    def idle(self) -> list[str]:
        """Return the recipients that no ladder names."""
        named = {name for _, _, to in self._uses() for name in to}
        return [name for name in self.recipient if name not in named]

    def on_call(self, names: Iterable[str], moment: datetime) -> list[str]:
        """Return the recipients that these names mean at a moment, each once: of a rota the first shift."""
        found: dict[str, None] = {}
        for name in names:
            shifts = self.rota.get(name)
            shift = next((each for each in shifts or () if self._covers(each.during, moment)), None)
            found |= dict.fromkeys((name,) if shifts is None else shift.to if shift else ())
        return list(found)

    def judge(self, alarm: Climbing, at: datetime, arrival: timedelta) -> Verdict:
        """Say who is to be told of an alarm at `at`; `arrival` is the limit of its region.

        The ladder is the first one for it when the round began. A step that is due now goes to who is on call
        now, for its own moment may lie in an earlier shift if all desks were away. One that was due before is
        told again as it was then: the database knows who has heard of it.
        """
        ladder = self._ladder(alarm)
        if ladder is None or alarm.hidden:
            return Verdict([], None, alarm.round, alarm.since)
        due: list[Due] = []
        later: list[datetime] = []
        calls = False
        for number, step in enumerate(ladder.step, 1):
            moment = alarm.since + _after(number, step, arrival)
            if moment > at and alarm.needs(step.when):
                later.append(moment)
                calls |= step.when == "not_acknowledged"
            elif alarm.needs(step.when):
                due += [
                    Due(number, name, UNLESS[step.when])
                    for name in self.on_call(step.to, at if moment >= alarm.next_at else moment)
                    if self.recipient[name].drills or not alarm.drill
                ]
        anew = _next_round(ladder, alarm, at, calls=calls)
        if anew and anew <= at:
            return Verdict(due, at, alarm.round + 1, at)
        later += [anew] if anew else []
        if later:
            return Verdict(due, min(later), alarm.round, alarm.since)
        rest = alarm.since + REST
        return Verdict(due, None if alarm.closed or rest <= at else rest, alarm.round, alarm.since)

    def _ladder(self, alarm: Climbing) -> Ladder | None:
        fitting = (each for each in self.ladder if each.is_for(alarm))
        return next((each for each in fitting if self._covers(each.during, alarm.since)), None)

    def _covers(self, during: Names | None, moment: datetime) -> bool:
        return during is None or any(self.period[name].covers(moment) for name in during)


def _after(number: int, step: Step, arrival: timedelta) -> timedelta:
    if step.after is not None:
        return timedelta(microseconds=step.after)
    return arrival if step.when == "not_arrived" else timedelta(microseconds=USUAL[number - 1])


def _next_round(ladder: Ladder, alarm: Climbing, at: datetime, *, calls: bool) -> datetime | None:
    """Return when the ladder begins anew: as the file says, or when somebody calls again whom nobody answers.

    Not before all whom it calls (`calls`: not yet) were told; that nobody has arrived does not hold it up.
    """
    if calls or not alarm.needs("not_acknowledged") or alarm.round >= MOST_ROUNDS:
        return None
    if alarm.alarm_class is Class.LIFE and alarm.last_at >= alarm.since + REST:
        return at
    return alarm.since + timedelta(microseconds=ladder.again) if ladder.again else None


def arrival_limit(settings: DutySettings, region: str) -> timedelta:
    """Return within what time somebody is to be on site: of the longest beginning of the region's code."""
    known = [prefix for prefix in settings.arrival if region.startswith(prefix)]
    return timedelta(minutes=settings.arrival[max(known, key=len)] if known else settings.arrival_minutes)


def load(path: Path) -> Ladders:
    """Read a file; raises UsageError with a line for each fault, without values, for there are secrets."""
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_FILE + 1)
        if len(text) > LONGEST_FILE:
            raise UsageError(f"{path}: it is longer than {LONGEST_FILE} bytes")
        return Ladders.model_validate(tomllib.loads(text.decode()))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        raise UsageError("\n".join(_sentence(path, line) for line in error.errors()[:50])) from None


def ladders_of(settings: DutySettings) -> Ladders:
    """Return the ladders that settings name; none if they name no file. Raises UsageError."""
    return load(Path(settings.notify)) if settings.notify else Ladders()


def _sentence(path: Path, error: ErrorDetails) -> str:
    """Name the key and what is allowed."""
    places = [f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in error["loc"]]
    where = "".join(places).removeprefix(".")
    said = "no such key" if error["type"] == "extra_forbidden" else error["msg"]
    return f"{path}: {where}: {said}" if where else f"{path}: {said}"
