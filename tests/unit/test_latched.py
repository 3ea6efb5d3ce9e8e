"""Rules with state, key by key: when a condition begins, fires, rises and clears. Times are in seconds."""

from typing import Any

import numpy as np
import pytest

from rules.engine import Engine
from rules.machine import PER_TICK, Registered
from schemas.alarms import Severity
from schemas.clock import SECOND
from schemas.readings import Batch, Columns, Event
from tests.unit.kit import MINUTE, batch, engine_of, moment, play, reading

LIFE = """
[thresholds]
high = 100

[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"
"""
FEVER = "temp >= 39"


def rule(*lines: str, kind: str = "temp_high", when: str = FEVER) -> str:
    """Return a rule file with one rule beside what every file must hold."""
    return "\n".join([LIFE, "[[rule]]", f'kind = "{kind}"', f'when = "{when}"', *lines, ""])


def fevers(*said: tuple[float, float], device: int = 1) -> list[Columns]:
    """Return readings of a temperature: when and what."""
    return [reading(device, at, temp=temp) for at, temp in said]


def told(engine: Engine, *some: Columns | Batch, together: bool = False) -> list[tuple[str, float]]:
    """Return moves (a step by its severity) and their seconds, of readings and ticks."""
    if together:
        batches = [batch(*(each for each in some if not isinstance(each, Batch)))]
    else:
        batches = [each if isinstance(each, Batch) else batch(each) for each in some]
    return [
        (t.severity.value if t.move == "step" else t.move.value, (t.at - moment(0)) / 1e6)
        for t in play(engine, *batches)
    ]


def tick(at: float, *, scan: bool = True) -> Batch:
    """Return a tick."""
    return batch(now=at, scan=scan)


together = pytest.mark.parametrize("together", [False, True])


@together
@pytest.mark.parametrize(
    ("lines", "said", "expected"),
    [
        pytest.param([], [(0, 39), (1, 40)], [("raise", 0)], id="once while it lasts"),
        pytest.param([], [(0, 39), (1, 38), (2, 39)], [("raise", 0), ("clear", 1), ("raise", 2)], id="miss"),
        pytest.param(
            ['clear = "temp < 37"'],
            [(0, 39), (1, 38), (2, 39), (3, 36)],
            [("raise", 0), ("clear", 3)],
            id="clear",
        ),
        pytest.param(['for = "10s"'], [(0, 39), (9.9, 39), (10, 39)], [("raise", 10)], id="long enough"),
        pytest.param(['for = "10s"'], [(0, 39), (5, 38), (10, 39), (20, 39)], [("raise", 20)], id="broken"),
        pytest.param(["samples = 3"], [(0, 39), (1, 39), (2, 39)], [("raise", 2)], id="three samples"),
        pytest.param(["samples = 3"], [(0, 39), (1, 39), (2, 38), (3, 39)], [], id="two are not three"),
        pytest.param(
            ['for = "8s"', "samples = 2", 'gap = "5s"'],
            [(0, 39), (5, 39), (10, 39)],
            [("raise", 10)],
            id="at the gap",
        ),
        pytest.param(
            ['for = "8s"', 'gap = "5s"'], [(0, 39), (5.1, 39), (10, 39), (14, 39)], [("raise", 14)], id="gap"
        ),
        pytest.param(
            ['cooldown = "10s"'],
            [(0, 39), (1, 38), (2, 39), (9, 39), (10, 39)],
            [("raise", 0), ("clear", 1), ("raise", 10)],
            id="cooldown",
        ),
        pytest.param(
            ['cooldown = "10s"'],
            [(0, 39), (1, 38), (9, 39), (10, 38), (11, 37)],
            [("raise", 0), ("clear", 1)],
            id="over when cool",
        ),
        pytest.param(
            ["count = 2", 'within = "5s"'], [(0, 39), (5.1, 40), (10, 39)], [("raise", 10)], id="two within"
        ),
        pytest.param(
            ['steps = [{ when = "temp >= 41", severity = "critical" }]'],
            [(0, 39), (1, 41), (2, 41), (3, 42)],
            [("raise", 0), ("critical", 1)],
            id="rises once",
        ),
        pytest.param(
            ['steps = [{ when = "temp >= 41", severity = "critical" }]'],
            [(0, 41)],
            [("raise", 0), ("critical", 0)],
            id="rises as it fires",
        ),
        pytest.param(
            ['steps = [{ when = "temp >= 41", severity = "low" }]'],
            [(0, 41)],
            [("raise", 0)],
            id="never falls",
        ),
    ],
)
def test_each_key_means_what_the_page_says(
    lines: list[str], said: list[tuple[float, float]], expected: list[tuple[str, float]], *, together: bool
) -> None:
    """In one batch as in many, and never for anybody else."""
    rows = fevers(*said)
    assert told(engine_of(rule(*lines)), *rows, together=together) == expected
    others = [each for at, _ in said for each in fevers((at, 36.6), device=2)]
    mixed = [each for pair in zip(rows, others, strict=True) for each in pair]
    assert told(engine_of(rule(*lines)), *mixed, together=together) == expected


