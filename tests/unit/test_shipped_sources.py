"""The mappings that ship: their samples, and messages of every format mutated at random.

The law of the mutations: nothing is raised, what is said fits the contract, a call for help is never lost
while what says it is left alone, and nobody calls where nothing says so.
"""

import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from ops.cli import app
from schemas.errors import UsageError
from schemas.messages import ADAPTERS
from schemas.readings import CALLS as LIFE
from schemas.readings import KEPT_BYTES, Event
from schemas.sources import mapping, samples
from schemas.sources.compiled import Sources
from schemas.sources.explain import explain
from schemas.sources.records import Said
from schemas.sources.samples import RECEIVED, Sample
from schemas.sources.words import speaks
from schemas.topics import Channel
from tests.fuzz import Fuzz

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "devices"
NAMES = mapping.shipped()
SOURCES = Sources(mapping.load(mapping.texts(NAMES)))
SAMPLES = {name: samples.read(samples.beside(name)) for name in NAMES}
ALL = [sample for name in NAMES for sample in SAMPLES[name]]

WATCH = "zigbee2mqtt/bed-17"
STATUS = "atom/g616/status/358800005942033"
POST = "/sys/a1B2c3/watch-17/thing/event/property/post"
PACK = "/sys/a1B2c3/gateway-1/thing/event/property/pack/post"
REPORT = "$oc/devices/5f0c_bell-7/sys/properties/report"
EVENTS = "$oc/devices/5f0c_bell-7/sys/events/up"
BEHIND = "$oc/devices/gateway-1/sys/gateway/sub_devices/properties/report"
POINTS = "$sys/9kQx2/bell-7/dp/post/json"
SENML = "senml/home-3"
EVENT = "harmonyos/event"


class Split(NamedTuple):
    """A message in pieces: the odd ones say whether somebody calls, the even ones say something else."""

    topic: str
    pieces: tuple[str, ...]
    event: Event | None

    def mutated(self, seed: int) -> bytes:
        """Return the message with faults in one of the pieces that say something else."""
        rng = random.Random(seed)
        place = rng.randrange(0, len(self.pieces), 2)
        pieces = [piece.encode() for piece in self.pieces]
        pieces[place] = mutated(pieces[place], rng)
        return b"".join(pieces)


