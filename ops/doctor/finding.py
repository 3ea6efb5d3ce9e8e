"""What a check says: what was found, whether that is right, and what to do where it is not."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report; `advice` is empty where all is well."""

    part: str
    check: str
    state: State
    found: str
    advice: str = ""


def fault(part: str, check: str, found: str, advice: str, *, otherwise: State = State.WRONG) -> Finding:
    """Return a finding of something that is not right."""
    return Finding(part, check, otherwise, found, advice)


def judge(
    part: str, check: str, found: str, right: bool = True, advice: str = "", *, otherwise: State = State.WRONG
) -> Finding:
    """Return a finding; where it is not `right`, a fault as bad as `otherwise` says."""
    if right:
        return Finding(part, check, State.OK, found)
    return fault(part, check, found, advice, otherwise=otherwise)
