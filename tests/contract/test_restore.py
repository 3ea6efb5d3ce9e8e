"""Promise P4 on both editions: after a crash the engine is what it was, and fires when it would have.

A crash here is that everything in memory is gone and the database is kept. Start-up moves the time at which
a device was heard last up to its own moment, on purpose; where states are compared, that is left out.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from ops.parts import Database
from rules import ruleset
from rules.engine import Engine
from rules.machine import Registered
from schemas.clock import to_datetime
from schemas.readings import Batch
from schemas.topics import Lane
from tests.contract.kit import (
    Line,
    after,
    make_tables,
    message,
    milliseconds,
    rows,
    script,
    settings_for,
    state,
    tuples,
)

MINUTE = 60
DEVICES = """
INSERT INTO devices (device, region, model, heartbeat_seconds) VALUES
    ('BELL-1', '430602', 'bell', 60), ('BELL-2', '430602', 'bell', NULL), ('BAND-1', '430602', 'band', NULL)
"""

Step = Callable[[Line], Awaitable[Batch]]


@pytest.fixture
async def url(database: Database) -> str:
    """Give a database with devices: BELL-1 may be silent for 3 minutes, BELL-2 for 15, BAND-1 for 30."""
    await make_tables(database.url)
    await script(database.url, DEVICES)
    return database.url


@pytest.fixture
async def line(url: str) -> AsyncIterator[Line]:
    """Give a restored line that makes no checkpoint by itself."""
    async with Line(settings_for(url, checkpoint_every=86_400)) as found:
        yield found


def checkpoint_now(line: Line) -> None:
    """Make the next commit bring a checkpoint."""
    line.bridge.store.checkpoints.soon()


async def restored(url: str, *, forgive: bool = False) -> Line:
    """Return a second line, restored from the database; without `forgive`, as if no time had passed."""
    line = Line(settings_for(url, checkpoint_every=86_400))
    if not forgive:
        setattr(line.bridge, "_forgive", lambda _now: None)  # noqa: B010 - an attribute over the method
    async with line:
        pass
    return line


def heart(minute: float, hr: float, **more: Any) -> Step:  # noqa: ANN401 - fields of several types
    """Return the step in which BAND-1 sends a heart rate, measured and received in that minute."""
    fields = {"ts": milliseconds(minute * MINUTE), "hr": hr, **more}
    return lambda line: line.feed(message("BAND-1", "vitals", fields, at=minute * MINUTE + 1))


def sends(minute: float, device: str, channel: str, payload: Any, **how: Any) -> Step:  # noqa: ANN401 - as `message`
    """Return the step in which a device sends a message, on the lane of its channel."""
    lane = Lane.URGENT if channel in ("sos", "fall", "event") else Lane.TELEMETRY
    return lambda line: line.feed(message(device, channel, payload, at=minute * MINUTE, **how), lane=lane)


def ticks(minute: float) -> Step:
    """Return the step in which nothing came."""
    return lambda line: line.tick(minute * MINUTE)


LATE_BATCH = {
    "readings": [
        {"ts": milliseconds(t * MINUTE), "hr": hr, "worn": True}
        for t, hr in ((9.5, 150), (8.5, 90), (9, 151), (8, 152))
    ]
}


async def nobody_heard(line: Line) -> Batch:
    """Let nobody have been heard until minute 13.6; then somebody is."""
    line.bridge._forgive(after(13.6 * MINUTE))
    return await sends(13.7, "BELL-2", "heartbeat", {"battery": 8})(line)


STORY: dict[str, Step] = {
    "heard": lambda line: line.feed(
        message("BELL-1", "heartbeat", {"battery": 80, "mains": True}, at=1),
        message("BELL-2", "heartbeat", {"battery": 80}, at=2),
        message("BAND-1", "vitals", {"ts": milliseconds(0), "hr": 80, "worn": True}, at=3),
    ),
    "hr pending": heart(1, 140),
    "hr still pending": heart(2, 141, worn=True),
    "battery low": sends(2.5, "BELL-2", "heartbeat", {"battery": 9}),
    "mains lost": sends(2.6, "BELL-1", "event", {"kind": "mains_lost"}),
    "BELL-1 silent": ticks(6),
    "somebody else calls": sends(6.1, "BELL-9", "sos", {}),
    "nonsense": sends(6.2, "BELL-2", "heartbeat", b"{"),
    "half a message": sends(6.3, "BAND-1", "vitals", {"hr": "?", "spo2": 90, "worn": True}),
    "hr not so high": heart(7, 125),
    "late, newest first": sends(10, "BAND-1", "vitals", LATE_BATCH),
    "the same again": sends(10.5, "BAND-1", "vitals", LATE_BATCH),
    "no time, twice": lambda line: line.feed(
        message("BAND-1", "vitals", {"readings": [{"hr": 135}, {"hr": 100}, {"hr": 136}]}, at=11 * MINUTE),
        message("BAND-1", "vitals", {"hr": 137}, at=11 * MINUTE + 1),
    ),
    "last will": sends(11.5, "BELL-1", "status", b"offline"),
    "retained word": sends(11.6, "BELL-1", "status", b"online", retained=True),
    "retained beat": sends(11.7, "BELL-1", "heartbeat", {"battery": 70}, retained=True),
    "retained walk": sends(11.8, "BAND-1", "activity", {"motion": True, "steps": 900}, retained=True),
    "retained press": sends(11.9, "BAND-1", "event", {"kind": "check_in"}, retained=True),
    "fall": sends(12, "BELL-2", "fall", {"phase": "detected"}),
    "cancelled": sends(12.2, "BELL-2", "fall", {"phase": "cancelled"}),
    "taken off": sends(12.5, "BAND-1", "event", {"kind": "removed"}),
    "put on": sends(13, "BAND-1", "vitals", {"worn": True, "spo2": 89}),
    "a silent one calls in a broken way": sends(13.5, "BELL-1", "sos", b"\xff"),
    "nobody could be heard": nobody_heard,
    "silent again": ticks(17),
    "BELL-1 is back": sends(18, "BELL-1", "heartbeat", {"battery": 12, "mains": False}),
    "overdue between two": sends(40, "BELL-2", "activity", {"motion": True}),
    "all silent": ticks(80),
}


@pytest.mark.parametrize("checkpoint", ["", "late, newest first", "piece by piece"])
async def test_after_a_crash_the_state_is_what_it_was(
    url: str, line: Line, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every batch of a long story, with and without checkpoints: heard, silent, pending and latched."""
    wrong = {}
    if checkpoint == "piece by piece":
        monkeypatch.setattr("rules.engine.PIECE", 1)
        monkeypatch.setattr("ingest.bridge.PIECE", 1)
        monkeypatch.setattr("store.checkpoints.AT_ONCE", 1)
        line.bridge.store.checkpoints._every = 0.0
    for name, step in STORY.items():
        if checkpoint == name:
            checkpoint_now(line)
        await step(line)
        running = state(line.engine)
        await line.crash()
        if not checkpoint:
            await script(url, "DELETE FROM engine_checkpoints")
        again = state((await restored(url)).engine)
        if again != running:
            wrong[name] = [
                f"{part}: {was} -> {again[part]}" for part, was in running.items() if was != again[part]
            ]
    assert not wrong
    pieces = await rows(url, "SELECT batch FROM engine_checkpoints")
    assert (len({row["batch"] for row in pieces}) > 1) == (checkpoint == "piece by piece")
    assert {row["kind"] for row in await rows(url, "SELECT kind FROM alarms")} >= {
        *("device_silent", "fall", "low_battery", "mains_lost", "removed", "sos"),
    }


