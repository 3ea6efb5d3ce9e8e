"""The engine, rule by rule: what is raised and cleared, and when. Times are in seconds after START."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rules import ruleset
from rules.engine import Engine
from rules.machine import Registered
from rules.ruleset import RuleSet
from schemas.alarms import Severity, Transition
from schemas.readings import VALUES, Columns, Event, Letter, Quality
from tests.unit.kit import MINUTE, batch, brief, engine_of, moment, play, reading, shipped_engine

SILENT = 30 * MINUTE


def judge(*rows: Columns, together: bool = False) -> list[tuple[int, str, str, float]]:
    """Judge readings by the shipped rules, each in its own batch or all in one."""
    batches = [batch(*rows)] if together else [batch(row) for row in rows]
    return brief(play(shipped_engine(), *batches))


def registered(ids: list[int], models: list[str], heartbeats: list[int | None]) -> Registered:
    """Return devices of which model and heartbeat are known."""
    strangers = Registered.strangers(ids)
    return replace(strangers, models=models, heartbeat_seconds=heartbeats)


def minutes(hrs: list[float | None], **columns: Any) -> list[Columns]:  # noqa: ANN401 - any column
    """Return a reading of device 1 for each minute; None for a minute without one."""
    return [reading(1, n * MINUTE, hr=hr, **columns) for n, hr in enumerate(hrs) if hr is not None]


# ------------------------------------------------------------------------------- rules that fire on receipt


def test_every_sos_is_an_activation() -> None:
    """Each press is raised, at the moment of its receipt; nothing clears it."""
    presses = [reading(1, at, event=Event.SOS) for at in (0, 1, 90)]
    assert judge(*presses) == [(1, "sos", "raise", 0), (1, "sos", "raise", 1), (1, "sos", "raise", 90)]


@pytest.mark.parametrize(
    ("quality", "ts", "shown"),
    [
        (Quality.OK, 0, "ok"),
        (Quality.MISSING, 0, "ok"),
        (Quality.FUTURE, 0, "ok"),
        (Quality.EPOCH, 0, "ok"),
        (Quality.LATE, -86_400, "late"),
        (Quality.UNREADABLE, 0, "unreadable"),
    ],
)
@pytest.mark.parametrize("event", [Event.SOS, Event.FALL_DETECTED, Event.TAMPER])
def test_a_call_fires_whatever_its_clock_says(event: Event, quality: Quality, ts: float, shown: str) -> None:
    """It is an alarm when it is received, and bears how far its time can be trusted."""
    (raised,) = play(shipped_engine(), batch(reading(1, 5, ts=ts, event=event, quality=quality)))
    assert (raised.at, raised.quality) == (moment(5), shown)


def test_a_fall_is_detected_confirmed_and_cancelled() -> None:
    """Detection and confirmation are activations, cancelling clears."""
    events = [Event.FALL_DETECTED, Event.FALL_CONFIRMED, Event.FALL_CANCELLED, Event.FALL_DETECTED]
    assert judge(*(reading(1, at, event=event) for at, event in enumerate(events))) == [
        (1, "fall", "raise", 0),
        (1, "fall", "raise", 1),
        (1, "fall", "clear", 2),
        (1, "fall", "raise", 3),
    ]


def test_a_transition_says_what_the_rule_saw() -> None:
    """Kind, severity, the expression, the values and the event are there for duty to read."""
    call, fever = play(
        shipped_engine(),
        batch(reading(2, 5, event=Event.SOS)),
        batch(reading(2, 6, ts=4, battery=10, mains=1)),
    )
    assert (call.severity, call.values) == (
        Severity.CRITICAL,
        {"when": "event == 'sos'", "ts": moment(5), "event": "sos"},
    )
    assert (fever.kind, fever.values["battery"], fever.values["ts"]) == ("low_battery", 10.0, moment(4))
    assert "mains" not in fever.values


# -------------------------------------------------------------------------------------- rules with a duration


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("hrs", "expected"),
    [
        pytest.param([140] * 10, [], id="nine minutes are no ten"),
        pytest.param([140] * 11, [("raise", 10)], id="ten minutes fire, to the reading"),
        pytest.param([140] * 30, [("raise", 10)], id="once while it lasts"),
        pytest.param([131] * 11, [("raise", 10)], id="131 is high"),
        pytest.param([130] * 30, [], id="130 is not"),
        pytest.param([140] * 5 + [130] + [140] * 10, [], id="one reading below breaks it"),
        pytest.param([140] * 5 + [130] + [140] * 11, [("raise", 16)], id="and it begins anew"),
        pytest.param([140] * 11 + [125] * 9 + [140] * 20, [("raise", 10)], id="121 to 130 neither"),
        pytest.param([140] * 11 + [121, 120], [("raise", 10), ("clear", 12)], id="120 clears"),
        pytest.param(
            [140] * 11 + [100] + [140] * 11, [("raise", 10), ("clear", 11), ("raise", 22)], id="and again"
        ),
        pytest.param([140, *[None] * 9] * 3, [("raise", 20)], id="ten minutes apart belong together"),
        pytest.param([140, *[None] * 10, 140], [], id="eleven minutes apart do not"),
        pytest.param([140, *[None] * 10, *[140] * 11], [("raise", 21)], id="after a gap it begins anew"),
        pytest.param(
            [140] * 11 + [None] * 20 + [100], [("raise", 10), ("clear", 31)], id="a gap clears nothing"
        ),
        pytest.param([100] * 5 + [140] * 11, [("raise", 15)], id="what was before does not count"),
    ],
)
def test_a_high_pulse_must_last_ten_minutes(
    hrs: list[float | None], expected: list[tuple[str, int]], *, together: bool
) -> None:
    """It fires with the reading that makes it ten minutes, in one batch as in many."""
    found = judge(*minutes(hrs), together=together)
    assert found == [(1, "hr_high", move, minute * MINUTE) for move, minute in expected]


@pytest.mark.parametrize(
    ("kind", "hit", "edge", "clear", "lasting"),
    [("hr_low", 40, 41, 45, 10), ("spo2_low", 91, 92, 94, 5)],
)
def test_the_other_vitals_have_their_own_limits(
    kind: str, hit: float, edge: float, clear: float, lasting: int
) -> None:
    """A pulse of 40 for ten minutes, a saturation of 91 for five; in between nothing changes."""
    name = "hr" if kind == "hr_low" else "spo2"
    values = [*[hit] * (lasting + 1), edge, clear - 0.5, clear]
    rows = [reading(1, n * MINUTE, **{name: value}) for n, value in enumerate(values)]
    assert judge(*rows) == [
        (1, kind, "raise", lasting * MINUTE),
        (1, kind, "clear", (lasting + 3) * MINUTE),
    ]
    assert judge(*(reading(1, n * MINUTE, **{name: edge}) for n in range(30))) == []


@pytest.mark.parametrize(("worn", "fires"), [(1.0, True), (np.nan, True), (0.0, False)])
def test_a_band_off_the_wrist_measures_nothing(worn: float, *, fires: bool) -> None:
    """A pulse without a wrist is no pulse; who does not say whether it is worn is believed."""
    found = judge(*minutes([140] * 11, worn=worn))
    assert found == ([(1, "hr_high", "raise", 10 * MINUTE)] if fires else [])


def test_taking_the_band_off_breaks_a_duration() -> None:
    """Nine minutes, off, and nine minutes are no ten."""
    rows = minutes([140] * 20)
    rows[9]["worn"] = 0
    assert judge(*rows) == []
    rows += [reading(1, 20 * MINUTE, hr=140)]
    assert judge(*rows) == [(1, "hr_high", "raise", 20 * MINUTE)]


def test_a_dropout_neither_counts_nor_interrupts() -> None:
    """A third of a wrist's samples cannot be read: a pulse that is high before and after is still high."""
    rows = [reading(1, n * MINUTE, worn=1, **({} if n % 3 == 1 else {"hr": 140})) for n in range(12)]
    assert judge(*rows) == [(1, "hr_high", "raise", 11 * MINUTE)]


