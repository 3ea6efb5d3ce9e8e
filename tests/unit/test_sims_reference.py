"""The truth agrees with a slow reading of the rules: one message at a time, with random delays.

The judge below shares nothing with the engine and nothing with the plots: it reads the bytes that were sent.
"""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from device_sims.misbehave import Misbehaviour
from device_sims.town import Send, Town
from device_sims.truth import DeadKey, RowKey, Seen, SeenAlarm
from device_sims.verify import compare
from schemas.clock import SECOND
from schemas.errors import SenderFaultError
from schemas.messages import ADAPTERS
from schemas.topics import Channel, life_channel, parse

START = 1_790_000_000 * SECOND
MINUTE = 60 * SECOND
LONGEST_DELAY = 100 * SECOND
NO_READING = {0, 1, 254, 255}
TECHNICAL = {"tamper", "mains_lost", "low_battery", "removed", "device_silent"}

Row = dict[str, Any]
Test = Callable[[Row], bool | None]
"""What a row makes of a condition; None: it does not decide it."""


def at_rest(name: str, low: int, high: int) -> Test:
    """Return the test of a pulse or an oxygen from `low` to `high` on the wrist of somebody who sits."""

    def test(row: Row) -> bool | None:
        if row.get("worn") is False or row.get("steps_per_min", 0) >= 20:
            return False
        return low <= row[name] <= high if name in row else None

    return test


@dataclass(frozen=True)
class Rule:
    """One rule over rows; the one of the usual pulse needs longer than these towns last."""

    names: set[str]
    when: Test
    clear: Test
    hold: int = 0
    samples: int = 1


LATCHED: dict[str, Rule] = {
    "hr_high": Rule(
        {"hr", "worn"}, at_rest("hr", 131, 250), lambda r: r.get("hr", 999) <= 120, 10 * MINUTE, 3
    ),
    "hr_low": Rule({"hr", "worn"}, at_rest("hr", 20, 40), lambda r: r.get("hr", 0) >= 45, 10 * MINUTE, 3),
    "spo2_low": Rule(
        {"spo2", "worn"}, at_rest("spo2", 50, 91), lambda r: r.get("spo2", 0) >= 94, 5 * MINUTE, 3
    ),
    "low_battery": Rule(
        {"battery", "kind"},
        lambda r: r.get("battery", 999) <= 15 or r.get("kind") == "low_battery",
        lambda r: r.get("battery", 0) >= 30,
    ),
    "removed": Rule(
        {"kind", "worn"},
        lambda r: r.get("kind") == "removed",
        lambda r: r.get("kind") == "worn" or r.get("worn") is True,
    ),
    "mains_lost": Rule(
        {"mains", "kind"},
        lambda r: r.get("mains") is False or r.get("kind") == "mains_lost",
        lambda r: r.get("mains") is True or r.get("kind") == "mains_restored",
    ),
    "area_left": Rule(
        {"kind"}, lambda r: r.get("kind") == "area_left", lambda r: r.get("kind") == "area_entered"
    ),
}


@dataclass
class Latch:
    """Where one rule stands with one device."""

    active: bool = False
    first: int = 0
    newest: int = 0
    hits: int = 0


