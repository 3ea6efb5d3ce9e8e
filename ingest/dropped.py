"""What the broker has thrown away, by its own count: each rise is an alarm.

mosquitto says the count when it rises and forgets what it said a minute later. So a rise while we were away
is heard of if we are back by then, else with the next one, which brings the sum of both.
"""

import asyncio
import logging
from typing import Final

import aiomqtt

from ingest import metrics
from ingest.client import client, end_if_cancelled
from schemas.clock import Clock
from schemas.settings import BrokerSettings
from schemas.topics import DROPPED
from store.own_alarms import Trouble
from store.writer import Store

log = logging.getLogger(__name__)

RETRY: Final = 60.0
"""Seconds; some brokers hang up on whoever asks for their counts."""


class Dropped:
    """The broker's count of dropped messages, and what duty has been told of it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Ask `store` what was told, when the first count comes."""
        self._store = store
        self._clock = clock
        self._told: int | None = None

    async def run(self, settings: BrokerSettings) -> None:
        """Hear what the broker counts, for ever; one that does not say is asked again now and then."""
        while True:
            try:
                async with client(settings, "dropped") as broker:
                    await broker.subscribe(DROPPED)
                    async for message in broker.messages:
                        if message.payload.isdigit():
                            await self.note(int(message.payload))
                        end_if_cancelled()
            except aiomqtt.MqttError as error:
                log.debug("the broker does not say what it has dropped: %s", error)
            end_if_cancelled()
            await asyncio.sleep(RETRY)

    async def note(self, count: int) -> None:
        """Take up the broker's count; the alarm is durable when this returns.

        The count begins anew when the broker starts, so what is below the last one is all new.
        """
        metrics.BROKER_DROPPED.set(count)
        told = await self._store.dropped_told() if self._told is None else self._told
        more = count - told if count >= told else count
        if more:
            said = {"dropped": count, "more": more}
            await self._store.raise_own(Trouble("messages_dropped", self._clock.now(), said))
        self._told = count
