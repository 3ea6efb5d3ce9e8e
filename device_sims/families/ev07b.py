"""EV07B pendant: binary frames with a checksum, an alarm word, lists of measurements, old ones marked so."""

import base64
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from device_sims import frames
from device_sims.families.base import Agenda, Place
from device_sims.families.names import imei
from device_sims.families.wearable import Wearable
from device_sims.message import Entry, Message, Row, said
from device_sims.people import Day

_LOW: Final = 20.0
_IN_A_LIST: Final = 4
"""Measurements that it sends together (assumed)."""
_CRC: Final = slice(4, 6)
_SANE: Final = range(1_420_070_400_000, 2_524_608_000_000)
"""Times, in ms, for which a broken frame is believed: 2015 to 2050."""


class Ev07b(Wearable):
    """One pendant behind a gateway, which passes its frames on as they are, or as text."""

    family = "ev07b"
    model = "ev07b"
    source = "ev07b"

    @classmethod
    def name_of(cls, number: int, prefix: str) -> str:
        """Return its IMEI."""
        return imei(863, number, prefix)

    def __init__(self, place: Place) -> None:
        """Draw how its gateway passes frames on."""
        super().__init__(place)
        self._text = self.rng.choice(("", "", "hex", "base64"))
        self._sequence = 0
        self._measured: list[tuple[int, int, int]] = []

    def routine(self, day: Day) -> Agenda:
        """Tell its state, measure, see falls."""
        yield from self.every(day, self.minutes, self._state)
        yield from self.measuring(day, self._measure)
        yield from self.falls(day)

    def _written(self, *keys: bytes, broken: bool = False) -> bytes:
        """Return a frame as the gateway publishes it; a `broken` one has a wrong checksum."""
        self._sequence += 1
        frame = bytearray(frames.ev07b_frame(self.name, *keys, sequence=self._sequence))
        if broken:
            frame[_CRC] = bytes(255 - byte for byte in frame[_CRC])
        if self._text == "hex":
            return frame.hex().encode()
        return base64.b64encode(frame) if self._text == "base64" else bytes(frame)

    def _message(self, moment: int, payload: bytes, rows: Iterable[Row]) -> Message:
        return Message(moment, f"ev07b/{self.name}", payload, tuple(rows))

    def _state(self, moment: int) -> Iterable[Message]:
        shown = self.clock.shows_second(moment)
        at, level = (shown or 0) * 1000, round(self.battery.level(moment))
        row = Row("heartbeat", shown, said({"battery": level}))
        message = self._message(moment, self._written(frames.ev07b_status(at, battery=level)), [row])
        yield replace(message, entry=Entry(shown, {"battery": level}))

    def late(self, kept: list[Message]) -> Iterator[Message]:
        """Yield states as archived ones, and everything else as it was."""
        for message in kept:
            if message.entry:
                shown, values = message.entry
                status = frames.ev07b_status((shown or 0) * 1000, battery=values["battery"], archived=True)
                yield replace(message, payload=self._written(status))
            else:
                yield message

    def _measure(self, moment: int) -> Iterable[Message]:
        """Note a measurement; send some together."""
        shown = self.clock.shows_second(moment)
        seen = self.sample(moment)
        if shown is not None:
            self._measured.append((shown, seen.hr, seen.spo2))
        if len(self._measured) < _IN_A_LIST:
            return
        measured, self._measured = self._measured, []
        heart = [(at * 1000, hr) for at, hr, _ in measured]
        oxygen = [(at * 1000, spo2) for at, _, spo2 in measured]
        values = ((at, said({"hr": hr, "spo2": spo2})) for at, hr, spo2 in measured)
        rows = [Row("vitals", at, value) for at, value in values if value] or [Row("heartbeat", None)]
        yield self._message(
            moment, self._written(frames.ev07b_heart(heart), frames.ev07b_oxygen(oxygen)), rows
        )

    def press(self, moment: int, cause: str) -> Iterator[Message]:
        """Send an alarm."""
        yield self._alarm(moment, frames.EV07B_SOS, "sos", cause)

    def fall(self, moment: int, cause: str) -> Iterable[Message]:
        """Send an alarm."""
        yield self._alarm(moment, frames.EV07B_FALL, "fall", cause)

    def _alarm(self, moment: int, word: int, call: str, cause: str) -> Message:
        """Return an alarm; neither low battery nor a wrong checksum may hide it."""
        shown = self.clock.shows_second(moment)
        at, level = (shown or 0) * 1000, round(self.battery.level(moment))
        is_low = level < _LOW
        keys = (
            frames.ev07b_alarm(at, word | (frames.EV07B_LOW_BATTERY if is_low else 0)),
            frames.ev07b_status(at, battery=level),
        )
        if self.rng.random() < self.knobs.unreadable:
            sane = shown if shown is not None and shown in _SANE else None
            message = self._message(moment, self._written(*keys, broken=True), [Row(call, sane)])
            return replace(message, call=call, cause=cause, dead=("bad_message", False))
        rows = [Row(call, shown), Row("heartbeat", shown, said({"battery": level}))]
        rows += [Row("event", shown)] if is_low else []
        return replace(self._message(moment, self._written(*keys), rows), call=call, cause=cause)

    def cut(self, message: Message) -> Message:
        """Return a frame of which not all comes: its checksum cannot be right then."""
        payload = message.payload[: self.rng.randrange(len(message.payload))]
        return replace(message, payload=payload, rows=(), dead=("bad_message" if payload else "empty", True))
