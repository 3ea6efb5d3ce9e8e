"""Vendors' messages on their way into a batch: whose they are, what begins, what is dead, the fast way."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.decode import Decoder
from ingest.registry import Registry
from ingest.states import States
from schemas.clock import SECOND
from schemas.readings import Batch, Delivery, Event, Quality
from schemas.settings import IngestSettings
from schemas.sources.compiled import Reader, Sources
from schemas.sources.mapping import parse
from schemas.topics import Lane

START = 1_790_000_000 * SECOND
HOUR = 3600 * SECOND

SOURCES = """
[[source]]
name = "watch"
title = "A watch that tells its SOS key over and over"
topics = ["watch/+"]
lane = "urgent"
id = { level = 2 }
time = { path = "at", format = "ms" }
fields.hr = { path = ["hr", "heartRate"], range = [20, 250] }
fields.battery = { path = "power" }
fields.worn = { path = "worn" }
fields.temp = { path = "temp", unit = "0.1 degC" }
fields.steps = { path = "steps" }
[[source.events]]
kind = "sos"
when = { path = "sos", is = true }
mode = "edge"
[[source.events]]
kind = "removed"
when = { path = "off", is = true }
mode = "edge"
over = "worn"

[[source]]
name = "box"
title = "A box that names its device inside"
topics = ["box/#"]
lane = "urgent"
id = { path = "IMEI" }
ignore = { "box/log" = "log" }
fields.battery = { path = "power" }
[[source.events]]
kind = "fall"
when = { path = "type", is = "fall" }

[[source]]
name = "gate"
title = "A gateway that speaks for others"
topics = ["gate/+"]
lane = "urgent"
id = { path = "sn", level = 2 }
records = "list[]"
fields.hr = { path = "p.hr" }
[[source.events]]
kind = "sos"
when = { path = "p.sos", is = true }