def test_an_event_from_a_slow_clock_is_judged() -> None:
    """Late is for measurements: what happened is believed when it is received."""
    row = reading(1, 5, ts=-86_400, event=Event.REMOVED, quality=Quality.LATE)
    assert judge(row) == [(1, "removed", "raise", 5)]


def test_durations_run_on_the_devices_clock() -> None:
    """Readings that were held up and come together count for the minutes in which they were measured."""
    rows = [reading(1, 600 + n / 10, ts=n * MINUTE, hr=140) for n in range(11)]
    assert judge(*rows, together=True) == [(1, "hr_high", "raise", 601)]


@pytest.mark.parametrize("together", [False, True])
def test_a_late_reading_is_not_judged(*, together: bool) -> None:
    """It neither raises, nor breaks, nor clears."""
    old = [reading(1, 1000 + n, ts=n * MINUTE - 9000, hr=140, quality=Quality.LATE) for n in range(20)]
    assert judge(*old, together=together) == []
    rows = minutes([140] * 11)
    rows.insert(5, reading(1, 4.5 * MINUTE, hr=80, quality=Quality.LATE))
    assert judge(*rows, together=together) == [(1, "hr_high", "raise", 10 * MINUTE)]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("back", [0, 1, 200])
def test_a_reading_that_is_not_newer_is_not_judged(back: float, *, together: bool) -> None:
    """Out of order, or of the same moment as the last one, it changes nothing."""
    rows = minutes([140] * 11)
    rows.insert(8, reading(1, 7 * MINUTE + 1, ts=7 * MINUTE - back, hr=80))
    assert judge(*rows, together=together) == [(1, "hr_high", "raise", 10 * MINUTE)]


