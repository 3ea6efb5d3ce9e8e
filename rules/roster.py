"""What the registry says of devices, kept small: each column is of numbers, for each value that there is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rules.expression import Mask, Numbers
from rules.look import Index, Look
from rules.machine import Registered

_COLUMNS: Final = ("models", "heartbeat_seconds", "regions", "gateways", "care_levels")


class _Coded:
    """A column of n devices: `of` is the place of each device's value in `values`."""

    def __init__(self, nothing: Any) -> None:  # noqa: ANN401 - any value that can be a key
        self.values = {nothing: 0}
        self.of: npt.NDArray[np.int32] = np.zeros(0, np.int32)

    def put(self, ids: Index, values: Sequence[Any], size: int) -> None:
        if size > len(self.of):
            self.of.resize(size, refcheck=False)
        for each in set(values) - self.values.keys():
            self.values[each] = len(self.values)
        self.of[ids] = list(map(self.values.__getitem__, values))

    def all(self, ids: Index) -> "_Looked":
        return _Looked(list(self.values), self.of[ids])


class _Looked(Sequence[Any]):
    """Values by their places, made when they are asked for: a million of them take a tenth of a second."""

    def __init__(self, values: Sequence[Any], of: npt.NDArray[Any]) -> None:
        self._values, self._of = values, of

    def __len__(self) -> int:
        return len(self._of)

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401 - as of a list
        return self._values[self._of[place]]

    def __iter__(self) -> Iterator[Any]:
        return map(self._values.__getitem__, self._of.tolist())


class Roster:
    """Every device that was enrolled."""

    def __init__(self) -> None:
        self._columns = {name: _Coded(None if name == "heartbeat_seconds" else "") for name in _COLUMNS}
        self._limits = _Coded(())
        self._people: list[str] = []
        self._devices: list[str] = []
        self._is_enrolled = np.zeros(0, np.bool_)

    def put(self, devices: Registered, size: int) -> None:
        """Learn of devices, or anew of known ones; there is room for `size`."""
        ids = devices.device_ids
        for name, column in self._columns.items():
            column.put(ids, getattr(devices, name), size)
        own = [tuple(sorted(each.items())) if each else () for each in devices.thresholds]
        self._limits.put(ids, own, size)
        more = size - len(self._people)
        self._people += [""] * more
        self._devices += [""] * more
        if more > 0:
            self._is_enrolled.resize(size, refcheck=False)
        self._is_enrolled[ids] = True
        for device_id, person, device in zip(ids.tolist(), devices.people, devices.devices, strict=True):
            self._people[device_id], self._devices[device_id] = person, device

    def all(self) -> Registered:
        """Return every device that was put."""
        ids = np.flatnonzero(self._is_enrolled)
        columns = {name: column.all(ids) for name, column in self._columns.items()}
        return Registered(
            device_ids=ids,
            people=_Looked(self._people, ids),
            devices=_Looked(self._devices, ids),
            thresholds=_Looked([dict(each) for each in self._limits.values], self._limits.of[ids]),
            **columns,
        )

    def fits(self, scope: Mapping[str, Sequence[str]], ids: Index) -> Mask:
        """Say which of these devices fit every list of a scope, each by one of its entries."""
        fits = np.ones(len(ids), np.bool_)
        for key, wanted in scope.items():
            if key in {"person", "device"}:
                names, some = self._people if key == "person" else self._devices, frozenset(wanted)
                fits &= np.fromiter((names[each] in some for each in ids.tolist()), np.bool_, len(ids))
            else:
                column = self._columns[f"{key}s"]
                which = [_is_one_of(key, each, tuple(wanted)) for each in column.values]
                fits &= np.array(which)[column.of[ids]]
        return fits

    def limits(self, defaults: Mapping[str, float]) -> "Limits":
        """Return the thresholds of a file, beside those that people have of their own."""
        return Limits(defaults, self._limits)


class Limits:
    """Thresholds: of each name a default, and what people have of their own."""

    def __init__(self, defaults: Mapping[str, float], own: _Coded) -> None:
        self._defaults = {name: np.float64(value) for name, value in defaults.items()}
        self._own = own
        self._tables: dict[str, npt.NDArray[np.float64]] = {}

    def of(self, look: Look) -> Callable[[str], Numbers]:
        """Return what says a threshold of a look: one number for all, or one for each reading."""
        if len(self._own.values) == 1:
            return self._defaults.__getitem__
        which = self._own.of.take(look.device)
        return cache(lambda name: self._table(name)[which]) if which.any() else self._defaults.__getitem__

    def _table(self, name: str) -> npt.NDArray[np.float64]:
        found = self._tables.get(name)
        if found is None or len(found) < len(self._own.values):
            values = [dict(each).get(name, self._defaults[name]) for each in self._own.values]
            found = self._tables[name] = np.array(values, np.float64)
        return found


def _is_one_of(key: str, value: str, wanted: tuple[str, ...]) -> bool:
    return value.startswith(wanted) if key == "region" else value in wanted
