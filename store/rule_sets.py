"""Versions of the rules as people ask for them: list, read, apply. Connections are given, in autocommit."""

from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import class_row
from pydantic import BaseModel

from schemas.clock import Moment
from schemas.errors import CarebellError
from store import sql
from store.migrate import require_current

_QUERIES: Final = sql.load("rules")


class RuleSetVersion(BaseModel):
    """A version of the rules; `applied_at` is None for a file of the settings, `used_at` if it never ran."""

    version: int
    applied_at: Moment | None
    applied_by: str | None
    used_at: Moment | None
    refused: str | None
    in_force: bool


class PersonThresholds(BaseModel):
    """The limits that are a person's own, by the names that rules give them."""

    person: str
    name: str
    thresholds: dict[str, float]


async def versions(connection: AsyncConnection, limit: int) -> list[RuleSetVersion]:
    """Return versions, the newest first."""
    await require_current(connection)
    async with connection.cursor(row_factory=class_row(RuleSetVersion)) as cursor:
        return await (await cursor.execute(_QUERIES["versions"], {"limit": limit})).fetchall()


async def version(connection: AsyncConnection, number: int) -> RuleSetVersion:
    """Return one version; raises CarebellError if there is none."""
    async with connection.cursor(row_factory=class_row(RuleSetVersion)) as cursor:
        row = await (await cursor.execute(_QUERIES["version"], {"version": number})).fetchone()
    if row is None:
        raise CarebellError(f"there is no version {number} of the rules: see `carebell rule list`")
    return row


async def source(connection: AsyncConnection, number: int | None = None) -> str | None:
    """Return the text of a version, or of the one in force; None if there is none."""
    await require_current(connection)
    row = await (await connection.execute(_QUERIES["source"], {"version": number})).fetchone()
    return str(row[0]) if row else None


async def apply(connection: AsyncConnection, text: str, by: str) -> int | None:
    """Write a version and tell the bridge; return its number, None if this text was applied last already."""
    await require_current(connection)
    async with connection.transaction():
        row = await (await connection.execute(_QUERIES["apply"], {"source": text, "by": by})).fetchone()
        await connection.execute(_QUERIES["tell"])
    return int(row[0]) if row else None


async def newest(connection: AsyncConnection) -> int:
    """Return the number of the version that was applied last and not refused; 0 if there is none."""
    row = await (await connection.execute(_QUERIES["newest"])).fetchone()
    return int(row[0] or 0) if row else 0


async def thresholds(connection: AsyncConnection) -> list[PersonThresholds]:
    """Return the people who have limits of their own."""
    await require_current(connection)
    async with connection.cursor(row_factory=class_row(PersonThresholds)) as cursor:
        return await (await cursor.execute(_QUERIES["thresholds"])).fetchall()
