"""The oracle, row by row of the tables of docs/rules.md, against answers worked out by hand.

A story is a list of (minute, what device 1 says); "tick" and "tick without scan" are the clock. An answer is
kind, move and minute; the severity stands behind it where it matters.
"""

from typing import Any

import pytest

from schemas.alarms import Move
from tests.oracle.engine import MINUTE, Oracle
from tests.oracle.expression import Expression
from tests.oracle.rules import Device, Found

START = 1_789_996_440_000_000  # 2026-09-21 21:14 in Shanghai, a Monday
TICKS = {"tick": True, "tick without scan": False}

Story = list[tuple[float, Any]]
Answer = tuple[str, str, float]


def moment(minute: float) -> int:
    """Return a minute of a story in microseconds since 1970."""
    return START + round(minute * MINUTE)


def brief(found: list[Found]) -> list[Answer]:
    """Show decisions as they stand in the answers."""
    return [(each.kind, str(each.move), (each.at - START) / MINUTE) for each in found]


def heard(oracle: Oracle, story: Story) -> list[Found]:
    """Tell a story; what is said may name another `device`, and `ts` and `at` in minutes."""
    found = []
    for minute, said in story:
        if isinstance(said, str):
            found += oracle.tick(moment(minute), scan=TICKS[said])
            continue
        message = {"device": 1, "at": moment(minute), **said}
        message["ts"] = moment(said.get("ts", minute))
        scan = message.pop("scan", True)
        found += oracle.hear(message, scan=scan)
    return found


def told(rules: str, story: Story, *devices: Device) -> list[Found]:
    """Tell a story to a new oracle."""
    oracle = Oracle(rules)
    for device in devices or (Device(1),):
        oracle.enrol(device)
    return heard(oracle, story)


def pulse_rule(keys: str) -> str:
    """Return a rule on a pulse from 131."""
    return f'[[rule]]\nkind = "hr_high"\nwhen = "hr >= 131"\n{keys}'


def pulses(*values: float | None, every: float = 1) -> Story:
    """Return a pulse for each minute; None for a minute without one."""
    return [(n * every, {"hr": float(value)}) for n, value in enumerate(values) if value is not None]


# ------------------------------------------------------------------------------------ 2. what a reading is


@pytest.mark.parametrize(
    ("text", "names", "answer"),
    [
        ("hr >= 131", {"hr": 131.0}, True),
        ("hr >= 131", {"hr": 130.0}, False),
        ("hr >= 131", {"spo2": 97.0}, None),
        ("hr >= 131 and worn != 0", {"hr": 140.0}, True),
        ("hr >= 131 and worn != 0", {"hr": 140.0, "worn": 0.0}, False),
        ("hr >= 131 and worn != 0", {"worn": 0.0}, False),
        ("hr >= 131 and worn != 0", {"worn": 1.0}, None),
        ("hr >= 131 or spo2 <= 91", {"hr": 140.0}, True),
        ("hr >= 131 or spo2 <= 91", {"hr": 80.0}, None),
        ("not hr >= 131", {"hr": 80.0}, True),
        ("not hr >= 131", {"spo2": 80.0}, None),
        ("worn == 1 and not hr >= 131", {"worn": 1.0}, None),
        ("hr >= limit", {"hr": 80.0, "limit": 80.0}, True),
        ("hr >= limit", {"limit": 80.0}, None),
        ("hr >= baseline_hr + 30", {"hr": 110.0, "baseline_hr": 80.0}, True),
        ("hr >= baseline_hr + 30", {"hr": 110.0}, None),
        ("hr / steps > 1", {"hr": 110.0, "steps": 0.0}, None),
        ("hr / steps != 1", {"hr": 110.0, "steps": 0.0}, True),
        ("sbp - dbp < -2 * hr + 1", {"sbp": 120.0, "dbp": 125.0, "hr": 3.0}, False),
        ("sbp - dbp < -2 * hr + 2", {"sbp": 120.0, "dbp": 125.0, "hr": 3.0}, True),
        ("event == 'removed'", {"event": "removed"}, True),
        ("event == 'removed'", {"event": "worn"}, None),
        ("event == 'removed' or worn == 0", {"event": "worn"}, None),
        ("event == 'removed' or worn == 0", {"worn": 1.0}, False),
        ("minutes_since('removed') < 5 and hr > 1", {"hr": 9.0, "minutes_since removed": 4.0}, True),
        ("hr > 9 and worn == 1 and not steps_per_min > 9", {"worn": 1.0}, None),
        ("hr > 9 and worn == 1 and not steps_per_min > 9", {"worn": 0.0}, False),
    ],
)
def test_a_reading_concerns_what_it_decides(text: str, names: dict[str, Any], answer: object) -> None:
    """A hit is True, a miss False, and None is a reading that says nothing of the rule."""
    assert Expression(text).look(names) is answer


