"""Named arrays over devices: grown in place, cut into pieces, the same objects for ever."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Column = tuple[npt.DTypeLike, Any]
"""The dtype of one device's value, and the value of a device of which nothing is known."""


class State:
    """Arrays over `size` devices; a device's number is its index in each.

    To grow is to reallocate, which moves no page of a big array. So whoever holds an array has it for ever,
    but a view of one (a slice, a column of a table) is good only until the next device is enrolled.
    """

    def __init__(self) -> None:
        self.size = 0
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._sparse: dict[str, dict[int, Any]] = {}
        self._empty: dict[str, Any] = {}

    def add(self, name: str, column: Column) -> npt.NDArray[Any]:
        """Return the array of this name, shape (size,) or (size, k); make it, empty, if there is none."""
        if name not in self._arrays:
            dtype, self._empty[name] = column
            array = self._arrays[name] = np.empty(self.size, dtype)
            array[:] = self._empty[name]
        return self._arrays[name]

    def drop(self, name: str) -> None:
        """Forget an array."""
        del self._arrays[name], self._empty[name]
        self._sparse.pop(name, None)

    def sparse(self, name: str) -> dict[int, Any]:
        """Return what is held beside an array of few devices, as JSON has it."""
        return self._sparse.setdefault(name, {})

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._arrays[name]

    def names(self) -> list[str]:
        """Return the names of all arrays."""
        return list(self._arrays)

    def grow(self, size: int) -> None:
        """Make room for `size` devices, and for a quarter more than there were."""
        known = self.size
        if size <= known:
            return
        self.size = max(size, known + known // 4)
        for name, array in self._arrays.items():
            array.resize((self.size, *array.shape[1:]), refcheck=False)
            array[known:] = self._empty[name]

    def clear(self, name: str) -> None:
        """Forget what an array says of all devices."""
        self._arrays[name][:] = self._empty[name]
        self._sparse.get(name, {}).clear()

    def take(self, devices: slice) -> dict[str, npt.NDArray[Any]]:
        """Return the rows of these devices in each array."""
        return {name: array[devices] for name, array in self._arrays.items()}

    def put(self, devices: slice, rows: Mapping[str, npt.NDArray[Any]]) -> set[str]:
        """Adopt rows; return the names of the arrays for which there are none, or none that fit."""
        missing = set()
        for name, array in self._arrays.items():
            if name in rows and rows[name].shape[1:] == array.shape[1:]:
                array[devices] = rows[name]
            else:
                missing.add(name)
        return missing

    def written(self, devices: range) -> dict[str, dict[str, Any]]:
        """Return what is held of some devices beside the arrays: name -> place in the range -> value."""
        return {
            name: {str(device - devices.start): held[device] for device in devices if device in held}
            for name, held in self._sparse.items()
            if held
        }

    def read(self, devices: range, written: Mapping[str, Mapping[str, Any]]) -> None:
        """Adopt what was written of these devices."""
        for name, held in self._sparse.items():
            for device in devices if held else ():
                held.pop(device, None)
            for place, value in written.get(name, {}).items():
                held[devices.start + int(place)] = value
