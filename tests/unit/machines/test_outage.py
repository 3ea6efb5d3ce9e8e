"""Outages: one cause, one alarm; what it explains stands in the history, not before staff."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rules.machine import PER_TICK, Registered
from rules.machines.outage import Outage
from schemas.alarms import Move, Severity, Transition
from schemas.readings import Columns, Event
from tests.unit.kit import batch, moment, reading
from tests.unit.machines.kit import (
    Machines,
    Stage,
    Steps,
    Tick,
    Told,
    brief,
    registered,
    run,
    tell,
    ticks,
)

LIMIT = 600.0
TOWN = "430602"
STREETS = ("430602001", "430602002")


def machines(by: Sequence[str] = ("region6",), **settings: Any) -> Machines:  # noqa: ANN401 - of outage
    """Return silence after ten minutes, outages of half of a group and at least four in five minutes."""
    outage = {"share": 0.5, "least": 4, "window": "5m", "by": list(by)} | settings
    return {"silence": {"misses": 1, "interval": "10m"}, "outage": outage}


def town(*streets: str, gateways: Sequence[str] | None = None) -> Registered:
    """Return devices, each in its street."""
    return registered(len(streets), regions=list(streets), gateways=gateways or [""] * len(streets))


EIGHT = town(*[STREETS[0]] * 4, *[STREETS[1]] * 4)
"""Four devices in each of two streets."""


def words(at: float, devices: Sequence[int]) -> list[Any]:
    """Return a word of each device at once."""
    return [reading(device, at, hr=80) for device in devices]


def told(*steps: Steps, devices: Registered = EIGHT, by: Sequence[str] = ("region6",)) -> list[Told]:
    """Tell a story of outages."""
    return brief(tell(devices, machines(by), *steps))


def silent(at: float, *devices: int) -> list[Told]:
    """Return raises."""
    return [(device, "device_silent", "raise", at) for device in devices]


def heard(at: float, *devices: int) -> list[Told]:
    """Return clears."""
    return [(device, "device_silent", "clear", at) for device in devices]


def hidden(at: float, *devices: int, area: str = TOWN) -> list[Told]:
    """Return suppressions."""
    return [(device, "device_silent", f"suppress under {area}", at) for device in devices]


def shown(at: float, *devices: int, area: str = TOWN) -> list[Told]:
    """Return what comes before staff after all."""
    return [(device, "device_silent", f"unsuppress under {area}", at) for device in devices]


def out(at: float, area: str = TOWN) -> Told:
    """Return an area's raise."""
    return area, "area_outage", "raise", at


def back(at: float, area: str = TOWN) -> Told:
    """Return an area's clear."""
    return area, "area_outage", "clear", at


# ------------------------------------------------------------------------------------------ it comes, it ends


def test_devices_that_fall_silent_together_are_one_outage() -> None:
    """One alarm says how many of how many; what each would say of itself is suppressed for it."""
    found = tell(EIGHT, machines(), words(0, range(8)), Tick(LIMIT + 1), Tick(LIMIT + 2))
    everyone = range(8)
    assert brief(found) == [*silent(LIMIT, *everyone), out(LIMIT + 1), *hidden(LIMIT + 1, *everyone)]
    (area,) = (each for each in found if each.area)
    assert (area.device_id, area.values) == (-1, {"silent": 8, "of": 8})


def test_too_few_are_no_outage() -> None:
    """Three of four are less than the least, and four of nine less than half."""
    assert told(words(0, range(3)), Tick(LIMIT + 1), devices=town(*[TOWN] * 4)) == silent(LIMIT, 0, 1, 2)
    nine = town(*[TOWN] * 9)
    alive = words(500, range(4, 9))
    assert told(words(0, range(4)), alive, Tick(LIMIT + 1), devices=nine) == silent(LIMIT, 0, 1, 2, 3)
    assert out(LIMIT + 1) in told(words(0, range(4)), alive[1:], Tick(LIMIT + 1), devices=nine)


def test_who_was_never_heard_or_long_silent_does_not_count() -> None:
    """Half of those that could be heard is what it takes: neither drawers nor old silences are among them."""
    long_ago = words(-2000, range(4, 7))
    found = tell(EIGHT, machines(), long_ago, Tick(-1300), words(0, range(4)), Tick(LIMIT + 1))
    assert [each.values for each in found if each.area] == [{"silent": 4, "of": 4}]
    assert [each.device_id for each in found if each.move is Move.SUPPRESS] == [0, 1, 2, 3]


