"""README as a newcomer follows it: from `make demo` to people and devices of his own, and a call for help."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import skip_service
from tests.installation import until

ROOT = Path(__file__).parents[2]
BY_HAND = "by hand, in a second terminal:\n"
LINES = 5


@pytest.fixture
async def demo(scratch: Path) -> AsyncIterator[list[str]]:
    """Run the demo without an end, and give the lines that it prints for the second terminal."""
    if shutil.which("mosquitto_pub") is None:
        skip_service("mosquitto_pub", "not installed: apt-get install mosquitto-clients")
    said = scratch / "demo.log"
    with said.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ops.cli", "demo", "--devices", "30"), stdout=output, cwd=ROOT
        )
    try:

        async def lines() -> list[str]:
            assert process.returncode is None, "the demo ended"
            shown = said.read_text().partition(BY_HAND)[2].splitlines()
            return [line.strip() for line in shown[:LINES]]

        yield await until(lines, lambda found: len(found) == LINES and "alarm list" in found[-1], wait=60)
    finally:
        process.terminate()
        await process.wait()


async def shell(lines: list[str]) -> tuple[int, str]:
    """Run lines in a shell that stops at the first error; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", "\n".join(lines)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def as_in_readme(line: str) -> str:
    """Leave out the addresses of this run."""
    return re.sub(r"mosquitto_pub .* -q", "mosquitto_pub ... -q", line)


async def test_readmes_lines_lead_to_the_persons_name_on_the_alarm(demo: list[str]) -> None:
    """The demo prints README's lines; two CSV files and one mosquitto_pub later the alarm bears a name."""
    shown = [line.partition(" #")[0].strip() for line in (ROOT / "README.md").read_text("utf-8").splitlines()]
    assert set(map(as_in_readme, demo[1:])) <= set(shown)
    export, *others, listing = demo
    code, said = await shell([export, *others])
    assert code == 0, said
    code, said = await until(lambda: shell([export, listing]), lambda answer: "张桂英" in answer[1])
    assert (code, "张桂英" in said, "紧急呼叫" in said) == (0, True, True), said


async def test_readmes_first_command_finds_no_difference() -> None:
    """`make demo SECONDS=40` plays a town, compares every alarm and row with its truth, and exits 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", "demo", "--seconds", "40"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    said = (await process.communicate())[0].decode()
    assert (process.returncode, "no difference" in said) == (0, True), said[-4000:]
