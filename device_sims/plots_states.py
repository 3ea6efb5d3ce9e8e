"""Plots of states that last: mains, battery, the band off the wrist, out of the area, silence.

Raised at once, cleared by what follows. The technical ones close themselves, and the next one is a new
occurrence. Events and measurements come in two sessions, in any order within the tolerance, and a rule takes
an event as it is received: so no measurement shortly before an event says the contrary.
"""

from device_sims.plots import Plot
from device_sims.script import MARGIN, MINUTE, Message, Script
from schemas.clock import SECOND

_OUTAGE = 4 * MINUTE
_FLAT, _CHARGED = (4.0, 14.0), (45.0, 90.0)
_SLOW_BEAT = 240
_MISSES = 3


def _outage(script: Script, at: int, until: int | None) -> None:
    """Cut the mains, for good or until `until`; heartbeats close before an event do not speak of it."""
    for beat in script.between(at - MARGIN, until or at, "heartbeat"):
        beat.fields.pop("mains", None)
    lost = script.say(at, "event", {"kind": "mains_lost"})
    for n, beat in enumerate(script.between(at, until or script.end, "heartbeat")):
        beat.fields["battery"] = max(20, 99 - 3 * n)
        if until is None:
            beat.fields["mains"] = False
    if until is None:
        script.expect("mains_lost", lost)
        return
    restored = script.say(until, "event", {"kind": "mains_restored"})
    script.expect("mains_lost", lost, clears=restored, closed="carebell")


def mains(script: Script, at: int) -> None:
    """Lose the mains and get it back."""
    _outage(script, at, at + _OUTAGE)


def mains_twice(script: Script, at: int) -> None:
    """Lose the mains twice: two occurrences."""
    _outage(script, at, at + _OUTAGE)
    _outage(script, at + 2 * _OUTAGE, at + 3 * _OUTAGE)


def mains_gone(script: Script, at: int) -> None:
    """Lose the mains for good."""
    _outage(script, at, None)


def mains_by_heartbeat(script: Script, at: int) -> None:
    """Lose the mains without an event: the heartbeats tell."""
    out = script.between(at, at + 3 * MINUTE, "heartbeat")
    for beat in out:
        beat.fields["mains"] = False
    back = script.between(at + 3 * MINUTE, script.end, "heartbeat")[0]
    script.expect("mains_lost", out[0], clears=back, closed="carebell")


def _drain(script: Script, at: int, until: int) -> list[Message]:
    beats = script.between(at, until, "heartbeat")
    for n, beat in enumerate(beats):
        beat.fields["battery"] = round(max(_FLAT[0], _FLAT[1] - 0.7 * n), 1)
    return beats


def _charge(script: Script, at: int, until: int) -> list[Message]:
    beats = script.between(at, until, "heartbeat")
    level = script.rng.uniform(*_CHARGED)
    for n, beat in enumerate(beats):
        beat.fields["battery"] = round(min(100.0, level + 0.4 * n), 1)
    return beats


def _fade(script: Script, at: int) -> None:
    """Let the battery go down to where it is still no alarm."""
    beats = script.between(0, at, "heartbeat")
    for n, beat in enumerate(reversed(beats)):
        beat.fields["battery"] = round(min(16.5 + 0.9 * n, 60.0), 1)


def flat(script: Script, at: int) -> None:
    """Run the battery down, to the end."""
    _fade(script, at)
    script.expect("low_battery", _drain(script, at, script.end)[0])


def charged(script: Script, at: int) -> None:
    """Run the battery down, then charge it, by way of a level that neither raises nor clears."""
    _fade(script, at)
    low = _drain(script, at, at + 3 * MINUTE)
    for between in script.between(at + 3 * MINUTE, at + 6 * MINUTE, "heartbeat"):
        between.fields["battery"] = 22.0
    high = _charge(script, at + 6 * MINUTE, script.end)
    script.expect("low_battery", low[0], clears=high[0], closed="carebell")


def flat_twice(script: Script, at: int) -> None:
    """Run down, charge, run down: two occurrences."""
    low = _drain(script, at, at + 4 * MINUTE)
    high = _charge(script, at + 4 * MINUTE, at + 8 * MINUTE)
    script.expect("low_battery", low[0], clears=high[0], closed="carebell")
    script.expect("low_battery", _drain(script, at + 8 * MINUTE, script.end)[0])


def flat_by_event(script: Script, at: int) -> None:
    """Say so by an event, from a battery that measures itself too well."""
    for beat in script.between(at - MARGIN, script.end, "heartbeat"):
        beat.fields["battery"] = 19.0
    script.expect("low_battery", script.say(at, "event", {"kind": "low_battery"}))


