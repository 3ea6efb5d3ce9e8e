"""The mapping language: what a source makes of messages, and which files of sources are refused."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import UsageError
from schemas.readings import Event
from schemas.sources.compiled import Reader, Sources
from schemas.sources.mapping import load, matches, overlap, parse
from schemas.sources.paths import MOST_RECORDS, finder
from schemas.sources.records import Record, Said
from schemas.topics import Channel

NOW = 1_790_000_000_000_000
HEAD = """
[[source]]
name = "watch"
title = "A watch"
topics = ["watch/+/+"]
lane = "urgent"
id = { level = 2 }
"""


def reader(text: str, head: str = HEAD) -> Reader:
    """Return the one source of a file."""
    (source,) = parse(head + text, "watch.toml")
    return Reader(source)


def said(one: Reader, message: Any, topic: str = "watch/W1/state") -> Said:  # noqa: ANN401 - any JSON
    """Return what a message says; bytes are sent as they are."""
    payload = message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False).encode()
    return one.read(topic.split("/"), payload, NOW)


def told(found: Said) -> list[tuple[str, str, dict[str, Any]]]:
    """Return device, channel or event, and fields of each record."""
    return [
        (
            each.device,
            (each.event.name if each.event else each.channel.name).lower(),
            dict(each.fields),
        )
        for each in found.records
    ]


def reasons(found: Said) -> list[str]:
    """Return the reasons of the faults."""
    return [fault.reason for fault in found.faults]


VITALS = """
time = { path = "at", format = "ms" }
[source.fields]
hr = { path = ["heartRate", "hr"], range = [20, 250] }
temp = { path = "body.temp", unit = "0.1 degC" }
battery = { path = "power", unit = "mAh", full = 400 }
steps = { path = "step" }
worn = { path = "wear", true = [0], false = [1] }
room = { path = "room" }
"""


def test_fields_are_read_by_channel() -> None:
    """Each value stands where its path says, in the contract's unit; one message gives a row a channel."""
    found = said(
        reader(VITALS),
        {"at": 5, "hr": "72", "body": {"temp": 365}, "power": 100, "step": 7.0, "wear": 0, "room": "卫生间"},
    )
    assert told(found) == [
        ("W1", "vitals", {"ts": 5, "hr": 72, "temp": 36.5, "steps": 7, "worn": True}),
        ("W1", "heartbeat", {"ts": 5, "battery": 25.0}),
        ("W1", "activity", {"ts": 5, "room": "卫生间"}),
    ]
    assert not found.faults


@pytest.mark.parametrize("nothing", [None, "", "  ", 0, 1, 254, "255"])
def test_no_reading_is_no_value(nothing: object) -> None:
    """Null, an empty text and the codes for no reading leave the value out; the device was heard."""
    found = said(reader(VITALS), {"heartRate": nothing})
    assert told(found) == [("W1", "heartbeat", {})]
    assert not found.faults


@pytest.mark.parametrize(
    "bad", ["abc", 12, 1000, True, [72], {"v": 72}, "7_2", "nan", 10**400, "1e999", -(2**70), "７２x"]
)
def test_a_bad_value_is_told_and_the_others_stay(bad: object) -> None:
    """What is no number or out of range is a fault of its own."""
    found = said(reader(VITALS), {"heartRate": bad, "step": 3})
    assert told(found) == [("W1", "vitals", {"steps": 3})]
    assert reasons(found) == ["bad_field"]


def test_a_message_without_anything_known_is_unmapped() -> None:
    """What no path knows is not taken for a sign of life, unless the source says so."""
    assert reasons(said(reader(VITALS), {"foo": 1})) == ["unmapped"]
    assert told(said(reader("presence = true"), {"foo": 1})) == [("W1", "heartbeat", {})]


