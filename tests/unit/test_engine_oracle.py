"""The engine against a slow one that takes one message at a time: the same stream, the same transitions.

The oracle is written from the comments of `rules/shipped.toml`. It knows no arrays, no batches and no
checkpoints; what it sees of a message is a dict. Times here are microseconds after START.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.engine import Engine
from schemas.clock import SECOND
from schemas.readings import VALUES, Batch, Columns, Event, Quality
from tests.unit.kit import START, batch, play, reading, shipped_engine

DEVICES = 3
MINUTE = 60 * SECOND
SILENT = 30 * MINUTE
LATE = 10 * MINUTE

Message = dict[str, Any]
Found = tuple[int, str, str, int]


# ----------------------------------------------------------------------------------------------- the oracle


def below(name: str, limit: float) -> Callable[[Message], bool]:
    """Say that a value is there and at most so much."""
    return lambda m: name in m and m[name] <= limit


def above(name: str, limit: float) -> Callable[[Message], bool]:
    """Say that a value is there and at least so much."""
    return lambda m: name in m and m[name] >= limit


def says(*names: str) -> Callable[[Message], bool]:
    """Say that one of these happened."""
    return lambda m: m.get("event") in names


def on_wrist(test: Callable[[Message], bool]) -> Callable[[Message], bool]:
    """Believe a value unless the band says that it is off."""
    return lambda m: test(m) and m.get("worn") != 0


def vital(name: str) -> Callable[[Message], bool]:
    """Say that there is a value, or that a band off the wrist makes one needless."""
    return lambda m: name in m or m.get("worn") == 0


@dataclass(frozen=True)
class Condition:
    """A rule that raises once and clears once."""

    kind: str
    when: Callable[[Message], bool]
    clear: Callable[[Message], bool]
    decides: Callable[[Message], bool]  # whether a message has a say in the matter
    lasting: int = 0
    gap: int = 24 * 60 * MINUTE


CONDITIONS = (
    Condition("hr_high", on_wrist(above("hr", 131)), below("hr", 120), vital("hr"), 10 * MINUTE, 10 * MINUTE),
    Condition("hr_low", on_wrist(below("hr", 40)), above("hr", 45), vital("hr"), 10 * MINUTE, 10 * MINUTE),
    Condition(
        "spo2_low",
        on_wrist(below("spo2", 91)),
        above("spo2", 94),
        vital("spo2"),
        5 * MINUTE,
        10 * MINUTE,
    ),
    Condition(
        "low_battery",
        lambda m: below("battery", 15)(m) or says("low_battery")(m),
        above("battery", 30),
        lambda m: "battery" in m or says("low_battery")(m),
    ),
    Condition(
        "removed",
        says("removed"),
        lambda m: says("worn")(m) or m.get("worn") == 1,
        lambda m: "worn" in m or says("removed", "worn")(m),
    ),
    Condition(
        "mains_lost",
        lambda m: m.get("mains") == 0 or says("mains_lost")(m),
        lambda m: m.get("mains") == 1 or says("mains_restored")(m),
        lambda m: "mains" in m or says("mains_lost", "mains_restored")(m),
    ),
)


@dataclass
class Memory:
    """What is remembered of one condition of one device."""

    active: bool = False
    begun: int | None = None  # the first hit of those that follow each other
    newest: int | None = None  # the newest measurement that was looked at


@dataclass
class Oracle:
    """Hear messages and ticks one after the other."""

    memories: dict[tuple[int, str], Memory] = field(default_factory=dict)
    heard: dict[int, int] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)

    def hear(self, m: Message, *, scan: bool) -> list[Found]:
        """Return what one message means, in the order of the rule file."""
        who, at = m["device"], m["at"]
        found: list[Found] = []
        if says("sos")(m):
            found.append((who, "sos", "raise", at))
        if says("fall_detected", "fall_confirmed")(m):
            found.append((who, "fall", "raise", at))
        if says("fall_cancelled")(m):
            found.append((who, "fall", "clear", at))
        if says("tamper")(m):
            found.append((who, "tamper", "raise", at))
        for condition in CONDITIONS:
            move = self.look(condition, m)
            found += [(who, condition.kind, move, at)] if move else []
        if m["alive"]:
            found += self.live(who, at, scan=scan)
        return found

    def look(self, condition: Condition, m: Message) -> str | None:
        """Return raise or clear if this message decides it."""
        if not condition.decides(m) or (m["late"] and "event" not in m):
            return None
        memory = self.memories.setdefault((m["device"], condition.kind), Memory())
        moment = m["at"] if "event" in m else m["ts"]
        if "event" not in m and memory.newest is not None and moment <= memory.newest:
            return None  # out of order, or a second one of the same moment
        follows = memory.newest is not None and moment - memory.newest <= condition.gap
        memory.newest = moment if memory.newest is None else max(moment, memory.newest)
        if memory.active:
            memory.active = not condition.clear(m)
            return None if memory.active else "clear"
        if not condition.when(m):
            memory.begun = None
            return None
        if memory.begun is None or not follows:
            memory.begun = moment
        memory.active = moment - memory.begun >= condition.lasting
        if memory.active:
            memory.begun = None
        return "raise" if memory.active else None

    def live(self, who: int, at: int, *, scan: bool) -> list[Found]:
        """Note that a device lives: a silence ends, or is found to have been."""
        found: list[Found] = []
        due = self.heard[who] + SILENT if who in self.heard else None
        if who in self.silent:
            found.append((who, "device_silent", "clear", at))
        elif due is not None and at > due and scan:
            found += [(who, "device_silent", "raise", due), (who, "device_silent", "clear", at)]
        self.silent.discard(who)
        self.heard[who] = max(at, self.heard.get(who, at))
        return found

    def tick(self, now: int, *, scan: bool) -> list[Found]:
        """Return who has fallen silent, the earliest deadline first."""
        if not scan:
            return []
        due = [(at + SILENT, who) for who, at in self.heard.items() if who not in self.silent]
        late = sorted((deadline, who) for deadline, who in due if now > deadline)
        self.silent |= {who for _, who in late}
        return [(who, "device_silent", "raise", deadline) for deadline, who in late]

    def forgive(self, now: int) -> None:
        """Count silence from now."""
        self.heard = dict.fromkeys(self.heard, now)


# ----------------------------------------------------------------------------------------------- the streams


@dataclass(frozen=True)
class Step:
    """A message, a tick without one, or the end of an outage; `scan` as the source would say it."""

    at: int
    scan: bool
    message: Message | None = None
    forgive: bool = False


PULSES = {"racing": (131, 150, 150, 140), "slow": (40, 38, 35)}
DELAYS = (0, 0, 0, 0, 0.5, 3, 30, 299.5, 599, 700, 5000, -200, -299)  # seconds from measurement to receipt
EVENTS = [event.name.lower() for event in Event if event is not Event.NONE]


@dataclass
class Sender:
    """A device with a mood, a clock and bad habits."""

    rng: random.Random
    number: int
    mood: str = "calm"
    last_ts: int | None = None

    def says(self, at: int) -> Message:
        """Return its next message."""
        rng = self.rng
        if rng.random() < 0.08:
            self.mood = rng.choice(["calm", "racing", "slow", "breathless"])
        ts = at - round(rng.choice(DELAYS) * SECOND)
        if self.last_ts is not None and rng.random() < 0.15:
            ts = self.last_ts
        self.last_ts = ts
        message = {"device": self.number, "at": at, "ts": ts, "late": ts < at - LATE}
        message["alive"] = rng.random() < 0.93
        habit = rng.choice([self.vitals, self.vitals, self.vitals, self.heartbeat, self.event])
        return message | habit()

    def vitals(self) -> Message:
        """Measure, with a value missing here and there."""
        values = {
            "hr": self.rng.choice(PULSES.get(self.mood, (45, 80, 120, 125))),
            "spo2": self.rng.choice((91, 88) if self.mood == "breathless" else (92, 93, 94, 97)),
            "worn": self.rng.choice((1, 1, 1, 1, 0)),
        }
        kept = {"hr": 0.92, "spo2": 0.5, "worn": 0.3}
        return {name: value for name, value in values.items() if self.rng.random() < kept[name]}

    def heartbeat(self) -> Message:
        """Say how the battery is, or the mains, or nothing."""
        values = {"battery": self.rng.choice((5, 15, 16, 29, 30, 90)), "mains": self.rng.choice((0, 1))}
        return {name: value for name, value in values.items() if self.rng.random() < 0.6}

    def event(self) -> Message:
        """Say that something happened."""
        return {"event": self.rng.choice(EVENTS)}


def some_stream(seed: int, length: int) -> list[Step]:
    """Return a stream: mostly minutes, some bursts of microseconds, some silences of an hour."""
    rng = random.Random(seed)
    senders = [Sender(rng, number) for number in range(DEVICES)]
    at, scan, steps = 10_000 * SECOND, True, []
    for _ in range(length):
        at += round(rng.choice([1e-6, 1e-6, 1, 20, 60, 60, 120, 180, 290, 601, 2400]) * SECOND)
        if rng.random() < 0.05:
            scan = not scan
        chance = rng.random()
        if chance < 0.1:
            steps.append(Step(at, scan))
        elif chance < 0.12:
            steps.append(Step(at, scan, forgive=True))
        else:
            steps.append(Step(at, scan, rng.choice(senders).says(at)))
    return steps


def told(steps: list[Step]) -> list[Found]:
    """Return what the oracle says of a stream."""
    oracle = Oracle()
    found: list[Found] = []
    for step in steps:
        if step.forgive:
            oracle.forgive(step.at)
        elif step.message is None:
            found += oracle.tick(step.at, scan=step.scan)
        else:
            found += oracle.hear(step.message, scan=step.scan)
    return found


def columns(m: Message) -> Columns:
    """Return a message as a reading."""
    values = {name: m[name] for name in VALUES if name in m}
    if "event" in m:
        values["event"] = Event[m["event"].upper()]
    quality = Quality.LATE if m["late"] else Quality.OK
    return reading(
        m["device"], m["at"] / SECOND, ts=m["ts"] / SECOND, quality=quality, alive=m["alive"], **values
    )


def cut(steps: list[Step], rng: random.Random, chance: float) -> list[Batch | int]:
    """Return a stream as batches, cut at random between messages, and forgivings as their time."""
    found: list[Batch | int] = []
    waiting: list[Step] = []

    def close() -> None:
        if waiting:
            rows = [columns(step.message) for step in waiting if step.message]
            found.append(batch(*rows, now=waiting[-1].at / SECOND, scan=waiting[-1].scan))
            waiting.clear()

    for step in steps:
        if step.message is None or rng.random() < chance or (waiting and waiting[-1].scan != step.scan):
            close()
        if step.forgive:
            found.append(step.at)
        elif step.message is None:
            found.append(batch(now=step.at / SECOND, scan=step.scan))
        else:
            waiting.append(step)
    close()
    return found


def judged(steps: list[Step], rng: random.Random, *, chance: float, restarts: float = 0.0) -> list[Found]:
    """Return what the engine says of a stream, cut at random and restarted at random."""
    engine = shipped_engine(DEVICES)
    found: list[Found] = []
    for each in cut(steps, rng, chance):
        if isinstance(each, int):
            engine.forgive(START + each)
        else:
            if rng.random() < 0.1:
                engine.evaluate(each)  # a commit that failed
            found += [(t.device_id, t.kind, t.move.value, t.at - START) for t in play(engine, each)]
        if rng.random() < restarts:
            engine = restarted(engine)
    return found


def restarted(engine: Engine) -> Engine:
    """Return a new engine with the state of another, as after a crash."""
    new = shipped_engine(DEVICES)
    new.restore(0, engine.checkpoint(0))
    return new


# -------------------------------------------------------------------------------------------------- the laws

seeds = st.integers(0, 2**32)


@settings(deadline=None, max_examples=100)
@given(seeds, st.integers(1, 150), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.sampled_from([0.0, 0.1]))
def test_the_engine_says_what_the_oracle_says(seed: int, length: int, chance: float, restarts: float) -> None:
    """Late, double, out of order, with gaps, ties, ticks and restarts: the same transitions in order."""
    steps = some_stream(seed, length)
    found = judged(steps, random.Random(seed), chance=chance, restarts=restarts)
    assert found == told(steps)


@settings(deadline=None, max_examples=30)
@given(seeds, seeds, st.integers(1, 150), st.floats(0, 1))
def test_the_cuts_make_no_difference(seed: int, other: int, length: int, chance: float) -> None:
    """However a stream is cut into batches, the transitions are the same: promise P5."""
    steps = some_stream(seed, length)
    whole = judged(steps, random.Random(0), chance=0.0)
    assert judged(steps, random.Random(other), chance=chance) == whole
    assert judged(steps, random.Random(0), chance=1.0) == whole


@pytest.mark.parametrize("seed", range(3))
def test_a_long_stream_moves_every_rule(seed: int) -> None:
    """The streams are worth their while: each kind is raised in them, and cleared where it can be."""
    steps = some_stream(seed, 3000)
    expected = told(steps)
    moves = {(kind, move) for _, kind, move, _ in expected}
    kinds = [condition.kind for condition in CONDITIONS] + ["fall", "device_silent"]
    assert moves == {(kind, move) for kind in kinds for move in ("raise", "clear")} | {
        ("sos", "raise"),
        ("tamper", "raise"),
    }
    assert judged(steps, random.Random(seed), chance=0.05, restarts=0.02) == expected


def test_the_oracle_sees_absent_values() -> None:
    """What a message does not say is absent in the reading as well."""
    row = columns({"device": 1, "at": 5, "ts": 4, "late": False, "alive": True, "hr": 80})
    assert [name for name in VALUES if not np.isnan(row[name][0])] == ["hr"]
