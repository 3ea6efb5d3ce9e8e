"""Dead letters as people ask for them: list, show, mark to be re-driven, purge. Connections autocommit.

Long work is done some letters at a time, each time in a transaction of its own: what was done stays done.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row
from pydantic import BaseModel

from schemas.clock import Moment
from schemas.errors import CarebellError
from store import sql
from store.migrate import require_current

_QUERIES: Final = sql.load("dead")
AT_ONCE: Final = 5_000
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)

Progress = Callable[[int], None]
"""Called with how many letters were looked at since the last call."""
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Chosen:
    """Which letters are meant: all that match everything that is said; `topic` is how one begins."""

    ids: tuple[int, ...] = ()
    reason: str | None = None
    topic: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __bool__(self) -> bool:
        """Say whether anything is said."""
        return self != Chosen()

    def where(self) -> tuple[bytes, dict[str, Any]]:
        """Return the condition and its values."""
        said = {
            b"dead_letter_id = ANY(%(ids)s)": ("ids", list(self.ids) or None),
            b"reason = %(reason)s": ("reason", self.reason),
            b"starts_with(topic, %(topic)s)": ("topic", self.topic),
            b"received_at >= %(since)s": ("since", self.since),
            b"received_at < %(until)s": ("until", self.until),
        }
        parts = [part for part, (_, value) in said.items() if value is not None]
        return b" AND ".join(parts) or b"true", dict(said.values())


class Letter(BaseModel):
    """A dead letter in a line; `kept` bytes of its payload are there, `waiting` to be re-driven."""

    dead_letter_id: int
    received_at: Moment
    topic: str
    reason: str
    detail: str
    whole: bool
    payload_length: int
    kept: int
    tries: int
    waiting: bool


class Card(Letter):
    """All that is known of a dead letter; its payload as text where it is UTF-8, and in hex."""

    tried_at: Moment | None
    batch: int
    sha256: str
    text: str | None
    hex: str


class Reason(BaseModel):
    """How many letters bear a reason."""

    reason: str
    letters: int
    oldest: Moment
    newest: Moment


class Survey(BaseModel):
    """What is chosen: how many wait already, are `cut` or `parts` and cannot be re-driven, are `needed`."""

    found: int
    waiting: int
    cut: int
    parts: int
    needed: int


class Redriven(BaseModel):
    """How far a redrive is: letters marked, what became of them, and how many still wait."""

    marked: int
    stored: int
    partly: int
    duplicate: int
    refused: int
    waiting: int


async def letters(connection: AsyncConnection, chosen: Chosen, limit: int) -> list[Letter]:
    """Return letters, the newest first."""
    await require_current(connection)
    return await _models(connection, Letter, "list", chosen, {"limit": limit})


async def by_reason(connection: AsyncConnection, chosen: Chosen) -> list[Reason]:
    """Return the reasons, the commonest first."""
    await require_current(connection)
    return await _models(connection, Reason, "by_reason", chosen, {})


async def show(connection: AsyncConnection, dead_letter_id: int) -> Card:
    """Return one letter; raises CarebellError if there is none."""
    await require_current(connection)
    cursor = await connection.execute(_QUERIES["show"], {"dead_letter_id": dead_letter_id})
    row = await cursor.fetchone()
    if row is None or cursor.description is None:
        raise CarebellError(f"there is no dead letter {dead_letter_id}")
    fields = dict(zip((column.name for column in cursor.description), row, strict=True))
    payload = bytes(fields.pop("payload"))
    sha256 = bytes(fields.pop("payload_sha256")).hex()
    return Card(**fields, sha256=sha256, text=_text(payload), hex=payload.hex())


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


async def survey(connection: AsyncConnection, chosen: Chosen) -> Survey:
    """Return what is chosen; raises CarebellError if ids are named and none is there."""
    await require_current(connection)
    (found,) = await _models(connection, Survey, "survey", chosen, {})
    if chosen.ids and not found.found:
        raise CarebellError("there are no such dead letters")
    return found


async def mark(connection: AsyncConnection, chosen: Chosen, progress: Progress) -> int:
    """Mark letters to be re-driven and tell the bridge; return the number of the redrive."""
    row = await (await connection.execute(_QUERIES["begin"])).fetchone()
    redrive_id = int(row[0]) if row else 0
    await _some_at_a_time(connection, "mark", chosen, {"redrive_id": redrive_id}, progress)
    await connection.execute(_QUERIES["tell"])
    return redrive_id


async def purge(connection: AsyncConnection, chosen: Chosen, progress: Progress) -> int:
    """Delete letters, but none that a restore of the bridge still reads; return how many went."""
    return sum(await _some_at_a_time(connection, "purge", chosen, {}, progress))


async def is_bridge_there(connection: AsyncConnection) -> bool:
    """Say whether a bridge writes to this database."""
    row = await (await connection.execute(_QUERIES["is_bridge_there"])).fetchone()
    return bool(row and row[0])


async def redriven(connection: AsyncConnection, redrive_id: int) -> Redriven:
    """Return how far a redrive is."""
    async with connection.cursor(row_factory=class_row(Redriven)) as cursor:
        await cursor.execute(_QUERIES["progress"], {"redrive_id": redrive_id})
        row = await cursor.fetchone()
    return row or Redriven(marked=0, stored=0, partly=0, duplicate=0, refused=0, waiting=0)


async def _some_at_a_time(
    connection: AsyncConnection, query: str, chosen: Chosen, more: dict[str, Any], progress: Progress
) -> list[int]:
    """Run a query that does some letters and says where it stopped; return what else it says each time."""
    condition, values = chosen.where()
    text = _QUERIES[query].replace(b"/*chosen*/", condition)
    values |= more | {"after_at": _FIRST, "after_id": 0, "limit": AT_ONCE}
    said = []
    while row := await (await connection.execute(text, values)).fetchone():
        values |= {"after_at": row[0], "after_id": row[1]}
        said.append(int(row[2]) if len(row) > 2 else 0)  # noqa: PLR2004 - moment, id, and then what it says
        progress(AT_ONCE)
    return said


async def _models(
    connection: AsyncConnection, model: type[M], query: str, chosen: Chosen, more: dict[str, Any]
) -> list[M]:
    condition, values = chosen.where()
    async with connection.cursor(row_factory=class_row(model)) as cursor:
        await cursor.execute(_QUERIES[query].replace(b"/*chosen*/", condition), values | more)
        return await cursor.fetchall()
