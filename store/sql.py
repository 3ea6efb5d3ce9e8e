"""Named queries: SQL stands in `queries/*.sql`, each statement under a line `-- name: what_it_is`."""

import re
from functools import cache
from pathlib import Path

_QUERIES = Path(__file__).with_name("queries")
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load(file: str) -> dict[str, bytes]:
    """Return the statements of `queries/<file>.sql` by name, as bytes, which psycopg takes as they are."""
    parts = _NAME.split((_QUERIES / f"{file}.sql").read_text(encoding="utf-8"))
    return {name: text.strip().encode() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
