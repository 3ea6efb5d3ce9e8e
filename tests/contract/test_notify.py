"""Escalation and notices on a real database with real receivers: nobody forgotten, nobody held up by another.

The clock is real; what a minute must pass for is raised a minute ago.
"""

import asyncio
import base64
import contextlib
import hmac
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from psycopg import AsyncConnection

from duty import alarms, cards
from duty.handling import Verb
from duty.notify.escalate import telling
from duty.notify.ladders import load
from duty.notify.send import Pace
from ops.parts import Broker, Database
from rules.sentences import log_zh
from schemas.alarms import Outcome
from schemas.clock import Clock
from schemas.settings import Settings
from tests.contract.kit import until
from tests.desk import (
    Line,
    add_device,
    add_to_log,
    close_alarm,
    migrated,
    raise_alarm,
    rows,
    settings_for,
)
from tests.mqtt import Client
from tests.receiver import Dribble, Drop, Hang, HttpReceiver, Late, MailReceiver, Reply, Say

FAST = Pace(look=0.05, first=0.1, longest=0.2, first_refused=0.2, longest_refused=0.4, rest=0.2)
SECRET = "a-secret-of-the-city"

the_way_alone = pytest.mark.one_edition
"""Of tests whose matter is a receiver, and not what the database does."""


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database with its tables."""
    async with migrated(database.url) as found:
        yield found


class House:
    """A database, and files of recipients and ladders."""

    def __init__(self, url: str, directory: Path) -> None:
        self.settings = settings_for(url)
        self._file = directory / "notify.toml"

    @contextlib.asynccontextmanager
    async def tells(
        self, text: str, pace: Pace = FAST, patience: float = 5.0, settings: Settings | None = None
    ) -> AsyncIterator[None]:
        """Run a desk's escalation with this file for a block."""
        self._file.write_text(text, encoding="utf-8")
        async with telling(settings or self.settings, load(self._file), pace, patience):
            yield


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    """Give a house on the database."""
    return House(database.url, tmp_path)


def recipient(name: str, url: str, channel: str = "webhook", **more: Any) -> str:  # noqa: ANN401 - of several types
    """Return a recipient as the file has it."""
    extra = "\n".join(f"{key} = {json.dumps(value)}" for key, value in more.items())
    return f'[recipient.{name}]\nchannel = "{channel}"\nurl = "{url}"\n{extra}\n'


def ladder(*steps: str, **more: Any) -> str:  # noqa: ANN401 - of several types
    """Return a ladder; a step is "60s: chief" or "60s not_arrived: chief, deputy"."""
    extra = "\n".join(f"{key} = {json.dumps(value)}" for key, value in more.items())
    found = f'[[ladder]]\nname = "all"\n{extra}\n'
    for step in steps:
        when, _, names = step.partition(": ")
        after, _, what = when.partition(" ")
        to = json.dumps(names.split(", "))
        found += f'[[ladder.step]]\nafter = "{after}"\nto = {to}\n' + (f'when = "{what}"\n' if what else "")
    return found


def ago(seconds: float) -> datetime:
    """Return a moment before now."""
    return datetime.now(UTC) - timedelta(seconds=seconds)


def now() -> int:
    """Return the present as the desk has it."""
    return Clock().now()


async def call(connection: AsyncConnection, device: str = "BELL-1", kind: str = "sos", **more: Any) -> int:  # noqa: ANN401 - of several types
    """Raise an alarm now, with its line in the log."""
    return await raise_alarm(connection, device, kind, **{"at": ago(0), "logged": True, **more})


async def log_of(connection: AsyncConnection, alarm_id: int) -> list[tuple[str, str, str]]:
    """Return verb, actor and sentence of each line of an alarm's log."""
    query = "SELECT verb, actor, detail FROM alarm_log WHERE alarm_id = %s ORDER BY log_id"
    found = await rows(connection, query, alarm_id)
    return [(verb, actor, log_zh("sos", verb, detail)) for verb, actor, detail in found]


async def pass_time(connection: AsyncConnection, time: timedelta = timedelta(0)) -> None:
    """Let time have passed since the ladders began, and be looked at now."""
    async with connection.transaction():
        await connection.execute("UPDATE alarms SET last_at = last_at - %s", (time,))
        await connection.execute("UPDATE escalations SET since = since - %s, next_at = since", (time,))


