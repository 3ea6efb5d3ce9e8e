"""People and devices as the registry has them, found by name, number or telephone; and what a device said.

Rules of this file: reading only, and with personal data, as duty/cards.py; whatever is looked for is plain
text and bound as a value, its wildcards escaped.
"""

import re
import unicodedata
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from pydantic import Field, model_validator

from duty.alarms import Alarm, Row, database_errors, fetch, fetch_one
from duty.cards import Contact, DeviceOnCard, Known, Person
from duty.handling import BadOrderError, DutyError, require_text
from schemas.alarms import EVENT_ZH, TIME_ZH
from schemas.clock import Moment
from schemas.readings import Event, Quality
from schemas.topics import vendor_device
from store import sql

LONGEST_QUERY: Final = 64
MOST_FOUND: Final = 100
MOST_DEVICES: Final = 50
MOST_ALARMS: Final = 50
MOST_EVENTS: Final = 500
MOST_HEARTBEATS: Final = 500
LONGEST_HISTORY: Final = timedelta(days=31)

_PHONE: Final = re.compile(r"\+?[0-9 ()-]{3,}")
_NOT_IN_A_NUMBER: Final = re.compile(r"^\+86|[^0-9]")
_FEWEST_DIGITS: Final = 3
_SQL: Final = sql.load("cards")


class UnknownPersonError(DutyError):
    """There is nobody of this number."""

    def __init__(self, person_id: int) -> None:
        super().__init__(f"there is no person {person_id}")
        self.zh = f"没有编号为 {person_id} 的老人"


class UnknownDeviceError(DutyError):
    """There is no device of this name."""

    zh = "没有这个编号的设备"

    def __init__(self) -> None:
        super().__init__("there is no device of this name")  # which is not repeated: anybody can make one up


class PersonLine(Known):
    """A person in a list."""

    devices: int
    open: int = Field(description="open alarms about the person")


class DeviceLine(Row):
    """A device in a list, and whose it is."""

    device: str
    aliases: list[str] = Field(description="other names by which its messages come")
    model: str
    region: str
    region_name: str
    person_id: int | None
    person: str
    open: int = Field(description="open alarms of the device")


class PersonFile(Row):
    """A person with the contacts in the order in which to call; the address is asked for with an alarm."""

    person: Person
    contacts: list[Contact]
    devices: list[DeviceLine]
    alarms: list[Alarm] = Field(description=f"what is open, then the newest; at most {MOST_ALARMS}")


class Device(DeviceOnCard):
    """A device as the registry has it, and whether it still speaks."""

    aliases: list[str]
    person_id: int | None
    person: str
    gateway: str
    heartbeat_seconds: int | None = Field(description="expected interval of its messages; null: by model")
    self_registered: bool = Field(description="its first message entered it")
    registered_at: Moment


class DeviceFile(Row):
    """A device and what is open about it."""

    device: Device
    alarms: list[Alarm]


class Happening(Row):
    """An event that the device told: when, as it said and as it came."""

    ts: Moment
    received_at: Moment
    event: str
    event_zh: str
    time_zh: str = Field(description="what is wrong with its time; empty: nothing")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, row: dict[str, Any]) -> dict[str, Any]:
        event, quality = Event(row["event"]), Quality(row["time_quality"])
        return {
            **row,
            "event": event.name.lower(),
            "event_zh": EVENT_ZH.get(event, event.name.lower()),
            "time_zh": TIME_ZH[quality],
        }


class Heartbeat(Row):
    """A sign of life."""

    ts: Moment
    battery: Annotated[float | None, Field(description="%")]
    rssi: Annotated[float | None, Field(description="dBm")]
    mains: bool | None


class History(Row):
    """What a device did in `since` < ts <= `until`. Vitals are a person's and stand with an alarm."""

    device: str
    person_id: Annotated[int | None, Field(exclude=True)]
    since: Moment
    until: Moment
    alarms: list[Alarm] = Field(description=f"raised in that time, newest first, at most {MOST_ALARMS}")
    events: list[Happening] = Field(description=f"newest first, at most {MOST_EVENTS}")
    heartbeats: list[Heartbeat] = Field(
        description=f"by time, the newest of each of {MOST_HEARTBEATS} equal parts of it"
    )


async def find_people(connection: AsyncConnection, query: str, limit: int) -> list[PersonLine]:
    """Return people whose name, number or telephone begins so, at most MOST_FOUND."""
    wanted = _plain(query)
    values = {
        "prefix": _prefix(wanted),
        "digits": _phone(wanted),
        "limit": min(limit, MOST_FOUND),
    }
    with database_errors():
        return await fetch(connection, PersonLine, _SQL["find_people"], values)


