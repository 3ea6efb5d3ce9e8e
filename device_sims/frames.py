"""Frames as SeTracker watches and EV07B pendants send them, from values. Times in microseconds since 1970.

Written from the formats (docs/devices), not from the decoders: a mistake in one is not repeated in the other.
"""

import struct
from collections.abc import Iterable
from datetime import UTC
from typing import Final

from schemas.clock import SECOND, to_datetime

SETRACKER_SOS: Final = 1 << 16
SETRACKER_LOW_BATTERY: Final = 1 << 17
SETRACKER_AREA_LEFT: Final = 1 << 18
SETRACKER_AREA_ENTERED: Final = 1 << 19
SETRACKER_REMOVED: Final = 1 << 20
SETRACKER_FALL: Final = 1 << 21

EV07B_LOW_BATTERY: Final = 1
EV07B_FALL: Final = 1 << 2
EV07B_SOS: Final = 1 << 12
EV07B_SIDE_KEYS: Final = (1 << 13, 1 << 14)

_ARCHIVED = 1 << 7
_CRC_POLYNOMIAL = 0x1021  # CRC-16/XMODEM
_CELLS = "1,1,460,1,9529,21809,158"  # how many, timing advance, country, network, area, cell, strength

Place = tuple[float, float]
"""Latitude and longitude in degrees, WGS-84."""


# ------------------------------------------------------------------------------------------------- SeTracker


def setracker_frame(device: str, content: str, *, maker: str = "3G", index: int | None = None) -> bytes:
    """Return a frame; newer watches count theirs in `index`."""
    body = content.encode()
    counted = "" if index is None else f"*{index:04d}"
    return f"[{maker}*{device}{counted}*{len(body):04X}*".encode() + body + b"]"


def setracker_link(device: str, *, battery: int, steps: int = 0) -> bytes:
    """Return the sign of life of every 5 to 8 minutes; `battery` in %, `steps` since the first day."""
    return setracker_frame(device, f"LK,{steps},0,{battery}")


def setracker_position(
    device: str,
    at: int,
    *,
    command: str = "UD_LTE",
    status: int = 0,
    battery: int = 100,
    steps: int = 0,
    place: Place | None = None,
) -> bytes:
    """Return a position report: UD as a rule, UD2 for one that could not be sent in time, AL for an alarm.

    `status` is the word of 32 bits; without a `place` there is no fix.
    """
    when = to_datetime(at).astimezone(UTC).strftime("%d%m%y,%H%M%S")
    lat, lon = place or (0.0, 0.0)
    where = (
        f"{'A' if place else 'V'},{abs(lat):.6f},{'S' if lat < 0 else 'N'},{abs(lon):.6f},"
        f"{'W' if lon < 0 else 'E'}"
    )
    satellites = 9 if place else 0
    content = (
        f"{command},{when},{where},0.0,0.0,0.0,{satellites},100,{battery},{steps},0,{status:08X},{_CELLS},0"
    )
    return setracker_frame(device, content)


def setracker_heart(device: str, hr: int) -> bytes:
    """Return a pulse in bpm; 0 where the watch found none."""
    return setracker_frame(device, f"heart,{hr}")


def setracker_pressure(device: str, sbp: int, dbp: int, hr: int) -> bytes:
    """Return a blood pressure in mmHg and a pulse in bpm; 0 for what could not be measured."""
    return setracker_frame(device, f"bphrt,{sbp},{dbp},{hr},,,,")


def setracker_oxygen(device: str, spo2: int) -> bytes:
    """Return an oxygen saturation in %, measured by the wearer's own wish."""
    return setracker_frame(device, f"oxygen,0,{spo2}")


def setracker_temperature(device: str, temp: float) -> bytes:
    """Return a temperature of the wrist in degC."""
    return setracker_frame(device, f"btemp2,1,{temp:.2f}")


# ----------------------------------------------------------------------------------------------------- EV07B


def ev07b_frame(device: str, *keys: bytes, sequence: int = 0, command: int = 1) -> bytes:
    """Return a frame of a device, which is 15 digits, with these keys; command 1 brings data."""
    body = bytes([command]) + b"".join((ev07b_key(0x01, device.encode()), *keys))
    return struct.pack("<BBHHH", 0xAB, 0x10, len(body), _crc(body), sequence & 0xFFFF) + body


def ev07b_key(key: int, value: bytes) -> bytes:
    """Return a key with its length before it."""
    return bytes([len(value) + 1, key]) + value


def ev07b_alarm(at: int, word: int) -> bytes:
    """Return what happened: the alarm word of 32 bits."""
    return ev07b_key(0x02, struct.pack("<II", word, at // SECOND))


def ev07b_status(at: int, *, battery: int, archived: bool = False) -> bytes:
    """Return the general state, of which every position is part; `archived`: it could not be sent in time."""
    word = battery << 24 | (_ARCHIVED if archived else 0)
    return ev07b_key(0x24, struct.pack("<II", at // SECOND, word))


def ev07b_position(place: Place) -> bytes:
    """Return a position by satellite: it stands behind the status of the same moment."""
    lat, lon = (round(each * 10_000_000) for each in place)
    return ev07b_key(0x20, struct.pack("<iiHHhHIB", lat, lon, 0, 0, 30, 12, 0, 9))


def ev07b_heart(measured: Iterable[tuple[int, int]]) -> bytes:
    """Return pulses in bpm, each with its time; 0 and 1 where there was none."""
    return ev07b_key(0x40, b"".join(struct.pack("<IBB", at // SECOND, hr, 100) for at, hr in measured))


def ev07b_oxygen(measured: Iterable[tuple[int, int]]) -> bytes:
    """Return oxygen saturations in %, each with its time; 0 and 1 where there was none."""
    return ev07b_key(0x41, b"".join(struct.pack("<IBB", at // SECOND, spo2, 100) for at, spo2 in measured))


def ev07b_steps(counted: Iterable[tuple[int, int]]) -> bytes:
    """Return counts of steps, each with its time."""
    return ev07b_key(0x30, b"".join(struct.pack("<II", at // SECOND, steps) for at, steps in counted))


def _crc(body: bytes) -> int:
    """Return the checksum bit by bit, as the pendant's own chip does."""
    crc = 0
    for byte in body:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (_CRC_POLYNOMIAL if crc & 0x8000 else 0)) & 0xFFFF
    return crc
