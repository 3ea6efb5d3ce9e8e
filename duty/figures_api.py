"""The figures of a month over HTTP, for supervisors.

A month takes the database a second or two, so one is read at a time: who asks again and again keeps one
connection of the desk busy, and not those with which alarms are handled.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, cast

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.params import Depends as Dependency

from duty.access import Role, allowed
from duty.answers import responses
from duty.desk import Desk
from duty.figures import MONTH, REGION, Question, Report, read
from schemas.settings import DutySettings


def _desk(request: Request) -> Desk:
    return cast("Desk", request.app.state.desk)


def attach(app: FastAPI, settings: DutySettings, dependencies: Sequence[Dependency]) -> None:
    """Give the app its figures; `settings` has the limits until somebody is on site."""
    router = APIRouter(prefix="/api", dependencies=[*dependencies, Depends(allowed(Role.SUPERVISOR))])
    turn = asyncio.Lock()

    @router.get("/figures", responses=responses(401, 422, 429, 503))
    async def figures(
        desk: Annotated[Desk, Depends(_desk)],
        month: Annotated[str, Query(pattern=MONTH, description="in Asia/Shanghai")],
        region: Annotated[str, Query(pattern=REGION, description="or the beginning of its code")] = "",
    ) -> Report:
        """Show how a month's alarms were answered, by shift, region and operator."""
        async with turn:
            question = Question(month, region, desk.clock.now())
            return await desk.ask(lambda connection: read(connection, question, settings))

    app.include_router(router)
