"""Rules over readings (docs/rules.md, sections 2 and 3): each device's conditions, reading by reading."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from schemas.alarms import KINDS, Move, Severity
from tests.oracle.expression import Expression, Names

UNITS: Final = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
URGENCY: Final = {severity: -rank for rank, severity in enumerate(Severity)}


class Found(NamedTuple):
    """A decision; `area` is set for an outage, whose device is -1, `parent` is the area that suppresses."""

    device: int
    kind: str
    move: Move
    at: int
    severity: Severity
    rule: int = 0
    area: str = ""
    parent: str = ""


@dataclass(frozen=True)
class Device:
    """What the registry says of a device."""

    number: int
    name: str = ""
    model: str = ""
    heartbeat_seconds: int | None = None
    region: str = ""
    gateway: str = ""
    care_level: str = ""
    person: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)


class Reading(NamedTuple):
    """A reading as rules see it: `time` is its rule time, `names` what its expressions may name."""

    device: Device
    at: int
    time: int
    names: Names


def duration(text: str) -> int:
    """Return '10m' in microseconds."""
    return int(text[:-1]) * UNITS[text[-1]]


def minute(text: str) -> int:
    """Return '22:30' in minutes of the day."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def wall(at: int, zone: ZoneInfo) -> datetime:
    """Return the wall clock of a zone, to the second."""
    return datetime.fromtimestamp(at // 1_000_000, zone)


class Schedule:
    """Hours of some days; those over midnight belong to the day on which they begin."""

    def __init__(self, table: dict[str, str]) -> None:
        self._zone = ZoneInfo(table.get("zone", "Asia/Shanghai"))
        self._begin, self._end = minute(table.get("from", "00:00")), minute(table.get("to", "24:00"))
        self._days: set[int] = set()
        for part in table.get("days", "Mon-Sun").split(","):
            first, _, last = part.strip().partition("-")
            start, end = DAYS.index(first), DAYS.index(last or first)
            self._days |= {(start + step) % 7 for step in range((end - start) % 7 + 1)}

    def holds(self, at: int) -> bool:
        """Say whether a time lies within."""
        local = wall(at, self._zone)
        now = local.hour * 60 + local.minute
        if self._begin < self._end:
            return self._begin <= now < self._end and local.weekday() in self._days
        if now >= self._begin:
            return local.weekday() in self._days
        return now < self._end and (local - timedelta(days=1)).weekday() in self._days


class Scope:
    """Which devices a rule is for."""

    def __init__(self, table: dict[str, list[str]]) -> None:
        self._table = table

    def fits(self, device: Device) -> bool:
        """Say whether all lists fit, each by one of its entries."""
        of = {
            "model": device.model,
            "care_level": device.care_level,
            "person": device.person,
            "device": device.name,
        }
        return all(
            any(device.region.startswith(each) for each in wanted) if key == "region" else of[key] in wanted
            for key, wanted in self._table.items()
        )


class Rule:
    """What all rules over readings have."""

    def __init__(self, number: int, table: dict[str, Any]) -> None:
        self.number = number
        self.kind: str = table["kind"]
        self.severity = Severity(table.get("severity", KINDS[self.kind].severity))
        self.when = Expression(table["when"])
        self.clear = Expression(table["clear"]) if "clear" in table else None
        self.scope = Scope(table.get("scope", {}))

    @property
    def expressions(self) -> list[Expression]:
        """Return all that the rule asks."""
        return [self.when, *([self.clear] if self.clear else [])]

    def found(self, device: int, move: Move, at: int, severity: Severity | None = None) -> Found:
        """Return a decision of this rule."""
        return Found(device, self.kind, move, at, severity or self.severity, self.number)


class Each(Rule):
    """Every hit is an activation."""

    def hear(self, reading: Reading) -> Iterator[Found]:
        """Judge a reading."""
        if not self.scope.fits(reading.device):
            return
        if self.when.look(reading.names):
            yield self.found(reading.device.number, Move.RAISE, reading.at)
        elif self.clear and self.clear.look(reading.names):
            yield self.found(reading.device.number, Move.CLEAR, reading.at)


class Step:
    """When the severity of an active condition rises."""

    def __init__(self, table: dict[str, str]) -> None:
        self.severity = Severity(table["severity"])
        self.after = duration(table["after"]) if "after" in table else None
        self.when = Expression(table["when"]) if "when" in table else None


@dataclass
class Condition:
    """What one rule remembers of a device; `begun`, `newest` and `hits` are of the pending condition."""

    active: bool = False
    begun: int | None = None
    newest: int = 0
    hits: int = 0
    receipts: list[int] = field(default_factory=list)  # of the hits that a counting rule counts
    fired: int | None = None  # rule time
    raised: int = 0  # receipt
    severity: Severity = Severity.LOW
    waiting: list[Step] = field(default_factory=list)  # steps that the clock has not reached


class Latched(Rule):
    """A condition is raised once and cleared once."""

    def __init__(self, number: int, table: dict[str, Any]) -> None:
        super().__init__(number, table)
        self._hold = duration(table.get("for", "0s"))
        self._gap = duration(table.get("gap", "24h"))
        self._samples: int = table.get("samples", 1)
        self._lasting: bool = table.get("lasting", False)
        self._count: int = table.get("count", 0)
        self._within = duration(table.get("within", "0s"))
        self._cooldown = duration(table.get("cooldown", "0s"))
        self._steps = [Step(step) for step in table.get("steps", [])]
        self._schedule = Schedule(table["schedule"]) if "schedule" in table else None
        self._conditions: dict[int, Condition] = {}

    @property
    def expressions(self) -> list[Expression]:
        """Return all that the rule asks."""
        return [*super().expressions, *(step.when for step in self._steps if step.when)]

    def hear(self, reading: Reading) -> Iterator[Found]:
        """Judge a reading."""
        if not self.scope.fits(reading.device):
            return
        device, names = reading.device.number, reading.names
        in_hours = self._schedule is None or self._schedule.holds(reading.time)
        says = self.when.look(names) if in_hours else None
        state = self._conditions.setdefault(device, Condition()) if says else self._conditions.get(device)
        if state is None:
            return
        if self._count:
            yield from self._counted(state, reading) if says else ()
        elif state.active or (self._lasting and state.begun is not None):
            if self.clear.look(names) if self.clear else says is False:
                yield from self._cease(device, state, reading.at)
        elif says:
            yield from self._hit(state, reading)
        elif says is False:
            state.begun = None
        for step in self._steps:
            if state.active and step.when and step.when.look(names):
                yield from self._step(device, state, step, reading.at)

    def _hit(self, state: Condition, reading: Reading) -> Iterator[Found]:
        if self._lasting:
            state.begun = reading.at if state.begun is None else state.begun
            return
        if state.begun is None or reading.time - state.newest > self._gap:
            state.begun, state.hits = reading.time, 0
        state.newest = reading.time
        state.hits += 1
        lasts = reading.time - state.begun >= self._hold and state.hits >= self._samples
        if lasts and self._is_cool(state, reading.time):
            yield self._fire(reading.device.number, state, reading.at, reading.time)

    def _counted(self, state: Condition, reading: Reading) -> Iterator[Found]:
        state.receipts = [*state.receipts, reading.at][-self._count :]
        enough = len(state.receipts) == self._count and reading.at - state.receipts[0] <= self._within
        if enough and not state.active and self._is_cool(state, reading.time):
            yield self._fire(reading.device.number, state, reading.at, reading.time)

    def _is_cool(self, state: Condition, time: int) -> bool:
        return not self._cooldown or state.fired is None or time - state.fired >= self._cooldown

    def _fire(self, device: int, state: Condition, at: int, time: int) -> Found:
        state.active, state.begun = True, None
        state.fired, state.raised, state.severity = time, at, self.severity
        state.waiting = [step for step in self._steps if step.after is not None]
        return self.found(device, Move.RAISE, at)

    def _cease(self, device: int, state: Condition, at: int) -> Iterator[Found]:
        if state.active:
            yield self.found(device, Move.CLEAR, at, state.severity)
        state.active, state.begun = False, None

    def _step(self, device: int, state: Condition, step: Step, at: int) -> Iterator[Found]:
        if URGENCY[step.severity] > URGENCY[state.severity]:
            state.severity = step.severity
            yield self.found(device, Move.STEP, at, step.severity)

    def _timers(self, state: Condition) -> Iterator[tuple[int, int]]:
        """Return what the clock will do and when: fire (0), cease (1), or take one of the waiting steps."""
        if self._lasting and state.begun is not None and not state.active:
            cool = state.begun if state.fired is None else state.fired + self._cooldown
            yield max(state.begun + self._hold, cool), 0
        if self._count and state.active:
            yield state.receipts[-1] + self._within, 1
        if state.active:
            yield from ((state.raised + (step.after or 0), 2 + n) for n, step in enumerate(state.waiting))

    def overdue(self, device: int, now: int) -> Iterator[Found]:
        """Fire the timers of a device, in the order of their dates."""
        state = self._conditions.get(device)
        while state and (timers := list(self._timers(state))):
            at, what = min(timers)
            if at > now:
                return
            if what == 0:
                yield self._fire(device, state, at, at)
            elif what == 1:
                yield from self._cease(device, state, at)
            else:
                yield from self._step(device, state, state.waiting.pop(what - 2), at)

    def tick(self, now: int) -> Iterator[Found]:
        """Fire the timers of all devices."""
        for device in self._conditions:
            yield from self.overdue(device, now)
