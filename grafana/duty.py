"""值班告警: what is open, the newest life alarm on top."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from grafana import panels as p


def board() -> Dashboard:
    """Return the board that hangs before the duty staff."""
    ages = ("1 分钟内", "1 至 10 分钟", "10 至 60 分钟", "1 至 24 小时", "超过 24 小时")
    return (
        p.board("carebell-duty", "值班告警", "未关闭的告警；生命告警在前，最新的在最上面。", "5s", "now-6h")
        .with_variable(p.desk())
        .with_panel(p.count("未关闭的生命告警", "duty_life", width=5, levels={1: p.RED}))
        .with_panel(
            p.count(
                "最久未确认的生命告警", "duty_oldest", width=4, levels={1: p.YELLOW, 60: p.ORANGE, 180: p.RED}
            )
            .description("60 秒内应接 97.5 %，180 秒内应接 99 %。")
            .unit("s")
            .decimals(0)
        )
        .with_panel(p.count("全部未关闭的告警", "duty_others", width=5, levels={1: p.YELLOW, 100: p.ORANGE}))
        .with_panel(p.stalled())
        .with_panel(
            p.listing(
                "未关闭的告警：级别与时长",
                "duty_ages",
                {"级别": p.SEVERITY} | {age: p.measure("none", {0: p.NONE, 1: p.YELLOW}) for age in ages},
                width=6,
                height=5,
            )
        )
        .with_panel(
            p.listing(
                "未关闭的告警",
                "duty_alarms",
                {
                    "编号": p.on_desk(),
                    "级别": [*p.SEVERITY, *p.wide(70)],
                    "告警": p.KIND,
                    "设备": p.linked(),
                    "住址": p.wide(260),
                    "联系顺序": p.wide(320),
                    "发生时间": p.TIME,
                    "已过": p.AGE,
                    "次数": p.wide(60),
                    "现状": p.CONDITION,
                    "报文": p.QUALITY,
                    "处置": p.HANDLING,
                },
                height=16,
            ).description("最多 200 条；点编号在值班台打开，点设备看设备详情。")
        )
        .with_panel(
            p.course(
                "新告警",
                "duty_raised",
                "short",
                width=24,
                bars=True,
                columns={
                    name: [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})]
                    for name, colour in {"生命": p.RED, "健康": p.ORANGE, "技术": p.BLUE}.items()
                },
            ).description("每个坐席平稳时约 10 分钟 1 条；10 分钟超过 10 条即为告警洪水。不含演练。")
        )
        .with_panel(
            p.listing(
                "已结束的演练",
                "duty_drills",
                {
                    "开始": p.TIME,
                    "结束": p.TIME,
                    "平均确认用时": p.AGE,
                    "最长确认用时": p.AGE,
                },
                height=6,
            ).description("演练的告警不计入各项统计，结束时自动关闭并标为“演练”。")
        )
    )
