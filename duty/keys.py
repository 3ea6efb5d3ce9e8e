"""Whose token is this? Those of the settings, and those of the users, which outlive a database that is away.

Rules of this file: only digests are kept, here and in the database. A token has 256 random bits, so that no
slow hash is needed, and looking its digest up tells nothing by the time it takes: who chooses a token does
not choose its digest. Somebody must call `renew` again and again (`keeping` does): what is revoked counts
until then. Expiry is by the real clock, whatever the installation's is.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from duty.access import Role
from schemas.errors import CarebellError
from store import sql

if TYPE_CHECKING:
    from duty.desk import Desk

log = logging.getLogger(__name__)

RENEW_EVERY: Final = 3.0
"""Real seconds between two readings of all keys: what is revoked counts for 5 s at most."""
KEPT: Final = 100_000
"""Keys in memory, the newest; the others are asked for one by one."""
LEAVE: Final = 1.0

_SQL: Final = sql.load("access")

REFUSED_ZH: Final = {
    "expired": "令牌已过期，请联系管理员",
    "revoked": "令牌已作废，请联系管理员",
    "disabled": "账号已停用，请联系管理员",
    "unknown": "请输入有效的令牌",
}
"""Why a token does not count. Only who holds a token that was good learns more than `unknown`."""


@dataclass(frozen=True)
class Key:
    """Whose a token is; those of the settings do not expire; `refused` says why it does not count."""

    name: str
    role: Role
    expires_at: datetime | None = None
    refused: str = ""


class UnauthorizedError(CarebellError):
    """No token, or one that does not count."""

    def __init__(self, detail: str, key: Key | None = None) -> None:
        super().__init__(detail)
        self.zh = REFUSED_ZH[key.refused if key else "unknown"]
        self.name = f"{key.refused} token of {key.name}" if key else "unauthorized"
        """As the audit log names it."""


def digest_of(token: str) -> bytes:
    """Return all that is ever kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def token_of(authorization: str) -> str:
    """Return the token of an Authorization header, or nothing."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Keys:
    """The keys that are known, by digest. Those of the settings are an operator's and do not expire."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = {bytes.fromhex(known): Key(name, Role.OPERATOR) for name, known in settings.items()}
        self._users: dict[bytes, Key] = {}

    def find(self, digest: bytes) -> Key | None:
        """Return the key, as far as memory has it; one that has expired is marked so."""
        found = self._settings.get(digest) or self._users.get(digest)
        if found and found.expires_at and found.expires_at <= datetime.now(UTC):
            return Key(found.name, found.role, found.expires_at, "expired")
        return found

    async def renew(self, connection: AsyncConnection) -> None:
        """Read all keys that count, the newest KEPT of them."""
        rows = await _rows(connection, "keys_in_force", {"limit": KEPT})
        self._users = {bytes(row["digest"]): _key(row) for row in rows}

    async def ask(self, connection: AsyncConnection, digest: bytes) -> Key | None:
        """Return one key as the database has it, and remember it if it counts."""
        rows = await _rows(connection, "key_of_digest", {"digest": digest})
        found = _key(rows[0]) if rows else None
        if found and not found.refused and len(self._users) < KEPT:
            self._users[digest] = found
        return found


async def _rows(connection: AsyncConnection, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(_SQL[query], values)).fetchall()


def _key(row: dict[str, Any]) -> Key:
    return Key(row["name"], Role(row["role"]), row["expires_at"], row["refused"])


@contextlib.asynccontextmanager
async def keeping(desk: "Desk", every: float = RENEW_EVERY) -> AsyncIterator[None]:
    """Renew the desk's keys for as long as the block; a database that is away leaves those that are known."""
    task = asyncio.create_task(_renew_for_ever(desk, every))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=LEAVE)


async def _renew_for_ever(desk: "Desk", every: float) -> None:
    told = False
    while True:
        try:
            await desk.ask(desk.keys.renew)
            told = False
        except (CarebellError, psycopg.Error) as error:
            if not told:
                log.warning("keys cannot be read: %s; those that are known still count", error)
            told = True
        await asyncio.sleep(every)