@pytest.mark.parametrize(
    ("form", "value", "ts"),
    [
        ("ms", 1_790_000_000_123, 1_790_000_000_123),
        ("s", "1790000000", 1_790_000_000_000),
        ("epoch", 1_790_000_000, 1_790_000_000_000),
        ("epoch", 1_790_000_000_000, 1_790_000_000_000),
        ("iso", "20260921T151320Z", 1_790_003_600_000),
        ("iso", "2026-09-21 23:13:20", 1_790_003_600_000),
        ("%d/%m/%Y %H:%M:%S", "21/9/2026 23:13:20", 1_790_003_600_000),
        ("%y%m%d%H%M%S", 260_921_231_320, 1_790_003_600_000),
        ("%d%m%y%H%M%S", 10_926_000_000, 1_788_192_000_000),
    ],
)
def test_times_are_read_by_form_and_zone(form: str, value: object, ts: int) -> None:
    """A time without a zone is local; a number may have lost the zero with which its day begins."""
    one = reader(f'time = {{ path = "at", format = "{form}" }}\nfields.hr = {{ path = "hr" }}')
    assert told(said(one, {"at": value, "hr": 70})) == [("W1", "vitals", {"ts": ts, "hr": 70})]


def test_digits_of_another_form_are_no_epoch() -> None:
    """Beyond the year 2200 they are a date, or nonsense."""
    one = reader('time = { path = "at", format = "epoch" }\nfields.hr = { path = "hr" }')
    found = said(one, {"at": "20250615230630", "hr": 70})
    assert (told(found), reasons(found)) == ([("W1", "vitals", {"hr": 70})], ["bad_field"])


@pytest.mark.parametrize("broken", ["yesterday", [], {}, True, 2**60, "31/02/2026 00:00:00"])
def test_a_broken_time_is_told_and_the_reading_stays(broken: object) -> None:
    """Its reading has the time of receipt."""
    one = reader('time = { path = "at", format = "%d/%m/%Y %H:%M:%S" }\nfields.hr = { path = "hr" }')
    found = said(one, {"at": broken, "hr": 70})
    assert told(found) == [("W1", "vitals", {"hr": 70})]
    assert reasons(found) == ["bad_field"]


def test_the_first_time_that_is_there_counts() -> None:
    """A date and a time in two places are one; an alternative stands in where they are missing."""
    one = reader(
        'time = [{ path = ["date", "time"], format = "%y%m%d %H%M%S" }, { path = "t", format = "s" }]\n'
        'fields.hr = { path = "hr" }'
    )
    assert (
        told(said(one, {"date": "260921", "time": "231320", "t": 1, "hr": 70}))[0][2]["ts"]
        == 1_790_003_600_000
    )
    assert told(said(one, {"date": "260921", "t": 1, "hr": 70}))[0][2]["ts"] == 1000


RECORDS = """
records = ["params[].list[]", "services[]"]
time = { path = "at", format = "s" }
fields.hr = { path = "hr" }
"""


def test_several_records_lean_on_what_is_around_them() -> None:
    """A path is looked up in the record first, then outward."""
    found = said(
        reader(RECORDS),
        {"at": 9, "params": [{"at": 8, "list": [{"hr": 70, "at": 7}, {"hr": 71}]}], "services": {"hr": 72}},
    )
    assert [fields for _, _, fields in told(found)] == [
        {"ts": 7000, "hr": 70},
        {"ts": 8000, "hr": 71},
        {"ts": 9000, "hr": 72},
    ]


def test_records_are_bounded() -> None:
    """More than a thousand in one message are told, not read."""
    found = said(reader(RECORDS), {"services": [{"hr": 70}] * (MOST_RECORDS + 5)})
    assert len(found.records) == MOST_RECORDS
    assert reasons(found) == ["bad_message"]


UNWRAP = """
unwrap = { value = "v", time = "t" }
time = { path = "at", format = "s" }
fields.hr = { path = "dp.hr" }
fields.spo2 = { path = "dp.spo2" }
"""


