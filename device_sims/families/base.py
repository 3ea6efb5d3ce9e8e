"""What all families share: a day's agenda, presses, keeping what cannot be sent, messages that are cut off.

A family says what its device sends and when; it knows what rows and calls must come of each message.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from random import Random
from typing import ClassVar, Final

from device_sims.clocks import DeviceClock
from device_sims.knobs import Knobs
from device_sims.links import Link, Sending, Way
from device_sims.message import Message
from device_sims.people import HOUR, MINUTE, YEAR_DAYS, Day, Doing, Person, day_of, midnight, times
from device_sims.weather import Weather
from schemas.clock import SECOND

Act = Callable[[int], Iterable[Message]]
"""What a device does at a moment; it returns what it sends then."""
Agenda = Iterable[tuple[int, Act]]

_MORNING: Final = range(8, 11)
_NIGHT: Final = (*range(6), 22, 23)
_AT_NIGHT: Final = 0.3
"""How much rarer than by day presses are then (assumed)."""
_AFTER_FALL: Final = 0.5
"""Share of those who fell and can press (assumed)."""
_TRIES: Final = 8


@dataclass(frozen=True)
class Place:
    """What a device is given: its name, where it is, who has it, and how devices and people are."""

    name: str
    region: str
    person: Person
    knobs: Knobs
    weather: Weather
    seed: int
    start: int


class Device(ABC):
    """One simulated device."""

    family: ClassVar[str]
    model: ClassVar[str] = ""
    source: ClassVar[str] = ""
    """The mapping that reads it; empty: it speaks the contract."""
    prefix: ClassVar[str]
    zero: ClassVar[int] = 0
    """The moment from which a clock counts that was never set."""
    heartbeat_seconds: int = 600
    """The interval that the registry knows."""

    @classmethod
    def name_of(cls, number: int, prefix: str) -> str:
        """Return the name of a person's device."""
        return f"{prefix}{cls.prefix}-{number:05d}"

    def __init__(self, place: Place) -> None:
        """Draw what this one is like."""
        self.name, self.region = place.name, place.region
        self.person, self.knobs, self.weather = place.person, place.knobs, place.weather
        self.rng = rng = Random(f"{place.seed}/{place.name}")
        self._start = place.start
        self.clock = DeviceClock(rng, place.knobs, place.start, zero=self.zero)
        self.link = Link(rng, place.knobs, place.weather.outages)
        self._way = Way(rng, place.knobs, self.link)
        self._presses = rng.uniform(*place.knobs.presses) / YEAR_DAYS
        self._genuine = rng.uniform(*place.knobs.genuine)
        self._arranged = place.weather.arranged(rng)
        self._kept: list[Message] = []
        self.registered = rng.random() >= place.knobs.unregistered

    @abstractmethod
    def routine(self, day: Day) -> Agenda:
        """Return what the device does of itself on a day."""

    def press(self, moment: int, cause: str) -> Iterable[Message]:
        """Return what it sends when somebody presses: nothing, if it has no button."""
        del moment, cause
        return ()

    def can_press(self, moment: int, doing: Doing) -> bool:
        """Say whether whoever does this can reach it."""
        del moment
        return doing.at_home

    # ------------------------------------------------------------------------------------------ what it sends

    def sends(self, end: int) -> Iterator[Sending]:
        """Yield all publishes up to `end`, in order of their times."""
        return self._way.send(self._messages(end), end)

    def _messages(self, end: int) -> Iterator[Message]:
        """Yield the messages as they are ready, those that were kept when the link is back, or at the end."""
        for number in range(day_of(self._start), day_of(end - 1) + 1):
            day = self.person.day(number)
            agenda = [*self.routine(day), *self._calls(day)]
            backs = self.link.begin_day(day.begin, midnight(number + 1))
            agenda += [(back, self._tell_kept) for back in backs]
            due = [each for each in agenda if self._start <= each[0] < end]
            due.sort(key=itemgetter(0))
            for moment, act in due:
                messages = act(moment)
                if self.link.back_at(moment) > moment:
                    self._kept += messages
                else:
                    yield from map(self._perhaps_cut, messages)
        yield from self._tell_kept(end)

    def _tell_kept(self, moment: int) -> Iterator[Message]:
        kept, self._kept = self._kept, []
        for place, message in enumerate(self.late(kept)):
            yield replace(message, at=moment + place)

    def late(self, kept: list[Message]) -> Iterable[Message]:
        """Return what it sends of what it kept without a link: as a rule the same, all at once."""
        return kept

    def _perhaps_cut(self, message: Message) -> Message:
        if message.call or message.sure or message.dead or self.rng.random() >= self.knobs.broken:
            return message
        return self.cut(message)

    def cut(self, message: Message) -> Message:
        """Return a message of which only the beginning comes: of a JSON object nothing can be used then."""
        payload = message.payload[: self.rng.randrange(len(message.payload))]
        return replace(
            message, payload=payload, rows=(), state=None, dead=("not_json" if payload else "empty", True)
        )

    # ------------------------------------------------------------------------------------------------ presses

    def _calls(self, day: Day) -> Agenda:
        """Return when somebody presses on a day, and why."""
        rng = self.rng
        found = [each for each in self._arranged if day_of(each[0]) == day.number]
        heat = self.weather.heat(day.begin + 12 * HOUR)
        for _ in range(times(rng, self._presses * (heat.presses if heat else 1))):
            cause = "genuine" if rng.random() < self._genuine else "slip"
            found.append((self._moment_of_press(day), cause))
        found += [
            (fall + rng.randrange(MINUTE // 2, 5 * MINUTE), "genuine")
            for fall in day.falls
            if self.can_press(fall, Doing.LIE) and rng.random() < _AFTER_FALL
        ]
        for moment, cause in found:
            again = rng.randint(1, 3) if rng.random() < self.knobs.impatient else 0
            for n in range(1 + again):
                yield moment + n * rng.randrange(2 * SECOND, 8 * SECOND), partial(self.press, cause=cause)

    def _moment_of_press(self, day: Day) -> int:
        """Draw a moment of a day: by day rather than by night, and most likely in the morning."""
        moment = day.begin
        for _ in range(_TRIES):
            hour = self.rng.choices(range(24), [self._weight(hour) for hour in range(24)])[0]
            moment = day.begin + hour * HOUR + self.rng.randrange(HOUR)
            if self.can_press(moment, day.doing(moment)):
                break
        return moment

    def _weight(self, hour: int) -> float:
        if hour in _MORNING:
            return self.knobs.morning
        return _AT_NIGHT if hour in _NIGHT else 1.0

    # ---------------------------------------------------------------------------------------------- intervals

    def every(self, day: Day, minutes: float, act: Act) -> Agenda:
        """Return a strict interval over a day, begun anew at each midnight at a moment of its own."""
        period = max(SECOND, int(minutes * MINUTE))
        first = day.begin + self.rng.randrange(period)
        return [(moment, act) for moment in range(first, midnight(day.number + 1), period)]
