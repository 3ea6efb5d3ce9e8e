"""Promise P3 in two languages: the fold of replay and backtest against the SQL of the line."""

import random
from collections.abc import AsyncIterator

import pytest
from psycopg import AsyncConnection

from ingest.replay import Replay, closings, lines
from schemas.alarms import KINDS, Move, Severity, Transition
from store import recording, rows
from tests.contract.kit import after, script, tuples
from tests.desk import close_alarm, connect

DEVICES = 3
CHOSEN = ("sos", "fall", "hr_high", "low_battery", "device_silent")
AREAS = ("430602", "broker")


@pytest.fixture
async def connection(url: str) -> AsyncIterator[AsyncConnection]:
    """Give a connection to a database that knows some devices."""
    names = ", ".join(f"('D-{n}', '430602')" for n in range(1, DEVICES + 1))
    await script(url, f"INSERT INTO devices (device, region) VALUES {names}")
    async with connect(url) as found:
        yield found


def decision(rng: random.Random, at: int) -> Transition:
    """Return anything that an engine might say, sensible or not."""
    move = rng.choice([Move.RAISE, Move.RAISE, *Move])
    severity, quality = rng.choice(list(Severity)), rng.choice(["ok", "ok", "late", "unreadable"])
    values = {"hr": rng.randrange(200) / 2, "since": at, "when": "hr >= 1 and 'ü'"}
    if rng.random() < 0.2:
        return Transition(-1, "area_outage", move, at, severity, quality, values, rng.choice(AREAS), rule=9)
    parent = rng.choice(["", "", *AREAS]) if move in {Move.RAISE, Move.SUPPRESS} else ""
    device_id, kind = rng.randrange(1, DEVICES + 1), rng.choice(CHOSEN)
    return Transition(device_id, kind, move, at, severity, quality, values, "", parent, rng.randrange(2))


async def people_close(rng: random.Random, connection: AsyncConnection, url: str, at: int) -> None:
    """Let somebody close one of the alarms that are open."""
    found = await tuples(url, "SELECT alarm_id FROM alarms WHERE closed_at IS NULL ORDER BY alarm_id")
    if found:
        (alarm_id,) = rng.choice(found)
        await close_alarm(connection, alarm_id, at)


@pytest.mark.parametrize("seed", range(2))
async def test_the_fold_does_what_the_database_does(url: str, connection: AsyncConnection, seed: int) -> None:
    """For random decisions in random transactions, while people close alarms, also some open before."""
    rng = random.Random(seed)
    seconds = iter(range(10_000))

    async def some() -> list[Transition]:
        told = [decision(rng, after(next(seconds))) for _ in range(rng.randrange(1, 12))]
        async with connection.transaction():
            await rows.write_transitions(connection, told, 1)
        if rng.random() < 0.5:
            await people_close(rng, connection, url, after(next(seconds)))
        return told

    for _ in range(5):
        await some()
    marks, before = await recording.begin(connection)
    decisions = [each for _ in range(40) for each in await some()]
    stands = await recording.alarms(connection, marks)
    assert len(stands.rows) > 40
    assert stands.closed
    replay = Replay(closed=closings(stands.rows, stands.closed))
    replay._start({"max_payload": 1, "alarms": before.rows, "rules": replay._engine.rules.text})
    replay._names = {n: f"D-{n}" for n in range(1, DEVICES + 1)}
    replay._fold_in(decisions)
    assert lines(replay.play([])) == lines(stands.rows)


async def test_a_recording_leaves_out_alarms_of_the_line(connection: AsyncConnection) -> None:
    """No rule decides that a session was lost; and what is closed before a recording is none of it."""
    own = Transition(1, "session_lost", Move.RAISE, after(1), KINDS["session_lost"].severity)
    await rows.write_transitions(connection, [own], None)
    marks, begun = await recording.begin(connection)
    assert (begun.rows, marks.open) == ([], [])
    pulse = Transition(1, "hr_high", Move.RAISE, after(2), Severity.HIGH)
    await rows.write_transitions(connection, [own, pulse], 1)
    assert [row["kind"] for row in (await recording.alarms(connection, marks)).rows] == ["hr_high"]