def test_values_with_times_of_their_own() -> None:
    """Each time is a record; a bare value is of the message's time; two values of one time are both there."""
    found = said(
        reader(UNWRAP),
        {
            "at": 9,
            "dp": {
                "hr": [{"v": 70, "t": 1}, {"v": 71, "t": 2}, {"v": 72, "t": 2}],
                "spo2": {"v": 97, "t": 1},
            },
        },
    )
    assert [fields for _, _, fields in told(found)] == [
        {"ts": 1000, "hr": 70, "spo2": 97},
        {"ts": 2000, "hr": 71},
        {"ts": 2000, "hr": 72},
    ]
    assert told(said(reader(UNWRAP), {"at": 9, "dp": {"hr": 70, "spo2": [{"v": 97}]}})) == [
        ("W1", "vitals", {"ts": 9000, "hr": 70, "spo2": 97}),
    ]


EVENTS = """
fields.hr = { path = "hr" }
position = { path = "where", datum = "gcj02" }
[[source.events]]
kind = "sos"
when = { path = "sos", is = true }
mode = "edge"
[[source.events]]
kind = "fall"
when = [{ path = "type", ends = "FALLDOWN_EVENT" }, { path = "sure", above = 0.5 }]
unless = { path = "test", is = true }
[[source.events]]
kind = "low_battery"
when = { level = 3, is = "lowpower" }
"""


@pytest.mark.parametrize(
    ("value", "on"), [(True, True), ("TRUE", True), (1, True), ("1", True), (0, False), (None, False)]
)
def test_a_state_is_told_as_it_is(value: object, on: bool) -> None:  # noqa: FBT001 - a case
    """An edge is left to whoever knows what was before."""
    (record,) = (
        each for each in said(reader(EVENTS), {"sos": value, "hr": 70}).records if each.event is Event.SOS
    )
    assert (record.state, record.on, record.channel) == ("watch.sos", on, Channel.SOS)


def test_a_state_that_is_neither_is_told() -> None:
    """Neither an alarm nor its end: nobody knows, so the next alarm is one again."""
    found = said(reader(EVENTS), {"sos": "perhaps", "hr": 70})
    assert told(found) == [("W1", "vitals", {"hr": 70}), ("W1", "sos", {})]
    assert [(each.on, each.over) for each in found.records if each.state] == [(False, None)]
    assert reasons(found) == ["bad_field"]


def test_all_conditions_must_hold_and_no_exception() -> None:
    """Texts are compared without case; a level of the topic may be a condition."""
    falls = {"type": "com.x.falldown_event", "sure": "0.9"}
    assert told(said(reader(EVENTS), falls)) == [("W1", "fall_detected", {})]
    assert told(said(reader(EVENTS), {**falls, "sure": 0.1})) == [("W1", "heartbeat", {})]
    assert told(said(reader(EVENTS), {**falls, "test": 1})) == [("W1", "heartbeat", {})]
    assert told(said(reader(EVENTS), {"hr": 70}, "watch/W1/lowPower"))[1][1] == "low_battery"


def test_a_call_says_where_in_wgs84() -> None:
    """A position of Chinese maps is turned; 0, 0 and nonsense are none."""
    found = said(reader(EVENTS), {"sos": True, "where": "113.134664,29.354545"})
    (call,) = (each for each in found.records if each.event is Event.SOS)
    assert call.fields["lat"] == pytest.approx(29.3571, abs=2e-5)
    assert call.fields["lon"] == pytest.approx(113.1287, abs=2e-5)
    for nowhere, faults in (
        ("0,0", []),
        ("", []),
        ("x,y", ["bad_field"]),
        ("113", ["bad_field"] * 0),
        ("1,200", ["bad_field"]),
    ):
        found = said(reader(EVENTS), {"sos": True, "where": nowhere})
        assert (told(found)[0][2], reasons(found)) == ({}, faults)


BROKEN = [
    b'{"sos":true,"hr":7',
    b'xx{"sos": "true"}yy',
    b'{"hr":1,"sos":1,,}',
    b'\xff\xfe{"sos":true}',
    b'{"sos":true}' + b"[" * 300,
]


