"""The line. The loop that reads is the loop that acknowledges; the guarantee is the order of its lines."""

from collections.abc import AsyncIterator, Container
from typing import Protocol

import numpy as np

from ingest import metrics
from ingest.gaps import Gaps
from rules.engine import Engine
from rules.machine import Delta
from schemas.alarms import Move, Transition
from schemas.clock import SECOND
from schemas.readings import Batch
from store.dead import results


class BatchSource(Protocol):
    """Where batches come from and whom to thank for them."""

    def batches(self) -> AsyncIterator[Batch]:
        """Yield batches for ever."""
        ...

    async def ack(self, batch: Batch) -> None:
        """Acknowledge a committed batch."""
        ...


class BatchStore(Protocol):
    """Where batches go."""

    async def without_duplicates(self, batch: Batch) -> Batch:
        """Take out what is stored already."""
        ...

    async def commit(self, batch: Batch, transitions: list[Transition]) -> None:
        """Make a batch durable."""
        ...


async def run_line(
    source: BatchSource, store: BatchStore, engine: Engine, drills: Container[int] = frozenset()
) -> None:
    """Move batches down the line for ever. A crash between any two lines costs time, not data.

    Decisions about the devices of `drills` are counted apart.
    """
    gaps = Gaps()
    async for received in source.batches():
        watch = metrics.Watch(received)
        batch = await store.without_duplicates(received)
        watch.lap("deduplicate")
        delta = engine.evaluate(batch)  # pure; sees the new state, adopts nothing
        watch.lap("evaluate")
        await store.commit(batch, delta.transitions)  # returns only when durable
        watch.lap("commit")
        engine.apply(delta)  # memory follows the database
        await source.ack(batch)  # the only ack there is
        watch.lap("acknowledge")
        if not batch.letters:  # they tell nothing of now
            gaps.note(batch.readings)
        _count(batch, delta, drills)


def _count(batch: Batch, delta: Delta, drills: Container[int]) -> None:
    """Account for every message of a batch; what is re-driven was received long ago."""
    if batch.letters:
        for _, result, _ in results(batch, batch.readings, batch.dead):
            metrics.REDRIVEN.labels(result).inc()
    else:
        _count_received(batch)
    for transition in delta.transitions:
        decisions = metrics.DRILL_TRANSITIONS if transition.device_id in drills else metrics.TRANSITIONS
        decisions.labels(transition.kind, transition.move.value).inc()
        if transition.kind == "device_silent" and transition.move is Move.RAISE:
            metrics.SILENCE_LATE.observe((batch.now - transition.at) / SECOND)
    metrics.LINE.set_to_current_time()


def _count_received(batch: Batch) -> None:
    lane = batch.lane.name.lower()
    stored = np.zeros(len(batch.receipts), np.bool_)
    stored[batch.readings["message"][batch.readings["stored"]]] = True
    metrics.STORED.labels(lane).inc(int(stored.sum()))
    metrics.DUPLICATE.labels(lane).inc(batch.duplicates)
    for letter in batch.dead:
        (metrics.DEAD if letter.whole else metrics.PARTLY_DEAD).labels(lane, letter.reason).inc()
    for reason, count in batch.ignored.items():
        metrics.IGNORED.labels(lane, reason).inc(count)
