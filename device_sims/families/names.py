"""Names and numbers that vendors' devices bear."""

import zlib
from typing import Final

from schemas.clock import SECOND

YEAR_2000: Final = 946_684_800 * SECOND
"""Where clocks begin whose years have two digits."""


def imei(maker: int, number: int, prefix: str) -> str:
    """Return 15 digits: three of a maker, five of a run's prefix, seven of the device."""
    return f"{maker:03d}{zlib.crc32(prefix.encode()) % 100_000 if prefix else 0:05d}{number:07d}"
