"""设备在线与电量: which devices do not speak, and which soon will not."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from grafana import panels as p

SHARE = {float("-inf"): p.RED, 0.95: p.YELLOW, 0.99: p.GREEN}
BATTERY = {float("-inf"): p.RED, 10: p.ORANGE, 20: p.YELLOW, 50: p.GREEN}


def board() -> Dashboard:
    """Return the board of all devices."""
    share = [
        DynamicConfigValue("unit", "percentunit"),
        DynamicConfigValue("decimals", 1),
        DynamicConfigValue("min", 0),
        DynamicConfigValue("max", 1),
        DynamicConfigValue("thresholds", p.thresholds(SHARE).build()),
        DynamicConfigValue("custom.cellOptions", {"type": "gauge", "mode": "basic"}),
    ]
    known = "在册且没有未关闭的失联告警即为在线；从未上报过的设备不会失联，也计为在线。"
    return (
        p.board("carebell-fleet", "设备在线与电量", "各地区的在线率，失联与电量低的设备。", "30s", "now-24h")
        .with_panel(
            p.count("在线率", "fleet_online", width=6, levels=SHARE)
            .description(known)
            .unit("percentunit")
            .decimals(1)
        )
        .with_panel(p.count("设备", "fleet_counts", width=18, levels={float("-inf"): p.BLUE}))
        .with_panel(
            p.listing(
                "各地区在线率", "fleet_regions", {"地区": p.wide(200), "在线率": share}, width=12
            ).description(known)
        )
        .with_panel(p.course("新失联与新电量低", "fleet_raised", "short", bars=True).height(10))
        .with_panel(
            p.listing(
                "失联设备",
                "fleet_silent",
                {
                    "设备": p.linked(),
                    "住址": p.wide(260),
                    "失联时间": p.TIME,
                    "已失联": p.AGE,
                    "最后心跳": p.TIME,
                    "电量": p.measure("percent", BATTERY, decimals=0),
                    "处置": p.HANDLING,
                },
            ).description("最近失联的 100 台。")
        )
        .with_panel(
            p.listing(
                "电量低的设备",
                "fleet_low_battery",
                {
                    "设备": p.linked(),
                    "住址": p.wide(260),
                    "报警时间": p.TIME,
                    "电量": p.measure("percent", BATTERY, decimals=0),
                    "最后心跳": p.TIME,
                    "处置": p.HANDLING,
                },
            ).description("最近报警的 100 台；电量取自最新一次心跳。")
        )
    )
