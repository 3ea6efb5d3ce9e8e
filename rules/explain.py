"""What a rule does, as a sentence in Chinese and one in English; docs/rules.md is what they follow.

The sentences are made from the file as it is written, with the defaults of what it leaves out.
"""

import ast
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from rules.machines.chattering import ChatteringSettings
from rules.machines.check_in import CheckInSettings
from rules.machines.fall import FallSettings
from rules.machines.inactivity import InactivitySettings
from rules.machines.outage import PLACES, OutageSettings
from rules.machines.silence import SilenceSettings
from rules.ruleset import EachRule, LatchedRule, MachineRule, RuleSet
from rules.sentences import NAMES, duration, named
from schemas.alarms import CLASS_ZH, KINDS, SEVERITY_ZH, Class, Severity

Entry = Mapping[str, Any]
"""A [[rule]] as it is written; of a machine, its settings."""


@dataclass(frozen=True)
class Explained:
    """What one rule of a file does; `number` counts from 1."""

    number: int
    kind: str
    zh: str
    en: str


def explain(rules: RuleSet) -> list[Explained]:
    """Say what each rule does, in the order of the file."""
    zh, en = _Tongue(rules.thresholds, zh=True), _Tongue(rules.thresholds, zh=False)
    entries = tomllib.loads(rules.text)["rule"]
    return [
        Explained(rule.number, rule.kind, _rule(rule, entry, zh), _rule(rule, entry, en))
        for rule, entry in zip(rules.rules, entries, strict=True)
    ]


_FLAGS: Final = {
    "worn": (("未佩戴", "已佩戴"), ("not worn", "worn")),
    "mains": (("市电断开", "市电正常"), ("mains off", "mains on")),
    "motion": (("无活动", "有活动"), ("no motion", "motion")),
}
_COMPARE: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: "<",
    ast.LtE: "≤",
    ast.Gt: ">",
    ast.GtE: "≥",
    ast.Eq: "=",
    ast.NotEq: "≠",
}
_COMPUTE: Final[dict[type[ast.operator], str]] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "×", ast.Div: "÷"}
_DAYS: Final = {
    "Mon": "周一",
    "Tue": "周二",
    "Wed": "周三",
    "Thu": "周四",
    "Fri": "周五",
    "Sat": "周六",
    "Sun": "周日",
}
_SCOPES: Final = {
    "model": ("型号 {}", "model {}"),
    "region": ("区域 {} 及其下级", "region {} and below"),
    "care_level": ("护理等级 {}", "care level {}"),
    "person": ("档案编号 {}", "person {}"),
    "device": ("设备 {}", "device {}"),
}
_PLACES_ZH: Final = dict(zip(PLACES, ("整个平台", "区县", "街道乡镇", "社区", "网关"), strict=True))
_PLACES_EN: Final = dict(
    zip(PLACES, ("the whole platform", "county", "street or town", "community", "gateway"), strict=True)
)


