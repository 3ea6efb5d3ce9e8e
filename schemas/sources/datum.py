"""Chinese map coordinates to WGS-84: GCJ-02, by which maps in China are shifted, and BD-09, shifted again.

The shift of GCJ-02 was never published; the formula is the one that became public in 2010 as EvilTransform
and agrees with official maps within a metre or two. It is inverted by iteration, below a centimetre.
"""

import math
from typing import Final

_AXIS: Final = 6378245.0  # metres, Krasovsky 1940
_FLATNESS: Final = 0.00669342162296594323  # its squared eccentricity
_CHINA: Final = (0.8293, 55.8271, 72.004, 137.8347)  # lat and lon within which the shift applies
_ROUNDS: Final = 6
_BAIDU: Final = math.pi * 3000 / 180

Position = tuple[float, float]
"""Latitude and longitude in degrees."""


def to_wgs84(lat: float, lon: float, datum: str) -> Position:
    """Return a position of datum wgs84, gcj02 or bd09 in WGS-84, degrees."""
    if datum == "bd09":
        lat, lon = _bd09_to_gcj02(lat, lon)
    return (lat, lon) if datum == "wgs84" else _gcj02_to_wgs84(lat, lon)


def to_gcj02(lat: float, lon: float) -> Position:
    """Return a position of WGS-84 in GCJ-02, degrees; outside China they are the same."""
    south, north, west, east = _CHINA
    if not (south <= lat <= north and west <= lon <= east):
        return lat, lon
    x, y = lon - 105.0, lat - 35.0
    waves = (20 * math.sin(6 * x * math.pi) + 20 * math.sin(2 * x * math.pi)) * 2 / 3
    up = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * math.sqrt(abs(x)) + waves
    up += (20 * math.sin(y * math.pi) + 40 * math.sin(y / 3 * math.pi)) * 2 / 3
    up += (160 * math.sin(y / 12 * math.pi) + 320 * math.sin(y * math.pi / 30)) * 2 / 3
    across = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * math.sqrt(abs(x)) + waves
    across += (20 * math.sin(x * math.pi) + 40 * math.sin(x / 3 * math.pi)) * 2 / 3
    across += (150 * math.sin(x / 12 * math.pi) + 300 * math.sin(x / 30 * math.pi)) * 2 / 3
    angle = math.radians(lat)
    bend = 1 - _FLATNESS * math.sin(angle) ** 2
    metres_up = _AXIS * (1 - _FLATNESS) / (bend * math.sqrt(bend))
    metres_across = _AXIS / math.sqrt(bend) * math.cos(angle)
    return lat + math.degrees(up / metres_up), lon + math.degrees(across / metres_across)


def _gcj02_to_wgs84(lat: float, lon: float) -> Position:
    found_lat, found_lon = lat, lon
    for _ in range(_ROUNDS):
        shown_lat, shown_lon = to_gcj02(found_lat, found_lon)
        found_lat, found_lon = found_lat - (shown_lat - lat), found_lon - (shown_lon - lon)
    return found_lat, found_lon


def to_bd09(lat: float, lon: float) -> Position:
    """Return a position of GCJ-02 in BD-09, degrees."""
    length = math.hypot(lon, lat) + 0.00002 * math.sin(lat * _BAIDU)
    angle = math.atan2(lat, lon) + 0.000003 * math.cos(lon * _BAIDU)
    return length * math.sin(angle) + 0.006, length * math.cos(angle) + 0.0065


def _bd09_to_gcj02(lat: float, lon: float) -> Position:
    found_lat, found_lon = lat - 0.006, lon - 0.0065
    for _ in range(_ROUNDS):
        shown_lat, shown_lon = to_bd09(found_lat, found_lon)
        found_lat, found_lon = found_lat - (shown_lat - lat), found_lon - (shown_lon - lon)
    return found_lat, found_lon
