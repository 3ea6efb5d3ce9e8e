"""Decoding: every message ends as readings, as a dead letter with one reason, or ignored by name."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import topics
from schemas.clock import SECOND
from schemas.readings import ABSENT, KEPT_BYTES, VALUES, Batch, Event, Quality
from schemas.topics import CHANNELS, IGNORED_URGENT_TWIN, LIFE_CHANNELS, REASONS, Channel, Lane
from tests.unit.kit import LIFE, START, Bench, delivery

DAY = 86_400
CRIES = {"sos": Event.SOS, "fall": Event.FALL_DETECTED}
TELEMETRY = ("heartbeat", "vitals", "activity", "status")


def said(**fields: Any) -> bytes:  # noqa: ANN401 - anything that JSON can say
    """Return a payload."""
    return json.dumps(fields).encode()


def values(batch: Batch, row: int = 0) -> dict[str, float]:
    """Return the values that are present in a reading."""
    reading = batch.readings[row]
    return {name: float(reading[name]) for name in VALUES if not np.isnan(reading[name])}


def vitals(*payloads: bytes, at: float = 0.0) -> Batch:
    """Decode vitals of BELL-1, a second apart."""
    return Bench().decode(*(delivery("vitals", each, at=at + n) for n, each in enumerate(payloads)))


# ------------------------------------------------------------------------------------------------- bad input

BAD_PAYLOADS = [
    pytest.param(b"", "empty", id="empty"),
    pytest.param(b"   ", "not_json", id="blanks"),
    pytest.param(b"\x00", "not_json", id="NUL"),
    pytest.param(b'{"hr": 80}\x00', "not_json", id="NUL after JSON"),
    pytest.param(b'{"hr": "\x00"}', "not_json", id="NUL inside"),
    pytest.param(b"{", "not_json", id="broken"),
    pytest.param(b'{"hr": 80', "not_json", id="cut off"),
    pytest.param(b"{'hr': 80}", "not_json", id="single quotes"),
    pytest.param(b"\xff\xfe{}", "not_json", id="not UTF-8"),
    pytest.param(b'\xef\xbb\xbf{"hr": 80}', "not_json", id="byte order mark"),
    pytest.param(b"[]", "not_json", id="list"),
    pytest.param(b"null", "not_json", id="null"),
    pytest.param(b"80", "not_json", id="number"),
    pytest.param(b'"help"', "not_json", id="text"),
    pytest.param(b"help", "not_json", id="plain word"),
    pytest.param(b'{"hr":' + b"[" * 5000 + b"]" * 5000 + b"}", "not_json", id="deep"),
    pytest.param(b'{"ts":' + b"9" * 5000 + b"}", "not_json", id="huge number"),
    pytest.param(b"x" * (1024 * 1024), "oversized", id="1 MiB"),
    pytest.param(b" " * 65_535 + b"{}", "oversized", id="one over the limit"),
]


@pytest.mark.parametrize(("payload", "reason"), BAD_PAYLOADS)
@pytest.mark.parametrize("channel", CHANNELS)
def test_an_unreadable_payload_is_one_dead_letter(channel: str, payload: bytes, reason: str) -> None:
    """It keeps topic, bytes, length, hash and the one reason; on a life topic it alarms as well."""
    batch = Bench().decode(delivery(channel, payload))
    (letter,) = batch.dead
    assert (letter.reason, letter.whole, letter.message) == (reason, True, 0)
    assert letter.topic == f"carebell/v1/430602/BELL-1/{channel}"
    assert (letter.payload, letter.length) == (payload[:KEPT_BYTES], len(payload))
    assert letter.sha256 == hashlib.sha256(payload).digest()
    assert letter.received_at == START
    assert batch.ignored == {}
    if channel not in CRIES:
        assert len(batch.readings) == 0
        return
    (row,) = batch.readings
    assert (row["event"], row["quality"], row["device_id"]) == (CRIES[channel], Quality.UNREADABLE, 1)
    assert (row["stored"], row["received_at"], row["ts"]) == (False, START, START)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("carebell/v1/430602/BELL-1/telemetry", "unknown_channel"),
        ("carebell/v1/430602/BELL-1/Vitals", "unknown_channel"),
        ("carebell/v1/abc/BELL-1/vitals", "bad_region"),
        ("carebell/v1/430602/BELL 1/vitals", "bad_device"),
        ("carebell/v1/430602/平安钟/vitals", "bad_device"),
        ("carebell/v1/BELL-1/vitals", "bad_topic"),
        ("carebell/v1", "bad_topic"),
    ],
)
def test_a_malformed_topic_is_a_dead_letter(topic: str, reason: str) -> None:
    """A good payload does not help a bad topic, and nobody is registered because of it."""
    bench = Bench()
    batch = bench.decode(delivery(topic, said(hr=80)))
    assert [letter.reason for letter in batch.dead] == [reason]
    assert len(batch.readings) == 0
    assert list(bench.book.ids) == ["BELL-1"]


@pytest.mark.parametrize(
    ("channel", "fields", "kept"),
    [
        ("vitals", {"hr": "fast", "spo2": 97}, {"spo2": 97.0}),
        ("vitals", {"hr": 301, "spo2": [], "temp": 36.5}, {"temp": 36.5}),
        ("vitals", {"ts": "yesterday", "seq": -1, "hr": 80}, {"hr": 80.0}),
        ("vitals", {"hr": 80, "readings": 5}, {"hr": 80.0}),
        ("vitals", {"hr": 80, "readings": [{}] * 1001}, {"hr": 80.0}),
        ("heartbeat", {"battery": 130, "mains": True}, {"mains": 1.0}),
        ("heartbeat", {"battery": "full"}, {}),
        ("activity", {"room": "a\x00b", "motion": True}, {"motion": 1.0}),
    ],
)
def test_a_partly_bad_message_is_stored_without_its_bad_part(
    channel: str, fields: dict[str, Any], kept: dict[str, float]
) -> None:
    """The good fields are a reading, and a letter that says so keeps the whole of the bytes."""
    batch = Bench().decode(delivery(channel, said(**fields)))
    assert [(letter.reason, letter.whole) for letter in batch.dead] == [("bad_field", False)]
    assert len(batch.readings) == 1
    assert values(batch) == kept
    assert batch.readings["stored"].all()
    assert batch.readings["ts_sent"][0] == batch.readings["seq"][0] == ABSENT


@pytest.mark.parametrize(
    ("channel", "fields"),
    [
        ("vitals", {"hr": "fast"}),
        ("vitals", {"hr": "fast", "ts": START // 1000, "seq": 7}),
        ("vitals", {"hr": "fast", "spo2": None}),
        ("vitals", {"readings": 5}),
        ("vitals", {"readings": [5]}),
        ("vitals", {"readings": [{"hr": "fast"}, {"ts": 1, "hr": -1}]}),
        ("activity", {"steps": -1}),
        ("status", {"status": "asleep"}),
        ("status", {"ts": "now", "status": None}),
        ("status", {}),
        ("event", {}),
        ("event", {"kind": "exploded"}),
        ("event", {"kind": 5, "ts": START // 1000}),
    ],
)
def test_a_message_of_which_nothing_is_left_is_one_dead_letter(channel: str, fields: dict[str, Any]) -> None:
    """Time and counter alone are no message: it is dead as a whole, once."""
    batch = Bench().decode(delivery(channel, said(**fields)))
    assert [(letter.reason, letter.whole) for letter in batch.dead] == [("bad_message", True)]
    assert len(batch.readings) == 0


@pytest.mark.parametrize(
    ("channel", "fields", "event"),
    [
        ("sos", {"source": "telepathy", "lat": "north"}, Event.SOS),
        ("sos", {"ts": "now", "seq": []}, Event.SOS),
        ("fall", {"phase": "fainted"}, Event.FALL_DETECTED),
        ("fall", {"phase": None}, Event.FALL_DETECTED),
        ("fall", {"phase": "confirmed", "confidence": 5}, Event.FALL_CONFIRMED),
        ("fall", {"phase": "cancelled", "confidence": "high"}, Event.FALL_CANCELLED),
    ],
)
def test_a_call_for_help_with_bad_fields_is_a_call_for_help(
    channel: str, fields: dict[str, Any], event: Event
) -> None:
    """It is stored as an event like any other, and only its bad fields are dead."""
    batch = Bench().decode(delivery(channel, said(**fields)))
    assert all((letter.reason, letter.whole) == ("bad_field", False) for letter in batch.dead)
    assert [(row["event"], row["stored"], row["quality"]) for row in batch.readings] == [
        (event, True, Quality.MISSING)
    ]


def test_the_bad_part_of_a_late_batch_goes_alone() -> None:
    """Readings that are bad in part keep the rest, those of which nothing is left are no rows."""
    late = [{"hr": 80}, {"hr": "x", "spo2": 97}, 5, {"hr": "x"}, {"hr": "x", "steps": None}, {"seq": 3}]
    batch = vitals(said(readings=late))
    found = sorted((values(batch, row) for row in range(len(batch.readings))), key=repr)
    assert found == [{"hr": 80.0}, {"spo2": 97.0}, {}]
    assert [(letter.reason, letter.whole) for letter in batch.dead] == [("bad_field", False)]


def test_a_letter_tells_what_was_found_and_not_the_payload() -> None:
    """The detail names fields and faults, in at most 500 characters."""
    batch = vitals(said(readings=[{"hr": "secret", "spo2": "secret"}] * 500))
    assert "readings.0.hr" in batch.dead[0].detail
    assert "secret" not in batch.dead[0].detail
    assert len(batch.dead[0].detail) <= 500


# ---------------------------------------------------------------------------------------- what values mean


def test_strings_nulls_and_strange_fields_are_read() -> None:
    """Numbers in quotes count, nulls are absent, unknown fields are passed over."""
    batch = vitals(said(hr="80", spo2=None, worn="true", steps="1234", firmware={"x": [1]}))
    assert values(batch) == {"hr": 80.0, "worn": 1.0, "steps": 1234.0}
    assert batch.dead == []


@pytest.mark.parametrize(
    "fields",
    [
        *({name: code} for name in ("hr", "spo2") for code in (0, 1, 254, 255, "255", None)),
        {"spo2": 101},
        *({name: 0} for name in ("temp", "sbp", "dbp", "glucose")),
    ],
)
def test_a_code_for_no_reading_is_no_value(fields: dict[str, Any]) -> None:
    """0, 1, 254 and 255 are how devices say that they measured nothing; the message is stored."""
    batch = vitals(said(**fields, steps=0))
    assert values(batch) == {"steps": 0.0}
    assert batch.dead == []


def test_a_late_batch_is_a_row_for_each_reading() -> None:
    """Rows keep their order and time, the message's counter is theirs, values beside them are a row too."""
    first = START // 1000 - 120_000
    batch = vitals(said(seq=9, hr=70, readings=[{"ts": first, "hr": 80}, {"ts": first + 60_000, "seq": 1}]))
    assert batch.readings["ts_sent"].tolist() == [first, first + 60_000, ABSENT]
    assert batch.readings["seq"].tolist() == [9, 1, 9]
    assert batch.readings["message"].tolist() == [0, 0, 0]
    assert [values(batch, row) for row in range(3)] == [{"hr": 80.0}, {}, {"hr": 70.0}]


