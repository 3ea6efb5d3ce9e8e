"""Devices that hang at home and speak the contract: 平安钟, 一键通, a motion sensor."""

from collections.abc import Iterable, Iterator
from functools import partial
from random import Random

from device_sims.families.base import Agenda, Place
from device_sims.families.contract import ContractDevice
from device_sims.families.power import Battery
from device_sims.message import Message
from device_sims.people import HOUR, MINUTE, Day, Doing
from schemas.clock import SECOND

_CHECKS_IN = (7.0, 9.5)
"""Hours between which people report 报平安."""
_MOVES_EVERY = (8 * MINUTE, 25 * MINUTE)


class Bell(ContractDevice):
    """平安钟: on mains, with a button and a cord in the bathroom; heartbeats with mains and signal."""

    family = "bell"
    prefix = "PA"
    model = "bell"
    sources = ("button", "cord", "pendant")

    def __init__(self, place: Place) -> None:
        """Draw its interval."""
        super().__init__(place)
        self._minutes = self.rng.uniform(*self.knobs.heartbeat)
        self.heartbeat_seconds = round(self._minutes * 60)

    def routine(self, day: Day) -> Agenda:
        """Say that it lives; the word that it is there once a day."""
        yield day.begin + self.rng.randrange(HOUR), lambda moment: [self.online(moment)]
        yield from self.every(day, self._minutes, self._heartbeat)
        if self.person.checks_in:
            at = day.begin + int(self.rng.uniform(*_CHECKS_IN) * HOUR)
            yield at, lambda moment: [self.say(moment, "event", {"kind": "check_in"})]

    def _heartbeat(self, moment: int) -> Iterable[Message]:
        yield self.say(
            moment, "heartbeat", {"battery": 100, "mains": True, "rssi": self.rng.randint(-95, -55)}
        )


class Caller(ContractDevice):
    """一键通: one key and a battery of its own; tells little, as NB devices do."""

    family = "caller"
    prefix = "YJ"
    model = "caller"

    def __init__(self, place: Place) -> None:
        """Draw its interval and its battery."""
        super().__init__(place)
        self._minutes = self.rng.uniform(*self.knobs.button_heartbeat) * 60
        self.heartbeat_seconds = round(self._minutes * 60)
        self._battery = Battery(self.rng, self.rng.uniform(*self.knobs.button_battery))

    def routine(self, day: Day) -> Agenda:
        """Say that it lives."""
        return self.every(day, self._minutes, self._heartbeat)

    def _heartbeat(self, moment: int) -> Iterable[Message]:
        signal = self.rng.randint(-110, -70)
        yield self.say(moment, "heartbeat", {"battery": self._battery.level(moment), "rssi": signal})


class Motion(ContractDevice):
    """A sensor in each room that tells when somebody moves there; it cannot call."""

    family = "motion"
    prefix = "HW"
    model = "motion"
    heartbeat_seconds = 24 * 3600

    def routine(self, day: Day) -> Agenda:
        """See the person enter each room, and move in it now and then."""
        for moment, room in moves(self.rng, day):
            yield moment, partial(self._moved, room=room)

    def _moved(self, moment: int, room: str) -> Iterable[Message]:
        yield self.say(moment, "activity", {"motion": True, "room": room})

    def press(self, moment: int, cause: str) -> Iterable[Message]:
        """Send nothing: it has no button."""
        del moment, cause
        return ()


def moves(rng: Random, day: Day) -> Iterator[tuple[int, str]]:
    """Yield when somebody moves at home on a day, and in which room."""
    for begin, end, doing in day.stretches():
        if doing.at_home and doing is not Doing.LIE:
            yield begin + SECOND, doing.value.room
            moment = begin + rng.randrange(*_MOVES_EVERY)
            while moment < end and doing is not Doing.SLEEP:
                yield moment, doing.value.room
                moment += rng.randrange(*_MOVES_EVERY)
