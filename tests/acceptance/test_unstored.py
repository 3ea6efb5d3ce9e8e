"""未入库 on the desk's page in a real Chromium, with the real commands and a database that stops."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from ops.children import child, write_config
from ops.parts import Broker, Database, free_port
from schemas.settings import DutySettings
from tests.chromium import ON_THE_SESSIONS_LOOP, browser, chromium, heard_more_than, opened
from tests.desk import settings_for
from tests.installation import Installation, installation
from tests.mqtt import Client

__all__ = ["browser", "chromium"]  # fixtures
pytestmark = ON_THE_SESSIONS_LOOP

SOS = "carebell/v1/430602/BELL-1/sos"


@asynccontextmanager
async def desk(installed: Installation) -> AsyncIterator[str]:
    """Run the desk, and give its address."""
    duty = DutySettings(port=free_port(), tokens=settings_for("").duty.tokens)
    write_config(installed.settings.model_copy(update={"duty": duty}), installed.config)
    address = f"http://{duty.host}:{duty.port}/"
    async with child("duty", "--config", str(installed.config), ready=address):
        yield address


def band(page: Page) -> Locator:
    """Return the band of calls that are not stored."""
    return page.locator("#unstored")


def press(installed: Installation, *topics: str) -> None:
    """Let devices call for help."""
    with Client(installed.broker.town_url) as device:
        for topic in topics:
            device.publish(topic)


@pytest_asyncio.fixture(loop_scope="session")
async def installed(fresh_mosquitto: Broker, native: Database, scratch: Path) -> AsyncIterator[Installation]:
    """Give an installation whose database may be stopped, with its bridge running."""
    async with installation(fresh_mosquitto, native.url, scratch) as found:
        await found.start()
        yield found


async def test_a_call_shows_while_the_database_is_away(
    installed: Installation, native: Database, browser: Browser
) -> None:
    """It is on the page within seconds, and sounds; when the database is back its alarm stands instead."""
    async with (
        desk(installed) as address,
        opened(browser, address) as page,
        opened(browser, address) as newcomer,
    ):
        await newcomer.goto("about:blank")
        await expect(page.locator("#calm")).to_be_visible()
        await expect(page.locator("#deaf")).to_be_hidden()
        await page.locator("#hint").click()
        native.stop()
        try:
            calls = page.locator("#calls li")
            await asyncio.to_thread(press, installed, SOS)
            await expect(calls).to_have_count(1, timeout=8_000)  # else the other lane may be first
            await asyncio.to_thread(press, installed, "carebell/v1/430602/<b>铃</b>/sos")
            await expect(calls).to_have_count(2, timeout=8_000)
            await expect(page.locator("#waiting")).to_have_text(re.compile("^未入库 2 条"))
            await expect(page).to_have_title(re.compile("^未入库 2 "))
            await expect(calls.nth(0)).to_have_text(
                re.compile(r"^紧急呼叫 · 设备 BELL-1 · 区域 430602 · 收到 .* · 已等待 00:00:\d\d$")
            )
            await expect(calls.nth(1)).to_contain_text("主题 carebell/v1/430602/<b>铃</b>/sos")
            assert await calls.locator("b").count() == 0
            await expect(page.locator("#banner")).to_have_text(re.compile("数据库暂时不可用"))
            waited = await calls.nth(0).inner_text()
            await expect(calls.nth(0)).not_to_have_text(waited)
            await newcomer.goto(address)
            await expect(newcomer.locator("#calls li")).to_have_count(2)
            await heard_more_than(page, 0)
        finally:
            native.start()
        for each in (page, newcomer):
            await expect(band(each)).to_be_hidden()
            await expect(each.locator("#alarms tr")).to_have_count(2)
            await expect(each).to_have_title("(2) 值班台")


async def test_a_desk_without_a_broker_works_and_says_what_it_misses(
    installed: Installation, browser: Browser
) -> None:
    """Alarms come up as ever; that 未入库 cannot be heard is said, until the broker is back."""
    await asyncio.to_thread(press, installed, SOS)
    async with desk(installed) as address, opened(browser, address) as page:
        await expect(page.locator("#alarms tr")).to_have_count(1)
        installed.broker.stop()
        await expect(page.locator("#deaf")).to_be_visible()
        await expect(page.locator("#banner")).to_be_hidden()
        await page.locator("#alarms tr").get_by_role("button", name="确认").click()
        await expect(page.locator("#alarms tr")).to_contain_text("已确认 王芳")
        installed.broker.start()
        await expect(page.locator("#deaf")).to_be_hidden()
        await expect(band(page)).to_be_hidden()


async def test_a_call_of_a_bridge_that_died_goes_when_its_alarm_stands(
    installed: Installation, native: Database, browser: Browser
) -> None:
    """A bridge killed between announcing and storing never says that it is stored: the alarm tells."""
    async with desk(installed) as address, opened(browser, address) as page:
        await expect(page.locator("#calm")).to_be_visible()
        native.stop()
        try:
            await asyncio.to_thread(press, installed, SOS)
            await expect(page.locator("#calls li")).to_have_count(1)
            await installed.kill()
        finally:
            native.start()
        await installed.start()
        await expect(page.locator("#alarms tr")).to_have_count(1)
        await expect(band(page)).to_be_hidden(timeout=10_000)
        await installed.reconnect()
        assert await installed.rows("SELECT count FROM alarms WHERE kind = 'sos'") == [(1,)]
