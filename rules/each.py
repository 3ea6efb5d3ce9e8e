"""Rules without state: every hit is an activation, at the moment of receipt, whatever the clock says."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from rules.expression import Expression, Mask
from rules.machine import Found
from rules.ruleset import EachRule
from rules.view import View
from schemas.alarms import Move, Transition
from schemas.readings import Event, Quality

QUALITY: Final = {Quality.LATE: "late", Quality.UNREADABLE: "unreadable"}


def see(rules: Sequence[EachRule], view: View, fits: dict[int, Mask]) -> list[Found]:
    """Judge readings; `fits` says for rules with a scope, by number, which are of devices within it."""
    found: list[Found] = []
    for rule in rules:
        if any(view.may_concern(each) for each in rule.expressions):
            found += _judge(rule, view, fits.get(rule.number))
    return found


def _judge(rule: EachRule, view: View, fits: Mask | None) -> list[Found]:
    hit, _ = rule.when.judge(view)
    over = rule.clear.judge(view)[0] & ~hit if rule.clear else np.zeros_like(hit)
    if fits is not None:
        hit, over = hit & fits, over & fits
    found = []
    for place in np.flatnonzero(hit | over).tolist():
        move, said = (Move.RAISE, rule.when) if hit[place] else (Move.CLEAR, rule.clear or rule.when)
        found.append(decided(rule, view, place, move, said))
    return found


def decided(rule: EachRule, view: View, place: int, move: Move, said: Expression, **more: Any) -> Found:  # noqa: ANN401
    """Return a decision that a reading brought, dated by its receipt; `more` is what else made it.

    Its values say `when` for an expression that is fulfilled, `ended` for one that is not any more.
    """
    look = view.look
    reading = look.batch.readings[look.row[place]]
    holds = "ended" if move is Move.CLEAR and rule.clear is None else "when"
    values: dict[str, Any] = {holds: said.text, "ts": int(reading["ts"])} | view.shown(said, place)
    if reading["event"] != Event.NONE:
        values["event"] = Event(reading["event"]).name.lower()
    severity = more.pop("severity", rule.severity)
    return int(look.row[place]), Transition(
        device_id=int(reading["device_id"]),
        kind=rule.kind,
        move=move,
        at=int(reading["received_at"]),
        severity=severity,
        quality=QUALITY.get(Quality(reading["quality"]), "ok"),
        values=values | more,
        rule=rule.number,
    )
