"""Stories of falls: detected, cancelled, confirmed, or somebody lies still."""

from tests.stories.kit import (
    Tell,
    alarm,
    at,
    between,
    board,
    cleared,
    every,
    never,
    on_parts_at_length,
    on_parts_too,
    times,
    want,
)


@on_parts_at_length
def test_who_lies_still_after_a_fall_is_critical(tell: Tell) -> None:
    """A fall is high at once, and critical when nobody has moved for a minute."""
    tell(
        at("00:30").publish("BELL-1", "fall", phase="detected"),
        want(between("00:30", "00:31"), alarm("fall", severity="high")),
        want(between("00:31", "00:32"), alarm("fall", severity="critical", count=1)),
        board("00:33", alarm("fall", "BELL-1", severity="critical")),
        seconds=6,
    )


def test_the_minute_ends_to_the_second_without_a_message(tell: Tell) -> None:
    """The step is dated by its deadline."""
    tell(
        at("00:30").publish("BELL-1", "fall", phase="detected"),
        never(between("00:00", "00:31"), alarm("fall", severity="critical")),
        want(between("00:31", "00:31:00.001"), alarm("fall", severity="critical")),
    )


def test_who_moves_is_not_critical(tell: Tell) -> None:
    """Movement within the minute leaves the fall as it is; it stays before staff."""
    tell(
        at("00:30").publish("BAND-1", "fall", phase="detected"),
        at("00:30:40").publish("BAND-1", "activity", motion=True),
        never(between("00:00", "02:00"), alarm("fall", severity="critical")),
        board("01:00", alarm("fall", severity="high")),
    )


def test_motion_that_says_no_is_no_movement(tell: Tell) -> None:
    """A sensor that reports stillness does not calm anybody."""
    tell(
        at("00:30").publish("BAND-1", "fall", phase="detected"),
        at("00:30:40").publish("BAND-1", "activity", motion=False),
        want(between("00:31", "00:32"), alarm("fall", severity="critical")),
    )


def test_steps_are_movement_if_there_are_more_of_them(tell: Tell) -> None:
    """The counter stands still for one and goes on for the other."""
    tell(
        at("00:20").publish(["BAND-1", "BAND-2"], "vitals", hr=70, steps=900),
        at("00:30").publish(["BAND-1", "BAND-2"], "fall", phase="detected"),
        at("00:30:30").publish("BAND-1", "vitals", hr=70, steps=900),
        at("00:30:30").publish("BAND-2", "vitals", hr=70, steps=904),
        want(between("00:31", "00:32"), alarm("fall", "BAND-1", severity="critical")),
        never(between("00:30", "02:00"), alarm("fall", "BAND-2", severity="critical")),
    )


def test_old_steps_delivered_late_are_no_movement(tell: Tell) -> None:
    """What a band walked half an hour ago, and says only now, calms nobody."""
    tell(
        at("00:20").publish("BAND-1", "vitals", hr=70, steps=900),
        at("00:30").publish("BAND-1", "fall", phase="detected"),
        at("00:30:30").publish("BAND-1", "vitals", ts="00:05", steps=950),
        want(between("00:31", "00:32"), alarm("fall", severity="critical")),
    )


def test_movement_after_the_minute_comes_too_late(tell: Tell) -> None:
    """The severity never falls."""
    tell(
        at("00:30").publish("BAND-1", "fall", phase="detected"),
        at("00:31:10").publish("BAND-1", "activity", motion=True),
        board("00:50", alarm("fall", severity="critical")),
    )


def test_the_wearer_cancels(tell: Tell) -> None:
    """The condition ceases and nothing becomes critical, but the alarm stays: only duty closes it."""
    tell(
        at("00:30").publish("BELL-1", "fall", phase="detected"),
        at("00:30:30").publish("BELL-1", "fall", phase="cancelled"),
        want(between("00:30:30", "00:30:31"), cleared("fall", open=True)),
        never(between("00:00", "00:40"), alarm("fall", severity="critical")),
        board("00:34", alarm("fall", severity="high", cleared=True)),
        at("00:35").closes("BELL-1", "fall"),
        board("00:36"),
    )


