"""G6xx 4G watch: one status every few minutes, all numbers as texts, the SOS key a state in it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pydantic_core import to_json

from device_sims.families.base import Agenda, Place
from device_sims.families.names import YEAR_2000, imei
from device_sims.families.wearable import Wearable
from device_sims.message import Message, Row, said
from device_sims.people import MINUTE, Day
from schemas.clock import to_datetime

_STAYS_ON = (5 * MINUTE, 20 * MINUTE)
_MODELS = ("G600", "G623", "G63X")
_SHANGHAI = timedelta(hours=8)


class G6xx(Wearable):
    """One watch; `sos` stays true for a while in one status after the other."""

    family = "g6xx"
    model = "g6xx"
    source = "g6xx"
    zero = YEAR_2000  # its years have two digits

    @classmethod
    def name_of(cls, number: int, prefix: str) -> str:
        """Return its IMEI."""
        return imei(861, number, prefix)

    def __init__(self, place: Place) -> None:
        """Begin with the key released."""
        super().__init__(place)
        self._topic = f"atom/{self.rng.choice(_MODELS)}/status/{self.name}"
        self._on_until = 0

    def routine(self, day: Day) -> Agenda:
        """Tell its status."""
        return self.every(day, self.minutes, lambda moment: [self._status(moment)])

    def press(self, moment: int, cause: str) -> Iterator[Message]:
        """Tell its status at once, with the key pressed."""
        self._on_until = max(self._on_until, moment + self.rng.randrange(*_STAYS_ON))
        yield replace(self._status(moment), cause=cause)

    def _status(self, moment: int) -> Message:
        seen = self.sample(moment)
        shown = self.clock.shows_second(moment)
        measured: dict[str, Any] = {"heartRate": seen.hr, "bloodOxygen": seen.spo2, "temperature": seen.temp}
        measured |= {"stepCount": seen.steps}
        if self.rng.random() < 0.1:  # noqa: PLR2004 - the cuff measures now and then
            measured |= {"bpSystolic": self.rng.randint(105, 165), "bpDiastolic": self.rng.randint(60, 95)}
        battery = self.battery.level(moment)
        on = moment < self._on_until
        fields = {"imei": self.name, **measured, "battery": battery}
        texts = {name: str(value) for name, value in fields.items()}
        texts |= {
            "isWearing": str(seen.worn).lower(),
            "sos": str(on).lower(),
            "signal": str(self.rng.randint(5, 31)),
        }
        if shown is not None:
            local = to_datetime(shown * 1000) + _SHANGHAI
            texts |= {"locationDate": f"{local:%y%m%d}", "locationTime": f"{local:%H%M%S}"}
        if self.rng.random() < 0.5:  # noqa: PLR2004 - indoors there is none
            texts["location"] = f"{self.rng.uniform(113.0, 113.2):.6f},{self.rng.uniform(29.3, 29.4):.6f}"
        rows = (
            Row("vitals", shown, said(_named(measured))),
            Row("heartbeat", shown, said({"battery": battery})),
        )
        call = "sos" if on else ""
        return Message(moment, self._topic, to_json(texts), rows, call, state=on, edge=Row("sos", shown))


_NAMES = {
    "heartRate": "hr",
    "bloodOxygen": "spo2",
    "temperature": "temp",
    "stepCount": "steps",
    "bpSystolic": "sbp",
    "bpDiastolic": "dbp",
}


def _named(measured: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured by the contract's names."""
    return {_NAMES[name]: value for name, value in measured.items()}
