"""The one writer, on both editions: what a commit brings, that it is all or nothing, and that it is once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from ops.parts import Database
from rules import ruleset
from rules.engine import Engine
from schemas.alarms import KINDS, Move, Transition
from schemas.clock import to_datetime
from schemas.readings import Batch, Event
from schemas.topics import Lane
from store import restore
from store.connection import OverlapError, where
from store.writer import Store
from tests.contract.kit import (
    START,
    Cutter,
    Line,
    after,
    counts,
    message,
    milliseconds,
    rows,
    script,
    settings_for,
    tuples,
    until,
)


@pytest.fixture
async def line(url: str) -> AsyncIterator[Line]:
    """Give a restored line on an empty database."""
    async with Line(settings_for(url)) as found:
        yield found


# ------------------------------------------------------------------------------------ what a commit brings


async def test_who_waits_is_told_when_the_rows_are_sent(line: Line) -> None:
    """Once for each table that gets rows, while the commit is still on its way."""
    told: list[int] = []
    store = line.bridge.store
    store._sent = lambda: told.append(store.batch)
    before = store.batch
    await line.feed(message("BAND-1", "vitals", {"hr": 72}, at=1), message("BELL-1", "heartbeat", {}, at=2))
    assert (told, store.batch) == ([before, before], before + 1)


async def test_every_value_arrives_as_it_was_sent(url: str, line: Line) -> None:
    """All fields of all channels stand in their columns, exactly, and what was not sent is null."""
    await line.feed(
        message("BAND-1", "vitals", {"ts": milliseconds(0.123), "seq": 7, "hr": 72.5, "worn": True}, at=1),
        message(
            "BAND-1",
            "vitals",
            {"spo2": 97, "temp": 36.6, "sbp": 120, "dbp": 80, "glucose": 5.4, "steps": 9_999_999},
            at=2,
        ),
        message("BAND-1", "vitals", {"hr": 255, "worn": False}, at=3),
        message("BELL-1", "heartbeat", {"battery": 87.5, "rssi": -71, "mains": False}, at=4),
        message("BELL-1", "heartbeat", {}, at=5),
        message("CALL-1", "activity", {"motion": True, "steps": 0, "room": "卫生间"}, at=6),
        message("CALL-1", "activity", {"room": "床"}, at=7),
        message("CALL-1", "activity", {"motion": False}, at=8),
        message("CALL-1", "status", b"online", at=9),
    )
    assert await tuples(
        url,
        "SELECT device, ts, received_at, time_quality, ts_sent, seq, batch"
        " FROM vitals JOIN devices USING (device_id) ORDER BY received_at",
    ) == [
        ("BAND-1", to_datetime(after(0.123)), to_datetime(after(1)), 0, milliseconds(0.123), 7, 1),
        ("BAND-1", to_datetime(after(2)), to_datetime(after(2)), 1, None, None, 1),
        ("BAND-1", to_datetime(after(3)), to_datetime(after(3)), 1, None, None, 1),
    ]
    assert await tuples(
        url,
        "SELECT hr, spo2, temp::text, sbp, dbp, glucose::text, worn, steps FROM vitals ORDER BY received_at",
    ) == [
        (72.5, None, None, None, None, None, True, None),
        (None, 97.0, "36.6", 120.0, 80.0, "5.4", None, 9_999_999),
        (None, None, None, None, None, None, False, None),
    ]
    assert await tuples(url, "SELECT battery, rssi, mains FROM heartbeats ORDER BY received_at") == [
        (87.5, -71.0, False),
        (None, None, None),
    ]
    assert await tuples(url, "SELECT motion, steps, room FROM activity ORDER BY received_at") == [
        (True, 0, "卫生间"),
        (None, None, "床"),
        (False, None, None),
    ]
    assert await tuples(url, "SELECT channel, event, detail FROM events") == [(7, Event.ONLINE, None)]


async def test_an_hour_of_readings_arrives_whole(url: str, line: Line) -> None:
    """Thousands of rows of many null patterns in one batch stand there value for value."""
    sent = [
        {
            "ts": milliseconds(n),
            "seq": n,
            **{name: 50 + (n * k) % 50 for k, name in enumerate(("hr", "spo2", "sbp"), 2) if n % k},
            **({"worn": n % 2 == 0} if n % 5 else {}),
        }
        for n in range(3_600)
    ]
    await line.feed(*(message("BAND-1", "vitals", fields, at=fields["seq"]) for fields in sent))
    assert await tuples(url, "SELECT seq, ts_sent, hr, spo2, sbp, worn FROM vitals ORDER BY seq") == [
        (f["seq"], f["ts"], f.get("hr"), f.get("spo2"), f.get("sbp"), f.get("worn")) for f in sent
    ]


async def test_events_bear_their_details(url: str, line: Line) -> None:
    """A call's place, a fall's confidence and that a word was retained stand beside the event."""
    await line.feed(
        message("BELL-1", "sos", {"source": "cord", "lat": 29.37, "lon": 113.1, "seq": 3}, at=1),
        message("BELL-1", "fall", {"confidence": 0.25}, at=2),
        message("BELL-1", "event", {"kind": "check_in"}, at=3),
        message("BELL-1", "sos", at=4),
        lane=Lane.URGENT,
    )
    await line.feed(message("BELL-1", "status", b"offline", at=5, retained=True))
    assert await tuples(
        url, "SELECT batch, channel, event, seq, detail FROM events ORDER BY received_at"
    ) == [
        (1, 1, Event.SOS, 3, {"source": "cord", "lat": 29.37, "lon": 113.1}),
        (1, 2, Event.FALL_DETECTED, None, {"confidence": 0.25}),
        (1, 3, Event.CHECK_IN, None, None),
        (1, 1, Event.SOS, None, None),
        (2, 7, Event.OFFLINE, None, {"retained": True}),
    ]


async def test_a_dead_letter_keeps_its_bytes(url: str, line: Line) -> None:
    """Topic, bytes, length, hash and reason stand there; NUL in a topic is shown by its picture."""
    long = b"\xff" * 100_000
    await line.feed(
        message("BELL-1", "heartbeat", b"\x00\xff{", at=1),
        message("", "", b"", at=2, topic="carebell/v1/430602/BELL-1/no\x00such"),
        message("BELL-1", "heartbeat", long, at=3),
        message("BELL-1", "heartbeat", {"battery": 50, "rssi": "?"}, at=4),
    )
    found = await rows(url, "SELECT * FROM dead_letters ORDER BY received_at")
    assert [row["reason"] for row in found] == ["not_json", "unknown_channel", "oversized", "bad_field"]
    assert [row["whole"] for row in found] == [True, True, True, False]
    assert [row["received_at"] for row in found] == [to_datetime(after(n)) for n in (1, 2, 3, 4)]
    assert (found[0]["payload"], found[0]["topic"]) == (b"\x00\xff{", "carebell/v1/430602/BELL-1/heartbeat")
    assert (found[1]["topic"], found[1]["detail"]) == ("carebell/v1/430602/BELL-1/no␀such", "no␀such")
    assert (found[2]["payload"], found[2]["payload_length"]) == (long[:65_536], 100_000)
    assert found[2]["payload_sha256"] == hashlib.sha256(long).digest()
    assert await tuples(url, "SELECT battery, rssi FROM heartbeats") == [(50.0, None)]


async def test_an_unreadable_call_is_an_alarm_and_a_dead_letter(url: str, line: Line) -> None:
    """It alarms with the quality unreadable; its row is not in the history."""
    await line.feed(message("BELL-1", "sos", b"{", at=1), lane=Lane.URGENT)
    assert await tuples(url, "SELECT kind, quality, raised_at FROM alarms") == [
        ("sos", "unreadable", to_datetime(after(1)))
    ]
    assert (await counts(url)).keys() == {"dead_letters", "alarms", "alarm_log", "outbox", "ingest_ledger"}


async def test_the_ledger_has_the_batch(url: str, line: Line) -> None:
    """Lane, run, now, packet ids and hashes of a batch stand in the ledger, under its number."""
    batch = await line.feed(
        message("BELL-1", "sos", at=2, packet_id=65_535),
        message("BELL-2", "sos", at=3, packet_id=1),
        lane=Lane.URGENT,
        scan=False,
    )
    await line.feed(message("BELL-1", "heartbeat", at=1))
    (first, second) = await rows(url, "SELECT * FROM ingest_ledger ORDER BY batch")
    assert (first["batch"], first["lane"], first["scan"]) == (1, Lane.URGENT, False)
    assert (second["batch"], second["lane"], second["scan"]) == (2, Lane.TELEMETRY, True)
    assert first["run"] == second["run"] == line.bridge.store.run
    assert first["now"] == to_datetime(after(3))
    assert [row["newest_ts"] for row in (first, second)] == [to_datetime(after(3))] * 2
    assert np.frombuffer(first["packet_ids"], np.int32).tolist() == [65_535, 1]
    assert np.frombuffer(first["hashes"], np.uint32).tolist() == batch.receipts["hash"].tolist()


async def test_a_tick_that_means_nothing_writes_nothing(url: str, line: Line) -> None:
    """An empty batch without decisions takes no number."""
    await line.tick(1)
    assert (line.bridge.store.batch, await counts(url)) == (0, {})


# --------------------------------------------------------------------------------------------------- alarms


def transition(move: Move, at: float, kind: str = "sos", quality: str = "ok", **values: Any) -> Transition:  # noqa: ANN401 - what a rule saw
    """Return a decision about the first device."""
    return Transition(1, kind, move, after(at), KINDS[kind].severity, quality, values)


async def decide(line: Line, at: float, *transitions: Transition) -> None:
    """Commit an empty batch with these decisions."""
    await line.bridge.store.commit(Batch(Lane.TELEMETRY, after(at)), list(transitions))


@pytest.fixture
async def device(url: str) -> None:
    """Give the database its first device."""
    await script(url, "INSERT INTO devices (device, region) VALUES ('BELL-1', '430602')")


@pytest.mark.usefixtures("device")
async def test_an_open_alarm_counts_its_activations(url: str, line: Line) -> None:
    """A raise while the alarm is open raises its count; each stands in the log with what was seen."""
    await decide(line, 1, transition(Move.RAISE, 1, quality="late", source="button"))
    await decide(line, 5, transition(Move.RAISE, 3), transition(Move.RAISE, 2, quality="late"))

    (alarm,) = await rows(url, "SELECT * FROM alarms")
    moments = [to_datetime(after(n)) for n in (1, 3)]
    assert [alarm["raised_at"], alarm["last_at"]] == moments
    assert (alarm["class"], alarm["severity"], alarm["quality"]) == ("life", "critical", "ok")
    assert (alarm["condition"], alarm["handling"], alarm["count"], alarm["version"]) == (
        *("active", "unacknowledged", 3, 3),
    )
    assert alarm["detail"] == {"source": "button"}
    assert await tuples(url, "SELECT alarm_id, at, actor, verb, detail FROM alarm_log ORDER BY log_id") == [
        (1, to_datetime(after(1)), "carebell", "raised", {"source": "button"}),
        (1, to_datetime(after(3)), "carebell", "repeated", {}),
        (1, to_datetime(after(2)), "carebell", "repeated", {}),
    ]
    assert (
        await tuples(url, "SELECT alarm_id, channel, message, sent_at FROM outbox")
        == [(1, "downlink", "raised", None)] * 3
    )


@pytest.mark.usefixtures("device")
async def test_an_alarm_that_clears_waits_for_duty(url: str, line: Line) -> None:
    """A life or health alarm stays open when its condition clears, and is active again when it returns."""
    await decide(line, 1, transition(Move.RAISE, 1, "hr_high"))
    await decide(line, 2, transition(Move.CLEAR, 2, "hr_high"), transition(Move.CLEAR, 2, "hr_low"))
    query = "SELECT condition, handling, count, cleared_at, closed_at, version FROM alarms"
    assert await tuples(url, query) == [("cleared", "unacknowledged", 1, to_datetime(after(2)), None, 2)]
    await decide(line, 3, transition(Move.CLEAR, 3, "hr_high"))
    assert await tuples(url, query) == [("cleared", "unacknowledged", 1, to_datetime(after(2)), None, 2)]
    await decide(line, 4, transition(Move.RAISE, 4, "hr_high"))
    assert await tuples(url, query) == [("active", "unacknowledged", 2, None, None, 3)]
    assert await tuples(url, "SELECT verb FROM alarm_log ORDER BY log_id") == [
        ("raised",),
        ("cleared",),
        ("repeated",),
    ]
    assert await tuples(url, "SELECT * FROM outbox") == []


@pytest.mark.usefixtures("device")
async def test_a_technical_alarm_closes_itself(url: str, line: Line) -> None:
    """It is closed by carebell when its condition clears; the next raise is an occurrence of its own."""
    await decide(
        line,
        9,
        *(transition(move, at, "low_battery") for at in (1, 3) for move in (Move.RAISE, Move.CLEAR)),
        transition(Move.RAISE, 5, "low_battery"),
        transition(Move.RAISE, 6, "tamper"),
    )
    assert await tuples(
        url,
        "SELECT kind, occurrence, condition, handling, closed_by, outcome, closed_at, count"
        " FROM board_alarms ORDER BY kind, alarm_id",
    ) == [
        ("low_battery", 1, "cleared", "closed", "carebell", "cleared", to_datetime(after(1)), 1),
        ("low_battery", 2, "cleared", "closed", "carebell", "cleared", to_datetime(after(3)), 1),
        ("low_battery", 3, "active", "unacknowledged", None, None, None, 1),
        ("tamper", 1, "active", "unacknowledged", None, None, None, 1),
    ]
    assert await tuples(url, "SELECT verb, count(*) FROM alarm_log GROUP BY 1 ORDER BY 1") == [
        ("closed", 2),
        ("raised", 4),
    ]
    assert await tuples(url, "SELECT kind FROM board_open_alarms ORDER BY kind") == [
        ("low_battery",),
        ("tamper",),
    ]


@pytest.mark.usefixtures("device")
async def test_after_closing_a_call_is_a_new_alarm(url: str, line: Line) -> None:
    """What duty closed stays closed; the next activation is a row of its own."""
    await decide(line, 1, transition(Move.RAISE, 1))
    await script(
        url,
        "UPDATE alarms SET handling = 'closed', closed_at = now(), closed_by = '王芳', outcome = 'medical'",
    )
    await decide(line, 2, transition(Move.RAISE, 2), transition(Move.RAISE, 3))
    assert await tuples(
        url, "SELECT occurrence, handling, count, raised_at FROM board_alarms ORDER BY 1"
    ) == [
        (1, "closed", 1, to_datetime(after(1))),
        (2, "unacknowledged", 2, to_datetime(after(2))),
    ]


# --------------------------------------------------------------------------------------- all, and only once

MIXED = (
    message("BAND-1", "vitals", {"hr": 72}, at=1, packet_id=1),
    message("BELL-1", "heartbeat", {"battery": 5}, at=2, packet_id=2),
    message("BELL-1", "activity", {"motion": True, "room": "厨房"}, at=3, packet_id=3),
    message("BELL-1", "status", b"online", at=4, packet_id=4),
    message("BELL-1", "nonsense", at=5, packet_id=5),
)
WHOLE = {
    "vitals": 1,
    "heartbeats": 1,
    "activity": 1,
    "events": 1,
    "dead_letters": 1,
    "alarms": 1,
    "alarm_log": 1,
    "ingest_ledger": 1,
}

TRAP = """
CREATE SEQUENCE tries;
CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {body}
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON ingest_ledger DEFERRABLE INITIALLY {when}
    FOR EACH ROW EXECUTE FUNCTION trap()
