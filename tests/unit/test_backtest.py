"""Two rule sets over one stream: what is raised by each, by both, and how much of it staff could bear."""

import random

import numpy as np
import pytest

from ingest.registry import registered
from rules import ruleset
from rules.backtest import ROWS, Assumptions, Backtest, Comparison, Difference
from schemas.clock import SECOND, to_datetime
from schemas.readings import Columns, Event
from store.restore import Device
from tests.unit.kit import MINUTE, moment, reading

HOUR = 60 * MINUTE
ALWAYS = """
[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"
immobile = "60s"
"""
BATTERY = """
[[rule]]
kind = "low_battery"
when = "battery <= {limit}"
clear = "battery >= 30"
"""
PULSE = """
[[rule]]
kind = "hr_high"
when = "hr >= {limit}"
clear = "hr < 110"
for = "{lasting}"
gap = "1h"
severity = "{severity}"
"""
SILENCE = """
[[rule]]
kind = "device_silent"
machine = "silence"
misses = 3
interval = "10m"
"""
OUTAGE = """
[[rule]]
kind = "area_outage"
machine = "outage"
share = 0.6
least = 5
window = "5m"
by = ["region6"]
"""


def pulse(limit: int = 130, lasting: str = "0s", severity: str = "high") -> str:
    """Return a rule about a high pulse."""
    return PULSE.format(limit=limit, lasting=lasting, severity=severity)


def compare(
    current: str,
    new: str,
    *rows: Columns,
    start: float = 0,
    end: float = 2 * HOUR,
    cuts: random.Random | None = None,
    **assumed: int,
) -> Comparison:
    """Feed readings, in order of receipt, to two rule sets beside what must be; return what is found."""
    trial = Backtest(
        ruleset.parse(ALWAYS + current),
        ruleset.parse(ALWAYS + new),
        Assumptions(moment(start), moment(end), **assumed),
    )
    trial.enrol(registered([Device(n, f"D-{n}", "", None, False, "430602") for n in range(200)]))  # noqa: FBT003 - a row
    stream = np.concatenate(sorted(rows, key=lambda row: int(row["received_at"][0])))
    while len(stream):
        size = cuts.randrange(1, 20) if cuts else len(stream)
        trial.feed(stream[:size])
        stream = stream[size:]
    return trial.finish()


def hearts(device_id: int, first: float, rates: list[float]) -> list[Columns]:
    """Return a pulse each minute."""
    return [reading(device_id, first + n * MINUTE, hr=rate) for n, rate in enumerate(rates)]


def press(device_id: int, at: float) -> Columns:
    """Return a call for help."""
    return reading(device_id, at, event=Event.SOS)


def presses(per_window: list[int]) -> list[Columns]:
    """Return so many calls in each 10 minutes, each of a device of its own."""
    return [
        press(n, window * 10 * MINUTE + 1 + n)
        for window, count in enumerate(per_window)
        for n in range(count)
    ]


# -------------------------------------------------------------------------------------------- what is raised


def test_the_same_rules_raise_the_same() -> None:
    """Of whatever kind, everything counts as the same, and the load of both is one."""
    rows = [*hearts(1, 0, [140] * 5), press(2, 90), reading(3, 100, battery=5)]
    found = compare(pulse() + BATTERY.format(limit=15), pulse() + BATTERY.format(limit=15), *rows)
    assert found.total == Difference(current=3, new=3, same=3)
    assert set(found.by_kind) == {"hr_high", "sos", "low_battery"}
    assert found.current == found.new


def test_what_only_one_raises() -> None:
    """A lower limit raises more, a higher one misses."""
    rows = [*hearts(1, 0, [125] * 3), *hearts(2, 0, [150] * 3)]
    assert compare(pulse(130), pulse(120), *rows).by_kind["hr_high"] == Difference(
        current=1, new=2, same=1, only_new=1
    )
    assert compare(pulse(120), pulse(130), *rows).by_kind["hr_high"] == Difference(
        current=2, new=1, same=1, missed=1
    )


def test_what_is_raised_at_another_time() -> None:
    """A longer duration raises later, a shorter one earlier; beyond the tolerance it is another alarm."""
    rows = hearts(1, 0, [140] * 90)
    later = compare(pulse(lasting="10m"), pulse(lasting="20m"), *rows)
    assert later.total == Difference(current=1, new=1, later=1)
    assert compare(pulse(lasting="20m"), pulse(lasting="10m"), *rows).total.earlier == 1
    apart = compare(pulse(lasting="10m"), pulse(lasting="50m"), *rows)
    assert apart.total == Difference(current=1, new=1, missed=1, only_new=1)
    assert (
        compare(pulse(lasting="10m"), pulse(lasting="50m"), *rows, tolerance=2400 * SECOND).total.later == 1
    )


def test_what_is_raised_with_another_severity() -> None:
    """More urgent is severer, also if it comes by a step, and whatever the time."""
    rows = hearts(1, 0, [140] * 30)
    steps = 'steps = [{ after = "5m", severity = "critical" }]\n'
    assert compare(pulse(), pulse(severity="critical"), *rows).total.severer == 1
    assert compare(pulse(), pulse(severity="low", lasting="2m"), *rows).total.milder == 1
    assert compare(pulse(), pulse() + steps, *rows).total == Difference(current=1, new=1, severer=1)


