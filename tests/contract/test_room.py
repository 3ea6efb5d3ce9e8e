"""Room on both editions: there are chunks for what comes, as wide as the fleet asks for."""

import asyncio
import itertools
from datetime import datetime, timedelta

import pytest
from psycopg import AsyncConnection, errors

from ops.parts import Database
from rules import ruleset
from rules.engine import Engine
from store import edition as editions
from store import restore
from store.edition import DIVIDED, HISTORY
from store.weather import is_weather
from store.writer import Store
from tests.contract.history import DAY, NOW, WEEK, History, connected, counts, everywhere
from tests.contract.kit import settings_for, tuples, until


async def _fleet(history: History, devices: int, heartbeat_seconds: int) -> None:
    """Register a fleet that promises so many beats."""
    await history.connection.execute(
        "INSERT INTO devices (device, heartbeat_seconds)"
        " SELECT 'BELL-' || n, %s FROM generate_series(1, %s) AS n",
        (heartbeat_seconds, devices),
    )


async def want_room(history: History, now: datetime) -> None:
    """See that rows of every time that the line may bring have a place, and that no chunks overlap."""
    steps = [number * timedelta(hours=3) for number in range(int(history.edition.ahead / timedelta(hours=3)))]
    if history.edition.name == "native":
        steps += [-number * DAY for number in range(31)]
    for table in DIVIDED:
        chunks = await history.chunks(table)
        for one, other in itertools.pairwise(chunks):
            assert one.end <= other.start
        for step in steps:
            assert any(chunk.start <= now + step < chunk.end for chunk in chunks), (table, step)


async def test_there_is_always_room_ahead(history: History) -> None:
    """However long nobody maintained it, there are chunks for what comes, empty, and each is made once."""
    for later in (0, 3, 20, 400):
        now = NOW + later * DAY
        made = (await history.maintain(now)).made
        await want_room(history, now)
        assert bool(made) == (later > 0)
        assert (await history.maintain(now)).made == []
    assert await counts(history, DIVIDED) == dict.fromkeys(DIVIDED, 0)


async def test_a_large_fleet_gets_chunks_of_a_day(history: History) -> None:
    """Weeks with rows stay, empty ones ahead are made anew as days, no row moves; and back again."""
    ahead = NOW + (DAY if history.edition.name == "timescale" else 14 * DAY)
    await history.edition.make_room(history.connection, NOW + 3 * DAY)  # its week ends on Thursday
    moments = [NOW + number * DAY for number in range(-20, 4)]
    for moment in moments:
        await history.commit(everywhere(moment), now=moment)
    await _fleet(history, 50_000, 60)  # 72 million beats a day

    done = await history.maintain(NOW)

    assert set(done.chunk_days.values()) == {1}
    await want_room(history, NOW)
    coming = [each for each in await history.chunks("heartbeats") if each.start > max(moments)]
    assert {each.end - each.start for each in coming} <= {DAY}
    later = ahead + 20 * DAY
    await history.maintain(later)
    await want_room(history, later)
    assert {each.end - each.start for each in await history.chunks("heartbeats")} >= {WEEK, DAY}

    await history.connection.execute("DELETE FROM devices")
    done = await history.maintain(later + 20 * DAY)
    assert set(done.chunk_days.values()) == {7}
    await want_room(history, later + 20 * DAY)
    assert await counts(history) == dict.fromkeys(HISTORY, len(moments))
    if history.edition.name == "native":
        assert await counts(history, {f"{table}_default": "" for table in DIVIDED}) == {
            f"{table}_default": 0 for table in DIVIDED
        }


async def test_a_restarted_bridge_goes_on_in_the_same_width(history: History) -> None:
    """Room made at start-up, where nobody reckons widths, is as wide as `db maintain` last chose."""
    await _fleet(history, 50_000, 60)
    await history.maintain(NOW + 30 * DAY)
    await history.edition.make_room(history.connection, NOW + 44 * DAY)
    newest = (await history.chunks("vitals"))[-1]
    assert newest.start > NOW + 40 * DAY
    assert newest.end - newest.start == DAY


