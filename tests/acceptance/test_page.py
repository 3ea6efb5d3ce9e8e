"""The desk's page in a real Chromium, on a real desk and a real database: what duty staff see and touch."""

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pytest
from playwright.async_api import Browser, Page, async_playwright, expect
from psycopg import AsyncConnection

from ops.duty import run_desk
from ops.parts import Database, free_port
from tests.conftest import skip_service
from tests.desk import TOKENS, migrated, one, raise_alarm, repeat, settings_for

EVIL = "<img src=x onerror=\"document.title='owned'\"><b>张奶奶</b>"


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


@pytest.fixture
def chromium() -> str:
    """Give the path of Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        skip_service("chromium", "not installed: apt-get install chromium")
    return found or ""


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Give a browser without a screen."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def desk(native: Database) -> AsyncIterator[Desk]:
    """Give a desk on a database with its tables."""
    async with migrated(native.url) as connection:
        found = Desk(native.url, connection)
        await found.start()
        yield found
        await found.stop()


@pytest.fixture
async def page(browser: Browser, desk: Desk) -> AsyncIterator[Page]:
    """Give the page, opened by 王芳 on the desk's usual screen; an error in its script fails the test."""
    context = await browser.new_context(
        viewport={"width": 1366, "height": 768}, timezone_id="America/New_York"
    )
    page = await context.new_page()
    page.set_default_timeout(8_000)
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on(
        "console",
        lambda message: broken.append(message.text) if "Content Security Policy" in message.text else None,
    )
    await page.goto(f"{desk.address}#token={TOKENS['王芳']}")
    yield page
    await context.close()
    assert broken == []


async def test_a_raised_alarm_appears_and_is_handled(desk: Desk, page: Page) -> None:
    """An alarm comes up within seconds with all that is needed to call back, and goes when it is closed."""
    await expect(page.locator("#calm")).to_be_visible()
    alarm_id = await raise_alarm(
        desk.connection,
        "BELL-0001",
        "sos",
        quality="late",
        at=datetime.now(UTC),
        name="张奶奶",
        phone="0730-123 4567",
        address="1 栋 101",
    )
    row = page.locator("#alarms tr")
    await expect(row).to_have_count(1, timeout=4_000)
    for text in ("紧急", "紧急呼叫", "迟到", "张奶奶", "1 栋 101", "BELL-0001", "430602", "未确认"):
        await expect(row).to_contain_text(text)
    await expect(row.locator("a")).to_have_attribute("href", "tel:07301234567")
    await expect(page.locator("#counts")).to_have_text("未确认 1 · 生命 1 · 共 1")
    await expect(page).to_have_title("(1) 值班台")
    await expect(row.get_by_role("button", name="关闭")).to_be_disabled()

    await row.get_by_role("button", name="确认").click()
    await expect(row).to_contain_text("已确认 王芳")
    await row.get_by_role("button", name="派人").click()
    await page.locator("#to").fill("李强")
    await page.get_by_role("button", name="派出").click()
    await expect(row).to_contain_text("已派人 李强")
    await row.get_by_role("button", name="关闭").click()
    await expect(page.locator("#subject")).to_have_text("紧急 · 紧急呼叫 · 张奶奶 · 1 栋 101 · BELL-0001")
    await page.locator("#note").fill("碰到了按钮")
    await page.get_by_role("button", name="误触").click()
    await expect(row).to_have_count(0)
    await expect(page.locator("#calm")).to_be_visible()

    alarm = await desk.alarm(alarm_id)
    assert (alarm["handling"], alarm["outcome"], alarm["closed_by"]) == ("closed", "accidental", "王芳")
    assert (alarm["acknowledged_by"], alarm["dispatched_to"]) == ("王芳", "李强")


async def test_life_comes_first_and_the_clock_runs(desk: Desk, page: Page) -> None:
    """Rows stand as urgent as they are, times are those of Shanghai, and the elapsed time moves by itself."""
    moment = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    await raise_alarm(desk.connection, "BELL-1", "low_battery", at=moment)
    await raise_alarm(desk.connection, "BAND-1", "hr_high", at=moment)
    await raise_alarm(desk.connection, "BELL-2", "sos", at=datetime.now(UTC))
    rows = page.locator("#alarms tr")
    await expect(rows).to_have_text([re.compile("紧急呼叫"), re.compile("心率过高"), re.compile("电量低")])
    await expect(rows.nth(1)).to_contain_text("03/02 07:30:00")
    await expect(rows.nth(0).locator(".clock")).to_have_text(re.compile(r"^00:00:0[2-9]$"))
    later = await rows.nth(0).locator(".clock").inner_text()
    await expect(rows.nth(0).locator(".clock")).not_to_have_text(later)
    await expect(rows.nth(0).locator("a")).not_to_have_attribute("href", re.compile("."))


