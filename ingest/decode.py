"""From MQTT deliveries to a batch: every delivery ends as readings, as a dead letter, or ignored by name.

Nothing that a client can send raises here. What cannot be read becomes a dead letter; on a topic that ends
as a life alarm's does, it also becomes a reading that alarms (promise P2).
"""

import logging
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json

from ingest import bulk, clocks
from ingest.columns import Row, as_received, as_sent, finish, lay_out
from ingest.registry import Registry
from ingest.states import States
from ingest.vendors import Vendors
from schemas import topics
from schemas.errors import SenderFaultError
from schemas.messages import ADAPTERS
from schemas.readings import RECEIPT, Batch, Columns, DeadLetter, Delivery, Event
from schemas.sources.compiled import Sources
from schemas.topics import Channel, Lane

log = logging.getLogger(__name__)

_ROUTES_KEPT = 200_000
_FALL = {
    "detected": Event.FALL_DETECTED,
    "confirmed": Event.FALL_CONFIRMED,
    "cancelled": Event.FALL_CANCELLED,
}
_STATUS = {"online": Event.ONLINE, "offline": Event.OFFLINE}
_WORDS = {b"online": "online", b"offline": "offline", b'"online"': "online", b'"offline"': "offline"}
_UNREADABLE = {Channel.SOS: Event.SOS, Channel.FALL: Event.FALL_DETECTED}


class Route(NamedTuple):
    """Where a topic leads; `crc` is of the topic itself."""

    channel: Channel
    device_id: int
    crc: int