"""
ONCE = "IF nextval('tries') = 1 THEN {} END IF;"
KILL = "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(30);"


async def test_a_batch_that_fails_leaves_nothing(url: str, line: Line) -> None:
    """An error that time cannot heal is raised: nothing is stored, acknowledged or adopted."""
    await script(url, TRAP.format(body="RAISE EXCEPTION 'a fault of ours';", when="IMMEDIATE"))
    before = line.engine.checkpoint(0)
    batch = await line.decode(*MIXED)
    untouched = line.engine.checkpoint(0)
    with pytest.raises(psycopg.errors.RaiseException):
        await line.move(batch)
    assert (await counts(url), line.acknowledged) == ({}, [])
    assert (line.bridge.store.batch, line.engine.checkpoint(0)) == (0, untouched)
    assert before != untouched  # decoding it enrolled its devices, outside of the transaction


@pytest.mark.parametrize("when", ["IMMEDIATE", "DEFERRED"])
@pytest.mark.parametrize(
    "body", [KILL, "RAISE EXCEPTION 'try again' USING ERRCODE = '40001';"], ids=["killed", "serialization"]
)
async def test_a_commit_cut_by_the_server_is_done_once(url: str, line: Line, when: str, body: str) -> None:
    """The backend dies, or gives up, in the transaction or in COMMIT itself: tried again, and in once."""
    await script(url, TRAP.format(body=ONCE.format(body), when=when))
    batch = await line.feed(*MIXED)
    assert await counts(url) == WHOLE
    assert line.acknowledged == [batch]
    assert line.bridge.store.connection.retries == 1
    await line.feed(message("BELL-1", "heartbeat", at=9))
    assert await tuples(url, "SELECT max(batch) FROM ingest_ledger") == [(2,)]


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_reply_to_commit_is_settled(url: str, *, landed: bool) -> None:
    """Cut off before COMMIT arrived, or before its reply did: the batch is in exactly once."""
    async with Cutter(url) as proxy, Line(settings_for(proxy.url)) as line:
        await line.feed(message("BELL-1", "heartbeat", {"battery": 80}, at=0.5))
        batch = await line.decode(*MIXED)
        if landed:
            proxy.cut_reply()
        else:
            proxy.cut_command()
        await line.move(batch)
        assert proxy.cuts == 1
        assert line.bridge.store.batch == 2
        assert await counts(url) == WHOLE | {"heartbeats": 2, "ingest_ledger": 2}
        await line.feed(message("BELL-1", "heartbeat", at=9))
        assert await tuples(url, "SELECT array_agg(batch ORDER BY batch) FROM ingest_ledger") == [
            ([1, 2, 3],)
        ]


async def test_a_database_that_comes_back_gets_the_batch(
    url: str, line: Line, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """While the server is away the commit waits and says so; then the batch is in exactly once."""
    batch = await line.decode(*MIXED)
    await asyncio.to_thread(database.stop)
    try:
        moving = asyncio.create_task(line.move(batch))
        await until(lambda: line.bridge.store.connection.retries >= 3, "the commit is tried again")
        assert (line.bridge.store.connection.is_up, line.acknowledged) == (False, [])
    finally:
        await asyncio.to_thread(database.start)
    await moving
    assert await counts(url) == WHOLE
    assert line.bridge.store.connection.is_up
    assert f"database at {where(url)}" in caplog.text


async def test_a_connection_that_died_while_idle_is_replaced(url: str, line: Line) -> None:
    """Every work of the store survives that its connection was ended in between."""
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'carebell' AND datname = current_database()"
    )
    await line.feed(message("BELL-1", "heartbeat", {"ts": milliseconds(0), "battery": 50}, at=1))
    await tuples(url, kill)
    again = message("BELL-1", "heartbeat", {"ts": milliseconds(0), "battery": 50}, at=2)
    assert (await line.feed(again)).duplicates == 1
    await tuples(url, kill)
    await line.feed(message("BELL-2", "heartbeat", at=3))  # registers a stranger
    assert (await counts(url))["heartbeats"] == 2


async def test_the_server_notices_a_dead_bridge_within_seconds(line: Line) -> None:
    """A writer whose machine vanished must not hold the lock for hours: its server probes the connection."""

    async def probing(connection: psycopg.AsyncConnection) -> list[Any]:
        query = "SELECT name, setting::int FROM pg_settings WHERE name LIKE 'tcp\\_%' ORDER BY name"
        return await (await connection.execute(query)).fetchall()

    found = dict(await line.bridge.store.connection.run(probing))
    assert 0 < found["tcp_keepalives_idle"] <= 30
    assert 0 < found["tcp_keepalives_interval"] * found["tcp_keepalives_count"] <= 30
    assert 0 < found["tcp_user_timeout"] <= 60_000


# ------------------------------------------------------------------------------------------------ two writers


async def test_a_second_writer_waits_for_the_first(
    url: str, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, reads nothing before the first has ended, and then starts from all that one committed."""
    second = Line(settings_for(url))
    waiting = asyncio.create_task(second.bridge.restore())
    await until(
        lambda: "another bridge writes to this database" in caplog.text, "the second one says that it waits"
    )
    await line.feed(*MIXED)
    assert not waiting.done()
    await line.crash()
    await waiting
    assert second.bridge.store.batch == 1
    redelivered = [message._replace(duplicate=True) for message in MIXED]
    assert (await second.feed(*redelivered)).duplicates == len(MIXED)
    await second.crash()


