"""Rules over arrays: readings a second, the scan of a tick, a backtest; and one message at a time.

No database and no broker: the engine alone, on one core. CPU time of the thread, so that others on the
machine are not in it; the median of many batches, so that a page that is touched first is not either.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any, Final

import numpy as np

from bench.scale import Scale
from bench.table import Line, whole
from rules import ruleset
from rules.backtest import Assumptions, Backtest
from rules.engine import Engine
from rules.machine import Registered
from schemas.clock import SECOND
from schemas.readings import ABSENT, READING, VALUES, Batch, Columns
from schemas.topics import Channel, Lane
from tests.oracle.engine import Oracle
from tests.oracle.rules import Device

BATCH: Final = 10_000
TICKS: Final = 30
START: Final = 1_790_000_000 * SECOND
APART: Final = 3 * SECOND
"""Between two batches: a million devices speak every five minutes."""
HITS: Final = 1_000
"""One reading in so many is one that a rule hits."""


@dataclass(frozen=True)
class Judged:
    """Readings a second (`engine`: with `apply`), milliseconds of a tick, seconds of a change of rules."""

    devices: int
    rules: int
    evaluate: float
    engine: float
    scan_ms: float
    change: float
    one_by_one: float
    backtest: float

    def lines(self) -> list[Line]:
        """Show it."""
        return [
            Line(
                f"{self.rules} shipped rules, {self.devices:,} devices: evaluate, readings/s",
                whole(self.evaluate),
                "5,000,000",
            ),
            Line("evaluate and apply, readings/s", whole(self.engine)),
            Line("a tick: scan for silence and outages, ms", f"{self.scan_ms:.1f}", "5"),
            Line("other rules adopted between two batches, s", f"{self.change:.2f}", "1"),
            Line("one message at a time in Python, readings/s", whole(self.one_by_one)),
            Line("engine against it", f"{self.engine / self.one_by_one:,.0f}x"),
            Line("backtest of two rule sets, readings/s", whole(self.backtest), "1,000,000"),
        ]


def judged(scale: Scale) -> Judged:
    """Measure with the shipped rules."""
    rules = ruleset.load(ruleset.SHIPPED)
    everybody = _registered(scale.judged)
    engine = Engine(rules)
    engine.enrol(everybody)
    batches = _batches(scale.judged)
    first = 2 * -(-scale.judged // BATCH)  # everybody was heard, twice
    for _ in range(first):
        engine.apply(engine.evaluate(next(batches)))
    evaluated, adopted = zip(*(_judge(engine, next(batches)) for _ in range(first)), strict=True)
    now = START + 2 * first * APART
    ticks = [sum(_judge(engine, Batch(Lane.TELEMETRY, now + n * SECOND))) for n in range(TICKS)]
    others = ruleset.parse(rules.text.replace("misses = 3", "misses = 4"))
    return Judged(
        devices=scale.judged,
        rules=len(rules.rules),
        evaluate=BATCH / median(evaluated),
        engine=BATCH / (median(evaluated) + median(adopted)),
        scan_ms=median(ticks) * 1000,
        change=_timed(lambda: engine.adopt(others, now)),
        one_by_one=_one_by_one(scale),
        backtest=_backtest(scale, everybody),
    )


def _judge(engine: Engine, batch: Batch) -> tuple[float, float]:
    """Return the seconds in which one batch or tick is evaluated, and applied."""
    began = time.thread_time()
    delta = engine.evaluate(batch)
    return time.thread_time() - began, _timed(lambda: engine.apply(delta))


def _timed(work: Callable[[], Any]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _registered(devices: int) -> Registered:
    """Return bands in the communities of fifty counties."""
    none = [""] * devices
    regions = [f"{430600 + n % 50:06}{n % 20:03}{n % 10:03}" for n in range(devices)]
    return Registered(
        device_ids=np.arange(devices),
        models=["band"] * devices,
        heartbeat_seconds=[None] * devices,
        regions=regions,
        gateways=none,
        care_levels=none,
        people=none,
        thresholds=[{}] * devices,
        devices=none,
    )


def _batches(devices: int) -> Iterator[Batch]:
    """Yield batches of vitals for ever, of all devices in an order that is not theirs."""
    chance = np.random.default_rng(1)
    order = chance.permutation(devices)
    number = 0
    while True:
        who = order[np.arange(number * BATCH, (number + 1) * BATCH) % devices]
        yield Batch(Lane.TELEMETRY, START + (number + 1) * APART, readings=_readings(who, number, chance))
        number += 1


def _readings(who: np.ndarray[Any, Any], number: int, chance: np.random.Generator) -> Columns:
    """Return what bands say: pulse, saturation, worn and steps."""
    rows = np.zeros(BATCH, READING)
    for name in VALUES:
        rows[name] = np.nan
    rows["device_id"], rows["message"] = who, np.arange(BATCH)
    rows["channel"], rows["alive"], rows["stored"] = int(Channel.VITALS), True, True
    rows["detail"], rows["ts_sent"], rows["seq"] = -1, ABSENT, ABSENT
    rows["received_at"] = START + number * APART + np.arange(BATCH) * 100
    rows["ts"] = rows["received_at"] - chance.integers(0, 2 * SECOND, BATCH)
    rows["hr"] = chance.normal(78, 8, BATCH).round().clip(45, 120)
    rows["spo2"] = chance.integers(94, 100, BATCH)
    rows["worn"] = 1
    rows["steps"] = number // 100 * 20 + chance.integers(0, 9, BATCH)
    hit = chance.random(BATCH) < 1 / HITS
    rows["hr"][hit] = 140
    return rows


def _one_by_one(scale: Scale) -> float:
    """Return the speed of the engine that takes one message at a time, the same readings again."""
    oracle = Oracle(ruleset.SHIPPED.read_text("utf-8"))
    messages = []
    for batch in islice(_batches(scale.judged), -(-scale.judged_alone // BATCH)):
        for row in batch.readings:
            number = int(row["device_id"])
            oracle.enrol(Device(number, region="430602", model="band"))
            said = {name: float(row[name]) for name in VALUES if not np.isnan(row[name])}
            messages.append({"device": number, "at": int(row["received_at"]), "ts": int(row["ts"]), **said})
    messages = messages[: scale.judged_alone]
    return len(messages) / _timed(lambda: [oracle.hear(message) for message in messages])


def _backtest(scale: Scale, everybody: Registered) -> float:
    """Return readings a second through two rule sets, with a tick a minute, from arrays."""
    count = 2 * -(-scale.judged // BATCH)
    rules = ruleset.load(ruleset.SHIPPED)
    test = Backtest(rules, rules, Assumptions(START, START + count * APART))
    test.enrol(everybody)
    readings = np.concatenate([batch.readings for batch in islice(_batches(scale.judged), count)])
    return len(readings) / _timed(lambda: test.feed(readings))
