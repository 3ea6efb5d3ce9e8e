"""The disk and the database as metrics, measured each minute on a connection that lives no longer than that.

The line does not know of it: whatever fails here is logged and tried again a minute later.
"""

import asyncio
import logging
from typing import Final

import psycopg
from psycopg import AsyncConnection

from ingest import metrics
from schemas.errors import UsageError
from schemas.settings import Settings
from store import sql
from store.disk import measure

log = logging.getLogger(__name__)

EVERY: Final = 60.0
AT_MOST: Final = 20.0
"""Seconds for one measurement: a database that hangs must not leave connections behind."""

_QUERIES = sql.load("history")


async def watch_disk(settings: Settings) -> None:
    """Measure for ever."""
    while True:
        try:
            async with asyncio.timeout(AT_MOST):
                await measure_once(settings)
        except (psycopg.Error, UsageError, TimeoutError) as error:
            log.warning("disk and size of the database cannot be measured: %r", error)
            for gauge in (metrics.DISK_FREE, metrics.DISK_SIZE):
                gauge.clear()
        await asyncio.sleep(EVERY)


async def measure_once(settings: Settings) -> None:
    """Set the gauges; those of a disk that cannot be seen from here stay away."""
    connection = await AsyncConnection.connect(
        settings.database.url, autocommit=True, connect_timeout=5, application_name="carebell disk"
    )
    async with connection:
        row = await (await connection.execute(_QUERIES["measures"])).fetchone()
        disk = await measure(connection, settings.history)
    if row:
        metrics.DATABASE_BYTES.set(row[0])
        metrics.MAINTAINED.set(row[1] or 0.0)
    if disk:
        metrics.DISK_FREE.labels(disk.directory).set(disk.free_bytes)
        metrics.DISK_SIZE.labels(disk.directory).set(disk.size_bytes)
