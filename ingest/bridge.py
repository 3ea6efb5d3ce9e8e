"""Compose the bridge: restore from the database, then sessions, line, downlink and health together."""

import asyncio
import gc
import logging
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from psycopg import AsyncConnection

from ingest import metrics
from ingest.announce import Announcer
from ingest.canary import run_canary
from ingest.clocks import Clocks
from ingest.disk import watch_disk
from ingest.downlink import run_downlink
from ingest.dropped import Dropped
from ingest.line import run_line
from ingest.news import Applied, News
from ingest.recorder import Recorder
from ingest.redrive import Redrive
from ingest.registry import Registry, registered
from ingest.source import Source
from ingest.states import States
from ingest.watchdog import STALLED, watch_line
from rules import ruleset
from rules.engine import PIECE, Engine
from rules.look import Ints
from rules.ruleset import RuleSet
from schemas.clock import to_datetime
from schemas.errors import UsageError
from schemas.settings import Settings
from schemas.sources import mapping
from schemas.sources.compiled import Sources
from schemas.topics import Lane
from store import restore, sql
from store.restore import Committed, Device
from store.writer import Store

log = logging.getLogger(__name__)

_QUERIES: Final = sql.load("ingest")
COLLECT: Final = (100_000, 20, 20)
"""Objects of one batch wait for their commit: a search for garbage among them finds none."""
CLOCKS_EVERY: Final = 2.0
"""Seconds between two looks at which clocks are known to be wrong by now."""
READ_AT_ONCE: Final = 20
"""Batches that a restore holds in memory."""


