"""An alarm's card on the desk's page in a real Chromium: the person, handling, keyboard, other lists."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from duty import users
from duty.access import Role
from tests.chromium import (
    ON_THE_SESSIONS_LOOP,
    Desk,
    browser,
    chromium,
    desk,
    heard_more_than,
    opened,
    page,
)
from tests.desk import AT, TOKENS, add_device, close_alarm, one, raise_alarm, rows

__all__ = ["browser", "chromium", "desk", "page"]  # fixtures
pytestmark = [ON_THE_SESSIONS_LOOP, pytest.mark.one_edition]

EVIL = "<img src=x onerror=\"document.title='owned'\"><b>铃</b>"
PERSON = {
    "name": "张桂英",
    "sex": "female",
    "birth_year": "1942",
    "phone": "0730-123 4567",
    "address": "岳阳楼区 1 栋 101",
    "notes": "高血压；钥匙在李嫂处",
}


async def raise_for(desk: Desk, kind: str = "sos", device: str = "BELL-1", **person: str) -> int:
    """Raise an alarm of a person with two contacts, now."""
    whose: dict[str, Any] = person or PERSON
    alarm_id = await raise_alarm(desk.connection, device, kind, at=datetime.now(UTC), **whose)
    await desk.connection.execute(
        "INSERT INTO contacts (person_id, rank, name, relation, phone)"
        " SELECT person_id, rank, name, relation, phone FROM alarms, (VALUES"
        " (2, '李嫂', '邻居', '13700000000'), (1, '张强', '儿子', '139-0000 0000'))"
        " AS c (rank, name, relation, phone)"
        " WHERE alarm_id = %s ON CONFLICT DO NOTHING",
        (alarm_id,),
    )
    return alarm_id


async def act(page: Page, *keys: str) -> None:
    """Press keys, one after the other."""
    for key in keys:
        await page.keyboard.press(key)


async def turn_to(page: Page, view: str) -> None:
    """Show another list: open, shelved, closed."""
    await page.locator(f'#views [data-view="{view}"]').click()


def line(page: Page, alarm_id: int) -> Locator:
    """Return the row of an alarm."""
    return page.locator(f'#alarms [data-alarm="{alarm_id}"]')


async def test_the_card_says_who_it_is_and_whom_to_call(desk: Desk, page: Page) -> None:
    """It has the person with illnesses and key holder, links in the order of calling, steps and log."""
    alarm_id = await raise_for(desk)
    await page.locator("#alarms tr .kind").click()
    card = page.locator("#card")
    await expect(card.locator("h2")).to_have_text("紧急 紧急呼叫 张桂英")
    for text in ("女", "岁", "高血压；钥匙在李嫂处"):
        await expect(card.locator(".person")).to_contain_text(text)
    await expect(card.locator(".person a")).to_have_attribute("href", "tel:07301234567")
    await expect(card.locator(".contacts li")).to_have_text(
        [re.compile("张强.*儿子"), re.compile("李嫂.*邻居")]
    )
    await expect(card.locator(".contacts a").first).to_have_attribute("href", "tel:13900000000")
    assert await card.locator(".steps li").count() >= 2
    await expect(card.locator(".seen")).to_contain_text("BELL-1")
    assert page.url == f"{desk.address}#alarm={alarm_id}"
    await card.get_by_role("button", name="确认").click()
    await expect(card.locator(".log")).to_contain_text("王芳")
    await card.get_by_role("button", name="关闭卡片").click()
    await expect(card).to_be_hidden()
    assert page.url == desk.address


async def test_the_address_is_shown_on_request_only(desk: Desk, page: Page) -> None:
    """No row and no card has it before somebody asks, and then it stays while events come."""
    alarm_id = await raise_for(desk)
    await page.locator("#alarms tr .kind").click()
    await expect(page.locator("#card .notes")).to_be_visible()
    assert PERSON["address"] not in await page.content()
    await page.locator("#card").get_by_role("button", name="住址").click()
    await expect(page.locator("#card .address")).to_have_text(PERSON["address"])
    await line(page, alarm_id).get_by_role("button", name="确认").click()
    await expect(page.locator("#card .log")).to_contain_text("王芳")
    await expect(page.locator("#card .address")).to_have_text(PERSON["address"])


async def test_the_vitals_are_drawn_with_their_gaps(desk: Desk, page: Page) -> None:
    """Heart rate and oxygen are curves with axes and words beside them; what is missing is a gap."""
    now = datetime.now(UTC)
    await raise_alarm(desk.connection, "BAND-1", "hr_high", at=now)
    device_id = await add_device(desk.connection, "BAND-1")
    for minute in [*range(10, 60), *range(120, 180)]:
        beats = None if 30 < minute < 40 else 70 + minute % 3
        await desk.connection.execute(
            "INSERT INTO vitals (device_id, ts, received_at, time_quality, digest, batch, hr, spo2)"
            " VALUES (%s, %s, %s, 0, %s, 0, %s, %s)",
            (device_id, now - timedelta(minutes=minute), now, minute, beats, 97),
        )
    await page.locator("#alarms tr .kind").click()
    charts = page.locator("#card svg")
    await expect(charts).to_have_count(2)
    await expect(charts.nth(0)).to_have_attribute("aria-label", re.compile("心率.*70 至 72"))
    await expect(charts.nth(0).locator("polyline")).to_have_count(3)  # not measured, and not heard of
    await expect(charts.nth(1).locator("polyline")).to_have_count(2)
    await expect(charts.nth(0).locator("text")).to_contain_text(["心率 次/分", re.compile(r"\d+")])
    await expect(page.locator("#card .said")).to_contain_text("血氧 97–97 %，最近 97")
    await page.locator("#card").get_by_role("button", name="24 小时").click()
    await expect(charts).to_have_count(2)


async def test_what_devices_and_people_wrote_stays_text(desk: Desk, page: Page) -> None:
    """Markup in device, region, name, notes, contacts, address or log is shown and runs nothing."""
    await desk.connection.execute("INSERT INTO regions (region, name) VALUES ('430602', %s)", (EVIL,))
    person = {**PERSON, "name": EVIL, "notes": EVIL, "address": EVIL, "phone": "javascript:alert(1)"}
    alarm_id = await raise_for(desk, "fall", EVIL, **person)
    await desk.connection.execute(
        "UPDATE contacts SET name = %s, relation = %s, phone = %s", (EVIL, EVIL, EVIL)
    )
    row = line(page, alarm_id)
    await row.locator(".kind").click()
    card = page.locator("#card")
    for part in ("h2", ".person", ".notes", ".contacts", ".seen"):
        await expect(card.locator(part).first).to_contain_text(EVIL)
    await expect(card.locator(".person a")).to_have_attribute("href", "tel:1")
    await card.get_by_role("button", name="住址").click()
    await expect(card.locator(".address")).to_have_text(EVIL)
    await card.get_by_role("button", name="确认").click()
    await card.get_by_role("button", name="派人").click()
    await page.locator("#to").fill(EVIL)
    await page.locator("#note").fill(EVIL)
    await page.get_by_role("button", name="派出").click()
    await expect(row).to_contain_text(f"已派人 {EVIL}")
    await expect(card.locator(".log")).to_contain_text(EVIL)
    assert await page.locator("#board img, #board b b, #dialog img").count() == 0
    assert "owned" not in await page.title()


async def test_an_alarm_is_handled_by_the_keyboard_alone(desk: Desk, page: Page) -> None:
    """From raise to close without the mouse: choose, open, acknowledge, send, arrived, and a digit."""
    await raise_for(desk, "low_battery", "BELL-2", name="李爷爷")
    alarm_id = await raise_for(desk)
    await expect(page.locator("#alarms tr")).to_have_count(2)
    await act(page, "j", "j", "k", "Enter")
    await expect(page.locator("#card h2")).to_have_text("紧急 紧急呼叫 张桂英")
    await act(page, "a")
    await expect(page.locator("#card .state")).to_contain_text("已确认 王芳")
    await act(page, "d")
    await page.keyboard.type("jd1 网格员")  # letters and digits that are typed are no orders
    await act(page, "Enter")
    await expect(page.locator("#dialog")).to_be_hidden()  # the stream may tell of it before the answer does
    await expect(page.locator("#card .state")).to_contain_text("已派人 jd1 网格员")
    await expect(line(page, alarm_id).locator(".limit")).to_contain_text("到场还剩")
    await act(page, "v")
    await expect(page.locator("#card .state")).to_contain_text("已到场")
    outcome = page.locator("#card .outcomes button", has_text="报平安")
    digit = await outcome.get_attribute("aria-keyshortcuts")
    await act(page, str(digit))
    await expect(line(page, alarm_id)).to_have_count(0)
    await expect(page.locator("#card")).to_be_hidden()
    await expect(page.locator("#message")).to_contain_text("已关闭：紧急呼叫 张桂英（报平安）")
    found = await desk.alarm(alarm_id)
    assert (found["outcome"], found["closed_by"]) == ("check_in", "王芳")
    assert found["arrived_at"] is not None
    await act(page, "Enter")  # the next line took its place
    await expect(page.locator("#card h2")).to_have_text("低 电量低 李爷爷")
    await act(page, "Escape")
    await expect(page.locator("#card")).to_be_hidden()
    await act(page, "?")
    await expect(page.locator("#keys")).to_be_visible()


async def test_a_move_whose_answer_comes_after_its_event_is_a_move_all_the_same(
    desk: Desk, page: Page
) -> None:
    """The stream may be quicker than the answer: the card goes nonetheless, and what was closed is said."""
    alarm_id = await raise_for(desk)

    async def late(route: Route) -> None:
        answer = await route.fetch()
        await expect(line(page, alarm_id)).to_have_count(0)
        await route.fulfill(response=answer)

    await page.route("**/close", late)
    await line(page, alarm_id).locator(".kind").click()
    await act(page, "a")
    await page.locator("#card .outcomes button", has_text="报平安").click()
    await expect(page.locator("#card")).to_be_hidden()
    await expect(page.locator("#message")).to_contain_text("已关闭：紧急呼叫 张桂英（报平安）")


ON_CHANGE = """() => new Promise((done) => new MutationObserver((_, watch) => {
    watch.disconnect();
    DOES
}).observe(document.getElementById("alarms"), { childList: true }))"""
"""Does something in the moment in which a line comes or goes."""
PRESS_ON_CHANGE = ON_CHANGE.replace(
    "DOES", "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'a', bubbles: true })); done();"
)
REST_ON_CHANGE = ON_CHANGE.replace("DOES", "done(performance.now() - movedAt);")


async def test_a_key_means_no_alarm_that_nobody_chose(desk: Desk, page: Page) -> None:
    """Where another one closed the selected alarm just now, the key meant for it takes up no other."""
    chosen, following = await raise_for(desk), await raise_for(desk, "fall", "BELL-2", name="李爷爷")
    await expect(page.locator("#alarms tr")).to_have_count(2)
    await act(page, "j")
    await expect(line(page, chosen)).to_have_attribute("aria-selected", "true")
    gone = asyncio.ensure_future(page.evaluate(PRESS_ON_CHANGE))
    await close_alarm(desk.connection, chosen, AT)
    await gone
    await expect(line(page, following)).to_have_attribute("aria-selected", "true")
    await expect(page.locator("#message")).to_contain_text("尚未选定")
    await page.wait_for_timeout(800)
    assert (await desk.alarm(following))["handling"] == "unacknowledged"
    await act(page, "j", "a")
    await expect(line(page, following)).to_contain_text("已确认 王芳")


async def test_no_line_moves_under_a_pointer_that_is_about_to_press(desk: Desk, page: Page) -> None:
    """A line that would push a button away waits until the pointer rests, and comes then."""
    other = await raise_for(desk, "low_battery", "BELL-2", name="李爷爷")
    button = line(page, other).get_by_role("button", name="确认")
    await expect(button).to_be_visible()
    await page.evaluate(
        "window.movedAt = 0; addEventListener('pointermove', () => { movedAt = performance.now(); })"
    )
    moved = asyncio.ensure_future(page.evaluate(REST_ON_CHANGE))
    await button.hover()
    alarm_id = await raise_for(desk)
    assert await moved >= 395
    await expect(page.locator("#alarms tr").first).to_have_attribute("data-alarm", str(alarm_id))


async def test_a_refused_token_asks_for_another_one_also_over_a_dialog(desk: Desk, page: Page) -> None:
    """What is asked for a verb makes room for the question who is asking."""
    alarm_id = await raise_for(desk)
    await line(page, alarm_id).get_by_role("button", name="确认").click()
    await line(page, alarm_id).get_by_role("button", name="派人").click()
    await page.locator("#to").fill("李强")
    await page.route("**/dispatch", lambda route: route.fulfill(status=401, json={"detail_zh": "令牌已失效"}))
    await act(page, "Enter")
    await expect(page.locator("#dialog")).to_be_hidden()
    await page.wait_for_timeout(500)  # what was under way without a token is refused as well
    await expect(page.locator("#message")).to_have_text("令牌已失效")
    await page.locator("#token").fill(TOKENS["李强"])
    await act(page, "Enter")
    await expect(line(page, alarm_id)).to_contain_text("已确认 王芳")


async def test_the_sound_repeats_until_somebody_acknowledges(desk: Desk, page: Page) -> None:
    """No sound before the first touch, which the page asks for; then it repeats until answered."""
    alarm_id = await raise_for(desk)
    await expect(line(page, alarm_id)).to_be_visible()
    await expect(page.locator("#hint")).to_have_text("点此开启声音")
    assert await page.evaluate("sounds") == 0
    await page.locator("#hint").click()
    await expect(page.locator("#hint")).to_be_hidden()
    await heard_more_than(page, 1)
    await page.locator("#mute").click()
    await expect(page.locator("#mute")).to_contain_text("静音中")
    heard = await page.evaluate("sounds")
    await page.wait_for_timeout(3_600)
    assert await page.evaluate("sounds") == heard
    await page.locator("#mute").click()
    await heard_more_than(page, heard)
    await line(page, alarm_id).get_by_role("button", name="确认").click()
    await expect(page.locator("#mute")).to_be_hidden()
    heard = await page.evaluate("sounds")
    await page.wait_for_timeout(3_600)
    assert await page.evaluate("sounds") == heard


async def test_an_alarm_is_merged_into_another_one_of_the_person(desk: Desk, page: Page) -> None:
    """The dialog offers the person's other alarms; the merged one goes and says into which one."""
    parent = await raise_for(desk)
    alarm_id = await raise_for(desk, "fall")
    await line(page, alarm_id).locator(".kind").click()
    await expect(page.locator("#card .others")).to_contain_text("紧急呼叫")
    await act(page, "a")
    await expect(page.locator("#card .state")).to_contain_text("已确认")
    await act(page, "m")
    await page.locator("#choices").get_by_role("button", name=f"#{parent} 紧急呼叫").click()
    await expect(line(page, alarm_id)).to_have_count(0)
    found = await desk.alarm(alarm_id)
    assert (found["outcome"], found["parent_id"]) == ("merged", parent)


