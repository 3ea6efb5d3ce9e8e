"""Migrations: one schema over both editions, applied once, however often and by how many."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from ops.parts import Database
from schemas.clock import to_datetime
from schemas.errors import UsageError
from store.edition import DIVIDED, HISTORY
from store.migrate import edition_of, migrate, numbered, require_current, status
from tests.contract.kit import START, make_tables, rows, script, tuples

pytestmark = pytest.mark.no_tables

SCHEMA = {
    "columns": """
        SELECT c.relname, c.relkind = 'v', a.attname, a.attnum, format_type(a.atttypid, a.atttypmod),
               a.attnotnull, a.attidentity::text, pg_get_expr(d.adbin, d.adrelid) AS default_value,
               col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
          AND NOT c.relispartition
        ORDER BY 1, 4""",
    "comments": """
        SELECT c.relname, obj_description(c.oid) FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
          AND NOT c.relispartition
        ORDER BY 1""",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
    "indexes": """
        SELECT i.tablename, i.indexname, replace(i.indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes i
        JOIN pg_class c ON c.relname = i.tablename AND c.relnamespace = 'public'::regnamespace
        WHERE i.schemaname = 'public' AND NOT c.relispartition ORDER BY 1, 2""",
    "checks": """
        SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'p', 'u')
          AND NOT (SELECT relispartition FROM pg_class WHERE oid = conrelid)
        ORDER BY 1, 2, 3""",
    "triggers": """
        SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal
          AND t.tgname <> 'ts_insert_blocker'
        ORDER BY 1, 2""",
}
ROW = {
    "vitals": "(device_id, ts, received_at, time_quality, digest, batch) VALUES (1, %s, now(), 0, 1, 1)",
    "heartbeats": "(device_id, ts, received_at, time_quality, digest, batch) VALUES (1, %s, now(), 0, 1, 1)",
    "activity": "(device_id, ts, received_at, time_quality, digest, batch) VALUES (1, %s, now(), 0, 1, 1)",
    "events": "(device_id, ts, received_at, time_quality, digest, batch, channel, event)"
    " VALUES (1, %s, now(), 0, 1, 1, 1, 1)",
    "dead_letters": "(received_at, batch, topic, payload, payload_length, payload_sha256, reason, detail,"
    " whole) VALUES (%s, 1, 't', '', 0, '', 'empty', '', true)",
}


async def connect(database: Database) -> AsyncConnection:
    """Connect in autocommit."""
    return await AsyncConnection.connect(database.url, autocommit=True)


async def schema(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the migrations make, by the kind of thing."""
    return {name: await tuples(database.url, query) for name, query in SCHEMA.items()}


async def test_both_editions_have_one_schema(timescale: Database, native: Database) -> None:
    """Tables, columns, types, comments, views, indexes, constraints and triggers are the same in both."""
    await make_tables(timescale.url)
    await make_tables(native.url)

    one, other = await schema(timescale), await schema(native)

    assert {name: len(found) for name, found in one.items()} == {n: len(f) for n, f in other.items()}
    for name, found in one.items():
        assert found == other[name], name
    tables = {row[0] for row in one["columns"]}
    assert tables >= {*DIVIDED, "regions", "devices", "people", "contacts", "alarms", "alarm_log", "outbox"}
    assert tables >= {"rule_sets", "ingest_ledger", "engine_checkpoints", "board_alarms", "board_open_alarms"}


async def test_the_second_time_does_nothing(database: Database) -> None:
    """A migration is applied once; running again names none and changes nothing."""
    names = [path.stem for path in numbered()]
    async with await connect(database) as connection:
        before = await status(connection)
        assert (before.edition, before.applied, before.missing) == (database.edition_hint, [], names)
        with pytest.raises(UsageError, match="carebell db migrate"):
            await require_current(connection)
        assert await migrate(connection, to_datetime(START)) == names
        first = await schema(database)
        assert await migrate(connection, to_datetime(START)) == []
        assert await schema(database) == first
        now = await status(connection)
        assert (now.edition, now.applied, now.missing) == (database.edition_hint, names, [])
        assert (await require_current(connection)).name == database.edition_hint


async def test_several_at_once_do_not_collide(database: Database) -> None:
    """Of three who migrate an empty database together one does it, and all of them end well."""

    async def one() -> list[str]:
        async with await connect(database) as connection:
            return await migrate(connection)

    done = await asyncio.gather(one(), one(), one())

    assert sorted(map(len, done)) == [0, 0, len(numbered())]