async def states(connection: AsyncConnection) -> list[tuple[Any, ...]]:
    """Return step, recipient and state of each notice."""
    return await rows(connection, "SELECT step, recipient, state FROM notices ORDER BY notice_id")


async def settled(connection: AsyncConnection, state: str, count: int) -> None:
    """Wait until so many notices are in a state."""

    async def found() -> bool:
        query = "SELECT count(*) FROM notices WHERE state = %s"
        return int((await rows(connection, query, state))[0][0]) >= count

    await until(found, f"{count} notices {state}")


async def idle(connection: AsyncConnection) -> None:
    """Wait until nothing is due now."""

    async def found() -> bool:
        query = (
            "SELECT (SELECT count(*) FROM notify_due) + (SELECT count(*) FROM escalations"
            " WHERE next_at <= clock_timestamp()) + (SELECT count(*) FROM notices"
            " WHERE state = 'waiting' AND next_at <= clock_timestamp())"
        )
        return int((await rows(connection, query))[0][0]) == 0

    await until(found, "nothing is due")


async def test_what_is_raised_is_noted_in_its_transaction(connection: AsyncConnection) -> None:
    """It is due when the alarm is there and not before; what staff do makes nothing due."""
    async with connection.transaction(force_rollback=True):
        await call(connection)
        assert len(await rows(connection, "SELECT * FROM notify_due")) == 1
    assert await rows(connection, "SELECT * FROM notify_due") == []
    alarm_id = await call(connection)
    await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", now())
    await add_to_log(connection, alarm_id, "notified")
    assert await rows(connection, "SELECT alarm_id, verb FROM notify_due") == [(alarm_id, "raised")]


async def test_a_call_is_told_with_all_that_is_needed_and_no_more(
    house: House, connection: AsyncConnection
) -> None:
    """What, where, when and a link; name and address to those alone who may have them; the log names both."""
    async with HttpReceiver() as one, HttpReceiver() as two:
        file = (
            'desk_url = "http://desk.test"\n'
            + recipient("群", one.url())
            + recipient("救护", two.url(), personal=True)
        )
        file = file.replace("recipient.群", 'recipient."群"').replace("recipient.救护", 'recipient."救护"')
        async with house.tells(file + ladder("0s: 群, 救护")):
            alarm_id = await call(connection, person="P1", name="张桂英", address="楼区一号", phone="1380")
            (request,), (personal,) = await one.heard(1), await two.heard(1)
            await settled(connection, "sent", 2)
    body = request.json
    assert body["key"] == request.key == f"carebell-{alarm_id}-1-1-%E7%BE%A4"
    told = {name: body[name] for name in ("alarm_id", "kind", "class", "region", "device", "handling", "url")}
    assert told == {
        "alarm_id": alarm_id, "kind": "sos", "class": "life", "region": "430602", "device": "BELL-1",
        "handling": "unacknowledged", "url": f"http://desk.test/#alarm={alarm_id}",
    }  # fmt: skip
    assert "【生命·紧急】紧急呼叫 430602 BELL-1" in body["text"]
    assert not [word for word in ("张桂英", "楼区一号", "1380") if word in request.content.decode()]
    assert (personal.json["person"], personal.json["address"]) == ("张桂英", "楼区一号")
    assert "1380" not in personal.content.decode()
    card = await cards.show(connection, alarm_id)
    assert {(line.verb, line.actor, line.said_zh) for line in card.log[1:]} == {
        ("notified", "carebell", "已通知 群（第 1 级）"),
        ("notified", "carebell", "已通知 救护（第 1 级）"),
    }


async def test_nobody_acknowledged_so_the_next_one_is_told(house: House, connection: AsyncConnection) -> None:
    """Steps that are due are told, those to come are not, and each once, however often it is looked."""
    async with HttpReceiver() as desk, HttpReceiver() as chief, HttpReceiver() as head:
        file = recipient("desk", desk.url()) + recipient("chief", chief.url()) + recipient("head", head.url())
        async with house.tells(file + ladder("0s: desk", "60s: chief", "180s: head")):
            alarm_id = await call(connection, at=ago(61))
            await settled(connection, "sent", 2)
            await pass_time(connection)
            await idle(connection)
            assert [len(each.requests) for each in (desk, chief, head)] == [1, 1, 0]
            await pass_time(connection, timedelta(minutes=2))
            await head.heard(1)
    assert head.keys == [f"carebell-{alarm_id}-1-3-head"]


