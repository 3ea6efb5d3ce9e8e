"""Calls for help that were received and are not stored yet, and which of them to announce next. No I/O here.

A call is a message on a topic of life, however malformed, from when it is first seen until its batch is
committed. All times are seconds of the event loop, so that no clock that is set makes a call wait.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from ingest.decode import sender
from ingest.vendors import hear
from schemas import topics
from schemas.clock import to_datetime
from schemas.messages import ADAPTERS, Unstored
from schemas.readings import CALLS, KEPT_BYTES, Delivery
from schemas.sources.compiled import Sources
from schemas.topics import Channel, Lane

AFTER: Final = 2.0
"""Seconds that a call may take to be stored before it is announced."""
REPEAT: Final = 10.0
"""Seconds between two announcements of one call."""
SHOWN: Final = 1_000
"""Characters of topic and payload in an announcement."""

# A quick look at the end of a topic tells most of telemetry: tens of thousands of messages may be looked at.
_TELEMETRY = {channel.name.lower()[-4:] for channel in Channel if channel not in topics.URGENT_CHANNELS}

_Key = tuple[int, str, bytes]


class Heard(NamedTuple):
    """Who calls and how; `event` is None if the payload does not tell."""

    device: str
    region: str | None
    channel: Channel
    event: str | None


@dataclass(slots=True, eq=False)
class Call:
    """One call for help; `told_at` belongs to MQTT, what is posted to the webhook."""

    delivery: Delivery
    since: float
    heard: Heard | None = None
    """Of a vendor's message; one of the contract tells it when it is asked for."""
    stored_at: float | None = None
    told_at: float | None = None
    is_over: bool = False
    is_posted: bool = False
    post_at: float = 0.0
    attempts: int = 0

    def message(self, now: float) -> Unstored:
        """Return what is to be said of it now; it is read only here, for most calls are stored in time."""
        topic, payload = self.delivery.topic, self.delivery.payload
        heard = self.heard or _heard(topic, payload)
        fields: dict[str, Any] = {
            "state": "unstored" if self.stored_at is None else "stored",
            "device": heard.device,
            "region": heard.region,
            "channel": heard.channel.name.lower(),
            "event": heard.event,
            "topic": topic[:SHOWN],
            "received_at": to_datetime(self.delivery.received_at),
            "waiting": round((now if self.stored_at is None else self.stored_at) - self.since, 1),
            "payload": payload[: 4 * SHOWN].decode(errors="replace")[:SHOWN],
        }
        return Unstored(**fields)


def _heard(topic: str, payload: bytes) -> Heard:
    """Return who calls on a topic of the contract."""
    channel = topics.life_channel(topic) or Channel.SOS
    device, region, _ = sender(topic)
    return Heard(device or topics.UNKNOWN, region, channel, _event(channel, payload))


def _event(channel: Channel, payload: bytes) -> str | None:
    """Return what happened, or None if the payload does not tell."""
    if len(payload) > KEPT_BYTES:
        return None
    try:
        fields = ADAPTERS[channel].validate_json(payload)
    except ValidationError:
        return None
    return "sos" if channel is Channel.SOS else f"fall_{fields.get('phase') or 'detected'}"


class Calls:
    """The calls that wait for their commit, oldest first, and those whose commit is still to be told."""

    def __init__(self, sources: Sources | None = None) -> None:
        """Start with none; `sources` read what vendors' devices say."""
        self._sources = sources or Sources()
        self._waiting: dict[_Key, Call] = {}
        self._stored: list[Call] = []
        self._newest: dict[Lane, Delivery] = {}

    def look(self, lane: Lane, newest_first: Iterable[Delivery], now: float) -> None:
        """Take up the calls among what a lane has not acknowledged; each message is looked at once.

        What a broker sends again on a new connection is the call that it was before.
        """
        seen, newest, found = self._newest.get(lane), None, []
        for delivery in newest_first:
            if delivery is seen:
                break
            newest = newest or delivery
            if call := self._call(lane, delivery, now):
                found.append(call)
        if newest:
            self._newest[lane] = newest
        for call in reversed(found):
            self._waiting.setdefault(_key(call.delivery), call)

    def _call(self, lane: Lane, delivery: Delivery, now: float) -> Call | None:
        """Return the call that a message is, None if it is none."""
        said = hear(self._sources, delivery, KEPT_BYTES) if lane is Lane.URGENT else None
        if said is None:
            return Call(delivery, now) if _calls_for_help(lane, delivery.topic) else None
        for record in said.records:
            if record.event in CALLS and record.on:
                device = topics.vendor_device(record.device) or topics.UNKNOWN
                is_named = record.readable and record.channel in topics.LIFE_CHANNELS
                event = record.event.name.lower() if is_named else None
                channel = Channel.FALL if record.channel is Channel.FALL else Channel.SOS
                return Call(delivery, now, Heard(device, None, channel, event))
        return None

    def stored(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Take off the calls among the messages of a batch that is committed."""
        for delivery in deliveries if self._waiting else ():
            call = self._waiting.pop(_key(delivery), None)
            if call is not None:
                call.stored_at = now
                if call.told_at is not None:
                    self._stored.append(call)

    def overdue(self, now: float) -> list[Call]:
        """Return the calls that have waited too long, the oldest first."""
        return [call for call in self._waiting.values() if now - call.since >= AFTER]

    def due(self, now: float, most: int) -> list[Call]:
        """Return what to announce now: news, then what was stored meanwhile, then what is to be repeated."""
        overdue = self.overdue(now)
        self._stored = [call for call in self._stored if not call.is_over]
        news = islice((call for call in overdue if call.told_at is None), most)
        again = [(call.told_at, call) for call in overdue if call.told_at and now - call.told_at >= REPEAT]
        repeated = [call for _, call in heapq.nsmallest(most, again, key=lambda pair: pair[0])]
        return [*news, *self._stored, *repeated][:most]


def _calls_for_help(lane: Lane, topic: str) -> bool:
    """Say whether a message is a call, and not telemetry's copy of one that the urgent lane carries."""
    if topic[-4:] in _TELEMETRY or topics.life_channel(topic) is None:
        return False
    return lane is Lane.URGENT or not topics.reaches_urgent(topic)


def _key(delivery: Delivery) -> _Key:
    """Tell a message, and what is sent again of it, from every other one; at QoS 0 nothing is sent again."""
    return delivery.packet_id or -delivery.received_at, delivery.topic, delivery.payload