@pytest.mark.parametrize("before", [0, 1])
async def test_the_first_writer_gives_up_when_another_wrote(url: str, line: Line, before: int) -> None:
    """A bridge that lost its connection, and finds batches of another one, ends instead of writing."""
    for n in range(before):
        await line.feed(message("BELL-1", "heartbeat", at=n))
    await line.crash()  # its connection only: the bridge itself goes on
    async with Line(settings_for(url)) as other:
        await other.feed(message("BELL-2", "heartbeat", at=1))
    there = await counts(url)
    with pytest.raises(OverlapError, match="written by another bridge"):
        await line.feed(message("BELL-2", "sos", at=2, packet_id=7), lane=Lane.URGENT)
    assert await counts(url) == there
    assert len(line.acknowledged) == before


async def test_a_writer_that_nobody_overtook_goes_on(url: str, line: Line) -> None:
    """Losing the connection, and the lock with it, harms nobody if nobody wrote in between."""
    await line.feed(message("BELL-1", "heartbeat", at=1))
    await line.crash()
    async with Line(settings_for(url)):
        pass
    await line.feed(message("BELL-1", "heartbeat", at=2))
    assert (await counts(url))["heartbeats"] == 2


# ------------------------------------------------------------------------------------------------- duplicates


async def restarted(line: Line) -> Line:
    """Return a new bridge in place of one that vanished."""
    await line.crash()
    new = Line(line.bridge._settings)
    await new.bridge.restore()
    return new


