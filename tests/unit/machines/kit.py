"""Stories of machines, told in several ways at once.

Times are seconds after START, or hours of a day in Shanghai by `clock`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from rules.engine import Engine
from rules.machine import Registered
from rules.ruleset import MachineRule, RuleSet, parse
from schemas.alarms import KINDS, Move, Transition
from schemas.clock import SECOND
from schemas.readings import Batch, Columns
from tests.unit.kit import START, batch, moment

KIND_OF = {
    "fall": "fall",
    "silence": "device_silent",
    "outage": "area_outage",
    "inactivity": "inactivity",
    "check_in": "check_in_missed",
    "chattering": "chattering",
}
FIRST_DAY = datetime(2026, 9, 22, tzinfo=ZoneInfo("Asia/Shanghai"))
"""The day after START."""


class Tick(NamedTuple):
    """Time passes."""

    at: float
    scan: bool = True


class Forgiven(NamedTuple):
    """Nobody could be heard until now."""

    at: float


Step = Columns | Tick | Forgiven
Steps = Step | Sequence[Any]
"""A step, or several."""
Told = tuple[int | str, str, str, float]
Machines = dict[str, dict[str, Any]]
"""Settings by machine, as in a rule file."""


def clock(text: str, day: int = 0) -> float:
    """Return an hour of a day in Shanghai, counted from FIRST_DAY, in seconds after START."""
    hours, minutes = map(int, text.split(":"))
    return (FIRST_DAY + timedelta(days=day, hours=hours, minutes=minutes)).timestamp() - START / SECOND


def ticks(start: float, end: float, step: float = 1.0, *, scan: bool = True) -> list[Any]:
    """Return ticks from `start` up to `end`."""
    return [Tick(at, scan) for at in np.arange(start, end, step).tolist()]


def registered(n: int, **columns: Any) -> Registered:  # noqa: ANN401 - columns of Registered
    """Return devices 0 to n - 1, of which nothing is known but what is given."""
    return replace(Registered.strangers(list(range(n))), **columns)


SOS = """
[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true
"""
_FALL = """
[[rule]]
kind = "fall"
machine = "fall"
"""


class Stage:
    """An engine of calls for help, some machines, and the rules of `more`; and what a database would know."""

    def __init__(self, devices: Registered, machines: Machines, more: str = "") -> None:
        self.devices, self.machines, self.more = devices, machines, more
        rules = [
            MachineRule(number, KIND_OF[name], KINDS[KIND_OF[name]].severity, name, entry)
            for number, (name, entry) in enumerate(machines.items(), 1)
        ]
        parsed = parse(SOS + more + _FALL)
        others = [replace(rule, number=len(rules) + rule.number) for rule in (*parsed.each, *parsed.latched)]
        self.engine = Engine(RuleSet("", {}, (*rules, *others)))
        self.engine.enrol(devices)
        self.holds: set[tuple[str, int]] = set()

    def play(self, each: Batch) -> list[Transition]:
        """Evaluate and adopt."""
        delta = self.engine.evaluate(each)
        self.engine.apply(delta)
        for said in delta.transitions:
            holds = (f"{said.kind}:{said.area}" if said.area else said.kind), said.device_id
            hidden = "suppressed", said.device_id
            if said.move is Move.RAISE:
                self.holds.add(holds)
            elif said.move is Move.SUPPRESS:
                self.holds.add(hidden)
            elif said.move is Move.CLEAR:
                self.holds -= {holds, hidden}
            elif said.move is Move.UNSUPPRESS:
                self.holds.discard(hidden)
        return delta.transitions

    def without_machines(self, now: float) -> list[Transition]:
        """Take the machines out of the rules; return what ends by it."""
        rules = self.engine.rules
        plain = tuple(rule for rule in rules.rules if not isinstance(rule, MachineRule))
        return self.engine.adopt(replace(rules, rules=plain), moment(now))

    def restarted(self, *, begin: bool = True) -> "Stage":
        """Return a new stage with the state of this one: after a crash, or from its checkpoint alone."""
        new = Stage(self.devices, self.machines, self.more)
        new.holds = self.holds
        for piece in range(self.engine.pieces):
            new.engine.restore(piece, self.engine.checkpoint(piece))
        if begin:
            held: dict[str, list[int]] = {}
            for name, device in sorted(self.holds):
                held.setdefault(name, []).append(device)
            new.engine.begin(held)
        return new


def brief(transitions: Sequence[Transition]) -> list[Told]:
    """Show transitions as device or area, kind or what it stepped to, move, and seconds after START."""
    return [
        (
            t.area or t.device_id,
            t.severity.value if t.move is Move.STEP else t.kind,
            t.move.value + (f" under {t.parent}" if t.parent else ""),
            (t.at - START) / SECOND,
        )
        for t in transitions
    ]


def _parts(steps: Sequence[Step], *, alone: bool) -> Iterator[Batch | Forgiven]:
    """Yield readings between two ticks in one batch, or each alone."""
    waiting: list[Columns] = []
    for step in [*steps, None]:
        if waiting and (alone or not isinstance(step, np.ndarray)):
            yield batch(*waiting)
            waiting = []
        if isinstance(step, np.ndarray):
            waiting.append(step)
        elif isinstance(step, Tick):
            yield batch(now=step.at, scan=step.scan)
        elif step is not None:
            yield step


def run(
    stage: Stage, *parts: Batch | Forgiven, after: Callable[[Stage], Stage] = lambda stage: stage
) -> list[Transition]:
    """Play a story; `after` each part the stage may be another."""
    found = []
    for part in parts:
        if isinstance(part, Forgiven):
            stage.engine.forgive(moment(part.at))
        else:
            stage.engine.evaluate(part)  # a commit that failed
            found += stage.play(part)
        stage = after(stage)
    return found


def _flat(steps: Sequence[Steps]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, list):
            yield from _flat(step)
        else:
            yield step  # type: ignore[misc]  # sequences are lists


def tell(devices: int | Registered, machines: Machines, *steps: Steps, more: str = "") -> list[Transition]:
    """Tell a story and return its transitions, which must be the same however it is told.

    It is told in whole batches, message by message, and with a restart after each part: after a crash, whose
    alarms the database knows, and from the checkpoint alone.
    """
    known = registered(devices) if isinstance(devices, int) else devices
    flat = [*_flat(steps)]
    whole, single = [*_parts(flat, alone=False)], [*_parts(flat, alone=True)]
    expected = run(Stage(known, machines, more), *whole)
    for parts, after in (
        (single, lambda stage: stage),
        (whole, Stage.restarted),
        (single, lambda stage: stage.restarted(begin=False)),
    ):
        assert run(Stage(known, machines, more), *parts, after=after) == expected
    return expected
