"""The source of batches: the two sessions, urgent first, and a tick each second."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from ingest import metrics
from ingest.decode import Decoder
from ingest.inbox import Stamp
from ingest.mqtt import Session
from ingest.registry import Registry
from schemas.clock import SECOND, Clock
from schemas.readings import Batch
from schemas.settings import Settings
from schemas.topics import TELEMETRY_FILTERS, URGENT_FILTERS, Lane

TICK: Final = 1.0
"""Real seconds between two ticks."""
DEAF: Final = 5.0
"""Real seconds without a look at the sessions after which silence counts anew: it was not the devices that
were silent, we were deaf (a database that was away, a stopped process, a clock that was set)."""


class Source:
    """Yield decoded batches; the consumer must commit each and `ack` it before it asks for the next."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        registry: Registry,
        *,
        session_lost: Callable[[Lane, int], Awaitable[None]],
        enrol: Callable[[list[int]], None],
        forgive: Callable[[int], None],
        learn_news: Callable[[], bool],
    ) -> None:
        """Call `enrol(device_ids)` for strangers, `forgive(now)` when nobody could be heard until now.

        `learn_news()` is called between two batches, where the registry and the engine may change, and says
        whether there may be more.
        """
        limits = settings.ingest
        stamp = Stamp(clock)
        self._wake = asyncio.Event()
        self._clock = clock
        self._registry = registry
        self._enrol = enrol
        self._forgive = forgive
        self._learn_news = learn_news
        self._decoder = Decoder(registry, limits.max_payload)
        self._batch_rows = limits.batch_rows
        self._next_tick = 0.0
        self._heard_by: tuple[int, ...] = ()
        self._looked_at = clock.now()
        self._taken: dict[Lane, int] = {}
        self.sessions = {
            lane: Session(
                lane,
                filters,
                settings.broker,
                receive_max=receive_max,
                stamp=stamp,
                wake=self.wake,
                session_lost=session_lost,
            )
            for lane, filters, receive_max in (
                (Lane.URGENT, URGENT_FILTERS, limits.urgent_in_flight),
                (Lane.TELEMETRY, TELEMETRY_FILTERS, limits.telemetry_in_flight),
            )
        }

    @property
    def online(self) -> bool:
        """Say whether both sessions are up."""
        return all(session.connected for session in self.sessions.values())

    def wake(self) -> None:
        """Look again at once: there is something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Keep both sessions up; raises FatalError where a retry would not help."""
        async with asyncio.TaskGroup() as group:
            for session in self.sessions.values():
                group.create_task(session.run())

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield batches for ever: urgent ones first, a tick when it is due, else telemetry."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if self._learn_news():
                self.wake()
            self._note_deafness()
            if self.sessions[Lane.URGENT].inbox.count:
                yield await self._take(Lane.URGENT)
            elif loop.time() >= self._next_tick:
                self._next_tick = loop.time() + TICK
                yield Batch(Lane.TELEMETRY, self._heard_until(), scan=self._caught_up())
            elif self.sessions[Lane.TELEMETRY].inbox.count:
                yield await self._take(Lane.TELEMETRY)
            else:
                await self._until_woken(self._next_tick - loop.time())

    def lag(self, lane: Lane) -> float:
        """Return the age, in real seconds, of a lane's oldest message that is not yet acknowledged."""
        inbox = self.sessions[lane].inbox
        oldest = self._taken.get(lane) or (inbox.oldest if inbox.count else self._clock.now())
        return max(0, self._clock.now() - oldest) / SECOND / self._clock.speed

    def recall(self, batch: Batch) -> None:
        """Complete a batch that a restore read from the history, before it is judged again."""
        self._decoder.recall(batch)

    async def ack(self, batch: Batch) -> None:
        """Acknowledge a batch that is committed; must be called once for each, in order."""
        if len(batch.receipts):
            self.sessions[batch.lane].puback(batch.connection, batch.receipts["packet_id"])
            metrics.IN_FLIGHT.labels(batch.lane.name.lower()).dec(len(batch.receipts))
            del self._taken[batch.lane]

    def _note_deafness(self) -> None:
        """Silence counts from the moment at which devices can be heard again."""
        now = self._clock.now()
        heard_by = tuple(s.connections for s in self.sessions.values()) if self.online else ()
        deaf = abs(now - self._looked_at) > DEAF * SECOND * self._clock.speed
        if heard_by and (deaf or heard_by != self._heard_by):
            self._forgive(now)
        self._heard_by, self._looked_at = heard_by, now

    def _heard_until(self) -> int:
        """Return the moment up to which every message received has been judged."""
        waiting = [session.inbox.oldest for session in self.sessions.values() if session.inbox.count]
        return min([self._clock.now(), *waiting])

    def _caught_up(self) -> bool:
        """Say whether silence may be judged: both sessions up and no backlog waiting."""
        return self.online and all(s.inbox.count <= self._batch_rows for s in self.sessions.values())

    async def _until_woken(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _take(self, lane: Lane) -> Batch:
        connection, deliveries = self.sessions[lane].inbox.take(self._batch_rows)
        metrics.RECEIVED.labels(lane.name.lower()).inc(len(deliveries))
        metrics.IN_FLIGHT.labels(lane.name.lower()).inc(len(deliveries))
        self._taken[lane] = deliveries[0].received_at
        life, others = self._decoder.strangers(deliveries)
        if life or others:
            self._enrol(await self._registry.admit(life, others))
        with metrics.STAGE_SECONDS.labels(lane.name.lower(), "decode").time():
            batch = self._decoder.decode(lane, deliveries, self._heard_until())
        batch.connection = connection
        batch.scan = self._caught_up()
        return batch
