"""Dead letters that go down the line again, on both editions: each once, and nothing else moves."""

import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from ingest import metrics
from schemas.clock import to_datetime
from schemas.readings import Batch, Quality
from schemas.topics import Lane
from store import dead, dead_desk
from store.dead_desk import Chosen, Redriven
from tests.contract.kit import (
    Cutter,
    Line,
    after,
    counts,
    message,
    milliseconds,
    script,
    settings_for,
    state,
    tuples,
)

STRICT: dict[str, Any] = {"unknown_devices": "dead_letter", "checkpoint_every": 86_400}
HOUR = 3_600
ENTER = "INSERT INTO devices (device, region) VALUES ('BAND-1', '430602')"
NO_SLOW = "ALTER TABLE vitals ADD CONSTRAINT no_slow CHECK (hr IS NULL OR hr >= 50)"
MEND = "ALTER TABLE vitals DROP CONSTRAINT no_slow"
LEFT = "SELECT reason, whole, tries, redrive_id FROM dead_letters ORDER BY received_at"


@pytest.fixture
async def line(url: str) -> AsyncIterator[Line]:
    """Give a restored line to which strangers are unknown."""
    async with Line(settings_for(url, **STRICT)) as found:
        yield found


async def mark(url: str, chosen: Chosen | None = None) -> int:
    """Mark letters, as the command does."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await dead_desk.mark(connection, chosen or Chosen(), lambda _: None)


async def outcome(url: str, redrive_id: int) -> Redriven:
    """Return what became of a redrive."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await dead_desk.redriven(connection, redrive_id)