# -------------------------------------------------------------------------------------------------- timers

LASTING = rule(
    "lasting = true",
    'for = "60s"',
    "clear = \"event == 'worn'\"",
    kind="removed",
    when="event == 'removed' or worn == 0",
)


def removed(at: float, device: int = 1) -> Columns:
    """Say that a band was taken off."""
    return reading(device, at, event=Event.REMOVED)


def worn(at: float) -> Columns:
    """Say that it is on again."""
    return reading(1, at, event=Event.WORN)


def test_a_lasting_condition_needs_no_more_hits() -> None:
    """It fires by the clock, dated by its deadline, also without scan; misses do not end it."""
    engine = engine_of(LASTING)
    assert told(engine, removed(0), reading(1, 30, worn=1), tick(59.9)) == []
    assert told(engine, tick(61, scan=False), removed(70), tick(200), worn(201)) == [
        ("raise", 60),
        ("clear", 201),
    ]


def test_clear_ends_a_lasting_condition_before_it_fires() -> None:
    """Its own timer comes first: at the deadline it is an alarm, a moment before it is none."""
    engine = engine_of(LASTING)
    assert told(engine, removed(0), worn(59.9), tick(70)) == []
    assert told(engine, removed(100), worn(160)) == [("raise", 160), ("clear", 160)]


@together
def test_any_reading_of_a_device_fires_its_overdue_timers(*, together: bool) -> None:
    """A heartbeat will do, in the batch in which the condition began; another device's will not."""
    rows = [removed(0), reading(2, 70, battery=80), reading(1, 71, battery=80)]
    (raised,) = play(engine_of(LASTING), *([batch(*rows)] if together else map(batch, rows)))
    assert (raised.at, raised.values["since"]) == (moment(60), moment(0))


def test_a_counted_condition_ceases_by_itself() -> None:
    """When the newest hit is old enough, dated so; a hit at that very moment finds it ceased."""
    engine = engine_of(rule("count = 2", 'within = "10s"'))
    assert told(engine, *fevers((0, 39), (4, 39), (8, 39)), tick(17.9), tick(30)) == [
        ("raise", 4),
        ("clear", 18),
    ]
    found = told(engine, *fevers((40, 39), (41, 39), (51, 39)))
    assert found == [("raise", 41), ("clear", 51), ("raise", 51)]
    found = told(engine, tick(61), *fevers((62, 39), (63, 39)), tick(73), *fevers((74, 39)))
    assert found == [("clear", 61), ("raise", 63), ("clear", 73)]


def test_what_is_counted_is_forgotten_when_it_is_old() -> None:
    """Whoever pressed once and never again leaves nothing behind."""
    engine = engine_of(rule("count = 2", 'within = "10s"'))
    told(engine, *fevers((0, 39)), tick(10))
    assert engine._latched._holds[0]
    told(engine, tick(10.1))
    assert not engine._latched._holds[0]


STEPS = 'steps = [{ after = "30s", severity = "critical" }, { after = "10s", severity = "high" }]'


def test_severity_rises_by_the_clock() -> None:
    """Each step at its deadline, the earlier first; all at once when nobody looked; none after it cleared."""
    engine = engine_of(rule('severity = "low"', STEPS))
    assert told(engine, *fevers((0, 39)), tick(9), tick(15), tick(100)) == [
        ("raise", 0),
        ("high", 10),
        ("critical", 30),
    ]
    engine = engine_of(rule('severity = "low"', STEPS))
    assert told(engine, *fevers((0, 39)), tick(99)) == [("raise", 0), ("high", 10), ("critical", 30)]
    engine = engine_of(rule('severity = "low"', STEPS))
    assert told(engine, *fevers((0, 39), (12, 36)), tick(99)) == [("raise", 0), ("high", 10), ("clear", 12)]


def test_a_step_counts_from_the_firing_in_receipt_time() -> None:
    """Whatever the clock of the device says."""
    engine = engine_of(rule('severity = "low"', STEPS))
    assert told(engine, reading(1, 100, ts=0, temp=39), tick(109), tick(110)) == [
        ("raise", 100),
        ("high", 110),
    ]


