"""Payload models: what real devices send is accepted, what makes no sense is refused by field."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.messages import ADAPTERS, MODELS
from schemas.readings import Event
from schemas.topics import Channel

BOUNDS: list[tuple[Channel, str, float, float]] = [
    (Channel.SOS, "lat", -90, 90),
    (Channel.SOS, "lon", -180, 180),
    (Channel.SOS, "ts", -(2**53), 2**53),
    (Channel.SOS, "seq", 0, 2**53),
    (Channel.FALL, "confidence", 0, 1),
    (Channel.HEARTBEAT, "battery", 0, 100),
    (Channel.HEARTBEAT, "rssi", -200, 50),
    (Channel.VITALS, "hr", 0, 300),
    (Channel.VITALS, "spo2", 0, 255),
    (Channel.VITALS, "temp", 0, 60),
    (Channel.VITALS, "sbp", 0, 350),
    (Channel.VITALS, "dbp", 0, 300),
    (Channel.VITALS, "glucose", 0, 100),
    (Channel.VITALS, "steps", 0, 10_000_000),
    (Channel.ACTIVITY, "steps", 0, 10_000_000),
]


def read(channel: Channel, payload: str) -> dict[str, Any]:
    """Validate a payload."""
    return dict(ADAPTERS[channel].validate_json(payload))


@pytest.mark.parametrize("channel", [c for c in Channel if c is not Channel.EVENT])
def test_an_empty_object_is_a_message(channel: Channel) -> None:
    """All fields are optional, so that a button with no more than one wire can call."""
    assert read(channel, "{}") == {}


def test_every_channel_has_a_model() -> None:
    """There is no channel whose payload nobody can read."""
    assert set(MODELS) == set(ADAPTERS) == set(Channel)


def test_an_event_says_what_happened() -> None:
    """`kind` is the one required field, and each of its words is an event of the history."""
    with pytest.raises(ValidationError, match="kind"):
        read(Channel.EVENT, "{}")
    with pytest.raises(ValidationError, match="low_battery"):
        read(Channel.EVENT, '{"kind": "exploded"}')
    for event in range(Event.LOW_BATTERY, Event.AREA_ENTERED + 1):
        name = Event(event).name.lower()
        assert read(Channel.EVENT, json.dumps({"kind": name})) == {"kind": name}


@pytest.mark.parametrize(("channel", "name", "low", "high"), BOUNDS)
def test_a_field_has_bounds(channel: Channel, name: str, low: float, high: float) -> None:
    """Both bounds are allowed, beyond them the field is refused by its name."""
    for value in (low, high):
        assert read(channel, json.dumps({name: value})) == {name: value}
    for value in (low - 1, high + 1):
        with pytest.raises(ValidationError) as refusal:
            read(channel, json.dumps({name: value}))
        assert [fault["loc"] for fault in refusal.value.errors()] == [(name,)]


def test_numbers_may_come_as_strings_and_fields_as_null() -> None:
    """What cheap firmware sends is read as what it means."""
    fields = read(Channel.VITALS, '{"hr": "80", "spo2": null, "worn": "1", "ts": "1790000000000", "x": [1]}')
    assert fields == {"hr": 80.0, "spo2": None, "worn": True, "ts": 1_790_000_000_000}


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e999", '"x"', "[]", "{}", '""', '"NaN"', '"inf"']
)
@pytest.mark.parametrize("place", ['{"hr": %s}', '{"readings": [{"hr": %s}]}'])
def test_what_is_no_finite_number_is_refused(place: str, value: str) -> None:
    """Neither a whole message nor a late one smuggles a NaN in, for NaN means absent."""
    with pytest.raises(ValidationError) as refusal:
        read(Channel.VITALS, place % value)
    assert all(fault["loc"][-1] == "hr" for fault in refusal.value.errors())


@pytest.mark.parametrize("room", ["a\x00b", "a\nb", "一" * 33])
def test_a_room_is_short_plain_text(room: str) -> None:
    """A room's name has no control characters and at most 32 characters."""
    assert read(Channel.ACTIVITY, json.dumps({"room": "一" * 32})) == {"room": "一" * 32}
    with pytest.raises(ValidationError, match="room"):
        read(Channel.ACTIVITY, json.dumps({"room": room}))


def test_a_late_batch_has_an_end() -> None:
    """A thousand readings are a late batch, one more is not."""
    assert len(read(Channel.VITALS, json.dumps({"readings": [{}] * 1000}))["readings"]) == 1000
    with pytest.raises(ValidationError, match="readings"):
        read(Channel.VITALS, json.dumps({"readings": [{}] * 1001}))
