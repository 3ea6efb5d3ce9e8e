"""Fields of readings: which channel each belongs to, its bounds, and what turns a vendor's value into it."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from schemas.readings import NO_READING
from schemas.sources.events import Check
from schemas.sources.mapping import Value, unit_of
from schemas.sources.values import LIES, TRUTHS, neither, number, plain, shown, spellings
from schemas.topics import Channel

_CHANNELS: Final = {
    **dict.fromkeys(("hr", "spo2", "temp", "sbp", "dbp", "glucose", "worn", "steps"), Channel.VITALS),
    **dict.fromkeys(("battery", "rssi", "mains"), Channel.HEARTBEAT),
    **dict.fromkeys(("motion", "room"), Channel.ACTIVITY),
}
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "hr": (0, 300),
    "spo2": (1.01, 255),  # what is less is a ratio
    "temp": (0, 60),
    "sbp": (0, 350),
    "dbp": (0, 300),
    "glucose": (0, 100),
    "steps": (0, 10_000_000),
    "battery": (0, 100),
    "rssi": (-200, 50),
    "seq": (0, 2**53),
    "confidence": (0, 1),
}
_WHOLE: Final = ("steps", "seq")
_LONGEST_ROOM: Final = 32

Convert = Callable[[Any], Any]
"""From a value as it stands to that of the contract, None for no reading; raises ValueError."""


class Field(NamedTuple):
    """A way to read a field: the slot of its value, what turns that into the contract's, and its bounds.

    `when` must hold; `again`: there is another way before it. `plain`: a number within the bounds, none of
    the codes for no reading, is what it says; `whole`: then if it is a whole number.
    """

    name: str
    slot: int
    channel: Channel | None
    convert: Convert
    when: tuple[Check, ...]
    again: bool
    bounds: tuple[float, float]
    codes: frozenset[float]
    plain: bool
    whole: bool = False


def field(name: str, value: Value, slot: int, when: tuple[Check, ...] = (), *, again: bool = False) -> Field:
    """Return a way to read a field."""
    channel = _CHANNELS.get(name)
    if name in ("worn", "mains", "motion"):
        truth = _truth(spellings(value.true) or TRUTHS, spellings(value.false) or LIES, spellings(value.none))
        return Field(name, slot, channel, truth, when, again, (0, 1), frozenset(), plain=False)
    if name == "room":
        return Field(name, slot, channel, _room, when, again, (0, 0), frozenset(), plain=False)
    factor, offset = unit_of(name, value.unit) or (1.0, 0.0)
    if value.full:
        factor = factor * 100 / value.full
    floor, roof = _RANGES[name]
    low, high = value.range or (floor, roof)
    low, high = max(low, floor), min(high, roof)
    none = spellings(value.none)
    codes = frozenset(NO_READING.get(name, ()))
    as_it_is = factor == 1 and not offset
    whole = name in _WHOLE

    def convert(raw: Any) -> float | None:  # noqa: ANN401 - JSON can be anything
        """Return a value in the contract's unit, None for no reading; raises ValueError."""
        if none and plain(raw) in none:
            return None
        measured = raw if type(raw) is int and -(2**53) < raw < 2**53 else number(raw)
        if measured is None or measured in codes:
            return None
        if not as_it_is:
            measured = round(measured * factor + offset, 3)
        if not low <= measured <= high:
            raise ValueError(f"{shown(measured)} is out of range")
        return int(measured) if whole else measured

    is_plain = as_it_is and not none
    return Field(name, slot, channel, convert, when, again, (low, high), codes, plain=is_plain, whole=whole)


def _truth(true: frozenset[str], false: frozenset[str], none: frozenset[str]) -> Convert:
    def convert(raw: Any) -> bool | None:  # noqa: ANN401 - JSON can be anything
        text = plain(raw)
        if text == "" or text in none:
            return None
        if text in true:
            return True
        if text in false:
            return False
        raise ValueError(neither(raw))

    return convert


def _room(raw: Any) -> str | None:  # noqa: ANN401 - JSON can be anything
    if raw is None or raw == "":
        return None
    if not isinstance(raw, str) or len(raw) > _LONGEST_ROOM or not raw.isprintable():
        raise ValueError(f"{shown(raw)} is no room")
    return raw
