"""The oracle: hears messages and ticks one after the other and says what each means."""

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.alarms import Move
from schemas.readings import VALUES
from tests.oracle.expression import Names
from tests.oracle.machines import Chattering, CheckIn, Fall, Inactivity, Outage, Silence
from tests.oracle.rules import Device, Each, Found, Latched, Reading

Message = dict[str, Any]

MINUTE: Final = 60_000_000
LONGEST_WALK: Final = 30
PULSES: Final = 64
TELLING: Final = {
    "worn": ("worn",),
    "removed": ("worn",),
    "mains_lost": ("mains",),
    "mains_restored": ("mains",),
    "low_battery": ("battery",),
}


@dataclass
class Past:
    """What is known of a device: its thresholds, and what its earlier readings said."""

    device: Device
    thresholds: dict[str, float]
    newest: dict[str, int] = field(default_factory=dict)  # rule time of a measured field
    since: dict[str, int] = field(default_factory=dict)  # rule time of an event, or of any value of a field
    steps: tuple[float, int] | None = None  # the newest known, and their rule time
    pulse: float = 0.0
    pulses: int = 0


class Oracle:
    """Judge a stream by a rule file."""

    def __init__(self, text: str) -> None:
        """Read a rule file, which must be right; no device is known."""
        document = tomllib.loads(text)
        tables = list(enumerate(document["rule"], 1))
        self._thresholds = {name: float(value) for name, value in document.get("thresholds", {}).items()}
        rules = [(number, table) for number, table in tables if "machine" not in table]
        machines = {table["machine"]: (number, table) for number, table in tables if "machine" in table}
        self._each = [Each(*rule) for rule in rules if rule[1].get("each")]
        self._latched = [Latched(*rule) for rule in rules if not rule[1].get("each")]
        self._fall = Fall(*machines["fall"]) if "fall" in machines else None
        self._inactivity = Inactivity(*machines["inactivity"]) if "inactivity" in machines else None
        self._check_in = CheckIn(*machines["check_in"]) if "check_in" in machines else None
        self._silence = Silence(*machines["silence"]) if "silence" in machines else None
        self._outage: Outage | None = None
        if self._silence and "outage" in machines:
            self._outage = Outage(*machines["outage"], self._silence)
        self._chattering = Chattering(*machines["chattering"]) if "chattering" in machines else None
        asked = [each for rule in [*self._each, *self._latched] for each in rule.expressions]
        self._states = {name for each in asked for name in each.states}
        kinds = [table["kind"] for _, table in tables]
        self._shared = {kind for kind in kinds if kinds.count(kind) > 1}
        self._raised_by: dict[tuple[int, str], int] = {}  # the rule that raised a shared kind last
        self._pasts: dict[int, Past] = {}

    def enrol(self, device: Device) -> None:
        """Learn of a device, or learn it anew."""
        own = {name: float(value) for name, value in device.thresholds.items() if name in self._thresholds}
        past = self._pasts.setdefault(device.number, Past(device, {}))
        past.device, past.thresholds = device, self._thresholds | own
        if self._silence:
            self._silence.enrol(device)

    def forgive(self, now: int) -> None:
        """Nobody could be heard until now."""
        if self._silence:
            self._silence.forgive(now)
        if self._inactivity:
            self._inactivity.forgive()

    def hear(self, message: Message, *, scan: bool = True) -> list[Found]:
        """Return what one message of an enrolled device means, rule by rule."""
        past, at, event = self._pasts[message["device"]], message["at"], message.get("event")
        device, alive = past.device.number, message.get("alive", True)
        time = at if event else message["ts"]
        values: Names = {}
        if event or not message.get("late"):
            sent = {name: message[name] for name in VALUES if name in message}
            values = {name: _exact(value) for name, value in sent.items() if not math.isnan(value)}
        fresh = {
            name: value for name, value in values.items() if event or time > past.newest.get(name, -math.inf)
        }
        about = past.thresholds | self._derived(past, fresh, time) | ({"event": event} if event else {})
        stateless, reading = (Reading(past.device, at, time, about | seen) for seen in (values, fresh))
        walked = "steps" in fresh and past.steps is not None and fresh["steps"] > past.steps[0]
        moved = alive and (walked or fresh.get("motion") == 1)
        found = [each for rule in self._each for each in rule.hear(stateless)]
        for rule in self._latched:
            found += rule.overdue(device, at)
            found += rule.hear(reading)
        if self._fall:
            found += self._fall.overdue(device, at)
            found += self._fall.hear(reading, moved=moved)
        if self._inactivity:
            found += self._inactivity.hear(reading, moved=moved, alive=alive)
        if self._check_in:
            found += self._check_in.hear(reading, alive=alive)
        found += self._life(device, at, scan=scan, alive=alive)
        if self._chattering:
            found += [*self._chattering.hear(found), *self._chattering.overdue(device, at)]
        _remember(past, fresh, time, event)
        return self._told(found)

    def _life(self, device: int, at: int, *, scan: bool, alive: bool) -> list[Found]:
        if not self._silence:
            return []
        found = [*self._silence.overdue(device, at)] if scan else []
        found += self._silence.hear(device, at) if alive else []
        return [*found, *self._outage.hear(found)] if self._outage else found

    def _derived(self, past: Past, fresh: Names, time: int) -> Names:
        """Return the state names that the rules ask for and that are not absent."""
        found: Names = {}
        for name in self._states:
            if name == "steps_per_min" and "steps" in fresh and past.steps:
                before, then = past.steps
                minutes = (time - then) / MINUTE
                if fresh["steps"] >= before and 0 < minutes <= LONGEST_WALK:
                    found[name] = (fresh["steps"] - before) / minutes
            elif name == "baseline_hr" and past.pulses >= PULSES:
                found[name] = past.pulse
            elif name.startswith("minutes_since ") and (what := name.split()[1]) in past.since:
                found[name] = (time - past.since[what]) / MINUTE
        return found

    def tick(self, now: int, *, scan: bool = True) -> list[Found]:
        """Return what is due now, ordered by date."""
        found = [each for rule in self._latched for each in rule.tick(now)]
        found += self._fall.tick(now) if self._fall else []
        if scan and self._silence:
            silences = [
                each for device in self._silence.tick() for each in self._silence.overdue(device, now)
            ]
            found += silences
            found += [*self._outage.hear(silences), *self._outage.tick(now)] if self._outage else []
        if scan and self._inactivity:
            found += self._inactivity.tick(now, self._silence)
        if scan and self._check_in:
            found += self._check_in.tick(now)
        found.sort(key=lambda each: each.at)
        if self._chattering:
            found += [*self._chattering.hear(found), *self._chattering.tick(now)]
            found.sort(key=lambda each: each.at)
        return self._told(found)

    def _told(self, found: Iterable[Found]) -> list[Found]:
        """Return decisions without the clearings of rules that did not raise the kind last."""
        told = []
        for each in found:
            key = each.device, each.kind
            if each.kind in self._shared:
                if each.move is Move.RAISE:
                    self._raised_by[key] = each.rule
                elif each.move is Move.CLEAR and self._raised_by.get(key) != each.rule:
                    continue
            told.append(each)
        return told


def _exact(value: float) -> float:
    """Return a value as it was sent, to four decimals, if it was kept in 32 bits."""
    return round(value * 1e4) / 1e4 if math.isfinite(value) else value


def _remember(past: Past, fresh: Names, time: int, event: str | None) -> None:
    for name in fresh:
        past.since[name] = max(time, past.since.get(name, time))
        if not event:
            past.newest[name] = time
    if event:
        past.since[event] = time
        for name in TELLING.get(event, ()):
            past.newest[name] = max(time, past.newest.get(name, time))
    if "steps" in fresh:
        past.steps = fresh["steps"], time
    pulse = fresh.get("hr", math.nan)
    if 30 <= pulse <= 220 and fresh.get("worn") != 0:
        past.pulses += 1
        past.pulse = past.pulse + (pulse - past.pulse) / 64 if past.pulses > 1 else pulse