@pytest.mark.parametrize("restart", [False, True])
async def test_a_redelivery_of_committed_messages_is_dropped(url: str, line: Line, *, restart: bool) -> None:
    """DUP=1 with an id and content that stand in the ledger: counted, not stored, also after a restart."""
    await line.feed(*MIXED)
    await line.feed(message("BELL-1", "sos", at=6, packet_id=1), lane=Lane.URGENT)
    there = await counts(url)
    if restart:
        line = await restarted(line)
    batch = await line.feed(*(each._replace(duplicate=True, received_at=after(60)) for each in MIXED))
    assert (batch.duplicates, len(batch.readings), batch.dead) == (len(MIXED), 0, [])
    call = message("BELL-1", "sos", at=61, packet_id=1, duplicate=True)
    assert (await line.feed(call, lane=Lane.URGENT)).duplicates == 1
    assert await counts(url) == there | {"ingest_ledger": 4}
    await line.crash()


async def test_only_a_redelivery_is_dropped(url: str, line: Line) -> None:
    """Without DUP, on another lane, with another id or other content, the same words are a new message."""
    call = message("BELL-1", "sos", at=1, packet_id=5)
    await line.feed(call, lane=Lane.URGENT)
    again = [
        call._replace(received_at=after(2)),
        call._replace(received_at=after(3), duplicate=True, packet_id=6),
        call._replace(received_at=after(4), duplicate=True, payload=b'{"seq": 2}'),
        call._replace(received_at=after(5), duplicate=True, packet_id=0),
    ]
    assert (await line.feed(*again, lane=Lane.URGENT)).duplicates == 0
    beat = message("BELL-1", "heartbeat", at=6, packet_id=5)
    assert (await line.feed(beat._replace(duplicate=True))).duplicates == 0
    assert await tuples(url, "SELECT count FROM alarms") == [(5,)]
    assert (await counts(url))["heartbeats"] == 1


