"""The one writer of the line: finds duplicates, commits a batch in one transaction, settles lost replies.

A batch's number is the proof of its commit: it is written in the same transaction as the rows.
"""

import logging
import uuid
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
from psycopg import AsyncConnection

from schemas.alarms import Transition
from schemas.clock import to_datetime
from schemas.readings import Batch
from schemas.settings import Settings
from schemas.topics import Lane
from store import dead, own_alarms, rows, sql
from store.checkpoints import Checkpoints, State
from store.connection import LockedConnection, OverlapError
from store.duplicates import TABLES, Watermarks, of_table, twins_stored, twins_within
from store.ledger import Ledger
from store.own_alarms import Trouble
from store.refused import Sift, is_refusal

log = logging.getLogger(__name__)

REMEMBERED: Final = 60_000
"""Messages in a lane's ledger: fewer than the 65,535 after which packet ids come again (docs/adr/002)."""

_QUERIES = sql.load("ingest")
OLDEST = np.iinfo(np.int64).min // 2
"""Before every time that a row can bear, and safe to count from."""


class RuleChange(NamedTuple):
    """What a change of rules decided itself, by the version before."""

    before: int
    transitions: list[Transition]


class Store:
    """What the line needs of the database; every call waits out the weather."""

    def __init__(self, settings: Settings, state: State, *, sent: Callable[[], None] = lambda: None) -> None:
        """`state` is the engine's as of the last committed batch.

        `sent()` is called when the database has the rows of a batch and is at work on them.
        """
        self._sent = sent
        self.run = uuid.uuid4()
        self.batch = 0
        self.rule_set_id = 0
        self.newest_ts = OLDEST
        self.forgiven: int | None = None
        """Until when nobody could be heard; the next commit tells."""
        self.ledgers = {
            Lane.URGENT: Ledger(REMEMBERED),
            Lane.TELEMETRY: Ledger(REMEMBERED),
        }
        self.watermarks = Watermarks()
        self.connection = LockedConnection(settings.database.url, self._reopened)
        self.checkpoints = Checkpoints(state, settings.ingest.checkpoint_every)
        self._void_before = {Lane.URGENT: 0, Lane.TELEMETRY: 0}
        self._landed = 0
        self._started = False
        self._change: RuleChange | None = None

    def start_at(self, batch: int, newest_ts: int) -> None:
        """Go on after the newest batch in the database; nothing in the history is newer than `newest_ts`."""
        self.batch = self._landed = batch
        self._started = True
        self.newest_ts = newest_ts
        self.watermarks.start_above(newest_ts)

    def use_rules(self, rule_set_id: int, transitions: list[Transition]) -> None:
        """Note that this version decides from now on, and what the change itself decided by the one before.

        The next commit brings it, even if there is nothing else in it.
        """
        before = self._change.transitions if self._change else []
        self._change = RuleChange(self.rule_set_id, [*before, *transitions])
        self.rule_set_id = rule_set_id

    async def _reopened(self, connection: AsyncConnection) -> None:
        """See which batch is the newest: if it is the one whose reply was lost, it has landed."""
        row = await (await connection.execute(_QUERIES["newest_batch"])).fetchone()
        newest, run = (row[0], row[1]) if row else (0, None)
        if self._started and newest != self.batch and not (newest == self.batch + 1 and run == self.run):
            raise OverlapError(
                f"batch {newest} was written by another bridge while this one was at {self.batch}"
            )
        self._landed = newest

    async def register(self, devices: dict[str, str | None]) -> dict[str, int]:
        """Add devices, name to region, that registered themselves; return name to id."""

        async def work(connection: AsyncConnection) -> dict[str, int]:
            found = await connection.execute(
                _QUERIES["register"], {"devices": list(devices), "regions": list(devices.values())}
            )
            return dict(await found.fetchall())

        return await self.connection.run(work)

    async def void_ledger(self, lane: Lane, connection_number: int, at: int) -> bool:
        """Forget the packet ids of a session that the broker lost, durably, before new ones are given.

        Weather is waited out for ever: a session that is said to be lost is not said to be so again. So the
        alarm that it was lost `at` this time is raised in the same transaction. A lane's very first session
        is no loss: return whether it was one.
        """
        self.ledgers[lane].clear()
        self._void_before[lane] = connection_number

        loss = Trouble("session_lost", at, {"lane": lane.name.lower()})

        async def work(connection: AsyncConnection) -> bool:
            async with connection.transaction():
                found = await connection.execute(_QUERIES["lane_was_heard"], {"lane": int(lane)})
                is_loss = await found.fetchone() is not None
                await connection.execute(_QUERIES["void_ledger"], {"lane": int(lane)})
                if is_loss:
                    await rows.write_transitions(connection, await own_alarms.transitions(connection, loss))
            return is_loss

        return await self.connection.run(work)

    async def set_clocks(self, hours: dict[int, int]) -> None:
        """Let the registry know by how many hours clocks of devices are fast; the bridge is told of it."""

        async def work(connection: AsyncConnection) -> None:
            given = {"device_ids": list(hours), "hours": list(hours.values())}
            await connection.execute(_QUERIES["set_clocks"], given)

        await self.connection.run(work)

    async def raise_own(self, trouble: Trouble) -> None:
        """Raise an alarm of the line itself; return when it is durable."""

        async def work(connection: AsyncConnection) -> None:
            async with connection.transaction():
                await rows.write_transitions(connection, await own_alarms.transitions(connection, trouble))

        await self.connection.run(work)

    async def dropped_told(self) -> int:
        """Return how many dropped messages duty was last told of."""
        return await self.connection.run(own_alarms.dropped_told)

    async def without_duplicates(self, batch: Batch) -> Batch:
        """Take out what the database holds already: redeliveries by the ledger, retries by their keys."""
        if not len(batch.receipts) and not batch.letters:
            return batch
        redelivered = np.flatnonzero(self.ledgers[batch.lane].stored_before(batch.receipts))
        keep = np.ones(len(batch.readings), np.bool_)
        if len(redelivered):
            keep = ~np.isin(batch.readings["message"], redelivered)
        keep[keep] &= ~twins_within(batch.readings[keep] if len(redelivered) else batch.readings)
        suspects = np.flatnonzero(keep & self.watermarks.suspects(batch.readings))
        if len(suspects):
            found = batch.readings[suspects]

            standing, again = await self.connection.run(lambda connection: twins_stored(connection, found))
            if batch.letters:
                again[:] = False  # the call itself stands there, and was heard when it was received
            keep[suspects] &= ~standing | again
            batch.readings["stored"][suspects[again]] = False
        self._drop(batch, keep, set(redelivered.tolist()))
        return batch

    @staticmethod
    def _drop(batch: Batch, keep: np.ndarray[Any, np.dtype[np.bool_]], redelivered: set[int]) -> None:
        """Keep these readings; a message of which nothing is left is a duplicate, unless it was ignored.

        Its bad parts stay dead letters unless it was redelivered: the good ones alone are known.
        """
        dead = np.isin(batch.readings["message"], [each.message for each in batch.dead if each.whole])
        if not redelivered and (keep & (batch.readings["stored"] | dead)).all():
            return
        had = set(batch.readings["message"][~dead].tolist())
        said = set(batch.readings["message"].tolist()) | {letter.message for letter in batch.dead}
        batch.readings = batch.readings[keep]
        left = set(batch.readings["message"][batch.readings["stored"]].tolist())
        duplicates = (redelivered & said) | (had - left)
        batch.dead = [letter for letter in batch.dead if letter.message not in redelivered]
        batch.duplicates = len(duplicates)

    async def commit(self, batch: Batch, transitions: list[Transition]) -> None:
        """Write a batch and what it means in one transaction; return only when it is durable.

        What the database refuses of it becomes dead letters, and then the batch says so. Weather is retried
        for ever; any other error is raised, and the process must end: memory and database would differ.
        """
        anything = len(batch.receipts) or batch.letters or transitions
        if not (anything or self.checkpoints.wanted or self._change):
            return
        number = self.batch + 1
        newest_ts = int(max(self.newest_ts, batch.readings["ts"].max(initial=OLDEST)))
        if dead.calls_after(batch, self.checkpoints.oldest):
            self.checkpoints.soon()  # a restore reads such letters: they must not go before it can do without
        pieces = self.checkpoints.due(self.batch)
        landing: list[Sift] = []  # of the last try: if the reply to its COMMIT is lost, it may have landed

        async def work(connection: AsyncConnection) -> None:
            if self._landed >= number:
                return
            landing.clear()
            said = await dead.unsaid(connection, transitions) if batch.letters else transitions
            try:
                async with connection.transaction():
                    await self._write(connection, batch, said, number, newest_ts)
                    await self._write_checkpoint(connection, pieces, batch.now)
            except psycopg.Error as error:
                if not is_refusal(error):
                    raise
                landing.append(Sift(batch, number))
            for sift in landing:
                async with connection.transaction():
                    await self._write_refused(connection, sift, said, newest_ts)
                    await self._write_checkpoint(connection, pieces, batch.now)

        await self.connection.run(work)
        self.checkpoints.written(pieces, self.batch)
        for sift in landing:
            self._adopt(sift)
        self._follow(batch, number, newest_ts)

    def _follow(self, batch: Batch, number: int, newest_ts: int) -> None:
        """Let memory follow the database."""
        self.batch = self._landed = number
        self._change = None
        if not batch.letters:  # no restore reads the ledger's row of what is re-driven
            self.forgiven = None
        self.newest_ts = newest_ts
        self.watermarks.raise_to(batch.readings)
        if batch.connection >= self._void_before[batch.lane]:
            self.ledgers[batch.lane].add(number, batch.receipts["packet_id"], batch.receipts["hash"])

    def _adopt(self, sift: Sift) -> None:
        """Let the batch be what was stored of it; no restore can read what the engine saw of the rest."""
        if not sift.batch.letters:
            self.checkpoints.soon_for(sift.refused_devices())
        sift.adopt()

    async def _write(
        self,
        connection: AsyncConnection,
        batch: Batch,
        transitions: list[Transition],
        number: int,
        newest_ts: int,
    ) -> None:
        await self._write_change(connection)
        stored = batch.readings[batch.readings["stored"]]
        parts = [(table, of_table(stored, table)) for table in TABLES]
        for table, part in sorted(parts, key=lambda each: -len(each[1])):  # the longest wait comes first
            await rows.write_readings(connection, table, part, batch.details, number, sent=self._sent)
        if batch.letters:
            await dead.settle(connection, batch, batch.readings, batch.dead)
        else:
            await rows.write_dead_letters(connection, batch.dead, number)
        await rows.write_transitions(connection, transitions, self.rule_set_id)
        await rows.write_states(connection, batch.states)
        await self._write_ledger(connection, batch, number, newest_ts)

    async def _write_refused(
        self,
        connection: AsyncConnection,
        sift: Sift,
        transitions: list[Transition],
        newest_ts: int,
    ) -> None:
        """Write a batch, which was refused as a whole, without what is refused of it."""
        batch = sift.batch
        await self._write_change(connection)
        await sift.write(connection, transitions, self.rule_set_id)
        if batch.letters:
            await dead.settle_what_can_be(connection, batch, sift.readings, sift.dead)
        else:
            await sift.write_dead_letters(connection)
        await rows.write_states(connection, batch.states)
        await self._write_ledger(connection, batch, sift.number, newest_ts)

    async def _write_change(self, connection: AsyncConnection) -> None:
        if self._change:
            await rows.write_transitions(connection, self._change.transitions, self._change.before)
            await connection.execute(_QUERIES["use_rules"], {"rule_set_id": self.rule_set_id})

    async def _write_ledger(
        self, connection: AsyncConnection, batch: Batch, number: int, newest_ts: int
    ) -> None:
        counts = batch.connection >= self._void_before[batch.lane]
        receipts = batch.receipts if counts else batch.receipts[:0]
        await connection.execute(
            _QUERIES["write_ledger"],
            {
                "batch": number,
                "run": self.run,
                "lane": int(batch.lane),
                "now": to_datetime(batch.now),
                "scan": batch.scan,
                "newest_ts": to_datetime(max(newest_ts, 0)),
                "packet_ids": receipts["packet_id"].tobytes(),
                "hashes": receipts["hash"].tobytes(),
                "redriven": bool(batch.letters),
                "rule_set_id": self.rule_set_id,
                "tick": not len(batch.receipts) and not batch.letters,
                "forgiven_at": None if self.forgiven is None else to_datetime(self.forgiven),
            },
        )

    async def _write_checkpoint(
        self, connection: AsyncConnection, pieces: dict[int, bytes], now: int
    ) -> None:
        """Write what is due of the state as of the last batch, and forget ledger rows that nothing needs."""
        if not pieces:
            return
        await self.checkpoints.write(connection, pieces, self.batch, now, self.rule_set_id)
        for lane, ledger in self.ledgers.items():
            oldest = min(ledger.oldest or self.batch, self.checkpoints.oldest)
            await connection.execute(_QUERIES["trim_ledger"], {"lane": int(lane), "batch": oldest})
