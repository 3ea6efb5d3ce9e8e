"""The engine against the oracle (tests/oracle): the same random streams, the same decisions.

A stream has a rule file of its own, devices in several places, readings late, double, out of order, with gaps
and of one millisecond, ticks with and without scan, and times when nobody could be heard. The engine gets it
in batches that are cut at random, and is restarted at random.
"""

import contextlib
import random
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rules import ruleset
from rules.engine import Engine
from rules.machine import Registered
from schemas.alarms import KINDS, Class, Move, Severity, Transition
from schemas.clock import SECOND
from schemas.errors import UsageError
from schemas.readings import ABSENT, READING, VALUES, Batch, Columns, Event, Quality
from schemas.topics import Lane
from tests.oracle.engine import Message, Oracle
from tests.oracle.rules import Device, Found
from tests.unit.kit import START

MINUTE: Final = 60 * SECOND
LATE: Final = 10 * MINUTE
SHARES: Final = 8
"""Over so many tests the streams are spread, for as many processes."""
STREAMS: Final = 250
"""Random streams of each."""

# ------------------------------------------------------------------------------------------- the rule files

EACH: Final = """
[thresholds]
hr_high = 131
spo2_low = 91
low = 15

[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true
"""

SAID: Final = {  # `when`, and what clears it
    "hr >= hr_high and worn != 0": "hr <= 125",
    "hr >= hr_high and worn != 0 and steps_per_min < 20": "hr < hr_high",
    "spo2 <= spo2_low or hr <= 40": "spo2 > spo2_low + 1 and hr > 40",
    "battery <= low or event == 'low_battery'": "battery >= 30",
    "event == 'removed' or worn == 0": "event == 'worn' or worn == 1",
    "event == 'removed'": "event == 'worn'",
    "mains == 0 or event == 'mains_lost'": "mains == 1 or event == 'mains_restored'",
    "hr >= baseline_hr + 30": "hr < baseline_hr + 20",
    "temp >= 38.1 and not worn == 0": "temp < 37.5",
    "sbp - dbp >= 60": "sbp - dbp < 60",
    "hr > 2 * spo2 - 60": "hr > 0 and spo2 > 93",
    "minutes_since('removed') < 5 and worn == 1": "minutes_since('removed') >= 5 and worn >= 0",
    "minutes_since('hr') >= 3 and hr > 0": "hr > 100",
    "steps_per_min >= 30 and motion != 0": "steps_per_min < 30 and steps >= 0",
    "glucose <= 3.9 or glucose >= 11.1": "glucose == 5.5",
    "hr / steps < 2": "motion == 1",
    "not (hr < 100 or spo2 > 92)": "not (hr >= 100 and spo2 <= 92)",
    "temp - 36.6 >= 0.7 and temp != 38.2": "temp == 36.6",
}
CONSTANTS: Final = ("hr_high", "spo2_low", "100", "0", "-1", "91.5", "37.3")
OTHER_KINDS: Final = [
    kind.name
    for kind in KINDS.values()
    if kind.alarm_class is not Class.LIFE
    and kind.name.startswith(("hr", "spo2", "temp", "bp", "low", "removed"))
]
SEVERITIES: Final = [str(each) for each in Severity]


