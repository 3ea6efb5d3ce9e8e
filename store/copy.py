"""Binary COPY straight from columns: numpy structured arrays laid out as the wire, one per null pattern.

Format: https://www.postgresql.org/docs/current/sql-copy.html, section "Binary Format".
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.readings import ABSENT, VALUES, Columns

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"

POSTGRES_EPOCH: Final = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: PostgreSQL counts timestamps from there."""

_WIRE = {
    "integer": ">i4",
    "smallint": ">i2",
    "bigint": ">i8",
    "timestamptz": ">i8",
    "real": ">f4",
    "boolean": "u1",
}

_KEY = {
    "device_id": "integer",
    "ts": "timestamptz",
    "received_at": "timestamptz",
    "time_quality": "smallint",
    "ts_sent": "bigint",
    "seq": "bigint",
    "digest": "bigint",
    "batch": "bigint",
}

TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "vitals": _KEY
    | {
        "hr": "real",
        "spo2": "real",
        "temp": "real",
        "sbp": "real",
        "dbp": "real",
        "glucose": "real",
        "worn": "boolean",
        "steps": "integer",
    },
    "heartbeats": _KEY | {"battery": "real", "rssi": "real", "mains": "boolean"},
    "activity": _KEY | {"motion": "boolean", "steps": "integer", "room": "text"},
}
"""Columns of the tables that are written in bulk, with their types, as the migrations have them."""

_NULLABLE = frozenset({*VALUES, "ts_sent", "seq", "room"})


def statement(table: str) -> bytes:
    """Return the COPY statement for a table of TABLES."""
    return f"COPY {table} ({', '.join(TABLES[table])}) FROM STDIN (FORMAT binary)".encode()


def encode(
    table: str, readings: Columns, batch: int, rooms: npt.NDArray[np.bytes_] | None = None
) -> Iterator[bytes]:
    """Yield the stream of one COPY: readings (n,) of one table; `rooms` (n,) for activity, b"" for none."""
    columns = TABLES[table]
    values = {name: _values(name, readings, batch, rooms) for name in columns}
    pattern = np.zeros(len(readings), np.int64)
    for bit, name in enumerate(columns):
        if name in _NULLABLE:
            pattern |= _is_null(name, values[name]).astype(np.int64) << bit
    if rooms is not None:
        pattern |= np.char.str_len(rooms).astype(np.int64) << len(columns)
    yield HEADER
    for each in np.unique(pattern):
        chosen = slice(None) if (pattern == each).all() else pattern == each
        yield _rows(columns, int(each), {name: column[chosen] for name, column in values.items()})
    yield TRAILER


def _values(
    name: str, readings: Columns, batch: int, rooms: npt.NDArray[np.bytes_] | None
) -> npt.NDArray[Any]:
    if name == "batch":
        return np.full(len(readings), batch)
    if name == "time_quality":
        return readings["quality"]
    if name == "room":
        return rooms if rooms is not None else np.full(len(readings), b"")
    column = readings[name]
    return column - POSTGRES_EPOCH if name in ("ts", "received_at") else column


def _is_null(name: str, column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if name == "room":
        return np.asarray(column == b"")
    return np.isnan(column) if column.dtype.kind == "f" else np.asarray(column == ABSENT)


def _rows(columns: Mapping[str, str], pattern: int, values: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Lay out the rows that share one null pattern (and one length of text)."""
    layout: list[tuple[str, Any]] = [("fields", ">i2")]
    for bit, (name, kind) in enumerate(columns.items()):
        layout.append((f"{name}#length", ">i4"))
        if not pattern >> bit & 1:
            layout.append((name, _WIRE.get(kind) or f"S{pattern >> len(columns)}"))
    wire = np.empty(len(values["device_id"]), layout)
    wire["fields"] = len(columns)
    for bit, name in enumerate(columns):
        is_null = pattern >> bit & 1
        wire[f"{name}#length"] = -1 if is_null else wire.dtype[name].itemsize
        if not is_null:
            wire[name] = values[name]
    return wire.tobytes()
