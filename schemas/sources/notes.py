"""What the decoders of text and binary formats share: a `Said` that is filled piece by piece.

Rules of this file: a value out of the contract's range becomes a fault, never a reading. One message makes a
few faults, however broken it is, for each of them keeps the message.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from schemas.errors import SenderFaultError
from schemas.messages import ADAPTERS
from schemas.readings import Event
from schemas.sources.records import Record, Said
from schemas.topics import LIFE_CHANNELS, Channel

MOST_FAULTS: Final = 10

_NO_READING: Final = frozenset({0, 1, 254, 255})
_MEASURED: Final = frozenset({"hr", "spo2", "temp", "sbp", "dbp"})
"""Values of which watches and pendants say by one of these codes that there was no reading."""
_LEAST_SPO2: Final = 1.01  # %: what is less is a ratio
_CHANNELS: Final = {
    Event.SOS: Channel.SOS,
    Event.FALL_DETECTED: Channel.FALL,
}
_PLACED: Final = frozenset({Event.SOS, Event.FALL_DETECTED, Event.AREA_LEFT, Event.AREA_ENTERED})
"""Events for which somebody goes there."""


def is_of_life(event: Event) -> bool:
    """Say whether an event is a call for help that is sought even in what cannot be read."""
    return _CHANNELS.get(event) in LIFE_CHANNELS


class Notes:
    """What one message says so far."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.said = Said()

    def fault(self, reason: str, detail: str) -> None:
        """Note what cannot be used."""
        if len(self.said.faults) < MOST_FAULTS:
            self.said.faults.append(SenderFaultError(reason, detail))

    def alive(self, device: str) -> None:
        """Note that a device lives, of which nothing else is known."""
        self.reading(device, Channel.HEARTBEAT, {}, {})

    def reading(
        self,
        device: str,
        channel: Channel,
        common: Mapping[str, Any],
        values: Mapping[str, float | None],
        *,
        late: bool = False,
    ) -> bool:
        """Note a reading of values beside what is common to its frame; say whether there was any to note."""
        found = {
            name: value
            for name, value in values.items()
            if value is not None and not (name in _MEASURED and value in _NO_READING)
        }
        if found.get("spo2", 100) < _LEAST_SPO2:
            self.fault("bad_field", f"spo2 {found.pop('spo2')!r:.60}: no percentage")
        try:
            ADAPTERS[channel].validate_python(found)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_context=False):
                name = str(each["loc"][0])
                self.fault("bad_field", f"{name} {found.pop(name, None)!r:.60}: {each['msg']}")
        if not found and channel is not Channel.HEARTBEAT:
            return False
        if device:
            self.said.records.append(Record(device, channel, Event.NONE, {**common, **found}, late))
        else:
            self.fault("bad_device", "no device id in it")
        return True

    def event(
        self,
        device: str,
        event: Event,
        fields: Mapping[str, Any],
        place: Mapping[str, float] | None = None,
        *,
        late: bool = False,
        state: str = "",
        on: bool = True,
        readable: bool = True,
    ) -> None:
        """Note an event, with its place where that helps; one of nobody only if it is a call for help."""
        if not device:
            self.fault("bad_device", "no device id in it")
            if not is_of_life(event):
                return
        self.said.records.append(
            Record(
                device,
                _CHANNELS.get(event, Channel.EVENT),
                event,
                {**fields, **(place or {})} if event in _PLACED else fields,
                late,
                state,
                on=on,
                readable=readable and bool(device),
            )
        )