async def test_what_is_shelved_and_closed_can_be_looked_up(desk: Desk, page: Page) -> None:
    """A shelved alarm stands in the list of shelved ones, a closed one in the history."""
    silent = await raise_for(desk, "device_silent")
    await line(page, silent).locator(".kind").click()
    await act(page, "s")
    await page.locator("#choices").get_by_role("button", name="1 小时").click()
    await expect(page.locator("#calm")).to_be_visible()
    await expect(page.locator("#counts")).to_contain_text("搁置 1")
    await turn_to(page, "shelved")
    await expect(line(page, silent)).to_contain_text("搁置至")
    await line(page, silent).get_by_role("button", name="取消搁置").click()
    await turn_to(page, "open")
    await expect(line(page, silent)).to_be_visible()

    closed = await raise_for(desk, "sos", "BELL-2", name="李爷爷")
    await close_alarm(desk.connection, closed, AT)
    await turn_to(page, "closed")
    await expect(line(page, closed)).to_contain_text("已关闭 真实-其他求助 王芳")
    await line(page, closed).locator(".kind").click()
    await page.locator("#card").get_by_role("button", name="备注").click()
    await page.locator("#note").fill("家属已到")
    await page.locator("#send").click()
    await expect(page.locator("#card .log")).to_contain_text("家属已到")


