"""A module of the bench in a process of its own: it reads its task as JSON and answers in lines of JSON."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.machine import NotMeasuredError


class Child:
    """A running module and what it says."""

    def __init__(self, process: asyncio.subprocess.Process, module: str) -> None:
        """Take over a process whose output is a pipe."""
        self._process = process
        self._module = module
        self.pid = process.pid

    async def says(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """Return its next word; raises NotMeasuredError if it has ended."""
        assert self._process.stdout is not None  # noqa: S101 - made with a pipe
        line = await self._process.stdout.readline()
        if not line:
            raise NotMeasuredError(f"{self._module} ended: its last words are above")
        return json.loads(line)


@asynccontextmanager
async def child(module: str, **what: object) -> AsyncIterator[Child]:
    """Run `python -m module` until the end of the block; enter it when the first word, "ready", has come."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        assert process.stdin is not None  # noqa: S101 - made with a pipe
        process.stdin.write(json.dumps(what).encode() + b"\n")
        await process.stdin.drain()
        found = Child(process, module)
        await found.says()
        yield found
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def task() -> dict[str, Any]:
    """Return, in the child, what it is to do."""
    found = json.loads(sys.stdin.readline())
    assert isinstance(found, dict)  # noqa: S101 - our own parent wrote it
    return found


def say(word: object) -> None:
    """Say something to the parent, from the child."""
    print(json.dumps(word), flush=True)
