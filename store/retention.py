"""Retention: chunks whose rows are older than they are kept go, oldest first, each in its own transaction.

What the engine's restore or the roll-ups still need stays, however old it is. Alarms are not touched.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from psycopg import AsyncConnection, errors
from psycopg import sql as compose

from schemas.settings import HistorySettings
from store import sql
from store.edition import DIVIDED, HISTORY, Edition, bound

_QUERIES = sql.load("history")
STRAYS_AT_ONCE: Final = 10_000


@dataclass
class Dropped:
    """Names of chunks that went, that were in use, that still were needed; and how many strays went."""

    gone: list[str] = field(default_factory=list)
    in_use: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    strays: int = 0


async def drop_old(
    connection: AsyncConnection, edition: Edition, history: HistorySettings, now: datetime
) -> Dropped:
    """Drop what ended longer ago than its table's days before `now`, and say what became of it."""
    row = await (await connection.execute(_QUERIES["held"])).fetchone()
    held = row[0] if row else 0
    dropped = Dropped()
    for table in DIVIDED:
        before = now - timedelta(days=history.days(table))
        after = held if table in HISTORY else None
        for chunk in await edition.chunks(connection, table):
            if chunk.end > before:
                continue
            try:
                kept = dropped.gone if await edition.drop(connection, chunk, after) else dropped.needed
            except errors.LockNotAvailable:
                kept = dropped.in_use
            kept.append(chunk.name)
        if edition.name == "native":
            dropped.strays += await _delete_strays(connection, table, before, after)
    return dropped


async def _delete_strays(connection: AsyncConnection, table: str, before: datetime, after: int | None) -> int:
    """Delete old rows of a default partition, which is never dropped, some at a time; return how many."""
    query = compose.SQL(
        "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table}"
        " WHERE {column} < %(before)s AND {batch} <= %(after)s LIMIT %(limit)s))"
    ).format(
        table=compose.Identifier(f"{table}_default"),
        column=compose.Identifier(DIVIDED[table]),
        batch=compose.SQL("0") if after is None else compose.Identifier("batch"),
    )
    values = {"before": bound(table, before), "after": after or 0, "limit": STRAYS_AT_ONCE}
    deleted = 0
    while count := (await connection.execute(query, values)).rowcount:
        deleted += count
    return deleted
