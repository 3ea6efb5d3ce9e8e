"""The desk's page in a real Chromium, on a real desk and database: the list, its clocks, the line to it."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from ops.parts import Database
from tests.chromium import ON_THE_SESSIONS_LOOP, PHONE, USUAL, Desk, browser, chromium, desk, opened, page
from tests.desk import TOKENS, Line, raise_alarm, repeat

__all__ = ["browser", "chromium", "desk", "page"]  # fixtures
pytestmark = [ON_THE_SESSIONS_LOOP, pytest.mark.one_edition]

EVIL = "<img src=x onerror=\"document.title='owned'\"><b>张奶奶</b>"


async def test_a_raised_alarm_appears_and_is_handled(desk: Desk, page: Page) -> None:
    """An alarm comes up at once, is taken from raise to close by the mouse, and goes when it is closed."""
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
    row = page.locator(f'#alarms [data-alarm="{alarm_id}"]')
    await expect(row).to_be_visible(timeout=4_000)
    for text in ("紧急", "紧急呼叫", "迟到", "张奶奶", "BELL-0001", "430602", "未确认"):
        await expect(row).to_contain_text(text)
    for secret in ("123 4567", "1 栋 101"):
        await expect(row).not_to_contain_text(secret)
    await expect(page.locator("#counts")).to_have_text("未确认 1 · 生命 1 · 共 1")
    await expect(page).to_have_title("(1) 值班台")
    await expect(row.get_by_role("button", name="关闭")).to_be_hidden()

    await row.get_by_role("button", name="确认").click()
    await expect(row).to_contain_text("已确认 王芳")
    await row.get_by_role("button", name="派人").click()
    await page.locator("#to").fill("李强")
    await page.get_by_role("button", name="派出").click()
    await expect(row).to_contain_text("已派人 李强")
    await row.get_by_role("button", name="关闭").click()
    await expect(page.locator("#subject")).to_have_text("紧急 · 紧急呼叫 · 张奶奶 · BELL-0001")
    await page.locator("#note").fill("碰到了按钮")
    await page.locator("#choices").get_by_role("button", name="误触").click()
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
    await expect(rows.nth(0).locator(".clock")).to_have_text(re.compile(r"^已过 00:00:\d\d$"))
    later = await rows.nth(0).locator(".clock").inner_text()
    await expect(rows.nth(0).locator(".clock")).not_to_have_text(later)


async def test_the_clock_tells_how_long_there_is_to_answer(desk: Desk, page: Page) -> None:
    """It runs against the answering limit: green at first, amber in its last third, red after it."""
    now = datetime.now(UTC)
    for device, seconds, level, said in [
        ("BELL-1", 0, "", "还剩"), ("BELL-2", 45, "due", "还剩"), ("BELL-3", 90, "over", "超时"),
    ]:  # fmt: skip
        alarm_id = await raise_alarm(desk.connection, device, at=now - timedelta(seconds=seconds))
        limit = page.locator(f'[data-alarm="{alarm_id}"] .limit')
        await expect(limit).to_have_attribute("data-level", level)
        await expect(limit).to_contain_text(f"应答{said}")


async def test_one_persons_alarms_stand_together(desk: Desk, page: Page) -> None:
    """An alarm stands below the most urgent one of the same person, before others' more urgent ones."""
    await raise_alarm(desk.connection, "BELL-1", "sos", name="张奶奶")
    await raise_alarm(desk.connection, "BELL-2", "fall", after=60, name="李爷爷")
    await raise_alarm(desk.connection, "BELL-1", "low_battery", after=120)
    rows = page.locator("#alarms tr")
    await expect(rows).to_have_text([re.compile("紧急呼叫"), re.compile("电量低"), re.compile("跌倒")])
    await expect(rows.nth(1)).to_have_class(re.compile("under"))


async def test_what_people_wrote_stays_text(desk: Desk, page: Page) -> None:
    """A name with markup in it is shown as it was written, and runs nothing."""
    await raise_alarm(desk.connection, "BELL-1", "fall", name=EVIL)
    row = page.locator("#alarms tr")
    await expect(row).to_contain_text(EVIL)
    assert await row.locator("img").count() == 0
    await row.get_by_role("button", name="确认").click()
    await row.get_by_role("button", name="关闭").click()
    await expect(page.locator("#subject")).to_contain_text(EVIL)
    assert await page.locator("#subject img").count() == 0
    assert "owned" not in await page.title()


