"""The alarms that a recording holds, and where people had closed them: read in one snapshot."""

from typing import Any, NamedTuple

from psycopg import AsyncConnection

from schemas.alarms import OWN_KINDS
from schemas.clock import to_microseconds
from store import sql

_QUERIES = sql.load("recording")
_TIMES = ("raised_at", "last_at", "cleared_at")
_DATABASE = """
SELECT system_identifier || '/' || d.oid
FROM pg_control_system(), pg_database d WHERE d.datname = current_database()
"""


class Marks(NamedTuple):
    """Where a recording begins: newer alarms and newer words about them belong to it, and those open then."""

    alarm_id: int
    log_id: int
    open: list[int]


class Alarms(NamedTuple):
    """Rows of `alarms` by the names of their columns, times in microseconds since 1970, the oldest first.

    `batch` is the newest one committed; `closed` says of each alarm that people closed how many decisions of
    the recording had changed it by then.
    """

    batch: int
    rows: list[dict[str, Any]]
    closed: dict[int, int]


async def database(connection: AsyncConnection) -> str:
    """Return what no other database is called: the number of its server, and its own there."""
    found = await (await connection.execute(_DATABASE)).fetchone()
    return found[0] if found else ""


async def begin(connection: AsyncConnection) -> tuple[Marks, Alarms]:
    """Return where a recording begins that begins now, and the alarms that are open."""
    async with connection.transaction():
        await connection.execute(_QUERIES["snapshot"])
        found = await (await connection.execute(_QUERIES["marks"])).fetchone()
        rows = await connection.execute(_QUERIES["open"], {"own": list(OWN_KINDS)})
        alarm_id, log_id = found or (0, 0)
        marks = Marks(alarm_id, log_id, [alarm_id for (alarm_id,) in await rows.fetchall()])
        return marks, await _alarms(connection, marks)


async def alarms(connection: AsyncConnection, marks: Marks) -> Alarms:
    """Return what has become of the alarms of a recording."""
    async with connection.transaction():
        await connection.execute(_QUERIES["snapshot"])
        return await _alarms(connection, marks)


async def _alarms(connection: AsyncConnection, marks: Marks) -> Alarms:
    given = {**marks._asdict(), "own": list(OWN_KINDS)}
    newest = await (await connection.execute(_QUERIES["newest_batch"])).fetchone()
    cursor = await connection.execute(_QUERIES["alarms"], given)
    names = [column.name for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
    for row in rows:
        row.update({name: to_microseconds(row[name]) for name in _TIMES if row[name] is not None})
    closed = await (await connection.execute(_QUERIES["closed_by_people"], given)).fetchall()
    return Alarms(newest[0] if newest else 0, rows, dict(closed))