class _Tongue:
    """One of the two languages."""

    def __init__(self, thresholds: Mapping[str, float], *, zh: bool) -> None:
        self._thresholds = thresholds
        self.zh = zh
        self.duration: Callable[[int], str] = partial(duration, zh=zh)

    def __call__(self, zh: str, en: str) -> str:
        """Return the words of this language."""
        return zh if self.zh else en

    def list(self, words: list[str]) -> str:
        return self("、", ", ").join(words)

    def written(self, text: str) -> str:
        """Say a duration as the file writes it: '30s'."""
        unit = {"s": ("秒", "s"), "m": ("分钟", "min"), "h": ("小时", "h")}[text[-1]]
        return f"{int(text[:-1])} {self(*unit)}"

    # ------------------------------------------------------------------------------------------- expressions

    def condition(self, text: str) -> str:
        """Say an expression."""
        said = self._boolean(ast.parse(text, mode="eval").body)
        return f"“{said}”" if self.zh else f'"{said}"'

    def _boolean(self, node: ast.expr) -> str:
        match node:
            case ast.BoolOp(op, values):
                join = self(" 且 ", " and ") if isinstance(op, ast.And) else self(" 或 ", " or ")
                return join.join(
                    f"({self._boolean(value)})" if isinstance(value, ast.BoolOp) else self._boolean(value)
                    for value in values
                )
            case ast.UnaryOp(ast.Not(), operand):
                return self("非", "not ") + f"({self._boolean(operand)})"
            case ast.Compare(ast.Name("event"), _, [ast.Constant(str(name))]):
                return self("收到", "event ") + named(name, self.zh)
            case ast.Compare(ast.Name(name), [op], [ast.Constant(value)]) if name in _FLAGS and value in {
                0,
                1,
            }:
                return self._flag(name, op, value == 1)
            case ast.Compare(left, [op], [right]):
                return self._comparison(left, op, right)
        return ast.unparse(node)

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> str:
        if not isinstance(op, ast.NotEq):
            return f"{self._number(left)} {_COMPARE[type(op)]} {self._number(right)}"
        if ast.unparse(left) == ast.unparse(right):  # nothing differs from itself but what is absent
            return self("没有", "no ") + self._number(left)
        return f"{self._number(left)} ≠ {self._number(right)}" + self(
            "（没有上报也算）", " (or not reported)"
        )

    def _flag(self, name: str, op: ast.cmpop, value: bool) -> str:  # noqa: FBT001 - what stands in the file
        """Say a comparison of a value that is 0 or 1."""
        no, yes = _FLAGS[name][0 if self.zh else 1]
        said = yes if value else no
        if isinstance(op, ast.Eq):
            return said
        if isinstance(op, ast.NotEq):
            return self(f"没有上报{said}", f"not reported as {said}")
        return f"{self(*NAMES[name])} {_COMPARE[type(op)]} {value:d}"

    def _number(self, node: ast.expr) -> str:
        match node:
            case ast.Name(name) if name in NAMES:
                return self(*NAMES[name])
            case ast.Name(name) if name in self._thresholds:
                return f"{name}({self._thresholds[name]:g})"
            case ast.Call(_, [ast.Constant(str(name))]):
                what = named(name, self.zh)
                return self(f"距上次{what}的分钟数", f"minutes since the last {what}")
            case ast.BinOp(left, op, right):
                return f"({self._number(left)} {_COMPUTE[type(op)]} {self._number(right)})"
        return ast.unparse(node)


def _rule(rule: EachRule | LatchedRule | MachineRule, entry: Entry, say: _Tongue) -> str:
    kind = KINDS[rule.kind]
    severity = say(SEVERITY_ZH[rule.severity], rule.severity)
    head = say(
        f"{kind.zh}（{CLASS_ZH[kind.alarm_class]}，{severity}）：",
        f"{kind.name} ({kind.alarm_class.value}, {severity}): ",
    )
    if isinstance(rule, MachineRule):
        said = _MACHINES[rule.machine](rule.entry, say)
    else:
        said = _fires(entry, say) + _clear(entry, kind.alarm_class, say) + _cooldown(entry, say)
        said += _steps(entry, say) + _scope(entry, say) + _schedule(entry, say)
    return f"{head}{said}{say('。', '.')}"


# ------------------------------------------------------------------------------------ rules over readings


def _fires(entry: Entry, say: _Tongue) -> str:
    when = say.condition(entry["when"])
    if entry.get("each"):
        return say(
            f"每条符合{when}的消息一收到就报警，不论设备时钟，次数都计",
            f"each message with {when} alarms on receipt, whatever its clock says, and is counted",
        )
    if "count" in entry:
        within, count = say.written(entry["within"]), entry["count"]
        return say(
            f"{within}内第 {count} 次符合{when}时报警，最后一次之后满 {within}自行恢复",
            f"alarms at {count} times {when} within {within}, and ceases {within} after the last one",
        )
    if entry.get("lasting"):
        if "for" not in entry:
            return say(
                f"一旦符合{when}就报警，此后不再上报也算持续",
                f"alarms as soon as {when}, and holds though nothing more is said",
            )
        hold = say.written(entry["for"])
        return say(
            f"从符合{when}起，满 {hold}仍未恢复就报警，其间不需要再上报",
            f"alarms when {hold} have passed since {when} and it has not ceased, though nothing more is said",
        )
    return _hits(when, entry, say)