@pytest.mark.parametrize("checkpoint", [False, True])
async def test_an_hr_high_that_was_pending_fires_when_it_would_have(
    url: str, line: Line, *, checkpoint: bool
) -> None:
    """Crashed between any two readings of the ten minutes, the alarm is raised at the same reading."""
    for minute in range(12):
        await heart(minute, 140)(line)
        await line.crash()
        if checkpoint and minute % 3 == 0:
            checkpoint_now(line)
        raised = await tuples(url, "SELECT kind, count, raised_at FROM alarms")
        assert raised == ([("hr_high", 1, to_datetime(after(10 * MINUTE + 1)))] if minute >= 10 else []), (
            minute
        )
        line = await restored(url, forgive=True)
    await line.crash()


async def test_a_latched_condition_stays_latched(url: str, line: Line) -> None:
    """A battery that was low before the crash is not raised again, and closes when it is charged."""
    await sends(1, "BELL-2", "heartbeat", {"battery": 9})(line)
    await line.crash()
    line = await restored(url, forgive=True)
    await sends(2, "BELL-2", "heartbeat", {"battery": 8})(line)
    await sends(3, "BELL-2", "heartbeat", {"battery": 20})(line)
    assert await tuples(url, "SELECT count, handling FROM alarms") == [(1, "unacknowledged")]
    await line.crash()
    line = await restored(url, forgive=True)
    await sends(4, "BELL-2", "heartbeat", {"battery": 60})(line)
    assert await tuples(url, "SELECT count, handling, closed_at FROM alarms") == [
        (1, "closed", to_datetime(after(4 * MINUTE)))
    ]
    await line.crash()


