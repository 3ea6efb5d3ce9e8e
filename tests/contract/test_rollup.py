"""Roll-ups on both editions: each row once, in its own hour and day, whatever happens in between."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from schemas.settings import HistorySettings
from store import sql
from store.maintain import Maintained, maintain
from store.rollup import roll_up
from tests.contract.history import DAY, NOW, History, connected, random_rows, rolled_up, want_rolled_up
from tests.contract.kit import WAIT, until


@pytest.mark.parametrize("seed", range(2))
async def test_roll_ups_are_what_the_rows_say(history: History, seed: int) -> None:
    """After random batches, some of them late, and several maintains: each row once, in its hour and day."""
    rng = random.Random(seed)
    for _ in range(4):
        for _ in range(rng.randrange(1, 9)):
            await history.commit(random_rows(rng))
        rows = len(history.vitals), len(history.activity)
        done = await history.maintain()
        await want_rolled_up(history)
        total = await history.rows(
            "SELECT (brought ->> 'vitals')::int, (brought ->> 'activity')::int FROM rolled_up"
        )
        assert total == [rows]
        assert done.rolled_up.batches > 0
    assert (await history.maintain()).rolled_up.batches == 0
    await want_rolled_up(history)


async def test_slices_join_without_a_seam(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into slices of one batch the roll-ups are the same, and progress ends at the end."""
    monkeypatch.setattr("store.rollup.FIRST_SLICE", 1)
    monkeypatch.setattr("store.rollup.SLICE_ROWS", 1)
    rng = random.Random(9)
    for _ in range(7):
        await history.commit(random_rows(rng))
    told: list[tuple[int, int]] = []
    await roll_up(history.connection, lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 7)
    assert len(told) > 2
    await want_rolled_up(history)


async def test_a_late_row_lands_in_its_own_hour_and_day(history: History) -> None:
    """The hour was rolled up days ago; the row that comes late is added to it, not to the hour of receipt."""
    ts = NOW - 10 * DAY
    await history.commit({"vitals": [{"device_id": 1, "ts": ts, "hr": 60}]}, now=ts)
    await history.commit({"activity": [{"device_id": 1, "ts": ts, "motion": True}]}, now=ts)
    await history.maintain()
    late = ts + timedelta(minutes=5)
    await history.commit({"vitals": [{"device_id": 1, "ts": late, "hr": 90, "spo2": 95}]})
    await history.commit({"activity": [{"device_id": 1, "ts": late, "motion": True}]})
    await history.maintain()

    assert await history.rows("SELECT hour, n, hr_n, hr_min, hr_sum, hr_max, spo2_n FROM vitals_hourly") == [
        (ts, 2, 2, 60.0, 150.0, 90.0, 1)
    ]
    assert await history.rows("SELECT n, first_motion_at, last_motion_at FROM activity_daily") == [
        (2, ts, late)
    ]


async def test_the_day_is_that_of_shanghai(history: History) -> None:
    """15:59 UTC and 16:01 UTC lie in two days, for at 16:00 UTC the day begins there."""
    before, after = datetime(2026, 2, 27, 15, 59, tzinfo=UTC), datetime(2026, 2, 27, 16, 1, tzinfo=UTC)
    await history.commit({"activity": [{"device_id": 1, "ts": before}, {"device_id": 1, "ts": after}]})
    await history.maintain()
    assert await history.rows("SELECT day FROM activity_daily ORDER BY 1") == [
        (date(2026, 2, 27),),
        (date(2026, 2, 28),),
    ]


_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@contextlib.asynccontextmanager
async def stuck(history: History) -> AsyncIterator["asyncio.Task[Maintained]"]:
    """Give a `db maintain` that has rolled up vitals and waits, in that transaction, to write the days."""
    async with connected(history.url) as blocker:
        await blocker.execute("BEGIN")
        await blocker.execute("LOCK TABLE activity_daily IN EXCLUSIVE MODE")
        running = asyncio.create_task(history.maintain())
        try:
            await until(lambda: history.rows(_WAITING), "maintain waits")
            yield running
            await blocker.execute("ROLLBACK")
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, psycopg.Error):
                await running


async def test_a_kill_in_between_leaves_no_half(history: History) -> None:
    """Killed after the vitals of a slice and before its activity, nothing stands; the next run does all."""
    rng = random.Random(4)
    while not (history.vitals and history.activity):
        await history.commit(random_rows(rng))
    # room is made beforehand, so that the one lock waited for is that of the slice
    await history.edition.make_room_back(history.connection, "activity_daily", NOW - 40 * DAY, NOW)
    await history.edition.make_room_back(history.connection, "vitals_hourly", NOW - 40 * DAY, NOW)
    async with stuck(history) as running:
        await history.rows(_WAITING.replace("pid", "pg_terminate_backend(pid)"))
        with pytest.raises(psycopg.OperationalError):
            await running
    assert await rolled_up(history) == ({}, {})
    assert await history.rows("SELECT batch FROM rolled_up") == [(0,)]
    await history.maintain()
    await want_rolled_up(history)


async def test_two_at_once_do_not_double(history: History) -> None:
    """The second `db maintain` ends at once and did nothing; even without that lock each row counts once."""
    rng = random.Random(5)
    while not (history.vitals and history.activity):
        await history.commit(random_rows(rng))
    await history.edition.make_room_back(history.connection, "activity_daily", NOW - 40 * DAY, NOW)
    await history.edition.make_room_back(history.connection, "vitals_hourly", NOW - 40 * DAY, NOW)
    async with stuck(history) as running:
        async with asyncio.timeout(WAIT):
            second = await maintain(history.connection, HistorySettings(), NOW, lambda _done, _total: None)
        assert second is None
        assert not running.done()
        assert await rolled_up(history) == ({}, {})
    await history.maintain()
    await want_rolled_up(history)

    for _ in range(6):
        await history.commit(random_rows(rng))
    async with connected(history.url) as one, connected(history.url) as other:
        await asyncio.gather(*(roll_up(each, lambda _done, _total: None) for each in (one, other)))
    await want_rolled_up(history)


async def test_slices_are_found_by_the_index(history: History) -> None:
    """A roll-up reads no whole table: batches are looked up in the index on them, in every chunk."""
    for days in (0, 8, 16):
        await history.commit({"vitals": [{"device_id": 1, "ts": NOW - days * DAY}]})
    async with connected(history.url) as connection:
        await maintain(connection, HistorySettings(), NOW, lambda _done, _total: None)
        explain = b"EXPLAIN " + sql.load("history")["roll_up_vitals"]
        found = await connection.execute(explain, {"after": 1, "upto": 2})
        plan = [line for (line,) in await found.fetchall()]
    assert sum("Bitmap Index Scan" in line for line in plan) >= 3
    assert not any("Seq Scan" in line for line in plan), plan
