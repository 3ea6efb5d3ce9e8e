"""Compose the bridge: restore from the database, then sessions, line, downlink and health together."""

import asyncio
import logging
from pathlib import Path

from ingest import metrics
from ingest.disk import watch_disk
from ingest.downlink import run_downlink
from ingest.line import run_line
from ingest.news import News
from ingest.registry import Registry
from ingest.source import Source
from rules import ruleset
from rules.engine import Engine
from schemas.clock import to_datetime
from schemas.settings import Settings
from schemas.topics import Lane
from store import restore
from store.restore import Device
from store.writer import Store

log = logging.getLogger(__name__)


class Bridge:
    """The engine, the store and the sessions."""

    def __init__(self, settings: Settings) -> None:
        """Read the rules; raises UsageError if they are wrong. Nothing is connected yet."""
        self._settings = settings
        self._clock = settings.clock.clock()
        path = Path(settings.ingest.rules) if settings.ingest.rules else ruleset.SHIPPED
        self.engine = Engine(ruleset.load(path))
        self.store = Store(settings, self.engine.checkpoint)
        self.registry = Registry(self.store, settings.ingest)
        self.news = News(settings.database.url)
        self.source = Source(
            settings,
            self._clock,
            self.registry,
            session_lost=self._session_lost,
            enrol=self._enrol,
            forgive=self._forgive,
            learn_news=self._learn_news,
        )

    async def run(self) -> None:
        """Restore, then work until cancelled; raises FatalError where going on would be wrong."""
        await self.restore()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.source.run())
            group.create_task(run_downlink(self._settings))
            group.create_task(watch_disk(self._settings))
            group.create_task(self.news.run(self.source.wake))
            group.create_task(run_line(self.source, self.store, self.engine))

    async def restore(self) -> None:
        """Rebuild memory from the database: start-up and recovery are this one path."""
        edition = await restore.prepare(self.store, to_datetime(self._clock.now()), self.engine.rules.text)
        self._learn(await restore.devices(self.store))
        batch, state = await restore.checkpoint(self.store)
        if state is not None:
            self.engine.restore(state)
        later = await restore.batches_after(self.store, batch)
        for each in later:
            self.source.recall(each)
            self.engine.apply(self.engine.evaluate(each))
        self.engine.begin(await self._silent())
        await restore.ledgers(self.store)
        self._forgive(self._clock.now())
        log.info(
            "restored from a %s database at batch %d, %d of them replayed",
            edition.name,
            self.store.batch,
            len(later),
        )

    async def _silent(self) -> list[int]:
        silence = self.engine.rules.silence
        return await restore.held_open(self.store, silence.kind) if silence else []

    def _learn(self, devices: list[Device]) -> None:
        for each in devices:
            self.registry.learn(each.device, each.device_id, self_registered=each.self_registered)
        self.engine.enrol(
            [each.device_id for each in devices],
            [each.model for each in devices],
            [each.heartbeat_seconds for each in devices],
        )

    def _learn_news(self) -> bool:
        devices = self.news.take()
        self._learn(devices)
        return bool(devices)

    async def _session_lost(self, lane: Lane, connection_number: int) -> None:
        """Forget the packet ids of a session that the broker lost; the very first one is no loss."""
        if self.store.batch:
            metrics.SESSIONS_LOST.labels(lane.name.lower()).inc()
        await self.store.void_ledger(lane, connection_number)

    def _enrol(self, device_ids: list[int]) -> None:
        self.engine.enrol(device_ids, [""] * len(device_ids), [None] * len(device_ids))

    def _forgive(self, now: int) -> None:
        """Count silence from `now` on, also after a crash: no batch tells of it, so a checkpoint must."""
        self.engine.forgive(now)
        self.store.checkpoint_soon()

    def readiness(self) -> dict[str, bool]:
        """Name what must hold for the bridge to do its work; brings the gauges up to date."""
        for lane, session in self.source.sessions.items():
            metrics.CONNECTED.labels(lane.name.lower()).set(session.connected)
            metrics.WAITING.labels(lane.name.lower()).set(session.inbox.count)
            metrics.LAG.labels(lane.name.lower()).set(self.source.lag(lane))
        metrics.RETRIES.set(self.store.connection.retries)
        metrics.DEVICES.set(len(self.registry))
        return {
            "urgent_session": self.source.sessions[Lane.URGENT].connected,
            "broker": self.source.online,
            "database": self.store.connection.is_up,
            "identity": metrics.identity_difference() == 0,
        }
