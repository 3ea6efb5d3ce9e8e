"""Compose the bridge: restore from the database, then sessions, line, downlink and health together."""

import asyncio
import gc
import logging
import time
from pathlib import Path
from typing import Final

import numpy as np

from ingest import metrics
from ingest.announce import Announcer
from ingest.canary import run_canary
from ingest.disk import watch_disk
from ingest.downlink import run_downlink
from ingest.dropped import Dropped
from ingest.line import run_line
from ingest.news import News
from ingest.redrive import Redrive
from ingest.registry import Registry
from ingest.source import Source
from ingest.watchdog import STALLED, watch_line
from rules import ruleset
from rules.engine import PIECE, Engine
from schemas.clock import to_datetime
from schemas.settings import Settings
from schemas.topics import Lane
from store import restore
from store.restore import Device
from store.writer import Store

log = logging.getLogger(__name__)

COLLECT: Final = (100_000, 20, 20)
"""Objects of one batch wait for their commit: a search for garbage among them finds none."""
READ_AT_ONCE: Final = 20
"""Batches that a restore holds in memory."""


class Bridge:
    """The engine, the store and the sessions."""

    def __init__(self, settings: Settings) -> None:
        """Read the rules; raises UsageError if they are wrong. Nothing is connected yet."""
        self._settings = settings
        self._clock = settings.clock.clock()
        path = Path(settings.ingest.rules) if settings.ingest.rules else ruleset.SHIPPED
        self.engine = Engine(ruleset.load(path))
        self.store = Store(settings, self.engine, sent=self._sent)
        self.registry = Registry(self.store, settings.ingest)
        self.redrive = Redrive(settings.database.url)
        self.news = News(settings.database.url, self.redrive.ask)
        self._dropped = Dropped(self.store, self._clock)
        self.announcer = Announcer(settings)
        self.source = Source(
            settings,
            self._clock,
            self.registry,
            session_lost=self._session_lost,
            enrol=self._enrol,
            forgive=self._forgive,
            learn_news=self._learn_news,
            stored=self.announcer.stored,
            redrive=self.redrive,
        )

    async def run(self) -> None:
        """Restore, then work until cancelled; raises FatalError where going on would be wrong."""
        await self.restore()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.source.run())
            group.create_task(run_downlink(self._settings))
            group.create_task(run_canary(self._settings.broker, self.source.canary))
            group.create_task(self._dropped.run(self._settings.broker))
            group.create_task(self.announcer.run(self.source))
            group.create_task(watch_disk(self._settings))
            group.create_task(watch_line())
            group.create_task(self.news.run(self.source.wake))
            group.create_task(self.redrive.run(self.source.wake))
            group.create_task(run_line(self.source, self.store, self.engine))

    async def restore(self) -> None:
        """Rebuild memory from the database: start-up and recovery are this one path."""
        edition = await restore.prepare(self.store, to_datetime(self._clock.now()), self.engine.rules.text)
        async for part in restore.devices(self.store):
            self._learn(part)
        replayed = await self._replay()
        self.engine.begin(await self._silent())
        await restore.ledgers(self.store)
        self._forgive(self._clock.now())
        log.info(
            "restored from a %s database at batch %d, %d of them replayed",
            edition.name,
            self.store.batch,
            replayed,
        )
        gc.freeze()  # what is here stays, it need not be looked through again and again
        gc.set_threshold(*COLLECT)

    async def _replay(self) -> int:
        """Adopt the checkpoint, then judge again what was committed later; return how many batches."""
        ledger = await restore.committed(self.store)
        after = {
            piece: batch
            for first, batch, state in await restore.checkpoints(self.store)
            for piece in self.engine.restore(first, state)
        }
        pieces = range(self.engine.pieces)
        oldest = ledger[0].number - 1 if ledger else self.store.batch
        known = np.array([after.get(piece, oldest) for piece in pieces] or [oldest])
        behind = pieces if self.engine.has_new_rules else set(pieces) - after.keys()
        self.store.checkpoints.restored(known.tolist()[: len(pieces)], behind)
        later = [each for each in ledger if each.number > self.store.checkpoints.oldest]
        for start in range(0, len(later), READ_AT_ONCE):
            some = later[start : start + READ_AT_ONCE]
            for (number, *_), batch in zip(some, await restore.batches(self.store, some), strict=True):
                self.source.recall(batch)
                # a device may have been deleted since, and its number lie beyond all pieces
                piece = np.minimum(batch.readings["device_id"] // PIECE, len(known) - 1)
                batch.readings = batch.readings[known[piece] < number]
                self.engine.apply(self.engine.evaluate(batch))
        return len(later)

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
        if await self.store.void_ledger(lane, connection_number, self._clock.now()):
            metrics.SESSIONS_LOST.labels(lane.name.lower()).inc()

    def _enrol(self, device_ids: list[int]) -> None:
        self.engine.enrol(device_ids, [""] * len(device_ids), [None] * len(device_ids))

    def _sent(self) -> None:
        self.source.meanwhile()

    def _forgive(self, now: int) -> None:
        """Count silence from `now` on; each start does so, too, so no checkpoint need tell of it."""
        self.engine.forgive(now)

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
            "line": time.time() - metrics.line_finished() < STALLED,
            "canary": self.source.canary.is_back,
        }
