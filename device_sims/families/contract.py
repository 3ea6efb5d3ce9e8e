"""Devices that speak carebell's own contract, with all that real ones get wrong in it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from pydantic_core import to_json

from device_sims.families.base import Device, Place
from device_sims.message import Message, Row, said
from device_sims.misbehave import ASTRAY
from schemas.topics import uplink

_GARBLED: Final = (
    (b'{"source":"but', "not_json"),
    (b"", "empty"),
    (b"SOS\x00\x00", "not_json"),
    (b"[1]", "not_json"),
)
_MEASURED: Final = ("hr", "spo2", "battery", "steps")
"""Fields of which one is sometimes none."""


class ContractDevice(Device):
    """One that publishes carebell/v1/<region>/<name>/<channel>."""

    def __init__(self, place: Place) -> None:
        """Begin its counter of messages somewhere."""
        super().__init__(place)
        self._seq = self.rng.randrange(1, 100_000)
        self._bare = self.rng.random() < self.knobs.bare_words

    def say(self, moment: int, channel: str, fields: dict[str, Any], **more: Any) -> Message:  # noqa: ANN401 - those of Message
        """Return a message that was measured now."""
        self._seq += 1
        stamp: dict[str, Any] = {"seq": self._seq}
        shown = self.clock.shows(moment)
        if shown is not None:
            stamp = {"ts": shown, **stamp}
        row = Row(channel, shown, said(fields), self._seq)
        message = Message(moment, uplink(self.region, self.name, channel), b"", (row,), **more)
        if not message.call:
            message = self._carelessly(message, fields, channel)
        message.payload = to_json(stamp | fields)
        return self._garbled(message) if message.call and self._now_and_then("unreadable") else message

    def online(self, moment: int) -> Message:
        """Return the retained word that it is there."""
        if self._bare:
            topic = uplink(self.region, self.name, "status")
            return Message(moment, topic, b"online", (Row("status", None),), retain=True)
        return self.say(moment, "status", {"status": "online"}, retain=True)

    def press(self, moment: int, cause: str) -> Iterable[Message]:
        """Call for help."""
        yield self.say(moment, "sos", {"source": self.rng.choice(self.sources)}, call="sos", cause=cause)

    sources: tuple[str, ...] = ("button",)

    def late(self, kept: list[Message]) -> Iterator[Message]:
        """Yield kept measurements a dozen in a message, and everything else as it was."""
        batch: list[Message] = []
        for message in kept:
            if message.topic.endswith("/vitals") and not message.dead:
                batch.append(message)
                if len(batch) >= self.knobs.late_batch:
                    yield _together(batch)
                    batch = []
            else:
                yield message
        if batch:
            yield _together(batch)

    def _now_and_then(self, knob: str) -> bool:
        share: float = getattr(self.knobs, knob)
        return self.rng.random() < share

    def _carelessly(self, message: Message, fields: dict[str, Any], channel: str) -> Message:
        """Write some fields as they should not be written, or send it where nobody listens."""
        if self._now_and_then("strings"):
            fields |= {name: str(value) for name, value in fields.items() if type(value) in (int, float)}
            fields["fw"] = None
        numbers = [name for name in _MEASURED if name in fields]
        if len(numbers) > 1 and self._now_and_then("wrong_fields"):
            fields[numbers[0]] = self.rng.choice(("abc", "--", [], {}))
            return replace(
                message, rows=(message.rows[0]._replace(said=said(fields)),), dead=("bad_field", False)
            )
        if channel != "status" and self._now_and_then("astray"):
            topic, reason = self.rng.choice(ASTRAY)
            topic = topic.format(device=self.name, region=self.region)
            return replace(message, topic=topic, rows=(), dead=(reason, True))
        return message

    def _garbled(self, message: Message) -> Message:
        """Return a call of which nothing can be read: it alarms all the same, and is a dead letter."""
        payload, reason = self.rng.choice(_GARBLED)
        return replace(message, payload=payload, rows=(), dead=(reason, True))


def _together(batch: list[Message]) -> Message:
    payload = b'{"readings":[%b]}' % b",".join(each.payload for each in batch)
    return replace(batch[0], payload=payload, rows=tuple(row for each in batch for row in each.rows))
