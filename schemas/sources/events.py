"""Events of a source: their conditions settled, and which of them are calls for help."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from schemas.readings import CALLS, Event
from schemas.sources.mapping import Condition, Conditions, EventEntry, Paths
from schemas.sources.values import LIES, MISSING, neither, number, plain, spellings
from schemas.sources.words import speaks
from schemas.topics import Channel

_CHANNELS: Final = {
    Event.SOS: Channel.SOS,
    **dict.fromkeys((Event.FALL_DETECTED, Event.FALL_CONFIRMED, Event.FALL_CANCELLED), Channel.FALL),
    **dict.fromkeys((Event.ONLINE, Event.OFFLINE), Channel.STATUS),
}


class Check(NamedTuple):
    """A condition: `test` judges the values of slots, or a level of the topic where there are none.

    `answers` are the texts that say yes or no, where nothing else decides on a call for help. With `every`
    the test must hold at all slots at which anything stands.
    """

    slots: tuple[int, ...]
    level: int
    test: Callable[[Any], bool]
    names: tuple[str, ...]
    answers: frozenset[str] | None
    every: bool = False

    def holds(self, levels: Sequence[str], values: Sequence[Any]) -> bool:
        """Say whether it holds of a level of the topic, or at one of its slots."""
        if self.level:
            return len(levels) >= self.level and self.test(levels[self.level - 1])
        if self.every:
            told = [values[slot] for slot in self.slots if values[slot] not in (MISSING, None, "")]
            return bool(told) and all(map(self.test, told))
        return any(values[slot] is not MISSING and self.test(values[slot]) for slot in self.slots)


class EventRule(NamedTuple):
    """An event with its conditions; `state` names what it is the beginning of, "" for a mere event.

    `over` is the event of its end.
    """

    kind: str
    event: Event
    channel: Channel
    when: tuple[Check, ...]
    unless: tuple[Check, ...]
    state: str
    over: Event | None

    @property
    def calls(self) -> bool:
        """Say whether it is a call for help."""
        return self.event in CALLS

    @property
    def has_place(self) -> bool:
        """Say whether a position belongs to it."""
        return self.calls or self.event is Event.AREA_ENTERED

    def holds(self, levels: Sequence[str], values: Sequence[Any]) -> bool:
        """Say whether it happens, by the levels of the topic and the values of the slots."""
        return all(check.holds(levels, values) for check in self.when) and not any(
            check.holds(levels, values) for check in self.unless
        )

    def puzzles(self, levels: Sequence[str], values: Sequence[Any]) -> list[str]:
        """Return a sentence for each value that says neither yes nor no while all else speaks for a call."""
        if all(check.answers is None for check in self.when):
            return []
        left = [check for check in self.when if not check.holds(levels, values)]
        if any(check.answers is None for check in left) or any(
            check.holds(levels, values) for check in self.unless
        ):
            return []
        return [
            f"{name}: {neither(values[slot])}"
            for check in left
            for name, slot in zip(check.names, check.slots, strict=True)
            if values[slot] is not MISSING and _plain(values[slot]) not in (check.answers or ())
        ]


def event_rule(source: str, entry: EventEntry, slot: Callable[[Paths], int]) -> EventRule:
    """Return an event of a source, settled; `slot` numbers the paths that are looked up."""
    return EventRule(
        entry.kind,
        entry.event,
        _CHANNELS.get(entry.event, Channel.EVENT),
        checks(entry.when, slot, calls=entry.event in CALLS),
        checks(entry.unless, slot),
        f"{source}.{entry.kind}" if entry.mode == "edge" else "",
        Event[entry.over.upper()] if entry.over else None,
    )


def checks(conditions: Conditions, slot: Callable[[Paths], int], *, calls: bool = False) -> tuple[Check, ...]:
    """Return conditions, settled; `calls`: a call for help depends on them."""
    return tuple(_check(each, slot, calls=calls) for each in conditions)


def _check(condition: Condition, slot: Callable[[Paths], int], *, calls: bool) -> Check:
    wanted = spellings(condition.is_ or ())
    paths = condition.path or ()
    return Check(
        tuple(slot((path,)) for path in paths),
        condition.level or 0,
        _test(condition, wanted),
        tuple(path.rpartition(".")[2] for path in paths),
        wanted | LIES | {""} if calls and paths and "true" in wanted else None,
        every=bool(condition.every),
    )


def _test(condition: Condition, wanted: frozenset[str]) -> Callable[[Any], bool]:
    if condition.there:
        return _is_object if condition.there == "object" else _is_there
    if condition.is_ is not None:
        return lambda raw: _plain(raw) in wanted
    if condition.has is not None:
        return speaks(condition.has, every=bool(condition.every))
    if condition.ends is not None:
        ends = tuple(plain(each) or "" for each in condition.ends)
        return lambda raw: (plain(raw) or "").endswith(ends)

    def compare(raw: Any) -> bool:  # noqa: ANN401 - JSON can be anything
        try:
            value = number(raw)
        except ValueError:
            return False
        if value is None:
            return False
        return value > condition.above if condition.above is not None else value < (condition.below or 0)

    return compare


_SAYS: Final = ("status", "state", "value")
"""Under these names an object tells whether it means yes or no."""


def _plain(raw: Any) -> str | None:  # noqa: ANN401 - JSON can be anything
    """Return the text by which a value is compared; an object says what its status does."""
    if isinstance(raw, dict):
        raw = next((raw[name] for name in _SAYS if name in raw), raw)
    return plain(raw)


def _is_there(raw: Any) -> bool:  # noqa: ANN401 - JSON can be anything
    """Say whether a value says anything but no; of an array one member must."""
    return any(_plain(each) not in LIES | {""} for each in (raw if isinstance(raw, list) else [raw]))


def _is_object(raw: Any) -> bool:  # noqa: ANN401 - JSON can be anything
    """Say whether a value is an object that does not say no; "{" stands for one that was cut."""
    return raw == "{" or (isinstance(raw, dict) and _is_there(raw))
