"""Every answer's dress, and every error as JSON.

Whatever goes wrong is answered as an `Error`; `responses` documents which status can bear which names.
"""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duty.access import RoleTooLowError
from duty.alarms import StaleVersionError, UnknownAlarmError
from duty.door import TooManyError
from duty.feed import FeedClosedError, FeedFullError
from duty.handling import BadOrderError, IllegalMoveError, NotAllowedError
from duty.keys import UnauthorizedError
from duty.people import UnknownDeviceError, UnknownPersonError
from duty.trail import note_refusal
from schemas.errors import CarebellError, UsageError, WeatherError

MAX_BODY: Final = 16_384
"""Longest request body in bytes; the longest note fits several times."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Sent with every answer: nothing inline, nothing from elsewhere, no framing, no referrer, no copy kept."""

_ERRORS: Final[list[tuple[type[CarebellError], int, str]]] = [
    (RoleTooLowError, 403, "role_too_low"),
    (TooManyError, 429, "too_many"),
    (FeedClosedError, 503, "feed_closed"),
    (FeedFullError, 503, "feed_full"),
    (BadOrderError, 422, "bad_request"),
    (UnknownAlarmError, 404, "unknown_alarm"),
    (UnknownPersonError, 404, "unknown_person"),
    (UnknownDeviceError, 404, "unknown_device"),
    (IllegalMoveError, 409, "illegal_move"),
    (NotAllowedError, 409, "not_allowed"),
    (StaleVersionError, 409, "stale_version"),
    (WeatherError, 503, "database_away"),
    (UsageError, 503, "database_not_ready"),
]


_DOCUMENTED: Final[dict[int, dict[str, Any]]] = {
    400: {"description": "`bad_request`: the body is not UTF-8"},
    401: {
        "description": "`unauthorized`: no token, or none that counts",
        "headers": {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    },
    403: {
        "description": "`forbidden`: a script or a form of another site;"
        " `role_too_low`: the user is known and may not do this"
    },
    404: {
        "description": "`unknown_alarm`: no alarm has this number; `unknown_person`: nobody has it;"
        " `unknown_device`: no device is called so"
    },
    409: {
        "description": "`illegal_move`: the alarm's state does not allow it, or somebody was first;"
        " `not_allowed`: something beside its state forbids it;"
        " `stale_version`: the alarm has changed since it was looked at"
    },
    413: {"description": f"`too_large`: the body is over {MAX_BODY} bytes"},
    422: {"description": "`bad_request`: something is missing, unknown, out of range or not plain text"},
    429: {
        "description": "`too_many`: more requests than are let pass; again after `Retry-After` seconds",
        "headers": {"Retry-After": {"schema": {"type": "string", "pattern": "^[1-9][0-9]*$"}}},
    },
    500: {"description": "`internal`: a fault of carebell; the server's log says more"},
    503: {
        "description": "`database_away`: try again, and look first whether the order was carried out;"
        " `database_not_ready`: the database lacks carebell's tables;"
        " `feed_closed`: no live changes at the moment; `feed_full`: too many desks"
    },
}
_ALWAYS: Final = (403, 413, 500)


class Error(BaseModel):
    """Why a request was not carried out."""

    error: str = Field(description="the name, for programs")
    detail: str = Field(description="a sentence for people")
    detail_zh: str = Field(description="a sentence for duty staff")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the errors with these statuses, and those that any request can meet.

    Who must say who they are may have to wait, or a database must be asked that is away.
    """
    asked = (429, 503) if HTTPStatus.UNAUTHORIZED in statuses else ()
    return {status: {"model": Error, **_DOCUMENTED[status]} for status in (*statuses, *asked, *_ALWAYS)}


class Guard:
    """Stand before the app: bound the body, refuse other sites' scripts, send the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body counted and its answer dressed."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})  # here the request leaves who asks and what is refused
        read = 0

        async def receive_bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MAX_BODY:
                raise HTTPException(413)
            return message

        async def send_dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                note_refusal(scope, message["status"])
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        if refusal:
            scope["state"]["refused"] = _name_of(refusal.status_code)
        await (refusal or self.app)(scope, receive_bounded, send_dressed)

    @staticmethod
    def _refusal(method: str, headers: Headers) -> JSONResponse | None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return _http_error(413)
        # Browsers say where a request comes from: a link to the page may stand anywhere, no script or form.
        elsewhere = headers.get("sec-fetch-site") in {"cross-site", "same-site"}
        followed = headers.get("sec-fetch-mode") == "navigate" and method == "GET"
        return _http_error(403) if elsewhere and not followed else None


def dress(app: FastAPI) -> None:
    """Put the guard before `app` and answer all its errors."""
    app.add_middleware(Guard)
    app.add_exception_handler(CarebellError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_our_fault)


def _error(status: int, name: str, detail: str, detail_zh: str, **headers: str) -> JSONResponse:
    answer = Error(error=name, detail=detail, detail_zh=detail_zh)
    return JSONResponse(answer.model_dump(), status, headers)


async def _on_refusal(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, UnauthorizedError):
        request.state.refused = error.name
        return _error(401, "unauthorized", str(error), error.zh, **{"WWW-Authenticate": "Bearer"})
    for family, status, name in _ERRORS:
        if isinstance(error, family):
            # The driver's own words may name hosts and users: they are not for the network.
            detail = "the database is away or too busy: try again" if family is WeatherError else str(error)
            request.state.refused = name
            later = {"Retry-After": str(error.wait)} if isinstance(error, TooManyError) else {}
            said_zh = getattr(error, "zh", "") or "服务器出错，请联系维护人员"
            return _error(status, name, detail, said_zh, **later)
    raise error


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    request.state.refused = "bad_request"
    lines = error.errors() if isinstance(error, RequestValidationError) else []
    said = "; ".join(f"{'.'.join(str(part) for part in line['loc'])}: {line['msg']}" for line in lines)
    return _error(422, "bad_request", said, "请求内容有误")


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    request.state.refused = _name_of(status)
    return _http_error(status)


async def _on_our_fault(_: Request, error: Exception) -> JSONResponse:
    del error  # the server logs it; its words are not for the network
    answer = _error(500, "internal", "carebell failed at this request", "服务器出错，请联系维护人员")
    answer.headers.update(HEADERS)  # this answer alone does not pass the guard
    return answer


def _name_of(status: int) -> str:
    return {413: "too_large"}.get(status, HTTPStatus(status).name.lower())


def _http_error(status: int) -> JSONResponse:
    said = {413: f"a body has at most {MAX_BODY} bytes", 403: "requests from other sites are refused"}
    return _error(status, _name_of(status), said.get(status, HTTPStatus(status).phrase), "请求被拒绝")
