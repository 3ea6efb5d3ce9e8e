"""告警质量: whether calls are answered in time, what they came to, and what the alarms ask of staff.

Which alarms count is said by the view board_judged_alarms, and what each figure means by docs/figures.md.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from grafana import panels as p
from grafana.panels import Column

FALSE_SHARE = {0: p.GREEN, 0.5: p.YELLOW, 0.8: p.ORANGE}


def _kept(target: float) -> Column:
    """Show a share that is to reach its target."""
    levels = p.thresholds({float("-inf"): p.RED, target: p.GREEN})
    return [DynamicConfigValue("thresholds", levels.build())]


def _colour(name: str) -> Column:
    """Show a series in a colour."""
    return [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": name})]


def _target(colour: str) -> Column:
    """Show a series as the line that others are held to."""
    return [
        *_colour(colour),
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
        DynamicConfigValue("custom.fillOpacity", 0),
    ]


def board() -> Dashboard:
    """Return the board of supervisors."""
    about = "接警、到场、处理结果和告警数量；不含演练、已并入其他告警的和因区域中断而不列出的。"
    shares = p.count("接警与到场", "quality_shares", width=18, levels={float("-inf"): p.BLUE})
    for name, target in (("60 秒内接", 0.975), ("180 秒内接", 0.99)):
        shares = shares.override_by_name(name, _kept(target))
    return (
        p.board("carebell-quality", "告警质量", about, "5m", "now-30d")
        .with_variable(p.desk())
        .with_panel(
            shares.unit("percentunit")
            .decimals(1)
            .description(
                "生命告警。接：从发生到确认，未接的计为未及时，目标 60 秒 97.5 %、180 秒 99 %。"
                "到场：从发生到到场，只计已派人的，未到场的计为未及时。误报：已关闭的告警中误触、测试和设备故障所占。"
            )
        )
        .with_panel(p.count("至今未接的呼叫", "quality_unanswered", width=6, levels={1: p.RED}))
        .with_panel(
            p.course(
                "每日接警",
                "quality_answered",
                "percentunit",
                columns={
                    "60 秒内": _colour(p.GREEN),
                    "目标 97.5 %": _target(p.GREEN),
                    "180 秒内": _colour(p.BLUE),
                    "目标 99 %": _target(p.BLUE),
                },
            )
            .axis_soft_max(1)
            .description("按发生当天的生命告警；未接的计为未及时。")
        )
        .with_panel(
            p.course("每日到场", "quality_arrived", "percentunit")
            .axis_soft_min(0)
            .axis_soft_max(1)
            .description("已派人的生命告警；起步限值城区 10 分钟、乡村 40 分钟，各地区的限值见月报。")
        )
        .with_panel(
            p.course(
                "每坐席 10 分钟告警",
                "quality_load",
                "short",
                columns={
                    "每坐席 10 分钟告警": _colour(p.BLUE),
                    "平稳 1": _target(p.GREEN),
                    "洪水 10": _target(p.RED),
                },
            ).description(
                "每个坐席 10 分钟内新告警的条数（该小时内确认过告警的人算作在岗），取最忙的 10 分钟。"
                "ISA-18.2：平稳时约 1 条，超过 10 条即为洪水，少于 5 条才算结束。"
            )
        )
        .with_panel(
            p.listing(
                "各坐席",
                "quality_operators",
                {
                    "平均用时": p.AGE,
                    "10 分钟平均": p.measure("none", decimals=1),
                    "10 分钟最多": p.measure("none", {0: p.NONE, 11: p.RED}),
                    "洪水分钟": p.measure("none", {0: p.NONE, 1: p.ORANGE}),
                },
                width=12,
                height=8,
            ).description("只计确认过告警的小时；洪水从 10 分钟超过 10 条起，到少于 5 条止。")
        )
        .with_panel(
            p.listing(
                "处理结果",
                "quality_outcomes",
                {"结果": p.OUTCOME, "占比": p.measure("percentunit", decimals=1)},
                width=8,
            ).description("人工关闭的告警；自行恢复的不计。")
        )
        .with_panel(
            p.listing(
                "误报：型号与告警",
                "quality_models",
                {"告警": p.KIND, "误报率": p.measure("percentunit", FALSE_SHARE, decimals=1)},
                width=16,
            ).description("误触、测试和设备故障，占人工关闭的告警。")
        )
        .with_panel(
            p.listing(
                "反复触发的设备", "quality_chattering", {"设备": p.linked(), "告警": p.KIND}, width=10
            ).description("时间范围内触发最多的 50 台。")
        )
        .with_panel(
            p.listing(
                "超过 24 小时未关闭",
                "quality_stale",
                {
                    "编号": p.on_desk(),
                    "级别": p.SEVERITY,
                    "告警": p.KIND,
                    "设备": p.linked(),
                    "发生时间": p.TIME,
                    "已过": p.AGE,
                    "处置": p.HANDLING,
                },
                width=14,
            ).description("最早的 100 条。")
        )
    )