def test_silences_must_begin_within_the_window() -> None:
    """One by one over half an hour is no outage; the last ones within five minutes are."""
    slow: list[Any] = [row for n in range(8) for row in words(n * 240, [n])]
    assert [each for each in told(slow, ticks(LIMIT, 3000, 30)) if each[1] == "area_outage"] == []
    at_once: list[Any] = [row for n in range(8) for row in words(n * 75, [n])]
    found = told(at_once, [Tick(LIMIT + 299), Tick(LIMIT + 525)])
    assert [each for each in found if each[1] == "area_outage"] == [out(LIMIT + 299)]
    edge: list[Any] = [*words(0, [0]), *words(100, [1, 2, 3])]
    for now, expected in ((LIMIT + 300, [out(LIMIT + 300)]), (LIMIT + 301, [])):
        found = told(edge, Tick(now), devices=town(*[TOWN] * 4))
        assert [each for each in found if each[1] == "area_outage"] == expected


def test_silence_in_an_area_that_is_out_is_suppressed_from_the_start() -> None:
    """Raised and suppressed with one date; elsewhere nothing is suppressed."""
    devices = town(*[TOWN] * 6, "340100", "340100")
    first, later = words(0, range(4)), words(300, range(4, 8))
    found = told(first, later, Tick(LIMIT + 1), Tick(LIMIT + 301), devices=devices)
    assert found[:9] == [*silent(LIMIT, 0, 1, 2, 3), out(LIMIT + 1), *hidden(LIMIT + 1, 0, 1, 2, 3)]
    assert Counter(found[9:]) == Counter([*silent(LIMIT + 300, 4, 5, 6, 7), *hidden(LIMIT + 300, 4, 5)])


def test_a_silence_that_no_tick_saw_is_suppressed_too() -> None:
    """Found and ended by the device's own next word, it never stood before staff."""
    found = told(words(0, range(7)), words(200, [7]), Tick(LIMIT + 1), words(LIMIT + 300, [7]))
    assert found[-3:] == [*silent(LIMIT + 200, 7), *heard(LIMIT + 300, 7), *hidden(LIMIT + 200, 7)]


def test_calls_for_help_are_never_suppressed() -> None:
    """An SOS out of an area that is out is an SOS; it also proves that its device lives."""
    call = reading(3, LIMIT + 60, event=Event.SOS)
    found = told(words(0, range(8)), Tick(LIMIT + 1), call, Tick(LIMIT + 61))
    assert found[17:] == [(3, "sos", "raise", LIMIT + 60), *heard(LIMIT + 60, 3)]


def test_it_ends_when_few_are_silent() -> None:
    """Half of the share that made it: at a quarter it lasts, below it ends, by itself."""
    begun = [words(0, range(8)), Tick(LIMIT + 1)]
    assert told(*begun, words(700, range(6)), Tick(701))[17:] == heard(700, *range(6))
    assert told(*begun, words(700, range(7)), Tick(701))[17:] == [*heard(700, *range(7)), back(701)]
    found = tell(EIGHT, machines(), *begun, words(700, range(7)), Tick(701))
    assert found[-1].values == {"silent": 1, "of": 8}


def test_who_stays_silent_is_shown_after_one_more_limit() -> None:
    """The lines are back and one device is not: strictly after its limit it is an alarm of its own."""
    begun = [words(0, range(8)), Tick(LIMIT + 1), words(700, range(7)), Tick(701)]
    alive = words(1300, range(7))
    waits = [Tick(701 + LIMIT), Tick(701 + LIMIT + 0.5, scan=False)]
    assert told(*begun, alive, waits)[25:] == []
    found = told(*begun, alive, waits, Tick(701 + LIMIT + 1), Tick(701 + LIMIT + 2))
    assert found[25:] == shown(701 + LIMIT, 7)


def test_who_is_heard_in_time_was_never_shown() -> None:
    """Its silence clears, and that is all."""
    begun = [words(0, range(8)), Tick(LIMIT + 1), words(700, range(7)), Tick(701)]
    late = words(701 + LIMIT + 5, [7])
    found = told(*begun, words(1300, range(7)), late, Tick(1310))
    assert found[25:] == heard(701 + LIMIT + 5, 7)


