"""The obvious bridge with `executemany`, which psycopg sends in a pipeline."""

from collections.abc import Sequence
from typing import Any

import psycopg

from bench.peers.bridge import Row, main


def write(cursor: "psycopg.Cursor[Any]", table: str, columns: Sequence[str], rows: list[Row]) -> None:
    """Insert each row; what stands already is passed over."""
    places = ", ".join(["%s"] * len(columns))
    cursor.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places}) ON CONFLICT DO NOTHING".encode(), rows
    )


if __name__ == "__main__":
    main(write)
