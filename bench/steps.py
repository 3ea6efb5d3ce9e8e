"""The bridge's CPU by step: a sampling profiler outside (py-spy) looks 200 times a second.

A profiler inside the process would charge each call and make small functions look dear. A sample counts for
the innermost function of ours that belongs to a step: what a library does counts for the step that called it.
Only the thread of the loop counts, and only when it does not wait in `select`: whoever waits looks, now and
then, as if he worked.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.carry import Carried, Contender, carry, shown
from bench.ground import Ground
from bench.machine import NotMeasuredError, py_spy
from bench.table import Line

RATE: Final = 200
LEAD_IN: Final = 1.0
OTHER: Final = "loop and other"

STEPS: Final[tuple[tuple[str, str, str], ...]] = (
    # file, functions, step: the first that fits
    ("ingest/mqtt.py", "puback", "acknowledge"),
    ("ingest/mqtt.py", ".*", "receive"),
    ("ingest/inbox.py", ".*", "receive"),
    ("asyncio/selector_events.py", "_read_ready.*", "receive"),
    ("ingest/decode.py", ".*", "decode"),
    ("ingest/bulk.py", ".*", "decode"),
    ("ingest/columns.py", ".*", "decode"),
    ("ingest/registry.py", ".*", "decode"),
    ("schemas/messages.py", ".*", "decode"),
    ("store/duplicates.py", ".*", "deduplicate"),
    ("store/ledger.py", ".*", "deduplicate"),
    ("store/writer.py", "without_duplicates|_drop", "deduplicate"),
    ("rules/.*", ".*", "evaluate"),
    ("store/(?!connection).*", ".*", "encode, COPY, commit"),
    ("ingest/source.py", "ack", "acknowledge"),
)
NAMES: Final = (*dict.fromkeys(step for _, _, step in STEPS), OTHER)

_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)")


@dataclass(frozen=True)
class Profile:
    """Shares of the samples by step and by function, and what they mean in us a message."""

    samples: int
    steps: dict[str, float]
    functions: dict[str, float]
    bridge_us: float

    def lines(self) -> list[Line]:
        """Show the steps."""
        return [
            Line(
                name,
                f"{self.steps.get(name, 0.0):.1%}, {self.steps.get(name, 0.0) * self.bridge_us:.2f} us/msg",
            )
            for name in NAMES
        ]

    def figures(self) -> dict[str, Any]:
        """Return it for the JSON."""
        us = {name: round(share * self.bridge_us, 3) for name, share in self.steps.items()}
        return {"samples": self.samples, "steps": self.steps, "steps_us": us, "functions": self.functions}


async def profiled(where: Ground, contender: Contender, measured: Carried) -> Profile:
    """Send the load of a measurement again, and look at the bridge meanwhile."""
    seconds, program = where.scale.profile_seconds, py_spy()
    output = where.scratch / "profile.raw"
    load = where.load(seconds + 2 * LEAD_IN, rate=measured.rate)
    async with shown(where, f"profile of {seconds:.0f} s"):
        carrying = asyncio.create_task(carry(where, contender, load))
        await asyncio.sleep(LEAD_IN)
        said = await _record(program, contender.pid, seconds, output)
        await carrying
    if not output.exists():
        raise NotMeasuredError(f"py-spy cannot look at the bridge: {said}")
    return read(output.read_text().splitlines(), measured.bridge_us)


async def _record(program: str, pid: int, seconds: float, output: Path) -> str:
    arguments = ["--pid", pid, "--duration", max(1, round(seconds)), "--rate", RATE]
    process = await asyncio.create_subprocess_exec(
        *(program, "record", "--threads", *map(str, arguments), "--format", "raw", "--output", str(output)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode(errors="replace").strip()


def read(stacks: Iterable[str], bridge_us: float) -> Profile:
    """Read collapsed stacks, `thread;outermost;...;innermost count` a line."""
    steps: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if not thread.endswith("MainThread") or not frames or "select (selectors.py" in frames[-1]:
            continue
        frames.reverse()
        steps[step_of(frames)] += int(count)
        functions[re.sub(r":\d+\)", ")", frames[0])] += int(count)
    total = steps.total()
    if not total:
        raise NotMeasuredError("the profiler saw the bridge do nothing")
    return Profile(
        total,
        {name: round(count / total, 4) for name, count in steps.most_common()},
        {name: round(count / total, 4) for name, count in functions.most_common(25)},
        bridge_us,
    )


def step_of(frames: Iterable[str]) -> str:
    """Return the step of a stack, the innermost frame first."""
    for found in filter(None, map(_FRAME.fullmatch, frames)):
        for file, functions, step in STEPS:
            names = found["function"].split(".")
            if re.search(rf"(^|/){file}$", found["file"]) and any(re.fullmatch(functions, n) for n in names):
                return step
    return OTHER