def test_it_can_come_again() -> None:
    """Each outage is one alarm, and what is silent anew is suppressed anew."""
    begun = [words(0, range(8)), Tick(LIMIT + 1), words(700, range(8)), Tick(701)]
    found = told(*begun, Tick(701 + LIMIT))
    again = Counter([*silent(1300, *range(8)), out(1301), *hidden(1301, *range(8))])
    assert found[17:] == [*heard(700, *range(8)), back(701), *found[26:]]
    assert Counter(found[26:]) == again


def test_without_scan_nothing_is_judged() -> None:
    """Neither begun nor ended while nobody could be heard."""
    begun = [words(0, range(8)), Tick(LIMIT + 1, scan=False)]
    assert told(*begun) == []
    found = told(words(0, range(8)), Tick(LIMIT + 1), words(700, range(8)), Tick(701, scan=False))
    assert found[17:] == heard(700, *range(8))


def test_flapping_does_not_end_it() -> None:
    """With `steady` a device is silent until it has stayed: a word of each is no end."""
    settings = machines() | {"silence": {"misses": 1, "interval": "10m", "steady": "2m"}}
    begun = [words(0, range(8)), Tick(LIMIT + 1)]
    once = [words(700, range(8)), Tick(701)]
    assert brief(tell(EIGHT, settings, *begun, once))[17:] == []
    stays = [words(820, range(8)), Tick(821)]
    assert brief(tell(EIGHT, settings, *begun, once, stays))[17:] == [*heard(820, *range(8)), back(821)]


# ------------------------------------------------------------------------------------------------- its places


def test_larger_areas_go_before_smaller_ones() -> None:
    """A town with all its streets and gateways is one outage; a group within it raises nothing of its own."""
    devices = town(*EIGHT.regions, gateways=["G1"] * 4 + ["G2"] * 4)
    for by, area in (
        (("region6", "region9", "gateway"), TOWN),
        (("gateway", "region9", "broker", "region6"), "broker"),
    ):
        found = told(words(0, range(8)), ticks(LIMIT + 1, LIMIT + 4), devices=devices, by=by)
        assert found[8:] == [out(LIMIT + 1, area), *hidden(LIMIT + 1, *range(8), area=area)]


def test_a_street_can_be_out_alone() -> None:
    """Where the others live, it is the street, or the gateway, and not the town."""
    devices = town(*[STREETS[0]] * 4, *[STREETS[1]] * 6, gateways=["G1"] * 4 + ["G2"] * 6)
    alive = words(500, range(4, 10))
    for by, area in ((("region6", "region9"), STREETS[0]), (("region6", "gateway"), "gateway:G1")):
        found = told(words(0, range(4)), alive, Tick(LIMIT + 1), devices=devices, by=by)
        assert found[4:] == [out(LIMIT + 1, area), *hidden(LIMIT + 1, *range(4), area=area)]


def test_a_community_can_be_out_alone() -> None:
    """Twelve digits are a place of their own; whoever has fewer is in none such."""
    devices = town(*["430602001007"] * 4, *["430602001"] * 6)
    rows = [*words(0, range(4)), *words(500, range(4, 10))]
    found = told(rows, Tick(LIMIT + 1), devices=devices, by=("region6", "region9", "region12"))
    assert found[4:] == [out(LIMIT + 1, "430602001007"), *hidden(LIMIT + 1, *range(4), area="430602001007")]


def test_a_gateway_that_reaches_beyond_an_area_is_an_outage_of_its_own() -> None:
    """Only what lies within the other is explained by it."""
    devices = town(*[TOWN] * 4, *["340100"] * 4, gateways=["", *["G1"] * 4, "", "", ""])
    rows = [*words(0, range(5)), *words(500, range(5, 8))]
    found = told(rows, Tick(LIMIT + 1), devices=devices, by=("region6", "gateway"))
    assert found[5:] == [
        out(LIMIT + 1),
        out(LIMIT + 1, "gateway:G1"),
        *hidden(LIMIT + 1, 0, 1, 2, 3),
        *hidden(LIMIT + 1, 4, area="gateway:G1"),
    ]


SPREADS = town(*[STREETS[0]] * 4, *[STREETS[1]] * 6)
"""First a street falls silent, then the others of its town."""


