"""What an alarm says of itself, in Chinese and English: the values that its rule stored, as sentences.

Each value has words of its own here, whichever rule or machine stored it; one without words is a threshold of
the rule file and goes by its name.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

from rules.expression import SINCE, STATES
from schemas.alarms import (
    EVENT_ZH,
    KINDS,
    OUTCOME_ZH,
    OWN_KINDS,
    SEVERITY_ZH,
    Outcome,
    Severity,
    area_zh,
    remark_zh,
)
from schemas.clock import SECOND
from schemas.readings import VALUES, Event

_SHANGHAI: Final = timezone(timedelta(hours=8), "CST")  # one zone, no summer time: needs no zone files
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR: Final = 366 * 86_400 * SECOND
_MILLISECOND: Final = 1000
_UNITS: Final = (("天", "d", 86_400), ("小时", "h", 3600), ("分钟", "min", 60), ("秒", "s", 1))

Say = Callable[[Any, bool], str]
"""Write a value in words; in Chinese if the second argument is true."""


class Words(NamedTuple):
    """How a value is said: what stands around it in Chinese and in English, and how it is written itself."""

    zh: str
    en: str
    say: Say


NAMES: Final = {
    "hr": ("心率", "heart rate"),
    "spo2": ("血氧", "SpO2"),
    "temp": ("体温", "temperature"),
    "sbp": ("收缩压", "systolic pressure"),
    "dbp": ("舒张压", "diastolic pressure"),
    "glucose": ("血糖", "glucose"),
    "worn": ("佩戴", "worn"),
    "steps": ("步数", "steps"),
    "battery": ("电量", "battery"),
    "rssi": ("信号强度", "signal"),
    "mains": ("市电", "mains"),
    "motion": ("活动", "motion"),
    "steps_per_min": ("每分钟步数", "steps a minute"),
    "baseline_hr": ("平时心率", "usual heart rate"),
}


def number(value: Any, _zh: bool = False) -> str:  # noqa: ANN401, FBT001, FBT002 - of Say
    """Write a number as people do."""
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)


def duration(microseconds: int, zh: bool) -> str:  # noqa: FBT001 - of Say
    """Write a duration in its units."""
    left = round(microseconds / SECOND)
    parts = []
    for unit_zh, unit_en, seconds in _UNITS:
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit_zh if zh else unit_en}")
    return " ".join(parts) or ("0 秒" if zh else "0 s")


def moment(value: int, zh: bool) -> str:  # noqa: FBT001 - of Say
    """Write a moment as a clock in Shanghai shows it; what is far from any year we know is never."""
    if not 0 < value < 100 * _YEAR:
        return "从未" if zh else "never"
    return f"{(_EPOCH + timedelta(microseconds=value)).astimezone(_SHANGHAI):%Y-%m-%d %H:%M:%S}"


def named(name: str, zh: bool) -> str:  # noqa: FBT001 - of Say
    """Name an event or a field."""
    found = Event.__members__.get(str(name).upper())
    if name in NAMES:
        return NAMES[name][0 if zh else 1]
    return EVENT_ZH[found] if zh and found in EVENT_ZH else str(name)


def _kind(name: str, zh: bool) -> str:  # noqa: FBT001 - of Say
    return KINDS[name].zh if zh and name in KINDS else str(name)


def _severity(name: str, zh: bool) -> str:  # noqa: FBT001 - of Say
    return SEVERITY_ZH[Severity(name)] if zh and name in list(Severity) else str(name)


def _area(name: str, zh: bool) -> str:  # noqa: FBT001 - of Say
    return area_zh(name) if zh else str(name)


def _outcome(name: str, zh: bool) -> str:  # noqa: FBT001 - of Say
    return OUTCOME_ZH[Outcome(name)] if zh and name in list(Outcome) else str(name)


def _text(value: Any, _zh: bool) -> str:  # noqa: ANN401, FBT001 - of Say
    return str(value)


def _counted(one: str, many: str) -> Say:
    """Return how a count is said in English with what is counted; in Chinese it is the number."""
    return lambda value, zh: number(value) if zh else f"{number(value)} {one if value == 1 else many}"


def _choice(no_zh: str, yes_zh: str, no_en: str, yes_en: str) -> Words:
    """Return the words of a value that is 0 or 1."""
    words = {(True, True): yes_zh, (True, False): yes_en, (False, True): no_zh, (False, False): no_en}
    return Words("{}", "{}", lambda value, zh: words[bool(value), zh])


WORDS: Final[dict[str, Words]] = {
    "event": Words("收到“{}”", "event {}", named),
    "hr": Words("心率 {} 次/分", "heart rate {} bpm", number),
    "spo2": Words("血氧 {}%", "SpO2 {} %", number),
    "temp": Words("体温 {} ℃", "temperature {} degC", number),
    "sbp": Words("收缩压 {} mmHg", "systolic pressure {} mmHg", number),
    "dbp": Words("舒张压 {} mmHg", "diastolic pressure {} mmHg", number),
    "glucose": Words("血糖 {} mmol/L", "glucose {} mmol/L", number),
    "worn": _choice("未佩戴", "已佩戴", "not worn", "worn"),
    "steps": Words("步数 {}", "{}", _counted("step", "steps")),
    "battery": Words("电量 {}%", "battery {} %", number),
    "rssi": Words("信号 {} dBm", "signal {} dBm", number),
    "mains": _choice("市电断开", "市电正常", "mains off", "mains on"),
    "motion": _choice("没有活动", "有活动", "no motion", "motion"),
    "steps_per_min": Words("每分钟 {} 步", "{} a minute", _counted("step", "steps")),
    "baseline_hr": Words("平时心率 {} 次/分", "usual heart rate {} bpm", number),
    "last_heard": Words("最后一次收到消息：{}", "last heard {}", moment),
    "limit": Words("时限 {}", "limit {}", duration),
    "last_moved": Words("最后一次活动：{}", "last movement {}", moment),
    "by": Words("应在 {} 前报平安", "check-in due by {}", moment),
    "last_check_in": Words("上次报平安：{}", "last check-in {}", moment),
    "silent": Words("{} 台设备失联", "{} silent", _counted("device", "devices")),
    "of": Words("共 {} 台", "of {}", number),
    "kind": Words("“{}”反复发生", "{} again and again", _kind),
    "cycles": Words("{} 次", "{}", _counted("time", "times")),
    "since": Words("自 {} 起", "since {}", moment),
    "hits": Words("共 {} 次符合", "{}", _counted("hit", "hits")),
    "after": Words("已满 {}", "after {}", duration),
    "severity": Words("级别升为{}", "severity rises to {}", _severity),
    "area": Words("因{}中断而不列出", "explained by the outage of {}", _area),
    "person": Words("改属 {}", "now of {}", _text),
    "to": Words("{}", "to {}", _text),
    "outcome": Words("结果：{}", "outcome {}", _outcome),
    "parent": Words("并入报警 {}", "merged into alarm {}", _text),
    "child": Words("报警 {} 并入本报警", "alarm {} merged into this one", _text),
    "minutes": Words("{} 分钟", "{} min", _text),
    "note": Words("{}", "{}", _text),
    "ts": Words("设备时间 {}", "device time {}", moment),
    "when": Words("条件 {}", "condition {}", _text),
    "ended": Words("不再符合条件 {}", "no longer {}", _text),
}
"""In the order in which they are said."""
_OF_READINGS: Final = {*VALUES, *STATES, "event", "since", "hits", "after", "severity", "ts", "when", "ended"}
"""What a rule with a condition stores itself; what else there is, is a threshold, however it is called."""
_ENDS: Final = frozenset({"cleared", "closed"})
_CHANGED: Final = "规则已更改"
_PLAIN: Final = {
    "fall": "收到“取消跌倒”",
    "inactivity": "又有活动",
    "check_in_missed": "收到“报平安”",
    "device_silent": f"再次收到消息，或{_CHANGED}",
    "chattering": f"一段时间内未再反复，或{_CHANGED}",
}
"""How an alarm of a machine ended, of which the log tells no values; those of others end so by a change."""


def why_zh(kind: str, values: Mapping[str, Any]) -> str:
    """Say in Chinese why an alarm of a kind was raised; nothing for alarms of the line itself."""
    return "" if kind in OWN_KINDS else _sentence(values, zh=True)


def why_en(kind: str, values: Mapping[str, Any]) -> str:
    """Say the same in English."""
    return "" if kind in OWN_KINDS else _sentence(values, zh=False)


def log_zh(kind: str, verb: str, values: Mapping[str, Any]) -> str:
    """Say in Chinese what a line of an alarm's log tells; nothing if it tells no more than its verb."""
    if kind in OWN_KINDS and verb in {"raised", "repeated"}:
        return remark_zh(kind, values)
    if verb == "unsuppressed":
        return "不再属于区域中断，重新列出"
    if verb in {"notified", "not_notified"}:
        said = "已通知" if verb == "notified" else "未能通知"
        return f"{said} {values.get('to')}（第 {values.get('step')} 级）"
    if verb in _ENDS and not values:
        return _PLAIN.get(kind, _CHANGED)
    return _sentence(values, zh=True)


def _is_told(name: str, value: Any) -> bool:  # noqa: ANN401 - of Say
    """Say whether a value is worth a word: a time finer than milliseconds is no device's, but of receipt."""
    return value not in (None, "") and not (name == "ts" and isinstance(value, int) and value % _MILLISECOND)


def _sentence(values: Mapping[str, Any], *, zh: bool) -> str:
    known = _OF_READINGS if values.keys() & {"when", "ended"} else WORDS.keys()
    parts = []
    for name, words in WORDS.items():
        if name in known and _is_told(name, values.get(name)):
            parts.append((words.zh if zh else words.en).format(words.say(values[name], zh)))
    for name in sorted(values.keys() - known):
        if name.startswith(SINCE):
            what, minutes = named(name.removeprefix(SINCE), zh), number(values[name])
            parts.append(f"距上次{what} {minutes} 分钟" if zh else f"{minutes} min since the last {what}")
        else:
            parts.append(f"{name} {number(values[name])}")
    return ("，" if zh else ", ").join(parts)