class Writer:
    """Write rule files in which every key occurs."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def file(self, *, town: bool) -> str:
        """Return a rule file: one call, one fall, and what chance brings; for a town with outages."""
        rules = {text.split("\n")[1]: text for text in (self.rule() for _ in range(self.rng.randint(1, 6)))}
        machines = [
            text for text in self.machines() if self.rng.random() < 0.6 or (town and "outage" in text)
        ]
        tables = [
            *rules.values(),
            *machines,
            f'kind = "fall"\nmachine = "fall"\nimmobile = "{self.rng.choice((1, 60))}s"',
        ]
        self.rng.shuffle(tables)
        return EACH + "".join(f"\n[[rule]]\n{table}\n" for table in tables)

    def machines(self) -> Iterator[str]:
        """Yield the other machines, with short times; an outage knows the silences."""
        rng = self.rng
        learn = "true" if rng.random() < 0.4 else "false"
        silence = (
            f'kind = "device_silent"\nmachine = "silence"\nmisses = {rng.choice((1, 2))}\n'
            f'interval = "{rng.choice((2, 5))}m"\nmodels = {{ bell = "1m" }}\n'
            f'learn = {learn}\nsteady = "{rng.choice((0, 0, 3))}m"'
        )
        by = rng.sample(["broker", "region6", "region9", "region12", "gateway"], rng.randint(1, 5))
        outage = (
            f'\n[[rule]]\nkind = "area_outage"\nmachine = "outage"\nshare = {rng.choice((0.25, 0.5, 1.0))}\n'
            f'least = 2\nwindow = "{rng.choice((3, 10))}m"\nby = {by}'
        ).replace("'", '"')
        yield silence + (outage if rng.random() < 0.7 else "")
        yield (
            'kind = "inactivity"\nmachine = "inactivity"\n'
            f'after = {{ "06:00-22:00" = "{rng.choice((10, 20))}m", "22:00-06:00" = "60m" }}'
            + rng.choice(("", '\nzone = "America/New_York"'))
        )
        hours = rng.choice(('by = "00:15"\nfrom = "00:05"', 'by = "06:10"\nfrom = "06:00"', 'by = "06:05"'))
        yield f'kind = "check_in_missed"\nmachine = "check_in"\n{hours}'
        yield (
            f'kind = "chattering"\nmachine = "chattering"\ncycles = {rng.choice((2, 3))}\n'
            f'window = "{rng.choice((5, 30))}m"\nquiet = "{rng.choice((3, 20))}m"'
        )

    def rule(self) -> str:
        """Return a rule over readings."""
        rng = self.rng
        when = self.expression()
        clear = SAID[when] if when in SAID and rng.random() < 0.8 else self.expression()
        lines = [f'kind = "{rng.choice(OTHER_KINDS)}"', f'when = "{when}"']
        form = rng.choice(("plain", "plain", "plain", "lasting", "count", "each"))
        if form == "lasting" or (form != "count" and rng.random() < 0.6):
            lines.append(f'clear = "{clear}"')
        lines += {
            "plain": [
                f'for = "{rng.choice((0, 1, 3, 5))}m"',
                *self.maybe(f'gap = "{rng.choice((3, 10))}m"', f"samples = {rng.choice((1, 2, 3))}"),
            ],
            "lasting": ["lasting = true", *self.maybe(f'for = "{rng.choice((1, 5))}m"')],
            "count": [f"count = {rng.choice((2, 3))}", f'within = "{rng.choice((2, 10))}m"'],
            "each": ["each = true"],
        }[form]
        lines += self.maybe(f'severity = "{rng.choice(SEVERITIES)}"', *self.maybe(self.scope()))
        if form != "each":
            lines += self.maybe(
                f'cooldown = "{rng.choice((3, 30))}m"', self.steps(), *self.maybe(self.schedule())
            )
        return "\n".join(lines)

    def maybe(self, *lines: str) -> list[str]:
        """Return some of the lines."""
        return [line for line in lines if self.rng.random() < 0.4]

    def scope(self) -> str:
        """Return which devices a rule is for."""
        keys = ['model = ["band", "bell"]', 'region = ["430602"]', 'region = ["430602002", "340100"]']
        keys = [
            self.rng.choice(keys),
            *self.maybe('care_level = ["1"]', 'person = ["P1", "P2"]', 'device = ["D0"]'),
        ]
        return f"scope = {{ {', '.join(keys)} }}"

    def steps(self) -> str:
        """Return up to three steps of severity."""
        steps = [
            f'{{ after = "{self.rng.choice((1, 4))}m", severity = "{self.rng.choice(SEVERITIES)}" }}'
            if self.rng.random() < 0.5
            else f'{{ when = "{self.expression()}", severity = "{self.rng.choice(SEVERITIES)}" }}'
            for _ in range(self.rng.randint(1, 3))
        ]
        return f"steps = [{', '.join(steps)}]"

    def schedule(self) -> str:
        """Return when a rule looks."""
        days = self.rng.choice(("Mon-Fri", "Sat-Sun", "Mon-Sun", "Wed"))
        begin, end = self.rng.choice((("22:00", "06:00"), ("08:00", "20:00"), ("00:00", "23:30")))
        zone = self.rng.choice(("Asia/Shanghai", "Europe/Berlin", "Asia/Kolkata"))
        return f'schedule = {{ days = "{days}", from = "{begin}", to = "{end}", zone = "{zone}" }}'

    def expression(self) -> str:
        """Return one as people write them, or any."""
        if self.rng.random() < 0.6:
            return self.rng.choice([*SAID])
        return f"{self.comparison()} {self.rng.choice(('and', 'or'))} {self.boolean(2)}"

    def boolean(self, depth: int) -> str:
        """Return any truth."""
        form = self.rng.choice(("and", "or", "not", "") if depth else ("",))
        if form == "not":
            return f"not ({self.boolean(depth - 1)})"
        if form:
            return f"({self.boolean(depth - 1)} {form} {self.boolean(depth - 1)})"
        return self.comparison()

    def comparison(self) -> str:
        """Return a comparison that names a field or an event."""
        if self.rng.random() < 0.2:
            return f"event == '{self.rng.choice(('removed', 'worn', 'test'))}'"
        field = self.rng.choice(("hr", "spo2", "worn", "steps", "motion", "temp"))
        if self.rng.random() < 0.3:
            other = self.rng.choice((*CONSTANTS[:3], "hr", "steps_per_min"))
            field = f"{field} {self.rng.choice('+-*/')} {other}"
        return f"{field} {self.rng.choice(('<', '<=', '>', '>=', '==', '!='))} {self.rng.choice(CONSTANTS)}"


# ----------------------------------------------------------------------------------------------- the streams

DEVICES: Final = (
    Device(0, "D0", "band", None, "430602001001", "G1", "1", "P1"),
    Device(1, "D1", "bell", None, "430602001001", "G1", "2", "P2", {"hr_high": 120, "other": 3}),
    Device(2, "D2", "band", None, "430602001002", "", "1", "", {"spo2_low": 87.5}),
    Device(3, "D3", "", 120, "430602002", "G2", "", "P3"),
    Device(4, "D4", "", None, "340100", "G2", "1", ""),
    Device(5, "D5"),
)
PULSES: Final = {"racing": (131, 150, 150, 140), "slow": (40, 38, 35), "calm": (45, 80, 120, 125)}
DELAYS: Final = (0, 0, 0, 0, 0, 0, 0.5, 3, 30, 299.5, 599, 700, 5000, -200, -299)  # seconds to receipt
PAUSES: Final = (  # seconds
    (1e-6, 1e-3, 1, 10, 20, 30, 30),
    (1e-6, 1, 20, 30, 60, 60, 60, 120, 180),
    (1e-6, 1e-3, 1, 20, 60, 60, 60, 120, 180, 300, 601, 2400, 10_000),
)
EVENTS: Final = [event.name.lower() for event in Event if event is not Event.NONE]
FREQUENT: Final = ("removed", "worn", "fall_detected", "fall_cancelled", "check_in", "check_in", "sos")
ODD: Final = (float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 0.0)


@dataclass(frozen=True)
class Step:
    """What is received at once, a tick if nothing is; or nobody could be heard until now."""

    at: int
    scan: bool
    messages: tuple[Message, ...] = ()
    forgive: bool = False


class Sender:
    """A device with a mood, a clock and bad habits."""

    def __init__(self, rng: random.Random, device: Device) -> None:
        self.rng, self.number = rng, device.number
        self.mood, self.steps, self.last = rng.choice([*PULSES, "breathless"]), rng.randrange(500), 0

    def says(self, at: int) -> Message:
        """Return its next message; times of measurement are milliseconds."""
        rng = self.rng
        if rng.random() < 0.15:
            self.mood = rng.choice([*PULSES, "breathless"])
        ts = at - round(rng.choice(DELAYS) * SECOND)
        ts = self.last if self.last and rng.random() < 0.1 else ts - ts % 1000
        self.last = ts
        message = {"device": self.number, "at": at, "ts": ts, "late": ts < at - LATE}
        habits = [self.vitals, self.vitals, self.vitals, self.heartbeat, self.activity, self.event]
        return message | rng.choice(habits)()

    def some(self, **values: tuple[float, ...]) -> dict[str, Any]:
        """Return one each of some of the values, now and then an odd one."""
        rng = self.rng
        kept = {name: rng.choice(choices) for name, choices in values.items() if rng.random() < 0.7}
        return {name: rng.choice(ODD) if rng.random() < 0.02 else value for name, value in kept.items()}

    def vitals(self) -> dict[str, Any]:
        """Measure."""
        values = {
            "hr": PULSES.get(self.mood, (80,)),
            "spo2": (91, 88, 87.5) if self.mood == "breathless" else (92, 93, 97),
            "worn": (1, 1, 1, 1, 1, 1, 0),
            **self.walked(),
        }
        if self.rng.random() < 0.3:
            values |= {
                "temp": (36.6, 37.3, 38.1, 38.2),
                "sbp": (120, 180),
                "dbp": (60, 90),
                "glucose": (3.9, 5.5, 11.1),
            }
        return self.some(**values)

    def walked(self) -> dict[str, tuple[float, ...]]:
        """Return a counter that seldom falls."""
        self.steps = self.steps + self.rng.choice((0, 0, 5, 60)) if self.rng.random() < 0.95 else 0
        return {"steps": (self.steps,)}

    def heartbeat(self) -> dict[str, Any]:
        """Say how the battery is, or the mains, or nothing; a retained message proves no life."""
        found = self.some(battery=(5, 15, 16, 90), mains=(0, 1), rssi=(-90,))
        return found | ({"alive": False} if self.rng.random() < 0.2 else {})

    def activity(self) -> dict[str, Any]:
        """Say that somebody moves."""
        return self.some(motion=(0, 1), **self.walked())

    def event(self) -> dict[str, Any]:
        """Say that something happened; an event may bear values."""
        happened: dict[str, Any] = {"event": self.rng.choice(FREQUENT if self.rng.random() < 0.7 else EVENTS)}
        happened |= {"alive": False} if self.rng.random() < 0.1 else {}
        return happened | (self.vitals() if self.rng.random() < 0.15 else {})


def some_stream(rng: random.Random, *, town: bool) -> list[Step]:
    """Return a stream of some devices, or of a town: mostly minutes, some bursts, some silences."""
    devices = rng.sample(DEVICES, len(DEVICES) if town else rng.choice((1, 1, 2, 3)))
    senders = [Sender(rng, device) for device in devices]
    at = START + (rng.randrange(7) * 24 * 60 + rng.choice((100, 459, rng.randrange(24 * 60)))) * MINUTE
    steps = list(known_pulse(rng, senders[0].number, at)) if rng.random() < 0.15 else []
    pauses, speaking, scan = PAUSES[1] if town else rng.choice(PAUSES), senders, True
    for _ in range(rng.randint(20, 50)):
        at += round(rng.choice(pauses) * SECOND)
        scan = not scan if rng.random() < (0.02 if town else 0.06) else scan
        if rng.random() < 0.1:
            speaking = rng.choice((senders, senders[1:] or senders, senders[:1], senders[-3:]))
        chance = rng.random()
        if chance < 0.25:
            steps.append(Step(at, scan))
        elif chance < 0.27:
            steps.append(Step(at, scan, forgive=True))
        elif chance < 0.5 and town:
            steps += [Step(at + n, scan, (sender.says(at + n),)) for n, sender in enumerate(speaking)]
            at += len(speaking)
        else:
            sender = rng.choice(speaking)
            messages = [sender.says(at) for _ in range(1 if rng.random() < 0.9 else rng.randint(2, 3))]
            alive = messages[0].get("alive", True)  # readings of one message: all prove life, or none
            steps.append(Step(at, scan, tuple(each | {"alive": alive} for each in messages)))
    return steps


def known_pulse(rng: random.Random, device: int, now: int) -> Iterator[Step]:
    """Yield as many pulses as make a baseline, or one less."""
    for n in range(rng.choice((63, 64, 70)), 0, -1):
        at = now - n * MINUTE
        yield Step(at, scan=False, messages=({"device": device, "at": at, "ts": at, "hr": 60 + n % 9 * 4},))


# -------------------------------------------------------------------------------------------- both are asked

Told = tuple[int, str, str, int, str, str, str, int]


def shown(found: Found | Transition) -> Told:
    """Show what counts of a decision: of the severities those of raises and steps."""
    device, rule = (found.device, found.rule) if isinstance(found, Found) else (found.device_id, found.rule)
    rises = found.move in (Move.RAISE, Move.STEP)
    severity = str(found.severity) if rises else ""
    return device, found.kind, str(found.move), found.at, severity, found.area, found.parent, rule


def by_date(told: list[Told]) -> list[Told]:
    """Return decisions of a tick: those of one date have no order, but for those of one device and kind."""
    return sorted(told, key=lambda each: (each[3], each[0], each[5], each[1]))


def expected(rules: str, steps: Sequence[Step]) -> list[Told]:
    """Return what the oracle says of a stream."""
    oracle = Oracle(rules)
    for device in DEVICES:
        oracle.enrol(device)
    told: list[Told] = []
    for step in steps:
        if step.forgive:
            oracle.forgive(step.at)
        elif step.messages:
            told += [shown(e) for m in step.messages for e in oracle.hear(m, scan=step.scan)]
        else:
            told += by_date([shown(each) for each in oracle.tick(step.at, scan=step.scan)])
    return told


def columns(steps: Sequence[Step]) -> Columns:
    """Return messages as readings."""
    rows = np.zeros(sum(len(step.messages) for step in steps), READING)
    for name in VALUES:
        rows[name] = np.nan
    rows["stored"] = True
    rows["detail"] = -1
    rows["ts_sent"] = rows["seq"] = ABSENT
    numbered = ((number, message) for number, step in enumerate(steps) for message in step.messages)
    for row, (number, message) in zip(rows, numbered, strict=True):
        row["message"] = number
        row["device_id"], row["received_at"], row["ts"] = message["device"], message["at"], message["ts"]
        row["alive"] = message.get("alive", True)
        row["quality"] = Quality.LATE if message.get("late") else Quality.OK
        row["event"] = Event[message["event"].upper()] if "event" in message else Event.NONE
        for name in VALUES:
            if name in message:
                row[name] = message[name]
    return rows


def cut(steps: Sequence[Step], rng: random.Random, chance: float) -> Iterator[Batch | int]:
    """Yield a stream as batches, cut at random between messages, and forgivings as their time."""
    waiting: list[Step] = []
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if step.forgive:
            yield step.at
            continue
        waiting.append(step)
        together = step.messages and following and following.messages and following.scan == step.scan
        if not together or rng.random() < chance:
            yield Batch(Lane.TELEMETRY, step.at, step.scan, readings=columns(waiting))
            waiting = []


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    """Let the few devices of a stream lie in two pieces of a checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rules.engine.PIECE", 4)
        yield