async def show_person(connection: AsyncConnection, person_id: int) -> PersonFile:
    """Return what there is about a person. Raises UnknownPersonError."""
    values = {"person_id": person_id}
    with database_errors():
        person = await fetch_one(connection, Person, _SQL["person"], values)
        if person is None:
            raise UnknownPersonError(person_id)
        alarms = {**values, "limit": MOST_ALARMS}
        devices = {**values, "limit": MOST_DEVICES}
        return PersonFile(
            person=person,
            contacts=await fetch(connection, Contact, _SQL["contacts"], values),
            devices=await fetch(connection, DeviceLine, _SQL["devices_of_person"], devices),
            alarms=await fetch(connection, Alarm, _SQL["alarms_of_person"], alarms),
        )


async def find_devices(connection: AsyncConnection, query: str, limit: int) -> list[DeviceLine]:
    """Return devices whose name begins so, or that bear it as another name, at most MOST_FOUND."""
    wanted = _plain(query)
    values = {"prefix": _prefix(wanted), "name": wanted, "limit": min(limit, MOST_FOUND)}
    with database_errors():
        return await fetch(connection, DeviceLine, _SQL["find_devices"], values)


async def show_device(connection: AsyncConnection, name: str) -> DeviceFile:
    """Return a device with what is open about it. Raises UnknownDeviceError."""
    with database_errors():
        row = await _device(connection, name)
        heard = await fetch_one(connection, DeviceOnCard, _SQL["device_on_card"], {"device": name})
        values = {"device_id": row["device_id"], "limit": MOST_ALARMS}
        return DeviceFile(
            device=Device.model_validate({**row, **(heard.model_dump() if heard else {})}),
            alarms=await fetch(connection, Alarm, _SQL["open_of_device"], values),
        )


async def history(connection: AsyncConnection, name: str, since: datetime, until: datetime) -> History:
    """Return what a device did in that time, at most LONGEST_HISTORY.

    Raises UnknownDeviceError or BadOrderError.
    """
    if not timedelta(0) < until - since <= LONGEST_HISTORY:
        raise BadOrderError(
            f"since {since.isoformat()}, until {until.isoformat()}: more than nothing and at most"
            f" {LONGEST_HISTORY.days} days can be read at once",
            f"请选择 {LONGEST_HISTORY.days} 天以内的时间段",
        )
    with database_errors():
        row = await _device(connection, name)
        values = {"device_id": row["device_id"], "since": since, "until": until}

        def bounded(most: int) -> dict[str, Any]:
            return {**values, "limit": most}

        return History(
            device=name,
            person_id=row["person_id"],
            since=since,
            until=until,
            alarms=await fetch(connection, Alarm, _SQL["alarms_of_device"], bounded(MOST_ALARMS)),
            events=await fetch(connection, Happening, _SQL["events_of_device"], bounded(MOST_EVENTS)),
            heartbeats=await fetch(
                connection, Heartbeat, _SQL["heartbeats_of_device"], bounded(MOST_HEARTBEATS)
            ),
        )


async def _device(connection: AsyncConnection, name: str) -> dict[str, Any]:
    """Return a device's row; a name that none can bear is not looked for."""
    row = None
    if vendor_device(name) == name:
        async with connection.cursor(row_factory=dict_row) as cursor:
            row = await (await cursor.execute(_SQL["device"], {"device": name})).fetchone()
    if row is None:
        raise UnknownDeviceError
    return row


def _plain(query: str) -> str:
    """Return what is looked for as the registry writes it; raises BadOrderError."""
    wanted = unicodedata.normalize("NFC", query.strip())
    require_text("query", wanted, LONGEST_QUERY)
    if not wanted:
        raise BadOrderError("query is empty: nobody lists everybody", "请输入姓名、编号或电话的开头")
    return wanted


def _prefix(wanted: str) -> str:
    """Return the pattern of what begins so."""
    return re.sub(r"([\\%_])", r"\\\1", wanted) + "%"


def _phone(wanted: str) -> str | None:
    """Return the pattern of telephone numbers that begin so; None if it is none."""
    digits = _NOT_IN_A_NUMBER.sub("", wanted) if _PHONE.fullmatch(wanted) else ""
    return digits + "%" if len(digits) >= _FEWEST_DIGITS else None
