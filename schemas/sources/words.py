"""Words in what a value says: SOS_ALARM, SosAlarm, "sos alarm" and ["SOS-ALARM"] say the same.

Whatever JSON brings, nothing is raised, and a long text costs no more than its beginning.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple
from unicodedata import normalize

from schemas.sources.values import plain

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_APART: Final = re.compile(r"[,;|、\n]+")
_LONGEST_RUN: Final = 4
"""Words in a row that may also be written as one: NOT WORN, notWorn, notworn."""
_READ: Final = 300
_MOST_WORDS: Final = 40
_MOST_MEMBERS: Final = 100


def as_sought(word: str) -> str:
    """Return a word that is sought as it is compared: without case, in one; raises ValueError for none."""
    text = normalize("NFKC", word).casefold().strip()
    found = "".join(_WORD.findall(text)) if text.isascii() else text
    if not found:
        raise ValueError("a word is letters or digits")
    return found


class Phrase(NamedTuple):
    """Something that is said: its text, and its words, also up to four in a row written as one."""

    text: str
    words: frozenset[str]


def phrases(raw: Any) -> Sequence[Phrase]:  # noqa: ANN401 - JSON can be anything
    """Return what a value says, one by one: a text's parts, an array's members, an object as a whole."""
    if type(raw) is str:
        return _parts(raw[:_READ], whole=False)
    if isinstance(raw, list):
        return [phrase for each in islice(raw, _MOST_MEMBERS) for phrase in _phrases_of(each)]
    return _phrases_of(raw)


def _phrases_of(raw: Any) -> Sequence[Phrase]:  # noqa: ANN401 - JSON can be anything
    """Return what a value says that is no array."""
    if isinstance(raw, dict):
        return _parts(" ".join(map(_text, islice(raw.values(), _MOST_MEMBERS)))[:_READ], whole=True)
    return _parts(_text(raw)[:_READ], whole=False)


def _text(raw: Any) -> str:  # noqa: ANN401 - JSON can be anything
    """Return a scalar as a text, an array of texts as one, "" for anything else."""
    if isinstance(raw, list):
        return " ".join(each[:_READ] for each in islice(raw, _MOST_MEMBERS) if isinstance(each, str))
    return raw if isinstance(raw, str) else plain(raw) or ""


@lru_cache(maxsize=2_000)
def _parts(text: str, *, whole: bool) -> Sequence[Phrase]:
    text = normalize("NFKC", text)[:_READ]
    parts = [text] if whole else _APART.split(text)
    return tuple(Phrase(part.casefold(), _words(part)) for part in parts if part and not part.isspace())


def _words(phrase: str) -> frozenset[str]:
    found = [each[0].casefold() for each in islice(_WORD.finditer(phrase), _MOST_WORDS)]
    return frozenset(
        "".join(found[first : first + length])
        for first in range(len(found))
        for length in range(1, _LONGEST_RUN + 1)
    )


def speaks(wanted: Iterable[str], *, every: bool) -> Callable[[Any], bool]:
    """Return what says of a value whether any of what it says has one of these words; or all of it has."""
    sought = frozenset(map(as_sought, wanted))
    anywhere = [each for each in sought if not each.isascii()]

    def says(phrase: Phrase) -> bool:
        if not sought.isdisjoint(phrase.words):
            return True
        return not phrase.text.isascii() and any(each in phrase.text for each in anywhere)

    def every_one(raw: Any) -> bool:  # noqa: ANN401 - JSON can be anything
        told = phrases(raw)
        return bool(told) and all(map(says, told))

    def any_one(raw: Any) -> bool:  # noqa: ANN401 - JSON can be anything
        return any(map(says, phrases(raw)))

    return every_one if every else any_one
