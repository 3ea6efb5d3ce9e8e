"""What can still be seen in a message that cannot be read: names and values, by the bytes alone."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from json import JSONDecoder, loads
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.sources import senml
from schemas.sources.events import Check, EventRule

_TOKEN: Final = re.compile(
    rb'(?="([^"\\\x00-\x1f]{1,64})"\s{0,8}:\s{0,8}'
    rb'(?:"((?:[^"\\]|\\.){0,200})"|(-?[0-9][0-9.eE+-]{0,30}|true|false|null)|([{\[])))"|([{}\[\]])'
)
"""A quote that begins a name with a value behind it, or a bracket; one pair may begin within another."""
_BARE: Final[dict[bytes, Any]] = {b"true": True, b"false": False, b"null": None}
_BETWEEN: Final = " \t\r\n,;\0\x1e"
_DECODER: Final = JSONDecoder()
_MOST_PLACES: Final = 20
_CUT: Final = "EOF while parsing"
_MOST_DOCUMENTS: Final = 1_000
_MOST_VALUES: Final = 8
"""Of one name in one object: more nobody sends by mistake."""
_BRACES: Final = re.compile(rb"[{}]")
_SENML_VALUES: Final = ("v", "vb", "vs")


class Pair(NamedTuple):
    """A name, the scalar behind it (an object or array is "{" or "["), and where they stand."""

    name: str
    value: Any
    at: int


Pairs = Mapping[str, list[Pair]]
"""All that stands behind a name, wherever it does."""


def pairs(payload: bytes, wrapped: str = "") -> Iterator[Pair]:
    """Yield each name and value; what an object holds under `wrapped` is also the value of its own name."""
    depth, opening, around, floor = 0, "", "", 0
    for match in _TOKEN.finditer(payload):
        name, text, bare, opened, bracket = match.groups()
        if bracket in (b"{", b"["):
            depth += 1
            if opening:
                opening, around, floor = "", opening, depth
        elif bracket:
            depth -= 1
            around = around if depth >= floor else ""
        else:
            found = Pair(name.decode(errors="replace"), _value(text, bare, opened), match.start())
            yield found
            opening = found.name if opened else ""
            if around and found.name == wrapped:
                yield found._replace(name=around)


def _value(text: bytes | None, bare: bytes | None, opened: bytes) -> Any:  # noqa: ANN401 - JSON can be anything
    if text is not None:
        return text.decode(errors="replace")
    if bare is not None:
        return _BARE[bare] if bare in _BARE else bare.decode()
    return opened.decode()


def senml_pairs(payload: bytes) -> Iterator[Pair]:
    """Yield the names that records of SenML bear, with their values, and base names."""
    start = 0
    for part in _BRACES.split(payload):
        name = ""
        early: list[Pair] = []
        for found in pairs(part):
            here = found._replace(at=start + found.at)
            if found.name == "bn":
                yield here._replace(value=senml.holder(str(found.value)))
            elif found.name == "n":
                _, name = senml.apart(str(found.value))
                yield from (each._replace(name=name) for each in early)
                early = []
            elif found.name in _SENML_VALUES and name:
                yield here._replace(name=name)
            elif found.name in _SENML_VALUES:
                early.append(here)
        start += len(part) + 1


def by_name(found: Iterable[Pair], meant: Callable[[str], Iterable[str]]) -> Pairs:
    """Return pairs by the names that they mean."""
    sorted_: dict[str, list[Pair]] = defaultdict(list)
    for pair in found:
        for name in meant(pair.name):
            sorted_[name].append(pair)
    return sorted_


def happens(rule: EventRule, levels: Sequence[str], found: Pairs, payload: bytes) -> int | None:
    """Return where an event can be seen, None if it cannot.

    Some value fulfils each condition, none an exception, and all of them stand in one object, or inside it.
    """

    def seen(check: Check) -> list[int]:
        told = [pair for name in check.names for pair in found.get(name, ())]
        if check.every:
            told = [pair for pair in told if pair.value not in (None, "")]
        places = [pair.at for pair in told if check.test(pair.value)]
        return [] if check.every and len(places) < len(told) else places

    if not all(check.holds(levels, ()) for check in rule.when if check.level):
        return None
    if any(check.holds(levels, ()) if check.level else seen(check) for check in rule.unless):
        return None
    first, *others = [seen(check)[:_MOST_PLACES] for check in rule.when if check.slots] or [[0]]
    for place in first:
        nearest_ones = [[at for at in each if _are_together(payload, place, at)] for each in others]
        if all(nearest_ones):
            return max([place, *map(max, nearest_ones)])
    return None


def _are_together(payload: bytes, one: int, other: int) -> bool:
    """Say whether two places are in one object, or one of them in an object inside that of the other."""
    first, last = sorted((one, other))
    depth = lowest = 0
    for brace in _BRACES.finditer(payload, first, last):
        depth += 1 if brace[0] == b"{" else -1
        lowest = min(lowest, depth)
    return lowest >= min(0, depth)


def nearest(names: Iterable[str], found: Pairs, at: int, payload: bytes) -> Iterator[str]:
    """Yield the texts that stand behind names: those in the object around `at`, then those before it."""
    told = sorted((abs(pair.at - at), pair.at, pair) for name in names for pair in found.get(name, ()))
    near = [pair for _, _, pair in told[:_MOST_PLACES]]
    inside = [pair for pair in near if _are_together(payload, at, pair.at)]
    before = [pair for pair in near if pair.at <= at]
    yield from (str(pair.value).strip() for pair in (*inside, *before, *near))


def documents(payload: bytes) -> tuple[list[Any], bytes]:
    """Return the JSON documents with which a payload begins, the last perhaps cut, and the rest unread."""
    text, at = payload.decode("utf-8-sig", errors="replace"), 0
    found: list[Any] = []
    while len(found) < _MOST_DOCUMENTS:
        while at < len(text) and text[at] in _BETWEEN:
            at += 1
        if text[at : at + 1] not in ("{", "["):
            break
        try:
            document, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        found += [document] if document else []
    rest = text[at:]
    try:
        from_json(rest)
    except ValueError as error:
        if rest.startswith(("{", "[")) and str(error).startswith(_CUT):
            return [*found, from_json(rest, allow_partial=True)], b""
    return found, rest.encode()


def variants(payload: bytes) -> tuple[str, list[Any]]:
    """Return a name that stands twice in one object, and the document with each of its values; "" for none.

    The k-th of the documents has the k-th value of each such name, or its last one.
    """
    most, name = 1, ""
    found: list[Any] = []
    while len(found) < min(most, _MOST_VALUES):

        def choose(inside: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal most, name
            chosen: dict[str, Any] = {}
            times: Counter[str] = Counter()
            for key, value in inside:
                times[key] += 1
                if times[key] <= len(found) + 1:
                    chosen[key] = value
                if times[key] > most:
                    most, name = times[key], key
            return chosen

        try:
            found.append(loads(payload.decode("utf-8-sig", errors="replace"), object_pairs_hook=choose))
        except (ValueError, RecursionError):
            return "", []
    return name, found if name else []
