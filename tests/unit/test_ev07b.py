"""EV07B binary frames: what has a right checksum is read; in the rest calls for help count, and no noise."""

import base64
import random
import struct
from datetime import UTC
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_sims import frames
from schemas.clock import SECOND
from schemas.messages import ADAPTERS
from schemas.readings import Event
from schemas.sources import samples
from schemas.sources.compiled import Sources
from schemas.sources.ev07b import read
from schemas.sources.mapping import load, texts
from schemas.sources.notes import MOST_FAULTS
from schemas.sources.records import Record, Said
from schemas.topics import REASONS, Channel

PENDANT, OTHER = "861429031234561", "355465071029306"
SECONDS = 1_790_000_000
AT = SECONDS * SECOND
HERE = (29.3712345, 113.1287654)
LIFE = {Event.SOS, Event.FALL_DETECTED}
SIDE_KEYS = sum(frames.EV07B_SIDE_KEYS)
CALLING = [1 << 12, 1 << 2, 1 << 12 | 1 << 2 | 1, 1 << 12 | 1 << 15]
QUIET = [0, frames.EV07B_LOW_BATTERY, SIDE_KEYS, 1 << 8, 1 << 4]
LONG = 1 << 18


def said(payload: bytes, topic_id: str = "") -> Said:
    """Read a payload."""
    return read(payload, UTC, topic_id)


def calls(payload: bytes) -> set[Event]:
    """Return the calls for help in a payload that came on the topic of a pendant."""
    return {each.event for each in said(payload, PENDANT).records} & LIFE


def events(found: Said) -> list[Record]:
    """Return the events."""
    return [each for each in found.records if each.event is not Event.NONE]


def hex_text(payload: bytes) -> bytes:
    """Return bytes in hexadecimal."""
    return payload.hex().encode()


def report(word: int, *, first: bool = True, sequence: int = 0) -> bytes:
    """Return a frame with an alarm, as the first key behind the id or between others."""
    keys = [
        frames.ev07b_alarm(AT, word),
        frames.ev07b_status(AT, battery=80),
        frames.ev07b_position(HERE),
        frames.ev07b_key(0x22, bytes.fromhex("b674acb9b465bab618e829e77370")),
        frames.ev07b_heart([(AT, 72)]),
    ]
    if not first:
        keys[0], keys[2] = keys[2], keys[0]
    return frames.ev07b_frame(PENDANT, *keys, sequence=sequence)


def word_in(frame: bytes | bytearray, word: int) -> tuple[int, int]:
    """Return where the alarm key begins and ends: length, key, word, time."""
    start = frame.index(b"\x09\x02" + struct.pack("<II", word, SECONDS))
    return start, start + 10


def test_the_samples_hold() -> None:
    """Every sample becomes exactly what is written beside it."""
    written = samples.read(samples.beside("ev07b"))
    assert len(written) >= 15
    assert samples.differences(Sources(load(texts(["ev07b"]))), written) == []


# --------------------------------------------------------------------------------------------- the alarm word


@given(st.integers(0, 2**32 - 1))
def test_calls_follow_the_bits(word: int) -> None:
    """Whatever else is set, SOS and falls are told if their bits are set, and only then."""
    wanted = {Event.SOS} if word >> 12 & 1 else set()
    wanted |= {Event.FALL_DETECTED} if word >> 2 & 1 else set()
    assert calls(report(word)) == wanted


