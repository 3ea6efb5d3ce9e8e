"""Rule files: TOML in, checked rules out. The shipped file is `shipped.toml` beside this one."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from rules.durations import HOUR, Duration, Interval
from rules.expression import SINCE, STATES, Expression, compile_expression
from rules.machines import MACHINES
from rules.machines.base import Settings
from rules.machines.fall import Fall
from rules.schedule import Schedule
from schemas.alarms import KINDS, OWN_KINDS, Severity
from schemas.errors import UsageError
from schemas.readings import VALUES, Event

SHIPPED: Final = Path(__file__).with_name("shipped.toml")
MOST_RULES: Final = 500
LONGEST_FILE: Final = 300_000
"""Characters."""
_MOST_THRESHOLDS: Final = 100
_MOST_FAULTS: Final = 20
_LONGEST_SHOWN: Final = 60
_MANY_PARTS: Final = re.compile(r"""(?<![\w"'-])(?:[\w"'-]+[ \t]*\.[ \t]*){20}""")
"""A key of so many parts: reading one takes ever longer."""
"""So many of one rule are told."""
_BIGGEST: Final = 1e9
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN: Final = {*VALUES, *STATES, "event", "when", "ended", "ts", "since", "hits", "after"}
"""Names that a threshold cannot have: expressions or explanations know them already."""
_KIND_OF: Final = {
    "fall": "fall",
    "silence": "device_silent",
    "outage": "area_outage",
    "inactivity": "inactivity",
    "check_in": "check_in_missed",
    "chattering": "chattering",
}
_OF_EACH: Final = {"kind", "when", "clear", "each", "severity", "scope"}
_NOT_LASTING: Final = {"gap", "samples", "count", "within"}
_NOT_COUNTED: Final = {"hold", "samples", "gap", "clear", "lasting"}


def _expression(value: object, info: ValidationInfo) -> Expression:
    if not isinstance(value, str):
        raise ValueError("an expression is a text")  # noqa: TRY004 - pydantic collects ValueErrors
    try:
        return compile_expression(value, info.context or ())
    except UsageError as error:
        raise ValueError(str(error)) from error


_Text = Annotated[Expression, BeforeValidator(_expression)]
_Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=10_000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class _Step(_Model):
    severity: Severity
    after: Interval | None = None
    when: _Text | None = None


class _Scope(_Model):
    model: _Names | None = None
    region: _Names | None = None
    care_level: _Names | None = None
    person: _Names | None = None
    device: _Names | None = None


class _Entry(_Model):
    """One [[rule]] as written."""

    kind: str
    when: _Text
    clear: _Text | None = None
    hold: Duration = Field(default=0, alias="for")
    samples: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    gap: Interval = 24 * HOUR
    lasting: Annotated[bool, Field(strict=True)] = False
    count: Annotated[int, Field(strict=True, ge=2, le=20)] | None = None
    within: Interval | None = None
    each: Annotated[bool, Field(strict=True)] = False
    cooldown: Duration = 0
    severity: Severity | None = None
    steps: Annotated[list[_Step], Field(max_length=3)] = []
    scope: _Scope = _Scope()
    schedule: Schedule | None = None


@dataclass(frozen=True)
class _Rule:
    """What all rules have: their number in the file, from 1, the kind of alarm and its severity."""

    number: int
    kind: str
    severity: Severity


@dataclass(frozen=True)
class MachineRule(_Rule):
    """A machine by its name, with its settings as written."""

    machine: str
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class EachRule(_Rule):
    """Every hit is an activation. `scope`: lists by key, empty if it is for all."""

    when: Expression
    clear: Expression | None
    scope: Mapping[str, tuple[str, ...]]

    @property
    def expressions(self) -> list[Expression]:
        """Return all that it asks."""
        return [self.when, *([self.clear] if self.clear else [])]

    @property
    def fingerprint(self) -> str:
        """Name the rule by what it says."""
        return "|".join((self.kind, self.when.text, self.clear.text if self.clear else "", str(self.scope)))


@dataclass(frozen=True)
class Step:
    """A severity to which an active condition rises: `after` microseconds, or with a hit of `when`."""

    severity: Severity
    after: int | None
    when: Expression | None


@dataclass(frozen=True)
class LatchedRule(EachRule):
    """A condition that is raised and cleared once; durations in microseconds, `count` 0 if none counts."""

    hold: int
    samples: int
    gap: int
    lasting: bool
    count: int
    within: int
    cooldown: int
    steps: tuple[Step, ...]
    schedule: Schedule | None

    @property
    def expressions(self) -> list[Expression]:
        """Return all that it asks."""
        return [*super().expressions, *(step.when for step in self.steps if step.when)]

    @property
    def fingerprint(self) -> str:
        """Name the rule by what decides its state, so that a checkpoint fits only the same rule."""
        more = (self.hold, self.samples, self.gap, self.lasting, self.count, self.within, self.cooldown)
        return "|".join((super().fingerprint, *map(str, more), str(self.schedule or "")))


@dataclass(frozen=True)
class RuleSet:
    """The rules of one file, in its order; `text` is the file itself, `thresholds` are the defaults."""

    text: str
    thresholds: Mapping[str, float]
    rules: tuple[EachRule | LatchedRule | MachineRule, ...]

    @property
    def count(self) -> int:
        """Return how many rules there are."""
        return len(self.rules)

    @cached_property
    def latched(self) -> tuple[LatchedRule, ...]:
        """Return the rules with state."""
        return tuple(rule for rule in self.rules if isinstance(rule, LatchedRule))

    @cached_property
    def each(self) -> tuple[EachRule, ...]:
        """Return the rules without."""
        plain = (rule for rule in self.rules if isinstance(rule, EachRule))
        return tuple(rule for rule in plain if not isinstance(rule, LatchedRule))

    @cached_property
    def machines(self) -> tuple[MachineRule, ...]:
        """Return the machines, in the order in which they are called."""
        machines = [rule for rule in self.rules if isinstance(rule, MachineRule)]
        return tuple(sorted(machines, key=lambda rule: list(MACHINES).index(rule.machine)))

    @property
    def expressions(self) -> list[Expression]:
        """Return all that the rules over readings ask."""
        return [each for rule in (*self.each, *self.latched) for each in rule.expressions]

    @cached_property
    def shared(self) -> frozenset[str]:
        """Return the kinds that several rules raise."""
        kinds = [rule.kind for rule in self.rules]
        return frozenset(kind for kind in kinds if kinds.count(kind) > 1)


def load(path: Path) -> RuleSet:
    """Read and check a rule file; raises UsageError."""
    try:
        with path.open(encoding="utf-8-sig") as file:  # some editors begin a file with a mark
            return parse(file.read(LONGEST_FILE + 1), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def parse(text: str, name: str = "rules") -> RuleSet:
    """Check a rule file.

    Raises UsageError with a line for each fault: `file:line: rule number: key: what is allowed`.
    """
    return _Parser(text, name).rule_set()


class _Parser:
    """Reads one file, and knows where in it what stands."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._lines = text.split("\n") if len(text) <= LONGEST_FILE else []
        self._thresholds: dict[str, float] = {}

    # ------------------------------------------------------------------------------------------- refusals

    def _refusal(self, faults: Iterable[tuple[int | None, str]]) -> UsageError:
        """Return an error of faults, each with its line if that is known."""
        places = ((f"{self._name}:{line}" if line else self._name, said) for line, said in faults)
        return UsageError("\n".join(f"{place}: {said}" for place, said in places))

    def _starts(self, header: str) -> list[int]:
        """Return the numbers of the lines that are a header, from 1."""
        pattern = re.compile(rf"\s*{header}\s*(#.*)?")
        return [number for number, line in enumerate(self._lines, 1) if pattern.fullmatch(line)]

    def _line_of(self, start: int | None, end: int, key: str) -> int | None:
        """Return the line on which a key stands below a header; that of the header if it does not."""
        quoted = rf"""["']?{re.escape(key)}["']?"""
        pattern = re.compile(rf"\s*({quoted}\s*[.=]|\[+\s*rule\s*\.\s*{quoted}\s*[.\]])")
        for number in range(start or len(self._lines), end):
            if pattern.match(self._lines[number]):
                return number + 1
        return start

    @cached_property
    def _rules(self) -> list[int]:
        return self._starts(r"\[\[\s*rule\s*\]\]")

    def _line_in_rule(self, number: int, key: str) -> int | None:
        starts = self._rules
        if len(starts) < number:  # the rules are not written as [[rule]]
            return None
        return self._line_of(starts[number - 1], [*starts, len(self._lines)][number], key)

    def _of_rule(self, number: int, faults: Iterable[tuple[str, str]]) -> UsageError:
        """Return an error about keys of a rule."""
        return self._refusal(
            (self._line_in_rule(number, key.split(".")[0]), f"rule {number}: {key}: {said}" if key else said)
            for key, said in islice(faults, _MOST_FAULTS)
        )

    # ------------------------------------------------------------------------------------------- the file

    def rule_set(self) -> RuleSet:
        """Return the rules; raises UsageError."""
        document = self._document()
        self._thresholds = self._read_thresholds(document.get("thresholds", {}))
        entries = document.get("rule")
        surplus = sorted(document.keys() - {"rule", "thresholds"})
        if surplus or not isinstance(entries, list) or not 0 < len(entries) <= MOST_RULES:
            line = self._line_of_top(surplus[0] if surplus else "rule")
            allowed = f"a rule file holds 1 to {MOST_RULES} [[rule]] tables, [thresholds] and nothing else"
            raise self._refusal([(line, allowed)])
        rules = []
        faults = []
        for number, entry in enumerate(entries, 1):
            try:
                rules.append(self._rule(number, entry))
            except UsageError as error:
                faults += str(error).split("\n")
            if len(faults) >= _MOST_FAULTS:
                break
        if faults:
            raise UsageError("\n".join(faults))
        found = RuleSet(self._text, self._thresholds, tuple(rules))
        self._check(found)
        return found

    def _document(self) -> dict[str, Any]:
        if len(self._text) > LONGEST_FILE:
            raise self._refusal([(None, f"a rule file may have {LONGEST_FILE:,} characters")])
        if found := _MANY_PARTS.search(self._text):
            line = self._text.count("\n", 0, found.start()) + 1
            raise self._refusal([(line, "a key may have fewer than 20 parts with dots between them")])
        try:
            return tomllib.loads(self._text)
        except (ValueError, RecursionError) as error:  # also of a number that is too long
            found = re.search(r"at line (\d+)", str(error))
            raise self._refusal([(int(found[1]) if found else None, f"not TOML: {error}")]) from error

    def _line_of_top(self, key: str) -> int | None:
        pattern = re.compile(rf"""\s*(\[+\s*)?["']?{re.escape(key)}["']?\s*[\].=]""")
        return next((number for number, line in enumerate(self._lines, 1) if pattern.match(line)), None)

    def _read_thresholds(self, table: object) -> dict[str, float]:
        if not isinstance(table, dict) or len(table) > _MOST_THRESHOLDS:
            allowed = f"[thresholds] is a table of up to {_MOST_THRESHOLDS} numbers by name"
            raise self._refusal([(self._line_of_top("thresholds"), allowed)])
        faults = [(name, said) for name, value in table.items() if (said := _fault_of_threshold(name, value))]
        if faults:
            start = next(iter(self._starts(r"\[\s*thresholds\s*\]")), None)
            end = len(self._lines) if start else 0
            raise self._refusal(
                (
                    self._line_of(start, end, name[:_LONGEST_SHOWN]),
                    f"thresholds: {name[:_LONGEST_SHOWN]}: {said}",
                )
                for name, said in faults[:_MOST_FAULTS]
            )
        return {name: float(value) for name, value in table.items()}

    # -------------------------------------------------------------------------------------------- one rule

    def _rule(self, number: int, raw: object) -> EachRule | LatchedRule | MachineRule:
        if not isinstance(raw, dict):
            raise self._of_rule(number, [("rule", "is a table, written [[rule]]")])
        if "machine" in raw:
            return self._machine(number, raw)
        try:
            entry = _Entry.model_validate(raw, context=self._thresholds)
        except ValidationError as error:
            raise self._of_rule(number, _faults(error)) from error
        self._kind(number, entry.kind)
        if faults := list(_contradictions(entry)):
            raise self._of_rule(number, faults)
        severity = entry.severity or KINDS[entry.kind].severity
        scope = {key: tuple(names) for key, names in entry.scope if names is not None}
        plain = (number, entry.kind, severity, entry.when, entry.clear, scope)
        if entry.each:
            return EachRule(*plain)
        return LatchedRule(
            *plain,
            hold=entry.hold,
            samples=entry.samples,
            gap=entry.gap,
            lasting=entry.lasting,
            count=entry.count or 0,
            within=entry.within or 0,
            cooldown=entry.cooldown,
            steps=tuple(Step(each.severity, each.after, each.when) for each in entry.steps),
            schedule=entry.schedule,
        )

    def _kind(self, number: int, kind: object) -> None:
        if kind not in KINDS or kind in OWN_KINDS:
            allowed = ", ".join(name for name in KINDS if name not in OWN_KINDS)
            raise self._of_rule(number, [("kind", f"{_shown(kind)} is none; allowed are {allowed}")])

    def _machine(self, number: int, raw: dict[str, Any]) -> MachineRule:
        name, kind, severity = raw["machine"], raw.get("kind"), raw.get("severity")
        if not isinstance(name, str) or name not in MACHINES:
            said = f"{_shown(name)} is none; allowed are {', '.join(MACHINES)}"
            raise self._of_rule(number, [("machine", said)])
        if kind != _KIND_OF[name]:
            raise self._of_rule(number, [("kind", f"of machine = {name!r} it is {_KIND_OF[name]!r}")])
        if severity is not None and severity not in list(Severity):
            raise self._of_rule(number, [("severity", f"allowed are {', '.join(Severity)}")])
        if severity is not None and name == Fall.name:
            said = "a fall has its own: high when it is detected, critical when confirmed or nobody moves"
            raise self._of_rule(number, [("severity", said)])
        entry = {key: value for key, value in raw.items() if key not in {"kind", "machine", "severity"}}
        rule = MachineRule(number, kind, Severity(severity or KINDS[kind].severity), name, entry)
        try:
            MACHINES[name].read(entry, rule.kind, rule.severity, number)
        except ValidationError as error:
            raise self._of_rule(number, _faults(error)) from error
        return rule

    # --------------------------------------------------------------------------------- the rules together

    def _check(self, rules: RuleSet) -> None:
        names = [rule.machine for rule in rules.machines]
        for rule in rules.machines:
            if names.count(rule.machine) > 1:
                said = f"only one rule may have machine = {rule.machine!r}"
                raise self._of_rule(rule.number, [("machine", said)])
        said_before: dict[str, int] = {}
        for plain in (*rules.each, *rules.latched):
            if (before := said_before.setdefault(plain.fingerprint, plain.number)) != plain.number:
                raise self._of_rule(plain.number, [("kind", f"says the same as rule {before}")])
        calls = [rule for rule in rules.each if rule.kind == "sos" and not rule.scope]
        if not any(rule.when.fires_on(Event.SOS) for rule in calls):
            said = "sos must have a rule with each = true, without scope, that event == 'sos' alone fulfils"
            raise self._refusal([(None, f"{said}: it alarms on receipt")])
        if "fall" not in names:
            raise self._refusal([(None, "there must be a rule with machine = 'fall': it alarms on receipt")])
        outage = next((rule for rule in rules.machines if rule.machine == "outage"), None)
        if outage and "silence" not in names:
            said = "'outage' counts silent devices: it needs a rule with machine = 'silence'"
            raise self._of_rule(outage.number, [("machine", said)])


def _shown(value: object) -> str:
    """Return what was written, as far as it can be repeated in a sentence."""
    return repr(value[:_LONGEST_SHOWN]) if isinstance(value, str) else "this"


def _fault_of_threshold(name: str, value: object) -> str | None:
    if not _NAME.fullmatch(name) or iskeyword(name):
        return "a name is up to 40 of a-z, 0-9 and _, and begins with a letter"
    if name in _TAKEN or name.startswith(SINCE.rstrip("_")):
        return "this name means something else in an expression"
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _BIGGEST:
        return f"a threshold is a number, at most {_BIGGEST:g}"
    return None


def _faults(error: ValidationError) -> Iterable[tuple[str, str]]:
    """Say what is wrong with the keys of a rule."""
    for fault in error.errors():
        said = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "missing":
            said = "is missing"
        elif fault["type"] == "model_type":
            said = "is a table"
        elif fault["type"] == "extra_forbidden":
            said = f"there is no such key; allowed are {', '.join(_keys_beside(error.title, fault['loc']))}"
        yield ".".join(map(str, fault["loc"])), said


def _keys_beside(title: str, loc: tuple[int | str, ...]) -> Iterable[str]:
    """Return which keys may stand where one stands that may not; the title is of the model of the rule."""
    models: dict[str | int, type[BaseModel]] = {model.__name__: model for model in Settings.__subclasses__()}
    models |= {"_Entry": _Entry, "steps": _Step, "scope": _Scope, "schedule": Schedule}
    model = models[title if len(loc) == 1 else loc[0]]
    names = (field.alias or name for name, field in model.model_fields.items())
    if len(loc) > 1:
        return names
    return ("kind", "machine", "severity", *names) if issubclass(model, Settings) else ("machine", *names)


def _contradictions(entry: _Entry) -> Iterable[tuple[str, str]]:
    """Find keys that make no sense together."""
    given = entry.model_fields_set
    aliases = {name: field.alias or name for name, field in _Entry.model_fields.items()}
    excluded = (
        (entry.each, given - _OF_EACH, f"each = true takes only {', '.join(sorted(_OF_EACH))}"),
        (entry.lasting, given & _NOT_LASTING, "lasting = true takes no gap, samples, count, within"),
        (
            entry.count is not None,
            given & _NOT_COUNTED,
            "a rule with `count` takes no for, samples, gap, clear, lasting",
        ),
    )
    for holds, keys, said in excluded:
        for key in sorted(keys if holds else ()):
            yield aliases[key], said
    if entry.lasting and entry.clear is None:
        yield "lasting", "lasting = true needs `clear`"
    if (entry.count is None) != (entry.within is None):
        yield "count" if entry.within is None else "within", "`count` and `within` need each other"
    for number, step in enumerate(entry.steps):
        if (step.after is None) == (step.when is None):
            yield f"steps.{number}", "a step has either `after` or `when`, and a severity"