@pytest.mark.parametrize("together", [False, True])
def test_of_a_tie_the_first_one_counts(*, together: bool) -> None:
    """Two readings of one moment are judged in their order of receipt, in one batch as in two."""
    rows = [reading(1, 1, ts=0, battery=10), reading(1, 2, ts=0, battery=90)]
    assert judge(*rows, together=together) == [(1, "low_battery", "raise", 1)]
    assert judge(*rows[::-1], together=together) == []


def test_a_reading_of_other_things_does_not_concern_a_rule() -> None:
    """Heartbeats and events between the minutes leave a pulse as it is."""
    rows = []
    for row in minutes([140] * 11):
        at = (int(row["received_at"][0]) - moment(0)) / 1_000_000
        rows += [row, reading(1, at + 1, battery=90), reading(1, at + 2, event=Event.CHECK_IN)]
    assert judge(*rows) == [(1, "hr_high", "raise", 10 * MINUTE)]


# ------------------------------------------------------------------------------------------------- latches


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([{"battery": 15}, {"battery": 14}], [("low_battery", "raise", 0)], id="raised once"),
        pytest.param([{"battery": 16}], [], id="16 is enough"),
        pytest.param(
            [{"battery": 15}, {"battery": 29}, {"battery": 30}, {"battery": 15}],
            [("low_battery", "raise", 0), ("low_battery", "clear", 2), ("low_battery", "raise", 3)],
            id="clear at 30",
        ),
        pytest.param(
            [{"event": Event.LOW_BATTERY}, {"battery": 12}, {"battery": 80}],
            [("low_battery", "raise", 0), ("low_battery", "clear", 2)],
            id="by its own word",
        ),
        pytest.param(
            [{"mains": 0}, {"mains": 0}, {"mains": 1}, {"mains": 1}],
            [("mains_lost", "raise", 0), ("mains_lost", "clear", 2)],
            id="mains by heartbeat",
        ),
        pytest.param(
            [{"event": Event.MAINS_LOST}, {"battery": 90}, {"event": Event.MAINS_RESTORED}],
            [("mains_lost", "raise", 0), ("mains_lost", "clear", 2)],
            id="mains by event",
        ),
        pytest.param(
            [{"event": Event.MAINS_LOST}, {"mains": 1}],
            [("mains_lost", "raise", 0), ("mains_lost", "clear", 1)],
            id="lost by event, back by heartbeat",
        ),
        pytest.param(
            [{"event": Event.REMOVED}, {"hr": 70}, {"worn": 0}, {"worn": 1}],
            [("removed", "raise", 0), ("removed", "clear", 3)],
            id="worn again",
        ),
        pytest.param(
            [{"event": Event.REMOVED}, {"event": Event.WORN}, {"event": Event.WORN}],
            [("removed", "raise", 0), ("removed", "clear", 1)],
            id="worn again by its own word",
        ),
        pytest.param(
            [{"event": Event.TAMPER}, {"event": Event.TAMPER}],
            [("tamper", "raise", 0), ("tamper", "raise", 1)],
            id="every tampering counts",
        ),
        pytest.param([{"event": Event.MAINS_RESTORED}, {"battery": 90}, {"worn": 1}], [], id="all is well"),
    ],
)
def test_a_condition_is_raised_once_and_cleared_once(
    steps: list[dict[str, Any]], expected: list[tuple[str, str, float]], *, together: bool
) -> None:
    """A latch holds until its clearing condition, which is not the opposite of the raising one."""
    rows = [reading(1, at, **columns) for at, columns in enumerate(steps)]
    assert judge(*rows, together=together) == [(1, *each) for each in expected]


def test_an_event_counts_when_it_is_received() -> None:
    """Its own clock, and readings from the future before it, do not hold it up."""
    rows = [
        reading(1, 0, ts=250, mains=1),
        reading(1, 10, ts=-300, event=Event.MAINS_LOST),
        reading(1, 11, ts=-200, event=Event.MAINS_RESTORED),
    ]
    assert judge(*rows) == [(1, "mains_lost", "raise", 10), (1, "mains_lost", "clear", 11)]


