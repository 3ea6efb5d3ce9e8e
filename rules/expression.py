"""The small language of `when` and `clear`: comparisons over a reading's fields, compiled to numpy.

Only what stands in this file is understood; everything else is refused with what is allowed. Nothing of an
expression is ever run as Python.
"""

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import UsageError
from schemas.readings import VALUES, Columns, Event

Mask = npt.NDArray[np.bool_]
Bound = Callable[[Columns, bool], Mask]
"""What an expression says of readings if every comparison with an absent value were so (false or true)."""

_COMPARE: dict[type[ast.cmpop], Callable[..., Mask]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_EVENTS = {event.name.lower(): event for event in Event if event is not Event.NONE}
_MAX_LENGTH = 500
_MAX_DEPTH = 20
_TOO_BIG = 1e9
_ALLOWED = f"comparisons of {', '.join(VALUES)} with numbers, event == 'name', joined by and, or, not"


@dataclass(frozen=True)
class Expression:
    """A compiled expression over n readings; a comparison with an absent value is false, except !=, true."""

    text: str
    fields: frozenset[str]
    events: frozenset[Event]
    bound: Bound

    def test(self, readings: Columns) -> Mask:
        """Say of which readings, shape (n,), the expression is true."""
        return self.bound(readings, False)  # noqa: FBT003 - what absent values count for

    def concerns(self, readings: Columns) -> Mask:
        """Say which readings bear one of the fields or events named, and decide the expression by it.

        A reading without a pulse says nothing about a pulse: it neither counts nor interrupts.
        """
        mask = np.zeros(len(readings), np.bool_)
        for event in self.events:
            mask |= readings["event"] == int(event)
        for name in self.fields:
            mask |= ~np.isnan(readings[name])
        if not mask.any():
            return mask
        return np.asarray(mask & (self.test(readings) == self.bound(readings, True)))  # noqa: FBT003 - as above


def compile_expression(text: str) -> Expression:
    """Compile an expression; raises UsageError that says what was not understood and what is allowed."""
    if len(text) > _MAX_LENGTH:
        raise UsageError(f"an expression may have {_MAX_LENGTH} characters, this one has {len(text)}")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{text!r} is not an expression; allowed are {_ALLOWED}") from error
    compiler = _Compiler(text)
    test = compiler.boolean(tree, 0)
    return Expression(text, frozenset(compiler.fields), frozenset(compiler.events), test)


class _Compiler:
    """Walk the tree once; collect the fields and events named on the way."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: set[str] = set()
        self.events: set[Event] = set()

    def refuse(self, node: ast.AST) -> UsageError:
        return UsageError(f"{self.text!r}: {self.said(node)!r} is not understood; allowed are {_ALLOWED}")

    def said(self, node: ast.AST) -> str:
        return ast.get_source_segment(self.text, node) or self.text

    def boolean(self, node: ast.expr, depth: int) -> Bound:
        if depth > _MAX_DEPTH:
            raise UsageError(f"{self.text!r} is nested more than {_MAX_DEPTH} deep")
        match node:
            case ast.BoolOp(op, values):
                tests = [self.boolean(value, depth + 1) for value in values]
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return lambda rows, absent: join.reduce([test(rows, absent) for test in tests])
            case ast.UnaryOp(ast.Not(), operand):
                inner = self.boolean(operand, depth + 1)
                return lambda rows, absent: ~inner(rows, not absent)
            case ast.Compare(left, [op], [right]):
                return self.comparison(node, left, op, right)
        raise self.refuse(node)

    def comparison(self, node: ast.Compare, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Bound:
        compare = _COMPARE.get(type(op))
        if compare is None or not isinstance(left, ast.Name):
            raise self.refuse(node)
        if left.id == "event":
            return self.event(node, op, right)
        if left.id not in VALUES:
            raise UsageError(f"{self.text!r}: there is no field {left.id!r}; allowed are {_ALLOWED}")
        name, number = left.id, np.float32(self.number(right))
        self.fields.add(name)
        if isinstance(op, ast.NotEq):
            return lambda rows, _: compare(rows[name], number)
        return lambda rows, absent: np.where(np.isnan(rows[name]), absent, compare(rows[name], number))

    def event(self, node: ast.Compare, op: ast.cmpop, right: ast.expr) -> Bound:
        if not isinstance(op, ast.Eq) or not isinstance(right, ast.Constant) or right.value not in _EVENTS:
            raise UsageError(
                f"{self.text!r}: {self.said(node)!r} is not understood; event == one of {', '.join(_EVENTS)}"
            )
        event = _EVENTS[str(right.value)]
        self.events.add(event)
        return lambda rows, _: rows["event"] == int(event)

    def number(self, node: ast.expr) -> float:
        match node:
            case ast.Constant(bool()) | ast.UnaryOp(ast.USub(), ast.Constant(bool())):
                raise self.refuse(node)
            case ast.Constant(int() | float() as value) if abs(value) < _TOO_BIG:
                return float(value)
            case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)) if abs(value) < _TOO_BIG:
                return -float(value)
        raise self.refuse(node)