async def test_a_redelivery_of_what_was_not_committed_is_stored(url: str, line: Line) -> None:
    """DUP=1 alone drops nothing: what the broker sent in vain before is stored when it comes again."""
    batch = await line.feed(*(each._replace(duplicate=True) for each in MIXED))
    assert batch.duplicates == 0
    assert await counts(url) == WHOLE


async def test_the_redelivery_of_an_ignored_message_stays_ignored(line: Line) -> None:
    """Each message is accounted for once: an urgent one on the telemetry lane is ignored, however often."""
    call = message("BELL-1", "sos", at=1, packet_id=9)
    first = await line.feed(call)
    second = await line.feed(call._replace(duplicate=True, received_at=after(2)))
    assert first.ignored == second.ignored == {"urgent_twin": 1}
    assert (first.duplicates, second.duplicates) == (0, 0)


@pytest.mark.parametrize("restart", [False, True])
async def test_a_retry_with_the_same_time_is_dropped(url: str, line: Line, *, restart: bool) -> None:
    """The same content with the same ts, below and at the watermark, of known devices and of unseen ones."""
    sent = [
        message(device, "vitals", {"ts": milliseconds(n), "hr": 70 + n}, at=10 + n)
        for device in ("BAND-1", "BAND-2")
        for n in (1, 2)
    ]
    await line.feed(*sent)
    await line.feed(
        message("BELL-1", "event", {"kind": "test", "ts": milliseconds(3)}, at=20), lane=Lane.URGENT
    )
    if restart:
        line = await restarted(line)
    for each in sent:
        again = each._replace(received_at=after(30))
        assert (await line.feed(again)).duplicates == 1
    again = message("BELL-1", "event", {"kind": "test", "ts": milliseconds(3)}, at=31)
    assert (await line.feed(again, lane=Lane.URGENT)).duplicates == 1
    there = await counts(url)
    assert (there["vitals"], there["events"]) == (4, 1)
    await line.crash()


