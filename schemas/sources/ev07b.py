"""The binary frames of EV07B pendants and their kin: a header with a checksum, then keys with their lengths.

0xAB, properties, length, CRC-16/XMODEM, sequence; command, then again and again length, key, value. Numbers
are little-endian. A frame counts if its checksum is right. In what is left, a call for help counts where
nothing but an alarm key can stand: docs/devices/ev07b.md says exactly when. Nothing is raised, the work is
bounded.
"""

import base64
import binascii
import re
import struct
from bisect import bisect_left
from collections.abc import Iterator
from datetime import tzinfo
from operator import attrgetter
from typing import Any, Final, NamedTuple

from schemas.readings import Event
from schemas.sources.notes import Notes, is_of_life
from schemas.sources.records import Said
from schemas.topics import Channel

_HEADER: Final = struct.Struct("<BBHHH")  # mark, properties, length, CRC, sequence
_MARK: Final = b"\xab"
_ENCRYPTED: Final = 0xC0
_DATA: Final = 0x01
_SIGNS_OF_LIFE: Final = frozenset({0x02, 0x03, 0x04, 0x06, 0x7E, 0x7F})
"""Commands that bring nothing for us: settings, services, control, log, firmware, answers."""

_ID, _ALARM, _POSITION, _STATE = 0x01, 0x02, 0x20, 0x24
_WORD: Final = 4  # bytes of a time, of an alarm word and of a state
_PLACE: Final = struct.Struct("<iiHHhH")  # lat, lon, speed, course, altitude, precision
_LISTS: Final = {0x30: ("steps", 4, (8,)), 0x40: ("hr", 1, (6, 5)), 0x41: ("spo2", 1, (6, 5))}
"""Keys that hold values, each behind its time: the field, its bytes, and how many both may take. The sixth
byte of a pulse tells how sure it is; not all firmwares send it."""
_BROKEN: Final = -1  # stands for a key whose length is wrong
_KNOWN: Final = frozenset({_ID, _ALARM, _POSITION, _STATE})
_ID_DIGITS: Final = re.compile(rb"[0-9]{15}")

_BITS: Final = (
    (1 << 12, Event.SOS),
    (1 << 2, Event.FALL_DETECTED),
    (1 << 3 | 1 << 11 | 1 << 13 | 1 << 14 | 1 << 18 | 1 << 19, Event.UNKNOWN_ALARM),
    (1 << 24, Event.AREA_LEFT),
    (1 << 25, Event.AREA_ENTERED),
    (1 << 0, Event.LOW_BATTERY),
)
"""The alarm word, the most urgent first. Tilt, no motion, the two side keys, amber and welfare are alarms for
which there is no kind."""
_AREAS: Final = tuple((1 << 4 + area, 1 << 26 + area) for area in range(4))
"""For each area the bit that it was left, or entered if the other one is set too."""
_ARCHIVED: Final = 1 << 7
_BATTERY: Final = 24  # the bit from which on a state tells the charge in %

_FILLER: Final = b" \t\r\n\0"
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_SENDER: Final = re.compile(rb"\x10\x01([0-9]{15})")
"""Length, key and id: how data begin, and nothing else."""
_ALARM_KEY: Final = re.compile(rb"[\x05\x09\x0d]\x02(?=(.{1,4})(.{0,4}))", re.DOTALL)
"""The key of alarms, its word and its time; of a word that is cut the bits that came are true."""
_MOST_BITS: Final = 4  # an alarm word has one or two
_TIMES: Final = range(1_420_070_400, 2_524_608_000)  # 2015 to 2050, epoch seconds

_LONGEST_LIST: Final = 7 * 86_400
"""Seconds between the first and the last value of one list."""
_ATTEMPTS: Final = 256
"""Checksums of one payload that may be wrong; what comes behind is looked through for calls for help only."""
_NEAR: Final = 600
"""Seconds: a state this near to an event tells where that was, and whether it is an old one."""
_DEGREES: Final = 1e7
_FARTHEST_NORTH: Final = 90
_FARTHEST_EAST: Final = 180


class _State(NamedTuple):
    """A general state at a time in epoch seconds, and the position that came with it."""

    time: int
    word: int
    place: dict[str, float]

    @property
    def is_late(self) -> bool:
        """Say whether it could not be sent in time."""
        return bool(self.word & _ARCHIVED)


_time_of = attrgetter("time")


