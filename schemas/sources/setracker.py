"""SeTracker text frames, `[MF*ID*LLLL*CONTENT]`, as most 4G watches for children and elders send them.

Rules of this file: nothing is raised, and the work grows with the payload and no faster. The declared length
is believed where a frame ends there, and nowhere else. A call for help is read from what is whole of a frame;
a number that merely stands where the status word should is never taken for it.

Read after the vendors' protocol texts and what other decoders found in the field: docs/devices/setracker.md.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from schemas.readings import Event
from schemas.sources.notes import Notes, is_of_life
from schemas.sources.records import Said
from schemas.sources.values import number
from schemas.topics import Channel

IGNORED: Final = "setracker:media"
"""Why a message of voice or pictures only is ignored."""

_MEDIA: Final = frozenset({"TK", "TKQ", "TKQ2", "JXTK", "IMG"})
_GREETINGS: Final = frozenset({"INIT", "CONFIG", "ICCID", "RYIMEI"})
"""What a watch says of itself: it lives, and nothing else in it is for us."""

_VALUES: Final[dict[str, tuple[Channel, dict[str, int]]]] = {
    "HEART": (Channel.VITALS, {"hr": 0}),
    "PULSE": (Channel.VITALS, {"hr": 0}),
    "BPHRT": (Channel.VITALS, {"sbp": 0, "dbp": 1, "hr": 2}),
    "BLOOD": (Channel.VITALS, {"sbp": 0, "dbp": 1, "hr": 2}),
    "OXYGEN": (Channel.VITALS, {"spo2": 1}),
    "BTEMP2": (Channel.VITALS, {"temp": 1}),
    "TEMP": (Channel.VITALS, {"temp": 0}),
}
"""Where each value stands behind its command; oxygen and btemp2 say first how they were measured."""

_LINK_VALUES: Final = 3  # steps, tumbles, battery; firmwares that send fewer mean other things by them

_BITS: Final = (
    (1 << 16, Event.SOS, "sos"),
    (1 << 21, Event.FALL_DETECTED, "fall"),
    (1 << 22, Event.FALL_DETECTED, "fall_22"),  # a state of its own: some makers mean an abnormal pulse
    (1 << 20, Event.REMOVED, "removed"),
    (1 << 1 | 1 << 18, Event.AREA_LEFT, "area_left"),
    (1 << 2 | 1 << 19, Event.AREA_ENTERED, "area_entered"),
    (1 << 0 | 1 << 17, Event.LOW_BATTERY, "low_battery"),
    (1 << 14, Event.MAINS_LOST, "mains_lost"),
)
"""The status word: the lower half tells states, the upper half alarms. The most urgent come first."""
_SHORT: Final = 4  # digits of the words of older watches: the lower half only
_UNNAMED: Final = 0xFF80_0000
"""Bits of the upper half for which no text has a name."""

_HEAD: Final = re.compile(
    r"\[\s{0,9}[0-9A-Za-z]{1,4}\s{0,9}\*\s{0,9}([0-9 ]{5,24})\*(?:[0-9A-Fa-f ]{1,9}\*)?"
    r"\s{0,9}([0-9A-Fa-f]{0,8})\s{0,9}\*"
    r"(?=\s{0,9}[A-Za-z])",
    re.ASCII,
)
_BRACKET: Final = re.compile(r"[\[\]]")
_AFTER: Final = re.compile(r"[\s\x00]*(?:\[|\Z)", re.ASCII)
_BLANKS: Final = dict.fromkeys(map(ord, " \t\r\n\v\f\0"))
_LOOSE_ID: Final = re.compile(r"(?<![0-9])[0-9]{10}(?:[0-9]{5})?(?![0-9])")

_REPORT: Final = re.compile(
    r"([0-9]{6}),([0-9]{6}),([AV]),"
    r"(-?[0-9]{0,3}\.?[0-9]{0,12}|null),([NS]?),(-?[0-9]{0,3}\.?[0-9]{0,12}|null),([EW]?),"
    r"(?:(?:-?[0-9]{0,9}\.?[0-9]{0,9}|null),){5}([0-9]{0,9}|null),([0-9]{0,9}|null),"
    r"(?:(?:[0-9]{0,9}|null),|[0-9]{1,4}(?=00[0-9A-F]{6}(?:,|\Z)))"
    r"((?:[0-9A-F]{4}){1,2}(?=,|\Z)|00[0-9A-F]{6}(?=[0-9]{1,3}(?:,|\Z)))",
    re.IGNORECASE,
)
"""Date, time, fix, latitude, longitude; speed, course, altitude, satellites, signal; battery, steps, tumbles,
status. A number may be null. A long status word may have lost the comma on either side."""
_WORD: Final = re.compile(r"(?<![0-9A-F.:])00[0-9A-F]{6}(?![0-9A-F:]|\.[0-9])", re.IGNORECASE)
"""A status word of 8 digits in a report of another shape: no alarm stands in its highest byte."""
_WORD_IN_PLACE: Final = re.compile(
    r"(?<![^,])[0-9]{1,3},(?:100|[0-9]{1,2}),(?:100|[0-9]{1,2}),[0-9]{1,8},[0-9]{1,6},"
    r"(00[0-9A-F]{6})(?![0-9A-F:]|\.[0-9])",
    re.IGNORECASE,
)
"""The same behind satellites, signal, battery, steps and tumbles, as nothing else in a frame stands."""

_NUMBERS_BEFORE: Final = re.compile(r"(?<![^,])(?:[0-9]{1,8},){1,3}\Z")
_NUMBERS_AFTER: Final = re.compile(r"(?:,[0-9]{1,8}(?![^,])){1,4}")
_FIX: Final = re.compile(r",[AVNSEW],", re.IGNORECASE)
_IN_A_REPORT: Final = 2
_ANYWHERE: Final = 4
"""How many whole numbers must stand beside a status word that is not in its place."""

_CENTURY: Final = 2000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FARTHEST_NORTH: Final = 90
_FARTHEST_EAST: Final = 180


class _Frame(NamedTuple):
    """A frame as it was found, or what stands between frames: then without an id.

    Not `closed`: its end is missing, so its last field may be half of one. `quoted`: it stands inside another
    frame, whose length says that it is a part of it, such as the name of somebody's Wi-Fi.
    """

    device: str
    content: str
    closed: bool = True
    quoted: bool = False


def read(payload: bytes, zone: tzinfo, topic_id: str = "") -> Said:
    """Return what a payload of any number of frames says; times in them are those of `zone`."""
    notes = Notes()
    skipped = False
    for frame in _frames(payload.decode("latin-1")):  # what counts is ASCII; names may be GBK or UTF-8
        if not frame.device:
            notes.fault("bad_message", f"no frame: {frame.content.strip()!r:.60}")
            _rescue(notes, _loose_id(frame.content) or topic_id, frame.content.translate(_BLANKS), _ANYWHERE)
        else:
            skipped |= _read_frame(notes, zone, frame)
    said = notes.said
    if not said.records and not said.faults:
        if skipped:
            said.ignored = IGNORED
        else:
            notes.fault("empty", "")
    return said


def _frames(text: str) -> Iterator[_Frame]:
    """Yield frames, and what stands outside of them, in their order."""
    at = closing = 0
    while head := _HEAD.search(text, at):
        yield from _loose(text[at : head.start()])
        device, inside = head[1].translate(_BLANKS), head.end()
        at = inside + int(head[2] or "0", 16)
        if at > inside and text[at : at + 1] == "]" and _AFTER.match(text, at + 1):
            yield _Frame(device, text[inside:at])
            for inner in _HEAD.finditer(text, inside, at):
                bracket = _BRACKET.search(text, inner.end(), at + 1)
                end = bracket.start() if bracket else at
                yield _Frame(inner[1].translate(_BLANKS), text[inner.end() : end], quoted=True)
            at += 1
            continue
        if closing < inside:  # one that lies ahead is not sought again
            closing = text.find("]", inside)
            closing = len(text) if closing < 0 else closing
        following = _HEAD.search(text, inside, closing)
        end = following.start() if following else closing
        closed = text[end : end + 1] == "]"
        yield _Frame(device, text[inside:end], closed or end == at)
        at = end + closed
    yield from _loose(text[at:])


def _loose(text: str) -> Iterator[_Frame]:
    if text.translate(_BLANKS).strip("[]"):
        yield _Frame("", text)


def _loose_id(text: str) -> str:
    found = _LOOSE_ID.search(text.partition(",")[0])
    return found[0] if found else ""


def _read_frame(notes: Notes, zone: tzinfo, frame: _Frame) -> bool:
    """Note what one frame says; say whether it is one of those that are passed over."""
    command, _, rest = frame.content.translate(_BLANKS).partition(",")
    command = command.upper()
    if command in _MEDIA:
        return True
    if command.startswith(("UD", "AL", "WT")):
        _read_report(notes, zone, frame, command, rest)
        return False
    if frame.quoted:
        return False
    if not frame.closed:
        notes.fault("bad_message", f"{command[:20]} without an end")
        rest = rest.rpartition(",")[0]
    fields = rest.split(",") if rest else []
    if command == "LK":
        _read_link(notes, frame.device, fields)
    elif command in _VALUES:
        _read_values(notes, frame.device, command, fields)
    elif command in _GREETINGS:
        notes.alive(frame.device)
    else:
        notes.fault("unknown_channel", f"command {command[:20]!r}")
        _rescue(notes, frame.device, rest, _ANYWHERE if _FIX.search(rest) else 0)
    return False


def _read_link(notes: Notes, device: str, fields: list[str]) -> None:
    battery = steps = None
    if len(fields) >= _LINK_VALUES:
        steps, battery = _value(notes, "steps", fields[0]), _value(notes, "battery", fields[2])
    notes.reading(device, Channel.HEARTBEAT, {}, {"battery": battery})
    notes.reading(device, Channel.VITALS, {}, {"steps": steps})


def _read_values(notes: Notes, device: str, command: str, fields: list[str]) -> None:
    channel, places = _VALUES[command]
    values = {
        name: _value(notes, name, fields[place]) for name, place in places.items() if place < len(fields)
    }
    if fields and not values:
        notes.fault("bad_field", f"{command}: {','.join(fields)!r:.60}")
    if not notes.reading(device, channel, {}, values):
        notes.alive(device)


def _read_report(notes: Notes, zone: tzinfo, frame: _Frame, command: str, rest: str) -> None:
    """Note a report of position: its state, its alarms, and what stands beside them."""
    found = _REPORT.match(rest)
    if not found or _is_doubtful(found, frame):
        if not frame.quoted:
            notes.fault("bad_message", f"{command[:20]} cannot be read: {rest!r:.60}")
            _rescue(notes, frame.device, rest, _IN_A_REPORT, command)
        return
    if not frame.closed:
        notes.fault("bad_message", f"{command[:20]} without an end")
    date, time, fix, lat, north, lon, east, battery, steps, word = found.groups()
    common = _time(notes, zone, date + time)
    place = _place(notes, lat, north, lon, east) if fix.upper() == "A" else {}
    late = command.startswith("UD2")
    _note_word(notes, frame.device, command, int(word, 16), common=common, place=place)
    values = {"battery": _value(notes, "battery", battery)}
    notes.reading(frame.device, Channel.HEARTBEAT, common, values, late=late)
    values = {"steps": _value(notes, "steps", steps)}
    notes.reading(frame.device, Channel.VITALS, common, values, late=late)


def _is_doubtful(found: re.Match[str], frame: _Frame) -> bool:
    """Say whether what stands in the place of the status word may be half of one, or another number."""
    is_short = len(found[10]) == _SHORT
    if is_short and not frame.closed and found.end() == len(found.string):
        return True
    return (is_short or not found[10].startswith("00")) and bool(_WORD.search(found.string))


def _note_word(
    notes: Notes, device: str, command: str, word: int, *, common: dict[str, Any], place: dict[str, float]
) -> None:
    """Note what a status word tells: events in an alarm, states in any other report.

    A report that could not be sent in time does not end a state: newer ones have come before it.
    """
    late = command.startswith("UD2")
    if not command.startswith("AL"):
        for bits, event, name in _BITS:
            if word & bits or not late:
                state, on = f"setracker.{name}", bool(word & bits)
                notes.event(device, event, common, place if on else None, late=late, state=state, on=on)
        return
    events = dict.fromkeys(event for bits, event, _ in _BITS if word & bits)
    if not events or word & _UNNAMED:
        events[Event.UNKNOWN_ALARM] = None
    for event in events:
        notes.event(device, event, common, place)


def _rescue(notes: Notes, device: str, text: str, enough: int = 0, command: str = "") -> None:
    """Note the alarms of what cannot be read, if a status word stands where only that can.

    Or if `enough` whole numbers are beside one, for it stands among them. In a report, whose `command` is
    known, every alarm counts, else those of life; and an alarm without any word is one all the same.
    """
    words = _WORD_IN_PLACE.findall(text)
    if not words and enough:
        words = _likeliest(text, enough)
    events = dict.fromkeys(
        event
        for bits, event, _ in _BITS
        if (command or is_of_life(event)) and any(int(word, 16) & bits for word in words)
    )
    if command.startswith("AL") and not events:
        events[Event.UNKNOWN_ALARM] = None
    for event in events:
        notes.event(device, event, {}, readable=False)


def _likeliest(text: str, enough: int) -> list[str]:
    """Return the word that has most whole numbers beside it, the first of them, if it has enough."""
    best, words = enough - 1, []
    for found in _WORD.finditer(text):
        before = _NUMBERS_BEFORE.search(text, max(0, found.start() - 27), found.start())
        after = _NUMBERS_AFTER.match(text, found.end())
        count = sum(each[0].count(",") for each in (before, after) if each)
        if count > best:
            best, words = count, [found[0]]
    return words


def _value(notes: Notes, name: str, text: str) -> float | None:
    try:
        found = number(None if text.lower() == "null" else text)
    except ValueError as error:
        notes.fault("bad_field", f"{name}: {error}")
        return None
    return int(found) if found is not None and found == int(found) else found


def _time(notes: Notes, zone: tzinfo, text: str) -> dict[str, Any]:
    """Return the time of ddmmyyhhmmss as `ts`; nothing where the watch did not know it."""
    day, month, year, hour, minute, second = (int(text[at : at + 2]) for at in range(0, 12, 2))
    if not (day or month):
        return {}
    try:
        moment = datetime(_CENTURY + year, month, day, hour, minute, second, tzinfo=zone)
        return {"ts": (moment - _EPOCH) // timedelta(milliseconds=1)}
    except (ValueError, OverflowError) as error:
        notes.fault("bad_field", f"time {text}: {error}")
        return {}


def _place(notes: Notes, lat: str, north: str, lon: str, east: str) -> dict[str, float]:
    """Return a position; some firmwares put the sign before the number, some tell the side, some both."""
    up, right = _value(notes, "lat", lat), _value(notes, "lon", lon)
    if up is None or right is None or not (up or right):
        return {}
    up = -abs(up) if north.upper() == "S" else up
    right = -abs(right) if east.upper() == "W" else right
    if abs(up) > _FARTHEST_NORTH or abs(right) > _FARTHEST_EAST:
        notes.fault("bad_field", f"position {up}, {right} is nowhere")
        return {}
    return {"lat": up, "lon": right}