WALKS = '[[rule]]\nkind = "hr_high"\nwhen = "{}"\neach = true'


@pytest.mark.parametrize(
    ("when", "story", "minutes"),
    [
        ("steps_per_min >= 0 and steps >= 0", [(0, {"steps": 100}), (5, {"steps": 200})], [5]),
        ("steps_per_min == 20 and steps > 0", [(0, {"steps": 100}), (5, {"steps": 200})], [5]),
        (
            "steps_per_min == 20 and steps > 0",
            [(0, {"steps": 100}), (2, {"hr": 9}), (5, {"steps": 200})],
            [5],
        ),
        ("steps_per_min >= 0 and steps >= 0", [(0, {"steps": 100}), (5, {"steps": 99})], []),
        ("steps_per_min >= 0 and steps >= 0", [(0, {"steps": 100}), (30, {"steps": 200})], [30]),
        ("steps_per_min >= 0 and steps >= 0", [(0, {"steps": 100}), (30.1, {"steps": 200})], []),
        ("steps_per_min >= 0 and steps >= 0", [(0, {"steps": 1}), (9, {"steps": 2, "late": True})], []),
        ("steps_per_min >= 0 and steps >= 0", [(0, {"steps": 1}), (9, {"steps": 2, "ts": -1})], []),
        ("minutes_since('removed') == 3 and hr > 0", [(0, {"event": "removed"}), (3, {"hr": 9})], [3]),
        ("minutes_since('removed') >= 0 and hr > 0", [(3, {"hr": 9})], []),
        ("minutes_since('hr') == 4 and hr > 0", [(0, {"hr": 9}), (4, {"hr": 9}), (9, {"hr": 9})], [4]),
        (
            "minutes_since('removed') == 2 and event == 'removed'",
            [(n, {"event": "removed"}) for n in (0, 2)],
            [2],
        ),
        ("hr > baseline_hr", [*pulses(*[80] * 64, 81)], [64]),
        ("hr == baseline_hr", [*pulses(*[80] * 64)], []),
        ("hr == baseline_hr", [*pulses(*[80] * 64, 144), (70, {"hr": 81})], [70]),
        ("hr > baseline_hr", [*pulses(*[80] * 63, 29, 221, 81)], []),
    ],
)
def test_state_names_are_what_the_page_says(when: str, story: Story, minutes: list[float]) -> None:
    """Walking speed, usual pulse and the minutes since something are absent until they are known."""
    assert [each.at for each in told(WALKS.format(when), story)] == [moment(minute) for minute in minutes]


def test_a_value_is_what_was_sent() -> None:
    """A number of 32 bits is the one with four decimals that it stands for."""
    rules = '[[rule]]\nkind = "temp_high"\nwhen = "temp >= 39.1"'
    assert brief(told(rules, [(0, {"temp": 39.099998474121094})])) == [("temp_high", "raise", 0)]


def test_a_person_has_thresholds_of_its_own() -> None:
    """What the file calls by name can be another number for whoever wears the device."""
    rules = '[thresholds]\nspo2_low = 91\n[[rule]]\nkind = "spo2_low"\nwhen = "spo2 <= spo2_low"'
    story: Story = [(n, {"spo2": 90, "device": n}) for n in (1, 2)]
    copd = Device(2, thresholds={"spo2_low": 87, "unknown": 1})
    assert brief(told(rules, story, Device(1), copd)) == [("spo2_low", "raise", 1)]


# ------------------------------------------------------------------------------ 1. and 3. rules over readings

HR = "hr_high"
WORN = "when = \"event == 'removed'\"\nclear = \"event == 'worn'\"\n"
REMOVED = f'[[rule]]\nkind = "removed"\n{WORN}'
OFF, ON = {"event": "removed"}, {"event": "worn"}
RAISED = [("hr_high", "raise", 0.0)]