def read(payload: bytes, zone: tzinfo, topic_id: str = "") -> Said:  # noqa: ARG001 - its times are UTC
    """Return what a payload of any number of frames says, which may be written in hexadecimal or Base64."""
    notes = Notes()
    data = _binary(payload)
    done = 0
    for start, end in _frames(data):
        _note_rest(notes, data[done:start], topic_id)
        _read_frame(notes, data[start:end], topic_id)
        done = end
    _note_rest(notes, data[done:], topic_id)
    if not notes.said.records and not notes.said.faults:
        notes.fault("bad_message" if payload.strip(_FILLER) else "empty", "")
    return notes.said


def _binary(payload: bytes) -> bytes:
    """Return the bytes that a text stands for; the payload itself if it is none."""
    if _MARK in payload:
        return payload
    digits = payload.translate(None, _FILLER + b":-").lower().replace(b"0x", b"")
    if not digits.strip(b"0123456789abcdef"):
        return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
    text = payload.translate(_FROM_URL, _FILLER).rstrip(b"=")
    text = text[:-1] if len(text) % 4 == 1 else text
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return payload
    return data if _MARK in data else payload


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where frames begin and end whose checksum is right."""
    view = memoryview(data)
    at = wrong = 0
    while (start := data.find(_MARK, at)) >= 0 and wrong < _ATTEMPTS:
        at = start + 1
        body = start + _HEADER.size
        if body >= len(data):
            return
        _, _, size, crc, _ = _HEADER.unpack_from(data, start)
        if not size or body + size > len(data):
            continue
        if binascii.crc_hqx(view[body : body + size], 0) == crc:
            at = body + size
            yield start, at
        else:
            wrong += 1


def _read_frame(notes: Notes, frame: bytes, topic_id: str) -> None:
    properties, command, body = frame[1], frame[_HEADER.size], frame[_HEADER.size + 1 :]
    sender = _SENDER.match(body)
    if properties & _ENCRYPTED and not sender:
        notes.fault("bad_message", "encrypted")
        _note_calls(notes, body, topic_id)
    elif command == _DATA:
        _Data(notes, body, topic_id).tell()
    elif command in _SIGNS_OF_LIFE:
        notes.alive(sender[1].decode() if sender else topic_id)
    else:
        notes.fault("unknown_channel", f"command {command:#04x}")
        _note_calls(notes, body, topic_id)


class _Data:
    """What one frame of data brings."""

    def __init__(self, notes: Notes, body: bytes, topic_id: str) -> None:
        """Take the keys one by one; a position belongs to the state before it."""
        self._notes = notes
        self._device = topic_id
        self._alarms: list[tuple[int, int]] = []  # the word and its time
        self._states: list[_State] = []
        self._values: dict[int, dict[str, float | None]] = {}  # by time
        for key, value in _keys(notes, body):
            size = len(value)
            if key == _ID and _ID_DIGITS.fullmatch(value):
                self._device = value.decode()
            elif key == _ALARM and size >= _WORD:
                self._alarms.append((_number(value[:_WORD]), _number(value[_WORD : 2 * _WORD])))
            elif key == _STATE and size >= 2 * _WORD:
                self._states.append(_State(_number(value[:_WORD]), _number(value[_WORD : 2 * _WORD]), {}))
            elif key == _POSITION and size >= _PLACE.size:
                if self._states:
                    self._states[-1].place.update(_place(notes, value))
            elif key in _LISTS:
                self._take_list(key, value)
            elif key == _BROKEN:
                _rescue(notes, value, self._device, is_signed=True)
            elif key in _KNOWN:
                notes.fault("bad_field", f"key {key:#04x}: {value.hex()[:60]}")
        self._states.sort(key=_time_of)

    def _take_list(self, key: int, value: bytes) -> None:
        name, width, sizes = _LISTS[key]
        fitting = [each for each in sizes if len(value) % each == 0]
        size = next((each for each in fitting if len(fitting) == 1 or _are_times(value, each)), 0)
        if not size:
            self._notes.fault("bad_field", f"{name}: {value.hex()[:60]}")
            return
        for at in range(0, len(value), size):
            behind = at + _WORD
            found = _number(value[behind : behind + width])
            self._values.setdefault(_number(value[at:behind]), {})[name] = found

    def tell(self) -> None:
        """Note it: alarms first, then what was measured, then the states."""
        notes, device, told = self._notes, self._device, False
        for word, time in self._alarms:
            late, place = self._beside(time)
            for event in _events(word):
                source = {"source": "button"} if event is Event.SOS else {}
                notes.event(device, event, {**_ts(time), **source}, place, late=late)
                told = True
        for time, values in self._values.items():
            late, _ = self._beside(time)
            told |= notes.reading(device, Channel.VITALS, _ts(time), values, late=late)
        for state in self._states:
            battery = {"battery": state.word >> _BATTERY}
            told |= notes.reading(device, Channel.HEARTBEAT, _ts(state.time), battery, late=state.is_late)
        if not told:
            notes.alive(device)

    def _beside(self, time: int) -> tuple[bool, dict[str, float]]:
        """Say whether something of a time is an old one and where it was, if a state near to it tells."""
        at = bisect_left(self._states, time, key=_time_of)
        near = [each for each in self._states[max(0, at - 1) : at + 1] if abs(each.time - time) <= _NEAR]
        if not time and len(self._states) == 1:
            near = self._states
        if not near:
            return False, {}
        state = min(near, key=lambda each: abs(each.time - time))
        return state.is_late, state.place


def _keys(notes: Notes, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield keys and their values; what comes with a length that makes no sense is the value of `_BROKEN`."""
    at = 0
    while at < len(body):
        end = at + 1 + body[at]
        if not body[at] or end > len(body):
            notes.fault("bad_message", f"a key of {body[at]} bytes where {len(body) - at - 1} are left")
            yield _BROKEN, body[at:]
            return
        yield body[at + 1], body[at + 2 : end]
        at = end


