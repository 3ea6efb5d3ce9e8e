"""What the desk makes of announcements: 未入库 comes, goes on, and ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from duty import unstored
from duty.alarms import Alarm
from duty.unstored import FORGOTTEN, SILENT, Heard
from schemas.messages import Unstored

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def said(device: str = "BELL-1", *, after: float = 0.0, **fields: Any) -> Unstored:  # noqa: ANN401 - of several types
    """Return an announcement of a press `after` seconds after AT."""
    known = {"state": "unstored", "region": "430602", "channel": "sos", "event": "sos", "waiting": 2.0}
    topic = f"carebell/v1/430602/{device}/sos"
    received_at = AT + timedelta(seconds=after)
    return Unstored(
        **{**known, "device": device, "topic": topic, "received_at": received_at, "payload": "{}", **fields}
    )


def alarm(device: str = "BELL-1", kind: str = "sos", *, after: float = 0.0) -> Alarm:
    """Return an alarm whose last activation came `after` seconds after AT."""
    row: dict[str, Any] = {"device": device, "kind": kind, "last_at": AT + timedelta(seconds=after)}
    return Alarm.model_construct(**row)


def devices(heard: Heard, now: float = 0.0) -> list[str]:
    """Return which devices are listed."""
    return [call.device for call in heard.waiting(now).calls]


def test_a_call_is_listed_until_it_is_stored() -> None:
    """Said again it is the same call; the other one stays."""
    heard = Heard()
    heard.hear(said(), 0.0)
    heard.hear(said(waiting=12.0), 10.0)
    heard.hear(said("BELL-2", after=1), 10.0)
    assert devices(heard, 10.0) == ["BELL-1", "BELL-2"]
    heard.hear(said(state="stored"), 11.0)
    assert devices(heard, 11.0) == ["BELL-2"]


def test_a_call_is_named_in_the_words_of_duty() -> None:
    """Kind and event in Chinese; how long it waits grows between two announcements."""
    heard = Heard()
    heard.hear(said(channel="fall", event="fall_cancelled"), 0.0)
    heard.hear(said("?9", after=1, event=None, region=None), 0.0)
    first, second = heard.waiting(5.0).calls
    assert (first.kind_zh, first.event_zh, first.region, first.waiting, first.silent) == (
        "跌倒",
        "取消跌倒",
        "430602",
        7.0,
        5.0,
    )
    assert (second.kind_zh, second.event_zh, second.region) == ("紧急呼叫", "", "")


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (alarm(), []),
        (alarm(after=5), []),
        (alarm(after=-1), ["BELL-1"]),
        (alarm("BELL-2"), ["BELL-1"]),
        (alarm(kind="fall"), ["BELL-1"]),
    ],
)
def test_a_call_that_stands_as_an_alarm_is_listed_no_more(found: Alarm, left: list[str]) -> None:
    """If that it is stored was never heard: its device and kind, and not an activation before it."""
    heard = Heard()
    heard.hear(said(), 0.0)
    heard.settle([found])
    assert devices(heard) == left


def test_what_nobody_repeats_is_counted_and_then_forgotten() -> None:
    """After an hour it is a number, after a shift nothing; while it is repeated it stays for ever."""
    heard = Heard()
    heard.hear(said(), 0.0)
    for now in range(0, 100_000, 1000):
        heard.hear(said("BELL-2", after=1), now)
        found = heard.waiting(now)
        assert [call.device for call in found.calls] == (["BELL-1", "BELL-2"] if now < SILENT else ["BELL-2"])
        assert found.silent == (SILENT <= now < FORGOTTEN)


def test_a_flood_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many are remembered, so many listed, the oldest of those first; the count is of all remembered."""
    monkeypatch.setattr(unstored, "KEPT", 30)
    monkeypatch.setattr(unstored, "LISTED", 20)
    heard = Heard()
    for number in reversed(range(50)):
        heard.hear(said(f"BELL-{number}", after=number), 0.0)
    assert devices(heard) == [f"BELL-{number}" for number in range(20, 40)]
    assert heard.waiting(0.0).count == 30


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"\xff", None, said().model_dump_json().encode() + b" " * 20_000]
)
def test_what_is_no_announcement_is_passed_over(payload: object) -> None:
    """Whoever may write there cannot break the desk."""
    heard = Heard()
    unstored._take(heard, payload)
    assert devices(heard) == []
    unstored._take(heard, said().model_dump_json(exclude_none=True).encode())
    assert devices(heard) == ["BELL-1"]
