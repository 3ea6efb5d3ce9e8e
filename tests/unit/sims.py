"""Scenarios for tests of simulated devices."""

from device_sims.families import FAMILIES
from device_sims.scenario import Scenario
from schemas.clock import SECOND

START = 1_790_000_000 * SECOND


def scenario(*families: str, people: object = 6, hours: float = 24, **more: object) -> Scenario:
    """Return so many people with one of each of these devices."""
    households = [{"people": people, "devices": families or tuple(FAMILIES)}]
    told = {"name": "test", "zh": "试", "about": "a test", "hours": hours, "speed": 100}
    return Scenario.model_validate({**told, "household": households, **more})
