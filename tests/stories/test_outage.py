"""Stories of areas that fall silent: one alarm for the area, none for its devices, every call for help."""

import random

from tests.stories.kit import (
    LIFE,
    Tell,
    alarm,
    at,
    between,
    board,
    cleared,
    every,
    given,
    never,
    on_parts_at_length,
    times,
    want,
)

RULES = (
    LIFE
    + """
[[rule]]
kind = "device_silent"
machine = "silence"
misses = 3
interval = "10m"
models = { bell = "5m" }

[[rule]]
kind = "area_outage"
machine = "outage"
share = 0.5
least = 5
window = "15m"
by = ["broker", "region6", "region9", "region12", "gateway"]
"""
)
HERE = [f"BELL-{n}" for n in range(10)]
THERE = [f"BELL-{n}" for n in range(10, 40)]
TWO_STREETS = [
    *given(HERE, model="bell", region="430602001"),
    *given(THERE, model="bell", region="430602002"),
]


@on_parts_at_length
def test_a_street_falls_silent_as_one_alarm(tell: Tell) -> None:
    """Ten bells of one street are silent together: staff see the street, and nothing when it is back."""
    tell(
        TWO_STREETS,
        every("5m", between("00:00", "02:00")).publish(THERE, "heartbeat", battery=80),
        every("5m", between("00:00", "00:30")).publish(HERE, "heartbeat", battery=80),
        every("5m", between("01:20", "02:00")).publish(HERE, "heartbeat", battery=80),
        want(between("00:40", "00:58"), alarm("area_outage", "430602001")),
        times(1, between("00:00", "02:00"), alarm("area_outage")),
        board("01:10", alarm("area_outage", "430602001")),
        times(10, between("00:00", "02:00"), alarm("device_silent", suppressed=True)),
        want(between("01:20", "01:40"), cleared("area_outage", open=False)),
        board("01:50"),
        rules=RULES,
        seconds=12,
    )


def test_fewer_than_the_least_are_devices_each(tell: Tell) -> None:
    """Four bells behind one gateway are all there is of it: four alarms, for four can have four causes."""
    few = [f"BOX-{n}" for n in range(4)]
    tell(
        TWO_STREETS,
        given(few, model="bell", gateway="GW-1"),
        every("5m", between("00:00", "02:00")).publish(HERE + THERE, "heartbeat", battery=80),
        at("00:25").publish(few, "heartbeat", battery=80),
        times(4, between("00:40", "00:41"), alarm("device_silent", suppressed=False)),
        never(between("00:00", "02:00"), alarm("area_outage")),
        rules=RULES,
    )


def test_less_than_the_share_are_devices_each(tell: Tell) -> None:
    """Ten of a street's thirty bells are silent: the street is not."""
    tell(
        TWO_STREETS,
        every("5m", between("00:00", "02:00")).publish(HERE + THERE[10:], "heartbeat", battery=80),
        at("00:25").publish(THERE[:10], "heartbeat", battery=80),
        times(10, between("00:40", "00:41"), alarm("device_silent", suppressed=False)),
        never(between("00:00", "02:00"), alarm("area_outage")),
        rules=RULES,
    )


def test_devices_that_fall_silent_one_after_the_other_are_no_outage(tell: Tell) -> None:
    """A street that dies over three hours, a bell every twenty minutes, has ten causes."""
    tell(
        TWO_STREETS,
        every("5m", between("00:00", "06:00")).publish(THERE, "heartbeat", battery=80),
        [
            step
            for n, device in enumerate(HERE)
            for step in every("5m", between("00:00", f"0{1 + n // 3}:{n % 3 * 20:02}")).publish(
                device, "heartbeat", battery=80
            )
        ],
        times(10, between("00:00", "06:00"), alarm("device_silent", suppressed=False)),
        never(between("00:00", "06:00"), alarm("area_outage")),
        rules=RULES,
    )


def test_a_gateway_takes_its_devices_with_it(tell: Tell) -> None:
    """Twenty bells behind one gateway stand in twenty streets; the alarm names the gateway."""
    behind = [f"BOX-{n}" for n in range(20)]
    tell(
        TWO_STREETS,
        [one for n, box in enumerate(behind) for one in given(box, region=f"4306021{n:02}", gateway="GW-1")],
        every("5m", between("00:00", "02:00")).publish(HERE + THERE, "heartbeat", battery=80),
        at("00:25").publish(behind, "heartbeat", battery=80),
        want(between("00:55", "00:56"), alarm("area_outage", "gateway:GW-1", severity="high")),
        board("01:00", alarm("area_outage", "gateway:GW-1")),
        rules=RULES,
    )


def test_a_whole_county_is_one_alarm(tell: Tell) -> None:
    """Its two streets are silent at the same moment; another county goes on."""
    others = [f"BOX-{n}" for n in range(60)]
    tell(
        TWO_STREETS,
        given(others, model="bell", region="430603001"),
        every("5m", between("00:00", "02:00")).publish(others, "heartbeat", battery=80),
        at("00:25").publish(HERE + THERE, "heartbeat", battery=80),
        want(between("00:40", "00:41"), alarm("area_outage", "430602")),
        board("01:00", alarm("area_outage", "430602")),
        rules=RULES,
    )