CALLS = [
    Split(WATCH, ('{"battery":88', ',"action":"emergency"', ',"linkquality":87,"last_seen":1}'), Event.SOS),
    Split(WATCH, ('{"battery":88', ',"action":"single"', ',"linkquality":87}'), Event.UNKNOWN_ALARM),
    Split(WATCH, ('{"battery":88', ',"action":"2_pull"', ',"linkquality":87}'), Event.UNKNOWN_ALARM),
    Split(
        STATUS,
        ('{"imei":"358800005942033","battery":"36"', ',"sos":true', ',"heartRate":"96","isWearing":true}'),
        Event.SOS,
    ),
    Split("iw/sos", ('{"IMEI":"861234050000017","location":{"GPS":{"latitude":29.3}}}',), Event.SOS),
    Split("iw/SOS", ('{"IMEI":"861234050000017"', ',"status":"SOS"', ',"location":{}}'), Event.SOS),
    Split(
        "iw/sos",
        ('{"IMEI":"861234050000017"', ',"status":"SOS KEY","alarm":"LOW BATTERY"', ',"battery":4}'),
        Event.SOS,
    ),
    Split("iw/fallDown", ('{"status":"FALL DOWN","IMEI":"861234050000017"}',), Event.FALL_DETECTED),
    Split(
        POST,
        (
            '{"id":"1","version":"1.0"',
            ',"params":{',
            '"battery":{"value":64,"time":1749999990000}',
            ',"SOS":{"value":1,',
            '"time":1749999990000}},"method":"thing.event.property.post"}',
        ),
        Event.SOS,
    ),
    Split(
        "/sys/a1B2c3/watch-17/thing/event/SOSAlarm/post",
        ('{"id":"1","version":"1.0","params":{"value":{"heartRate":96},"time":1749999990000}}',),
        Event.SOS,
    ),
    Split(
        PACK,
        (
            '{"id":"1"',
            ',"params":{"subDevices":[{',
            '"identity":{"productKey":"k","deviceName":"bell-1"}',
            ',"events":{"fallAlarm":{"value":{',
            '"key":1},"time":1749999990000}}}]}}',
        ),
        Event.FALL_DETECTED,
    ),
    Split(
        REPORT,
        (
            "",
            '{"services":[{',
            '"service_id":"Bell"',
            ',"properties":{"sos":1,',
            '"battery":80},"event_time":"20250615T150630Z"}]}',
        ),
        Event.SOS,
    ),
    Split(
        EVENTS,
        (
            "",
            '{"services":[{',
            '"service_id":"Alarm"',
            ',"event_type":"sos",',
            '"event_time":"20250615T150630Z","paras":{"battery":80}}]}',
        ),
        Event.SOS,
    ),
    Split(
        BEHIND,
        (
            "",
            '{"devices":[{',
            '"device_id":"bell-2"',
            ',"services":[{',
            '"service_id":"Bell"',
            ',"properties":{"sos":1,',
            '"battery":80}}]}]}',
        ),
        Event.SOS,
    ),
    Split(
        POINTS,
        (
            '{"id":1',
            ',"dp":{',
            '"battery":[{"v":64,"t":1749999990}]',
            ',"sos":[{"v":1,',
            '"t":1749999990}]}}',
        ),
        Event.SOS,
    ),
    Split(
        SENML,
        ('[{"bn":"bell-3/","n":"battery","v":80},', '{"n":"sos","vb":true}', ',{"n":"hr","t":-5,"v":72}]'),
        Event.SOS,
    ),
    Split(
        EVENT,
        (
            '{"deviceSn":"CRFT-0007"',
            ',"eventType":"com.tdtech.ohos.health.action.SOS_EVENT"',
            ',"eventValue":"1","timestamp":"2025-06-15 23:06:31","healthData":{"data":{"heart_rate":84}}}',
        ),
        Event.SOS,
    ),
    Split(
        EVENT,
        ('{"deviceSn":"CRFT-0007"', ',"eventType":"FALLDOWN_EVENT"', ',"eventValue":"1"}'),
        Event.FALL_DETECTED,
    ),
]
QUIET = [
    Split(WATCH, ('{"battery":88,', '"action":"",', '"linkquality":87,"occupancy":true}'), None),
    Split(
        STATUS,
        ('{"imei":"358800005942033","battery":"36",', '"sos":false,', '"isWearing":true,"isOnline":true}'),
        None,
    ),
    Split("iw/hb", ('{"IMEI":"861234050000017","battery":67,"step":1,"timeStamps":"1"}',), None),
    Split("iw/sos", ('{"IMEI":"861234050000017",', '"status":"NOT WORN",', '"location":{}}'), None),
    Split(WATCH, ('{"battery":88,', '"action":"1_release",', '"linkquality":87}'), None),
    Split(
        POST,
        (
            '{"id":"1","params":{"heartRate":{"value":1,"time":1},',
            '"SOS":{"value":0,"time":1749999990000},',
            '"battery":{"value":1,"time":1749999990000},"worn":true}}',
        ),
        None,
    ),
    Split(
        REPORT,
        ('{"services":[{"service_id":"Bell","properties":{', '"sos":0,', '"worn":true,"motion":1}}]}'),
        None,
    ),
    Split(
        POINTS,
        ('{"id":1,"dp":{"hr":[{"v":1}],', '"sos":[{"v":0,"t":1749999990}],', '"worn":[{"v":1,"t":1}]}}'),
        None,
    ),
    Split(
        SENML,
        ('[{"bn":"bell-3/","n":"motion","vb":true},', '{"n":"sos","vb":false}', ',{"n":"worn","vb":true}]'),
        None,
    ),
    Split(
        EVENT,
        ('{"deviceSn":"CRFT-0007",', '"eventType":"WEAR_STATUS_CHANGED"', ',"eventValue":"1"}'),
        None,
    ),
]
"""What says that nobody calls is left whole, with the comma behind it."""


def mutated(payload: bytes, rng: random.Random) -> bytes:
    """Return a payload with one to three faults."""
    fuzz = Fuzz(rng.getrandbits(32))
    for _ in range(rng.choice((1, 1, 2, 3))):
        payload = rng.choice(fuzz._mutations)(payload)
    return payload


def heard(topic: str, payload: bytes) -> Said:
    """Return what a message says to the source that takes its topic."""
    found = samples.said_of(SOURCES, topic, payload)
    assert found is not None, topic
    return found


def calls(said: Said) -> set[Event]:
    """Return the calls for help in what a message says."""
    return {record.event for record in said.records if record.event in LIFE and record.on}


