"""The bridge with an engine that hangs on purpose: `python -m tests.fault.hanging CONFIG HOW LIMIT`."""

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import ops.ingest
from ingest.watchdog import watchdog
from ops.common import load_settings, run
from rules.engine import Engine
from rules.machine import Delta
from schemas.readings import Batch
from schemas.topics import Lane

_FOREVER = 600

HOW: Final[dict[str, Callable[[], object]]] = {
    "nothing": lambda: None,
    "sleep": lambda: time.sleep(_FOREVER),
    "hold Python's lock": lambda: ctypes.PyDLL(None).sleep(_FOREVER),
}
"""What the engine does before it judges a call for help."""


def hang(do: Callable[[], object]) -> None:
    """Make every engine do this before it judges what is urgent."""
    judge = Engine.evaluate

    def evaluate(engine: Engine, batch: Batch) -> Delta:
        if batch.lane is Lane.URGENT and len(batch.readings):
            do()
        return judge(engine, batch)

    Engine.evaluate = evaluate  # type: ignore[method-assign,assignment]  # in this process alone


if __name__ == "__main__":
    hang(HOW[sys.argv[2]])
    vars(ops.ingest)["watchdog"] = lambda: watchdog(int(sys.argv[3]))
    run(ops.ingest.run_bridge(load_settings(Path(sys.argv[1]))))
