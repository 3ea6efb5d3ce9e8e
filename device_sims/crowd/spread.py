"""How times are spread: percentiles of however many, in the same memory."""

from typing import Final

import numpy as np

from device_sims.crowd.turns import Floats

_TO_DOUBLE: Final = 64
"""Buckets from a time to its double: each is 1 % wide."""
_DOUBLINGS: Final = 30
_SHORTEST: Final = 1e-6


class Spread:
    """Counts times in buckets, from a microsecond to a quarter of an hour."""

    def __init__(self) -> None:
        self._counts = np.zeros(_TO_DOUBLE * _DOUBLINGS, np.int64)
        self._longest = 0.0

    def add(self, seconds: Floats) -> None:
        """Count times."""
        if len(seconds):
            self._longest = max(self._longest, float(seconds.max()))
            buckets = (np.log2(np.maximum(seconds / _SHORTEST, 1.0)) * _TO_DOUBLE).astype(np.int64)
            last = len(self._counts) - 1
            self._counts += np.bincount(np.minimum(buckets, last), minlength=last + 1)

    def quantile(self, part: float) -> float:
        """Return the time in seconds, to 1 % above, that this part of all did not exceed; 0 of none."""
        reached = np.cumsum(self._counts)
        bucket = int(np.searchsorted(reached, max(1.0, part * float(reached[-1]))))
        above: float = _SHORTEST * 2.0 ** ((bucket + 1) / _TO_DOUBLE)
        return min(self._longest, above)

    def milliseconds(self) -> dict[str, float]:
        """Return p50, p90, p99 and max."""
        parts = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        return {name: round(self.quantile(part) * 1000, 3) for name, part in parts.items()}