@lru_cache(maxsize=2)
def parse(rules: str) -> ruleset.RuleSet:
    """Return a rule file, read once for all restarts of a stream."""
    return ruleset.parse(rules)


def new_engine(rules: str) -> Engine:
    """Return an engine that knows all devices."""
    engine = Engine(parse(rules))
    engine.enrol(
        Registered(
            device_ids=np.array([each.number for each in DEVICES]),
            models=[each.model for each in DEVICES],
            heartbeat_seconds=[each.heartbeat_seconds for each in DEVICES],
            regions=[each.region for each in DEVICES],
            gateways=[each.gateway for each in DEVICES],
            care_levels=[each.care_level for each in DEVICES],
            people=[each.person for each in DEVICES],
            thresholds=[each.thresholds for each in DEVICES],
            devices=[each.name for each in DEVICES],
        )
    )
    return engine


def restarted(engine: Engine, rules: str, told: list[Told]) -> Engine:
    """Return a new engine with the state of another, as after a crash; the database knows what was told."""
    new = new_engine(rules)
    for piece in range(engine.pieces):
        new.restore(piece, engine.checkpoint(piece))
    new.begin(held(told))
    return new


def held(told: list[Told]) -> dict[str, list[int]]:
    """Return the devices whose condition of a kind holds, as the database knows them."""
    found: dict[str, set[int]] = {}
    for device, kind, move, _, _, area, _, _ in told:
        name = f"{kind}:{area}" if area else kind
        if move in {"raise", "clear"}:
            (set.add if move == "raise" else set.discard)(
                found.setdefault(name, set()), device if not area else 6000
            )
        if kind == "device_silent":
            (set.add if move == "suppress" else set.discard)(found.setdefault("suppressed", set()), device)
    return {name: sorted(devices) for name, devices in found.items()}


