"""区域总览: where alarms are open, where an area is out, and who waits longest."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from grafana import panels as p

OPEN = p.measure("none", {0: p.NONE, 1: p.YELLOW})
WAITING = [*p.AGE, *p.measure("s", {0: p.NONE, 60: p.ORANGE, 180: p.RED}, decimals=0)]
SILENT = {0: p.GREEN, 0.01: p.YELLOW, 0.05: p.ORANGE, 0.2: p.RED}


def board() -> Dashboard:
    """Return the board of all regions."""
    share = [
        *p.measure("percentunit", decimals=1),
        DynamicConfigValue("min", 0),
        DynamicConfigValue("max", 1),
        DynamicConfigValue("thresholds", p.thresholds(SILENT).build()),
        DynamicConfigValue("custom.cellOptions", {"type": "gauge", "mode": "basic"}),
    ]
    alarm = {"编号": p.on_desk(), "级别": p.SEVERITY, "发生时间": p.TIME, "已过": p.AGE}
    return (
        p.board("carebell-region", "区域总览", "各地区未关闭的告警、区域中断和失联。", "10s", "now-6h")
        .with_variable(p.desk())
        .with_panel(
            p.count("现在", "region_now", width=18, levels={float("-inf"): p.BLUE}).description(
                "不含搁置的，也不含因区域中断而不列出的；这两类分别计数。"
            )
        )
        .with_panel(
            p.count("最久未确认", "region_oldest", width=6, levels={60: p.YELLOW, 180: p.RED})
            .unit("s")
            .decimals(0)
        )
        .with_panel(
            p.map_of("地图", "region_map", "未关闭", {1: p.YELLOW, 10: p.ORANGE, 50: p.RED}).description(
                "登记了坐标的地区，以及自带位置的未关闭呼救（约 100 米）。底图取自互联网。"
            )
        )
        .with_panel(
            p.listing(
                "各地区",
                "region_list",
                {
                    "地区": p.wide(150),
                    "生命": p.measure("none", {0: p.NONE, 1: p.RED}),
                    "未确认": OPEN,
                    "最久未确认": WAITING,
                    "中断": p.measure("none", {0: p.NONE, 1: p.RED}),
                    "失联率": share,
                },
                width=14,
                height=12,
            ).description("按街道或乡镇；只知道区县的列在区县名下。失联率不含未登记和演练的设备。")
        )
        .with_panel(
            p.listing(
                "区域中断",
                "region_outages",
                {**alarm, "处置": p.HANDLING},
                width=12,
            ).description("其中设备的告警不列出，由这一条代表；生命告警从不因此不列出。")
        )
        .with_panel(
            p.listing(
                "最久未确认的告警",
                "region_waiting",
                {**alarm, "告警": p.KIND, "设备": p.linked()},
                width=12,
            )
        )
    )
