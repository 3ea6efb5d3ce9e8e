"""What the tests of the desk share: a database with alarms, raised by SQL, and a line that can go deaf."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlsplit

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from duty import alarms
from duty.handling import Verb
from schemas.alarms import KINDS, Outcome
from schemas.clock import to_microseconds
from schemas.settings import DatabaseSettings, DutySettings, Settings
from store.migrate import migrate

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
AT = to_microseconds(START)
TOKENS = {"王芳": "token-of-wang", "李强": "token-of-li"}


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[AsyncConnection]:
    """Connect in autocommit."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


@contextlib.asynccontextmanager
async def migrated(url: str) -> AsyncIterator[AsyncConnection]:
    """Connect to a database that has its tables."""
    async with connect(url) as connection:
        await migrate(connection)
        yield connection


def settings_for(url: str, *, port: int = 8080, tokens: dict[str, str] | None = None) -> Settings:
    """Return settings with the operators of TOKENS, or with others."""
    digests = {
        name: hashlib.sha256(token.encode()).hexdigest()
        for name, token in (TOKENS if tokens is None else tokens).items()
    }
    return Settings(database=DatabaseSettings(url=url), duty=DutySettings(port=port, tokens=digests))


def bearer(operator: str = "王芳") -> dict[str, str]:
    """Return the header that lets an operator in."""
    return {"Authorization": f"Bearer {TOKENS[operator]}"}


async def add_device(connection: AsyncConnection, device: str, **person: str) -> int:
    """Return the number of a device, made with a person if one is described and it is new."""
    person_id = None
    if person:
        columns = ", ".join(person)
        marks = ", ".join("%s" for _ in person)
        row = await one(
            connection,
            f"INSERT INTO people ({columns}) VALUES ({marks}) RETURNING person_id",
            *person.values(),
        )
        person_id = row["person_id"]
    row = await one(
        connection,
        "INSERT INTO devices (device, region, model, person_id) VALUES (%s, '430602', 'bell', %s)"
        " ON CONFLICT (device) DO UPDATE SET device = excluded.device RETURNING device_id",
        device,
        person_id,
    )
    return int(row["device_id"])


async def raise_alarm(
    connection: AsyncConnection,
    device: str = "BELL-1",
    kind: str = "sos",
    *,
    after: float = 0,
    quality: str = "ok",
    at: datetime = START,
    logged: bool = False,
    **person: str,
) -> int:
    """Raise an alarm as ingest does, `after` seconds after `at`, and return its number.

    Without `logged` its first line of the log is left out; who follows the alarms is told all the same.
    """
    device_id = await add_device(connection, device, **person)
    known = KINDS[kind]
    moment = at + timedelta(seconds=after)
    row = await one(
        connection,
        "INSERT INTO alarms"
        " (device_id, kind, class, severity, quality, condition, raised_at, last_at, person_id)"
        " SELECT device_id, %s, %s, %s, %s, 'active', %s, %s, person_id FROM devices WHERE device_id = %s"
        " RETURNING alarm_id",
        kind,
        known.alarm_class.value,
        known.severity.value,
        quality,
        moment,
        moment,
        device_id,
    )
    if logged:
        await add_to_log(connection, row["alarm_id"], "raised", moment)
    else:
        await connection.execute("SELECT pg_notify('carebell_alarms', %s)", (str(row["alarm_id"]),))
    return int(row["alarm_id"])


async def add_to_log(connection: AsyncConnection, alarm_id: int, verb: str, at: datetime = START) -> None:
    """Add a line to the log in carebell's name, as ingest does with each change."""
    await connection.execute(
        "INSERT INTO alarm_log (alarm_id, at, actor, verb) VALUES (%s, %s, 'carebell', %s)",
        (alarm_id, at, verb),
    )


async def repeat(connection: AsyncConnection, alarm_id: int) -> None:
    """Count one more activation, as ingest does."""
    await connection.execute(
        "UPDATE alarms SET count = count + 1, version = version + 1 WHERE alarm_id = %s", (alarm_id,)
    )


async def close_itself(connection: AsyncConnection, alarm_id: int) -> None:
    """Close a technical alarm whose condition cleared, as ingest does."""
    await connection.execute(
        "UPDATE alarms SET condition = 'cleared', cleared_at = %s, handling = 'closed', closed_at = %s,"
        " closed_by = 'carebell', outcome = 'cleared', version = version + 1 WHERE alarm_id = %s",
        (START, START, alarm_id),
    )


async def one(connection: AsyncConnection, query: str, *values: object) -> dict[str, Any]:
    """Return the one row of a query."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(query.encode(), values)).fetchone()
    assert row is not None
    return row


async def rows(connection: AsyncConnection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return all rows of a query."""
    return await (await connection.execute(query.encode(), values)).fetchall()


async def everything(connection: AsyncConnection) -> list[list[tuple[Any, ...]]]:
    """Return all that the desk may write, to compare before and after."""
    return [
        await rows(connection, f"SELECT * FROM {table} ORDER BY 1")
        for table in ("alarms", "alarm_log", "outbox")
    ]


class Line:
    """A TCP line to a server that can be cut off without a word: it stays up and carries nothing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open = asyncio.Event()
        self._open.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.url = ""

    def go_deaf(self) -> None:
        """Carry nothing any more, in either direction."""
        self._open.clear()

    def hear_again(self) -> None:
        """Carry what waited and what comes."""
        self._open.set()

    async def __aenter__(self) -> Self:
        """Open the line on a free port."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        here, there = self._server.sockets[0].getsockname(), urlsplit(self._url)
        self.url = self._url.replace(f"{there.hostname}:{there.port}", f"127.0.0.1:{here[1]}")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        self.hear_again()
        self._server.close()
        for end in list(self._ends):
            end.close()
        await self._server.wait_closed()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = urlsplit(self._url)
        far_reader, far_writer = await asyncio.open_connection(there.hostname, there.port)
        self._ends |= {writer, far_writer}
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
        self._ends.discard(writer)


async def close_alarm(connection: AsyncConnection, alarm_id: int, at: int = AT) -> None:
    """Take an alarm up and close it."""
    await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", at)
    await alarms.handle(connection, alarm_id, Verb.CLOSE, "王芳", at, outcome=Outcome.OTHER_HELP)