class Decoder:
    """Turn deliveries into batches, with the registry's ids."""

    def __init__(
        self,
        registry: Registry,
        max_payload: int,
        sources: Sources | None = None,
        states: States | None = None,
    ) -> None:
        """`max_payload` in bytes; longer ones are dead letters. `states` follow what is decoded."""
        self._registry = registry
        self._max_payload = max_payload
        self._vendors = Vendors(registry, max_payload, sources or Sources(), states or States())
        self._routes: dict[str, Route] = {}
        self._registry_version = registry.version

    def strangers(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[dict[str, str | None], dict[str, str | None]]:
        """Return the devices not known yet, name to region: those that call for help, and the others."""
        self._forget_routes()
        life: dict[str, str | None] = {}
        others: dict[str, str | None] = {}
        vendors: set[str] = set()
        for topic in {each.topic for each in deliveries if each.topic not in self._routes}:
            if self._vendors.read(topic):
                vendors.add(topic)
                continue
            if self._is_known(topic):
                continue
            device, region, calls = sender(topic)
            if device is None:
                continue
            if calls and self._registry.life_id(device) is None:
                life[device] = region
            elif not calls and self._registry.telemetry_id(device) is None:
                others[device] = region
        if vendors:
            self._vendors.note_strangers((each for each in deliveries if each.topic in vendors), life, others)
        return life, {name: region for name, region in others.items() if name not in life}

    def _forget_routes(self) -> None:
        """Begin anew where the registry has changed: a name may mean another device now."""
        if self._registry.version != self._registry_version:
            self._routes.clear()
            self._vendors.forget_devices()
            self._registry_version = self._registry.version

    def decode(
        self, lane: Lane, deliveries: Sequence[Delivery], now: int, *, redriven: bool = False
    ) -> Batch:
        """Return the batch that these deliveries make; `now` is the clock in microseconds.

        What is `redriven` is long past: it neither begins nor ends a state.
        """
        self._forget_routes()
        batch = Batch(lane, now, deliveries=deliveries)
        routes = [self._routes.get(delivery.topic) for delivery in deliveries]
        batch.receipts = _receipts(deliveries, routes)
        parts: list[Columns] = []
        rest: Iterable[int] = range(len(deliveries))
        if lane is Lane.TELEMETRY:
            try:
                parts, rest = self._plain(batch, routes)
            except Exception:  # a fault of ours: one by one, so that no message blocks the others (P7)
                log.exception("cannot decode %d messages together", len(deliveries))
        if not redriven:
            try:
                more, rest = self._vendors.plain(batch, rest)
                parts += more
            except Exception:  # as above
                log.exception("cannot decode %d messages of vendors together", len(deliveries))
        rows: list[Row] = []
        for message in rest:
            delivery = deliveries[message]
            try:
                if self._vendors.read(delivery.topic):
                    rows += self._vendors.rows(message, batch, redriven=redriven)
                else:
                    rows += self._rows(lane, message, delivery, batch)
            except SenderFaultError as fault:
                batch.dead.append(_dead(message, delivery, fault))
                rows += self._cry(message, delivery)
            except Exception as error:  # a fault of ours must not let one message block the line (P7)
                log.exception("cannot decode a message on %s", delivery.topic)
                ours = SenderFaultError("bad_message", f"decoding it failed: {type(error).__name__}")
                batch.dead.append(_dead(message, delivery, ours))
                rows += self._cry(message, delivery)
        parts.append(as_sent(rows, batch.details))
        readings = np.concatenate(parts)
        moved, batch.clocks = clocks.judge(readings, self._registry.clock_hours)
        batch.readings = finish(readings, batch.details, moved)
        self._vendors.forget_messages()
        return batch

    def _plain(self, batch: Batch, routes: Sequence[Route | None]) -> tuple[list[Columns], list[int]]:
        """Return the readings of plain messages, one part a channel, and what must be read one by one."""
        deliveries, parts = batch.deliveries, []
        device_id = np.array([route.device_id if route else -1 for route in routes], np.int32)
        received_at = np.array([delivery.received_at for delivery in deliveries], np.int64)
        alive = ~np.array([delivery.retained for delivery in deliveries], np.bool_)
        by_channel: list[list[int]] = [[] for _ in range(max(Channel) + 1)]
        for message, route in enumerate(routes):
            by_channel[route.channel if route else 0].append(message)
        for channel in bulk.CHANNELS:
            messages, by_channel[channel] = by_channel[channel], []
            payloads = [deliveries[message].payload for message in messages]
            fields: list[bulk.Fields] = []
            chosen: list[int] = []
            for message, found in zip(
                messages, bulk.validate(channel, payloads, self._max_payload), strict=True
            ):
                if found is None:
                    by_channel[channel].append(message)
                else:
                    chosen.append(message)
                    fields.append(found)
            keys = {
                "message": chosen,
                "device_id": device_id[chosen],
                "channel": channel,
                "event": Event.NONE,
                "received_at": received_at[chosen],
                "alive": alive[chosen],
                "stored": True,
            }
            if chosen:
                parts.append(lay_out(keys, fields, batch.details))
        return parts, sorted(chain.from_iterable(by_channel))

    def _rows(self, lane: Lane, message: int, delivery: Delivery, batch: Batch) -> list[Row]:
        known = self._routes.get(delivery.topic)
        if known is None and topics.is_canary(delivery.topic):
            batch.ignored[topics.IGNORED_CANARY] = batch.ignored.get(topics.IGNORED_CANARY, 0) + 1
            batch.canaries.append(delivery.payload)
            return []
        if lane is Lane.TELEMETRY and (
            topics.reaches_urgent(delivery.topic)
            if known is None
            else known.channel in topics.URGENT_CHANNELS
        ):
            batch.ignored[topics.IGNORED_URGENT_TWIN] = batch.ignored.get(topics.IGNORED_URGENT_TWIN, 0) + 1
            return []
        channel, device_id, _ = known or self._route(delivery.topic)
        if device_id < 0:
            raise SenderFaultError("unknown_device", delivery.topic.split("/")[3])
        payload = delivery.payload
        if not payload:
            raise SenderFaultError("empty")
        if len(payload) > self._max_payload:
            raise SenderFaultError("oversized", f"{len(payload)} bytes, allowed are {self._max_payload}")
        if channel is Channel.STATUS and (word := _WORDS.get(payload.strip().lower())):
            return [_status(message, device_id, delivery, {"status": word})]
        partly: SenderFaultError | None = None
        try:
            fields = ADAPTERS[channel].validate_json(payload)
        except ValidationError as error:
            fields = _salvage(channel, payload, error)
            partly = SenderFaultError("bad_field", _faults(error))
        alive = self._registry.proves_life(device_id, delivery)
        rows = _interpret(message, device_id, channel, delivery, fields, alive=alive)
        if partly:
            batch.dead.append(_dead(message, delivery, partly, whole=False))
        return rows

    def _is_known(self, topic: str) -> bool:
        """Say whether a topic is well-formed and its device admitted; remember it if so."""
        try:
            return self._route(topic).device_id >= 0
        except SenderFaultError:
            return False

    def _route(self, topic: str) -> Route:
        """Find channel and device of a topic, and remember them; -1 stands for a device not admitted."""
        address = topics.parse(topic)
        life = address.channel in topics.LIFE_CHANNELS
        lookup = self._registry.life_id if life else self._registry.telemetry_id
        device_id = lookup(address.device)
        if device_id is None:
            return Route(address.channel, -1, 0)
        if len(self._routes) >= _ROUTES_KEPT:
            self._routes.clear()
        route = self._routes[topic] = Route(address.channel, device_id, zlib.crc32(topic.encode()))
        return route

    def recall(self, batch: Batch) -> None:
        """Put back what the history does not tell: calls that could not be read, and who is a stranger."""
        cries: list[Row] = []
        for letter in batch.dead:
            said = Delivery(
                letter.topic, b"", 0, duplicate=False, retained=False, received_at=letter.received_at
            )
            cries += self._cry(letter.message, said)
        readings = np.append(batch.readings, finish(as_sent(cries, []), []))
        readings["alive"] &= ~np.isin(readings["device_id"], list(self._registry.stranger_ids))
        batch.readings = readings[np.argsort(readings["received_at"], kind="stable")]

    def _cry(self, message: int, delivery: Delivery) -> list[Row]:
        """Make an unreadable message on a life topic alarm all the same."""
        channel = topics.life_channel(delivery.topic)
        if channel is None or self._vendors.read(delivery.topic):  # what a vendor's call is was read already
            return []
        device, _, _ = sender(delivery.topic)
        device_id = self._registry.life_id(device) if device else None
        if device_id is None:
            return []
        event, at = _UNREADABLE[channel], delivery.received_at
        alive = self._registry.proves_life(device_id, delivery)
        return [Row(message, device_id, channel, event, at, {}, alive, readable=False)]


def sender(topic: str) -> tuple[str | None, str | None, bool]:
    """Return who sent on a topic, from where, and whether it calls for help.

    A malformed topic that calls for help gets a name of its own, which no real device can bear.
    """
    calls = topics.life_channel(topic) is not None
    try:
        address = topics.parse(topic)
    except SenderFaultError:
        if not calls:
            return None, None, False
        if device := topics.device_in(topic):
            return device, None, True
        return topics.nameless(topic), None, True
    return address.device, address.region, calls


def _receipts(deliveries: Sequence[Delivery], routes: Sequence[Route | None]) -> Columns:
    receipts = np.empty(len(deliveries), RECEIPT)
    receipts["packet_id"] = [delivery.packet_id for delivery in deliveries]
    receipts["duplicate"] = [delivery.duplicate for delivery in deliveries]
    receipts["hash"] = [
        zlib.crc32(delivery.payload, route.crc if route else zlib.crc32(delivery.topic.encode()))
        for delivery, route in zip(deliveries, routes, strict=True)
    ]
    return receipts


def _dead(message: int, delivery: Delivery, fault: SenderFaultError, *, whole: bool = True) -> DeadLetter:
    return DeadLetter.of(message, delivery, fault.reason, fault.detail, whole=whole)


def _salvage(channel: Channel, payload: bytes, error: ValidationError) -> dict[str, Any]:
    """Return the fields that can be used without those at fault; raises SenderFaultError if none can."""
    places = [fault["loc"] for fault in error.errors(include_url=False, include_input=False)]
    if () in places:
        raise SenderFaultError("not_json", _faults(error)) from error
    message = from_json(payload)
    for place in places:
        _remove(message, place)
    try:
        fields = ADAPTERS[channel].validate_python(message)
    except ValidationError as again:
        raise SenderFaultError("bad_message", _faults(error)) from again
    if late := fields.get("readings"):
        damaged = {place[1] for place in places if place[0] == "readings"}
        fields["readings"] = [f for place, f in enumerate(late) if place not in damaged or _says(f)]
    if channel in (Channel.VITALS, Channel.ACTIVITY, Channel.STATUS) and not _says(fields):
        raise SenderFaultError("bad_message", _faults(error))
    return fields


def _says(fields: dict[str, Any]) -> bool:
    """Say whether there is anything in the fields beside time and counter."""
    return any(value not in (None, []) for name, value in fields.items() if name not in ("ts", "seq"))


def _remove(message: Any, place: tuple[int | str, ...]) -> None:  # noqa: ANN401 - JSON can be anything
    """Take the value at a place out of a JSON document; a list's element leaves an empty object behind."""
    *path, last = place
    for step in path:
        message = message[step]
    if isinstance(message, dict):
        message.pop(last, None)
    elif isinstance(message, list) and isinstance(last, int):
        message[last] = {}


def _faults(error: ValidationError) -> str:
    """Say in one line what pydantic found, without repeating the payload."""
    found = error.errors(include_url=False, include_input=False)[:5]
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'payload'}: {fault['msg']}" for fault in found)[
        :500
    ]


