"""Anything on any topic: 200,000 hostile messages through the real decode, against what must always hold.

The generator is seeded (tests/fuzz.py); CAREBELL_FUZZ_SEED repeats a run.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.recfunctions import repack_fields
from pydantic import ValidationError

from ingest.decode import Decoder
from schemas import topics
from schemas.clock import SECOND
from schemas.errors import SenderFaultError
from schemas.messages import ADAPTERS
from schemas.readings import ABSENT, KEPT_BYTES, VALUES, Batch, Columns, Delivery, Event, Quality
from schemas.topics import IGNORED_CANARY, IGNORED_URGENT_TWIN, LIFE_CHANNELS, REASONS, Channel, Lane, uplink
from tests.fuzz import JOINED, Fuzz, Message, huge, seed
from tests.unit.kit import LIFE, START, Bench

MESSAGES: Final = 200_000
COMPANY: Final = 5_000
"""So many of them come in small batches, made so that its messages could be taken for each other's parts."""
CROWD: Final = 200
LARGEST: Final = 16_777_216
"""Bytes: the most that `ingest.max_payload` can be set to."""
DAY: Final = 86_400 * SECOND
WIDEST: Final = np.array(
    [300, 255, 60, 350, 300, 100, 1, 10_000_000, 100, 50, 1, 1], np.float32
)  # of VALUES, in their order
WORDS: Final = (b"online", b"offline", b'"online"', b'"offline"')
NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""In JSON, as the database refuses it; a backslash that somebody wrote before u0000 is none."""
UNREADABLE: Final = ("not_json", "bad_field", "bad_message")


class Line:
    """Decode batches with one decoder and messages alone with another, and see what must hold of both."""

    def __init__(
        self, max_payload: int = 65_536, unknown_devices: str = "register", max_registered: int = 200
    ) -> None:
        self.bench = Bench(max_payload, unknown_devices, max_registered)
        self._alone = Decoder(self.bench.registry, max_payload)
        self._moment = START
        self.ends: Counter[str] = Counter()

    def hear(self, messages: Iterable[Message], alone: Sequence[int] | None = None) -> None:
        """Decode messages as the sessions bring them; `alone` are those to compare, by default all."""
        lanes: dict[Lane, list[Delivery]] = {lane: [] for lane in Lane}
        for number, (topic, payload, retained) in enumerate(messages):
            self._moment += 1 + number % 3
            self.ends["messages"] += 1
            said = Delivery(topic, payload, number + 1, number % 7 == 0, retained, self._moment)
            reaches_urgent = topics.reaches_urgent(topic)
            if reaches_urgent:
                lanes[Lane.URGENT].append(said)
            if not reaches_urgent or number % 5 == 0:
                lanes[Lane.TELEMETRY].append(said)
        for lane, deliveries in lanes.items():
            batch = self._decode(lane, deliveries)
            each_ends_once(batch)
            calls_alarm(batch)
            rows_are_sane(batch, max(self.bench.book.ids.values()))
            letters_are_true(batch, self.bench.max_payload)
            self._neighbours_make_no_difference(batch, range(len(deliveries)) if alone is None else alone)

    def _decode(self, lane: Lane, deliveries: list[Delivery]) -> Batch:
        admission = self.bench.registry.admit(*self.bench.decoder.strangers(deliveries))
        with contextlib.suppress(StopIteration):
            admission.send(None)  # this registrar never waits
        batch = self.bench.decoder.decode(lane, deliveries, self._moment)
        self.ends.update(letter.reason for letter in batch.dead)
        self.ends.update(batch.ignored)
        self.ends["rows"] += len(batch.readings)
        return batch

    def _neighbours_make_no_difference(self, batch: Batch, numbers: Iterable[int]) -> None:
        readings = told(batch)
        for number in numbers:
            if number >= len(batch.deliveries):
                return
            said = batch.deliveries[number]
            one = self._alone.decode(batch.lane, [said], self._moment)
            each_ends_once(one)
            expected, found = told(one), readings[readings["message"] == number]
            expected["message"] = number
            assert found.tobytes() == expected.tobytes(), (said, found, expected, batch.deliveries)
            letters = [dataclasses.replace(letter, message=number) for letter in one.dead]
            assert [letter for letter in batch.dead if letter.message == number] == letters, said
            assert batch.receipts[number] == one.receipts[0]


def told(batch: Batch) -> Columns:
    """Return the readings without padding, each detail's content in the place of its number in the batch."""
    readings: Columns = repack_fields(batch.readings).copy()
    sums = [zlib.crc32(repr(sorted(detail.items())).encode()) >> 1 for detail in batch.details]
    readings["detail"] = np.array([*sums, -1], np.int32)[readings["detail"]]
    return readings


