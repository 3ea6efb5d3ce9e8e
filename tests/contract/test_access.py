"""Who may come in at the desk: roles, tokens that end, refusals that are counted, and the audit log.

The desk is the real one, as `carebell duty` runs it but for the socket; the database is real and is stopped.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from duty import trail, users
from duty.access import Role
from duty.api import create_app
from duty.desk import Desk, make_pool, opened
from duty.keys import keeping
from duty.trail import KINDS_KEPT, writing
from ops.common import require_tokens
from ops.doctor.finding import State
from ops.doctor.installation import check_tokens
from ops.parts import Database
from schemas.errors import UsageError
from store.maintain import maintain
from tests.desk import bearer, migrated, one, raise_alarm, rows, settings_for

pytestmark = pytest.mark.one_edition

OFTEN = 0.05
"""Seconds between two readings of the keys here."""


@dataclass
class Running:
    """A desk that answers, its client and a way to its database."""

    app: FastAPI
    client: httpx.AsyncClient
    connection: AsyncConnection

    @property
    def desk(self) -> Desk:
        """Return what the handlers get."""
        found = self.app.state.desk
        assert isinstance(found, Desk)
        return found

    async def user(self, name: str = "王芳", role: Role = Role.OPERATOR, days: int = 90) -> dict[str, str]:
        """Make a user and return the header that lets them in."""
        await users.add(self.connection, "root", name, role)
        return await self.token(name, days)

    async def token(self, name: str, days: int = 90) -> dict[str, str]:
        """Make one more token of a user and return its header."""
        secret, _ = await users.new_token(self.connection, "root", name, days=days)
        return {"Authorization": f"Bearer {secret}"}

    async def status(self, headers: dict[str, str], path: str = "/api/words") -> int:
        """Return the status of an answer."""
        return (await self.client.get(path, headers=headers)).status_code

    async def until(self, headers: dict[str, str], status: int, path: str = "/api/words") -> httpx.Response:
        """Return the first answer that has this status, within 5 s."""
        async with asyncio.timeout(5):
            while True:
                answer = await self.client.get(path, headers=headers)
                if answer.status_code == status:
                    return answer
                await asyncio.sleep(0.05)

    async def audit(self) -> list[dict[str, Any]]:
        """Return the audit log, oldest first, with what is refused and not written yet."""
        await self.desk.ask(self.desk.refused.write)
        async with self.connection.cursor(row_factory=dict_row) as cursor:
            return await (await cursor.execute("SELECT * FROM audit_log ORDER BY audit_id")).fetchall()


@contextlib.asynccontextmanager
async def running(
    url: str,
    connection: AsyncConnection,
    *,
    tokens: dict[str, str] | None = None,
    address: str = "10.0.0.7",
    every: float = OFTEN,
) -> AsyncIterator[Running]:
    """Give a desk that keeps its keys and writes its log."""
    async with opened(make_pool(url)) as pool:
        app = create_app(settings_for(url, tokens=tokens), pool)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 4711))
        async with (
            keeping(app.state.desk, every),
            writing(app.state.desk),
            httpx.AsyncClient(transport=transport, base_url="http://desk") as client,
        ):
            yield Running(app, client, connection)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as found:
        yield found


@pytest.fixture
async def desk(database: Database, connection: AsyncConnection) -> AsyncIterator[Running]:
    """Give a desk with no token in its settings."""
    async with running(database.url, connection, tokens={}) as found:
        yield found


async def test_a_token_opens_at_once_and_in_its_role(desk: Running) -> None:
    """Who just got a token is let in at once, is named, and is told what the role may."""
    for role in Role:
        headers = await desk.user(f"user of {role}", role)
        words = (await desk.client.get("/api/words", headers=headers)).json()
        assert (words["operator"], words["role"]) == (f"user of {role}", role)
        assert bool(words["may"]) is (role is not Role.VIEWER)
        assert "acknowledge" in words["may"] or role is Role.VIEWER


async def test_a_role_that_is_too_low_is_403_and_changes_nothing(desk: Running) -> None:
    """A viewer sees the list, and neither a card nor a verb; the log of all is a supervisor's."""
    alarm_id = await raise_alarm(desk.connection, name="张奶奶")
    viewer = await desk.user("看", Role.VIEWER)
    operator = await desk.user("值", Role.OPERATOR)
    supervisor = await desk.user("长", Role.SUPERVISOR)
    assert await desk.status(viewer, "/api/alarms") == 200
    for method, path in (
        ("GET", ""),
        *(("POST", f"/{verb}") for verb in ("acknowledge", "dispatch", "close")),
    ):
        body = {"dispatch": {"to": "李强"}, "close": {"outcome": "fall"}}.get(path.strip("/"))
        answer = await desk.client.request(method, f"/api/alarms/{alarm_id}{path}", headers=viewer, json=body)
        assert (answer.status_code, answer.json()["error"]) == (403, "role_too_low"), path
        assert answer.json()["detail_zh"] == "权限不足：需要值班员，您是查看员"
    assert await rows(desk.connection, "SELECT handling FROM alarms") == [("unacknowledged",)]
    assert await desk.status(operator, "/api/audit") == 403
    assert await desk.status(supervisor, "/api/audit") == 200


