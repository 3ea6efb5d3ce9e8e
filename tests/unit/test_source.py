"""The source: urgent first, telemetry in large batches, the next one decoded while one is committed."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ingest import metrics
from ingest.clocks import Clocks
from ingest.redrive import Redrive
from ingest.registry import Registry
from ingest.source import LINGER, Source
from ingest.states import States
from schemas.clock import Clock
from schemas.readings import Batch, Delivery
from schemas.settings import IngestSettings, Settings
from schemas.sources.compiled import Sources
from schemas.topics import Lane, uplink
from tests.unit.kit import Book

ROWS = 10


@pytest.fixture(autouse=True)
def _accounted_for() -> Iterator[None]:
    """Count as stored what no line has counted here, so that later tests find the counters in balance."""
    before = metrics.identity_difference()
    yield
    metrics.STORED.labels("telemetry").inc(metrics.identity_difference() - before)


class Sourced:
    """A source whose sessions a test fills, and what it gives."""

    def __init__(self) -> None:
        """Begin after the first tick, with BELL-1 known."""
        settings = Settings(ingest=IngestSettings(batch_rows=ROWS))
        self.book = Book({"BELL-1": 1})
        self.enrolled: list[int] = []
        registry = Registry(self.book, settings.ingest)
        registry.learn("BELL-1", 1, self_registered=False)
        self.clock = Clock()
        self.source = Source(
            settings,
            self.clock,
            registry,
            session_lost=self._unused,
            enrol=self.enrolled.extend,
            forgive=lambda _: None,
            learn_news=lambda: False,
            stored=lambda _: None,
            has_news=lambda: False,
            redrive=Redrive(settings.database.url),
            sources=Sources(),
            states=States(),
            clocks=Clocks(),
        )
        self.sent = 0
        self._batches: AsyncIterator[Batch] = self.source.batches()

    async def _unused(self, *_: Any) -> None:  # noqa: ANN401 - no session is opened here
        raise AssertionError

    def hear(self, count: int, device: str = "BELL-1", lane: Lane = Lane.TELEMETRY) -> None:
        """Let a session receive messages, as after one read."""
        channel = "heartbeat" if lane is Lane.TELEMETRY else "sos"
        for _ in range(count):
            self.sent += 1
            payload = json.dumps({"seq": self.sent}).encode()
            topic = uplink("430602", device, channel)
            each = Delivery(topic, payload, 0, duplicate=False, retained=False, received_at=self.clock.now())
            self.source.sessions[lane].inbox.put(1, [each])
        self.source._heard()

    async def next(self, lane: Lane | None = Lane.TELEMETRY) -> list[int]:
        """Return the `seq` of the next batch of a lane, None for any; ticks are passed over."""
        while True:
            self.batch = await asyncio.wait_for(anext(self._batches), 5)
            if len(self.batch.receipts):
                assert lane in (None, self.batch.lane)
                found = [int(seq) for seq in self.batch.readings["seq"]]
                assert found == [json.loads(each.payload)["seq"] for each in self.batch.deliveries]
                return found

    async def committing(self) -> None:
        """Tell that the database has the rows of the last batch."""
        self.source.meanwhile()
        await asyncio.sleep(0)

    async def ack(self) -> None:
        """Acknowledge the last batch."""
        await self.source.ack(self.batch)


@pytest.fixture(name="sourced")
async def _sourced() -> Sourced:
    return Sourced()


async def test_the_next_batch_is_decoded_while_the_database_works(sourced: Sourced) -> None:
    """What is heard meanwhile comes next, in its order, nothing twice and nothing left behind."""
    in_flight = metrics.IN_FLIGHT.labels("telemetry")
    before = in_flight._value.get()
    sourced.hear(ROWS)
    found = [await sourced.next()]
    sourced.hear(ROWS // 2 - 1)
    await sourced.committing()
    assert sourced.source.sessions[Lane.TELEMETRY].inbox.count == ROWS // 2 - 1, "too few to be worth it"
    sourced.hear(3)
    assert sourced.source.sessions[Lane.TELEMETRY].inbox.count == 0
    sourced.hear(ROWS)
    waiting = [json.loads(each.payload)["seq"] for each in sourced.source.unacknowledged(Lane.TELEMETRY)]
    assert waiting == list(range(sourced.sent, 0, -1))
    assert in_flight._value.get() - before == ROWS + ROWS // 2 + 2
    await sourced.ack()
    oldest = sourced.source.oldest(Lane.TELEMETRY)
    assert oldest is not None
    assert sourced.source._heard_until() == oldest.received_at, "silence is not judged beyond it"
    for _ in range(2):
        found.append(await sourced.next())
        await sourced.ack()
    assert [seq for batch in found for seq in batch] == list(range(1, sourced.sent + 1))
    assert [len(batch) for batch in found] == [ROWS, ROWS // 2 + 2, ROWS]
    assert in_flight._value.get() == before


async def test_the_rows_of_a_batch_are_sent_before_the_next_is_decoded(sourced: Sourced) -> None:
    """Else the database would wait for what is being decoded, and then the bridge for the database."""
    sourced.hear(ROWS)
    await sourced.next()
    sourced.hear(ROWS)
    assert sourced.source.sessions[Lane.TELEMETRY].inbox.count == ROWS
    await sourced.committing()
    assert sourced.source.sessions[Lane.TELEMETRY].inbox.count == 0
    await sourced.ack()
    await sourced.next()
    sourced.hear(ROWS)
    assert sourced.source.sessions[Lane.TELEMETRY].inbox.count == ROWS, "the next one has not been sent yet"


async def test_an_urgent_one_goes_before_what_is_decoded(sourced: Sourced) -> None:
    """A call waits for one telemetry transaction, not for the next one that is ready."""
    sourced.hear(ROWS)
    await sourced.next()
    sourced.hear(ROWS)
    await sourced.committing()
    sourced.hear(1, lane=Lane.URGENT)
    await sourced.ack()
    assert await sourced.next(None) == [sourced.sent]
    await sourced.ack()
    assert await sourced.next() == list(range(ROWS + 1, 2 * ROWS + 1))


async def test_strangers_are_enrolled_between_two_batches_only(sourced: Sourced) -> None:
    """The engine must not grow between its decision and its adoption: strangers are admitted afterwards."""
    sourced.hear(ROWS)
    await sourced.next()
    sourced.hear(ROWS, device="BELL-2")
    await sourced.committing()
    assert (sourced.enrolled, "BELL-2" in sourced.book.ids) == ([], False)
    await sourced.ack()
    assert await sourced.next() == list(range(ROWS + 1, 2 * ROWS + 1))
    assert sourced.enrolled == [sourced.book.ids["BELL-2"]]


async def test_telemetry_lingers_while_more_comes(sourced: Sourced, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that come in quick succession are one batch; none waits longer than so long."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("ingest.mqtt.Session.heard_at", property(lambda _: loop.time()))
    sourced.hear(1)
    began = loop.time()
    taken = asyncio.create_task(sourced.next())
    while not taken.done():
        sourced.hear(1) if sourced.sent < ROWS // 2 else sourced.source.wake()
        await asyncio.sleep(0.001)
    assert loop.time() - began >= LINGER
    assert await taken == list(range(1, ROWS // 2 + 1))


async def test_a_full_batch_does_not_linger(sourced: Sourced, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to wait for, however lively the session is."""
    monkeypatch.setattr("ingest.mqtt.Session.heard_at", property(lambda _: float("inf")))
    monkeypatch.setattr("ingest.source.LINGER", float("inf"))
    sourced.hear(ROWS + 1)
    assert len(await sourced.next()) == ROWS
