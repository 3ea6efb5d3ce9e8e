"""GET /api/audit: the audit log for supervisors, who look after what is done and read in the desk's name.

Looking at it is a line in it as well.
"""

from typing import Annotated, Final, cast

from fastapi import APIRouter, Depends, Query, Request
from psycopg import AsyncConnection
from pydantic import BaseModel

from duty import trail
from duty.access import Caller, Role, allowed
from duty.answers import responses
from duty.desk import Desk

router: Final = APIRouter(prefix="/api")


class Audit(BaseModel):
    """Lines of the audit log, newest first; those before them are asked for with `before`."""

    lines: list[trail.AuditLine]


@router.get("/audit", responses=responses(401, 422, 503))
async def list_audit(
    request: Request,
    supervisor: Annotated[Caller, Depends(allowed(Role.SUPERVISOR))],
    limit: Annotated[int, Query(ge=1, le=trail.MAX_LINES)] = 100,
    before: Annotated[
        int, Query(ge=1, le=trail.NEWEST, description="lines with a lower number")
    ] = trail.NEWEST,
) -> Audit:
    """List who handled alarms, read personal data, was refused or changed users, newest first."""

    async def read(connection: AsyncConnection) -> Audit:
        lines = await trail.read_before(connection, before, limit)
        await trail.record_read(connection, supervisor, "list_audit")
        return Audit(lines=lines)

    return await cast("Desk", request.app.state.desk).ask(read)
