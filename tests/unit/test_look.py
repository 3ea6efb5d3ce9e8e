"""What rules see: rule time, what is late or stale, and what is known of a device beside its readings."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rules.expression import compile_expression
from rules.look import Look, Memory, Rows, Updates
from rules.state import State
from schemas.readings import READING, VALUES, Batch, Columns, Event, Quality
from schemas.topics import Lane
from tests.unit.kit import MINUTE, batch, moment, reading

NAN = float("nan")


class Watcher:
    """Looks at batches one after the other, as the engine does."""

    def __init__(self, *asked: str) -> None:
        self._memory = Memory([*map(compile_expression, asked)])
        self._state = State()
        self._state.grow(10)
        for name, column in self._memory.columns().items():
            self._state.add(name, column)
        self._memory.bind(self._state)

    def look(self, *rows: Columns) -> Look:
        """Look at a batch, and remember it."""
        look = Look(batch(*rows))
        updates: Updates = []
        with np.errstate(all="ignore"):
            self._memory.freshen(look, updates)
        for array, who, values in updates:
            array[who] = values
        return look

    def see(self, name: str, *rows: Columns, together: bool) -> list[float]:
        """Return a value or a state name of readings, in one batch or each in its own."""
        looks = [self.look(*rows)] if together else [self.look(row) for row in rows]
        return [value for look in looks for value in in_order(look, name)]


def in_order(look: Look, name: str) -> Iterator[float]:
    """Yield what a look says, in the order of the readings in the batch; absent is None."""
    found: npt.NDArray[Any] = np.full(len(look), NAN)
    if name == "moved":
        found = look.moved
    elif name in VALUES:
        found = look.value(name)
    elif name in look.states:
        with np.errstate(all="ignore"):
            found = look.states[name]()
    yield from found[np.argsort(look.row)].tolist()


def shown(values: list[float]) -> list[float | None]:
    """Return values with None for what is absent."""
    return [None if np.isnan(value) else round(value, 6) for value in values]


together = pytest.mark.parametrize("together", [False, True])

# ---------------------------------------------------------------------------------------------------- rows


def test_a_look_is_sorted_by_device_and_then_by_receipt() -> None:
    """Every column is in that order, and `row` leads back to the batch."""
    rows = [reading(who, at, hr=60 + at) for at, who in enumerate([3, 1, 3, 0, 1, 3])]
    look = Look(batch(*rows))
    assert look.device.tolist() == [0, 1, 1, 3, 3, 3]
    assert look.row.tolist() == [3, 1, 4, 0, 2, 5]
    assert look.value("hr").tolist() == [63, 61, 64, 60, 62, 65]
    assert look.first.tolist() == [True, True, False, True, False, False]
    assert look.last.tolist() == [True, False, True, False, False, True]
    assert (look.who.tolist(), look.of.tolist()) == ([0, 1, 3], [0, 1, 1, 2, 2, 2])
    assert [turn.tolist() for turn in look.turns()] == [[0, 1, 3], [2, 4], [5]]


@pytest.mark.parametrize("n", [0, 1])
def test_a_look_may_be_empty(n: int) -> None:
    """Nothing, and one reading, are batches too."""
    look = Look(Batch(Lane.TELEMETRY, 0, readings=np.zeros(n, READING)))
    assert (len(look), look.first.tolist(), look.last.tolist()) == (n, [True] * n, [True] * n)
    assert look.newest(look.at).tolist() == [0] * n


def test_the_newest_time_so_far_is_of_the_same_device() -> None:
    """Of each row the greatest time up to it, and before it; devices do not touch each other."""
    rows = Rows(np.array([1, 1, 1, 1, 2, 2, 5]))
    times = np.array([5, 3, 9, 7, 1, 2, 0])
    newest = rows.newest(times)
    assert newest.tolist() == [5, 5, 9, 9, 1, 2, 0]
    assert rows.before(np.array([4, 8, -1]), newest).tolist() == [4, 5, 5, 9, 8, 8, -1]
    long = np.arange(1000)[::-1].copy()
    assert Rows(np.zeros(1000, np.intp)).newest(long).tolist() == [999] * 1000


# --------------------------------------------------------------------------------------------- late, stale


def test_rule_time_is_the_receipt_of_an_event_and_the_device_time_of_a_measurement() -> None:
    """Whatever an event's own clock says."""
    look = Look(batch(reading(1, 5, ts=-100, hr=80), reading(2, 6, ts=-100, event=Event.REMOVED)))
    assert look.time.tolist() == [moment(-100), moment(6)]


def test_a_late_measurement_is_not_seen_but_a_late_event_is() -> None:
    """Of a measurement even what rules without state would see."""
    late = {"ts": -9000, "quality": Quality.LATE, "hr": 80}
    look = Look(batch(reading(1, 5, **late), reading(2, 6, **late, event=Event.SOS)))
    assert shown(look.sent("hr").tolist()) == [None, 80]
    assert look.late.tolist() == [True, False]
    assert look.alive.tolist() == [True, True]