async def test_what_is_acknowledged_goes_no_further(house: House, connection: AsyncConnection) -> None:
    """Later steps fall away; who waits for somebody on site is told until somebody is there."""
    async with HttpReceiver() as chief, HttpReceiver() as head:
        file = recipient("chief", chief.url()) + recipient("head", head.url())
        file += ladder("60s: chief", "600s not_arrived: head")
        taken = await call(connection, "BELL-1", at=ago(59.5))
        visited = await call(connection, "BELL-2", at=ago(601))
        for alarm_id in (taken, visited):
            await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", now())
        await alarms.handle(connection, visited, Verb.DISPATCH, "王芳", now(), to="小李")
        async with house.tells(file):
            await head.heard(1)
            await pass_time(connection, timedelta(hours=1))
            await head.heard(2)
            await alarms.handle(connection, visited, Verb.ARRIVE, "王芳", now())
            await pass_time(connection)
            await idle(connection)
        assert chief.requests == []
    assert sorted(head.keys) == sorted(f"carebell-{each}-1-2-head" for each in (taken, visited))


async def test_a_notice_that_waits_is_withdrawn_when_it_is_needless(
    house: House, connection: AsyncConnection
) -> None:
    """Acknowledged while the receiver was away: it is not told afterwards. What is told always, is."""
    async with HttpReceiver(then=503) as chief:
        file = recipient("chief", chief.url()) + ladder("0s: chief", "0s always: chief")
        async with house.tells(file):
            alarm_id = await call(connection)
            await chief.heard(2)
            await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", now())
            chief.then = 200
            await settled(connection, "withdrawn", 1)
            await settled(connection, "sent", 1)
    assert await states(connection) == [(1, "chief", "withdrawn"), (2, "chief", "sent")]


async def test_killed_between_sending_and_noting_it_is_sent_again(
    house: House, connection: AsyncConnection
) -> None:
    """At least once, and the key tells the receiver that it is the same."""
    never = asyncio.Event()
    async with HttpReceiver(Late(200, never)) as receiver:
        file = recipient("desk", receiver.url()) + ladder("0s: desk")
        async with house.tells(file):
            alarm_id = await call(connection)
            await receiver.heard(1)
        assert await states(connection) == [(1, "desk", "waiting")]
        async with house.tells(file):
            await asyncio.sleep(0.3)
            assert len(receiver.requests) == 1, "the lease of the one who was killed is not over"
            await connection.execute("UPDATE notices SET next_at = clock_timestamp()")
            await settled(connection, "sent", 1)
    assert len(receiver.requests) == 2
    assert len(set(receiver.keys)) == 1
    assert [verb for verb, _, _ in await log_of(connection, alarm_id)] == ["raised", "notified"]


@pytest.mark.parametrize("bad", [500, 503, 429, 302, 400, 401, 404, 410, Drop, Hang], ids=str)
@the_way_alone
async def test_whatever_a_receiver_does_it_is_told_until_it_takes_it(
    house: House, connection: AsyncConnection, caplog: pytest.LogCaptureFixture, bad: Reply
) -> None:
    """The same key again until 2xx; what people must mend is a warning at once; no secret is told."""
    async with HttpReceiver(bad, bad) as receiver:
        with caplog.at_level(logging.DEBUG):
            async with house.tells(recipient("desk", receiver.url()) + ladder("0s: desk"), patience=0.5):
                await call(connection)
                await settled(connection, "sent", 1)
    assert len(receiver.requests) == 3
    assert len(set(receiver.keys)) == 1
    said = [each.getMessage() for each in caplog.records if each.name.startswith("duty")]
    refused = bad in {302, 400, 401, 404, 410}
    assert said[0].startswith("notify: desk refuses" if refused else "notify: desk takes nothing: "), said
    assert len(said) == 2
    assert "s3cret" not in "\n".join(
        each.getMessage() for each in caplog.records if each.levelno > logging.DEBUG
    )
    (row,) = await rows(connection, "SELECT notices::text FROM notices")
    assert "s3cret" not in row[0]


