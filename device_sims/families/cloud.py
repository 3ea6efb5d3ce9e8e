"""Watches behind the clouds of vendors and carriers: Alink, IoTDA, OneNET, SenML. One watch, four tongues.

Each tells what it measured with its time, keeps what it cannot send and tells it many at a time, and calls.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any, ClassVar, Final

from pydantic_core import to_json

from device_sims.families.base import Agenda, Place
from device_sims.families.names import YEAR_2000
from device_sims.families.wearable import Wearable
from device_sims.message import Entry, Message, Row, said
from device_sims.people import Day
from schemas.clock import to_datetime

_VITALS: Final = ("hr", "spo2", "temp", "steps", "worn")


class CloudWatch(Wearable):
    """One watch."""

    zero = YEAR_2000
    words: ClassVar[dict[str, str]]
    """What the platform calls each value."""

    def __init__(self, place: Place) -> None:
        """Begin its count of messages."""
        super().__init__(place)
        self._count = self.rng.randrange(1000)

    def routine(self, day: Day) -> Agenda:
        """Beat, measure, see falls."""
        yield from self.every(day, self.minutes, self._beat)
        yield from self.measuring(day, self._measure)
        yield from self.falls(day)

    def _beat(self, moment: int) -> Iterable[Message]:
        level = round(self.battery.level(moment))
        yield self._tell(moment, [Entry(self.clock.shows_second(moment), {"battery": level})])

    def _measure(self, moment: int) -> Iterable[Message]:
        seen = self.sample(moment)
        values = {**seen._asdict(), "battery": round(self.battery.level(moment))}
        yield self._tell(moment, [Entry(self.clock.shows_second(moment), values)])

    def _tell(self, moment: int, entries: Sequence[Entry], *, late: bool = False) -> Message:
        """Return a message of some entries; one alone can be put together with others later."""
        topic, body = self.report(entries, late=late)
        rows = [row for entry in entries for row in _rows(entry)]
        entry = entries[0] if len(entries) == 1 else None
        return Message(moment, topic, to_json(body), tuple(rows), entry=entry)

    def late(self, kept: list[Message]) -> Iterator[Message]:
        """Yield what was measured a dozen at a time, and everything else as it was."""
        for entries in self.batches(kept):
            yield self._tell(kept[0].at, entries, late=True)
        yield from (each for each in kept if not (each.entry and each.entry.shown is not None))

    def press(self, moment: int, cause: str) -> Iterator[Message]:
        """Call."""
        yield self._call(moment, "sos", cause)

    def fall(self, moment: int, cause: str) -> Iterable[Message]:
        """Tell a fall."""
        yield self._call(moment, "fall", cause)

    def _call(self, moment: int, call: str, cause: str) -> Message:
        shown = self.clock.shows_second(moment)
        topic, body = self.event(call, shown)
        return Message(moment, topic, to_json(body), (Row(call, shown),), call, cause)

    def number(self) -> int:
        """Return the next number of a message."""
        self._count += 1
        return self._count

    def named(self, entry: Entry) -> Iterator[tuple[str, Any]]:
        """Yield the values of an entry by the platform's names."""
        return ((self.words[name], value) for name, value in entry.values.items())

    @abstractmethod
    def report(self, entries: Sequence[Entry], *, late: bool) -> tuple[str, Any]:
        """Return topic and body of what was measured."""

    @abstractmethod
    def event(self, call: str, shown: int | None) -> tuple[str, Any]:
        """Return topic and body of a call."""


def _rows(entry: Entry) -> Iterator[Row]:
    vitals = {name: value for name, value in entry.values.items() if name in _VITALS}
    if vitals:
        yield Row("vitals", entry.shown, said(vitals))
    yield Row("heartbeat", entry.shown, said({"battery": entry.values["battery"]}))


class Alink(CloudWatch):
    """阿里云 Alink: each property with its time, or bare; events by topic; history for what comes late."""

    family = "alink"
    model = "alink"
    source = "alink"
    prefix = "al"
    words: ClassVar = {
        "hr": "heartRate",
        "spo2": "bloodOxygen",
        "temp": "bodyTemperature",
        "steps": "steps",
        "worn": "isWearing",
        "battery": "batteryPercentage",
    }
    _EVENTS: ClassVar = {"sos": "SOSAlarm", "fall": "fallDown"}

    def _topic(self, rest: str) -> str:
        return f"/sys/a1Kq7Carebell/{self.name}/thing/event/{rest}/post"

    def report(self, entries: Sequence[Entry], *, late: bool) -> tuple[str, Any]:
        """Return properties, or a history of them."""
        head = {"id": str(self.number()), "version": "1.0"}
        told = [{name: _with_time(value, each.shown) for name, value in self.named(each)} for each in entries]
        if not late:
            return self._topic("property"), {**head, "params": told[0], "method": "thing.event.property.post"}
        identity = {"productKey": "a1Kq7Carebell", "deviceName": self.name}
        params = [{"identity": identity, "properties": told}]
        return self._topic("property/history"), {**head, "params": params}

    def event(self, call: str, shown: int | None) -> tuple[str, Any]:
        """Return an event that its topic names."""
        params: dict[str, Any] = {"value": {"key": 1}}
        if shown is not None:
            params["time"] = shown
        return self._topic(self._EVENTS[call]), {"id": str(self.number()), "version": "1.0", "params": params}

    def _call(self, moment: int, call: str, cause: str) -> Message:
        """Return a call; cut off it is one still, for the topic says so."""
        message = super()._call(moment, call, cause)
        if self.rng.random() >= self.knobs.unreadable:
            return message
        payload = message.payload[: self.rng.randrange(1, len(message.payload))]
        return replace(message, payload=payload, rows=(Row(call, None),), dead=("not_json", False))


