"""Expressions over a dict: absent is None, a comparison with it is what the asker says it is."""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any, Final

from schemas.readings import VALUES

Names = dict[str, Any]
Number = Callable[[Names], float | None]
Truth = Callable[[Names, bool], bool]

_OPERATIONS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[float, float], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class Expression:
    """What `when`, `clear` and a step's `when` say."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: set[str] = set()
        self.events: set[str] = set()
        self.states: set[str] = set()
        self._truth = self._boolean(ast.parse(text, mode="eval").body)

    def look(self, names: Names) -> bool | None:
        """Say whether a reading makes it true; None if the reading does not concern it.

        `names` holds the fields that the reading bears, its `event`, the state names and the thresholds.
        """
        if names.get("event") not in self.events and names.keys().isdisjoint(self.fields):
            return None
        as_it_is, if_true = (self._truth(names, absent) for absent in (False, True))
        return as_it_is if as_it_is == if_true else None

    def _boolean(self, node: ast.expr) -> Truth:
        match node:
            case ast.BoolOp(ast.And(), values):
                parts = [self._boolean(value) for value in values]
                return lambda names, absent: all(part(names, absent) for part in parts)
            case ast.BoolOp(ast.Or(), values):
                parts = [self._boolean(value) for value in values]
                return lambda names, absent: any(part(names, absent) for part in parts)
            case ast.UnaryOp(ast.Not(), operand):
                part = self._boolean(operand)
                return lambda names, absent: not part(names, not absent)
            case ast.Compare(ast.Name("event"), [ast.Eq()], [ast.Constant(str(event))]):
                self.events.add(event)
                return lambda names, _: names.get("event") == event
            case ast.Compare(left, [comparison], [right]):
                return self._comparison(
                    _COMPARISONS[type(comparison)], self._number(left), self._number(right)
                )
        raise ValueError(ast.unparse(node))

    @staticmethod
    def _comparison(compare: Callable[[float, float], bool], left: Number, right: Number) -> Truth:
        def compared(names: Names, absent: bool) -> bool:  # noqa: FBT001 - what absent values count for
            a, b = left(names), right(names)
            if a is None or b is None:
                return absent or compare is operator.ne
            return compare(a, b)

        return compared

    def _number(self, node: ast.expr) -> Number:
        match node:
            case ast.Constant(int() | float() as value):
                constant = float(value)
                return lambda _: constant
            case ast.UnaryOp(ast.USub(), operand):
                part = self._number(operand)
                return lambda names: None if (value := part(names)) is None else -value
            case ast.BinOp(left, operation, right):
                return self._operation(_OPERATIONS[type(operation)], self._number(left), self._number(right))
            case ast.Call(ast.Name("minutes_since"), [ast.Constant(str(name))]):
                return self._name(f"minutes_since {name}", self.states)
            case ast.Name(name):
                return self._name(name, self.fields if name in VALUES else self.states)
        raise ValueError(ast.unparse(node))

    @staticmethod
    def _name(name: str, kept: set[str]) -> Number:
        kept.add(name)
        return lambda names: names.get(name)

    @staticmethod
    def _operation(operate: Callable[[float, float], float], left: Number, right: Number) -> Number:
        def operated(names: Names) -> float | None:
            a, b = left(names), right(names)
            if a is None or b is None or (b == 0 and operate is operator.truediv):
                return None
            value = operate(a, b)
            return None if math.isnan(value) else value

        return operated