def test_an_event_turns_no_clock_back() -> None:
    """What was measured before the newest measurement stays old news, also after an event."""
    rows = [
        reading(1, 0, ts=250, mains=1),
        reading(1, 10, event=Event.MAINS_LOST),
        reading(1, 20, ts=240, mains=1),
        reading(1, 30, ts=260, mains=1),
    ]
    assert judge(*rows) == [(1, "mains_lost", "raise", 10), (1, "mains_lost", "clear", 30)]


def test_devices_do_not_touch_each_other() -> None:
    """Two pulses side by side in one batch are two pulses."""
    rows = [reading(who, n * MINUTE + who, hr=140 if who < 3 else 80) for n in range(11) for who in (1, 2, 3)]
    assert judge(*rows, together=True) == [(1, "hr_high", "raise", 601), (2, "hr_high", "raise", 602)]


def test_transitions_come_in_the_order_of_their_readings() -> None:
    """What is found in one batch is told as it happened, whichever rule found it."""
    rows = [
        reading(1, 0, mains=0),
        reading(2, 1, event=Event.SOS),
        reading(1, 2, battery=5),
        reading(1, 3, mains=1),
        reading(2, 4, event=Event.FALL_DETECTED),
    ]
    expected = [
        (1, "mains_lost", "raise", 0),
        (2, "sos", "raise", 1),
        (1, "low_battery", "raise", 2),
        (1, "mains_lost", "clear", 3),
        (2, "fall", "raise", 4),
    ]
    assert judge(*rows, together=True) == judge(*rows) == expected


# ------------------------------------------------------------------------------------------------- silence


def tick(at: float, *, scan: bool = True) -> Any:  # noqa: ANN401 - a batch
    """Return an empty batch."""
    return batch(now=at, scan=scan)


def test_a_silent_device_is_raised_at_its_deadline() -> None:
    """The tick after thirty minutes finds it, later ones are quiet, and its next word clears it."""
    engine = shipped_engine()
    assert play(engine, batch(reading(1, 0)), tick(SILENT)) == []
    (raised,) = play(engine, tick(SILENT + 7))
    assert brief([raised]) == [(1, "device_silent", "raise", SILENT)]
    assert raised.values["last_heard"] == moment(0)
    assert play(engine, tick(SILENT + 8), tick(SILENT * 9)) == []
    assert brief(play(engine, batch(reading(1, SILENT * 10)))) == [(1, "device_silent", "clear", SILENT * 10)]
    assert brief(play(engine, tick(SILENT * 11 + 1))) == [(1, "device_silent", "raise", SILENT * 11)]


@pytest.mark.parametrize("ticked", [False, True])
def test_a_silence_that_no_tick_saw_is_told_by_the_next_word(*, ticked: bool) -> None:
    """With a tick in between or without one, the same is raised and cleared."""
    found = play(
        shipped_engine(),
        batch(reading(1, 0)),
        *([tick(SILENT + 1)] if ticked else []),
        batch(reading(1, SILENT + 60)),
    )
    assert brief(found) == [(1, "device_silent", "raise", SILENT), (1, "device_silent", "clear", SILENT + 60)]


def test_several_silences_in_one_batch_are_several() -> None:
    """A backlog read at once tells of each."""
    rows = [reading(1, n * (SILENT + 1)) for n in range(4)]
    found = judge(*rows, together=True)
    assert found == judge(*rows)
    assert [move for _, _, move, _ in found] == ["raise", "clear"] * 3


def test_who_was_never_heard_is_never_silent() -> None:
    """A device that was registered and not yet installed is nobody's alarm."""
    assert play(shipped_engine(), tick(SILENT * 99)) == []


@pytest.mark.parametrize("columns", [{"alive": False}, {"alive": False, "event": Event.OFFLINE}])
def test_what_proves_no_life_does_not_count(columns: dict[str, Any]) -> None:
    """Retained messages and last wills neither end a silence nor put it off."""
    engine = shipped_engine()
    dead = reading(1, SILENT - 1, **columns)
    assert brief(play(engine, batch(reading(1, 0)), batch(dead), tick(SILENT + 1))) == [
        (1, "device_silent", "raise", SILENT)
    ]
    assert play(engine, batch(reading(1, SILENT + 5, **columns))) == []


@pytest.mark.parametrize("quality", [Quality.LATE, Quality.FUTURE, Quality.EPOCH, Quality.MISSING])
def test_silence_runs_on_the_time_of_receipt(quality: Quality) -> None:
    """A device with a wrong clock lives."""
    engine = shipped_engine()
    play(engine, batch(reading(1, 0)), batch(reading(1, SILENT, ts=-9e4, quality=quality)))
    assert play(engine, tick(2 * SILENT)) == []
    assert brief(play(engine, tick(2 * SILENT + 1))) == [(1, "device_silent", "raise", 2 * SILENT)]