@pytest.mark.parametrize(
    ("keys", "story", "answer"),
    [
        pytest.param(
            "",
            pulses(131, 140, 130, 131),
            [(HR, "raise", 0), (HR, "clear", 2), (HR, "raise", 3)],
            id="a miss",
        ),
        pytest.param(
            'clear = "hr <= 120"', pulses(131, 121, 120), [(HR, "raise", 0), (HR, "clear", 2)], id="clear"
        ),
        pytest.param('for = "3m"', pulses(*[140] * 4), [(HR, "raise", 3)], id="for, to the minute"),
        pytest.param('for = "3m"', pulses(140, 140, 100, 140, 140, 140), [], id="a miss ends it"),
        pytest.param('for = "3m"', pulses(140, None, None, 140), [(HR, "raise", 3)], id="two hits suffice"),
        pytest.param(
            'for = "3m"\nsamples = 3', pulses(140, None, None, 140, 140), [(HR, "raise", 4)], id="samples"
        ),
        pytest.param(
            'for = "3m"\ngap = "2m"', pulses(140, None, None, *[140] * 4), [(HR, "raise", 6)], id="gap"
        ),
        pytest.param(
            'for = "4m"\ngap = "2m"', pulses(140, None, 140, None, 140), [(HR, "raise", 4)], id="no gap"
        ),
        pytest.param(
            'cooldown = "3m"',
            pulses(140, 100, 140, 140, 100, 140),
            [(HR, "raise", 0), (HR, "clear", 1), (HR, "raise", 3), (HR, "clear", 4)],
            id="cooldown",
        ),
        pytest.param(
            'for = "1m"\ncooldown = "3m"',
            pulses(140, 140, 100, 140, 140),
            [(HR, "raise", 1), (HR, "clear", 2), (HR, "raise", 4)],
            id="hits in the cooldown begin a condition",
        ),
        pytest.param('severity = "low"', pulses(140), RAISED, id="severity"),
        pytest.param("", [(0, {"hr": 140, "ts": -20, "late": True})], [], id="late"),
        pytest.param(
            "", [(0, {"hr": 140}), (1, {"hr": 90, "ts": 0})], RAISED, id="of a tie the first counts"
        ),
        pytest.param("", [(0, {"hr": 140}), (1, {"hr": 90, "ts": -1})], RAISED, id="out of order"),
        pytest.param(
            "", [(0, {"spo2": 1}), (1, {"hr": 140, "ts": 0})], [(HR, "raise", 1)], id="fields of one moment"
        ),
        pytest.param(
            "",
            [(0, {"hr": 90, "ts": 5}), (1, {"hr": 140, "event": "test"}), (2, {"hr": 90, "ts": 3})],
            [(HR, "raise", 1)],
            id="an event's values are never stale",
        ),
        pytest.param(
            "",
            [(1, {"hr": 140, "event": "test"}), (2, {"hr": 90, "ts": 0})],
            [(HR, "raise", 1), (HR, "clear", 2)],
            id="an event's values make none stale",
        ),
        pytest.param(
            'count = 3\nwithin = "4m"',
            [*pulses(140, 90, 140, 90, 140), (8, "tick"), (9, "tick"), (10, {"hr": 140})],
            [(HR, "raise", 4), (HR, "clear", 8)],
            id="count",
        ),
        pytest.param('count = 2\nwithin = "1m"', pulses(140, None, 140), [], id="not so many within"),
        pytest.param(
            'count = 2\nwithin = "2m"',
            [*pulses(140, 140), (5, {"hr": 140})],
            [(HR, "raise", 1), (HR, "clear", 3)],
            id="a reading finds that it ceased",
        ),
        pytest.param(
            'steps = [{ after = "2m", severity = "critical" }]',
            [(0, {"hr": 140}), (1, "tick"), (2.5, "tick without scan"), (3, "tick")],
            [(HR, "raise", 0), (HR, "step", 2)],
            id="after",
        ),
        pytest.param(
            'steps = [{ after = "2m", severity = "critical" }]',
            [(0, {"hr": 140}), (1, {"hr": 90}), (3, "tick")],
            [(HR, "raise", 0), (HR, "clear", 1)],
            id="not after it has ceased",
        ),
        pytest.param(
            'steps = [{ when = "hr > 149", severity = "critical" }, { when = "hr < 135", severity = "low" }]',
            pulses(132, 150, 160, 132),
            [(HR, "raise", 0), (HR, "step", 1)],
            id="when, and it never falls",
        ),
        pytest.param(
            'steps = [{ when = "hr >= 150", severity = "critical" }]',
            pulses(150),
            [(HR, "raise", 0), (HR, "step", 0)],
            id="also with the reading that fires",
        ),
        pytest.param(
            'schedule = { days = "Mon", from = "21:15", to = "21:18", zone = "Asia/Shanghai" }',
            pulses(140, 140, 140, 140, 90),
            [(HR, "raise", 1)],
            id="schedule",
        ),
        pytest.param(
            'clear = "hr < 9"\nschedule = { days = "Mon", from = "21:15", to = "21:18" }',
            pulses(140, 140, 140, 140, 8),
            [(HR, "raise", 1), (HR, "clear", 4)],
            id="clear works at any time",
        ),
        pytest.param(
            'schedule = { days = "Mon", from = "22:00", to = "06:00", zone = "Asia/Shanghai" }',
            pulses(140, *[None] * 23, 140, 90, every=20),
            [(HR, "raise", 480), (HR, "clear", 500)],
            id="over midnight it belongs to the day before",
        ),
        pytest.param(
            'schedule = { days = "Tue-Sun", from = "22:00", to = "06:00", zone = "Asia/Shanghai" }',
            pulses(140, *[None] * 23, 140, 90, every=20),
            [],
            id="and not to the day after",
        ),
        pytest.param(
            'scope = { region = ["430602"], model = ["band", "bell"] }',
            pulses(140),
            RAISED,
            id="within the region",
        ),
        pytest.param('scope = { region = ["430602001"], model = ["band"] }', pulses(140), RAISED, id="scope"),
        pytest.param(
            'scope = { region = ["430602001"], model = ["bell"] }', pulses(140), [], id="one does not fit"
        ),
        pytest.param('scope = { care_level = ["2"] }', pulses(140), [], id="care level"),
        pytest.param('scope = { person = ["P17"], device = ["BAND-1"] }', pulses(140), RAISED, id="by name"),
    ],
)
def test_a_rule_on_a_pulse(keys: str, story: Story, answer: list[Answer]) -> None:
    """Each key does what its row says."""
    band = Device(1, "BAND-1", "band", region="430602001", care_level="1", person="P17")
    assert brief(told(pulse_rule(keys), story, band)) == answer


