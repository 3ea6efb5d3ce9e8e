"""The bridge with a line whose order is broken on purpose: `python -m tests.fault.broken CONFIG CHANGE`.

The broken line is made out of the source of the real one, so that it stays a copy of it.
"""

import inspect
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import ingest.bridge
import ingest.line
from ops.common import load_settings, run
from ops.ingest import run_bridge

Loop = Callable[..., Awaitable[None]]

_ACK = re.compile(r"^ +await source\.ack\(.*\n", re.MULTILINE)
_COMMIT = re.compile(r"^ +await store\.commit\(.*\n", re.MULTILINE)
_LEDGER = "await store.without_duplicates(received)"


def _as_it_is(source: str) -> str:
    return source


def _acknowledges_first(source: str) -> str:
    """Put the acknowledgement before the commit."""
    ack, commit = _ACK.findall(source), _COMMIT.findall(source)
    assert (len(ack), len(commit)) == (1, 1), "the line has changed: say anew where it acknowledges"
    return _ACK.sub("", source).replace(commit[0], ack[0] + commit[0])


def _without_the_ledger(source: str) -> str:
    """Take every message for a new one."""
    assert source.count(_LEDGER) == 1, "the line has changed: say anew where it asks the ledger"
    return source.replace(_LEDGER, "received")


CHANGES: Final[dict[str, Callable[[str], str]]] = {
    "as it is": _as_it_is,
    "acknowledges first": _acknowledges_first,
    "without the ledger": _without_the_ledger,
}


def copy_of_the_line(change: Callable[[str], str]) -> Loop:
    """Return the loop of the line with one change."""
    room: dict[str, Any] = dict(vars(ingest.line))
    exec(change(inspect.getsource(ingest.line.run_line)), room)  # noqa: S102 - our own source, one line moved
    loop: Loop = room["run_line"]
    return loop


if __name__ == "__main__":
    vars(ingest.bridge)["run_line"] = copy_of_the_line(CHANGES[sys.argv[2]])
    run(run_bridge(load_settings(Path(sys.argv[1]))))