def test_without_scan_nobody_is_silent() -> None:
    """While a session is away or a backlog waits, neither ticks nor messages tell of silence."""
    engine = shipped_engine()
    play(engine, batch(reading(1, 0)), batch(reading(2, 0)))
    assert play(engine, tick(SILENT * 2, scan=False)) == []
    assert play(engine, batch(reading(1, SILENT * 2), scan=False)) == []
    assert brief(play(engine, tick(SILENT * 2 + 1))) == [(2, "device_silent", "raise", SILENT)]
    assert brief(play(engine, batch(reading(2, SILENT * 3), scan=False))) == [
        (2, "device_silent", "clear", SILENT * 3)
    ]


def test_an_outage_is_forgiven() -> None:
    """After it every limit counts from its end, for whoever was heard before and nobody else."""
    engine = shipped_engine()
    play(engine, batch(reading(1, 0)))
    engine.forgive(moment(SILENT * 5))
    assert play(engine, tick(SILENT * 6)) == []
    assert brief(play(engine, tick(SILENT * 6 + 1))) == [(1, "device_silent", "raise", SILENT * 6)]


def test_a_clock_that_was_set_back_leaves_nobody_heard_in_the_future() -> None:
    """Who was heard "later" than now is heard now, and who is silent stays silent until his next word."""
    engine = shipped_engine()
    play(engine, batch(reading(1, 100)), batch(reading(2, 0)), tick(SILENT + 1))
    engine.forgive(moment(50))
    assert brief(play(engine, tick(SILENT + 101))) == [(1, "device_silent", "raise", SILENT + 50)]


@pytest.mark.parametrize("together", [False, True])
def test_messages_from_before_the_forgiving_change_nothing(*, together: bool) -> None:
    """What waited while the line was down does not bring a forgiven limit back, in one batch or in two."""
    engine = shipped_engine()
    play(engine, batch(reading(1, 0)))
    engine.forgive(moment(1000))
    rows = [reading(1, 900), reading(1, 950 + SILENT)]
    assert play(engine, *([batch(*rows)] if together else map(batch, rows))) == []


def test_silences_of_one_tick_come_by_their_deadlines() -> None:
    """Who should have spoken first is told first."""
    engine = Engine(ruleset.load(ruleset.SHIPPED))
    engine.enrol(registered([1, 2, 3], ["band", "bell", ""], [None, None, 60]))
    play(engine, batch(reading(1, 0), reading(2, 1), reading(3, 2)))
    assert brief(play(engine, tick(SILENT + 1))) == [
        (3, "device_silent", "raise", 2 + 180),
        (2, "device_silent", "raise", 1 + 900),
        (1, "device_silent", "raise", SILENT),
    ]


def test_without_a_rule_about_silence_nobody_is_silent() -> None:
    """A rule file may do without it."""
    text = ruleset.SHIPPED.read_text("utf-8").split('[[rule]]\nkind = "device_silent"')[0]
    engine = engine_of(text)
    assert play(engine, batch(reading(1, 0)), tick(9e6), batch(reading(1, 9e6))) == []


# ------------------------------------------------------------------------------------------- how it is called


def busy() -> list[Columns]:
    """Return readings that move every rule."""
    rows = minutes([140] * 9)
    rows += [reading(2, 500, event=Event.SOS), reading(2, 501, battery=5, mains=0)]
    return rows


def test_evaluate_adopts_nothing() -> None:
    """A commit that failed is tried again with the same answer, and the state is as before."""
    engine = shipped_engine()
    play(engine, batch(*busy()))
    before = engine.checkpoint(0)
    following = batch(
        reading(1, 9 * MINUTE, hr=140), reading(1, 10 * MINUTE, hr=140), reading(2, 700, mains=1)
    )
    first, second = engine.evaluate(following), engine.evaluate(following)
    silent = engine.evaluate(tick(SILENT * 3))
    assert first.transitions == second.transitions
    assert len(first.transitions) == 2
    assert len(silent.transitions) == 2
    assert engine.checkpoint(0) == before
    engine.apply(second)
    assert engine.checkpoint(0) != before
    assert brief(play(engine, batch(reading(2, 800, mains=0)))) == [(2, "mains_lost", "raise", 800)]


def test_an_empty_batch_does_nothing_but_scan() -> None:
    """No device, no reading, no trouble."""
    empty = Engine(ruleset.load(ruleset.SHIPPED))
    empty.enrol(Registered.strangers([]))
    empty.forgive(moment(0))
    assert play(empty, tick(0), tick(9e9)) == []


def again(engine: Engine, devices: int = 4) -> Engine:
    """Return a new engine restored from the state of another."""
    new = shipped_engine(devices)
    new.restore(0, engine.checkpoint(0))
    return new