def test_the_nearest_belong_together() -> None:
    """Of several alarms of a device those go together that are next to each other in time, each once."""
    calm = [100.0] * 11
    rows = hearts(1, 0, [125, *calm, 140, *calm, 140])
    assert compare(pulse(120), pulse(130), *rows).total == Difference(current=3, new=2, same=2, missed=1)
    rows = hearts(1, 0, [145, *calm, *calm, 125, 125, 145])  # one after 0 and 25 minutes, the other after 24
    assert compare(pulse(140), pulse(120, "1m"), *rows).total == Difference(
        current=2, new=1, earlier=1, missed=1
    )


def test_raises_while_an_alarm_is_open_repeat_it() -> None:
    """Staff have a life alarm closed after the handling time; before, a press is a repetition."""
    rows = [press(1, at * MINUTE) for at in (0, 1, 9, 11, 12)]
    found = compare("", "", *rows)
    assert (found.total.current, found.current.repeated) == (2, 3)
    assert compare("", "", *rows, handling=90 * SECOND).total.current == 3
    assert compare("", "", *rows, handling=3600 * SECOND).total.current == 1


def test_a_technical_alarm_is_open_until_it_clears() -> None:
    """However long that takes and however often it is raised, it is one; after clearing it is another."""
    tamper = '[[rule]]\nkind = "tamper"\nwhen = "event == \'tamper\'"\neach = true\n'
    rows = [reading(1, at * MINUTE, event=Event.TAMPER) for at in (0, 20, 50)]
    found = compare(tamper, tamper, *rows)
    assert (found.total.current, found.current.repeated) == (1, 2)
    battery = BATTERY.format(limit=15)
    rows = [reading(1, at * MINUTE, battery=level) for at, level in ((0, 9), (60, 8), (70, 90), (80, 9))]
    assert compare(battery, battery, *rows).total.current == 2


def test_what_began_before_does_not_count() -> None:
    """The time before the start warms up: what is open then is no alarm of the span, and stays open."""
    battery = BATTERY.format(limit=15)
    rows = [reading(1, 0, battery=9), reading(1, 70 * MINUTE, battery=9), reading(2, 70 * MINUTE, battery=9)]
    assert compare(battery, battery, *rows, start=HOUR).total.current == 1
    assert compare(battery, battery, *rows).total.current == 2


def test_time_passes_to_the_end() -> None:
    """A device that says nothing any more is silent, though no reading comes after it."""
    rows = [reading(1, 0, battery=90)]
    assert compare(SILENCE, SILENCE, *rows).total.current == 1
    assert compare(SILENCE, SILENCE, *rows, end=29 * MINUTE).total.current == 0


def test_it_is_told_how_time_passes_and_can_be_stopped() -> None:
    """At each tick, between readings and after the last one; what is raised there ends it at once."""
    rules, told = ruleset.parse(ALWAYS + SILENCE), list[int]()

    def passed(now: int) -> None:
        told.append(now)
        if now == moment(20 * MINUTE):
            raise TimeoutError

    trial = Backtest(rules, rules, Assumptions(moment(0), moment(HOUR), step=20 * SECOND), passed)
    trial.feed(np.concatenate([reading(1, 0, battery=90), reading(1, 5 * MINUTE + 1, battery=90)]))
    assert told == [moment(at) for at in range(20, 301, 20)]
    with pytest.raises(TimeoutError):
        trial.finish()
    assert told[-1] == moment(20 * MINUTE)


def test_an_outage_explains_silence() -> None:
    """Rules that see the area fall silent put one alarm before staff and hide the others."""
    rows = [reading(n, n, battery=90) for n in range(20)]
    found = compare(SILENCE, SILENCE + OUTAGE, *rows)
    silent, area = found.by_kind["device_silent"], found.by_kind["area_outage"]
    assert silent == Difference(current=20, suppressed=20)
    assert area == Difference(new=1, only_new=1)
    assert (found.new.suppressed, found.new.alarms, found.current.suppressed) == (20, 1, 0)
    assert ("430602", -1) in [(each.area, each.device_id) for each in found.worst]


def test_an_alarm_that_stood_before_staff_counts() -> None:
    """Those that came before the outage was seen were seen, though it hides them then."""
    rows = [reading(n, n * 20, battery=90) for n in range(20)]
    found = compare(SILENCE, SILENCE + OUTAGE, *rows)
    silent = found.by_kind["device_silent"]
    assert silent.same > 5
    assert silent.suppressed > 5
    assert silent.same + silent.suppressed == 20


