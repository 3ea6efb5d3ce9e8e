"""The words that stories are told in: what happens, when, and which alarms are wanted then.

    tell(
        at("00:30").publish("BELL-1", "fall", phase="detected"),
        want(between("00:30", "00:31"), alarm("fall", severity="high")),
        want(between("00:31", "00:32"), alarm("fall", severity="critical")),
    )

Times are hours and minutes of Monday, 2 March 2026 in Shanghai; "27:00" is three o'clock on Tuesday. Every
story can be told on arrays (tests/stories/arrays.py); those marked `on_parts_too` are told once more on real
parts (tests/stories/parts.py), those `on_parts_at_length` only by `make soak`. Both write a Book of alarms,
and that is what the wants are asked of.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import pytest

from schemas.clock import SECOND
from tests.stories.book import Book, Looks, Span, moment

REGION = "430602"

LIFE = """
[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"
immobile = "60s"
"""
"""What every rule file must hold."""

on_parts_too = pytest.mark.parametrize("tell", ["arrays", "parts"], indirect=True)
on_parts_at_length = pytest.mark.parametrize(
    "tell", ["arrays", pytest.param("parts", marks=pytest.mark.long)], indirect=True
)
"""Mark a story that is also told on mosquitto, TimescaleDB and the bridge's own process."""


# ---------------------------------------------------------------------------------------------- what happens


@dataclass(frozen=True)
class Given:
    """A device of the registry and who wears it; one that nobody gives registers itself."""

    device: str
    model: str = ""
    region: str = REGION
    gateway: str = ""
    heartbeat: int | None = None
    person: str = ""
    care_level: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)


def given(device: str | Iterable[str], **registered: Any) -> list[Given]:  # noqa: ANN401 - columns of Given
    """Register one device or many."""
    return [Given(each, **registered) for each in ([device] if isinstance(device, str) else device)]


class Message(NamedTuple):
    """Something that a device says."""

    device: str
    channel: str
    payload: bytes
    retained: bool


class Step(NamedTuple):
    """Something that happens: a message, or a deed with its words."""

    at: int
    what: Message | str
    words: tuple[str, ...] = ()