def _hits(when: str, entry: Entry, say: _Tongue) -> str:
    needs = []
    if "for" in entry:
        hold = say.written(entry["for"])
        needs.append(say(f"持续至少 {hold}", f"for at least {hold}"))
    if entry.get("samples", 1) > 1:
        needs.append(say(f"至少 {entry['samples']} 次上报", f"in at least {entry['samples']} readings"))
    if not needs:
        return say(f"一旦符合{when}就报警", f"alarms as soon as {when}")
    gap = say.written(entry.get("gap", "24h"))
    return say(
        f"{when}{'、'.join(needs)}时报警，其间有一次不符合、或相邻两次相隔超过 {gap}，就重新计算",
        f"alarms when {when} {' and '.join(needs)}; a reading without it, or {gap} without one, begins anew",
    )


def _clear(entry: Entry, alarm_class: Class, say: _Tongue) -> str:
    said = ""
    if "clear" in entry:
        clear = say.condition(entry["clear"])
        said = say(f"；{clear}时恢复", f"; ceases when {clear}")
    elif entry.get("each"):
        return say("；由值班员关闭", "; closed by duty")
    elif "count" not in entry:
        said = say("；上报不再符合时恢复", "; ceases at a reading without it")
    if alarm_class is Class.TECHNICAL:
        return said + say("，恢复即自动关闭", ", which closes it")
    return said + say("，仍由值班员关闭", ", and is closed by duty")


def _cooldown(entry: Entry, say: _Tongue) -> str:
    if "cooldown" not in entry:
        return ""
    rest = say.written(entry["cooldown"])
    return say(f"；报警后 {rest}内不再报警", f"; not again within {rest} of an alarm")


def _steps(entry: Entry, say: _Tongue) -> str:
    said = ""
    for step in entry.get("steps", []):
        severity = say(SEVERITY_ZH[Severity(step["severity"])], step["severity"])
        if "after" in step:
            after = say.written(step["after"])
            said += say(
                f"；报警 {after}后仍未恢复，升为{severity}",
                f"; {severity} if it lasts {after} from the alarm on",
            )
        else:
            when = say.condition(step["when"])
            said += say(f"；其间{when}时升为{severity}", f"; {severity} when meanwhile {when}")
    return said


def _scope(entry: Entry, say: _Tongue) -> str:
    parts = [
        say(*_SCOPES[key]).format(say.list([str(each) for each in wanted]))
        for key, wanted in entry.get("scope", {}).items()
    ]
    return say("；只对", "; only for ") + say("且", " and ").join(parts) if parts else ""


def _schedule(entry: Entry, say: _Tongue) -> str:
    schedule = entry.get("schedule")
    if not schedule:
        return ""
    days = str(schedule.get("days", ""))
    if say.zh:
        for name, zh in _DAYS.items():
            days = days.replace(name, zh)
        days = days.replace("-", "至").replace(",", "、")
    begin, end = schedule.get("from", "00:00"), schedule.get("to", "24:00")
    next_day = say("次日 ", "the next day ") if end <= begin else ""
    zone = schedule.get("zone", "Asia/Shanghai")
    return say(
        f"；只看{days or '每天'} {begin} 到{next_day or ' '}{end}（{zone}）的读数",
        f"; only readings of {days or 'every day'} from {begin} to {next_day}{end} ({zone})",
    )


# ------------------------------------------------------------------------------------ machines


def _fall(entry: Entry, say: _Tongue) -> str:
    immobile = say.duration(FallSettings.model_validate(entry).immobile)
    return say(
        "疑似跌倒立即报警（高），确认跌倒立即报警（紧急）；"
        f"疑似跌倒后 {immobile}内没有活动、没有取消，升为紧急；"
        "取消跌倒只说明状况已恢复，仍由值班员关闭",
        "a detected fall alarms at once as high, a confirmed one as critical; detected, and for"
        f" {immobile} no movement and not cancelled: critical; cancelling ends the condition, and it is"
        " closed by duty",
    )