def test_state_survives_a_restart() -> None:
    """The alarm fires when it would have fired, what is active is not raised again, and silence goes on."""
    engine = shipped_engine()
    play(engine, batch(*busy()), batch(reading(3, 0)), tick(SILENT + 1))
    engine = again(engine)
    rows = [reading(1, 9 * MINUTE, hr=140), reading(1, 10 * MINUTE, hr=140)]
    assert brief(play(engine, batch(*rows))) == [(1, "hr_high", "raise", 600)]
    assert play(engine, batch(reading(2, 601, battery=5, mains=0))) == []
    assert brief(play(engine, batch(reading(3, SILENT + 2)))) == [(3, "device_silent", "clear", SILENT + 2)]


def test_a_restored_state_is_the_same_state() -> None:
    """Checkpoint, restore, checkpoint gives the same bytes."""
    engine = shipped_engine()
    play(engine, batch(*busy()), tick(SILENT * 2))
    assert again(engine).checkpoint(0) == engine.checkpoint(0)


def test_pieces_together_are_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written and read piece by piece, each device has its own state again, and the count of pieces fits."""
    monkeypatch.setattr("rules.engine.PIECE", 3)
    engine = shipped_engine(8)
    play(engine, batch(*busy(), reading(7, 502, battery=5)))
    assert engine.pieces == 3
    new = shipped_engine(1)
    assert [new.restore(piece, engine.checkpoint(piece)) for piece in range(3)] == [
        range(piece, piece + 1) for piece in range(3)
    ]
    assert [new.checkpoint(piece) for piece in range(3)] == [engine.checkpoint(piece) for piece in range(3)]
    assert play(new, batch(reading(7, 503, battery=5), reading(2, 601, mains=0))) == []


def test_a_checkpoint_of_the_whole_state_is_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before there were pieces is read as all of them."""
    engine = shipped_engine(8)
    play(engine, batch(reading(7, 502, battery=5)))
    whole = engine.checkpoint(0)
    monkeypatch.setattr("rules.engine.PIECE", 3)
    new = shipped_engine(1)
    assert new.restore(0, whole) == range(3)
    assert play(new, batch(reading(7, 503, battery=5))) == []


@pytest.mark.parametrize("devices", [2, 5, 5000])
def test_a_restored_engine_may_have_fewer_or_more_devices(devices: int) -> None:
    """Devices that came before the checkpoint or after it have their room, with the state that is theirs."""
    engine = shipped_engine()
    play(engine, batch(*busy()))
    new = again(engine, devices)
    new.enrol(Registered.strangers([6000]))
    assert play(new, batch(reading(2, 601, mains=0))) == []
    assert brief(play(new, batch(reading(2, 602, mains=1)))) == [(2, "mains_lost", "clear", 602)]
    assert brief(play(new, batch(reading(6000, 603, battery=1)))) == [(6000, "low_battery", "raise", 603)]


def test_enrolling_more_devices_loses_nothing() -> None:
    """State, hearing and limits of the others stay as they were."""
    engine = shipped_engine()
    play(engine, batch(*busy()))
    engine.enrol(Registered.strangers([700]))
    engine.enrol(registered([5], [""], [60]))
    assert play(engine, batch(reading(2, 601, mains=0))) == []
    assert brief(play(engine, batch(reading(1, 9 * MINUTE, hr=140), reading(1, 10 * MINUTE, hr=140)))) == [
        (1, "hr_high", "raise", 600)
    ]
    play(engine, batch(reading(5, 700)))
    assert brief(play(engine, tick(1000))) == [(5, "device_silent", "raise", 880)]


def test_a_limit_can_be_changed() -> None:
    """To enrol a device again gives it its new interval."""
    engine = shipped_engine()
    play(engine, batch(reading(1, 0)))
    engine.enrol(registered([1], [""], [60]))
    assert brief(play(engine, tick(181))) == [(1, "device_silent", "raise", 180)]


def test_a_rule_that_changed_starts_anew_and_the_others_go_on() -> None:
    """A checkpoint fits only the rule that it was made by."""
    engine = shipped_engine()
    play(engine, batch(*busy()))
    text = ruleset.SHIPPED.read_text("utf-8").replace("battery <= battery_low", "battery <= 20")
    changed = engine_of(text)
    changed.restore(0, engine.checkpoint(0))
    found = play(changed, batch(reading(1, 600, hr=140), reading(2, 601, battery=5, mains=0)))
    assert brief(found) == [(1, "hr_high", "raise", 600), (2, "low_battery", "raise", 601)]