def test_a_value_counts_as_it_was_sent() -> None:
    """36.6 is 36.6, though it was kept in 32 bits."""
    assert Look(batch(reading(1, 5, temp=36.6))).value("temp").tolist() == [36.6]


@together
def test_a_value_that_is_not_newer_is_stale(*, together: bool) -> None:
    """Out of order or of the same moment as the newest one of its field: absent for rules with state."""
    rows = [reading(1, at, ts=ts, hr=80) for at, ts in enumerate([100, 200, 150, 200, 201, 50])]
    assert shown(Watcher("hr > 0").see("hr", *rows, together=together)) == [80, 80, None, None, 80, None]


@together
def test_each_field_has_a_time_of_its_own(*, together: bool) -> None:
    """Two fields sent in two messages of the same millisecond both count; one of them again does not."""
    watcher = Watcher("hr > 0 and spo2 > 0 and battery > 0")
    rows = [reading(1, 0, ts=7, hr=80), reading(1, 1, ts=7, spo2=97), reading(1, 2, ts=7, battery=5)]
    look = watcher.look(*rows) if together else [watcher.look(row) for row in rows][-1]
    assert not look.any_stale
    again = watcher.look(reading(1, 3, ts=7, hr=81, spo2=98, battery=6, worn=1))
    assert [*map(np.isnan, map(again.value, ("hr", "spo2", "battery")))] == [True] * 3
    assert again.sent("hr").tolist() == [81], "rules without state see it"


@together
def test_an_events_own_values_are_never_stale_and_make_none_stale(*, together: bool) -> None:
    """What an SOS says of a pulse is believed, and the next measurement, too."""
    rows = [
        reading(1, 100, ts=90, hr=80),
        reading(1, 200, event=Event.SOS, hr=81),
        reading(1, 201, ts=95, hr=82),
        reading(1, 50, event=Event.SOS, hr=83),
    ]
    assert shown(Watcher("hr > 0").see("hr", *rows, together=together)) == [80, 81, 82, 83]


@together
@pytest.mark.parametrize(
    ("event", "name"),
    [
        (Event.REMOVED, "worn"),
        (Event.WORN, "worn"),
        (Event.MAINS_LOST, "mains"),
        (Event.MAINS_RESTORED, "mains"),
        (Event.LOW_BATTERY, "battery"),
    ],
)
def test_an_event_makes_stale_what_was_measured_of_its_field_before(
    event: Event, name: str, *, together: bool
) -> None:
    """Up to its receipt, of its own device and field; whatever was measured later counts."""
    rows = [
        reading(1, 100, event=event),
        reading(1, 101, ts=99, **{name: 1}),
        reading(2, 101, ts=99, **{name: 1}),
        reading(1, 102, ts=100, **{name: 1}, hr=80),
        reading(1, 103, ts=101, **{name: 0}),
    ]
    watcher = Watcher(f"{name} == 1 and hr > 0")
    assert shown(watcher.see(name, *rows, together=together)) == [None, None, 1, None, 0]
    assert shown(watcher.see("hr", reading(1, 104, ts=99, hr=81), together=together)) == [None]
    assert shown(Watcher("hr > 0").see("hr", *rows, together=together))[3] == 80


def test_a_late_value_makes_none_stale() -> None:
    """It was never seen."""
    rows = [reading(1, 0, ts=500, hr=80, quality=Quality.LATE), reading(1, 1, ts=400, hr=81)]
    assert shown(Watcher("hr > 0").see("hr", *rows, together=True)) == [None, 81]


# ------------------------------------------------------------------------------------------------- states


@together
def test_steps_a_minute_are_counted_between_two_readings_with_steps(*, together: bool) -> None:
    """Of the first, where the counter fell, and over half an hour it is absent."""
    said = [(0, 100), (1, None), (2, 160), (3, 160), (4, 50), (5, 55), (35, 85), (66, 99), (66.5, 109)]
    rows = [
        reading(1, at * MINUTE, hr=80, **({} if steps is None else {"steps": steps})) for at, steps in said
    ]
    found = Watcher("hr > 0 and steps_per_min > 0").see("steps_per_min", *rows, together=together)
    assert shown(found) == [None, None, 30, 0, None, 5, 1, None, 20]


@together
def test_steps_are_measured_on_the_devices_clock(*, together: bool) -> None:
    """What is held up was walked in the minutes in which it was measured; stale is nothing."""
    rows = [reading(1, 600 + n, ts=n * MINUTE, steps=n * 40) for n in (0, 1, 3, 2, 4)]
    found = Watcher("steps > 0 and steps_per_min > 0").see("steps_per_min", *rows, together=together)
    assert shown(found) == [None, 40, 40, None, 40]