@pytest.mark.parametrize("payload", BROKEN)
def test_a_call_is_heard_in_what_cannot_be_read(payload: bytes) -> None:
    """It is a call beside the dead letter; without the call there is only the letter."""
    found = said(reader(EVENTS), payload)
    assert [(each.device, each.event, each.readable) for each in found.records] == [("W1", Event.SOS, False)]
    assert reasons(found) == ["not_json"]
    quiet = said(reader(EVENTS), payload.replace(b"true", b"null").replace(b'"sos":1', b'"sos":0'))
    assert (quiet.records, reasons(quiet)) == ([], ["not_json"])


JOINED = """
records = "[]"
[[source.events]]
kind = "sos"
when = [{ path = "type", is = "SOS" }, { path = "data.value", is = 1 }]
"""


def test_what_is_joined_or_cut_is_read_object_by_object() -> None:
    """The call is of the device that stands in its object, and made of what stands together."""
    one = reader(JOINED, HEAD.replace("id = { level = 2 }", 'id = { path = "sn" }'))

    def calls(text: str) -> list[str]:
        return [each.device for each in said(one, text.encode()).records if each.event is Event.SOS]

    quiet, call = '{"type":"x","sn":"A","data":{"value":1}}', '{"type":"SOS","data":{"value":1},"sn":"B"}'
    assert calls(quiet + call) == ["B"]
    assert calls(call + call.replace("B", "C")) == ["B", "C"]
    assert calls(f"[{quiet},{call[:-1]}") == ["B"]
    assert calls(f"[{quiet},{call},,") == ["B"]
    off = call.replace("1", "0")
    assert calls(f"{off}{quiet}") == calls(f"[{off},{quiet}") == calls(f"[{off},{quiet},,") == []
    assert calls('[{"type":"x","sn":"A","a":1,"a":2},{"type":"SOS","data":{"value":1},"sn":"B"}]') == ["B"]


def test_no_value_is_passed_over_in_silence() -> None:
    """Of more values than are read, a call is heard, and the dead letter says so."""
    one = reader(
        UNWRAP
        + """
[[source.events]]
kind = "sos"
when = { path = "dp.sos", is = true }
"""
    )
    found = said(one, {"dp": {"sos": [{"v": 0}] * MOST_RECORDS + [{"v": 1}]}})
    assert any(each.event is Event.SOS for each in found.records)
    assert "bad_message" in reasons(found)
    found = said(one, {"dp": {"hr": [{"v": 70}] * (MOST_RECORDS + 1)}})
    assert (len(found.records), reasons(found)) == (MOST_RECORDS, ["bad_message"])


def test_no_call_hides_behind_a_second_value() -> None:
    """Of a name that stands twice, one value may call for help."""
    for payload in (
        b'{"sos":true,"sos":false}',
        b'{"sos":false,"sos":true}',
        b'{"sos":true,"s\\u006fs":false}',
    ):
        found = said(reader(EVENTS), payload)
        assert any(each.event is Event.SOS and each.on for each in found.records), payload
        assert "bad_field" in reasons(found)
    twice = said(reader(EVENTS), b'{"sos":false,"sos":false}')
    assert not any(each.event is Event.SOS and each.on for each in twice.records)


def test_a_topic_that_only_calls_is_a_call_whatever_it_says() -> None:
    """Without a condition every message is the event; an id is sought in what is broken, too."""
    head = HEAD.replace("id = { level = 2 }", 'id = { path = "IMEI" }')
    one = reader('[[source.events]]\nkind = "sos"\nunless = { path = "type", is = "unwear" }', head)
    assert told(said(one, {"IMEI": 860_001})) == [("860001", "sos", {})]
    assert told(said(one, b'{"IMEI":"860001",')) == [("860001", "sos", {})]
    assert told(said(one, b"")) == [("", "sos", {})]
    assert told(said(one, {"foo": 1})) == [("", "sos", {})]
    assert told(said(one, {"IMEI": "8", "type": "unWear"})) == [("8", "heartbeat", {})]
    assert told(said(one, b'{"IMEI":"8","type":"unwear"')) == []


