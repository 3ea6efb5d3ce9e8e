"""The report of a month as tables of words and figures, which paper, spreadsheet and terminal share.

Rules of this file: every cell is a finished text in Chinese, as it stands; whoever shows it escapes it. What
there is nothing to say of is 无.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from duty.figures import TARGET_60, TARGET_180, Figures, Group, Report
from duty.workload import Load
from ops.listing import printable
from schemas.alarms import OUTCOME_ZH

NOTHING: Final = "无"
WHOLE: Final = "全部"

_LIFE: Final = (
    *("发生", "并入", "应答", "60 秒内", "60 秒率", "180 秒内", "180 秒率", "中位秒", "95% 秒"),
    *("派人", "到场", "按时", "按时率", "误报率", "重开", "超 24 时", "反复"),
)
_MODELS: Final = 50
"""Kinds on models that are shown; --json has all."""


@dataclass(frozen=True)
class Sheet:
    """A table: the first column names the row, the others are figures; `note` stands below."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""


def percent(part: float | None) -> str:
    """Return a share with one decimal, rounded down: what is short of a target never reads as it."""
    return NOTHING if part is None else f"{int(part * 1000 + 1e-9) / 10:.1f}%"


def number(value: float | None, decimals: int = 1) -> str:
    """Return a figure, or that there is none."""
    return NOTHING if value is None else f"{value:.{decimals}f}"


def judged(part: float | None, target: float) -> str:
    """Return a share, and whether it reaches its target."""
    if part is None:
        return NOTHING
    return f"{percent(part)} {'达标' if part >= target else '未达标'}"


def sheets(found: Report) -> list[Sheet]:
    """Return all tables of a report, in their order."""
    return [
        _summary(found),
        Sheet("按班次", ("班次", *_LIFE), _groups(found.by_shift, found.life)),
        Sheet("按区划", ("区划", *_LIFE), _groups(found.by_region, found.life)),
        Sheet("按坐席", ("坐席", *_LIFE), _groups(found.by_operator, found.life)),
        _outcomes(found),
        _kinds(found),
        _classes(found),
        *_loads(found.load),
        _drills(found),
    ]


def heading(found: Report) -> str:
    """Return what the report is of."""
    year, month = found.month.split("-")
    where = f"，区划 {found.region}" if found.region else ""
    return f"{year} 年 {int(month)} 月值班月报{where}"


def remark(found: Report) -> str:
    """Say when it was made, and whether the month was over."""
    over = "" if found.at >= found.until else "，本月尚未结束"
    return f"统计至 {printable(min(found.at, found.until))}（北京时间）{over}；按发生时间计入。"


def _summary(found: Report) -> Sheet:
    life = found.life
    limits = "、".join(f"{region} 开头 {minutes} 分钟" for region, minutes in found.arrival.items())
    limit = f"{found.arrival_minutes} 分钟" + (f"（{limits}）" if limits else "")
    return Sheet(
        "生命告警概况",
        ("指标", "结果", "目标"),
        [
            ("发生", number(life.raised, 0), ""),
            ("其中并入其他告警", number(life.merged, 0), ""),
            ("60 秒内应答", judged(life.share_60, TARGET_60), percent(TARGET_60)),
            ("180 秒内应答", judged(life.share_180, TARGET_180), percent(TARGET_180)),
            ("应答用时中位数（秒）", number(life.median_seconds), ""),
            ("应答用时 95 百分位（秒）", number(life.p95_seconds), ""),
            ("派人后按时到场", percent(life.share_in_time), limit),
            ("误报（误触、测试、设备故障）占人工关闭", percent(life.false_share), ""),
            ("超过 24 小时未关闭", number(life.stale, 0), ""),
        ],
        "应答：从发生到确认，未确认的算未应答。到场：从发生到到场，只计已派人的，未到场的算未按时。"
        "并入其他告警的只计在“并入”里。",
    )


def _cells(each: Figures) -> tuple[str, ...]:
    counts = each.raised, each.merged, each.answered
    after = each.reopened, each.stale, each.chattering
    return (
        *(number(count, 0) for count in counts),
        *(number(each.within_60, 0), percent(each.share_60)),
        *(number(each.within_180, 0), percent(each.share_180)),
        *(number(each.median_seconds), number(each.p95_seconds)),
        *(number(count, 0) for count in (each.dispatched, each.arrived, each.arrived_in_time)),
        percent(each.share_in_time),
        percent(each.false_share),
        *(number(count, 0) for count in after),
    )