@pytest.mark.parametrize(
    ("keys", "story", "answer"),
    [
        pytest.param(
            'for = "5m"', [(0, OFF), (4, "tick"), (6, "tick")], [("removed", "raise", 5)], id="on a tick"
        ),
        pytest.param('for = "5m"', [(0, OFF), (4, ON), (6, "tick")], [], id="put on in time"),
        pytest.param(
            'for = "5m"',
            [(0, OFF), (3, OFF), (6, ON)],
            [("removed", "raise", 5), ("removed", "clear", 6)],
            id="by the reading that clears",
        ),
        pytest.param('for = "5m"', [(0, OFF), (6, {})], [("removed", "raise", 5)], id="by any reading"),
        pytest.param("", [(0, OFF), (0.1, "tick")], [("removed", "raise", 0)], id="at once"),
        pytest.param(
            'for = "1m"\ncooldown = "5m"',
            [(0, OFF), (1, "tick"), (2, ON), (3, OFF), (9, "tick")],
            [("removed", "raise", 1), ("removed", "clear", 2), ("removed", "raise", 6)],
            id="not in the cooldown",
        ),
        pytest.param(
            'for = "1m"\nsteps = [{ after = "2m", severity = "high" }]',
            [(0, OFF), (9, "tick")],
            [("removed", "raise", 1), ("removed", "step", 3)],
            id="steps count from the deadline",
        ),
    ],
)
def test_what_lasts(keys: str, story: Story, answer: list[Answer]) -> None:
    """A lasting condition fires without further hits."""
    assert brief(told(f"{REMOVED}lasting = true\n{keys}", story)) == answer


def test_every_hit_is_an_activation() -> None:
    """It is raised at receipt, whatever its clock says."""
    rules = f'[[rule]]\nkind = "area_left"\n{WORN}each = true'
    story: Story = [(0, OFF), (1, {**OFF, "ts": -99, "late": True}), (2, ON)]
    assert brief(told(rules, story)) == [
        ("area_left", "raise", 0),
        ("area_left", "raise", 1),
        ("area_left", "clear", 2),
    ]


