"""The registry: who is known, who may come in, and who may call for help."""

import asyncio
from typing import Any

import pytest

from ingest.registry import Registry
from schemas.settings import IngestSettings
from tests.unit.kit import Book


def registry(**settings: Any) -> tuple[Registry, Book]:  # noqa: ANN401 - any setting of the bridge
    """Return an empty registry and its book."""
    book = Book()
    return Registry(book, IngestSettings.model_validate(settings)), book


def admit(into: Registry, life: list[str], others: list[str]) -> list[int]:
    """Admit devices of one region."""
    return asyncio.run(into.admit(dict.fromkeys(life, "430602"), dict.fromkeys(others, "430602")))


@pytest.mark.parametrize("policy", ["register", "dead_letter"])
def test_a_device_that_somebody_registered_is_known(policy: str) -> None:
    """What an operator entered is heard under either setting."""
    known, _ = registry(unknown_devices=policy)
    known.learn("BELL-1", 7, self_registered=False)
    assert known.telemetry_id("BELL-1") == known.life_id("BELL-1") == 7
    assert known.telemetry_id("BELL-2") is known.life_id("BELL-2") is None


def test_strangers_register_themselves_up_to_the_cap() -> None:
    """With `register` the first ones come in, the others must wait for an operator."""
    known, book = registry(unknown_devices="register", max_registered=2)
    assert admit(known, [], ["A", "B", "C"]) == [1, 2]
    assert admit(known, [], ["C"]) == []
    assert (known.telemetry_id("B"), known.telemetry_id("C")) == (2, None)
    assert set(book.ids) == {"A", "B"}


def test_with_dead_letter_nobody_registers_himself() -> None:
    """The store is not even asked."""
    known, book = registry(unknown_devices="dead_letter")
    assert admit(known, [], ["A"]) == []
    assert book.ids == {}


@pytest.mark.parametrize("settings", [{"unknown_devices": "dead_letter"}, {"max_registered": 0}])
def test_whoever_calls_for_help_is_admitted(settings: dict[str, Any]) -> None:
    """Neither the setting nor the cap stands between a call and its alarm."""
    known, _ = registry(**settings)
    assert admit(known, ["A"], ["B"]) == [1]
    assert known.life_id("A") == 1
    assert known.telemetry_id("B") is None


def test_calls_count_against_the_cap() -> None:
    """Those who call take room from those who only want to be heard."""
    known, _ = registry(max_registered=2)
    admit(known, ["A"], ["B", "C"])
    assert known.life_id("A")
    assert known.telemetry_id("B")
    assert known.telemetry_id("C") is None


def test_a_stranger_stays_one_after_a_restart() -> None:
    """Whoever registered himself by a call is a stranger as long as the setting is `dead_letter`."""
    strict, _ = registry(unknown_devices="dead_letter")
    strict.learn("A", 3, self_registered=True)
    assert (strict.life_id("A"), strict.telemetry_id("A")) == (3, None)
    lenient, _ = registry(unknown_devices="register")
    lenient.learn("A", 3, self_registered=True)
    assert (lenient.life_id("A"), lenient.telemetry_id("A")) == (3, 3)


def test_the_cap_holds_over_a_restart() -> None:
    """Devices that registered themselves before count."""
    known, _ = registry(max_registered=1)
    known.learn("A", 3, self_registered=True)
    assert admit(known, [], ["B"]) == []


@pytest.mark.parametrize("policy", ["register", "dead_letter"])
def test_what_stands_for_a_malformed_topic_is_no_device(policy: str) -> None:
    """It can bear an alarm, and no telemetry is ever its own."""
    known, _ = registry(unknown_devices=policy)
    admit(known, ["?0123456789abcdef"], [])
    assert known.life_id("?0123456789abcdef") == 1
    assert known.telemetry_id("?0123456789abcdef") is None


def test_a_stranger_that_is_entered_is_one_no_more() -> None:
    """Learnt again as entered, a device is heard, and makes room for another one."""
    known, _ = registry(unknown_devices="dead_letter")
    admit(known, ["A"], [])
    known.learn("A", 1, self_registered=False)
    assert (known.telemetry_id("A"), known.life_id("A"), known.stranger_ids, len(known)) == (1, 1, set(), 1)


def test_a_device_that_is_learnt_twice_takes_one_place() -> None:
    """Reading the same rows again does not use up the cap."""
    known, _ = registry(unknown_devices="register", max_registered=2)
    admit(known, [], ["A"])
    known.learn("A", 1, self_registered=True)
    assert admit(known, [], ["B", "C"]) == [2]


@pytest.mark.parametrize("policy", ["register", "dead_letter"])
def test_of_a_device_of_drills_only_calls_are_heard(policy: str) -> None:
    """It does not register itself into anything else, however it speaks; given to somebody it is heard."""
    known, book = registry(unknown_devices=policy)
    known.learn("BELL-7", 7, self_registered=False, drill=True)
    assert (known.life_id("BELL-7"), known.telemetry_id("BELL-7")) == (7, None)
    assert (known.stranger_ids, known.drill_ids) == ({7}, {7})
    assert admit(known, [], ["BELL-7"]) == []
    assert book.ids == {}
    known.learn("BELL-7", 7, self_registered=False)
    assert (known.telemetry_id("BELL-7"), known.stranger_ids, known.drill_ids) == (7, set(), set())
