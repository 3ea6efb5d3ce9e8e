"""What the desk asks, over alarms by the million: list, counts, a card, the audit log, a month's figures.

Each is asked as the API asks it, so the time is that of the statements and of the models made of their rows;
STATEMENT is the list without the models. Goal: that stays under TARGET_MS, however many are closed.
"""

import re
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from psycopg import AsyncConnection
from rich.progress import Progress
from rich.table import Table

from bench.filling import device_ids
from duty import alarms, cards, figures, trail
from schemas.clock import to_microseconds
from schemas.settings import DutySettings
from store import sql

OPEN: Final = 10_000
LISTED: Final = 300
CHUNK: Final = 200_000
TARGET_MS: Final = 20.0
LIST: Final = "open list, 300"
STATEMENT: Final = f"{LIST}, its query alone"
_PARTS: Final = re.split(
    r"^-- name: (\w+)$", Path(__file__).with_suffix(".sql").read_text("utf-8"), flags=re.MULTILINE
)
_SQL: Final = {name: text.encode() for name, text in zip(_PARTS[1::2], _PARTS[2::2], strict=True)}


@dataclass(frozen=True)
class Asked:
    """A question of the desk: milliseconds."""

    question: str
    p50_ms: float
    max_ms: float
    target_ms: float | None = None


async def fill_alarms(connection: AsyncConnection, bar: Progress, now: datetime, closed: int) -> int:
    """Add so many closed alarms of three years, OPEN open ones and audit lines; return how many are open.

    The registry must be there. Only a superuser may leave out the checks of keys.
    """
    devices = (await device_ids(connection)).tolist()
    await connection.execute("SET session_replication_role = replica")
    task = bar.add_task("alarms", total=closed)
    for low in range(0, closed, CHUNK):
        high = min(closed, low + CHUNK)
        values = {"low": low, "high": high, "total": closed, "now": now, "devices": devices}
        await connection.execute(_SQL["closed"], values)
        bar.update(task, completed=high)
    await connection.execute(_SQL["open"], {"open": OPEN, "now": now, "devices": devices})
    await connection.execute(_SQL["audit"], {"lines": closed // 10})
    await connection.execute("RESET session_replication_role")
    await connection.execute("VACUUM ANALYZE alarms, audit_log")
    return (await alarms.count_open(connection)).open


async def ask_desk(connection: AsyncConnection, now: datetime, runs: int) -> list[Asked]:
    """Ask each question so many times, as the API does."""
    at = to_microseconds(now)
    listed = await alarms.list_alarms(connection, limit=LISTED)
    calls = [alarm.alarm_id for alarm in listed if alarm.person_id is not None]
    month = f"{now - timedelta(days=60):%Y-%m}"
    statement = sql.load("duty")["open_alarms"]
    values = {"device": None, "limit": LISTED}

    async def card() -> None:
        await cards.show(connection, calls[len(took) % len(calls)])

    async def plain() -> None:
        await (await connection.execute(statement, values)).fetchall()

    questions: dict[str, tuple[Callable[[], Awaitable[object]], int]] = {
        LIST: (lambda: alarms.list_alarms(connection, limit=LISTED), runs),
        STATEMENT: (plain, runs),
        "counts": (lambda: alarms.count_open(connection), runs),
        "closed, 200": (lambda: alarms.list_alarms(connection, "closed"), runs),
        "all, 200": (lambda: alarms.list_alarms(connection, "all"), runs),
        "closed of a device": (
            lambda: alarms.list_alarms(connection, "closed", device=listed[0].device),
            runs,
        ),
        "card": (card, runs),
        "audit, 100": (lambda: trail.read_before(connection, trail.NEWEST, 100), runs),
        f"figures of {month}": (
            lambda: figures.read(connection, figures.Question(month, "", at), DutySettings()),
            max(1, runs // 10),
        ),
    }
    found = []
    for question, (ask, times) in questions.items():
        took: list[float] = []
        for _ in range(times):
            began = time.perf_counter()
            await ask()
            took.append((time.perf_counter() - began) * 1000)
        target = TARGET_MS if question == STATEMENT else None
        found.append(Asked(question, round(statistics.median(took), 1), round(max(took), 1), target))
    return found


def desk_table(asked: list[Asked], closed: int, opened: int) -> Table:
    """Lay the questions out beside their target."""
    table = Table(
        "question",
        "p50 ms",
        "max ms",
        "target ms",
        title=f"the desk: {closed:,} closed alarms, {opened:,} open",
    )
    for each in asked:
        target = (
            ""
            if each.target_ms is None
            else f"< {each.target_ms:g} {'met' if each.p50_ms < each.target_ms else 'MISSED'}"
        )
        table.add_row(each.question, f"{each.p50_ms:,}", f"{each.max_ms:,}", target)
    return table