def test_a_tick_does_so_much_and_leaves_the_rest_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blackout of a town does not hold up a call; the earliest come first, and none is lost."""
    monkeypatch.setattr("rules.latched.PER_TICK", 3)
    engine = engine_of(LASTING, devices=10)
    play(engine, batch(*(removed(10 - n, device=n) for n in range(9, -1, -1))))
    found = [play(engine, tick(100 + n)) for n in range(5)]
    assert [[t.device_id for t in some] for some in found] == [[9, 8, 7], [6, 5, 4], [3, 2, 1], [0], []]
    assert PER_TICK == 2_000


# ------------------------------------------------------------------------------------------ scope, schedule


def town(text: str, **people: Any) -> Engine:  # noqa: ANN401 - columns of Registered
    """Return an engine with four devices in two places."""
    engine = engine_of(text)
    columns: dict[str, Any] = {
        "models": ["band", "band", "bell", ""],
        "heartbeat_seconds": [None] * 4,
        "regions": ["430602001", "430603", "430602", ""],
        "gateways": [""] * 4,
        "care_levels": ["1", "2", "2", ""],
        "people": ["P1", "P2", "", ""],
        "thresholds": [{}] * 4,
        "devices": ["A", "B", "C", "D"],
    }
    engine.enrol(Registered(np.arange(4), **(columns | people)))
    return engine


@pytest.mark.parametrize(
    ("scope", "devices"),
    [
        ('model = ["band", "watch"]', [0, 1]),
        ('region = ["430602"]', [0, 2]),
        ('region = ["430602001", "430603"]', [0, 1]),
        ('care_level = ["2"], model = ["band"]', [1]),
        ('person = ["P1"]', [0]),
        ('device = ["C", "D"]', [2, 3]),
    ],
)
def test_a_scope_says_whom_a_rule_is_for(scope: str, devices: list[int]) -> None:
    """All that are given must fit, one of each list, a region with all below it; for each-rules, too."""
    feverish = batch(*(reading(n, 0, temp=39) for n in range(4)))
    for lines in ([], ["each = true"]):
        engine = town(rule(f"scope = {{ {scope} }}", *lines))
        assert [t.device_id for t in play(engine, feverish)] == devices


def test_a_device_that_moves_is_in_another_scope() -> None:
    """What the registry says anew counts from then on."""
    engine = town(rule('scope = { region = ["430603"] }'))
    engine.enrol(Registered(np.array([3]), ["band"], [None], ["430603001"], [""], [""], [""], [{}], ["D"]))
    assert [t.device_id for t in play(engine, batch(*(reading(n, 0, temp=39) for n in range(4))))] == [1, 3]


def test_people_have_thresholds_of_their_own() -> None:
    """The file's is for all others; names that the file does not know mean nothing."""
    engine = town(rule(when="hr >= high"), thresholds=[{"high": 90, "low": 1}, {}, {"low": 3}, {"high": 120}])
    (_, *_) = found = play(engine, batch(*(reading(n, 0, hr=100) for n in range(4))))
    assert [t.device_id for t in found] == [0, 1, 2]
    assert [t.values["high"] for t in found] == [90, 100, 100]


def test_a_schedule_is_looked_at_in_rule_time() -> None:
    """Outside, readings neither hit nor miss; `clear` works at any time. START is 22:13:20 there."""
    night = 'schedule = { from = "22:00", to = "22:14" }'
    engine = engine_of(rule(night, 'for = "20s"', 'clear = "temp < 37"'))
    found = told(engine, *fevers((0, 39), (39, 39), (41, 38), (50, 39)), *fevers((90_000, 36)))
    assert found == [("raise", 39), ("clear", 90_000)]
    assert told(engine_of(rule(night)), reading(1, 500, ts=39, temp=39), reading(1, 501, ts=40, temp=39)) == [
        ("raise", 500)
    ]
    assert told(engine_of(rule(night)), *fevers((0, 39), (100, 36))) == [("raise", 0)], "no miss by day"


# -------------------------------------------------------------------------- what is told, and what is kept


def test_a_decision_tells_what_made_it() -> None:
    """The text, the values, thresholds and state names that it asks for, the first hit, and how many."""
    text = rule("samples = 2", kind="hr_high", when="hr >= high and minutes_since('hr') < 5 and temp != 36.6")
    engine = engine_of(text)
    rows = [reading(1, at * MINUTE, hr=100 + at, spo2=97) for at in range(3)]
    (raised,) = play(engine, *map(batch, rows))
    assert raised.rule == 3
    assert raised.severity is Severity.HIGH
    assert raised.values == {
        "when": "hr >= high and minutes_since('hr') < 5 and temp != 36.6",
        "ts": moment(2 * MINUTE),
        "hr": 102,
        "high": 100,
        "minutes_since_hr": 1,
        "since": moment(1 * MINUTE),
        "hits": 2,
    }


