"""What all wearables have in common: they are worn or not, lie about it, measure badly, and see falls."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple

from device_sims.families.base import Act, Agenda, Device, Place
from device_sims.families.power import Battery
from device_sims.message import Entry, Message
from device_sims.people import DAY, HOUR, MINUTE, Body, Day, Doing, day_of, times

NO_READING: Final = (0, 1, 254, 255)
"""Codes by which devices say that they have none."""
_ERROR_TO_SIGMA: Final = 1.2533
"""Of a normal distribution: standard deviation over mean absolute error."""
_LOWEST, _HIGHEST = 35, 190


class Sample(NamedTuple):
    """What a wearable shows: pulse in bpm, oxygen in %, temperature in degrees, steps of the day."""

    hr: int
    spo2: int
    temp: float
    steps: int
    worn: bool


class Wearable(Device):
    """A band, a watch, a pendant."""

    def __init__(self, place: Place) -> None:
        """Draw its interval, its battery and how nervous it is about falls."""
        super().__init__(place)
        knobs, rng = self.knobs, self.rng
        self.minutes = rng.uniform(*knobs.heartbeat)
        self.heartbeat_seconds = round(self.minutes * 60)
        self._vitals_minutes = knobs.vitals * rng.randint(*map(round, knobs.vitals_multiple))
        self.battery = Battery(rng, rng.uniform(*knobs.battery))
        self._false_falls = rng.uniform(*knobs.false_falls)
        self._body = Body(self.person, rng)
        self._sampled = self._start

    def can_press(self, moment: int, doing: Doing) -> bool:
        """Say whether it is on the wrist."""
        day = self.person.day(day_of(moment))
        return self.is_worn(moment, day, doing)

    def is_worn(self, moment: int, day: Day, doing: Doing) -> bool:
        """Say whether it is on the wrist: not on the charger, in the bath, in a drawer, nor all nights."""
        person = self.person
        if person.leaves_it(day.number) or self.battery.is_charging(moment):
            return False
        if person.always_wears:
            return True
        return doing is not Doing.BATH and (doing is not Doing.SLEEP or person.wears_at_night)

    def says_worn(self, *, worn: bool) -> bool:
        """Return the wear flag, which is sometimes wrong."""
        return worn is not (self.rng.random() < self.knobs.wear_lies)

    def measuring(self, day: Day, act: Act) -> Agenda:
        """Return the automatic measurements of a day, inside the daily window."""
        first, last = (day.begin + int(hour * HOUR) for hour in self.knobs.vitals_hours)
        return [each for each in self.every(day, self._vitals_minutes, act) if first <= each[0] < last]

    def sample(self, moment: int) -> Sample:
        """Measure; call it in order of time."""
        rng, knobs = self.rng, self.knobs
        day = self.person.day(day_of(moment))
        doing = day.doing(moment)
        worn = self.is_worn(moment, day, doing)
        heat = self.weather.heat(moment)
        minutes = (moment - self._sampled) / MINUTE
        self._sampled = moment
        steps = self._body.steps(doing if worn else Doing.SLEEP, minutes, day.number)
        flag = self.says_worn(worn=worn)
        if not worn or rng.random() < knobs.pulse_unusable:
            return Sample(rng.choice(NO_READING), rng.choice(NO_READING), 0, steps, flag)
        pulse = self._body.pulse(doing, heat.pulse if heat else 0)
        shown = round(pulse + rng.gauss(0, knobs.pulse_error * _ERROR_TO_SIGMA))
        if doing is Doing.WALK and rng.random() < knobs.cadence_lock:
            shown = round(rng.uniform(*knobs.cadence))
        temp = round(rng.gauss(36.4, 0.2) + (heat.temp if heat else 0), 1)
        return Sample(min(max(shown, _LOWEST), _HIGHEST), rng.randint(94, 99), temp, steps, flag)

    def batches(self, kept: list[Message]) -> Iterator[list[Entry]]:
        """Yield what was measured without a link, a dozen at a time; but for what bears no time."""
        entries = [each.entry for each in kept if each.entry and each.entry.shown is not None]
        size = round(self.knobs.late_batch)
        for start in range(0, len(entries), size):
            yield entries[start : start + size]

    def falls(self, day: Day) -> Agenda:
        """Return the falls that it sees on a day: most of the genuine ones, and some that were none."""
        rng = self.rng
        for moment in day.falls:
            if rng.random() < self.knobs.fall_sensitivity and self.can_press(moment, Doing.LIE):
                yield from self.seen(moment, "fall")
        for _ in range(times(rng, self._false_falls)):
            moment = day.begin + rng.randrange(DAY)
            if self.is_worn(moment, day, day.doing(moment)):
                yield from self.seen(moment, "false fall")

    def seen(self, moment: int, cause: str) -> Agenda:
        """Return what it does about a fall that it has seen, or thinks so."""
        yield moment, partial(self.fall, cause=cause)

    def fall(self, moment: int, cause: str) -> Iterable[Message]:
        """Return what it sends when it sees a fall: nothing, if it sees none."""
        del moment, cause
        return ()
