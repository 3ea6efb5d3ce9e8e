"""The doctor's look at the database: edition, migrations, safety, clock, disk, registry, boards' queries."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from ops.common import connected, first_line
from ops.doctor.finding import Finding, State, fault, judge
from schemas.clock import to_datetime
from schemas.errors import CarebellError
from schemas.settings import Settings
from store import boards, migrate, sql
from store.sizes import sizes

CLOCK_OFF: Final = 2.0
"""Seconds by which this machine's clock and the database's may differ."""
SLOW: Final = 1.0
"""Seconds above which a board's query is called slow."""
NEARLY: Final = 0.9
"""Share of the cap of self-registered devices at which it is time to look."""
SAFE: Final = {"on", "local", "remote_write", "remote_apply"}
HEARD_WITHIN: Final = timedelta(minutes=15)
MAINTAINED_WITHIN: Final = timedelta(hours=3)
DAYS_TO_ACT: Final = 14
NO_CHOICE: Final = {"device": "", "person": "", "region": ""}
"""Values of the boards' variables: nothing is chosen."""

_QUERIES: Final = sql.load("doctor")


async def check_database(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything that the database can tell; stops where the rest cannot be asked."""
    try:
        async with connected(settings) as connection:
            await connection.execute("SET statement_timeout = '10s'")
            async for finding in _all(connection, settings):
                yield finding
    except (CarebellError, psycopg.Error) as error:
        yield fault("database", "answers", first_line(error), "see database.url, and whether PostgreSQL runs")


async def _all(connection: AsyncConnection, settings: Settings) -> AsyncIterator[Finding]:
    found = await migrate.status(connection)
    yield judge("database", "answers", f"{found.server}, {found.edition}")
    missing = ", ".join(found.missing)
    yield judge("database", "migrations", missing or "all", not missing, "run `carebell db migrate`")
    yield await _clock(connection)
    for name, value in await (await connection.execute(_QUERIES["safety"])).fetchall():
        advice = f"a crash of the server can lose what was acknowledged: set {name} = on"
        yield judge("database", name, value, value in SAFE, advice)
    if not missing:
        for finding in await _registry(connection, settings):
            yield finding
        yield await _heard(connection, to_datetime(settings.clock.clock().now()))
        async for finding in _history(connection, settings):
            yield finding
        async for finding in _boards(connection):
            yield finding


async def _clock(connection: AsyncConnection) -> Finding:
    row = await (await connection.execute("SELECT clock_timestamp()")).fetchone()
    off = abs((datetime.now(UTC) - row[0]).total_seconds()) if row else 0.0
    advice = "set both by NTP: timedatectl set-ntp true"
    return judge("database", "clock", f"{off:.1f} s from this machine's", off <= CLOCK_OFF, advice)


async def _registry(connection: AsyncConnection, settings: Settings) -> list[Finding]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        count = await (await cursor.execute(_QUERIES["registry"])).fetchone() or {}
    full = count["self_registered"] > settings.ingest.max_registered * NEARLY
    judged = (
        ("devices", "devices", count["devices"] > 0, "`carebell device import FILE.csv` enters them"),
        (
            "devices without a person",
            "without_person",
            count["without_person"] == 0,
            "their alarms name nobody: `carebell device move DEVICE --to PERSON`",
        ),
        (
            "devices that registered themselves",
            "self_registered",
            not full,
            "beyond ingest.max_registered new ones are refused: enter them with `carebell device import`",
        ),
        (
            "people without a contact",
            "without_contact",
            count["without_contact"] == 0,
            "there is nobody else to call: `carebell person import FILE.csv`",
        ),
        (
            "regions without a name",
            "unnamed_regions",
            count["unnamed_regions"] == 0,
            "`carebell region import FILE.csv` names them",
        ),
    )
    return [
        judge("registry", check, str(count[name]), right, advice, otherwise=State.WARNING)
        for check, name, right, advice in judged
    ]


async def _heard(connection: AsyncConnection, now: datetime) -> Finding:
    """Look whether anything arrives at all: a broker may grant a subscription and then deliver nothing."""
    row = await (await connection.execute(_QUERIES["heard"])).fetchone()
    at = row[0] if row else None
    advice = (
        "nothing arrives: see the broker's ACL for the bridge's user, the devices' listener, its certificate"
    )
    recent = at is not None and now - at < HEARD_WITHIN
    return judge("bridge", "last message", str(at or "never"), recent, advice, otherwise=State.WARNING)


async def _history(connection: AsyncConnection, settings: Settings) -> AsyncIterator[Finding]:
    """Look whether the history is kept bounded, and how long the disk lasts."""
    now = to_datetime(settings.clock.clock().now())
    edition = await migrate.edition_of(connection)
    found = await sizes(connection, edition, settings.history, now)
    at = found.maintained_at
    advice = (
        "`carebell serve` runs `carebell db maintain` each hour; without it a timer must: see docs/deploy.md"
    )
    recent = at is not None and now - at < MAINTAINED_WITHIN
    yield judge("history", "maintained", str(at or "never"), recent, advice, otherwise=State.WARNING)
    if found.disk is None:
        advice = "set history.disk to a directory on the database's volume"
        yield fault("history", "disk", "not seen from here", advice, otherwise=State.WARNING)
        return
    share = found.disk.percent_free
    advice = "add disk, or shorten [history]: a full disk stops the line"
    yield judge("history", "disk", f"{share:.0f} % free", share >= settings.history.disk_low, advice)
    left = found.days_left
    shown = "unknown until it has run for a day" if left is None else f"{left:.0f} days at the present growth"
    enough = left is None or left > DAYS_TO_ACT
    yield judge("history", "disk lasts", shown, enough, advice, otherwise=State.WARNING)


async def _boards(connection: AsyncConnection) -> AsyncIterator[Finding]:
    """Look what Grafana's role may read, and run every query of the boards."""
    closed = await (await connection.execute(_QUERIES["closed_boards"], {"role": boards.ROLE})).fetchall()
    found = ", ".join(view for (view,) in closed) or "may read every board"
    advice = f"GRANT SELECT ON the view TO {boards.ROLE}, which must be there: see docs/deploy.md"
    yield judge("boards", boards.ROLE, found, not closed, advice)
    end = datetime.now(UTC)
    queries, failed, slowest = boards.queries(), [], (0.0, "none")
    for name, text in queries.items():
        began = time.perf_counter()
        try:
            await connection.execute(boards.expand(text, end - timedelta(days=1), end, NO_CHOICE).encode())
        except psycopg.Error as error:
            failed.append(f"{name}: {first_line(error)}")
        slowest = max(slowest, (time.perf_counter() - began, name))
    found = "; ".join(failed) or f"{len(queries)} answer"
    yield judge("boards", "queries", found, not failed, "run `carebell db migrate` of this version")
    found = f"{slowest[1]}, {slowest[0] * 1000:.0f} ms"
    advice = "`carebell db status` shows what has grown"
    yield judge("boards", "slowest query", found, slowest[0] < SLOW, advice, otherwise=State.WARNING)