def test_a_rule_without_clear_ceases_when_it_no_longer_holds() -> None:
    """`clear` is the opposite of `when` where it is not given."""
    text = ruleset.SHIPPED.read_text("utf-8").replace('clear = "battery >= battery_low + 15"\n', "")
    engine = engine_of(text)
    found: list[Transition] = play(
        engine, *(batch(reading(1, at, battery=level)) for at, level in enumerate([15, 10, 16, 15]))
    )
    assert [(t.move.value, t.at) for t in found] == [
        ("raise", moment(0)),
        ("clear", moment(2)),
        ("raise", moment(3)),
    ]


def test_a_rule_that_is_new_after_a_restore_has_not_fired_unseen() -> None:
    """What the replay of old batches does to a changed rule raised no alarm, so the next reading does."""
    shipped = ruleset.SHIPPED.read_text(encoding="utf-8")
    before = shipped_engine()
    play(before, batch(reading(1, 0, battery=80)))
    after = engine_of(shipped.replace("battery <= battery_low", "battery <= 20"))
    after.restore(0, before.checkpoint(0))
    play(after, batch(reading(1, 60, battery=18)))  # replayed: its transitions are thrown away
    after.begin({})
    assert brief(play(after, batch(reading(1, 120, battery=17)))) == [(1, "low_battery", "raise", 120)]


def test_a_device_that_was_never_enrolled_is_judged_all_the_same() -> None:
    """The history may name a device that the registry has lost: a restore must not fail on it."""
    engine = shipped_engine(devices=1)
    assert brief(play(engine, batch(reading(99, 5, event=Event.SOS, battery=3)))) == [
        (99, "sos", "raise", 5),
        (99, "low_battery", "raise", 5),
    ]


# ------------------------------------------------------------------------------------- odd values, redriving


def test_no_value_is_too_odd_for_the_shipped_rules() -> None:
    """Infinities, huge numbers and absent ones are judged by every rule; nothing is raised but alarms."""
    odd = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-30, 0.0, 100.0]
    rng = np.random.default_rng(1)
    rows = []
    for n in range(300):
        values = dict(zip(VALUES, rng.choice(odd, len(VALUES)).tolist(), strict=True))
        rows.append(reading(n % 4, n * 20, ts=n * 20 + int(rng.integers(-300, 300)), **values))
    engine = shipped_engine()
    one = play(engine, *(batch(row) for row in rows), tick(9e6))
    assert {t.kind for t in one} >= {"low_battery", "device_silent"}
    again = shipped_engine()
    assert play(again, batch(*rows), tick(9e6)) == one


def test_what_is_redriven_alarms_and_teaches_nothing() -> None:
    """A call that was a dead letter is raised, also a fall; no state learns from it, nobody was heard."""
    engine = shipped_engine()
    play(engine, batch(*busy()))
    before = engine.checkpoint(0)
    letters = batch(
        reading(1, 601, event=Event.SOS),
        reading(1, 602, event=Event.FALL_CONFIRMED),
        reading(1, 603, hr=140, mains=0, battery=2),
    )
    letters.letters = [Letter(1, 1, 1, whole=True)]
    assert brief(play(engine, letters)) == [(1, "sos", "raise", 601), (1, "fall", "raise", 602)]
    assert engine.checkpoint(0) == before


# --------------------------------------------------------------------------------------------- new rules


