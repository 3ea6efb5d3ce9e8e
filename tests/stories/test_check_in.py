"""Stories of the daily 报平安: only who is missing by ten o'clock is followed up."""

from tests.stories.kit import (
    LIFE,
    Tell,
    alarm,
    at,
    between,
    board,
    cleared,
    never,
    on_parts_at_length,
    times,
    want,
)

RULES = (
    LIFE
    + """
[[rule]]
kind = "check_in_missed"
machine = "check_in"
by = "10:00"
from = "04:00"
zone = "Asia/Shanghai"
"""
)


@on_parts_at_length
def test_who_has_not_checked_in_by_ten_is_missed(tell: Tell) -> None:
    """Both did on Monday; on Tuesday one does in time and the other too late."""
    tell(
        at("08:00").publish(["BELL-1", "BELL-2"], "event", kind="check_in"),
        at("29:00").publish("BELL-1", "event", kind="check_in"),
        want(between("34:00", "34:00:01"), alarm("check_in_missed", "BELL-2", severity="medium")),
        times(1, between("00:00", "40:00"), alarm("check_in_missed")),
        at("37:00").publish("BELL-2", "event", kind="check_in"),
        want(between("37:00", "40:00"), cleared("check_in_missed", open=True)),
        board("40:00", alarm("check_in_missed", "BELL-2", cleared=True)),
        rules=RULES,
        seconds=12,
    )


def test_who_never_checks_in_is_not_asked_to(tell: Tell) -> None:
    """A bell of somebody who does not take part is never missed."""
    tell(
        at("08:00").publish("BELL-1", "sos"),
        never(between("00:00", "96:00"), alarm("check_in_missed")),
        rules=RULES,
    )


def test_a_call_for_help_is_no_check_in(tell: Tell) -> None:
    """Nor are a test and a heartbeat."""
    tell(
        at("08:00").publish("BELL-1", "event", kind="check_in"),
        at("32:00").publish("BELL-1", "event", kind="test"),
        at("32:00").publish("BELL-1", "heartbeat", battery=80),
        want(between("34:00", "34:00:01"), alarm("check_in_missed")),
        rules=RULES,
    )


def test_the_first_day_is_not_judged_if_it_had_passed(tell: Tell) -> None:
    """Whoever begins at noon is first missed on the next day."""
    tell(
        at("12:00").publish("BELL-1", "event", kind="check_in"),
        never(between("00:00", "34:00"), alarm("check_in_missed")),
        want(between("34:00", "34:01"), alarm("check_in_missed")),
        rules=RULES,
    )


def test_a_check_in_before_the_hour_from_which_it_counts_is_of_yesterday(tell: Tell) -> None:
    """Who says good night at one in the morning has not yet said good morning."""
    tell(
        at("08:00").publish(["BELL-1", "BELL-2"], "event", kind="check_in"),
        at("25:00").publish("BELL-1", "event", kind="check_in"),
        at("28:00").publish("BELL-2", "event", kind="check_in"),
        want(between("34:00", "34:01"), alarm("check_in_missed", "BELL-1")),
        never(between("00:00", "36:00"), alarm("check_in_missed", "BELL-2")),
        rules=RULES,
    )


def test_each_day_is_missed_once(tell: Tell) -> None:
    """Three days without a word are one alarm that counts three."""
    tell(
        at("08:00").publish("BELL-1", "event", kind="check_in"),
        times(3, between("00:00", "96:00"), alarm("check_in_missed")),
        want(between("82:00", "82:01"), alarm("check_in_missed", count=3)),
        rules=RULES,
    )


def test_a_bridge_that_was_away_at_ten_judges_when_it_is_back(tell: Tell) -> None:
    """Dead from nine to eleven, it dates what it finds by ten, and hears first what the broker kept."""
    tell(
        at("08:00").publish(["BELL-1", "BELL-2"], "event", kind="check_in"),
        at("33:00").kill(),
        at("33:30").publish("BELL-1", "event", kind="check_in"),
        at("35:00").restart(),
        want(between("34:00", "34:00:01"), alarm("check_in_missed", "BELL-2")),
        times(1, between("00:00", "40:00"), alarm("check_in_missed")),
        rules=RULES,
    )


def test_a_day_is_judged_when_everybody_can_be_heard(tell: Tell) -> None:
    """The line is down at ten; the check-in that comes through before it is up for good is in time."""
    tell(
        at("08:00").publish("BELL-1", "event", kind="check_in"),
        at("33:30").tick(scan=False),
        at("34:30").publish("BELL-1", "event", kind="check_in"),
        at("34:31").tick(),
        never(between("00:00", "36:00"), alarm("check_in_missed")),
        rules=RULES,
    )
