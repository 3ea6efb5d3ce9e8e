"""Answers, events and keys in any order: nothing goes unseen, and no order goes where nobody looked."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from duty import alarms
from duty.handling import Verb
from tests.acceptance.test_page import flood
from tests.acceptance.test_page_card import act, line, raise_for, turn_to
from tests.chromium import (
    ON_THE_SESSIONS_LOOP,
    PHONE,
    Desk,
    browser,
    chromium,
    desk,
    heard_more_than,
    opened,
    page,
)
from tests.desk import AT, TOKENS, raise_alarm, repeat

__all__ = ["browser", "chromium", "desk", "page"]  # fixtures
pytestmark = [ON_THE_SESSIONS_LOOP, pytest.mark.one_edition]

Handler = Callable[[Route], Awaitable[None]]
LISTS = "**/api/alarms?**"
BROKEN = {"status": 200, "content_type": "text/html", "body": "<html>somebody else's page</html>"}
WHAT_IS_SEEN = """(place) => {
    const element = document.querySelector(place), box = element.getBoundingClientRect();
    const top = box.top + Math.min(box.height / 2, 10);
    return element.contains(document.elementFromPoint(box.left + box.width / 2, top));
}"""


async def take_up(desk: Desk, page: Page, alarm_id: int) -> None:
    """Let a colleague acknowledge an alarm, and wait until the page shows it."""
    await alarms.handle(desk.connection, alarm_id, Verb.ACKNOWLEDGE, "李强", AT)
    await expect(line(page, alarm_id)).to_contain_text("已确认")


async def take_up_all(desk: Desk) -> None:
    """Let all alarms be acknowledged, and the feed tell of it."""
    await desk.connection.execute(
        "UPDATE alarms SET handling = 'acknowledged', acknowledged_at = now(), acknowledged_by = '李强',"
        " version = version + 1"
    )
    await tell(desk)


async def tell(desk: Desk) -> None:
    """Let the feed tell of all alarms."""
    await desk.connection.execute(
        "SELECT pg_notify('carebell_alarms', string_agg(alarm_id::text, ',')) FROM alarms"
    )


async def cut_feed(desk: Desk) -> None:
    """Break the desk's line to the database, so that pages are told to read anew."""
    await desk.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'carebell-desk-feed'"
        " AND datname = current_database()"
    )


async def hold(page: Page, key: str) -> None:
    """Hold a key for a second."""
    for _ in range(30):
        await page.keyboard.down(key)
        await page.wait_for_timeout(33)
    await page.keyboard.up(key)
    await page.wait_for_timeout(500)


def once(
    answer: dict[str, Any], then: Callable[[Route], Awaitable[None]]
) -> Callable[[Route], Awaitable[None]]:
    """Return what answers a first request so, and others as `then` does."""
    first = True

    async def handle(route: Route) -> None:
        nonlocal first
        if first:
            first = False
            await route.fulfill(**answer)
        else:
            await then(route)

    return handle


async def go_on(route: Route) -> None:
    """Let a request through."""
    await route.continue_()


async def test_a_list_that_was_asked_for_before_a_reset_is_read_again(desk: Desk, browser: Browser) -> None:
    """What was raised between the list and the reset stands before staff, and no calm is shown for it."""
    held, got = asyncio.Event(), asyncio.Event()
    first = True

    async def late(route: Route) -> None:
        nonlocal first
        if not first:
            await route.continue_()
            return
        first = False
        answer = await route.fetch()
        got.set()
        await held.wait()
        await route.fulfill(response=answer)

    async with opened(browser, "about:blank") as page:
        await page.route(LISTS, late)
        await page.goto(f"{desk.address}#token={TOKENS['王芳']}")
        await got.wait()
        await cut_feed(desk)
        alarm_id = await raise_alarm(desk.connection, at=datetime.now(UTC))
        await page.wait_for_timeout(2_500)
        held.set()
        await expect(line(page, alarm_id)).to_be_visible()


@pytest.mark.parametrize("is_streaming", [True, False])
async def test_a_call_behind_three_hundred_that_are_answered_is_listed(
    desk: Desk, browser: Browser, *, is_streaming: bool
) -> None:
    """Where there is not room for all, room is kept for those that wait; polled, it is heard too."""
    async with opened(browser, "about:blank") as page:
        if not is_streaming:
            await page.route("**/api/events", lambda route: route.fulfill(status=404, json={}))
        await page.goto(f"{desk.address}#token={TOKENS['王芳']}")
        await flood(desk, 300)
        await expect(page.locator("#alarms tr")).to_have_count(300)
        await take_up_all(desk)
        await page.locator("#hint").click()
        await expect(page.locator("#counts")).to_contain_text("未确认 0")
        heard = await page.evaluate("sounds")
        alarm_id = await raise_alarm(desk.connection, "BELL-NEW", at=datetime.now(UTC))
        await expect(line(page, alarm_id)).to_be_visible()
        await heard_more_than(page, heard)


