"""The handling machine: what duty staff may do about an alarm in each state, as a table.

    unacknowledged --acknowledge--> acknowledged --dispatch--> dispatched --dispatch--> dispatched
                                         |                         |
                                         +---------close-----------+------> closed

Rules of this file: no input or output; whatever is not in the table is illegal; an illegal move raises and
changes nothing. Why so:
- closing asks for an acknowledgement first, so that every alarm has one person who took it up, and when;
- dispatching from dispatched sends a further person; it never takes the first one back;
- nothing leads out of closed: a new activation is a new alarm.

That a technical alarm closes itself when its condition clears is the engine's doing and not a verb here; nor
is it one that a drill's calls close when it ends (duty/drills.py).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.alarms import HANDLING_ZH, OUTCOME_ZH, Handling, Outcome
from schemas.errors import CarebellError


class Verb(StrEnum):
    """What a person can do about an alarm."""

    ACKNOWLEDGE = "acknowledge"
    DISPATCH = "dispatch"
    CLOSE = "close"


MOVES: Final[dict[Handling, dict[Verb, Handling]]] = {
    Handling.UNACKNOWLEDGED: {
        Verb.ACKNOWLEDGE: Handling.ACKNOWLEDGED,
    },
    Handling.ACKNOWLEDGED: {
        Verb.DISPATCH: Handling.DISPATCHED,
        Verb.CLOSE: Handling.CLOSED,
    },
    Handling.DISPATCHED: {
        Verb.DISPATCH: Handling.DISPATCHED,
        Verb.CLOSE: Handling.CLOSED,
    },
    Handling.CLOSED: {},
}
"""State, verb, next state: all that is legal."""

DONE: Final = {
    Verb.ACKNOWLEDGE: "acknowledged",
    Verb.DISPATCH: "dispatched",
    Verb.CLOSE: "closed",
}
"""The word that log and downlink use for a verb that was carried out."""

VERB_ZH: Final = {Verb.ACKNOWLEDGE: "确认", Verb.DISPATCH: "派人", Verb.CLOSE: "关闭"}

OUTCOMES: Final = tuple(outcome for outcome in Outcome if outcome not in (Outcome.CLEARED, Outcome.DRILL))
"""What a person may close with: not the outcomes of an alarm that closed itself and of a drill that ended."""

ENGINE: Final = "carebell"
"""The engine signs the log with this name, so that no person may."""

NAME_LENGTH: Final = 100
"""Longest name of a person, in characters."""

NOTE_LENGTH: Final = 1000
"""Longest note, in characters."""

_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]*")
# Nothing that a database refuses, that breaks a line of a log, or that turns a name's letters round.


class DutyError(CarebellError):
    """A person's wish that is refused and changed nothing; `zh` says it to duty staff."""

    zh: str = ""


class BadOrderError(DutyError):
    """An order that could never be carried out: what is missing, too long, or not a word we know."""

    def __init__(self, detail: str, zh: str) -> None:
        super().__init__(detail)
        self.zh = zh


class IllegalMoveError(DutyError):
    """The table has no such move: names the state, the verb and, where somebody was first, who."""

    def __init__(self, state: Handling, verb: Verb, first: str | None) -> None:
        legal = ", ".join(MOVES[state]) or "nothing"
        who = f": {first} was first" if first else ""
        super().__init__(f"cannot {verb} an alarm that is {state}{who} (it takes: {legal})")
        self.state = state
        self.verb = verb
        self.first = first
        self.zh = f"不能{VERB_ZH[verb]}：该报警{HANDLING_ZH[state]}" + (f"（{first}在先）" if first else "")


def advance(state: Handling, verb: Verb, first: str | None = None) -> Handling:
    """Return the state after `verb`; `first` is who brought the alarm where it is, for the refusal to name.

    Raises IllegalMoveError if the table has no such move.
    """
    after = MOVES[state].get(verb)
    if after is None:
        raise IllegalMoveError(state, verb, first)
    return after


@dataclass(frozen=True)
class Order:
    """Who does what about an alarm: `to` goes with dispatch, `outcome` with close, `note` with each.

    Raises BadOrderError if something is missing, out of place, too long, or not plain text.
    """

    verb: Verb
    by: str
    to: str = ""
    outcome: Outcome | None = None
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what no state of an alarm could make right."""
        require_text("by", self.by, NAME_LENGTH)
        require_text("to", self.to, NAME_LENGTH)
        require_text("note", self.note, NOTE_LENGTH)
        if not self.by.strip() or self.by == ENGINE:
            raise BadOrderError(f"by = {self.by!r}: a person's name, and not {ENGINE}", "请写明操作人")
        if not (self.to.strip() if self.verb is Verb.DISPATCH else self.to == ""):
            raise BadOrderError(
                f"to = {self.to!r}: dispatch, and only dispatch, says to whom", "请写明派谁去"
            )
        if not (self.outcome in OUTCOMES if self.verb is Verb.CLOSE else self.outcome is None):
            allowed = ", ".join(OUTCOMES)
            raise BadOrderError(
                f"outcome = {self.outcome!s}: close, and only close, has one of {allowed}",
                "请选择结果：" + "、".join(OUTCOME_ZH[outcome] for outcome in OUTCOMES),
            )

    def detail(self) -> dict[str, str]:
        """Return what the log keeps beside the verb."""
        said = {"to": self.to, "outcome": str(self.outcome or ""), "note": self.note}
        return {key: value for key, value in said.items() if value}


def require_text(key: str, value: str, length: int) -> None:
    """Raise BadOrderError unless `value` is plain text of at most `length` characters."""
    if len(value) > length or not _PLAIN.fullmatch(value):
        raise BadOrderError(
            f"{key}: at most {length} characters, none of them a control character",
            f"文字过长（最多 {length} 字）或含有控制字符",
        )
