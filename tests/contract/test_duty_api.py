"""The desk's API in both editions of the database: who may, what is refused and how, and bad weather."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial

import httpx
import psycopg
import pytest
from psycopg import AsyncConnection

from duty.answers import HEADERS, MAX_BODY
from duty.api import create_app
from duty.desk import make_pool, opened
from duty.handling import VERB_ZH
from ops.duty import run_desk
from ops.parts import Database, free_port
from schemas.errors import FatalError, UsageError
from tests.desk import Line, bearer, everything, migrated, raise_alarm, repeat, rows, settings_for
from tests.installation import until

pytestmark = pytest.mark.one_edition


@contextlib.asynccontextmanager
async def desk(
    url: str, *, tokens: dict[str, str] | None = None, insecure: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a desk on this database, without a socket in between."""
    async with opened(make_pool(url)) as pool:
        app = create_app(settings_for(url, tokens=tokens), pool, insecure=insecure)
        app.state.desk.requests.burst = app.state.desk.refusals.burst = 10_000  # they have tests of their own
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
            yield client


@contextlib.asynccontextmanager
async def served(url: str, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a desk that serves on a real port."""
    task = asyncio.ensure_future(run_desk(settings_for(url, port=port), insecure=False))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=bearer()) as client:
            while True:
                with contextlib.suppress(httpx.ConnectError):
                    await client.get("/")
                    break
                await asyncio.sleep(0.02)
            yield client
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def recovered(client: httpx.AsyncClient) -> list[object]:
    """Return the open alarms as soon as the desk has them again."""
    began = time.monotonic()
    while (answer := await client.get("/api/alarms")).status_code == 503:
        assert time.monotonic() - began < 15, "the desk does not recover"
    found = answer.json()["alarms"]
    assert isinstance(found, list)
    return found


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as found:
        yield found


@pytest.fixture
async def client(database: Database, connection: AsyncConnection) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that is logged in as 王芳."""
    del connection  # the tables must be there
    async with desk(database.url) as found:
        found.headers.update(bearer())
        yield found


async def test_a_life_of_an_alarm_over_http(client: httpx.AsyncClient, connection: AsyncConnection) -> None:
    """What is raised is listed, handled in the token's name, logged, and gone from the open ones."""
    alarm_id = await raise_alarm(connection, "BELL-1", name="张奶奶", phone="0730-1234567")

    listed = (await client.get("/api/alarms")).json()
    assert listed["counts"] == {"open": 1, "life": 1, "unacknowledged": 1, "suppressed": 0, "shelved": 0}
    assert listed["speed"] == 1.0
    [alarm] = listed["alarms"]
    assert (alarm["alarm_id"], alarm["kind_zh"], alarm["person"]) == (alarm_id, "紧急呼叫", "张奶奶")
    assert (alarm["class"], alarm["raised_at"]) == ("life", "2026-03-01T08:00:00Z")
    assert alarm["verbs"] == ["acknowledge", "assign", "note"]
    assert not {"phone", "address"} & alarm.keys()

    taken = await client.post(f"/api/alarms/{alarm_id}/acknowledge")
    assert (taken.status_code, taken.json()["acknowledged_by"]) == (200, "王芳")
    sent = await client.post(f"/api/alarms/{alarm_id}/dispatch", json={"to": "李强"})
    assert (sent.status_code, sent.json()["handling_zh"]) == (200, "已派人")
    arrived = await client.post(f"/api/alarms/{alarm_id}/arrive")
    assert (arrived.status_code, arrived.json()["handling_zh"]) == (200, "已到场")
    closing = {"outcome": "fall", "note": "送医院", "version": arrived.json()["version"]}
    closed = await client.post(f"/api/alarms/{alarm_id}/close", json=closing)
    assert (closed.status_code, closed.json()["outcome_zh"]) == (200, "真实-跌倒")

    card = (await client.get(f"/api/alarms/{alarm_id}")).json()
    verbs = [entry["verb"] for entry in card["log"]]
    assert verbs == ["acknowledged", "dispatched", "arrived", "closed"]
    assert {entry["actor"] for entry in card["log"]} == {"王芳"}
    assert card["person"]["phone"] == "0730-1234567"
    assert (await client.get("/api/alarms")).json()["alarms"] == []
    assert len((await client.get("/api/alarms?state=closed")).json()["alarms"]) == 1
    assert len((await client.get("/api/alarms?state=all&device=BELL-1&limit=1")).json()["alarms"]) == 1


async def test_the_second_operator_is_told_who_was_first(
    client: httpx.AsyncClient, connection: AsyncConnection
) -> None:
    """A conflict is 409, says who in both tongues, and changes nothing."""
    alarm_id = await raise_alarm(connection)
    await client.post(f"/api/alarms/{alarm_id}/acknowledge")
    before = await everything(connection)
    answer = await client.post(f"/api/alarms/{alarm_id}/acknowledge", headers=bearer("李强"))
    assert answer.status_code == 409
    assert answer.json() == {
        "error": "illegal_move",
        "detail": "cannot acknowledge an alarm that is acknowledged: 王芳 was first"
        " (it takes: dispatch, close, merge, assign, note, shelve, unshelve)",
        "detail_zh": "不能确认：该报警已确认（王芳在先）",
    }
    assert await everything(connection) == before


async def test_what_stands_beside_the_states_over_http(
    client: httpx.AsyncClient, connection: AsyncConnection
) -> None:
    """Assigning, noting, shelving, merging and re-opening are orders like the others, in the token's name."""
    battery = await raise_alarm(connection, "BELL-1", "low_battery")
    call = await raise_alarm(connection, "BELL-1")
    said = [
        (battery, "assign", {"to": "赵敏"}),
        (battery, "note", {"note": "电池已订"}),
        (battery, "shelve", {"minutes": 60}),
    ]
    for alarm_id, verb, body in said:
        assert (await client.post(f"/api/alarms/{alarm_id}/{verb}", json=body)).status_code == 200
    assert [alarm["alarm_id"] for alarm in (await client.get("/api/alarms")).json()["alarms"]] == [call]
    shelved = (await client.get("/api/alarms?state=shelved")).json()
    assert shelved["counts"]["shelved"] == 1
    [put_away] = shelved["alarms"]
    assert (put_away["assigned_to"], put_away["handling"]) == ("赵敏", "unacknowledged")
    assert "unshelve" in put_away["verbs"]
    assert (await client.post(f"/api/alarms/{battery}/unshelve")).json()["shelved_until"] is None
    await client.post(f"/api/alarms/{battery}/acknowledge")
    merged = (await client.post(f"/api/alarms/{battery}/merge", json={"parent": call})).json()
    assert (merged["outcome_zh"], merged["parent_id"], merged["closed_by"]) == ("并入", call, "王芳")
    opened = await client.post(f"/api/alarms/{battery}/reopen", headers=bearer("李强"))
    assert (opened.json()["assigned_to"], opened.json()["parent_id"]) == ("李强", None)


async def test_what_something_beside_the_state_forbids_is_a_conflict(
    client: httpx.AsyncClient, connection: AsyncConnection
) -> None:
    """A call for help is not shelved, an ordinary alarm explains nothing: 409, a name, both tongues."""
    alarm_id = await raise_alarm(connection)
    await client.post(f"/api/alarms/{alarm_id}/acknowledge")
    before = await everything(connection)
    for verb, body in (
        ("shelve", {"minutes": 5}),
        ("unshelve", {}),
        ("merge", {"parent": alarm_id}),
        ("close", {"outcome": "test", "explained": True}),
    ):
        answer = await client.post(f"/api/alarms/{alarm_id}/{verb}", json=body)
        assert (answer.status_code, answer.json()["error"]) == (409, "not_allowed"), verb
        assert answer.json()["detail"]
        assert answer.json()["detail_zh"]
    gone = await client.post(f"/api/alarms/{alarm_id}/merge", json={"parent": 999999})
    assert (gone.status_code, gone.json()["error"]) == (404, "unknown_alarm")
    assert await everything(connection) == before


async def test_a_stale_version_is_refused_by_name(
    client: httpx.AsyncClient, connection: AsyncConnection
) -> None:
    """Who closes what has changed since is told so."""
    alarm_id = await raise_alarm(connection)
    seen = (await client.post(f"/api/alarms/{alarm_id}/acknowledge", json={"version": 1})).json()["version"]
    await repeat(connection, alarm_id)
    closing = {"outcome": "accidental", "version": seen}
    answer = await client.post(f"/api/alarms/{alarm_id}/close", json=closing)
    assert (answer.status_code, answer.json()["error"]) == (409, "stale_version")


BAD_BODIES = [
    ("acknowledge", b"{"),
    ("acknowledge", b"[]"),
    ("acknowledge", b'{"by": "x"}'),
    ("acknowledge", b'{"version": 0}'),
    ("acknowledge", b'{"note": "a\\u0000b"}'),
    ("acknowledge", b'{"note": "\\ud800"}'),
    ("acknowledge", b'{"note": "\xff"}'),
    ("acknowledge", b'{"note": "' + b"n" * 1001 + b'"}'),
    ("dispatch", b""),
    ("dispatch", b"{}"),
    ("dispatch", b'{"to": ""}'),
    ("dispatch", b'{"to": " "}'),
    ("dispatch", b'{"to": "a\\nb"}'),
    ("dispatch", b'{"to": ["a"]}'),
    ("arrive", b'{"to": "x"}'),
    ("assign", b"{}"),
    ("assign", b'{"to": "carebell\\u202e"}'),
    ("note", b"{}"),
    ("note", b'{"note": " "}'),
    ("merge", b"{}"),
    ("merge", b'{"parent": 0}'),
    ("merge", b'{"parent": 9223372036854775808}'),
    ("shelve", b"{}"),
    ("shelve", b'{"minutes": 0}'),
    ("shelve", b'{"minutes": 1441}'),
    ("shelve", b'{"minutes": 1e300}'),
    ("unshelve", b'{"minutes": 5}'),
    ("reopen", b'{"outcome": "test"}'),
    ("close", b"{}"),
    ("close", b'{"outcome": "cleared"}'),
    ("close", b'{"outcome": "merged"}'),
    ("close", b'{"outcome": "test", "explained": "perhaps"}'),
    ("close", b'{"outcome": "gone"}'),
    ("close", b'{"outcome": "test", "outcome_zh": "x"}'),
]


async def test_a_bad_body_is_named_and_changes_nothing(
    client: httpx.AsyncClient, connection: AsyncConnection
) -> None:
    """What is missing, unknown, too long or no plain text is refused with a sentence."""
    alarm_id = await raise_alarm(connection)
    taken = await raise_alarm(connection, "BELL-2")
    await client.post(f"/api/alarms/{taken}/acknowledge")
    before = await everything(connection)
    headers = {"Content-Type": "application/json"}
    for verb, body in BAD_BODIES:
        path = f"/api/alarms/{alarm_id if verb == 'acknowledge' else taken}/{verb}"
        answer = await client.post(path, content=body, headers=headers)
        assert answer.status_code in {400, 422}, body
        assert answer.json()["error"] == "bad_request"
        assert answer.json()["detail"]
    assert await everything(connection) == before


NOT_THERE = [
    ("/api/alarms/999999", 404, "unknown_alarm"),
    ("/api/alarms/9223372036854775808", 422, "bad_request"),
    ("/api/alarms/0", 422, "bad_request"),
    ("/api/alarms/sos", 422, "bad_request"),
    ("/api/alarms?limit=0", 422, "bad_request"),
    ("/api/alarms?limit=1001", 422, "bad_request"),
    ("/api/alarms?state=some", 422, "bad_request"),
    ("/api/alarms?device=%00", 422, "bad_request"),
    ("/api/nothing", 404, "not_found"),
    ("/docs", 404, "not_found"),
    ("/api/alarms/1/close", 405, "method_not_allowed"),
]


async def test_what_there_is_not_is_an_error_in_json(client: httpx.AsyncClient) -> None:
    """Every error has a code, a name and a sentence in both tongues, and wears the security headers."""
    for path, status, error in NOT_THERE:
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (status, error), path
        assert answer.json()["detail"]
        assert answer.json()["detail_zh"]
        assert answer.headers["X-Frame-Options"] == "DENY"


async def test_no_token_no_data(client: httpx.AsyncClient, connection: AsyncConnection) -> None:
    """Everything under /api asks for a known token and changes nothing without one."""
    alarm_id = await raise_alarm(connection)
    del client.headers["Authorization"]
    before = await everything(connection)
    for header in (None, "", "Bearer", "Bearer wrong", "Basic token-of-wang", "token-of-wang"):
        headers = {} if header is None else {"Authorization": header}
        for method, path in [
            ("GET", "/api/alarms"),
            ("GET", f"/api/alarms/{alarm_id}"),
            ("GET", "/api/words"),
            ("POST", f"/api/alarms/{alarm_id}/acknowledge"),
        ]:
            answer = await client.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized"), (path, header)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert await everything(connection) == before


async def test_the_page_and_the_health_need_no_token(client: httpx.AsyncClient) -> None:
    """The page holds no data, and a watchman needs no key."""
    del client.headers["Authorization"]
    for path, kind in [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")]:
        answer = await client.get(path)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(kind)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_without_tokens_nobody_comes_in_unless_told_so(
    database: Database, connection: AsyncConnection
) -> None:
    """No tokens means no access; `insecure` means access, signed as the desk."""
    alarm_id = await raise_alarm(connection)
    async with desk(database.url, tokens={}) as client:
        answer = await client.get("/api/alarms", headers=bearer())
        assert answer.status_code == 401
        assert "carebell user token" in answer.json()["detail"]
    async with desk(database.url, insecure=True) as client:
        taken = await client.post(f"/api/alarms/{alarm_id}/acknowledge")
        assert taken.json()["acknowledged_by"] == "desk"
        assert (await client.get("/api/words", headers=bearer())).json()["operator"] == "王芳"


async def test_the_words_for_buttons_come_from_the_catalogue(client: httpx.AsyncClient) -> None:
    """The page learns from the server what its buttons say; nobody can choose the engine's own outcome."""
    words = (await client.get("/api/words")).json()
    assert words["operator"] == "王芳"
    assert [word["zh"] for word in words["verbs"]] == list(VERB_ZH.values())
    assert {"code": "accidental", "zh": "误触"} in words["outcomes"]
    assert "cleared" not in {word["code"] for word in words["outcomes"]}


async def test_a_body_has_its_bound(client: httpx.AsyncClient) -> None:
    """Too long a body is refused, said beforehand or found on the way."""

    async def stream() -> AsyncIterator[bytes]:
        yield b'{"note": "'
        for _ in range(MAX_BODY // 1000 + 1):
            yield b"n" * 1000

    for body in (b"x" * (MAX_BODY + 1), stream()):
        answer = await client.post("/api/alarms/1/dispatch", content=body)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


async def test_other_sites_may_link_and_nothing_else(client: httpx.AsyncClient) -> None:
    """A script or form of another site gets nothing, even where no token is asked for."""
    for method, path, mode, status in [
        ("POST", "/api/alarms/1/acknowledge", "no-cors", 403),
        ("POST", "/api/alarms/1/acknowledge", "navigate", 403),
        ("GET", "/api/alarms", "cors", 403),
        ("GET", "/", "navigate", 200),
    ]:
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
        assert (await client.request(method, path, headers=headers)).status_code == status, (path, mode)


@pytest.mark.no_tables
async def test_a_database_without_tables_is_503(database: Database) -> None:
    """The desk says what to run, to the caller and to the watchman."""
    async with desk(database.url) as client:
        for path in ("/healthz", "/api/alarms"):
            answer = await client.get(path, headers=bearer())
            assert (answer.status_code, answer.json()["error"]) == (503, "database_not_ready")
            assert "carebell db migrate" in answer.json()["detail"]


async def test_a_database_that_is_away_is_503_and_comes_back(
    database: Database, client: httpx.AsyncClient, connection: AsyncConnection
) -> None:
    """The desk outlives its database, tells no secrets of it, and finds it again by itself."""
    await raise_alarm(connection)
    assert (await client.get("/api/alarms")).status_code == 200
    database.restart()
    assert (await client.get("/api/alarms")).status_code == 200, "a restart between requests is not seen"
    database.kill()
    try:
        for path in ("/api/alarms", "/healthz"):
            # a session whose server was killed may answer once more before it notices
            answer = await until(partial(client.get, path), lambda found: found.status_code != 200)
            assert (answer.status_code, answer.json()["error"]) == (503, "database_away")
            assert "127.0.0.1" not in answer.text
        await asyncio.sleep(2)
    finally:
        database.start()
    assert len(await recovered(client)) == 1


async def test_a_desk_starts_before_its_database(database: Database, connection: AsyncConnection) -> None:
    """The order in which a machine starts its parts does not matter."""
    await raise_alarm(connection)
    database.stop()
    try:
        async with desk(database.url) as client:
            assert (await client.get("/healthz")).status_code == 503
            database.start()
            client.headers.update(bearer())
            assert len(await recovered(client)) == 1
    finally:
        with contextlib.suppress(psycopg.Error):
            database.restart()


async def test_a_deaf_database_is_503_within_seconds(database: Database, connection: AsyncConnection) -> None:
    """Requests into silence end, more of them do not pile up, and all is well when the line is back."""
    alarm_id = await raise_alarm(connection)
    async with Line(database.url) as line, desk(line.url) as client:
        client.headers.update(bearer())
        assert (await client.get("/api/alarms")).status_code == 200
        line.go_deaf()
        began = time.monotonic()
        answers = await asyncio.gather(
            *(client.post(f"/api/alarms/{alarm_id}/acknowledge") for _ in range(3)),
            *(client.get("/api/alarms") for _ in range(20)),
        )
        assert {answer.status_code for answer in answers} == {503}
        assert time.monotonic() - began < 8
        line.hear_again()
        assert len(await recovered(client)) == 1
        assert len(await rows(connection, "SELECT * FROM alarm_log")) <= 1


async def test_the_desk_serves_and_ends_when_told(database: Database, connection: AsyncConnection) -> None:
    """Over a real socket a page polls, an operator acts, and a cancelled desk gives its port back at once."""
    alarm_id = await raise_alarm(connection)
    port = free_port()
    async with served(database.url, port) as client:
        assert "Server" not in (await client.get("/")).headers
        assert len((await client.get("/api/alarms")).json()["alarms"]) == 1
        assert (await client.post(f"/api/alarms/{alarm_id}/acknowledge")).status_code == 200
        with pytest.raises(FatalError, match=rf"127\.0\.0\.1:{port}.*in use"):
            await run_desk(settings_for(database.url, port=port), insecure=False)
    async with served(database.url, port) as client:
        assert (await client.get("/healthz")).status_code == 200


async def test_no_desk_without_tokens(database: Database) -> None:
    """A desk that nobody could use says so instead of starting."""
    with pytest.raises(UsageError, match=r"duty\.tokens is empty and there is no user"):
        await run_desk(settings_for(database.url, tokens={}), insecure=False)
