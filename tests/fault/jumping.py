"""The bridge on a clock that SIGUSR1 sets forward, SIGUSR2 back: `python -m tests.fault.jumping CONFIG`."""

import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import schemas.clock
from ops.common import load_settings, run
from ops.ingest import run_bridge

JUMP: Final = 3600.0
"""Seconds: twice the silence after which a device is called silent."""

_ahead = 0.0


def _jump(signal_number: int, _: object) -> None:
    global _ahead  # noqa: PLW0603 - a signal handler has nothing else to write to
    _ahead += JUMP if signal_number == signal.SIGUSR1 else -JUMP


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _jump)
    signal.signal(signal.SIGUSR2, _jump)
    vars(schemas.clock)["time"] = SimpleNamespace(time=lambda: time.time() + _ahead)
    run(run_bridge(load_settings(Path(sys.argv[1]))))
