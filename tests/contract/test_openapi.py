"""The published OpenAPI document against the desk as it runs: every answer of the desk is described."""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from psycopg import AsyncConnection

from docs.contracts import HERE
from duty import users
from duty.access import Role
from duty.answers import MAX_BODY
from duty.api import create_app
from duty.desk import make_pool, opened
from ops.parts import Database
from tests.desk import bearer, migrated, raise_alarm, repeat, settings_for

CONTRACT: dict[str, Any] = json.loads((HERE / "openapi.json").read_text("utf-8"))
OPERATIONS = {
    name: (method.upper(), path, operation)
    for path, operations in CONTRACT["paths"].items()
    for method, operation in operations.items()
    for name in [operation["operationId"]]
    if name != "events"  # an answer without an end: tests/contract/test_feed.py
}
POSTS: dict[str, dict[str, Any]] = {
    "acknowledge": {},
    "assign": {"to": "赵敏"},
    "note": {"note": "女儿在路上"},
    "dispatch": {"to": "李强"},
    "arrive": {},
    "shelve": {"minutes": 5},
    "unshelve": {},
    "close": {"outcome": "fall"},
    "reopen": {},
    "merge": {"parent": 2},
}
"""What is done about an alarm from its beginning to its end, into the second one."""
ASKED = {"list_people": {"query": "张"}, "list_devices": {"query": "BELL"}, "figures": {"month": "2026-03"}}
"""What must be said to be told anything."""
OF_SUPERVISORS = ("list_audit", "figures")
OF_DATABASE = ["list_alarms", "show_alarm", "show_person", "show_device", "healthz", *POSTS]
ASK_WHO = [name for name, (_, path, _) in OPERATIONS.items() if path.startswith("/api/")]
ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}


class Caller:
    """Call operations by their published names, and hold every answer against its description."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.seen: dict[str, set[str]] = defaultdict(set)

    async def call(
        self,
        name: str,
        number: int = 1,
        device: str = "BELL-1",
        **request: Any,  # noqa: ANN401 - as httpx
    ) -> httpx.Response:
        """Send a request in 王芳's name, unless it says otherwise, and check what comes back."""
        method, path, operation = OPERATIONS[name]
        request = {"headers": bearer(), "params": ASKED.get(name), **request}
        whole = path.format(alarm_id=number, person_id=number, device=device)
        answer = await self.client.request(method, whole, **request)
        described = operation["responses"].get(str(answer.status_code))
        assert described, f"{name} answers {answer.status_code}, which is not described"
        (kind, content), *others = described["content"].items()
        assert not others
        assert answer.headers["Content-Type"] == kind
        assert answer.headers.keys() >= {header.lower() for header in described.get("headers", {})}
        schema = {**content["schema"], "components": CONTRACT["components"]}
        Draft202012Validator(schema).validate(answer.json())
        if answer.is_error:
            assert f"`{answer.json()['error']}`" in described["description"]
        self.seen[name].add(str(answer.status_code))
        return answer


