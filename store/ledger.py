"""The ledger in memory: which packet ids of a session are committed.

It answers one question: was this redelivery stored before its acknowledgement got lost? Only messages whose
packet ids cannot have come again count. See docs/adr/002.
"""

from collections import deque

import numpy as np
import numpy.typing as npt

from schemas.readings import Columns

_PACKET_IDS = 65_536


class Ledger:
    """What one lane's session had committed."""

    def __init__(self, remembered: int) -> None:
        """Remember so many messages, fewer than there are packet ids."""
        self._remembered = remembered
        self._batches: deque[tuple[int, int]] = deque()
        self._messages = 0
        self._batch_of = np.full(_PACKET_IDS, -1, np.int64)
        self._hash_of = np.zeros(_PACKET_IDS, np.uint32)

    @property
    def oldest(self) -> int:
        """Return the number of the oldest batch that still counts; 0 if none does."""
        return self._batches[0][0] if self._batches else 0

    def add(self, batch: int, packet_ids: npt.NDArray[np.int32], hashes: npt.NDArray[np.uint32]) -> None:
        """Take up a committed batch and forget those that are too old."""
        self._batch_of[packet_ids] = batch
        self._hash_of[packet_ids] = hashes
        held = int(np.count_nonzero(packet_ids))  # what came at QoS 0 the broker does not hold
        if held:
            self._batches.append((batch, held))
        self._messages += held
        while self._batches and self._messages - self._batches[0][1] >= self._remembered:
            self._messages -= self._batches.popleft()[1]

    def clear(self) -> None:
        """Forget all: the session is gone."""
        self._batches.clear()
        self._messages = 0
        self._batch_of[:] = -1

    def stored_before(self, receipts: Columns) -> npt.NDArray[np.bool_]:
        """Say of each receipt, shape (n,), whether it is a redelivery of a committed message."""
        ids = receipts["packet_id"]
        known = (self._batch_of[ids] >= self.oldest) & (self._hash_of[ids] == receipts["hash"])
        return np.asarray(receipts["duplicate"] & (ids > 0) & known)
