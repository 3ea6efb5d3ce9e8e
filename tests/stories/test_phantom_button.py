"""Stories of buttons that press themselves: nobody can tell, so every press alarms."""

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
    times,
    want,
)


@on_parts_at_length
def test_a_button_that_calls_too_often_is_suspect_and_never_unheard(tell: Tell) -> None:
    """The sixth press of a day makes the button suspect; it and all that follow are calls like the first."""
    tell(
        every("1h", between("08:00", "18:00")).publish("BELL-1", "sos"),
        times(10, between("08:00", "18:00"), alarm("sos", severity="critical")),
        never(between("08:00", "13:00"), alarm("suspect_device")),
        want(between("13:00", "13:20"), alarm("suspect_device", severity="low", count=1)),
        board("13:25", alarm("sos", count=6), alarm("suspect_device")),
        seconds=12,
    )


def test_five_calls_a_day_are_a_person(tell: Tell) -> None:
    """Somebody who calls morning, noon and night, day after day, has a button that works."""
    tell(
        every("5h", between("00:00", "48:00")).publish("BELL-1", "sos"),
        never(between("00:00", "48:00"), alarm("suspect_device")),
    )


def test_a_button_that_is_quiet_for_a_day_is_no_longer_suspect(tell: Tell) -> None:
    """24 hours after its last press the suspicion closes itself; the calls wait for duty."""
    tell(
        every("10m", between("08:00", "09:00")).publish("BELL-1", "sos"),
        every("5m", between("09:00", "34:00")).publish("BELL-1", "heartbeat", battery=80),
        want(between("08:50", "08:51"), alarm("suspect_device")),
        want(between("32:50", "32:50:01"), cleared("suspect_device", open=False)),
        board("33:00", alarm("sos", count=6), alarm("inactivity")),
    )


def test_the_suspicion_is_of_one_button(tell: Tell) -> None:
    """Six people who press once each are six people."""
    tell(
        at("08:00").publish([f"BELL-{n}" for n in range(6)], "sos"),
        times(6, between("08:00", "08:01"), alarm("sos", count=1)),
        never(between("08:00", "09:00"), alarm("suspect_device")),
    )


def test_the_count_survives_kill_9(tell: Tell) -> None:
    """Three presses before and three after the bridge's death make six."""
    tell(
        every("10m", between("08:00", "08:30")).publish("BELL-1", "sos"),
        at("08:31").kill(),
        at("08:32").publish("BELL-1", "sos"),
        at("08:40").restart(),
        every("10m", between("08:50", "09:10")).publish("BELL-1", "sos"),
        want(between("09:00", "09:01"), alarm("suspect_device", count=1)),
        times(6, between("08:00", "10:00"), alarm("sos")),
    )
