"""The one writer of the line: finds duplicates, commits a batch in one transaction, settles lost replies.

A batch's number is the proof of its commit: it is written in the same transaction as the rows.
"""

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from schemas.alarms import KINDS, Move, Transition
from schemas.clock import to_datetime
from schemas.readings import ABSENT, Batch, Columns, Quality
from schemas.settings import Settings
from schemas.topics import Lane
from store import copy, sql
from store.connection import LockedConnection, OverlapError
from store.duplicates import Watermarks, of_table, twins_stored, twins_within
from store.ledger import Ledger

log = logging.getLogger(__name__)

REMEMBERED: Final = 60_000
"""Messages in a lane's ledger: fewer than the 65,535 after which packet ids come again (docs/adr/002)."""

_QUERIES = sql.load("ingest")
_EVENT_COLUMNS = (
    "device_id, ts, received_at, time_quality, ts_sent, seq, digest, batch, channel, event, detail"
)
_DEAD_COLUMNS = "received_at, batch, topic, payload, payload_length, payload_sha256, reason, detail, whole"
OLDEST = np.iinfo(np.int64).min // 2
"""Before every time that a row can bear, and safe to count from."""


class Store:
    """What the line needs of the database; every call waits out the weather."""

    def __init__(self, settings: Settings, checkpoint: Callable[[], bytes]) -> None:
        """`checkpoint` returns the engine's state as of the last committed batch."""
        self.run = uuid.uuid4()
        self.batch = 0
        self.newest_ts = OLDEST
        self.ledgers = {
            Lane.URGENT: Ledger(REMEMBERED),
            Lane.TELEMETRY: Ledger(REMEMBERED),
        }
        self.watermarks = Watermarks()
        self.connection = LockedConnection(settings.database.url, self._reopened)
        self._checkpoint = checkpoint
        self._checkpoint_every = settings.ingest.checkpoint_every
        self._checkpoint_at = time.monotonic()
        self._checkpointed = 0
        self._checkpoint_soon = False
        self._void_before = {Lane.URGENT: 0, Lane.TELEMETRY: 0}
        self._landed = 0
        self._started = False

    def start_at(self, batch: int, newest_ts: int) -> None:
        """Go on after the newest batch in the database; nothing in the history is newer than `newest_ts`."""
        self.batch = self._landed = batch
        self._started = True
        self.newest_ts = newest_ts
        self.watermarks.start_above(newest_ts)

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
            rows = await connection.execute(
                _QUERIES["register"], {"devices": list(devices), "regions": list(devices.values())}
            )
            return dict(await rows.fetchall())

        return await self.connection.run(work)

    async def void_ledger(self, lane: Lane, connection_number: int) -> None:
        """Forget the packet ids of a session that the broker lost, durably, before new ones are given.

        Weather is waited out for ever: a session that is said to be lost is not said to be so again.
        """
        self.ledgers[lane].clear()
        self._void_before[lane] = connection_number

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_QUERIES["void_ledger"], {"lane": int(lane)})

        await self.connection.run(work)

    async def without_duplicates(self, batch: Batch) -> Batch:
        """Take out what the database holds already: redeliveries by the ledger, retries by their keys."""
        if not len(batch.receipts):
            return batch
        redelivered = np.flatnonzero(self.ledgers[batch.lane].stored_before(batch.receipts))
        keep = ~np.isin(batch.readings["message"], redelivered)
        keep[keep] &= ~twins_within(batch.readings[keep])
        suspects = np.flatnonzero(keep & self.watermarks.suspects(batch.readings))
        if len(suspects):
            rows = batch.readings[suspects]

            standing, again = await self.connection.run(lambda connection: twins_stored(connection, rows))
            keep[suspects] &= ~standing | again
            batch.readings["stored"][suspects[again]] = False
        self._drop(batch, keep, set(redelivered.tolist()))
        return batch

    @staticmethod
    def _drop(batch: Batch, keep: np.ndarray[Any, np.dtype[np.bool_]], redelivered: set[int]) -> None:
        """Keep these readings; a message of which nothing is left is a duplicate, unless it was ignored."""
        readable = batch.readings["quality"] != Quality.UNREADABLE
        had = set(batch.readings["message"][readable].tolist())
        said = set(batch.readings["message"].tolist()) | {letter.message for letter in batch.dead}
        batch.readings = batch.readings[keep]
        left = set(batch.readings["message"][batch.readings["stored"]].tolist())
        duplicates = (redelivered & said) | (had - left)
        batch.dead = [letter for letter in batch.dead if letter.message not in duplicates]
        batch.duplicates = len(duplicates)

    async def commit(self, batch: Batch, transitions: list[Transition]) -> None:
        """Write a batch and what it means in one transaction; return only when it is durable.

        Weather is retried for ever; any other error is raised, and the process must end: memory and database
        would differ.
        """
        if not len(batch.receipts) and not transitions:
            return
        number = self.batch + 1
        newest_ts = int(max(self.newest_ts, batch.readings["ts"].max(initial=OLDEST)))
        checkpoint = self._due_checkpoint()

        async def work(connection: AsyncConnection) -> None:
            if self._landed >= number:
                return
            async with connection.transaction():
                await self._write(connection, batch, transitions, number, newest_ts)
                if checkpoint is not None:
                    await self._write_checkpoint(connection, checkpoint, to_datetime(batch.now))

        await self.connection.run(work)
        self.batch = self._landed = number
        self.newest_ts = newest_ts
        self.watermarks.raise_to(batch.readings)
        if batch.connection >= self._void_before[batch.lane]:
            self.ledgers[batch.lane].add(number, batch.receipts["packet_id"], batch.receipts["hash"])

    def checkpoint_soon(self) -> None:
        """Bring a checkpoint with the next commit: the state changed by something else than batches."""
        self._checkpoint_soon = True

    def _due_checkpoint(self) -> bytes | None:
        waited = time.monotonic() - self._checkpoint_at
        is_due = waited >= self._checkpoint_every and self._checkpointed != self.batch
        if not is_due and not self._checkpoint_soon:
            return None
        self._checkpoint_soon = False
        self._checkpoint_at = time.monotonic()
        self._checkpointed = self.batch
        return self._checkpoint()

    async def _write(
        self,
        connection: AsyncConnection,
        batch: Batch,
        transitions: list[Transition],
        number: int,
        newest_ts: int,
    ) -> None:
        stored = batch.readings[batch.readings["stored"]]
        for table in ("vitals", "heartbeats", "activity"):
            await _copy_readings(connection, table, of_table(stored, table), batch, number)
        await _copy_events(connection, of_table(stored, "events"), batch, number)
        await _copy_dead_letters(connection, batch, number)
        await _write_transitions(connection, transitions)
        counts = batch.connection >= self._void_before[batch.lane]
        receipts = batch.receipts if counts else batch.receipts[:0]
        await connection.execute(
            _QUERIES["write_ledger"],
            {
                "batch": number,
                "run": self.run,
                "lane": int(batch.lane),
                "now": to_datetime(batch.now),
                "scan": batch.scan and (len(stored) > 0 or not len(batch.receipts)),
                "newest_ts": to_datetime(max(newest_ts, 0)),
                "packet_ids": receipts["packet_id"].tobytes(),
                "hashes": receipts["hash"].tobytes(),
            },
        )

    async def _write_checkpoint(self, connection: AsyncConnection, state: bytes, taken_at: object) -> None:
        await connection.execute(
            _QUERIES["write_checkpoint"],
            {"batch": self.batch, "taken_at": taken_at, "state": state},
        )
        for lane, ledger in self.ledgers.items():
            oldest = min(ledger.oldest, self.batch)
            await connection.execute(_QUERIES["trim_ledger"], {"lane": int(lane), "batch": oldest})


