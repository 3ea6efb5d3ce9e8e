"""Stories of the keys that a rule over readings may have, one key after the other."""

from tests.stories.book import moment
from tests.stories.kit import (
    LIFE,
    Tell,
    alarm,
    at,
    between,
    cleared,
    every,
    given,
    never,
    on_parts_at_length,
    times,
    want,
)


def rule(kind: str, when: str, *keys: str) -> str:
    """Return a rule file with one rule beside those of life."""
    return "\n".join([LIFE, "[[rule]]", f'kind = "{kind}"', f'when = "{when}"', *keys])


FEVER = "temp >= 39.1"
NIGHT = 'schedule = { days = "Mon-Fri", from = "22:00", to = "06:00", zone = "Asia/Shanghai" }'


# -------------------------------------------------------------------------------------- schedule and scope


@on_parts_at_length
def test_a_scheduled_rule_sees_readings_of_its_hours_only(tell: Tell) -> None:
    """A fever in the evening is none of the night rule's business; the same at 22:00 is."""
    tell(
        at("21:59").publish("BAND-1", "vitals", temp=39.5),
        at("22:00").publish("BAND-1", "vitals", temp=39.5),
        never(between("21:00", "22:00"), alarm("temp_high")),
        want(between("22:00", "22:01"), alarm("temp_high", count=1)),
        rules=rule("temp_high", FEVER, NIGHT),
    )


def test_the_end_of_a_window_is_outside(tell: Tell) -> None:
    """At 05:59:59 the night rule still looks, at 06:00 no longer."""
    tell(
        at("29:59:59").publish("BAND-1", "vitals", temp=39.5),
        at("30:00").publish("BAND-2", "vitals", temp=39.5),
        want(between("29:59:59", "30:00"), alarm("temp_high", "BAND-1")),
        never(between("00:00", "31:00"), alarm("temp_high", "BAND-2")),
        rules=rule("temp_high", FEVER, NIGHT),
    )


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(tell: Tell) -> None:
    """Saturday at two is of Friday's night; Saturday at 23 and Monday at two are of days without one."""
    tell(
        at("02:00").publish("BAND-0", "vitals", temp=39.5),  # of Monday: Sunday's night
        at("122:00").publish("BAND-5", "vitals", temp=39.5),  # of Saturday
        at("143:00").publish("BAND-6", "vitals", temp=39.5),
        want(between("122:00", "122:01"), alarm("temp_high", "BAND-5")),
        never(between("00:00", "122:00"), alarm("temp_high")),
        never(between("122:01", "150:00"), alarm("temp_high")),
        rules=rule("temp_high", FEVER, NIGHT),
    )


def test_readings_outside_the_window_neither_count_nor_interrupt(tell: Tell) -> None:
    """A fever from 21:50 on begins at 22:00 for the night rule; a normal value after 06:00 ends nothing."""
    tell(
        every("10m", between("21:50", "22:40")).publish("BAND-1", "vitals", temp=39.5),
        never(between("21:00", "22:30"), alarm("temp_high")),
        want(between("22:30", "22:31"), alarm("temp_high")),
        at("30:10").publish("BAND-1", "vitals", temp=38.5),
        never(between("22:31", "31:00"), cleared("temp_high")),
        rules=rule("temp_high", FEVER, NIGHT, 'for = "30m"'),
    )


def test_a_condition_clears_at_any_hour(tell: Tell) -> None:
    """What the night rule raised ceases by day."""
    tell(
        at("22:10").publish("BAND-1", "vitals", temp=39.5),
        at("34:00").publish("BAND-1", "vitals", temp=37.0),
        want(between("34:00", "34:01"), cleared("temp_high", open=True)),
        rules=rule("temp_high", FEVER, NIGHT, 'clear = "temp <= 38"'),
    )


def test_a_scope_names_who_is_meant(tell: Tell) -> None:
    """Of five people with a fever the rule means the one whose model, region and care level all fit."""
    scope = 'scope = { model = ["band", "watch"], region = ["430602"], care_level = ["2"] }'
    tell(
        given("BAND-1", model="band", region="430602001001", person="P1", care_level="2"),
        given("BAND-2", model="band", region="430603001001", person="P2", care_level="2"),
        given("BAND-3", model="bell", region="430602001001", person="P3", care_level="2"),
        given("BAND-4", model="band", region="430602001001", person="P4", care_level="1"),
        at("08:00").publish([f"BAND-{n}" for n in range(1, 6)], "vitals", temp=39.5),
        want(between("08:00", "08:01"), alarm("temp_high", "BAND-1")),
        times(1, between("08:00", "09:00"), alarm("temp_high")),
        rules=rule("temp_high", FEVER, scope),
    )