@given(st.permutations([(0, 80), (60, 81), (60, 82), (60, 82), (120, 83), (None, 84), (None, 85)]))
def test_a_late_batch_is_laid_out_by_its_times(sent: list[tuple[int | None, int]]) -> None:
    """In whatever order it was sent, it is one order of rows, so that a restart can judge them as before."""
    first = START // 1000 - 300_000
    readings = [{"hr": hr, **({} if ts is None else {"ts": first + 1000 * ts})} for ts, hr in sent]
    rows = vitals(said(hr=90), said(readings=readings)).readings
    assert rows["received_at"].tolist() == [START] + [START + SECOND] * 7
    assert rows["hr"].tolist()[:2] == [90, 80]
    assert rows["hr"].tolist()[5] == 83
    keys = [(int(row["ts"]), int(row["digest"])) for row in rows[1:]]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b"online", Event.ONLINE),
        (b"offline", Event.OFFLINE),
        (b" OFFLINE\n", Event.OFFLINE),
        (b'"offline"', Event.OFFLINE),
        (b'{"status": "online"}', Event.ONLINE),
        (b'{"state": "offline", "ts": 1}', Event.OFFLINE),
        (b'{"status": "offline", "state": "online"}', Event.OFFLINE),
    ],
)
@pytest.mark.parametrize("retained", [False, True])
def test_a_word_on_the_connection_is_an_event(payload: bytes, event: Event, *, retained: bool) -> None:
    """A plain-text last will does as well as JSON; only `online` said just now proves life."""
    batch = Bench().decode(delivery("status", payload, retained=retained))
    assert [(row["event"], row["alive"]) for row in batch.readings] == [
        (event, event is Event.ONLINE and not retained)
    ]
    assert batch.details == ([{"retained": True}] if retained else [])


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("payload", [b'{"kind": "test", "status": "online"}', b"?"])
def test_what_is_retained_proves_no_life(channel: str, payload: bytes) -> None:
    """A retained message is old news, also where it cannot be read."""
    assert not Bench().decode(delivery(channel, payload, retained=True)).readings["alive"].any()


