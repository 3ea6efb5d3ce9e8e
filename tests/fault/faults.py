"""The faults, by name: each takes a rig and how long to last, and comes back when the fault is over.

Tests and the soak share this table. After a fault `Rig.heal` mends what a fault leaves behind.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from ops.parts.common import Part
from tests.fault.proxy import Proxy
from tests.fault.rig import Rig

Fault = Callable[[Rig, float], Awaitable[None]]

LATENCY: Final = 0.15


async def _kill_bridge(rig: Rig, seconds: float) -> None:
    await rig.installed.kill()
    await asyncio.sleep(seconds)
    await rig.installed.start()


async def _freeze(rig: Rig, seconds: float) -> None:
    """Stop every process of the database, as a disk does that answers nobody."""
    frozen = family(rig.database.pid)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)


async def _restart(
    part: Callable[[Rig], Part], how: Callable[[Part], None], rig: Rig, seconds: float
) -> None:
    down = part(rig)
    await asyncio.to_thread(how, down)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(down.start)


async def _wire(wire: Callable[[Rig], Proxy], how: Callable[[Proxy], None], rig: Rig, seconds: float) -> None:
    broken = wire(rig)
    how(broken)
    await asyncio.sleep(seconds)
    await broken.heal()


async def _lose_reply(rig: Rig, seconds: float) -> None:
    """Let a COMMIT land whose reply nobody sees."""
    rig.to_database.cut_reply()
    await asyncio.sleep(seconds)


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [pid, *map(int, children.split())]


def _broker(rig: Rig) -> Part:
    return rig.broker


def _database(rig: Rig) -> Part:
    return rig.database


WIRES: Final = {
    "broker": lambda rig: rig.to_broker,
    "database": lambda rig: rig.to_database,
}
BREAKS: Final = {
    "refused": Proxy.stop,
    "cut": Proxy.cut,
    "stalled": Proxy.stall,
    "delayed": lambda proxy: proxy.delay(LATENCY),
    "reset": Proxy.reset,
}
FAULTS: Final[dict[str, Fault]] = {
    "bridge killed": _kill_bridge,
    "broker restarted": partial(_restart, _broker, Part.stop),
    "database restarted": partial(_restart, _database, Part.stop),
    "database killed": partial(_restart, _database, Part.kill),
    "database frozen": _freeze,
    "reply of COMMIT lost": _lose_reply,
    **{
        f"{side} connection {name}": partial(_wire, wire, how)
        for side, wire in WIRES.items()
        for name, how in BREAKS.items()
    },
}
"""Name to fault. mosquitto killed with -9 is not among them: what it then loses is its own."""