@pytest.mark.parametrize("name", NAMES)
def test_samples(name: str) -> None:
    """Each sample becomes what is written beside it."""
    assert samples.differences(SOURCES, SAMPLES[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_there_are_enough_samples(name: str) -> None:
    """Each family has a dozen samples at least, and all its sources are among them."""
    assert len(SAMPLES[name]) >= 12
    taken = {
        reader.source.name for each in SAMPLES[name] if (reader := (SOURCES.find(each.topic) or [None])[0])
    }
    assert taken == {each.name for each in mapping.load(mapping.texts([name]))}


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_page(name: str) -> None:
    """Each family has a page, and the list of pages names it."""
    assert (PAGES / f"{name}.md").read_text("utf-8").startswith("# ")
    assert f"({name}.md)" in (PAGES / "README.md").read_text("utf-8")


def test_every_kind_of_record_is_sampled() -> None:
    """The samples show calls, falls, batches, states, gone and broken messages: what DEVICES warns of."""
    says = [record for each in ALL for record in each.says]
    assert {"sos", "fall_detected", "removed", "worn", "low_battery", "tamper"} <= {
        each.get("event") for each in says
    }
    assert any(each.get("late") for each in says)
    assert any(each.get("on") is False for each in says)
    assert any(each.get("readable") is False for each in says)
    assert {fault for each in ALL for fault in each.faults} >= {
        "not_json",
        "bad_field",
        "unmapped",
        "bad_device",
    }
    assert {each.ignored for each in ALL} >= {"", "bridge", "command"}


# ---------------------------------------------------------------------------------------- mutated at random


@settings(max_examples=600, deadline=None)
@given(st.integers(0, len(ALL) - 1), st.integers(0, 2**32 - 1))
def test_no_message_raises(index: int, seed: int) -> None:
    """Whatever a message holds, it is read, and what it says fits the contract."""
    sample = ALL[index]
    payload = mutated(sample.sent(), random.Random(seed))
    for record in heard(sample.topic, payload).records:
        assert len(record.device) <= 64
        if record.channel in (Channel.VITALS, Channel.HEARTBEAT, Channel.ACTIVITY, Channel.SOS, Channel.FALL):
            fields = dict(record.fields)
            found = {
                **ADAPTERS[Channel.SOS].validate_python(fields),
                **ADAPTERS[record.channel].validate_python(fields),
            }
            assert found.keys() == fields.keys()
    reader = SOURCES.find(sample.topic)
    assert reader
    assert all(step.what for step in explain(*reader, payload, RECEIVED))


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(CALLS), st.integers(0, 2**32 - 1))
def test_no_call_is_lost(split: Split, seed: int) -> None:
    """A call for help is heard whatever is wrong with the rest of its message."""
    payload = split.mutated(seed)
    assume(len(payload) <= KEPT_BYTES)
    assume(b'"online"' not in payload and b'"offline"' not in payload)  # a fault can be another message
    assert split.event in calls(heard(split.topic, payload)), payload


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(QUIET), st.integers(0, 2**32 - 1))
def test_nobody_calls_by_mistake(split: Split, seed: int) -> None:
    """Where nothing says that somebody calls, nobody does, whatever is wrong with the message.

    What stands behind it on a line of its own is a message by itself, of nobody if it bears no id.
    """
    payload = split.mutated(seed)
    said = heard(split.topic, payload)
    said.records = [each for each in said.records if each.device]
    assert calls(said) == set(), payload


@pytest.mark.parametrize(
    "split", [*CALLS, *QUIET], ids=lambda split: f"{split.topic} {split.pieces[:2][-1][:40]}"
)
def test_whole_messages(split: Split) -> None:
    """Unmutated they say what they are meant to say, and nothing is at fault."""
    found = heard(split.topic, "".join(split.pieces).encode())
    assert calls(found) == ({split.event} if split.event else set())
    assert found.records


@pytest.mark.parametrize("split", CALLS, ids=lambda split: f"{split.topic} {split.pieces[:2][-1][:40]}")
def test_a_call_that_was_cut_anywhere_behind_it(split: Split) -> None:
    """A message may end at any byte after the call."""
    last = len(split.pieces[-1]) if len(split.pieces) > 1 else len(split.pieces[0]) + 1
    whole = "".join(split.pieces).encode()
    for length in range(max(0, len(whole) - last), len(whole)):
        assert split.event in calls(heard(split.topic, whole[:length])), whole[:length]


# -------------------------------------------------------------------------------------------------- words


def alarm(name: str, **value: Any) -> tuple[str, Any]:  # noqa: ANN401 - JSON is anything
    """Return an event of Alink."""
    return f"/sys/a1B2c3/watch-17/thing/event/{name}/post", {
        "params": {"value": value, "time": 1749999990000}
    }


