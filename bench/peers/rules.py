"""The shipped rules (rules/shipped.toml), message by message in plain Python."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.peers.messages import Event, Fall, Message, Sos, Vital

MINUTE = 60.0
SILENT_AFTER = 3 * 10 * MINUTE


class Alarm(NamedTuple):
    """A change: an alarm is raised, or its condition has ceased."""

    device_id: int
    kind: str
    is_raised: bool
    at: float


@dataclass(frozen=True)
class Rule:
    """A condition that holds for `hold` seconds and ends with `clear`; None: the message does not say."""

    kind: str
    when: Callable[[Any], bool | None]
    clear: Callable[[Any], bool]
    hold: float = 0.0
    gap: float = 10 * MINUTE


def _above(name: str, limit: float) -> Callable[[Any], bool | None]:
    def test(message: Any) -> bool | None:  # noqa: ANN401 - any of the models
        value = getattr(message, name, None)
        return None if value is None else value >= limit and getattr(message, "worn", None) is not False

    return test


def _below(name: str, limit: float) -> Callable[[Any], bool | None]:
    def test(message: Any) -> bool | None:  # noqa: ANN401 - any of the models
        value = getattr(message, name, None)
        return None if value is None else value <= limit and getattr(message, "worn", None) is not False

    return test


def _said(name: str, *, said: bool) -> Callable[[Any], bool | None]:
    def test(message: Any) -> bool | None:  # noqa: ANN401 - any of the models
        value = getattr(message, name, None)
        return None if value is None else value is said

    return test


def _happened(kind: str) -> Callable[[Any], bool | None]:
    return lambda message: message.kind == kind or None


def _truly(test: Callable[[Any], bool | None]) -> Callable[[Any], bool]:
    return lambda message: test(message) is True


VITALS = (
    Rule("hr_high", _above("hr", 131), _truly(_below("hr", 120)), hold=10 * MINUTE),
    Rule("hr_low", _below("hr", 40), _truly(_above("hr", 45)), hold=10 * MINUTE),
    Rule("spo2_low", _below("spo2", 91), _truly(_above("spo2", 94)), hold=5 * MINUTE),
)
WORN_AGAIN = Rule("removed", lambda _: None, _truly(_said("worn", said=True)))
HEARTBEAT = (
    Rule("low_battery", _below("battery", 15), _truly(_above("battery", 30))),
    Rule("mains_lost", _said("mains", said=False), _truly(_said("mains", said=True))),
)
EVENT = (
    Rule("low_battery", _happened("low_battery"), lambda _: False),
    Rule("tamper", _happened("tamper"), lambda _: False),
    Rule("removed", _happened("removed"), _truly(_happened("worn"))),
    Rule("mains_lost", _happened("mains_lost"), _truly(_happened("mains_restored"))),
)
RULES: dict[str, tuple[Rule, ...]] = {
    "vitals": (*VITALS, WORN_AGAIN),
    "heartbeat": HEARTBEAT,
    "event": EVENT,
}


@dataclass(slots=True)
class State:
    """What one rule knows of one device; times in seconds since 1970."""

    is_active: bool = False
    since: float | None = None
    last: float = float("-inf")


class Rules:
    """All rules over all devices."""

    def __init__(self) -> None:
        """Know nobody."""
        self._states: defaultdict[tuple[int, str], State] = defaultdict(State)
        self._heard: dict[int, float] = {}
        self._silent: set[int] = set()

    def evaluate(self, device_id: int, channel: str, message: Message, at: float, now: float) -> list[Alarm]:
        """Return what one message changes; `at` is the device's time, `now` that of receipt."""
        found = self._alive(device_id, now)
        if isinstance(message, Sos):
            found.append(Alarm(device_id, "sos", is_raised=True, at=now))
        elif isinstance(message, Fall):
            found.append(Alarm(device_id, "fall", is_raised=message.phase != "cancelled", at=now))
        for rule in RULES.get(channel, ()):
            time = now if isinstance(message, Event) else at
            if alarm := _step(rule, self._states[device_id, rule.kind], device_id, message, time):
                found.append(alarm)
        return found

    def _alive(self, device_id: int, now: float) -> list[Alarm]:
        self._heard[device_id] = now
        if device_id not in self._silent:
            return []
        self._silent.discard(device_id)
        return [Alarm(device_id, "device_silent", is_raised=False, at=now)]

    def scan(self, now: float) -> list[Alarm]:
        """Return the devices that have just fallen silent."""
        due = [
            device_id
            for device_id, heard in self._heard.copy().items()  # the callbacks run in another thread
            if now - heard > SILENT_AFTER and device_id not in self._silent
        ]
        self._silent.update(due)
        return [Alarm(device_id, "device_silent", is_raised=True, at=now) for device_id in due]


def _step(rule: Rule, state: State, device_id: int, message: Message, time: float) -> Alarm | None:
    """Let one rule see one message."""
    hit, cleared = rule.when(message), rule.clear(message)
    if (hit is None and not cleared) or (time <= state.last and isinstance(message, Vital)):
        return None
    begins = time if state.since is None or time - state.last > rule.gap else state.since
    state.last = max(state.last, time)
    if state.is_active:
        if cleared:
            state.is_active, state.since = False, None
            return Alarm(device_id, rule.kind, is_raised=False, at=time)
        return None
    state.since = begins if hit else None
    if hit and time - begins >= rule.hold:
        state.is_active, state.since = True, None
        return Alarm(device_id, rule.kind, is_raised=True, at=time)
    return None