async def test_a_call_with_a_clock_that_stands_still_is_heard(url: str, line: Line) -> None:
    """The same SOS soon after, while its alarm is open, is a retry; else somebody presses again: P2."""
    press = {"ts": milliseconds(0), "seq": 7}
    for at, alarms in ((1, [1]), (500, [1]), (700, [2]), (760, [3])):
        heard = await line.feed(message("BELL-1", "sos", press, at=at), lane=Lane.URGENT)
        assert heard.duplicates == (at > 1)
        assert [count for (count,) in await tuples(url, "SELECT count FROM alarms")] == alarms
    await script(url, "UPDATE alarms SET handling = 'closed', closed_at = now()")
    await line.feed(message("BELL-2", "sos", press, at=800), lane=Lane.URGENT)
    await script(url, "UPDATE alarms SET handling = 'closed', closed_at = now() WHERE closed_at IS NULL")
    await line.feed(message("BELL-2", "sos", press, at=810), lane=Lane.URGENT)
    open_now = "SELECT device, count FROM alarms JOIN devices USING (device_id) WHERE closed_at IS NULL"
    assert await tuples(url, open_now) == [("BELL-2", 1)]
    assert await tuples(url, "SELECT count(*) FROM events") == [(2,)]


@pytest.mark.parametrize("restart", [False, True])
async def test_what_is_new_is_kept(url: str, line: Line, *, restart: bool) -> None:
    """The same content without ts, other content at the same ts, an older ts: all stored."""
    at_one = {"ts": milliseconds(1), "hr": 70}
    await line.feed(message("BAND-1", "vitals", at_one, at=2), message("BAND-1", "vitals", {"hr": 70}, at=3))
    if restart:
        line = await restarted(line)
    batch = await line.feed(
        message("BAND-1", "vitals", {"hr": 70}, at=4),
        message("BAND-1", "vitals", {"hr": 70}, at=5),
        message("BAND-1", "vitals", at_one | {"hr": 71}, at=6),
        message("BAND-1", "vitals", at_one | {"seq": 1}, at=7),
        message("BAND-1", "vitals", at_one | {"ts": milliseconds(0)}, at=8),
        message("BAND-2", "vitals", at_one, at=9),
        message("BAND-1", "heartbeat", {"ts": milliseconds(1)}, at=10),
    )
    assert batch.duplicates == 0
    assert (await counts(url))["vitals"] == 8
    await line.crash()


