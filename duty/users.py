"""Users of the desk and their tokens, as `carebell user` makes, shows and ends them.

Rules of this file: each change is one transaction with its line in the audit log, which names who did it at
the command line. A token is returned by `new_token` and by nothing else: the database has its digest.
"""

import secrets
from datetime import datetime
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row
from pydantic import BaseModel, ConfigDict

from duty import trail
from duty.access import Role
from duty.alarms import database_errors
from duty.handling import ENGINE, NAME_LENGTH, BadOrderError, DutyError, require_text
from duty.keys import digest_of
from schemas.clock import Moment
from store import sql

DAYS: Final = 90
"""For how long a token counts unless it is said."""
MOST_DAYS: Final = 366
NOTE_LENGTH: Final = 200

_SQL: Final = sql.load("access")


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


_R = TypeVar("_R", bound=_Row)


class User(_Row):
    """Somebody who may use the desk: `tokens` that count now, and `until` when the last of them does."""

    name: str
    role: Role
    tokens: int
    until: Moment | None
    disabled_at: Moment | None
    created_at: Moment


class Token(_Row):
    """A token without its secret."""

    token_id: int
    name: str
    counts: bool
    expires_at: Moment
    revoked_at: Moment | None
    note: str
    created_at: Moment


class UnknownUserError(DutyError):
    """There is no user of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no user {name}: `carebell user add` makes one")


class UserExistsError(DutyError):
    """A name is one person's for ever, for the logs name it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a user {name} already: `carebell user role` changes what they may")


class DisabledUserError(DutyError):
    """A token for a disabled user would not count."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is disabled: `carebell user enable` lets them in again")


class UnknownTokenError(DutyError):
    """There is no token of this number that still counts."""

    def __init__(self, token_id: int) -> None:
        super().__init__(f"there is no token {token_id} that is not revoked already")


def require_name(name: str) -> None:
    """Raise BadOrderError unless the logs can bear the name, and it is not the engine's."""
    require_text("NAME", name, NAME_LENGTH)
    if not name.strip() or name != name.strip() or name == ENGINE:
        raise BadOrderError(f"NAME = {name!r}: a person's name, and not {ENGINE}", "请写明姓名")


async def add(connection: AsyncConnection, by: str, name: str, role: Role) -> User:
    """Make a user. Raises BadOrderError or UserExistsError."""
    require_name(name)
    with database_errors():
        async with connection.transaction():
            values = {"name": name, "role": role}
            if await (await connection.execute(_SQL["add_user"], values)).fetchone() is None:
                raise UserExistsError(name)
            await trail.record_command(connection, by, "user add", values)
            return await _user(connection, name)


async def set_role(connection: AsyncConnection, by: str, name: str, role: Role) -> User:
    """Give a user another role. Raises UnknownUserError."""
    return await _change(connection, by, "set_role", "user role", {"name": name, "role": role})


async def disable(connection: AsyncConnection, by: str, name: str) -> User:
    """Let a user in no longer, whatever token they have. Raises UnknownUserError."""
    return await _change(connection, by, "disable", "user disable", {"name": name})


async def enable(connection: AsyncConnection, by: str, name: str) -> User:
    """Let a disabled user in again; tokens that are neither revoked nor over count again."""
    return await _change(connection, by, "enable", "user enable", {"name": name})


async def new_token(
    connection: AsyncConnection, by: str, name: str, *, days: int = DAYS, note: str = ""
) -> tuple[str, Token]:
    """Return a new token, this once, and what is kept of it.

    Raises BadOrderError, UnknownUserError or DisabledUserError.
    """
    require_text("--note", note, NOTE_LENGTH)
    if not 1 <= days <= MOST_DAYS:
        raise BadOrderError(f"--days {days}: from 1 to {MOST_DAYS}", f"有效期为 1 至 {MOST_DAYS} 天")
    secret = secrets.token_urlsafe(32)
    values = {"name": name, "digest": digest_of(secret), "days": days, "note": note}
    with database_errors():
        async with connection.transaction():
            if await _disabled_at(connection, name):
                raise DisabledUserError(name)
            [kept] = await _all(connection, Token, "add_token", values)
            said = {"name": name, "token_id": kept.token_id, "days": days}
            await trail.record_command(connection, by, "user token", said)
    return secret, kept


async def revoke(connection: AsyncConnection, by: str, token_id: int) -> list[int]:
    """Let a token count no longer. Raises UnknownTokenError."""
    revoked = await _revoke(connection, by, "revoke_token", {"token_id": token_id})
    if not revoked:
        raise UnknownTokenError(token_id)
    return revoked


async def revoke_all(connection: AsyncConnection, by: str, name: str) -> list[int]:
    """Let no token of a user count any longer; return which did. Raises UnknownUserError."""
    with database_errors():
        await _user(connection, name)
    return await _revoke(connection, by, "revoke_all", {"name": name})


async def list_users(connection: AsyncConnection, limit: int) -> list[User]:
    """Return users by name."""
    with database_errors():
        return await _all(connection, User, "list_users", {"name": None, "limit": limit})


async def list_tokens(connection: AsyncConnection, limit: int) -> list[Token]:
    """Return tokens, newest first."""
    with database_errors():
        return await _all(connection, Token, "list_tokens", {"name": None, "token_id": None, "limit": limit})


async def _change(
    connection: AsyncConnection, by: str, query: str, action: str, values: dict[str, Any]
) -> User:
    with database_errors():
        async with connection.transaction():
            await _disabled_at(connection, values["name"])
            await connection.execute(_SQL[query], values)
            await trail.record_command(connection, by, action, values)
            return await _user(connection, values["name"])


async def _revoke(connection: AsyncConnection, by: str, query: str, values: dict[str, Any]) -> list[int]:
    with database_errors():
        async with connection.transaction():
            rows = await (await connection.execute(_SQL[query], values)).fetchall()
            revoked = [int(token_id) for (token_id,) in rows]
            if revoked:
                await trail.record_command(connection, by, "user revoke", {**values, "tokens": revoked})
            return revoked


async def _disabled_at(connection: AsyncConnection, name: str) -> datetime | None:
    """Lock a user and return since when they are disabled. Raises UnknownUserError."""
    row = await (await connection.execute(_SQL["lock_user"], {"name": name})).fetchone()
    if row is None:
        raise UnknownUserError(name)
    found: datetime | None = row[0]
    return found


async def _user(connection: AsyncConnection, name: str) -> User:
    found = await _all(connection, User, "list_users", {"name": name, "limit": 1})
    if not found:
        raise UnknownUserError(name)
    return found[0]


async def _all(connection: AsyncConnection, kind: type[_R], query: str, values: dict[str, Any]) -> list[_R]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        return await (await cursor.execute(_SQL[query], values)).fetchall()
