"""The handling machine: what duty staff may do about an alarm in each state, as a table.

    unacknowledged --acknowledge--> acknowledged --dispatch--> dispatched --arrive--> arrived
                                         |  ^                      |                     |
                                         |  +----reopen----+       |                     |
                                         +------close------+-------+---------------------+--> closed

Rules of this file: no input or output; whatever is not in the table is illegal; an illegal move raises and
changes nothing. Why so (docs/adr/020):
- closing and merging ask for an acknowledgement first, so that every alarm has one person who took it up;
- dispatching again sends a further person; it never takes the first one back;
- merging closes: what the person calls next is a new alarm, never hidden under an old one;
- shelving and assigning change no state: who is to see to it, and whether it stands before staff, is beside.

That a technical alarm closes itself when its condition clears is the engine's doing and not a verb here; nor
is it one that a drill's calls close when it ends, or that a shelf ends (duty/endings.py).
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
    ASSIGN = "assign"
    DISPATCH = "dispatch"
    ARRIVE = "arrive"
    NOTE = "note"
    MERGE = "merge"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    CLOSE = "close"
    REOPEN = "reopen"


_BESIDE: Final = (Verb.ASSIGN, Verb.NOTE, Verb.SHELVE, Verb.UNSHELVE)
"""What every open alarm takes, whatever its state, which stays."""


def _open(state: Handling, moves: dict[Verb, Handling]) -> dict[Verb, Handling]:
    return moves | dict.fromkeys(_BESIDE, state)


MOVES: Final[dict[Handling, dict[Verb, Handling]]] = {
    Handling.UNACKNOWLEDGED: _open(Handling.UNACKNOWLEDGED, {Verb.ACKNOWLEDGE: Handling.ACKNOWLEDGED}),
    Handling.ACKNOWLEDGED: _open(
        Handling.ACKNOWLEDGED,
        {
            Verb.DISPATCH: Handling.DISPATCHED,
            Verb.CLOSE: Handling.CLOSED,
            Verb.MERGE: Handling.CLOSED,
        },
    ),
    Handling.DISPATCHED: _open(
        Handling.DISPATCHED,
        {
            Verb.DISPATCH: Handling.DISPATCHED,
            Verb.ARRIVE: Handling.ARRIVED,
            Verb.CLOSE: Handling.CLOSED,
            Verb.MERGE: Handling.CLOSED,
        },
    ),
    Handling.ARRIVED: _open(
        Handling.ARRIVED,
        {
            Verb.DISPATCH: Handling.ARRIVED,
            Verb.CLOSE: Handling.CLOSED,
            Verb.MERGE: Handling.CLOSED,
        },
    ),
    Handling.CLOSED: {
        Verb.NOTE: Handling.CLOSED,
        Verb.REOPEN: Handling.ACKNOWLEDGED,
    },
}
"""State, verb, next state: all that is legal."""

DONE: Final = {
    Verb.ACKNOWLEDGE: "acknowledged",
    Verb.ASSIGN: "assigned",
    Verb.DISPATCH: "dispatched",
    Verb.ARRIVE: "arrived",
    Verb.NOTE: "noted",
    Verb.MERGE: "merged",
    Verb.SHELVE: "shelved",
    Verb.UNSHELVE: "unshelved",
    Verb.CLOSE: "closed",
    Verb.REOPEN: "reopened",
}
"""The word that the log uses for a verb that was carried out."""

DOWNLINK: Final = {
    Verb.ACKNOWLEDGE: "acknowledged",
    Verb.DISPATCH: "dispatched",
    Verb.CLOSE: "closed",
    Verb.REOPEN: "acknowledged",
}
"""What a device is told of an alarm of life; of other verbs it hears nothing, so of a merged call no end."""

VERB_ZH: Final = {
    Verb.ACKNOWLEDGE: "确认",
    Verb.ASSIGN: "指派",
    Verb.DISPATCH: "派人",
    Verb.ARRIVE: "到场",
    Verb.NOTE: "备注",
    Verb.MERGE: "并入",
    Verb.SHELVE: "搁置",
    Verb.UNSHELVE: "取消搁置",
    Verb.CLOSE: "关闭",
    Verb.REOPEN: "重新打开",
}

OUTCOMES: Final = tuple(
    outcome for outcome in Outcome if outcome not in (Outcome.CLEARED, Outcome.DRILL, Outcome.MERGED)
)
"""What a person may close with: not what closing itself, the end of a drill and merging write."""

ENGINE: Final = "carebell"
"""The engine signs the log with this name, so that no person may."""

NAME_LENGTH: Final = 100
"""Longest name of a person, in characters."""

NOTE_LENGTH: Final = 1000
"""Longest note, in characters."""

SHELF_MINUTES: Final = 1440
"""Longest time for which an alarm may be put away: what is still there a day later is looked at again."""

REOPEN_DAYS: Final = 7
"""For how long a closed alarm can be opened again; figures of what lies further back stand."""

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


class NotAllowedError(DutyError):
    """A verb that the state takes and something else forbids: `detail` and `zh` say what."""

    def __init__(self, detail: str, zh: str) -> None:
        super().__init__(detail)
        self.zh = zh


@dataclass(frozen=True)
class Standing:
    """How an alarm stands, as far as verbs depend on it: its state, and what is beside that."""

    state: Handling
    life: bool
    shelved: bool
    outcome: str | None

    def verbs(self) -> list[Verb]:
        """Return what may be done about it now."""
        return [verb for verb in MOVES[self.state] if self._against(verb) is None]

    def require(self, verb: Verb) -> None:
        """Raise NotAllowedError if the state takes the verb and something beside it does not."""
        reason = self._against(verb)
        if reason:
            raise NotAllowedError(*reason)

    def _against(self, verb: Verb) -> tuple[str, str] | None:
        if verb is Verb.SHELVE and self.life:
            return "an alarm of life is never shelved", "生命报警不能搁置"
        if verb is Verb.UNSHELVE and not self.shelved:
            return "it is not shelved", "该报警没有搁置"
        if verb is Verb.REOPEN and self.outcome in (Outcome.CLEARED, Outcome.DRILL):
            zh = f"以“{OUTCOME_ZH[Outcome(self.outcome)]}”结束的报警不能重新打开"
            return f"it ended as {self.outcome}: only what a person closed is opened again", zh
        return None


@dataclass(frozen=True)
class Order:
    """Who does what about an alarm; `note` goes with each verb, the others with theirs alone.

    `to`: whom to dispatch or assign. `outcome`, and `explained` to put away what an outage explains: close.
    `parent`: into which to merge. `minutes`: for how long to shelve. Raises BadOrderError if something is
    missing, out of place or range, too long, or not plain text.
    """

    verb: Verb
    by: str
    to: str = ""
    outcome: Outcome | None = None
    note: str = ""
    parent: int | None = None
    minutes: int | None = None
    explained: bool = False

    def __post_init__(self) -> None:
        """Refuse what no state of an alarm could make right."""
        require_text("by", self.by, NAME_LENGTH)
        require_text("to", self.to, NAME_LENGTH)
        require_text("note", self.note, NOTE_LENGTH)
        if not self.by.strip() or self.by == ENGINE:
            raise BadOrderError(f"by = {self.by!r}: a person's name, and not {ENGINE}", "请写明操作人")
        self._check_to()
        self._check_outcome()
        if (self.verb is Verb.MERGE) != (self.parent is not None):
            raise BadOrderError("parent: merge, and only merge, says into which alarm", "请写明并入哪条报警")
        if self.verb is Verb.SHELVE and not 1 <= (self.minutes or 0) <= SHELF_MINUTES:
            zh = f"请写明搁置 1 至 {SHELF_MINUTES} 分钟"
            raise BadOrderError(f"minutes: shelve takes 1 to {SHELF_MINUTES}", zh)
        if self.verb is not Verb.SHELVE and self.minutes is not None:
            raise BadOrderError("minutes: only shelve has a length", "只有搁置才有时长")
        if self.verb is Verb.NOTE and not self.note.strip():
            raise BadOrderError("note: says nothing", "请填写备注")

    def _check_to(self) -> None:
        sends = self.verb in (Verb.DISPATCH, Verb.ASSIGN)
        if not (self.to.strip() if sends else self.to == ""):
            raise BadOrderError(
                f"to = {self.to!r}: dispatch and assign, and only they, say to whom", "请写明派谁去或指派给谁"
            )

    def _check_outcome(self) -> None:
        closes = self.verb is Verb.CLOSE
        if not (self.outcome in OUTCOMES if closes else self.outcome is None):
            allowed = ", ".join(OUTCOMES)
            raise BadOrderError(
                f"outcome = {self.outcome!s}: close, and only close, has one of {allowed}",
                "请选择结果：" + "、".join(OUTCOME_ZH[outcome] for outcome in OUTCOMES),
            )
        if self.explained and not closes:
            raise BadOrderError("explained: only close takes others along", "只有关闭才能一并处理")

    def detail(self) -> dict[str, str | int]:
        """Return what the log keeps beside the verb."""
        said: dict[str, str | int] = {
            "to": self.to,
            "outcome": str(self.outcome or ""),
            "note": self.note,
            "parent": self.parent or 0,
            "minutes": self.minutes or 0,
        }
        return {key: value for key, value in said.items() if value}


def require_text(key: str, value: str, length: int) -> None:
    """Raise BadOrderError unless `value` is plain text of at most `length` characters."""
    if len(value) > length or not _PLAIN.fullmatch(value):
        raise BadOrderError(
            f"{key}: at most {length} characters, none of them a control character",
            f"文字过长（最多 {length} 字）或含有控制字符",
        )