def spread(*steps: Steps) -> list[Told]:
    """Tell what follows when a street is out since LIMIT + 1, and the town since LIMIT + 101."""
    rows = [words(0, range(4)), words(100, range(4, 10))]
    by = ("region6", "region9")
    found = told(rows, Tick(LIMIT + 1), Tick(LIMIT + 101), *steps, devices=SPREADS, by=by)
    street, rest = range(4), range(4, 10)
    assert found[:9] == [
        *silent(LIMIT, *street),
        out(LIMIT + 1, STREETS[0]),
        *hidden(LIMIT + 1, *street, area=STREETS[0]),
    ]
    assert found[9:23] == [
        *silent(LIMIT + 100, *rest),
        out(LIMIT + 101),
        (STREETS[0], "area_outage", f"suppress under {TOWN}", LIMIT + 101),
        *hidden(LIMIT + 101, *rest),
    ]
    return found[23:]


def test_an_outage_can_spread() -> None:
    """First a street, then the town: one alarm stands before staff, and what each hid stays with it."""
    assert spread(ticks(LIMIT + 102, LIMIT + 110)) == []


def test_a_street_within_can_end_first() -> None:
    """It clears, hidden as it is; the town goes on."""
    assert spread(words(800, range(4)), Tick(801)) == [*heard(800, *range(4)), back(801, STREETS[0])]


def test_a_street_that_outlasts_its_town_is_shown() -> None:
    """The town is back, and the street is not: then that one is the alarm."""
    street = (STREETS[0], "area_outage", f"unsuppress under {TOWN}", 801)
    everybody = [*words(800, range(2)), *words(800, range(4, 10))]
    cleared = heard(800, 0, 1, *range(4, 10))
    assert spread(everybody, Tick(801)) == [*cleared, back(801), street]


def test_devices_in_no_group_are_no_group() -> None:
    """What has neither region nor gateway has nothing in common but the broker."""
    by = ("region6", "region9", "region12", "gateway")
    assert told(words(0, range(8)), Tick(LIMIT + 1), devices=registered(8), by=by) == silent(LIMIT, *range(8))


def test_the_registry_may_move_a_device() -> None:
    """Out of an area that is out: one more limit, and it is shown, for nothing explains it there."""
    stage = Stage(EIGHT, machines())
    run(stage, batch(*_rows(0, range(8))), batch(now=LIMIT + 1))
    stage.engine.enrol(registered(1, regions=["340100"]))
    found = brief(run(stage, *(batch(now=at) for at in (LIMIT + 2, LIMIT * 2 + 2, LIMIT * 2 + 3))))
    assert found == shown(LIMIT * 2 + 2, 0, area="340100")


# ------------------------------------------------------------------------------------------- restarts, floods


def _rows(at: float, devices: Sequence[int]) -> list[Columns]:
    return [reading(device, at, hr=80) for device in devices]


def test_an_area_that_only_the_database_knows_ends() -> None:
    """It is out until enough is heard; then what it hid is shown or cleared."""
    stage = Stage(EIGHT, machines())
    run(stage, batch(*_rows(0, range(8))))
    stage.holds = {("area_outage:430602", -1)}
    stage.holds |= {(kind, device) for kind in ("device_silent", "suppressed") for device in range(8)}
    again = stage.restarted()
    assert run(again, batch(now=LIMIT + 1)) == []
    later = [batch(*_rows(1290, range(7))), batch(now=LIMIT + 702)]
    found = brief(run(again, batch(*_rows(700, range(7))), batch(now=701), *later))
    assert found == [*heard(700, *range(7)), back(701), *shown(LIMIT + 701, 7)]


def test_an_area_that_the_database_does_not_know_is_none() -> None:
    """Staff closed it: whatever is still silent comes before them, each by itself."""
    stage = Stage(EIGHT, machines())
    run(stage, batch(*_rows(0, range(8))), batch(now=LIMIT + 1))
    stage.holds.discard(("area_outage:430602", -1))
    again = stage.restarted()
    found = brief(run(again, *(batch(now=at) for at in (LIMIT + 400, LIMIT * 2 + 400, LIMIT * 2 + 401))))
    assert found == shown(LIMIT * 2 + 400, *range(8))


