"""Five thousand hostile messages through a real broker, the real bridge and a real database."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.parts import Broker, Database
from schemas import topics
from schemas.clock import SECOND
from schemas.settings import ClockSettings
from schemas.topics import uplink
from tests.fuzz import Fuzz, Message, seed
from tests.installation import Installation, installation, until
from tests.mqtt import Client
from tests.unit.kit import START
from tests.unit.test_fuzz import Line

MESSAGES: Final = 5_000
FIRST_TEXT: Final = " "
LAST_CONTROL: Final = range(0x7F, 0xA0)


def can_be_published(topic: str) -> bool:
    """Say whether mosquitto takes a topic from a client, and passes it on to the bridge."""
    is_text = all(c >= FIRST_TEXT and ord(c) not in LAST_CONTROL and ord(c) & 0xFFFE != 0xFFFE for c in topic)
    return is_text and topic.startswith(topics.PREFIX) and not {"+", "#"}.intersection(topic)


def messages(fuzz: Fuzz) -> Iterator[Message]:
    """Yield what a client can publish."""
    while True:
        found = [fuzz.message(), *(fuzz.company() if fuzz.random.random() < 0.1 else ())]
        yield from (each for each in found if can_be_published(each.topic))


async def figures(installed: Installation) -> dict[str, float]:
    """Return the bridge's metrics, summed over their labels, canaries left out."""
    listen = installed.settings.metrics
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{listen.host}:{listen.port}/metrics")).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("carebell_").removeprefix("messages_").removesuffix("_total")
            key = "own" if (name, sample.labels.get("reason")) == ("ignored", topics.IGNORED_CANARY) else name
            found[key] = found.get(key, 0) + sample.value
    return found


@pytest.fixture
def clock() -> ClockSettings:
    """Give a clock that shows START now, for the times in the corpus."""
    return ClockSettings(origin=time.time(), start=START / SECOND)


async def test_all_that_was_accepted_is_accounted_for(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path, clock: ClockSettings
) -> None:
    """Each is stored, ignored or dead, with the reasons that decoding alone gives; then a call alarms."""
    source = messages(Fuzz(seed()))
    said = [next(source) for _ in range(MESSAGES)]
    async with installation(fresh_mosquitto, timescale.url, scratch, clock=clock) as installed:
        await installed.start()
        with Client(fresh_mosquitto.town_url) as town:
            accepted = await asyncio.to_thread(publish, town, said)
            assert len(accepted) == len(said)
            twins = sum(topics.reaches_urgent(each.topic) for each in accepted)
            expected = len(accepted) + twins

            def is_done(seen: dict[str, float]) -> bool:
                return seen["received"] - seen.get("own", 0) >= expected and not seen["in_flight"]

            seen = await until(lambda: figures(installed), is_done)
            assert seen["received"] - seen.get("own", 0) == expected
            ends = seen["stored"] + seen["duplicate"] + seen["dead"] + seen["ignored"]
            assert (ends, seen["identity_difference"]) == (expected, 0)
            found, alone = await letters(installed), letters_alone(accepted)
            # a message whose rows stand already takes the letter of its bad parts with it
            assert 0 <= alone.pop("bad_field") - found.pop("bad_field") <= seen["duplicate"]
            assert found == alone

            await asyncio.to_thread(town.publish, uplink("430602", "BELL-9999", "sos"))
            calls = "SELECT FROM duty_alarms WHERE device = 'BELL-9999' AND kind = 'sos'"
            assert len(await installed.until_rows(calls, bool)) == 1
        assert installed.bridge is not None
        assert installed.bridge.returncode is None


def publish(town: Client, said: list[Message]) -> list[Message]:
    """Publish all at QoS 1, and return those that the broker accepted."""
    sent = [
        (town.paho.publish(each.topic, each.payload, qos=1, retain=each.retained).mid, each) for each in said
    ]
    with town._news:
        assert town._news.wait_for(lambda: len(town._published) == len(sent), 60)
    return [each for mid, each in sent if not town._published[mid].is_failure]


async def letters(installed: Installation) -> dict[str, int]:
    """Count the dead letters by their reason."""
    return dict(await installed.rows("SELECT reason, count(*) FROM dead_letters GROUP BY 1"))


def letters_alone(accepted: list[Message]) -> dict[str, int]:
    """Count the dead letters that decoding gives without broker and database."""
    line = Line(max_registered=10_000)
    line.hear(accepted, alone=())
    return {reason: count for reason, count in line.ends.items() if reason in topics.REASONS}