async def test_a_held_digit_closes_no_alarm_that_called_again(desk: Desk, page: Page) -> None:
    """The first press is refused, for the person called again; to go on pressing is no answer to that."""
    alarm_id = await raise_for(desk)
    await take_up(desk, page, alarm_id)
    await act(page, "j", "c")
    await repeat(desk.connection, alarm_id)
    await hold(page, "6")
    assert (await desk.alarm(alarm_id))["handling"] == "acknowledged"
    await expect(page.locator("#refusal")).to_contain_text("请看过再操作")


async def test_a_digit_of_the_dialog_goes_no_further(desk: Desk, page: Page) -> None:
    """Held in the dialog of shelving, it chooses the time and does not close the alarm behind it."""
    alarm_id = await raise_for(desk, "low_battery")
    await take_up(desk, page, alarm_id)
    await line(page, alarm_id).locator(".kind").click()
    await act(page, "s")
    await expect(page.locator("#dialog")).to_be_visible()
    await hold(page, "2")
    assert (await desk.alarm(alarm_id))["handling"] == "acknowledged"


async def test_a_digit_that_meets_a_further_call_closes_nothing(desk: Desk, page: Page) -> None:
    """Pressed as the card shows that the person called again, it was meant for what stood there before."""
    alarm_id = await raise_for(desk)
    await take_up(desk, page, alarm_id)
    await line(page, alarm_id).locator(".kind").click()
    await expect(page.locator("#card .log li").first).to_be_visible()
    pressed = asyncio.ensure_future(
        page.evaluate(
            """() => new Promise((done) => new MutationObserver((_, watch) => {
                if (!document.querySelector("#card .times").textContent.includes("2 次")) return;
                watch.disconnect();
                document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "6", bubbles: true }));
                done();
            }).observe(document.getElementById("card"), { childList: true, subtree: true }))"""
        )
    )
    await repeat(desk.connection, alarm_id)
    await tell(desk)
    await pressed
    await page.wait_for_timeout(700)
    assert (await desk.alarm(alarm_id))["handling"] == "acknowledged"


async def test_keys_go_with_the_button_that_was_pressed(desk: Desk, page: Page) -> None:
    """Who pressed a button of a line means that line with the next letter, whichever was selected."""
    await raise_for(desk)
    other = await raise_for(desk, "fall", "BELL-2", name="李爷爷")
    await expect(page.locator("#alarms tr")).to_have_count(2)
    await act(page, "j")
    await line(page, other).get_by_role("button", name="确认").click()
    await expect(line(page, other)).to_contain_text("已确认")
    await act(page, "d")
    await expect(page.locator("#subject")).to_contain_text("李爷爷")


async def test_two_quick_presses_are_one_order(desk: Desk, page: Page) -> None:
    """Nobody is told that he was first before himself; capitals are letters as well."""
    alarm_id = await raise_for(desk)
    await expect(line(page, alarm_id)).to_be_visible()
    await act(page, "J", "A", "A")
    await expect(line(page, alarm_id)).to_contain_text("已确认 王芳")
    await page.wait_for_timeout(300)
    await expect(page.locator("#message")).to_be_hidden()


@pytest.mark.parametrize("what", ["words", "unstored", "acknowledge"])
async def test_an_answer_that_is_none_is_no_success(desk: Desk, browser: Browser, what: str) -> None:
    """A proxy's page in place of JSON: the page asks again, or says that it failed, and goes on."""
    async with opened(browser, "about:blank") as page:
        asked = 0

        async def count(route: Route) -> None:
            nonlocal asked
            asked += 1
            await route.continue_()

        await page.route(f"**/{what}", once(BROKEN, count))
        await page.goto(f"{desk.address}#token={TOKENS['王芳']}")
        alarm_id = await raise_for(desk)
        await line(page, alarm_id).get_by_role("button", name="确认").click()
        if what == "acknowledge":
            await expect(page.locator("#message")).to_contain_text("服务器出错")
            await line(page, alarm_id).get_by_role("button", name="确认").click()
        await expect(line(page, alarm_id)).to_contain_text("已确认 王芳")
        await page.wait_for_timeout(2_500)
        assert asked > 0


async def test_a_broken_list_after_a_reset_leaves_the_banner(desk: Desk, page: Page) -> None:
    """What is shown is stale until a list was really read."""
    alarm_id = await raise_for(desk)
    await expect(line(page, alarm_id)).to_be_visible()

    async def never(_: Route) -> None:
        await asyncio.sleep(8)

    await page.route(LISTS, once(BROKEN, never))
    await cut_feed(desk)
    banner = page.locator("#banner")
    await expect(banner).to_be_visible()
    await page.wait_for_timeout(3_500)
    assert await banner.is_visible()