def test_what_nothing_explains_any_more_is_shown() -> None:
    """A suppression of which no area is remembered hides nobody for ever."""
    stage = Stage(EIGHT, machines())
    run(stage, batch(*_rows(0, range(8))), batch(now=LIMIT + 1))
    stage.holds = {("device_silent", 5), ("suppressed", 5), ("suppressed", 99_999)}
    again = stage.restarted()
    others = [0, 1, 2, 3, 4, 6, 7]
    run(again, batch(*_rows(LIMIT + 2, others)), batch(now=LIMIT + 3), batch(*_rows(1100, others)))
    assert brief(run(again, batch(now=LIMIT * 2 + 4))) == shown(LIMIT * 2 + 3, 5)


def _night(n: int, others: int, *by: str) -> tuple[Stage, Columns]:
    """Return a district of n devices, and others elsewhere, all heard at once; and their rows."""
    regions = [f"430602{street:03}" for street in range(20) for _ in range(n // 20)] + ["430603"] * others
    rows = np.concatenate([reading(0, 0, hr=80)] * (n + others))
    rows["device_id"] = np.arange(n + others)
    stage = Stage(town(*regions), machines(by, least=20))
    assert run(stage, batch(rows)) == []
    return stage, rows


def test_a_night_in_one_district() -> None:
    """Twenty thousand devices fall silent at once, three people call: one outage and three SOS."""
    n = 20_000
    stage, rows = _night(n, 2 * n, "broker", "region6", "region9")
    alive = rows[n:].copy()
    alive["received_at"] = moment(500)
    assert stage.play(batch(alive)) == []
    board: set[tuple[int | str, str]] = set()

    def happens(found: list[Transition]) -> None:
        for each in found:
            who = each.area or each.device_id, each.kind
            shows = each.move in {Move.RAISE, Move.UNSUPPRESS}
            (board.add if shows else board.discard)(who)

    counts: Counter[str] = Counter()
    for second in range(1, 15):
        found = stage.play(batch(now=LIMIT + second))
        counts.update(f"{each.kind} {each.move}" for each in found)
        happens(found)
        assert board == {(TOWN, "area_outage")}
    assert counts == {"device_silent raise": n, "device_silent suppress": n, "area_outage raise": 1}
    calls = [reading(device, LIMIT + 60, event=Event.SOS) for device in (17, 4711, 19_999)]
    happens(run(stage, batch(*calls), batch(now=LIMIT + 61)))
    assert board == {(TOWN, "area_outage"), *((device, "sos") for device in (17, 4711, 19_999))}
    rows = rows[:n]
    rows["received_at"] = moment(LIMIT + 90)
    happens(stage.play(batch(rows)) + stage.play(batch(now=LIMIT + 91)))
    assert board == {(device, "sos") for device in (17, 4711, 19_999)}


def test_what_was_raised_before_is_suppressed_in_parts() -> None:
    """Thousands that were told before it was an outage: so many at each tick, and no more then."""
    stage, rows = _night(6000, 6000, "region6")
    later = rows[2500:].copy()
    later["received_at"] = moment(100)
    later["received_at"][1000:] = moment(500)
    run(stage, batch(later))
    told = [run(stage, batch(now=LIMIT + second)) for second in (1, 2, 3, 101, 102, 103)]
    moves = [Counter(f"{each.kind} {each.move}" for each in found) for found in told]
    assert moves == [
        {"device_silent raise": PER_TICK},
        {"device_silent raise": 500},
        {},
        {"device_silent raise": 1000, "area_outage raise": 1, "device_silent suppress": PER_TICK},
        {"device_silent suppress": 1500},
        {},
    ]


def test_the_rule_can_be_taken_away() -> None:
    """What it hid is shown, and the area is no more."""
    stage = Stage(EIGHT, machines())
    run(stage, batch(*_rows(0, range(8))), batch(now=LIMIT + 1))
    found = brief(stage.without_machines(999))
    assert Counter(found) == Counter([*shown(999, *range(8)), back(999), *heard(999, *range(8))])


@pytest.mark.parametrize(
    "settings",
    [
        {"share": 0},
        {"share": 1.1},
        {"share": "half"},
        {"share": "0.5"},
        {"least": 1},
        {"least": "4"},
        {"least": 2.5},
        {"window": "0s"},
        {"window": "25h"},
        {"by": []},
        {"by": ["village"]},
        {"by": "broker"},
        {"until": 3},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    """Out of bounds, of another type, unknown."""
    with pytest.raises(ValidationError):
        Outage.read(machines(**settings)["outage"], "area_outage", Severity.HIGH, 1)
