"""What `db status` and `db maintain` say of sizes, rates, the disk and the days left, on both editions."""

from datetime import timedelta
from pathlib import Path

from schemas.settings import HistorySettings
from store.edition import DIVIDED
from tests.contract.history import DAY, NOW, History


async def test_status_tells_what_is_there(history: History) -> None:
    """Rows, chunks, days kept, oldest and newest, and how far the roll-ups are behind."""
    empty = await history.sizes()
    assert empty.maintained_at is None
    assert [(each.table, each.kept_days) for each in empty.tables] == [
        (table, HistorySettings().days(table)) for table in DIVIDED
    ]
    assert {each.rows or 0 for each in empty.tables} == {0}
    for days in (30, 29, 3, 1, 0):
        moment = NOW - days * DAY
        await history.commit({"vitals": [{"device_id": n, "ts": moment} for n in range(1, 41)]}, now=moment)
    await history.maintain()
    await history.commit({"vitals": [{"device_id": 1, "ts": NOW}]}, now=NOW + timedelta(seconds=90))

    found = await history.sizes()

    vitals = found.tables[0]
    hourly = next(each for each in found.tables if each.table == "vitals_hourly")
    assert (vitals.rows, hourly.rows) == (200, 200)
    assert vitals.oldest is not None
    assert vitals.newest is not None
    assert NOW - 37 * DAY < vitals.oldest <= NOW - 30 * DAY
    assert NOW < vitals.newest <= NOW + 7 * DAY
    assert vitals.chunks == len(await history.chunks("vitals"))
    assert vitals.total_bytes > 8192
    assert (found.batch, found.rolled_up_batch, found.rolled_up_until) == (6, 5, NOW)
    assert found.rollup_lag_seconds == 90.0
    assert found.maintained_at == NOW
    assert found.database_bytes > 1_000_000


async def test_status_reads_rates_and_days_left_off_what_was_maintained(
    history: History, tmp_path: Path
) -> None:
    """Rows a day are those of the last week; days left are the free bytes over the bytes a day."""
    await history.maintain(NOW - 2 * DAY)
    for number in range(8):
        moment = NOW - 2 * DAY + number * timedelta(hours=6)
        await history.commit({"vitals": [{"device_id": n, "ts": moment} for n in range(1, 11)]}, now=moment)
        if number == 0:
            await history.maintain(moment)
    unknown = await history.sizes(NOW - 2 * DAY, {"disk": str(tmp_path)})
    assert (unknown.growth_a_day, unknown.days_left, unknown.tables[0].rows_a_day) == (None, None, None)
    await history.maintain(NOW)
    grown = (
        await history.rows("SELECT database_bytes FROM maintenance ORDER BY maintained_at DESC LIMIT 1")
    )[0][0] - 2_000_000
    await history.connection.execute(
        "UPDATE maintenance SET database_bytes = %s WHERE maintained_at < %s", (grown, NOW)
    )

    found = await history.sizes(NOW, {"disk": str(tmp_path)})

    assert found.tables[0].rows_a_day == 40.0
    assert found.growth_a_day == 1_000_000.0
    assert found.disk is not None
    assert found.days_left == found.disk.free_bytes / 1_000_000
    assert (await history.sizes(NOW)).days_left is None or history.edition.name == "native"


async def test_what_really_came_decides_over_what_was_promised(history: History) -> None:
    """A small registry whose devices send 50 million rows a day gets chunks of a day."""
    for hours, rows in ((2, 0), (0, 4_200_000)):
        moment = NOW - timedelta(hours=hours)
        await history.connection.execute(
            "INSERT INTO maintenance (maintained_at, until, brought, database_bytes)"
            " VALUES (%s, %s, jsonb_build_object('vitals', %s::bigint), 0)",
            (moment, moment, rows),
        )
    assert (await history.maintain(NOW + timedelta(minutes=1))).chunk_days["vitals"] == 1


async def test_a_disk_that_fills_is_said(history: History, tmp_path: Path) -> None:
    """Below the percentage a sentence says so; above it nothing is wrong."""
    full = await history.maintain(keys={"disk": str(tmp_path), "disk_low": 100})
    assert full.disk is not None
    (sentence,) = full.wrong
    assert str(tmp_path) in sentence
    assert f"{full.disk.percent_free:.1f}%" in sentence
    assert (await history.maintain(keys={"disk": str(tmp_path), "disk_low": 0})).wrong == []
