"""Alarms: kinds with their Chinese names, severities, what the engine decides, and how duty handles it.

The one catalogue of words for code, SQL, boards and the desk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from schemas.readings import Event, Quality


class Class(StrEnum):
    """What is at stake; it decides who closes the alarm."""

    LIFE = "life"
    HEALTH = "health"
    TECHNICAL = "technical"


class Severity(StrEnum):
    """Priorities as in ISA-18.2, most urgent first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Handling(StrEnum):
    """What duty has done about an alarm."""

    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    DISPATCHED = "dispatched"
    ARRIVED = "arrived"
    CLOSED = "closed"


class Outcome(StrEnum):
    """How an alarm ended, one touch each.

    No person chooses the last three: `cleared` is of a technical alarm that closes itself, `drill` of every
    call of a drill when that ends, `merged` of an alarm that is seen to with another one.
    """

    MEDICAL = "medical"
    FALL = "fall"
    OTHER_HELP = "other_help"
    CHECK_IN = "check_in"
    ACCIDENTAL = "accidental"
    TEST = "test"
    EQUIPMENT_FAULT = "equipment_fault"
    NO_CONTACT = "no_contact"
    CLEARED = "cleared"
    DRILL = "drill"
    MERGED = "merged"


class Move(StrEnum):
    """What the engine says of a condition."""

    RAISE = "raise"
    STEP = "step"
    CLEAR = "clear"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"


@dataclass(frozen=True)
class Kind:
    """An alarm kind: its stored name, its Chinese name, its class and its usual severity."""

    name: str
    zh: str
    alarm_class: Class
    severity: Severity


KINDS = {
    kind.name: kind
    for kind in (
        Kind("sos", "紧急呼叫", Class.LIFE, Severity.CRITICAL),
        Kind("fall", "跌倒", Class.LIFE, Severity.CRITICAL),
        Kind("hr_high", "心率过高", Class.HEALTH, Severity.HIGH),
        Kind("hr_low", "心率过低", Class.HEALTH, Severity.HIGH),
        Kind("spo2_low", "血氧过低", Class.HEALTH, Severity.HIGH),
        Kind("temp_high", "体温过高", Class.HEALTH, Severity.HIGH),
        Kind("temp_low", "体温过低", Class.HEALTH, Severity.HIGH),
        Kind("bp_high", "血压过高", Class.HEALTH, Severity.HIGH),
        Kind("bp_low", "血压过低", Class.HEALTH, Severity.HIGH),
        Kind("inactivity", "久无活动", Class.HEALTH, Severity.MEDIUM),
        Kind("check_in_missed", "未报平安", Class.HEALTH, Severity.MEDIUM),
        Kind("area_left", "走失", Class.LIFE, Severity.HIGH),
        Kind("unknown_alarm", "未知报警", Class.LIFE, Severity.HIGH),
        Kind("device_silent", "设备失联", Class.TECHNICAL, Severity.MEDIUM),
        Kind("low_battery", "电量低", Class.TECHNICAL, Severity.LOW),
        Kind("removed", "设备摘除", Class.TECHNICAL, Severity.MEDIUM),
        Kind("not_worn", "长时间未佩戴", Class.TECHNICAL, Severity.LOW),
        Kind("tamper", "设备被拆", Class.TECHNICAL, Severity.MEDIUM),
        Kind("mains_lost", "市电中断", Class.TECHNICAL, Severity.MEDIUM),
        Kind("area_outage", "区域中断", Class.TECHNICAL, Severity.HIGH),
        Kind("suspect_device", "疑似误报", Class.TECHNICAL, Severity.LOW),
        Kind("chattering", "反复告警", Class.TECHNICAL, Severity.LOW),
        Kind("session_lost", "会话丢失", Class.TECHNICAL, Severity.HIGH),
        Kind("messages_dropped", "服务器丢弃消息", Class.TECHNICAL, Severity.HIGH),
    )
}
OWN_KINDS = frozenset({"session_lost", "messages_dropped"})
"""What befalls the line itself: no rule decides it, and only duty closes it."""
OWN_DEVICE = "?carebell"
"""For which device alarms of the line itself stand: a name that no real device can bear."""
AREA_DEVICE = "?area:"
"""With the area behind it, the device for which the outage of that area stands; no real one is called so."""

