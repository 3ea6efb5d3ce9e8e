"""Vendors' messages on their way into a batch: whose they are, what they say, what of them cannot be used.

What a source makes of a message stands in `schemas.sources`; here its device is looked up, states are
followed, and plain messages are taken together.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from ingest.columns import Row, as_received, lay_columns
from ingest.registry import Registry
from ingest.states import States
from schemas import topics
from schemas.errors import SenderFaultError
from schemas.readings import CALLS, Batch, Columns, DeadLetter, Delivery, Event, Quality
from schemas.sources.bulk import Bulk
from schemas.sources.bulk import Row as PlainRow
from schemas.sources.compiled import Reader, Sources
from schemas.sources.records import Record, Said
from schemas.topics import Channel

log = logging.getLogger(__name__)

_KEPT: Final = 200_000


@dataclass(slots=True)
class _Way:
    """How messages on one topic are read; `device_id` is -1 unless the topic alone tells it."""

    reader: Reader
    levels: Sequence[str]
    bulk: Bulk | None
    may_be_plain: bool
    device_id: int = -1


class _Read(NamedTuple):
    """A message, its one record, None if it must be read alone, and its device, -1 if that is not known yet.

    The delivery is kept so that no other one has its identity.
    """

    delivery: Delivery
    record: PlainRow | None
    device_id: int


class Vendors:
    """The sources of an installation, with the registry's ids and the states that hold."""

    def __init__(self, registry: Registry, max_payload: int, sources: Sources, states: States) -> None:
        """`max_payload` in bytes; longer ones are looked through for calls only."""
        self._registry = registry
        self._max_payload = max_payload
        self._sources = sources
        self._states = states
        self._bulks = {reader: Bulk.of(reader) for reader in sources.readers}
        self._ways: dict[str, _Way] = {}
        self._held: Counter[int] | None = None  # states that hold, by device; None: to be counted anew
        self._by_vendor_id: dict[str, int] = {}
        self._reads: dict[int, _Read] = {}
        self._said: dict[int, tuple[Delivery, Said]] = {}

    def read(self, topic: str) -> bool:
        """Say whether a topic is a vendor's."""
        return topic in self._ways or self._sources.find(topic) is not None

    def forget_devices(self) -> None:
        """Look devices up anew: the registry has changed."""
        self._ways.clear()
        self._by_vendor_id.clear()
        self._reads = {key: read._replace(device_id=-1) for key, read in self._reads.items()}
        self._held = None

    def forget_messages(self) -> None:
        """Let go of what was read of messages: their batch is made."""
        self._reads.clear()
        self._said.clear()

    def note_strangers(
        self, deliveries: Iterable[Delivery], life: dict[str, str | None], others: dict[str, str | None]
    ) -> None:
        """Add the devices of vendors' messages that are not known yet: those that call, and the others."""
        for delivery in deliveries:
            way = self._ways.get(delivery.topic) or self._way(delivery.topic)
            if way is None or way.device_id >= 0 or self._read_once(delivery, way).device_id >= 0:
                continue
            for record in self._hear(delivery).records:
                calls = _calls(record)
                device = _named(record, delivery.topic)
                if device is None:
                    continue
                if calls and self._registry.life_id(device) is None:
                    life[device] = None
                elif not calls and self._registry.telemetry_id(device) is None:
                    others[device] = None

    def plain(self, batch: Batch, rest: Iterable[int]) -> tuple[list[Columns], list[int]]:
        """Return the readings of plain messages, one part a channel, and what must be read one by one."""
        alone: list[int] = []
        groups: dict[Bulk, list[tuple[int, int, PlainRow]]] = {}
        others: set[int] = set()
        parts: list[Columns] = []
        for message in rest:
            delivery = batch.deliveries[message]
            way = self._ways.get(delivery.topic) or self._way(delivery.topic)
            if way is None or way.bulk is None or not way.may_be_plain:
                alone.append(message)
                continue
            read = self._read_once(delivery, way)
            sender, record = read.device_id, read.record
            if record is None:
                alone.append(message)
                others.add(sender)
            else:
                groups.setdefault(way.bulk, []).append((message, sender, record))
        for bulk, members in groups.items():
            messages, senders, records = map(list, zip(*members, strict=True))
            deliveries = [batch.deliveries[message] for message in messages]
            plain = bulk.read(records)
            device_id = np.array(senders, np.int32)
            ok = (
                plain.is_plain
                & (device_id >= 0)
                & ~np.array([each.retained for each in deliveries], np.bool_)
            )
            if bulk.has_states:  # what begins or ends a state is read in its order
                held, told = self._holding(), others | {*device_id[~ok].tolist()}
                ok &= np.array([not held[each] and each not in told for each in senders], np.bool_)
            alone += [message for message, is_ok in zip(messages, ok.tolist(), strict=True) if not is_ok]
            if not ok.any():
                continue
            received_at = np.array([each.received_at for each in deliveries], np.int64)
            for channel in bulk.channels:
                values = {name: plain.values[name] for name in bulk.names[channel] if name in plain.values}
                if not values:
                    continue
                chosen = np.flatnonzero(ok & ~np.all([np.isnan(each) for each in values.values()], axis=0))
                keys = {
                    "message": np.array(messages)[chosen],
                    "device_id": device_id[chosen],
                    "channel": channel,
                    "event": Event.NONE,
                    "received_at": received_at[chosen],
                    "alive": True,
                    "stored": True,
                    "quality": Quality.LATE if bulk.late else Quality.OK,
                    "ts_sent": plain.ts[chosen],
                }
                parts.append(
                    lay_columns(keys, {name: each[chosen] for name, each in values.items()}, len(chosen))
                )
        return parts, sorted(alone)

    def _holding(self) -> Counter[int]:
        """Return how many states hold, by device."""
        if self._held is None:
            found = (self._registry.life_id(device) for device, _ in self._states)
            self._held = Counter(device_id for device_id in found if device_id is not None)
        return self._held

    def rows(self, message: int, batch: Batch, *, redriven: bool) -> list[Row]:
        """Return the rows of a message, and lay down in the batch what of it cannot be used.

        What is `redriven` is long past: it neither begins nor ends a state.
        """
        delivery = batch.deliveries[message]
        said = self._hear(delivery)
        if said.ignored:
            batch.ignored[said.ignored] = batch.ignored.get(said.ignored, 0) + 1
            return []
        rows, faults = [], list(said.faults)
        for record in said.records:
            try:
                rows += self._row(record, message, batch, redriven=redriven)
            except SenderFaultError as fault:
                faults.append(fault)
        if not rows and not faults and said.records:  # a state that goes on: the device lives
            beat = said.records[0]._replace(channel=Channel.HEARTBEAT, event=Event.NONE, state="")
            rows += self._row(beat, message, batch, redriven=redriven)
        if not rows and not faults:
            faults.append(SenderFaultError("unmapped"))
        if faults:
            detail = "; ".join(dict.fromkeys(fault.detail for fault in faults if fault.detail))[:500]
            reason = faults[0].reason
            batch.dead.append(DeadLetter.of(message, delivery, reason, detail, whole=not rows))
        return rows

    def _row(self, record: Record, message: int, batch: Batch, *, redriven: bool) -> list[Row]:
        """Return the row of a record, none if it is of a state that goes on; raises SenderFaultError."""
        delivery = batch.deliveries[message]
        name = _named(record, delivery.topic)
        if name is None:
            raise SenderFaultError("bad_device", f"{record.device[:100]!r} cannot be the name of a device")
        is_life = record.event in CALLS  # also the end of such a state: else it would hold for ever
        device_id = self._registry.life_id(name) if is_life else self._registry.telemetry_id(name)
        if device_id is None:
            raise SenderFaultError("unknown_device", name)
        event, fields = record.event, dict(record.fields)
        if record.state:
            happens = self._state(record, name, device_id, batch, redriven=redriven)
            if happens is None:
                return []
            event = happens
        channel = Channel.EVENT if event is not record.event else record.channel
        if event is not Event.NONE:
            fields = as_received(fields, delivery)
        quality = Quality.LATE if record.late else Quality.OK
        if not record.readable:
            quality = Quality.UNREADABLE
        alive = self._registry.proves_life(device_id, delivery) and event is not Event.OFFLINE
        return [
            Row(
                message, device_id, channel, event, delivery.received_at, fields, alive=alive, quality=quality
            )
        ]

    def _state(
        self, record: Record, name: str, device_id: int, batch: Batch, *, redriven: bool
    ) -> Event | None:
        """Return the event that what is said of a state is, None if it only goes on.

        What is told of earlier, or cannot be read, neither begins nor ends what is now.
        """
        if redriven or record.late or not record.readable:
            is_news = record.on and not self._states.holds(name, record.state)
            return record.event if is_news else None
        change = self._states.tell(name, record.state, on=record.on)
        if change is None:
            return None
        batch.states.append(change)
        self._holding()[device_id] += 1 if record.on else -1
        return record.event if record.on else record.over

    def _way(self, topic: str) -> "_Way | None":
        """Settle how messages on a topic are read, and remember it; None for a topic of no source."""
        found = self._sources.find(topic)
        if found is None:
            return None
        reader, levels = found
        bulk = self._bulks[reader]
        if len(self._ways) >= _KEPT:
            self._ways.clear()
        way = self._ways[topic] = _Way(
            reader, levels, bulk, may_be_plain=bulk is not None and bulk.fits(levels)
        )
        return way

    def _read_once(self, delivery: Delivery, way: "_Way") -> "_Read":
        """Return the record of a message and its device; taken apart once, for strangers or for the batch."""
        read = self._reads.get(id(delivery))
        if read is not None and read.device_id >= 0:
            return read
        if read is not None:
            record = read.record
        else:
            fits = way.bulk is not None and len(delivery.payload) <= self._max_payload
            record = way.bulk.record(delivery.payload, delivery.received_at) if way.bulk and fits else None
        read = self._reads[id(delivery)] = _Read(delivery, record, self._known_sender(record, way))
        return read

    def _known_sender(self, record: PlainRow | None, way: "_Way") -> int:
        """Return the device of a message that names one, -1 if it is not known yet."""
        if way.device_id >= 0:
            return way.device_id
        if way.bulk is None:
            return -1
        if way.reader.id_slot is None:
            way.device_id = self._telemetry_id(way.reader.sender(way.levels))
            return way.device_id
        if record is None:
            return -1  # several records may be of several devices
        told = way.bulk.sender(record)
        if type(told) is str and (known := self._by_vendor_id.get(told, -1)) >= 0:
            return known
        key = way.reader.sender(way.levels, told)
        found = self._telemetry_id(key)
        if found >= 0:
            if len(self._by_vendor_id) >= _KEPT:
                self._by_vendor_id.clear()
            self._by_vendor_id[key] = found
        return found

    def _telemetry_id(self, vendor_id: str) -> int:
        name = topics.vendor_device(vendor_id)
        found = self._registry.telemetry_id(name) if name else None
        return -1 if found is None else found

    def _hear(self, delivery: Delivery) -> Said:
        """Return what a message says; it is read once, for strangers or for the batch."""
        known = self._said.get(id(delivery))
        if known is None:
            said = hear(self._sources, delivery, self._max_payload) or Said()
            known = self._said[id(delivery)] = (delivery, said)
        return known[1]


def _calls(record: Record) -> bool:
    return record.event in CALLS and record.on


def hear(sources: Sources, delivery: Delivery, max_payload: int) -> Said | None:
    """Return what a vendor's message says, None for one of no source; never raises.

    A fault of ours must not let one message block the line (P7), and a call for help is a call (P2).
    """
    found = sources.find(delivery.topic)
    if found is None:
        return None
    reader, levels = found
    try:
        return reader.hear(levels, delivery, max_payload)
    except Exception as error:
        log.exception("cannot read a message on %s", delivery.topic)
        fault = SenderFaultError("bad_message", f"decoding it failed: {type(error).__name__}")
    try:
        return reader.unreadable(levels, delivery.payload, fault)
    except Exception:
        log.exception("cannot even look for a call on %s", delivery.topic)
        return Said(faults=[fault])


def _named(record: Record, topic: str) -> str | None:
    """Return what the device of a vendor's record is called; None if it cannot be called anything.

    For a call for help there is always a name: one of its own, which no real device can bear.
    """
    name = topics.vendor_device(record.device)
    if name is None and _calls(record):
        return topics.nameless(f"{topic} {record.device}")
    return name