def test_what_is_told_can_be_written_as_json() -> None:
    """An infinite pulse is high, and is not shown."""
    (raised,) = play(engine_of(rule(when="hr >= high")), batch(reading(1, 0, hr=np.inf)))
    assert "hr" not in raised.values


@pytest.mark.parametrize(
    ("clear", "said"),
    [("", {"ended": "temp >= 38"}), ('clear = "temp < 37"', {"when": "temp < 37"})],
)
def test_a_clear_tells_what_holds_or_what_does_not_any_more(clear: str, said: dict[str, str]) -> None:
    """With a condition of its own that one; else that of the rule has ended."""
    engine = engine_of(rule(clear, when="temp >= 38"))
    _, cleared = play(engine, batch(reading(1, 0, temp=39)), batch(reading(1, 1, temp=36)))
    assert cleared.values == said | {"ts": moment(1), "temp": 36.0}


def test_a_count_that_is_past_tells_what_does_not_come_any_more() -> None:
    """Since when, and after how long."""
    engine = engine_of(rule("count = 2", 'within = "9s"', when="temp >= 38"))
    found = play(engine, batch(reading(1, 0, temp=39)), batch(reading(1, 1, temp=39)), tick(60))
    assert found[-1].values == {"ended": "temp >= 38", "since": moment(1), "after": 9 * SECOND}


@pytest.mark.parametrize("at", range(1, 9))
def test_a_restart_at_any_moment_changes_nothing(at: int) -> None:
    """Pending, counted, cooling, lasting, stepping: what comes after is the same."""
    text = (
        rule("samples = 4", 'for = "3s"', 'cooldown = "4s"', STEPS.replace("30s", "3s"))
        + rule("count = 3", 'within = "4s"', kind="temp_low", when="temp >= 38").removeprefix(LIFE)
        + rule(
            "lasting = true", 'for = "5s"', 'clear = "temp < 36"', kind="bp_low", when="temp < 38"
        ).removeprefix(LIFE)
    )
    temps = [39, 39, 39, 39, 37, 39, 38, 39, 39, 37, 35, 39]
    steps = [batch(reading(1, n, temp=temp)) for n, temp in enumerate(temps)] + [tick(20), tick(60)]
    expected = play(engine_of(text), *steps)
    assert {t.kind for t in expected} == {"temp_high", "temp_low", "bp_low"}
    engine = engine_of(text)
    found = play(engine, *steps[:at])
    again = engine_of(text)
    again.restore(0, engine.checkpoint(0))
    assert again.checkpoint(0) == engine.checkpoint(0)
    again.begin({})
    assert found + play(again, *steps[at:]) == expected


def test_thousands_of_readings_of_one_device_at_once() -> None:
    """A day that comes in one batch means what it means reading by reading."""
    text = rule('for = "3s"', 'clear = "temp < 37"', "samples = 3", 'gap = "30s"') + rule(
        "count = 5", 'within = "4s"', kind="temp_low"
    ).removeprefix(LIFE)
    rng = np.random.default_rng(3)
    rows = [
        reading(1, n, temp=float(temp)) for n, temp in enumerate(rng.choice([36, 38, 39, 39, 39, 39], 3000))
    ]
    whole = play(engine_of(text), batch(*rows))
    assert len(whole) > 50
    engine = engine_of(text)
    assert play(engine, *(batch(*rows[n : n + 1]) for n in range(3000))) == whole


def test_a_rule_beyond_the_64th_is_a_rule_like_others() -> None:
    """Bits are kept in words; none overflows."""
    text = LIFE + "".join(
        f'[[rule]]\nkind = "temp_high"\nwhen = "temp >= {n}"\nclear = "temp < 20"\n' for n in range(100, 230)
    )
    engine = engine_of(text)
    assert [t.rule for t in play(engine, batch(reading(1, 0, temp=170)))] == list(range(3, 74))
    again = engine_of(text)
    again.restore(0, engine.checkpoint(0))
    again.begin({})
    found = play(again, batch(reading(1, 1, temp=229)), batch(reading(1, 2, temp=19)))
    assert [t.rule for t in found] == [*range(74, 133), 132], "it clears by the one that raised it last"