@pytest.mark.parametrize(
    ("channel", "payload"),
    [("vitals", b'{"hr": 80}'), ("heartbeat", b'{"battery": 8}'), ("activity", b'{"ts": 1, "motion": true}')],
)
def test_what_was_retained_is_not_judged(channel: str, payload: bytes) -> None:
    """Nobody knows how old a measurement is that the broker kept: it goes to the history only."""
    (row,) = Bench().decode(delivery(channel, payload, retained=True)).readings
    assert row["quality"] == Quality.RETAINED


@pytest.mark.parametrize("channel", ["sos", "fall", "event", "status"])
def test_an_event_that_is_known_is_known_when_it_is_retained(channel: str) -> None:
    """It says the same, with a word on how it came."""
    payload = b'{"ts": 1, "kind": "test", "status": "online", "seq": 4}'
    live, kept = (Bench().decode(delivery(channel, payload, retained=each)) for each in (False, True))
    assert live.readings["digest"].tolist() == kept.readings["digest"].tolist()
    assert kept.details[kept.readings["detail"][0]]["retained"] is True


def test_what_has_no_column_is_kept_as_detail() -> None:
    """Place and source of a call are kept; a message without them has none."""
    bench = Bench()
    batch = bench.decode(delivery("sos", said(source="cord", lat=28.2, lon=None)), delivery("sos", at=1))
    assert batch.readings["detail"].tolist() == [0, -1]
    assert batch.details == [{"source": "cord", "lat": 28.2}]


