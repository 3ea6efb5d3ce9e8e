"""A town: devices with people behind them, some of whom something befalls; its timeline and its truth.

Everything follows from the seed, the length and the start.
"""

import hashlib
import random
from dataclasses import dataclass

from device_sims.cards import REGIONS, Registration, card
from device_sims.misbehave import Misbehaviour, misbehave, oversize
from device_sims.person import Person
from device_sims.plots import FAMILIES, Plot
from device_sims.plots_calls import CALLS
from device_sims.plots_states import STATES
from device_sims.plots_vitals import VITALS
from device_sims.routine import routine
from device_sims.script import HIGHEST_SPEED, MINUTE, Device, Incident, Message, Reading, Script
from device_sims.truth import DeadKey, Expected, Fate, RowKey, Sent, Step, Truth
from schemas.clock import to_datetime
from schemas.errors import UsageError
from schemas.topics import uplink

PLOTS = (*CALLS, *STATES, *VITALS)
_SHORTEST = 6
"""Minutes below which no plot fits."""

BEFALLEN = 0.6
"""Share of devices to which something happens."""

_NAMES = {"bell": "BELL", "caller": "CALL", "band": "BAND"}


@dataclass(frozen=True)
class Send:
    """One publish of the timeline, at QoS 1; `at` in microseconds since 1970."""

    number: int
    at: int
    device: str
    topic: str
    payload: bytes
    retain: bool


@dataclass
class Town:
    """A timeline to play, what must come of it, and the devices for the registry."""

    sends: list[Send]
    truth: Truth
    registrations: list[Registration]
    plots: dict[str, str]  # device to the name of what befalls it

    @classmethod
    def build(
        cls,
        devices: int,
        minutes: float,
        seed: int,
        start: int,
        *,
        speed: float = HIGHEST_SPEED,
        misbehaviour: Misbehaviour | None = None,
        duty: bool = True,
        prefix: str = "",
    ) -> "Town":
        """Write the play of a town that begins at `start`, microseconds since 1970.

        Without `duty` nothing happens that needs staff. Raises UsageError if the town is too small, too short
        or too fast for its margins.
        """
        if devices < 1 or minutes < _SHORTEST or not 0 < speed <= HIGHEST_SPEED:
            raise UsageError(
                f"a town of {devices} devices, {minutes} minutes, speed {speed}: allowed are 1 or more,"
                f" at least {_SHORTEST} minutes, speed above 0 and up to {HIGHEST_SPEED:g}"
            )
        knobs = misbehaviour or Misbehaviour()
        play = _Play(random.Random(f"{seed}/town"), seed, start, int(minutes * MINUTE), knobs, prefix)
        scripts, plots = play.scripts(devices, duty=duty)
        sends, sent = _timeline(scripts, start)
        truth = Truth(
            seed=seed,
            start=start,
            end=start + play.end,
            speed=speed,
            devices=[script.device.name for script in scripts],
            sent=sent,
            expected=[expected for script in scripts for expected in _expected(script)],
            steps=sorted((step for script in scripts for step in _steps(script)), key=lambda step: step.at),
        )
        return cls(sends, truth, _registrations(scripts, seed), plots)


@dataclass(frozen=True)
class _Play:
    """What the scripts of a town share."""

    rng: random.Random
    seed: int
    start: int
    end: int
    knobs: Misbehaviour
    prefix: str

    def scripts(self, devices: int, *, duty: bool) -> tuple[list[Script], dict[str, str]]:
        """Write every device's script, and tell what befalls whom."""
        queues = {family: self._queue(family) for family in FAMILIES}
        scripts, plots = [], {}
        for number in range(devices):
            family = FAMILIES[number % len(FAMILIES)]
            turn = number // len(FAMILIES)
            share = devices // len(FAMILIES)
            plot = self._plot_of(queues[family], turn, share)
            if plot and plot.by_duty and not duty:
                plot = None  # not another one in its place: the registry must fit either way
            script = self._script(f"{self.prefix}{_NAMES[family]}-{turn + 1:04d}", family, plot)
            scripts.append(script)
            if plot:
                plots[script.device.name] = plot.name
        loud = [script for script in scripts if not self._hushed(plots.get(script.device.name))]
        for script in loud[: self.knobs.oversized]:
            oversize(script)
        return scripts, plots

    def _queue(self, family: str) -> list[Plot]:
        fitting = [
            plot
            for plot in PLOTS
            if family in plot.families
            and plot.fits(self.end)
            and (not plot.needs or getattr(self.knobs, plot.needs))
        ]
        return self.rng.sample(fitting, len(fitting))

    @staticmethod
    def _plot_of(queue: list[Plot], turn: int, share: int) -> Plot | None:
        befallen = max(int(BEFALLEN * share), min(share, len(queue)))
        return queue[turn % len(queue)] if queue and turn < befallen else None

    @staticmethod
    def _hushed(name: str | None) -> bool:
        return any(plot.hushed for plot in PLOTS if plot.name == name)

    def _script(self, name: str, family: str, plot: Plot | None) -> Script:
        rng = random.Random(f"{self.seed}/{name}")
        stranger = rng.random() < self.knobs.unregistered and not (plot and plot.hushed)
        beat = plot.heartbeat_seconds if plot else 120
        device = Device(name, rng.choice(list(REGIONS)), family, not stranger, beat)
        script = Script(
            device, Person(random.Random(f"{self.seed}/{name}/person")), rng, self.start, self.end
        )
        routine(script)
        if plot:
            plot.play(script)
        misbehave(script, plot, self.knobs)
        _number(script)
        return script


