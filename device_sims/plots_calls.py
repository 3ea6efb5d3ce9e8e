"""Plots of calls: SOS, falls, tampering.

Each stored message is an activation at the moment it is received.
"""

from functools import partial

from device_sims.plots import Plot
from device_sims.script import MARGIN, MINUTE, DeviceClock, Message, Script
from schemas.clock import SECOND

_SOURCES = {"bell": ("button", "cord", "pendant"), "caller": ("button",), "band": ("button", "voice")}
_PLACE = {"lat": 29.357, "lon": 113.129}


def _press(script: Script, at: int) -> Message:
    """Press for help; some devices send no time with it."""
    fields = {"source": script.rng.choice(_SOURCES[script.device.model])}
    clock = script.rng.choice((DeviceClock.RIGHT, DeviceClock.RIGHT, DeviceClock.NONE))
    return script.say(at, "sos", fields | script.rng.choice(({}, _PLACE)), clock=clock)


def _garbled(script: Script, at: int, channel: str) -> Message:
    raw, reason = script.rng.choice(
        ((b'{"source":"but', "not_json"), (b"", "empty"), (b"SOS\x00\x00", "not_json"), (b"[1]", "not_json"))
    )
    return script.say(at, channel, raw=raw, dead=(reason, True))


def single(script: Script, at: int) -> None:
    """Press once: one alarm, which nobody closes."""
    script.expect("sos", _press(script, at))


def impatient(script: Script, at: int) -> None:
    """Press three times within seconds: one alarm that counts 3."""
    script.expect("sos", *(_press(script, at + n * 2 * SECOND) for n in range(3)))


def answered(script: Script, at: int) -> None:
    """Press, and be told that help is coming: acknowledged and dispatched, not closed."""
    script.expect("sos", _press(script, at))
    script.duty(at + 3 * MINUTE, "sos", "acknowledge")
    script.duty(at + 4 * MINUTE, "sos", "dispatch", to="急救站")


def again(script: Script, at: int, kind: str) -> None:
    """Call, let duty close it, call once more: two occurrences."""
    call = {"sos": _press, "fall": _fall, "tamper": _tamper}[kind]
    script.expect(kind, call(script, at), closed="duty")
    script.duty_closes(at + MARGIN, kind, "other_help" if kind == "sos" else "accidental")
    script.expect(kind, call(script, at + 2 * MARGIN))


def bare(script: Script, at: int) -> None:
    """Send an empty object, as an operator does by hand: an alarm like any other."""
    script.expect("sos", script.say(at, "sos", clock=DeviceClock.NONE, numbered=False), quality="ok")


def odd_source(script: Script, at: int) -> None:
    """Name a source that is none: stored without it, alarmed, and the bad part in the dead letters."""
    script.expect("sos", script.say(at, "sos", {"source": "laser"}, dead=("bad_field", False)))


def late(script: Script, at: int) -> None:
    """Deliver a press that is 20 minutes old: an alarm marked late."""
    press = script.say(at, "sos", {"source": "button"}, measured=at - 20 * MINUTE)
    script.expect("sos", press, quality="late")


def unreadable(script: Script, at: int, kind: str) -> None:
    """Garble the call: an alarm all the same, and a dead letter."""
    script.expect(kind, _garbled(script, at, kind), quality="unreadable")


def unreadable_then_clear(script: Script, at: int) -> None:
    """Garble the first press and send a good second: one alarm that counts 2."""
    script.expect("sos", _garbled(script, at, "sos"), _press(script, at + 5 * SECOND))


def region_of_letters(script: Script, at: int) -> None:
    """Call on a topic whose region is no region: an alarm for the device it names, and a dead letter."""
    topic = f"carebell/v1/yueyang/{script.device.name}/sos"
    raw = b'{"source":"button"}'
    press = script.say(at, "sos", topic=topic, raw=raw, dead=("bad_region", True))
    script.expect("sos", press, quality="unreadable")


def _fall(script: Script, at: int, phase: str = "detected") -> Message:
    fields = {"phase": phase, "confidence": round(script.rng.uniform(0.5, 0.99), 2)}
    return script.say(at, "fall", fields)


def fall(script: Script, at: int) -> None:
    """Detect a fall: one alarm."""
    script.expect("fall", _fall(script, at), quality="ok")


def fall_confirmed(script: Script, at: int) -> None:
    """Detect and confirm: one alarm that counts 2."""
    script.expect("fall", _fall(script, at), _fall(script, at + 15 * SECOND, "confirmed"))


def fall_cancelled(script: Script, at: int) -> None:
    """Detect, and the wearer cancels: an open alarm whose condition is cleared."""
    script.expect("fall", _fall(script, at), clears=_fall(script, at + 20 * SECOND, "cancelled"))


def fall_after_cancel(script: Script, at: int) -> None:
    """Detect, cancel, detect again: counts 2, and the condition is active again."""
    first = _fall(script, at)
    _fall(script, at + 20 * SECOND, "cancelled")
    script.expect("fall", first, _fall(script, at + 80 * SECOND))


def cancel_alone(script: Script, at: int) -> None:
    """Cancel what nobody detected: no alarm."""
    _fall(script, at, "cancelled")


def _tamper(script: Script, at: int) -> Message:
    return script.say(at, "event", {"kind": "tamper"})


def tamper(script: Script, at: int) -> None:
    """Open the bell's case: one alarm."""
    script.expect("tamper", _tamper(script, at))


def harmless(script: Script, at: int) -> None:
    """Test the device, report 报平安, enter the area: stored, no alarm."""
    for n, kind in enumerate(("test", "check_in", "area_entered", "reset")):
        script.say(at + n * 20 * SECOND, "event", {"kind": kind})


_AGAIN = 2 * MARGIN
_BAND = ("band",)

CALLS = (
    Plot("sos", single, 0),
    Plot("sos_impatient", impatient, 4 * SECOND),
    Plot("sos_answered", answered, 4 * MINUTE, by_duty=True),
    Plot("sos_again", partial(again, kind="sos"), _AGAIN, by_duty=True),
    Plot("sos_bare", bare, 0),
    Plot("sos_odd_source", odd_source, 0, needs="unreadable"),
    Plot("sos_late", late, 0, latched=True, needs="late_batches"),
    Plot("sos_unreadable", partial(unreadable, kind="sos"), 0, needs="unreadable"),
    Plot("sos_unreadable_then_clear", unreadable_then_clear, 5 * SECOND, needs="unreadable"),
    Plot("sos_region_of_letters", region_of_letters, 0, needs="unreadable"),
    Plot("fall", fall, 0, _BAND),
    Plot("fall_confirmed", fall_confirmed, 15 * SECOND, _BAND),
    Plot("fall_cancelled", fall_cancelled, 20 * SECOND, _BAND),
    Plot("fall_after_cancel", fall_after_cancel, 80 * SECOND, _BAND),
    Plot("fall_cancel_alone", cancel_alone, 0, _BAND),
    Plot("fall_again", partial(again, kind="fall"), _AGAIN, _BAND, by_duty=True),
    Plot("fall_unreadable", partial(unreadable, kind="fall"), 0, _BAND, needs="unreadable"),
    Plot("tamper", tamper, 0, ("bell",)),
    Plot("tamper_again", partial(again, kind="tamper"), _AGAIN, ("bell",), by_duty=True),
    Plot("harmless", harmless, 60 * SECOND),
)