def _interpret(
    message: int, device_id: int, channel: Channel, delivery: Delivery, fields: dict[str, Any], *, alive: bool
) -> list[Row]:
    """Return the readings in the fields of one message: one, or several in a late batch."""
    at = delivery.received_at
    if channel is Channel.VITALS:
        late = fields.pop("readings", None) or []
        rows = [
            Row(message, device_id, channel, Event.NONE, at, {"seq": fields.get("seq"), **f}, alive)
            for f in late
        ]
        if not late or set(fields) - {"ts", "seq"}:
            rows.append(Row(message, device_id, channel, Event.NONE, at, fields, alive))
        return rows
    if channel is Channel.STATUS:
        return [_status(message, device_id, delivery, fields)]
    event = Event.NONE
    if channel is Channel.SOS:
        event = Event.SOS
    elif channel is Channel.FALL:
        event = _FALL[fields.get("phase") or "detected"]
    elif channel is Channel.EVENT:
        event = Event[fields["kind"].upper()]
    if event is not Event.NONE:
        fields = as_received(fields, delivery)
    return [Row(message, device_id, channel, event, at, fields, alive)]


def _status(message: int, device_id: int, delivery: Delivery, fields: dict[str, Any]) -> Row:
    """Store the device's word on its connection; neither a retained word nor a last will proves life."""
    word = fields.get("status") or fields.get("state")
    if word is None:
        raise SenderFaultError("bad_message", "neither status nor state says online or offline")
    alive = word == "online" and not delivery.retained
    kept = as_received(fields, delivery)
    return Row(message, device_id, Channel.STATUS, _STATUS[word], delivery.received_at, kept, alive)