@pytest.mark.parametrize("seed", range(5))
def test_cuts_change_nothing(seed: int) -> None:
    """However the stream is cut into calls, the comparison is the same."""
    rng = random.Random(seed)
    rows = [
        rng.choice(
            [
                reading(rng.randrange(9), at, hr=rng.choice([100, 125, 140])),
                reading(rng.randrange(9), at, battery=rng.choice([9, 90])),
                press(rng.randrange(9), at),
            ]
        )
        for at in sorted(rng.uniform(0, 2 * HOUR) for _ in range(300))
    ]
    current, new = SILENCE + pulse(120, "1m"), SILENCE + OUTAGE + pulse(130) + BATTERY.format(limit=15)
    whole = compare(current, new, *rows)
    assert whole.total.current > 10
    assert compare(current, new, *rows, cuts=rng) == whole


def test_more_readings_than_are_judged_at_once() -> None:
    """Between two ticks the stream is cut, and none is lost."""
    stream = np.tile(np.concatenate([reading(1, 1, hr=100), reading(2, 1, hr=100)]), ROWS)
    stream["device_id"][-1] = 3
    assert compare(pulse(90), pulse(90), stream).total.same == 3


def test_a_tick_goes_on_until_all_is_decided() -> None:
    """A machine decides so much at once; here no second passes before the rest."""
    rows = np.concatenate([reading(n, n / 1000, battery=90) for n in range(3000)])
    assert compare(SILENCE, SILENCE, rows, end=31 * MINUTE).total.current == 3000


def test_time_passes_between_readings() -> None:
    """An outage that is over when the next reading comes was one all the same."""
    rows = [reading(n, at * MINUTE + n, battery=90) for n in range(20) for at in (0, 40)]
    assert compare(SILENCE, SILENCE + OUTAGE, *rows, end=HOUR).by_kind["area_outage"].only_new == 1


# ---------------------------------------------------------------------------------------- days, load, devices


def test_days_are_those_of_shanghai() -> None:
    """An alarm before midnight there and one after it are of two days; kinds and days add up."""
    midnight = 57_600 - moment(0) // SECOND % 86_400  # 16:00 UTC, in seconds after START
    midnight += 86_400 * (midnight < HOUR)
    rows = [press(1, midnight - 60), press(2, midnight + 60), *hearts(3, midnight + 60, [140])]
    found = compare("", pulse(), *rows, start=midnight - HOUR, end=midnight + HOUR)
    days = {f"{to_datetime(day + 8 * 3600 * SECOND):%d %H:%M}": each for day, each in found.by_day.items()}
    assert [each.new for each in days.values()] == [1, 2]
    assert all(day.endswith(" 00:00") for day in days)
    assert found.by_kind_and_day["hr_high", max(found.by_day)] == Difference(new=1, only_new=1)
    assert sum(each.new for each in found.by_kind_and_day.values()) == found.total.new == 3


@pytest.mark.parametrize(
    ("per_window", "floods", "in_flood"),
    [
        pytest.param([10, 10, 10, 10], 0, 0.0, id="ten are no flood"),
        pytest.param([11, 0, 0, 0], 1, 0.25, id="eleven are"),
        pytest.param([11, 5, 4, 0], 1, 0.5, id="it lasts until there are less than five"),
        pytest.param([11, 4, 11, 5], 2, 0.75, id="and can come again"),
    ],
)
def test_a_flood_begins_above_ten_and_ends_below_five(
    per_window: list[int], floods: int, in_flood: float
) -> None:
    """Alarms in each ten minutes, as ISA-18.2 counts them."""
    load = compare("", "", *presses(per_window), end=40 * MINUTE, handling=SECOND).current
    assert (load.floods, load.in_flood) == (floods, in_flood)
    assert load.alarms == sum(per_window)
    assert load.mean == sum(per_window) / 4


def test_operators_share_the_load() -> None:
    """Two bear twice as much: rates, peak and floods are those of each."""
    rows = presses([3, 22, 1, 0])
    one = compare("", "", *rows, end=40 * MINUTE).current
    two = compare("", "", *rows, end=40 * MINUTE, operators=2).current
    assert (one.peak, two.peak, one.floods) == (22, 11, 1)
    assert (one.peak_at, two.mean) == (moment(10 * MINUTE), one.mean / 2)
    assert (one.above_bearable, two.above_bearable) == (0.5, 0.5)
    assert compare("", "", *rows, end=40 * MINUTE, operators=3).current.floods == 0


def test_the_worst_devices_come_first() -> None:
    """By what the new rules raise, then by what the current ones do, with what they raise most."""
    rows = [
        *(press(7, at * MINUTE) for at in range(0, 60, 12)),
        *hearts(8, 0, [140, 100] * 3),
        press(9, 5),
    ]
    found = compare(pulse(), pulse(150), *rows, handling=SECOND)
    assert [tuple(each) for each in found.worst] == [
        (7, "", 5, 5, "sos"),
        (9, "", 1, 1, "sos"),
        (8, "", 3, 0, "hr_high"),
    ]


def test_nothing_comes_of_nothing() -> None:
    """A stream without a reading has no alarms and no load."""
    rules = ruleset.parse(ALWAYS + SILENCE)
    trial = Backtest(rules, rules, Assumptions(moment(0), moment(HOUR)))
    trial.feed(reading(1, 0)[:0])
    found = trial.finish()
    assert (found.total, found.worst, found.current.peak) == (Difference(), [], 0)
