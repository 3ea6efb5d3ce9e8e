"""The card of an alarm: what whoever calls back must know, and what to do; vitals and address on request.

Rules of this file: reading only; SQL stands in store/queries/cards.sql. It has personal data, so the desk
writes a line in the audit log in the same work (duty/reading.py). Whoever was erased, or never known, leaves
gaps in a card and no more.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from pydantic import Field, model_validator

from duty import steps
from duty.alarms import Alarm, Row, UnknownAlarmError, database_errors, fetch, fetch_one, look
from duty.handling import DONE, ENGINE, VERB_ZH
from rules.sentences import log_zh
from schemas.clock import Moment, to_datetime
from store import sql

MOST_LINES: Final = 500
"""Lines of the log on a card: all of people, then the engine's newest."""
MOST_OTHERS: Final = 50
MOST_POINTS: Final = 500
"""Points of vitals: beyond that those stay that show every spike."""
LONGEST_HOURS: Final = 48

LOG_ZH: Final = {
    **{done: VERB_ZH[verb] for verb, done in DONE.items()},
    "raised": "发生",
    "repeated": "再次发生",
    "stepped": "升级",
    "cleared": "恢复",
    "marked": "标记",
}
"""What the log's words are called; those that are missing are told by their sentence."""

SEX_ZH: Final = {"male": "男", "female": "女"}

_SQL: Final = sql.load("cards")


class LogEntry(Row):
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
        done, said = LOG_ZH.get(row["verb"], ""), log_zh(row["kind"], row["verb"], row["detail"])
        return {**row, "said_zh": said if said.startswith(done) else "：".join(filter(None, (done, said)))}


class Known(Row):
    """Enough of a person to tell one from another, and to call back."""

    person_id: int
    person: str = Field(description="the number that the person bears in files")
    name: str
    sex: str | None
    sex_zh: str
    birth_year: int | None
    phone: str
    care_level: str

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "sex_zh": SEX_ZH.get(row["sex"], "")}


class Person(Known):
    """What the caller must know of the person; the address is asked for apart."""

    notes: str = Field(description="illnesses, allergies, who holds a key")


class Contact(Row):
    """Whom to call next."""

    name: str
    relation: str
    phone: str


class DeviceOnCard(Row):
    """The device that called, and whether it still speaks."""

    device: str
    model: str
    region: str
    region_name: str
    heard_at: Moment | None = Field(description="when its newest message came; null: none ever did")
    battery: float | None = Field(description="the newest that it told, in %")


class Card(Row):
    """An alarm with all that it takes to handle it; contacts in the order in which to call."""

    alarm: Alarm
    log: list[LogEntry] = Field(description=f"at most {MOST_LINES}: all of people, then the engine's newest")
    person: Person | None
    contacts: list[Contact]
    others: list[Alarm] = Field(description="what else is open about the person")
    steps: list[str] = Field(description="what to do about an alarm of this kind, in this order")
    device: DeviceOnCard | None


class Address(Row):
    """Where the person lives; empty where nobody knows."""

    address: str
    person_id: Annotated[int | None, Field(exclude=True)]


class Point(Row):
    """What was measured at one time: bpm, %, degC, mmHg, mmHg; null: not measured."""

    ts: Moment
    hr: float | None
    spo2: float | None
    temp: float | None
    sbp: float | None
    dbp: float | None


class Vitals(Row):
    """The vitals of `since` < ts <= `until`: until now, or until the alarm was closed."""

    since: Moment
    until: Moment
    points: list[Point] = Field(
        description=f"at most {MOST_POINTS}, each as it was measured, by time: of more than that those with"
        " the lowest and the highest of each value in each of equal parts of the time, and the newest"
    )
    measured: int = Field(description="how many there were")
    left_out: int = Field(description="how many are not among them: the device's clock is wrong")
    person_id: Annotated[int | None, Field(exclude=True)]


async def show(connection: AsyncConnection, alarm_id: int) -> Card:
    """Return the card of an alarm. Raises UnknownAlarmError."""
    with database_errors():
        alarm = await look(connection, alarm_id)
        values = {"alarm_id": alarm_id, "person_id": alarm.person_id, "device": alarm.device}
        log = {**values, "engine": ENGINE, "limit": MOST_LINES}
        return Card(
            alarm=alarm,
            log=await fetch(connection, LogEntry, _SQL["log_of_alarm"], log),
            person=await fetch_one(connection, Person, _SQL["person"], values),
            contacts=await fetch(connection, Contact, _SQL["contacts"], values),
            others=await fetch(connection, Alarm, _SQL["others"], {**values, "limit": MOST_OTHERS}),
            steps=list(steps.shipped().of(alarm.kind, alarm.alarm_class)),
            device=await fetch_one(connection, DeviceOnCard, _SQL["device_on_card"], values),
        )


async def address(connection: AsyncConnection, alarm_id: int) -> Address:
    """Return where the person of an alarm lives. Raises UnknownAlarmError."""
    with database_errors():
        found = await fetch_one(connection, Address, _SQL["address"], {"alarm_id": alarm_id})
    if found is None:
        raise UnknownAlarmError(alarm_id)
    return found


async def vitals(connection: AsyncConnection, alarm_id: int, hours: int, at: int) -> Vitals:
    """Return the vitals of the last hours, `at` being now in microseconds since 1970.

    Those of the person, by whatever device measured them while it was theirs; of an alarm about nobody those
    of its device. Raises UnknownAlarmError.
    """
    with database_errors():
        found = await (await connection.execute(_SQL["subject_of_alarm"], {"alarm_id": alarm_id})).fetchone()
        if found is None:
            raise UnknownAlarmError(alarm_id)
        person_id, device_id, closed_at = found
        until: datetime = closed_at or to_datetime(at)
        span = {"since": until - timedelta(hours=hours), "until": until}
        values = {"person_id": person_id, "device_id": device_id, **span, "most": MOST_POINTS}
        async with connection.cursor(row_factory=dict_row) as cursor:
            [row] = await (await cursor.execute(_SQL["vitals"], values)).fetchall()
    return Vitals.model_validate({**span, **row, "person_id": person_id})
