"""Where values stand in a JSON document: paths, records inside of it, and what is around them.

Names of properties count in each of their spellings: `sos_alarm`, `SosAlarm` and `health:sosAlarm` are one.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic_core import from_json

from schemas.errors import SenderFaultError
from schemas.sources.mapping import Paths
from schemas.sources.records import Said
from schemas.sources.values import MISSING, shown

MOST_RECORDS: Final = 1_000
"""Records of one message; the rest stays in the dead letter."""

Chain = tuple[Any, ...]
"""A record and the objects around it, the innermost first."""


Entries = tuple[tuple[int, ...], tuple[Any, ...], Sequence[tuple[int, Any]]]
"""What stands in a record: slots and their values, shape (n,) each; and pairs of a slot and a value.

The pairs are what else stands there for slots of calls for help.
"""
Find = Callable[[Chain], Entries]
"""From a record to the values at slots, of what is there."""

_BLANKS: Final = b" \t\r\n\0"
_LONGEST_NAME: Final = 64
_MOST_NAMES: Final = 2_000
_MOST_SHAPES: Final = 500
_MOST_IN_SHAPE: Final = 64
_LONGEST_TEXT: Final = 4_096
_APART: Final = str.maketrans("", "", "_- ")
_WORDS: Final = "alarm|event|status|state|call|pressed|press|button|key|detected|down|flag|alert|trigger"
"""What may stand around the name of a call for help without making another one of it."""
_LATER: Final = 1_000
"""Rank of a path that is spelled otherwise: behind all that are spelled as they are listed."""

K = TypeVar("K", bound=str | bytes)
V = TypeVar("V")


class Memo(dict[K, V], Generic[K, V]):
    """What work makes of names, as far as it was asked for: bounded, but for those that are listed."""

    def __init__(self, work: Callable[[K], V], listed: Mapping[K, V] | None = None) -> None:
        """Begin with what is listed."""
        self._work = work
        self._listed = listed or {}
        super().__init__(self._listed)

    def __missing__(self, name: K) -> V:
        """Do the work."""
        found = self._work(name)
        if len(name) <= _LONGEST_NAME:
            if len(self) >= len(self._listed) + _MOST_NAMES:
                self.clear()
                self.update(self._listed)
            self[name] = found
        return found


def folded(name: str) -> str:
    """Return a name without case, signs between words, and the module before it."""
    return name[-_LONGEST_NAME:].rpartition(":")[2].casefold().translate(_APART)


_FOLDS: Final[Memo[str, str]] = Memo(folded)


class Branch(NamedTuple):
    """What a name leads to: slots with the ranks of their paths, and names inside."""

    ends: tuple[tuple[int, int], ...]
    below: "Tree | None"


class Shape(NamedTuple):
    """Objects with the same names in the same order: what takes slots' values, and where names are inside."""

    slots: tuple[int, ...]
    take: Callable[[Sequence[Any]], tuple[Any, ...]]
    below: "tuple[tuple[int, Tree], ...]"


