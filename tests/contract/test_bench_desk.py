"""What `make bench-history` fills for the desk, in small, and that the desk's list is read off its index."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from psycopg import AsyncConnection
from rich.console import Console
from rich.progress import Progress

from bench.desk import LIST, OPEN, STATEMENT, ask_desk, desk_table, fill_alarms
from ops.parts import Database
from store import sql
from tests.desk import migrated, rows

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CLOSED = 3000


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a database with a town of devices and their people, and what the bench fills in."""
    async with migrated(database.url) as found:
        await found.execute(
            "INSERT INTO people (name) SELECT '老人 ' || n FROM generate_series(1, 3000) AS n"
        )
        await found.execute(
            "INSERT INTO devices (device, region, model, person_id)"
            " SELECT 'DEVICE-' || lpad(person_id::text, 7, '0'), '430602', 'bell', person_id FROM people"
        )
        with Progress(console=Console(quiet=True)) as bar:
            await fill_alarms(found, bar, NOW, CLOSED)
        yield found


async def test_it_fills_what_it_says(connection: AsyncConnection) -> None:
    """So many alarms of three years are closed, one a device is open, and keys are checked again."""
    [(closed, opened, first, last)] = await rows(
        connection,
        "SELECT count(closed_at), count(*) - count(closed_at), min(raised_at), max(raised_at) FROM alarms",
    )
    assert closed == CLOSED
    assert opened == 3000
    assert (NOW - first).days in (1094, 1095)
    assert last <= NOW
    assert await rows(connection, "SHOW session_replication_role") == [("origin",)]
    assert await rows(connection, "SELECT count(*) FROM audit_log") == [(CLOSED // 10,)]


async def test_every_question_is_asked(connection: AsyncConnection) -> None:
    """Each has its times, and the list's query its target."""
    asked = await ask_desk(connection, NOW, 2)
    assert {each.question for each in asked} >= {LIST, STATEMENT, "counts", "card", "figures of 2026-09"}
    assert all(0 < each.p50_ms <= each.max_ms for each in asked)
    assert [each.question for each in asked if each.target_ms] == [STATEMENT]
    assert desk_table(asked, CLOSED, OPEN).row_count == len(asked)


async def test_the_list_is_read_off_its_index(connection: AsyncConnection) -> None:
    """The first 300 of thousands of open alarms are read in the order of an index: nothing is sorted."""
    values = {"device": None, "limit": 300}
    plan = await connection.execute(b"EXPLAIN " + sql.load("duty")["open_alarms"], values)
    said = "\n".join(line for (line,) in await plan.fetchall())
    assert "alarms_listed" in said
    assert "Sort" not in said