def _groups(groups: Iterable[Group], whole: Figures) -> list[tuple[str, ...]]:
    rows = [(_named(each), *_cells(each)) for each in groups]
    return [*rows, (WHOLE, *_cells(whole))]


def _named(each: Group) -> str:
    return f"{each.name} {each.key}" if each.key.isdigit() and each.name != each.key else each.name


def _outcomes(found: Report) -> Sheet:
    life = found.life
    rows: list[tuple[str, ...]] = [
        (zh, number(life.outcomes.get(code, 0), 0), percent(_of(life.outcomes.get(code, 0), life.closed)))
        for code, zh in OUTCOME_ZH.items()
        if life.outcomes.get(code)
    ]
    rows.append(("未关闭", number(life.alarms - life.closed, 0), ""))
    return Sheet("处理结果（生命告警）", ("结果", "条数", "占已关闭"), rows)


def _of(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _kinds(found: Report) -> Sheet:
    rows = [
        (
            f"{each.kind_zh} / {each.model or '未填型号'}",
            *(number(count, 0) for count in (each.alarms, each.closed, each.false_alarms)),
            percent(each.false_share),
        )
        for each in found.by_kind[:_MODELS]
    ]
    more = len(found.by_kind) - len(rows)
    note = f"另有 {more} 行，见 --json。" if more else ""
    columns = ("告警 / 型号", "条数", "已关闭", "误报", "误报率")
    return Sheet("误报：按告警和型号（各类告警）", columns, rows, note)


def _classes(found: Report) -> Sheet:
    rows = [
        (
            each.name,
            *(number(count, 0) for count in (each.raised, each.merged, each.suppressed, each.cleared_alone)),
            number(each.answered, 0),
            *(percent(each.share_60), percent(each.share_180)),
            *(number(each.median_seconds), number(each.p95_seconds)),
            *(number(each.closed, 0), number(each.stale, 0)),
        )
        for each in found.by_class
    ]
    columns = (
        *("类别", "发生", "并入", "因中断不列", "自行恢复", "应答", "60 秒率", "180 秒率", "中位秒"),
        *("95% 秒", "已关闭", "超 24 时"),
    )
    return Sheet("按类别", columns, rows, "自行恢复：确认之前已自行恢复，不计入应答率。")


def _loads(load: Load) -> list[Sheet]:
    worst = printable(load.peak_at) if load.peak_at else NOTHING
    return [
        Sheet(
            "告警负荷（各类告警，每坐席每 10 分钟）",
            ("指标", "结果", "ISA-18.2"),
            [
                ("平均", number(load.mean, 2), "约 1"),
                ("最忙的 10 分钟", f"{number(load.peak)}（{worst}）" if load.peak_at else NOTHING, ""),
                ("超过 1 的时间", percent(load.above_bearable), ""),
                ("告警洪水（超过 10 起，少于 5 止）", number(load.floods, 0), "0"),
                ("洪水所占时间", percent(load.in_flood), "不到 1%"),
            ],
            "在岗：该小时内确认过告警的人；无人确认的小时按一人计。",
        ),
        Sheet(
            "各时段负荷",
            ("时段", "告警", "平均", "最多"),
            [
                (
                    f"{each.hour:02}–{each.hour + 1:02} 时",
                    number(each.alarms, 0),
                    number(each.mean, 2),
                    number(each.peak),
                )
                for each in load.by_hour
            ],
        ),
        Sheet(
            "各坐席负荷",
            ("坐席", "确认", "在岗小时", "每 10 分钟"),
            [
                (each.name, number(each.alarms, 0), number(each.hours, 0), number(each.mean, 2))
                for each in load.by_operator
            ],
        ),
    ]


def _drills(found: Report) -> Sheet:
    drills = found.drills
    columns = ("演练告警", "应答", "60 秒率", "180 秒率", "中位秒", "95% 秒")
    row = (
        *(number(drills.alarms, 0), number(drills.answered, 0)),
        *(percent(drills.share_60), percent(drills.share_180)),
        *(number(drills.median_seconds), number(drills.p95_seconds)),
    )
    return Sheet("演练（不计入以上各表）", columns, [row])
