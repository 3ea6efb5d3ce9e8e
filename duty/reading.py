"""Reading over HTTP: cards, vitals and addresses of alarms, people, devices and what a device did.

Rules of this file: all of it is personal data. So each answer is for operators, and its line in the audit log
is written in the same work of the database: an answer that cannot be recorded is not given. Of a list the
line names the people on it, not what was looked for.
"""

from datetime import datetime, timedelta
from typing import Annotated, Final, cast

from fastapi import APIRouter, Depends, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import AwareDatetime, BaseModel

from duty import cards, people, trail
from duty.access import Caller, Role, allowed
from duty.answers import responses
from duty.desk import Desk
from duty.handling import BadOrderError
from schemas.clock import to_datetime

router: Final = APIRouter(prefix="/api")

DAY: Final = timedelta(days=1)
FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2099


def _desk(request: Request) -> Desk:
    return cast("Desk", request.app.state.desk)


_Desk = Annotated[Desk, Depends(_desk)]
_Operator = Annotated[Caller, Depends(allowed(Role.OPERATOR))]
_AlarmId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_PersonId = Annotated[int, Path(ge=1, le=2**31 - 1)]
_Device = Annotated[str, Path(min_length=1, max_length=64, description="the name in its topic")]
_Query = Annotated[str, Query(min_length=1, max_length=people.LONGEST_QUERY)]
_Limit = Annotated[int, Query(ge=1, le=people.MOST_FOUND)]
_When = Annotated[AwareDatetime | None, Query(description="with its offset from UTC")]
_ONE: Final = responses(401, 404, 422, 503)
_MANY: Final = responses(401, 422, 503)


class PeopleList(BaseModel):
    """People who were looked for."""

    people: list[people.PersonLine]


class DeviceList(BaseModel):
    """Devices that were looked for."""

    devices: list[people.DeviceLine]


@router.get("/alarms/{alarm_id}", responses=_ONE)
async def show_alarm(desk: _Desk, operator: _Operator, alarm_id: _AlarmId) -> cards.Card:
    """Show an alarm with its log, its person, the contacts, the device and the steps to take."""

    async def read(connection: AsyncConnection) -> cards.Card:
        card = await cards.show(connection, alarm_id)
        about = card.alarm.person_id
        await trail.record_read(connection, operator, "show_alarm", alarm_id=alarm_id, person_id=about)
        return card

    return await desk.ask(read)


@router.get("/alarms/{alarm_id}/address", responses=_ONE)
async def show_address(desk: _Desk, operator: _Operator, alarm_id: _AlarmId) -> cards.Address:
    """Show where the person of an alarm lives, to whoever has to send somebody."""

    async def read(connection: AsyncConnection) -> cards.Address:
        found = await cards.address(connection, alarm_id)
        about = found.person_id
        await trail.record_read(connection, operator, "show_address", alarm_id=alarm_id, person_id=about)
        return found

    return await desk.ask(read)


@router.get("/alarms/{alarm_id}/vitals", responses=_ONE)
async def show_vitals(
    desk: _Desk,
    operator: _Operator,
    alarm_id: _AlarmId,
    hours: Annotated[int, Query(ge=1, le=cards.LONGEST_HOURS)] = 6,
) -> cards.Vitals:
    """Show the vitals of the last hours, until now or until the alarm was closed."""

    async def read(connection: AsyncConnection) -> cards.Vitals:
        found = await cards.vitals(connection, alarm_id, hours, desk.clock.now())
        about = found.person_id
        await trail.record_read(connection, operator, "show_vitals", alarm_id=alarm_id, person_id=about)
        return found

    return await desk.ask(read)


@router.get("/people", responses=_MANY)
async def list_people(desk: _Desk, operator: _Operator, query: _Query, limit: _Limit = 20) -> PeopleList:
    """List people whose name, number or telephone begins with `query`, by name."""

    async def read(connection: AsyncConnection) -> PeopleList:
        found = await people.find_people(connection, query, limit)
        seen = [person.person_id for person in found]
        await trail.record(connection, operator, "list_people", detail={"people": seen})
        return PeopleList(people=found)

    return await desk.ask(read)


@router.get("/people/{person_id}", responses=_ONE)
async def show_person(desk: _Desk, operator: _Operator, person_id: _PersonId) -> people.PersonFile:
    """Show a person with contacts, devices and alarms."""

    async def read(connection: AsyncConnection) -> people.PersonFile:
        found = await people.show_person(connection, person_id)
        await trail.record_read(connection, operator, "show_person", person_id=person_id)
        return found

    return await desk.ask(read)


@router.get("/devices", responses=_MANY)
async def list_devices(desk: _Desk, operator: _Operator, query: _Query, limit: _Limit = 20) -> DeviceList:
    """List devices whose name begins with `query`, or that bear it as another name, by name."""

    async def read(connection: AsyncConnection) -> DeviceList:
        found = await people.find_devices(connection, query, limit)
        seen = sorted({line.person_id for line in found if line.person_id is not None})
        await trail.record(connection, operator, "list_devices", detail={"people": seen})
        return DeviceList(devices=found)

    return await desk.ask(read)


@router.get("/devices/{device}", responses=_ONE)
async def show_device(desk: _Desk, operator: _Operator, device: _Device) -> people.DeviceFile:
    """Show a device, whose it is, whether it still speaks, and what is open about it."""

    async def read(connection: AsyncConnection) -> people.DeviceFile:
        found = await people.show_device(connection, device)
        await _record_device(connection, operator, "show_device", device, found.device.person_id)
        return found

    return await desk.ask(read)


@router.get("/devices/{device}/history", responses=_ONE)
async def show_history(
    desk: _Desk, operator: _Operator, device: _Device, since: _When = None, until: _When = None
) -> people.History:
    """Show what a device did after `since`, up to and with `until`: the last day unless said."""
    last = _bounded("until", until) or to_datetime(desk.clock.now())
    first = _bounded("since", since) or last - DAY

    async def read(connection: AsyncConnection) -> people.History:
        found = await people.history(connection, device, first, last)
        await _record_device(connection, operator, "show_history", device, found.person_id)
        return found

    return await desk.ask(read)


async def _record_device(
    connection: AsyncConnection, operator: Caller, action: str, device: str, person_id: int | None
) -> None:
    """Write down that somebody saw what is about a device, and so about whoever has it."""
    detail = {"device": device}
    await trail.record(connection, operator, action, person_id=person_id, detail=detail)


def _bounded(name: str, moment: datetime | None) -> datetime | None:
    """Return a moment that the database and the arithmetic of dates can take."""
    if moment and not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise BadOrderError(
            f"{name} = {moment.isoformat()}: a year from {FIRST_YEAR} to {LAST_YEAR}", "请选择合理的时间"
        )
    return moment
