"""Outage of an area: so many of its devices fell silent together that it is one cause and one alarm."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rules.durations import DAY, Interval
from rules.expression import Mask
from rules.look import Index, Ints, Look
from rules.machine import PER_TICK, Delta, Found, Registered
from rules.machines.base import Base, Settings, within
from rules.machines.silence import Silence
from rules.state import Column, State
from schemas.alarms import Move, Severity, Transition

Place = Literal["broker", "region6", "region9", "region12", "gateway"]
PLACES: Final = get_args(Place)
"""What devices can have in common, larger groups first."""
_DIGITS: Final = {"region6": 6, "region9": 9, "region12": 12}
_GATEWAY: Final = "gateway:"
_LONG_AGO: Final = 1
_COLUMNS: Final[dict[str, Column]] = {
    "place": (np.int8, 0),
    "old": (np.int64, 0),
    "larger": (np.int8, 0),
    "under": (np.int8, 0),
    "due": (np.int64, 0),
}


class OutageSettings(Settings):
    """`share` of a group's devices, and at least `least` of them, silent since at most `window`."""

    share: Annotated[float, Field(strict=True, gt=0, le=1)]
    least: Annotated[int, Field(strict=True, ge=2, le=10_000_000)]
    window: Annotated[Interval, Field(le=DAY)]
    by: Annotated[frozenset[Place], Field(min_length=1)]


@dataclass
class _Area:
    """A group that is out: silences that began before `old` are not its own; device `slot` remembers it.

    `within` is the place of the larger area for which its alarm is suppressed, 0 for none.
    """

    place: int
    group: int
    old: int
    slot: int
    within: int = 0


_Areas = dict[tuple[int, int], _Area]
"""By place and group, larger ones first."""