async def test_what_people_wrote_stays_text(desk: Desk, page: Page) -> None:
    """A name with markup in it is shown as it was written, and runs nothing."""
    await raise_alarm(desk.connection, "BELL-1", "fall", name=EVIL, address=EVIL, phone="javascript:alert(1)")
    row = page.locator("#alarms tr")
    await expect(row).to_contain_text(EVIL)
    assert await row.locator("img, b").count() == 0
    await expect(row.locator("a")).to_have_attribute("href", "tel:1")
    await row.get_by_role("button", name="确认").click()
    await row.get_by_role("button", name="关闭").click()
    await expect(page.locator("#subject")).to_contain_text(EVIL)
    assert await page.locator("#subject img").count() == 0
    assert "owned" not in await page.title()


async def test_the_page_says_at_once_that_it_lost_the_server(desk: Desk, page: Page) -> None:
    """When the desk stops, a banner says so and how old the rows are; when it is back, the banner goes."""
    await raise_alarm(desk.connection)
    row, banner = page.locator("#alarms tr"), page.locator("#banner")
    await expect(row).to_have_count(1)
    await expect(banner).to_be_hidden()
    await desk.stop()
    await expect(banner).to_be_visible(timeout=3_000)
    await expect(banner).to_have_text(re.compile("与服务器失去联系：所示为 [1-9]+ 秒前的情况"))
    await expect(row).to_have_count(1)
    await desk.start()
    await expect(banner).to_be_hidden(timeout=5_000)


async def test_the_page_says_that_the_database_is_away(desk: Desk, page: Page, native: Database) -> None:
    """When only the database stops, the page shows what it had, says so, and goes on when it is back."""
    await raise_alarm(desk.connection)
    row, banner = page.locator("#alarms tr"), page.locator("#banner")
    await expect(row).to_have_count(1)
    native.stop()
    try:
        await expect(banner).to_have_text(re.compile("数据库暂时不可用.*秒前的情况"))
        await row.get_by_role("button", name="确认").click()
        await expect(page.locator("#message")).to_have_text(re.compile("紧急呼叫 BELL-1：数据库暂时不可用"))
    finally:
        native.start()
    await expect(banner).to_be_hidden(timeout=10_000)
    await row.get_by_role("button", name="确认").click()
    await expect(row).to_contain_text("已确认 王芳")
    await expect(page.locator("#message")).to_be_hidden()


async def test_a_call_that_comes_while_closing_is_seen_first(desk: Desk, page: Page) -> None:
    """Who is about to close an alarm when the person calls again is told so, and the alarm stays open."""
    alarm_id = await raise_alarm(desk.connection)
    row = page.locator("#alarms tr")
    await row.get_by_role("button", name="确认").click()
    await row.get_by_role("button", name="关闭").click()
    await repeat(desk.connection, alarm_id)
    await page.get_by_role("button", name="误触").click()
    await expect(page.locator("#message")).to_contain_text("该报警刚刚有变化，请看过再操作")
    assert (await desk.alarm(alarm_id))["handling"] == "acknowledged"


async def test_the_token_is_kept_out_of_sight(desk: Desk, page: Page) -> None:
    """The token leaves the address bar at once, survives a reload, and a wrong one is asked for again."""
    await expect(page.locator("#operator")).to_have_text("值班员 王芳")
    assert page.url == desk.address
    await page.reload()
    await expect(page.locator("#operator")).to_have_text("值班员 王芳")
    stranger = await page.context.new_page()
    await stranger.goto(desk.address)
    await expect(stranger.locator("#login")).to_be_visible()
    await expect(stranger.locator("#banner")).to_be_hidden()
    await stranger.locator("#token").fill("wrong")
    await stranger.get_by_role("button", name="进入").click()
    await expect(stranger.locator("#message")).to_have_text("请输入有效的令牌")
    await stranger.locator("#token").fill(TOKENS["李强"])
    await stranger.get_by_role("button", name="进入").click()
    await expect(stranger.locator("#operator")).to_have_text("值班员 李强")
    await expect(stranger.locator("#login")).to_be_hidden()


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
async def test_it_fits_the_desk_and_the_phone(desk: Desk, page: Page, width: int, height: int) -> None:
    """Nothing has to be scrolled sideways, and the buttons are in sight."""
    await page.set_viewport_size({"width": width, "height": height})
    await raise_alarm(
        desk.connection,
        "BELL-" + "0" * 40,
        "fall",
        name="张奶奶",
        phone="13900000000",
        address="很长的地址" * 12,
    )
    close = page.get_by_role("button", name="关闭")
    await expect(close).to_be_in_viewport()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
