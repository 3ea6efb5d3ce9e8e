"""SeTracker watch: text frames, some joined, wrong lengths, an alarm word of bits, vitals without a time."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from device_sims import frames
from device_sims.families.base import Agenda, Place
from device_sims.families.names import YEAR_2000, imei
from device_sims.families.wearable import Wearable
from device_sims.message import Message, Row, said
from device_sims.people import MINUTE, Day

_STATE_STAYS = 12 * MINUTE
"""For how long the reports after an alarm still bear its bit (assumed)."""
_REPORTS_EVERY = 3
"""Signs of life for each report of position (assumed)."""
_JOINED = 0.3
_LOW = 20.0
_LONG_WORD = 8
_SHORTEST = 4  # "[3G*": of less nobody could tell what it was


class Setracker(Wearable):
    """One watch."""

    family = "setracker"
    model = "setracker"
    source = "setracker"
    zero = YEAR_2000  # its years have two digits

    @classmethod
    def name_of(cls, number: int, prefix: str) -> str:
        """Return the ten digits of its IMEI that it goes by."""
        return f"62{imei(862, number, prefix)[-8:]}"

    def __init__(self, place: Place) -> None:
        """Begin without an alarm."""
        super().__init__(place)
        self._topic = f"setracker/{self.name}"
        self._on_until = 0
        self._steps = 0

    def routine(self, day: Day) -> Agenda:
        """Beat, report where it is, measure, see falls."""
        yield from self.every(day, self.minutes, self._link)
        yield from self.every(day, self.minutes * _REPORTS_EVERY, self._report)
        yield from self.measuring(day, self._vitals)
        yield from self.falls(day)

    def _message(self, moment: int, payload: bytes, *rows: Row) -> Message:
        return Message(moment, self._topic, self._with_wrong_length(payload), rows)

    def _with_wrong_length(self, payload: bytes) -> bytes:
        """Declare some other length in a frame, as many firmwares do."""
        if self.rng.random() >= self.knobs.wrong_lengths:
            return payload
        maker, device, _, content = payload.split(b"*", 3)
        return b"*".join((maker, device, b"%04X" % self.rng.randrange(200), content))

    def _link(self, moment: int) -> Iterable[Message]:
        level = round(self.battery.level(moment))
        frame = frames.setracker_link(self.name, battery=level, steps=self._steps)
        yield self._message(moment, frame, _battery(None, level), _walked(None, self._steps))

    def _vitals(self, moment: int) -> Iterable[Message]:
        seen = self.sample(moment)
        self._steps = seen.steps
        pressure = self.rng.randint(105, 165), self.rng.randint(60, 95)
        parts: list[tuple[bytes, dict[str, float]]] = [
            (frames.setracker_heart(self.name, seen.hr), {"hr": seen.hr}),
            (frames.setracker_oxygen(self.name, seen.spo2), {"spo2": seen.spo2}),
            (frames.setracker_temperature(self.name, seen.temp), {"temp": seen.temp}),
            (
                frames.setracker_pressure(self.name, *pressure, seen.hr),
                {"sbp": pressure[0], "dbp": pressure[1], "hr": seen.hr},
            ),
        ]
        chosen = self.rng.sample(parts, self.rng.randint(1, len(parts)))
        told = [(frame, _told(fields)) for frame, fields in chosen]
        if len(told) > 1 and self.rng.random() < _JOINED:
            payload = b"".join(frame for frame, _ in told)
            beats = [row for _, row in told if row.channel == "heartbeat"]  # nothing tells one from the other
            rows = [row for _, row in told if row.channel != "heartbeat"]
            yield Message(moment, self._topic, payload, (*rows, *beats[:1]))
        else:
            for frame, row in told:
                yield self._message(moment, frame, row)

    def _report(self, moment: int) -> Iterable[Message]:
        """Tell where it is; for a while after an alarm the bit of the key is still set."""
        on = moment < self._on_until
        message = self._position(moment, "UD_LTE", frames.SETRACKER_SOS if on else 0)
        edge = Row("sos", message.rows[0].sent)
        yield replace(message, call="sos" if on else "", state=on, edge=edge)

    def press(self, moment: int, cause: str) -> Iterator[Message]:
        """Send an alarm."""
        yield self._alarm(moment, frames.SETRACKER_SOS, "sos", cause)
        self._on_until = moment + _STATE_STAYS

    def fall(self, moment: int, cause: str) -> Iterable[Message]:
        """Send an alarm."""
        yield self._alarm(moment, frames.SETRACKER_FALL, "fall", cause)

    def _alarm(self, moment: int, word: int, call: str, cause: str) -> Message:
        """Return an alarm; low battery must not hide it, nor that its end is missing."""
        is_low = self.battery.level(moment) < _LOW
        word |= frames.SETRACKER_LOW_BATTERY if is_low else 0
        message = self._position(moment, "AL_LTE", word)
        at = message.rows[0].sent
        rows = (Row(call, at), *message.rows, *((Row("event", at),) if is_low else ()))
        message = replace(message, rows=rows, call=call, cause=cause)
        if self.rng.random() >= self.knobs.unreadable:
            return message
        end = message.payload.index(b"%08X" % word) + _LONG_WORD
        return replace(message, payload=message.payload[:end], dead=("bad_message", False))

    def _position(self, moment: int, command: str, word: int) -> Message:
        shown = self.clock.shows_second(moment)
        level = round(self.battery.level(moment))
        place = None
        if self.rng.random() < 0.5:  # noqa: PLR2004 - indoors there is none
            place = (self.rng.uniform(29.3, 29.4), self.rng.uniform(113.0, 113.2))
        frame = frames.setracker_position(
            self.name,
            (shown or 0) * 1000,
            command=command,
            status=word,
            battery=level,
            steps=self._steps,
            place=place,
        )
        if shown is None:
            frame = frame.replace(b"010170,000000", b"000000,000000")
        return self._message(moment, frame, _battery(shown, level), _walked(shown, self._steps))

    def late(self, kept: list[Message]) -> Iterator[Message]:
        """Yield alarms as they were and reports as late ones; what bears no time it does not keep."""
        for message in kept:
            if message.cause:
                yield message
            elif message.state is not None:  # a late report begins a state, but does not end one
                content = _content(message.payload).replace("UD_LTE", "UD2")
                frame = frames.setracker_frame(self.name, content)
                yield replace(message, payload=frame, state=message.state or None)

    def cut(self, message: Message) -> Message:
        """Return a message of which not even the first frame's head comes whole."""
        head = b"*".join(message.payload.split(b"*", 3)[:3])
        payload = message.payload[: self.rng.choice((0, *range(_SHORTEST, len(head))))]
        return replace(
            message, payload=payload, rows=(), state=None, dead=("bad_message" if payload else "empty", True)
        )


def _battery(at: int | None, level: int) -> Row:
    return Row("heartbeat", at, said({"battery": level}))


def _walked(at: int | None, steps: int) -> Row:
    return Row("vitals", at, said({"steps": steps}))


def _told(fields: dict[str, float]) -> Row:
    """Return the row of a measurement: without any reading it only shows that the watch lives."""
    values = said(fields)
    return Row("vitals" if values else "heartbeat", None, values)


def _content(frame: bytes) -> str:
    """Return what stands in one of our own frames."""
    return frame.split(b"*", 3)[3].decode().removesuffix("]")
