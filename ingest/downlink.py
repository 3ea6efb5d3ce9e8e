"""The downlink: tell a device what happens to its alarm, at least once, from the outbox.

A row is marked as sent only after the broker's PUBACK; the rate is human, so aiomqtt does it.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import aiomqtt
import psycopg
from psycopg import AsyncConnection

from ingest.client import client, end_if_cancelled
from schemas.messages import Downlink
from schemas.settings import Settings
from schemas.topics import REGION_PATTERN, downlink
from store import sql
from store.connection import connect
from store.weather import is_weather

log = logging.getLogger(__name__)

POLL: Final = 0.5
RETRY: Final = 2.0

_QUERIES = sql.load("ingest")


async def run_downlink(settings: Settings) -> None:
    """Publish the outbox for ever; a broker or a database that is away is waited for."""
    while True:
        try:
            connection = await connect(settings.database.url)
            async with connection, client(settings.broker, "downlink") as broker:
                await _publish_for_ever(connection, broker)
        except aiomqtt.MqttError as error:
            log.warning("downlink: %s; trying again", error)
        except psycopg.Error as error:
            if not is_weather(error):
                raise
            log.warning("downlink: the database is away; trying again")
        await asyncio.sleep(RETRY)


async def _publish_for_ever(connection: AsyncConnection, broker: aiomqtt.Client) -> None:
    while True:
        end_if_cancelled()
        rows: Sequence[Any] = await (await connection.execute(_QUERIES["unsent"])).fetchall()
        for _, message, alarm_id, kind, device, region in rows:
            if REGION_PATTERN.fullmatch(region):
                told = Downlink(alarm_id=alarm_id, kind=kind, state=message)
                await broker.publish(downlink(region, device), told.model_dump_json(), qos=1)
                end_if_cancelled()
        if rows:
            await connection.execute(_QUERIES["sent"], {"ids": [row[0] for row in rows]})
        else:
            await asyncio.sleep(POLL)
