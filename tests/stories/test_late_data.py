"""Stories of what comes late: it goes to the history and is no news, unless it is a call for help."""

from tests.stories.book import moment
from tests.stories.kit import Tell, alarm, at, between, cleared, every, never, on_parts_at_length, times, want


@on_parts_at_length
def test_a_late_call_alarms_and_says_so(tell: Tell) -> None:
    """A press of two hours ago that the network gives back now is an alarm now, marked 迟到."""
    tell(
        at("08:00").publish("BELL-1", "sos", ts="06:00"),
        at("08:00").publish("BELL-2", "fall", ts="06:00", phase="detected"),
        want(between("08:00", "08:01"), alarm("sos", quality="late", severity="critical")),
        want(between("08:00", "08:01"), alarm("fall", quality="late", severity="high")),
        want(between("08:01", "08:02"), alarm("fall", severity="critical")),
    )


def test_a_call_in_time_after_a_late_one_makes_the_alarm_good(tell: Tell) -> None:
    """Staff see that somebody calls now."""
    tell(
        at("08:00").publish("BELL-1", "sos", ts="06:00"),
        at("08:01").publish("BELL-1", "sos"),
        want(between("08:01", "08:02"), alarm("sos", quality="ok", count=2)),
    )


def test_late_vital_signs_are_no_news(tell: Tell) -> None:
    """A band that delivers its night at breakfast raises nothing, however bad the night was."""
    night = [
        {"ts": at_, "hr": 150, "spo2": 80}
        for at_ in range(moment("02:00") // 1000, moment("06:00") // 1000, 300_000)
    ]
    tell(
        at("08:00").publish("BAND-1", "vitals", readings=night),
        at("08:01").publish("BAND-2", "vitals", ts="02:00", hr=150),
        never(between("08:00", "08:30"), alarm("hr_high")),
        never(between("08:00", "08:30"), alarm("spo2_low")),
    )


def test_a_batch_of_the_last_minutes_is_news(tell: Tell) -> None:
    """Readings that are at most ten minutes old are judged, each at its own time."""
    minutes = [
        {"ts": at_, "hr": 150, "worn": True}
        for at_ in range(moment("07:50") // 1000, moment("08:01") // 1000, 120_000)
    ]
    tell(
        at("08:00").publish("BAND-1", "vitals", readings=minutes),
        want(between("08:00", "08:00:01"), alarm("hr_high", count=1)),
    )


def test_late_values_neither_break_nor_end_a_condition(tell: Tell) -> None:
    """In the midst of a fast pulse the good values of an hour ago arrive: nothing changes."""
    tell(
        every("4m", between("08:00", "08:13")).publish("BAND-1", "vitals", hr=140, worn=True),
        at("08:06").publish("BAND-1", "vitals", ts="07:00", hr=70, worn=True),
        at("08:20").publish("BAND-1", "vitals", ts="07:10", hr=70, worn=True),
        want(between("08:12", "08:13"), alarm("hr_high")),
        never(between("08:00", "09:00"), cleared("hr_high")),
    )


def test_a_late_low_battery_event_is_an_event(tell: Tell) -> None:
    """Events count when they are received; only measurements can be too old."""
    tell(
        at("08:00").publish("BELL-1", "event", ts="05:00", kind="low_battery"),
        at("08:00").publish("BELL-2", "heartbeat", ts="05:00", battery=3),
        times(1, between("08:00", "08:30"), alarm("low_battery", "BELL-1")),
        never(between("08:00", "08:30"), alarm("low_battery", "BELL-2")),
    )
