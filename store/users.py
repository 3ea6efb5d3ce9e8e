"""Whether anybody could come in at the desk, for those who start it and look after it."""

from dataclasses import dataclass
from typing import Final

from psycopg import AsyncConnection, errors
from psycopg.rows import class_row

from store import sql

_SQL: Final = sql.load("access")


@dataclass(frozen=True)
class Counted:
    """How many users are not disabled, how many tokens count, and how many of these end within a week."""

    users: int
    tokens: int
    ending: int


NOBODY: Final = Counted(0, 0, 0)


async def count(connection: AsyncConnection) -> Counted:
    """Count who could come in; nobody where the database is not migrated yet. In autocommit."""
    try:
        async with connection.cursor(row_factory=class_row(Counted)) as cursor:
            return await (await cursor.execute(_SQL["count_users"])).fetchone() or NOBODY
    except errors.UndefinedTable:
        return NOBODY
