"""Stories of vital signs: bands as in NEWS2, and what makes a measurement worth an alarm."""

from typing import Any

import pytest

from tests.stories.kit import (
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

HOUR = between("08:00", "09:00")


@pytest.mark.parametrize(
    ("kind", "value", "good", "ok"),
    [
        ("hr_high", {"hr": 131}, {"hr": 130}, {"hr": 118}),
        ("hr_low", {"hr": 40}, {"hr": 41}, {"hr": 46}),
        ("spo2_low", {"spo2": 91}, {"spo2": 92}, {"spo2": 95}),
        ("temp_high", {"temp": 39.1}, {"temp": 39.0}, {"temp": 37.9}),
        ("temp_low", {"temp": 35.0}, {"temp": 35.1}, {"temp": 36.2}),
        ("bp_high", {"sbp": 220, "dbp": 110}, {"sbp": 219, "dbp": 110}, {"sbp": 190, "dbp": 100}),
        ("bp_low", {"sbp": 90, "dbp": 60}, {"sbp": 91, "dbp": 60}, {"sbp": 105, "dbp": 70}),
    ],
)
def test_a_band_begins_at_its_limit_and_ends_below_it(
    tell: Tell, kind: str, value: dict[str, Any], good: dict[str, Any], ok: dict[str, Any]
) -> None:
    """At the limit it is an alarm, once; one unit less is none; it ceases only well on the good side."""
    tell(
        every("4m", between("08:00", "08:30")).publish("BAND-1", "vitals", worn=True, **value),
        every("4m", between("08:00", "08:30")).publish("BAND-2", "vitals", worn=True, **good),
        times(1, HOUR, alarm(kind, "BAND-1", severity="high")),
        never(HOUR, alarm(kind, "BAND-2")),
        at("08:30").publish("BAND-1", "vitals", worn=True, **good),
        never(between("08:00", "08:35"), cleared(kind)),
        at("08:35").publish("BAND-1", "vitals", worn=True, **ok),
        want(between("08:35", "08:36"), cleared(kind, "BAND-1", open=True)),
    )


@on_parts_at_length
def test_a_pulse_must_last_ten_minutes_and_three_readings(tell: Tell) -> None:
    """Two readings eleven minutes apart are too few, and three within nine minutes are too short."""
    tell(
        at("08:00").publish(["BAND-1", "BAND-2"], "vitals", hr=140, worn=True),
        at("08:04").publish("BAND-2", "vitals", hr=140, worn=True),
        at("08:09").publish(["BAND-1", "BAND-2"], "vitals", hr=140, worn=True),
        never(between("08:00", "08:10"), alarm("hr_high")),
        at("08:10").publish(["BAND-1", "BAND-2"], "vitals", hr=140, worn=True),
        want(between("08:10", "08:15"), alarm("hr_high", "BAND-1")),
        want(between("08:10", "08:15"), alarm("hr_high", "BAND-2")),
    )


def test_a_single_high_reading_is_a_misreading(tell: Tell) -> None:
    """A third of a wrist's samples is wrong: peaks between good values never add up."""
    tell(
        every("4m", between("08:00", "12:00")).publish("BAND-1", "vitals", hr=150, spo2=85, worn=True),
        every("4m", between("08:02", "12:00")).publish("BAND-1", "vitals", hr=75, spo2=97, worn=True),
        never(between("08:00", "12:00"), alarm("hr_high")),
        never(between("08:00", "12:00"), alarm("spo2_low")),
    )


def test_a_gap_between_readings_begins_the_ten_minutes_anew(tell: Tell) -> None:
    """A band that measures every eleven minutes can never show that it lasts."""
    tell(
        every("11m", between("08:00", "12:00")).publish("BAND-1", "vitals", hr=140, worn=True),
        every("10m", between("08:00", "12:00")).publish("BAND-2", "vitals", hr=140, worn=True),
        never(between("08:00", "12:00"), alarm("hr_high", "BAND-1")),
        want(between("08:20", "08:21"), alarm("hr_high", "BAND-2")),
    )


def test_a_band_that_is_not_worn_measures_nobody(tell: Tell) -> None:
    """Neither 150 beats nor 85 % on the bedside table are anybody's."""
    tell(
        every("2m", between("08:00", "09:00")).publish(
            "BAND-1", "vitals", hr=150, spo2=85, temp=40, worn=False
        ),
        never(HOUR, alarm("hr_high")),
        never(HOUR, alarm("spo2_low")),
        never(HOUR, alarm("temp_high")),
    )


def test_a_band_that_does_not_say_whether_it_is_worn_is_believed(tell: Tell) -> None:
    """The wear flag is a gate for those that have one."""
    tell(
        every("4m", between("08:00", "08:20")).publish("BAND-1", "vitals", hr=140),
        want(between("08:12", "08:13"), alarm("hr_high")),
    )


def test_codes_that_mean_no_reading_are_none(tell: Tell) -> None:
    """0, 1, 254 and 255 are no pulse and no saturation, and they do not interrupt one either."""
    tell(
        [
            step
            for n in range(30)
            for step in at(f"08:{n:02}").publish("BAND-1", "vitals", hr=(0, 1, 254, 255)[n % 4], spo2=n % 2)
        ],
        never(HOUR, alarm("hr_high", "BAND-1")),
        never(HOUR, alarm("hr_low")),
        never(HOUR, alarm("spo2_low")),
        every("4m", between("08:00", "08:13")).publish("BAND-2", "vitals", hr=140),
        every("4m", between("08:02", "08:13")).publish("BAND-2", "vitals", hr=255),
        want(between("08:12", "08:13"), alarm("hr_high", "BAND-2")),
    )


def test_values_that_no_body_has_are_not_believed(tell: Tell) -> None:
    """A pulse of 290, a saturation of 20 and a temperature of 50 are a band's, not a person's."""
    tell(
        every("2m", between("08:00", "09:00")).publish("BAND-1", "vitals", hr=290, spo2=20, temp=50),
        never(HOUR, alarm("hr_high")),
        never(HOUR, alarm("spo2_low")),
        never(HOUR, alarm("temp_high")),
    )


def test_a_pulse_on_the_stairs_is_no_alarm(tell: Tell) -> None:
    """140 beats at 60 steps a minute are exercise; the same pulse while the counter stands still is not."""
    tell(
        [
            step
            for n in range(0, 30, 2)
            for step in at(f"08:{n:02}").publish("BAND-1", "vitals", hr=140, worn=True, steps=60 * n)
            + at(f"08:{n:02}").publish("BAND-2", "vitals", hr=140, worn=True, steps=500)
        ],
        never(HOUR, alarm("hr_high", "BAND-1")),
        want(between("08:10", "08:11"), alarm("hr_high", "BAND-2")),
    )


def test_somebody_with_copd_has_limits_of_their_own(tell: Tell) -> None:
    """At a target of 88 to 92 %, 89 is good, and 87 is an alarm; for the neighbour 89 is one."""
    tell(
        given("BAND-1", model="band", person="P17", thresholds={"spo2_low": 87}),
        given("BAND-2", model="band", person="P18"),
        every("2m", between("08:00", "08:10")).publish(["BAND-1", "BAND-2"], "vitals", spo2=89, worn=True),
        never(between("08:00", "08:10"), alarm("spo2_low", "BAND-1")),
        want(between("08:06", "08:08"), alarm("spo2_low", "BAND-2")),
        every("2m", between("08:10", "08:20")).publish("BAND-1", "vitals", spo2=87, worn=True),
        want(between("08:16", "08:17"), alarm("spo2_low", "BAND-1")),
        at("08:20").publish("BAND-1", "vitals", spo2=90, worn=True),
        want(between("08:20", "08:21"), cleared("spo2_low", "BAND-1")),
    )


def test_a_saturation_far_below_the_limit_is_critical(tell: Tell) -> None:
    """85 % is worse than 91 %, also when it comes after the alarm."""
    tell(
        every("2m", between("08:00", "08:10")).publish("BAND-1", "vitals", spo2=90, worn=True),
        want(between("08:06", "08:07"), alarm("spo2_low", severity="high")),
        at("08:10").publish("BAND-1", "vitals", spo2=85, worn=True),
        want(between("08:10", "08:11"), alarm("spo2_low", severity="critical", count=1)),
    )


def test_a_pulse_far_above_the_usual_one_is_told(tell: Tell) -> None:
    """115 beats are much for somebody who has had 60 for days, and nothing for one who has always had 95."""
    tell(
        given("BAND-1", model="band"),
        given("BAND-2", model="band"),
        every("10m", between("00:00", "24:00")).publish("BAND-1", "vitals", hr=60, worn=True),
        every("10m", between("00:00", "24:00")).publish("BAND-2", "vitals", hr=95, worn=True),
        every("4m", between("24:00", "25:00")).publish(["BAND-1", "BAND-2"], "vitals", hr=115, worn=True),
        want(between("24:20", "24:24"), alarm("hr_high", "BAND-1", severity="medium")),
        never(between("00:00", "25:00"), alarm("hr_high", "BAND-2")),
    )


def test_a_new_band_knows_no_usual_pulse(tell: Tell) -> None:
    """Before 64 pulses were seen, 115 is neither much nor little."""
    tell(
        every("4m", between("08:00", "08:20")).publish("BAND-1", "vitals", hr=60, worn=True),
        every("4m", between("08:20", "09:20")).publish("BAND-1", "vitals", hr=115, worn=True),
        never(between("08:00", "09:30"), alarm("hr_high")),
    )
