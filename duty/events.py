"""GET /api/events: the feed as an answer that does not end, server-sent events as the HTML standard has them.

Rules of this file: a stream that ends, for whatever reason, is given back to the feed at once.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.params import Depends as Dependency
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from duty.access import Caller, Role, allowed
from duty.answers import responses
from duty.desk import Desk
from duty.feed import Feed, Refused, Subscriber
from duty.keys import digest_of, token_of

LAST_WORD: Final = 0.2
"""Seconds for which a stream may end in order; one that is stuck is cut."""


class EventStream(StreamingResponse):
    """An answer that goes on until the stream is over or its reader has gone."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, reader: Subscriber) -> None:
        """Take over a stream; it is given back when the answer ends."""
        super().__init__(reader.pieces(), headers={"X-Accel-Buffering": "no"})
        self._feed = feed
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, until it ends; a reader that has gone is noticed although nothing is sent."""
        del scope
        sending = asyncio.ensure_future(self.stream_response(send))
        leaving = asyncio.ensure_future(self.listen_for_disconnect(receive))
        over = asyncio.ensure_future(self._reader.over.wait())
        try:
            await asyncio.wait((sending, leaving, over), return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                await asyncio.wait((sending,), timeout=LAST_WORD)
        finally:
            self._feed.leave(self._reader)
            for task in (sending, leaving, over):
                task.cancel()
            await asyncio.wait((sending, leaving, over))
        with contextlib.suppress(OSError, asyncio.CancelledError):  # it has gone, or was stuck and is cut
            sending.result()


def judge_of(desk: Desk) -> Refused:
    """Return who is refused by now, as far as memory has the keys: a tick does not wait for the database."""

    def is_refused(authorization: str) -> bool:
        key = desk.keys.find(digest_of(token_of(authorization)))
        return not desk.insecure and (key is None or bool(key.refused))

    return is_refused


def _feed(request: Request) -> Feed:
    return cast("Feed", request.app.state.feed)


router = APIRouter(prefix="/api")
_STREAM: Final[dict[str, Any]] = {
    "description": "server-sent events `tick`, `alarms` and `reset`, without an end",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


@router.get(
    "/events",
    status_code=200,
    response_class=EventStream,
    responses={200: _STREAM, **responses(401, 422, 429, 503)},
)
async def events(
    request: Request,
    feed: Annotated[Feed, Depends(_feed)],
    caller: Annotated[Caller, Depends(allowed(Role.VIEWER))],
    last_event_id: Annotated[str, Header(max_length=100)] = "",
) -> EventStream:
    """Tell of each change as it happens: docs/adr/022-live-changes.md says what each event has."""
    reader = feed.subscribe(caller.name, request.headers.get("authorization", ""), last_event_id)
    return EventStream(feed, reader)


def attach(app: FastAPI, dependencies: Sequence[Dependency]) -> None:
    """Give the app its feed; nobody can read it before `duty.follow.following` runs."""
    desk: Desk = app.state.desk
    app.state.feed = Feed(desk.clock, judge_of(desk), desk.heard.settle)
    app.include_router(router, dependencies=dependencies)