def judged(rules: str, steps: Sequence[Step], seed: int) -> list[Told]:
    """Return what the engine says of a stream, cut at random and restarted at random."""
    rng = random.Random(seed)
    chance, restarts = rng.choice((0.0, 0.0, 0.1, 0.3, 1.0)), rng.choice((0.0, 0.0, 0.0, 0.1))
    engine = new_engine(rules)
    told: list[Told] = []
    for batch in cut(steps, rng, chance):
        if isinstance(batch, int):
            engine.forgive(batch)
            continue
        if rng.random() < 0.05:
            engine.evaluate(batch)  # a commit that failed
        delta = engine.evaluate(batch)
        engine.apply(delta)
        found = [shown(each) for each in delta.transitions]
        told += found if len(batch.readings) else by_date(found)
        if rng.random() < restarts:
            engine = restarted(engine, rules, told)
    return told


def differ(rules: str, steps: Sequence[Step], seed: int) -> bool:
    """Say whether the two disagree."""
    return judged(rules, steps, seed) != expected(rules, steps)


def shrunk(rules: str, steps: list[Step], seed: int) -> tuple[str, list[Step]]:
    """Return less of a stream and of its rules, about which they still disagree."""
    for size in (16, 4, 1):
        for start in range(len(steps) - size, -1, -size):
            less = steps[:start] + steps[start + size :]
            steps = less if differ(rules, less, seed) else steps
    head, *tables = rules.split("\n[[rule]]\n")
    for table in tables:
        others = [head, *(each for each in tables if each is not table)]
        fewer = "\n[[rule]]\n".join(others)
        with contextlib.suppress(UsageError):
            if differ(fewer, steps, seed):
                tables, rules = others[1:], fewer
    return rules, steps


