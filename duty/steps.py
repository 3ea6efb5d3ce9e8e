"""What duty staff do about an alarm of each kind, as steps.toml has it: checked once, when it is loaded.

Rules of this file: whatever is not right with the steps is an error at the start, never on the card.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from schemas.alarms import KINDS, Class
from schemas.errors import UsageError

SHIPPED: Final = Path(__file__).with_name("steps.toml")
FEWEST: Final = 3
MOST: Final = 6
LONGEST: Final = 40
"""Characters of a step: on a phone it takes two lines."""

Steps = tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """The steps of each kind that has its own, and of each class."""

    kinds: Mapping[str, Steps]
    classes: Mapping[Class, Steps]

    def of(self, kind: str, alarm_class: Class) -> Steps:
        """Return the steps of a kind; one that has none of its own has those of the class."""
        return self.kinds.get(kind, self.classes[alarm_class])


@cache
def shipped() -> Catalogue:
    """Return the steps that ship with carebell."""
    return read(SHIPPED.read_text(encoding="utf-8"))


def read(text: str) -> Catalogue:
    """Return the steps in a text of TOML; raises UsageError with the first thing that is not right."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"steps.toml: {error}") from error
    if unknown := sorted(tables.keys() - {"class", "kind"}):
        raise UsageError(f"steps.toml: {unknown[0]}: neither class nor kind")
    classes = _table("class", tables.get("class"), {known.value for known in Class})
    if missing := [known.value for known in Class if known.value not in classes]:
        raise UsageError(f"steps.toml: class.{missing[0]} is missing: kinds without steps have those")
    kinds = _table("kind", tables.get("kind", {}), set(KINDS))
    return Catalogue(kinds, {Class(name): steps for name, steps in classes.items()})


def _table(name: str, table: object, known: set[str]) -> dict[str, Steps]:
    if not isinstance(table, dict):
        raise UsageError(f"steps.toml: {name} is not a table")
    if unknown := sorted(table.keys() - known):
        raise UsageError(f"steps.toml: {name}.{unknown[0]}: there is no such {name}")
    return {key: _steps(f"{name}.{key}", value) for key, value in table.items()}


def _steps(key: str, value: Any) -> Steps:  # noqa: ANN401  # TOML is anything
    if not isinstance(value, list) or not all(isinstance(step, str) for step in value):
        raise UsageError(f"steps.toml: {key} is not a list of texts")
    if not FEWEST <= len(value) <= MOST:
        raise UsageError(f"steps.toml: {key} has {len(value)} steps: {FEWEST} to {MOST} can be followed")
    for number, step in enumerate(value, 1):
        if not 0 < len(step.strip()) <= LONGEST or not step.isprintable():
            raise UsageError(f"steps.toml: {key}: step {number} is no text of 1 to {LONGEST} characters")
    return tuple(value)
