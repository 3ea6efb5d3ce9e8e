"""The fast way to read what vendors send and the slow one, on all that ships: they say the same."""

import random
import re
from typing import Final

import numpy as np
import pytest

from ingest.decode import Decoder
from ingest.registry import Closed, Registry
from ingest.states import States
from schemas import topics
from schemas.clock import SECOND
from schemas.readings import Batch, Delivery
from schemas.settings import IngestSettings
from schemas.sources import mapping, samples
from schemas.sources.compiled import Sources
from schemas.topics import Lane

NOW: Final = 1_790_000_000 * SECOND
ROUNDS: Final = 25
BATCHES: Final = 3
SOURCES: Final = Sources(mapping.load(mapping.texts(mapping.shipped())))
SAMPLES: Final = [each for name in mapping.shipped() for each in samples.read(samples.beside(name))]
NAMES: Final = sorted({said["device"] for each in SAMPLES for said in each.says} - {""})
SCALAR: Final = re.compile(rb'(?<=: )(?:"[^"]*"|[-0-9.]+|true|false|null)')
VALUES: Final = (
    *(b"0", b"1", b"true", b"false", b"null", b'""', b'"70"', b'"abc"', b"255", b"1e3", b"{}", b"[]", b"[1]"),
    *(b'{"value":1,"time":5}', b'[{"v":1,"t":2}]', b'[{"v":1}]', b'"true"', b"36.6", b"-5", b"9" * 20),
)


def line(*, fast: bool) -> tuple[Decoder, States]:
    """Return a decoder that knows every device of the samples."""
    registry = Registry(Closed(), IngestSettings())
    for number, name in enumerate(NAMES):
        registry.learn(topics.vendor_device(name) or name, number, self_registered=False)
    states = States()
    decoder = Decoder(registry, 65_536, SOURCES, states)
    if not fast:
        decoder._vendors._bulks = dict.fromkeys(decoder._vendors._bulks)
    return decoder, states


def changed(payload: bytes, dice: random.Random) -> bytes:
    """Return a payload with other values, or another byte, or none; or as it is."""
    if (chance := dice.random()) < 0.3:
        return payload
    if chance < 0.8:
        for _ in range(dice.choice((1, 1, 2, 3))):
            if places := list(SCALAR.finditer(payload)):
                place = dice.choice(places)
                payload = payload[: place.start()] + dice.choice(VALUES) + payload[place.end() :]
        return payload
    at = dice.randrange(len(payload) + 1)
    return payload[:at] + bytes([dice.randrange(256)]) + payload[at + dice.choice((0, 1)) :]


def seen(batch: Batch) -> list[object]:
    """Return what a batch says, in an order that does not depend on the way."""
    rows = np.sort(batch.readings, order=["message", "channel", "event", "ts", "digest"])
    columns = [repr(rows[name].tolist()) for name in rows.dtype.names or () if name != "detail"]
    letters = sorted((letter.message, letter.reason, letter.whole) for letter in batch.dead)
    return [*columns, letters, batch.states, sorted(batch.ignored.items())]


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_say_the_same(seed: int) -> None:
    """Samples of all formats, changed at random, batch after batch."""
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        (fast, states), (slow, others) = line(fast=True), line(fast=False)
        at = NOW
        for _ in range(BATCHES):
            sent = []
            for sample in dice.choices(SAMPLES, k=12):
                at += SECOND
                payload = changed(sample.sent(), dice)
                sent.append(
                    Delivery(sample.topic, payload, 1, duplicate=False, retained=False, received_at=at)
                )
            one, two = (each.decode(Lane.URGENT, sent, at) for each in (fast, slow))
            assert seen(one) == seen(two), [(each.topic, each.payload) for each in sent]
            assert list(states) == list(others)
