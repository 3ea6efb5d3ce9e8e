"""Rule files: TOML in, checked rules out. The shipped file is `shipped.toml` beside this one."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rules.expression import Expression, compile_expression
from schemas.alarms import KINDS, OWN_KINDS, Severity
from schemas.clock import SECOND
from schemas.errors import UsageError
from schemas.readings import READING, VALUES, Event

SHIPPED = Path(__file__).with_name("shipped.toml")
LIFE_EVENTS = {Event.SOS: "sos", Event.FALL_DETECTED: "fall", Event.FALL_CONFIRMED: "fall"}
"""Events that alarm whatever else a message says (promise P2), and the kind of alarm that they are."""

_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_DURATION = re.compile(r"(\d{1,6})([smh])")
_MAX_RULES = 500
_OF_STATE = {"for", "gap"}
_OF_SILENCE = {"interval", "models"}
_OF_READINGS = {"when", "clear", "each"} | _OF_STATE


def _duration(value: object) -> int:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a number and a unit: '30s', '10m', '2h'")
    return int(match[1]) * _UNITS[match[2]]


def _expression(value: object) -> Expression:
    if not isinstance(value, str):
        raise ValueError("an expression is a text")  # noqa: TRY004 - pydantic collects ValueErrors
    try:
        return compile_expression(value)
    except UsageError as error:
        raise ValueError(str(error)) from error


Duration = Annotated[int, BeforeValidator(_duration)]
Interval = Annotated[int, BeforeValidator(_duration), Field(gt=0)]
Text = Annotated[Expression, BeforeValidator(_expression)]


class _Entry(BaseModel):
    """One [[rule]] as written."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    kind: str
    when: Text | None = None
    clear: Text | None = None
    hold: Duration = Field(default=0, alias="for")
    gap: Interval = 24 * _UNITS["h"]
    each: bool = False
    severity: Severity | None = None
    silence: Annotated[int, Field(ge=1, le=100)] | None = None
    interval: Interval = 10 * _UNITS["m"]
    models: dict[str, Interval] = {}


@dataclass(frozen=True)
class Rule:
    """A rule over readings; `hold` and `gap` in microseconds. Source: the rule file."""

    kind: str
    severity: Severity
    when: Expression
    clear: Expression | None
    hold: int
    gap: int
    each: bool

    @property
    def fingerprint(self) -> str:
        """Name the rule by what decides its state, so that a checkpoint fits only the same rule."""
        clear = self.clear.text if self.clear else ""
        return f"{self.kind}|{self.when.text}|{clear}|{self.hold}|{self.gap}"


@dataclass(frozen=True)
class SilenceRule:
    """When a device is silent: `misses` of the interval it should keep; intervals in microseconds."""

    kind: str
    severity: Severity
    misses: int
    interval: int
    models: dict[str, int]

    def limit(self, model: str, heartbeat_seconds: int | None) -> int:
        """Return for how long, in microseconds, a device may say nothing."""
        interval = heartbeat_seconds * SECOND if heartbeat_seconds else self.models.get(model, self.interval)
        return self.misses * interval


@dataclass(frozen=True)
class RuleSet:
    """The rules of one file: `each` ones know no state, `latched` ones do; `text` is the file itself."""

    text: str
    each: tuple[Rule, ...]
    latched: tuple[Rule, ...]
    silence: SilenceRule | None


def parse(text: str, name: str = "rules") -> RuleSet:
    """Check a rule file; raises UsageError that names the file, the rule, the key and what is allowed."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not TOML: {error}") from error
    surplus = set(document) - {"rule"}
    entries = document.get("rule")
    if surplus or not isinstance(entries, list) or not 0 < len(entries) <= _MAX_RULES:
        raise UsageError(f"{name}: a rule file holds 1 to {_MAX_RULES} [[rule]] tables and nothing else")
    rules = [_read(entry, f"{name}: rule {number}") for number, entry in enumerate(entries, 1)]
    silences = [rule for rule in rules if isinstance(rule, SilenceRule)]
    plain = [rule for rule in rules if isinstance(rule, Rule)]
    if len(silences) > 1:
        raise UsageError(f"{name}: only one rule may have `silence`")
    for event, kind in LIFE_EVENTS.items():
        if not any(rule.kind == kind and rule.each and _fires_on(rule, event) for rule in plain):
            said = event.name.lower()
            raise UsageError(
                f"{name}: {kind} must have a rule with each = true that event == {said!r} alone fulfils:"
                " it alarms on receipt"
            )
    return RuleSet(
        text,
        tuple(rule for rule in plain if rule.each),
        tuple(rule for rule in plain if not rule.each),
        silences[0] if silences else None,
    )


def _fires_on(rule: Rule, event: Event) -> bool:
    """Say whether a reading that bears nothing but this event is a hit."""
    bare = np.zeros(1, READING)
    bare["event"] = event
    for value in VALUES:
        bare[value] = np.nan
    return bool(rule.when.test(bare)[0])


def load(path: Path) -> RuleSet:
    """Read and check a rule file; raises UsageError."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def _read(raw: object, where: str) -> Rule | SilenceRule:
    try:
        entry = _Entry.model_validate(raw)
    except ValidationError as error:
        lines = (f"{where}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError("\n".join(lines)) from error
    kind = None if entry.kind in OWN_KINDS else KINDS.get(entry.kind)
    if kind is None:
        allowed = ", ".join(name for name in KINDS if name not in OWN_KINDS)
        raise UsageError(f"{where}: kind = {entry.kind!r}: allowed are {allowed}")
    severity = entry.severity or kind.severity
    if entry.silence is not None:
        _refuse(raw, _OF_READINGS, f"{where}: a rule with `silence` takes no")
        return SilenceRule(entry.kind, severity, entry.silence, entry.interval, entry.models)
    if entry.when is None:
        raise UsageError(f"{where}: `when` is missing")
    _refuse(raw, _OF_SILENCE, f"{where}: a rule without `silence` takes no")
    if entry.each:
        _refuse(raw, _OF_STATE, f"{where}: each = true fires on receipt and takes no")
    return Rule(entry.kind, severity, entry.when, entry.clear, entry.hold, entry.gap, entry.each)


def _refuse(raw: object, keys: set[str], sentence: str) -> None:
    """Refuse keys that would have no effect in this rule."""
    surplus = keys & set(raw) if isinstance(raw, dict) else None
    if surplus:
        raise UsageError(f"{sentence} {', '.join(f'`{key}`' for key in sorted(surplus))}")
