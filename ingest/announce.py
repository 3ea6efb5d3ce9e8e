"""Announce calls for help that are not stored yet (P8): over MQTT, where the desk hears it, and by webhook.

A call that has waited 2 s for its commit is announced, again every 10 s, and once more when it is stored; its
PUBACK waits all the same. Nothing here needs the database or holds up the line.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import aiomqtt

from ingest import metrics
from ingest.calls import Call, Calls
from ingest.client import client, end_if_cancelled
from ingest.source import Source
from ingest.webhook import Webhook
from schemas.messages import Unstored
from schemas.readings import Delivery
from schemas.settings import Settings
from schemas.sources.compiled import Sources
from schemas.topics import Lane, unstored

log = logging.getLogger(__name__)

LOOK: Final = 0.2
"""Seconds between two looks at what waits."""
AT_ONCE: Final = 20
"""Announcements after a look, so that a long backlog leaves broker and line alone: at most 100 a second."""
PUBACK: Final = 3.0
"""Seconds after which a broker that does not answer is left for a new connection."""
FIRST_BACKOFF: Final = 0.2
LONGEST_BACKOFF: Final = 5.0


class Announcer:
    """What is not stored yet, and the ways to announce it."""

    def __init__(self, settings: Settings, sources: Sources) -> None:
        """Nothing is looked at before `run`; `sources` read what vendors' devices say."""
        self._broker = settings.broker
        self._calls = Calls(sources)
        self._webhook = Webhook(settings.announce.webhook, self._calls) if settings.announce.webhook else None

    def stored(self, deliveries: Sequence[Delivery]) -> None:
        """Take note of the messages of a batch that is committed; must be called for each batch."""
        self._calls.stored(deliveries, asyncio.get_running_loop().time())

    async def run(self, source: Source) -> None:
        """Look at what `source` has not acknowledged, and announce, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(source))
            group.create_task(self._stay_connected())
            if self._webhook:
                group.create_task(self._webhook.run())

    async def _look(self, source: Source) -> None:
        loop = asyncio.get_running_loop()
        before: dict[Lane, Delivery | None] = {}
        while True:
            for lane in Lane:
                oldest = source.oldest(lane)
                if oldest and (lane is Lane.URGENT or oldest is before.get(lane)):  # not if it flows
                    self._calls.look(lane, source.unacknowledged(lane), loop.time())
                before[lane] = oldest
            metrics.UNSTORED.set(len(self._calls.overdue(loop.time())))
            await asyncio.sleep(LOOK)

    async def _stay_connected(self) -> None:
        """Announce for ever; a broker that is away is waited for."""
        backoff = FIRST_BACKOFF
        while True:
            try:
                async with client(self._broker, "announce") as broker:
                    backoff = FIRST_BACKOFF
                    await self._announce(broker)
            except (aiomqtt.MqttError, OSError) as error:
                log.warning("announcing: %s; trying again", error)
            end_if_cancelled()
            await asyncio.sleep(backoff)
            backoff = min(LONGEST_BACKOFF, backoff * 2)

    async def _announce(self, broker: aiomqtt.Client) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for call in self._calls.due(loop.time(), AT_ONCE):
                await self._say(broker, call, loop.time())
            await asyncio.sleep(LOOK)

    @staticmethod
    async def _say(broker: aiomqtt.Client, call: Call, now: float) -> None:
        """Publish what is so now; what the broker did not take is due at once on the next connection."""
        if call.is_over or (call.told_at is None and call.stored_at is not None):
            return  # stored while others were announced
        message, before = call.message(now), call.told_at
        call.told_at = now  # from here on it may have been heard
        try:
            await broker.publish(
                _topic(message), message.model_dump_json(exclude_none=True), qos=1, timeout=PUBACK
            )
        except BaseException:
            call.told_at = before
            raise
        end_if_cancelled()
        call.is_over = message.state == "stored"
        metrics.ANNOUNCED.labels("mqtt").inc(before is None)


def _topic(message: Unstored) -> str:
    """Return where it is announced."""
    return unstored(message.region or "", message.device, message.channel)
