"""Checkpoints of the engine's state, written piece by piece beside the batches.

Each piece bears the batch after which it was taken; a restore replays later batches for its devices. So no
transaction carries more than a few pieces, and none is older than the interval while batches come.
"""

import math
import time
from collections.abc import Container, Iterable
from typing import Final, Protocol

from psycopg import AsyncConnection

from schemas.clock import to_datetime
from store import sql

AT_ONCE: Final = 2
"""Pieces in one transaction: an SOS waits for it."""

_QUERIES = sql.load("ingest")


class State(Protocol):
    """What is written: the engine's state as of the last committed batch."""

    @property
    def pieces(self) -> int:
        """Return how many pieces there are."""
        ...

    def checkpoint(self, piece: int) -> bytes:
        """Return one of them."""
        ...

    def pieces_of(self, device_ids: Iterable[int]) -> set[int]:
        """Return the pieces in which these devices are."""
        ...


class Checkpoints:
    """Which piece is to be written when."""

    def __init__(self, state: State, every: float) -> None:
        """Write each piece again after `every` seconds."""
        self._state = state
        self._every = every
        self._batch_of: list[int] = []
        self._written_at: list[float] = []
        self._all_soon = False
        self.wanted: set[int] = set()

    @property
    def oldest(self) -> int:
        """Return the batch after which a restore must replay."""
        return min(self._batch_of, default=0)

    def restored(self, batch_of: list[int], behind: Container[int]) -> None:
        """Note after which batch each piece was taken that a restore read; those behind are due at once."""
        self._batch_of = batch_of
        self._written_at = [
            -math.inf if piece in behind else time.monotonic() for piece in range(len(batch_of))
        ]

    def soon(self) -> None:
        """Bring all pieces with the next commit: the batches since do not tell the whole state."""
        self._all_soon = True

    def soon_for(self, device_ids: Iterable[int]) -> None:
        """Bring the pieces of these devices with the next commit; until then they are `wanted`."""
        self.wanted |= self._state.pieces_of(device_ids)

    def due(self, batch: int) -> dict[int, bytes]:
        """Return the pieces that are to be written with the next batch; `batch` is the last one."""
        new = self._state.pieces - len(self._batch_of)
        self._batch_of += [batch] * new  # no batch up to this one is about a device of theirs
        self._written_at += [-math.inf] * new  # until they are written, a restore reads all that there is
        before = time.monotonic() - self._every
        behind = [
            (written_at, piece)
            for piece, written_at in enumerate(self._written_at)
            if self._all_soon or (written_at <= before and self._batch_of[piece] != batch)
        ]
        chosen = sorted(behind)[: None if self._all_soon else AT_ONCE]
        return {piece: self._state.checkpoint(piece) for piece in self.wanted.union(p for _, p in chosen)}

    async def write(
        self, connection: AsyncConnection, pieces: dict[int, bytes], batch: int, now: int, rule_set_id: int
    ) -> None:
        """Write pieces as of a batch and a version of the rules, within the transaction of the next batch."""
        for piece, state in pieces.items():
            await connection.execute(
                _QUERIES["write_checkpoint"],
                {
                    "piece": piece,
                    "batch": batch,
                    "taken_at": to_datetime(now),
                    "state": state,
                    "rule_set_id": rule_set_id,
                },
            )

    def written(self, pieces: dict[int, bytes], batch: int) -> None:
        """Note what was committed."""
        self.wanted -= pieces.keys()
        for piece in pieces:
            self._batch_of[piece] = batch
            self._written_at[piece] = time.monotonic()
        if len(pieces) == len(self._batch_of):
            self._all_soon = False