class At:
    """Moments at which something happens."""

    def __init__(self, moments: Sequence[int]) -> None:
        self._moments = moments
        self._apart = moments[1] - moments[0] if len(moments) > 1 else 0

    def publish(
        self,
        devices: str | Sequence[str],
        channel: str,
        *,
        ts: str | int | None = "",
        retained: bool = False,
        raw: bytes | None = None,
        **payload: Any,  # noqa: ANN401 - what the contract of the channel has
    ) -> list[Step]:
        """Let devices speak, each once at each moment; many share the time between two moments, in 10 parts.

        Their clocks are right; or they bear `ts`, a time of the story or milliseconds; or with None no time.
        """
        names = [devices] if isinstance(devices, str) else devices
        parts = min(len(names), 10)
        steps = []
        for start in self._moments:
            for part in range(parts):
                at = start + self._apart * part // parts
                sent = at // 1000 if ts == "" else moment(ts) // 1000 if isinstance(ts, str) else ts
                said = payload if sent is None else {"ts": sent, **payload}
                body = json.dumps(said).encode() if raw is None else raw
                speak = names[len(names) * part // parts : len(names) * (part + 1) // parts]
                steps += [Step(at, Message(name, channel, body, retained)) for name in speak]
        return steps

    def closes(self, device: str, kind: str) -> list[Step]:
        """Let staff close the device's open alarm of a kind."""
        return self._do("close", device, kind)

    def kill(self) -> list[Step]:
        """Kill the bridge with -9; it stays down until it is restarted, and the broker keeps what comes."""
        return self._do("kill")

    def restart(self) -> list[Step]:
        """Start the bridge again, which ends without a word if it runs."""
        return self._do("restart")

    def tick(self, *, scan: bool = True) -> list[Step]:
        """Let time pass with the bridge able to judge silence, or from now on not, as when a session is away.

        On real parts the bridge itself knows.
        """
        return self._do("tick", "scan" if scan else "")

    def _do(self, *words: str) -> list[Step]:
        return [Step(at, words[0], words[1:]) for at in self._moments]


def at(time: str) -> At:
    """Return the moment at which something happens."""
    return At([moment(time)])


def every(period: str, span: Span) -> At:
    """Return moments of a span, one every period ("30s", "10m", "2h")."""
    apart = int(period[:-1]) * {"s": 1, "m": 60, "h": 3600}[period[-1]] * SECOND
    return At(range(span.start, span.end, apart))


# --------------------------------------------------------------------------------------------- what is wanted


def between(start: str, end: str) -> Span:
    """Return the time from `start` up to `end`."""
    return Span(moment(start), moment(end))


def alarm(kind: str, who: str = "", **says: Any) -> Looks:  # noqa: ANN401 - of Alarm
    """Describe an alarm that is raised or steps: who has it, severity, count, quality, suppressed."""
    return Looks(kind, who, says)


def cleared(kind: str, who: str = "", **says: Any) -> Looks:  # noqa: ANN401 - of Alarm
    """Describe an alarm whose condition ceases."""
    return Looks(kind, who, says, ("clear",))


class Want(NamedTuple):
    """What must hold of the book."""

    said: str
    until: int
    holds: Callable[[Book], bool]


def want(span: Span, looks: Looks) -> Want:
    """Want an alarm to come to look so within a span."""
    return Want(f"{span}: {looks}", span.end, lambda book: bool(looks.entries(book, span)))


def never(span: Span, looks: Looks) -> Want:
    """Want no alarm to come to look so within a span."""
    return Want(f"{span} never: {looks}", span.end, lambda book: not looks.entries(book, span))


def times(number: int, span: Span, looks: Looks) -> Want:
    """Want it to happen so often within a span."""
    return Want(f"{span} {number} times: {looks}", span.end, lambda b: len(looks.entries(b, span)) == number)


def board(time: str, *alarms: Looks) -> Want:
    """Want these alarms, and no other, to stand before staff at a moment."""

    def holds(book: Book) -> bool:
        standing = book.board(moment(time))
        return len(standing) == len(alarms) and all(any(map(each.fits, standing)) for each in alarms)

    return Want(f"before staff at {time}: {[*map(str, alarms)]}", moment(time), holds)


# ------------------------------------------------------------------------------------------------ the telling


@dataclass(frozen=True)
class Story:
    """A story as it is told: who is there, what happens in the order of time, what is wanted."""

    given: tuple[Given, ...]
    steps: tuple[Step, ...]
    wants: tuple[Want, ...]
    rules: str

    @property
    def begin(self) -> int:
        """Return the moment at which the first thing happens."""
        return self.steps[0].at

    @property
    def end(self) -> int:
        """Return the last moment that matters."""
        return max([each.at for each in self.steps] + [each.until for each in self.wants])

    def judge(self, book: Book) -> None:
        """Fail with all that is not as wanted, and what was instead."""
        failed = [each.said for each in self.wants if not each.holds(book)]
        assert not failed, "\n".join(["wanted", *failed, "but it was", *map(str, book[-40:])])


Part = Want | list[Given] | list[Step]


def story(*parts: Part, rules: str = "") -> Story:
    """Put a story together; without rules of its own the shipped ones judge."""
    wants = tuple(part for part in parts if isinstance(part, Want))
    lists = [each for part in parts if not isinstance(part, Want) for each in part]
    steps = sorted((each for each in lists if isinstance(each, Step)), key=lambda step: step.at)
    return Story(tuple(each for each in lists if isinstance(each, Given)), tuple(steps), wants, rules)


class Tell(Protocol):
    """Tell a story and judge it."""

    def __call__(self, *parts: Part, rules: str = "", seconds: float = 8.0) -> Book:
        """Return the book; on real parts the story takes so many seconds, and arrays take none."""
        ...
