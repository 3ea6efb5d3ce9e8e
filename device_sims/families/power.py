"""Batteries, by time alone: how full one is can be asked of any moment."""

from random import Random
from typing import Final

from device_sims.people import DAY

_EMPTY: Final = 8.0
_CHARGING_HOURS: Final = 2.0


class Battery:
    """It goes down evenly from one charge, or new battery, to the next."""

    def __init__(self, rng: Random, days: float) -> None:
        """`days` are what a charge lasts; the first one began at a moment drawn."""
        self._days = max(0.5, days)
        self._phase = rng.random() * self._days

    def _since(self, moment: int) -> float:
        return (moment / DAY + self._phase) % self._days

    def level(self, moment: int) -> float:
        """Return the charge in per cent, with one decimal."""
        return round(100.0 - (100.0 - _EMPTY) * self._since(moment) / self._days, 1)

    def is_charging(self, moment: int) -> bool:
        """Say whether it lies on the charger, which takes two hours."""
        return self._since(moment) * 24 < _CHARGING_HOURS