async def test_twins_within_a_batch_are_dropped(url: str, line: Line) -> None:
    """Of messages that say the same of the same moment the first is stored; what is bad in one is kept."""
    one, two = ({"ts": milliseconds(n), "hr": 70} for n in (1, 2))
    batch = await line.feed(
        message("BAND-1", "vitals", one, at=3),
        message("BAND-1", "vitals", one, at=4),
        message("BAND-1", "vitals", {"readings": [one, two, two]}, at=5),
        message("BAND-1", "vitals", {"readings": [one, two]}, at=6),
        message("BAND-1", "vitals", one | {"spo2": "?"}, at=7),
    )
    assert batch.duplicates == 3
    assert await tuples(url, "SELECT ts, received_at FROM vitals ORDER BY ts") == [
        (to_datetime(after(1)), to_datetime(after(3))),
        (to_datetime(after(2)), to_datetime(after(5))),
    ]
    assert await tuples(url, "SELECT reason, whole FROM dead_letters") == [("bad_field", False)]


async def test_a_voided_ledger_forgets_the_session(url: str, line: Line) -> None:
    """Packet ids of a session that the broker lost mean nothing: they are new, also after a restart."""
    call = message("BELL-1", "sos", at=1, packet_id=1)
    await line.feed(call, lane=Lane.URGENT)
    await line.feed(message("BELL-1", "heartbeat", at=1, packet_id=1))
    await line.bridge.store.void_ledger(Lane.URGENT, 2, after(2))
    await line.feed(call._replace(received_at=after(2), packet_id=2), lane=Lane.URGENT, connection=1)
    line = await restarted(line)
    new = [call._replace(received_at=after(3 + n), packet_id=n, duplicate=True) for n in (1, 2)]
    assert (await line.feed(*new, lane=Lane.URGENT)).duplicates == 0
    assert await tuples(url, "SELECT count FROM alarms WHERE kind = 'sos'") == [(4,)]
    beat = message("BELL-1", "heartbeat", at=9, packet_id=1, duplicate=True)
    assert (await line.feed(beat)).duplicates == 1  # the other lane's session was not lost
    await line.crash()