def _number(script: Script) -> None:
    """Give each measurement the device's next `seq`, in the order of measuring."""
    measured: list[Message | Reading] = []
    for message in script.messages:
        measured += message.readings or [message]
    measured.sort(key=lambda each: each.measured)
    first = script.rng.randrange(1, 100_000)
    for n, each in enumerate(measured):
        each.seq = first + n


def _timeline(scripts: list[Script], start: int) -> tuple[list[Send], list[Sent]]:
    """Put all messages and their copies in the order of sending."""
    queue = [
        (message.at + delay, script, message, copy)
        for script in scripts
        for message in script.messages
        for copy, delay in enumerate([0, *message.copies])
    ]
    queue.sort(key=lambda entry: entry[0])
    activates = {
        id(message): incident.kind
        for script in scripts
        for incident in script.incidents
        if not incident.raised_after
        for message in incident.activations
    }
    sends, sent = [], []
    for number, (at, script, message, copy) in enumerate(queue):
        if not copy:
            message.number = number
        device = script.device
        topic = message.topic or uplink(device.region, device.name, message.channel)
        payload = message.payload(start)
        sends.append(Send(number, start + at, device.name, topic, payload, message.retain))
        fate, rows, dead = _fate(device.name, message, topic, payload, copy)
        kind = activates.get(id(message), "")
        sent.append(Sent(start + at, device.name, topic, fate, rows, dead, message.timed, kind))
    return sends, sent


def _fate(
    device: str, message: Message, topic: str, payload: bytes, copy: int
) -> tuple[Fate, tuple[RowKey, ...], DeadKey | None]:
    """Say what must become of one publish."""
    dead = None
    if message.dead:
        reason, whole = message.dead
        dead = DeadKey(topic, hashlib.sha256(payload).hexdigest(), reason, whole)
        if whole:
            return Fate.DEAD, (), dead
    if copy and message.timed:
        return Fate.DUPLICATE, (), None
    seqs: list[int | None] = [each.seq for each in message.readings]
    seqs = seqs or [message.seq if message.numbered else None]
    rows = tuple(RowKey(device, message.channel, seq) for seq in seqs)
    return (Fate.PARTIAL if dead else Fate.STORED), rows, dead


def _expected(script: Script) -> list[Expected]:
    """Give a device's incidents their occurrence, in the order in which they are raised."""
    found: list[Expected] = []
    occurrences: dict[str, int] = {}
    for incident in sorted(script.incidents, key=_raised):
        occurrences[incident.kind] = occurrences.get(incident.kind, 0) + 1
        found.append(
            Expected(
                device=script.device.name,
                kind=incident.kind,
                occurrence=occurrences[incident.kind],
                count=incident.count,
                raised_by=incident.activations[0].number,
                raised_after=incident.raised_after,
                cleared_by=incident.clears.number if incident.clears else None,
                closed=incident.closed,
                quality=incident.quality,
            )
        )
    return found


def _raised(incident: Incident) -> int:
    return incident.activations[0].at + incident.raised_after


def _steps(script: Script) -> list[Step]:
    return [
        Step(script.start + step.at, script.device.name, step.kind, step.verb, step.body)
        for step in script.steps
    ]


def _registrations(scripts: list[Script], seed: int) -> list[Registration]:
    """Return the devices that the registry knows, each with a person."""
    found = []
    for script in scripts:
        device = script.device
        rng = random.Random(f"{seed}/{device.name}/card")
        person = card(rng, device.region, to_datetime(script.start).year)
        if device.registered:
            found.append(
                Registration(device.name, device.region, device.model, device.heartbeat_seconds, person)
            )
    return found
