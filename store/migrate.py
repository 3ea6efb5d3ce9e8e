"""Numbered migrations: each is applied once, in order, in one transaction, under a lock."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.errors import Diagnostic

from schemas.errors import UsageError
from store.edition import Edition

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x6361726562656C6C >> 8
_PRIVILEGE_NOT_GRANTED = "01007"


@dataclass(frozen=True)
class Status:
    """What a database is: its edition and server, and which migrations it has and lacks."""

    edition: str
    server: str
    applied: list[str]
    missing: list[str]


def numbered() -> list[Path]:
    """Return the migration files in order."""
    return sorted(MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql"))


async def edition_of(connection: AsyncConnection) -> Edition:
    """Find out at connect which edition this is: that of its tables, else timescale where it can be had."""
    row = await (
        await connection.execute(
            "SELECT CASE WHEN to_regclass('migrations') IS NULL"
            " THEN EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')"
            " ELSE EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') END"
        )
    ).fetchone()
    return Edition.named("timescale" if row and row[0] else "native")


async def status(connection: AsyncConnection) -> Status:
    """Compare the database with the migrations that this version brings."""
    edition = await edition_of(connection)
    version = await (await connection.execute("SHOW server_version")).fetchone()
    known = await (await connection.execute("SELECT to_regclass('migrations') IS NOT NULL")).fetchone()
    applied: list[str] = []
    if known and known[0]:
        rows = await (await connection.execute("SELECT name FROM migrations ORDER BY name")).fetchall()
        applied = [name for (name,) in rows]
    return Status(
        edition=edition.name,
        server=f"PostgreSQL {version[0]}" if version else "",
        applied=applied,
        missing=[path.stem for path in numbered() if path.stem not in applied],
    )


async def migrate(connection: AsyncConnection, now: datetime | None = None) -> list[str]:
    """Apply what is missing and return the names; the connection must not be inside a transaction.

    What somebody with more rights must do is logged as a warning.
    """
    connection.add_notice_handler(_pass_on)
    try:
        return await _migrate(connection, now or datetime.now(UTC))
    finally:
        connection.remove_notice_handler(_pass_on)


async def _migrate(connection: AsyncConnection, now: datetime) -> list[str]:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        edition = await edition_of(connection)
        if edition.name == "timescale":
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations ("
            "name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        missing = (await status(connection)).missing
        for name in missing:
            script = edition.render((MIGRATIONS / f"{name}.sql").read_text(encoding="utf-8"))
            await connection.execute(script.encode())
            await connection.execute("INSERT INTO migrations (name) VALUES (%s)", (name,))
        await edition.make_room(connection, now)
    return missing


def _pass_on(notice: Diagnostic) -> None:
    """Log what only an admin can do; the rest of what a server says while it migrates is chatter."""
    if notice.sqlstate == _PRIVILEGE_NOT_GRANTED:
        log.warning("%s", notice.message_primary)


async def require_current(connection: AsyncConnection) -> Edition:
    """Return the edition, or raise UsageError if migrations are missing."""
    found = await status(connection)
    if found.missing:
        raise UsageError(f"the database lacks {', '.join(found.missing)}: run `carebell db migrate`")
    return Edition.named(found.edition)
