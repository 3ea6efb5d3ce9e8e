"""The source of batches: the two sessions, urgent first, and a tick each second."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ingest import metrics
from ingest.canary import Canary
from ingest.clocks import Clocks
from ingest.decode import Decoder
from ingest.inbox import Stamp
from ingest.mqtt import Session
from ingest.redrive import Redrive, complete
from ingest.registry import Registry
from ingest.states import States
from schemas.clock import SECOND, Clock
from schemas.readings import Batch, Delivery
from schemas.settings import Settings
from schemas.sources.compiled import Sources
from schemas.topics import TELEMETRY_FILTERS, URGENT_FILTERS, Lane
from store.dead import Waiting

TICK: Final = 1.0
"""Real seconds between two ticks."""
LINGER: Final = 0.05
"""Real seconds for which telemetry waits for more."""
PAUSE: Final = 0.003
"""Real seconds without a message after which it does not wait any longer."""
DEAF: Final = 5.0
"""Real seconds without a look at the sessions after which silence counts anew: it was not the devices that
were silent, we were deaf (a database that was away, a stopped process, a clock that was set)."""


class _Ahead(NamedTuple):
    """Telemetry taken while the batch before it is committed; no `batch` yet if it brings strangers."""

    connection: int
    deliveries: list[Delivery]
    batch: Batch | None


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
        has_news: Callable[[], bool],
        stored: Callable[[Sequence[Delivery]], None],
        redrive: Redrive,
        sources: Sources,
        states: States,
        clocks: Clocks,
    ) -> None:
        """Call `enrol(device_ids)` for strangers, `forgive(now)` when nobody could be heard until now.

        `stored(deliveries)` is told of each batch that is committed, before its PUBACKs are sent.
        `learn_news()` is called between two batches, where the registry and the engine may change, and says
        whether there may be more; never while a batch is decoded ahead, and none is while `has_news()`.
        """
        limits = settings.ingest
        stamp = Stamp(clock)
        self._wake = asyncio.Event()
        self._clock = clock
        self._registry = registry
        self._enrol = enrol
        self._forgive = forgive
        self._learn_news = learn_news
        self._has_news = has_news
        self._stored = stored
        self._redrive = redrive
        self._clocks = clocks
        self._decoder = Decoder(registry, limits.max_payload, sources, states)
        self._batch_rows = limits.batch_rows
        self._next_tick = 0.0
        self._heard_by: tuple[int, ...] = ()
        self._looked_at = clock.now()
        self._taken: dict[Lane, Sequence[Delivery]] = {}
        self._ahead: _Ahead | None = None
        self._is_waiting = False  # the database has all of the batch taken
        self.canary = Canary(self._connections)
        self.sessions = {
            lane: Session(
                lane,
                filters,
                settings.broker,
                receive_max=receive_max,
                stamp=stamp,
                wake=self._heard,
                session_lost=session_lost,
            )
            for lane, filters, receive_max in (
                (
                    Lane.URGENT,
                    (*URGENT_FILTERS, *sources.filters(urgent=True)),
                    limits.urgent_in_flight,
                ),
                (
                    Lane.TELEMETRY,
                    (*TELEMETRY_FILTERS, *sources.filters(urgent=False)),
                    limits.telemetry_in_flight,
                ),
            )
        }

    @property
    def online(self) -> bool:
        """Say whether both sessions are up."""
        return all(session.connected for session in self.sessions.values())

    def wake(self) -> None:
        """Look again at once: there is something to do."""
        self._wake.set()

    def tick_now(self) -> None:
        """Let the next tick be due at once."""
        self._next_tick = 0.0
        self.wake()

    def _heard(self) -> None:
        """Take note of messages."""
        self.wake()
        if self._is_waiting:
            self._decode_ahead()

    def meanwhile(self) -> None:
        """Decode the next of telemetry while the database is at work on the batch that it has been sent."""
        self._is_waiting = True
        asyncio.get_running_loop().call_soon(self._decode_ahead)  # first the end of what is being sent

    def _decode_ahead(self) -> None:
        waiting = self.sessions[Lane.TELEMETRY].inbox.count
        if self._ahead or self._has_news():
            return
        if Lane.TELEMETRY in self._taken and waiting >= self._batch_rows // 2:
            connection, deliveries = self._pull(Lane.TELEMETRY)
            self._ahead = _Ahead(connection, deliveries, None)  # whatever befalls decoding, the line has them
            if not any(self._decoder.strangers(deliveries)):
                batch = self._decoded(Lane.TELEMETRY, connection, deliveries)
                self._ahead = self._ahead._replace(batch=batch)

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
            if news := self._ahead is None and self._learn_news():
                self.wake()
            self._note_deafness()
            if self.sessions[Lane.URGENT].inbox.count:
                yield await self._take(Lane.URGENT)
            elif loop.time() >= self._next_tick:
                self._next_tick = loop.time() + TICK
                yield Batch(Lane.TELEMETRY, self._heard_until(), scan=self._caught_up())
            elif not news and (letters := self._redrive.take(busy=self._is_busy())):
                yield await self._again(letters)
                self._redrive.settled()
            elif (wait := self._telemetry_wait()) <= 0:
                yield await self._take(Lane.TELEMETRY)
            else:
                await self._until_woken(min(wait, self._next_tick - loop.time()))

    def _is_busy(self) -> bool:
        return self._ahead is not None or self.sessions[Lane.TELEMETRY].inbox.count > 0

    def _telemetry_wait(self) -> float:
        """Return how many seconds telemetry shall wait: a large batch costs hardly more than a small one."""
        session = self.sessions[Lane.TELEMETRY]
        if self._ahead:
            return 0.0
        if not session.inbox.count:
            return math.inf
        if session.inbox.count >= self._batch_rows or not session.room:
            return 0.0
        return min(session.inbox.since + LINGER, session.heard_at + PAUSE) - time.monotonic()

    def lag(self, lane: Lane) -> float:
        """Return the age, in real seconds, of a lane's oldest message that is not yet acknowledged."""
        oldest = self.oldest(lane)
        waited = self._clock.now() - oldest.received_at if oldest else 0
        return max(0, waited) / SECOND / self._clock.speed

    def oldest(self, lane: Lane) -> Delivery | None:
        """Return the message that a lane has received first and not acknowledged."""
        taken = self._taken.get(lane) or self._decoded_ahead(lane)
        return taken[0] if taken else self.sessions[lane].inbox.oldest

    def unacknowledged(self, lane: Lane) -> Iterator[Delivery]:
        """Yield what a lane has received and not acknowledged, newest first; to be read in one go."""
        yield from self.sessions[lane].inbox.newest_first()
        yield from reversed(self._decoded_ahead(lane))
        yield from reversed(self._taken.get(lane, ()))

    def _decoded_ahead(self, lane: Lane) -> Sequence[Delivery]:
        return self._ahead.deliveries if self._ahead and lane is Lane.TELEMETRY else ()

    def recall(self, batch: Batch) -> None:
        """Complete a batch that a restore read from the history, before it is judged again."""
        self._decoder.recall(batch)

    async def ack(self, batch: Batch) -> None:
        """Acknowledge a batch that is committed; must be called once for each, in order."""
        self._is_waiting = False
        if len(batch.receipts):
            self._stored(self._taken[batch.lane])
            self.sessions[batch.lane].puback(batch.connection, batch.receipts["packet_id"])
            metrics.IN_FLIGHT.labels(batch.lane.name.lower()).dec(len(batch.receipts))
            del self._taken[batch.lane]
            self._clocks.note(batch.clocks, self._registry.clock_hours)
            self.canary.land(batch)

    def _connections(self) -> dict[Lane, int]:
        return {lane: session.connections for lane, session in self.sessions.items() if session.connected}

    def _note_deafness(self) -> None:
        """Silence counts from the moment at which devices can be heard again."""
        now = self._clock.now()
        heard_by = tuple(s.connections for s in self.sessions.values()) if self.online else ()
        deaf = abs(now - self._looked_at) > DEAF * SECOND * self._clock.speed
        if heard_by and heard_by != self._heard_by:
            self.canary.reconnected()
        if heard_by and (deaf or heard_by != self._heard_by):
            self._forgive(now)
        self._heard_by, self._looked_at = heard_by, now

    def _heard_until(self) -> int:
        """Return the moment up to which every message received has been judged."""
        waiting = [*self._decoded_ahead(Lane.TELEMETRY)[:1]]
        waiting += [oldest for session in self.sessions.values() if (oldest := session.inbox.oldest)]
        return min([self._clock.now(), *(delivery.received_at for delivery in waiting)])

    def _caught_up(self) -> bool:
        """Say whether silence may be judged: both sessions up, no backlog here or at the broker."""
        waiting = max(len(self._decoded_ahead(lane)) + s.inbox.count for lane, s in self.sessions.items())
        return self.online and waiting <= self._batch_rows and self.canary.caught_up

    async def _until_woken(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _admit_strangers(self, deliveries: Sequence[Delivery]) -> None:
        life, others = self._decoder.strangers(deliveries)
        if life or others:
            self._enrol(await self._registry.admit(life, others))

    async def _again(self, letters: Sequence[Waiting]) -> Batch:
        """Return dead letters as a batch; the urgent lane ignores none of them."""
        deliveries = [each.delivery for each in letters]
        await self._admit_strangers(deliveries)
        batch = self._decoder.decode(Lane.URGENT, deliveries, self._heard_until(), redriven=True)
        return complete(batch, letters)

    async def _take(self, lane: Lane) -> Batch:
        """Return the next batch of a lane: what was decoded ahead, or what waits."""
        batch: Batch | None = None
        if lane is Lane.TELEMETRY and self._ahead:
            (connection, deliveries, batch), self._ahead = self._ahead, None
        else:
            connection, deliveries = self._pull(lane)
        self._taken[lane] = deliveries
        if batch is None:
            await self._admit_strangers(deliveries)
            batch = self._decoded(lane, connection, deliveries)
        batch.now, batch.scan = self._heard_until(), self._caught_up()
        return batch

    def _pull(self, lane: Lane) -> tuple[int, list[Delivery]]:
        connection, deliveries = self.sessions[lane].inbox.take(self._batch_rows)
        metrics.RECEIVED.labels(lane.name.lower()).inc(len(deliveries))
        metrics.IN_FLIGHT.labels(lane.name.lower()).inc(len(deliveries))
        return connection, deliveries

    def _decoded(self, lane: Lane, connection: int, deliveries: Sequence[Delivery]) -> Batch:
        with metrics.STAGE_SECONDS.labels(lane.name.lower(), "decode").time():
            batch = self._decoder.decode(lane, deliveries, self._clock.now())
        batch.connection = connection
        return batch