def test_plain_words_and_ignored_topics() -> None:
    """A last will is a text even on a topic of JSON; what is to be ignored is so by name."""
    one = reader('ignore = { "watch/bridge/#" = "bridge" }\n' + EVENTS)
    assert (
        told(said(one, b"Offline\0"))
        == told(said(one, b" Offline "))
        == [("W1", "offline", {"status": "offline"})]
    )
    assert said(one, b"offline", "watch/bridge/state").ignored == "watch:bridge"


def test_other_encodings() -> None:
    """A mark before UTF-8 and GB18030 are read."""
    text = '{"room":"浴室","hr":70}'
    for payload in (text.encode("utf-8-sig"), text.encode("gb18030")):
        assert told(said(reader(VITALS), payload))[1] == ("W1", "activity", {"room": "浴室"})


def test_senml_is_resolved() -> None:
    """Base values, units, relative and absolute times are those of RFC 8428."""
    head = HEAD.replace("id = { level = 2 }", 'id = { path = "bn" }\nformat = "senml"')
    one = reader(
        'fields.temp = { path = "temp" }\nfields.hr = { path = "hr" }\nfields.spo2 = { path = "spo2" }', head
    )
    found = said(
        one,
        [
            {"bn": "band-7", "bt": 1_789_999_000, "n": "hr", "u": "beat/min", "v": 70},
            {"n": "temp", "u": "K", "v": 309.65, "t": 5},
            {"n": "spo2", "u": "/", "v": 0.97, "t": 5},
            {"n": "hr", "v": 71, "bt": -60},
        ],
    )
    assert told(found) == [
        ("band-7", "vitals", {"ts": 1_789_999_000_000, "hr": 70}),
        ("band-7", "vitals", {"ts": 1_789_999_005_000, "temp": 36.5, "spo2": 97}),
        ("band-7", "vitals", {"ts": 1_789_999_940_000, "hr": 71}),
    ]