def test_a_confirmed_fall_is_critical_at_once(tell: Tell) -> None:
    """The device itself has waited, or the wearer has said so."""
    tell(
        at("00:30").publish("BELL-1", "fall", phase="detected"),
        at("00:30:10").publish("BELL-1", "fall", phase="confirmed"),
        at("00:30").publish("BELL-2", "fall", phase="confirmed"),
        want(between("00:30:10", "00:30:11"), alarm("fall", "BELL-1", severity="critical", count=2)),
        want(between("00:30", "00:30:01"), alarm("fall", "BELL-2", severity="critical", count=1)),
        never(between("00:30:11", "02:00"), alarm("fall")),
    )


def test_a_second_fall_begins_the_minute_anew(tell: Tell) -> None:
    """Who falls again after fifty seconds has another minute; it is one alarm that counts two."""
    tell(
        at("00:30").publish("BELL-1", "fall", phase="detected"),
        at("00:30:50").publish("BELL-1", "fall", phase="detected"),
        never(between("00:30", "00:31:50"), alarm("fall", severity="critical")),
        want(between("00:31:50", "00:31:51"), alarm("fall", severity="critical", count=2)),
        times(1, between("00:30", "02:00"), alarm("fall", severity="critical")),
    )


def test_a_fall_without_a_phase_or_with_one_that_cannot_be_read_is_detected(tell: Tell) -> None:
    """An empty message, and bytes that are no JSON, alarm and count the minute."""
    tell(
        at("00:30").publish("BELL-1", "fall"),
        at("00:30").publish("BELL-2", "fall", raw=b"\xff{"),
        want(between("00:30", "00:31"), alarm("fall", "BELL-1", severity="high")),
        want(between("00:30", "00:31"), alarm("fall", "BELL-2", severity="high", quality="unreadable")),
        want(between("00:31", "00:32"), alarm("fall", "BELL-1", severity="critical")),
        want(between("00:31", "00:32"), alarm("fall", "BELL-2", severity="critical")),
    )


def test_a_fall_that_staff_closed_within_the_minute_stays_closed(tell: Tell) -> None:
    """They have called back; the minute that ends then opens nothing again."""
    tell(
        at("00:30").publish("BELL-1", "fall", phase="detected"),
        at("00:30:30").closes("BELL-1", "fall"),
        never(between("00:30:31", "02:00"), alarm("fall")),
        board("00:50"),
    )


def test_the_next_fall_is_a_new_alarm(tell: Tell) -> None:
    """After duty has closed the first one, the second one counts from one."""
    tell(
        at("00:30").publish("BELL-1", "fall", phase="confirmed"),
        at("00:40").closes("BELL-1", "fall"),
        at("00:50").publish("BELL-1", "fall", phase="detected"),
        want(between("00:50", "00:51"), alarm("fall", severity="high", count=1)),
        want(between("00:51", "00:52"), alarm("fall", severity="critical", count=1)),
    )


def test_kill_9_within_the_minute_does_not_stop_it(tell: Tell) -> None:
    """The bridge is dead from ten to forty seconds after the fall; the step comes when it would have come."""
    tell(
        every("5m", between("00:00", "00:30")).publish("BELL-1", "heartbeat", battery=80),
        at("00:30").publish("BELL-1", "fall", phase="detected"),
        at("00:30:10").kill(),
        at("00:30:40").restart(),
        want(between("00:31", "00:31:01"), alarm("fall", severity="critical", count=1)),
        times(1, between("00:30", "02:00"), alarm("fall", severity="critical")),
    )


@on_parts_too
def test_a_minute_that_ends_while_the_bridge_is_dead_counts(tell: Tell) -> None:
    """Dead over the deadline, the bridge steps when it is back: that was due before the movement it hears."""
    tell(
        at("00:29").publish("BELL-1", "heartbeat", battery=80),
        at("00:30").publish("BELL-1", "fall", phase="detected"),
        at("00:30:20").kill(),
        at("00:31:05").publish("BELL-1", "activity", motion=True),
        at("00:31:10").restart(),
        want(between("00:31", "00:31:30"), alarm("fall", severity="critical", count=1)),
        times(1, between("00:30", "00:32"), alarm("fall", severity="critical")),
        seconds=12,
    )