@contextlib.asynccontextmanager
async def running(url: str) -> AsyncIterator[tuple[FastAPI, Caller]]:
    """Give a desk and a caller of it."""
    async with opened(make_pool(url)) as pool:
        app = create_app(settings_for(url), pool)
        app.state.desk.requests.burst = app.state.desk.refusals.burst = app.state.desk.strangers.burst = (
            10_000
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
            yield app, Caller(client)


async def test_the_desk_serves_the_published_document(database: Database) -> None:
    """Who asks the desk itself for its description gets the published one."""
    async with running(database.url) as (_, caller):
        assert (await caller.client.get("/openapi.json")).json() == CONTRACT


@pytest.mark.no_tables
async def test_every_answer_is_described_and_every_description_is_true(database: Database) -> None:
    """Asked rightly and in each wrong way, every operation gives just the answers described for it."""
    async with running(database.url) as (app, caller):
        await ask_without_tables(caller)
        async with migrated(database.url) as connection:
            alarm_id, other = (
                await raise_alarm(connection, kind="hr_high", name="张奶奶"),
                await raise_alarm(connection, "BELL-2"),
            )
            await ask_wrongly(caller, other)
            await ask_too_often(app, caller)
            await ask_as_supervisor(caller, connection)
            await ask_rightly(caller, alarm_id)
            await ask_too_late(caller, alarm_id)
            await caller.call("acknowledge", other)
            await repeat(connection, other)
            stale = await caller.call("close", other, json={**POSTS["close"], "version": 1})
            assert stale.json()["error"] == "stale_version"
        app.state.desk = None  # whatever the operation does, it fails
        for name in OPERATIONS:
            await caller.call(name, json=POSTS.get(name))
    for name, (_, _, operation) in OPERATIONS.items():
        assert caller.seen[name] == set(operation["responses"]), name


async def test_an_order_lost_with_the_database_is_described_too() -> None:
    """With no database to be reached, the answers are those that the document describes."""
    async with running("postgresql://127.0.0.1:1/none") as (_, caller):
        answers = await asyncio.gather(*(caller.call(name, json=POSTS.get(name)) for name in OF_DATABASE))
    assert {answer.json()["error"] for answer in answers} == {"database_away"}


async def ask_without_tables(caller: Caller) -> None:
    """Ask before the database is migrated."""
    for name in OF_DATABASE:
        assert (await caller.call(name, json=POSTS.get(name))).status_code == 503
    for name in ASK_WHO:
        stranger = {"Authorization": "Bearer perhaps-a-new-one"}
        assert (await caller.call(name, headers=stranger, json=POSTS.get(name))).status_code == 503


async def ask_wrongly(caller: Caller, alarm_id: int) -> None:
    """Ask in every way that is refused, whatever the alarm's state is."""
    for name, (_, path, _) in OPERATIONS.items():
        if path.startswith("/api/"):
            await caller.call(name, alarm_id, headers={})
        await caller.call(name, alarm_id, headers={**bearer(), **ELSEWHERE})
        await caller.call(name, alarm_id, content=b"x" * (MAX_BODY + 1))
        if "alarm_id" in path:
            await caller.call(name, 0)
            await caller.call(name, 999_999, json=POSTS.get(name))
    for name in ("list_alarms", "list_people", "list_devices"):
        assert (await caller.call(name, params={**ASKED.get(name, {}), "limit": 0})).status_code == 422
    for name, number, device in (
        ("show_person", 999_999, ""),
        ("show_device", 1, "NOBODY"),
        ("show_history", 1, "NOBODY"),
    ):
        assert (await caller.call(name, number, device)).status_code == 404
    assert (await caller.call("show_person", 0)).status_code == 422
    for name in ("show_device", "show_history"):
        assert (await caller.call(name, device="B" * 200)).status_code == 422
    await caller.call("close", alarm_id, json={"outcome": "cleared"})
    for name in POSTS:
        headers = {**bearer(), "Content-Type": "application/json"}
        answer = await caller.call(name, alarm_id, content=b'{"note": "\xff"}', headers=headers)
        assert answer.status_code == 400
    for name in ("dispatch", "close"):
        assert (await caller.call(name, alarm_id, json=POSTS[name])).json()["error"] == "illegal_move"


async def ask_too_often(app: FastAPI, caller: Caller) -> None:
    """Ask when nothing more is let pass."""
    door = app.state.desk.requests
    burst, door.burst = door.burst, 0
    for name in ASK_WHO:
        assert (await caller.call(name, json=POSTS.get(name))).json()["error"] == "too_many"
    door.burst = burst


async def ask_as_supervisor(caller: Caller, connection: AsyncConnection) -> None:
    """Ask for what only a supervisor may see; 王芳 may not."""
    for name in OF_SUPERVISORS:
        assert (await caller.call(name)).json()["error"] == "role_too_low"
    await users.add(connection, "root", "班长", Role.SUPERVISOR)
    secret, _ = await users.new_token(connection, "root", "班长")
    supervisor = {"Authorization": f"Bearer {secret}"}
    for name, wrong in zip(OF_SUPERVISORS, ({"limit": 0}, {"month": "2026-13"}), strict=True):
        assert (await caller.call(name, headers=supervisor)).status_code == 200
        assert (await caller.call(name, headers=supervisor, params=wrong)).status_code == 422


async def ask_rightly(caller: Caller, alarm_id: int) -> None:
    """Take an alarm through its life, and look at all that can be looked at."""
    for name, body in POSTS.items():
        assert (await caller.call(name, alarm_id, json=body)).status_code == 200
    looks = [
        name for name, (method, _, _) in OPERATIONS.items() if method == "GET" and name not in OF_SUPERVISORS
    ]
    for look in looks:
        assert (await caller.call(look, alarm_id)).status_code == 200


async def ask_too_late(caller: Caller, alarm_id: int) -> None:
    """Ask for what somebody has done already."""
    seen_before = {name: {**POSTS[name], "version": 1} for name in ("note", "reopen")}
    for name, body in {**POSTS, **seen_before}.items():
        assert (await caller.call(name, alarm_id, json=body)).status_code == 409