def _taker(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what takes the values at places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda there: tuple([there[place] for place in places])


class _Shapes(dict[tuple[str, ...], Shape | None]):
    """Shapes by names, settled when they are first met; None for objects that are searched name by name."""

    def __init__(self, settle: Callable[[tuple[str, ...]], Shape | None]) -> None:
        """Know none."""
        super().__init__()
        self._settle = settle

    def __missing__(self, names: tuple[str, ...]) -> Shape | None:
        """Settle a shape, and keep it unless it is too large to be one of many."""
        if len(names) > _MOST_IN_SHAPE or any(len(name) > _LONGEST_NAME for name in names):
            return None
        if len(self) >= _MOST_SHAPES:
            self.clear()
        shape = self[names] = self._settle(names)
        return shape


class Tree(Memo[str, Branch | None]):
    """What names lead to in each spelling, and what shapes of objects do: devices repeat the same few."""

    def __init__(
        self,
        work: Callable[[str], Branch | None],
        listed: Mapping[str, Branch | None],
        slots: frozenset[int],
        calls: Collection[int],
    ) -> None:
        """Begin with names as they are listed; `slots` are all that they lead to."""
        super().__init__(work, listed)
        self.slots = slots
        self.shapes = _Shapes(self._shaped)
        self._calls = calls

    def _shaped(self, names: tuple[str, ...]) -> Shape | None:
        """Settle a shape; None if it depends on values which of two places counts."""
        ends: dict[int, tuple[int, int]] = {}
        below: list[tuple[int, Tree]] = []
        inside: set[int] = set()
        for place, name in enumerate(names):
            branch = self[name]
            if branch is None:
                continue
            for slot, rank in branch.ends:
                if slot in inside or (slot in ends and slot in self._calls):
                    return None
                if slot not in ends or rank < ends[slot][0]:
                    ends[slot] = rank, place
            if branch.below is not None:
                if not branch.below.slots.isdisjoint(inside | ends.keys()):
                    return None
                inside |= branch.below.slots
                below.append((place, branch.below))
        return Shape(tuple(ends), _taker([place for _, place in ends.values()]), tuple(below))


def tree(paths: Sequence[tuple[Sequence[str], int, int]], calls: Collection[int] = ()) -> Tree:
    """Return the tree of paths, each with its slot and its rank; `calls` are slots of calls for help."""
    listed: dict[str, list[tuple[int, int]]] = {}
    ends: dict[str, dict[int, int]] = defaultdict(dict)
    inside: dict[str, list[tuple[Sequence[str], int, int]]] = defaultdict(list)
    for (name, *rest), slot, rank in paths:
        own, same = listed.setdefault(name, []), ends[folded(name)]
        if rest:
            inside[folded(name)].append((rest, slot, rank))
        else:
            own.append((slot, rank))
            same[slot] = min(rank + _LATER, same.get(slot, rank + _LATER))
    below = {name: tree(each, calls) for name, each in inside.items()}
    folds = {name: Branch(tuple(each.items()), below.get(name)) for name, each in ends.items()}
    bases = {
        name: Branch(tuple((slot, rank) for slot, rank in branch.ends if slot in calls), None)
        for name, branch in folds.items()
        if name and any(slot in calls for slot, _ in branch.ends)
    }
    longest_first = "|".join(map(re.escape, sorted(bases, key=len, reverse=True)))
    worded = re.compile(rf"(?:{_WORDS})*({longest_first})(?:{_WORDS})*") if bases else None

    def otherwise(name: str) -> Branch | None:
        if len(name) > _LONGEST_NAME:
            return None
        fold = folded(name)
        if not fold or fold in folds:
            return folds.get(fold)
        found = worded.fullmatch(fold) if worded else None
        return bases[found[1]] if found else None

    return Tree(
        otherwise,
        {name: Branch(tuple(own), below.get(folded(name))) for name, own in listed.items()},
        frozenset(slot for _, slot, _ in paths),
        calls,
    )


def parsed(payload: bytes) -> Any:  # noqa: ANN401 - JSON can be anything
    """Return a JSON document, in UTF-8, perhaps with a mark before it, or in GB18030; raises ValueError.

    It may end in NULs as C's texts do, or stand in a text. Documents on lines of their own are an array.
    """
    try:
        found = from_json(payload, allow_inf_nan=False)
    except ValueError as error:
        text = payload.removeprefix(b"\xef\xbb\xbf").strip(_BLANKS)
        try:
            text.decode()
        except UnicodeDecodeError:
            text = text.decode("gb18030").encode()
        if b"\n" not in text:
            return _alone(text, error)
        lines: list[Any] = []
        try:
            return _alone(text, error)
        except ValueError:
            for line in text.split(b"\n", MOST_RECORDS + 1):
                if line.strip(_BLANKS):
                    document = from_json(line.strip(_BLANKS), allow_inf_nan=False)
                    lines += document if isinstance(document, list) else [document]
            return lines
    if type(found) is str and found[:1] in ("{", "["):
        try:
            return from_json(found, allow_inf_nan=False)
        except ValueError:
            return found
    return found


def _alone(text: bytes, error: ValueError) -> Any:  # noqa: ANN401 - JSON can be anything
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise error from None


def _opened(value: Any, texts: dict[str, Any], said: Said) -> Any:  # noqa: ANN401 - JSON can be anything
    """Return what a text of JSON holds, any other value as it is; one that is broken is looked through."""
    if type(value) is not str or value[:1] not in ("{", "["):
        return value
    if value not in texts:
        try:
            texts[value] = from_json(value, allow_inf_nan=False)
        except ValueError:
            texts[value], said.is_cut = value, True
    return texts[value]


def records(
    root: Any,  # noqa: ANN401 - JSON can be anything
    paths: Sequence[Sequence[Sequence[str]]],
    said: Said,
) -> Iterator[Chain]:
    """Yield the records of a document, each with what is around it.

    They are what paths of arrays lead to, and each object from which none of the paths leads on. An array of
    documents is as many messages.
    """
    texts: dict[str, Any] = {}
    documents = [_opened(each, texts, said) for each in root] if isinstance(root, list) else [root]
    for document in documents:
        if isinstance(document, dict):
            yield from _records(document, paths, texts, said)
        elif isinstance(document, list):
            said.is_cut = True
    if strays := sum(not isinstance(each, dict) for each in documents) if len(documents) > 1 else 0:
        said.faults.append(SenderFaultError("bad_field", f"{strays} of {len(documents)} are no records"))


def _records(
    root: dict[str, Any], paths: Sequence[Sequence[Sequence[str]]], texts: dict[str, Any], said: Said
) -> Iterator[Chain]:
    inside: set[int] = set()
    ends: dict[int, Chain] = {}
    for steps in paths or [[]]:
        for chain, is_end in _descend((root,), steps, texts, said):
            if is_end:
                ends[id(chain[0])] = chain
            else:
                inside.update(map(id, chain[1:]))
                yield chain
    yield from (chain for key, chain in ends.items() if key not in inside)


def _descend(
    chain: Chain, steps: Sequence[Sequence[str]], texts: dict[str, Any], said: Said
) -> Iterator[tuple[Chain, bool]]:
    """Yield each record below an object, and whether the steps end before it: then it is that object."""
    inner = False
    for found in _under(chain[0], steps[0], texts, said) if steps else ():
        value = _opened(found, texts, said)
        for member in value if isinstance(value, list) else () if value is None else (value,):
            each = _opened(member, texts, said)
            if isinstance(each, dict):
                inner = True
                yield from _descend((each, *chain), steps[1:], texts, said)
            else:
                _tell_stray(each, said)
                if len(said.faults) > MOST_RECORDS:
                    break
    if not inner:
        yield chain, bool(steps)


def _tell_stray(value: Any, said: Said) -> None:  # noqa: ANN401 - JSON can be anything
    said.faults.append(SenderFaultError("bad_field", f"{shown(value)} is no record"))


def _under(value: Any, names: Sequence[str], texts: dict[str, Any], said: Said) -> list[Any]:  # noqa: ANN401
    """Return what stands at the end of names, in each spelling of them."""
    found = [value]
    for name in names:
        wanted = _FOLDS[name]
        found = [
            inner
            for each in found
            if isinstance(scope := _opened(each, texts, said), dict)
            for key, inner in scope.items()
            if key == name or _FOLDS[key] == wanted
        ]
    return found


def getter(paths: Paths) -> Callable[[Chain], Any]:
    """Return what finds the first of these paths that is there, in a record or in what is around it."""
    find = finder({paths: 0})
    return lambda chain: next(iter(find(chain)[1]), MISSING)


def finder(slots: Mapping[Paths, int], *, exact: bool = False, calls: Collection[int] = ()) -> Find:
    """Return what finds the values of all slots that are there: it costs what is there.

    The innermost object counts, and in it the first of the paths; `exact`: a path is a name. `calls` are
    slots of calls for help.
    """
    known = tree(
        [
            ([path] if exact else path.split("."), slot, rank)
            for paths, slot in slots.items()
            for rank, path in enumerate(paths)
        ],
        calls,
    )

    def find(chain: Chain) -> Entries:
        if len(chain) == 1 and type(chain[0]) is dict:
            found = _gather(chain[0], known)
            if found is not None:
                return found
        return _sought(chain, known, calls)

    return find


def _gather(scope: dict[str, Any], names: Tree) -> Entries | None:
    """Return what stands in an object by its shape, None if it has none."""
    shape = names.shapes[tuple(scope)]
    if shape is None:
        return None
    there = list(scope.values())
    slots, take, below = shape
    values = take(there) if slots else ()
    for place, inside in below:
        value = there[place]
        inner = _object(value) if type(value) is str else value
        if type(inner) is dict:
            found = _gather(inner, inside)
            if found is None:
                return None
            slots, values = slots + found[0], values + found[1]
    return slots, values, ()


def _sought(chain: Chain, names: Tree, calls: Collection[int]) -> Entries:
    """Return what stands in a record, sought name by name."""
    values: dict[int, Any] = {}
    others: dict[int, list[Any]] = {slot: [] for slot in calls}
    for scope in chain:
        if type(scope) is dict:
            _search(scope, names, values, {}, others)
    twice = [(slot, value) for slot, found in others.items() for value in found]
    return tuple(values), tuple(values.values()), twice


def _search(
    scope: dict[str, Any],
    names: Tree,
    values: dict[int, Any],
    ranks: dict[int, int],
    others: Mapping[int, list[Any]],
) -> None:
    """Add the values that stand in an object; `ranks` are those of its slots so far."""
    for name, value in scope.items():
        branch = names[name]
        if branch is None:
            continue
        for slot, rank in branch.ends:
            if slot not in values:
                values[slot], ranks[slot] = value, rank
            elif slot in ranks:
                other = value
                if rank < ranks[slot]:
                    other, values[slot], ranks[slot] = values[slot], value, rank
                if slot in others and other != values[slot]:
                    others[slot].append(other)
        if branch.below is not None:
            inner = _object(value) if type(value) is str else value
            if type(inner) is dict:
                _search(inner, branch.below, values, ranks, others)


def _object(text: str) -> Any:  # noqa: ANN401 - JSON can be anything
    return _parsed_text(text) if text[:1] == "{" and len(text) <= _LONGEST_TEXT else None


@lru_cache(maxsize=64)
def _parsed_text(text: str) -> Any:  # noqa: ANN401 - JSON can be anything
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def joined(raw: list[Any]) -> Any:  # noqa: ANN401 - JSON can be anything
    """Return a date and a time as one text; MISSING unless all parts are there."""
    if any(each is MISSING or each is None or each == "" for each in raw):
        return MISSING
    return " ".join(str(each) for each in raw)
