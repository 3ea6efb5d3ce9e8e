"""Builders of the unit tests: readings, batches and deliveries. Times are seconds after START."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ingest.decode import Decoder
from ingest.registry import Registry
from rules import ruleset
from rules.engine import Engine
from rules.machine import Registered
from schemas.alarms import Transition
from schemas.clock import SECOND
from schemas.readings import ABSENT, READING, VALUES, Batch, Columns, Delivery, Event, Quality
from schemas.settings import IngestSettings
from schemas.topics import Channel, Lane

START = 1_790_000_000 * SECOND
MINUTE = 60.0
LIFE = (Event.SOS, Event.FALL_DETECTED, Event.FALL_CONFIRMED, Event.FALL_CANCELLED)


def moment(seconds: float) -> int:
    """Return seconds after START in microseconds since 1970."""
    return START + round(seconds * SECOND)


def reading(device_id: int, at: float, *, ts: float | None = None, **columns: Any) -> Columns:  # noqa: ANN401 - any column
    """Return one reading received at a time and measured at `ts`; without it, measured when received."""
    row = np.zeros(1, READING)
    for name in VALUES:
        row[name] = np.nan
    event = columns.get("event", Event.NONE)
    row["channel"] = Channel.VITALS if event is Event.NONE else Channel.EVENT
    row["alive"] = row["stored"] = True
    row["detail"] = -1
    row["ts_sent"] = row["seq"] = ABSENT
    row["device_id"] = device_id
    row["received_at"] = moment(at)
    row["ts"] = moment(at if ts is None else ts)
    row["quality"] = Quality.OK
    for name, value in columns.items():
        row[name] = value
    return row


def batch(*rows: Columns, now: float = 0.0, scan: bool = True) -> Batch:
    """Return a batch of readings, each a message of its own; a tick if there is none."""
    readings = np.concatenate(rows) if rows else np.empty(0, READING)
    readings["message"] = np.arange(len(readings))
    return Batch(Lane.TELEMETRY, moment(now), scan, readings=readings)


def shipped_engine(devices: int = 4) -> Engine:
    """Return an engine with the shipped rules and devices of no model, silent after 30 minutes."""
    return engine_of(ruleset.SHIPPED.read_text("utf-8"), devices)


def engine_of(text: str, devices: int = 4) -> Engine:
    """Return an engine with a rule file and so many devices of which nothing is known."""
    engine = Engine(ruleset.parse(text))
    engine.enrol(Registered.strangers(range(devices)))
    return engine


def play(engine: Engine, *batches: Batch) -> list[Transition]:
    """Evaluate and apply batches one after the other; return all transitions."""
    found = []
    for each in batches:
        delta = engine.evaluate(each)
        engine.apply(delta)
        found += delta.transitions
    return found


def brief(transitions: list[Transition]) -> list[tuple[int, str, str, float]]:
    """Show transitions as device, kind, move and seconds after START."""
    return [(t.device_id, t.kind, t.move.value, (t.at - START) / SECOND) for t in transitions]


@dataclass
class Book:
    """A registrar that numbers devices from 1."""

    ids: dict[str, int] = field(default_factory=dict)

    async def register(self, devices: dict[str, str | None]) -> dict[str, int]:
        """Give each name its number."""
        return {name: self.ids.setdefault(name, len(self.ids) + 1) for name in devices}


@dataclass
class Bench:
    """A decoder with a registry that knows BELL-1 as device 1."""

    max_payload: int = 65_536
    unknown_devices: str = "register"
    max_registered: int = 10_000

    def __post_init__(self) -> None:
        self.book = Book({"BELL-1": 1})
        settings = IngestSettings.model_validate(
            {"unknown_devices": self.unknown_devices, "max_registered": self.max_registered}
        )
        self.registry = Registry(self.book, settings)
        self.registry.learn("BELL-1", 1, self_registered=False)
        self.decoder = Decoder(self.registry, self.max_payload)

    def decode(self, *deliveries: Delivery, lane: Lane | None = None, now: float = 0.0) -> Batch:
        """Admit strangers and decode, as the source does; on the urgent lane for an urgent topic."""
        if lane is None:
            urgent = deliveries[0].topic.rsplit("/", 1)[-1] in ("sos", "fall", "event")
            lane = Lane.URGENT if urgent else Lane.TELEMETRY
        asyncio.run(self.registry.admit(*self.decoder.strangers(deliveries)))
        return self.decoder.decode(lane, deliveries, moment(now))


def delivery(
    topic: str, payload: bytes = b"{}", *, at: float = 0.0, retained: bool = False, packet_id: int = 1
) -> Delivery:
    """Return a message; a topic without a slash is a channel of BELL-1."""
    if "/" not in topic:
        topic = f"carebell/v1/430602/BELL-1/{topic}"
    return Delivery(topic, payload, packet_id, False, retained, moment(at))  # noqa: FBT003 - DUP, as in the tuple