def _with_time(value: object, shown: int | None) -> object:
    return value if shown is None else {"value": value, "time": shown}


class Iotda(CloudWatch):
    """华为云 IoTDA: services with properties and an event time in UTC; several of them in one message."""

    family = "iotda"
    model = "iotda"
    source = "iotda"
    prefix = "5f0c9a_hw"
    words: ClassVar = {
        "hr": "heartRate",
        "spo2": "bloodOxygen",
        "temp": "bodyTemperature",
        "steps": "steps",
        "worn": "isWearing",
        "battery": "battery",
    }

    def report(self, entries: Sequence[Entry], *, late: bool) -> tuple[str, Any]:
        """Return a service for what was measured, each time."""
        del late
        told = [
            {"service_id": "Health", "properties": dict(self.named(each)), **_event_time(each.shown)}
            for each in entries
        ]
        return f"$oc/devices/{self.name}/sys/properties/report", {"services": told}

    def event(self, call: str, shown: int | None) -> tuple[str, Any]:
        """Return an event of a service."""
        told = {"service_id": "Alarm", "event_type": call, **_event_time(shown), "paras": {"key": 1}}
        return f"$oc/devices/{self.name}/sys/events/up", {"object_device_id": self.name, "services": [told]}


def _event_time(shown: int | None) -> dict[str, str]:
    if shown is None:
        return {}
    return {"event_time": f"{to_datetime(shown * 1000).astimezone(UTC):%Y%m%dT%H%M%SZ}"}


class Onenet(CloudWatch):
    """中国移动 OneNET: data streams, each a list of values with times in seconds."""

    family = "onenet"
    model = "onenet"
    source = "onenet"
    prefix = "yd"
    words: ClassVar = {
        "hr": "heartRate",
        "spo2": "spo2",
        "temp": "bodyTemperature",
        "steps": "steps",
        "worn": "worn",
        "battery": "battery",
    }

    def _topic(self) -> str:
        return f"$sys/9kQx2/{self.name}/dp/post/json"

    def report(self, entries: Sequence[Entry], *, late: bool) -> tuple[str, Any]:
        """Return the streams."""
        del late
        streams: dict[str, list[dict[str, Any]]] = {}
        for each in entries:
            for name, value in self.named(each):
                streams.setdefault(name, []).append({"v": value, **_seconds(each.shown)})
        return self._topic(), {"id": self.number(), "dp": streams}

    def event(self, call: str, shown: int | None) -> tuple[str, Any]:
        """Return a stream of its own."""
        return self._topic(), {"id": self.number(), "dp": {call: [{"v": 1, **_seconds(shown)}]}}


def _seconds(shown: int | None) -> dict[str, int]:
    return {} if shown is None else {"t": shown // 1000}


class Senml(CloudWatch):
    """SenML: records that lean on a base name and a base time."""

    family = "senml"
    model = "senml"
    source = "senml"
    prefix = "ml"
    words: ClassVar = {
        "hr": "hr",
        "spo2": "spo2",
        "temp": "bodyTemperature",
        "steps": "steps",
        "worn": "worn",
        "battery": "battery",
    }

    def report(self, entries: Sequence[Entry], *, late: bool) -> tuple[str, Any]:
        """Return records; times count from that of the first one."""
        del late
        base = entries[0].shown
        records = [
            {
                "n": name,
                **_value(value),
                **({"t": (each.shown - base) // 1000} if base and each.shown else {}),
            }
            for each in entries
            for name, value in self.named(each)
        ]
        records[0] = {"bn": f"{self.name}/", **({"bt": base // 1000} if base else {}), **records[0]}
        return f"senml/{self.name}", records

    def event(self, call: str, shown: int | None) -> tuple[str, Any]:
        """Return a record that is true."""
        time = {} if shown is None else {"bt": shown // 1000}
        return f"senml/{self.name}", [{"bn": f"{self.name}/", **time, "n": call, "vb": True}]


def _value(value: object) -> dict[str, Any]:
    return {"vb": value} if isinstance(value, bool) else {"v": value}
