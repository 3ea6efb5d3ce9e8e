"""Each incident's truth, computed by hand: a device with a known rhythm, a plot at a known moment.

The band measures at 10 s + k x 57 s and beats at 30 s + k x 120 s after the start. All times are seconds.
"""

import random
from functools import partial

import pytest

from device_sims import plots_calls, plots_states, plots_vitals
from device_sims.person import Person
from device_sims.script import MINUTE, Device, DeviceClock, Incident, Script
from schemas.clock import SECOND

HR_HIGH, HR_LOW, SPO2_LOW = plots_vitals.EPISODES


def script(model: str = "band", heartbeat_seconds: int = 120) -> Script:
    """Return 40 minutes of a device that does everything on time."""
    rng = random.Random(1)
    device = Device("X-1", "430602", model, registered=True, heartbeat_seconds=heartbeat_seconds)
    found = Script(device, Person(rng), rng, 0, 40 * MINUTE)
    fields = {"battery": 100, "mains": True} if model == "bell" else {"battery": 80}
    for at in range(30, 2400, 120):
        found.say(at * SECOND, "heartbeat", dict(fields), measured=at * SECOND)
    for at in range(10, 2400, 57) if model == "band" else ():
        fields = {"hr": 70, "spo2": 97, "worn": True}
        found.say(at * SECOND, "vitals", fields, measured=at * SECOND)
    return found


def told(incident: Incident) -> tuple[str, int, list[float], float | None, str]:
    """Return kind, count, when it is activated, when cleared, who closes it."""
    after = incident.raised_after
    activated = [(message.measured + after) / SECOND for message in incident.activations]
    cleared = incident.clears.measured / SECOND if incident.clears else None
    return incident.kind, incident.count, activated, cleared, incident.closed


# Plot, moment in seconds, and what must come of it: the first hit, the alarm 600 s (300 s) later or more.
VITALS = [
    # hits from 67 (k=1); 67 + 600 = 667: 694 (k=12); hits end before 840, near ones before 960: 979
    (partial(plots_vitals.long, it=HR_HIGH), 60, [("hr_high", 1, [694], 979, "")]),
    (partial(plots_vitals.long, it=HR_LOW), 60, [("hr_low", 1, [694], 979, "")]),
    # 67 + 300 = 367, next sample 409 (k=7); well from 60 + 600 = 660: 694
    (partial(plots_vitals.long, it=SPO2_LOW), 60, [("spo2_low", 1, [409], 694, "")]),
    (partial(plots_vitals.lasting, it=HR_HIGH), 60, [("hr_high", 1, [694], None, "")]),
    (partial(plots_vitals.short, it=HR_HIGH), 60, []),
    (partial(plots_vitals.short, it=SPO2_LOW), 60, []),
    (partial(plots_vitals.taken_off, it=HR_HIGH), 60, []),
    (partial(plots_vitals.broken_by_gap, it=HR_LOW), 60, []),
    # hits 67 to 352, none until 600, hits from 637 (k=11); 67 + 600 = 667: 694; well from 60 + 900 = 960: 979
    (partial(plots_vitals.across_gap, it=HR_HIGH), 60, [("hr_high", 1, [694], 979, "")]),
    # second run from 60 + 600 = 660: first hit 694 (k=12), 994 passed at 1036 (k=18); well from 1080: 1093
    (partial(plots_vitals.twice, it=SPO2_LOW), 60, [("spo2_low", 2, [409, 1036], 1093, "")]),
    # well from 480: 523; duty closes at 60 + 420 + 480 = 960; again from 1320: 1321 (k=23), 1621: 1663
    (
        partial(plots_vitals.relapse, it=SPO2_LOW),
        60,
        [("spo2_low", 1, [409], 523, "duty"), ("spo2_low", 1, [1663], None, "")],
    ),
    (partial(plots_vitals.batch_of_the_past, it=HR_HIGH), 60, []),
    (plots_vitals.batch, 60, []),
]


@pytest.mark.parametrize(("plot", "at", "expected"), VITALS)
def test_an_episode_alarms_at_the_measurement_that_arithmetic_says(
    plot: partial[None], at: int, expected: list[object]
) -> None:
    """The alarm comes with the first measurement that lies `for` or more after the first hit."""
    band = script()
    plot(band, at * SECOND)
    assert [told(incident) for incident in band.incidents] == expected


