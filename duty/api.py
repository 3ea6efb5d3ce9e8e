"""The desk over HTTP: the API for handling alarms, and the page that uses it.

Rules of this file: everything under /api needs a bearer token; the page itself holds no data and needs none.
The composition root opens the pool, binds the address and serves.
"""

import time
from pathlib import Path as FilePath
from typing import Annotated, Final, cast

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict, Field

from duty import alarms, audit, events, figures_api, reading, trail, unstored
from duty.access import Caller, Role, allowed, may
from duty.answers import dress, responses
from duty.desk import Desk, Pool, make_pool, opened
from duty.handling import NAME_LENGTH, NOTE_LENGTH, OUTCOMES, SHELF_MINUTES, VERB_ZH, Verb
from duty.keys import Keys
from schemas.alarms import OUTCOME_ZH, Outcome
from schemas.clock import Moment, to_datetime
from schemas.settings import Settings

__all__ = ["create_app", "make_pool", "opened"]

VERSION: Final = "1.0.0"
"""Version of the API that /openapi.json describes."""

_HERE: Final = FilePath(__file__).parent
_PAGE: Final = {
    "/": ("text/html", (_HERE / "page.html").read_bytes()),
    "/page.css": ("text/css", (_HERE / "page.css").read_bytes()),
    **{f"/{file.name}": ("text/javascript", file.read_bytes()) for file in sorted(_HERE.glob("*.js"))},
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note: Annotated[str, Field(max_length=NOTE_LENGTH)] = ""
    version: Annotated[int, Field(ge=1, description="refuse if the alarm is not at this version")] | None = (
        None
    )


class DispatchBody(_Body):
    """Send somebody."""

    to: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, description="who is sent")]


class AssignBody(_Body):
    """Say who is to see to it."""

    to: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, description="which of the staff")]


class MergeBody(_Body):
    """Say with which other alarm it is seen to."""

    parent: Annotated[int, Field(ge=1, le=2**63 - 1, description="number of an open alarm")]


class ShelveBody(_Body):
    """Say for how long it is not to stand before staff."""

    minutes: Annotated[int, Field(ge=1, le=SHELF_MINUTES)]


class NoteBody(_Body):
    """Say what is to be remembered."""

    note: Annotated[str, Field(min_length=1, max_length=NOTE_LENGTH)]


class CloseBody(_Body):
    """Say how it ended."""

    outcome: Annotated[Outcome, Field(json_schema_extra={"enum": list(OUTCOMES)})]
    explained: Annotated[bool, Field(description="of an outage: put away what it explains, for 12 hours")] = (
        False
    )


class PlainBody(_Body):
    """Nothing more is asked; everything is optional, as is the body."""


class AlarmList(BaseModel):
    """Alarms, the moment at which they were so, and how many are open in all, for a list has a limit."""

    now: Moment
    speed: float
    counts: alarms.Counts
    alarms: list[alarms.Alarm]


class Word(BaseModel):
    """A code and its name for duty staff."""

    code: str
    zh: str


class Words(BaseModel):
    """Who is asking, and the words for buttons."""

    operator: str
    role: Role
    may: Annotated[list[Verb], Field(description="what this role may do about alarms at all")]
    verbs: list[Word]
    outcomes: list[Word]
    answer_seconds: Annotated[int, Field(description="limit from alarm to acknowledgement")]
    arrival_seconds: Annotated[int, Field(description="limit from alarm to arrival")]
    arrival: Annotated[
        dict[str, int], Field(description="where another one holds: region or beginning of its code, seconds")
    ]


def _desk(request: Request) -> Desk:
    return cast("Desk", request.app.state.desk)


_Desk = Annotated[Desk, Depends(_desk)]
_Viewer = Annotated[Caller, Depends(allowed(Role.VIEWER))]
_Operator = Annotated[Caller, Depends(allowed(Role.OPERATOR))]
_AlarmId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_REFUSED: Final = responses(400, 401, 404, 409, 422, 503)
_BEARER: Final = HTTPBearer(
    auto_error=False,  # documents only: Desk.caller decides
    scheme_name="token",
    description="a user's token; `carebell user token NAME` makes one",
)
_api = APIRouter(prefix="/api", dependencies=[Depends(_BEARER), Depends(allowed(Role.VIEWER))])
_open = APIRouter()


@_api.get("/alarms", responses=responses(401, 422, 503))
async def list_alarms(
    desk: _Desk,
    state: alarms.State = "open",
    device: Annotated[str | None, Query(max_length=NAME_LENGTH)] = None,
    limit: Annotated[int, Query(ge=1, le=alarms.MAX_LIMIT)] = 200,
) -> AlarmList:
    """List open alarms, life first; or closed or all, newest first."""

    async def read(connection: AsyncConnection) -> AlarmList:
        return AlarmList(
            now=to_datetime(desk.clock.now()),
            speed=desk.clock.speed,
            counts=await alarms.count_open(connection),
            alarms=await alarms.list_alarms(connection, state, device=device, limit=limit),
        )

    answer = await desk.ask(read)
    desk.heard.settle(answer.alarms)
    return answer


@_api.get("/unstored", responses=responses(401))
async def list_unstored(desk: _Desk) -> unstored.Calls:
    """List calls for help that were received and are not in the database, which may be away."""
    return desk.heard.waiting(time.monotonic())


@_api.post("/alarms/{alarm_id}/acknowledge", responses=_REFUSED)
async def acknowledge(
    desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: PlainBody | None = None
) -> alarms.Alarm:
    """Take an alarm up."""
    return await _handle(desk, operator, alarm_id, Verb.ACKNOWLEDGE, body)


