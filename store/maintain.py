"""`carebell db maintain`: roll up, make room, drop what is old, note what was found. One at a time.

Nothing here may make the line wait: transactions are short, heavy locks are waited for 50 ms at most, and the
order is such that rows are rolled up before they can be dropped.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from psycopg import AsyncConnection, errors
from psycopg import sql as compose

from schemas.settings import HistorySettings
from store import sql
from store.disk import Disk, measure
from store.edition import DIVIDED, HISTORY, Edition
from store.growth import choose_width
from store.migrate import require_current
from store.retention import Dropped, drop_old
from store.rollup import Progress, RolledUp, roll_up
from store.sizes import expected, read_marks

_QUERIES = sql.load("history")
MARKS_KEPT = timedelta(days=30)


@dataclass
class Maintained:
    """What was done; `wrong` says in a sentence each what a person must see to."""

    rolled_up: RolledUp
    chunk_days: dict[str, int]
    made: list[str]
    dropped: Dropped
    database_bytes: int
    disk: Disk | None
    wrong: list[str] = field(default_factory=list)


async def maintain(
    connection: AsyncConnection, history: HistorySettings, now: datetime, progress: Progress
) -> Maintained | None:
    """Do all that is due; None: another one is at it. The connection is in autocommit and not used after.

    `now` is the clock of the installation; `progress` is told batches rolled up and to roll up. Raises
    UsageError if migrations are missing.
    """
    edition = await require_current(connection)
    await connection.execute(_QUERIES["own_session"])
    free = await (await connection.execute(_QUERIES["lock_maintenance"])).fetchone()
    if not (free and free[0]):
        return None
    widths = await chosen_widths(connection, history, now)
    wrong: list[str] = []
    try:
        made = await edition.make_room(connection, now, widths)
        made += await _make_room_back(connection, edition, history, now)
    except errors.LockNotAvailable:
        made = []
        wrong.append("no room could be made ahead: a table of the history was locked all the time")
    rolled_up = await roll_up(connection, progress)
    await _analyse_new(connection)
    dropped = await drop_old(connection, edition, history, now)
    await connection.execute(sql.load("access")["trim_audit"])
    disk = await measure(connection, history)
    if disk and disk.percent_free < history.disk_low:
        wrong.append(
            f"the disk of {disk.directory} has {disk.free_bytes / 1e9:.1f} GB free, {disk.percent_free:.1f}%:"
            " enlarge it, or keep rows for fewer days ([history])"
        )
    size = await (await connection.execute(_QUERIES["mark"], {"now": now})).fetchone()
    await connection.execute(_QUERIES["trim_marks"], {"before": now - MARKS_KEPT})
    return Maintained(
        rolled_up,
        {table: width.days for table, width in widths.items()},
        made,
        dropped,
        size[0] if size else 0,
        disk,
        wrong,
    )


async def chosen_widths(
    connection: AsyncConnection, history: HistorySettings, now: datetime
) -> dict[str, timedelta]:
    """Choose how wide the chunks of each table are to be."""
    rows, memory = await expected(connection, await read_marks(connection, now))
    return {table: choose_width(rows, history.days(table), memory) for table in HISTORY}


async def _make_room_back(
    connection: AsyncConnection, edition: Edition, history: HistorySettings, now: datetime
) -> list[str]:
    """Make room in the roll-ups as far back as there may be rows to roll up, and they are kept."""
    made = []
    for rollup, table in (("vitals_hourly", "vitals"), ("activity_daily", "activity")):
        chunks = await edition.chunks(connection, table)
        since = max(now - timedelta(days=history.days(rollup)), chunks[0].start)
        made += await edition.make_room_back(connection, rollup, since, now)
    return made


async def _analyse_new(connection: AsyncConnection) -> None:
    """Let the planner know chunks of which it knows nothing yet; later ones are the autovacuum's."""
    for table in DIVIDED:
        rows = await connection.execute(_QUERIES["unknown_to_the_planner"], {"table": table})
        for schema, name in await rows.fetchall():
            await connection.execute(compose.SQL("ANALYZE {}").format(compose.Identifier(schema, name)))