[[source]]
name = "deep"
title = "A thing whose values lie deep inside, with times of their own"
topics = ["deep/+"]
lane = "urgent"
id = { level = 2 }
records = "list[]"
unwrap = { value = "v", time = "t" }
time = { path = "at", format = "ms" }
fields.hr = { path = "p.hr" }
fields.spo2 = { path = "p.spo2" }
fields.battery = { path = "p.power" }
[[source.events]]
kind = "sos"
when = { path = "p.sos", is = true }
"""


class Line:
    """A decoder with devices, and the messages that come to it one after the other."""

    def __init__(self, policy: str = "register") -> None:
        """Know W1, and BELL-1, which vendors call 860001."""
        self.registry = Registry(self, IngestSettings(unknown_devices=policy))
        self.registry.learn("W1", 1, self_registered=False)
        self.registry.learn("BELL-1", 2, self_registered=False, aliases=["860001", "浴室 按钮"])
        self.states = States()
        self.decoder = Decoder(self.registry, 4096, Sources(parse(SOURCES, "test")), self.states)
        self.at = START
        self.came: list[str] = []

    async def register(self, devices: dict[str, str | None]) -> dict[str, int]:
        """Give a number to each who comes in."""
        return {name: 100 + n for n, name in enumerate(devices)}

    def delivery(self, topic: str, message: Any, *, retained: bool = False) -> Delivery:  # noqa: ANN401 - any JSON
        """Return a message that comes a second after the last one; bytes are sent as they are."""
        self.at += SECOND
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        return Delivery(topic, payload, 1, duplicate=False, retained=retained, received_at=self.at)

    def batch(self, *sent: tuple[str, Any]) -> Batch:
        """Decode messages, given by topic and payload, in one batch."""
        return self.decode([self.delivery(*each) for each in sent])

    def decode(self, deliveries: list[Delivery]) -> Batch:
        """Admit strangers as the line does, and decode."""
        life, others = self.decoder.strangers(deliveries)
        self.came += [*life, *others]
        allowed = {**others, **life} if self.registry._settings.unknown_devices == "register" else life
        for name in allowed:
            self.registry.learn(name, 100 + len(self.registry), self_registered=True)
        return self.decoder.decode(Lane.URGENT, deliveries, self.at)


def rows(batch: Batch) -> list[tuple[int, str]]:
    """Return device and channel, or event, of each reading."""
    return [
        (int(row["device_id"]), (Event(row["event"]).name if row["event"] else f"{row['channel']}").lower())
        for row in batch.readings
    ]


def test_a_state_is_an_event_when_it_begins() -> None:
    """Over batches and messages: on is one event, off lets the next one be."""
    line = Line()
    assert rows(line.batch(("watch/W1", {"sos": True}), ("watch/W1", {"sos": "true"}))) == [
        (1, "sos"),
        (1, "4"),
    ]
    assert rows(line.batch(("watch/W1", {"sos": 1, "hr": 70}))) == [(1, "5")]
    ended = line.batch(("watch/W1", {"sos": False, "hr": 70}), ("watch/W1", {"sos": True}))
    assert rows(ended) == [(1, "5"), (1, "sos")]
    assert [(each.state, each.on) for each in ended.states] == [("watch.sos", False), ("watch.sos", True)]
    assert list(line.states) == [("W1", "watch.sos")]


def test_what_begins_in_a_batch_ends_in_it() -> None:
    """A plain message behind a call in the same batch ends the state, also on the fast way."""
    line = Line()
    sent = [("watch/W1", {"sos": True}), ("watch/W1", {"sos": False, "hr": 70}), ("watch/W1", {"sos": True})]
    assert rows(line.batch(*sent)) == [(1, "sos"), (1, "5"), (1, "sos")]


@pytest.mark.parametrize(
    ("on", "off"),
    [
        (b'{"sos":true,', b'{"sos":false,'),
        (b'[{"sos":true}]', b'[{"sos":false}]'),
        (b'{"sos":true}\0', b'{"sos":false}\0'),
        (b'{"sos":true}', b'{"sos":"normal"}'),
        (b'{"sos":true}', b'{"SOS_Status":"N"}'),
    ],
)
def test_no_state_holds_that_nothing_ends(on: bytes, off: bytes) -> None:
    """What begins in a message that cannot be read, or ends in words that nobody knows, may begin again."""
    line = Line()
    calls = [[event for _, event in rows(line.batch(("watch/W1", each)))] for each in (on, off, on)]
    assert calls[0] == calls[2] == ["sos"]
    assert "sos" not in calls[1]


def test_what_cannot_be_read_tells_nothing_new_of_a_state_that_holds() -> None:
    """It goes on, and ends as it would have."""
    line = Line()
    line.batch(("watch/W1", {"sos": True}))
    assert rows(line.batch(("watch/W1", b'{"sos":true,'))) == []
    assert list(line.states) == [("W1", "watch.sos")]


def test_the_end_of_a_state_may_be_an_event() -> None:
    """`over` names it."""
    line = Line()
    assert rows(line.batch(("watch/W1", {"off": True}))) == [(1, "removed")]
    assert rows(line.batch(("watch/W1", {"off": False}))) == [(1, "worn")]
    assert rows(line.batch(("watch/W1", {"off": False}))) == [(1, "4")]


def test_what_is_redriven_begins_and_ends_nothing() -> None:
    """A call in it is a call; what holds now it does not know."""
    line = Line()
    old = [line.delivery("watch/W1", {"sos": True}), line.delivery("watch/W1", {"sos": False, "hr": 7})]
    batch = line.decoder.decode(Lane.URGENT, old, line.at, redriven=True)
    assert (1, "sos") in rows(batch)
    assert (batch.states, list(line.states)) == ([], [])


def test_vendors_names_are_one_device() -> None:
    """An alias goes before a name; one that is taken away means a device of its own again."""
    line = Line()
    line.registry.learn("860001", 9, self_registered=True)
    both = (("box/x", {"IMEI": "860001", "power": 50}), ("watch/浴室 按钮", {"hr": 70}))
    assert rows(line.batch(*both)) == [(2, "4"), (2, "5")]
    line.registry.learn("BELL-1", 2, self_registered=False)
    assert rows(line.batch(both[0])) == [(9, "4")]


def test_strangers_come_in_under_the_vendors_name() -> None:
    """Signs that no topic bears are replaced; what cannot be a name is refused, but a call never is."""
    line = Line()
    batch = line.batch(
        ("box/x", {"IMEI": 860002, "power": 50}),
        ("box/x", {"IMEI": "a/b+c", "power": 50}),
        ("box/x", {"IMEI": "x" * 65, "power": 50}),
        ("box/x", {"IMEI": "\u0000", "power": 50}),
        ("box/x", {"IMEI": "y" * 65, "type": "fall"}),
        ("box/x", {"type": "fall"}),
    )
    assert {each for each in line.came if not each.startswith("?")} == {"860002", "a.b.c"}
    assert len({each for each in line.came if each.startswith("?")}) == 2
    assert [letter.reason for letter in batch.dead] == ["bad_device"] * 4
    assert [event for _, event in rows(batch)] == ["4", "4", "fall_detected", "fall_detected"]
    assert [letter.whole for letter in batch.dead] == [True, True, False, False]


def test_a_stranger_that_is_not_let_in_can_call() -> None:
    """Its telemetry is dead, its call is not."""
    line = Line("dead_letter")
    batch = line.batch(
        ("box/x", {"IMEI": "S1", "power": 5}), ("box/x", {"IMEI": "S1", "type": "FALL", "power": 5})
    )
    assert [event for _, event in rows(batch)] == ["fall_detected"]
    assert [(letter.reason, letter.whole) for letter in batch.dead] == [
        ("unknown_device", True),
        ("unknown_device", False),
    ]


def test_the_state_of_a_stranger_ends_too() -> None:
    """Or its second call would be no beginning."""
    line = Line("dead_letter")
    calls = [rows(line.batch(("watch/S1", {"sos": on}))) for on in (True, True, False, True)]
    assert [[event for _, event in each] for each in calls] == [["sos"], [], [], ["sos"]]


@pytest.mark.parametrize(
    ("payload", "reason", "calls"),
    [
        (b"", "empty", False),
        (b"\xff\x00[[[", "not_json", False),
        (b"[" * 5000, "oversized", False),
        (b'{"sos":true' + b" " * 5000, "oversized", True),
        (b'{"sos":true,', "not_json", True),
        (b'{"x":1}', "unmapped", False),
        (b"[1]", "bad_message", False),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_and_a_call_a_call(
    payload: bytes,
    reason: str,
    calls: bool,  # noqa: FBT001 - a case
) -> None:
    """The alarm bears that it was unreadable."""
    batch = Line().batch(("watch/W1", payload))
    assert [letter.reason for letter in batch.dead] == [reason]
    assert [event for _, event in rows(batch)] == (["sos"] if calls else [])
    assert all(batch.readings["quality"] == Quality.UNREADABLE)
    assert batch.dead[0].whole is not calls


def test_a_fault_of_ours_blocks_nothing_and_hides_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that we fail to read is a dead letter, and a call where one can be seen; others go on."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Reader, "read", fail)
    line = Line()
    batch = line.batch(("watch/W1", {"sos": True}), ("box/x", {"IMEI": "Y"}), ("watch/860001", {"hr": 70}))
    assert rows(batch) == [(1, "sos"), (2, "5")]
    reasons = [(letter.reason, letter.whole) for letter in batch.dead]
    assert reasons == [("bad_message", False), ("bad_message", True)]


def test_who_stands_behind_a_known_gateway_is_admitted() -> None:
    """Several records are of several devices, whoever sends them."""
    line = Line()
    both = {"list": [{"sn": "NEW-1", "p": {"sos": True}}, {"sn": "NEW-2", "p": {"hr": 70}}]}
    assert sorted(event for _, event in rows(line.batch(("gate/W1", both)))) == ["5", "sos"]
    assert line.came == ["NEW-1", "NEW-2"]


def test_what_is_retained_does_not_hold_a_state() -> None:
    """Its end in the same batch is heard, so the next press is one."""
    line = Line()
    sent = [
        line.delivery("watch/W1", {"sos": True}, retained=True),
        line.delivery("watch/W1", {"sos": False, "hr": 70}),
    ]
    line.decode(sent)
    assert list(line.states) == []


def test_a_state_is_the_vendors_devices() -> None:
    """Whatever its device is called meanwhile: the end that comes under another name is its end."""
    line = Line()
    assert rows(line.batch(("watch/W1", {"sos": True}))) == [(1, "sos")]
    line.registry.learn("BELL-1", 2, self_registered=False, aliases=["W1"])
    line.batch(("watch/W1", {"sos": False, "hr": 70}))
    line.registry.learn("BELL-1", 2, self_registered=False)
    assert rows(line.batch(("watch/W1", {"sos": True}))) == [(1, "sos")]


def test_ignored_topics_and_retained_words() -> None:
    """They are counted by name; a retained word proves no life."""
    line = Line()
    batch = line.batch(("box/log", {"IMEI": "W1", "power": 5}), ("box/log", b"\xff"))
    assert batch.ignored == {"box:log": 2}
    assert not len(batch.readings)
    assert not batch.dead
    (said,) = line.decode([line.delivery("watch/W1", {"hr": 70}, retained=True)]).readings
    assert (bool(said["alive"]), said["quality"]) == (False, Quality.RETAINED)
    assert not line.batch(("watch/W1", b"offline")).readings["alive"].any()


@pytest.mark.parametrize(
    ("ahead", "quality", "moved"),
    [
        (0, Quality.OK, 0),
        (8 * HOUR, Quality.ASSUMED_ZONE, 8),
        (8 * HOUR - 100 * SECOND, Quality.ASSUMED_ZONE, 8),
        (HOUR, Quality.ASSUMED_ZONE, 1),
        (7 * HOUR + HOUR // 2, Quality.FUTURE, None),
        (15 * HOUR, Quality.FUTURE, None),
        (365 * 24 * HOUR, Quality.FUTURE, None),
        (-8 * HOUR, Quality.LATE, 0),
        (-60 * 365 * 24 * HOUR, Quality.EPOCH, None),
    ],
)
def test_clocks_that_are_wrong(ahead: int, quality: Quality, moved: int | None) -> None:
    """Whole hours ahead is another zone; what else lies in the future or in 1970 has the time of receipt."""
    line = Line()
    at = line.at + SECOND
    (row,) = line.batch(("watch/W1", {"hr": 70, "at": (at + ahead) // 1000})).readings
    assert row["quality"] == quality
    assert row["ts"] == (at if moved is None else at + ahead - moved * HOUR)
    assert row["ts_sent"] == (at + ahead) // 1000


def test_a_clock_that_is_known_to_be_slow_is_corrected() -> None:
    """Eight hours behind is now; set right, it is taken as it is."""
    line = Line()
    line.registry.learn("W1", 1, self_registered=False, clock_hours=-8)
    first, second = line.at + SECOND, line.at + 2 * SECOND
    wrong, right = line.batch(
        ("watch/W1", {"hr": 70, "at": (first - 8 * HOUR) // 1000}),
        ("watch/W1", {"hr": 70, "at": second // 1000}),
    ).readings
    assert (wrong["quality"], wrong["ts"]) == (Quality.ASSUMED_ZONE, first)
    assert (right["quality"], right["ts"]) == (Quality.OK, second)


SCALARS = (
    st.none() | st.booleans() | st.integers(-5, 400) | st.floats(allow_nan=False, width=32)
    | st.sampled_from(["", "70", "7x", "true", "FALSE", "on", 10**30, 1e300, [1], {"v": 1}])
)  # fmt: skip
MESSAGES = st.dictionaries(
    st.sampled_from(
        [
            "at",
            "hr",
            "heartRate",
            "power",
            "worn",
            "temp",
            "steps",
            "sos",
            "off",
            "foo",
            "HR",
            "AT",
            "Heart_Rate",
            "SOS",
            "sos_status",
            "x:sos",
            "OFF",
            "sosEnable",
        ]
    ),
    SCALARS,
    max_size=7,
) | st.fixed_dictionaries({"hr": st.integers(40, 200), "at": st.integers(0, 2**50), "worn": st.booleans()})


TIMES = st.none() | st.integers(0, 2) | st.just(1_790_000_000_000) | st.just("x")
VALUES = SCALARS | st.fixed_dictionaries({"v": SCALARS}, optional={"t": TIMES})
INSIDE = st.dictionaries(
    st.sampled_from(["hr", "spo2", "power", "sos", "foo", "HR", "SOS", "sosAlarm"]),
    VALUES | st.lists(VALUES, max_size=2),
    max_size=4,
)
DEEP = st.fixed_dictionaries(
    {
        "list": st.lists(
            st.fixed_dictionaries(
                {"p": INSIDE | INSIDE.map(json.dumps)}, optional={"at": TIMES, "P": INSIDE}
            ),
            max_size=2,
        )
    },
    optional={"at": TIMES, "LIST": st.fixed_dictionaries({"p": INSIDE})},
)
SENT = st.tuples(st.sampled_from(["watch/W1", "watch/W2", "watch/BELL-1"]), MESSAGES) | st.tuples(
    st.sampled_from(["deep/W1", "deep/W2"]), DEEP
)


@given(st.lists(SENT, min_size=1, max_size=12))
@example([("watch/W1", {"sos": 0, "hr": 70, "sos_status": 1})])
@example([("deep/W1", {"list": [{"p": {"SOS": {"v": 0}, "hr": 70, "sosAlarm": {"v": 1}}}]})])
def test_the_fast_way_reads_what_the_slow_one_reads(sent: list[tuple[str, dict[str, Any]]]) -> None:
    """Row for row, dead letter for dead letter, state for state."""
    found = []
    for is_fast in (True, False):
        line = Line()
        line.registry.learn("W2", 3, self_registered=False)
        if not is_fast:
            line.decoder._vendors._bulks = dict.fromkeys(line.decoder._vendors._bulks)
        found.append(line.batch(*sent))
    fast, slow = found
    assert [letter.reason for letter in fast.dead] == [letter.reason for letter in slow.dead]
    assert fast.states == slow.states
    order = ["received_at", "channel", "event", "digest"]
    one, two = (np.sort(batch.readings, order=order) for batch in found)
    for name in one.dtype.names or ():
        if name != "detail":
            np.testing.assert_array_equal(one[name], two[name], name)


@pytest.mark.parametrize(
    ("topic", "message"), [("watch/W1", {"hr": 70}), ("box/1", {"IMEI": "W1", "power": 9})]
)
def test_a_name_that_passes_on_before_its_batch_is_made(topic: str, message: dict[str, Any]) -> None:
    """Who a message is of is decided when it is decoded, not when strangers were looked for."""
    line = Line()
    sent = [line.delivery(topic, message)]
    assert not any(line.decoder.strangers(sent))
    line.registry.learn("BELL-1", 2, self_registered=False, aliases=["W1"])
    assert [device for device, _ in rows(line.decoder.decode(Lane.URGENT, sent, line.at))] == [2]
