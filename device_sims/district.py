"""A district: the people of a scenario with their devices, and all that these send, in order, as a stream.

Everything follows from scenario, seed and start; no more of it is in memory than what is on its way.
"""

import heapq
from collections.abc import Iterator
from random import Random

from device_sims.cards import REGIONS, Registration, card
from device_sims.families import FAMILIES
from device_sims.families.base import Device, Place
from device_sims.links import Sending
from device_sims.people import HOUR, Person
from device_sims.scenario import Scenario
from device_sims.weather import Weather
from schemas.clock import to_datetime


class District:
    """Devices with people behind them."""

    def __init__(self, scenario: Scenario, seed: int, start: int, *, prefix: str = "") -> None:
        """Populate it; it begins at `start`, microseconds since 1970. Device names begin with `prefix`."""
        self.scenario, self.seed, self.start = scenario, seed, start
        self.end = start + int(scenario.hours * HOUR)
        self.devices: list[Device] = []
        self.registrations: list[Registration] = []
        weather = {region: Weather(scenario.event, region, start) for region in REGIONS}
        number = 0
        for household in scenario.household:
            for _ in range(household.people):
                number += 1
                rng = Random(f"{seed}/{prefix}{number}")
                person = Person(f"{prefix}{number}", scenario.knobs, seed)
                region = rng.choice(list(REGIONS))
                whose = card(rng, region, to_datetime(start).year)
                for name in household.devices:
                    family = FAMILIES[name]
                    place = Place(
                        name=family.name_of(number, prefix),
                        region=region,
                        person=person,
                        knobs=scenario.knobs,
                        weather=weather[region],
                        seed=seed,
                        start=start,
                    )
                    device = family(place)
                    self.devices.append(device)
                    if device.registered:
                        entry = Registration(
                            device.name, region, device.model, device.heartbeat_seconds, whose
                        )
                        self.registrations.append(entry)

    def sends(self) -> Iterator[tuple[Device, Sending]]:
        """Yield every publish with its device, in order of their times; to be asked for once."""

        def of(device: Device) -> Iterator[tuple[Device, Sending]]:
            for sending in device.sends(self.end):
                yield device, sending

        return heapq.merge(*map(of, self.devices), key=_at)


def _at(sent: tuple[Device, Sending]) -> int:
    return sent[1].at