async def test_what_no_longer_counts_opens_nothing(desk: Running) -> None:
    """Revoked, expired, disabled: each is 401 soon, says why to who holds the token, and stays so."""
    revoked, expired, disabled = [await desk.user(name) for name in ("a", "b", "c")]
    for headers in (revoked, expired, disabled):
        assert await desk.status(headers) == 200
    [token] = [each for each in await users.list_tokens(desk.connection, 10) if each.name == "a"]
    assert await users.revoke(desk.connection, "root", token.token_id) == [token.token_id]
    await desk.connection.execute(
        "UPDATE user_tokens SET expires_at = clock_timestamp() + interval '0.3 seconds' WHERE name = 'b'"
    )
    await users.disable(desk.connection, "root", "c")
    for headers, said in ((revoked, "作废"), (expired, "过期"), (disabled, "停用")):
        answer = await desk.until(headers, 401)
        assert said in answer.json()["detail_zh"]
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    await users.enable(desk.connection, "root", "c")
    assert await desk.status(disabled) == 200


async def test_another_role_counts_soon(desk: Running) -> None:
    """Who is made a supervisor is one with the token that they have."""
    headers = await desk.user("王芳", Role.VIEWER)
    assert await desk.status(headers, "/api/audit") == 403
    await users.set_role(desk.connection, "root", "王芳", Role.SUPERVISOR)
    await desk.until(headers, 200, "/api/audit")


async def test_who_was_let_in_stays_in_without_a_database(
    database: Database, connection: AsyncConnection
) -> None:
    """A database that is away locks nobody out, also one who has not asked since the desk read the keys."""
    async with running(database.url, connection, tokens={}) as desk:
        used, unused = await desk.user("a"), await desk.user("b")
        ending = await desk.user("c")
        await connection.execute(
            "UPDATE user_tokens SET expires_at = clock_timestamp() + interval '4 seconds' WHERE name = 'c'"
        )
        assert await desk.status(used) == 200
        await asyncio.sleep(5 * OFTEN)
        database.stop()
        try:
            assert [await desk.status(each) for each in (used, unused, ending)] == [200] * 3
            assert await desk.status(used, "/api/alarms") == 503
            answer = await desk.client.get("/api/words", headers={"Authorization": "Bearer nobody-knows"})
            assert (answer.status_code, answer.json()["error"]) == (503, "database_away"), (
                "it may be a new one"
            )
            assert await desk.status({}) == 401, "no token is no question for a database"
            await asyncio.sleep(4)
            assert await desk.status(ending) == 401, "expiry needs no database"
        finally:
            database.start()
        await desk.until({"Authorization": "Bearer nobody-knows"}, 401)