def test_an_alarm_clears_by_the_rule_that_raised_it_last() -> None:
    """Of two rules of one kind the earlier one's end is not told."""
    second = '[[rule]]\nkind = "hr_high"\nwhen = "hr >= 150"\nclear = "hr <= 100"'
    found = told(f"{pulse_rule('')}\n{second}", pulses(140, 150, 120, 90, 140, 120))
    assert [(each.move, each.rule, (each.at - START) / MINUTE) for each in found] == [
        (Move.RAISE, 1, 0),
        (Move.RAISE, 2, 1),
        (Move.CLEAR, 2, 3),
        (Move.RAISE, 1, 4),
        (Move.CLEAR, 1, 5),
    ]


# ------------------------------------------------------------------------------------------------ 4. machines

FALL = '[[rule]]\nkind = "fall"\nmachine = "fall"\nimmobile = "1m"'
DOWN, SURE, FINE = ({"event": f"fall_{phase}"} for phase in ("detected", "confirmed", "cancelled"))


@pytest.mark.parametrize(
    ("story", "answer"),
    [
        pytest.param(
            [(0, DOWN), (2, "tick")], [("raise", 0, "high"), ("step", 1, "critical")], id="immobile"
        ),
        pytest.param(
            [(0, DOWN), (2, {"hr": 80})],
            [("raise", 0, "high"), ("step", 1, "critical")],
            id="a reading finds it",
        ),
        pytest.param([(0, DOWN), (0.5, {"motion": 1}), (2, "tick")], [("raise", 0, "high")], id="it moves"),
        pytest.param(
            [(0, DOWN), (0.5, {"motion": 0}), (2, "tick")],
            [("raise", 0, "high"), ("step", 1, "critical")],
            id="it lies still",
        ),
        pytest.param(
            [(-1, {"steps": 7}), (0, DOWN), (0.5, {"steps": 8}), (2, "tick")],
            [("raise", 0, "high")],
            id="it walks",
        ),
        pytest.param(
            [(-1, {"steps": 7}), (0, DOWN), (0.5, {"steps": 7}), (2, "tick")],
            [("raise", 0, "high"), ("step", 1, "critical")],
            id="it does not walk",
        ),
        pytest.param(
            [(0, DOWN), (0.5, DOWN), (2, "tick")],
            [("raise", 0, "high"), ("raise", 0.5, "high"), ("step", 1.5, "critical")],
            id="each starts the count anew",
        ),
        pytest.param(
            [(0, DOWN), (0.5, SURE), (2, "tick")],
            [("raise", 0, "high"), ("raise", 0.5, "critical")],
            id="confirmed",
        ),
        pytest.param(
            [(0, DOWN), (0.5, FINE), (2, "tick")], [("raise", 0, "high"), ("clear", 0.5, "")], id="cancelled"
        ),
        pytest.param([(0, FINE)], [], id="nothing to cancel"),
    ],
)
def test_a_fall(story: Story, answer: list[tuple[str, float, str]]) -> None:
    """Detected, confirmed, cancelled, moving or immobile."""
    found = [(str(e.move), (e.at - START) / MINUTE, str(e.severity)) for e in told(FALL, story)]
    assert [(move, at, "" if move == "clear" else severity) for move, at, severity in found] == answer


SILENCE = '[[rule]]\nkind = "device_silent"\nmachine = "silence"\nmisses = 2\ninterval = "10m"\n'
GONE, BACK = "raise", "clear"


