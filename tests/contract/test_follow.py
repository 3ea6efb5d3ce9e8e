"""Following the alarms in both editions of the database: what is told, when, and what a bad line does."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import AsyncConnection

from duty import alarms, follow
from duty.feed import Feed, Subscriber
from duty.follow import APART, AT_ONCE, following
from duty.handling import Verb
from ops.parts import Database
from schemas.alarms import Outcome
from schemas.clock import Clock
from tests.desk import AT, Line, add_device, add_to_log, connect, migrated, raise_alarm

WITHIN = 20.0  # a test gives up: never a measurement


@dataclass
class Desk:
    """What one desk is told."""

    feed: Feed
    reader: Subscriber

    def __post_init__(self) -> None:
        """Read from the beginning."""
        self._pieces = self.reader.pieces()
        self._rest = b""

    async def hears(self, event: str) -> dict[str, Any]:
        """Return the data of the next event of this name; others are passed over."""
        async with asyncio.timeout(WITHIN):
            async for piece in self._pieces:
                self._rest += piece
                if not self._rest.endswith(b"\n\n"):
                    continue
                whole, self._rest = self._rest, b""
                fields = dict(line.split(": ", 1) for line in whole.decode().splitlines() if line)
                if fields["event"] == event:
                    found = json.loads(fields["data"])
                    assert isinstance(found, dict)
                    return found
        raise AssertionError("the stream is over")

    async def learns(self, *, database: bool) -> None:
        """Wait for a tick that says so."""
        while (await self.hears("tick"))["database"] is not database:
            pass


@contextlib.asynccontextmanager
async def desk(url: str) -> AsyncIterator[Desk]:
    """Give a desk that follows this database and has been told to read its list."""
    feed = Feed(Clock(), lambda _: False)
    async with following(url, feed):
        found = Desk(feed, feed.subscribe("王芳", "", ""))
        await found.learns(database=True)
        yield found


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as found:
        yield found


async def many(connection: AsyncConnection, count: int, kind: str = "low_battery") -> list[int]:
    """Raise an alarm of each of so many devices, in one commit."""
    alarm_class = "life" if kind == "sos" else "technical"
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO devices (device, region, model)"
            " SELECT 'MANY-' || n, '430602', 'bell' FROM generate_series(1, %s) AS n"
            " ON CONFLICT DO NOTHING",
            (count,),
        )
        rows = await (
            await connection.execute(
                "INSERT INTO alarms"
                " (device_id, kind, class, severity, quality, condition, raised_at, last_at)"
                " SELECT device_id, %s, %s, 'low', 'ok', 'active', now(), now() FROM devices"
                " WHERE device LIKE 'MANY-%%' ORDER BY device_id LIMIT %s RETURNING alarm_id",
                (kind, alarm_class, count),
            )
        ).fetchall()
        found = [int(row[0]) for row in rows]
        await connection.execute(
            "INSERT INTO alarm_log (alarm_id, at, actor, verb)"
            " SELECT unnest(%s::bigint[]), now(), 'carebell', 'raised'",
            (found,),
        )
    return found


async def notices(connection: AsyncConnection) -> list[str]:
    """Return what the database has told this connection."""
    return [notice.payload async for notice in connection.notifies(timeout=0.3)]


async def test_each_commit_tells_once_which_alarms_have_changed(
    database: Database, connection: AsyncConnection
) -> None:
    """Notices have each number once, in chunks that NOTIFY can bear; what is rolled back is not told."""
    async with connect(database.url) as listener:
        await listener.execute("LISTEN carebell_alarms")
        await connection.execute("ALTER TABLE alarms ALTER alarm_id RESTART WITH 1000000000000000000")
        found = await many(connection, 1_000)
        told = await notices(listener)
        assert sorted(int(each) for chunk in told for each in chunk.split(",")) == found
        assert max(len(chunk.encode()) for chunk in told) < 7_000
        await connection.execute(
            "INSERT INTO alarm_log (alarm_id, at, actor, verb)"
            " SELECT %s, now(), 'carebell', 'repeated' FROM generate_series(1, 50)",
            (found[0],),
        )
        assert await notices(listener) == [str(found[0])]
        async with connection.transaction(force_rollback=True):
            await add_to_log(connection, found[0], "repeated")
        await connection.execute(
            "INSERT INTO alarm_log (alarm_id, at, actor, verb)"
            " SELECT alarm_id, now(), 'carebell', 'repeated' FROM alarms WHERE false"
        )
        assert await notices(listener) == []


async def test_a_desk_is_told_what_an_alarm_is_and_when_it_leaves(
    database: Database, connection: AsyncConnection
) -> None:
    """Open it is told as it is; closed, suppressed or shelved it is gone; the counts go along."""
    async with desk(database.url) as watched:
        sos = await raise_alarm(connection, "BELL-1", name="张奶奶", logged=True)
        told = await watched.hears("alarms")
        assert [(each["alarm_id"], each["person"], each["class"]) for each in told["alarms"]] == [
            (sos, "张奶奶", "life")
        ]
        assert (told["gone"], told["counts"]["open"], told["counts"]["life"]) == ([], 1, 1)
        await alarms.handle(connection, sos, Verb.ACKNOWLEDGE, "王芳", AT)
        [changed] = (await watched.hears("alarms"))["alarms"]
        assert (changed["handling"], changed["version"]) == ("acknowledged", 2)
        await alarms.handle(connection, sos, Verb.CLOSE, "王芳", AT, outcome=Outcome.OTHER_HELP)
        told = await watched.hears("alarms")
        assert (told["alarms"], told["gone"], told["counts"]["open"]) == ([], [sos], 0)
        for leave in ("suppressed = '430602'", "shelved_until = now() + interval '1 hour'"):
            other = await raise_alarm(connection, f"BELL-{leave[:2]}", "low_battery", logged=True)
            assert [each["alarm_id"] for each in (await watched.hears("alarms"))["alarms"]] == [other]
            async with connection.transaction():
                await connection.execute(f"UPDATE alarms SET {leave} WHERE alarm_id = {other}".encode())
                await add_to_log(connection, other, "left")
            assert (await watched.hears("alarms"))["gone"] == [other]


async def test_what_is_not_committed_is_not_told(database: Database, connection: AsyncConnection) -> None:
    """A change is told when it is committed, however long that takes, and others do not wait for it."""
    first = await raise_alarm(connection, "BELL-1")
    async with desk(database.url) as watched, connect(database.url) as other:
        async with connection.transaction():
            await add_to_log(connection, first, "repeated")
            await connection.execute("UPDATE alarms SET count = 7 WHERE alarm_id = %s", (first,))
            second = await raise_alarm(other, "BELL-2", logged=True)
            told = await watched.hears("alarms")
            assert [each["alarm_id"] for each in told["alarms"]] == [second]
        told = await watched.hears("alarms")
        assert [(each["alarm_id"], each["count"]) for each in told["alarms"]] == [(first, 7)]


async def test_many_changes_at_once_are_one_event_or_one_reset(
    database: Database, connection: AsyncConnection
) -> None:
    """500 alarms at once are one event; above that the list is read anew, but calls for help are told."""
    async with desk(database.url) as watched:
        found = await many(connection, AT_ONCE)
        told = await watched.hears("alarms")
        assert sorted(each["alarm_id"] for each in told["alarms"]) == found
        assert told["counts"]["open"] == AT_ONCE
        async with connection.transaction():
            call = await raise_alarm(connection, "BELL-1", logged=True)
            await many(connection, AT_ONCE + 1, "device_silent")
        told = await watched.hears("alarms")
        assert ([each["alarm_id"] for each in told["alarms"]], told["gone"]) == ([call], [])
        assert await watched.hears("reset") == {}
        assert told["counts"]["open"] == 2 * AT_ONCE + 2


async def test_a_flood_ends_with_every_alarm_told_as_it_is(
    database: Database, connection: AsyncConnection
) -> None:
    """However fast an alarm changes, events stay few and the last one tells what it has come to."""
    alarm_id = await raise_alarm(connection)
    async with desk(database.url) as watched:
        began = asyncio.get_running_loop().time()
        for _ in range(200):
            async with connection.transaction():
                await connection.execute(
                    "UPDATE alarms SET count = count + 1 WHERE alarm_id = %s", (alarm_id,)
                )
                await add_to_log(connection, alarm_id, "repeated")
        events, count = 0, 0
        while count < 201:
            [alarm] = (await watched.hears("alarms"))["alarms"]
            events, count = events + 1, alarm["count"]
        assert events <= (asyncio.get_running_loop().time() - began) / APART + 2


@pytest.mark.usefixtures("connection")
async def test_a_restarted_database_is_seen_at_once_and_the_list_read_anew(database: Database) -> None:
    """Ticks say that the database is away, then `reset` comes, and changes are told as before."""
    async with desk(database.url) as watched:
        database.stop()
        try:
            await watched.learns(database=False)
        finally:
            database.start()
        await watched.hears("reset")
        await watched.learns(database=True)
        async with connect(database.url) as connection:
            alarm_id = await raise_alarm(connection, logged=True)
        assert [each["alarm_id"] for each in (await watched.hears("alarms"))["alarms"]] == [alarm_id]


async def test_a_line_that_says_nothing_is_not_taken_for_quiet(
    database: Database, connection: AsyncConnection
) -> None:
    """A line that went dead without a word is noticed, and the list has what it swallowed."""
    async with Line(database.url) as line, desk(line.url) as watched:
        line.go_deaf()
        await raise_alarm(connection, logged=True)
        await watched.learns(database=False)
        line.hear_again()
        await watched.hears("reset")
        assert watched.feed.counts.open == 1


async def test_notices_that_never_come_are_noticed(
    database: Database, connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where alarms change and nothing is told of it, as behind a pooler, the desk says that it is blind."""
    monkeypatch.setattr(follow, "LOOK_EVERY", 0.2)
    alarm_id = await raise_alarm(connection, logged=True)
    await connection.execute("DROP TRIGGER alarm_log_told ON alarm_log")
    async with desk(database.url) as watched:
        await add_to_log(connection, alarm_id, "repeated")
        await watched.learns(database=False)
        await watched.hears("reset")


async def test_tables_that_are_not_there_are_waited_for(
    database: Database, connection: AsyncConnection
) -> None:
    """A desk that starts before the migration says that the database is away, and follows it afterwards."""
    feed = Feed(Clock(), lambda _: False)
    await connection.execute("ALTER TABLE alarms RENAME TO not_yet")
    async with following(database.url, feed):
        watched = Desk(feed, feed.subscribe("王芳", "", ""))
        assert (await watched.hears("tick"))["database"] is False
        await asyncio.sleep(0.5)
        await connection.execute("ALTER TABLE not_yet RENAME TO alarms")
        await watched.learns(database=True)
        await add_device(connection, "BELL-1")
        alarm_id = await raise_alarm(connection, logged=True)
        assert [each["alarm_id"] for each in (await watched.hears("alarms"))["alarms"]] == [alarm_id]
