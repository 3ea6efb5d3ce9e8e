"""Zigbee2MQTT: a panic button and a motion sensor behind a gateway.

They bear no number and seldom a time, do not always tell their battery, and now and then nobody pressed them.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from pydantic_core import to_json

from device_sims.families.base import Agenda, Device, Place
from device_sims.families.home import moves
from device_sims.families.power import Battery
from device_sims.message import Message, Row, said
from device_sims.people import DAY, HOUR, YEAR_DAYS, Day, times
from schemas.clock import SECOND, to_datetime

_NO_BATTERY = 0.3
"""Share of messages that do not tell the battery (assumed)."""


class _Zigbee(Device):
    """What both share."""

    source = "zigbee2mqtt"
    word = ""

    @classmethod
    def name_of(cls, number: int, prefix: str) -> str:
        """Return the name that somebody gave it: every second one in Chinese."""
        return f"{prefix}{cls.word if number % 2 else cls.prefix}-{number:05d}"

    def __init__(self, place: Place) -> None:
        """Draw its interval, its battery, and whether its gateway says when it was seen."""
        super().__init__(place)
        self.hours = self.rng.uniform(*self.knobs.button_heartbeat)
        self.heartbeat_seconds = round(self.hours * 3600)
        self._battery = Battery(self.rng, self.rng.uniform(*self.knobs.button_battery))
        self._seen = self.rng.choice(("", "", "iso", "ms"))
        self._latest = 0

    def tell(self, moment: int, fields: dict[str, Any], *channels: str, **more: Any) -> Message:  # noqa: ANN401 - those of Message
        """Return a message; beside the rows of `channels` it brings the battery where it is known."""
        shown = self._shown(moment)
        rows = [Row(channel, shown) for channel in channels]
        battery = None if self.rng.random() < _NO_BATTERY else round(self._battery.level(moment))
        if battery is not None or not rows:
            rows.append(Row("heartbeat", shown, said({"battery": battery})))
        body = {**fields, "battery": battery, "linkquality": self.rng.randint(20, 255)}
        if shown is not None:
            body["last_seen"] = to_datetime(shown * 1000).isoformat() if self._seen == "iso" else shown
        return Message(moment, f"zigbee2mqtt/{self.name}", to_json(body), tuple(rows), **more)

    def _shown(self, moment: int) -> int | None:
        """Return when the gateway says that it was seen: its own clock is right, and no two are the same."""
        if not self._seen:
            return None
        self._latest = max(self._latest + 1, moment // 1000)
        return self._latest


class Button(_Zigbee):
    """A panic button: each press is followed by an empty action; now and then it is pressed by nobody."""

    family = "zigbee_button"
    model = "zigbee-button"
    prefix = "button"
    word = "卧室按钮"

    def __init__(self, place: Place) -> None:
        """Draw how often it is pressed by nobody."""
        super().__init__(place)
        self._phantoms = self.rng.uniform(*self.knobs.phantom_presses) / YEAR_DAYS

    def routine(self, day: Day) -> Agenda:
        """Say that it lives; the gateway says daily whether it is there."""
        yield from self.every(day, self.hours * 60, lambda moment: [self.tell(moment, {"action": None})])
        yield day.begin + self.rng.randrange(HOUR), self._availability
        for _ in range(times(self.rng, self._phantoms)):
            yield day.begin + self.rng.randrange(DAY), partial(self.press, cause="phantom")

    def press(self, moment: int, cause: str) -> Iterator[Message]:
        """Call for help; the action is over in the same second."""
        yield self.tell(moment, {"action": "emergency"}, "sos", call="sos", cause=cause)
        yield self.tell(moment, {"action": ""})

    def _availability(self, moment: int) -> Iterable[Message]:
        yield Message(
            moment, f"zigbee2mqtt/{self.name}/availability", b'{"state":"online"}', retain=True, sure=True
        )


class Pir(_Zigbee):
    """A motion sensor in each room."""

    family = "zigbee_pir"
    model = "zigbee-pir"
    prefix = "pir"
    word = "客厅人体"

    def routine(self, day: Day) -> Agenda:
        """See somebody move, and soon after nobody."""
        for moment, _ in moves(self.rng, day):
            yield moment, partial(self._occupied, occupied=True)
            yield moment + 90 * SECOND, partial(self._occupied, occupied=False)

    def _occupied(self, moment: int, *, occupied: bool) -> Iterable[Message]:
        fields = {"occupancy": occupied, "tamper": False, "illuminance": self.rng.randrange(400)}
        yield self.tell(moment, fields, "activity")
