"""Rows that the database refuses, on both editions: dead letters; all else of the batch is stored (P7)."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from ingest import metrics
from schemas.alarms import KINDS, Move, Transition
from schemas.readings import Batch, Delivery
from schemas.topics import Lane
from tests.contract.kit import (
    Cutter,
    Line,
    after,
    counts,
    message,
    milliseconds,
    script,
    settings_for,
    tuples,
)

LETTERS = "SELECT topic, payload, reason, detail, whole FROM dead_letters ORDER BY received_at"
NO_SLOW = "ALTER TABLE vitals ADD CONSTRAINT no_slow CHECK (hr IS NULL OR hr >= 50)"
STATE = "SELECT count(*) FROM vitals"


@pytest.fixture
async def line(url: str) -> AsyncIterator[Line]:
    """Give a restored line that makes a checkpoint only where it must."""
    async with Line(settings_for(url, checkpoint_every=86_400)) as found:
        yield found


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    """See after each test that every message is accounted for."""
    before = metrics.identity_difference()
    yield
    assert metrics.identity_difference() == before


def hearts(*rates: int) -> list[Delivery]:
    """Return a vitals message for each heart rate, a second apart."""
    return [
        message("BAND-1", "vitals", {"ts": milliseconds(n), "hr": rate}, at=n + 1, packet_id=n + 1)
        for n, rate in enumerate(rates)
    ]


async def stored(url: str) -> list[float]:
    """Return the heart rates that stand in the history, in their order."""
    return [hr for (hr,) in await tuples(url, "SELECT hr FROM vitals ORDER BY received_at")]


# ------------------------------------------------------------------------------------------- readings, events


@pytest.mark.parametrize(
    "rates",
    [(40,), (70, 40), (40, 70, 71, 72, 73, 41, 42, 74), tuple(range(40, 50)), (70, *range(40, 50), 71)],
    ids=["the only one", "the last", "three of eight", "all", "all but the ends"],
)
async def test_refused_rows_are_dead_letters(url: str, line: Line, rates: tuple[int, ...]) -> None:
    """Whichever rows break a constraint: these are dead letters with the server's word, the others stand."""
    await script(url, NO_SLOW)
    batch = await line.feed(*hearts(*rates))
    bad = [each for each in hearts(*rates) if b'"hr": 4' in each.payload]
    assert await stored(url) == [hr for hr in rates if hr >= 50]
    letters = await tuples(url, LETTERS)
    assert [(topic, payload, reason) for topic, payload, reason, _, _ in letters] == [
        (each.topic, each.payload, "refused") for each in bad
    ]
    assert all("no_slow" in detail and "23514" in detail and whole for *_, detail, whole in letters)
    assert len(batch.dead) == len(bad)
    assert await tuples(url, "SELECT octet_length(packet_ids) / 4 FROM ingest_ledger") == [(len(rates),)]
    await line.feed(message("BAND-1", "vitals", {"hr": 80}, at=99))
    assert (await stored(url))[-1] == 80


async def test_the_tables_are_sifted_each_for_itself(url: str, line: Line) -> None:
    """A constraint on each table refuses one row there; the neighbours in the same batch stand."""
    await script(
        url,
        f"{NO_SLOW}; ALTER TABLE heartbeats ADD CHECK (battery >= 10);"
        "ALTER TABLE activity ALTER room TYPE varchar(3); ALTER TABLE events ADD CHECK (event <> 12)",
    )
    await line.feed(
        message("BAND-1", "vitals", {"hr": 40}, at=1),
        message("BAND-1", "vitals", {"hr": 60}, at=2),
        message("BELL-1", "heartbeat", {"battery": 5}, at=3),
        message("BELL-1", "heartbeat", {"battery": 50}, at=4),
        message("BELL-1", "activity", {"room": "卫生间大"}, at=5),
        message("BELL-1", "activity", {"room": "卫生间"}, at=6),
        message("BELL-1", "nonsense", at=7),
    )
    await line.feed(
        message("BELL-1", "event", {"kind": "worn"}, at=8),
        message("BELL-1", "event", {"kind": "check_in"}, at=9),
        lane=Lane.URGENT,
    )
    there = await counts(url)
    assert {name: there[name] for name in ("vitals", "heartbeats", "activity", "events", "dead_letters")} == {
        **dict.fromkeys(("vitals", "heartbeats", "activity", "events"), 1),
        "dead_letters": 5,
    }
    details = dict(await tuples(url, "SELECT payload, detail FROM dead_letters WHERE reason = 'refused'"))
    assert "22001" in next(detail for payload, detail in details.items() if b"room" in payload)


