"""设备详情: one device and whoever has it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, VariableRefresh

from grafana import panels as p
from schemas.alarms import EVENT_ZH, TIME_ZH
from store import boards

YES_RED = p.words({"false": "否", "true": "是"}, {"true": p.RED})


def board() -> Dashboard:
    """Return the board of one device, chosen by a variable or by a link from the others."""
    device = (
        QueryVariable("device")
        .label("设备")
        .description("输入设备编号或姓名的开头")
        .datasource(p.POSTGRES)
        .query(boards.queries()["device_choices"])
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
    )
    title = "一台设备：体征、电量、告警、事件，以及谁在何时使用。超过 8 天的体征按小时汇总。"
    return (
        p.board(p.DEVICE_BOARD, "设备详情", title, "30s", "now-24h")
        .with_variable(device)
        .with_variable(p.desk())
        .with_panel(
            p.listing(
                "设备与老人",
                "device_card",
                {
                    "住址": p.wide(260),
                    "联系顺序": p.wide(320),
                    "失联": YES_RED,
                    "电量低": YES_RED,
                    "最后上报": p.TIME,
                    "登记时间": p.TIME,
                },
                height=4,
            )
        )
        .with_panel(p.course("心率", "device_heart", "次/分"))
        .with_panel(p.course("血氧", "device_oxygen", "percent").axis_soft_max(100))
        .with_panel(p.course("血压", "device_pressure", "mmHg"))
        .with_panel(p.course("体温", "device_temperature", "celsius"))
        .with_panel(p.course("血糖", "device_glucose", "mmol/L"))
        .with_panel(
            p.course(
                "电量与信号",
                "device_battery",
                "percent",
                columns={
                    "信号": [
                        DynamicConfigValue("unit", "dBm"),
                        DynamicConfigValue("custom.axisPlacement", "right"),
                    ]
                },
            )
        )
        .with_panel(
            p.listing(
                "告警",
                "device_alarms",
                {
                    "编号": p.on_desk(),
                    "发生时间": p.TIME,
                    "级别": p.SEVERITY,
                    "告警": p.KIND,
                    "现状": p.CONDITION,
                    "报文": p.QUALITY,
                    "处置": p.HANDLING,
                    "结果": p.OUTCOME,
                    "恢复时间": p.TIME,
                    "关闭时间": p.TIME,
                },
            ).description("时间范围内发生的，以及所有未关闭的；最多 200 条。")
        )
        .with_panel(
            p.listing(
                "事件",
                "device_events",
                {
                    "设备时间": p.TIME,
                    "接收时间": p.TIME,
                    "事件": p.words({str(int(event)): zh for event, zh in EVENT_ZH.items()}),
                    "时间质量": p.words({str(int(each)): zh or "可信" for each, zh in TIME_ZH.items()}),
                },
                width=12,
            )
        )
        .with_panel(p.listing("使用人", "device_people", {"开始": p.TIME, "结束": p.TIME}, width=12))
    )