EDGE = '[[source.events]]\nkind = "test"\nmode = "edge"\nwhen = { path = "a", is = 1 }\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('lane = "urgen"', "lane = 'urgen'"),
        ("surprise = 1", "surprise: no such key"),
        ('topics = ["+/x"]', "first level"),
        ('topics = ["a/#/b"]', "whole levels"),
        ('topics = ["carebell/v1/+/+/sos"]', "vendors have topics of their own"),
        ('topics = ["a/+", "a/b"]', "overlaps"),
        ('lane = "telemetry"\nevents = [{ kind = "sos" }]', "must be"),
        ('fields.hr = { path = "a..b" }', "dots between"),
        ('fields.temp = { path = "t", unit = "furlong" }', "allowed are degC"),
        ('fields.battery = { path = "t", unit = "mAh" }', "belong together"),
        ('fields.hear = { path = "t" }', "fields.hear"),
        ('time = { path = "t", format = "%Q" }', "%Q"),
        ('time = { path = "t", format = "x" }', "format is"),
        ('zone = "Mars/Base"', "no such time zone"),
        ('topics = ["$share/a/own/#"]', "shares no subscription"),
        ('ignore = { "other/#" = "voice" }', "no topic of this source"),
        ('fields.hr = { path = "a", range = [200, 30] }', "[least, greatest]"),
        ('events = [{ kind = "test", when = { path = "a", is = [] } }]', "at least 1 item"),
        ('format = "ev07b"\npresence = true\nlate = true', "takes no late, presence"),
        (EDGE * 2, "test has two events"),
        ('records = "a.b"', "path of arrays"),
        ('events = [{ kind = "sos", mode = "edge" }]', "needs `when`"),
        ('events = [{ kind = "sos", when = { path = "a" } }]', "say one of"),
        ("not toml", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    """The sentence names file, key and what is allowed."""
    lines = [
        line
        for line in HEAD.splitlines()
        if line.split(" =")[0] not in text.split(" =", maxsplit=1)[0].split()
    ]
    with pytest.raises(UsageError, match=r"^own\.toml") as refused:
        load([("own.toml", "\n".join(lines) + "\n" + text)])
    assert sentence in str(refused.value)


LEVEL = st.sampled_from(["a", "b", ""])


@given(
    st.lists(LEVEL | st.just("+"), min_size=1, max_size=4),
    st.booleans(),
    st.lists(LEVEL | st.just("+"), min_size=1, max_size=4),
    st.booleans(),
    st.lists(LEVEL, min_size=1, max_size=4),
)
def test_filters_that_share_a_topic_overlap(
    one: list[str],
    one_wild: bool,  # noqa: FBT001 - drawn
    two: list[str],
    two_wild: bool,  # noqa: FBT001 - drawn
    topic: list[str],
) -> None:
    """A topic that both match proves it."""
    left = "/".join([*one, *(["#"] if one_wild else [])])
    right = "/".join([*two, *(["#"] if two_wild else [])])
    if matches(left, topic) and matches(right, topic):
        assert overlap(left, right)
    assert overlap(left, right) == overlap(right, left)


def test_a_topic_finds_its_source() -> None:
    """The contract's own topics belong to none."""
    sources = Sources(parse(HEAD, "x"))
    found = sources.find("watch/W1/state")
    assert found is not None
    assert found[0].source.name == "watch"
    assert sources.find("watch/W1") is None
    assert sources.find("carebell/v1/430602/W1/sos") is None
    assert sources.filters(urgent=True) == ("watch/+/+",)
    assert sources.filters(urgent=False) == ()


CALLS = """
records = ["list[]"]
fields.hr = { path = "heartRate" }
[[source.events]]
kind = "sos"
when = { path = ["sos", "help", "emergency", "data.sos"], is = [true, "on"] }
[[source.events]]
kind = "fall"
when = { path = "fall", is = true }
[[source.events]]
kind = "fall"
when = { path = "alarmType", is = "fall" }
"""


def events(found: Said) -> list[str]:
    """Return the names of the events that are told, in order."""
    return sorted(each.event.name.lower() for each in found.records if each.event and each.on)


@pytest.mark.parametrize(
    "name",
    ["SOS", "s_o_s", "health:sos", "sosalarm", "SOS_Alarm", "SOSEvent", "sos_status", "SosState", "sos-key",
     "emergency_call", "help alarm", "callHelp", "health:SosPressed"],
)  # fmt: skip
def test_a_call_is_one_in_each_spelling_of_its_name(name: str) -> None:
    """Case, signs between words, the module, and words that only say that it is an alarm do not matter."""
    one = reader(CALLS)
    for message in ({name: 1}, {"list": [{name: "1.0"}]}, {"LIST": {name: "01"}}):
        found = said(one, message)
        assert events(found) == ["sos"]
        assert not found.faults
    assert events(said(one, {name: 0})) == []
    cut = said(one, f'{{"{name}":true,"list":['.encode())
    assert (events(cut), reasons(cut)) == (["sos"], ["not_json"])
    twice = said(one, f'{{"{name}":true,"{name}":false}}'.encode())
    assert (events(twice), reasons(twice)) == (["sos"], ["bad_field"])


@pytest.mark.parametrize(
    "name",
    ["sosEnable", "sosNumber", "sos_switch", "sosCount", "fallSensitivity", "fall_detection", "sosTime",
     "emergencyContact", "emergencyCallNumber", "helpUrl", "isosceles", "alarm", "status", "x" * 70 + "sos"],
)  # fmt: skip
def test_a_setting_is_no_call(name: str) -> None:
    """A name with any other word in it means something else."""
    assert reasons(said(reader(CALLS), {name: 1})) == ["unmapped"]


def test_the_names_of_readings_are_spelled_in_many_ways() -> None:
    """But no word is taken off them; the name as it is listed goes first."""
    one = reader(CALLS)
    for name in ("HeartRate", "heart_rate", "HEART-RATE", "vitals:heartRate"):
        assert told(said(one, {name: 70})) == [("W1", "vitals", {"hr": 70})]
    assert told(said(one, {"heart_rate": 71, "heartRate": 70})) == [("W1", "vitals", {"hr": 70})]
    assert reasons(said(one, {"heartRateStatus": 70})) == ["unmapped"]


def test_no_spelling_hides_the_call_of_another() -> None:
    """Whatever stands first; of a state there is one beginning then, and no end."""
    for message in ({"SOS": 0, "sos_status": 1}, {"sosState": "1", "SOS": 0}, {"sos": None, "Sos": True}):
        found = said(reader(CALLS), message)
        assert (events(found), reasons(found)) == (["sos"], [])
        states = [each.on for each in said(reader(EVENTS), message).records if each.state]
        assert states == [True]
    assert events(said(reader(CALLS), {"data": {"sos": 0}, "DATA": {"SOS_Alarm": 1}})) == ["sos"]
    many = {f"sos{'key' * n}": n for n in range(18)} | {"SOS": 1, "sosbutton": 17}
    assert events(said(reader(CALLS), many)) == ["sos"]
    wrapped = reader(UNWRAP + CALLS.partition("}")[2])
    assert events(said(wrapped, {"SOS": {"v": 0, "t": 1}, "sosAlarm": {"v": 1, "t": 1}})) == ["sos"]


def test_what_was_read_of_names_is_bounded() -> None:
    """A sender of ever new names neither fills the memory nor makes the known ones unknown."""
    one = reader(CALLS)
    for at in range(3):
        said(one, {f"n{at}_{number}": 1 for number in range(1500)})
    assert len(one._spellings) < 3000
    assert events(said(one, {"SOS": 1})) == ["sos"]


def test_an_array_is_as_many_messages() -> None:
    """Each of its objects is read with its own device; a call in what is none is heard."""
    one = reader(CALLS, HEAD.replace("id = { level = 2 }", 'id = { path = "sn", level = 2 }'))
    both = [{"sn": "A", "list": [{"sos": 1}]}, {"sn": "B", "heartRate": 70}, {"sn": "C", "sos": 1}]
    sent = b"\n".join(json.dumps(each).encode() for each in both)
    for message in (both, sent, sent + b"\n\0", json.dumps(both).encode() + b"\0"):
        assert told(said(one, message)) == [
            ("A", "sos", {}), ("B", "vitals", {"hr": 70}), ("C", "sos", {}),
        ]  # fmt: skip
    stray = said(one, [{"heartRate": 70}, 5, [{"sos": 1}]])
    assert (events(stray), reasons(stray)) == (["sos"], ["bad_field"])
    assert reasons(said(one, [5])) == ["bad_message"]


def test_a_text_of_json_is_what_stands_in_it() -> None:
    """Where a message, a record or an object is sought; one that is cut still calls."""
    one = reader(CALLS)
    inner = json.dumps({"sos": 1})
    for message in (inner, json.dumps([{"sos": 1}]), {"list": inner}, {"list": [inner]}, {"data": inner}):
        found = said(one, message)
        assert (events(found), reasons(found)) == (["sos"], [])
    for broken in ({"list": inner[:-1]}, {"list": [{"heartRate": 70}, inner[:-1]]}):
        found = said(one, broken)
        assert (events(found), reasons(found)) == (["sos"], ["bad_field"])
    assert events(said(one, inner[:-1])) == ["sos"]
    assert events(said(one, {"list": [{"heartRate": 70}], "note": inner})) == []


def test_doubtful_messages_are_read_again_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the bound a call is sought by its name."""
    one, read = reader(CALLS), Counter[str]()
    look = one._views

    def counted(*each: Any) -> Any:  # noqa: ANN401 - whatever it takes
        read["records"] += 1
        return look(*each)

    monkeypatch.setattr(one, "_views", counted)
    quiet = ",".join(['{"sos":0,"sos":0,"sos":0,"sos":0}'] * 900)
    found = said(one, f'{{"list":[{quiet},{{"sos":0,"sos":1,"sos":0}}]}}'.encode())
    assert (events(found), reasons(found)) == (["sos"], ["bad_field"])
    assert read["records"] <= 901 + MOST_RECORDS


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        ({"n": "hr", "u": "Hz", "v": 1.2}, {"hr": 72}),
        ({"n": "sbp", "u": "hPa", "v": 160}, {"sbp": 120.01}),
        ({"n": "glucose", "u": "mg/dL", "v": 100}, {"glucose": 5.551}),
        ({"n": "HR", "u": "beats/min", "v": 70}, {"hr": 70}),
        ({"n": "glucose", "u": "stone", "v": 5}, None),
        ({"n": "spo2", "u": "1", "v": 0.97}, None),
    ],
)
def test_units_of_senml(record: dict[str, Any], fields: dict[str, float] | None) -> None:
    """Each becomes the contract's; what is of a unit that nobody knows, or a ratio, is no reading."""
    head = HEAD.replace("id = { level = 2 }", 'id = { level = 2 }\nformat = "senml"')
    names = ("hr", "spo2", "sbp", "glucose")
    found = said(reader("\n".join(f'fields.{name}.path = "{name}"' for name in names), head), [record])
    if fields is None:
        assert (told(found)[0][1], reasons(found)) == ("heartbeat", ["bad_field"])
    else:
        ((_, _, values),) = told(found)
        assert values == pytest.approx(fields, abs=0.01)


def test_what_senml_says_twice_of_a_moment() -> None:
    """Neither value hides the other; a time beyond all years is told, and the reading stays."""
    head = HEAD.replace("id = { level = 2 }", 'id = { level = 2 }\nformat = "senml"')
    one = reader(CALLS.replace('records = ["list[]"]', ""), head)
    for payload in (
        b'[{"n":"sos","vb":true},{"n":"sos","vb":false}]',
        b'[{"n":"sos","vb":false},{"n":"SOS","vb":true}]',
        b'[{"n":"x","v":1},{"n":"sos","vb":true, "vb":false}]',
        b'[{"n":"sos","n":"x","vb":true}]',
    ):
        assert events(said(one, payload)) == ["sos"], payload
    late = said(one, [{"bt": 1_749_999_990_000, "n": "heartRate", "v": 70}])
    assert (told(late), reasons(late)) == ([("W1", "vitals", {"hr": 70})], ["bad_field"])


NAMES = ["sos", "hr", "at", "type", "where", "services", "params", "list", "dp", "v", "t", "body"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_nothing_that_json_can_be_raises(document: Any) -> None:  # noqa: ANN401 - any JSON
    """Whatever stands in a message, something is said of it."""
    for text in (VITALS, RECORDS, UNWRAP, EVENTS):
        found = said(reader(text), json.dumps(document).encode())
        assert found.records or found.faults
        assert all(isinstance(each, Record) for each in found.records)


@given(st.binary(max_size=80))
def test_nothing_that_bytes_can_be_raises(payload: bytes) -> None:
    """Whatever the bytes are."""
    for text in (VITALS, EVENTS):
        found = said(reader(text), payload)
        assert found.records or found.faults


_NAMES = st.sampled_from(["sos", "SOS", "sos_alarm", "hr", "Hr", "in", "In", "other"])
_SAID: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 3) | st.just('{"hr":7}'), lambda inner: st.dictionaries(_NAMES, inner, max_size=5)
)


@given(
    document=st.dictionaries(_NAMES, _SAID, max_size=6),
    paths=st.lists(
        st.lists(_NAMES, min_size=1, max_size=3).map(".".join), min_size=1, max_size=6, unique=True
    ),
    ways=st.integers(1, 3),
    calls=st.sets(st.integers(0, 2)),
)
def test_objects_of_one_shape_say_what_they_say_name_by_name(
    document: dict[str, Any], paths: list[str], ways: int, calls: set[int]
) -> None:
    """What a shape gives of an object is what is found without, as of a record with anything around it."""
    slots = {tuple(paths[at : at + ways]): at // ways for at in range(0, len(paths), ways)}
    find = finder(slots, calls=calls)
    (*by_shape, others), (*by_name, more) = find((document,)), find((document, None))
    assert dict(zip(*by_shape, strict=True)) == dict(zip(*by_name, strict=True))
    assert sorted(others, key=repr) == sorted(more, key=repr)
