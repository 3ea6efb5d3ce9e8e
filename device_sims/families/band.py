"""手环 that speaks the contract: pulse, oxygen and steps at an interval, falls, a button."""

from collections.abc import Iterable
from functools import partial

from device_sims.families.base import Agenda
from device_sims.families.contract import ContractDevice
from device_sims.families.wearable import Wearable
from device_sims.message import Message
from device_sims.people import HOUR, Day
from schemas.clock import SECOND

_CONFIRMED = 0.3
_CANCELLED = 0.4
"""Shares of falls that the band confirms, and of false ones that the wearer takes back (assumed)."""
_LATER = 20 * SECOND


class Band(Wearable, ContractDevice):
    """A band."""

    family = "band"
    prefix = "SH"
    model = "band"
    sources = ("button", "voice")

    def routine(self, day: Day) -> Agenda:
        """Beat, measure, see falls, and say twice a day when it is taken off and put on."""
        yield day.begin + self.rng.randrange(HOUR), lambda moment: [self.online(moment)]
        yield from self.every(day, self.minutes, self._heartbeat)
        yield from self.measuring(day, self._vitals)
        yield from self.falls(day)
        if self.person.checks_in:
            at = day.begin + self.rng.randrange(7 * HOUR, 9 * HOUR)
            yield at, lambda moment: [self.say(moment, "event", {"kind": "check_in"})]

    def _heartbeat(self, moment: int) -> Iterable[Message]:
        signal = self.rng.randint(-100, -60)
        yield self.say(moment, "heartbeat", {"battery": self.battery.level(moment), "rssi": signal})

    def _vitals(self, moment: int) -> Iterable[Message]:
        seen = self.sample(moment)
        fields = {"hr": seen.hr, "spo2": seen.spo2, "worn": seen.worn, "steps": seen.steps}
        yield self.say(moment, "vitals", fields | ({"temp": seen.temp} if seen.temp else {}))

    def seen(self, moment: int, cause: str) -> Agenda:
        """Tell a fall; it may be confirmed, or taken back by the wearer, a little later."""
        yield moment, partial(self._fall, phase="detected", cause=cause)
        if self.rng.random() < (_CONFIRMED if cause == "fall" else _CANCELLED):
            phase = "confirmed" if cause == "fall" else "cancelled"
            yield moment + _LATER, partial(self._fall, phase=phase, cause=cause)

    def _fall(self, moment: int, phase: str, cause: str) -> Iterable[Message]:
        fields = {"phase": phase, "confidence": round(self.rng.uniform(0.5, 0.99), 2)}
        if phase == "cancelled":
            yield self.say(moment, "fall", fields, sure=True)
        else:
            yield self.say(moment, "fall", fields, call="fall", cause=cause)