async def test_voiding_waits_for_a_database_that_is_away(line: Line, database: Database) -> None:
    """A lost session while the database is away costs time: the ledger is voided when it is back."""
    call = message("BELL-1", "sos", at=1, packet_id=1)
    await line.feed(call, lane=Lane.URGENT)
    await asyncio.to_thread(database.stop)
    try:
        voiding = asyncio.create_task(line.bridge.store.void_ledger(Lane.URGENT, 2, after(2)))
        await asyncio.sleep(0.5)
        assert not voiding.done()
    finally:
        await asyncio.to_thread(database.start)
    await voiding
    line = await restarted(line)
    again = call._replace(received_at=after(2), duplicate=True)
    assert (await line.feed(again, lane=Lane.URGENT)).duplicates == 0
    await line.crash()


async def test_voiding_reaches_a_batch_that_is_being_committed(url: str, line: Line) -> None:
    """A session lost while its last batch is on the way to the database: that batch's ids are void too."""
    call = message("BELL-1", "sos", at=1, packet_id=1)
    batch = await line.decode(call, lane=Lane.URGENT)
    async with await psycopg.AsyncConnection.connect(url) as blocker:
        await blocker.execute("LOCK TABLE ingest_ledger IN SHARE MODE")
        moving = asyncio.create_task(line.move(batch))
        blocked = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'carebell' AND wait_event = 'relation'"
        )
        await until(lambda: rows(url, blocked), "the commit waits")
        voiding = asyncio.create_task(line.bridge.store.void_ledger(Lane.URGENT, 2, after(2)))
        await asyncio.sleep(0.2)
        await blocker.rollback()
    await asyncio.gather(moving, voiding)
    line = await restarted(line)
    again = call._replace(received_at=after(2), duplicate=True)
    assert (await line.feed(again, lane=Lane.URGENT)).duplicates == 0
    await line.crash()


async def test_the_ledger_is_trimmed_and_still_enough(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows go with a checkpoint once none of their messages is remembered; the last ones stay."""
    monkeypatch.setattr("store.writer.REMEMBERED", 10)
    settings = settings_for(url, checkpoint_every=0.001)
    async with Line(settings) as line:
        sent = [message("BELL-1", "heartbeat", at=n, packet_id=n) for n in range(1, 41)]
        for start in range(0, 40, 4):
            await line.feed(*sent[start : start + 4])
        await line.feed(message("BELL-1", "heartbeat", at=50, packet_id=50))
        assert len(await rows(url, "SELECT batch FROM ingest_ledger")) < 6
    async with Line(settings) as line:
        last = [each._replace(duplicate=True, received_at=each.received_at + 10**8) for each in sent[-9:]]
        assert (await line.feed(*last)).duplicates == 9


# --------------------------------------------------------------------------------------------------- the rest


async def test_a_far_time_is_found_again(url: str, line: Line) -> None:
    """A retry of a row of 29 days ago is dropped, in whatever chunk it lies."""
    old = message("BAND-1", "vitals", {"ts": milliseconds(-29 * 86_400), "hr": 70}, at=1)
    await line.feed(old)
    assert (await line.feed(old._replace(received_at=after(2)))).duplicates == 1
    assert await tuples(url, "SELECT ts FROM vitals") == [(to_datetime(START) - timedelta(days=29),)]


async def test_registering_twice_gives_the_same_number(url: str) -> None:
    """A device has one number, whoever registers it, and keeps the region that it has."""
    store = Store(settings_for(url), Engine(ruleset.load(ruleset.SHIPPED)))
    await restore.prepare(store, to_datetime(START))
    first = await store.register({"BELL-1": "430602", "?abc": None})
    second = await store.register({"BELL-1": "340100", "BELL-2": "340100"})
    assert second["BELL-1"] == first["BELL-1"]
    assert await tuples(url, "SELECT device, region, self_registered FROM devices ORDER BY device") == [
        ("?abc", None, True),
        ("BELL-1", "430602", True),
        ("BELL-2", "340100", True),
    ]
    await store.connection.close()


def test_where_tells_no_secret() -> None:
    """Messages to people name host, port and database, and neither user nor password."""
    assert where("postgresql://carebell:secret@db.example:5433/bell") == "db.example:5433/bell"
    assert where("not a url") == "the given URL"