def iw(topic: str = "iw/sos", **keys: Any) -> tuple[str, Any]:  # noqa: ANN401 - JSON is anything
    """Return a message of a watch."""
    return topic, {"IMEI": "861234050000017", **keys}


def up(**service: Any) -> tuple[str, Any]:  # noqa: ANN401 - JSON is anything
    """Return an event of IoTDA."""
    return EVENTS, {"services": [{"service_id": "A", **service}]}


def packed(**events: Any) -> tuple[str, Any]:  # noqa: ANN401 - JSON is anything
    """Return events in a pack of Alink."""
    return PACK, {"params": {"events": {name: {"value": value} for name, value in events.items()}}}


SAID = {
    "sos": [
        iw(status="SOS KEY", alarm="LOW BATTERY"),
        iw(status="SOS ALARM", event="worn"),
        iw(status="ALARM", alarm="low battery"),
        iw(status="SOS LOW BATTERY"),
        iw(status="NOT WORN", type="KEY"),
        *((WATCH, {"action": word}) for word in ("1_emergency", "emergencyCall", "sos-press", ["emergency"])),
        *((WATCH, {name: True}) for name in ("sos", "emergency")),
        *(
            (POST, {"params": {"alarmType": word}})
            for word in ("SOS_ALARM", "ＳＯＳ", "lowBattery,SOS", "一键求助")
        ),
        (POST, {"params": {"alarmType": ["SOS_EVENT", "CANCEL_SOS"]}}),
        (POST, {"params": {"alarm": {"value": {"type": "sos", "level": 3}}}}),
        *(
            (POST, {"params": {"sos": word}})
            for word in ("active", "Triggered", "触发", {"value": {"status": 1}})
        ),
        alarm("alarm", AlarmType="紧急呼叫"),
        alarm("alarm", type="help"),
        *(alarm(name) for name in ("SOSAlarmEvent", "call_help", "sos_status", "health:sos")),
        packed(alarm={"alarmType": "SOS"}),
        packed(sosAlarm={}),
        packed(sosAlarm={"key": 0}),
        up(event_type="SOS_PRESSED"),
        up(service_id="SOS", event_type="KEY_LONG"),
        up(event_type="alarm", paras={"type": "sos"}),
        (POINTS, {"dp": {"alarm": [{"v": {"type": "sos"}}]}}),
        (SENML, [{"n": "alarmType", "vs": "SOS_ALARM"}]),
        *(
            (EVENT, {"deviceSn": "C", "eventType": word})
            for word in ("SOS_EVENT_START", "com.tdtech.SosEvent", ["X", "SOS"])
        ),
        (EVENT, {"deviceSn": "C", "event": {"eventType": "SOS_EVENT"}}),
    ],
    "fall_detected": [
        iw("iw/FALL_DOWN"),
        (POST, {"params": {"alarmType": "跌倒报警"}}),
        alarm("alarm", type="跌倒"),
        *(alarm(name) for name in ("fallDownEvent", "fall_down_alarm")),
        packed(fallAlarm={}),
        *(
            (EVENT, {"deviceSn": "C", "eventType": word})
            for word in ("FALLDOWN", "com.x.FALL_DOWN", "FALL_DETECTED_EVENT", "FallDown")
        ),
    ],
    "fall_cancelled": [
        alarm("fallCancel"),
        up(event_type="fall_cancelled"),
        (EVENT, {"deviceSn": "C", "eventType": "FALLDOWN_CANCEL"}),
    ],
    "unknown_alarm": [
        iw("iw/hb", alarm="KEY"),
        *(
            (WATCH, {"action": word})
            for word in ("2_single", "single_left", "double_click", "pull", "4_double", ["hold"], 3)
        ),
        *((POST, {"params": {"alarmType": word}}) for word in (7, "xyz", ["lowBattery", "xyz"], "N/A 4")),
        (POST, {"params": {"alarm": 1, "alarmType": 0}}),
        alarm("alarm"),
        alarm("alarm", type="door"),
        packed(alarm={}),
        up(event_type="KEY_LONG"),
        (POINTS, {"dp": {"alarm": [{"v": 1}]}}),
        (SENML, [{"n": "alarm", "vb": True}]),
        (EVENT, {"deviceSn": "C", "eventType": "com.tdtech.ohos.health.action.DOOR"}),
    ],
    "": [
        *(
            iw(status=word)
            for word in ("UNWEAR ALARM", "watch not worn", "LOW BAT", "low_battery_alarm", "SOS CANCEL")
        ),
        iw(status="NOT WORN", alarm="", type=None),
        iw("iw/fallDown", status="FALL CANCEL"),
        *(
            (WATCH, {"action": word})
            for word in (
                "",
                None,
                "release",
                "emergency_release",
                "arm_day_zones",
                "brightness_up",
                [],
                [""],
                0,
            )
        ),
        (WATCH, {"sos": False, "emergency": 0}),
        *(
            (POST, {"params": {"alarmType": word}})
            for word in (0, "none", "Normal", "SOS_CANCEL", "无", "", [], [0])
        ),
        *((POST, {"params": {"alarmType": word, "alarm": 1}}) for word in ("lowBattery", "test")),
        *(
            (POST, {"params": {name: 1}})
            for name in ("sosEnable", "sosNumber", "fallSensitivity", "emergencyContact", "helpUrl")
        ),
        *(
            alarm(name)
            for name in (
                "sosEnable",
                "sosNumber",
                "fallSensitivity",
                "emergencyContact",
                "helpUrl",
                "sosCancel",
            )
        ),
        *((PACK, {"params": {"properties": {"SOS": {"value": word}}}}) for word in (0, "off", "关闭", "?")),
        packed(sosAlarm={"status": 0}),
        packed(fallAlarm={"state": "off"}),
        up(service_id="$ota", event_type="version_report"),
        up(service_id="EmergencyContact", event_type="changed"),
        up(event_type="sosCancel"),
        (REPORT, {"services": [{"service_id": "EmergencyContact", "properties": {"status": 1}}]}),
        *(
            (EVENT, {"deviceSn": "C", "eventType": word})
            for word in ("CANCEL_SOS", "FALL_ASLEEP", "STRESS_HIGH_ALERT", "WEAR_STATUS_CHANGED")
        ),
    ],
}


