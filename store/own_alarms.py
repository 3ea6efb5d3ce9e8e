"""Alarms of the line itself: messages may be lost, and duty must know. A device of their own bears them."""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from schemas.alarms import KINDS, OWN_DEVICE, Move, Transition
from schemas.clock import to_datetime
from store import sql

_QUERIES = sql.load("ingest")


@dataclass(frozen=True)
class Trouble:
    """What befell the line: a kind of OWN_KINDS, when (microseconds since 1970), and what to say of it."""

    kind: str
    at: int
    said: dict[str, Any]


async def transitions(connection: AsyncConnection, trouble: Trouble) -> list[Transition]:
    """Return the raise to be written; none if it is there already, and only the reply to COMMIT was lost."""
    device_id = await _device(connection)
    told = await connection.execute(
        _QUERIES["own_told"],
        {
            "device_id": device_id,
            "kind": trouble.kind,
            "at": to_datetime(trouble.at),
            "detail": Jsonb(trouble.said),
        },
    )
    if await told.fetchone() is not None:
        return []
    severity = KINDS[trouble.kind].severity
    return [Transition(device_id, trouble.kind, Move.RAISE, trouble.at, severity, values=trouble.said)]


async def _device(connection: AsyncConnection) -> int:
    """Return the device for which these alarms stand, registered at first use."""
    rows = await connection.execute(_QUERIES["register"], {"devices": [OWN_DEVICE], "regions": [None]})
    return {name: int(device_id) for name, device_id in await rows.fetchall()}[OWN_DEVICE]


async def dropped_told(connection: AsyncConnection) -> int:
    """Return the broker's count of dropped messages in the newest alarm about it; 0 if there was none."""
    rows = await connection.execute(_QUERIES["dropped_told"], {"device": OWN_DEVICE})
    row = await rows.fetchone()
    return int(row[0]) if row else 0
