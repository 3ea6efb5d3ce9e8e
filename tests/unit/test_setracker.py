"""SeTracker text frames: what is whole of a message is read, and no alarm bit is lost, hidden or invented."""

import random
from collections.abc import Callable
from datetime import UTC
from itertools import combinations
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_sims import frames
from schemas.clock import SECOND
from schemas.messages import ADAPTERS
from schemas.readings import Event
from schemas.sources import samples
from schemas.sources.compiled import Sources
from schemas.sources.mapping import load, texts
from schemas.sources.notes import MOST_FAULTS
from schemas.sources.records import Record, Said
from schemas.sources.setracker import IGNORED, read
from schemas.topics import REASONS, Channel

WATCH, OTHER = "8800000015", "861429031234561"
AT = 1_790_000_000 * SECOND
HERE = (29.371234, 113.128765)
LIFE = {Event.SOS, Event.FALL_DETECTED}
BITS = {
    0: Event.LOW_BATTERY,
    1: Event.AREA_LEFT,
    2: Event.AREA_ENTERED,
    14: Event.MAINS_LOST,
    16: Event.SOS,
    17: Event.LOW_BATTERY,
    18: Event.AREA_LEFT,
    19: Event.AREA_ENTERED,
    20: Event.REMOVED,
    21: Event.FALL_DETECTED,
    22: Event.FALL_DETECTED,
}
CALLING = [0x00010000, 0x00010001, 0x00230013, 0x00200008, 0x00400010]
QUIET = [0x00000000, 0x00000010, 0x00100008, 0x000E4017, 0x00020000]
LONG = 1 << 18


def said(payload: bytes, topic_id: str = "") -> Said:
    """Read a payload whose times are UTC."""
    return read(payload, UTC, topic_id)


def events(found: Said) -> list[Record]:
    """Return the events that happen."""
    return [each for each in found.records if each.event is not Event.NONE and each.on]


def calls(payload: bytes) -> set[Event]:
    """Return the calls for help in a payload that came on the topic of a watch."""
    return {each.event for each in events(said(payload, WATCH))} & LIFE


def report(word: int, command: str = "AL_LTE", steps: int = 4262) -> bytes:
    """Return a frame with a status word."""
    return frames.setracker_position(
        WATCH, AT, command=command, status=word, battery=83, steps=steps, place=HERE
    )


def test_the_samples_hold() -> None:
    """Every sample becomes exactly what is written beside it."""
    written = samples.read(samples.beside("setracker"))
    assert len(written) >= 25
    assert samples.differences(Sources(load(texts(["setracker"]))), written) == []


# -------------------------------------------------------------------------------------------- the status word


@pytest.mark.parametrize("bits", [*combinations(BITS, 1), *combinations(BITS, 2)], ids=str)
def test_no_bit_hides_another(bits: tuple[int, ...]) -> None:
    """An alarm with one or two bits set tells exactly the events of these bits, each once."""
    found = events(said(report(sum(1 << bit for bit in bits))))
    assert sorted(each.event for each in found) == sorted({BITS[bit] for bit in bits})
    assert all(each.device == WATCH and each.readable and not each.state for each in found)


@pytest.mark.parametrize("bit", sorted(set(range(32)) - set(BITS)))
def test_an_alarm_without_a_known_bit_is_an_unknown_alarm(bit: int) -> None:
    """Staff see that a watch alarms even if nobody knows why; a report with the same bit is no alarm."""
    (unknown,) = events(said(report(1 << bit)))
    assert (unknown.event, unknown.channel) == (Event.UNKNOWN_ALARM, Channel.EVENT)
    assert events(said(report(1 << bit, "UD_LTE"))) == []


def test_an_unnamed_bit_is_not_hidden_by_a_known_one() -> None:
    """An alarm for a reason that no text names is shown beside the low battery."""
    found = events(said(report(1 << 27 | frames.SETRACKER_LOW_BATTERY)))
    assert {each.event for each in found} == {Event.LOW_BATTERY, Event.UNKNOWN_ALARM}


@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["AL", "AL_LTE", "ALCUSTOMER1", "UD", "UD_LTE", "WT", "UD2"])
)
def test_calls_follow_the_bits(word: int, command: str) -> None:
    """Whatever else is set, SOS and falls are told if their bits are set, and only then."""
    wanted = {event for bit, event in BITS.items() if word >> bit & 1} & LIFE
    assert calls(report(word, command)) == wanted


