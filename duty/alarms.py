"""Alarms as duty sees them: list, show, handle. Here alone desk and command line meet the database.

Rules of this file: SQL stands in store/queries/duty.sql; errors of the driver are mapped once, in
`database_errors`; connections are given, in autocommit, so that `handle` is one transaction of its own, and
bound by `bound_session`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, model_validator

from duty.handling import DONE, MOVES, NAME_LENGTH, DutyError, Order, Verb, advance, require_text
from rules.sentences import log_zh, why_en, why_zh
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

State = Literal["open", "closed", "all"]

MAX_LIMIT: Final = 1000
"""Most alarms in one list."""

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


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, serialize_by_alias=True)


_R = TypeVar("_R", bound=_Row)


class Alarm(_Row):
    """An alarm with its device and person, and every name in Chinese beside its code."""

    alarm_id: int
    device: str
    region: str
    region_name: str
    model: str
    person: str
    phone: str
    address: str
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
    dispatched_at: Moment | None
    dispatched_to: str | None
    closed_at: Moment | None
    closed_by: str | None
    outcome: Outcome | None
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
            "verbs": list(MOVES[row["handling"]]),
        }


class Counts(_Row):
    """How many alarms are open, of life, not acknowledged by anybody; `suppressed` ones are apart."""

    open: int = 0
    life: int = 0
    unacknowledged: int = 0
    suppressed: int = 0


class LogEntry(_Row):
    """A line of the append-only log."""

    at: Moment
    actor: str
    verb: str
    detail: dict[str, Any]
    rule: int | None
    rule_set_id: int | None
    said_zh: str = Field(description="what it says, as a sentence")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "said_zh": log_zh(row["kind"], row["verb"], row["detail"])}


class Person(_Row):
    """What the caller must know of the person; `notes` has illnesses, allergies and who holds a key."""

    name: str
    sex: str | None
    birth_year: int | None
    phone: str
    address: str
    notes: str


class Contact(_Row):
    """Whom to call next."""

    name: str
    relation: str
    phone: str


class Card(_Row):
    """An alarm with its log, its person and the contacts in the order in which to call."""

    alarm: Alarm
    log: list[LogEntry]
    person: Person | None
    contacts: list[Contact]


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
    except (errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise UsageError("the database lacks carebell's tables: run `carebell db migrate`") from error


async def list_alarms(
    connection: AsyncConnection, state: State = "open", *, device: str | None = None, limit: int = 200
) -> list[Alarm]:
    """Return open alarms, life first, then by severity and age; others newest first; at most MAX_LIMIT."""
    require_text("device", device or "", NAME_LENGTH)
    name = "open_alarms" if state == "open" else "recent_alarms" if device is None else "device_alarms"
    values = {"device": device, "closed_only": state == "closed", "limit": min(limit, MAX_LIMIT)}
    with database_errors():
        async with connection.cursor(row_factory=class_row(Alarm)) as cursor:
            return await (await cursor.execute(_SQL[name], values)).fetchall()


async def count_open(connection: AsyncConnection) -> Counts:
    """Return how many alarms are open, however many a list shows."""
    with database_errors():
        return await _one(connection, Counts, "count_open") or Counts()


async def show(connection: AsyncConnection, alarm_id: int) -> Card:
    """Return one alarm with its log, person and contacts. Raises UnknownAlarmError."""
    with database_errors():
        return Card(
            alarm=await _alarm(connection, alarm_id),
            log=await _all(connection, LogEntry, "log_of_alarm", alarm_id),
            person=await _one(connection, Person, "person_of_alarm", alarm_id),
            contacts=await _all(connection, Contact, "contacts_of_alarm", alarm_id),
        )


async def handle(
    connection: AsyncConnection,
    alarm_id: int,
    verb: Verb,
    by: str,
    at: int,
    *,
    to: str = "",
    outcome: Outcome | None = None,
    note: str = "",
    version: int | None = None,
) -> Alarm:
    """Carry out `verb` in the name of `by` and return the alarm as it is then.

    One transaction: the move, its line in the log and, for an alarm of life, the downlink. `at` is the
    injected clock's microseconds since 1970. `version` is the one that was looked at: with another one
    present nothing happens. Raises BadOrderError, UnknownAlarmError, IllegalMoveError or StaleVersionError
    and has then changed nothing. After DatabaseAwayError only a look tells: the reply to COMMIT may be lost.
    """
    order = Order(verb, by, to, outcome, note)
    with database_errors():
        async with connection.transaction():
            await _move(connection, alarm_id, order, to_datetime(at), version)
            return await _alarm(connection, alarm_id)


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
) -> None:
    values: dict[str, Any] = {
        "alarm_id": alarm_id,
        "at": at,
        "by": order.by,
        "to": order.to,
        "outcome": order.outcome,
        "verb": DONE[order.verb],
        "message": DONE[order.verb],
        "detail": Jsonb(order.detail()),
    }
    async with connection.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(_SQL["lock_alarm"], values)).fetchone()
        if row is None:
            raise UnknownAlarmError(alarm_id)
        first = row["acknowledged_by"] if order.verb is Verb.ACKNOWLEDGE else None
        # The table speaks before the version does: who was first tells more than that something changed.
        advance(Handling(row["handling"]), order.verb, first or row["closed_by"])
        if version is not None and version != row["version"]:
            raise StaleVersionError(alarm_id, version, row["version"])
        await cursor.execute(_SQL[order.verb], values)
        await cursor.execute(_SQL["append_to_log"], values)
        if row["class"] == Class.LIFE:
            await cursor.execute(_SQL["enqueue_downlink"], values)


async def _alarm(connection: AsyncConnection, alarm_id: int) -> Alarm:
    alarm = await _one(connection, Alarm, "one_alarm", alarm_id)
    if alarm is None:
        raise UnknownAlarmError(alarm_id)
    return alarm


async def _one(
    connection: AsyncConnection, kind: type[_R], name: str, alarm_id: int | None = None
) -> _R | None:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        return await (await cursor.execute(_SQL[name], {"alarm_id": alarm_id})).fetchone()


async def _all(connection: AsyncConnection, kind: type[_R], name: str, alarm_id: int) -> list[_R]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        return await (await cursor.execute(_SQL[name], {"alarm_id": alarm_id})).fetchall()