def each_ends_once(batch: Batch) -> None:
    """See that a message is stored, dead or ignored, one of them, and a bad part is of a stored one."""
    stored = set(batch.readings["message"][batch.readings["stored"]].tolist())
    whole = [letter.message for letter in batch.dead if letter.whole]
    partly = [letter.message for letter in batch.dead if not letter.whole]
    ends = [*stored, *whole]
    assert len(ends) == len(set(ends))
    assert len(ends) + sum(batch.ignored.values()) == len(batch.deliveries) == len(batch.receipts)
    assert batch.ignored.keys() <= {IGNORED_CANARY, IGNORED_URGENT_TWIN}
    assert len(partly) == len(stored.intersection(partly))
    assert all(0 <= number < len(batch.deliveries) for number in ends)


def calls_alarm(batch: Batch) -> None:
    """See that what ends like a call for help is one alarm, on the lane that must raise it."""
    calls = batch.readings[np.isin(batch.readings["event"], LIFE)]["message"]
    expected = [
        number
        for number, (topic, *_) in enumerate(batch.deliveries)
        if topics.life_channel(topic) in LIFE_CHANNELS
        and not (batch.lane is Lane.TELEMETRY and topics.reaches_urgent(topic))
    ]
    assert sorted(calls.tolist()) == expected


def rows_are_sane(batch: Batch, devices: int) -> None:
    """See that times, ids and values of the rows can be stored and judged."""
    rows = batch.readings
    assert ((rows["device_id"] >= 1) & (rows["device_id"] <= devices)).all()
    received = np.array([each.received_at for each in batch.deliveries], np.int64)[rows["message"]]
    assert (rows["received_at"] == received).all()
    assert (rows["ts"] >= received - 30 * DAY).all()
    assert (rows["ts"] <= received + 300 * SECOND).all()
    assert ((rows["ts_sent"] == ABSENT) | (np.abs(rows["ts_sent"]) <= 2**53)).all()
    assert ((rows["seq"] == ABSENT) | ((rows["seq"] >= 0) & (rows["seq"] <= 2**53))).all()
    for name, widest in zip(VALUES, WIDEST, strict=True):
        least = -200 if name == "rssi" else 0
        assert (np.isnan(rows[name]) | ((rows[name] >= least) & (rows[name] <= widest))).all()
    assert np.isin(rows["event"], list(Event)).all()
    assert np.isin(rows["channel"], list(Channel)).all()
    assert np.isin(rows["quality"], list(Quality)).all()
    assert (rows["stored"] == (rows["quality"] != Quality.UNREADABLE)).all()
    assert not NUL.search(json.dumps(batch.details, allow_nan=False))
    str(batch.details).encode()  # no lone surrogate, which the database refuses


def letters_are_true(batch: Batch, max_payload: int) -> None:
    """See that a message has a letter where it is bad by itself, with its bytes, and nowhere else."""
    bad = {letter.message: letter for letter in batch.dead}
    assert len(bad) == len(batch.dead)
    heard = {*bad, *batch.readings["message"].tolist()}
    for number in heard:
        said, letter = batch.deliveries[number], bad.get(number)
        reasons = faults(said.topic, said.payload, max_payload)
        if letter is None:
            assert reasons == (), said
            continue
        assert letter.reason in (*reasons, "unknown_device"), (said, letter)
        assert letter.reason in REASONS
        assert not letter.detail.startswith("decoding it failed"), (said, letter)
        assert len(letter.detail.encode()) <= 4 * 500
        assert (letter.topic, letter.received_at) == (said.topic, said.received_at)
        assert (letter.payload, letter.length) == (said.payload[:KEPT_BYTES], len(said.payload))
        assert letter.sha256 == hashlib.sha256(said.payload).digest()