def test_a_report_tells_states() -> None:
    """Periodic reports repeat their bits, so each is a state that holds or does not; the falls are two."""
    found = said(report(frames.SETRACKER_SOS, "UD_LTE")).records
    states = {each.state: each for each in found if each.state}
    assert [name for name, each in states.items() if each.on] == ["setracker.sos"]
    assert states["setracker.sos"].fields == {"ts": AT // 1000, "lat": HERE[0], "lon": HERE[1]}
    assert {each.event for each in states.values()} == set(BITS.values())
    assert {"setracker.fall", "setracker.fall_22"} <= states.keys()


def test_an_old_report_ends_no_state() -> None:
    """What is sent again from a blind zone is late: it may begin a state, but newer reports came first."""
    quiet, calling = said(report(0, "UD2")).records, said(report(frames.SETRACKER_SOS, "UD2")).records
    assert all(each.late and not each.state for each in quiet)
    assert all(each.late for each in calling)
    assert [(each.state, each.on) for each in calling if each.state] == [("setracker.sos", True)]


@pytest.mark.parametrize("word", CALLING)
@pytest.mark.parametrize("command", ["AL_LTE", "UD_LTE"])
def test_cut_anywhere_no_alarm_is_invented(word: int, command: str) -> None:
    """A frame that is cut tells its calls once its word is whole, and before that none; nor low battery."""
    whole = report(word, command)
    end = whole.index(b"%08X" % word) + 8
    for size in range(len(whole)):
        cut = said(whole[:size])
        told = {each.event for each in events(cut)}
        assert told & LIFE == (calls(whole) if size >= end else set())
        if size < end:
            assert told <= {Event.UNKNOWN_ALARM}
        assert cut.faults or size == len(whole) - 1


# -------------------------------------------------------------------------------------------------- mutations

GARBAGE = st.one_of(
    st.binary(max_size=40),
    st.text("0123456789,.[]*ANESVUDLKW_-", max_size=40).map(str.encode),
    st.sampled_from(
        [b"[", b"]", b"[3G*", b"[3G*8800000015*00FF*", b"[3G*8800000015*0FFF*TK,", b"*", b",,,,"]
    ),
)
NEIGHBOUR = st.sampled_from(
    [
        frames.setracker_link(OTHER, battery=50),
        frames.setracker_heart(OTHER, 72),
        report(0, "UD_LTE"),
        frames.setracker_frame(OTHER, "TK,#!AMR}\x02"),
        b"[3G*8800000015*00CD*UD,1503",
    ]
)
LENGTH = st.sampled_from([b"0000", b"0001", b"007B", b"00ff", b"FFFF", b"", b"12345678"])


@st.composite
def disturbed(draw: st.DrawFn, words: list[int]) -> bytes:
    """Return a frame that is whole up to its word, in company, of any length, perhaps cut behind the word."""
    word = draw(st.sampled_from(words))
    frame = report(word, draw(st.sampled_from(["AL", "AL_LTE", "UD", "UD_WCDMA", "WT"])))
    end = frame.index(b"%08X" % word) + 8
    frame = frame[: draw(st.integers(end, len(frame)))]
    maker, device, _, content = frame.split(b"*", 3)
    frame = b"*".join((maker, device, draw(LENGTH), content))
    around = st.lists(st.one_of(GARBAGE, NEIGHBOUR), max_size=3).map(b"".join)
    after = draw(around)
    if frame[-1:] != b"]" and after[:1].isalnum():  # what follows the word at once would be a part of it
        after = b"," + after
    return draw(around) + frame + after


@given(disturbed(CALLING))
@settings(max_examples=400)
def test_a_call_outlives_what_happens_around_it(payload: bytes) -> None:
    """Rubbish, other frames, wrong lengths and cuts behind the word never cost an alarm."""
    assert calls(payload)


@given(disturbed(QUIET))
@settings(max_examples=400)
def test_no_call_comes_of_what_happens_around_a_frame(payload: bytes) -> None:
    """The same without the bits is no call."""
    assert not calls(payload)


def damaged(rng: random.Random, word: int, times: int) -> bytes:
    """Return a report with bytes changed, lost or inserted, but not in its word nor right beside it."""
    command = rng.choice(["AL", "AL_LTE", "UD", "UD_LTE", "UD2", "WT"])
    frame = bytearray(report(word, command, steps=rng.choice([0, 10_000, 65_536, 4262])))
    for _ in range(times):
        start = frame.index(b"%08X" % word)
        place = rng.choice([*range(start - 2), *range(start + 10, len(frame))])
        what = rng.randrange(3)
        if what == 0:
            frame[place] = rng.choice([rng.randrange(256), *b"0123456789,.[]*AV"])
        elif what == 1:
            del frame[place]
        else:
            frame[place:place] = bytes(rng.choices(b"0123456789,.[]*AVNE \xc4\xe3", k=rng.randint(1, 5)))
    return bytes(frame)


def many(change: Callable[[random.Random], bytes], count: int = 3000) -> list[bytes]:
    """Return many different payloads, the same in every run."""
    return [change(random.Random(seed)) for seed in range(count)]


def test_one_damage_never_costs_a_call() -> None:
    """Wherever one byte is changed, lost or inserted outside the word, the call is told."""
    silent = [each for each in many(lambda rng: damaged(rng, rng.choice(CALLING), 1)) if not calls(each)]
    assert silent == []


def test_damage_never_makes_a_call() -> None:
    """However often bytes are changed, lost or inserted outside the word, no call comes of it.

    Not even of 10000 or 65536 steps, which would be SOS where the word should stand.
    """
    payloads = many(lambda rng: damaged(rng, rng.choice(QUIET), rng.randint(1, 6)))
    assert [each for each in payloads if calls(each)] == []


@pytest.mark.parametrize("lost", range(17))
def test_a_lost_field_moves_no_number_into_the_word(lost: int) -> None:
    """Without any one of its fields a report still tells its call, and a quiet one none."""
    for word, wanted in ((frames.SETRACKER_SOS, {Event.SOS}), (0, set())):
        fields = report(word, "UD", steps=10_000)[:-1].split(b",")
        if fields[lost] != b"%08X" % word:
            del fields[lost]
        assert calls(b",".join(fields) + b"]") == wanted


@pytest.mark.parametrize("word", CALLING)
def test_a_comma_lost_beside_the_word_costs_nothing(word: int) -> None:
    """A word that runs into the number before or behind it is still 8 digits long."""
    for command in ("AL", "UD"):
        whole, text = report(word, command), b"%08X" % word
        assert calls(whole.replace(b"," + text, text)) == calls(whole)
        assert calls(whole.replace(text + b",", text)) == calls(whole)


@pytest.mark.parametrize("command", ["AL", "UD"])
def test_a_number_may_be_null(command: str) -> None:
    """What a watch does not know costs neither its call nor the numbers it knows."""
    fields = report(frames.SETRACKER_SOS, command).split(b",")
    for place in (4, 6, 8, 9, 10, 11, 12, 13, 14, 15):
        nulls = b",".join([*fields[:place], b"null", *fields[place + 1 :]])
        found = said(nulls)
        assert not found.faults
        assert calls(nulls) == {Event.SOS}
        assert len(found.records) == len(said(b",".join(fields)).records) - (place == 14)


def test_a_cell_is_no_status_word() -> None:
    """In a report with a broken field the word is told from the number of a cell written with zeros."""
    for word, wanted in ((frames.SETRACKER_SOS, {Event.SOS}), (0, set())):
        broken = report(word).replace(b",9,100,", b",9,1o0,").replace(b",21809,", b",00B82132,")
        assert calls(broken) == wanted


def test_a_name_of_a_network_cannot_call() -> None:
    """What stands inside a frame whose length is right is a part of it, unless it is a whole report."""
    name = "][3G*9999999999*0002*AL"
    frame = frames.setracker_frame(
        WATCH, f"UD,150326,062005,V,0,N,0,E,0,0,0,0,0,9,0,0,00000000,0,0,1,{name},m,-4"
    )
    assert events(said(frame)) == []
    swallowed = frames.setracker_frame(WATCH, "LK,1,2,3]" + report(frames.SETRACKER_SOS).decode()[:-1])
    assert calls(swallowed) == {Event.SOS}


# ------------------------------------------------------------------------------------------------ any payload


@given(st.one_of(st.binary(max_size=300), st.lists(st.one_of(GARBAGE, NEIGHBOUR), max_size=8).map(b"".join)))
@settings(max_examples=500)
def test_whatever_comes_is_told_or_refused(payload: bytes) -> None:
    """Nothing is raised, every value is within the contract, and a message without any word has a reason."""
    found = said(payload)
    assert found.records or found.faults or found.ignored == IGNORED
    assert {fault.reason for fault in found.faults} <= REASONS.keys()
    assert len(found.faults) <= MOST_FAULTS
    for each in found.records:
        assert each.device or (each.event in LIFE and not each.readable)
        fields = {name: value for name, value in each.fields.items() if name not in ("lat", "lon")}
        if each.event is Event.NONE:
            assert ADAPTERS[each.channel].validate_python(fields) == fields


@pytest.mark.parametrize(
    "piece",
    [
        *(b"[", b"]", b"*", b",", b" ", b"1,", b"1.", b"[3G*", b"[3G* 1", b"00010000,", b"\xff"),
        *(b"[3G*8800000015*FFFF*UD,", b"[3G*8800000015*0002*LK]", b"[3G*8800000015*0003*AL,"),
    ],
)
@pytest.mark.parametrize("begin", [b"", b"[3G*8800000015*00CD*AL,", b"[3G*8800000015*3FFFF*UD,"])
def test_the_work_grows_no_faster_than_the_payload(begin: bytes, piece: bytes) -> None:
    """Nothing is looked at again and again: 256 KiB of anything is read at once, and few faults stay."""
    found = said(begin + piece * (LONG // len(piece)) + b"]")
    assert found.records or found.faults
    assert len(found.faults) <= MOST_FAULTS


# ------------------------------------------------------------------------------------------------ round trips


@given(
    st.integers(946_684_800, 4_102_444_799),
    st.integers(0, 100),
    st.integers(0, 999_999),
    st.tuples(st.floats(-89, 89), st.floats(-179, 179)).filter(lambda p: abs(p[0]) > 0.01),
)
def test_a_position_comes_back(at: int, battery: int, steps: int, place: tuple[float, float]) -> None:
    """Time, charge, steps and place are read as they were written."""
    frame = frames.setracker_position(
        WATCH, at * SECOND, command="AL", status=1 << 16, battery=battery, steps=steps, place=place
    )
    sos, beat, walk = said(frame).records
    assert sos.fields == {"ts": at * 1000, "lat": round(place[0], 6), "lon": round(place[1], 6)}
    assert (beat.channel, beat.fields) == (Channel.HEARTBEAT, {"ts": at * 1000, "battery": battery})
    assert (walk.channel, walk.fields) == (Channel.VITALS, {"ts": at * 1000, "steps": steps})


@given(st.integers(2, 250), st.integers(2, 100), st.integers(60, 250), st.integers(2, 150), st.floats(30, 43))
def test_vitals_come_back(hr: int, spo2: int, sbp: int, dbp: int, temp: float) -> None:
    """Each measurement is read as it was written, and has no time."""
    payload = b"".join(
        (
            frames.setracker_heart(WATCH, hr),
            frames.setracker_oxygen(WATCH, spo2),
            frames.setracker_pressure(WATCH, sbp, dbp, hr),
            frames.setracker_temperature(WATCH, temp),
        )
    )
    assert [dict(each.fields) for each in said(payload).records] == [
        {"hr": hr},
        {"spo2": spo2},
        {"sbp": sbp, "dbp": dbp, "hr": hr},
        {"temp": round(temp, 2)},
    ]


@pytest.mark.parametrize("code", [0, 1, 254, 255])
def test_codes_for_no_reading_are_no_readings(code: int) -> None:
    """A watch that found nothing lives; that is all it says."""
    for frame in (frames.setracker_heart(WATCH, code), frames.setracker_oxygen(WATCH, code)):
        (beat,) = said(frame).records
        assert (beat.channel, beat.fields) == (Channel.HEARTBEAT, {})


def test_numbered_frames_come_back() -> None:
    """Newer watches number their frames; the number is none of the fields."""
    frame = frames.setracker_frame(OTHER, "heart,72", maker="ZJ", index=117)
    assert frame == b"[ZJ*861429031234561*0117*0008*heart,72]"
    (pulse,) = said(frame).records
    assert (pulse.device, pulse.fields) == (OTHER, {"hr": 72})


def test_times_are_those_of_the_zone() -> None:
    """A gateway that writes local times is told so."""
    frame = frames.setracker_position(WATCH, AT, command="AL", status=1 << 16)
    sos = read(frame, ZoneInfo("Asia/Shanghai")).records[0]
    assert sos.fields["ts"] == AT // 1000 - 8 * 3_600_000


def test_a_ratio_is_no_percentage() -> None:
    """Oxygen of 0.97 is told, not stored; the codes for no reading stay what they are."""
    found = said(b"[3G*8800000015*000D*oxygen,0,0.97]")
    assert [each.channel for each in found.records] == [Channel.HEARTBEAT]
    assert [fault.reason for fault in found.faults] == ["bad_field"]
    assert said(b"[3G*8800000015*000A*oxygen,0,1]").faults == []
