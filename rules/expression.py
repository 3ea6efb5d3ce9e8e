"""The small language of `when` and `clear`: comparisons over readings and numbers, compiled to numpy.

Only what stands in this file is understood; everything else is refused with what is allowed. Nothing of an
expression is ever run as Python.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import reduce
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from schemas.errors import UsageError
from schemas.readings import VALUES, Event

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]
Numbers = npt.NDArray[np.float64] | np.float64
"""Of each reading, or one for all; NaN is absent."""


class View(Protocol):
    """What an expression sees of n readings."""

    def number(self, name: str) -> Numbers:
        """Return a field, a state name or a threshold."""
        ...

    def happened(self, event: Event) -> Mask:
        """Say which readings are this event."""
        ...

    def bears(self, fields: frozenset[str], events: frozenset[Event]) -> Mask:
        """Say which readings bear one of these, shape (n,)."""
        ...

    def part(self, places: Index) -> "View":
        """Return a view of some of the readings."""
        ...


class Truth:
    """A part of an expression that is true or false; an absent comparison may be either."""

    def bounds(self, view: View) -> tuple[Mask, Mask]:
        """Say where it is so for certain, and where it may be so; shape (n,), or () for all readings."""
        raise NotImplementedError

    def certain(self, view: View) -> Mask:
        """Say where it is so for certain."""
        return self.bounds(view)[0]

    def bounds_of(self, event: Event) -> tuple[bool, bool]:  # noqa: ARG002 - numbers say nothing of it
        """Say whether an event alone makes it so for certain, and whether it may."""
        return False, True

    @property
    def parts(self) -> "list[Truth]":
        """Return what must all be so that it is."""
        return [self]


_COMPARE: Final[dict[type[ast.cmpop], Callable[..., Mask]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _divide(left: Numbers, right: Numbers) -> Numbers:
    return left / np.where(right == 0, np.nan, right)


_COMPUTE: Final[dict[type[ast.operator], Callable[[Numbers, Numbers], Numbers]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
}
EVENTS: Final = {event.name.lower(): event for event in Event if event is not Event.NONE}
STATES: Final = ("steps_per_min", "baseline_hr")
"""What is known of a device beside its readings; minutes_since('name') is called minutes_since_<name>."""
SINCE: Final = "minutes_since_"
_MAX_LENGTH = 500
_MAX_DEPTH = 20
_BIGGEST = 1e9


@dataclass(frozen=True)
class Expression:
    """A compiled expression; `states` and `thresholds` are what it names besides fields and events."""

    text: str
    fields: frozenset[str]
    events: frozenset[Event]
    states: frozenset[str]
    thresholds: frozenset[str]
    truth: Truth

    @property
    def names(self) -> list[str]:
        """Return every number that it asks for."""
        return sorted(self.fields | self.states | self.thresholds)

    def judge(self, view: View) -> tuple[Mask, Mask]:
        """Return which readings are hits and which are misses, shape (n,); the others do not concern it.

        A reading concerns it that bears a field or event named here, and decides it: without a pulse nothing
        is said about a pulse.
        """
        concerned = view.bears(self.fields, self.events)
        certain, possible = self.truth.bounds(view)
        return concerned & certain, concerned & ~possible

    def fires_on(self, event: Event) -> bool:
        """Say whether a reading of this event is a hit, whatever its values and anybody's thresholds are."""
        return event in self.events and self.truth.bounds_of(event)[0]

    def hits(self, view: View) -> Index:
        """Return the places of the hits.

        Each condition is looked at only where those before it hold, for most rules are about what is seldom.
        """
        first, *others = self.truth.parts
        places = np.flatnonzero(first.certain(view) & view.bears(self.fields, self.events))
        for part in others:
            if not len(places):
                break
            places = places[np.broadcast_to(part.certain(view.part(places)), len(places))]
        return places