async def test_the_alarm_of_a_refused_call_is_raised(url: str, line: Line) -> None:
    """The row of an SOS is refused: it is a dead letter, and somebody is called all the same."""
    await script(url, "ALTER TABLE events ADD CHECK (event <> 1)")
    await line.feed(message("BELL-1", "sos", {"source": "cord"}, at=1), lane=Lane.URGENT)
    assert await tuples(url, "SELECT kind, quality, count FROM alarms") == [("sos", "ok", 1)]
    assert [reason for _, _, reason, _, _ in await tuples(url, LETTERS)] == ["refused"]


async def test_a_part_of_a_message_may_be_refused(url: str, line: Line) -> None:
    """Of a late batch of readings the good ones stand; the letter has the payload and says it is a part."""
    await script(url, NO_SLOW)
    late = [{"ts": milliseconds(n), "hr": hr} for n, hr in enumerate((60, 40, 61, 41))]
    await line.feed(message("BAND-1", "vitals", {"readings": late}, at=9))
    assert await stored(url) == [60, 61]
    ((_, payload, reason, _, whole),) = await tuples(url, LETTERS)
    assert (payload.count(b"hr"), reason, whole) == (4, "refused", False)


async def test_a_message_of_which_nothing_is_stored_has_one_letter(url: str, line: Line) -> None:
    """A bad field and a refused row in one message: one letter with all its bytes."""
    await script(url, NO_SLOW)
    await line.feed(message("BAND-1", "vitals", {"hr": 40, "spo2": "?"}, at=9))
    assert [(reason, whole) for *_, reason, _, whole in await tuples(url, LETTERS)] == [("refused", True)]


@pytest.mark.parametrize("when", ["IMMEDIATE", "DEFERRED"])
async def test_a_foreign_key_refuses_its_row(url: str, line: Line, when: str) -> None:
    """A row whose key is missing is found, also where the server looks only at COMMIT."""
    await script(
        url,
        "CREATE TABLE paid (device_id integer PRIMARY KEY);"
        "ALTER TABLE vitals ADD CONSTRAINT paid FOREIGN KEY (device_id) REFERENCES paid"
        f" DEFERRABLE INITIALLY {when}",
    )
    await line.feed(message("BAND-1", "heartbeat", at=1), message("BAND-2", "heartbeat", at=2))
    await script(url, "INSERT INTO paid SELECT device_id FROM devices WHERE device = 'BAND-1'")
    await line.feed(*(message(f"BAND-{n % 2 + 1}", "vitals", {"hr": 60 + n}, at=10 + n) for n in range(6)))
    assert await stored(url) == [60, 62, 64]
    assert [detail[-7:] for _, _, _, detail, _ in await tuples(url, LETTERS)] == ["(23503)"] * 3


# --------------------------------------------------------------------------------------------- what stands


async def test_a_unique_violation_is_no_dead_letter(url: str, line: Line) -> None:
    """Rows that stand although no watermark knew are dropped as duplicates; the others are stored."""
    await line.feed(message("BAND-1", "heartbeat", at=1))
    sent = hearts(60, 61, 62)
    await line.feed(sent[1]._replace(packet_id=9))
    line.bridge.store.watermarks._marks[:] = 0
    line.bridge.store.watermarks._floor = 0
    batch = await line.feed(*sent)
    assert await stored(url) == [60, 61, 62]
    assert (batch.duplicates, batch.dead) == (1, [])
    assert "dead_letters" not in await counts(url)


async def test_duplicates_and_refused_rows_are_told_apart(url: str, line: Line) -> None:
    """A batch with rows of both sorts: the one is counted, the other a dead letter."""
    await line.feed(message("BAND-1", "heartbeat", at=1))
    sent = hearts(60, 40, 62)
    await line.feed(sent[0]._replace(packet_id=9))
    line.bridge.store.watermarks._marks[:] = 0
    line.bridge.store.watermarks._floor = 0
    await script(url, NO_SLOW)
    batch = await line.feed(*sent)
    assert await stored(url) == [60, 62]
    assert (batch.duplicates, [letter.reason for letter in batch.dead]) == (1, ["refused"])