@_api.post("/alarms/{alarm_id}/assign", responses=_REFUSED)
async def assign(desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: AssignBody) -> alarms.Alarm:
    """Name who of the staff is to see to it."""
    return await _handle(desk, operator, alarm_id, Verb.ASSIGN, body)


@_api.post("/alarms/{alarm_id}/dispatch", responses=_REFUSED)
async def dispatch(desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: DispatchBody) -> alarms.Alarm:
    """Send somebody, or somebody more."""
    return await _handle(desk, operator, alarm_id, Verb.DISPATCH, body)


@_api.post("/alarms/{alarm_id}/arrive", responses=_REFUSED)
async def arrive(
    desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: PlainBody | None = None
) -> alarms.Alarm:
    """Say that who was sent is on site."""
    return await _handle(desk, operator, alarm_id, Verb.ARRIVE, body)


@_api.post("/alarms/{alarm_id}/note", responses=_REFUSED)
async def note(desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: NoteBody) -> alarms.Alarm:
    """Write something into its log."""
    return await _handle(desk, operator, alarm_id, Verb.NOTE, body)


@_api.post("/alarms/{alarm_id}/merge", responses=_REFUSED)
async def merge(desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: MergeBody) -> alarms.Alarm:
    """Close it as one that is seen to with another."""
    return await _handle(desk, operator, alarm_id, Verb.MERGE, body)


@_api.post("/alarms/{alarm_id}/shelve", responses=_REFUSED)
async def shelve(desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: ShelveBody) -> alarms.Alarm:
    """Put it away for a time; a call for help never is."""
    return await _handle(desk, operator, alarm_id, Verb.SHELVE, body)


@_api.post("/alarms/{alarm_id}/unshelve", responses=_REFUSED)
async def unshelve(
    desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: PlainBody | None = None
) -> alarms.Alarm:
    """Put it before staff again."""
    return await _handle(desk, operator, alarm_id, Verb.UNSHELVE, body)


@_api.post("/alarms/{alarm_id}/close", responses=_REFUSED)
async def close(desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: CloseBody) -> alarms.Alarm:
    """Close an alarm with its outcome, and put away what an outage explains."""
    return await _handle(desk, operator, alarm_id, Verb.CLOSE, body)


@_api.post("/alarms/{alarm_id}/reopen", responses=_REFUSED)
async def reopen(
    desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: PlainBody | None = None
) -> alarms.Alarm:
    """Open a closed alarm again; it is then the caller's."""
    return await _handle(desk, operator, alarm_id, Verb.REOPEN, body)


async def _handle(desk: Desk, caller: Caller, alarm_id: int, verb: Verb, body: _Body | None) -> alarms.Alarm:
    """Carry out an order and record it, both or neither."""
    at = desk.clock.now()
    said = body.model_dump() if body else {}

    async def work(connection: AsyncConnection) -> alarms.Alarm:
        async with connection.transaction():
            alarm = await alarms.handle(connection, alarm_id, verb, caller.name, at, **said)
            await trail.record(connection, caller, verb, alarm_id=alarm_id)
            return alarm

    return await desk.ask(work)


@_api.get("/words", responses=responses(401))
async def words(desk: _Desk, caller: _Viewer) -> Words:
    """Name who is asking, the verbs and outcomes for duty staff, and the limits that they are to keep."""
    limits = desk.settings
    return Words(
        operator=caller.name,
        role=caller.role,
        may=may(caller.role),
        verbs=[Word(code=verb, zh=zh) for verb, zh in VERB_ZH.items()],
        outcomes=[Word(code=outcome, zh=OUTCOME_ZH[outcome]) for outcome in OUTCOMES],
        answer_seconds=limits.answer_seconds,
        arrival_seconds=limits.arrival_minutes * 60,
        arrival={prefix: minutes * 60 for prefix, minutes in limits.arrival.items()},
    )


@_open.get("/healthz", responses=responses(503))
async def healthz(desk: _Desk) -> dict[str, str]:
    """Answer 200 if the database can be read, else 503."""
    await desk.ask(alarms.check_health)
    return {"status": "ok"}


async def page(request: Request) -> Response:
    """Serve a file of the page."""
    kind, content = _PAGE[request.scope["path"]]
    return Response(content, media_type=kind)


for _path in _PAGE:
    _open.add_api_route(_path, page, include_in_schema=False)


def _operation(route: APIRoute) -> str:
    """Name an operation as its function is named."""
    return route.name


def create_app(settings: Settings, pool: Pool, *, insecure: bool = False) -> FastAPI:
    """Return the desk's app on a pool that the caller opens and closes; `insecure` asks for no token."""
    app = FastAPI(
        title="carebell duty",
        description="Alarms for duty staff: list, show, acknowledge, dispatch, close. A path or a method that"
        " is not named here is answered 404 `not_found` or 405 `method_not_allowed`, as an `Error` too.",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        generate_unique_id_function=_operation,
    )
    app.state.desk = Desk(pool, settings.clock.clock(), settings.duty, Keys(settings.duty.tokens), insecure)
    app.include_router(_api)
    app.include_router(reading.router, dependencies=_api.dependencies)
    app.include_router(audit.router, dependencies=_api.dependencies)
    events.attach(app, _api.dependencies)
    figures_api.attach(app, settings.duty, _api.dependencies)
    app.include_router(_open)
    dress(app)
    return app