@pytest.mark.parametrize("bits", [*combinations((0, 2, 12, 13, 24), 2)], ids=str)
def test_no_bit_hides_another(bits: tuple[int, int]) -> None:
    """An alarm with two bits set tells both, with its own time."""
    kinds = {
        0: Event.LOW_BATTERY,
        2: Event.FALL_DETECTED,
        12: Event.SOS,
        13: Event.UNKNOWN_ALARM,
        24: Event.AREA_LEFT,
    }
    found = events(said(report(sum(1 << bit for bit in bits))))
    assert {each.event for each in found} == {kinds[bit] for bit in bits}
    assert {each.fields["ts"] for each in found} == {AT // 1000}


@pytest.mark.parametrize("area", range(4))
def test_areas_are_left_or_entered(area: int) -> None:
    """Each of four areas has a bit, and another one that says that it was entered."""
    for word, wanted in (
        (1 << 4 + area, Event.AREA_LEFT),
        (1 << 4 + area | 1 << 26 + area, Event.AREA_ENTERED),
    ):
        (found,) = events(said(report(word)))
        assert (found.event, found.fields["lat"], found.fields["lon"]) == (wanted, *HERE)


def test_an_alarm_goes_with_the_state_of_its_time() -> None:
    """Of an old state and a new one in a frame, the one whose time is nearer tells place and lateness."""
    elsewhere = (29.4, 113.2)
    frame = frames.ev07b_frame(
        PENDANT,
        frames.ev07b_status(AT, battery=80),
        frames.ev07b_position(HERE),
        frames.ev07b_status(AT - 3600 * SECOND, battery=90, archived=True),
        frames.ev07b_position(elsewhere),
        frames.ev07b_alarm(AT - 3590 * SECOND, frames.EV07B_SOS),
        frames.ev07b_alarm(AT + 5 * SECOND, frames.EV07B_FALL),
        frames.ev07b_alarm(AT + 86_400 * SECOND, frames.EV07B_SOS),
    )
    old, fall, far = events(said(frame))
    assert (old.late, old.fields["lat"], old.fields["lon"]) == (True, *elsewhere)
    assert (fall.late, fall.fields["lat"], fall.fields["lon"]) == (False, *HERE)
    assert not far.late
    assert "lat" not in far.fields


# -------------------------------------------------------------------------------------------------- mutations

NEIGHBOUR = st.sampled_from(
    [
        frames.ev07b_frame(OTHER, frames.ev07b_status(AT, battery=50)),
        frames.ev07b_frame(OTHER, frames.ev07b_heart([(AT, 1)])),
        report(0, sequence=9),
        report(frames.EV07B_LOW_BATTERY)[:40],
    ]
)
AROUND = st.lists(st.one_of(st.binary(max_size=40), NEIGHBOUR, st.just(b"\xab")), max_size=3).map(b"".join)


@st.composite
def disturbed(draw: st.DrawFn, words: list[int]) -> bytes:
    """Return a frame in company, with any header, perhaps cut behind the word."""
    word = draw(st.sampled_from(words))
    frame = report(word, first=draw(st.booleans()))
    _, end = word_in(frame, word)
    frame = frame[: draw(st.integers(end - 4, len(frame)))]
    header = draw(st.one_of(st.just(frame[:8]), st.binary(min_size=8, max_size=8)))
    behind = b"" if len(frame) < end else draw(AROUND)
    return draw(AROUND) + header + frame[8:] + behind


@given(disturbed(CALLING))
@settings(max_examples=400)
def test_a_call_outlives_what_happens_around_it(payload: bytes) -> None:
    """Rubbish, other frames, wrong headers and cuts behind the word never cost a call."""
    assert calls(payload)


@given(disturbed(QUIET))
@settings(max_examples=400)
def test_no_call_comes_of_what_happens_around_a_frame(payload: bytes) -> None:
    """The same without the bits is no call."""
    assert not calls(payload)


def damaged(rng: random.Random, word: int, times: int) -> bytes:
    """Return a report with bytes changed, lost or inserted, but not in its alarm key."""
    frame = bytearray(report(word, first=rng.random() < 0.5))
    for _ in range(times):
        start, end = word_in(frame, word)
        place = rng.choice([*range(start), *range(end, len(frame))])
        what = rng.randrange(3)
        if what == 0:
            frame[place] = rng.randrange(256)
        elif what == 1:
            del frame[place]
        else:
            frame[place:place] = rng.randbytes(rng.randint(1, 20))
    return bytes(frame)


def test_damage_never_costs_a_call() -> None:
    """Wherever a byte is changed, lost or inserted outside the alarm key, the call is told."""
    payloads = [damaged(random.Random(seed), CALLING[seed % 4], 1 + seed % 3) for seed in range(3000)]
    assert [each.hex() for each in payloads if not calls(each)] == []


def test_damage_never_makes_a_call() -> None:
    """However often bytes are changed, lost or inserted outside the alarm key, no call comes of it."""
    payloads = [damaged(random.Random(seed), QUIET[seed % 5], 1 + seed % 6) for seed in range(3000)]
    assert [each.hex() for each in payloads if calls(each)] == []


def test_noise_does_not_call() -> None:
    """Two megabytes of noise, with marks and ids of pendants strewn in, hold no call."""
    rng = random.Random(5)
    for _ in range(64):
        noise = rng.randbytes(16_384)
        assert not calls(noise)
        assert not calls(b"\xab\x10\x40\x00" + noise[:5] + b"\x10\x01" + PENDANT.encode() + noise[5:])


def test_a_wrong_checksum_leaves_the_calls() -> None:
    """Of a frame that is not to be trusted the call counts, marked as unreadable; no value does."""
    frame = bytearray(report(frames.EV07B_SOS | frames.EV07B_LOW_BATTERY))
    frame[5] ^= 0x40
    found = said(bytes(frame))
    assert [(each.event, each.device, each.readable) for each in found.records] == [
        (Event.SOS, PENDANT, False)
    ]
    assert [fault.reason for fault in found.faults] == ["bad_message"]


def test_a_wrong_checksum_and_a_wrong_clock_leave_the_calls() -> None:
    """Behind the id of its sender an alarm counts even with a clock in 1970; elsewhere it may be noise."""
    frame = frames.ev07b_frame(PENDANT, frames.ev07b_alarm(60 * SECOND, frames.EV07B_SOS))
    assert calls(frame[:4] + b"??" + frame[6:]) == {Event.SOS}
    alarm = frames.ev07b_alarm(AT, frames.EV07B_SOS)
    assert calls(b"??" + alarm) == {Event.SOS}
    assert not calls(b"??" + frames.ev07b_alarm(60 * SECOND, frames.EV07B_SOS))
    assert not calls(b"??" + alarm[:-1])


def test_a_command_that_nobody_knows_leaves_the_calls() -> None:
    """A right checksum may be one by chance, around a call whose own frame was broken."""
    found = said(frames.ev07b_frame(PENDANT, frames.ev07b_alarm(AT, frames.EV07B_SOS), command=0x55))
    (sos,) = found.records
    assert (sos.event, sos.device, sos.readable) == (Event.SOS, PENDANT, False)
    assert [fault.reason for fault in found.faults] == ["unknown_channel"]


def test_settings_are_no_alarms() -> None:
    """In an answer about settings the key of alarms is that of the version."""
    version = frames.ev07b_key(0x02, struct.pack("<I", frames.EV07B_SOS))
    (beat,) = said(frames.ev07b_frame(PENDANT, version, command=2)).records
    assert (beat.device, beat.channel, beat.event) == (PENDANT, Channel.HEARTBEAT, Event.NONE)


# ------------------------------------------------------------------------------------------------ any payload


@given(st.one_of(st.binary(max_size=300), AROUND, AROUND.map(hex_text), AROUND.map(base64.b64encode)))
@settings(max_examples=500)
def test_whatever_comes_is_told_or_refused(payload: bytes) -> None:
    """Nothing is raised, every value is within the contract, and a message without any word has a reason."""
    found = said(payload)
    assert found.records or found.faults
    assert {fault.reason for fault in found.faults} <= REASONS.keys()
    for each in found.records:
        assert each.device or (each.event in LIFE and not each.readable)
        if each.event is Event.NONE:
            assert ADAPTERS[each.channel].validate_python(dict(each.fields)) == each.fields


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=12), st.integers(0, 255))
def test_any_keys_are_told_or_refused(keys: list[tuple[int, bytes]], command: int) -> None:
    """A frame with a right checksum may hold any keys with any values."""
    payload = frames.ev07b_frame(
        PENDANT, *(frames.ev07b_key(key, value) for key, value in keys), command=command
    )
    found = said(payload)
    assert found.records or found.faults
    for each in found.records:
        assert each.device
        if each.event is Event.NONE:
            assert ADAPTERS[each.channel].validate_python(dict(each.fields)) == each.fields