class Bridge:
    """The engine, the store and the sessions."""

    def __init__(self, settings: Settings) -> None:
        """Read rules and sources; raises UsageError if they are wrong. Nothing is connected yet."""
        self._settings = settings
        self._clock = settings.clock.clock()
        path = Path(settings.ingest.rules) if settings.ingest.rules else ruleset.SHIPPED
        self.engine = _engine(settings, ruleset.load(path))
        self._source_texts = mapping.texts(settings.ingest.sources)
        self._states = States()
        self._clocks = Clocks()
        self.store = Store(settings, self.engine, sent=self._sent)
        self.registry = Registry(self, settings.ingest)
        self._admitted: dict[int, Device] = {}
        self.redrive = Redrive(settings.database.url)
        self.news = News(settings.database.url, self.redrive.ask)
        self._dropped = Dropped(self.store, self._clock)
        self._sources = Sources(mapping.load(self._source_texts))
        self.announcer = Announcer(settings, self._sources)
        self.source = Source(
            settings,
            self._clock,
            self.registry,
            session_lost=self._session_lost,
            enrol=self._enrol,
            forgive=self._forgive,
            learn_news=self._learn_news,
            has_news=lambda: self.news.waits,
            stored=self.announcer.stored,
            redrive=self.redrive,
            sources=self._sources,
            states=self._states,
            clocks=self._clocks,
        )

    async def run(self) -> None:
        """Restore, then work until cancelled; raises FatalError where going on would be wrong."""
        await self.restore()
        try:
            await self._work()
        finally:
            if isinstance(self.engine, Recorder):
                await self.engine.finish()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.source.run())
            group.create_task(run_downlink(self._settings))
            group.create_task(run_canary(self._settings.broker, self.source.canary))
            group.create_task(self._dropped.run(self._settings.broker))
            group.create_task(self.announcer.run(self.source))
            group.create_task(watch_disk(self._settings))
            group.create_task(self._set_clocks())
            group.create_task(watch_line())
            group.create_task(self.news.run(self.source.wake))
            group.create_task(self.redrive.run(self.source.wake))
            group.create_task(run_line(self.source, self.store, self.engine, self.registry.drill_ids))

    async def restore(self) -> None:
        """Rebuild memory from the database: start-up and recovery are this one path."""
        edition = await restore.prepare(self.store, to_datetime(self._clock.now()))
        chosen = await self._chosen()
        async for part in restore.devices(self.store):
            self._learn(part)
        replayed, version = await self._replay(chosen)
        self.engine.begin(await restore.held_open(self.store))
        self._states.learn(await restore.states(self.store, self._sources.names))
        if isinstance(self.engine, Recorder):
            await self.engine.start(self.store, self.registry, self._states, self._source_texts)
        await restore.ledgers(self.store)
        self.store.rule_set_id = version or chosen.number
        if self.engine.rules is not chosen.rules:  # a start with other rules is a change like any other
            self._adopt(chosen)
        elif version != chosen.number:
            self.store.rule_set_id = chosen.number
            await restore.note_use(self.store, chosen.number)
        self.news.start_with(chosen.number)
        metrics.RULE_VERSION.set(chosen.number)
        self._forgive(self._clock.now())
        log.info(
            "restored from a %s database at batch %d, %d of them replayed; rules version %d",
            edition.name,
            self.store.batch,
            replayed,
            chosen.number,
        )
        gc.freeze()  # what is here stays, it need not be looked through again and again
        gc.set_threshold(*COLLECT)

    async def _chosen(self) -> Applied:
        """Return the rules to work by: those applied last, else those of the settings."""
        number, text = await restore.rules_to_use(self.store, self.engine.rules.text)
        if text == self.engine.rules.text:
            return Applied(number, self.engine.rules)
        return Applied(number, ruleset.parse(text, f"the rules applied last, version {number}"))

    async def _replay(self, chosen: Applied) -> tuple[int, int]:
        """Go again through what was committed; return how many batches, and the version that judged last.

        Pieces are adopted and batches judged under the rules of their time, so what was known when rules
        changed goes through the change as it did then.
        """
        ledger = await restore.committed(self.store)
        checkpoints = await restore.checkpoints(self.store)
        oldest = ledger[0].number - 1 if ledger else self.store.batch
        after = {each.piece: each.batch for each in checkpoints}
        first = min(after.get(piece, oldest) for piece in range(max(1, self.engine.pieces)))
        later = [each for each in ledger if each.number > first]
        versions = sorted({each.rules for each in later} | {each.rules for each in checkpoints})
        texts = {each.number: each.text for each in await restore.rule_texts(self.store, versions)}
        for version in versions:
            judged = [each for each in later if each.rules == version]
            rules = self._rules_of(version, texts.get(version), chosen)
            if rules is not self.engine.rules:
                self.engine.adopt(rules, judged[0].now if judged else self._clock.now())
            for each in checkpoints:
                if each.rules == version:
                    after |= dict.fromkeys(self.engine.restore(each.piece, each.state), each.batch)
            known = [after.get(piece, oldest) for piece in range(max(1, self.engine.pieces))]
            await self._judge_again(judged, np.array(known))
        pieces = range(self.engine.pieces)
        behind = pieces if self.engine.has_new_rules else set(pieces) - after.keys()
        self.store.checkpoints.restored([after.get(piece, oldest) for piece in pieces], behind)
        return len(later), max(versions, default=0)

    def _rules_of(self, version: int, text: str | None, chosen: Applied) -> RuleSet:
        """Return the rules of a version; those to come where this release cannot read them."""
        for known in (self.engine.rules, chosen.rules):
            if text == known.text:
                return known
        try:
            return ruleset.parse(text or "", f"version {version}")
        except UsageError as error:
            log.warning("rules: %s; what it judged is judged by version %d", error, chosen.number)
            return chosen.rules

    async def _judge_again(self, judged: Sequence[Committed], known: Ints) -> None:
        """Judge committed batches for the pieces that were taken before them: `known` are their batches."""
        for start in range(0, len(judged), READ_AT_ONCE):
            some = judged[start : start + READ_AT_ONCE]
            for each, batch in zip(some, await restore.batches(self.store, some), strict=True):
                if each.forgiven is not None:
                    self.engine.forgive(each.forgiven, np.flatnonzero(known < each.number).tolist())
                self.source.recall(batch)
                # a device may have been deleted since, and its number lie beyond all pieces
                piece = np.minimum(batch.readings["device_id"] // PIECE, len(known) - 1)
                batch.readings = batch.readings[known[piece] < each.number]
                self.engine.apply(self.engine.evaluate(batch))

    def _adopt(self, applied: Applied) -> None:
        """Change the rules between two batches; the next commit, which comes at once, tells of it."""
        self.store.use_rules(applied.number, self.engine.adopt(applied.rules, self._clock.now()))
        metrics.RULE_VERSION.set(applied.number)
        self.source.tick_now()
        log.info("rules: version %d is in force", applied.number)

    def _learn(self, devices: list[Device]) -> None:
        for each in devices:
            self.registry.enter(each)
        self.engine.enrol(registered(devices))

    def _learn_news(self) -> bool:
        applied = self.news.take_rules()
        if applied:
            self._adopt(applied)
        devices = self.news.take()
        self._learn(devices)
        return bool(devices)

    async def register(self, devices: dict[str, str | None]) -> dict[str, int]:
        """Register strangers, name to region; what is learnt of them is what a restart will read.

        Their first message may be here before the news of them: the registry knows who is none, above all
        who is of a drill.
        """
        ids = await self.store.register(devices)
        for name, device_id in ids.items():  # for whom somebody deletes this instant
            self._admitted[device_id] = Device(
                device_id, name, "", None, self_registered=True, region=devices[name] or ""
            )
        self._admitted |= {each.device_id: each for each in await self._read(list(ids.values()))}
        return ids

    async def _read(self, device_ids: list[int]) -> list[Device]:
        async def work(connection: AsyncConnection) -> list[Device]:
            rows = await connection.execute(_QUERIES["devices_of"], {"device_ids": device_ids})
            return [Device(*row) for row in await rows.fetchall()]

        return await self.store.connection.run(work)

    async def _session_lost(self, lane: Lane, connection_number: int) -> None:
        """Forget the packet ids of a session that the broker lost; the very first one is no loss."""
        if await self.store.void_ledger(lane, connection_number, self._clock.now()):
            metrics.SESSIONS_LOST.labels(lane.name.lower()).inc()
            if isinstance(self.engine, Recorder):
                self.engine.note_lost(lane, self._clock.now())

    def _enrol(self, device_ids: list[int]) -> None:
        self._learn([self._admitted.pop(device_id) for device_id in device_ids])

    async def _set_clocks(self) -> None:
        """Let the registry know which clocks are wrong by hours; from there everybody learns it."""
        while True:
            await asyncio.sleep(CLOCKS_EVERY)
            if found := self._clocks.take():
                log.warning("%d clocks are fast by other hours than was known: %s", len(found), _some(found))
                await self.store.set_clocks(found)

    def _sent(self) -> None:
        self.source.meanwhile()

    def _forgive(self, now: int) -> None:
        """Count silence from `now` on, and let the next commit tell of it."""
        self.store.forgiven = now
        self.engine.forgive(now)

    def readiness(self) -> dict[str, bool]:
        """Name what must hold for the bridge to do its work; brings the gauges up to date."""
        for lane, session in self.source.sessions.items():
            metrics.CONNECTED.labels(lane.name.lower()).set(session.connected)
            metrics.WAITING.labels(lane.name.lower()).set(session.inbox.count)
            metrics.LAG.labels(lane.name.lower()).set(self.source.lag(lane))
        metrics.RETRIES.set(self.store.connection.retries)
        metrics.DEVICES.set(len(self.registry) - len(self.registry.drill_ids))
        return {
            "urgent_session": self.source.sessions[Lane.URGENT].connected,
            "broker": self.source.online,
            "database": self.store.connection.is_up,
            "identity": metrics.identity_difference() == 0,
            "line": time.time() - metrics.line_finished() < STALLED,
            "canary": self.source.canary.is_back,
        }


def _some(found: dict[int, int]) -> str:
    """Show the first of the devices by number, and by how many hours they are fast."""
    return ", ".join(f"{device_id} {hours:+d} h" for device_id, hours in islice(found.items(), 5))


def _engine(settings: Settings, rules: RuleSet) -> Engine:
    """Return the engine, or the one that writes down what it is given."""
    if not settings.ingest.record:
        return Engine(rules)
    return Recorder(rules, Path(settings.ingest.record), settings.ingest.max_payload)
