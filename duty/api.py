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

from duty import alarms, unstored
from duty.answers import dress, responses
from duty.desk import Desk, Pool, make_pool, opened
from duty.handling import NAME_LENGTH, NOTE_LENGTH, OUTCOMES, VERB_ZH, Verb
from schemas.alarms import OUTCOME_ZH, Outcome
from schemas.clock import Moment, to_datetime
from schemas.settings import Settings

__all__ = ["create_app", "make_pool", "opened"]

VERSION: Final = "1.0.0"
"""Version of the API that /openapi.json describes."""

_HERE: Final = FilePath(__file__).parent
_PAGE: Final = {
    "/": ("text/html", (_HERE / "page.html").read_bytes()),
    "/page.js": ("text/javascript", (_HERE / "page.js").read_bytes()),
    "/page.css": ("text/css", (_HERE / "page.css").read_bytes()),
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note: Annotated[str, Field(max_length=NOTE_LENGTH)] = ""
    version: Annotated[int, Field(ge=1, description="refuse if the alarm is not at this version")] | None = (
        None
    )


class AcknowledgeBody(_Body):
    """Take an alarm up; everything is optional, as is the body."""


class DispatchBody(_Body):
    """Send somebody."""

    to: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, description="who is sent")]


class CloseBody(_Body):
    """Say how it ended."""

    outcome: Annotated[Outcome, Field(json_schema_extra={"enum": list(OUTCOMES)})]


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
    verbs: list[Word]
    outcomes: list[Word]


def _desk(request: Request) -> Desk:
    return cast("Desk", request.app.state.desk)


def _operator(request: Request) -> str:
    return _desk(request).operator(request.headers.get("authorization", ""))


_Desk = Annotated[Desk, Depends(_desk)]
_Operator = Annotated[str, Depends(_operator)]
_AlarmId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_BEARER: Final = HTTPBearer(
    auto_error=False,  # documents only: Desk.operator decides
    scheme_name="token",
    description="an operator's token, of [duty.tokens]; `carebell token new NAME` makes one",
)
_api = APIRouter(prefix="/api", dependencies=[Depends(_BEARER), Depends(_operator)])
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


@_api.get("/alarms/{alarm_id}", responses=responses(401, 404, 422, 503))
async def show_alarm(desk: _Desk, alarm_id: _AlarmId) -> alarms.Card:
    """Show an alarm with its log, its person and the contacts."""
    return await desk.ask(lambda connection: alarms.show(connection, alarm_id))


@_api.post("/alarms/{alarm_id}/acknowledge", responses=responses(400, 401, 404, 409, 422, 503))
async def acknowledge(
    desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: AcknowledgeBody | None = None
) -> alarms.Alarm:
    """Take an alarm up."""
    return await _handle(desk, operator, alarm_id, Verb.ACKNOWLEDGE, body or AcknowledgeBody())


@_api.post("/alarms/{alarm_id}/dispatch", responses=responses(400, 401, 404, 409, 422, 503))
async def dispatch(desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: DispatchBody) -> alarms.Alarm:
    """Send somebody, or somebody more."""
    return await _handle(desk, operator, alarm_id, Verb.DISPATCH, body)


@_api.post("/alarms/{alarm_id}/close", responses=responses(400, 401, 404, 409, 422, 503))
async def close(desk: _Desk, operator: _Operator, alarm_id: _AlarmId, body: CloseBody) -> alarms.Alarm:
    """Close an alarm with its outcome."""
    return await _handle(desk, operator, alarm_id, Verb.CLOSE, body)


async def _handle(desk: Desk, operator: str, alarm_id: int, verb: Verb, body: _Body) -> alarms.Alarm:
    at = desk.clock.now()
    said = body.model_dump()
    return await desk.ask(lambda connection: alarms.handle(connection, alarm_id, verb, operator, at, **said))


@_api.get("/words", responses=responses(401))
async def words(operator: _Operator) -> Words:
    """Name who is asking, and the verbs and outcomes for duty staff."""
    return Words(
        operator=operator,
        verbs=[Word(code=verb, zh=zh) for verb, zh in VERB_ZH.items()],
        outcomes=[Word(code=outcome, zh=OUTCOME_ZH[outcome]) for outcome in OUTCOMES],
    )


@_open.get("/healthz", responses=responses(503))
async def healthz(desk: _Desk) -> dict[str, str]:
    """Answer 200 if the database can be read, else 503."""
    await desk.ask(alarms.check_health)
    return {"status": "ok"}


@_open.get("/", include_in_schema=False)
@_open.get("/page.js", include_in_schema=False)
@_open.get("/page.css", include_in_schema=False)
async def page(request: Request) -> Response:
    """Serve a file of the page."""
    kind, content = _PAGE[request.scope["path"]]
    return Response(content, media_type=kind)


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
    app.state.desk = Desk(pool, settings.clock.clock(), settings.duty.tokens, insecure)
    app.include_router(_api)
    app.include_router(_open)
    dress(app)
    return app