async def test_a_desk_that_starts_without_a_database_lets_users_in_when_it_is_back(
    database: Database, connection: AsyncConnection
) -> None:
    """Started first, it starts, lets in who stands in the settings, and the others as soon as it can know."""
    await users.add(connection, "root", "王芳", Role.VIEWER)
    secret, _ = await users.new_token(connection, "root", "王芳")
    headers = {"Authorization": f"Bearer {secret}"}
    settings = settings_for(database.url, tokens={})
    await require_tokens(settings, insecure=False)
    database.stop()
    try:
        await require_tokens(settings, insecure=False)
        async with running(database.url, connection) as desk:
            assert await desk.status(bearer("李强")) == 200
            assert await desk.status(headers) == 503
            database.start()
            await desk.until(headers, 200)
    finally:
        with contextlib.suppress(psycopg.Error):
            database.restart()


async def test_without_users_and_tokens_there_is_no_desk(
    database: Database, connection: AsyncConnection
) -> None:
    """Nobody in the settings and nobody in the database: the command says what to do, unless told so."""
    nobody, somebody = settings_for(database.url, tokens={}), settings_for(database.url)
    with pytest.raises(UsageError, match="carebell user add"):
        await require_tokens(nobody, insecure=False)
    await require_tokens(nobody, insecure=True)
    await require_tokens(somebody, insecure=False)
    assert (await check_tokens(nobody)).state is State.WRONG
    assert (await check_tokens(somebody)).state is State.OK
    await users.add(connection, "root", "王芳", Role.OPERATOR)
    await require_tokens(nobody, insecure=False)
    assert (await check_tokens(nobody)).state is State.WRONG, "a user without a token opens nothing"
    await users.new_token(connection, "root", "王芳", days=7)
    found = await check_tokens(nobody)
    assert (found.state, found.found) == (State.WARNING, "0 in the settings, 1 of users")
    assert "1 end within a week" in found.advice
    await users.new_token(connection, "root", "王芳", days=90)
    await users.revoke(connection, "root", 1)
    assert (await check_tokens(nobody)).state is State.OK
    await users.disable(connection, "root", "王芳")
    with pytest.raises(UsageError, match="there is no user"):
        await require_tokens(nobody, insecure=False)


@pytest.mark.no_tables
async def test_a_database_without_tables_has_no_users(database: Database) -> None:
    """Before the first migration nobody can come in, and the command says so."""
    with pytest.raises(UsageError, match="there is no user"):
        await require_tokens(settings_for(database.url, tokens={}), insecure=False)


async def test_who_asks_too_often_waits(desk: Running) -> None:
    """Above the limit it is 429 with the time to wait; others are let in, and so is who waited."""
    hasty, other = await desk.user("a"), await desk.user("b")
    desk.desk.requests.burst = 3
    desk.desk.requests.rate = 2.0
    assert [await desk.status(hasty) for _ in range(4)] == [200, 200, 200, 429]
    answer = await desk.client.get("/api/words", headers=hasty)
    assert (answer.json()["error"], answer.headers["Retry-After"]) == ("too_many", "1")
    assert "1 秒后再试" in answer.json()["detail_zh"]
    assert await desk.status(other) == 200
    await asyncio.sleep(1)
    assert await desk.status(hasty) == 200


async def test_the_limit_is_generous(desk: Running) -> None:
    """A page that looks at a hundred alarms at once is not stopped."""
    headers = await desk.user()
    assert await desk.status(headers) == 200
    answers = await asyncio.gather(*(desk.status(headers) for _ in range(99)))
    assert set(answers) == {200}


async def test_a_flood_of_bad_tokens_is_stopped_and_locks_nobody_out(desk: Running) -> None:
    """After ten refusals an address gets 429, without a question to the database; who is known gets in."""
    known = await desk.user("a")
    assert await desk.status(known) == 200
    answers = [await desk.status({"Authorization": f"Bearer bad-{number}"}) for number in range(30)]
    assert answers == [401] * 10 + [429] * 20
    answer = await desk.client.get("/api/words")
    assert 1 <= int(answer.headers["Retry-After"]) <= 5
    assert await desk.status(known) == 200
    fresh = await desk.token("a")
    await desk.until(fresh, 200)