def faults(topic: str, payload: bytes, max_payload: int) -> tuple[str, ...]:
    """Return the reasons that a message by itself may be refused for, none if it is good."""
    try:
        channel = topics.parse(topic).channel
    except SenderFaultError as fault:
        return (fault.reason,)
    if not payload or len(payload) > max_payload:
        return ("oversized" if payload else "empty",)
    if channel is Channel.STATUS and payload.strip().lower() in WORDS:
        return ()
    try:
        fields = ADAPTERS[channel].validate_json(payload)
    except ValidationError:
        return UNREADABLE
    silent = channel is Channel.STATUS and not (fields.get("status") or fields.get("state"))
    return UNREADABLE if silent else ()


# ------------------------------------------------------------------------------------------------ the numbers


@pytest.mark.parametrize("unknown_devices", ["register", "dead_letter"])
def test_every_message_of_a_crowd_ends_in_one_place(unknown_devices: str) -> None:
    """Hostile topics and payloads are stored, dead or ignored by name, sane, and all calls for help alarm."""
    fuzz, line = Fuzz(seed()), Line(unknown_devices=unknown_devices)
    while line.ends["messages"] < (MESSAGES - COMPANY) / 2:
        crowd = [fuzz.message() for _ in range(CROWD)]
        line.hear(crowd, alone=sorted(fuzz.random.sample(range(CROWD), 4)))
    assert line.ends.keys() >= REASONS.keys() - {"refused", "oversized", "unknown_device", "unmapped"}
    assert line.ends["rows"] > line.ends["messages"] / 10


def test_messages_that_look_like_parts_of_each_other_are_what_they_are_alone() -> None:
    """Whatever payloads of one batch could mean together, each gives the rows and letters it gives alone."""
    fuzz, line = Fuzz(seed()), Line()
    for payloads in JOINED:
        for name in topics.CHANNELS:
            line.hear(
                Message(uplink("430602", f"BELL-{n}", name), each) for n, each in enumerate(payloads, 1)
            )
    while line.ends["messages"] < COMPANY:
        line.hear(fuzz.company())
    assert line.ends["rows"] > line.ends["messages"] / 10


# ------------------------------------------------------------------------------------ shrinking, the huge

piece = st.sampled_from(
    [
        *(
            b'{"hr":80}',
            b'{"hr":81}',
            b"{}",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b'"',
            b":",
            b"\\",
            b" ",
            b"\n",
            b"1",
        ),
        *(
            b'"a":',
            b'"hr":82',
            b'"x":"',
            b'"x":[',
            b'"readings":[',
            b'{"hr":83',
            b"null",
            b'\\"',
            b"\xe5",
            b"/*",
        ),
    ]
)
fragment = st.lists(piece, max_size=5).map(b"".join)


@settings(deadline=None, max_examples=400)
@given(st.lists(fragment, min_size=1, max_size=6), st.sampled_from(["vitals", "activity", "sos", "status"]))
def test_fragments_of_json_mean_what_they_mean_alone(payloads: list[bytes], channel: str) -> None:
    """However fragments stand beside each other in a batch, none completes another."""
    line = Line()
    line.hear(Message(uplink("430602", f"BELL-{n}", channel), each) for n, each in enumerate(payloads, 1))


@pytest.mark.parametrize("kind", huge(0))
def test_what_is_huge_is_one_message(kind: str) -> None:
    """Whatever is huge in a payload, it ends like anything else, just under the limit and far above it."""
    line, neighbour = Line(), b'{"hr":80}'
    for size in (60_000, 1_000_000):
        payloads = neighbour, huge(size)[kind], neighbour
        line.hear(
            Message(uplink("430602", f"BELL-{n}", "vitals"), each) for n, each in enumerate(payloads, 1)
        )
    line.hear([Message(uplink("430602", "BELL-1", "sos"), huge(60_000)[kind])])


@pytest.mark.parametrize("max_payload", [65_536, LARGEST])
@pytest.mark.parametrize("kind", ["text", "number", "lists", "objects", "zeros"])
def test_ten_megabytes_are_one_message(kind: str, max_payload: int) -> None:
    """Under the shipped limit they are oversized; under the largest limit they are read, or refused."""
    line = Line(max_payload)
    line.hear([Message(uplink("430602", "BELL-1", "activity"), huge(10_000_000)[kind])])
    assert line.ends["oversized"] == (max_payload != LARGEST)