async def _copy_readings(
    connection: AsyncConnection, table: str, rows: Columns, batch: Batch, number: int
) -> None:
    if not len(rows):
        return
    rooms = None
    if table == "activity":
        rooms = np.array([_room(batch, int(index)) for index in rows["detail"]], np.bytes_)
    async with connection.cursor() as cursor, cursor.copy(copy.statement(table)) as stream:
        for block in copy.encode(table, rows, number, rooms):
            await stream.write(block)


def _room(batch: Batch, detail: int) -> bytes:
    return str(batch.details[detail].get("room", "")).encode() if detail >= 0 else b""


async def _copy_events(connection: AsyncConnection, rows: Columns, batch: Batch, number: int) -> None:
    if not len(rows):
        return
    async with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY events ({_EVENT_COLUMNS}) FROM STDIN".encode()) as stream,
    ):
        for row in rows:
            await stream.write_row(
                (
                    int(row["device_id"]),
                    to_datetime(int(row["ts"])),
                    to_datetime(int(row["received_at"])),
                    int(row["quality"]),
                    None if row["ts_sent"] == ABSENT else int(row["ts_sent"]),
                    None if row["seq"] == ABSENT else int(row["seq"]),
                    int(row["digest"]),
                    number,
                    int(row["channel"]),
                    int(row["event"]),
                    Jsonb(batch.details[row["detail"]]) if row["detail"] >= 0 else None,
                )
            )


async def _copy_dead_letters(connection: AsyncConnection, batch: Batch, number: int) -> None:
    if not batch.dead:
        return
    async with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY dead_letters ({_DEAD_COLUMNS}) FROM STDIN".encode()) as stream,
    ):
        for letter in batch.dead:
            await stream.write_row(
                (
                    to_datetime(letter.received_at),
                    number,
                    _without_nul(letter.topic),
                    letter.payload,
                    letter.length,
                    letter.sha256,
                    letter.reason,
                    _without_nul(letter.detail),
                    letter.whole,
                )
            )


def _without_nul(text: str) -> str:
    """Show NUL, which PostgreSQL's text cannot hold, by its picture."""
    return text.replace("\x00", "\u2400")


async def _write_transitions(connection: AsyncConnection, transitions: list[Transition]) -> None:
    """Write the engine's decisions in their order; neighbours of one move travel together."""
    async with connection.cursor() as cursor:
        start = 0
        for end in range(1, len(transitions) + 1):
            if end == len(transitions) or transitions[end].move is not transitions[start].move:
                query = "raise_alarm" if transitions[start].move is Move.RAISE else "clear_alarm"
                await cursor.executemany(_QUERIES[query], [_parameters(t) for t in transitions[start:end]])
                start = end


def _parameters(transition: Transition) -> dict[str, Any]:
    return {
        "device_id": transition.device_id,
        "kind": transition.kind,
        "class": KINDS[transition.kind].alarm_class.value,
        "severity": transition.severity.value,
        "quality": transition.quality,
        "at": to_datetime(transition.at),
        "detail": Jsonb(transition.values),
    }
