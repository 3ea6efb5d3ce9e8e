"""What a notice says: the text for people, in Chinese, and JSON for programs.

Rules of this file: what devices and files said is text and nothing else. Control characters, line ends and
what turns the direction of writing are taken out, and what robots read as a mention or as markup is written
with other letters. Whatever is longer than a recipient takes is cut, never refused.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from duty.notify.notices import Notice
from schemas.alarms import (
    AREA_DEVICE,
    CLASS_ZH,
    HANDLING_ZH,
    KINDS,
    SEVERITY_ZH,
    Class,
    Handling,
    Severity,
    area_zh,
)

LISTED: Final = 10
"""Alarms that one message names; of the others it says how many they are."""
LONGEST: Final = 100
"""Characters of one name."""
ADDRESS: Final = 200
"""Characters of an address: the room stands at its end."""
_SHANGHAI: Final = timezone(timedelta(hours=8), "CST")
_UNSEEN: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]+"
)
_MARKUP: Final = str.maketrans("@<>:", "＠＜＞：")


def plain(text: str, longest: int = LONGEST) -> str:
    """Return a text as one line of letters, bounded."""
    return _UNSEEN.sub(" ", text).strip()[:longest]


def harmless(text: str, longest: int = LONGEST) -> str:
    """Return the same without what a robot reads as a mention, as markup or as an address to follow."""
    return plain(text, longest).translate(_MARKUP)


def title(notice: Notice) -> str:
    """Name an alarm in one line."""
    place = harmless(notice.region_name or notice.region)
    mark = "测试" if notice.trial else f"{CLASS_ZH[notice.alarm_class]}·{SEVERITY_ZH[notice.severity]}"
    area = notice.device.startswith(AREA_DEVICE)
    device = area_zh(notice.device.removeprefix(AREA_DEVICE)).strip() if area else notice.device
    return " ".join(filter(None, (f"【{mark}】{_kind(notice)}", place, harmless(device))))


def text(notices: Sequence[Notice], desk_url: str = "") -> str:
    """Write a message: all of one alarm, or a line for each of several."""
    if len(notices) == 1:
        return "\n".join(_lines(notices[0], desk_url))
    lines = [f"carebell 报警 {len(notices)} 条"]
    lines += [f"{title(each)} {_clock(each.raised_at)} {_state(each)}" for each in notices[:LISTED]]
    if len(notices) > LISTED:
        lines.append(f"另有 {len(notices) - LISTED} 条，请看值班台")
    return "\n".join([*lines, *([desk_url] if desk_url else [])])


def _lines(notice: Notice, desk_url: str) -> list[str]:
    if notice.trial:
        return [title(notice), "这是 carebell 报警通知的测试消息，无需处理。", f"编号：{notice.key}"]
    found = [
        title(notice),
        f"carebell 报警 {notice.alarm_id} 号，第 {notice.step} 级通知",
        f"时间：{_clock(notice.raised_at)}" + (f"，共 {notice.count} 次" if notice.count > 1 else ""),
        f"状态：{_state(notice)}",
    ]
    found += [f"姓名：{harmless(notice.person)}"] if notice.person else []
    found += [f"地址：{harmless(notice.address, ADDRESS)}"] if notice.address else []
    return [*found, *([link(notice, desk_url)] if desk_url else [])]


def cut(message: str, most: int) -> str:
    """Return at most so many bytes of a message, in whole letters."""
    data = message.encode()
    return message if len(data) <= most else data[: most - 3].decode(errors="ignore") + "…"


def link(notice: Notice, desk_url: str) -> str:
    """Return where the desk shows the alarm; empty if nobody said where the desk is."""
    return f"{desk_url.rstrip('/')}/#alarm={notice.alarm_id}" if desk_url and not notice.trial else ""


def body(notice: Notice, desk_url: str) -> dict[str, Any]:
    """Return a notice for programs: docs/notify.md tells the fields."""
    personal = {"person": plain(notice.person), "address": plain(notice.address, ADDRESS)}
    return {
        "key": notice.key,
        "test": bool(notice.trial),
        "alarm_id": notice.alarm_id,
        "round": notice.round,
        "step": notice.step,
        "kind": notice.kind,
        "kind_zh": _kind(notice),
        "class": notice.alarm_class,
        "severity": notice.severity,
        "handling": notice.handling,
        "count": notice.count,
        "region": notice.region,
        "region_name": plain(notice.region_name),
        "device": plain(notice.device),
        "raised_at": _iso(notice.raised_at),
        "last_at": _iso(notice.last_at),
        "closed_at": _iso(notice.closed_at) if notice.closed_at else None,
        "text": text([notice], desk_url),
        "url": link(notice, desk_url),
        **{name: value for name, value in personal.items() if value},
    }


def trial(recipient: str, number: str, now: datetime) -> Notice:
    """Return a notice of no alarm, to try the way to a recipient."""
    return Notice(
        notice_id=0,
        alarm_id=0,
        round=0,
        step=0,
        recipient=recipient,
        state="waiting",
        attempts=1,
        created_at=now,
        kind="test",
        alarm_class=Class.TECHNICAL,
        severity=Severity.LOW,
        handling=Handling.CLOSED,
        raised_at=now,
        last_at=now,
        closed_at=now,
        count=1,
        device="",
        region="",
        region_name="",
        trial=f"carebell-test-{number}",
    )


def _kind(notice: Notice) -> str:
    known = KINDS.get(notice.kind)
    return known.zh if known else "通知测试" if notice.trial else harmless(notice.kind)


def _state(notice: Notice) -> str:
    return HANDLING_ZH[Handling(notice.handling)]


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(_SHANGHAI):%Y-%m-%d %H:%M:%S}"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
