"""Plots of heart rate and oxygen: long enough to alarm or too short, broken off, repeated, delivered late.

A run of hits alarms at the first one that lies `hold` or more after the run's first, by the band's own clock,
and is at least the third. Pulse and oxygen count at rest only, so whoever has an episode sits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from device_sims.plots import Plot
from device_sims.script import MARGIN, MINUTE, Message, Reading, Script

_BAND = ("band",)
_SAMPLES = 3


@dataclass(frozen=True)
class Episode:
    """A condition: which field goes where, from what values, and how long until it is an alarm.

    `near` values neither raise nor clear.
    """

    kind: str
    field: str
    hits: tuple[int, int]
    near: tuple[int, int]
    hold: int

    def strike(self, script: Script, at: int, lasts: int) -> list[Message]:
        """Put the measurements of a stretch into the band, of somebody who sits; return them."""
        run = self._set(script, at, lasts, self.hits)
        _sit(script, run)
        return run

    def linger(self, script: Script, at: int, lasts: int) -> None:
        """Put the measurements of a stretch beside the band, where nothing changes."""
        self._set(script, at, lasts, self.near)

    def alarm_in(self, run: list[Message]) -> Message:
        """Return the measurement at which a run of hits becomes an alarm."""
        return next(hit for hit in run[_SAMPLES - 1 :] if hit.measured - run[0].measured >= self.hold)

    def _set(self, script: Script, at: int, lasts: int, values: tuple[int, int]) -> list[Message]:
        found = script.between(at, at + lasts, "vitals")
        for message in found:
            message.fields[self.field] = script.rng.randint(*values)
        return found


EPISODES = (
    Episode("hr_high", "hr", (134, 155), (122, 129), 10 * MINUTE),
    Episode("hr_low", "hr", (32, 39), (41, 44), 10 * MINUTE),
    Episode("spo2_low", "spo2", (84, 90), (92, 93), 5 * MINUTE),
)


def _sit(script: Script, run: list[Message]) -> None:
    """Take no step from the measurement before a run until its last; the later ones count on from there."""
    if "steps" not in run[0].fields:
        return
    counted = [*script.between(0, run[0].measured, "vitals"), run[0]][-2:][0].fields["steps"]
    surplus = run[-1].fields["steps"] - counted
    for message in script.between(run[0].measured, script.end, "vitals"):
        message.fields["steps"] = max(counted, message.fields["steps"] - surplus)


def _next(script: Script, at: int) -> Message:
    return script.between(at, script.end, "vitals")[0]


def long(script: Script, at: int, it: Episode) -> None:
    """Last long enough, linger, recover: raised and cleared."""
    run = it.strike(script, at, it.hold + 3 * MINUTE)
    it.linger(script, at + it.hold + 3 * MINUTE, 2 * MINUTE)
    well = _next(script, at + it.hold + 5 * MINUTE)
    script.expect(it.kind, it.alarm_in(run), clears=well, quality="ok")


def lasting(script: Script, at: int, it: Episode) -> None:
    """Last to the end: raised, not cleared."""
    run = it.strike(script, at, script.end - at)
    script.expect(it.kind, it.alarm_in(run))


def short(script: Script, at: int, it: Episode) -> None:
    """Recover clearly before it is an alarm."""
    it.strike(script, at, it.hold * 6 // 10)
    it.linger(script, at + it.hold * 6 // 10, 2 * MINUTE)


def taken_off(script: Script, at: int, it: Episode) -> None:
    """Take the band off for a moment in the middle: two short runs, no alarm."""
    part = it.hold * 7 // 10
    it.strike(script, at, 2 * part)
    middle = _next(script, at + part)
    middle.fields["worn"] = False


def broken_by_gap(script: Script, at: int, it: Episode) -> None:
    """Lose the measurements of 13 minutes in the middle: two short runs, no alarm."""
    part = it.hold * 6 // 10
    it.strike(script, at, part)
    script.drop(script.between(at + part, at + part + 13 * MINUTE, "vitals"))
    it.strike(script, at + part + 13 * MINUTE, part)


def across_gap(script: Script, at: int, it: Episode) -> None:
    """Lose a few minutes in the middle: still one run, an alarm."""
    part = it.hold // 2
    before = it.strike(script, at, part)
    script.drop(script.between(at + part, at + part + 4 * MINUTE, "vitals"))
    after = it.strike(script, at + part + 4 * MINUTE, it.hold - part + MINUTE)
    well = _next(script, at + it.hold + 5 * MINUTE)
    script.expect(it.kind, it.alarm_in(before + after), clears=well)


def twice(script: Script, at: int, it: Episode) -> None:
    """Recover and relapse while the alarm is open: one alarm that counts 2, cleared in the end."""
    lasts = it.hold + 2 * MINUTE
    runs = [it.strike(script, at + n * (lasts + 3 * MINUTE), lasts) for n in range(2)]
    well = _next(script, at + 2 * lasts + 3 * MINUTE)
    script.expect(it.kind, *(it.alarm_in(run) for run in runs), clears=well)


def relapse(script: Script, at: int, it: Episode) -> None:
    """Recover, have duty close the alarm, relapse: two occurrences."""
    lasts = it.hold + 2 * MINUTE
    first = it.strike(script, at, lasts)
    well = _next(script, at + lasts)
    script.expect(it.kind, it.alarm_in(first), clears=well, closed="duty")
    closed = at + lasts + MARGIN + 2 * MINUTE
    script.duty_closes(closed, it.kind, "medical")
    script.expect(it.kind, it.alarm_in(it.strike(script, closed + MARGIN, script.end)))


def _deliver_late(script: Script, held: list[Message], at: int) -> None:
    script.drop(held)
    readings = [Reading(message.measured, message.fields) for message in held]
    script.say(at, "vitals", measured=at, readings=readings)


def batch(script: Script, at: int) -> None:
    """Hold measurements back and deliver them together, minutes late: stored, each once."""
    _deliver_late(script, script.between(at, at + 4 * MINUTE, "vitals"), at + 4 * MINUTE)


def batch_of_the_past(script: Script, at: int, it: Episode) -> None:
    """Deliver a whole episode when its last measurement is 16 minutes old: history, no alarm."""
    held = it.strike(script, at, it.hold + 3 * MINUTE)
    script.drop(script.between(held[-1].measured + 1, held[-1].measured + 10 * MINUTE + MARGIN, "vitals"))
    _deliver_late(script, held, held[-1].measured + 10 * MINUTE + MARGIN)


def _plots(it: Episode) -> tuple[Plot, ...]:
    def plot(run: Callable[[Script, int, Episode], None], lasts: int, *, by_duty: bool = False) -> Plot:
        def play(script: Script, at: int) -> None:
            run(script, at, it)

        return Plot(f"{it.kind}_{run.__name__}", play, lasts, _BAND, latched=True, by_duty=by_duty)

    part, again = it.hold * 7 // 10, it.hold + 2 * MINUTE
    return (
        plot(long, it.hold + 6 * MINUTE),
        plot(lasting, it.hold + 2 * MINUTE),
        plot(short, part + 2 * MINUTE),
        plot(taken_off, 2 * part),
        plot(broken_by_gap, 2 * part + 13 * MINUTE),
        plot(across_gap, it.hold + 6 * MINUTE),
        plot(twice, 2 * again + 4 * MINUTE),
        plot(relapse, 2 * again + 2 * MARGIN + 2 * MINUTE, by_duty=True),
    )


_LATE = "late_batches"

VITALS = (
    *(plot for episode in EPISODES for plot in _plots(episode)),
    Plot("batch", batch, 4 * MINUTE, _BAND, latched=True, needs=_LATE),
    Plot(
        "batch_of_the_past", partial(batch_of_the_past, it=EPISODES[0]), 29 * MINUTE,
        _BAND, latched=True, needs=_LATE,
    ),
)  # fmt: skip