@pytest.mark.parametrize(
    ("keys", "story", "answer"),
    [
        pytest.param(
            "", [(0, {}), (20, "tick"), (21, "tick"), (40, {})], [(GONE, 20), (BACK, 40)], id="two misses"
        ),
        pytest.param(
            "",
            [(0, {}), (21, "tick without scan"), (22, {})],
            [(GONE, 20), (BACK, 22)],
            id="a reading finds it",
        ),
        pytest.param(
            "", [(0, {}), (21, "tick without scan"), (22, {"scan": False})], [], id="nobody may judge"
        ),
        pytest.param(
            "", [(0, {}), (10, {"alive": False}), (21, "tick")], [(GONE, 20)], id="a last will is no life"
        ),
        pytest.param("", [(0, {}), (10, {"late": True}), (21, "tick")], [], id="a late reading is"),
        pytest.param("", [(99, "tick")], [], id="never heard"),
        pytest.param('models = { band = "1m" }', [(0, {}), (3, "tick")], [(GONE, 2)], id="by model"),
        pytest.param(
            'steady = "5m"', [(0, {}), (21, {}), (25, {}), (26, {})], [(GONE, 20), (BACK, 26)], id="steady"
        ),
        pytest.param(
            'steady = "25m"',
            [(0, {}), (21, {}), (42, {}), (52, {}), (67, {})],
            [(GONE, 20), (BACK, 67)],
            id="another silence begins it anew",
        ),
    ],
)
def test_silence(keys: str, story: Story, answer: list[tuple[str, float]]) -> None:
    """Raised at the deadline, cleared when heard."""
    assert [each[1:] for each in brief(told(SILENCE + keys, story, Device(1, model="band")))] == answer


def test_a_device_has_an_interval_of_its_own() -> None:
    """It goes before the model's."""
    found = told(f'{SILENCE}models = {{ band = "1m" }}', [(0, {}), (9, "tick")], Device(1, "", "band", 120))
    assert brief(found) == [("device_silent", "raise", 4)]


@pytest.mark.parametrize(
    ("every", "gaps", "limit"),
    [(2, 19, 20), (2, 20, 4), (0.5, 20, 2), (0.1, 400, 2), (15, 20, 30)],
)
def test_a_learned_interval(every: float, gaps: int, limit: float) -> None:
    """Twenty equal gaps are the interval: no less than a minute, and than a tenth of the rule's own."""
    story: Story = [(n * every, {}) for n in range(gaps + 1)]
    found = told(f"{SILENCE}learn = true", [*story, (999, "tick")])
    assert brief(found) == [("device_silent", "raise", gaps * every + limit)]


def test_an_interval_follows_its_gaps() -> None:
    """Mean and mean deviation move by an eighth: 2, and then 10 minutes: 3 and 1, so 7, twice."""
    story: Story = [(n * 2, {}) for n in range(21)]
    found = told(f"{SILENCE}learn = true", [*story, (43.5, {}), (999, "tick")])
    mean, deviation = 2 + 1.5 / 8, 1.5 / 8
    assert brief(found) == [("device_silent", "raise", 43.5 + 2 * (mean + 4 * deviation))]


def test_forgiven_silence_counts_from_then() -> None:
    """Nobody could be heard until then."""
    oracle = Oracle(SILENCE)
    oracle.enrol(Device(1))
    assert heard(oracle, [(0, {})]) == []
    oracle.forgive(moment(100))
    assert brief(heard(oracle, [(120, "tick"), (121, "tick")])) == [("device_silent", "raise", 120)]


def outage(by: str) -> str:
    """Return silence and outage: three in five, at least 3, within 15 minutes."""
    keys = f'share = 0.6\nleast = 3\nwindow = "15m"\nby = {by}'
    return f'{SILENCE}[[rule]]\nkind = "area_outage"\nmachine = "outage"\n{keys}'


TOWN = [
    Device(n, region="430602001" if n < 5 else "430602002", gateway="G" if n < 4 else "") for n in range(8)
]


def everybody(minute: float, *but: int) -> Story:
    """Let all say something but a few."""
    return [(minute, {"device": n}) for n in range(8) if n not in but]


def shown(found: list[Found]) -> list[tuple[str, object, float]]:
    """Show decisions as move, device or area, and minute."""
    return [(str(e.move), e.area or e.device, (e.at - START) / MINUTE) for e in found]


def test_an_area_is_out() -> None:
    """The larger group alone is raised, with its children; later ones are suppressed; it ends by itself."""
    oracle = Oracle(outage('["broker", "region9", "gateway"]'))
    for device in TOWN:
        oracle.enrol(device)
    assert heard(oracle, [*everybody(0), *everybody(10, 0, 1, 2), (20, "tick")]) == []
    assert shown(heard(oracle, [(21, "tick")])) == [
        *(("raise", n, 20) for n in range(3)),
        ("raise", "430602001", 21),
        *(("suppress", n, 21) for n in range(3)),
    ]
    assert shown(heard(oracle, [*everybody(29, 0, 1, 2, 3), (31, "tick")])) == [
        ("raise", 3, 30),
        ("suppress", 3, 30),
    ]
    assert shown(heard(oracle, [*everybody(32, 0, 1), (33, "tick")])) == [("clear", 2, 32), ("clear", 3, 32)]
    found = shown(
        heard(oracle, [*everybody(34, 0), (35, "tick"), *everybody(40, 0), (55, "tick"), (56, "tick")])
    )
    assert found == [("clear", 1, 34), ("clear", "430602001", 35), ("unsuppress", 0, 55)]