def test_a_scope_can_name_one_person_or_one_device(tell: Tell) -> None:
    """A rule for Mr. P7 and a rule for one bell mean nobody else."""
    tell(
        given("BAND-1", person="P7"),
        given("BAND-2", person="P8"),
        at("08:00").publish(["BAND-1", "BAND-2", "BAND-3"], "vitals", temp=36.9, hr=70),
        want(between("08:00", "08:01"), alarm("temp_high", "BAND-1")),
        want(between("08:00", "08:01"), alarm("hr_high", "BAND-3")),
        times(1, between("08:00", "09:00"), alarm("temp_high")),
        times(1, between("08:00", "09:00"), alarm("hr_high")),
        rules=rule("temp_high", "temp >= 36", 'scope = { person = ["P7"] }')
        + """
[[rule]]
kind = "hr_high"
when = "hr >= 60"
scope = { device = ["BAND-3"] }
""",
    )


# ------------------------------------------------------------------------------ for, samples, gap, lasting


def test_a_condition_that_holds_does_not_fire_again(tell: Tell) -> None:
    """Three hits in one message and three in messages of their own are one alarm, until it has ceased."""
    minutes = range(moment("07:55") // 1000, moment("07:58") // 1000, 60_000)
    tell(
        at("08:00").publish("BAND-1", "vitals", readings=[{"ts": each, "temp": 39.5} for each in minutes]),
        every("2m", between("08:01", "08:07")).publish("BAND-1", "vitals", temp=39.5),
        times(1, between("08:00", "08:08"), alarm("temp_high", count=1)),
        at("08:08").publish("BAND-1", "vitals", temp=37.0),
        at("08:09").publish("BAND-1", "vitals", temp=39.5),
        want(between("08:09", "08:10"), alarm("temp_high", count=2)),
        rules=rule("temp_high", FEVER),
    )


def test_a_duration_fires_at_the_first_hit_that_is_late_enough(tell: Tell) -> None:
    """Ten minutes of fever, measured every four, are an alarm at the twelfth minute, not before."""
    tell(
        every("4m", between("08:00", "08:20")).publish("BAND-1", "vitals", temp=39.5),
        times(1, between("08:00", "09:00"), alarm("temp_high")),
        want(between("08:12", "08:13"), alarm("temp_high")),
        rules=rule("temp_high", FEVER, 'for = "10m"'),
    )


def test_a_miss_ends_a_duration(tell: Tell) -> None:
    """One normal value in between begins the ten minutes anew."""
    tell(
        every("4m", between("08:00", "08:10")).publish("BAND-1", "vitals", temp=39.5),
        at("08:11").publish("BAND-1", "vitals", temp=37.0),
        every("4m", between("08:12", "08:30")).publish("BAND-1", "vitals", temp=39.5),
        never(between("08:00", "08:24"), alarm("temp_high")),
        want(between("08:24", "08:25"), alarm("temp_high")),
        rules=rule("temp_high", FEVER, 'for = "10m"'),
    )


def test_a_reading_without_the_value_neither_counts_nor_interrupts(tell: Tell) -> None:
    """Heartbeats and pulses between two temperatures say nothing of a fever."""
    tell(
        every("5m", between("08:00", "08:15")).publish("BAND-1", "vitals", temp=39.5),
        every("1m", between("08:00", "08:15")).publish("BAND-1", "vitals", hr=70),
        every("1m", between("08:00", "08:15")).publish("BAND-1", "heartbeat", battery=80),
        want(between("08:10", "08:11"), alarm("temp_high")),
        rules=rule("temp_high", FEVER, 'for = "10m"'),
    )


def test_too_few_samples_do_not_fire(tell: Tell) -> None:
    """Two hits ten minutes apart are not three; the third fires."""
    tell(
        at("08:00").publish("BAND-1", "vitals", temp=39.5),
        at("08:10").publish("BAND-1", "vitals", temp=39.5),
        at("08:11").publish("BAND-1", "vitals", temp=39.5),
        never(between("08:00", "08:11"), alarm("temp_high")),
        want(between("08:11", "08:12"), alarm("temp_high")),
        rules=rule("temp_high", FEVER, 'for = "10m"', "samples = 3"),
    )


def test_a_gap_begins_the_condition_anew(tell: Tell) -> None:
    """Hits 31 minutes apart do not belong together where the gap is 30 minutes; those 30 apart do."""
    tell(
        at("08:00").publish(["BAND-1", "BAND-2"], "vitals", temp=39.5),
        at("08:30").publish("BAND-1", "vitals", temp=39.5),
        at("08:31").publish("BAND-2", "vitals", temp=39.5),
        want(between("08:30", "08:31"), alarm("temp_high", "BAND-1")),
        never(between("08:00", "09:00"), alarm("temp_high", "BAND-2")),
        rules=rule("temp_high", FEVER, 'for = "10m"', 'gap = "30m"'),
    )


def test_a_lasting_condition_fires_by_the_clock(tell: Tell) -> None:
    """The mains fail once and nobody says a word: half an hour later to the second it is an alarm."""
    tell(
        at("08:00").publish("BELL-1", "event", kind="mains_lost"),
        never(between("08:00", "08:30"), alarm("mains_lost")),
        want(between("08:30", "08:30:01"), alarm("mains_lost")),
        at("09:00").publish("BELL-1", "event", kind="mains_restored"),
        want(between("09:00", "09:00:01"), cleared("mains_lost", open=False)),
        rules=rule(
            "mains_lost",
            "event == 'mains_lost'",
            "clear = \"event == 'mains_restored'\"",
            'for = "30m"',
            "lasting = true",
        ),
    )


def test_a_lasting_condition_that_ends_before_is_no_alarm(tell: Tell) -> None:
    """The mains are back after 29 minutes, fail again, and 29 minutes later are back again: nothing."""
    tell(
        at("08:00").publish("BELL-1", "event", kind="mains_lost"),
        at("08:29").publish("BELL-1", "event", kind="mains_restored"),
        at("08:31").publish("BELL-1", "event", kind="mains_lost"),
        at("09:00").publish("BELL-1", "event", kind="mains_restored"),
        never(between("08:00", "12:00"), alarm("mains_lost")),
        rules=rule(
            "mains_lost",
            "event == 'mains_lost'",
            "clear = \"event == 'mains_restored'\"",
            'for = "30m"',
            "lasting = true",
        ),
    )


# ----------------------------------------------------------------------------------- count, cooldown, steps

KNOCKS = ("tamper", "event == 'tamper'", "count = 3", 'within = "10m"')


def test_repeated_hits_fire_at_the_last_of_them(tell: Tell) -> None:
    """Three knocks within ten minutes are an alarm at the third."""
    tell(
        at("08:00").publish("BELL-1", "event", kind="tamper"),
        at("08:04").publish("BELL-1", "event", kind="tamper"),
        at("08:10").publish("BELL-1", "event", kind="tamper"),
        never(between("08:00", "08:10"), alarm("tamper")),
        want(between("08:10", "08:11"), alarm("tamper")),
        rules=rule(*KNOCKS),
    )


def test_hits_too_far_apart_do_not_add_up(tell: Tell) -> None:
    """A knock every six minutes, all day long, never makes three within ten."""
    tell(
        every("6m", between("08:00", "12:00")).publish("BELL-1", "event", kind="tamper"),
        never(between("08:00", "13:00"), alarm("tamper")),
        rules=rule(*KNOCKS),
    )


def test_a_counted_condition_ceases_when_the_newest_hit_is_old(tell: Tell) -> None:
    """Ten minutes after the last knock, to the second and without another message, it is over."""
    tell(
        every("2m", between("08:00", "08:09")).publish("BELL-1", "event", kind="tamper"),
        want(between("08:04", "08:05"), alarm("tamper", count=1)),
        times(1, between("08:00", "09:00"), alarm("tamper")),
        want(between("08:18", "08:18:01"), cleared("tamper", open=False)),
        rules=rule(*KNOCKS),
    )


def test_a_cooldown_holds_the_next_alarm_back(tell: Tell) -> None:
    """A fever that returns within the hour is no new alarm; what lasts beyond the hour is one."""
    tell(
        at("08:00").publish("BAND-1", "vitals", temp=39.5),
        at("08:05").publish("BAND-1", "vitals", temp=37.0),
        every("10m", between("08:10", "09:15")).publish("BAND-1", "vitals", temp=39.5),
        want(between("08:00", "08:01"), alarm("temp_high", count=1)),
        want(between("08:05", "08:06"), cleared("temp_high")),
        never(between("08:05", "09:00"), alarm("temp_high")),
        want(between("09:00", "09:01"), alarm("temp_high", count=2)),
        rules=rule("temp_high", FEVER, 'cooldown = "1h"'),
    )


def test_hits_during_the_cooldown_begin_the_condition(tell: Tell) -> None:
    """When the hour is over the ten minutes have long passed: the first hit after it fires."""
    tell(
        every("5m", between("08:00", "08:11")).publish("BAND-1", "vitals", temp=39.5),
        at("08:12").publish("BAND-1", "vitals", temp=37.0),
        every("5m", between("08:40", "09:20")).publish("BAND-1", "vitals", temp=39.5),
        want(between("08:10", "08:11"), alarm("temp_high", count=1)),
        never(between("08:12", "09:10"), alarm("temp_high")),
        want(between("09:10", "09:11"), alarm("temp_high", count=2)),
        rules=rule("temp_high", FEVER, 'for = "10m"', 'cooldown = "1h"'),
    )


STEPS = 'steps = [{ after = "30m", severity = "high" }, { when = "temp >= 41", severity = "critical" }]'


def test_a_severity_rises_with_time(tell: Tell) -> None:
    """A fever that nobody ends is high after half an hour, dated by the deadline and without a message."""
    tell(
        at("08:00").publish("BAND-1", "vitals", temp=39.5),
        want(between("08:00", "08:01"), alarm("temp_high", severity="medium")),
        never(between("08:00", "08:30"), alarm("temp_high", severity="high")),
        want(between("08:30", "08:30:01"), alarm("temp_high", severity="high", count=1)),
        rules=rule("temp_high", FEVER, 'severity = "medium"', STEPS),
    )


def test_a_severity_rises_with_a_value_and_never_falls(tell: Tell) -> None:
    """At 41 degrees it is critical; neither 39.5 nor the half hour makes it less."""
    tell(
        at("08:00").publish("BAND-1", "vitals", temp=39.5),
        at("08:10").publish("BAND-1", "vitals", temp=41.2),
        at("08:15").publish("BAND-1", "vitals", temp=41.3),
        at("08:20").publish("BAND-1", "vitals", temp=39.5),
        want(between("08:10", "08:11"), alarm("temp_high", severity="critical")),
        never(between("08:11", "10:00"), alarm("temp_high")),
        rules=rule("temp_high", FEVER, 'severity = "medium"', STEPS),
    )


def test_the_reading_that_fires_can_be_the_worst(tell: Tell) -> None:
    """Who is first measured at 41.2 has a critical alarm at once."""
    tell(
        at("08:00").publish("BAND-1", "vitals", temp=41.2),
        want(between("08:00", "08:00:01"), alarm("temp_high", severity="critical", count=1)),
        rules=rule("temp_high", FEVER, 'severity = "medium"', STEPS),
    )


def test_a_condition_that_ceased_rises_no_more(tell: Tell) -> None:
    """The fever is gone after twenty minutes: nothing happens at thirty."""
    tell(
        at("08:00").publish("BAND-1", "vitals", temp=39.5),
        at("08:20").publish("BAND-1", "vitals", temp=37.0),
        never(between("08:20", "10:00"), alarm("temp_high")),
        rules=rule("temp_high", FEVER, 'severity = "medium"', STEPS),
    )


# ---------------------------------------------------------------------------------- each, and several rules


def test_every_call_is_an_activation(tell: Tell) -> None:
    """Three presses in one second are one alarm with three calls."""
    tell(
        at("08:00:00.1").publish("BELL-1", "sos"),
        at("08:00:00.2").publish("BELL-1", "sos"),
        at("08:00:00.3").publish("BELL-1", "sos"),
        want(between("08:00", "08:00:01"), alarm("sos", count=3)),
        times(3, between("08:00", "09:00"), alarm("sos")),
        rules=LIFE,
    )


def test_two_rules_of_one_kind_make_one_alarm(tell: Tell) -> None:
    """The rule that raised it last is the one by which it clears."""
    two = (
        rule("temp_high", FEVER, 'clear = "temp <= 38"')
        + "\n"
        + """
[[rule]]
kind = "temp_high"
when = "temp >= 40"
clear = "temp <= 39"
"""
    )
    tell(
        at("08:00").publish("BAND-1", "vitals", temp=39.5),
        at("08:10").publish("BAND-1", "vitals", temp=40.5),
        want(between("08:10", "08:11"), alarm("temp_high", count=2)),
        at("08:20").publish("BAND-1", "vitals", temp=38.9),
        want(between("08:20", "08:21"), cleared("temp_high")),
        rules=two,
    )