async def test_a_closed_alarm_is_opened_again(desk: Desk, page: Page) -> None:
    """Reopening puts it back among the open ones, taken up by whoever reopened it."""
    alarm_id = await raise_for(desk)
    await expect(line(page, alarm_id)).to_be_visible()
    await act(page, "j", "a")
    await expect(line(page, alarm_id)).to_contain_text("已确认")
    await act(page, "c", "5")
    await expect(page.locator("#calm")).to_be_visible()
    await turn_to(page, "closed")
    reopen = line(page, alarm_id).locator('[data-verb="reopen"]')
    await reopen.click()
    await page.locator("#send").click()
    await turn_to(page, "open")
    await expect(line(page, alarm_id)).to_contain_text("已确认 王芳")


async def test_an_alarm_is_assigned_and_noted(desk: Desk, page: Page) -> None:
    """Both are said in the log, the assignee in the row; a note without words is not sent."""
    alarm_id = await raise_for(desk)
    await expect(line(page, alarm_id)).to_be_visible()
    await act(page, "j", "g")
    await page.locator("#to").fill("李强")
    await act(page, "Enter")
    await expect(page.locator("#dialog")).to_be_hidden()
    await expect(line(page, alarm_id)).to_contain_text("交给 李强")
    await act(page, "Enter", "n", "Enter")
    await expect(page.locator("#dialog")).to_be_visible()
    await page.wait_for_timeout(500)
    await expect(page.locator("#refusal")).to_be_hidden()  # the server was not even asked
    await page.locator("#note").fill("电话占线")
    await act(page, "Enter")
    await expect(page.locator("#card .log")).to_contain_text("电话占线")