def _take_off(script: Script, at: int, until: int) -> Message:
    """Take the band off: it says so and measures nothing until it is worn again."""
    script.drop(script.between(at, until, "vitals"))
    script.drop(script.between(at, until, "activity"))
    for message in script.between(at - MARGIN, at, "vitals"):
        message.fields.pop("worn")
    return script.say(at, "event", {"kind": "removed"})


def removed(script: Script, at: int) -> None:
    """Take the band off for good."""
    script.expect("removed", _take_off(script, at, script.end))


def removed_and_worn(script: Script, at: int) -> None:
    """Take it off and put it on, and the band says both; it measures again after a while."""
    off = _take_off(script, at, at + 2 * MARGIN)
    worn = script.say(at + MARGIN, "event", {"kind": "worn"})
    script.expect("removed", off, clears=worn, closed="carebell")


def removed_and_measured(script: Script, at: int) -> None:
    """Take it off and put it on without a word: the first measurement tells."""
    off = _take_off(script, at, at + MARGIN)
    first = script.between(at + MARGIN, script.end, "vitals")[0]
    script.expect("removed", off, clears=first, closed="carebell")


def area_left(script: Script, at: int) -> None:
    """Leave the area for good: one alarm, which nobody closes."""
    script.expect("area_left", script.say(at, "event", {"kind": "area_left"}))


def area_left_and_entered(script: Script, at: int) -> None:
    """Leave the area and come back: an open alarm whose condition is cleared."""
    left = script.say(at, "event", {"kind": "area_left"})
    entered = script.say(at + MINUTE, "event", {"kind": "area_entered"})
    script.expect("area_left", left, clears=entered)


def _hush(script: Script, at: int, until: int) -> Message:
    """Silence the device and return the last message before, which proves that it lived."""
    script.drop([message for message in script.messages if at <= message.at < until])
    before = [m for m in script.messages if m.at < at and m.channel != "status"]
    return max(before, key=lambda message: message.at)


def _limit(script: Script) -> int:
    return _MISSES * script.device.heartbeat_seconds * SECOND


def silent(script: Script, at: int) -> None:
    """Fall silent for twice the limit; the broker sends the last will; the device comes back."""
    back = at + 2 * _limit(script)
    last = _hush(script, at, back)
    script.say(at + MINUTE, "status", {"status": "offline"}, retain=True)
    script.say(back, "status", {"status": "online"}, retain=True)
    first = script.say(back + SECOND, "heartbeat", {"battery": 71.0, "rssi": -80})
    script.expect("device_silent", last, raised_after=_limit(script), clears=first, closed="carebell")


def silent_for_good(script: Script, at: int) -> None:
    """Fall silent and never come back."""
    last = _hush(script, at, script.end + MINUTE)
    script.expect("device_silent", last, raised_after=_limit(script))


def silent_for_a_while(script: Script, at: int) -> None:
    """Miss a few heartbeats, clearly fewer than the limit allows: no alarm."""
    _hush(script, at, at + MARGIN - 2 * MINUTE)


_LIMIT = _MISSES * 120 * SECOND
_BELL, _BATTERY, _BAND = ("bell",), ("caller", "band"), ("band",)

STATES = (
    Plot("mains", mains, _OUTAGE, _BELL, latched=True),
    Plot("mains_twice", mains_twice, 3 * _OUTAGE, _BELL, latched=True),
    Plot("mains_gone", mains_gone, 0, _BELL, latched=True),
    Plot("mains_by_heartbeat", mains_by_heartbeat, 5 * MINUTE, _BELL, latched=True),
    Plot("battery_flat", flat, 2 * MINUTE, _BATTERY, latched=True),
    Plot("battery_charged", charged, 8 * MINUTE, _BATTERY, latched=True),
    Plot("battery_flat_twice", flat_twice, 10 * MINUTE, _BATTERY, latched=True),
    Plot("battery_flat_by_event", flat_by_event, 0, _BATTERY, latched=True),
    Plot("removed", removed, 0, _BAND, latched=True),
    Plot("removed_and_worn", removed_and_worn, MARGIN, _BAND, latched=True),
    Plot("removed_and_measured", removed_and_measured, MARGIN + MINUTE, _BAND, latched=True),
    Plot("area_left", area_left, 0, _BAND, latched=True),
    Plot("area_left_and_entered", area_left_and_entered, MINUTE, _BAND, latched=True),
    Plot("silent", silent, 2 * _LIMIT + SECOND, after=3 * MINUTE, latched=True, hushed=True),
    Plot("silent_for_good", silent_for_good, _LIMIT, after=3 * MINUTE, latched=True, hushed=True),
    Plot(
        "silent_for_a_while", silent_for_a_while, 6 * MINUTE,
        after=3 * MINUTE, latched=True, hushed=True, heartbeat_seconds=_SLOW_BEAT,
    ),
)  # fmt: skip
