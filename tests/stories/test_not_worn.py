"""Stories of bands that lie on the bedside table."""

from tests.stories.kit import Tell, alarm, at, between, cleared, every, never, on_parts_at_length, times, want


def test_a_band_that_is_not_worn_for_twelve_hours(tell: Tell) -> None:
    """Taken off at eight: told at twenty, and over as soon as it is on the wrist again."""
    tell(
        at("07:50").publish("BAND-1", "vitals", worn=True, hr=70),
        every("10m", between("08:00", "22:00")).publish("BAND-1", "vitals", worn=False),
        never(between("07:00", "20:00"), alarm("not_worn")),
        want(between("20:00", "20:00:01"), alarm("not_worn", severity="low")),
        times(1, between("07:00", "23:00"), alarm("not_worn")),
        at("22:30").publish("BAND-1", "vitals", worn=True, hr=70),
        want(between("22:30", "22:30:01"), cleared("not_worn", open=False)),
    )


def test_one_hour_on_the_wrist_begins_the_twelve_anew(tell: Tell) -> None:
    """Worn from 19 to 20, the band is told at eight in the morning and not before."""
    tell(
        every("10m", between("08:00", "19:00")).publish("BAND-1", "vitals", worn=False),
        every("10m", between("19:00", "20:00")).publish("BAND-1", "vitals", worn=True, hr=70),
        every("10m", between("20:00", "33:00")).publish("BAND-1", "vitals", worn=False),
        never(between("08:00", "32:00"), alarm("not_worn")),
        want(between("32:00", "32:00:01"), alarm("not_worn")),
    )


def test_a_band_that_says_it_once_and_then_nothing_of_it(tell: Tell) -> None:
    """The event `removed` is enough: heartbeats that do not mention the wrist change nothing."""
    tell(
        at("08:00").publish("BAND-1", "event", kind="removed"),
        every("10m", between("08:00", "21:00")).publish("BAND-1", "heartbeat", battery=80),
        want(between("08:00", "08:01"), alarm("removed")),
        want(between("20:00", "20:00:01"), alarm("not_worn")),
        at("21:00").publish("BAND-1", "event", kind="worn"),
        want(between("21:00", "21:01"), cleared("not_worn")),
        want(between("21:00", "21:01"), cleared("removed")),
    )


@on_parts_at_length
def test_a_pulse_from_before_it_was_taken_off_does_not_put_it_on_again(tell: Tell) -> None:
    """The event overtakes the last pulse, which comes on another session; the next real one counts."""
    tell(
        at("08:00").publish("BAND-1", "event", kind="removed"),
        at("08:00:02").publish("BAND-1", "vitals", ts="07:59:58", worn=True, hr=70),
        want(between("08:00", "08:01"), alarm("removed")),
        never(between("08:00", "08:10"), cleared("removed")),
        at("08:10").publish("BAND-1", "vitals", worn=True, hr=71),
        want(between("08:10", "08:11"), cleared("removed")),
    )


def test_the_hours_survive_kill_9(tell: Tell) -> None:
    """Dead from 19:50 to 20:10, the bridge tells it when it is back, dated by the twelfth hour."""
    tell(
        at("08:00").publish("BAND-1", "event", kind="removed"),
        every("10m", between("08:05", "21:00")).publish("BAND-1", "heartbeat", battery=80),
        at("19:50").kill(),
        at("20:10").restart(),
        want(between("20:00", "20:00:01"), alarm("not_worn", count=1)),
        times(1, between("08:00", "22:00"), alarm("not_worn")),
    )
