"""Alarms as duty sees them: list, handle; duty/cards.py shows one with its person.

Rules of this file: SQL stands in store/queries/duty.sql; errors of the driver are mapped once, in
`database_errors`; connections are given, in autocommit, so that `handle` is one transaction of its own, and
bound by `bound_session`.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, errors
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, model_validator

from duty.handling import (
    DONE,
    DOWNLINK,
    NAME_LENGTH,
    NOTE_LENGTH,
    REOPEN_DAYS,
    DutyError,
    NotAllowedError,
    Order,
    Standing,
    Verb,
    advance,
    require_text,
)
from rules.sentences import why_en, why_zh
from schemas.alarms import (
    AREA_DEVICE,
    CLASS_ZH,
    CONDITION_ZH,
    HANDLING_ZH,
    KINDS,
    OUTCOME_ZH,
    QUALITY_ZH,
    SEVERITY_ZH,
    Class,
    Handling,
    Outcome,
    Severity,
    area_zh,
    remark_zh,
)
from schemas.clock import Moment, to_datetime
from schemas.errors import UsageError, WeatherError
from store import sql

State = Literal["open", "shelved", "closed", "all"]

MAX_LIMIT: Final = 1000
"""Most alarms in one list."""

TRIES: Final = 8
"""Times that an order is tried whose locks cross with those of ingest, which takes them in its own order."""
LET_BY: Final = 0.1
"""Seconds before the next try: at once it would take the rows back before ingest has woken up."""

AFTER_OUTAGE: Final = 720
"""Minutes for which what an outage explains is put away when that is closed."""

GRACE: Final = timedelta(minutes=10)
"""An outage is raised after what it explains: for so long nobody asks whether there is one."""

_SQL: Final = sql.load("duty")


_NAMES: Final[dict[str, dict[str, str]]] = {
    "kind": {kind.name: kind.zh for kind in KINDS.values()},
    "class": {code.value: zh for code, zh in CLASS_ZH.items()},
    "severity": {code.value: zh for code, zh in SEVERITY_ZH.items()},
    "quality": QUALITY_ZH,
    "condition": CONDITION_ZH,
    "handling": {code.value: zh for code, zh in HANDLING_ZH.items()},
    "outcome": {code.value: zh for code, zh in OUTCOME_ZH.items()},
}


def _name(column: str, code: str | None) -> str:
    """Name a code in the words of the catalogue; one that it lacks names itself."""
    return _NAMES[column].get(code, code) if code else ""


class Row(BaseModel):
    """What a query of this database gives, as it goes out."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)


_R = TypeVar("_R", bound=BaseModel)


class Alarm(Row):
    """An alarm with its device and person, and every name in Chinese beside its code."""

    alarm_id: int
    device: str
    region: str
    region_name: str
    model: str
    person_id: int | None
    person: str
    kind: str
    alarm_class: Class = Field(alias="class")
    severity: Severity
    quality: Literal["ok", "late", "unreadable"]
    condition: Literal["active", "cleared"]
    handling: Handling
    count: int
    raised_at: Moment
    last_at: Moment
    cleared_at: Moment | None
    acknowledged_at: Moment | None
    acknowledged_by: str | None
    assigned_to: str | None
    dispatched_at: Moment | None
    dispatched_to: str | None
    arrived_at: Moment | None
    closed_at: Moment | None
    closed_by: str | None
    outcome: Outcome | None
    parent_id: int | None = Field(description="the alarm into which it was merged")
    shelved_until: Moment | None = Field(description="it is not before staff until then")
    version: int
    detail: dict[str, Any]
    suppressed: str | None = Field(description="the area whose outage explains it; it is not before staff")
    rule: int | None = Field(description="number of the rule that raised it, in the file of that version")
    rule_set_id: int | None = Field(description="version of the rules that raised it")
    drill: Annotated[bool, Field(exclude=True)]
    """Whether it is of a drill: not for the desk, where a drill looks real until its outcome tells."""

    kind_zh: str
    class_zh: str
    severity_zh: str
    quality_zh: str
    condition_zh: str
    handling_zh: str
    outcome_zh: str
    suppressed_zh: str
    remark_zh: str = Field(
        description="of an alarm of the line itself what it means, of an outage where it is"
    )
    why_zh: str = Field(description="what the rule saw when it raised the alarm, as a sentence")
    why_en: str = Field(description="the same in English")
    verbs: list[Verb] = Field(description="what may be done about it now")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, row: dict[str, Any]) -> dict[str, Any]:
        names = {f"{column}_zh": _name(column, row[column]) for column in _NAMES}
        remark = remark_zh(row["kind"], {} if row["count"] > 1 else row["detail"])  # the log has each
        if row["device"].startswith(AREA_DEVICE):
            remark = area_zh(row["device"].removeprefix(AREA_DEVICE)).strip()
        area = row["suppressed"]
        return {
            **row,
            **names,
            "suppressed_zh": f"因{area_zh(area)}中断而不列出" if area else "",
            "remark_zh": remark,
            "why_zh": why_zh(row["kind"], row["detail"]),
            "why_en": why_en(row["kind"], row["detail"]),
            "verbs": _standing(row).verbs(),
        }