def test_a_larger_area_hides_the_smaller_one() -> None:
    """The region is out first, then the broker; it is back first, too."""
    oracle = Oracle(outage('["broker", "region9"]'))
    for device in TOWN:
        oracle.enrol(device)
    assert heard(oracle, [*everybody(0), *everybody(10, 0, 1, 2), (21, "tick")])[3].area == "430602001"
    assert shown(heard(oracle, [*everybody(25, 0, 1, 2, 3, 5), (31, "tick")])) == [
        *(("raise", 3, 30), ("raise", 5, 30), ("suppress", 3, 30)),
        *(("raise", "broker", 31), ("suppress", "430602001", 31), ("suppress", 5, 31)),
    ]
    found = shown(heard(oracle, [*everybody(32, 0, 1), (33, "tick")]))
    assert found[3:] == [("clear", "broker", 33), ("unsuppress", "430602001", 33)]


def test_all_that_are_out_are_one() -> None:
    """Everybody silent is the broker, not its regions."""
    found = told(outage('["broker", "region9", "gateway"]'), [*everybody(0), (21, "tick")], *TOWN)
    assert [each.area for each in found if each.area] == ["broker"]
    assert {each.parent for each in found if each.move is Move.SUPPRESS} == {"broker"}


def test_too_few_are_no_area() -> None:
    """Three of five in the region are enough, three of eight are not."""
    story = [*everybody(0), *everybody(10, 0, 1, 2), (21, "tick")]
    assert [each.area for each in told(outage('["broker"]'), story, *TOWN) if each.area] == []
    assert [each.area for each in told(outage('["region9"]'), story, *TOWN) if each.area] == ["430602001"]
    assert [each.area for each in told(outage('["region12"]'), story, *TOWN) if each.area] == []
    assert [each.area for each in told(outage('["gateway"]'), story, *TOWN) if each.area] == ["gateway:G"]


def test_old_silences_are_no_outage() -> None:
    """Three that fell silent one after the other, over more than the window, are three."""
    story = [*everybody(0), *everybody(8, 0), *everybody(16, 0, 1), *everybody(24, 0, 1, 2)]
    ticks: Story = [(n, "tick") for n in (21, 29, 37)]
    found = told(outage('["gateway"]'), sorted(story + ticks, key=lambda each: each[0]), *TOWN)
    assert [each.device for each in found] == [0, 1, 2]


ACTIVE = '[[rule]]\nkind = "inactivity"\nmachine = "inactivity"\n'
HOURS = 'after = { "06:00-22:00" = "1h", "22:00-06:00" = "3h" }'


@pytest.mark.parametrize(
    ("story", "answer"),
    [
        pytest.param([(0, {"hr": 80}), (999, "tick")], [], id="never showed movement"),
        pytest.param(
            [(-30, {"motion": 1}), (29, "tick"), (40, "tick")], [("raise", 30)], id="an hour by day"
        ),
        pytest.param([(-30, {"motion": 1}), (40, "tick without scan")], [], id="nobody may judge"),
        pytest.param(
            [(0, {"motion": 1}), (100, "tick"), (185, "tick")], [("raise", 180)], id="three by night"
        ),
        pytest.param([(-120, {"motion": 1}), (46, "tick")], [], id="the night is patient"),
        pytest.param(
            [(0, {"motion": 1}), (47, "tick"), (528, "tick")], [("raise", 526)], id="when the window begins"
        ),
        pytest.param(
            [(-30, {"event": "sos"}), (31, "tick"), (33, {"event": "check_in"}), (94, "tick")],
            [("raise", 30), ("clear", 33)],
            id="a press is movement",
        ),
        pytest.param(
            [(-9, {"steps": 5}), (-8, {"steps": 6}), (-7, {"steps": 6}), (52.5, "tick")], [], id="it is night"
        ),
        pytest.param(
            [(-29, {"steps": 5}), (-28, {"steps": 6}), (32, "tick")], [("raise", 32)], id="steps that rose"
        ),
        pytest.param([(-29, {"steps": 6}), (-28, {"steps": 5}), (32, "tick")], [], id="steps that fell"),
    ],
)
def test_inactivity(story: Story, answer: list[tuple[str, float]]) -> None:
    """By day an hour, by night three; it is 21:14 at minute 0."""
    assert [each[1:] for each in brief(told(ACTIVE + HOURS, story))] == answer


