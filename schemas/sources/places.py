"""Positions in a vendor's message, in WGS-84."""

from collections.abc import Callable
from typing import Any

from schemas.sources.datum import to_wgs84
from schemas.sources.mapping import Position
from schemas.sources.paths import Chain, getter
from schemas.sources.values import MISSING, number, shown

Locate = Callable[[Chain], dict[str, float]]
"""From a record to `lat` and `lon` in degrees, empty if it tells none; raises ValueError."""


def locator(position: Position) -> Locate:
    """Return what finds the position of a record; 0, 0 is none."""
    find = _finder(position)

    def locate(chain: Chain) -> dict[str, float]:
        raw = find(chain)
        if MISSING in raw:
            return {}
        lat, lon = map(number, raw)
        if lat is None or lon is None or (lat == 0 and lon == 0):
            return {}
        if not (-90 <= lat <= 90 and -180 <= lon <= 180):  # noqa: PLR2004 - degrees
            raise ValueError(f"{shown(lat)}, {shown(lon)} is nowhere")
        lat, lon = to_wgs84(lat, lon, position.datum)
        return {"lat": round(lat, 6), "lon": round(lon, 6)}

    return locate


def _finder(position: Position) -> Callable[[Chain], tuple[Any, Any]]:
    if position.path is None:
        lat, lon = getter(position.lat or ()), getter(position.lon or ())
        return lambda chain: (lat(chain), lon(chain))
    get, swapped = getter(position.path), position.order == "lon,lat"

    def split(chain: Chain) -> tuple[Any, Any]:
        raw = get(chain)
        if raw is MISSING or raw is None or raw == "":
            return MISSING, MISSING
        first, _, second = str(raw).partition(",")
        return (second, first) if swapped else (first, second)

    return split
