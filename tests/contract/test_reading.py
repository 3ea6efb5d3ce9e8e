"""The reading side of the API: who may read what, the line that each read leaves, what is asked wrongly."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from psycopg import AsyncConnection

from duty import users
from duty.access import Role
from duty.api import create_app
from duty.desk import make_pool, opened
from ops.parts import Database
from tests.desk import bearer, migrated, raise_alarm, rows, settings_for

pytestmark = pytest.mark.one_edition

READS = {
    "/api/alarms/1": ("show_alarm", 1, 1, {}),
    "/api/alarms/1/address": ("show_address", 1, 1, {}),
    "/api/alarms/1/vitals?hours=48": ("show_vitals", 1, 1, {}),
    "/api/people?query=张": ("list_people", None, None, {"people": [1]}),
    "/api/people/1": ("show_person", None, 1, {}),
    "/api/devices?query=BELL": ("list_devices", None, None, {"people": [1]}),
    "/api/devices/BELL-1": ("show_device", None, 1, {"device": "BELL-1"}),
    "/api/devices/BELL-1/history": ("show_history", None, 1, {"device": "BELL-1"}),
}
"""Every address of this side, and what stands in the audit log of one that was answered."""


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database in which 张奶奶 has called for help with BELL-1."""
    async with migrated(database.url) as found:
        await raise_alarm(found, name="张奶奶", phone="0730-1234567", address="洞庭路 1 号")
        yield found