async def test_a_good_new_token_is_not_counted_as_refused(
    database: Database, connection: AsyncConnection
) -> None:
    """A shift of twenty who log in behind one proxy is no flood, also if memory has none of their tokens."""
    async with running(database.url, connection, tokens={}, every=3600) as desk:
        headers = [await desk.user(f"user {number}") for number in range(20)]
        assert {await desk.status(each) for each in headers} == {200}


async def test_strangers_cannot_keep_the_database_busy(desk: Running) -> None:
    """From however many addresses they come, the database is asked for unknown keys only so often."""
    asked = 0
    ask = desk.desk.keys.ask

    async def counted(connection: AsyncConnection, digest: bytes) -> Any:  # noqa: ANN401 - as `ask`
        nonlocal asked
        asked += 1
        return await ask(connection, digest)

    desk.desk.keys.ask = counted  # type: ignore[method-assign]  # it counts and does the same
    desk.desk.refusals.burst = 10_000
    answers = [await desk.status({"Authorization": f"Bearer bad-{number}"}) for number in range(200)]
    assert answers[0] == 401
    assert answers[-1] == 429
    assert asked < 150


NO_TOKENS = ["", "Bearer", "Bearer ", "bearer\t", "Basic YTpi", "Bearer \xff", "Bearer " + "x" * 60_000]


async def test_no_header_brings_the_desk_down(desk: Running) -> None:
    """Whatever stands in the header, it is refused, and never a fault of ours."""
    for header in NO_TOKENS:
        headers = {"Authorization": header.encode("latin-1")}
        answer = await desk.client.get("/api/words", headers=headers)  # type: ignore[arg-type]  # raw bytes
        assert answer.status_code == 401, header[:20]
    secret = (await desk.user())["Authorization"].removeprefix("Bearer ")
    assert await desk.status({"Authorization": f"bEaReR   {secret} "}) == 200
    assert await desk.status({"Authorization": secret}) == 401
    assert await desk.status({"Authorization": f"Basic {secret}"}) == 401


async def test_only_digests_are_stored(desk: Running) -> None:
    """Nobody who reads the database learns a token, nor does the log tell one."""
    secret = (await desk.user())["Authorization"].removeprefix("Bearer ")
    assert len(secret) >= 43
    await desk.status({"Authorization": f"Bearer {secret}"})
    await desk.status({"Authorization": f"Bearer {secret}x"})
    await desk.audit()
    for table in ("users", "user_tokens", "audit_log"):
        assert secret not in json.dumps(await rows(desk.connection, f"SELECT * FROM {table}"), default=str)
    [(size,)] = await rows(desk.connection, "SELECT octet_length(digest) FROM user_tokens")
    assert size == 32


async def test_every_deed_and_every_read_of_personal_data_is_recorded(desk: Running) -> None:
    """Who, in which role, what, about which alarm, from where: for each order and each card."""
    alarm_id = await raise_alarm(desk.connection, name="张奶奶")
    headers = await desk.user()
    await desk.client.get(f"/api/alarms/{alarm_id}", headers=headers)
    await desk.client.post(f"/api/alarms/{alarm_id}/acknowledge", headers=headers)
    await desk.client.get("/api/alarms", headers=headers)
    lines = [line for line in await desk.audit() if line["actor"] == "王芳"]
    told = [
        (line["action"], line["alarm_id"], line["status"], line["role"], line["address"]) for line in lines
    ]
    assert told == [
        ("show_alarm", alarm_id, 200, "operator", "10.0.0.7"),
        ("acknowledge", alarm_id, 200, "operator", "10.0.0.7"),
    ]


