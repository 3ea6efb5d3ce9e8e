"""Import a file into the registry: all or nothing, and never in the way of a call for help.

Everything is staged and checked first; then one transaction writes. A device of the file that registers
itself meanwhile (its first message is a call, perhaps) would wait for the commit, and the whole line with it.
So a second connection looks out: as soon as anybody waits, the writing is broken off, which frees them at
once, and begins anew. Who has registered then is known and waits no more. A file so big, in a fleet so busy,
that this happens again and again is given up: it must be imported in parts.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection, Rollback, errors
from psycopg.rows import dict_row

from schemas.csv_file import LineError
from schemas.errors import CarebellError
from schemas.registry import Kind, Row
from store import sql
from store.migrate import require_current

SHOWN: Final = 100
"""Most errors that are told one by one."""

UNNAMED_SHOWN: Final = 10
"""Most codes without a name that a warning lists."""

LOOK_EVERY: Final = 0.05
"""Seconds between two looks for somebody who waits."""

MOST_WAYS: Final = 10
"""How often an import makes way before it is given up."""

TURN_POLL: Final = 0.5
LONGEST_PAUSE: Final = 5.0

_SQL: Final = sql.load("registry")
_WRITES: Final = {
    "region": ("write_region",),
    "device": ("write_device", "write_new_device"),
    "person": ("write_new_person", "write_care", "write_person", "remove_contacts", "write_contacts"),
}


class BusyError(CarebellError):
    """Devices of the file register themselves all the time: the file takes too long in one piece."""


Step = Callable[[str], None]
"""Called with what is being done now."""


@dataclass
class Summary:
    """What an import did or would do with the rows of a file; with errors nothing was done."""

    rows: int = 0
    new: int = 0
    changed: int = 0
    moved: int = 0
    made_way: int = 0
    errors: list[LineError] = field(default_factory=list)
    more_errors: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def unchanged(self) -> int:
        """Return how many rows say what the registry has."""
        return self.rows - self.new - self.changed

    def add(self, found: list[LineError], total: int) -> None:
        """Keep the first errors by line; count the others."""
        count = len(self.errors) + self.more_errors + total
        self.errors = sorted([*self.errors, *found], key=lambda error: error.line)[:SHOWN]
        self.more_errors = count - len(self.errors)


@asynccontextmanager
async def turn(connection: AsyncConnection, step: Step) -> AsyncIterator[None]:
    """Wait until nobody else imports or moves, and keep others out till the end of the block."""
    is_told = False
    while not await _value(connection, "take_turn"):
        if not is_told:
            step("waiting for another import to end")
        is_told = True
        await asyncio.sleep(TURN_POLL)
    try:
        yield
    finally:
        if not connection.closed:
            await connection.execute(_SQL["end_turn"])


async def import_file(
    connection: AsyncConnection,
    lookout: AsyncConnection,
    kind: Kind,
    rows: Iterable[Row | LineError],
    at: datetime,
    *,
    dry_run: bool,
    step: Step,
) -> Summary:
    """Import rows of a file, or with `dry_run` only say what would come of it; `at`: the installation's time.

    Both connections are in autocommit and to the same database. With errors nothing is written.
    """
    await require_current(connection)
    summary = Summary()
    async with turn(connection, step), _staged(connection, kind):
        await _stage(connection, rows, summary)
        step("checking")
        await _check(connection, kind, summary)
        if not summary.errors and not dry_run:
            step("writing")
            await _write(connection, lookout, kind, summary, at=at, step=step)
    return summary


@asynccontextmanager
async def _staged(connection: AsyncConnection, kind: Kind) -> AsyncIterator[None]:
    await connection.execute(_SQL["prepare_session"])
    await connection.execute(_SQL["unstage"])
    await connection.execute(_SQL[f"stage_{kind.noun}"])
    try:
        yield
    finally:
        if not connection.closed:
            await connection.execute(_SQL["unstage"])


async def _stage(connection: AsyncConnection, rows: Iterable[Row | LineError], summary: Summary) -> None:
    async with connection.cursor() as cursor, cursor.copy("COPY staged FROM STDIN") as copy:
        for row in rows:
            if isinstance(row, LineError):
                summary.add([row] if len(summary.errors) < SHOWN else [], 1)
            else:
                summary.rows += 1
                await copy.write_row((row.line, *row.values))
    await connection.execute("ANALYZE staged")


async def _check(connection: AsyncConnection, kind: Kind, summary: Summary) -> None:
    """Find what only the whole file or the registry can tell, and count what would be done."""
    twins = await _all(connection, "check_twins")
    _errors(summary, twins, lambda row: f"{row['key']} stands in line {row['first_line']} already")
    if kind.noun == "device":
        _errors(summary, await _all(connection, "check_drills"), _say_drill)
        _errors(summary, await _all(connection, "check_people"), _say_unknown)
        _errors(summary, await _all(connection, "check_aliases"), _say_taken)
        _errors(summary, await _all(connection, "check_moves"), _say_held)
        summary.warnings += _unnamed(await _all(connection, "check_regions"))
    if not summary.errors:
        await _count(connection, summary)


async def _count(connection: AsyncConnection, summary: Summary) -> None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(_SQL["count_wanted"])).fetchone()
    for name, value in (row or {}).items():
        setattr(summary, name, value)


def _errors(summary: Summary, found: list[dict[str, Any]], say: Callable[[dict[str, Any]], str]) -> None:
    if found:
        summary.add([LineError(row["line"], say(row)) for row in found], found[0]["total"])


def _say_unknown(row: dict[str, Any]) -> str:
    hint = f"; {row['like_it']} is known: did a spreadsheet drop zeros?" if row["like_it"] else ""
    return f"nobody has the file number {row['person']}{hint or ': import people before their devices'}"


def _say_drill(row: dict[str, Any]) -> str:
    return (
        f"{row['key']} is a device of drills, whose calls close by themselves:"
        f" `carebell device move {row['key']} --none` makes it one like any other"
    )


def _say_taken(row: dict[str, Any]) -> str:
    return f"{row['alias']} means {row['device']} already: a name stands for one device"


def _say_held(row: dict[str, Any]) -> str:
    return held_message(row["device"], row["alarm_id"])


def held_message(device: str, alarm_id: int) -> str:
    """Say why a device stays with its person."""
    return f"{device} stays with its person while its alarm {alarm_id} is open: close that first"


def _unnamed(found: list[dict[str, Any]]) -> list[str]:
    """Warn of codes without a name, and say how one is given."""
    if not found:
        return []
    codes = ", ".join(f"{row['region']} (line {row['line']})" for row in found[:UNNAMED_SHOWN])
    more = found[0]["total"] - UNNAMED_SHOWN
    also = f" and {more} more" if more > 0 else ""
    advice = "name them in a file with the header region,name and run `carebell region import FILE.csv`"
    return [f"these codes have no name, so the desk shows the code: {codes}{also}; {advice}"]


async def _write(
    connection: AsyncConnection,
    lookout: AsyncConnection,
    kind: Kind,
    summary: Summary,
    *,
    at: datetime,
    step: Step,
) -> None:
    """Write what is wanted in one transaction; break off and begin anew as often as somebody waits for it."""

    async def work() -> None:
        async with connection.transaction() as transaction:
            await connection.execute(_SQL["set_time"], {"at": at.isoformat()})
            for query in _WRITES[kind.noun]:
                await connection.execute(_SQL[query])
            if kind.noun == "device":
                # somebody may have called for help since the check
                _errors(summary, await _all(connection, "check_moves"), _say_held)
            if summary.errors:
                raise Rollback(transaction)
            await connection.execute(_SQL["tell_bridge"])

    if kind.noun == "device":
        await connection.execute(_SQL["number_new_devices"])
    while not await giving_way(connection, lookout, work):
        summary.made_way += 1
        if summary.made_way == MOST_WAYS:
            raise BusyError(
                f"nothing was imported: {MOST_WAYS} times the writing made way for devices of the file that"
                " sent their first message; import it in parts, which are written faster"
            )
        step(f"made way for a device {summary.made_way} times; writing again")
        await asyncio.sleep(min(LONGEST_PAUSE, 0.2 * summary.made_way))


async def giving_way(
    connection: AsyncConnection, lookout: AsyncConnection, work: Callable[[], Awaitable[None]]
) -> bool:
    """Do `work`, one transaction on `connection`; break it off and return False if anybody waits for it.

    A cancelled COMMIT has not committed, so the answer is always sure.
    """
    gave_way = False

    async def look() -> None:
        nonlocal gave_way
        while not gave_way:
            await asyncio.sleep(LOOK_EVERY)
            pid = {"pid": connection.info.backend_pid}
            gave_way = bool(await _value(lookout, "waits_for", pid))
        await connection.cancel_safe()

    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        try:
            await work()
        except errors.QueryCanceled:
            if not gave_way:
                raise
            return False
        finally:
            if not gave_way:  # else it is on its way, and must not hit the next statement
                looking.cancel()
    return True


async def _value(connection: AsyncConnection, query: str, values: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - of several types
    row = await (await connection.execute(_SQL[query], values)).fetchone()
    return row[0] if row else None


async def _all(connection: AsyncConnection, query: str) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(_SQL[query], {"limit": SHOWN})).fetchall()