@dataclass
class Judge:
    """Hear messages in order of receipt and keep what a database would hold."""

    limits: dict[str, int]
    seen: Seen = field(default_factory=Seen)
    heard: dict[str, int] = field(default_factory=dict)
    latches: dict[tuple[str, str], Latch] = field(default_factory=dict)
    stored: set[tuple[Any, ...]] = field(default_factory=set)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    steps: dict[str, tuple[int, int]] = field(default_factory=dict)

    def open(self, device: str, kind: str) -> int | None:
        """Return the place of the open alarm."""
        found = [
            n for n, a in enumerate(self.seen.alarms) if (a.device, a.kind) == (device, kind) and not a.closed
        ]
        return found[0] if found else None

    def raise_(self, device: str, kind: str, at: int, quality: str = "ok") -> None:
        """Raise an alarm, or raise its count."""
        place = self.open(device, kind)
        if place is None:
            number = sum((a.device, a.kind) == (device, kind) for a in self.seen.alarms)
            self.seen.alarms.append(SeenAlarm(device, kind, number + 1, 1, at, quality=quality))
            return
        old = self.seen.alarms[place]
        self.seen.alarms[place] = replace(old, count=old.count + 1, cleared_at=None)

    def clear(self, device: str, kind: str, at: int) -> None:
        """Clear a condition; technical alarms close."""
        place = self.open(device, kind)
        if place is not None and self.seen.alarms[place].cleared_at is None:
            closed = "carebell" if kind in TECHNICAL else ""
            self.seen.alarms[place] = replace(self.seen.alarms[place], cleared_at=at, closed=closed)

    def close(self, device: str, kind: str) -> None:
        """Let duty close an alarm."""
        place = self.open(device, kind)
        assert place is not None, f"duty finds no open {kind} of {device}"
        self.seen.alarms[place] = replace(self.seen.alarms[place], closed="duty")

    def receive(self, send: Send, at: int) -> None:
        """Take one message."""
        try:
            address = parse(send.topic)
            rows, partly = self.read(address.channel, send.payload)
        except SenderFaultError as fault:
            self.bury(send, fault.reason, whole=True)
            channel = life_channel(send.topic)
            if channel is not None:
                self.hear(send.device, at)
                self.raise_(send.device, channel.name.lower(), at, "unreadable")
            return
        if partly:
            self.bury(send, "bad_field", whole=False)
        fast = self.hours_ahead(rows, at)
        for row in rows:
            self.take(address.device, address.channel, row, at, fast)
        if not send.retain and rows[0].get("status") != "offline":
            self.hear(address.device, at)

    def bury(self, send: Send, reason: str, *, whole: bool) -> None:
        """Keep a dead letter."""
        key = DeadKey(send.topic, hashlib.sha256(send.payload).hexdigest(), reason, whole)
        self.seen.dead[key] = self.seen.dead.get(key, 0) + 1

    @staticmethod
    def read(channel: Channel, payload: bytes) -> tuple[list[dict[str, Any]], bool]:
        """Return the rows in a message, and whether a part of it was bad."""
        if not payload:
            raise SenderFaultError("empty")
        if len(payload) > 65_536:
            raise SenderFaultError("oversized")
        if channel is Channel.STATUS and payload in (b"online", b"offline"):
            return [{"status": payload.decode()}], False
        partly = False
        try:
            fields = ADAPTERS[channel].validate_json(payload)
        except ValidationError as error:
            wrong = {fault["loc"] for fault in error.errors()}
            if () in wrong:
                raise SenderFaultError("not_json") from None
            if channel is Channel.EVENT:
                raise SenderFaultError("bad_message") from None
            whole = json.loads(payload)
            fields = ADAPTERS[channel].validate_python({k: v for k, v in whole.items() if (k,) not in wrong})
            partly = True
        rows = fields.pop("readings", None) or [fields]
        return [{k: v for k, v in row.items() if v is not None} for row in rows], partly

    @staticmethod
    def hours_ahead(rows: list[Row], at: int) -> int:
        """Return by how many microseconds the newest time is ahead, if those are whole hours of a zone."""
        ahead = max((row["ts"] * 1000 - at for row in rows if "ts" in row), default=0)
        hours = round(ahead / (60 * MINUTE))
        return (
            hours * 60 * MINUTE
            if 1 <= hours <= 14 and abs(ahead - hours * 60 * MINUTE) <= 300 * SECOND
            else 0
        )

    def hear(self, device: str, at: int) -> None:
        """Note a sign of life, and end a silence."""
        self.silences(device, at)
        self.clear(device, "device_silent", at)
        self.heard[device] = at

    def silences(self, device: str, at: int) -> None:
        """Raise the silence of a device if its limit has passed."""
        due = self.heard.get(device, at) + self.limits.get(device, 30 * MINUTE)
        if at > due and self.open(device, "device_silent") is None:
            self.raise_(device, "device_silent", due)

    def take(self, device: str, channel: Channel, row: Row, at: int, fast: int) -> None:
        """Store and judge one row, of a clock that is `fast` by so many microseconds."""
        sent = row["ts"] * 1000 - fast if "ts" in row else at
        usable = at - 30 * 86_400 * SECOND <= sent <= at + 300 * SECOND
        ts = sent if usable else at
        key = (device, channel, ts, json.dumps(row, sort_keys=True))
        if key in self.stored:
            return
        self.stored.add(key)
        name = RowKey(device, channel.name.lower(), row.get("seq"))
        self.seen.rows[name] = self.seen.rows.get(name, 0) + 1
        late = usable and sent < at - 600 * SECOND
        if channel is Channel.SOS:
            self.raise_(device, "sos", at, "late" if late else "ok")
        elif channel is Channel.FALL and row.get("phase") == "cancelled":
            self.clear(device, "fall", at)
        elif channel is Channel.FALL:
            self.raise_(device, "fall", at, "late" if late else "ok")
        elif row.get("kind") == "tamper":
            self.raise_(device, "tamper", at)
        if channel is Channel.EVENT:
            self.judge(device, row, at, at)
        elif not late:
            self.judge(device, self.fresh(device, row, ts), ts, at)

    def fresh(self, device: str, row: Row, ts: int) -> Row:
        """Return the values that are newer than what was seen of their field, and the pace they tell."""
        found: Row = {}
        for name, value in row.items():
            if name in ("hr", "spo2") and value in NO_READING:
                continue
            if ts > self.newest.get((device, name), -(2**62)):
                self.newest[device, name] = ts
                found[name] = value
        if "steps" in found:
            counted, then = self.steps.get(device, (found["steps"] + 1, ts))
            self.steps[device] = found["steps"], ts
            if found["steps"] >= counted and ts - then <= 30 * MINUTE:
                found["steps_per_min"] = (found["steps"] - counted) / ((ts - then) / MINUTE)
        return found

    def judge(self, device: str, row: Row, ts: int, at: int) -> None:
        """Run the latched rules."""
        for kind, rule in LATCHED.items():
            latch = self.latches.setdefault((device, kind), Latch())
            if not rule.names & row.keys():
                continue
            if latch.active:
                if rule.clear(row):
                    latch.active = False
                    self.clear(device, kind, at)
                continue
            hit = rule.when(row)
            if hit is False:
                latch.hits = 0
            if not hit:
                continue
            if not latch.hits or ts - latch.newest > 10 * MINUTE:
                latch.first, latch.hits = ts, 0
            latch.newest, latch.hits = ts, latch.hits + 1
            if latch.hits >= rule.samples and ts - latch.first >= rule.hold:
                latch.active, latch.hits = True, 0
                self.raise_(device, kind, at)