@together
def test_who_moves_is_known(*, together: bool) -> None:
    """Motion, or more steps than before; neither a counter that falls or begins, nor what was retained."""
    rows = [
        reading(1, 0, steps=10),
        reading(1, 1, steps=10),
        reading(1, 2, steps=11),
        reading(1, 3, steps=3),
        reading(1, 4, steps=4, motion=0),
        reading(1, 5, motion=1),
        reading(1, 6, motion=0),
        reading(2, 7, hr=80),
        reading(1, 8, steps=9, motion=1, alive=False),
        reading(1, 9, steps=9),
    ]
    found = Watcher().see("moved", *rows, together=together)
    assert found == [False, False, True, False, True, True, False, False, False, False]


@together
def test_the_usual_pulse_is_known_after_64(*, together: bool) -> None:
    """The 65th sees what 64 made; each then moves it by a 64th of the difference."""
    rows = [reading(1, n, hr=70) for n in range(64)]
    rows += [reading(1, 64, hr=134), reading(1, 65, hr=7), reading(1, 66, hr=103), reading(1, 67, hr=70)]
    found = Watcher("hr > baseline_hr").see("baseline_hr", *rows, together=together)
    assert shown(found) == [None] * 64 + [70, 71, 71, 71.5]


@together
def test_only_a_believable_pulse_moves_what_is_usual(*, together: bool) -> None:
    """Not one of 29 or 221, and none without a wrist; one without a word on the wrist is believed."""
    rows = [reading(1, n, hr=70) for n in range(64)]
    odd: list[dict[str, float]] = [
        {"hr": 29},
        {"hr": 221},
        {"hr": 200, "worn": 0},
        {"hr": np.inf},
        {"hr": 134, "worn": 1},
        {"hr": 70},
    ]
    rows += [reading(1, 100 + n, **values) for n, values in enumerate(odd)]
    found = Watcher("hr > baseline_hr").see("baseline_hr", *rows, together=together)
    assert shown(found[64:]) == [70, 70, 70, 70, 70, 71]


def test_the_usual_pulse_is_known_where_no_pulse_is() -> None:
    """If a rule asks for it beside a battery, a heartbeat knows it."""
    watcher = Watcher("battery < 20 and baseline_hr > 60")
    for n in range(64):
        watcher.look(reading(1, n, hr=70))
    assert shown(watcher.see("baseline_hr", reading(1, 90, battery=5), reading(2, 91), together=True)) == [
        70,
        None,
    ]


@together
def test_minutes_since_an_event_or_a_value(*, together: bool) -> None:
    """Counted in rule time from the newest before this reading, and absent where there was none."""
    rows = [
        reading(1, 0, hr=80),
        reading(1, 1 * MINUTE, event=Event.SOS),
        reading(1, 3 * MINUTE, hr=80),
        reading(1, 4 * MINUTE, ts=0.5 * MINUTE, spo2=97),
        reading(1, 6 * MINUTE, event=Event.SOS),
        reading(2, 7 * MINUTE, hr=80),
        reading(1, 8 * MINUTE, hr=80),
    ]
    asked = "hr > 0 and minutes_since('sos') > 0 and minutes_since('hr') > 0"
    assert shown(Watcher(asked).see("minutes_since_sos", *rows, together=together)) == [
        *(None, None, 2, -0.5, 5, None, 2)
    ]
    assert shown(Watcher(asked).see("minutes_since_hr", *rows, together=together)) == [
        *(None, 1, 3, -2.5, 3, None, 5)
    ]


def test_what_is_not_asked_for_is_not_remembered() -> None:
    """No rule asks for a pulse: none is kept, and none is ever stale."""
    watcher = Watcher("battery > 0")
    assert shown(
        watcher.see("hr", reading(1, 0, ts=9, hr=80), reading(1, 1, ts=8, hr=81), together=False)
    ) == [80, 81]


def test_thousands_of_readings_of_one_device_are_one_look() -> None:
    """A band that sends its whole day at once is looked at as if each came alone."""
    rng = np.random.default_rng(5)
    rows = np.concatenate(
        [
            reading(1, n, ts=n + int(rng.integers(-3, 3)), hr=60 + n % 50, steps=n // 2 % 300)
            for n in range(3000)
        ]
    )
    asked = ["hr > baseline_hr", "steps > 0 and steps_per_min > minutes_since('hr')"]
    names = ("hr", "steps", "steps_per_min", "baseline_hr", "minutes_since_hr", "moved")
    one, many = Watcher(*asked), Watcher(*asked)
    whole = one.look(rows)
    parts = [many.look(rows[start : start + 7]) for start in range(0, len(rows), 7)]
    for name in names:
        cut = [value for part in parts for value in in_order(part, name)]
        assert shown(list(in_order(whole, name))) == shown(cut), name
