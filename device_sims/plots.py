"""Plots: what may befall a device, each with its truth, written so that nothing hangs on a hair.

A plot edits its device's script from a moment `at` on. `lasts` is the time until its last decision, `after`
the earliest `at`. `latched` plots are judged on the device's clock, which then must be right; `hushed` ones
are about silence, so nothing else may be added to the device.
"""

from collections.abc import Callable
from dataclasses import dataclass

from device_sims.script import MINUTE, TAIL, Script

FAMILIES = ("bell", "caller", "band")


@dataclass(frozen=True)
class Plot:
    """One plot, what it needs, and `run`, which plays it on a script from a moment on."""

    name: str
    run: Callable[[Script, int], None]
    lasts: int
    families: tuple[str, ...] = FAMILIES
    after: int = MINUTE // 2
    latched: bool = False
    hushed: bool = False
    by_duty: bool = False
    needs: str = ""  # the knob of Misbehaviour that allows it
    heartbeat_seconds: int = 120

    def fits(self, end: int) -> bool:
        """Say whether a town of this length has room for it."""
        return self.after + self.lasts <= end - TAIL

    def play(self, script: Script) -> None:
        """Play it at a moment drawn so that its last decision falls before the tail."""
        latest = script.end - TAIL - self.lasts
        self.run(script, script.rng.randint(self.after, latest))