async def test_a_silent_device_stays_silent(url: str, line: Line) -> None:
    """A silence that a tick found is not raised again after a crash, and closes when the device is heard."""
    await sends(0, "BELL-1", "heartbeat", {})(line)
    await ticks(4)(line)
    await line.crash()
    line = await restored(url, forgive=True)
    await ticks(5)(line)
    await ticks(60)(line)
    assert await tuples(url, "SELECT kind, count, raised_at, closed_at FROM alarms") == [
        ("device_silent", 1, to_datetime(after(3 * MINUTE)), None)
    ]
    await sends(61, "BELL-1", "heartbeat", {})(line)
    await ticks(65)(line)
    assert await tuples(url, "SELECT occurrence, raised_at, closed_at FROM board_alarms ORDER BY 1") == [
        (1, to_datetime(after(3 * MINUTE)), to_datetime(after(61 * MINUTE))),
        (2, to_datetime(after(64 * MINUTE)), None),
    ]
    await line.crash()


async def test_silence_after_a_start_counts_from_the_start(url: str, line: Line) -> None:
    """Nobody could be heard while the bridge was down, so our own restart raises no silence (promise P6)."""
    await sends(-60, "BELL-1", "heartbeat", {})(line)
    await line.crash()
    line = await restored(url, forgive=True)  # its clock shows START
    await ticks(2.9)(line)
    assert await rows(url, "SELECT FROM alarms") == []
    await ticks(4)(line)
    (alarm,) = await rows(url, "SELECT kind, raised_at FROM alarms")
    assert to_datetime(after(3 * MINUTE)) <= alarm["raised_at"] <= to_datetime(after(4 * MINUTE))
    await line.crash()


async def test_what_was_not_committed_was_not_seen(url: str, line: Line) -> None:
    """A batch that was judged and not committed leaves no trace in the state after a crash."""
    await heart(1, 140)(line)
    running = state(line.engine)
    batch = await line.decode(message("BAND-1", "vitals", {"hr": 60}, at=90))
    line.engine.evaluate(batch)
    await line.crash()
    assert state((await restored(url)).engine) == running


async def test_a_checkpoint_is_of_the_batch_that_it_names(url: str, line: Line) -> None:
    """The state stored beside batch n is that after batch n, though a later transaction wrote it."""
    await heart(1, 140)(line)
    after_one = state(line.engine)
    checkpoint_now(line)
    await heart(2, 60)(line)
    (found,) = await rows(url, "SELECT batch, state FROM engine_checkpoints")
    assert found["batch"] == 1
    kept = Engine(ruleset.load(ruleset.SHIPPED))
    kept.enrol(Registered.strangers([1, 2, 3]))
    kept.restore(0, found["state"])
    assert state(kept) == after_one


async def test_the_rules_are_kept_word_for_word(url: str, line: Line) -> None:
    """Every rule file that ran stands in the database once."""
    await line.crash()
    await restored(url)
    assert await tuples(url, "SELECT source FROM rule_sets") == [(line.engine.rules.text,)]


async def test_registered_strangers_are_known_after_a_crash(url: str, line: Line) -> None:
    """A device that registered itself keeps its number and its state, and is not registered again."""
    await sends(1, "BELL-77", "heartbeat", {"battery": 5})(line)
    await line.crash()
    line = await restored(url, forgive=True)
    await sends(2, "BELL-77", "heartbeat", {"battery": 4})(line)
    assert await tuples(url, "SELECT count(*), max(count) FROM alarms") == [(1, 1)]
    assert await tuples(url, "SELECT count(*) FROM devices WHERE self_registered") == [(1,)]
    await line.crash()


async def test_a_restore_without_history_is_an_empty_engine(url: str, line: Line) -> None:
    """The first start and a recovery are one path: devices are enrolled, none was ever heard."""
    assert not any(state(line.engine)["silence.heard"])
    assert line.bridge.store.batch == 0
    await line.crash()
    again = await restored(url)
    assert state(again.engine) == state(line.engine)


async def test_who_has_no_open_alarm_can_fall_silent_again(url: str, line: Line) -> None:
    """A repeated call from a standing clock ends a silence without a row; it is ended after a crash, too."""
    press = {"ts": milliseconds(0)}
    await line.feed(message("BELL-1", "sos", press, at=0), lane=Lane.URGENT)
    await line.tick(4 * MINUTE)
    await line.feed(message("BELL-1", "sos", press, at=15 * MINUTE), lane=Lane.URGENT)
    silences = "SELECT raised_at, closed_at IS NOT NULL AS closed FROM alarms WHERE kind = 'device_silent'"
    assert [row["closed"] for row in await rows(url, silences)] == [True]
    await line.crash()
    async with Line(settings_for(url, checkpoint_every=86_400)) as again:
        await again.tick(60 * MINUTE)
        assert [row["closed"] for row in await rows(url, silences)] == [True, False]