async def test_a_unique_constraint_of_somebody_else_refuses(url: str, line: Line) -> None:
    """A key that is not ours is violated for ever: its row is a dead letter, the line goes on."""
    await script(url, "CREATE UNIQUE INDEX theirs ON vitals (hr, ts)")
    same = {"ts": milliseconds(1), "hr": 60}
    await line.feed(message("BAND-1", "vitals", same, at=2), message("BAND-2", "vitals", same, at=3))
    assert await tuples(url, STATE) == [(1,)]
    assert [detail[-7:] for _, _, _, detail, _ in await tuples(url, LETTERS)] == ["(23505)"]


# --------------------------------------------------------------------------------- dead letters, transitions


@pytest.mark.parametrize(
    ("constraint", "left"),
    [
        ("CHECK (octet_length(payload) < 5)", (b"", 15)),
        ("CHECK (topic LIKE 'x%' OR topic = '')", (b"", 15)),
        ("CHECK (reason <> 'not_json')", None),
    ],
    ids=["its bytes", "its topic", "whatever is left"],
)
async def test_a_dead_letter_that_is_refused_keeps_what_it_can(
    url: str, line: Line, constraint: str, left: tuple[bytes, int] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Length, sha256 and reason stay where the database takes anything, else the log has them."""
    await script(url, f"ALTER TABLE dead_letters ADD {constraint}")
    batch = await line.feed(
        message("BELL-1", "heartbeat", b"not JSON at all", at=1), message("BELL-1", "heartbeat", at=2)
    )
    assert (await counts(url))["heartbeats"] == 1
    query = "SELECT payload, payload_length FROM dead_letters WHERE reason = 'not_json'"
    assert await tuples(url, query) == ([left] if left else [])
    assert (batch.dead[0].sha256.hex() in caplog.text) is (left is None)


async def test_an_alarm_of_a_deleted_device_is_raised(url: str, line: Line) -> None:
    """Somebody deleted the device's row: it is entered again under its name, and the alarm stands for it."""
    await line.feed(message("BELL-1", "heartbeat", at=1), message("BELL-2", "heartbeat", at=1.5))
    await script(url, "DELETE FROM devices WHERE device = 'BELL-1'")
    await line.feed(
        message("BELL-2", "sos", at=2), message("BELL-1", "sos", {"source": "cord"}, at=3), lane=Lane.URGENT
    )
    found = await tuples(
        url, "SELECT device, region, kind, count FROM alarms JOIN devices USING (device_id) ORDER BY 1"
    )
    assert found == [("BELL-1", "430602", "sos", 1), ("BELL-2", "430602", "sos", 1)]
    assert "dead_letters" not in await counts(url)


async def test_an_alarm_of_a_device_that_got_another_number_is_raised(url: str, line: Line) -> None:
    """Deleted and entered anew, a device has another number: the alarm stands for that one."""
    await line.feed(message("BELL-1", "heartbeat", at=1))
    await script(url, "DELETE FROM devices; INSERT INTO devices (device, region) VALUES ('BELL-1', '430602')")
    await line.feed(message("BELL-1", "sos", at=3), lane=Lane.URGENT)
    assert await tuples(url, "SELECT device FROM alarms JOIN devices USING (device_id)") == [("BELL-1",)]


async def test_an_alarm_that_cannot_be_written_at_all_does_not_stop_the_line(
    url: str, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are raised, the log tells of the loss, and a dead letter has the message that brought it."""
    await script(url, "ALTER TABLE alarms ADD CHECK (kind <> 'fall')")
    await line.feed(message("BELL-1", "fall", at=1), message("BELL-1", "sos", at=2), lane=Lane.URGENT)
    assert await tuples(url, "SELECT kind FROM alarms") == [("sos",)]
    assert "IT IS LOST" in caplog.text
    ((topic, _, reason, detail, whole),) = await tuples(url, LETTERS)
    assert (topic.endswith("/fall"), reason, whole) == (True, "refused", False)
    assert detail.startswith("its fall alarm: ")


async def test_refused_transitions_keep_their_order(url: str, line: Line) -> None:
    """A raise that has to be mended is written before the clear that followed it."""
    await line.feed(message("BELL-1", "heartbeat", at=1))
    await script(url, "DELETE FROM devices")
    severity = KINDS["low_battery"].severity
    moves = [Transition(1, "low_battery", move, after(n), severity) for n, move in enumerate(Move, 2)]
    await line.bridge.store.commit(Batch(Lane.TELEMETRY, after(9)), moves)
    assert await tuples(url, "SELECT condition, device FROM alarms JOIN devices USING (device_id)") == [
        ("cleared", "?1")
    ]


# -------------------------------------------------------------------------------------------------- weather

TRAP = """
CREATE SEQUENCE tries;
CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.hr < 50 AND nextval('tries') = 4 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(30);
    END IF;
    IF NEW.hr < 50 THEN RAISE check_violation USING CONSTRAINT = 'trap', MESSAGE = 'too slow'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER trap BEFORE INSERT ON vitals FOR EACH ROW EXECUTE FUNCTION trap()
"""


async def test_weather_in_the_midst_of_bisecting(url: str, line: Line) -> None:
    """The backend dies while rows are sought: all is done again, and everything is in once."""
    await script(url, TRAP)
    batch = await line.feed(*hearts(60, 40, 61, 62, 41, 63))
    assert line.bridge.store.connection.retries == 1
    assert await stored(url) == [60, 61, 62, 63]
    assert [letter.detail for letter in batch.dead] == ["too slow (23514)"] * 2
    assert (await counts(url))["dead_letters"] == 2


async def test_the_reply_to_a_sifted_commit_is_lost(url: str) -> None:
    """COMMIT of the slow way landed and nobody heard: it is written once, and counted as it is."""
    await script(url, NO_SLOW)
    async with Cutter(url) as proxy, Line(settings_for(proxy.url)) as line:
        await line.feed(message("BAND-1", "heartbeat", at=0.5))
        batch = await line.decode(*hearts(60, 40, 61))
        proxy.cut_reply()
        await line.move(batch)
        assert proxy.cuts == 1
        assert await stored(url) == [60, 61]
        assert [letter.reason for letter in batch.dead] == ["refused"]
        assert (await counts(url))["dead_letters"] == 1


async def test_a_command_lost_before_a_sifted_commit(url: str) -> None:
    """COMMIT never arrived: the whole is done again."""
    await script(url, NO_SLOW)
    async with Cutter(url) as proxy, Line(settings_for(proxy.url)) as line:
        batch = await line.decode(*hearts(60, 40, 61))
        proxy.cut_command()
        await line.move(batch)
        assert await stored(url) == [60, 61]
        assert (await counts(url))["dead_letters"] == 1


async def test_a_refused_row_is_followed_by_a_checkpoint(url: str, line: Line) -> None:
    """What the engine saw of a refused row no restore can read: the next tick brings a checkpoint."""
    await script(url, NO_SLOW)
    await line.feed(*hearts(60, 40))
    before = await tuples(url, "SELECT max(batch) FROM engine_checkpoints")
    await line.tick(5)
    assert before != [(1,)]
    assert await tuples(url, "SELECT batch FROM engine_checkpoints") == [(1,)]
    await line.tick(6)
    assert await tuples(url, "SELECT max(batch) FROM ingest_ledger") == [(2,)]


async def test_the_fast_way_asks_nothing_more(line: Line) -> None:
    """While nothing is wrong there is no savepoint and no look-up: a commit is what it was."""
    said: list[bytes] = []

    async def watch(connection: psycopg.AsyncConnection) -> None:
        original = connection.execute

        async def execute(query: bytes, *rest: Any, **more: Any) -> object:  # noqa: ANN401 - passed on
            said.append(query)
            return await original(query, *rest, **more)

        setattr(connection, "execute", execute)  # noqa: B010 - an attribute over the method

    await line.bridge.store.connection.run(watch)
    for n in (1.0, 1.5):  # the second batch brings the new device's checkpoint
        await line.feed(message("BAND-1", "heartbeat", at=n))
    said.clear()
    await line.feed(*(message("BAND-1", "heartbeat", at=n) for n in range(2, 50)))
    assert [query.split()[:2] for query in said] == [[b"INSERT", b"INTO"]]