@pytest.mark.parametrize(
    ("event", "topic", "payload"),
    [(event, *message) for event, messages in SAID.items() for message in messages],
    ids=str,
)
def test_what_alarms_are_called(event: str, topic: str, payload: object) -> None:
    """The words of an alarm say what it is, in any spelling; what nobody knows is told, no setting calls."""
    said = heard(topic, json.dumps(payload, ensure_ascii=False).encode())
    found = {each.event.name.lower() for each in said.records if each.on}
    assert event in found if event else not calls(said), found


def test_each_call_of_a_message_is_one() -> None:
    """What a name and a word beside it both say is said once."""
    for topic, payload in (
        iw(status="SOS", alarm="SOS"),
        alarm("sosAlarm", alarmType="SOS"),
        up(service_id="SOS", event_type="sos", paras={"type": "sos", "alarmType": "SOS"}),
        (POST, {"params": {"alarmType": "SOS", "alarm": 1}}),
        (EVENT, {"deviceSn": "C", "events": [{"eventType": "SOS_EVENT"}]}),
        packed(alarm={"alarmType": "SOS"}),
    ):
        said = heard(topic, json.dumps(payload).encode())
        assert [each.event for each in said.records if each.event in LIFE] == [Event.SOS], payload


def test_events_of_a_pack_are_no_states() -> None:
    """Nothing takes an event back: each one is told."""
    for name, event in (("tamperAlarm", Event.TAMPER), ("lowBattery", Event.LOW_BATTERY)):
        topic, payload = packed(**{name: {}})
        told = [each for each in heard(topic, json.dumps(payload).encode()).records if each.on]
        assert [(each.event, each.state) for each in told] == [(event, "")]


@pytest.mark.parametrize(
    ("behind", "device"), [("child-1", "child-1"), ("", "5f0c_bell-7"), (None, "5f0c_bell-7")]
)
def test_a_child_behind_a_gateway(behind: str | None, device: str) -> None:
    """What a gateway passes on is of the child that it names."""
    for topic, service in ((EVENTS, {"event_type": "sos"}), (REPORT, {"properties": {"sos": 1}})):
        payload = {"object_device_id": behind, "services": [{"service_id": "A", **service}]}
        assert [each.device for each in heard(topic, json.dumps(payload).encode()).records] == [device]