async def test_a_server_that_restarts_is_found_again(desk: Desk, page: Page) -> None:
    """When the desk stops a banner says so at once; when it is back, nothing that happened is missing."""
    await raise_alarm(desk.connection)
    row, banner = page.locator("#alarms tr"), page.locator("#banner")
    await expect(row).to_have_count(1)
    await expect(banner).to_be_hidden()
    await desk.stop()
    await expect(banner).to_be_visible(timeout=3_000)
    await expect(banner).to_have_text(
        re.compile(r"与服务器失去联系（自 \d\d:\d\d:\d\d）：所示为 \d+ 秒前的情况")
    )
    await expect(row).to_have_count(1)
    await raise_alarm(desk.connection, "BELL-2")
    await desk.start()
    await expect(row).to_have_count(2, timeout=10_000)
    await expect(banner).to_be_hidden()


async def test_a_line_that_goes_deaf_is_noticed(desk: Desk, browser: Browser) -> None:
    """A server that says nothing any more, with the line still up, is lost within 6 s."""
    async with Line(desk.address) as line, opened(browser, line.url) as page:
        await expect(page.locator("#calm")).to_be_visible()
        line.go_deaf()
        await expect(page.locator("#banner")).to_be_visible(timeout=6_000)
        await raise_alarm(desk.connection)
        line.hear_again()
        await expect(page.locator("#alarms tr")).to_have_count(1)
        await expect(page.locator("#banner")).to_be_hidden()


async def test_without_a_feed_the_list_is_polled(desk: Desk, page: Page) -> None:
    """Where something between swallows the feed, alarms come within seconds all the same, with no banner."""
    await expect(page.locator("#calm")).to_be_visible()
    await page.route("**/api/events", lambda route: route.fulfill(status=404, json={}))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/alarms?" in request.url else None)
    await page.reload()
    await expect(page.locator("#calm")).to_be_visible()
    await page.wait_for_timeout(6_000)
    assert len(asked) >= 4
    await raise_alarm(desk.connection)
    await expect(page.locator("#alarms tr")).to_have_count(1, timeout=4_000)
    await page.locator("#alarms tr").get_by_role("button", name="确认").click()
    await expect(page.locator("#alarms tr")).to_contain_text("已确认 王芳")
    await expect(page.locator("#banner")).to_be_hidden()


async def test_an_alarm_does_not_wait_for_the_list(desk: Desk, browser: Browser) -> None:
    """What the stream tells stands before staff although the list cannot be read; "no alarms" is not said."""
    async with opened(browser, "about:blank") as page:
        await page.route("**/api/alarms?**", lambda route: route.abort())
        await page.goto(f"{desk.address}#token={TOKENS['王芳']}")
        await expect(page.locator("#banner")).to_be_visible()
        await expect(page.locator("#calm")).to_be_hidden()
        await raise_alarm(desk.connection)
        await expect(page.locator("#alarms tr").get_by_role("button", name="确认")).to_be_visible()


async def test_the_page_says_that_the_database_is_away(desk: Desk, page: Page, native: Database) -> None:
    """When only the database stops, the page shows what it had, says so, and goes on when it is back."""
    await raise_alarm(desk.connection)
    row, banner = page.locator("#alarms tr"), page.locator("#banner")
    await expect(row.get_by_role("button", name="确认")).to_be_visible()
    native.stop()
    try:
        await expect(banner).to_have_text(re.compile("数据库暂时不可用.*秒前的情况"))
        await row.get_by_role("button", name="确认").click()
        await expect(page.locator("#message")).to_have_text(re.compile("紧急呼叫 BELL-1：数据库暂时不可用"))
    finally:
        native.start()
    await expect(banner).to_be_hidden(timeout=15_000)
    await row.get_by_role("button", name="确认").click()
    await expect(row).to_contain_text("已确认 王芳")
    await expect(page.locator("#message")).to_be_hidden()


async def test_the_second_of_two_operators_is_told_who_was_first(
    desk: Desk, page: Page, browser: Browser
) -> None:
    """Two take up the same alarm: one gets it, the other one reads who has it, and both see the same."""
    await raise_alarm(desk.connection)
    async with opened(browser, desk.address, TOKENS["李强"]) as other:
        rows = [each.locator("#alarms tr") for each in (page, other)]
        for row in rows:
            await expect(row).to_be_visible()
        # Both press before either has heard of the other.
        await asyncio.gather(
            *(row.get_by_role("button", name="确认").evaluate("b => b.click()") for row in rows)
        )
        for row in rows:
            await expect(row).to_contain_text(re.compile("已确认 (王芳|李强)"))
        first = "王芳" if "王芳" in await rows[0].inner_text() else "李强"
        loser = other if first == "王芳" else page
        await expect(loser.locator("#message")).to_contain_text(f"{first}在先")


