"""How large the history is, how fast it grows and how long the disk lasts: what `db status` shows."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from schemas.settings import HistorySettings
from store import sql
from store.disk import Disk, measure
from store.edition import DIVIDED, Edition
from store.growth import INDEX_BYTES, SHARE, Mark, choose_width, days_left, growth_a_day, rows_a_day

_QUERIES = sql.load("history")

LOOKED_BACK = timedelta(days=7)
"""How far back rows a day and growth are read off: a week, so that weekdays and dropped weeks even out."""


@dataclass(frozen=True)
class TableSize:
    """A divided table: bytes with indexes; `rows` as the planner estimates them, None: it cannot yet.

    `oldest` and `newest` are the ends of its chunks that hold rows, None: there is no row.
    """

    table: str
    total_bytes: int
    rows: int | None
    rows_a_day: float | None
    oldest: datetime | None
    newest: datetime | None
    kept_days: int
    chunks: int


@dataclass(frozen=True)
class Sizes:
    """The database. Times are the installation's clock; None: unknown.

    `index_bytes` is what the unique indexes that are written to will take, in chunks of `chunk_days`;
    `index_share_bytes` is what they should take of shared_buffers at most.
    """

    tables: list[TableSize]
    database_bytes: int
    disk: Disk | None
    growth_a_day: float | None
    days_left: float | None
    index_bytes: int
    index_share_bytes: int
    chunk_days: int
    batch: int
    rolled_up_batch: int
    rolled_up_until: datetime | None
    rollup_lag_seconds: float | None
    maintained_at: datetime | None


async def sizes(
    connection: AsyncConnection, edition: Edition, history: HistorySettings, now: datetime
) -> Sizes:
    """Measure everything; reads catalogues and no rows of the history."""
    marks = await read_marks(connection, now)
    rates = rows_a_day(marks) or {}
    row = await (await connection.execute(_QUERIES["lag"])).fetchone()
    rolled_up, until, behind, line_now, maintained_at, database_bytes = row or (0, None, 0, None, None, 0)
    disk = await measure(connection, history)
    growth = growth_a_day(marks)
    rows, memory = await expected(connection, marks)
    width = choose_width(rows, history.vitals_days, memory)
    return Sizes(
        tables=[await _table(connection, edition, history, table, rates.get(table)) for table in DIVIDED],
        database_bytes=database_bytes,
        disk=disk,
        growth_a_day=growth,
        days_left=days_left(disk.free_bytes if disk else None, growth),
        index_bytes=round(rows * INDEX_BYTES * width.days),
        index_share_bytes=memory // SHARE,
        chunk_days=width.days,
        batch=rolled_up + behind,
        rolled_up_batch=rolled_up,
        rolled_up_until=until,
        rollup_lag_seconds=(line_now - until).total_seconds() if line_now and until else None,
        maintained_at=maintained_at,
    )


async def expected(connection: AsyncConnection, marks: list[Mark]) -> tuple[float, int]:
    """Return the rows a day to expect in the whole history, and the bytes of shared_buffers.

    What the registry promises or, if that is more, what came: a fleet that was imported today sends tomorrow,
    and devices send more than the beats that they promise.
    """
    row = await (await connection.execute(_QUERIES["fleet"])).fetchone()
    promised, shared_buffers = row or (0.0, 0)
    return max(promised, sum((rows_a_day(marks) or {}).values())), shared_buffers


async def read_marks(connection: AsyncConnection, now: datetime) -> list[Mark]:
    """Return what the maintenance of the last days found, oldest first."""
    rows = await connection.execute(_QUERIES["marks"], {"since": now - LOOKED_BACK})
    return [Mark(*row) for row in await rows.fetchall()]


async def _table(
    connection: AsyncConnection, edition: Edition, history: HistorySettings, table: str, rate: float | None
) -> TableSize:
    pieces = await (await connection.execute(_QUERIES["sizes"], {"table": table})).fetchall()
    chunks = await edition.chunks(connection, table)
    filled = {(schema, name) for schema, name, heap, _, rows in pieces if heap and rows != 0}
    with_rows = [chunk for chunk in chunks if (chunk.schema, chunk.name) in filled]
    estimates = [rows for *_, rows in pieces]
    known = [rows for rows in estimates if rows is not None]
    return TableSize(
        table=table,
        total_bytes=sum(total for _, _, _, total, _ in pieces),
        rows=round(sum(known)) if len(known) == len(estimates) else None,
        rows_a_day=rate,
        oldest=min((chunk.start for chunk in with_rows), default=None),
        newest=max((chunk.end for chunk in with_rows), default=None),
        kept_days=history.days(table),
        chunks=len(chunks),
    )