@pytest.mark.parametrize(
    ("words", "yes", "no"),
    [
        (
            "notworn",
            ["NOT WORN", "notworn", "WatchNotWorn", "is not-worn!", ["x", "Not_Worn"]],
            ["worn", "not, worn"],
        ),
        ("Not Worn", ["NOT WORN", "notworn"], ["knot worn"]),
        (
            "sos",
            ["SOS", "1sos", "SOSAlarm", "ｓｏｓ", "a;sos", {"a": "sos"}],
            ["sosalarm", "", None, True, [], 1e400],
        ),
        ("2", [2, 2.0, "key2", [2]], [22, "22", [[2]]]),
        ("求助", ["一键求助!", ["求助"], "SOS求助"], ["求", "助求"]),
    ],
)
def test_words(words: str, yes: list[object], no: list[object]) -> None:
    """A word is found in any spelling, and only where it is a word; a Chinese one anywhere."""
    says = speaks([words], every=False)
    assert [each for each in yes if not says(each)] == []
    assert [each for each in no if says(each)] == []


def test_every_word() -> None:
    """With `every` all that is said must have one of the words, and something must be said."""
    says = speaks(["worn", "battery"], every=True)
    for yes in ("worn", ["not worn", "LOW BATTERY"], "worn, battery", ["worn", "", None]):
        assert says(yes), yes
    for no in ("", None, [], "worn, SOS", ["worn", "KEY"], ["worn", 1]):
        assert not says(no), no


def test_long_texts_cost_little() -> None:
    """A hostile text is read from its beginning only, and an array to its hundredth member."""
    says = speaks(["sos"], every=False)
    assert not says("a1" * 30_000 + " sos")
    assert not says(["x"] * 30_000 + ["sos"])
    assert says("sos " + "a1" * 30_000)


OWN = """
[[source]]
name = "own"
title = "own"
topics = ["own/+"]
lane = "urgent"
id = { level = 2 }
"""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('events = [{ kind = "test", when = { level = 2, is = "x", every = true } }]', "it would do nothing"),
        (
            'events = [{ kind = "test", when = { path = "a", is = "x", every = true } }]',
            "it would do nothing",
        ),
        ('events = [{ kind = "test", when = { path = "a", has = "x", is = "x" } }]', "say one of"),
        ('events = [{ kind = "test", when = { path = "a", has = [] } }]', "at least 1 item"),
        ('events = [{ kind = "test", when = { path = "a", has = "-_" } }]', "letters or digits"),
        ('events = [{ kind = "test", when = { path = "a", every = false, is = 1 } }]', "every"),
        ('fields.hr = { path = "a", when = { path = ["a", "b"], is = 1, every = true } }', "not for fields"),
    ],
)
def test_a_condition_that_would_do_nothing_is_refused(text: str, sentence: str) -> None:
    """The sentence says why."""
    with pytest.raises(UsageError) as refused:
        mapping.load([("own.toml", OWN + text)])
    assert sentence in str(refused.value)


def test_every_path_that_is_there() -> None:
    """`every` asks each path at which anything stands; none at all does not hold."""
    rule = 'events = [{ kind = "sos", unless = { path = ["a", "b"], is = ["no", "never"], every = true } }]'
    own = Sources(mapping.load([("own.toml", OWN + rule)]))
    for payload, is_call in (
        ({"a": "no"}, False),
        ({"a": "no", "b": "never"}, False),
        ({"a": "no", "b": None}, False),
        ({"a": "no", "b": ""}, False),
        ({"a": "no", "b": "yes"}, True),
        ({"b": "yes"}, True),
        ({"c": 1}, True),
    ):
        said = samples.said_of(own, "own/1", json.dumps(payload).encode())
        assert said
        assert (calls(said) == {Event.SOS}) is is_call, payload


# ------------------------------------------------------------------------------------------------ samples


def test_differences_are_told() -> None:
    """A sample that says something else is told, whatever of it differs."""
    (sample,) = [each for each in SAMPLES["iw"] if each.topic == "iw/hb" and not each.faults]
    assert samples.differences(SOURCES, [sample]) == []
    first, second = sample.says
    for change, told in (
        ({"says": (first,)}, "which is not written"),
        ({"says": (first, second, {**second, "device": "?"})}, "it does not say"),
        ({"says": (first, {**second, "fields": {**second["fields"], "battery": 66}})}, '"battery": 66'),
        ({"says": (first, {**second, "late": True})}, '"late": true'),
        ({"faults": ("bad_field",)}, "the fault bad_field is not found"),
        ({"ignored": "sleep"}, "written is 'sleep'"),
        ({"topic": "iw2/hb"}, "no source takes this topic"),
        ({"payload": "{"}, "not_json"),
    ):
        sentences = samples.differences(SOURCES, [sample.model_copy(update=change)])
        assert any(told in sentence for sentence in sentences), (change, sentences)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "x.jsonl:2: "),
        ('{"topic": "a"}', "payload: Field required"),
        ('{"topic": "a", "payload": 1, "say": []}', "say: Extra inputs"),
        ('{"topic": "", "payload": 1}', "topic: "),
        ('{"topic": "a", "payload": {"base64": "?"}}', "x.jsonl:2: "),
        ('{"topic": "a", "payload": {"base64": 5}}', "x.jsonl:2: "),
        ("[]", "x.jsonl:2: "),
    ],
)
def test_a_wrong_line_is_told(tmp_path: Path, line: str, told: str) -> None:
    """What is no sample is told with file and line."""
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"topic": "a", "payload": 1}}\n{line}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"x\.jsonl:2") as error:
        samples.read(path)
    assert told in str(error.value)


