"""The registry as people ask for it: who has which device, who had it, and moving a device to somebody else.

Importing files is store/imports.py. Connections are given, in autocommit.
"""

from datetime import datetime
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from schemas.clock import Moment
from schemas.errors import CarebellError
from store import sql
from store.imports import held_message, turn
from store.migrate import require_current

_SQL: Final = sql.load("registry")


class Device(BaseModel):
    """A device; `person` is the file number of who has it, `name` that person's name.

    `aliases` are other names of it; its clock is fast by `clock_hours`, a mistake of zone that is corrected.
    Of one of `drill` the person is made up (store/drill.py).
    """

    device: str
    region: str | None
    region_name: str
    model: str
    person: str | None
    name: str
    heartbeat_seconds: int | None
    gateway: str
    aliases: list[str]
    clock_hours: int
    self_registered: bool
    drill: bool
    registered_at: Moment
    changed_at: Moment


class Person(BaseModel):
    """A person, and the devices that they have now; `thresholds` are limits of their own for the rules."""

    person: str
    name: str
    sex: str | None
    birth_year: int | None
    phone: str
    address: str
    notes: str
    care_level: str
    thresholds: dict[str, float]
    devices: list[str]


class Contact(BaseModel):
    """Somebody to call, in the order of rank."""

    rank: int
    name: str
    relation: str
    phone: str


class Span(BaseModel):
    """Who had a device from `since` up to but without `until`; None: still."""

    device: str
    person: str
    name: str
    since: Moment
    until: Moment | None


class AlarmLine(BaseModel):
    """An alarm in short; `carebell alarm show` tells the rest."""

    alarm_id: int
    device: str
    kind: str
    severity: str
    handling: str
    raised_at: Moment
    person: str | None


class Vitals(BaseModel):
    """Vitals that a person's device sent while it was theirs; units as in the table."""

    device: str
    ts: Moment
    hr: float | None
    spo2: float | None
    temp: float | None
    sbp: float | None
    dbp: float | None
    glucose: float | None


class DeviceCard(BaseModel):
    """A device with who has and had it, when it was last heard, and its open alarms."""

    device: Device
    last_heard: Moment | None
    clock_skew: float | None
    """Seconds by which its clock is slow, on top of whole hours: the median of what was heard last."""
    had_by: list[Span]
    open_alarms: list[AlarmLine]


class PersonCard(BaseModel):
    """A person with contacts, and the history of the time in which each device was theirs."""

    person: Person
    contacts: list[Contact]
    had: list[Span]
    alarms: list[AlarmLine]
    vitals: list[Vitals]


class Region(BaseModel):
    """An administrative code, its parent, where it lies in degrees, and how many devices it has."""

    region: str
    name: str
    parent: str | None
    parent_name: str
    lat: float | None
    lon: float | None
    devices: int


class RegistryError(CarebellError):
    """What was asked for is not there or may not be done; nothing was changed."""


_M = TypeVar("_M", bound=BaseModel)


async def devices(
    connection: AsyncConnection, *, region: str | None = None, person: str | None = None, limit: int
) -> list[Device]:
    """Return devices by id: all, those below a region's code, those of a person."""
    await require_current(connection)
    return await _all(connection, Device, "devices", device=None, region=region, person=person, limit=limit)


async def people(connection: AsyncConnection, *, name: str | None = None, limit: int) -> list[Person]:
    """Return people by file number: all, or those whose name holds `name`."""
    await require_current(connection)
    return await _all(connection, Person, "people", person=None, name=name, limit=limit)


async def regions(connection: AsyncConnection, *, limit: int) -> list[Region]:
    """Return the codes that have names, those that devices use, and their parents."""
    await require_current(connection)
    return await _all(connection, Region, "regions", limit=limit)


async def show_device(connection: AsyncConnection, device: str) -> DeviceCard:
    """Return one device. Raises RegistryError if there is none of this id."""
    await require_current(connection)
    device_id = await _id_of_device(connection, device)
    (found,) = await _all(connection, Device, "devices", device=device, region=None, person=None, limit=1)
    return DeviceCard(
        device=found,
        last_heard=await _value(connection, "last_heard", device_id=device_id),
        clock_skew=await _value(connection, "clock_skew", device_id=device_id),
        had_by=await _all(connection, Span, "spans_of_device", device=device),
        open_alarms=await _all(connection, AlarmLine, "alarms_of_device", device=device),
    )


async def show_person(connection: AsyncConnection, person: str) -> PersonCard:
    """Return one person. Raises RegistryError if nobody has this file number."""
    await require_current(connection)
    await _id_of_person(connection, person)
    (found,) = await _all(connection, Person, "people", person=person, name=None, limit=1)
    return PersonCard(
        person=found,
        contacts=await _all(connection, Contact, "contacts_of_person", person=person),
        had=await _all(connection, Span, "spans_of_person", person=person),
        alarms=await _all(connection, AlarmLine, "alarms_of_person", person=person),
        vitals=await _all(connection, Vitals, "vitals_of_person", person=person),
    )


async def move(
    connection: AsyncConnection, device: str, person: str | None, region: str | None, at: datetime
) -> DeviceCard:
    """Give a device to a person, or with None to nobody, from `at` on; set its region if one is given.

    Raises RegistryError, with nothing changed, if either is unknown or an open call keeps it with its person.
    """
    await require_current(connection)
    await connection.execute(_SQL["prepare_session"])
    async with turn(connection, lambda _: None), connection.transaction():
        device_id = await _id_of_device(connection, device)
        person_id = await _id_of_person(connection, person) if person else None
        await connection.execute(_SQL["set_time"], {"at": at.isoformat()})
        values = {"device_id": device_id, "person_id": person_id, "region": region}
        await connection.execute(_SQL["move_device"], values)
        alarm_id = await _value(connection, "held_by_alarm", device_id=device_id)
        if alarm_id is not None:
            raise RegistryError(held_message(device, alarm_id))
        await connection.execute(_SQL["tell_bridge"])
    return await show_device(connection, device)


async def set_person(
    connection: AsyncConnection, person: str, thresholds: dict[str, float | None], care_level: str | None
) -> PersonCard:
    """Set limits of a person's own, with None take one away, and the care level; None leaves that.

    Raises RegistryError if nobody has this file number.
    """
    await require_current(connection)
    await _id_of_person(connection, person)
    values = {"person": person, "thresholds": Jsonb(thresholds), "care_level": care_level}
    async with connection.transaction():
        await connection.execute(_SQL["set_person"], values)
        await connection.execute(_SQL["tell_bridge"])
    return await show_person(connection, person)


async def _id_of_device(connection: AsyncConnection, device: str) -> int:
    found = await _value(connection, "id_of_device", device=device)
    if found is None:
        raise RegistryError(f"there is no device {device}: see `carebell device list`")
    return int(found)


async def _id_of_person(connection: AsyncConnection, person: str) -> int:
    found = await _value(connection, "id_of_person", person=person)
    if found is None:
        raise RegistryError(f"nobody has the file number {person}: see `carebell person list`")
    return int(found)


async def _value(connection: AsyncConnection, query: str, **values: object) -> Any:  # noqa: ANN401 - of several types
    row = await (await connection.execute(_SQL[query], values)).fetchone()
    return row[0] if row else None


async def _all(connection: AsyncConnection, model: type[_M], query: str, **values: object) -> list[_M]:
    async with connection.cursor(row_factory=class_row(model)) as cursor:
        return await (await cursor.execute(_SQL[query], values)).fetchall()
