"""The canary: every few seconds a message of our own goes through broker and database, on both lanes.

It is published as a device publishes an event. The decoder ignores it by name, and it is back when the batch
that it came in is acknowledged. At the broker it stood behind all that was kept for us: once one is back that
was published after both sessions had connected, no backlog is left, and silence may be judged (P6).
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import aiomqtt

from ingest import metrics
from ingest.client import client, end_if_cancelled
from schemas import topics
from schemas.readings import Batch
from schemas.settings import BrokerSettings
from schemas.topics import Lane

log = logging.getLogger(__name__)

EVERY: Final = 5.0
RETRY: Final = 2.0
FRESH: Final = 30.0
"""Seconds since the last return after which the line is not taken for working."""
PATIENCE: Final = 60.0
"""Seconds after which silence is judged even so, if the broker passes no canary on to anybody."""
REMEMBERED: Final = 1_000
"""Canaries that may be under way: with the database away for long, the newest count."""
UNDER_WAY: Final = 3
SELDOM: Final = 60.0
"""Seconds between two when so many are under way: they wait where calls for help do, and must leave room."""

_NEVER = float("-inf")


@dataclass
class _Flight:
    """One canary under way: when it was published, and on which connections each lane heard then."""

    at: float
    connections: dict[Lane, int]
    awaited: set[Lane] = field(default_factory=lambda: set(Lane))


class Canary:
    """What is known of our canaries. Only those of this run count: whoever forges one is ignored."""

    def __init__(self, connections: Callable[[], dict[Lane, int]]) -> None:
        """Ask `connections()` which lanes hear, and for the numbers of their connections."""
        self._connections = connections
        self._run = secrets.token_hex(8)
        self._number = 0
        self._flights: dict[bytes, _Flight] = {}
        self._back = dict.fromkeys(Lane, _NEVER)
        self._caught_up: dict[Lane, int] = {}
        self._connected_at = _NEVER
        self._echoed_at = _NEVER
        self._flown_at = _NEVER
        self._warned = False
        self.due = asyncio.Event()

    @property
    def is_back(self) -> bool:
        """Say whether one came back lately on both lanes; false before the first return."""
        return min(self._back.values()) >= time.monotonic() - FRESH

    @property
    def may_fly(self) -> bool:
        """Say whether it is time for one; always after a reconnect, seldom while none comes back."""
        return (
            self.due.is_set() or len(self._flights) < UNDER_WAY or time.monotonic() - self._flown_at >= SELDOM
        )

    def take_off(self) -> bytes:
        """Return the payload of the next canary, which is under way from now on."""
        self.due.clear()
        self._flown_at = time.monotonic()
        self._number += 1
        payload = f'{{"run": "{self._run}", "number": {self._number}}}'.encode()
        self._flights[payload] = _Flight(self._flown_at, self._connections())
        if len(self._flights) > REMEMBERED:
            del self._flights[next(iter(self._flights))]
        return payload

    def land(self, batch: Batch) -> None:
        """Note the canaries of a batch that is committed and acknowledged."""
        for payload in batch.canaries:
            flight = self._flights.get(payload)
            if flight is None or batch.lane not in flight.awaited:
                continue
            self._note(batch.lane, flight)
            flight.awaited.discard(batch.lane)
            if not flight.awaited:
                self._flights = {
                    later: each for later, each in self._flights.items() if each.at > flight.at
                }  # those before it, which the broker has passed over, are lost

    def _note(self, lane: Lane, flight: _Flight) -> None:
        now, name = time.monotonic(), lane.name.lower()
        self._back[lane] = now
        self._caught_up[lane] = max(self._caught_up.get(lane, 0), flight.connections.get(lane, 0))
        metrics.CANARY_SECONDS.labels(name).observe(now - flight.at)
        metrics.CANARY.labels(name).set_to_current_time()

    def reconnected(self) -> None:
        """Send one at once: both lanes hear again, and what the broker kept for them comes first."""
        self._connected_at = time.monotonic()
        self.due.set()

    def echoed(self) -> None:
        """Note that the broker passes our canaries on."""
        self._echoed_at = time.monotonic()
        self._warned = False

    @property
    def caught_up(self) -> bool:
        """Say whether all that was published before the present connections has been committed."""
        numbers = self._connections()
        return all(self._caught_up.get(lane) == numbers.get(lane, 0) for lane in Lane) or self._is_mute()

    def _is_mute(self) -> bool:
        """Say whether no canary can ever come back, for the broker passes none on."""
        waited = time.monotonic() - self._connected_at
        if self._echoed_at >= self._connected_at or waited < PATIENCE or len(self._connections()) < len(Lane):
            return False
        if not self._warned:
            log.error(
                "the broker passes no canary on: let the bridge's user write %s, see"
                " ops/mosquitto/carebell.acl; silence is judged without knowing whether a backlog is left",
                topics.canary("+"),
            )
            self._warned = True
        return True


async def run_canary(settings: BrokerSettings, canary: Canary) -> None:
    """Publish canaries for ever; a broker that is away is waited for."""
    topic = topics.canary(settings.client_id)
    while True:
        try:
            async with client(settings, "canary") as broker:
                await broker.subscribe(topic, qos=1)
                await _fly(broker, topic, canary)
        except aiomqtt.MqttError as error:
            log.warning("canary: %s; trying again", error)
        end_if_cancelled()
        await asyncio.sleep(RETRY)


async def _fly(broker: aiomqtt.Client, topic: str, canary: Canary) -> None:
    listening = asyncio.create_task(_listen(broker, canary))
    try:
        while True:
            if canary.may_fly:
                await broker.publish(topic, canary.take_off(), qos=1)
                end_if_cancelled()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await canary.due.wait()
    finally:
        listening.cancel()


async def _listen(broker: aiomqtt.Client, canary: Canary) -> None:
    """Note what the broker passes on; a connection that is lost is found by the next canary, which is due."""
    with contextlib.suppress(aiomqtt.MqttError):
        async for _ in broker.messages:
            canary.echoed()
    canary.due.set()