async def test_no_deed_without_its_line(desk: Running) -> None:
    """If the audit log cannot be written, the order is not carried out and the card is not shown."""
    alarm_id = await raise_alarm(desk.connection, name="张奶奶", phone="0730-1234567")
    headers = await desk.user()
    await desk.connection.execute("ALTER TABLE audit_log ADD CHECK (actor <> '王芳')")
    taken = await desk.client.post(f"/api/alarms/{alarm_id}/acknowledge", headers=headers)
    shown = await desk.client.get(f"/api/alarms/{alarm_id}", headers=headers)
    assert (taken.status_code, shown.status_code) == (500, 500)
    assert "0730" not in shown.text
    assert await rows(desk.connection, "SELECT handling, version FROM alarms") == [("unacknowledged", 1)]
    assert await rows(desk.connection, "SELECT verb FROM alarm_log WHERE actor = '王芳'") == []


async def test_refusals_are_recorded_and_counted(desk: Running) -> None:
    """What was refused stands in the log with its reason, those that are alike in one line."""
    alarm_id = await raise_alarm(desk.connection)
    operator, viewer = await desk.user("值"), await desk.user("看", Role.VIEWER)
    where = f"/api/alarms/{alarm_id}"
    for _ in range(3):
        await desk.client.post(f"{where}/close", headers=operator, json={"outcome": "fall"})
    await desk.client.post("/api/alarms/999999/acknowledge", headers=operator)
    await desk.client.post(f"{where}/dispatch", headers=operator, json={})
    await desk.client.post(f"{where}/acknowledge", headers=viewer)
    await desk.client.post(f"{where}/acknowledge", headers=operator, content=b"x" * 20_000)
    for _ in range(15):
        await desk.client.get("/api/alarms", headers={"Authorization": "Bearer bad"})
    await desk.client.get("/api/..%2f%1b[31m")
    lines = [line for line in await desk.audit() if line["status"] >= 400]
    told = {
        (line["actor"], line["status"], line["detail"]["error"]): (line["alarm_id"], line["detail"]["count"])
        for line in lines
    }
    assert told == {
        ("值", 409, "illegal_move"): (alarm_id, 3),
        ("值", 404, "unknown_alarm"): (999_999, 1),
        ("值", 422, "bad_request"): (alarm_id, 1),
        ("看", 403, "role_too_low"): (alarm_id, 1),
        ("", 413, "too_large"): (alarm_id, 1),
        ("", 401, "unauthorized"): (None, 10),
        ("", 429, "too_many"): (None, 5),
        ("", 404, "not_found"): (None, 1),
    }
    assert {line["address"] for line in lines} == {"10.0.0.7"}
    assert all((line["action"] + line["detail"].get("first", "")).isprintable() for line in lines)
    assert [line["action"] for line in lines if line["status"] == 409] == [f"POST {where}/close"]
    assert len(await desk.audit()) == len(await desk.audit()), "what is written is counted no more"


async def test_a_flood_of_refusals_does_not_fill_the_disk(desk: Running) -> None:
    """Thousands of different refusals are a bounded number of lines; one says how many more there were."""
    headers = await desk.user()
    desk.desk.requests.burst = desk.desk.refusals.burst = 100_000
    for number in range(KINDS_KEPT + 300):
        await desk.client.get(f"/api/alarms/{number + 10_000}", headers=headers)
    for number in range(1000):
        await desk.client.get(f"/api/{number}")
    lines = [line for line in await desk.audit() if "count" in line["detail"]]
    assert len(lines) == KINDS_KEPT + 1
    [beyond] = [line for line in lines if line["detail"]["error"] == "not told apart"]
    assert sum(line["detail"]["count"] for line in lines) == KINDS_KEPT + 300 + 1000
    assert beyond["detail"]["count"] == 300 + 1000


async def test_refusals_outlive_a_database_that_is_away(
    database: Database, connection: AsyncConnection
) -> None:
    """What is refused meanwhile is counted on and written when the database is back."""
    async with running(database.url, connection, tokens={}) as desk:
        database.stop()
        try:
            for _ in range(5):
                assert await desk.status({}) == 401
            with pytest.raises(Exception, match="database"):
                await desk.desk.ask(desk.desk.refused.write)
        finally:
            database.start()
        await desk.until({"Authorization": "Bearer unknown"}, 401)
    async with migrated(database.url) as again:
        line = await one(again, "SELECT * FROM audit_log WHERE status = 401")
    assert line["detail"]["count"] >= 5, "the end of the desk writes what is counted"


