"""README as a newcomer follows it: from `make demo` to people of his own, a call, and its end at the desk."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.chromium import ON_THE_SESSIONS_LOOP, browser, chromium
from tests.conftest import skip_service
from tests.installation import until

__all__ = ["browser", "chromium"]
pytestmark = ON_THE_SESSIONS_LOOP

ROOT = Path(__file__).parents[2]
DESK = re.compile(r"^desk +(http://\S+)$", re.MULTILINE)
BY_HAND = "by hand, in a second terminal:\n"
LINES = 5


@pytest_asyncio.fixture(loop_scope="session")
async def demo(scratch: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """Run the demo without an end; give the desk's address and the lines for the second terminal."""
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

        shown = await until(lines, lambda found: len(found) == LINES and "alarm list" in found[-1], wait=60)
        address = DESK.search(said.read_text())
        assert address, "the demo does not say where its desk is"
        yield address[1], shown
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


async def test_readmes_lines_lead_to_an_alarm_that_is_handled_at_the_desk(
    demo: tuple[str, list[str]], browser: Browser
) -> None:
    """Two CSV files and one mosquitto_pub later the alarm bears a name; at the desk it is seen to its end."""
    address, lines = demo
    shown = [line.partition(" #")[0].strip() for line in (ROOT / "README.md").read_text("utf-8").splitlines()]
    assert set(map(as_in_readme, lines[1:])) <= set(shown)
    export, *others, listing = lines
    code, said = await shell([export, *others])
    assert code == 0, said
    code, said = await until(lambda: shell([export, listing]), lambda answer: "张桂英" in answer[1])
    assert (code, "张桂英" in said, "紧急呼叫" in said) == (0, True, True), said

    page = await browser.new_page()
    await page.goto(address)
    row = page.locator("#alarms [data-alarm]", has_text="BELL-9001")
    await row.locator(".kind").click()
    card = page.locator("#card")
    await expect(card.locator("h2")).to_contain_text("张桂英")
    await card.get_by_role("button", name="确认").click()
    await card.get_by_role("button", name="派人").click()
    await page.locator("#to").fill("网格员小李")
    await page.get_by_role("button", name="派出").click()
    await card.get_by_role("button", name="到场").click()
    await card.get_by_role("button", name="误触").click()
    await expect(row).to_have_count(0)
    await page.close()
    code, said = await shell([export, "carebell alarm list --all --device BELL-9001 --json"])
    assert (code, '"outcome": "accidental"' in said) == (0, True), said


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
