"""What operators say while the bridge runs: the database tells, and the devices are read again.

Who writes the registry notifies `carebell_registry` with the time that the changed rows bear. What arrives is
only laid ready here: the line learns it between two batches, a part at a time, so that no message waits for a
million devices.

Who marks dead letters to be re-driven notifies `carebell_redrive`. It comes by the same connection, so the
devices that were entered before are learnt before. Who applies rules notifies `carebell_rules`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import psycopg
from psycopg import AsyncConnection

from rules import ruleset
from rules.ruleset import RuleSet
from schemas.errors import UsageError
from store import sql
from store.connection import connect
from store.restore import Device
from store.weather import is_weather

log = logging.getLogger(__name__)

RETRY: Final = 2.0
REDRIVE: Final = "carebell_redrive"
RULES: Final = "carebell_rules"
PART: Final = 2_000
"""Devices that the line learns at once."""
LONGEST_IMPORT: Final = timedelta(hours=1)
"""Rows bear the time at which their transaction began, so after a pause this much is read again."""

_QUERIES = sql.load("ingest")


class Applied(NamedTuple):
    """Rules that were applied, and the number of their version."""

    number: int
    rules: RuleSet


class News:
    """Devices that were changed and rules that were applied, which the line has not learnt yet."""

    def __init__(self, url: str, redrive: Callable[[], None]) -> None:
        """Read from the database of this URL; `run` does it. Call `redrive` when dead letters may wait."""
        self._url = url
        self._redrive = redrive
        self._parts: deque[list[Device]] = deque()
        self._applied: Applied | None = None
        self._newest_rules = 0
        self._heard_until: datetime | None = None

    def start_with(self, rule_set_id: int) -> None:
        """Note which version the line works with; only later ones are news."""
        self._newest_rules = rule_set_id

    @property
    def waits(self) -> bool:
        """Say whether there is anything to learn."""
        return bool(self._parts) or self._applied is not None

    def take_rules(self) -> Applied | None:
        """Return rules that were applied, once; None if there are none."""
        applied, self._applied = self._applied, None
        return applied

    def take(self) -> list[Device]:
        """Return the next devices to learn, at most PART; none if there is no news."""
        return self._parts.popleft() if self._parts else []

    async def run(self, arrived: Callable[[], None]) -> None:
        """Listen for ever and call `arrived` for each part; a database that is away is waited for."""
        while True:
            try:
                async with await connect(self._url) as connection:
                    await self._listen(connection, arrived)
            except psycopg.Error as error:
                if not is_weather(error):
                    raise
                log.warning("registry: the database is away; listening again when it is back")
            await asyncio.sleep(RETRY)

    async def _listen(self, connection: AsyncConnection, arrived: Callable[[], None]) -> None:
        await connection.execute(_QUERIES["listen_to_registry"])
        await connection.execute(_QUERIES["listen_to_redrive"])
        await connection.execute(_QUERIES["listen_to_rules"])
        since = (self._heard_until or await _server_time(connection)) - LONGEST_IMPORT
        asked = applied = True  # perhaps, while nobody listened
        while True:
            self._heard_until = await _server_time(connection)
            if applied and (await self._read_rules(connection)):
                arrived()
            async for part in _changed(connection, since):
                self._parts.append(part)
                arrived()
            if asked:
                self._redrive()
            notices = [notice async for notice in connection.notifies(stop_after=1)]
            oldest = self._heard_until - LONGEST_IMPORT
            channels = {notice.channel for notice in notices}
            asked, applied = REDRIVE in channels, RULES in channels
            registry = [notice for notice in notices if notice.channel not in {REDRIVE, RULES}]
            since = min((_time(notice.payload, oldest) for notice in registry), default=self._heard_until)

    async def _read_rules(self, connection: AsyncConnection) -> bool:
        """Lay the rules ready that were applied last; those that are wrong are refused and change nothing."""
        row = await (await connection.execute(_QUERIES["applied_rules"])).fetchone()
        if row is None or row[0] <= self._newest_rules:
            return False
        number, text = row
        try:
            self._applied = Applied(number, ruleset.parse(text, f"version {number}"))
        except UsageError as error:
            log.error("rules: %s; the bridge goes on with those it has", error)  # noqa: TRY400 - the sentence is all
            values = {"rule_set_id": number, "refused": str(error)}
            await connection.execute(_QUERIES["refuse_rules"], values)
            return await self._read_rules(connection)  # one before it may be good
        self._newest_rules = number
        return True


def _time(payload: str, oldest: datetime) -> datetime:
    """Read what a notice says; anybody may send one, so what makes no sense means the oldest."""
    try:
        return max(oldest, datetime.fromisoformat(payload).astimezone(UTC))
    except (ValueError, OverflowError):
        return oldest


async def _server_time(connection: AsyncConnection) -> datetime:
    """Return the time on the clock by which rows say when they changed."""
    row = await (await connection.execute(_QUERIES["server_time"])).fetchone()
    return row[0] if row else datetime.now(UTC)


async def _changed(connection: AsyncConnection, since: datetime) -> AsyncIterator[list[Device]]:
    async with connection.transaction(), connection.cursor("news") as cursor:
        await cursor.execute(_QUERIES["devices_since"], {"since": since})
        while rows := await cursor.fetchmany(PART):
            yield [Device(*row) for row in rows]
