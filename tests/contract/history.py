"""What the tests of the bounded history share: a writer of batches, roll-ups worked out in plain Python."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection, sql

from schemas.clock import to_datetime
from schemas.settings import HistorySettings
from store.edition import HISTORY, Chunk, Edition
from store.maintain import Maintained, maintain
from store.sizes import Sizes, sizes
from tests.contract.kit import START

NOW: Final = to_datetime(START)  # Sunday, 2026-03-01 08:00 UTC
DAY: Final = timedelta(days=1)
WEEK: Final = timedelta(days=7)
SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
VITALS: Final = ("hr", "spo2", "temp", "sbp", "dbp", "glucose")
NOTHING: Final[Mapping[str, float | str]] = {}
Row = dict[str, Any]


@dataclass
class History:
    """A database with tables, and a writer that commits rows as the line does: in batches, one by one."""

    connection: AsyncConnection
    edition: Edition
    url: str
    batch: int = 0
    vitals: list[Row] = field(default_factory=list)
    activity: list[Row] = field(default_factory=list)

    async def commit(self, rows: Mapping[str, list[Row]], now: datetime = NOW) -> None:
        """Commit a batch of rows by table, and its row in the ledger, in one transaction."""
        self.batch += 1
        async with self.connection.transaction():
            for table, found in rows.items():
                for number, row in enumerate(found):
                    await self._insert(table, _complete(table, row, self.batch, number, now))
            await self.connection.execute(
                "INSERT INTO ingest_ledger (batch, run, lane, now, scan, newest_ts, packet_ids, hashes)"
                " VALUES (%s, gen_random_uuid(), 1, %s, true, %s, '', '')",
                (self.batch, now, now),
            )
        self.vitals += rows.get("vitals", [])
        self.activity += rows.get("activity", [])

    async def _insert(self, table: str, row: Row) -> None:
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        )
        await self.connection.execute(query, list(row.values()))

    async def checkpoint(self, batch: int) -> None:
        """Note that the engine's restore needs no batch up to this one, as the writer does."""
        await self.connection.execute(
            "INSERT INTO engine_checkpoints (piece, batch, taken_at, state) VALUES (0, %s, now(), '')"
            " ON CONFLICT (piece) DO UPDATE SET batch = excluded.batch",
            (batch,),
        )
        await self.connection.execute("DELETE FROM ingest_ledger WHERE batch < %s", (batch,))

    async def maintain(self, now: datetime = NOW, keys: Mapping[str, float | str] = NOTHING) -> Maintained:
        """Run `db maintain` as the command does, on a connection of its own."""
        async with connected(self.url) as connection:
            done = await maintain(
                connection, HistorySettings.model_validate(keys), now, lambda _done, _total: None
            )
        assert done is not None
        return done

    async def sizes(self, now: datetime = NOW, keys: Mapping[str, float | str] = NOTHING) -> Sizes:
        """Return what `db status` shows."""
        return await sizes(self.connection, self.edition, HistorySettings.model_validate(keys), now)

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        return await (await self.connection.execute(query.encode(), values)).fetchall()

    async def make_past_room(self) -> None:
        """Make chunks for the last four months, as they would have been made in time."""
        for days in (90, 60, 30):
            await self.edition.make_room(self.connection, NOW - days * DAY)

    async def chunks(self, table: str) -> list[Chunk]:
        """Return the chunks of a table."""
        return await self.edition.chunks(self.connection, table)


