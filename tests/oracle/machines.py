"""Machines (docs/rules.md, section 4): what they remember of each device, by reading and by tick."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from schemas.alarms import KINDS, Class, Move, Severity
from tests.oracle.rules import Device, Found, Reading, duration, minute, wall

MINUTE: Final = 60_000_000
DAY: Final = 24 * 60 * MINUTE
PRESSES: Final = ("sos", "check_in", "test", "fall_cancelled")
LEARNED_FROM: Final = 20


class Machine:
    """What all machines have."""

    def __init__(self, number: int, table: dict[str, Any]) -> None:
        self.number = number
        self.kind: str = table["kind"]
        self.severity = Severity(table.get("severity", KINDS[self.kind].severity))

    def found(self, device: int, move: Move, at: int, severity: Severity | None = None) -> Found:
        """Return a decision of this machine."""
        return Found(device, self.kind, move, at, severity or self.severity, self.number)


class Fall(Machine):
    """Detected, then cancelled, confirmed, moving, or still immobile."""

    def __init__(self, number: int, table: dict[str, Any]) -> None:
        super().__init__(number, table)
        self._immobile = duration(table["immobile"])
        self._deadlines: dict[int, int] = {}
        self._fallen: set[int] = set()

    def overdue(self, device: int, now: int) -> Iterator[Found]:
        """Fire the timer of a device."""
        if self._deadlines.get(device, now + 1) <= now:
            yield self.found(device, Move.STEP, self._deadlines.pop(device), Severity.CRITICAL)

    def hear(self, reading: Reading, *, moved: bool) -> Iterator[Found]:
        """Judge a reading."""
        device, event = reading.device.number, reading.names.get("event")
        if event == "fall_detected":
            self._deadlines[device] = reading.at + self._immobile
            self._fallen.add(device)
            yield self.found(device, Move.RAISE, reading.at, Severity.HIGH)
            return
        if event == "fall_confirmed":
            self._fallen.add(device)
            yield self.found(device, Move.RAISE, reading.at, Severity.CRITICAL)
        elif event == "fall_cancelled" and device in self._fallen:
            self._fallen.remove(device)
            yield self.found(device, Move.CLEAR, reading.at)
        if moved or event in {"fall_confirmed", "fall_cancelled"}:
            self._deadlines.pop(device, None)

    def tick(self, now: int) -> Iterator[Found]:
        """Fire all timers."""
        for device in list(self._deadlines):
            yield from self.overdue(device, now)


@dataclass
class Life:
    """When a device was heard; `silent` is when its silence began, `again` when it was heard after it."""

    device: Device
    heard: int | None = None
    silent: int | None = None
    again: int | None = None
    gaps: int = 0
    mean: float = 0.0
    deviation: float = 0.0


class Silence(Machine):
    """Who should have been heard."""

    def __init__(self, number: int, table: dict[str, Any]) -> None:
        super().__init__(number, table)
        self._misses: int = table["misses"]
        self._interval = duration(table["interval"])
        self._models = {model: duration(text) for model, text in table.get("models", {}).items()}
        self._learn: bool = table.get("learn", False)
        self._steady = duration(table.get("steady", "0s"))
        self.lives: dict[int, Life] = {}

    def enrol(self, device: Device) -> None:
        """Learn of a device."""
        self.lives.setdefault(device.number, Life(device)).device = device

    def limit(self, life: Life) -> int:
        """Return for how long a device may say nothing."""
        device = life.device
        if device.heartbeat_seconds:
            interval = device.heartbeat_seconds * 1_000_000
        elif device.model in self._models:
            interval = self._models[device.model]
        elif self._learn and life.gaps >= LEARNED_FROM:
            least = max(MINUTE, self._interval // 10)
            interval = min(max(int(life.mean + 4 * life.deviation), least), DAY)
        else:
            interval = self._interval
        return self._misses * interval

    def is_silent(self, device: int) -> bool:
        """Say whether a silence was raised and has not cleared."""
        return device in self.lives and self.lives[device].silent is not None

    def overdue(self, device: int, now: int) -> Iterator[Found]:
        """Find a silence."""
        life = self.lives[device]
        if life.heard is None or now - life.heard <= self.limit(life):
            return
        life.again = None
        if life.silent is None:
            life.silent = life.heard + self.limit(life)
            yield self.found(device, Move.RAISE, life.silent)

    def hear(self, device: int, at: int) -> Iterator[Found]:
        """Note that a device lives."""
        life = self.lives[device]
        if life.heard is not None and 0 < at - life.heard <= DAY:
            self._follow(life, at - life.heard)
        life.heard = at if life.heard is None else max(at, life.heard)
        if life.silent is not None:
            life.again = at if life.again is None else life.again
            if at - life.again >= self._steady:
                life.silent = life.again = None
                yield self.found(device, Move.CLEAR, at)

    @staticmethod
    def _follow(life: Life, gap: int) -> None:
        life.gaps += 1
        if life.gaps == 1:
            life.mean = gap
            return
        error = gap - life.mean
        life.mean += error / 8
        life.deviation += (abs(error) - life.deviation) / 8

    def tick(self) -> list[int]:
        """Return all devices that were ever heard."""
        return [device for device, life in self.lives.items() if life.heard is not None]

    def forgive(self, now: int) -> None:
        """Count from now."""
        for life in self.lives.values():
            life.heard = None if life.heard is None else now


class Outage(Machine):
    """Areas that fell silent together."""

    _PLACES: Final = ("broker", "region6", "region9", "region12", "gateway")

    def __init__(self, number: int, table: dict[str, Any], silence: Silence) -> None:
        super().__init__(number, table)
        self._share: float = table["share"]
        self._least: int = table["least"]
        self._window = duration(table["window"])
        self._by = [place for place in self._PLACES if place in table["by"]]
        self._silence = silence
        self._out: dict[str, int] = {}  # areas, and when silences began that are not their own
        self._within: dict[str, str] = {}  # areas that are suppressed, and the larger one
        self._parents: dict[int, str] = {}  # devices whose silence is suppressed, and the area
        self._pending: dict[int, int] = {}  # those whose area ended, and when they are raised by themselves

    def areas(self, device: Device) -> list[str]:
        """Return the groups in which a device is, larger ones first."""
        found = []
        for place in self._by:
            if place == "broker":
                found.append("broker")
            elif place == "gateway":
                found += [f"gateway:{device.gateway}"] if device.gateway else []
            elif len(device.region) >= (digits := int(place.removeprefix("region"))):
                found.append(device.region[:digits])
        return found

    def hear(self, silences: list[Found]) -> Iterator[Found]:
        """Suppress silences in areas that are out, forget those that ended."""
        for each in silences:
            if each.move is Move.CLEAR:
                self._parents.pop(each.device, None)
                self._pending.pop(each.device, None)
            elif parent := self._parent(each.device):
                yield self._suppressed(each.device, parent, each.at)

    def _parent(self, device: int) -> str | None:
        areas = self.areas(self._silence.lives[device].device)
        return next((area for area in areas if area in self._out), None)

    def _suppressed(self, device: int, parent: str, at: int) -> Found:
        self._parents[device] = parent
        return self._of_silence(device, Move.SUPPRESS, at, parent)

    def _of_silence(self, device: int, move: Move, at: int, parent: str) -> Found:
        silence = self._silence.found(device, move, at)
        return silence._replace(parent=parent)

    def tick(self, now: int) -> Iterator[Found]:
        """Raise areas and end them."""
        for device, deadline in list(self._pending.items()):
            if now > deadline:
                del self._pending[device]
                yield self._of_silence(device, Move.UNSUPPRESS, deadline, self._parents.pop(device))
        yield from self._end(now)
        yield from self._begin(now)

    def _end(self, now: int) -> Iterator[Found]:
        ended = []
        for area, old in list(self._out.items()):
            members = self._members(area, old)
            silent = [life for life in members if life.silent is not None]
            if 2 * len(silent) < self._share * len(members):
                ended.append(area)
                del self._out[area]
                self._within.pop(area, None)
                yield self._of_area(area, Move.CLEAR, now)
                for life in silent:
                    if self._parents.get(life.device.number) == area:
                        self._pending[life.device.number] = now + self._silence.limit(life)
        for area, larger in list(self._within.items()):
            if larger in ended:
                del self._within[area]
                yield self._of_area(area, Move.UNSUPPRESS, now, larger)

    def _begin(self, now: int) -> Iterator[Found]:
        groups: dict[str, None] = {}
        for life in self._silence.lives.values():
            groups |= dict.fromkeys(self.areas(life.device))
        old = now - self._window
        for area in sorted(groups, key=self._size):
            members = self._members(area, old)
            silent = [life for life in members if life.silent is not None]
            enough = len(silent) >= self._least and len(silent) >= self._share * len(members)
            if not enough or any(self._is_within(area, larger) for larger in self._out):
                continue
            yield self._of_area(area, Move.RAISE, now)
            for smaller in self._out:
                if smaller not in self._within and self._is_within(smaller, area):
                    self._within[smaller] = area
                    yield self._of_area(smaller, Move.SUPPRESS, now, area)
            self._out[area] = old
            for life in silent:
                if life.device.number not in self._parents:
                    yield self._suppressed(life.device.number, area, now)

    def _size(self, area: str) -> tuple[int, str]:
        digits = "broker" if area == "broker" else "gateway" if ":" in area else f"region{len(area)}"
        return self._PLACES.index(digits), area

    def _members(self, area: str, old: int) -> list[Life]:
        """Return those of a group that were heard at all and not silent before a time."""
        return [
            life
            for life in self._silence.lives.values()
            if life.heard is not None
            and area in self.areas(life.device)
            and (life.silent is None or life.silent >= old)
        ]

    def _is_within(self, area: str, larger: str) -> bool:
        """Say whether all that were heard of a group, or of the group itself, are in one that is out."""
        return all(
            larger in areas
            for life in self._silence.lives.values()
            if life.heard is not None and area in (areas := self.areas(life.device))
        )

    def _of_area(self, area: str, move: Move, now: int, parent: str = "") -> Found:
        return self.found(-1, move, now)._replace(area=area, parent=parent)


class Inactivity(Machine):
    """Who has not moved for longer than the hour allows."""

    def __init__(self, number: int, table: dict[str, Any]) -> None:
        super().__init__(number, table)
        self._zone = ZoneInfo(table.get("zone", "Asia/Shanghai"))
        self._windows = [
            (*map(minute, hours.split("-")), duration(after)) for hours, after in table["after"].items()
        ]
        self._moved: dict[int, int] = {}
        self._heard: set[int] = set()  # since somebody could be heard
        self._active: set[int] = set()

    def hear(self, reading: Reading, *, moved: bool, alive: bool) -> Iterator[Found]:
        """Note life and movement."""
        device = reading.device.number
        if alive:
            self._heard.add(device)
        if moved or (alive and reading.names.get("event") in PRESSES):
            self._moved[device] = reading.at
            if device in self._active:
                self._active.remove(device)
                yield self.found(device, Move.CLEAR, reading.at)

    def tick(self, now: int, silence: Silence | None) -> Iterator[Found]:
        """Judge all that ever moved."""
        begun, after = self._window(now)
        for device, moved in self._moved.items():
            if device not in self._heard or (silence and silence.is_silent(device)):
                continue
            if after is not None and now - moved >= after and device not in self._active:
                self._active.add(device)
                yield self.found(device, Move.RAISE, max(begun, moved + after))

    def _window(self, now: int) -> tuple[int, int | None]:
        local = wall(now, self._zone)
        clock = local.hour * 60 + local.minute
        for begin, end, after in self._windows:
            if begin <= clock < end or (end <= begin and (clock >= begin or clock < end)):
                day = local.date() - timedelta(days=clock < begin)
                return moment(day, begin, self._zone), after
        return 0, None

    def forgive(self) -> None:
        """Judge only those that are heard again: what they held back comes first."""
        self._heard.clear()


class CheckIn(Machine):
    """Who has not said that all is well."""

    def __init__(self, number: int, table: dict[str, Any]) -> None:
        super().__init__(number, table)
        self._zone = ZoneInfo(table.get("zone", "Asia/Shanghai"))
        self._by, self._from = minute(table["by"]), minute(table.get("from", "00:00"))
        self._said: dict[int, int] = {}
        self._active: set[int] = set()
        self._judged = 0

    def hear(self, reading: Reading, *, alive: bool) -> Iterator[Found]:
        """Note a check-in."""
        device = reading.device.number
        if alive and reading.names.get("event") == "check_in":
            self._said[device] = reading.at
            if device in self._active:
                self._active.remove(device)
                yield self.found(device, Move.CLEAR, reading.at)

    def tick(self, now: int) -> Iterator[Found]:
        """Judge the day, once."""
        day = wall(now, self._zone).date()
        if moment(day, self._by, self._zone) > now:
            day -= timedelta(days=1)
        by = moment(day, self._by, self._zone)
        if by <= self._judged:
            return
        self._judged = by
        for device, said in self._said.items():
            if said < moment(day, self._from, self._zone):
                self._active.add(device)
                yield self.found(device, Move.RAISE, by)


class Chattering(Machine):
    """Whose alarm of one kind comes again and again."""

    def __init__(self, number: int, table: dict[str, Any]) -> None:
        super().__init__(number, table)
        self._cycles: int = table["cycles"]
        self._window, self._quiet = duration(table["window"]), duration(table["quiet"])
        self._raises: dict[tuple[int, str], list[int]] = {}
        self._active: dict[int, str] = {}  # the kind that made a device chatter

    def overdue(self, device: int, now: int) -> Iterator[Found]:
        """Find that a device is quiet."""
        if device in self._active:
            quiet = max(self._raises[device, self._active[device]]) + self._quiet
            if quiet <= now:
                del self._active[device]
                yield self.found(device, Move.CLEAR, quiet)

    def hear(self, transitions: list[Found]) -> Iterator[Found]:
        """Count what the other rules raised."""
        for each in transitions:
            counts = KINDS[each.kind].alarm_class is not Class.LIFE and each.kind != self.kind
            if each.move is not Move.RAISE or each.device < 0 or not counts:
                continue
            yield from self.overdue(each.device, each.at)
            raises = self._raises.setdefault((each.device, each.kind), [])
            raises.append(each.at)
            del raises[: -self._cycles]
            together = len(raises) == self._cycles and each.at - raises[0] <= self._window
            if together and each.device not in self._active:
                self._active[each.device] = each.kind
                yield self.found(each.device, Move.RAISE, each.at)

    def tick(self, now: int) -> Iterator[Found]:
        """Find who is quiet."""
        for device in list(self._active):
            yield from self.overdue(device, now)


def moment(day: Any, clock: int, zone: ZoneInfo) -> int:  # noqa: ANN401
    """Return when the clocks of a zone show so many minutes of a day."""
    return int(datetime.combine(day, time(clock // 60, clock % 60), zone).timestamp()) * 1_000_000
