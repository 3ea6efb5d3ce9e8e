"""A story told on arrays: the real decoder and the real engine, no broker, no database, no clock.

Time passes in whole seconds: what comes within one is judged in batches, then there is a tick. Where nothing
happens a minute passes at once, unless its tick would say something: then it passes by seconds.
"""

import asyncio
from dataclasses import replace
from itertools import groupby

import numpy as np

from ingest.decode import Decoder
from ingest.registry import Registry
from rules import ruleset
from rules.engine import Engine
from rules.machine import Registered
from schemas import topics
from schemas.alarms import KINDS, Class, Move, Severity, Transition
from schemas.clock import SECOND
from schemas.readings import Batch, Delivery
from schemas.settings import IngestSettings
from schemas.topics import Lane
from tests.stories.book import Alarm, Book, Entry
from tests.stories.kit import REGION, Given, Message, Step, Story
from tests.unit.kit import Book as Names

BATCH = 5_000
SAVE = 600 * SECOND
_MINUTE = 60 * SECOND
_LANES = {
    name: Lane.URGENT if channel in topics.URGENT_CHANNELS else Lane.TELEMETRY
    for name, channel in topics.CHANNELS.items()
}
_SEVERITIES = [each.value for each in Severity]


def tell(story: Story) -> Book:
    """Tell a story and return its alarms."""
    line = _Line(story)
    for second, steps in groupby(story.steps, lambda step: -(-step.at // SECOND) * SECOND):
        line.pass_time(second - SECOND)
        line.happen(list(steps), second)
    line.pass_time(-(-story.end // SECOND) * SECOND + SECOND)
    return line.book


class _Line:
    """Decoder and engine as the bridge composes them, and what a database would have kept of them."""

    def __init__(self, story: Story) -> None:
        self.book = Book()
        self._open: dict[tuple[str, str], Alarm] = {}
        self._rules = ruleset.parse(story.rules) if story.rules else ruleset.load(ruleset.SHIPPED)
        self._given = {each.device: each for each in story.given}
        self._names = Names()
        self._registry = Registry(self._names, IngestSettings(max_registered=1_000_000))
        self._decoder = Decoder(self._registry, 65_536)
        asyncio.run(self._names.register(dict.fromkeys(self._given)))
        for name, number in self._names.ids.items():
            self._registry.learn(name, number, self_registered=False)
        self._saves = any(step.what in {"kill", "restart"} for step in story.steps)
        self._saved: list[bytes] = []
        self._since_saved: list[Batch] = []
        self._waiting: list[tuple[int, Message]] = []
        self._up, self._scan = True, True
        self._now = self._stamp = story.begin // SECOND * SECOND - _MINUTE
        self._begin_engine()

    # ------------------------------------------------------------------------------------------ time passes

    def pass_time(self, end: int) -> None:
        """Tick up to a whole second."""
        while self._up and self._now < end:
            minute = min(end, self._now // _MINUTE * _MINUTE + _MINUTE)
            if self._engine.evaluate(Batch(Lane.TELEMETRY, minute, self._scan)).transitions:
                for second in range(self._now + SECOND, minute, SECOND):
                    self._tick(second)
            self._tick(minute)
        self._now = max(self._now, end)

    def _tick(self, now: int) -> None:
        self._move(Batch(Lane.TELEMETRY, now, self._scan))
        self._now = now
        if self._saves and now % SAVE == 0:
            self._saved = [self._engine.checkpoint(piece) for piece in range(self._engine.pieces)]
            self._since_saved.clear()

    # ----------------------------------------------------------------------------------------- things happen

    def happen(self, steps: list[Step], second: int) -> None:
        """Let the steps of one second happen; its tick comes with the time that passes after it."""
        for is_deed, some in groupby(steps, lambda step: isinstance(step.what, str)):
            if is_deed:
                for step in some:
                    self._do(step)
            else:
                self._waiting += [(step.at, step.what) for step in some if isinstance(step.what, Message)]
                self._hear()
        self._now = second - SECOND

    def _do(self, step: Step) -> None:
        match step.what:
            case "close":
                device, kind = step.words
                self._write(step.at, "close", replace(self._open[device, kind], open=False))
            case "tick":
                may_scan = step.words == ("scan",)
                if may_scan and not self._scan:
                    self._engine.forgive(step.at)
                self._scan = may_scan
            case "kill":
                self._up = False
            case "restart":
                self._restore(step.at)
                self._up = True
                self._waiting = [(step.at, said) for _, said in self._waiting]
                self._hear()

    def _hear(self) -> None:
        """Receive what waits at the broker, in its order; neighbours of one lane are a batch."""
        if not self._up:
            return
        waiting, self._waiting = self._waiting, []
        for lane, some in groupby(waiting, lambda said: _LANES[said[1].channel]):
            together = [self._delivery(*said) for said in some]
            for start in range(0, len(together), BATCH):
                part = together[start : start + BATCH]
                if any(strangers := self._decoder.strangers(part)):
                    self._enrol(asyncio.run(self._registry.admit(*strangers)))
                self._move(self._decoder.decode(lane, part, self._stamp))

    def _delivery(self, at: int, said: Message) -> Delivery:
        self._stamp = max(at, self._stamp + 1)
        region = self._given[said.device].region if said.device in self._given else REGION
        topic = topics.uplink(region, said.device, said.channel)
        return Delivery(topic, said.payload, 1, False, said.retained, self._stamp)  # noqa: FBT003 - DUP

    # ------------------------------------------------------------------------------------------- the line

    def _move(self, batch: Batch) -> None:
        delta = self._engine.evaluate(batch)
        self._engine.apply(delta)
        if self._saves and (len(batch.receipts) or delta.transitions):
            self._since_saved.append(batch)
        for transition in delta.transitions:
            self._note(transition)

    def _note(self, said: Transition) -> None:
        """Do with a transition as the database does: one open alarm for each device and kind (P3)."""
        who = said.area or self._device[said.device_id]
        held = self._open.get((who, said.kind))
        worst = min(said.severity.value, held.severity if held else "low", key=_SEVERITIES.index)
        if said.move is Move.RAISE:
            new = Alarm(who, said.kind, worst, said.quality, suppressed=bool(said.parent), values=said.values)
            if held:
                quality = "ok" if said.quality == "ok" else held.quality
                hidden = held.suppressed and new.suppressed
                new = replace(new, count=held.count + 1, quality=quality, suppressed=hidden)
        elif held is None or (said.move is Move.CLEAR and held.cleared):
            return
        elif said.move is Move.CLEAR:
            technical = KINDS[said.kind].alarm_class is Class.TECHNICAL
            new = replace(held, cleared=True, open=not technical)
        elif said.move is Move.STEP:
            new = replace(held, severity=worst)
        else:
            new = replace(held, suppressed=said.move is Move.SUPPRESS)
        self._write(said.at, said.move.value, new)

    def _write(self, at: int, verb: str, alarm: Alarm) -> None:
        self._open[alarm.who, alarm.kind] = alarm
        if not alarm.open:
            del self._open[alarm.who, alarm.kind]
        self.book.append(Entry(at, verb, alarm))

    def _begin_engine(self) -> None:
        self._engine = Engine(self._rules)
        self._device: dict[int, str] = {}
        self._enrol(list(self._names.ids.values()))

    def _enrol(self, numbers: list[int]) -> None:
        names = {number: name for name, number in self._names.ids.items()}
        self._device |= {number: names[number] for number in numbers}
        rows = [self._given.get(names[number], Given(names[number])) for number in numbers]
        self._engine.enrol(_registered(numbers, rows))

    def _restore(self, now: int) -> None:
        """Do as the bridge does when it starts: the checkpoint, what was committed later, then forgive."""
        self._begin_engine()
        for piece, state in enumerate(self._saved):
            self._engine.restore(piece, state)
        for batch in self._since_saved:
            self._engine.apply(self._engine.evaluate(batch))
        held: dict[str, list[int]] = {}
        for (who, kind), alarm in self._open.items():
            if not alarm.cleared:
                number = self._names.ids.get(who)
                held.setdefault(kind if number else f"{kind}:{who}", []).append(number or -1)
                if alarm.suppressed and number:
                    held.setdefault("suppressed", []).append(number)
        self._engine.begin(held)
        self._engine.forgive(now)


def _registered(numbers: list[int], rows: list[Given]) -> Registered:
    return Registered(
        device_ids=np.array(numbers, np.intp),
        models=[row.model for row in rows],
        heartbeat_seconds=[row.heartbeat for row in rows],
        regions=[row.region for row in rows],
        gateways=[row.gateway for row in rows],
        care_levels=[row.care_level for row in rows],
        people=[row.person for row in rows],
        thresholds=[row.thresholds for row in rows],
        devices=[row.device for row in rows],
    )
