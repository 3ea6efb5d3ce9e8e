"""Many open desks: streams of the feed that read every event, and one page in a real Chromium.

A desk that is a stream does what a page must before it can draw: it takes the event apart and reads its JSON.
The page tells of each row itself, by an observer that notes when the row stands in its list: the next frame
draws it.
"""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

from playwright.async_api import Page, async_playwright

from bench.child import say, task

OPEN: Final = 30.0
"""Seconds within which every desk must be open."""
LATEST: Final = 30.0
"""Seconds without a new alarm on any desk after which the others are given up."""
LOOK_EVERY: Final = 1.0
CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
OBSERVE: Final = """
    window.seen = {};
    new MutationObserver(() => {
        const now = performance.timeOrigin + performance.now();
        const rows = document.querySelectorAll("#alarms [data-alarm]");
        for (const row of rows) window.seen[row.dataset.alarm] ??= now;
    }).observe(document, { subtree: true, childList: true });
"""


@dataclass(eq=False)
class Desk(asyncio.Protocol):
    """One stream: when it read of each device's alarm, in seconds of the monotonic clock."""

    address: str
    token: str
    seen: dict[str, float] = field(default_factory=dict)
    numbers: dict[int, str] = field(default_factory=dict)
    """Devices by the numbers of their alarms."""
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    ended: str = ""
    _rest: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the feed."""
        host = urlsplit(self.address).netloc
        cast("asyncio.Transport", transport).write(
            f"GET /api/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.token}\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it broke: a desk that resumes would have seen its alarms late."""
        self.ended = str(exc or "the desk ended a stream")

    def data_received(self, data: bytes) -> None:
        """Read whole lines; chunks of the transfer end with events, so none is inside a line."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                self._read(json.loads(line[6:]))

    def _read(self, said: dict[str, Any]) -> None:
        self.opened.set()
        now = time.perf_counter()
        for alarm in said.get("alarms", []):
            self.seen.setdefault(alarm["device"], now)
            self.numbers[alarm["alarm_id"]] = alarm["device"]


async def opened(address: str, tokens: list[str]) -> list[Desk]:
    """Open a stream for each token, and wait until all have heard something."""
    where = urlsplit(address)
    host, port = where.hostname or "", where.port or 80
    desks = [Desk(address, token) for token in tokens]
    async with asyncio.timeout(OPEN):
        for desk in desks:
            made = lambda desk=desk: desk  # noqa: E731 - a factory for a protocol that is made already
            await asyncio.get_running_loop().create_connection(made, host, port)
        for desk in desks:
            await desk.opened.wait()
    return desks


@asynccontextmanager
async def page(address: str, token: str) -> AsyncIterator[Page | None]:
    """Give the page of the desk in Chromium, logged in; None where there is no Chromium."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        yield None
        return
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        found = await browser.new_page(viewport={"width": 1366, "height": 768})
        await found.add_init_script(OBSERVE)
        await found.goto(f"{address}#token={token}")
        await found.locator("#board").wait_for(state="visible")
        yield found
        await browser.close()


async def watched(desks: list[Desk], shown: Page | None, wanted: int) -> dict[str, Any]:
    """Wait until all desks have seen all alarms, or nothing new comes; return when each one saw which."""
    so_far, changed_at = -1, time.perf_counter()
    rows: dict[str, float] = {}
    while time.perf_counter() < changed_at + LATEST:
        await asyncio.sleep(LOOK_EVERY)
        if shown:
            rows = await shown.evaluate("window.seen")
        count = sum(len(desk.seen) for desk in desks) + len(rows)
        if count >= wanted * (len(desks) + bool(shown)):
            break
        if count > so_far:
            so_far, changed_at = count, time.perf_counter()
    return {
        "desks": [desk.seen for desk in desks],
        "ended": sum(bool(desk.ended) for desk in desks),
        "rows": _by_device(rows, desks) if shown else None,
    }


def _by_device(rows: dict[str, float], desks: list[Desk]) -> dict[str, float]:
    """Return when the page had which device's row, in seconds since 1970."""
    numbers = {number: device for desk in desks for number, device in desk.numbers.items()}
    return {numbers[int(row)]: at / 1000 for row, at in rows.items() if int(row) in numbers}


async def main() -> None:
    """Open all desks, say "ready", and say what they saw when they have seen it."""
    what = task()
    desks = await opened(what["address"], what["tokens"])
    async with page(what["address"], what["token"]) as shown:
        say("ready")
        say(await watched(desks, shown, what["presses"]))


if __name__ == "__main__":
    asyncio.run(main())
