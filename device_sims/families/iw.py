"""IW/TRV watch: one topic for all watches, the id in the payload, local times, calls that bear none."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from pydantic_core import to_json

from device_sims.families.base import Agenda, Place
from device_sims.families.names import imei
from device_sims.families.wearable import Wearable
from device_sims.message import Entry, Message, Row, said
from device_sims.people import HOUR, Day, Doing
from schemas.clock import SECOND, to_datetime

_SHANGHAI: Final = timedelta(hours=8)


class Iw(Wearable):
    """One watch."""

    family = "iw"
    model = "iw"
    source = "iw"

    @classmethod
    def name_of(cls, number: int, prefix: str) -> str:
        """Return its IMEI."""
        return imei(864, number, prefix)

    def __init__(self, place: Place) -> None:
        """Draw how its firmware spells the topic of calls."""
        super().__init__(place)
        self._sos = self.rng.choice(("sos", "SOS"))
        self._steps = 0

    def routine(self, day: Day) -> Agenda:
        """Beat, measure, see falls; say when it is taken off for the bath, where it is, that it is there."""
        yield day.begin + self.rng.randrange(HOUR), self._online
        yield from self.every(day, self.minutes, self._heartbeat)
        yield from self.measuring(day, self._vitals)
        yield from self.falls(day)
        for begin, _, doing in day.stretches():
            if doing is Doing.BATH:
                yield begin - SECOND, self._taken_off
            if doing is Doing.OUT:
                yield begin + SECOND, self._location

    def _message(self, moment: int, topic: str, fields: dict[str, Any], *rows: Row, **more: Any) -> Message:  # noqa: ANN401 - those of Message
        return Message(moment, f"iw/{topic}", to_json({"IMEI": self.name, **fields}), rows, **more)

    def _heartbeat(self, moment: int) -> Iterable[Message]:
        shown, level = self.clock.shows_second(moment), round(self.battery.level(moment))
        fields = {
            "signalGSM": self.rng.randint(20, 99),
            "battery": level,
            "step": self._steps,
            **_local(shown),
        }
        rows = (
            Row("vitals", shown, said({"steps": self._steps})),
            Row("heartbeat", shown, said({"battery": level})),
        )
        yield self._message(moment, "hb", fields, *rows)

    def _vitals(self, moment: int) -> Iterable[Message]:
        seen = self.sample(moment)
        self._steps = seen.steps
        shown, level = self.clock.shows_second(moment), round(self.battery.level(moment))
        values: dict[str, Any] = {"hr": seen.hr, "spo2": seen.spo2, "temp": seen.temp}
        if self.rng.random() < 0.3:  # noqa: PLR2004 - the cuff measures now and then
            values |= {"sbp": self.rng.randint(105, 165), "dbp": self.rng.randint(60, 95)}
        rows = (*_measured(shown, values), Row("heartbeat", shown, said({"battery": level})))
        fields = {**_told(values), "battery": level, **_local(shown)}
        yield self._message(moment, "VitalSign", fields, *rows, entry=Entry(shown, values))

    def late(self, kept: list[Message]) -> Iterator[Message]:
        """Yield measurements a dozen at a time, each with its time in seconds, and calls as they were."""
        for entries in self.batches(kept):
            data = [{"timestamp": (each.shown or 0) // 1000, **_told(each.values)} for each in entries]
            rows = [
                row for each in entries for row in _measured(each.shown, each.values) or _lives(each.shown)
            ]
            fields = {**_local(entries[-1].shown), "num_datas": len(data), "data": data}
            yield self._message(kept[0].at, "AP55", fields, *rows)
        yield from (each for each in kept if each.call or each.sure)

    def press(self, moment: int, cause: str) -> Iterator[Message]:
        """Call."""
        yield self._call(moment, self._sos, "SOS", call="sos", cause=cause)

    def fall(self, moment: int, cause: str) -> Iterable[Message]:
        """Tell a fall."""
        yield self._call(moment, "fallDown", "FALL DOWN", call="fall", cause=cause)

    def _call(self, moment: int, topic: str, word: str, *, call: str, cause: str) -> Message:
        """Return a call, which may be cut off behind its word."""
        place = {"GPS": {"latitude": round(self.rng.uniform(29.3, 29.4), 6), "longitude": 113.12}}
        fields = {"status": word, "location": self.rng.choice(({}, place))}
        message = self._message(moment, topic, fields, Row(call, None), call=call, cause=cause)
        if self.rng.random() >= self.knobs.unreadable:
            return message
        payload = message.payload[: message.payload.index(b'"location"') + self.rng.randrange(12)]
        return replace(message, payload=payload, dead=("not_json", False))

    def _taken_off(self, moment: int) -> Iterable[Message]:
        """Say on the topic of calls that it is taken off."""
        yield self._message(moment, self._sos, {"status": "NOT WORN"}, Row("event", None), sure=True)

    def _online(self, moment: int) -> Iterable[Message]:
        yield self._message(moment, "onlineTrigger", {"status": "online"}, Row("status", None))

    def _location(self, moment: int) -> Iterable[Message]:
        """Say where it is, which nobody reads."""
        place = {"GPS": {"latitude": 29.36, "longitude": 113.12}}
        yield self._message(
            moment, "location", {"location": place, **_local(self.clock.shows(moment))}, sure=True
        )


def _local(shown: int | None) -> dict[str, str]:
    return (
        {} if shown is None else {"timeStamps": f"{to_datetime(shown * 1000) + _SHANGHAI:%d/%m/%Y %H:%M:%S}"}
    )


def _told(values: Any) -> dict[str, Any]:  # noqa: ANN401 - a mapping of numbers
    """Return what was measured by the watch's names."""
    fields: dict[str, Any] = {
        "heartRate": values["hr"],
        "spO2": values["spo2"],
        "bodyTemperature": values["temp"],
    }
    if "sbp" in values:
        fields["bloodPressure"] = {"bp_sys": values["sbp"], "bp_dia": values["dbp"]}
    return fields


def _measured(shown: int | None, values: Any) -> list[Row]:  # noqa: ANN401 - a mapping of numbers
    """Return the row of what was measured: none if there is no reading."""
    return [Row("vitals", shown, said(values))] if said(values) else []


def _lives(shown: int | None) -> list[Row]:
    return [Row("heartbeat", shown)]