class _Groups:
    """The groups of one kind of place: the number of each, and of the one in which each device is.

    Number 0 is for devices that are in none.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._numbers = {"": 0}
        self._heard = np.zeros(0, np.int64)
        self._heard_of = -1
        self.names = [""]
        self.of = np.zeros(0, np.int32)

    def enrol(self, devices: Registered, size: int) -> None:
        """Put devices into their groups; there are `size` devices in all."""
        self.of.resize(max(size, len(self.of)), refcheck=False)
        texts = devices.gateways if self._place == "gateway" else devices.regions
        numbers = self._numbers
        known = {text: numbers.setdefault(self._area(text), len(numbers)) for text in dict.fromkeys(texts)}
        self.of[devices.device_ids] = list(map(known.__getitem__, texts))
        self.names = list(numbers)
        self._heard_of = -1

    def _area(self, text: str) -> str:
        """Return the area for a region, or for a gateway; "" for none."""
        if self._place == "broker":
            return "broker"
        if self._place == "gateway":
            return _GATEWAY + text if text else ""
        digits = _DIGITS[self._place]
        return text[:digits] if len(text) >= digits else ""

    def count(self, devices: Index) -> Ints:
        """Return how many of these devices are in each group; nobody counts as in none."""
        count = np.bincount(self.of[devices], minlength=len(self.names))
        count[0] = 0
        return count

    def heard(self, ever: "_Heard") -> Ints:
        """Return how many devices of each group were ever heard."""
        if self._heard_of != ever.count:
            self._heard, self._heard_of = self.count(np.flatnonzero(ever.base)), ever.count
        return self._heard


class _Heard:
    """The devices that were ever heard: nobody is unheard again, so as many of them are the same."""

    def __init__(self, base: Ints) -> None:
        """Keep when each was heard, 0 for never."""
        self.base = base

    @cached_property
    def count(self) -> int:
        """Return how many there are."""
        return int(np.count_nonzero(self.base))


@dataclass
class _Silent:
    """The devices that are silent at a tick, each column of shape (n,).

    Since when; under which place and until when, as in Outage; whether it was told. Changed as the tick goes.
    `ever` are all that were heard at all.
    """

    device: Index
    began: Ints
    under: npt.NDArray[np.int8]
    due: Ints
    told: Mask
    ever: _Heard


class Outage(Base):
    """Judges groups at ticks; while one is out, the silence of its devices does not stand before staff.

    `place` (from 1), `old` and `larger` of one device of an area remember that it is out, so that the areas
    are known from the arrays alone. `under` is the place of the area for which a silence is suppressed, 0 for
    none, negative until that was told; `due` is when that ends because the area is out no more.
    """

    name: ClassVar[str] = "outage"
    _place: npt.NDArray[np.int8]
    _old: Ints
    _larger: npt.NDArray[np.int8]
    _under: npt.NDArray[np.int8]
    _due: Ints
    _silence: Silence

    def __init__(self, settings: OutageSettings, kind: str, severity: Severity, number: int) -> None:
        super().__init__(kind, severity, number)
        self._settings = settings
        self.fingerprint = " ".join([self.name, *(place for place in PLACES if place in settings.by)])
        self._groups = {i: _Groups(place) for i, place in enumerate(PLACES, 1) if place in settings.by}

    @classmethod
    def read(cls, entry: Mapping[str, Any], kind: str, severity: Severity, number: int) -> "Outage":
        """Check the settings; raises ValidationError."""
        return cls(OutageSettings.model_validate(entry), kind, severity, number)

    def meet(self, silence: Silence | None) -> None:
        """Learn who knows which devices are silent; a file that has an outage has a silence."""
        if silence is not None:
            self._silence = silence

    def columns(self) -> dict[str, Column]:
        """Return which areas are out and whose silence is suppressed."""
        return {f"{self.fingerprint}.{name}": column for name, column in _COLUMNS.items()}

    def bind(self, state: State) -> None:
        """Adopt the arrays."""
        self._place, self._old, self._larger, self._under, self._due = (
            state[name] for name in self.columns()
        )

    def enrol(self, devices: Registered) -> None:
        """Put devices into their groups; the areas that are out stay so, whoever leaves them."""
        are_new = any(not len(groups.of) for groups in self._groups.values())
        areas = {} if are_new else self._areas()
        for groups in self._groups.values():
            groups.enrol(devices, len(self._place))
        if any(self._groups[place].of[area.slot] != group for (place, group), area in areas.items()):
            kept: _Areas = {}
            for key, area in areas.items():
                if (self._groups[area.place].of == area.group).any():
                    kept[key] = replace(area, slot=self._slot(*key, kept))
            self._restore(kept)

    # --------------------------------------------------------------------------------------------- the areas

    def _areas(self) -> _Areas:
        """Return the areas that are out."""
        found: _Areas = {}
        for slot in np.flatnonzero(self._place).tolist():
            place, old, within = (int(array[slot]) for array in (self._place, self._old, self._larger))
            group = int(self._groups[place].of[slot])
            found[place, group] = _Area(place, group, old, slot, within)
        return dict(sorted(found.items(), key=lambda each: (each[0][0], self._name(*each[0]))))

    def _remember(self, areas: Iterable[_Area], delta: Delta) -> None:
        """Let the arrays tell which areas are out."""
        before = np.flatnonzero(self._place)
        delta.updates.append((self._place, before, np.zeros(len(before), np.int8)))
        for area in areas:
            slot = np.array([area.slot])
            delta.updates += [
                (self._place, slot, np.array([area.place], np.int8)),
                (self._old, slot, np.array([area.old])),
                (self._larger, slot, np.array([area.within], np.int8)),
            ]

    def _name(self, place: int, group: int) -> str:
        return self._groups[place].names[group]

    def _area_of(self, place: int, device: int) -> str:
        return self._name(place, int(self._groups[place].of[device]))

    def _explain(self, silences: Sequence[Found]) -> Iterator[tuple[Found, int]]:
        """Yield each of these decisions with the place of the largest area that explains it, 0 for none."""
        areas = self._areas() if any(said.move is Move.RAISE for _, said in silences) else {}
        places = [(place, self._groups[place].of) for place in sorted({place for place, _ in areas})]
        for each in silences:
            device = each[1].device_id
            yield each, next((place for place, of in places if (place, int(of[device])) in areas), 0)

    def _suppressed(self, row: int, device: int, place: int, at: int) -> Found:
        return self._silence.said(row, device, Move.SUPPRESS, at, parent=self._area_of(place, device))

    def _shown(self, row: int, device: int, place: int, at: int) -> Found:
        return self._silence.said(row, device, Move.UNSUPPRESS, at, parent=self._area_of(place, device))

    # ---------------------------------------------------------------------------------------------- readings

    def see(self, look: Look, delta: Delta) -> list[Found]:  # noqa: ARG002 - silence has looked
        """Suppress silences that began in an area that is out, forget those that ended."""
        found = []
        under = {}
        for (row, said), place in self._explain(self._silence.news):
            is_raise = said.move is Move.RAISE
            under[said.device_id] = place if is_raise else 0
            if is_raise and place:
                found.append(self._suppressed(row, said.device_id, place, said.at))
        if under:
            devices = np.array(list(under), np.intp)
            places = np.array(list(under.values()), np.int8)
            none = np.zeros(len(under), np.int64)
            delta.updates += [(self._under, devices, places), (self._due, devices, none)]
        return found

    # ------------------------------------------------------------------------------------------------- ticks

    def tick(self, now: int, scan: bool, delta: Delta) -> list[Found]:  # noqa: FBT001 - as a batch says it
        """End areas, raise others, and hide and show what they explain."""
        if not scan:
            return []
        devices, began = self._silence.silent()
        areas = self._areas()
        if not len(devices) and not areas:
            return []
        told = self._silence.began[devices] != 0
        silent = _Silent(
            devices, began, self._under[devices], self._due[devices], told, _Heard(self._silence.base)
        )
        found = self._follow(silent)
        found += self._show(silent, now, PER_TICK - len(found))
        moved = self._end(silent, areas, now) + self._begin(silent, areas, now)
        if moved:
            self._remember(areas.values(), delta)
        found += moved + self._hide(silent, now, PER_TICK - len(found))
        delta.updates += [(self._under, devices, silent.under), (self._due, devices, silent.due)]
        return found

    def _follow(self, silent: _Silent) -> list[Found]:
        """Suppress the silences of this very tick that began in an area that is out."""
        found = []
        news = [(said.device_id, place, said.at) for (_, said), place in self._explain(self._silence.news)]
        if news:
            device, under, _ = np.array(news).T
            rows = np.searchsorted(silent.device, device)
            silent.told[rows], silent.under[rows], silent.due[rows] = True, under, 0
            found = [self._suppressed(0, device, place, at) for device, place, at in news if place]
        return found

    def _show(self, silent: _Silent, now: int, most: int) -> list[Found]:
        """Let silences be seen that outlasted their area for long enough."""
        rows = _earliest((silent.due != 0) & (silent.due < now), silent.due, most)
        columns = (silent.device[rows], silent.under[rows], silent.due[rows])
        found = [self._shown(0, *each) for each in zip(*(each.tolist() for each in columns), strict=True)]
        silent.under[rows], silent.due[rows] = 0, 0
        return found

    def _hide(self, silent: _Silent, now: int, most: int) -> list[Found]:
        """Tell what is suppressed since its area is out."""
        rows = _earliest(silent.under < 0, silent.began, most)
        silent.under[rows] *= -1
        pairs = zip(silent.device[rows].tolist(), silent.under[rows].tolist(), strict=True)
        return [self._suppressed(0, device, place, now) for device, place in pairs]

    def _end(self, silent: _Silent, areas: _Areas, now: int) -> list[Found]:
        """End areas of which enough was heard again; what they explained has one more limit to speak."""
        found = []
        for key, area in list(areas.items()):
            groups = self._groups[area.place]
            began = silent.began[groups.of[silent.device] == area.group]
            own = int(np.count_nonzero(began >= area.old))
            of = int(groups.heard(silent.ever)[area.group]) - (len(began) - own)
            if 2 * own < self._settings.share * of:
                del areas[key]
                found.append(self._said_of(area, Move.CLEAR, now, own, of))
        for area in areas.values():
            if area.within and (area.within, int(self._groups[area.within].of[area.slot])) not in areas:
                found.append(self._moved(area, Move.UNSUPPRESS, now, self._area_of(area.within, area.slot)))
                area.within = 0
        waits = (silent.under != 0) & (silent.due == 0)
        for place in np.unique(abs(silent.under[waits])).tolist():
            out = [area.group for area in areas.values() if area.place == place]
            rows = np.flatnonzero(waits & (abs(silent.under) == place))
            rows = rows[~np.isin(self._groups[place].of[silent.device[rows]], out)]
            limits = now + self._silence.limits(silent.device[rows])
            silent.due[rows] = np.where(silent.under[rows] > 0, limits, 0)
            silent.under[rows] = np.maximum(silent.under[rows], 0)
        return found

    def _begin(self, silent: _Silent, areas: _Areas, now: int) -> list[Found]:
        """Raise areas of which enough fell silent within the window, larger ones first."""
        found = []
        old = now - self._settings.window
        recent = silent.began >= old
        for place, groups in self._groups.items():
            own = groups.count(silent.device[recent])
            if own.max(initial=0) < self._settings.least:
                continue
            of = groups.heard(silent.ever) - groups.count(silent.device[~recent])
            enough = (own >= self._settings.least) & (own >= self._settings.share * of)
            enough[[area.group for area in areas.values() if area.place == place]] = False
            if enough.any():
                for area in areas.values():
                    enough &= ~self._inside(groups, area, silent.ever)
            for group in sorted(np.flatnonzero(enough).tolist(), key=groups.names.__getitem__):
                area = _Area(place, group, old, self._slot(place, group, areas))
                found.append(self._said_of(area, Move.RAISE, now, int(own[group]), int(of[group])))
                found += self._take_in(area, areas, silent.ever, now)
                areas[place, group] = area
                explained = recent & silent.told & (silent.under == 0) & (groups.of[silent.device] == group)
                silent.under[explained] = -place
        return found

    def _inside(self, groups: _Groups, area: _Area, ever: _Heard) -> Mask:
        """Say of which groups all that were ever heard are in an area."""
        inside = np.flatnonzero(self._groups[area.place].of == area.group)
        return np.asarray(groups.count(inside[ever.base[inside] != 0]) == groups.heard(ever))

    def _take_in(self, area: _Area, areas: _Areas, ever: _Heard, now: int) -> list[Found]:
        """Suppress the outages that one explains which comes after them."""
        found = []
        for smaller in areas.values():
            if not smaller.within and self._inside(self._groups[smaller.place], area, ever)[smaller.group]:
                smaller.within = area.place
                name = self._name(area.place, area.group)
                found.append(self._moved(smaller, Move.SUPPRESS, now, name))
        return found

    def _slot(self, place: int, group: int, areas: _Areas) -> int:
        """Choose the device that remembers an area: one that was heard and does not remember another."""
        taken = {area.slot for area in areas.values()}
        members = np.flatnonzero(self._groups[place].of == group)
        heard = members[self._silence.base[members] != 0].tolist()
        return next((device for device in heard if device not in taken), int(members[0]))

    def _said_of(self, area: _Area, move: Move, at: int, silent: int, of: int) -> Found:
        name = self._name(area.place, area.group)
        return self.said(0, -1, move, at, area=name, values={"silent": silent, "of": of})

    def _moved(self, area: _Area, move: Move, at: int, larger: str) -> Found:
        return self.said(0, -1, move, at, area=self._name(area.place, area.group), parent=larger)

    # ---------------------------------------------------------------------------------------------- restores

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """Let the alarms say which areas are out and what is suppressed.

        An area of which only the alarm is remembered ends when enough of it is heard.
        """
        out = self._areas().items()
        areas = {key: area for key, area in out if held.get(f"{self.kind}:{self._name(*key)}")}
        for area in areas.values():
            if area.within and (area.within, int(self._groups[area.within].of[area.slot])) not in areas:
                area.within = 0
        for place, groups in self._groups.items():
            for group, name in enumerate(groups.names):
                if held.get(f"{self.kind}:{name}") and (place, group) not in areas:
                    areas[place, group] = _Area(place, group, _LONG_AGO, self._slot(place, group, areas))
        self._restore(areas)
        self._suppress(within(held.get("suppressed", []), self._under), areas.values())

    def _restore(self, areas: _Areas) -> None:
        delta = Delta()
        self._remember(areas.values(), delta)
        delta.apply()

    def _suppress(self, devices: Index, areas: Iterable[_Area]) -> None:
        """Know whose silence is suppressed; where no area explains it, it will be shown."""
        is_suppressed = np.zeros(len(self._under), np.bool_)
        is_suppressed[devices] = True
        is_suppressed &= self._silence.began != 0
        self._under[~is_suppressed & ((self._under > 0) | (self._silence.began == 0))] = 0
        self._due[~is_suppressed] = 0
        for area in areas:
            inside = is_suppressed & (self._groups[area.place].of == area.group)
            self._under[inside & (self._under == 0)] = area.place
            self._due[inside & (abs(self._under) == area.place)] = 0
        lost = is_suppressed & (self._under == 0)
        for place, groups in self._groups.items():
            self._under[lost & (self._under == 0) & (groups.of != 0)] = place
        np.abs(self._under, where=is_suppressed, out=self._under)

    def withdraw(self, now: int) -> list[Transition]:
        """Return the clears of all areas, and let all be seen that they explained."""
        hidden = np.flatnonzero(self._under > 0)
        shown = [
            self._shown(0, *each, now)[1]
            for each in zip(hidden.tolist(), self._under[hidden].tolist(), strict=True)
        ]
        areas = [self._name(*key) for key in self._areas()]
        return shown + [self.said(0, -1, Move.CLEAR, now, area=area)[1] for area in areas]


def _earliest(some: Mask, times: Ints, most: int) -> Index:
    """Return at most so many of some rows, those of the earliest times."""
    rows = np.flatnonzero(some)
    return rows if len(rows) <= most else rows[np.argsort(times[rows], kind="stable")[: max(most, 0)]]