def _standing(row: dict[str, Any]) -> Standing:
    return Standing(
        Handling(row["handling"]),
        life=row["class"] == Class.LIFE,
        shelved=row["shelved_until"] is not None,
        outcome=row["outcome"],
    )


class Counts(Row):
    """How many alarms are open, of life, not acknowledged; `suppressed` and `shelved` ones are apart."""

    open: int = 0
    life: int = 0
    unacknowledged: int = 0
    suppressed: int = 0
    shelved: int = 0


class UnknownAlarmError(DutyError):
    """There is no alarm of this number."""

    def __init__(self, alarm_id: int) -> None:
        super().__init__(f"there is no alarm {alarm_id}")
        self.zh = f"没有编号为 {alarm_id} 的报警"


class StaleVersionError(DutyError):
    """The alarm has changed since it was looked at, so what was decided then may be wrong now."""

    def __init__(self, alarm_id: int, seen: int, present: int) -> None:
        super().__init__(f"alarm {alarm_id} has changed: version {seen} was looked at, {present} is present")
        self.zh = "该报警刚刚有变化，请看过再操作"


class DatabaseAwayError(WeatherError):
    """The database does not answer, and time can help; only a look tells whether it did what it was asked."""

    zh = "数据库暂时不可用，操作可能没有完成，请以恢复后的列表为准"


