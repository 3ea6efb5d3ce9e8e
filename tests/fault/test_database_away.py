"""A database that is away for long, answers slowly, or whose disk is full: it costs time, not data (P8)."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from device_sims.load import Load
from ops.parts import Broker, Database, embedded_database
from tests.fault.account import account
from tests.fault.disk import SmallDisk, small_disk
from tests.fault.rig import Rig, rigged
from tests.fault.traffic import traffic
from tests.installation import until
from tests.services import fresh_database

LOAD = Load(seconds=5, rate=800, devices=100, with_ts=False, channel="mix")
NO_ROOM = "No space left on device"


async def test_a_database_that_is_away_for_half_a_minute_gets_everything(rig: Rig) -> None:
    """What came in the 30 seconds in which PostgreSQL was stopped is in once it is back."""
    load = Load(seconds=32, rate=300, devices=100, with_ts=False, channel="mix")
    async with traffic(rig.installed.town, load, calls_every=1.0) as published:
        await asyncio.sleep(1)
        await asyncio.to_thread(rig.database.stop)
        await asyncio.sleep(30)
        await asyncio.to_thread(rig.database.start)
    assert rig.runs, "the bridge waits; it does not end"
    await rig.heal()
    assert (await account(rig.installed, published)).sentences() == []


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON ingest_ledger DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION slow()
"""


async def test_a_slow_disk_loses_nothing(rig: Rig) -> None:
    """Each COMMIT takes 0.4 seconds, and the bridge is killed in the middle of it."""
    await rig.installed.connection.execute(SLOW)
    async with traffic(rig.installed.town, LOAD) as published:
        await asyncio.sleep(2)
        await rig.installed.kill()
        await rig.installed.start()
    assert (await account(rig.installed, published)).sentences() == []


# ------------------------------------------------------------------------------------------------ a full disk


@contextlib.asynccontextmanager
async def _tables_on_a_small_disk(
    request: pytest.FixtureRequest, broker: Broker, scratch: Path
) -> AsyncIterator[tuple[Rig, SmallDisk]]:
    """Put the tables, not the server's log, on a small disk: TimescaleDB in a tablespace."""
    server: Database = request.getfixturevalue("timescale_server")
    assert server.process is not None
    home = server.process.log.parent
    with small_disk(home / "small", 64) as disk:
        os.chown(disk.path, home.stat().st_uid, home.stat().st_gid)
        _as_admin(server.url, f"CREATE TABLESPACE small LOCATION '/srv/{home.name}/small'")
        with fresh_database(server.url) as url:
            _as_admin(server.url, f"ALTER DATABASE {url.rpartition('/')[2]} SET default_tablespace = small")
            async with rigged(broker, replace(server, url=url), scratch) as rig:
                yield rig, disk
        _as_admin(server.url, "DROP TABLESPACE small")


@contextlib.asynccontextmanager
async def _server_on_a_small_disk(
    _: pytest.FixtureRequest, broker: Broker, scratch: Path
) -> AsyncIterator[tuple[Rig, SmallDisk]]:
    """Put everything on a small disk: when its log finds no room, the server gives up."""
    small = {"max_wal_size": "64MB", "min_wal_size": "32MB"}
    with (
        small_disk(scratch / "small", 400) as disk,
        embedded_database(disk.path / "data", small) as database,
    ):
        async with rigged(broker, database, scratch) as rig:
            yield rig, disk


def _as_admin(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(statement.encode())


def _use_up_the_log(url: str) -> None:
    """Begin one file of the server's log after the other until there is no room for the next."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as admin:
        for _ in range(1_000):
            admin.execute(b"SELECT pg_logical_emit_message(true, 'fill', ''), pg_switch_wal()")


async def _full_for_a_while(rig: Rig, disk: SmallDisk, *, gives_up: bool) -> None:
    """Fill the disk until it is felt, wait, make room; a server that gave up is started, as ops would."""
    disk.fill()
    if gives_up:
        await asyncio.to_thread(_use_up_the_log, rig.database.url)
    assert await until(lambda: _complains(rig, of_server=gives_up), bool)
    await asyncio.sleep(2)
    disk.make_room()
    if gives_up:
        await asyncio.to_thread(rig.database.restart)


@pytest.mark.parametrize(
    ("where", "gives_up"),
    [(_tables_on_a_small_disk, False), (_server_on_a_small_disk, True)],
    ids=["tables", "server"],
)
async def test_a_full_disk_costs_time_only(
    where: Callable[..., contextlib.AbstractAsyncContextManager[tuple[Rig, SmallDisk]]],
    gives_up: bool,  # noqa: FBT001 - a parameter of pytest
    request: pytest.FixtureRequest,
    fresh_mosquitto: Broker,
    scratch: Path,
) -> None:
    """What comes while the disk is full is in once there is room, by itself, and once."""
    async with where(request, fresh_mosquitto, scratch) as (rig, disk):
        async with traffic(rig.installed.town, LOAD) as published:
            await asyncio.sleep(1)
            await _full_for_a_while(rig, disk, gives_up=gives_up)
        assert rig.runs, "the bridge waits; it does not end"
        await rig.heal()
        assert (await account(rig.installed, published)).sentences() == []


async def _complains(rig: Rig, *, of_server: bool) -> bool:
    """Say whether the server that gave up, or else the bridge, has said why."""
    process = rig.database.process
    assert process is not None
    return NO_ROOM in (process.log.read_text("utf-8", "replace") if of_server else rig.said)