async def test_a_stream_that_is_swallowed_is_replaced_by_asking(desk: Desk, browser: Browser) -> None:
    """Something in between holds the stream back: alarms come by the list meanwhile."""
    async with opened(browser, "about:blank") as page:

        async def never(_: Route) -> None:
            await asyncio.sleep(25)

        await page.route("**/api/events", never)
        await page.goto(f"{desk.address}#token={TOKENS['王芳']}")
        await expect(line(page, await raise_for(desk))).to_be_visible()


async def test_that_calls_cannot_be_heard_is_said(page: Page) -> None:
    """Where it is not known which calls are not stored, the page says so within seconds."""
    await expect(page.locator("#calm")).to_be_visible()
    await page.route("**/api/unstored", lambda route: route.fulfill(status=500, json={}))
    await expect(page.locator("#deaf")).to_be_visible()


async def test_a_call_is_heard_although_something_sounded_just_now(desk: Desk, page: Page) -> None:
    """Muted, a call within a second of another sound is heard a moment later."""
    first = await raise_for(desk)
    await expect(line(page, first)).to_be_visible()
    await page.locator("#hint").click()
    await heard_more_than(page, 0)
    await page.locator("#mute").click()
    await page.wait_for_timeout(1_500)
    heard = await page.evaluate("sounds")
    await raise_alarm(desk.connection, "BAND-1", "hr_high")
    await heard_more_than(page, heard)
    await raise_alarm(desk.connection, "BELL-2", "sos")
    await heard_more_than(page, heard + 1)


async def test_on_a_phone_the_card_hides_no_news(desk: Desk, page: Page) -> None:
    """Neither a refusal nor what is not stored lies under the card, nor the card's verbs under the banner."""
    await page.set_viewport_size(PHONE)
    alarm_id = await raise_for(desk)
    await line(page, alarm_id).locator(".kind").click()
    await expect(page.locator("#card .log")).to_be_attached()
    refusal = {"detail_zh": "数据库暂时不可用"}
    await page.route("**/acknowledge", lambda route: route.fulfill(status=503, json=refusal))
    await page.locator("#card").get_by_role("button", name="确认").click()
    await expect(page.locator("#message")).to_be_visible()
    assert await page.evaluate(WHAT_IS_SEEN, "#message")
    await desk.stop()
    await expect(page.locator("#banner")).to_be_visible()
    for place in ("#banner", "#card .head h2", "#card .verbs button"):
        assert await page.evaluate(WHAT_IS_SEEN, place), place


async def test_a_view_that_was_not_read_is_not_empty(page: Page) -> None:
    """Where the shelved ones cannot be read, nothing says that there are none."""
    await expect(page.locator("#calm")).to_be_visible()
    await page.route("**/api/alarms?state=shelved**", lambda route: route.fulfill(status=503, json={}))
    await turn_to(page, "shelved")
    await expect(page.locator("#message")).to_be_visible()
    await expect(page.locator("#calm")).to_be_hidden()


async def test_a_list_that_comes_after_the_token_went_is_not_shown(desk: Desk, page: Page) -> None:
    """Who is asked for a token sees nothing of what the one before was allowed to see."""
    alarm_id = await raise_for(desk)
    await expect(line(page, alarm_id)).to_be_visible()
    held, got = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        answer = await route.fetch()
        got.set()
        await held.wait()
        await route.fulfill(response=answer)

    await page.route(LISTS, late)
    await cut_feed(desk)
    await got.wait()
    refusal = {"detail_zh": "请输入有效的令牌"}
    await page.route(re.compile(r"/api/alarms/\d+$"), lambda route: route.fulfill(status=401, json=refusal))
    await line(page, alarm_id).locator(".kind").click()
    await expect(page.locator("#login")).to_be_visible()
    held.set()
    await page.wait_for_timeout(1_000)
    await expect(page.locator("#board")).to_be_hidden()


async def test_the_address_can_be_asked_for_again(desk: Desk, page: Page) -> None:
    """Where it failed, the button stays beside the reason."""
    alarm_id = await raise_for(desk)
    await line(page, alarm_id).locator(".kind").click()
    await page.route("**/address", lambda route: route.abort())
    button = page.locator("#card").get_by_role("button", name="住址")
    await button.click()
    await expect(page.locator("#card .address")).to_contain_text("失去联系")
    await page.unroute("**/address")
    await button.click()
    await expect(page.locator("#card .address")).to_contain_text("岳阳楼区 1 栋 101")
