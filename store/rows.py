"""How what a commit brings is written: readings, events, dead letters, and what the engine decided.

Rules of this file: it writes what it is given, in the transaction it is given, and judges no error.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from schemas.alarms import AREA_DEVICE, KINDS, Class, Move, Transition
from schemas.clock import to_datetime
from schemas.readings import ABSENT, Columns, DeadLetter, StateChange
from schemas.topics import REGION_PATTERN
from store import copy, sql

Details = Sequence[dict[str, Any]]
"""What rows have no column for: Batch.details."""

_QUERIES = sql.load("ingest")
_EVENT_COLUMNS = (
    "device_id, ts, received_at, time_quality, ts_sent, seq, digest, batch, channel, event, detail"
)
_WRITES = {
    Move.RAISE: "raise_alarms",
    Move.STEP: "step_alarms",
    Move.SUPPRESS: "suppress_alarms",
    Move.UNSUPPRESS: "suppress_alarms",
    Move.CLEAR: "clear_alarms",
}
_DEAD_COLUMNS = "received_at, batch, topic, payload, payload_length, payload_sha256, reason, detail, whole"


async def write_states(connection: AsyncConnection, changes: Sequence[StateChange]) -> None:
    """Write which states of devices hold from now on; the last word on each counts."""
    last = {(each.device, each.state): each.on for each in changes}
    for query, on in (("states_end", False), ("states_begin", True)):
        keys = [key for key, holds in last.items() if holds is on]
        if keys:
            devices, states = map(list, zip(*keys, strict=True))
            await connection.execute(_QUERIES[query], {"devices": devices, "states": states})


async def write_readings(
    connection: AsyncConnection,
    table: str,
    rows: Columns,
    details: Details,
    batch: int,
    *,
    sent: Callable[[], None] = lambda: None,
) -> None:
    """Copy the rows of one table of the history, shape (n,), as part of the batch of this number.

    By device, as the index has them: it takes them at a tenth to a fifth less (docs/benchmarks.md). `sent` is
    called when they are on their way, and only the answer is waited for.
    """
    if not len(rows):
        return
    rows = rows[np.argsort(rows["device_id"], kind="stable")]
    if table == "events":
        await _copy_events(connection, rows, details, batch)
        return
    rooms = None
    if table == "activity":
        rooms = np.array([*(str(each.get("room", "")).encode() for each in details), b""])[rows["detail"]]
    async with connection.cursor() as cursor, cursor.copy(copy.statement(table)) as stream:
        for block in copy.encode(table, rows, batch, rooms):
            await stream.write(block)
        sent()


async def _copy_events(connection: AsyncConnection, rows: Columns, details: Details, batch: int) -> None:
    async with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY events ({_EVENT_COLUMNS}) FROM STDIN".encode()) as stream,
    ):
        for row in rows:
            await stream.write_row(
                (
                    int(row["device_id"]),
                    to_datetime(int(row["ts"])),
                    to_datetime(int(row["received_at"])),
                    int(row["quality"]),
                    None if row["ts_sent"] == ABSENT else int(row["ts_sent"]),
                    None if row["seq"] == ABSENT else int(row["seq"]),
                    int(row["digest"]),
                    batch,
                    int(row["channel"]),
                    int(row["event"]),
                    Jsonb(details[row["detail"]]) if row["detail"] >= 0 else None,
                )
            )


async def write_dead_letters(connection: AsyncConnection, letters: Sequence[DeadLetter], batch: int) -> None:
    """Copy dead letters as part of the batch of this number."""
    if not letters:
        return
    async with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY dead_letters ({_DEAD_COLUMNS}) FROM STDIN".encode()) as stream,
    ):
        for letter in letters:
            await stream.write_row(
                (
                    to_datetime(letter.received_at),
                    batch,
                    without_nul(letter.topic),
                    letter.payload,
                    letter.length,
                    letter.sha256,
                    letter.reason,
                    without_nul(letter.detail),
                    letter.whole,
                )
            )


def without_nul(text: str) -> str:
    """Show NUL, which PostgreSQL's text cannot hold, by its picture."""
    return text.replace("\x00", "\u2400")


async def write_transitions(
    connection: AsyncConnection, transitions: Sequence[Transition], rule_set_id: int | None = None
) -> None:
    """Write the engine's decisions; those about one alarm in their order.

    Those of one move go in one statement, so that the silence of thousands costs few. `rule_set_id` is the
    version of the rules that decided; None: no rule did.
    """
    if not transitions:
        return
    areas = await _area_devices(connection, {each.area for each in transitions if each.area})
    turns: Counter[tuple[int, str]] = Counter()
    runs: dict[tuple[int, Move], list[dict[str, Any]]] = {}
    for each in transitions:
        device_id = areas[each.area] if each.area else each.device_id
        alarm = (device_id, each.kind)
        runs.setdefault((turns[alarm], each.move), []).append(_parameters(each, device_id))
        turns[alarm] += 1
    for (_, move), run in sorted(runs.items(), key=lambda item: item[0][0]):
        values = {name: [parameters[name] for parameters in run] for name in run[0]}
        await connection.execute(_QUERIES[_WRITES[move]], {**values, "rule_set_id": rule_set_id})


async def _area_devices(connection: AsyncConnection, areas: set[str]) -> dict[str, int]:
    """Return the devices for which alarms about areas stand, registered at first use."""
    if not areas:
        return {}
    named = {f"{AREA_DEVICE}{area}": area for area in sorted(areas)}
    regions = [area if REGION_PATTERN.fullmatch(area) else None for area in named.values()]
    found = await connection.execute(_QUERIES["register"], {"devices": list(named), "regions": regions})
    return {named[name]: int(device_id) for name, device_id in await found.fetchall()}


def _parameters(transition: Transition, device_id: int) -> dict[str, Any]:
    alarm_class = KINDS[transition.kind].alarm_class
    may_hide = alarm_class is not Class.LIFE and transition.move is not Move.UNSUPPRESS
    return {
        "device_id": device_id,
        "kind": transition.kind,
        "class": alarm_class.value,
        "severity": transition.severity.value,
        "quality": transition.quality,
        "at": to_datetime(transition.at),
        "detail": Jsonb(transition.values),
        "suppressed": transition.parent if may_hide and transition.parent else None,
        "rule": transition.rule or None,
    }
