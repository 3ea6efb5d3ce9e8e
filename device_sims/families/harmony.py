"""HarmonyOS watch that passes events on: readings apart, times as local text, flags of opposite meaning."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from pydantic_core import to_json

from device_sims.families.base import Agenda
from device_sims.families.wearable import Wearable
from device_sims.message import Entry, Message, Row, said
from device_sims.people import Day, day_of
from schemas.clock import to_datetime

_SHANGHAI: Final = timedelta(hours=8)
_EVENTS: Final = {
    "sos": "com.tdtech.ohos.health.action.SOS_EVENT",
    "fall": "com.tdtech.ohos.health.action.FALLDOWN_EVENT",
}


class Harmony(Wearable):
    """One watch."""

    family = "harmonyos"
    model = "harmonyos"
    source = "harmonyos"
    prefix = "HM"

    def routine(self, day: Day) -> Agenda:
        """Tell its own state, measure, see falls."""
        yield from self.every(day, self.minutes, self._state)
        yield from self.measuring(day, self._measure)
        yield from self.falls(day)

    def _state(self, moment: int) -> Iterable[Message]:
        """Tell battery and wear, in two flags of which one says the opposite."""
        shown, level = self.clock.shows_second(moment), round(self.battery.level(moment))
        day = self.person.day(day_of(moment))
        worn = self.says_worn(worn=self.is_worn(moment, day, day.doing(moment)))
        flags = {"wearable_status": str(int(worn)), "wearState": str(int(not worn))}
        body = [{"SerialNumber": self.name, "batteryLevel": str(level), **flags, **_local(shown)}]
        rows = Row("vitals", shown), Row("heartbeat", shown, said({"battery": level}))
        yield Message(moment, "harmonyos/device", to_json(body), rows)

    def _measure(self, moment: int) -> Iterable[Message]:
        seen = self.sample(moment)
        values = {"hr": seen.hr, "spo2": seen.spo2, "temp": seen.temp, "steps": seen.steps}
        yield self._health(moment, [Entry(self.clock.shows_second(moment), values)])

    def _health(self, moment: int, entries: Sequence[Entry]) -> Message:
        told = [
            {
                "deviceSn": self.name,
                "heart_rate": each.values["hr"],
                "blood_oxygen": each.values["spo2"],
                "body_temperature": str(float(each.values["temp"])),
                "step": each.values["steps"],
                "sleepData": "null",
                **_local(each.shown),
            }
            for each in entries
        ]
        rows = tuple(Row("vitals", each.shown, said(each.values)) for each in entries)
        alone = len(entries) == 1
        body: dict[str, Any] = {"data": told[0] if alone else told}
        return Message(moment, "harmonyos/health", to_json(body), rows, entry=entries[0] if alone else None)

    def late(self, kept: list[Message]) -> Iterator[Message]:
        """Yield readings a dozen at a time, and everything else as it was."""
        for entries in self.batches(kept):
            yield self._health(kept[0].at, entries)
        yield from (each for each in kept if not (each.entry and each.entry.shown is not None))

    def press(self, moment: int, cause: str) -> Iterator[Message]:
        """Call."""
        yield self._call(moment, "sos", cause)

    def fall(self, moment: int, cause: str) -> Iterable[Message]:
        """Tell a fall."""
        yield self._call(moment, "fall", cause)

    def _call(self, moment: int, call: str, cause: str) -> Message:
        """Return a call, which may be cut off behind who calls."""
        shown = self.clock.shows_second(moment)
        body = {
            "eventType": _EVENTS[call],
            "eventValue": "1",
            "deviceSn": self.name,
            "altitude": "0.0",
            **_local(shown),
        }
        message = Message(moment, "harmonyos/event", to_json(body), (Row(call, shown),), call, cause)
        if self.rng.random() >= self.knobs.unreadable:
            return message
        payload = message.payload[: message.payload.index(b'"altitude"')]
        return replace(message, payload=payload, rows=(Row(call, None),), dead=("not_json", False))


def _local(shown: int | None) -> dict[str, str]:
    return (
        {} if shown is None else {"timestamp": f"{to_datetime(shown * 1000) + _SHANGHAI:%Y-%m-%d %H:%M:%S}"}
    )
