"""What the tests of the page share: one Chromium, a desk that can be stopped, and the page opened on it.

Rules of this file: the browser lives as long as the worker, so whoever uses it runs on the session's event
loop (`pytestmark = ON_THE_SESSIONS_LOOP`); each test has an empty context of its own.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect
from psycopg import AsyncConnection

from ops.duty import run_desk
from ops.parts import Database, free_port
from tests.conftest import skip_service
from tests.desk import TOKENS, migrated, one, settings_for

ON_THE_SESSIONS_LOOP = pytest.mark.asyncio(loop_scope="session")

USUAL: ViewportSize = {"width": 1366, "height": 768}
PHONE: ViewportSize = {"width": 390, "height": 844}

PATIENCE_MS = 15_000
"""How long the page may take over what has no limit of its own: two cores run three tests at once."""
expect.set_options(timeout=PATIENCE_MS)

COUNT_SOUNDS = """
    window.sounds = 0;
    const start = OscillatorNode.prototype.start;
    OscillatorNode.prototype.start = function (...when) {
        window.sounds += 1;
        return start.apply(this, when);
    };
"""
"""Counts what is sounded, in `window.sounds`."""


@dataclass
class Desk:
    """A desk that serves, and can be stopped and started again."""

    url: str
    connection: AsyncConnection
    port: int = field(default_factory=free_port)
    task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Return where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    async def start(self) -> None:
        """Serve, and return when it answers."""
        self.task = asyncio.ensure_future(run_desk(settings_for(self.url, port=self.port), insecure=False))
        async with httpx.AsyncClient() as client:
            while not self.task.done():
                with contextlib.suppress(httpx.ConnectError):
                    await client.get(self.address)
                    return
                await asyncio.sleep(0.02)
        await self.task

    async def stop(self) -> None:
        """End it as SIGTERM does."""
        if self.task:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None

    async def alarm(self, alarm_id: int) -> dict[str, object]:
        """Return an alarm as the database has it."""
        return await one(self.connection, "SELECT * FROM alarms WHERE alarm_id = %s", alarm_id)


@asynccontextmanager
async def opened(
    browser: Browser, address: str, token: str = TOKENS["王芳"], size: ViewportSize = USUAL, also: str = ""
) -> AsyncIterator[Page]:
    """Open the page in a context of its own; an error in its script or against its policy fails the test."""
    context = await browser.new_context(viewport=size, timezone_id="America/New_York")
    await context.add_init_script(COUNT_SOUNDS)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on(
        "console",
        lambda message: broken.append(message.text) if "Content Security Policy" in message.text else None,
    )
    await page.goto(f"{address}#token={token}{also}")
    try:
        yield page
    finally:
        await context.close()
    assert broken == []


async def heard_more_than(page: Page, times: int) -> None:
    """Wait until something was sounded again; its policy forbids Playwright to wait itself."""
    for _ in range(100):
        if await page.evaluate("sounds") > times:
            return
        await page.wait_for_timeout(100)
    pytest.fail(f"{await page.evaluate('sounds')} sounds, and no more than {times} within 10 s")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the path of Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        skip_service("chromium", "not installed: apt-get install chromium")
    return found or ""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Give the worker's browser, without a screen."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--autoplay-policy=document-user-activation-required"],
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(native: Database) -> AsyncIterator[Desk]:
    """Give a desk on a database with its tables."""
    async with migrated(native.url) as connection:
        found = Desk(native.url, connection)
        await found.start()
        yield found
        await found.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, desk: Desk) -> AsyncIterator[Page]:
    """Give the page, opened by 王芳 on the desk's usual screen."""
    async with opened(browser, desk.address) as page:
        yield page
