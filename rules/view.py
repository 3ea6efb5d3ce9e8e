"""What an expression sees of a look: numbers, events, and which readings bear something."""

from collections.abc import Callable
from typing import Final

import numpy as np

from rules.expression import SINCE, STATES, Expression, Index, Mask, Numbers
from rules.look import Look
from schemas.readings import VALUES, Event

_ABSENT: Final = np.float64(np.nan)


class View:
    """A look with thresholds; `fresh`: without stale values, for rules with state."""

    def __init__(self, look: Look, limits: Callable[[str], Numbers], *, fresh: bool) -> None:
        self.look = look
        self._limits = limits
        self._fresh = fresh
        self._borne: dict[tuple[frozenset[str], frozenset[Event]], Mask] = {}
        self._states: dict[str, Numbers] = {}
        self._nowhere: Mask = np.zeros(len(look), np.bool_)

    def number(self, name: str) -> Numbers:
        """Return a field, a state name or a threshold; NaN is absent."""
        if name in VALUES:
            if not self.look.has(name):
                return _ABSENT
            return self.look.value(name) if self._fresh else self.look.sent(name)
        if name in STATES or name.startswith(SINCE):
            if name not in self._states:
                self._states[name] = self.look.states[name]() if name in self.look.states else _ABSENT
            return self._states[name]
        return self._limits(name)

    def happened(self, event: Event) -> Mask:
        """Say which readings are this event."""
        return self.look.event == int(event) if event in self.look.events else self._nowhere

    def may_concern(self, expression: Expression) -> bool:
        """Say whether any reading bears what an expression names."""
        look = self.look
        return any(map(look.has, expression.fields)) or not expression.events.isdisjoint(look.events)

    def bears(self, fields: frozenset[str], events: frozenset[Event]) -> Mask:
        """Say which readings bear one of these, shape (n,)."""
        found = self._borne.get((fields, events))
        if found is None:
            found = self._nowhere.copy()
            for event in events & self.look.events:
                found |= self.happened(event)
            for name in filter(self.look.has, fields):
                found |= self.look.bears(name, fresh=self._fresh)
            self._borne[fields, events] = found
        return found

    def part(self, places: Index) -> "Part":
        """Return a view of some of the readings."""
        return Part(self, places)

    def shown(self, expression: Expression, place: int) -> dict[str, float]:
        """Return the numbers that an expression saw in one reading, as far as there were any."""
        found = ((name, self.number(name)) for name in expression.names)
        numbers = {name: float(np.ravel(of)[place if np.ndim(of) else 0]) for name, of in found}
        return {name: value for name, value in numbers.items() if np.isfinite(value)}


class Part:
    """Some readings of a view, as an expression sees them."""

    def __init__(self, whole: View, places: Index) -> None:
        self._whole, self._places = whole, places

    def number(self, name: str) -> Numbers:
        """Return a field, a state name or a threshold; NaN is absent."""
        found = self._whole.number(name)
        return found[self._places] if isinstance(found, np.ndarray) else found

    def happened(self, event: Event) -> Mask:
        """Say which readings are this event."""
        found: Mask = self._whole.happened(event)[self._places]
        return found

    def bears(self, fields: frozenset[str], events: frozenset[Event]) -> Mask:
        """Say which readings bear one of these, shape (n,)."""
        found: Mask = self._whole.bears(fields, events)[self._places]
        return found

    def part(self, places: Index) -> "Part":
        """Return a view of some of these readings."""
        return Part(self._whole, self._places[places])