async def test_a_link_opens_the_card(desk: Desk, browser: Browser) -> None:
    """`#alarm=ID`, as boards link, shows that alarm, closed or not; the token still leaves the address."""
    alarm_id = await raise_for(desk)
    await close_alarm(desk.connection, alarm_id, AT)
    async with opened(browser, desk.address, also=f"&alarm={alarm_id}") as page:
        await expect(page.locator("#card h2")).to_have_text("紧急 紧急呼叫 张桂英")
        await expect(page.locator("#card .state")).to_contain_text("已关闭")
        assert page.url == f"{desk.address}#alarm={alarm_id}"
        await page.evaluate("location.hash = '#alarm=999999'")
        await expect(page.locator("#card .failure")).to_contain_text("没有编号为 999999 的报警")


async def test_a_viewer_sees_and_does_nothing(desk: Desk, browser: Browser) -> None:
    """A viewer has the list and no button that handles; the card is refused in words."""
    alarm_id = await raise_for(desk)
    await users.add(desk.connection, "管理员", "来宾", Role.VIEWER)
    token, _ = await users.new_token(desk.connection, "管理员", "来宾")
    async with opened(browser, desk.address, token) as page:
        await expect(line(page, alarm_id)).to_contain_text("张桂英")
        await expect(line(page, alarm_id).get_by_role("button")).to_have_count(0)
        await line(page, alarm_id).locator(".kind").click()
        await expect(page.locator("#card .failure")).to_contain_text("权限不足")
        await expect(page.locator("#card .verbs button, #card .outcomes button")).to_have_count(0)
        assert "4567" not in await page.content()
        await act(page, "Escape", "a")
    assert await rows(desk.connection, "SELECT handling FROM alarms") == [("unacknowledged",)]


async def test_an_open_card_follows_what_others_do(desk: Desk, page: Page, browser: Browser) -> None:
    """What another operator does about the alarm stands on my card at once."""
    alarm_id = await raise_for(desk)
    await line(page, alarm_id).locator(".kind").click()
    await expect(page.locator("#card .log")).to_be_attached()
    async with opened(browser, desk.address) as other:
        await line(other, alarm_id).get_by_role("button", name="确认").click()
    await expect(page.locator("#card .state")).to_contain_text("已确认 王芳")
    await expect(page.locator("#card").get_by_role("button", name="派人")).to_be_visible()
    assert (await one(desk.connection, "SELECT count(*) AS n FROM alarm_log"))["n"] >= 1
