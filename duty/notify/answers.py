"""What came of an attempt to tell somebody."""

import re
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 200
_UNSEEN: Final = re.compile(r"[^\x20-\x7e\u4e00-\u9fff\u3000-\u303f\uff00-\uff60]+")


@dataclass(frozen=True)
class Answer:
    """Taken, or why not. `refused`: the receiver will say so again, until somebody changes something.

    `wait` is for how many seconds the receiver asks to be left alone.
    """

    said: str = ""
    refused: bool = False
    wait: float = 0.0

    @property
    def is_sent(self) -> bool:
        """Say whether it was taken."""
        return not self.said


TAKEN: Final = Answer()


def safe(said: str, secrets: list[str]) -> str:
    """Return what a receiver said as one bounded line in which no secret stands."""
    for secret in secrets:
        said = said.replace(secret, "***")
    return _UNSEEN.sub(" ", said).strip()[:LONGEST] or "no reason given"