@pytest.mark.parametrize(
    "piece",
    [
        *(b"\xab", b"\0", b"ab10", b"qxAA", b"\x10\x01123456789012345", b"\x09\x02\0\x10\0\0\0\0\0\x70"),
        *(b"\xab\x10\x00\xff\0\0\0\0", b"\xab\x10\x01\0\0\0\0\0\0", report(frames.EV07B_SOS)),
    ],
)
def test_the_work_grows_no_faster_than_the_payload(piece: bytes) -> None:
    """Nothing is looked at again and again: 256 KiB of anything is read at once, and few faults stay."""
    found = said(piece * (LONG // len(piece)))
    assert len(found.faults) <= MOST_FAULTS


def test_few_checksums_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks without frames, each with a length of its own, cost a bounded number of checksums."""
    tried = []

    def crc(body: memoryview, _: int) -> int:
        tried.append(len(body))
        return -1

    monkeypatch.setattr("binascii.crc_hqx", crc)
    said(b"\xab\x10\x00\x10\0\0\0\0" * 4096)
    assert len(tried) <= 256


def test_many_alarms_find_their_states_at_once() -> None:
    """Thousands of alarms beside thousands of states in one frame are told, each with its own state."""
    times = range(AT, AT + 3000 * 7 * SECOND, 7 * SECOND)
    alarms = [frames.ev07b_alarm(at, frames.EV07B_SOS) for at in times]
    states = [frames.ev07b_status(at, battery=80, archived=bool(at // SECOND & 1)) for at in times]
    found = events(said(frames.ev07b_frame(PENDANT, *alarms, *states)))
    assert [each.late for each in found] == [bool(at // SECOND & 1) for at in times]


# ------------------------------------------------------------------------------------------------ round trips


@given(
    st.integers(1, 2**32 - 1),
    st.integers(0, 100),
    st.tuples(st.floats(-89, 89), st.floats(-179, 179)).filter(lambda p: abs(p[0]) > 0.01),
    st.booleans(),
)
def test_a_state_comes_back(at: int, battery: int, place: tuple[float, float], late: bool) -> None:  # noqa: FBT001
    """Time, charge, place and lateness are read as they were written, from bytes or from texts of them."""
    frame = frames.ev07b_frame(
        PENDANT,
        frames.ev07b_alarm(at * SECOND, frames.EV07B_SOS),
        frames.ev07b_status(at * SECOND, battery=battery, archived=late),
        frames.ev07b_position(place),
    )
    for payload in (frame, hex_text(frame), base64.b64encode(frame)):
        sos, beat = said(payload).records
        assert sos.fields == {
            "ts": at * 1000,
            "source": "button",
            "lat": pytest.approx(place[0], abs=1e-7),
            "lon": pytest.approx(place[1], abs=1e-7),
        }
        assert (beat.channel, beat.fields) == (Channel.HEARTBEAT, {"ts": at * 1000, "battery": battery})
        assert (sos.device, sos.late, beat.late) == (PENDANT, late, late)


@given(
    st.integers(1, 2**31),
    st.lists(st.tuples(st.integers(1, 600_000), st.integers(2, 253)), max_size=8, unique_by=lambda e: e[0]),
    st.booleans(),
)
def test_measurements_come_back(begin: int, measured: list[tuple[int, int]], short: bool) -> None:  # noqa: FBT001
    """Each pulse has its own time; a number below 2 is none; an entry takes six bytes, or five."""
    pulses = [(begin + after, hr) for after, hr in measured]
    entries = [at.to_bytes(4, "little") + bytes([hr, 100]) for at, hr in [*pulses, (begin, 1)]]
    value = b"".join(each[: 5 if short else 6] for each in entries)
    frame = frames.ev07b_frame(PENDANT, bytes([len(value) + 1, 0x40]) + value)
    found = [each for each in said(frame).records if each.channel is Channel.VITALS]
    assert [each.fields for each in found] == [{"ts": at * 1000, "hr": hr} for at, hr in pulses]


def test_a_frame_as_text_in_each_way_of_writing_it() -> None:
    """Hexadecimal with signs between the bytes, Base64 as in addresses, and the NUL that ends C's texts."""
    frame = report(frames.EV07B_SOS)
    url = base64.urlsafe_b64encode(frame)
    ways = [hex_text(frame), frame.hex(":").encode(), frame.hex("-").encode(), b"0x" + hex_text(frame)]
    ways += [" ".join(f"0x{each:02X}" for each in frame).encode(), url, url.rstrip(b"="), frame]
    for payload in (*ways, *(each + b"\0" for each in ways)):
        assert said(payload) == said(frame), payload


def test_a_list_of_no_times_is_told() -> None:
    """Thirty bytes that are neither five entries nor six are no pulse."""
    value = b"".join(at.to_bytes(4, "little") + b"\x48\x64" for at in (1, 2**20, 2**30, 5, 2**31))
    found = said(frames.ev07b_frame(PENDANT, bytes([len(value) + 1, 0x40]) + value))
    assert [each.channel for each in found.records] == [Channel.HEARTBEAT]
    assert [fault.reason for fault in found.faults] == ["bad_field"]


def test_what_is_measured_at_once_is_one_reading() -> None:
    """Pulse, oxygen and steps of one moment are one row."""
    frame = frames.ev07b_frame(
        PENDANT,
        frames.ev07b_heart([(AT, 72)]),
        frames.ev07b_oxygen([(AT, 97)]),
        frames.ev07b_steps([(AT, 1234)]),
    )
    (row,) = said(frame).records
    assert row.fields == {"ts": AT // 1000, "hr": 72, "spo2": 97, "steps": 1234}