@contextlib.asynccontextmanager
async def desk(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a desk on this database, logged in as 王芳."""
    async with opened(make_pool(url)) as pool:
        app = create_app(settings_for(url), pool)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
            client.headers.update(bearer())
            yield client


@pytest.fixture
async def client(database: Database, connection: AsyncConnection) -> AsyncIterator[httpx.AsyncClient]:
    """Give such a client."""
    del connection  # the tables must be there
    async with desk(database.url) as found:
        yield found


async def audit(connection: AsyncConnection) -> list[tuple[Any, ...]]:
    """Return what was recorded of 王芳 and the viewer."""
    return await rows(
        connection,
        "SELECT actor, role, action, alarm_id, person_id, detail, status FROM audit_log"
        " WHERE actor <> 'root' ORDER BY audit_id",
    )


@pytest.mark.parametrize("path", READS)
async def test_each_read_of_personal_data_leaves_one_line(
    client: httpx.AsyncClient, connection: AsyncConnection, path: str
) -> None:
    """Who read what about whom; a list names the people that were on it."""
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    action, alarm_id, person_id, detail = READS[path]
    assert await audit(connection) == [("王芳", "operator", action, alarm_id, person_id, detail, 200)]


@pytest.mark.parametrize("path", READS)
async def test_a_viewer_reads_none_of_it(
    client: httpx.AsyncClient, connection: AsyncConnection, path: str
) -> None:
    """Whoever may only look at the list gets nothing here, and is told why in both tongues."""
    await users.add(connection, "root", "看", Role.VIEWER)
    secret, _ = await users.new_token(connection, "root", "看")
    answer = await client.get(path, headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer.json()["error"]) == (403, "role_too_low")
    assert "张" not in answer.text
    assert (await client.get(path, headers={"Authorization": ""})).status_code == 401
    assert await audit(connection) == []


@pytest.mark.parametrize("path", READS)
async def test_what_cannot_be_recorded_is_not_answered(
    client: httpx.AsyncClient, connection: AsyncConnection, path: str
) -> None:
    """Without the audit log nobody sees personal data."""
    await connection.execute("ALTER TABLE audit_log RENAME TO gone")
    answer = await client.get(path)
    assert answer.status_code == 503
    assert "张" not in answer.text
    assert "BELL-1" not in answer.text


async def test_the_address_stands_only_where_it_is_asked_for(client: httpx.AsyncClient) -> None:
    """Neither card nor list nor file has it."""
    for path in READS:
        assert ("洞庭路" in (await client.get(path)).text) == path.endswith("address")
    assert "洞庭路" not in (await client.get("/api/alarms")).text
    assert (await client.get("/api/alarms/1/address")).json() == {"address": "洞庭路 1 号"}


async def test_the_card_over_http(client: httpx.AsyncClient) -> None:
    """Everything by its name; what is for the server alone does not leave it."""
    card = (await client.get("/api/alarms/1")).json()
    assert card.keys() == {"alarm", "log", "person", "contacts", "others", "steps", "device"}
    assert (card["alarm"]["class"], card["person"]["phone"]) == ("life", "0730-1234567")
    assert card["device"]["device"] == "BELL-1"
    assert "drill" not in card["alarm"]
    vitals = (await client.get("/api/alarms/1/vitals")).json()
    assert vitals.keys() == {"since", "until", "points", "measured", "left_out"}
    history = (await client.get("/api/devices/BELL-1/history")).json()
    assert history.keys() == {"device", "since", "until", "alarms", "events", "heartbeats"}


WRONG = [
    ("/api/alarms/2", 404, "unknown_alarm"),
    ("/api/alarms/9223372036854775807/address", 404, "unknown_alarm"),
    ("/api/alarms/9223372036854775808", 422, "bad_request"),
    ("/api/alarms/0/vitals", 422, "bad_request"),
    ("/api/alarms/1;/address", 422, "bad_request"),
    ("/api/alarms/1/vitals?hours=0", 422, "bad_request"),
    ("/api/alarms/1/vitals?hours=49", 422, "bad_request"),
    ("/api/alarms/1/vitals?hours=1e1", 422, "bad_request"),
    ("/api/people", 422, "bad_request"),
    ("/api/people?query=", 422, "bad_request"),
    ("/api/people?query=%20", 422, "bad_request"),
    ("/api/people?query=%00", 422, "bad_request"),
    ("/api/people?query=a%0d%0aSet-Cookie:x", 422, "bad_request"),
    ("/api/people?query=" + "n" * 65, 422, "bad_request"),
    ("/api/people?query=a&limit=101", 422, "bad_request"),
    ("/api/people?query=a&limit=0", 422, "bad_request"),
    ("/api/people/2", 404, "unknown_person"),
    ("/api/people/2147483648", 422, "bad_request"),
    ("/api/people/-1", 422, "bad_request"),
    ("/api/devices?query=%ff%fe", 200, ""),
    ("/api/devices/NO", 404, "unknown_device"),
    ("/api/devices/%3Fcarebell", 404, "unknown_device"),
    ("/api/devices/%00", 404, "unknown_device"),
    ("/api/devices/..%2f..%2fpage.js", 404, "not_found"),
    ("/api/devices/%2e%2e", 404, "unknown_device"),
    ("/api/devices/..%5c..%5cpage.js", 404, "unknown_device"),
    ("/api/devices/" + quote("<script>"), 404, "unknown_device"),
    ("/api/devices/" + "n" * 65, 422, "bad_request"),
    ("/api/devices/NO/history", 404, "unknown_device"),
    ("/api/devices/BELL-1/history?since=yesterday", 422, "bad_request"),
    ("/api/devices/BELL-1/history?since=2026-03-01T00:00:00", 422, "bad_request"),
    ("/api/devices/BELL-1/history?since=0001-01-01T00:00:00%2B14:00", 422, "bad_request"),
    ("/api/devices/BELL-1/history?until=9999-12-31T23:59:59-14:00", 422, "bad_request"),
    ("/api/devices/BELL-1/history?until=0001-01-01T00:00:00Z", 422, "bad_request"),
    ("/api/devices/BELL-1/history?since=2026-03-02T00:00:00Z&until=2026-03-01T00:00:00Z", 422, "bad_request"),
    ("/api/devices/BELL-1/history?since=2026-01-01T00:00:00Z&until=2026-03-01T00:00:00Z", 422, "bad_request"),
    ("/api/devices/BELL-1/history?since=99999999999999999999", 422, "bad_request"),
]


@pytest.mark.parametrize(("path", "status", "error"), WRONG)
async def test_what_is_asked_wrongly_is_refused_by_name(
    client: httpx.AsyncClient, connection: AsyncConnection, path: str, status: int, error: str
) -> None:
    """Unknown numbers, tricks with paths, times beyond all bounds: refused, and nothing is read."""
    answer = await client.get(path)
    assert (answer.status_code, answer.json().get("error", "")) == (status, error), answer.text
    assert "<script>" not in answer.text
    assert "张" not in answer.text
    assert all(line[-1] != 200 or status == 200 for line in await audit(connection))


async def test_times_are_read_with_their_offset(
    client: httpx.AsyncClient, connection: AsyncConnection
) -> None:
    """What is asked in the time of Shanghai is answered in UTC."""
    del connection
    asked = {"since": "2026-03-01T15:59:00+08:00", "until": "2026-03-01T16:00:00+08:00"}
    found = (await client.get("/api/devices/BELL-1/history", params=asked)).json()
    assert (found["since"], found["until"]) == ("2026-03-01T07:59:00Z", "2026-03-01T08:00:00Z")
    assert len(found["alarms"]) == 1