def test_a_batch_of_the_past_is_older_than_late() -> None:
    """Every reading of a late episode is at least 16 minutes old when it is sent, and sent once."""
    band = script()
    plots_vitals.batch_of_the_past(band, 60 * SECOND, HR_HIGH)
    (batch,) = [message for message in band.messages if message.readings]
    assert [reading.measured // SECOND for reading in batch.readings] == list(range(67, 840, 57))
    assert batch.at == (808 + 960) * SECOND
    assert not [m for m in band.between(67 * SECOND, batch.at, "vitals") if m is not batch]


def test_whoever_has_an_episode_sits() -> None:
    """A walker's steps stand still from the measurement before the run to its last, and go on after it."""
    band = script()
    for n, message in enumerate(band.between(0, band.end, "vitals")):
        message.fields["steps"] = 80 * n
    HR_HIGH.strike(band, 60 * SECOND, 200 * SECOND)  # measurements at 67, 124, 181, 238
    steps = [message.fields["steps"] for message in band.between(0, 400 * SECOND, "vitals")]
    assert steps == [0, 0, 0, 0, 0, 80, 160]


STATES = [
    ("bell", plots_states.mains, 100, [("mains_lost", 1, 340, "carebell")]),
    ("bell", plots_states.mains_gone, 100, [("mains_lost", 1, None, "")]),
    (
        "bell",
        plots_states.mains_twice,
        100,
        [("mains_lost", 1, 340, "carebell"), ("mains_lost", 1, 820, "carebell")],
    ),
    # beats at 150 and 270 say out; the one at 390 is the first after 100 + 180 = 280
    ("bell", plots_states.mains_by_heartbeat, 100, [("mains_lost", 1, 390, "carebell")]),
    ("caller", plots_states.flat, 100, [("low_battery", 1, None, "")]),
    # low from the beat at 150; charged from 100 + 360 = 460: the beat at 510
    ("caller", plots_states.charged, 100, [("low_battery", 1, 510, "carebell")]),
    # low at 150, charged from 340: 390, low from 580: 630
    (
        "caller",
        plots_states.flat_twice,
        100,
        [("low_battery", 1, 390, "carebell"), ("low_battery", 1, None, "")],
    ),
    ("caller", plots_states.flat_by_event, 100, [("low_battery", 1, None, "")]),
    ("band", plots_states.removed, 100, [("removed", 1, None, "")]),
    ("band", plots_states.removed_and_worn, 100, [("removed", 1, 460, "carebell")]),
    # the first measurement after 100 + 360 = 460: 466 (k=8)
    ("band", plots_states.removed_and_measured, 100, [("removed", 1, 466, "carebell")]),
    ("band", plots_states.area_left, 100, [("area_left", 1, None, "")]),
    ("band", plots_states.area_left_and_entered, 100, [("area_left", 1, 160, "")]),
    ("bell", plots_states.silent_for_a_while, 200, []),
]


@pytest.mark.parametrize(("model", "plot", "at", "expected"), STATES)
def test_a_state_is_raised_and_cleared_as_by_hand(
    model: str, plot: partial[None], at: int, expected: list[object]
) -> None:
    """A state lasts from the message that tells it to the one that ends it, within a second of sending."""
    device = script(model)
    plot(device, at * SECOND)
    found = []
    for incident in device.incidents:
        cleared = -(-incident.clears.measured // SECOND) if incident.clears else None
        found.append((incident.kind, incident.count, cleared, incident.closed))
    assert found == expected


@pytest.mark.parametrize(
    ("model", "last"),
    [("bell", 150), ("caller", 150), ("band", 181)],  # the beat at 150; the measurement 10 + 3 x 57 = 181
)
def test_silence_is_raised_three_intervals_after_the_last_message(model: str, last: int) -> None:
    """With 120 s between beats, a device last heard at 150 is silent at 510, although its last will came."""
    device = script(model)
    plots_states.silent(device, 200 * SECOND)
    (incident,) = device.incidents
    assert told(incident)[2] == [last + 360]
    assert incident.clears
    assert incident.clears.at == (200 + 720 + 1) * SECOND
    between = [m.channel for m in device.between(201 * SECOND, 920 * SECOND)]
    assert set(between) == {"status"}


CALLS = [
    (plots_calls.single, [("sos", 1, False, "")]),
    (plots_calls.impatient, [("sos", 3, False, "")]),
    (plots_calls.answered, [("sos", 1, False, "")]),
    (partial(plots_calls.again, kind="sos"), [("sos", 1, False, "duty"), ("sos", 1, False, "")]),
    (plots_calls.bare, [("sos", 1, False, "")]),
    (plots_calls.odd_source, [("sos", 1, False, "")]),
    (plots_calls.late, [("sos", 1, False, "")]),
    (partial(plots_calls.unreadable, kind="sos"), [("sos", 1, False, "")]),
    (plots_calls.unreadable_then_clear, [("sos", 2, False, "")]),
    (plots_calls.region_of_letters, [("sos", 1, False, "")]),
    (plots_calls.fall, [("fall", 1, False, "")]),
    (plots_calls.fall_confirmed, [("fall", 2, False, "")]),
    (plots_calls.fall_cancelled, [("fall", 1, True, "")]),
    (plots_calls.fall_after_cancel, [("fall", 2, False, "")]),
    (plots_calls.cancel_alone, []),
    (plots_calls.tamper, [("tamper", 1, False, "")]),
    (plots_calls.harmless, []),
]


@pytest.mark.parametrize(("plot", "expected"), CALLS)
def test_a_call_counts_its_activations(plot: partial[None], expected: list[object]) -> None:
    """Every stored call is an activation; only a cancelled fall is cleared; only duty closes."""
    band = script()
    plot(band, 100 * SECOND)
    found = [(i.kind, i.count, i.clears is not None, i.closed) for i in band.incidents]
    assert found == expected


def test_a_copy_counts_only_without_a_time() -> None:
    """The same bytes twice are one activation where they bear a usable time, and two where they do not."""
    band = script()
    plots_calls.fall(band, 100 * SECOND)
    (incident,) = band.incidents
    incident.activations[0].copies = [SECOND]
    assert incident.count == 1
    incident.activations[0].clock = DeviceClock.NONE
    assert incident.count == 2
    incident.activations[0].clock = DeviceClock.YEAR
    assert incident.count == 2