def test_payloads() -> None:
    """A text is sent as it stands, base64 as bytes, all else as JSON; an object may have a member base64."""
    assert Sample(topic="a", payload="SOS").sent() == b"SOS"
    assert Sample(topic="a", payload={"base64": "AP8="}).sent() == b"\x00\xff"
    assert Sample(topic="a", payload={"base64": "x", "b": 1}).sent() == b'{"base64": "x", "b": 1}'
    assert Sample(topic="a", payload=None).sent() == b"null"


# ----------------------------------------------------------------------------------------------- commands


def run(*command: str) -> Result:
    """Run `carebell COMMAND` in a wide terminal."""
    return CliRunner().invoke(app, list(command), env={"COLUMNS": "240", "NO_COLOR": "1"})


def printed(*command: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Return what a command prints with --json."""
    return json.loads(run(*command, "--json").stdout)


def test_source_list_and_show() -> None:
    """The list names every source that ships with its samples; what is shown is the file, word for word."""
    found = printed("source", "list")
    assert {each["file"] for each in found} == set(NAMES)
    assert {each["source"] for each in found} == {reader.source.name for reader in SOURCES.readers}
    assert all(each["samples"] == len(SAMPLES[each["file"]]) for each in found)
    shown = run("source", "show", "alink")
    assert shown.stdout == (mapping.SHIPPED / "alink.toml").read_text("utf-8")
    assert run("source", "show", "nobody").exit_code == 2


def test_source_check(tmp_path: Path) -> None:
    """A file of one's own is checked with the samples beside it: exit 1 with each difference."""
    own, lines = tmp_path / "own.toml", tmp_path / "own.jsonl"
    own.write_text(run("source", "show", "iw").stdout, encoding="utf-8")
    assert printed("source", "check", str(own))["samples"] == 0
    lines.write_text(samples.beside("iw").read_text("utf-8"), encoding="utf-8")
    right = run("source", "check", str(own))
    assert right.exit_code == 0, right.output
    assert f"{len(SAMPLES['iw'])} samples: in order" in right.stdout
    own.write_text(own.read_text("utf-8").replace('"step", "steps"', '"paces"'), encoding="utf-8")
    wrong = run("source", "check", str(own))
    assert wrong.exit_code == 1
    assert '"steps": 999' in wrong.stdout
    assert run("source", "check", str(own), "--samples", str(tmp_path / "none")).exit_code == 2
    own.write_text('[[source]]\nname = "x"\n', encoding="utf-8")
    refused = run("source", "check", str(own))
    assert refused.exit_code == 1
    assert "title" in refused.stderr
    assert run("source", "check", str(tmp_path / "none.toml")).exit_code == 2
    assert all(run("source", "check", name).exit_code == 0 for name in NAMES)


def test_device_try_shows_each_step() -> None:
    """A message is shown from its topic to its rows: source, paths, times, records, faults."""
    message = '{"IMEI": "8651", "battery": 67, "step": "12", "timeStamps": "31/02/2025 10:00:00"}'
    found = printed("device", "try", "--topic", "iw/hb", "--payload", message, "--source", "iw")
    assert found["source"].startswith("iw ")
    assert (found["filter"], found["lane"], found["ignored"]) == ("iw/#", "urgent", "")
    steps = {(each["what"], each["found"]): each["became"] for each in found["steps"]}
    assert steps["1 id", "'8651'"] == "'8651'"
    assert steps["1 steps", "'12'"] == "12"
    assert steps["1 time", "'31/02/2025 10:00:00'"].startswith("refused")
    assert [(each["channel"], each["quality"], each["values"]) for each in found["rows"]] == [
        ("vitals", "missing", {"steps": 12}),
        ("heartbeat", "missing", {"battery": 67}),
    ]
    assert [each["reason"] for each in found["faults"]] == ["bad_field"]


def test_device_try_takes_bytes(tmp_path: Path) -> None:
    """A payload may stand in a file or be told in hexadecimal; what cannot be read is told."""
    path = tmp_path / "payload"
    path.write_bytes('{"action": "emergency", "note": "按钮"}'.encode("gb18030"))
    for payload in (f"@{path}", "hex:" + path.read_bytes().hex()):
        found = printed("device", "try", "--topic", WATCH, "--payload", payload)
        assert [each["event"] for each in found["rows"]] == ["sos"]
        assert not found["faults"]
    assert run("device", "try", "--topic", WATCH, "--payload", "hex:0").exit_code == 2
    assert run("device", "try", "--topic", WATCH, "--payload", "@/nowhere").exit_code == 2
    assert run("device", "try", "--topic", WATCH, "--payload", "x", "--source", "nothing").exit_code == 2


def test_device_try_says_what_is_wrong() -> None:
    """A topic that nobody takes, a message that is ignored, one that is broken: each by its name."""
    nobody = run("device", "try", "--topic", "lamp/1", "--payload", "{}")
    assert nobody.exit_code == 1
    assert "no source takes it" in nobody.stdout
    ignored = run("device", "try", "--topic", "zigbee2mqtt/bridge/state", "--payload", "{}")
    assert ignored.exit_code == 0
    assert "zigbee2mqtt:bridge" in ignored.stdout
    cut = printed("device", "try", "--topic", "iw/sos", "--payload", '{"IMEI": "8651", "sta')
    assert [(each["event"], each["quality"]) for each in cut["rows"]] == [("sos", "unreadable")]
    assert [each["reason"] for each in cut["faults"]] == ["not_json"]
    own = printed("device", "try", "--topic", "carebell/v1/430602/B1/sos", "--payload", "{}")
    assert (own["source"], [each["event"] for each in own["rows"]]) == ("carebell/v1/#", ["sos"])


def test_records_fit_their_channel_or_are_found_out() -> None:
    """The measure of the mutations is strict: a value out of range would be found."""
    with pytest.raises(ValidationError):
        ADAPTERS[Channel.VITALS].validate_python({"hr": 999})


def test_the_worked_example(tmp_path: Path) -> None:
    """The file of sources and the samples that docs/devices shows are right, word for word."""
    page = (PAGES / "README.md").read_text("utf-8")
    for block, name in (("toml", "own.toml"), ("json", "own.jsonl")):
        (text,) = re.findall(rf"```{block}\n(.*?)```", page, re.DOTALL)
        (tmp_path / name).write_text(text, encoding="utf-8")
    checked = run("source", "check", str(tmp_path / "own.toml"))
    assert checked.output == f"{tmp_path / 'own.toml'}: pendant: 4 samples: in order\n"


def test_the_pages_name_every_key() -> None:
    """The list of keys is that of the language: of sources, fields, conditions and events."""
    page = (PAGES / "README.md").read_text("utf-8")
    for model in (
        mapping.Source,
        mapping.Value,
        mapping.Condition,
        mapping.EventEntry,
        mapping.Id,
        mapping.Time,
    ):
        for name, info in model.model_fields.items():
            assert f"`{info.alias or name}" in page, f"{model.__name__}.{name}"
    for kind in (*get_args(mapping.EventName), *get_args(mapping.FieldName)):
        assert kind == "fall_detected" or f"`{kind}`" in page, kind


@pytest.mark.parametrize(
    ("broken", "calls"),
    [
        ('{"IMEI":"861234050000018","status":"ALARM","alarm":"low battery"', True),
        ('{"IMEI":"861234050000018","alarm":"LOW BATTERY","status":"SOS KEY","batt', True),
        ('{"IMEI":"861234050000018","status":"LOW BATTERY","alarm":"low battery"', False),
        ('{"IMEI":"861234050000018","alarm":null,"status":"NOT WORN"', False),
        ('{"IMEI":"861234050000018" "status":"ALARM","alarm":"low battery"}', True),
        ('{"IMEI":"861234050000018" "alarm":"LOW BATTERY","status":"SOS KEY"}', True),
        ('{"IMEI":"861234050000018" "alarm":null,"status":"LOW BATTERY"}', False),
    ],
)
def test_a_broken_message_calls_unless_all_that_it_says_is_something_else(
    broken: str, *, calls: bool
) -> None:
    """One word of a low battery hides no call, in what cannot be read either."""
    found = SOURCES.find("iw/sos")
    assert found
    said = found[0].read(found[1], broken.encode(), 0)
    assert [each.event for each in said.records] == [Event.SOS] * calls
