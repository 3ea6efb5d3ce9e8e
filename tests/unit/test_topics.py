"""Topics: what is one, who sent on it, which lane hears it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import topics
from schemas.errors import SenderFaultError
from schemas.topics import CHANNELS, REASONS, TELEMETRY_FILTERS, URGENT_FILTERS, Channel

LEVELS = ("carebell", "v1", "430602", "abc", "BELL-1", "BELL 1", "", "sos", "fall", "event", "SOS", "vitals")
some_topics = st.lists(st.sampled_from(LEVELS) | st.text(max_size=5), max_size=7).map("/".join) | st.lists(
    st.sampled_from(LEVELS) | st.text(max_size=5), max_size=5
).map(lambda levels: "/".join(["carebell", "v1", *levels]))


def matches(topic_filter: str, topic: str) -> bool:
    """Say whether an MQTT filter matches a topic (MQTT 5, section 4.7), level by level."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for place, want in enumerate(wanted):
        if want == "#":
            return True
        if place == len(levels):
            return False
        if want not in ("+", levels[place]):
            return False
    return len(levels) == len(wanted)


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("region", ["430602", "430602001", "430602001002"])
@pytest.mark.parametrize("device", ["B", "BELL-0001", "_-_", "x" * 64])
def test_a_topic_of_the_contract_is_read_back(region: str, device: str, name: str) -> None:
    """What `uplink` builds, `parse` takes apart."""
    address = topics.parse(topics.uplink(region, device, name))
    assert address == (region, device, CHANNELS[name])


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("", "bad_topic"),
        ("carebell", "bad_topic"),
        ("carebell/v1", "bad_topic"),
        ("carebell/v1/", "bad_topic"),
        ("carebell/v1/BELL-1/sos", "bad_topic"),
        ("carebell/v1/430602/BELL-1", "bad_topic"),
        ("carebell/v1/430602/BELL-1/x/sos", "bad_topic"),
        ("carebell/v1/430602/BELL-1/sos/", "bad_topic"),
        ("/carebell/v1/430602/BELL-1/sos", "bad_topic"),
        ("carebell/v2/430602/BELL-1/sos", "bad_topic"),
        ("430602/BELL-1/sos", "bad_topic"),
        ("Carebell/v1/430602/BELL-1/sos", "bad_topic"),
        ("carebell/v1/430602/BELL-1/SOS", "unknown_channel"),
        ("carebell/v1/430602/BELL-1/sos ", "unknown_channel"),
        ("carebell/v1/430602/BELL-1/", "unknown_channel"),
        ("carebell/v1/430602/BELL-1/telemetry", "unknown_channel"),
        ("carebell/v1/abc/BELL-1/telemetry", "unknown_channel"),
        ("carebell/v1/430602//sos", "bad_device"),
        ("carebell/v1/430602/BELL 1/sos", "bad_device"),
        ("carebell/v1/430602/BELL.1/sos", "bad_device"),
        ("carebell/v1/430602/BELL-1\n/sos", "bad_device"),
        ("carebell/v1/430602/平安钟/sos", "bad_device"),
        (f"carebell/v1/430602/{'x' * 65}/sos", "bad_device"),
        ("carebell/v1/430602/BELL-1\x00/sos", "bad_device"),
        ("carebell/v1//BELL-1/sos", "bad_region"),
        ("carebell/v1/abcdef/BELL-1/sos", "bad_region"),
        ("carebell/v1/43060/BELL-1/sos", "bad_region"),
        ("carebell/v1/4306021/BELL-1/sos", "bad_region"),
        ("carebell/v1/430602001002003/BELL-1/sos", "bad_region"),
        ("carebell/v1/430602\n/BELL-1/sos", "bad_region"),
        ("carebell/v1/４３０６０２/BELL-1/sos", "bad_region"),
    ],
)
def test_a_malformed_topic_has_one_reason(topic: str, reason: str) -> None:
    """Each way to get a topic wrong has its name."""
    with pytest.raises(SenderFaultError) as fault:
        topics.parse(topic)
    assert fault.value.reason == reason
    assert reason in REASONS


@pytest.mark.parametrize(
    ("topic", "channel"),
    [
        ("carebell/v1/430602/BELL-1/sos", Channel.SOS),
        ("carebell/v1/430602/BELL-1/SOS", Channel.SOS),
        ("carebell/v1/430602/BELL-1/ Sos ", Channel.SOS),
        ("carebell/v1/BELL-1/sos", Channel.SOS),
        ("sos", Channel.SOS),
        ("carebell/v1/430602/BELL-1/x/Fall", Channel.FALL),
        ("carebell/v1/abc/BELL 1/FALL", Channel.FALL),
        ("carebell/v1/430602/BELL-1/event", None),
        ("carebell/v1/430602/sos/vitals", None),
        ("carebell/v1/430602/BELL-1/sos2", None),
        ("", None),
    ],
)
def test_a_topic_that_ends_as_a_life_alarm_does_is_one(topic: str, channel: Channel | None) -> None:
    """Only the last level counts, in any case and with blanks around it."""
    assert topics.life_channel(topic) is channel


@pytest.mark.parametrize(
    ("topic", "device"),
    [
        ("carebell/v1/abc/BELL-1/sos", "BELL-1"),
        ("carebell/v1/430602/BELL-1/SOS", "BELL-1"),
        ("carebell/v1//BELL-1/", "BELL-1"),
        ("carebell/v1/430602/BELL 1/sos", None),
        ("carebell/v1/430602//sos", None),
        ("carebell/v1/BELL-1/sos", None),
        ("carebell/v1/430602/BELL-1/x/sos", None),
    ],
)
def test_a_malformed_topic_of_the_right_length_still_names_its_device(topic: str, device: str | None) -> None:
    """The second level of three is the device, if it can be one."""
    assert topics.device_in(topic) == device


@given(some_topics)
def test_what_reaches_the_urgent_session_is_what_its_filters_match(topic: str) -> None:
    """`reaches_urgent` agrees with MQTT's matching for every topic, however malformed."""
    assert topics.reaches_urgent(topic) is any(matches(each, topic) for each in URGENT_FILTERS)


@given(some_topics)
def test_parse_gives_an_address_or_a_named_reason(topic: str) -> None:
    """No topic raises anything but a sender's fault, and what is read is built back to the same topic."""
    address, reason = None, ""
    try:
        address = topics.parse(topic)
    except SenderFaultError as fault:
        reason = fault.reason
    assert (reason in REASONS) is (address is None)
    if address:
        assert topics.uplink(address.region, address.device, address.channel.name.lower()) == topic
        assert topics.reaches_urgent(topic) is (address.channel in topics.URGENT_CHANNELS)
        assert topics.device_in(topic) == address.device


def test_a_session_has_no_two_filters_that_match_one_topic() -> None:
    """Overlapping filters would bring a message twice, or once, as each broker likes."""
    assert len(set(URGENT_FILTERS)) == len(topics.URGENT_CHANNELS)
    for channel in CHANNELS:
        topic = topics.uplink("430602", "BELL-1", channel)
        assert sum(matches(each, topic) for each in URGENT_FILTERS) <= 1
        assert sum(matches(each, topic) for each in TELEMETRY_FILTERS) == 1


def test_nobody_hears_the_downlink() -> None:
    """What the bridge sends to a device does not come back to it."""
    topic = topics.downlink("430602", "BELL-1")
    assert topic == "carebell/down/v1/430602/BELL-1/alarm"
    assert not any(matches(each, topic) for each in (*URGENT_FILTERS, *TELEMETRY_FILTERS))