# ------------------------------------------------------------------------------------------------------ time


@pytest.mark.parametrize(
    ("ago", "quality", "used"),
    [
        (0.0, Quality.OK, True),
        (600.0, Quality.OK, True),
        (600.001, Quality.LATE, True),
        (30 * DAY, Quality.LATE, True),
        (30 * DAY + 0.001, Quality.EPOCH, False),
        (START / SECOND, Quality.EPOCH, False),
        (START / SECOND + DAY, Quality.EPOCH, False),
        (-300.0, Quality.OK, True),
        (-300.001, Quality.FUTURE, False),
        (-1e9, Quality.FUTURE, False),
    ],
)
@pytest.mark.parametrize("channel", ["vitals", "sos", "heartbeat"])
def test_a_devices_time_is_used_from_30_days_back_to_5_minutes_ahead(
    channel: str, ago: float, quality: Quality, *, used: bool
) -> None:
    """Outside of it the time of receipt stands in; the time as sent is kept in any case."""
    sent = START // 1000 - round(ago * 1000)
    (row,) = Bench().decode(delivery(channel, said(ts=sent, hr=80))).readings
    assert (row["quality"], row["ts_sent"]) == (quality, sent)
    assert row["ts"] == (sent * 1000 if used else START)


@pytest.mark.parametrize("sent", [2**53, -(2**53), 2**53 - 1, 10**15, 0, -1])
def test_no_time_is_too_strange(sent: int) -> None:
    """The widest times that the contract lets in are judged, without overflow."""
    (row,) = vitals(said(ts=sent, hr=80)).readings
    assert (row["ts"], row["ts_sent"]) == (START, sent)


@pytest.mark.parametrize("fields", [{}, {"ts": None}])
def test_without_a_time_that_of_receipt_counts(fields: dict[str, Any]) -> None:
    """Missing is not late, whenever it was measured."""
    (row,) = vitals(said(hr=80, **fields)).readings
    assert (row["ts"], row["ts_sent"], row["quality"]) == (START, ABSENT, Quality.MISSING)


# ---------------------------------------------------------------------------------------------------- digest


