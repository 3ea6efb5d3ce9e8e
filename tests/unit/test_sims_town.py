"""A town follows from its seed, its people stay well, and its packets say what they must."""

import json
import random

import mqtt5
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_sims.load import Load, Outcome
from device_sims.person import Doing, Person, hour_of
from device_sims.script import TAIL
from device_sims.stamp import CHANNELS, FIRST_SEQ, Stamp
from device_sims.town import PLOTS, Town
from device_sims.truth import Fate
from schemas.clock import SECOND
from schemas.errors import UsageError
from schemas.messages import ADAPTERS
from schemas.topics import CHANNELS as CONTRACT
from schemas.topics import REASONS, parse

START = 1_790_000_000 * SECOND
HOUR = 3600 * SECOND


def test_the_same_seed_is_the_same_town() -> None:
    """Two towns of one seed are equal to the byte; another seed is another town."""
    one, two, other = (Town.build(60, 20, seed, START) for seed in (5, 5, 6))
    assert one == two
    assert one.sends != other.sends


def test_the_registry_does_not_depend_on_when_the_town_begins() -> None:
    """The same seed registers the same devices and is befallen by the same plots at any time of the day."""
    one, two = (Town.build(300, 40, 5, start) for start in (START, START + 7 * HOUR))
    assert [(r.device, r.region, r.model, r.heartbeat_seconds) for r in one.registrations] == [
        (r.device, r.region, r.model, r.heartbeat_seconds) for r in two.registrations
    ]
    assert one.plots == two.plots


def test_the_registry_does_not_depend_on_the_staff() -> None:
    """Without duty staff the same devices are registered, and what needs staff does not happen."""
    one, two = (Town.build(300, 40, 5, START, duty=duty) for duty in (True, False))
    assert one.registrations == two.registrations
    assert not two.truth.steps
    assert not [each for each in two.truth.expected if each.closed == "duty"]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), day=st.integers(0, 365))
def test_a_person_is_well_all_day(seed: int, day: int) -> None:
    """Outside incidents no measurement comes near a band, whatever the hour."""
    person = Person(random.Random(seed))
    for minute in range(0, 24 * 60, 7):
        vitals = person.vitals(START + day * 24 * HOUR + minute * 60 * SECOND)
        assert 45 < vitals["hr"] <= 120
        assert vitals["spo2"] >= 94


def test_a_person_has_a_day() -> None:
    """People sleep at three at night and do everything else by day; 16:00 UTC is midnight."""
    assert hour_of(16 * HOUR) == 0
    person = Person(random.Random(1))
    assert person.doing(19 * HOUR) is Doing.SLEEP
    assert {person.doing(minute * 60 * SECOND) for minute in range(24 * 60)} == set(Doing)


def test_a_big_town_plays_every_plot() -> None:
    """300 devices in 40 minutes meet everything that has room in 40 minutes."""
    fitting = {plot.name for plot in PLOTS if plot.fits(40 * 60 * SECOND)}
    assert {plot.name for plot in PLOTS} - fitting == {"hr_high_relapse", "hr_low_relapse"}
    assert set(Town.build(300, 40, 7, START).plots.values()) == fitting


def test_a_small_town_still_has_some_of_most() -> None:
    """30 devices and 10 minutes are enough for calls, falls, mains, battery, garbage and duplicates."""
    truths = [Town.build(30, 10, seed, START).truth for seed in range(5)]
    assert {each.kind for truth in truths for each in truth.expected} >= {
        "sos",
        "fall",
        "mains_lost",
        "low_battery",
    }
    assert {sent.fate for truth in truths for sent in truth.sent} == set(Fate)
    assert all(len(truth.expected) >= 15 for truth in truths)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), minutes=st.integers(6, 50))
def test_nothing_is_decided_in_the_last_minutes(seed: int, minutes: int) -> None:
    """Every raise, clearing and step of duty lies before the tail; every message before the end."""
    truth = Town.build(40, minutes, seed, START).truth
    for each in truth.expected:
        assert truth.sent[each.raised_by].at + each.raised_after <= truth.end - TAIL + SECOND
        if each.cleared_by is not None:
            assert truth.sent[each.cleared_by].at <= truth.end - TAIL + SECOND
    assert all(step.at <= truth.end - TAIL for step in truth.steps)
    assert all(START <= sent.at <= truth.end for sent in truth.sent)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_keys_are_unique(seed: int) -> None:
    """A device uses a seq twice only for a copy without a usable time; reasons are the contract's."""
    truth = Town.build(30, 20, seed, START).truth
    timed = [row for sent in truth.sent if sent.timed for row in sent.rows if row.seq is not None]
    assert len(timed) == len(set(timed))
    assert {sent.dead.reason for sent in truth.sent if sent.dead} <= REASONS.keys()


@pytest.mark.parametrize(
    ("devices", "minutes", "speed"), [(0, 10, 60), (10, 5, 60), (10, 10, 61), (10, 10, 0)]
)
def test_a_town_without_margins_is_refused(devices: int, minutes: int, speed: float) -> None:
    """Too small, too short, too fast: the sentence names what is allowed."""
    with pytest.raises(UsageError, match="at least 6 minutes"):
        Town.build(devices, minutes, 1, START, speed=speed)


# -------------------------------------------------------------------------------------------------- the burst


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("with_ts", [True, False])
def test_a_stamped_packet_is_a_packet(channel: str, *, with_ts: bool) -> None:
    """The codec reads every stamped packet, the contract its payload, and the numbers are right."""
    stamp = Stamp(channel, "430602", "LOAD-", with_ts=with_ts)
    numbers = np.arange(990, 1010)
    data = memoryview(stamp.packets(numbers + 1, numbers % 1000, FIRST_SEQ + numbers, START + 123_000))
    for n in numbers.tolist():
        packet, length = mqtt5.read(data)
        data = data[length:]
        assert isinstance(packet, mqtt5.PublishPacket)
        assert (packet.packet_id, packet.qos, packet.retain) == (n + 1, mqtt5.QoS.AT_LEAST_ONCE, False)
        assert parse(packet.topic) == ("430602", f"LOAD-{n % 1000:07d}", CONTRACT[channel])
        said = ADAPTERS[CONTRACT[channel]].validate_json(packet.payload, strict=True)
        assert said["seq"] == FIRST_SEQ + n
        assert said.get("ts") == ((START + 123_000) // 1000 if with_ts else None)
        assert len(json.loads(packet.payload)) == len(said)
    assert not data


def test_a_burst_tells_the_keys_that_were_acknowledged() -> None:
    """Message 1001 of a thousand devices is device 1 with the second seq of its turn."""
    acked = np.array([0, 1001])
    outcome = Outcome(2000, 2, 0, 1.0, 2.0, 0.1, "gone", Load(count=2000), acked)
    assert outcome.keys() == {("LOAD-0000000", FIRST_SEQ), ("LOAD-0000001", FIRST_SEQ + 1001)}


@pytest.mark.parametrize(
    "load", [Load(), Load(count=1, channel="sos"), Load(count=1, devices=0), Load(count=1, first_seq=1)]
)
def test_a_burst_of_nothing_is_refused(load: Load) -> None:
    """What cannot be sent is refused before anything is connected."""
    with pytest.raises(UsageError):
        load.check()
