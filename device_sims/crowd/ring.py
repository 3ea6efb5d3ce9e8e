"""Packet ids: which are free, and whom each of the others bears, for thousands at a time.

A PUBACK is believed once only, and only for an id that is in flight.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from device_sims.stamp import Ints

CAPACITY: Final = 65_535
"""How many can be in flight: MQTT 5 section 2.2.1 leaves out 0."""

_PLACES: Final = CAPACITY + 1
_FREE: Final = -1


class Ring:
    """Ids are taken in the order in which they were given back, so that none comes again soon."""

    def __init__(self) -> None:
        self._free = np.arange(1, _PLACES + 1, dtype=np.int64)
        self._head, self._tail = 0, CAPACITY
        self._bearers = np.full(_PLACES, _FREE, np.int64)
        self._turn = np.zeros(_PLACES, np.int64)

    def take(self, bearers: Ints) -> Ints:
        """Return an id for each of these numbers, which are not negative; there must be as many free."""
        ids = self._free[(self._head + np.arange(len(bearers))) % _PLACES]
        self._head += len(bearers)
        self._bearers[ids] = bearers
        return ids

    def bearers(self, ids: Ints) -> Ints:
        """Return the number that each id was taken for; -1: it is not in flight."""
        return self._bearers[ids]

    def borne(self, bearers: Ints) -> Ints:
        """Return all ids in flight of these numbers."""
        return np.flatnonzero(np.isin(self._bearers, bearers))

    def once(self, ids: Ints) -> npt.NDArray[np.bool_]:
        """Say of each whether it is in flight, but of an id that stands there twice only once."""
        turns = np.arange(len(ids))
        self._turn[ids] = turns
        once: npt.NDArray[np.bool_] = (self._bearers[ids] != _FREE) & (self._turn[ids] == turns)
        return once

    def give_back(self, ids: Ints) -> Ints:
        """Free ids that are in flight, each once; return the numbers that they were taken for."""
        bearers = self._bearers[ids]
        self._bearers[ids] = _FREE
        self._free[(self._tail + np.arange(len(ids))) % _PLACES] = ids
        self._tail += len(ids)
        return bearers