def digest(channel: str, fields: dict[str, Any], *, at: float = 0.0) -> int:
    """Return the digest of one message."""
    return int(Bench().decode(delivery(channel, said(**fields), at=at)).readings["digest"][0])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"hr": 80, "spo2": 97}, {"spo2": "97", "hr": 80.0, "other": 1}),
        ({"hr": 80, "spo2": None}, {"hr": 80, "spo2": 255}),
        ({"hr": 80, "ts": START // 1000}, {"hr": 80, "ts": START // 1000 - 5}),
    ],
)
def test_equal_content_has_one_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Order, spelling, unknown fields and the moment make no difference: a device's retry is found by it."""
    assert digest("vitals", one) == digest("vitals", other, at=60)


def test_different_content_has_different_digests() -> None:
    """Channel, event, counter, each value, its place and each detail count."""
    contents: list[tuple[str, dict[str, Any]]] = [
        *((name, {}) for name in ("sos", "fall", "heartbeat", "vitals", "activity")),
        *(("fall", {"phase": phase}) for phase in ("confirmed", "cancelled")),
        *(("event", {"kind": kind}) for kind in ("tamper", "worn", "removed")),
        *(("vitals", {"seq": seq}) for seq in (0, 1, 2**53)),
        *(("vitals", {name: 50}) for name in ("hr", "spo2", "temp", "sbp", "dbp", "glucose", "steps")),
        *(("vitals", {"hr": 50, name: 50}) for name in ("spo2", "temp", "sbp")),
        *(("vitals", {"worn": worn}) for worn in (True, False)),
        *(("sos", {"source": source}) for source in ("button", "cord")),
        *(("sos", {"lat": lat, "lon": lon}) for lat, lon in ((1, 2), (2, 1))),
        *(("activity", {"room": room}) for room in ("卧室", "客厅")),
        *(("status", {"status": word}) for word in ("online", "offline")),
    ]
    assert len({digest(channel, fields) for channel, fields in contents}) == len(contents)