def judged(town: Town, rng: random.Random, longest: int) -> Seen:
    """Deliver a town's messages with random delays, in order within each of the two sessions."""
    limits = {each.device: 3 * each.heartbeat_seconds * SECOND for each in town.registrations}
    judge = Judge(limits)
    last = {True: 0, False: 0}
    queue: list[tuple[int, int, Any]] = []
    for send in town.sends:
        urgent = send.topic.rsplit("/", 1)[-1] in ("sos", "fall", "event")
        last[urgent] = max(last[urgent] + 1, send.at + rng.randrange(1, longest))
        queue.append((last[urgent], send.number, send))
    queue += [(step.at, -1, step) for step in town.truth.steps if step.verb == "close"]
    for at, number, what in sorted(queue, key=lambda entry: entry[:2]):
        if number < 0:
            judge.close(what.device, what.kind)
        else:
            judge.receive(what, at)
    for device in list(judge.heard):
        judge.silences(device, town.truth.end)
    return judge.seen


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    devices=st.integers(1, 120),
    minutes=st.integers(6, 60),
    longest=st.integers(2, LONGEST_DELAY),
    duty=st.booleans(),
)
def test_the_truth_is_what_the_rules_say_of_the_bytes(
    seed: int, devices: int, minutes: int, longest: int, *, duty: bool
) -> None:
    """For every seed and every delay within the tolerance, judging the bytes gives exactly the truth."""
    town = Town.build(devices, minutes, seed, START, duty=duty)
    report = compare(town.truth, judged(town, random.Random(seed), longest))
    assert report.differences == []


def test_the_truth_of_the_demo_town() -> None:
    """When people walk after dinner, the demo's town has every kind of alarm, and its truth is the rules'."""
    town = Town.build(300, 40, 7, START + 20 * 60 * MINUTE)
    report = compare(town.truth, judged(town, random.Random(7), LONGEST_DELAY))
    assert report.differences == []
    assert {each.kind for each in town.truth.expected} == {
        "sos", "fall", "tamper", "hr_high", "hr_low", "spo2_low",
        "low_battery", "removed", "mains_lost", "area_left", "device_silent",
    }  # fmt: skip


def test_good_manners_change_nothing_but_the_garbage() -> None:
    """A town with every knob at zero has the same kinds of alarm and no dead letter."""
    town = Town.build(300, 40, 7, START, misbehaviour=Misbehaviour.none())
    assert compare(town.truth, judged(town, random.Random(7), LONGEST_DELAY)).differences == []
    assert not [sent for sent in town.truth.sent if sent.dead or sent.fate != "stored"]
    assert len(town.registrations) == 300