def some_case(seed: int) -> tuple[str, list[Step]]:
    """Return a rule file and a stream."""
    rng = random.Random(seed)
    town, shipped = rng.random() < 0.2, rng.random() < 0.15
    rules = ruleset.SHIPPED.read_text(encoding="utf-8") if shipped else Writer(rng).file(town=town)
    return rules, some_stream(rng, town=town)


# -------------------------------------------------------------------------------------------------- the laws


@pytest.mark.parametrize("share", range(SHARES))
@settings(deadline=None, max_examples=STREAMS, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**48))
def test_the_engine_says_what_the_oracle_says(share: int, seed: int) -> None:
    """Late, double, out of order, with gaps, ties, ticks, cuts and restarts: the same decisions in order."""
    seed = seed * SHARES + share
    rules, steps = some_case(seed)
    if differ(rules, steps, seed):
        rules, steps = shrunk(rules, steps, seed)
        story = "\n".join(map(str, steps))
        pytest.fail(
            f"{rules}\n{story}\n\nengine: {judged(rules, steps, seed)}\noracle: {expected(rules, steps)}"
        )


def test_the_streams_move_all_rules() -> None:
    """The streams are worth their while: every machine and every form of rule decides all that it can."""
    moves: set[tuple[str, str]] = set()
    for seed in range(600):
        rules, steps = some_case(seed)
        tables = tomllib.loads(rules)["rule"]
        for _, _, move, _, _, _, _, number in expected(rules, steps):
            table = tables[number - 1]
            form = next((key for key in ("each", "lasting", "count") if key in table), "plain")
            moves.add((table.get("machine", form), move))
    forms = ("plain", "lasting", "count")
    assert moves == {
        *(
            (form, move)
            for form in (*forms, "each", "silence", "outage", "fall")
            for move in ("raise", "clear")
        ),
        *((form, move) for form in ("inactivity", "check_in", "chattering") for move in ("raise", "clear")),
        *((form, "step") for form in (*forms, "fall")),
        *((form, "suppress") for form in ("silence", "outage")),
        ("silence", "unsuppress"),
    }


def test_the_engine_sees_what_the_oracle_sees() -> None:
    """What a message does not say is absent in the reading as well."""
    row = columns([Step(5, scan=True, messages=({"device": 1, "at": 5, "ts": 4, "hr": 80},))])
    assert [name for name in VALUES if not np.isnan(row[name][0])] == ["hr"]