def _complete(table: str, row: Row, batch: int, number: int, now: datetime) -> Row:
    """Add the columns that every row has."""
    if table == "dead_letters":
        known = {"topic": "t", "payload": b"", "payload_length": 0, "payload_sha256": b"", "whole": True}
        return {"received_at": now, "batch": batch, "reason": "empty", "detail": ""} | known | row
    key = {"received_at": now, "time_quality": 0, "digest": batch * 1000 + number, "batch": batch}
    return key | ({"channel": 3, "event": 13} if table == "events" else {}) | row


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    """Connect in autocommit."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


def _summary(found: list[Row], name: str) -> tuple[Any, ...]:
    """Return count, minimum, sum and maximum of a value; nothing where nobody measured it."""
    values = [row[name] for row in found if row.get(name) is not None]
    return (len(values), min(values), sum(values), max(values)) if values else (None, None, None, None)


def _grouped(found: list[Row], key: Callable[[datetime], Any]) -> dict[tuple[int, Any], list[Row]]:
    groups: dict[tuple[int, Any], list[Row]] = {}
    for row in found:
        groups.setdefault((row["device_id"], key(row["ts"])), []).append(row)
    return groups


def _hourly(vitals: list[Row]) -> dict[tuple[int, datetime], tuple[Any, ...]]:
    """Aggregate rows of vitals by device and hour."""
    result = {}
    for key, found in _grouped(vitals, lambda ts: ts.replace(minute=0, second=0, microsecond=0)).items():
        worn, steps = _summary(found, "worn"), _summary(found, "steps")
        values = tuple(part for name in VITALS for part in _summary(found, name))
        result[key] = (len(found), *values, worn[0], worn[2], steps[0], steps[1], steps[3])
    return result


def _daily(activity: list[Row]) -> dict[tuple[int, date], tuple[Any, ...]]:
    """Aggregate rows of activity by device and day in Shanghai."""
    result = {}
    for key, found in _grouped(activity, lambda ts: ts.astimezone(SHANGHAI).date()).items():
        motion = _summary(found, "motion")
        moved = [row["ts"] for row in found if row.get("motion")]
        first_last = (min(moved), max(moved)) if moved else (None, None)
        result[key] = (len(found), motion[0], motion[2], *first_last, *_summary(found, "steps"))
    return result


async def rolled_up(history: History) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return the roll-ups as they stand in the database."""
    values = ", ".join(f"{v}_n, {v}_min, {v}_sum, {v}_max" for v in VITALS)
    hourly = await history.rows(
        f"SELECT device_id, hour, n, {values}, worn_n, worn_true, steps_n, steps_min, steps_max"
        " FROM vitals_hourly"
    )
    daily = await history.rows(
        "SELECT device_id, day, n, motion_n, motion_true, first_motion_at, last_motion_at, steps_n,"
        " steps_min, steps_sum, steps_max FROM activity_daily"
    )
    return {(row[0], row[1]): row[2:] for row in hourly}, {(row[0], row[1]): row[2:] for row in daily}


async def want_rolled_up(history: History) -> None:
    """See that the roll-ups are what the rows say."""
    hourly, daily = await rolled_up(history)
    assert hourly == _hourly(history.vitals)
    assert daily == _daily(history.activity)


def random_rows(rng: random.Random) -> dict[str, list[Row]]:
    """Return some rows of vitals and activity, most of them of now, some days late, with values missing."""

    def moment() -> datetime:
        late = rng.choice([0, 0, 0, 1, 25, 24 * 8, 24 * 29])
        return NOW - timedelta(hours=late, seconds=rng.randrange(7200), microseconds=rng.randrange(10**6))

    def value(found: float | None) -> float | None:
        return found if rng.random() < 0.6 else None

    vitals = [
        {
            "device_id": rng.randrange(1, 4),
            "ts": moment(),
            "hr": value(rng.randrange(400, 1200) / 8),
            "spo2": value(rng.randrange(70, 100)),
            "temp": value(rng.randrange(350, 400) / 16),
            "sbp": value(rng.randrange(90, 200)),
            "dbp": value(rng.randrange(50, 120)),
            "glucose": value(rng.randrange(30, 200) / 32),
            "worn": rng.choice([True, False, None]),
            "steps": value(rng.randrange(9000)),
        }
        for _ in range(rng.randrange(6))
    ]
    activity = [
        {
            "device_id": rng.randrange(1, 4),
            "ts": moment(),
            "motion": rng.choice([True, False, None]),
            "steps": value(rng.randrange(900)),
        }
        for _ in range(rng.randrange(4))
    ]
    return {"vitals": vitals, "activity": activity}


def everywhere(ts: datetime, **more: object) -> dict[str, list[Row]]:
    """Return a row for each table of the history at one time."""
    rows: dict[str, list[Row]] = {
        table: [{"device_id": 1, "ts": ts, **more}]
        for table in ("vitals", "heartbeats", "activity", "events")
    }
    return rows | {"dead_letters": [{"received_at": ts}]}


async def counts(history: History, tables: dict[str, str] = HISTORY) -> dict[str, int]:
    """Return the rows of each table."""
    return {table: (await history.rows(f"SELECT count(*) FROM {table}"))[0][0] for table in tables}
