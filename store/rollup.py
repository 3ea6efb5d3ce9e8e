"""The roll-ups: what batches brought is added to the hours and days of its ts, each batch once.

Batches are committed in order by one writer, so all rows up to one that the ledger shows are seen as well.
A slice of batches is one transaction with the mark of how far it goes: a kill between slices loses nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from store import sql
from store.edition import HISTORY

_QUERIES = sql.load("history")
_COUNT: Final = {
    table: _QUERIES[f"roll_up_{table}" if f"roll_up_{table}" in _QUERIES else f"count_{table}"]
    for table in HISTORY
}
"""By table, what counts its rows of a slice, and for two of them also rolls them up."""

SLICE_ROWS: Final = 500_000
"""Rows that a slice should bring: some seconds' work, and few enough hours that are written twice."""
FIRST_SLICE: Final = 100
FASTER: Final = 8

Progress = Callable[[int, int], None]


@dataclass
class RolledUp:
    """Batches that were rolled up, and the rows that they brought to each table of the history."""

    batches: int = 0
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HISTORY, 0))


async def roll_up(connection: AsyncConnection, progress: Progress) -> RolledUp:
    """Roll up all that was committed before now; `progress` is told batches done and to do.

    If somebody else did so too, each would wait for the slices of the other and add nothing twice.
    """
    done = RolledUp()
    row = await (await connection.execute(_QUERIES["rolled_up"])).fetchone()
    start, newest, newest_at = row or (0, 0, None)
    if newest == start:
        return done
    await summarise(connection)
    size, after = FIRST_SLICE, start
    while after < newest:
        brought, after = await roll_up_slice(connection, size, newest, newest_at)
        for table, count in brought.items():
            done.rows[table] += count
        done.batches = after - start
        progress(done.batches, newest - start)
        per_batch = max(sum(brought.values()), 1) / size
        size = max(1, min(size * FASTER, int(SLICE_ROWS / per_batch)))
    return done


async def roll_up_slice(
    connection: AsyncConnection, size: int, newest: int, newest_at: datetime | None = None
) -> tuple[dict[str, int], int]:
    """Roll up the next `size` batches in one transaction, not beyond `newest`, which is of `newest_at`.

    Returns the rows brought to each table and the batch up to which all is rolled up now.
    """
    async with connection.transaction():
        row = await (await connection.execute(_QUERIES["hold_rolled_up"])).fetchone()
        after = row[0] if row else 0
        upto = max(after, min(after + size, newest))
        brought = {}
        for table, query in _COUNT.items():
            found = await (await connection.execute(query, {"after": after, "upto": upto})).fetchone()
            brought[table] = int(found[0]) if found else 0
        until = newest_at if upto == newest else None
        await connection.execute(
            _QUERIES["advance"], {"upto": upto, "until": until, "brought": Jsonb(brought)}
        )
    return brought, upto


async def summarise(connection: AsyncConnection) -> None:
    """Let the indexes on batch know the blocks that came since, or each slice would read all of these."""
    for table in HISTORY:
        rows = await (await connection.execute(_QUERIES["unsummarised"], {"table": table})).fetchall()
        for (index,) in rows:
            await connection.execute(_QUERIES["summarise"], {"index": index})