def _are_times(value: bytes, size: int) -> bool:
    """Say whether what begins each entry of a list are times: then they are near to each other."""
    times = [_number(value[at : at + _WORD]) for at in range(0, len(value), size)]
    return not times or max(times) - min(times) <= _LONGEST_LIST


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _ts(time: int) -> dict[str, Any]:
    return {"ts": time * 1000} if time else {}


def _events(word: int) -> list[Event]:
    """Return what an alarm word tells, each once."""
    events = [event for bits, event in _BITS if word & bits]
    for area, entered in _AREAS:
        if word & area:
            events.append(Event.AREA_ENTERED if word & entered else Event.AREA_LEFT)
    return list(dict.fromkeys(events))


def _place(notes: Notes, value: bytes) -> dict[str, float]:
    """Return a position by satellite; without a precision there was no fix."""
    north, east, _, _, _, precision = _PLACE.unpack_from(value)
    lat, lon = north / _DEGREES, east / _DEGREES
    if not precision or not (lat or lon):
        return {}
    if abs(lat) > _FARTHEST_NORTH or abs(lon) > _FARTHEST_EAST:
        notes.fault("bad_field", f"position {lat}, {lon} is nowhere")
        return {}
    return {"lat": lat, "lon": lon}


def _note_rest(notes: Notes, rest: bytes, topic_id: str) -> None:
    """Note what is no frame, and the calls for help in it."""
    if rest.strip(_FILLER):
        notes.fault("bad_message", f"no frame with a right checksum: {rest[:30].hex()}")
        _note_calls(notes, rest, topic_id)


def _note_calls(notes: Notes, rest: bytes, topic_id: str) -> None:
    """Note the calls for help in what cannot be read otherwise."""
    device, begin = topic_id, 0
    for sender in _SENDER.finditer(rest):
        _rescue(notes, rest[begin : sender.start()], device, is_signed=begin > 0)
        device, begin = sender[1].decode(), sender.end()
    _rescue(notes, rest[begin:], device, is_signed=begin > 0)


def _rescue(notes: Notes, text: bytes, device: str, *, is_signed: bool) -> None:
    """Note the calls for help in bytes that stand behind the id of a sender, or behind none."""
    found: dict[Event, dict[str, Any]] = {}
    for key in _ALARM_KEY.finditer(text):
        word, time = _number(key[1]), _number(key[2])
        is_sane = len(key[2]) == _WORD and time in _TIMES
        is_cut = is_signed and len(key[2]) < _WORD
        is_plain = word.bit_count() <= _MOST_BITS
        at_its_place = is_signed and key.start() == 0
        if len(key[1]) < _WORD and not at_its_place:
            continue
        if (is_plain and (is_sane or is_cut)) or (at_its_place and (is_plain or is_sane)):
            for event in _events(word):
                if is_of_life(event):
                    found.setdefault(event, _ts(time) if is_sane else {})
    for event, fields in found.items():
        notes.event(device, event, fields, readable=False)