@contextmanager
def database_errors() -> Iterator[None]:
    """Map the driver's errors: to DatabaseAwayError where time can help, to UsageError where tables lack."""
    try:
        yield
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        errors.IdleInTransactionSessionTimeout,  # we stalled, and the server took the row back
        errors.ReadOnlySqlTransaction,  # a standby that is just being promoted
        TimeoutError,
    ) as error:
        said = str(error).strip().partition("\n")[0] or "no answer in time"
        raise DatabaseAwayError(f"the database does not answer: {said}") from error
    except errors.UniqueViolation as error:  # the device called again in the same moment
        said = "an alarm of the same device and kind has just been opened"
        raise NotAllowedError(said, "同一设备刚刚有了新的同类报警，请在那里处理") from error
    except (errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise UsageError("the database lacks carebell's tables: run `carebell db migrate`") from error


async def list_alarms(
    connection: AsyncConnection, state: State = "open", *, device: str | None = None, limit: int = 200
) -> list[Alarm]:
    """Return open alarms, life first, then by severity and age; others newest first; at most MAX_LIMIT.

    What is shelved, or explained by the outage of an area, is not before staff, and so not among `open`.
    """
    require_text("device", device or "", NAME_LENGTH)
    of_device = "" if device is None else "device_"
    name = f"{state}_alarms" if state in ("open", "shelved") else f"{of_device}{state}_alarms"
    values = {"device": device, "limit": min(limit, MAX_LIMIT)}
    with database_errors():
        async with connection.cursor(row_factory=class_row(Alarm)) as cursor:
            return await (await cursor.execute(_SQL[name], values)).fetchall()


async def count_open(connection: AsyncConnection) -> Counts:
    """Return how many alarms are open, however many a list shows."""
    with database_errors():
        return await fetch_one(connection, Counts, _SQL["count_open"], {}) or Counts()


async def handle(
    connection: AsyncConnection,
    alarm_id: int,
    verb: Verb,
    by: str,
    at: int,
    *,
    version: int | None = None,
    **said: Any,  # noqa: ANN401  # to, outcome, note, parent, minutes, explained: as Order takes them
) -> Alarm:
    """Carry out `verb` in the name of `by` and return the alarm as it is then.

    One transaction: the move, its line in the log and, for an alarm of life, the downlink; with `explained`,
    what an outage explains is put away. `at` is the injected clock's microseconds since 1970. `version`
    is the one that was looked at: with another one present nothing happens. Raises BadOrderError,
    UnknownAlarmError, IllegalMoveError, NotAllowedError or StaleVersionError and has then changed nothing.
    After DatabaseAwayError only a look tells: the reply to COMMIT may be lost.
    """
    order = Order(verb, by, **said)
    with database_errors():
        for _ in range(TRIES - 1):
            with suppress(errors.DeadlockDetected, errors.LockNotAvailable):
                return await _move(connection, alarm_id, order, to_datetime(at), version)
            await asyncio.sleep(LET_BY)
        return await _move(connection, alarm_id, order, to_datetime(at), version)


async def end_shelves(connection: AsyncConnection, at: int) -> int:
    """Put what was shelved until `at`, microseconds since 1970, before staff again; return how many."""
    row = await (await connection.execute(_SQL["end_shelves"], {"at": to_datetime(at)})).fetchone()
    return int(row[0]) if row else 0


async def end_explanations(connection: AsyncConnection, at: int) -> int:
    """Put before staff what an outage explained that staff closed and that goes on; return how many."""
    now = to_datetime(at)
    values = {"at": now, "before": now - GRACE}
    row = await (await connection.execute(_SQL["end_explanations"], values)).fetchone()
    return int(row[0]) if row else 0


async def bound_session(connection: AsyncConnection) -> None:
    """Bound how long this connection may wait and, above all, keep a row locked; call it after connecting."""
    with database_errors():
        await connection.execute(_SQL["bound_session"])


async def check_health(connection: AsyncConnection) -> None:
    """Return if the alarms can be read; raises DatabaseAwayError or UsageError."""
    with database_errors():
        await connection.execute(_SQL["health"])


async def _move(
    connection: AsyncConnection, alarm_id: int, order: Order, at: datetime, version: int | None
) -> Alarm:
    # In a transaction of the caller's this is a savepoint: what fails gives its own locks back.
    async with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        rows = await _lock(cursor, alarm_id, order)
        row = rows[alarm_id]
        first = row["acknowledged_by"] if order.verb is Verb.ACKNOWLEDGE else None
        # The table speaks before the version does: who was first tells more than that something changed.
        after = advance(Handling(row["handling"]), order.verb, first or row["closed_by"])
        _standing(row).require(order.verb)
        if version is not None and version != row["version"]:
            raise StaleVersionError(alarm_id, version, row["version"])
        if order.parent is not None:
            _require_parent(row, order.parent, rows.get(order.parent))
        values = _values(alarm_id, order, at, after)
        if order.verb is Verb.REOPEN:
            await _require_reopenable(cursor, row, values)
        await cursor.execute(_SQL[order.verb], values)
        await cursor.execute(_SQL["append_to_log"], values)
        if order.parent is not None:
            await cursor.execute(_SQL["adopt"], values)
        if order.explained:
            await _put_away_explained(cursor, row, values)
        if row["class"] == Class.LIFE and order.verb in DOWNLINK:
            await cursor.execute(_SQL["enqueue_downlink"], values)
        return await look(connection, alarm_id)


async def _lock(
    cursor: AsyncCursor[dict[str, Any]], alarm_id: int, order: Order
) -> dict[int, dict[str, Any]]:
    """Lock what the order is about, in the order of numbers: two that cross wait, and never hang."""
    if order.explained or order.parent is not None:
        await cursor.execute(_SQL["give_way"])
    if order.explained:
        await cursor.execute(_SQL["lock_outage"], {"alarm_id": alarm_id})
    wanted = [alarm_id] if order.parent is None else [alarm_id, order.parent]
    await cursor.execute(_SQL["lock_alarms"], {"alarm_ids": wanted})
    rows = {row["alarm_id"]: row for row in await cursor.fetchall()}
    if alarm_id not in rows:
        raise UnknownAlarmError(alarm_id)
    if (
        order.verb is Verb.DISPATCH
        and len(f"{rows[alarm_id]['dispatched_to'] or ''}{order.to}") > NOTE_LENGTH
    ):
        raise NotAllowedError("too many were sent to name them all", "已派人员过多，请写入备注")
    return rows


def _values(alarm_id: int, order: Order, at: datetime, after: Handling) -> dict[str, Any]:
    return {
        "alarm_id": alarm_id,
        "at": at,
        "by": order.by,
        "to": order.to,
        "outcome": order.outcome,
        "parent": order.parent,
        "until": at + timedelta(minutes=order.minutes or 0),
        "handling": after,
        "verb": DONE[order.verb],
        "message": DOWNLINK.get(order.verb),
        "detail": Jsonb(order.detail()),
    }


def _require_parent(child: dict[str, Any], parent: int, row: dict[str, Any] | None) -> None:
    """Raise unless an alarm can be merged into this one: another one, open, and seen to no less than it."""
    if row is None:
        raise UnknownAlarmError(parent)
    if parent == child["alarm_id"]:
        raise NotAllowedError(f"alarm {parent} cannot be merged into itself", "不能并入自己")
    if row["handling"] == Handling.CLOSED:
        zh = f"报警 {parent} 已关闭，不能并入"
        raise NotAllowedError(f"alarm {parent} is closed: merge into an open one", zh)
    if row["suppressed"] or row["shelved_until"]:
        zh = f"报警 {parent} 不在待处理列表中，不能并入"
        raise NotAllowedError(f"alarm {parent} is shelved or explained by an outage", zh)
    lesser = child["class"] == Class.LIFE != row["class"] or row["class"] == Class.TECHNICAL != child["class"]
    if child["drill"] != row["drill"] or lesser:
        zh = f"不能并入报警 {parent}：它可能自行结束"
        raise NotAllowedError(f"alarm {parent} may end by itself: merge into another one", zh)


async def _require_reopenable(
    cursor: AsyncCursor[dict[str, Any]], row: dict[str, Any], values: dict[str, Any]
) -> None:
    """Raise if it was closed too long ago, or its device has a newer open alarm of the kind."""
    if values["at"] - row["closed_at"] > timedelta(days=REOPEN_DAYS):
        raise NotAllowedError(
            f"closed more than {REOPEN_DAYS} days ago", f"关闭已超过 {REOPEN_DAYS} 天，不能重新打开"
        )
    newer = await (await cursor.execute(_SQL["open_of_same_kind"], values)).fetchone()
    if newer:
        number = newer["alarm_id"]
        zh = f"同一设备的同类报警 {number} 正在处理，请在那里处理"
        raise NotAllowedError(f"alarm {number} of the same device and kind is open", zh)


async def _put_away_explained(
    cursor: AsyncCursor[dict[str, Any]], row: dict[str, Any], values: dict[str, Any]
) -> None:
    """Shelve what the outage explains, each with a line of its own; never a call for help."""
    if row["kind"] != "area_outage":
        raise NotAllowedError("only the outage of an area explains others", "只有区域中断才能一并处理")
    area = row["device"].removeprefix(AREA_DEVICE)
    await cursor.execute(_SQL["put_away_explained"], {**values, "area": area, "minutes": AFTER_OUTAGE})


async def look(connection: AsyncConnection, alarm_id: int) -> Alarm:
    """Return an alarm as it stands. Raises UnknownAlarmError."""
    alarm = await fetch_one(connection, Alarm, _SQL["one_alarm"], {"alarm_id": alarm_id})
    if alarm is None:
        raise UnknownAlarmError(alarm_id)
    return alarm


async def fetch(
    connection: AsyncConnection, kind: type[_R], query: bytes, values: dict[str, Any]
) -> list[_R]:
    """Return all rows of a query."""
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        return await (await cursor.execute(query, values)).fetchall()


async def fetch_one(
    connection: AsyncConnection, kind: type[_R], query: bytes, values: dict[str, Any]
) -> _R | None:
    """Return the one row of a query, if there is one."""
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        return await (await cursor.execute(query, values)).fetchone()
