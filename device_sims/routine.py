"""What the three families say on an ordinary day.

bell    平安钟    mains powered: heartbeats with mains and battery
caller  一键通    battery: heartbeats with a battery that goes down slowly
band    手环      heart rate, oxygen, steps about each minute, motion, heartbeats
"""

from collections.abc import Callable, Iterator
from typing import Any

from device_sims.script import MINUTE, Script
from schemas.clock import SECOND

BEAT = 120 * SECOND
"""Interval of heartbeats."""

SAMPLE = (56 * SECOND, 59 * SECOND)
"""Interval of a band's measurements: a device's own, so that no span is ever exactly a limit."""

_MAINS_BATTERY = 100


def routine(script: Script) -> None:
    """Fill a script with an ordinary stretch of the device's day."""
    rng = script.rng
    script.say(rng.randrange(SECOND, 2 * SECOND), "status", {"status": "online"}, retain=True)
    level = rng.uniform(55, 98)
    for beat, at in enumerate(_ticks(script, 3 * SECOND + rng.randrange(BEAT - 8 * SECOND), BEAT)):
        script.say(at, "heartbeat", _heartbeat(script, level - 0.05 * beat))
    if script.device.model == "band":
        period = rng.randrange(*SAMPLE)
        _measure(script, "vitals", rng.randrange(3 * SECOND, period), period, script.person.vitals)
        period = rng.randrange(4 * MINUTE, 7 * MINUTE)
        _measure(script, "activity", rng.randrange(3 * SECOND, period), period, script.person.activity)


def _ticks(script: Script, first: int, period: int) -> Iterator[int]:
    yield from range(first, script.end - SECOND, period)


def _measure(
    script: Script, channel: str, first: int, period: int, sense: Callable[[int], dict[str, Any]]
) -> None:
    """Measure at strict intervals, and send each measurement within a second."""
    for at in _ticks(script, first, period):
        late = script.rng.randrange(SECOND // 10, SECOND)
        script.say(at + late, channel, sense(script.start + at), measured=at)


def _heartbeat(script: Script, level: float) -> dict[str, Any]:
    signal = {"rssi": script.rng.randint(-95, -55)}
    if script.device.model == "bell":
        return {"battery": _MAINS_BATTERY, "mains": True, **signal}
    return {"battery": round(level, 1), **signal}
