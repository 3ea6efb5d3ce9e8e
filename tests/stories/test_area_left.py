"""Stories of people who leave the area in which they are safe (走失)."""

from tests.stories.kit import Tell, alarm, at, between, board, cleared, never, on_parts_at_length, times, want


@on_parts_at_length
def test_leaving_the_area_is_an_alarm_of_life_at_once(tell: Tell) -> None:
    """It is high the moment it is received, and stands until duty closes it, also when the person is back."""
    tell(
        at("08:00").publish("WATCH-1", "event", kind="area_left"),
        want(between("08:00", "08:10"), alarm("area_left", severity="high")),
        at("08:20").publish("WATCH-1", "event", kind="area_entered"),
        want(between("08:20", "08:30"), cleared("area_left", open=True)),
        board("08:30", alarm("area_left", cleared=True)),
        at("08:32").closes("WATCH-1", "area_left"),
        board("08:45"),
    )


def test_leaving_twice_is_one_alarm(tell: Tell) -> None:
    """A watch on the border of its area says so again and again: one alarm while the person is out."""
    tell(
        *(at(f"08:0{n}").publish("WATCH-1", "event", kind="area_left") for n in range(5)),
        times(1, between("08:00", "08:10"), alarm("area_left")),
        at("08:10").publish("WATCH-1", "event", kind="area_entered"),
        at("08:20").publish("WATCH-1", "event", kind="area_left"),
        want(between("08:20", "08:21"), alarm("area_left", count=2)),
    )


def test_a_watch_with_a_wrong_clock_is_heard(tell: Tell) -> None:
    """An event counts when it is received, whether its clock shows 1970 or next year."""
    tell(
        at("08:00").publish("WATCH-1", "event", ts=0, kind="area_left"),
        at("08:00").publish("WATCH-2", "event", ts=1_800_000_000_000, kind="area_left"),
        want(between("08:00", "08:00:01"), alarm("area_left", "WATCH-1", count=1)),
        want(between("08:00", "08:00:01"), alarm("area_left", "WATCH-2", count=1)),
    )


def test_who_comes_home_without_having_left_is_no_alarm(tell: Tell) -> None:
    """The first word of a new watch may be that it is where it should be."""
    tell(
        at("08:00").publish("WATCH-1", "event", kind="area_entered"),
        never(between("08:00", "08:30"), alarm("area_left")),
        board("08:20"),
    )