async def test_a_migration_that_fails_leaves_nothing(database: Database) -> None:
    """The migrations are one transaction: with a table in the way, the database stays as it was."""
    await script(database.url, "CREATE TABLE outbox (mine text)")
    async with await connect(database) as connection:
        with pytest.raises(psycopg.errors.DuplicateTable):
            await migrate(connection)
        assert (await status(connection)).applied == []
    assert {row[0] for row in (await schema(database))["columns"]} == {"outbox"}


async def test_the_history_is_divided_by_time(database: Database) -> None:
    """TimescaleDB keeps the history in hypertables, plain PostgreSQL in ranges with a default one behind."""
    await make_tables(database.url)
    if database.edition_hint == "timescale":
        found = await tuples(
            database.url,
            "SELECT hypertable_name, column_name, time_interval FROM timescaledb_information.dimensions",
        )
        assert {(table, column) for table, column, _ in found} == set(DIVIDED.items())
        assert {interval for _, _, interval in found} == {timedelta(days=7)}
        return
    found = await tuples(
        database.url,
        "SELECT inhparent::regclass::text, pg_get_partkeydef(inhparent),"
        " pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
        " WHERE c.relkind = 'r'",
    )
    assert {(table, key) for table, key, _ in found} == {(t, f"RANGE ({c})") for t, c in DIVIDED.items()}
    for table in DIVIDED:
        defaults = [is_default for name, _, is_default in found if name == table]
        assert defaults.count(True) == 1
        assert defaults.count(False) >= 7


async def test_a_row_of_any_allowed_time_has_a_place(database: Database) -> None:
    """29 days ago, 30, now, in 5 minutes: into a week of its own; far away: stored too."""
    await make_tables(database.url)
    now = to_datetime(START)
    near = [now - timedelta(days=30), now - timedelta(days=29), now, now + timedelta(minutes=5)]
    far = [datetime(1975, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)]
    for table, column in HISTORY.items():
        for moment in near + far:
            await rows(database.url, f"INSERT INTO {table} {ROW[table]}", moment)
        assert await tuples(database.url, f"SELECT {column} FROM {table} ORDER BY 1") == [
            (moment,) for moment in sorted(near + far)
        ]
        if database.edition_hint == "native":
            stray = await tuples(database.url, f"SELECT {column} FROM {table}_default ORDER BY 1")
            assert stray == [(moment,) for moment in far]


async def test_rows_beyond_the_last_week_find_a_week_later(database: Database) -> None:
    """What came while nobody made room moves out of the default partition when room is made, unchanged."""
    await make_tables(database.url)
    later = to_datetime(START) + timedelta(days=60)
    for table in HISTORY:
        for moment in (later, later + timedelta(hours=1), later + timedelta(days=400)):
            await rows(database.url, f"INSERT INTO {table} {ROW[table]}", moment)
    before = {
        table: await tuples(database.url, f"SELECT * FROM {table} ORDER BY ts")
        for table in ROW
        if table != "dead_letters"
    }
    letters = await tuples(database.url, "SELECT * FROM dead_letters ORDER BY received_at")

    async with await connect(database) as connection:
        assert await migrate(connection, later) == []
        await (await edition_of(connection)).make_room(connection, later)

    for table, found in before.items():
        assert await tuples(database.url, f"SELECT * FROM {table} ORDER BY ts") == found
    assert await tuples(database.url, "SELECT * FROM dead_letters ORDER BY received_at") == letters
    if database.edition_hint == "native":
        for table in HISTORY:
            assert await tuples(database.url, f"SELECT count(*) FROM {table}_default") == [(1,)]
    for moment in (later, later + timedelta(hours=2)):
        await rows(database.url, f"INSERT INTO dead_letters {ROW['dead_letters']}", moment)


async def test_the_log_of_alarms_only_grows(database: Database) -> None:
    """UPDATE, DELETE and TRUNCATE of alarm_log are refused by the database itself."""
    await make_tables(database.url)
    await script(
        database.url,
        "INSERT INTO devices (device) VALUES ('BELL-1');"
        "INSERT INTO alarms (device_id, kind, class, severity, quality, condition, raised_at, last_at)"
        " VALUES (1, 'sos', 'life', 'critical', 'ok', 'active', now(), now());"
        "INSERT INTO alarm_log (alarm_id, at, actor, verb) VALUES (1, now(), 'carebell', 'raised')",
    )
    for forbidden in ("UPDATE alarm_log SET actor = 'x'", "DELETE FROM alarm_log", "TRUNCATE alarm_log"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            await script(database.url, forbidden)
    assert await tuples(database.url, "SELECT actor, verb FROM alarm_log") == [("carebell", "raised")]