def test_who_is_silent_is_not_inactive() -> None:
    """Nothing is known of the movement of a device that is not heard."""
    story: Story = [(-60, {"motion": 1}), (20, "tick")]
    assert brief(told(f"{ACTIVE}{HOURS}\n{SILENCE}", story)) == [("device_silent", "raise", -40)]


def test_after_nobody_could_be_heard_only_those_heard_again_are_judged() -> None:
    """What a device held back may tell of movement, so it is waited for; the count goes on."""
    oracle = Oracle(ACTIVE + HOURS)
    oracle.enrol(Device(1))
    assert heard(oracle, [(-30, {"motion": 1})]) == []
    oracle.forgive(moment(0))
    assert heard(oracle, [(40, "tick"), (41, {"alive": False}), (41, "tick"), (42, {})]) == []
    assert brief(heard(oracle, [(43, "tick")])) == [("inactivity", "raise", 30)]


CHECK = '[[rule]]\nkind = "check_in_missed"\nmachine = "check_in"\nby = "22:00"\nfrom = "21:00"'
WELL = {"event": "check_in"}
DAY = 24 * 60.0


@pytest.mark.parametrize(
    ("story", "answer"),
    [
        pytest.param([(47, "tick")], [], id="never checked in"),
        pytest.param([(0, WELL), (47, "tick")], [], id="checked in today"),
        pytest.param(
            [(-15, WELL), (45, "tick"), (47, "tick"), (48, "tick")], [("raise", 46)], id="before from"
        ),
        pytest.param([(-15, WELL), (46, "tick")], [("raise", 46)], id="at the moment itself"),
        pytest.param(
            [(-15, WELL), (47, "tick without scan"), (50, WELL), (51, "tick")], [], id="just in time"
        ),
        pytest.param(
            [(-15, WELL), (47, "tick"), (50, WELL), (51, "tick"), (DAY + 47, "tick")],
            [("raise", 46), ("clear", 50), ("raise", DAY + 46)],
            id="each day anew",
        ),
        pytest.param(
            [(-15, WELL), (47, "tick"), (DAY + 47, "tick")],
            [("raise", 46), ("raise", DAY + 46)],
            id="each day that passes",
        ),
    ],
)
def test_check_in(story: Story, answer: list[tuple[str, float]]) -> None:
    """By 22:00, from 21:00; it is 21:14 at minute 0."""
    assert [each[1:] for each in brief(told(CHECK, story))] == answer


CHATTER = '[[rule]]\nkind = "chattering"\nmachine = "chattering"\ncycles = 3\nwindow = "10m"\nquiet = "20m"'


@pytest.mark.parametrize(
    ("story", "answer"),
    [
        pytest.param(pulses(*[140, 90] * 3), [("raise", 4)], id="three times"),
        pytest.param(pulses(*[140, 90] * 2), [], id="two are not"),
        pytest.param(pulses(*[140, 90] * 3, every=3), [], id="too slow"),
        pytest.param(
            [*pulses(*[140, 90] * 4), (27, "tick without scan")], [("raise", 4), ("clear", 26)], id="quiet"
        ),
        pytest.param(
            [*pulses(*[140, 90] * 3), (30, {"hr": 140})],
            [("raise", 4), ("clear", 24)],
            id="a reading finds it",
        ),
    ],
)
def test_chattering(story: Story, answer: list[tuple[str, float]]) -> None:
    """Three raises of one kind within ten minutes."""
    found = brief(told(f"{pulse_rule('')}\n{CHATTER}", story))
    assert [(move, at) for kind, move, at in found if kind == "chattering"] == answer


def test_life_alarms_do_not_chatter() -> None:
    """However often somebody calls."""
    rules = f'[[rule]]\nkind = "sos"\nwhen = "event == \'sos\'"\neach = true\n{CHATTER}'
    assert {each.kind for each in told(rules, [(n, {"event": "sos"}) for n in range(9)])} == {"sos"}