def test_a_county_that_goes_out_street_by_street_is_one_alarm_in_the_end(tell: Tell) -> None:
    """The street that was out first is part of the county that is out then."""
    others = [f"BOX-{n}" for n in range(60)]
    tell(
        TWO_STREETS,
        given(others, model="bell", region="430603001"),
        every("5m", between("00:00", "02:00")).publish(others, "heartbeat", battery=80),
        at("00:25").publish(HERE, "heartbeat", battery=80),
        at("00:30").publish(THERE, "heartbeat", battery=80),
        want(between("00:40", "00:41"), alarm("area_outage", "430602001")),
        want(between("00:45", "00:46"), alarm("area_outage", "430602")),
        board("01:00", alarm("area_outage", "430602")),
        rules=RULES,
    )


def test_a_county_without_power_is_one_alarm(tell: Tell) -> None:
    """Its 180 bells speak whenever they do; six communities and three streets go out in no order at all."""
    bells = [f"BELL-{n:03}" for n in range(180)]
    at_random = random.Random(1).sample(bells, len(bells))
    others = [f"BOX-{n}" for n in range(300)]
    tell(
        [
            one
            for n, bell in enumerate(bells)
            for one in given(bell, model="bell", region=f"43060200{n // 60}00{n // 30 % 2}")
        ],
        given(others, model="bell", region="430603001"),
        every("5m", between("00:00", "02:00")).publish(others, "heartbeat", battery=80),
        every("5m", between("00:00", "00:30")).publish(at_random, "heartbeat", battery=80),
        every("5m", between("01:10", "02:00")).publish(at_random, "heartbeat", battery=80),
        board("01:00", alarm("area_outage", "430602")),
        board("01:20"),
        rules=RULES,
    )


def test_when_all_are_silent_it_is_the_broker(tell: Tell) -> None:
    """No region is named where there is nobody left to compare it with."""
    tell(
        TWO_STREETS,
        at("00:25").publish(HERE + THERE, "heartbeat", battery=80),
        want(between("00:40", "00:41"), alarm("area_outage", "broker")),
        board("01:00", alarm("area_outage", "broker")),
        rules=RULES,
    )


def test_calls_for_help_stand_before_staff_in_an_outage(tell: Tell) -> None:
    """A bell of the silent street that gets a call through is seen at once, and so is a fall."""
    tell(
        TWO_STREETS,
        every("5m", between("00:00", "02:00")).publish(THERE, "heartbeat", battery=80),
        at("00:25").publish(HERE, "heartbeat", battery=80),
        at("00:50").publish("BELL-3", "sos"),
        at("00:51").publish("BELL-4", "fall", phase="confirmed"),
        board("00:55", alarm("area_outage"), alarm("sos", "BELL-3"), alarm("fall", "BELL-4")),
        rules=RULES,
    )


def test_devices_that_stay_silent_after_the_outage_are_alarms_then(tell: Tell) -> None:
    """Two of ten do not come back with the others: a quarter of an hour later they stand for themselves."""
    tell(
        TWO_STREETS,
        every("5m", between("00:00", "03:00")).publish(THERE, "heartbeat", battery=80),
        at("00:25").publish(HERE, "heartbeat", battery=80),
        every("5m", between("01:20", "03:00")).publish(HERE[2:], "heartbeat", battery=80),
        want(between("01:20", "01:26"), cleared("area_outage")),
        board("01:30"),
        board("01:50", alarm("device_silent", "BELL-0"), alarm("device_silent", "BELL-1")),
        rules=RULES,
    )


def test_devices_that_were_silent_before_are_neither_counted_nor_hidden(tell: Tell) -> None:
    """A bell that died in the evening stays an alarm of its own when its street goes out."""
    tell(
        TWO_STREETS,
        every("5m", between("00:00", "04:00")).publish(THERE, "heartbeat", battery=80),
        at("00:00").publish("BELL-0", "heartbeat", battery=80),
        every("5m", between("00:00", "02:26")).publish(HERE[1:], "heartbeat", battery=80),
        board("01:00", alarm("device_silent", "BELL-0")),
        board("03:00", alarm("device_silent", "BELL-0"), alarm("area_outage", "430602001")),
        rules=RULES,
    )


def test_an_alarm_tells_how_many_are_silent_of_how_many(tell: Tell) -> None:
    """Its values name the two numbers."""
    book = tell(
        TWO_STREETS,
        every("5m", between("00:00", "02:00")).publish(THERE, "heartbeat", battery=80),
        at("00:25").publish(HERE, "heartbeat", battery=80),
        rules=RULES,
    )
    (raised,) = [entry for entry in book if entry.alarm.kind == "area_outage"]
    assert {10} == {raised.alarm.values["silent"], raised.alarm.values["of"]}