async def test_several_make_room_at_once(history: History) -> None:
    """Bridges that start together and a maintain beside them make each chunk once, and none of them fails."""
    later = NOW + 200 * DAY

    async def one() -> list[str]:
        async with connected(history.url) as connection:
            return await history.edition.make_room(connection, later)

    made = await asyncio.gather(*(one() for _ in range(4)))

    names = [name for each in made for name in each]
    assert names
    assert len(names) == len(set(names))
    await want_room(history, later)


async def test_room_is_made_beside_the_line(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that wrote to every table, and stays open, does not keep room from being made."""
    monkeypatch.setattr(editions, "TRIES", 1)
    later = NOW + 60 * DAY
    async with connected(history.url) as line:
        writer = History(line, history.edition, history.url)
        async with line.transaction():
            await writer.commit(everywhere(NOW))
            await history.edition.make_room(history.connection, later)
            await want_room(history, later)
    assert await counts(history) == dict.fromkeys(HISTORY, 1)


async def test_a_bridge_starts_beside_a_wide_reader(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no room can be made because somebody reads, the line starts, and its rows have a place."""
    monkeypatch.setattr(editions, "PAUSE", 0.01)
    later = NOW + 60 * DAY
    store = Store(settings_for(history.url), Engine(ruleset.load(ruleset.SHIPPED)))
    async with connected(history.url) as reader:
        await reader.execute("BEGIN")
        await reader.execute("SELECT * FROM vitals")
        assert (await restore.prepare(store, later)).name == history.edition.name
        await history.commit(everywhere(later))
    await store.connection.close()
    assert await counts(history) == dict.fromkeys(HISTORY, 1)


async def test_a_wide_reader_delays_room_and_that_is_said(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If somebody reads the default partition for hours, maintain does the rest and says what is missing."""
    monkeypatch.setattr(editions, "PAUSE", 0.01)
    later = NOW + 60 * DAY
    await history.commit(everywhere(NOW))
    async with connected(history.url) as reader:
        await reader.execute("BEGIN")
        await reader.execute("SELECT * FROM vitals")
        done = await history.maintain(later)
    assert bool(done.wrong) == (history.edition.name == "native")
    assert done.rolled_up.batches == 1
    assert (await history.maintain(later)).wrong == []
    await want_room(history, later)


async def test_a_row_whose_partition_is_made_meanwhile_is_tried_again(native: Database) -> None:
    """A row that waited for the default partition and belongs elsewhere now meets weather, not a CHECK."""
    async with (
        await AsyncConnection.connect(native.url, autocommit=True) as maker,
        await AsyncConnection.connect(native.url, autocommit=True) as writer,
    ):
        await maker.execute("CREATE TABLE days (day int CHECK (day > 0)) PARTITION BY RANGE (day)")
        await maker.execute("CREATE TABLE days_default PARTITION OF days DEFAULT")
        async with maker.transaction():
            await maker.execute("LOCK TABLE days_default IN ACCESS EXCLUSIVE MODE")
            writing = asyncio.create_task(writer.execute("INSERT INTO days VALUES (1)"))
            waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'days_default'::regclass"
            await until(lambda: tuples(native.url, waits), "the writer waits")
            await maker.execute("CREATE TABLE days_1 (LIKE days INCLUDING CONSTRAINTS)")
            await maker.execute("ALTER TABLE days ATTACH PARTITION days_1 FOR VALUES FROM (1) TO (2)")
        with pytest.raises(errors.CheckViolation) as moved:
            await writing
        with pytest.raises(errors.CheckViolation) as refused:
            await writer.execute("INSERT INTO days VALUES (0)")
    assert (is_weather(moved.value), is_weather(refused.value)) == (True, False)