def _silence(entry: Entry, say: _Tongue) -> str:
    settings = SilenceSettings.model_validate(entry)
    models = [f"{model} {say.duration(each)}" for model, each in settings.models.items()]
    sources = [say("设备自己的心跳秒数", "the device's own")]
    if models:
        sources.append(say(f"型号的（{say.list(models)}）", f"that of its model ({say.list(models)})"))
    if settings.learn:
        sources.append(say("从它 20 次以上的消息间隔学到的", "that learned from 20 and more of its messages"))
    sources.append(say.duration(settings.interval))
    again = say("再次收到消息即恢复并自动关闭", "ceases when it is heard again, which closes it")
    if settings.steady:
        steady = say.duration(settings.steady)
        again = say(
            f"再次收到消息且此后 {steady}内没有再失联才恢复并自动关闭",
            f"ceases when it is heard again and for {steady} does not fall silent anew, which closes it",
        )
    return say(
        f"设备超过 {settings.misses} 个上报间隔没有消息就报警；"
        f"间隔依次取：{'，否则'.join(sources)}；{again}；保留消息和遗嘱不算",
        f"alarms when a device says nothing for {settings.misses} of its intervals:"
        f" {', else '.join(sources)}; {again}; retained messages and last wills do not count",
    )


def _outage(entry: Entry, say: _Tongue) -> str:
    settings = OutageSettings.model_validate(entry)
    names = _PLACES_ZH if say.zh else _PLACES_EN
    places = say.list([names[place] for place in PLACES if place in settings.by])
    window, share = say.duration(settings.window), f"{settings.share * 100:g}%"
    half = f"{settings.share * 50:g}%"
    return say(
        f"同属一处（{places}）的设备在 {window}内失联至少 {settings.least} 台、且占 {share} 以上时，"
        "只报一条区域中断，这些设备的失联记入历史而不列给值班员；"
        f"其中仍失联的不到 {half} 时中断结束，再过一个时限还失联的设备各自报警；生命告警从不隐藏",
        f"alarms once for a place ({places}) where {settings.least} devices or more, {share} of all, fell"
        f" silent within {window}; their silence stands in the history and not before staff; ends when less"
        f" than {half} of them are silent, and who then stays silent for one more limit alarms by itself;"
        " calls for help are never hidden",
    )


def _inactivity(entry: Entry, say: _Tongue) -> str:
    settings = InactivitySettings.model_validate(entry)
    hours = say.list([f"{text} {say.written(each)}" for text, each in entry["after"].items()])
    return say(
        f"有过活动的设备，超过当前时段的时长没有任何活动就报警：{hours}（{settings.zone.key}）；"
        "失联的设备不判断；有活动即恢复，仍由值班员关闭",
        f"alarms when a device that ever showed movement shows none for {hours} ({settings.zone.key}); not"
        " while it is silent; ceases at movement, and is closed by duty",
    )


def _check_in(entry: Entry, say: _Tongue) -> str:
    zone = CheckInSettings.model_validate(entry).zone.key
    by, since = entry["by"], entry.get("from", "00:00")
    return say(
        f"曾报过平安的设备，每天 {since} 到 {by}（{zone}）没有报平安就报警，每天一次；"
        "报平安即恢复，仍由值班员关闭",
        f"alarms at {by} when a device that ever checked in has not done so since {since} ({zone}), once a"
        " day; ceases at a check-in, and is closed by duty",
    )


def _chattering(entry: Entry, say: _Tongue) -> str:
    settings = ChatteringSettings.model_validate(entry)
    window, quiet = say.duration(settings.window), say.duration(settings.quiet)
    return say(
        f"一台设备的同一种技术或健康告警在 {window}内报了 {settings.cycles} 次就报警；"
        f"该种告警 {quiet}内不再出现即恢复并自动关闭",
        f"alarms when one technical or health alarm of a device is raised {settings.cycles} times within"
        f" {window}; ceases when it has not come for {quiet}, which closes it",
    )


_MACHINES: Final[dict[str, Callable[[Entry, _Tongue], str]]] = {
    "fall": _fall,
    "silence": _silence,
    "outage": _outage,
    "inactivity": _inactivity,
    "check_in": _check_in,
    "chattering": _chattering,
}