def compile_expression(text: str, thresholds: Collection[str] = ()) -> Expression:
    """Compile an expression; raises UsageError that says what was not understood and what is allowed."""
    if len(text) > _MAX_LENGTH:
        raise UsageError(f"an expression may have {_MAX_LENGTH} characters, this one has {len(text)}")
    compiler = _Compiler(text, thresholds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what looks odd to Python is refused here or in order
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{text!r} is not an expression; allowed are {compiler.allowed}") from error
    truth = compiler.boolean(tree, 0)
    if not compiler.fields and not compiler.events:
        said = f"{text!r} names no field and no event, so no reading can fulfil it"
        raise UsageError(f"{said}; allowed are {compiler.allowed}")
    return Expression(
        text,
        frozenset(compiler.fields),
        frozenset(compiler.events),
        frozenset(compiler.states),
        frozenset(compiler.thresholds),
        truth,
    )


@dataclass(frozen=True)
class _Number:
    """How a number is found; `constant` where it is known already."""

    find: Callable[[View], Numbers]
    constant: float | None = None


class _Happened(Truth):
    def __init__(self, event: Event) -> None:
        self._event = event

    def bounds(self, view: View) -> tuple[Mask, Mask]:
        happened = view.happened(self._event)
        return happened, happened

    def bounds_of(self, event: Event) -> tuple[bool, bool]:
        return event is self._event, event is self._event


class _Comparison(Truth):
    def __init__(self, compare: Callable[..., Mask], left: _Number, right: _Number) -> None:
        self._compare = compare
        self._sides = left, right

    def bounds(self, view: View) -> tuple[Mask, Mask]:
        certain = possible = self.certain(view)
        if self._compare is not operator.ne:  # what is absent is different from every number
            for side in self._sides:
                if side.constant is None:
                    possible = possible | np.isnan(side.find(view))
        return certain, possible

    def certain(self, view: View) -> Mask:
        left, right = self._sides
        return self._compare(left.find(view), right.find(view))


class _All(Truth):
    def __init__(self, parts: list[Truth]) -> None:
        self._parts = parts

    @property
    def parts(self) -> list[Truth]:
        return self._parts

    def bounds(self, view: View) -> tuple[Mask, Mask]:
        certain, possible = zip(*(part.bounds(view) for part in self._parts), strict=True)
        return reduce(operator.and_, certain), reduce(operator.and_, possible)

    def bounds_of(self, event: Event) -> tuple[bool, bool]:
        certain, possible = zip(*(part.bounds_of(event) for part in self._parts), strict=True)
        return all(certain), all(possible)

    def certain(self, view: View) -> Mask:
        return reduce(operator.and_, [part.certain(view) for part in self._parts])


class _Any(Truth):
    def __init__(self, parts: list[Truth]) -> None:
        self._parts = parts

    def bounds(self, view: View) -> tuple[Mask, Mask]:
        certain, possible = zip(*(part.bounds(view) for part in self._parts), strict=True)
        return reduce(operator.or_, certain), reduce(operator.or_, possible)

    def bounds_of(self, event: Event) -> tuple[bool, bool]:
        certain, possible = zip(*(part.bounds_of(event) for part in self._parts), strict=True)
        return any(certain), any(possible)

    def certain(self, view: View) -> Mask:
        return reduce(operator.or_, [part.certain(view) for part in self._parts])


class _Not(Truth):
    def __init__(self, part: Truth) -> None:
        self._part = part

    def bounds(self, view: View) -> tuple[Mask, Mask]:
        certain, possible = self._part.bounds(view)
        return ~possible, ~certain

    def bounds_of(self, event: Event) -> tuple[bool, bool]:
        certain, possible = self._part.bounds_of(event)
        return not possible, not certain


class _Compiler:
    """Walk the tree once; collect what is named on the way."""

    def __init__(self, text: str, known: Collection[str]) -> None:
        self.text = text
        self.fields: set[str] = set()
        self.events: set[Event] = set()
        self.states: set[str] = set()
        self.thresholds: set[str] = set()
        self._known = known

    @property
    def allowed(self) -> str:
        """Return what may stand in an expression."""
        names = ", ".join((*VALUES, *STATES, "minutes_since('name')", *self._known))
        return f"comparisons (< <= > >= == !=) of {names} and numbers, + - * /, event == 'name', and, or, not"

    def refuse(self, node: ast.AST, reason: str = "is not understood") -> UsageError:
        said = ast.get_source_segment(self.text, node) or self.text
        return UsageError(f"{self.text!r}: {said!r} {reason}; allowed are {self.allowed}")

    def go_down(self, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise UsageError(f"{self.text!r} is nested more than {_MAX_DEPTH} deep")
        return depth + 1

    def boolean(self, node: ast.expr, depth: int) -> Truth:
        depth = self.go_down(depth)
        match node:
            case ast.BoolOp(op, values):
                parts = [self.boolean(value, depth) for value in values]
                return (_All if isinstance(op, ast.And) else _Any)(parts)
            case ast.UnaryOp(ast.Not(), operand):
                return _Not(self.boolean(operand, depth))
            case ast.Compare(ast.Name("event"), [op], [right]):
                return self.event(node, op, right)
            case ast.Compare(left, [op], [right]) if type(op) in _COMPARE:
                return self.comparison(
                    node, _COMPARE[type(op)], self.number(left, depth), self.number(right, depth)
                )
        raise self.refuse(node)

    def comparison(
        self, node: ast.expr, compare: Callable[..., Mask], left: _Number, right: _Number
    ) -> Truth:
        if left.constant is not None and right.constant is not None:
            raise self.refuse(node, "compares constants")
        return _Comparison(compare, left, right)

    def event(self, node: ast.expr, op: ast.cmpop, right: ast.expr) -> Truth:
        if not isinstance(op, ast.Eq) or not isinstance(right, ast.Constant) or right.value not in EVENTS:
            said = ast.get_source_segment(self.text, node)
            raise UsageError(
                f"{self.text!r}: {said!r} is not understood; event == one of {', '.join(EVENTS)}"
            )
        event = EVENTS[str(right.value)]
        self.events.add(event)
        return _Happened(event)

    def number(self, node: ast.expr, depth: int) -> _Number:
        depth = self.go_down(depth)
        match node:
            case ast.Constant(bool()) | ast.UnaryOp(ast.USub(), ast.Constant(bool())):
                raise self.refuse(node)
            case ast.Constant(int() | float() as value):
                return self.constant(node, value)
            case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
                return self.constant(node, -value)
            case ast.Name(name):
                return self.name(name)
            case ast.Call(ast.Name("minutes_since"), [ast.Constant(str(name))], []):
                if name not in EVENTS and name not in VALUES:
                    raise self.refuse(node, f"is of no event ({', '.join(EVENTS)}) and no field")
                self.states.add(SINCE + name)
                return _Number(lambda view: view.number(SINCE + name))
            case ast.BinOp(left, op, right) if type(op) in _COMPUTE:
                return self.computed(
                    node, _COMPUTE[type(op)], self.number(left, depth), self.number(right, depth)
                )
        raise self.refuse(node)

    def constant(self, node: ast.expr, value: float) -> _Number:
        if not abs(value) <= _BIGGEST:
            raise self.refuse(node, f"is beyond {_BIGGEST:g}")
        number = np.float64(value)
        return _Number(lambda _: number, float(value))

    def name(self, name: str) -> _Number:
        for known, named in ((VALUES, self.fields), (STATES, self.states), (self._known, self.thresholds)):
            if name in known:
                named.add(name)
                return _Number(lambda view: view.number(name))
        raise UsageError(f"{self.text!r}: there is no field {name!r}; allowed are {self.allowed}")

    def computed(
        self, node: ast.expr, compute: Callable[[Numbers, Numbers], Numbers], left: _Number, right: _Number
    ) -> _Number:
        if compute is _divide and right.constant == 0:
            raise self.refuse(node, "divides by zero")
        if left.constant is not None and right.constant is not None:
            return self.constant(node, float(compute(np.float64(left.constant), np.float64(right.constant))))
        return _Number(lambda view: compute(left.find(view), right.find(view)))
