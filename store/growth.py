"""The arithmetic of a growing history: how wide a chunk is, which are missing, how long the disk lasts.

Pure: no clock, no SQL.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

WEEK: Final = timedelta(days=7)
WIDTHS: Final = (WEEK, timedelta(days=1))
"""How wide a chunk may be, the widest first; each is a whole number of the next, so that they tile.

Not narrower: what shared_buffers cannot hold of a day lies in the system's cache, but each chunk costs every
lookup that knows no time, such as that of a device's newest beat."""

INDEX_BYTES: Final = 59
"""Bytes of the unique index (device_id, ts, digest) a row, where devices take turns, as they do in real life:
`make bench-history` measures it."""

SHARE: Final = 4
"""The active indexes get a quarter of shared_buffers, and other things the rest: the chunks before and after
where one ends, the heap's last pages, the roll-ups, what boards read. TimescaleDB's manual says so too."""

MOST_CHUNKS: Final = 400
"""Chunks of a table while its rows are kept; above it a week it is."""

SHORTEST_RATE: Final = timedelta(hours=1)
SHORTEST_GROWTH: Final = timedelta(days=1)


def choose_width(rows_a_day: float, kept_days: int, shared_buffers: int) -> timedelta:
    """Return the widest chunk whose unique indexes, of all tables together, fit in their share of the memory.

    `rows_a_day` counts the rows of the whole history, `kept_days` is how long the table's are kept,
    `shared_buffers` is in bytes. It is the narrowest if none fits, but never one that makes too many chunks.
    """
    allowed = [width for width in WIDTHS if timedelta(days=kept_days) / width <= MOST_CHUNKS] or [WEEK]
    a_day = rows_a_day * INDEX_BYTES
    fits = (width for width in allowed if a_day * (width / timedelta(days=1)) * SHARE <= shared_buffers)
    return next(fits, allowed[-1])


def floor(moment: datetime, width: timedelta) -> datetime:
    """Return the beginning of the piece of time in which a moment lies; pieces are counted from 1970."""
    origin = datetime.fromtimestamp(0, tz=UTC)
    return origin + (moment - origin) // width * width


def gaps(
    covered: Iterable[tuple[datetime, datetime]], start: datetime, end: datetime, width: timedelta
) -> Iterator[tuple[datetime, datetime]]:
    """Yield, in order, the pieces of [start, end) that nothing covers yet, cut at multiples of `width`.

    What is covered may be of any widths, and does not overlap itself; a piece ends where it begins.
    """
    moment = floor(start, width)
    for begins, ends in [*sorted(covered), (datetime.max.replace(tzinfo=UTC),) * 2]:
        while moment < min(begins, end):
            stop = min(floor(moment, width) + width, begins)
            yield moment, stop
            moment = stop
        moment = max(moment, ends)


@dataclass(frozen=True)
class Mark:
    """What a `db maintain` found: the rows ever brought to each table until a moment of the line's clock."""

    at: datetime
    until: datetime | None
    brought: dict[str, int]
    database_bytes: int


def rows_a_day(marks: list[Mark]) -> dict[str, float] | None:
    """Return the rows a day that each table was brought between the first and the last mark.

    None: they lie less than an hour apart, which tells nothing about a day.
    """
    known = [mark for mark in marks if mark.until is not None]
    if not known:
        return None
    first, last = known[0], known[-1]
    assert first.until is not None  # noqa: S101 - said two lines above, for mypy
    assert last.until is not None  # noqa: S101 - the same
    span = last.until - first.until
    if span < SHORTEST_RATE:
        return None
    days = span / timedelta(days=1)
    return {table: (count - first.brought.get(table, 0)) / days for table, count in last.brought.items()}


def growth_a_day(marks: list[Mark]) -> float | None:
    """Return the bytes by which the database grew a day, dropped chunks deducted; None: too short to tell."""
    if not marks or marks[-1].at - marks[0].at < SHORTEST_GROWTH:
        return None
    days = (marks[-1].at - marks[0].at) / timedelta(days=1)
    return (marks[-1].database_bytes - marks[0].database_bytes) / days


def days_left(free_bytes: int | None, growth: float | None) -> float | None:
    """Return the days until the disk is full at this growth; None: unknown, infinity: it does not grow."""
    if free_bytes is None or growth is None:
        return None
    return free_bytes / growth if growth > 0 else float("inf")
