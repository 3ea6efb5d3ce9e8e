"""How devices misbehave: one knob for each habit, all on by default, none of them deciding about an alarm.

Scripts of latched plots keep their clock and their measurements; hushed ones stay as they are.
"""

import random
from dataclasses import asdict, dataclass
from typing import Any

from device_sims.plots import Plot
from device_sims.script import MINUTE, DeviceClock, Message, Script
from schemas.clock import SECOND

_URGENT = ("sos", "fall", "event")
_WRONG = (DeviceClock.NONE, DeviceClock.EPOCH, DeviceClock.YEAR, DeviceClock.ZONE)
_NO_READING = (0, 1, 254, 255)
_MIB = 1024 * 1024

_BROKEN = (
    ("heartbeat", b'{"battery":8', "not_json"),
    ("heartbeat", b"offline", "not_json"),
    ("vitals", b"[72,98]", "not_json"),
    ("vitals", b'{"hr":72}\x00\x00\x00', "not_json"),
    ("activity", b"\xff\xfe\x00{", "not_json"),
    ("activity", b"", "empty"),
    ("event", b"", "empty"),
    ("event", b'{"kind":"exploded"}', "bad_message"),
    ("event", b"{}", "bad_message"),
    ("voltage", b'{"mv":3010}', "unknown_channel"),
    ("SOS_", b"{}", "unknown_channel"),
)
"""Channel, payload and the reason for which the whole message is dead."""

ASTRAY = (
    ("carebell/v1/yueyang/{device}/heartbeat", "bad_region"),
    ("carebell/v1/43060/{device}/vitals", "bad_region"),
    ("carebell/v1/{region}/{device} 2/heartbeat", "bad_device"),
    ("carebell/v1/{region}/设备一号/activity", "bad_device"),
)
"""Topics that fit no rule, and the reason."""

_PARTLY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("vitals", {"hr": "abc", "spo2": 97, "worn": True}),
    ("vitals", {"hr": 1000, "spo2": 96, "temp": "warm", "worn": True}),
    ("heartbeat", {"battery": "full", "rssi": -70}),
    ("heartbeat", {"battery": 250, "rssi": "weak", "mains": True}),
    ("activity", {"motion": True, "room": "厨\u0000房"}),
)
"""Messages of which a part can be used."""


@dataclass(frozen=True)
class Misbehaviour:
    """The knobs: shares are of messages, of devices, or pieces per device."""

    duplicates: float = 0.02  # of messages: sent twice, seconds or a minute apart
    reordered: float = 0.03  # of measurements: overtaken by the next one
    without_time: float = 0.03  # of messages: no ts
    wrong_clocks: float = 0.15  # of devices: no clock, 1970, a year ahead, 8 h ahead
    strings: float = 0.03  # of messages: numbers as strings, and nulls
    no_reading: float = 0.03  # of measurements: the codes by which devices say that they have none
    garbage: float = 0.4  # pieces per device: broken JSON, stray topics, unknown channels, NUL bytes
    wrong_types: float = 0.2  # pieces per device: a field that is none, beside good ones
    bare_words: float = 0.1  # of devices: the plain word online where JSON belongs
    oversized: int = 1  # payloads of 1 MiB in the town
    unregistered: float = 0.03  # of devices: the registry does not know them
    unreadable: bool = True  # calls that cannot be read
    late_batches: bool = True  # store and forward: old measurements and old calls

    @classmethod
    def none(cls) -> "Misbehaviour":
        """Return a town of perfect manners."""
        return cls(**{name: type(value)() for name, value in asdict(cls()).items()})


def misbehave(script: Script, plot: Plot | None, knobs: Misbehaviour) -> None:
    """Lay the habits over a device's script."""
    if plot is not None and plot.hushed:
        return
    rng = script.rng
    steady = plot is not None and plot.latched
    if not steady:
        _measure_badly(script, knobs)
        _lose_time(script, knobs)
    for _ in range(_pieces(rng, 0 if steady else knobs.wrong_types)):
        channel, wrong = rng.choice(_PARTLY)
        script.say(_moment(script), channel, dict(wrong), dead=("bad_field", False))
    for message in script.messages:
        if _chance(rng, knobs.strings):
            _stringify(message)
        if _chance(rng, knobs.duplicates):
            _duplicate(script, message)
    for _ in range(_pieces(rng, knobs.garbage)):
        _garble(script)
    if _chance(rng, knobs.bare_words):
        script.say(_moment(script), "status", raw=b"online", numbered=False)


def oversize(script: Script) -> None:
    """Let the device send 1 MiB."""
    raw = b'{"hr":72,"pad":"' + b"x" * (_MIB - 18) + b'"}'
    script.say(_moment(script), "vitals", raw=raw, dead=("oversized", True))


def _chance(rng: random.Random, share: float) -> bool:
    return rng.random() < share


def _pieces(rng: random.Random, mean: float) -> int:
    return int(mean + rng.random())


def _moment(script: Script) -> int:
    return script.rng.randrange(10 * SECOND, script.end - SECOND)


def _measure_badly(script: Script, knobs: Misbehaviour) -> None:
    """Send measurements out of order, and codes that mean no reading."""
    rng = script.rng
    for message in script.between(0, script.end, "vitals"):
        if _chance(rng, knobs.no_reading):
            message.fields |= {"hr": rng.choice(_NO_READING), "spo2": 255}
        delayed = message.at + rng.randrange(65 * SECOND, 100 * SECOND)
        if _chance(rng, knobs.reordered) and delayed < script.end:
            message.at = delayed


def _lose_time(script: Script, knobs: Misbehaviour) -> None:
    """Give the device a wrong clock, or let single messages go without a time."""
    rng = script.rng
    wrong = rng.choice(_WRONG) if _chance(rng, knobs.wrong_clocks) else None
    for message in script.messages:
        if not message.numbered or message.raw is not None:
            continue
        if wrong is not None:
            message.clock = wrong
        elif _chance(rng, knobs.without_time):
            message.clock = DeviceClock.NONE


def _stringify(message: Message) -> None:
    if message.channel not in ("vitals", "heartbeat", "activity") or message.dead or not message.fields:
        return
    for name, value in message.fields.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            message.fields[name] = str(value)
    message.fields |= {"temp": None, "fw": "1.0.7"} if message.channel == "vitals" else {"fw": None}


def _duplicate(script: Script, message: Message) -> None:
    """Send it twice; a call is repeated at once, so that nothing comes between.

    Not what is old by a clock of another zone: that it is corrected depends on what is known of the clock.
    """
    if message.dead or not message.numbered or message.retain:
        return
    if message.clock is DeviceClock.ZONE and message.readings:
        return
    rng = script.rng
    span = (SECOND // 10, 2 * SECOND)
    if message.channel not in _URGENT and _chance(rng, 0.5):
        span = (30 * SECOND, 90 * SECOND)
    delay = rng.randrange(*span)
    if message.at + delay < script.end:
        message.copies.append(delay)


def _garble(script: Script) -> None:
    rng = script.rng
    at = max(_moment(script), min(MINUTE, script.end // 2))
    if _chance(rng, 0.3):
        topic, reason = rng.choice(ASTRAY)
        topic = topic.format(device=script.device.name, region=script.device.region)
        script.say(at, "astray", raw=b'{"battery":80,"hr":70}', topic=topic, dead=(reason, True))
        return
    channel, raw, reason = rng.choice(_BROKEN)
    script.say(at, channel, raw=raw, dead=(reason, True))