async def test_the_audit_log_cannot_be_changed(database: Database, desk: Running) -> None:
    """No line is changed or taken out, until it is older than three years; then maintenance does it."""
    await desk.user()
    for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            await desk.connection.execute(statement.encode())
    await desk.connection.execute(
        "INSERT INTO audit_log (at, actor, role, action, status, address)"
        " SELECT clock_timestamp() - make_interval(years => age), 'x', '', 'old', 0, ''"
        " FROM (VALUES (1), (2), (4)) AS t (age)"
    )
    async with migrated(database.url) as other:
        await maintain(other, settings_for("").history, (await now(other)), lambda *_: None)
    assert await rows(desk.connection, "SELECT count(*) FROM audit_log WHERE action = 'old'") == [(2,)]
    assert await rows(desk.connection, "SELECT count(*) FROM audit_log WHERE action <> 'old'") == [(2,)]


async def now(connection: AsyncConnection) -> Any:  # noqa: ANN401 - a time
    """Return the server's time."""
    return (await one(connection, "SELECT clock_timestamp() AS now"))["now"]


async def test_supervisors_read_the_audit_log_in_pages(desk: Running) -> None:
    """Newest first, so many at a time, and reading it is a line in it."""
    alarm_id = await raise_alarm(desk.connection)
    operator, supervisor = await desk.user("值"), await desk.user("长", Role.SUPERVISOR)
    await desk.client.post(f"/api/alarms/{alarm_id}/acknowledge", headers=operator)
    for _ in range(4):
        await desk.client.get(f"/api/alarms/{alarm_id}", headers=operator)
    first = (await desk.client.get("/api/audit?limit=3", headers=supervisor)).json()["lines"]
    assert [line["action"] for line in first] == ["show_alarm"] * 3
    before = first[-1]["audit_id"]
    then = (await desk.client.get(f"/api/audit?limit=2&before={before}", headers=supervisor)).json()["lines"]
    assert [line["action"] for line in then] == ["show_alarm", "acknowledge"]
    newest = (await desk.client.get("/api/audit?limit=1", headers=supervisor)).json()["lines"]
    assert (newest[0]["action"], newest[0]["actor"]) == ("list_audit", "长")
    for query in ("limit=0", "limit=1001", "before=0", f"before={2**63}", "before=x"):
        assert await desk.status(supervisor, f"/api/audit?{query}") == 422


async def test_a_proxy_names_the_client_only_with_an_address(
    database: Database, connection: AsyncConnection
) -> None:
    """What a proxy hands on as the client's address is not believed if it is none."""
    async with running(database.url, connection, tokens={}, address="<script>") as desk:
        await desk.status({})
        [line] = await desk.audit()
        assert line["address"] == ""


async def test_since_is_answered_by_an_index(connection: AsyncConnection) -> None:
    """However long the log, its newest lines and those of a day are found without reading the rest."""
    await connection.execute(
        "INSERT INTO audit_log (at, actor, role, action, status, address)"
        " SELECT clock_timestamp() - make_interval(mins => 100000 - n), 'x', 'viewer', 'list', 200, ''"
        " FROM generate_series(1, 100000) AS n"
    )
    await connection.execute("ANALYZE audit_log")
    day = (await one(connection, "SELECT clock_timestamp() - interval '1 day' AS day"))["day"]
    assert len(await trail.read_since(connection, day, 10_000)) == 1440
    for query, values in (
        ("audit_since", {"since": day, "limit": 200}),
        ("audit_before", {"before": 5000, "limit": 100}),
    ):
        plan = await (
            await connection.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + trail._SQL[query], values)
        ).fetchone()
        assert plan
        found = plan[0][0]["Plan"]
        assert found["Shared Hit Blocks"] + found["Shared Read Blocks"] < 100, query