def changed(*replacements: tuple[str, str]) -> RuleSet:
    """Return the shipped rules with something else in them."""
    text = ruleset.SHIPPED.read_text("utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return ruleset.parse(text)


def test_rules_that_are_the_same_keep_their_state() -> None:
    """A pulse that is high for eight minutes is high for ten after the change; numbers are the new ones."""
    engine = shipped_engine()
    play(engine, batch(*busy()))
    more = (
        '[[rule]]\nkind = "sos"',
        '[[rule]]\nkind = "temp_high"\nwhen = "temp > 50"\n\n[[rule]]\nkind = "sos"',
    )
    assert engine.adopt(changed(more), moment(590)) == []
    found = play(engine, batch(reading(1, 600, hr=140), reading(2, 601, mains=0, battery=5)), tick(3000))
    assert brief(found)[0] == (1, "hr_high", "raise", 600)
    assert [(t.kind, t.rule) for t in found[1:]] == [("device_silent", 21)] * 2


LIFE = """
[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"
"""
MAINS = """
[[rule]]
kind = "mains_lost"
when = "mains == 0"
clear = "mains == 1"
"""


@pytest.mark.parametrize("restarted", [False, True])
def test_steps_that_come_to_a_rule_are_for_what_is_raised_from_then_on(*, restarted: bool) -> None:
    """Nobody noted when the present condition was raised: it clears without a step; the next one steps."""
    engine = engine_of(LIFE + MAINS)
    play(engine, batch(reading(1, 0, mains=0)))
    more = LIFE + MAINS + 'steps = [{ after = "4h", severity = "high" }]'
    if restarted:
        piece, engine = engine.checkpoint(0), engine_of(more)
        engine.restore(0, piece)
        engine.begin({"mains_lost": [1]})
    else:
        engine.adopt(ruleset.parse(more), moment(10))
    found = play(engine, tick(20_000), batch(reading(1, 20_001, mains=1)), batch(reading(1, 20_002, mains=0)))
    assert brief(found) == [(1, "mains_lost", "clear", 20_001), (1, "mains_lost", "raise", 20_002)]
    assert brief(play(engine, tick(40_000))) == [(1, "mains_lost", "step", 20_002 + 4 * 3600)]


def test_pieces_of_different_ages_hide_what_an_outage_hid(monkeypatch: pytest.MonkeyPatch) -> None:
    """One was taken before the area went out and one after: restored, none of its devices is shown."""
    monkeypatch.setattr("rules.engine.PIECE", 2)
    rules = (
        LIFE
        + """
[[rule]]
kind = "device_silent"
machine = "silence"
misses = 1
interval = "5m"

[[rule]]
kind = "area_outage"
machine = "outage"
share = 0.5
least = 2
window = "15m"
by = ["broker"]
"""
    )
    engine = engine_of(rules)
    play(engine, batch(*(reading(device, device) for device in range(4))))
    old = engine.checkpoint(0)
    assert len(play(engine, tick(400))) == 9
    again = engine_of(rules)
    again.restore(0, old)
    again.restore(1, engine.checkpoint(1))
    play(again, tick(400))
    every = [0, 1, 2, 3]
    again.begin({"device_silent": every, "suppressed": every, "area_outage": [9], "area_outage:broker": [9]})
    for one in (engine, again):
        one.forgive(moment(410))
        assert play(one, tick(420), tick(701), tick(720)) == []


def test_rules_that_are_new_begin_empty_and_technical_conditions_of_those_gone_are_cleared() -> None:
    """A battery that was low is told as over, and raised again by the new rule; a pulse is left to duty."""
    engine = shipped_engine()
    play(engine, batch(*busy(), reading(1, 600, hr=140)))
    new = changed(
        ("battery <= battery_low or", "battery <= 12 or"), ("hr <= hr_high - 11", "hr <= hr_high - 12")
    )
    assert brief(engine.adopt(new, moment(700))) == [(2, "low_battery", "clear", 700)]
    assert brief(play(engine, batch(reading(2, 701, battery=5), reading(1, 702, hr=100)))) == [
        (2, "low_battery", "raise", 701)
    ]


def test_a_machine_that_is_taken_out_ends_what_it_raised() -> None:
    """Who is silent is not any more; with the machine back, who is heard can be silent again."""
    engine = shipped_engine()
    play(engine, batch(reading(1, 0), reading(2, 5)), tick(SILENT + 1))
    text = ruleset.SHIPPED.read_text("utf-8").split('[[rule]]\nkind = "device_silent"')[0]
    assert brief(engine.adopt(ruleset.parse(text), moment(2000))) == [(1, "device_silent", "clear", 2000)]
    assert play(engine, tick(9e6)) == []
    assert engine.adopt(changed(), moment(9e6)) == []
    assert brief(play(engine, batch(reading(1, 9e6)), tick(9e6 + SILENT + 1))) == [
        (1, "device_silent", "raise", 9e6 + SILENT)
    ]


def test_new_limits_of_silence_forget_nobody() -> None:
    """Who was heard under three misses is missed after two."""
    engine = shipped_engine()
    play(engine, batch(reading(1, 0)))
    engine.adopt(changed(("misses = 3", "misses = 2")), moment(100))
    assert brief(play(engine, tick(1201))) == [(1, "device_silent", "raise", 1200)]


def test_new_rules_know_the_devices() -> None:
    """Scopes and thresholds of a new file are those of the devices that are enrolled already."""
    engine = shipped_engine()
    person = replace(Registered.strangers([2]), people=["P2"], thresholds=[{"warm": 36.0}], devices=["D2"])
    engine.enrol(person)
    fever = '[[rule]]\nkind = "temp_high"\nwhen = "temp >= warm"\nscope = { person = ["P2", "P3"] }\n\n'
    engine.adopt(
        changed(
            ("[thresholds]\n", "[thresholds]\nwarm = 40\n"),
            ('[[rule]]\nkind = "sos"', f'{fever}[[rule]]\nkind = "sos"'),
        ),
        moment(0),
    )
    found = play(engine, batch(*(reading(n, 1, temp=37) for n in range(4))))
    assert [(t.device_id, t.values["warm"]) for t in found] == [(2, 36.0)]
