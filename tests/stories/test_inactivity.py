"""Stories of homes in which nobody moves."""

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

[[rule]]
kind = "inactivity"
machine = "inactivity"
after = { "06:00-22:00" = "6h", "22:00-06:00" = "12h" }
zone = "Asia/Shanghai"
"""
)
ALIVE = every("10m", between("06:00", "58:00")).publish("PIR-1", "heartbeat", battery=80)


@on_parts_at_length
def test_six_hours_without_movement_by_day(tell: Tell) -> None:
    """Last seen in the kitchen at eight, missed at two in the afternoon, seen again at four."""
    tell(
        every("10m", between("07:00", "17:00")).publish("PIR-1", "heartbeat", ts=None, battery=80),
        at("08:00").publish("PIR-1", "activity", ts=None, motion=True, room="kitchen"),
        never(between("07:00", "14:00"), alarm("inactivity")),
        want(between("14:00", "15:00"), alarm("inactivity", "PIR-1")),
        at("16:00").publish("PIR-1", "activity", ts=None, motion=True),
        want(between("16:00", "17:00"), cleared("inactivity", open=True)),
        rules=RULES,
        seconds=12,
    )


def test_a_night_may_last_twelve_hours(tell: Tell) -> None:
    """Who goes to bed at 21 is not missed during the night; but at six the hours of the day count."""
    tell(
        ALIVE,
        at("21:00").publish("PIR-1", "activity", motion=True),
        never(between("06:00", "30:00"), alarm("inactivity")),
        want(between("30:00", "30:00:01"), alarm("inactivity")),
        rules=RULES,
    )


def test_who_gets_up_at_six_is_not_missed(tell: Tell) -> None:
    """The first movement of the day comes a minute before the day begins."""
    tell(
        ALIVE,
        at("21:00").publish("PIR-1", "activity", motion=True),
        at("29:59").publish("PIR-1", "activity", motion=True),
        never(between("06:00", "35:59"), alarm("inactivity")),
        want(between("35:59", "35:59:01"), alarm("inactivity")),
        rules=RULES,
    )


def test_stillness_from_the_evening_on_is_missed_within_the_night_after_twelve_hours(tell: Tell) -> None:
    """The day's six hours end at 22:30, in the night: its twelve hours count, and they end in the morning."""
    tell(
        ALIVE,
        at("16:30").publish("PIR-1", "activity", motion=True),
        never(between("06:00", "28:30"), alarm("inactivity")),
        want(between("28:30", "28:30:01"), alarm("inactivity")),
        rules=RULES,
    )


def test_what_counts_as_movement(tell: Tell) -> None:
    """Steps that rose, a check-in and a press do; a heartbeat and a sensor that says no do not."""
    tell(
        every("10m", between("06:00", "22:00")).publish(["PIR-1", "PIR-2"], "heartbeat", battery=80),
        every("10m", between("06:00", "22:00")).publish("PIR-1", "activity", motion=False),
        at("06:01").publish("PIR-1", "activity", motion=True),
        at("06:00").publish("PIR-2", "activity", steps=10),
        at("07:00").publish("PIR-2", "activity", steps=25),
        at("11:00").publish("PIR-2", "event", kind="check_in"),
        at("15:00").publish("PIR-2", "sos"),
        want(between("12:01", "12:02"), alarm("inactivity", "PIR-1")),
        never(between("06:00", "21:00"), alarm("inactivity", "PIR-2")),
        want(between("21:00", "21:01"), alarm("inactivity", "PIR-2")),
        rules=RULES,
    )


def test_a_device_that_never_showed_movement_is_not_judged(tell: Tell) -> None:
    """A bell that only beats its heart says nothing of whoever lives there."""
    tell(ALIVE, never(between("06:00", "58:00"), alarm("inactivity")), rules=RULES)


def test_a_silent_device_is_not_judged(tell: Tell) -> None:
    """A sensor that is gone says nothing of the person: it is silent, and that is the alarm."""
    tell(
        every("10m", between("06:00", "09:00")).publish("PIR-1", "heartbeat", battery=80),
        at("08:00").publish("PIR-1", "activity", motion=True),
        board("20:00", alarm("device_silent")),
        never(between("06:00", "20:00"), alarm("inactivity")),
        rules=RULES,
    )


def test_late_movement_is_none(tell: Tell) -> None:
    """A band that delivers its steps of the morning at noon does not show that anybody moves now."""
    tell(
        given("PIR-1"),
        every("10m", between("06:00", "22:00")).publish("PIR-1", "heartbeat", battery=80),
        at("08:00").publish("PIR-1", "activity", motion=True),
        at("13:59").publish("PIR-1", "activity", ts="09:00", motion=True),
        want(between("14:00", "14:00:01"), alarm("inactivity")),
        rules=RULES,
    )


def test_inactivity_survives_kill_9(tell: Tell) -> None:
    """The hours before and after the bridge's death are one."""
    tell(
        every("10m", between("06:00", "22:00")).publish("PIR-1", "heartbeat", battery=80),
        at("08:00").publish("PIR-1", "activity", motion=True),
        at("10:00").kill(),
        at("10:30").restart(),
        times(1, between("06:00", "22:00"), alarm("inactivity")),
        want(between("14:00", "14:00:01"), alarm("inactivity")),
        rules=RULES,
    )


def test_nobody_is_missed_while_nobody_can_be_heard(tell: Tell) -> None:
    """The line is down over the sixth hour; when it is up again, the first that it brings is a movement."""
    tell(
        given("PIR-1", heartbeat=7200),
        at("08:00").publish("PIR-1", "activity", motion=True),
        at("13:30").publish("PIR-1", "heartbeat", battery=80),
        at("13:35").tick(scan=False),
        at("14:40").publish("PIR-1", "activity", motion=True),
        at("14:41").tick(),
        never(between("06:00", "15:00"), alarm("inactivity")),
        rules=RULES,
    )