@the_way_alone
async def test_who_echoes_a_secret_does_not_get_it_into_log_and_database(
    house: House, connection: AsyncConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """A robot's answer is kept as one line without the token."""
    said = Say(json.dumps({"errcode": 300001, "errmsg": "bad\r\ns3cret-of-the-robot\u202e"}).encode())
    async with HttpReceiver(said) as receiver:
        file = recipient("desk", receiver.url(), "dingtalk") + ladder("0s: desk")
        async with house.tells(file, pace=replace(FAST, first_refused=60)):
            await call(connection)

            async def noted() -> list[tuple[Any, ...]]:
                return await rows(connection, "SELECT error FROM notices WHERE error <> ''")

            assert await until(noted, "the reason") == [("errcode 300001: bad ***",)]
    assert "s3cret" not in caplog.text


@the_way_alone
async def test_one_who_hangs_delays_nobody_else(house: House, connection: AsyncConnection) -> None:
    """While one receiver hangs with the first notice, the other one gets all."""
    async with HttpReceiver(then=Hang) as dead, HttpReceiver() as good, MailReceiver(connect=Hang) as box:
        file = recipient("dead", dead.url()) + recipient("good", good.url())
        file += (
            f'[recipient.box]\nchannel = "smtp"\nhost = "127.0.0.1"\nport = {box.port}\ntls = "none"\n'
            'from = "a@b.cn"\nto = "c@d.cn"\n'
        )
        async with house.tells(file + ladder("0s: dead, box, good"), patience=60.0):
            await call(connection)
            await dead.heard(1)
            for number in range(20):
                await call(connection, f"BELL-{number + 2}")
            await good.heard(21)
            assert (len(dead.requests), len(box.letters)) == (1, 0)
            dead.hang_up()
    assert len(set(good.keys)) == 21


@the_way_alone
async def test_a_name_that_is_never_answered_delays_nobody_else(
    house: House, connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the lookups of many receivers hang, each in its thread, one that has another name gets all."""
    over, lost = threading.Event(), []
    look_up = socket.getaddrinfo

    def hangs(host: Any, *more: Any, **other: Any) -> Any:  # noqa: ANN401 - as the library has it
        if "lost.example" in str(host):
            lost.append(host)
            over.wait()
        return look_up(host, *more, **other)

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    away = [f"away{number}" for number in range(20)]
    async with HttpReceiver() as good:
        file = "".join(recipient(name, f"http://{name}.lost.example/") for name in away)
        file += recipient("good", good.url().replace("127.0.0.1", "localhost"))
        try:
            async with house.tells(file + ladder(f"0s: {', '.join(away)}", "1s: good"), patience=0.5):
                await call(connection)
                await until(lambda: len(lost) >= 3 * len(away), "each was tried three times")
                await good.heard(1)
        finally:
            over.set()


async def test_two_desks_tell_each_notice_once(house: House, connection: AsyncConnection) -> None:
    """Both look at the same time; each notice is taken up by one of them."""
    async with HttpReceiver() as receiver:
        file = recipient("desk", receiver.url()) + ladder("0s: desk")
        async with house.tells(file), house.tells(file), house.tells(file):
            for number in range(60):
                await call(connection, f"BELL-{number}")
            await settled(connection, "sent", 60)
    assert len(receiver.requests) == len(set(receiver.keys)) == 60
    assert await rows(connection, "SELECT count(*) FROM alarm_log WHERE verb = 'notified'") == [(60,)]


async def test_a_flood_costs_little_and_calls_for_help_go_first(
    house: House, connection: AsyncConnection
) -> None:
    """Of 10,000 alarms at once each is told: to robots many in a message, and calls for help first."""
    await add_device(connection, "BELL-0")
    await connection.execute(
        "INSERT INTO devices (device, region, model)"
        " SELECT 'B-' || n, '430602', 'bell' FROM generate_series(1, 10000) n"
    )
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO alarms (device_id, kind, class, severity, quality, condition, raised_at, last_at)"
            " SELECT device_id, 'low_battery', 'technical', 'low', 'ok', 'active', clock_timestamp(),"
            " clock_timestamp() FROM devices WHERE device LIKE 'B-%'"
        )
        await connection.execute(
            "INSERT INTO alarm_log (alarm_id, at, actor, verb)"
            " SELECT alarm_id, raised_at, 'carebell', 'raised' FROM alarms"
        )
        await call(connection, "BELL-0")
    assert await rows(connection, "SELECT count(*) FROM notify_due") == [(10_001,)]
    gate = asyncio.Event()
    async with (
        HttpReceiver(Late(200, gate)) as robot,
        house.tells(
            recipient("群", robot.url(), "wecom").replace("群", '"群"') + ladder("0s: 群"), patience=60
        ),
    ):

        async def all_noted() -> bool:
            return await rows(connection, "SELECT count(*) FROM notices") == [(10_001,)]

        await until(all_noted, "all notices")
        gate.set()
        await settled(connection, "sent", 10_001)
    said = [each.json["text"]["content"] for each in robot.requests]
    assert 200 <= len(said) <= 250
    assert any("紧急呼叫" in line for each in said[:2] for line in each.split("\n")[:2])
    assert all(len(each.encode()) <= 2048 for each in said)
    assert "另有 40 条" in said[5]


async def test_a_drill_looks_real_to_staff_and_is_no_citys_business(
    house: House, connection: AsyncConnection
) -> None:
    """Own staff are told as of any call; a city is not, unless the file says so."""
    await add_device(connection, "BELL-1")
    await connection.execute("UPDATE devices SET drill = true")
    async with HttpReceiver() as staff, HttpReceiver() as city:
        file = recipient("staff", staff.url()) + recipient("city", city.url(), "city", secret=SECRET)
        async with house.tells(file + ladder("0s always: city, staff")):
            alarm_id = await raise_alarm(connection, at=ago(0))
            await connection.execute("UPDATE alarms SET drill = true")
            await add_to_log(connection, alarm_id, "raised", ago(0))
            await staff.heard(1)
            await idle(connection)
            assert city.requests == []
            await connection.execute("UPDATE alarms SET drill = false, count = 2")
            await add_to_log(connection, alarm_id, "repeated", ago(0))
            await city.heard(1)
    assert "演练" not in staff.requests[0].content.decode()
    assert "drill" not in staff.requests[0].content.decode()


@the_way_alone
async def test_a_city_can_prove_who_wrote(house: House, connection: AsyncConnection) -> None:
    """The signature is over time and body, to the byte."""
    async with HttpReceiver() as city:
        file = recipient("city", city.url(), "city", secret=SECRET) + ladder("0s always: city")
        async with house.tells(file):
            await call(connection)
            (request,) = await city.heard(1)
    stamp = request.headers["x-carebell-timestamp"]
    proof = hmac.new(SECRET.encode(), stamp.encode() + request.content, "sha256").hexdigest()
    assert hmac.compare_digest(proof, request.headers["x-carebell-signature"])
    assert abs(int(stamp) / 1000 - now() / 1e6) < 60


@the_way_alone
async def test_dingtalk_is_signed_and_mentions_nobody(house: House, connection: AsyncConnection) -> None:
    """The URL bears time and signature; an errcode is no success; a name cannot call all of a group."""
    busy = Say(b'{"errcode": 310000, "errmsg": "sign not match"}')
    async with HttpReceiver(busy) as robot:
        file = recipient("robot", robot.url(), "dingtalk", secret="SECxyz", personal=True)
        async with house.tells(file + ladder("0s: robot")):
            await call(connection, name="@all\r\n<at>\u202e张", address="[a](http://evil)")
            _, request = await robot.heard(2)
            await settled(connection, "sent", 1)
    query = parse_qs(urlsplit(request.path).query)
    assert query["access_token"] == ["s3cret-of-the-robot"]
    digest = hmac.digest(b"SECxyz", f"{query['timestamp'][0]}\nSECxyz".encode(), "sha256")
    assert query["sign"] == [base64.b64encode(digest).decode()]
    content = request.json["text"]["content"]
    assert (request.json["msgtype"], request.json["at"]) == ("text", {"isAtAll": False})
    assert "姓名：＠all ＜at＞ 张\n" in content
    assert "http:" not in content


@the_way_alone
async def test_wecom_answers_200_and_means_no(house: House, connection: AsyncConnection) -> None:
    """Its errcode decides; an answer that is no robot's is no success either."""
    async with HttpReceiver(Say(b'{"errcode": 93000}'), Say(b"<html>"), Say(b"[1]"), Say(b"")) as robot:
        file = recipient("robot", robot.url("/send?key=k"), "wecom") + ladder("0s: robot")
        async with house.tells(file):
            await call(connection)
            await settled(connection, "sent", 1)
    assert len(robot.requests) == 5


@the_way_alone
async def test_alertmanagers_shape(house: House, connection: AsyncConnection) -> None:
    """What takes Alertmanager's webhooks takes ours: version 4, labels, and the end when it is closed."""
    gate = asyncio.Event()
    async with HttpReceiver(Late(500, gate)) as receiver:
        file = 'desk_url = "http://desk.test"\n' + recipient("am", receiver.url(), "alertmanager")
        async with house.tells(file + ladder("0s always: am")):
            alarm_id = await call(connection)
            await receiver.heard(1)
            await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", now())
            await alarms.handle(connection, alarm_id, Verb.CLOSE, "王芳", now(), outcome=Outcome.MEDICAL)
            gate.set()
            first, second = (each.json for each in await receiver.heard(2))
    (alert,) = first["alerts"]
    assert (first["version"], first["status"], first["receiver"]) == ("4", "firing", "am")
    assert alert["labels"]["alertname"] == "sos"
    assert alert["endsAt"].startswith("0001-")
    assert alert["generatorURL"] == f"http://desk.test/#alarm={alarm_id}"
    assert (second["status"], second["alerts"][0]["status"]) == ("resolved", "resolved")
    assert second["alerts"][0]["fingerprint"] == alert["fingerprint"]


@the_way_alone
async def test_mail_arrives_and_nothing_is_injected(house: House, connection: AsyncConnection) -> None:
    """Line ends in names make no headers and no further recipients; the key is the Message-ID."""
    device = "EVIL\r\nBcc: all@evil.cn\r\n\r\n.\r\nMAIL FROM:<x@evil.cn>"
    async with MailReceiver() as server:
        box = (
            f'[recipient.box]\nchannel = "smtp"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n'
            'from = "carebell@house.cn"\nto = ["chief@house.cn", "head@house.cn"]\npersonal = true\n'
        )
        async with house.tells(box + ladder("0s: box")):
            alarm_id = await call(connection, device, name="张\r\n.\r\nRSET", address="x")
            (letter,) = await server.heard(1)
            await settled(connection, "sent", 1)
    assert (letter.sender, letter.to) == ("carebell@house.cn", ["chief@house.cn", "head@house.cn"])
    assert letter.message["Bcc"] is None
    assert letter.message["Subject"].startswith("【生命·紧急】紧急呼叫 430602 EVIL Bcc： all＠evil.cn")
    assert letter.message["Idempotency-Key"] == f"carebell-{alarm_id}-1-1-box"
    assert "姓名：张 . RSET" in letter.message.get_content()
    assert server.verbs.count("mail") == 1


@pytest.mark.parametrize(
    "replies",
    [
        {"connect": "421 busy"},
        {"mail": "451 later"},
        {"rcpt": "550 unknown"},
        {"data": "554 no"},
        {"data": Hang},
    ],
    ids=str,
)
@the_way_alone
async def test_a_mail_server_that_does_not_take_it_is_asked_again(
    house: House, connection: AsyncConnection, replies: dict[str, Any]
) -> None:
    """Whatever it says, or says nothing: when it takes mail again, it gets this one."""
    async with MailReceiver(**replies) as server:
        box = (
            f'[recipient.box]\nchannel = "smtp"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n'
            'from = "a@b.cn"\nto = "c@d.cn"\n'
        )
        async with house.tells(box + ladder("0s: box"), patience=0.5):
            await call(connection)

            async def failed() -> bool:
                return bool(await rows(connection, "SELECT FROM notices WHERE error <> ''"))

            await until(failed, "the server did not take it")
            server.replies.clear()
            await server.heard(1)
            await settled(connection, "sent", 1)


@the_way_alone
async def test_mail_that_one_of_several_did_not_get_is_not_sent(
    house: House, connection: AsyncConnection
) -> None:
    """An address that is put off gets it later, the others once; it counts as sent when all have it."""
    async with MailReceiver(**{"rcpt head@house.cn": "450 later"}) as server:
        box = (
            f'[recipient.box]\nchannel = "smtp"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n'
            'from = "carebell@house.cn"\nto = ["chief@house.cn", "head@house.cn"]\n'
        )
        async with house.tells(box + ladder("0s: box")):
            await call(connection, "BELL-1")
            await until(lambda: server.verbs.count("rcpt") >= 4, "it is asked again")
            assert await rows(connection, "SELECT FROM notices WHERE state = 'sent'") == []
            server.replies.clear()
            await settled(connection, "sent", 1)
    assert [letter.to for letter in server.letters] == [["chief@house.cn"], ["head@house.cn"]]
    assert len({letter.message["Message-ID"] for letter in server.letters}) == 1


async def test_a_mail_server_that_dribbles_is_hung_up_on(house: House, connection: AsyncConnection) -> None:
    """However long it goes on within the patience for each word, the delivery ends, and its thread."""
    async with MailReceiver(connect=Dribble) as server:
        box = (
            f'[recipient.box]\nchannel = "smtp"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n'
            'from = "a@b.cn"\nto = "c@d.cn"\n'
        )
        async with house.tells(box + ladder("0s: box"), patience=1.0):
            await call(connection)
            await until(lambda: server.hung_up, "the client hangs up")


@the_way_alone
async def test_a_topic_is_told(house: House, connection: AsyncConnection, fresh_mosquitto: Broker) -> None:
    """A lamp that logs in as itself hears of alarms, by the ACL that we ship."""
    login = urlsplit(fresh_mosquitto.url)
    broker = house.settings.broker.model_copy(
        update={
            "host": login.hostname, "port": login.port,
            "username": unquote(login.username or ""), "password": unquote(login.password or ""),
        }
    )  # fmt: skip
    settings = house.settings.model_copy(update={"broker": broker})
    file = '[recipient.lamp]\nchannel = "mqtt"\ntopic = "carebell/down/v1/{region}/BELL-1/notice"\n' + ladder(
        "0s: lamp"
    )
    with Client(fresh_mosquitto.url, user="BELL-1", password="one") as lamp:
        lamp.subscribe("carebell/down/v1/+/BELL-1/#")
        async with house.tells(file, settings=settings):
            alarm_id = await call(connection)
            message = await asyncio.to_thread(lamp.receive)
    assert message.topic == "carebell/down/v1/430602/BELL-1/notice"
    body = json.loads(message.payload)
    assert (body["alarm_id"], body["kind"]) == (alarm_id, "sos")
    assert dict(message.properties.UserProperty)["idempotency-key"] == body["key"]  # type: ignore[union-attr]


async def test_what_is_suppressed_is_told_when_it_is_listed_again(
    house: House, connection: AsyncConnection
) -> None:
    """An outage explains it: nobody is told; it explains it no longer: the ladder begins."""
    async with HttpReceiver() as receiver:
        file = recipient("desk", receiver.url()) + ladder("0s: desk")
        async with house.tells(file):
            async with connection.transaction():
                alarm_id = await call(connection, kind="device_silent")
                await connection.execute("UPDATE alarms SET suppressed = '4306'")
            await idle(connection)
            assert receiver.requests == []
            async with connection.transaction():
                await connection.execute("UPDATE alarms SET suppressed = NULL")
                await add_to_log(connection, alarm_id, "unsuppressed", ago(0))
            await receiver.heard(1)


async def test_who_calls_again_is_told_again_and_a_fault_is_not(
    house: House, connection: AsyncConnection
) -> None:
    """With the ladder through and nobody there, a further call begins it anew, but not within 5 minutes."""
    async with HttpReceiver() as receiver:
        file = recipient("desk", receiver.url()) + ladder("0s: desk")
        async with house.tells(file):
            sos, silent = await call(connection), await call(connection, kind="device_silent")
            await receiver.heard(2)
            for _ in range(3):
                await add_to_log(connection, sos, "repeated", ago(0))
                await add_to_log(connection, silent, "repeated", ago(0))
            await idle(connection)
            assert len(receiver.requests) == 2
            await pass_time(connection, timedelta(minutes=6))

            async def through() -> bool:
                return not await rows(connection, "SELECT FROM escalations")

            await until(through, "both ladders are through")
            await add_to_log(connection, silent, "repeated", ago(0))
            await add_to_log(connection, sos, "repeated", ago(0))
            await receiver.heard(3)
            await idle(connection)
    assert receiver.keys[2:] == [f"carebell-{sos}-2-1-desk"]


async def test_again_until_somebody_acknowledges(house: House, connection: AsyncConnection) -> None:
    """With `again` the ladder begins anew by itself, under new keys."""
    async with HttpReceiver() as receiver:
        file = recipient("desk", receiver.url()) + ladder("0s: desk", again="10m")
        async with house.tells(file):
            alarm_id = await call(connection)
            for count in (1, 2, 3):
                await receiver.heard(count)
                await idle(connection)
                await pass_time(connection, timedelta(minutes=10))
            await receiver.heard(4)
            await alarms.handle(connection, alarm_id, Verb.ACKNOWLEDGE, "王芳", now())
            await pass_time(connection, timedelta(hours=1))
            await idle(connection)
    assert receiver.keys == [f"carebell-{alarm_id}-{number}-1-desk" for number in (1, 2, 3, 4)]


async def test_what_nobody_takes_is_given_up_and_said(
    house: House, connection: AsyncConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """After a day it is failed: in the list, in the log of the program and on the card."""
    pace = replace(FAST, give_up=0.5, tidy=0.2)
    async with HttpReceiver(then=500) as receiver:
        file = recipient("desk", receiver.url()) + ladder("0s: desk")
        async with house.tells(file, pace=pace):
            alarm_id = await call(connection)
            await settled(connection, "failed", 1)
    assert "1 notices for desk are given up" in caplog.text
    card = await cards.show(connection, alarm_id)
    assert card.log[-1].said_zh == "未能通知 desk（第 1 级）"


async def test_a_desk_that_tells_nobody_leaves_it_to_the_others(
    house: House, connection: AsyncConnection
) -> None:
    """Without a file nothing is taken up; what is a day old goes."""
    old = await call(connection, at=ago(90_000))
    new = await call(connection, "BELL-2")
    async with house.tells("", pace=replace(FAST, tidy=0.05)):

        async def left() -> bool:
            return await rows(connection, "SELECT alarm_id FROM notify_due") == [(new,)]

        await until(left, f"what was due for {old} is gone")


async def test_a_database_that_goes_deaf_is_outlived(house: House, connection: AsyncConnection) -> None:
    """What was raised meanwhile is told when the line is back."""
    async with Line(str(house.settings.database.url)) as line, HttpReceiver() as receiver:
        settings = settings_for(line.url)
        async with house.tells(recipient("desk", receiver.url()) + ladder("0s: desk"), settings=settings):
            await call(connection)
            await receiver.heard(1)
            line.go_deaf()
            await call(connection, "BELL-2")
            await asyncio.sleep(1)
            line.hear_again()
            await receiver.heard(2)


async def test_the_oldest_notices_go(house: House, connection: AsyncConnection) -> None:
    """After forty days the log of an alarm that is over tells who was told; what waits stays."""
    async with HttpReceiver() as receiver, HttpReceiver(then=500) as bad:
        both = recipient("desk", receiver.url()) + recipient("bad", bad.url())
        file = both + ladder("0s always: desk, bad")
        async with house.tells(file, pace=replace(FAST, tidy=0.1, give_up=1e9)):
            alarm_id = await call(connection)
            await settled(connection, "sent", 1)
            await connection.execute("UPDATE notices SET created_at = created_at - interval '41 days'")
            await asyncio.sleep(0.5)
            assert len(await states(connection)) == 2, "it is open: its rounds are counted by them"
            await close_alarm(connection, alarm_id)

            async def left() -> bool:
                return await states(connection) == [(1, "bad", "waiting")]

            await until(left, "the one that was sent is gone")
