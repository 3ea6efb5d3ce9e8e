"""Retention on both editions: what is old and needed no more goes, by whole chunks, and nothing else."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from ops.parts import Database
from store import edition as editions
from store.edition import HISTORY
from store.migrate import edition_of, migrate
from tests.contract.history import DAY, NOW, WEEK, History, connected, counts, everywhere, want_rolled_up


async def test_old_chunks_go_and_their_roll_ups_stay(history: History) -> None:
    """Each table loses the chunks that ended longer ago than its days, and no row younger than that."""
    kept = {f"{table}_days": 50 for table in HISTORY} | {"events_days": 100}
    moments = [NOW - number * DAY for number in (1, 30, 49, 51, 58, 70, 99, 108)]
    await history.make_past_room()
    for moment in moments:
        await history.commit(everywhere(moment), now=moment)
    await history.checkpoint(history.batch)

    done = await history.maintain(keys=kept)

    for table, column in HISTORY.items():
        left = {moment for (moment,) in await history.rows(f"SELECT {column} FROM {table}")}
        days = kept[f"{table}_days"]
        assert left >= {moment for moment in moments if moment >= NOW - days * DAY}
        assert all(moment > NOW - days * DAY - WEEK for moment in left)
        assert NOW - 108 * DAY not in left
    assert NOW - 70 * DAY in {moment for (moment,) in await history.rows("SELECT ts FROM events")}
    assert done.dropped.needed == done.dropped.in_use == []
    await want_rolled_up(history)
    assert not (await history.maintain(keys=kept)).dropped.gone


async def test_roll_ups_have_retention_of_their_own(history: History) -> None:
    """What is older than the days of the roll-ups goes, and what was younger than that stays."""
    for days in (10, 60):
        await history.commit(everywhere(NOW - days * DAY), now=NOW - days * DAY)
    await history.maintain(keys={"vitals_hourly_days": 40, "activity_daily_days": 50})
    assert await history.rows("SELECT hour FROM vitals_hourly") == [((NOW - 10 * DAY),)]
    assert await history.rows("SELECT day FROM activity_daily") == [((NOW - 10 * DAY).date(),)]


async def test_nothing_goes_that_the_restore_needs(history: History) -> None:
    """Chunks with a row after the newest checkpoint stay, however old; with the next checkpoint they go."""
    old, keys = NOW - 100 * DAY, {f"{table}_days": 90 for table in HISTORY}
    await history.make_past_room()
    await history.commit(everywhere(old), now=old)
    await history.maintain(keys=keys)
    assert await counts(history) == dict.fromkeys(HISTORY, 1)  # without a checkpoint everything is needed
    await history.checkpoint(1)
    await history.commit(everywhere(old + timedelta(hours=1)), now=old)

    done = await history.maintain(keys=keys)
    assert await counts(history) == dict.fromkeys(HISTORY, 2)
    assert len(done.dropped.needed) == len(HISTORY)
    await history.checkpoint(2)
    await history.maintain(keys=keys)
    assert await counts(history) == dict.fromkeys(HISTORY, 0)


async def test_nothing_goes_that_is_not_rolled_up(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose batch the roll-ups have not reached stay, though no checkpoint needs them."""
    old = NOW - 100 * DAY
    await history.make_past_room()
    await history.commit(everywhere(old), now=old)
    await history.checkpoint(1)
    keys = {f"{table}_days": 90 for table in HISTORY}

    async def nothing(*_: object) -> Any:  # noqa: ANN401 - as much as the test needs of RolledUp
        return None

    with monkeypatch.context() as patched:
        patched.setattr("store.maintain.roll_up", nothing)
        await history.maintain(keys=keys)
    assert await counts(history) == dict.fromkeys(HISTORY, 1)
    await history.maintain(keys=keys)
    assert await counts(history) == dict.fromkeys(HISTORY, 0)
    await want_rolled_up(history)


async def test_strays_go_as_well(native: Database) -> None:
    """Old rows in a default partition, which is never dropped, are deleted by the same rules."""
    async with connected(native.url) as connection:
        await migrate(connection, NOW)
        history = History(connection, await edition_of(connection), native.url)
        for table in HISTORY:
            for chunk in await history.chunks(table):
                await history.edition.drop(connection, chunk, after=-1)
        moments = [NOW - days * DAY for days in (200, 89, 59, 1)]
        for moment in moments:
            await history.commit(everywhere(moment), now=moment)
        await history.checkpoint(3)
        in_default = {table: f"{table}_default" for table in HISTORY}
        for default in in_default.values():
            assert await history.rows(f"SELECT count(*) FROM {default}") == [(4,)]

        done = await history.maintain()

        # all of day 200, and of day 89 the heartbeats, which are kept for 60
        assert done.dropped.strays == len(HISTORY) + 1
        assert await counts(history) == dict.fromkeys(HISTORY, 3) | {"heartbeats": 2}
        assert await counts(history, {"vitals_default": "", "heartbeats_default": ""}) == {
            "vitals_default": 2,
            "heartbeats_default": 1,
        }


async def test_alarms_are_never_dropped(history: History) -> None:
    """An alarm of years ago and its log stand after everything else is gone."""
    old = NOW - 3000 * DAY
    await history.rows("INSERT INTO devices (device) VALUES ('BELL-1') RETURNING device_id")
    await history.rows(
        "INSERT INTO alarms (device_id, kind, class, severity, quality, condition, raised_at, last_at)"
        " VALUES (1, 'sos', 'life', 'critical', 'ok', 'active', %s, %s) RETURNING alarm_id",
        *(old, old),
    )
    await history.rows(
        "INSERT INTO alarm_log (alarm_id, at, actor, verb) VALUES (1, %s, 'carebell', 'raised')"
        " RETURNING log_id",
        old,
    )
    await history.commit(everywhere(old), now=old)
    await history.checkpoint(1)
    await history.maintain()
    assert await counts(history) == dict.fromkeys(HISTORY, 0)
    assert await history.rows("SELECT count(*), (SELECT count(*) FROM alarm_log) FROM alarms") == [(1, 1)]


async def test_a_chunk_that_somebody_reads_is_left_for_the_next_time(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maintain neither waits for a long reader nor lets the line wait: it goes on and says what stayed."""
    monkeypatch.setattr(editions, "PAUSE", 0.01)
    old, keys = NOW - 100 * DAY, {"heartbeats_days": 90}
    await history.make_past_room()
    await history.commit(everywhere(old), now=old)
    await history.checkpoint(1)
    async with connected(history.url) as reader:
        await reader.execute("BEGIN")
        await reader.execute("SELECT * FROM heartbeats")
        running = asyncio.create_task(history.maintain(keys=keys))
        await history.connection.execute(
            "SET lock_timeout = '5s'"
        )  # of the writer: far more than it may take
        while not running.done():
            await history.commit({"heartbeats": [{"device_id": 1, "ts": NOW}]})
            await asyncio.sleep(0.01)
        done = await running
    assert done.dropped.in_use
    assert await history.rows("SELECT count(*) FROM heartbeats WHERE ts < %s", NOW) == [(1,)]
    assert await history.rows("SELECT count(*) FROM vitals") == [(0,)]
    await history.maintain(keys=keys)
    assert await history.rows("SELECT count(*) FROM heartbeats WHERE ts < %s", NOW) == [(0,)]