async def laid_ready(line: Line, at: float, url: str) -> Batch:
    """Return what waits as the batch that the bridge makes of it, `at` seconds after START."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        found = await dead.waiting(connection, 500, 10**6)
    line.bridge.source._clock = _At(at)  # type: ignore[assignment]
    return await line.bridge.source._again(found)


class _At:
    """A clock that shows one moment."""

    speed = 1.0

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> int:
        return after(self._at)


async def redrive(line: Line, url: str, at: float, chosen: Chosen | None = None) -> Redriven:
    """Mark letters and let the line take what waits."""
    redrive_id = await mark(url, chosen)
    await line.move(await laid_ready(line, at, url))
    return await outcome(url, redrive_id)


async def learn(line: Line) -> None:
    """Let the line learn the devices, as it does when news arrive."""
    from store import restore  # noqa: PLC0415 - beside its use

    async for part in restore.devices(line.bridge.store):
        line.bridge._learn(part)


def did(**counted: int) -> Redriven:
    """Return what a redrive of so many letters came to, with nothing left."""
    nothing = dict.fromkeys(("stored", "partly", "duplicate", "refused"), 0)
    return Redriven(marked=sum(counted.values()), waiting=0, **nothing | counted)


async def test_letters_of_an_unknown_device_are_stored_once_it_is_known(url: str, line: Line) -> None:
    """With their own times of receipt and of measurement; the letters are gone, and nothing is left to do."""
    sent = [
        message("BAND-1", "vitals", {"ts": milliseconds(n), "seq": n, "hr": 60 + n}, at=n + 0.5)
        for n in range(5)
    ]
    await line.feed(*sent)
    await line.feed(message("BAND-1", "vitals", {"hr": 90}, at=7))
    assert await counts(url) == {"dead_letters": 6, "ingest_ledger": 2}
    await script(url, ENTER)
    await learn(line)
    assert await redrive(line, url, HOUR) == did(stored=6)
    assert await tuples(url, "SELECT received_at, ts, time_quality, hr FROM vitals ORDER BY hr") == [
        *((to_datetime(after(n + 0.5)), to_datetime(after(n)), Quality.OK, 60 + n) for n in range(5)),
        (to_datetime(after(7)), to_datetime(after(7)), Quality.MISSING, 90),
    ]
    assert await tuples(url, LEFT) == []
    assert await redrive_nothing(url) == did()
    batch = await line.feed(sent[2]._replace(received_at=after(HOUR + 1)))
    assert batch.duplicates == 1  # and a retry of the device's knows that it stands


async def redrive_nothing(url: str) -> Redriven:
    """Mark all there is, which is nothing."""
    return await outcome(url, await mark(url))


async def test_what_is_still_wrong_stays_once(url: str, line: Line) -> None:
    """Letters that cannot be used now either stay, with a new reason, counted as tried, and not doubled."""
    await line.feed(
        message("BAND-1", "vitals", b"{", at=1),
        message("BAND-1", "vitals", {"hr": 60, "spo2": "?"}, at=2),
        message("BAND-1", "vitals", {"hr": 61}, at=3),
        message("BAND-2", "vitals", {"hr": 62}, at=4),
        message("BAND-1", "nonsense", at=5),
    )
    await script(url, ENTER)
    await learn(line)
    assert await redrive(line, url, HOUR) == did(refused=3, partly=1, stored=1)
    assert await tuples(url, LEFT) == [
        ("not_json", True, 1, None),
        ("bad_field", False, 1, None),
        ("unknown_device", True, 1, None),
        ("unknown_channel", True, 1, None),
    ]
    assert await redrive(line, url, HOUR) == did(refused=3)  # the part is not taken: the rest stands
    assert [tries for _, _, tries, _ in await tuples(url, LEFT)] == [2, 1, 2, 2]
    assert await tuples(url, "SELECT hr FROM vitals ORDER BY hr") == [(60,), (61,)]


async def test_rows_that_the_database_refused_are_stored_after_it_was_mended(url: str, line: Line) -> None:
    """Of a late batch only those that are missing; while nothing is mended they stay, and are not doubled."""
    await script(url, f"{ENTER}; {NO_SLOW}")
    await learn(line)
    late = [{"ts": milliseconds(n), "hr": hr} for n, hr in enumerate((60, 40, 61))]
    await line.feed(
        message("BAND-1", "vitals", {"readings": late}, at=5), message("BAND-1", "vitals", {"hr": 41}, at=6)
    )
    assert await redrive(line, url, HOUR) == did(refused=2)
    assert [(reason, whole, tries) for reason, whole, tries, _ in await tuples(url, LEFT)] == [
        ("refused", False, 1),
        ("refused", True, 1),
    ]
    await script(url, MEND)
    assert await redrive(line, url, HOUR) == did(stored=2)
    assert await tuples(url, "SELECT hr, received_at FROM vitals ORDER BY hr") == [
        (40, to_datetime(after(5))),
        (41, to_datetime(after(6))),
        (60, to_datetime(after(5))),
        (61, to_datetime(after(5))),
    ]
    assert await tuples(url, LEFT) == []


async def test_what_stands_already_is_a_duplicate(url: str, line: Line) -> None:
    """The device sent it again meanwhile, by itself: the letter goes, and nothing is stored twice."""
    said = {"ts": milliseconds(1), "hr": 60}
    await line.feed(message("BAND-1", "vitals", said, at=2))
    await script(url, ENTER)
    await learn(line)
    await line.feed(message("BAND-1", "vitals", said, at=9))
    assert await redrive(line, url, HOUR) == did(duplicate=1)
    assert await tuples(url, "SELECT received_at FROM vitals") == [(to_datetime(after(9)),)]


async def test_a_bad_part_stays_where_the_rest_stands(url: str, line: Line) -> None:
    """The device sent the good part again: the letter keeps saying what was wrong with the other."""
    said = {"ts": milliseconds(1), "hr": 60}
    await line.feed(message("BAND-1", "vitals", said | {"spo2": "?"}, at=2))
    await script(url, ENTER)
    await learn(line)
    await line.feed(message("BAND-1", "vitals", said, at=9))
    assert await redrive(line, url, HOUR) == did(refused=1)
    assert await tuples(url, LEFT) == [("bad_field", False, 1, None)]


async def test_what_was_cut_is_not_marked(url: str, line: Line) -> None:
    """A payload of which only the beginning was kept cannot go down the line again."""
    await line.feed(message("BAND-1", "vitals", b"[" * 70_000, at=1))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        found = await dead_desk.survey(connection, Chosen())
    assert (found.found, found.cut, found.parts) == (1, 1, 0)
    assert await redrive_nothing(url) == did()


# ---------------------------------------------------------------------------------------------------- alarms

ALARMS = "SELECT device, kind, quality, count, raised_at FROM alarms JOIN devices USING (device_id)"


async def test_a_call_that_was_heard_is_not_raised_again(url: str, line: Line) -> None:
    """The row of an SOS was refused, its alarm was not: after the redrive it stands and nobody is called."""
    await script(url, "ALTER TABLE events ADD CONSTRAINT no_calls CHECK (event <> 1)")
    await line.feed(message("BELL-1", "sos", {"source": "cord"}, at=1), lane=Lane.URGENT)
    heard = await tuples(url, ALARMS)
    await script(
        url,
        "ALTER TABLE events DROP CONSTRAINT no_calls;"
        "UPDATE alarms SET closed_at = now(), handling = 'closed'",
    )
    assert await redrive(line, url, HOUR) == did(stored=1)
    assert await tuples(url, ALARMS) == heard
    assert await tuples(url, "SELECT event, received_at FROM events") == [(1, to_datetime(after(1)))]


@pytest.mark.parametrize(("age", "quality"), [(HOUR, "late"), (60, "ok")])
async def test_a_call_that_nobody_heard_is_an_alarm(url: str, line: Line, age: float, quality: str) -> None:
    """It is raised at its time of receipt, marked 迟到 if that is long ago."""
    await line.feed(message("BELL-1", "heartbeat", at=0))
    await script(url, "INSERT INTO devices (device) VALUES ('BELL-1')")
    await learn(line)
    await line.feed(message("BELL-1", "nonsense", b'{"source": "cord"}', at=1))
    await script(url, "UPDATE dead_letters SET topic = replace(topic, 'nonsense', 'sos')")  # a mapping mended
    await redrive(line, url, 1 + age, Chosen(reason="unknown_channel"))
    assert await tuples(url, ALARMS) == [("BELL-1", "sos", quality, 1, to_datetime(after(1)))]


async def test_an_unreadable_call_does_not_cry_again(url: str, line: Line) -> None:
    """It was an alarm when it came; re-driven in vain it is none."""
    await line.feed(message("BELL-1", "sos", b"{", at=1), lane=Lane.URGENT)
    assert await redrive(line, url, HOUR) == did(refused=1)
    assert [row[3] for row in await tuples(url, ALARMS)] == [1]


async def test_an_unreadable_call_that_nobody_heard_cries_once(url: str, line: Line) -> None:
    """A topic that is understood only now calls for help; however often it is tried, once."""
    await script(url, "INSERT INTO devices (device) VALUES ('BELL-1')")
    await learn(line)
    await line.feed(message("BELL-1", "nonsense", b"{", at=1))
    await script(url, "UPDATE dead_letters SET topic = replace(topic, 'nonsense', 'sos')")
    for _ in range(2):
        assert await redrive(line, url, HOUR) == did(refused=1)
        assert await tuples(url, ALARMS) == [("BELL-1", "sos", "unreadable", 1, to_datetime(after(1)))]


async def test_what_is_past_moves_no_condition(url: str, line: Line) -> None:
    """An old pulse, an old low battery and an old beat of a silent device raise, clear and end nothing."""
    await script(url, "INSERT INTO devices (device, heartbeat_seconds) VALUES ('BELL-1', 60), ('BELL-2', 60)")
    await learn(line)
    await script(
        url,
        "ALTER TABLE heartbeats ADD CONSTRAINT no CHECK (battery <> 99);"
        "ALTER TABLE events ADD CONSTRAINT no CHECK (event <> 5)",
    )
    await line.feed(message("BELL-1", "heartbeat", {"battery": 50}, at=1))
    await line.tick(600)
    await script(url, "UPDATE dead_letters SET whole = whole")
    query = "SELECT kind, condition FROM alarms ORDER BY alarm_id"
    assert await tuples(url, query) == [("device_silent", "active")]
    letters = (
        "INSERT INTO dead_letters (received_at, batch, topic, payload, payload_length, payload_sha256,"
        " reason, detail, whole) VALUES"
    )
    for n, (channel, payload) in enumerate(
        [
            ("heartbeat", {"battery": 99}),
            ("event", {"kind": "low_battery"}),
            ("event", {"kind": "mains_lost"}),
        ]
    ):
        body = json.dumps(payload)
        await script(
            url,
            f"{letters} ('{to_datetime(after(300 + n))}', 1, 'carebell/v1/430602/BELL-1/{channel}', '{body}',"
            f" {len(body)}, '', 'unknown_device', '', true)",
        )
    await script(url, "ALTER TABLE heartbeats DROP CONSTRAINT no; ALTER TABLE events DROP CONSTRAINT no")
    before = state(line.engine)
    assert await redrive(line, url, 700) == did(stored=3)
    assert state(line.engine) == before
    assert await tuples(url, query) == [("device_silent", "active")]


# ------------------------------------------------------------------------------------ once, whatever happens


async def test_a_crash_before_the_commit_changes_nothing(url: str, line: Line) -> None:
    """The letters still wait and are taken by the next bridge; after the commit none is left to take."""
    await line.feed(*(message("BAND-1", "vitals", {"hr": 60 + n}, at=n) for n in range(4)))
    await script(url, ENTER)
    redrive_id = await mark(url)
    await line.crash()
    async with Line(settings_for(url, **STRICT)) as other:
        await other.move(await laid_ready(other, HOUR, url))
    assert await outcome(url, redrive_id) == did(stored=4)
    assert await tuples(url, "SELECT count(*), count(DISTINCT hr) FROM vitals") == [(4, 4)]


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_reply_to_commit_settles_once(url: str, *, landed: bool) -> None:
    """Cut off before COMMIT arrived, or before its reply did: rows, letters and counts are in once."""
    async with Cutter(url) as proxy, Line(settings_for(proxy.url, **STRICT)) as line:
        await line.feed(*(message("BAND-1", "vitals", {"hr": 60 + n}, at=n) for n in range(4)))
        await script(url, ENTER)
        await learn(line)
        redrive_id = await mark(url)
        batch = await laid_ready(line, HOUR, url)
        if landed:
            proxy.cut_reply()
        else:
            proxy.cut_command()
        await line.move(batch)
        assert proxy.cuts == 1
    assert await outcome(url, redrive_id) == did(stored=4)
    assert await tuples(url, "SELECT count(*) FROM vitals") == [(4,)]


async def test_a_restore_after_a_redrive_gives_the_same_state(url: str, line: Line) -> None:
    """The engine learned nothing from it, so a restore does not either; nor is what it had learned lost."""
    await script(url, "INSERT INTO devices (device) VALUES ('BELL-1')")
    await learn(line)
    await line.feed(message("BELL-1", "sos", b"{", at=1), lane=Lane.URGENT)
    await line.feed(
        message("BAND-1", "vitals", {"hr": 140}, at=2), message("BAND-2", "vitals", {"hr": 140}, at=3)
    )
    await script(url, f"{ENTER}, ('BAND-2', '430602')")
    await learn(line)
    await line.feed(message("BAND-1", "vitals", {"hr": 150}, at=HOUR))
    await script(url, "UPDATE dead_letters SET payload = '{}', payload_length = 2 WHERE reason = 'not_json'")
    assert await redrive(line, url, HOUR + 1) == did(stored=3)
    await line.feed(message("BAND-1", "vitals", {"hr": 151}, at=HOUR + 2))
    expected = state(line.engine)
    await line.crash()
    again = Line(settings_for(url, **STRICT))
    setattr(again.engine, "forgive", lambda _now: None)  # noqa: B010 - an attribute over the method
    async with again:
        assert state(again.engine) == expected
        assert again.bridge.store.batch == 5


async def test_the_account_of_messages_is_not_disturbed(url: str, line: Line) -> None:
    """What is re-driven was received long ago: it is counted apart from what was received."""

    def counted() -> dict[str, float]:
        names = ("RECEIVED", "STORED", "DUPLICATE", "DEAD", "IGNORED", "IN_FLIGHT")
        return {name: metrics._sum([getattr(metrics, name)]) for name in names}

    await line.feed(message("BAND-1", "vitals", {"hr": 60}, at=1), message("BAND-2", "vitals", b"{", at=2))
    await script(url, ENTER)
    await learn(line)
    before, redriven = counted(), metrics._sum([metrics.REDRIVEN])
    await redrive(line, url, HOUR)
    assert counted() == before
    assert metrics._sum([metrics.REDRIVEN]) - redriven == 2


# ------------------------------------------------------------------------------------------------- the desk


async def test_purge_deletes_what_is_chosen_and_not_needed(url: str, line: Line) -> None:
    """Letters that a restore would still read stay; after a checkpoint those chosen go and no others."""
    await script(url, ENTER)
    await learn(line)
    await line.feed(message("BAND-1", "vitals", b"{", at=1), message("BAND-1", "vitals", b"[]", at=HOUR))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        assert await dead_desk.purge(connection, Chosen(), lambda _: None) == 0
        await line.feed(message("BAND-1", "nonsense", at=2 * HOUR))
        line.bridge.store.checkpoints.soon()
        await line.feed(message("BAND-1", "nonsense", at=3 * HOUR))
        chosen = Chosen(until=to_datetime(after(2 * HOUR)))
        assert (await dead_desk.survey(connection, chosen)).found == 2
        assert await dead_desk.purge(connection, chosen, lambda _: None) == 2
        assert len(await dead_desk.letters(connection, Chosen(), 10)) == 2


async def test_letters_are_chosen_by_all_that_is_said(
    url: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number, reason, beginning of the topic and time, in any combination, also many at a time."""
    monkeypatch.setattr("store.dead_desk.AT_ONCE", 3)
    await line.feed(*(message(f"BAND-{n % 2}", "vitals", {"hr": 60}, at=n) for n in range(1, 11)))
    await line.feed(message("BAND-1", "nonsense", at=20))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:

        async def found(**said: Any) -> list[int]:  # noqa: ANN401 - of several types
            return [each.dead_letter_id for each in await dead_desk.letters(connection, Chosen(**said), 100)]

        assert await found() == list(range(11, 0, -1))
        assert await found(ids=(3, 5, 99)) == [5, 3]
        assert await found(reason="unknown_channel") == [11]
        assert await found(topic="carebell/v1/430602/BAND-0/") == [10, 8, 6, 4, 2]
        assert await found(since=to_datetime(after(9)), reason="unknown_device") == [10, 9]
        assert [each.letters for each in await dead_desk.by_reason(connection, Chosen())] == [10, 1]
        redrive_id = await dead_desk.mark(connection, Chosen(until=to_datetime(after(9))), lambda _: None)
        assert (await dead_desk.redriven(connection, redrive_id)).waiting == 8
        card = await dead_desk.show(connection, 1)
        assert (card.text, card.hex, card.waiting) == ('{"hr": 60}', b'{"hr": 60}'.hex(), True)
