"""The obvious bridge with COPY, row by row, which is what a second look at it would bring."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.errors import UniqueViolation

from bench.peers import paho_executemany
from bench.peers.bridge import Row, main


def write(cursor: "psycopg.Cursor[Any]", table: str, columns: Sequence[str], rows: list[Row]) -> None:
    """Copy the rows; COPY cannot pass over what stands already, so a batch with such a row is inserted."""
    try:
        with (
            cursor.connection.transaction(),
            cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as stream,
        ):
            for row in rows:
                stream.write_row(row)
    except UniqueViolation:
        paho_executemany.write(cursor, table, columns, rows)


if __name__ == "__main__":
    main(write)