async def test_a_call_that_comes_while_closing_is_seen_first(desk: Desk, page: Page) -> None:
    """Who is about to close when the person calls again is told so, keeps the note, and may then close."""
    alarm_id = await raise_alarm(desk.connection)
    row = page.locator("#alarms tr")
    await row.get_by_role("button", name="确认").click()
    await row.get_by_role("button", name="关闭").click()
    await page.locator("#note").fill("碰到了按钮")
    await repeat(desk.connection, alarm_id)
    touched = page.locator("#choices").get_by_role("button", name="误触")
    await touched.click()
    await expect(page.locator("#refusal")).to_contain_text("该报警刚刚有变化，请看过再操作")
    await expect(page.locator("#subject")).to_contain_text("2 次")
    await expect(page.locator("#note")).to_have_value("碰到了按钮")
    assert (await desk.alarm(alarm_id))["handling"] == "acknowledged"
    await page.wait_for_timeout(600)  # a press that was on its way is no answer to a refusal
    await touched.click()
    await expect(row).to_have_count(0)


async def test_nothing_moves_while_a_dialog_is_open(desk: Desk, page: Page) -> None:
    """What comes while somebody types waits for the dialog to close, and the dialog says so."""
    mine = await raise_alarm(desk.connection, "BELL-1", "low_battery")
    row = page.locator(f'[data-alarm="{mine}"]')
    await row.get_by_role("button", name="确认").click()
    await row.get_by_role("button", name="派人").click()
    await page.locator("#to").fill("李")
    before = await row.bounding_box()
    await raise_alarm(desk.connection, "BELL-2", "sos")
    await expect(page.locator("#fresh")).to_contain_text("又来了 1 条报警")
    assert await row.bounding_box() == before
    await expect(page.locator("#to")).to_have_value("李")
    await page.keyboard.press("Escape")
    await expect(page.locator("#alarms tr")).to_have_text([re.compile("紧急呼叫"), re.compile("电量低")])


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


@pytest.mark.parametrize("size", [USUAL, PHONE], ids=["desk", "phone"])
async def test_it_fits_the_desk_and_the_phone(desk: Desk, page: Page, size: ViewportSize) -> None:
    """Nothing has to be scrolled sideways, neither list nor card, and the buttons are in sight."""
    await page.set_viewport_size(size)
    await raise_alarm(
        desk.connection,
        "BELL-" + "0" * 40,
        "fall",
        name="张" * 60,
        phone="13900000000",
        address="很长的地址" * 12,
    )
    sideways = "document.documentElement.scrollWidth"
    row = page.locator("#alarms tr")
    await expect(row.get_by_role("button", name="确认")).to_be_in_viewport()
    assert await page.evaluate(sideways) <= size["width"]
    await row.locator(".kind").click()
    await expect(page.locator("#card .person")).to_be_visible()
    assert await page.evaluate(sideways) <= size["width"]
    await expect(page.locator("#card").get_by_role("button", name="确认")).to_be_in_viewport()


async def test_a_flood_of_alarms_is_listed_whole(desk: Desk, page: Page) -> None:
    """500 at once: the counts tell of all, the list shows the 300 most urgent ones and stays usable."""
    await expect(page.locator("#calm")).to_be_visible()
    for number in range(50):
        await raise_alarm(desk.connection, f"BAND-{number}", "hr_high")
    await flood(desk, 450)
    await expect(page.locator("#counts")).to_contain_text("共 500")
    await expect(page.locator("#alarms tr")).to_have_count(300)
    await expect(page.locator("#more")).to_have_text("共 500 条，只列出前 300 条")
    kinds = await page.locator("#alarms .kind").all_inner_texts()
    assert set(kinds) == {"紧急呼叫"}
    await page.locator("#alarms tr").first.get_by_role("button", name="确认").click()
    await expect(page.locator("#alarms tr").first).to_contain_text("已确认 王芳")


async def flood(desk: Desk, number: int) -> None:
    """Raise alarms of as many devices in one transaction, as ingest commits a batch."""
    await desk.connection.execute(
        """
        WITH made AS (
            INSERT INTO devices (device, region, model)
            SELECT 'FLOOD-' || n, '430602', 'bell' FROM generate_series(1, %s) n RETURNING device_id
        ), raised AS (
            INSERT INTO alarms (device_id, kind, class, severity, quality, condition, raised_at, last_at)
            SELECT device_id, 'sos', 'life', 'critical', 'ok', 'active', now(), now() FROM made
            RETURNING alarm_id, raised_at
        )
        INSERT INTO alarm_log (alarm_id, at, actor, verb)
        SELECT alarm_id, raised_at, 'carebell', 'raised' FROM raised
        """,
        (number,),
    )