@pytest.mark.parametrize("first", [1000, START // 1000 + 400 * 86_400_000])
def test_measurements_under_times_that_are_not_used_are_not_one(first: int) -> None:
    """Equal values of a clock that was never set, in one message: each is a row, for its own time counts."""
    readings = [{"ts": first + n * 1000, "steps": 3233} for n in range(3)]
    rows = Bench().decode(delivery("vitals", json.dumps({"readings": readings}).encode())).readings
    assert {int(row["ts"]) for row in rows} == {START}
    assert len({int(row["digest"]) for row in rows}) == 3


def test_a_corrected_time_makes_no_copy_of_what_stood_there() -> None:
    """What a clock that is an hour fast says now, moved back, is not what a right one said at this time."""
    right = vitals(said(steps=3233, ts=START // 1000)).readings
    fast = vitals(said(steps=3233, ts=START // 1000 + 3_600_000)).readings
    assert right["ts"][0] == fast["ts"][0] == START
    assert right["digest"][0] != fast["digest"][0]


def test_a_digest_never_changes() -> None:
    """It is a key of stored rows: the same on every machine, in every run and in the next release."""
    assert digest("vitals", {"hr": 80, "seq": 7}) == -5684112976167318318
    assert digest("sos", {"source": "cord"}) == 7854059530957929740


def test_the_neighbours_in_a_batch_make_no_difference() -> None:
    """A message has the same rows alone and in company, whichever details stand around it."""
    payloads = [said(source="cord", lat=1), said(), said(source="voice"), b"?", said(source="cord", lat=1)]
    calls = [delivery("sos", payload, at=n) for n, payload in enumerate(payloads)]
    together = Bench().decode(*calls).readings
    alone = np.concatenate([Bench().decode(call).readings for call in calls])
    for name in ("digest", "event", "ts", "quality", "stored", "device_id"):
        assert together[name].tolist() == alone[name].tolist()
    assert together["message"].tolist() == list(range(5))


# --------------------------------------------------------------------------------------------------- receipts


def test_a_receipt_is_kept_for_every_message() -> None:
    """Also what is ignored or dead must be acknowledged; the hash covers topic and payload."""
    bench = Bench()
    batch = bench.decode(
        delivery("vitals", b"{}", packet_id=5),
        delivery("sos", b"{}", packet_id=6),
        delivery("nonsense", b"{}", packet_id=7),
        delivery("vitals", b"?", packet_id=0),
        lane=Lane.TELEMETRY,
    )
    assert batch.receipts["packet_id"].tolist() == [5, 6, 7, 0]
    assert not batch.receipts["duplicate"].any()
    assert len(set(batch.receipts["hash"].tolist())) == 4


def test_no_message_is_no_row() -> None:
    """An empty batch decodes to an empty batch."""
    batch = Bench().decode(lane=Lane.TELEMETRY)
    assert (len(batch.readings), len(batch.receipts), batch.dead) == (0, 0, [])


# --------------------------------------------------------------------------------- life alarms and the lanes


def both_lanes(topic: str, payload: bytes) -> tuple[Batch, Batch | None, Bench]:
    """Deliver a message as the broker does: to the telemetry session, and to the urgent one if it matches."""
    bench = Bench()
    urgent = None
    if topics.reaches_urgent(topic):
        urgent = bench.decode(delivery(topic, payload), lane=Lane.URGENT)
    return bench.decode(delivery(topic, payload, at=1), lane=Lane.TELEMETRY), urgent, bench


@pytest.mark.parametrize(
    ("topic", "lane", "reason"),
    [
        ("carebell/v1/430602/BELL-1/sos", Lane.URGENT, None),
        ("carebell/v1/abc/BELL-1/sos", Lane.URGENT, "bad_region"),
        ("carebell/v1//BELL-1/fall", Lane.URGENT, "bad_region"),
        ("carebell/v1/430602/BELL 1/sos", Lane.URGENT, "bad_device"),
        ("carebell/v1///sos", Lane.URGENT, "bad_device"),
        ("carebell/v1/430602/BELL-1/SOS", Lane.TELEMETRY, "unknown_channel"),
        ("carebell/v1/430602/BELL-1/ fall ", Lane.TELEMETRY, "unknown_channel"),
        ("carebell/v1/BELL-1/sos", Lane.TELEMETRY, "bad_topic"),
        ("carebell/v1/430602/BELL-1/x/sos", Lane.TELEMETRY, "bad_topic"),
        ("carebell/v1/sos", Lane.TELEMETRY, "bad_topic"),
    ],
)
def test_a_call_for_help_alarms_once_whatever_its_topic(topic: str, lane: Lane, reason: str | None) -> None:
    """Where both sessions bring it, the urgent one alarms and telemetry ignores it; else telemetry alarms."""
    telemetry, urgent, _ = both_lanes(topic, b"{}")
    heard = urgent if lane is Lane.URGENT else telemetry
    assert heard is not None
    assert [letter.reason for letter in heard.dead] == ([reason] if reason else [])
    assert [row["event"] in LIFE for row in heard.readings] == [True]
    assert (heard.readings["quality"] == Quality.UNREADABLE).all() == (reason is not None)
    if lane is Lane.URGENT:
        assert (len(telemetry.readings), telemetry.dead) == (0, [])
        assert telemetry.ignored == {IGNORED_URGENT_TWIN: 1}
    else:
        assert urgent is None


def test_a_malformed_event_topic_is_dead_once() -> None:
    """The urgent session's filters match it, so telemetry ignores its copy."""
    telemetry, urgent, _ = both_lanes("carebell/v1/abc/BELL-1/event", said(kind="tamper"))
    assert urgent is not None
    assert [letter.reason for letter in urgent.dead] == ["bad_region"]
    assert telemetry.dead == []
    assert telemetry.ignored == {IGNORED_URGENT_TWIN: 1}


def test_a_malformed_call_stands_for_the_device_it_names() -> None:
    """If the level of the device is a device's name, the alarm is that device's, known or not."""
    for topic, name in (("carebell/v1/abc/BELL-1/sos", "BELL-1"), ("carebell/v1/abc/NEW/SOS", "NEW")):
        telemetry, urgent, bench = both_lanes(topic, b"")
        row = (urgent or telemetry).readings[0]
        assert row["device_id"] == bench.book.ids[name]
        assert row["alive"]


def test_a_call_that_names_no_device_gets_one_of_its_own() -> None:
    """Its name begins with ?, the same topic has the same one, and it can never fall silent."""
    bench = Bench()
    topic = "carebell/v1/BELL-1/sos"
    first = bench.decode(delivery(topic)).readings[0]
    again = bench.decode(delivery(topic, at=5)).readings[0]
    other = bench.decode(delivery("carebell/v1/BELL-2/sos", at=9)).readings[0]
    assert first["device_id"] == again["device_id"] != other["device_id"]
    assert [name[0] for name in bench.book.ids] == ["B", "?", "?"]
    assert not first["alive"]


def test_a_stranger_calls_for_help_whatever_the_setting() -> None:
    """His SOS is an alarm and his telemetry a dead letter, before the call and after it."""
    bench = Bench(unknown_devices="dead_letter")
    vitals_topic, sos_topic = "carebell/v1/430602/NEW/vitals", "carebell/v1/430602/NEW/sos"
    for at in (0, 20):
        refused = bench.decode(delivery(vitals_topic, said(hr=80), at=at))
        assert [letter.reason for letter in refused.dead] == ["unknown_device"]
        call = bench.decode(delivery(sos_topic, at=at + 10))
        assert [row["event"] for row in call.readings] == [Event.SOS]
        assert call.dead == []
    garbled = bench.decode(delivery(sos_topic, b"?", at=40)).readings[0]
    assert (garbled["event"], garbled["alive"]) == (Event.SOS, False)


def test_a_stranger_who_is_not_heard_cannot_fall_silent() -> None:
    """Under `dead_letter` a call proves no life: no heartbeat of his would ever end the silence."""
    for policy, alive in (("dead_letter", False), ("register", True)):
        bench = Bench(unknown_devices=policy)
        for payload in (b"{}", b"?"):
            heard = bench.decode(delivery("carebell/v1/430602/NEW/sos", payload))
            assert heard.readings["alive"].tolist() == [alive]


def test_a_stranger_over_the_cap_is_a_dead_letter() -> None:
    """The cap holds for telemetry and events, not for calls for help."""
    bench = Bench(max_registered=1)
    first = bench.decode(*(delivery(f"carebell/v1/430602/NEW-{n}/vitals", said(hr=80)) for n in range(3)))
    assert len(first.readings) == 1
    assert [letter.reason for letter in first.dead] == ["unknown_device"] * 2
    event = bench.decode(delivery("carebell/v1/430602/NEW-8/event", said(kind="tamper")))
    assert [letter.reason for letter in event.dead] == ["unknown_device"]
    call = bench.decode(delivery("carebell/v1/430602/NEW-9/fall"))
    assert [row["event"] for row in call.readings] == [Event.FALL_DETECTED]


def test_calling_again_takes_no_more_room() -> None:
    """Whoever is admitted is admitted once, also where the topic is malformed: the cap is for newcomers."""
    bench = Bench(max_registered=3)
    for at in range(9):
        bench.decode(
            delivery("carebell/v1/BELL-1/sos", at=at), delivery("carebell/v1/x/NEW/sos", at=at + 0.5)
        )
    newcomer = bench.decode(delivery("carebell/v1/430602/BELL-2/vitals", said(hr=80), at=20))
    assert newcomer.dead == []


def test_one_bad_message_takes_nobody_with_it() -> None:
    """The others of a batch are readings, in order of receipt."""
    payloads = [said(hr=70), b"", said(hr=80), b"\x00", b"[" * 9999, said(hr=90)]
    batch = vitals(*payloads)
    assert batch.readings["hr"].tolist() == [70, 80, 90]
    assert batch.readings["message"].tolist() == [0, 2, 5]
    assert [letter.message for letter in batch.dead] == [1, 3, 4]


# --------------------------------------------------------------------------------------------- for all input

level = st.sampled_from(
    [
        "carebell",
        "v1",
        "430602",
        "430602001",
        "abc",
        "BELL-1",
        "NEW",
        "BELL 1",
        "",
        *CHANNELS,
        "SOS",
        " fall",
        "x",
    ]
) | st.text(max_size=6)
any_topic = (
    st.sampled_from([f"carebell/v1/430602/BELL-1/{name}" for name in CHANNELS])
    | st.tuples(level, level, level).map(lambda levels: "/".join(["carebell", "v1", *levels]))
    | st.lists(level, max_size=6).map(lambda levels: "/".join(["carebell/v1", *levels]))
)
names = st.sampled_from(
    [
        "ts",
        "seq",
        "source",
        "lat",
        "phase",
        "confidence",
        "kind",
        "status",
        "state",
        "room",
        "readings",
        *VALUES,
    ]
) | st.text(max_size=3)
words = st.sampled_from(
    ["cord", "detected", "cancelled", "tamper", "online", "offline", "80", "1", "NaN", "true"]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.integers(0, 300)
    | st.integers(START // 1000 - 10**7, START // 1000 + 10**6)
    | st.floats()
    | words
    | st.text(max_size=5)
)
objects = st.recursive(
    st.dictionaries(names, scalars, max_size=5),
    lambda inner: st.dictionaries(names, scalars | inner | st.lists(scalars | inner, max_size=4), max_size=5),
    max_leaves=8,
)
any_payload = (
    objects.map(lambda said: json.dumps(said).encode())
    | st.binary(max_size=40)
    | st.builds(
        lambda text, place, byte: text[:place] + byte + text[place + 1 :],
        objects.map(lambda said: json.dumps(said).encode()),
        st.integers(0, 60),
        st.binary(max_size=2),
    )
    | words.map(str.encode)
    | st.sampled_from([b"", b"{}", b"x" * 1025, b'{"readings": [{}, {"hr": -1}, 7]}'])
)
deliveries = st.lists(st.tuples(any_topic, any_payload, st.booleans()), min_size=1, max_size=6)


@settings(deadline=None, max_examples=300)
@given(deliveries, st.sampled_from(["register", "dead_letter"]), st.sampled_from([0, 10]))
def test_every_message_ends_in_one_place_and_every_call_alarms(
    sent: list[tuple[str, bytes, bool]], policy: str, cap: int
) -> None:
    """Any bytes on any topic are stored, dead or ignored, by one name; what ends like a call is one alarm."""
    bench = Bench(max_payload=1024, unknown_devices=policy, max_registered=cap)
    messages = [delivery("/" + t, p, at=n, retained=r) for n, (t, p, r) in enumerate(sent)]
    messages = [each._replace(topic=each.topic[1:]) for each in messages]
    alarms = [0] * len(sent)
    for lane in Lane:
        heard = [
            n
            for n, each in enumerate(messages)
            if lane is Lane.TELEMETRY or topics.reaches_urgent(each.topic)
        ]
        batch = bench.decode(*(messages[n] for n in heard), lane=lane)
        stored = set(batch.readings["message"][batch.readings["stored"]].tolist())
        dead = [letter.message for letter in batch.dead if letter.whole]
        partly = [letter.message for letter in batch.dead if not letter.whole]
        assert len(stored) + len(dead) + sum(batch.ignored.values()) == len(heard) == len(batch.receipts)
        assert len(set(dead)) == len(dead)
        assert len(set(partly)) == len(partly)
        assert stored.isdisjoint(dead)
        assert stored.issuperset(partly)
        for letter in batch.dead:
            assert letter.reason in REASONS
            assert not letter.detail.startswith("decoding it failed"), letter
        for row in batch.readings:
            who = heard[int(row["message"])]
            assert row["received_at"] == messages[who].received_at
            assert row["device_id"] in bench.book.ids.values()
            assert not (row["alive"] and messages[who].retained)
            alarms[who] += row["event"] in LIFE
    for (topic, _, _), count in zip(sent, alarms, strict=True):
        assert count == (topics.life_channel(topic) in LIFE_CHANNELS)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from([c for c in CHANNELS if CHANNELS[c] in LIFE_CHANNELS]), any_payload))
)
def test_any_bytes_on_a_life_topic_alarm_at_once(calls: list[tuple[str, bytes]]) -> None:
    """The n-th call is the n-th alarm, with the time of its receipt, on its own channel."""
    batch = Bench().decode(
        *(delivery(channel, payload, at=n) for n, (channel, payload) in enumerate(calls)), lane=Lane.URGENT
    )
    assert batch.readings["message"].tolist() == list(range(len(calls)))
    assert batch.readings["received_at"].tolist() == [START + n * SECOND for n in range(len(calls))]
    for row, (channel, _) in zip(batch.readings, calls, strict=True):
        assert row["channel"] == CHANNELS[channel]
        assert (row["event"] == Event.SOS) == (Channel(row["channel"]) is Channel.SOS)