CLASS_ZH = {Class.LIFE: "生命", Class.HEALTH: "健康", Class.TECHNICAL: "技术"}
SEVERITY_ZH = {Severity.CRITICAL: "紧急", Severity.HIGH: "高", Severity.MEDIUM: "中", Severity.LOW: "低"}
HANDLING_ZH = {
    Handling.UNACKNOWLEDGED: "未确认",
    Handling.ACKNOWLEDGED: "已确认",
    Handling.DISPATCHED: "已派人",
    Handling.ARRIVED: "已到场",
    Handling.CLOSED: "已关闭",
}
OUTCOME_ZH = {
    Outcome.MEDICAL: "真实-医疗",
    Outcome.FALL: "真实-跌倒",
    Outcome.OTHER_HELP: "真实-其他求助",
    Outcome.CHECK_IN: "报平安",
    Outcome.ACCIDENTAL: "误触",
    Outcome.TEST: "测试",
    Outcome.EQUIPMENT_FAULT: "设备故障",
    Outcome.NO_CONTACT: "无法联系",
    Outcome.CLEARED: "自行恢复",
    Outcome.DRILL: "演练",
    Outcome.MERGED: "并入",
}
CONDITION_ZH = {"active": "", "cleared": "已恢复"}
QUALITY_ZH = {"ok": "", "late": "迟到", "unreadable": "报文无法解析"}
EVENT_ZH = {
    Event.SOS: "紧急呼叫",
    Event.FALL_DETECTED: "疑似跌倒",
    Event.FALL_CONFIRMED: "确认跌倒",
    Event.FALL_CANCELLED: "取消跌倒",
    Event.LOW_BATTERY: "电量低",
    Event.TAMPER: "设备被拆",
    Event.MAINS_LOST: "市电中断",
    Event.MAINS_RESTORED: "市电恢复",
    Event.TEST: "测试",
    Event.RESET: "复位",
    Event.REMOVED: "设备摘除",
    Event.WORN: "佩戴",
    Event.CHECK_IN: "报平安",
    Event.AREA_LEFT: "离开区域",
    Event.AREA_ENTERED: "进入区域",
    Event.ONLINE: "上线",
    Event.OFFLINE: "离线",
    Event.UNKNOWN_ALARM: "未知报警",
}
TIME_ZH = {
    Quality.OK: "",
    Quality.MISSING: "未带时间",
    Quality.ASSUMED_ZONE: "时区为推定",
    Quality.FUTURE: "时间超前",
    Quality.EPOCH: "时钟未设",
    Quality.LATE: "迟到",
    Quality.RETAINED: "保留消息",
    Quality.UNREADABLE: "报文无法解析",
}


def area_zh(area: str) -> str:
    """Name an area of which an outage can be: "broker", a region code, "gateway:<name>"."""
    if area == "broker":
        return "整个平台"
    place, colon, name = area.partition(":")
    return f"网关 {name} " if colon and place == "gateway" else f"区域 {area} "


LANE_ZH = {"urgent": "紧急通道", "telemetry": "遥测通道"}


def remark_zh(kind: str, detail: Mapping[str, Any]) -> str:
    """Say what an alarm of the line itself means; those of devices need no such words."""
    if kind == "session_lost":
        return f"{LANE_ZH.get(str(detail.get('lane')), '')}可能丢失报文"
    if kind == "messages_dropped":
        return f"丢弃 {detail.get('more', '若干')} 条"
    return ""


@dataclass(frozen=True)
class Transition:
    """A decision of the engine about one device and kind; the database decides whether a raise repeats.

    `at` is when the condition began to be an alarm, changed or ceased, in microseconds since 1970; `severity`
    is the one that it has from then on; `quality` is ok, late (迟到) or unreadable; `values` is what the rule
    saw. `rule` is the number of the rule in its file, from 1; 0 for what no rule decides. `area` is set for
    an outage, which is of no device (`device_id` is -1): "broker", a region code, or "gateway:<name>".
    `parent` is the area for which an alarm is suppressed.
    """

    device_id: int
    kind: str
    move: Move
    at: int
    severity: Severity
    quality: str = "ok"
    values: dict[str, Any] = field(default_factory=dict)
    area: str = ""
    parent: str = ""
    rule: int = 0
