"""Whatever the OpenAPI document allows or forbids is asked of a real desk, which answers as described.

schemathesis makes the requests out of the app's own document: for each operation valid ones and invalid ones,
the same in each run. /api/events is left out: it is a stream without an end. The caller is an admin, so that
every door is open; the limits on requests are raised, for tests/contract/test_access.py has those.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from duty import users
from duty.access import Role
from duty.api import create_app
from duty.desk import make_pool, opened
from ops.parts import Database, free_port
from ops.web import listen, serve_app
from tests.desk import connect, raise_alarm, settings_for

pytestmark = pytest.mark.one_edition

EXAMPLES: Final = 15
KNOWN: Final[dict[str, list[Any]]] = {
    "alarm_id": [1, 2, 5, 6],
    "person_id": [1, 2, 5],
    "device": ["BELL-1", "BAND-1", "BELL-9"],
}
"""What there is of whatever a path names."""
ENDLESS: Final = "/api/events"
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_SETTINGS: Final = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Served:
    """A desk that serves, its document, and the header of an admin."""

    url: str
    document: dict[str, Any]
    headers: dict[str, str]


@contextlib.asynccontextmanager
async def _desk(url: str) -> AsyncIterator[FastAPI]:
    async with opened(make_pool(url)) as pool:
        app = create_app(settings_for(url, tokens={}), pool)
        app.state.desk.requests.burst = app.state.desk.refusals.burst = 1e9
        yield app


async def _fill(url: str) -> str:
    """Raise alarms of each class and return the token of an admin."""
    async with connect(url) as connection:
        for number in range(4):
            await raise_alarm(connection, f"BELL-{number}", name=f"张奶奶{number}", phone="0730-1")
        await raise_alarm(connection, "BAND-1", "hr_high", name="李爷爷")
        await raise_alarm(connection, "BELL-9", "device_silent")
        await users.add(connection, "tests", "赵主任", Role.ADMIN)
        token, _ = await users.new_token(connection, "tests", "赵主任")
    return token


@pytest.fixture
def served(database: Database) -> Iterator[Served]:
    """Give a desk on a port of its own, in a thread of its own, with alarms to ask for."""
    port, ready, found = free_port(), threading.Event(), dict[str, Any]()

    async def serve() -> None:
        async with _desk(database.url) as app:
            found.update(document=app.openapi(), loop=asyncio.get_running_loop(), over=asyncio.Event())
            serving = asyncio.ensure_future(serve_app(app, listen("127.0.0.1", port, "duty")))
            await asyncio.sleep(0)  # it listens now
            ready.set()
            await found["over"].wait()
            serving.cancel()
            await asyncio.wait([serving])

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    token = asyncio.run(_fill(database.url))
    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        assert "loop" in found, "the desk does not start: see the thread's own error"
        yield Served(f"http://127.0.0.1:{port}", found["document"], {"Authorization": f"Bearer {token}"})
    finally:
        if "loop" in found:
            found["loop"].call_soon_threadsafe(found["over"].set)
        thread.join(30)


def operations(served: Served) -> list[APIOperation[Any, Any, Any, Any]]:
    """Return every operation of the document that has an end."""
    schema = schemathesis.openapi.from_dict(served.document)
    found = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        found.append(result.ok())
    return [operation for operation in found if operation.path != ENDLESS]


def ask(served: Served, operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> set[int]:
    """Make requests of an operation, most of them about what there is; return their statuses."""
    statuses: set[int] = set()

    @_SETTINGS
    @given(case=operation.as_strategy(generation_mode=mode), place=st.integers(0, 5))
    def check(case: Case[Any], place: int) -> None:
        for name, known in KNOWN.items():
            if name in case.path_parameters and place < len(known):
                case.path_parameters[name] = known[place]
        response = case.call(base_url=served.url, headers=served.headers)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    check()
    return statuses


def test_every_operation_answers_as_it_is_described(served: Served) -> None:
    """Valid and invalid requests get a status, type, headers and body of the document, and never 5xx."""
    asked: dict[str, set[int]] = {}
    for operation in operations(served):
        for mode in GenerationMode:
            with contextlib.suppress(Unsatisfiable):  # nothing about it can be invalid
                asked.setdefault(operation.label, set()).update(ask(served, operation, mode))
    for label, statuses in asked.items():
        assert statuses - {401, 403, 429}, f"{label} was never let in"
