"""Stories of alarms that come and go, and come and go."""

from tests.stories.kit import (
    Step,
    Tell,
    alarm,
    at,
    between,
    cleared,
    every,
    never,
    on_parts_at_length,
    times,
    want,
)


def power_cuts(begin: str, number: int, apart: str, device: str = "BELL-1") -> list[Step]:
    """Return so many power cuts of five minutes, one every `apart` minutes."""
    minutes = [int(begin[:2]) * 60 + n * int(apart) for n in range(number)]
    return [
        step
        for kind, late in (("mains_lost", 0), ("mains_restored", 5))
        for each in minutes
        for step in at(f"{(each + late) // 60}:{(each + late) % 60}").publish(device, "event", kind=kind)
    ]


@on_parts_at_length
def test_five_times_within_the_hour_is_chattering(tell: Tell) -> None:
    """The fifth power cut of the hour says so, once; each cut stays an alarm while it lasts."""
    tell(
        power_cuts("08:00", 8, "10"),
        every("5m", between("08:00", "14:00")).publish("BELL-1", "heartbeat", battery=80),
        times(8, between("08:00", "10:00"), alarm("mains_lost")),
        never(between("08:00", "08:40"), alarm("chattering")),
        want(between("08:40", "08:50"), alarm("chattering", "BELL-1", severity="low")),
        times(1, between("08:00", "14:00"), alarm("chattering")),
        want(between("13:10", "13:30"), cleared("chattering", open=False)),
        seconds=20,
    )


def test_a_cut_every_quarter_of_an_hour_and_a_bit_is_not(tell: Tell) -> None:
    """Every 16 minutes all day long never makes five within one hour; every 15 does."""
    tell(
        power_cuts("08:00", 40, "16", "BELL-1"),
        power_cuts("08:00", 40, "15", "BELL-2"),
        times(40, between("08:00", "20:00"), alarm("mains_lost", "BELL-1")),
        never(between("08:00", "20:00"), alarm("chattering", "BELL-1")),
        want(between("09:00", "09:00:01"), alarm("chattering", "BELL-2")),
    )


def test_different_kinds_and_devices_do_not_add_up(tell: Tell) -> None:
    """Three cuts here and three there, and a low battery in between, are no chattering."""
    tell(
        power_cuts("08:00", 3, "10", "BELL-1"),
        power_cuts("08:00", 3, "10", "BELL-2"),
        every("10m", between("08:00", "08:40")).publish(["BELL-1", "BELL-2"], "event", kind="low_battery"),
        never(between("08:00", "12:00"), alarm("chattering")),
    )


def test_calls_for_help_never_chatter(tell: Tell) -> None:
    """Ten presses and ten falls within the hour are ten and ten."""
    tell(
        every("5m", between("08:00", "08:50")).publish("BELL-1", "sos"),
        every("5m", between("08:02", "08:52")).publish("BELL-1", "fall", phase="detected"),
        never(between("08:00", "14:00"), alarm("chattering")),
    )


def test_chattering_survives_kill_9(tell: Tell) -> None:
    """Three cuts before and two after the bridge's death are five; the quiet hours survive another."""
    tell(
        power_cuts("08:00", 5, "10"),
        every("5m", between("08:00", "14:00")).publish("BELL-1", "heartbeat", battery=80),
        at("08:26").kill(),
        at("08:28").restart(),
        at("10:00").kill(),
        at("10:05").restart(),
        want(between("08:40", "08:40:01"), alarm("chattering", count=1)),
        times(1, between("08:00", "14:00"), alarm("chattering")),
        want(between("12:40", "12:40:01"), cleared("chattering")),
    )
