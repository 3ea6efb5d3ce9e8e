"""系统运行: whether the line does its work, from the bridge's own counts."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana import panels as p

WORDS = {
    "urgent": "紧急",
    "telemetry": "遥测",
    "decode": "解码",
    "deduplicate": "去重",
    "evaluate": "判断",
    "commit": "提交",
    "acknowledge": "应答",
    "canary": "自检",
}
"""The labels of the metrics that people read."""

QUANTILE = (
    "histogram_quantile({q},"
    " sum by (lane, stage, le) (rate(carebell_stage_seconds_bucket[$__rate_interval])))"
)

CANARY = (
    "histogram_quantile(0.99, sum by (lane, le) (rate(carebell_canary_seconds_bucket[$__rate_interval])))"
)
MISSING = (
    "sum(increase(carebell_messages_missing_total[$__rate_interval]))"
    " - sum(increase(carebell_messages_found_total[$__rate_interval]))"
)


def board() -> Dashboard:
    """Return the board of ops."""
    return (
        p.board("carebell-system", "系统运行", "消息线路是否正常，数据来自 Prometheus。", "30s", "now-3h")
        .with_panel(p.stalled())
        .with_panel(
            p.gauge(
                "对账差额", ("abs(carebell_identity_difference)", "差额"), width=4, levels={1: p.RED}
            ).description("收到 − 入库 − 重复 − 死信 − 忽略 − 在途，必须为 0。")
        )
        .with_panel(
            p.gauge(
                "MQTT 会话",
                ("carebell_session_connected", "{{lane}}"),
                width=4,
                levels={float("-inf"): p.RED, 1: p.GREEN},
            )
            .mappings(p.mapping({"0": "断开", "1": "已连接"}))
            .transformations(p.renamed(WORDS))
        )
        .with_panel(
            p.gauge(
                "一小时内",
                ("sum(increase(carebell_messages_dead_total[1h])) or vector(0)", "死信"),
                ("sum(increase(carebell_sessions_lost_total[1h])) or vector(0)", "会话丢失"),
                ("sum(increase(carebell_database_retries[1h])) or vector(0)", "数据库重试"),
                ('sum(increase(carebell_announced_total{way="mqtt"}[1h])) or vector(0)', "未入库呼救"),
                width=8,
                levels={1: p.ORANGE},
            ).decimals(0)
        )
        .with_panel(p.gauge("设备", ("carebell_devices", "设备"), width=4, levels={float("-inf"): p.BLUE}))
        .with_panel(
            p.measured(
                "触发中的线路告警",
                "short",
                ('count by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}"),
                width=24,
            )
            .height(5)
            .description("没有数据即没有告警；含义与处理见 Prometheus 的 Alerts 页面。")
        )
        .with_panel(
            p.measured(
                "消息速率",
                "条/秒",
                ("sum by (lane) (rate(carebell_messages_received_total[$__rate_interval]))", "{{lane}} 收到"),
                ("sum by (lane) (rate(carebell_messages_stored_total[$__rate_interval]))", "{{lane}} 入库"),
            ).transformations(p.renamed(WORDS))
        )
        .with_panel(
            p.measured("滞后", "s", ("max by (lane) (carebell_lag_seconds)", "{{lane}}"))
            .description("最早一条未应答消息的等待时间。")
            .transformations(p.renamed(WORDS))
        )
        .with_panel(
            p.measured("各阶段耗时 p50", "s", (QUANTILE.format(q=0.5), "{{lane}} {{stage}}")).transformations(
                p.renamed(WORDS)
            )
        )
        .with_panel(
            p.measured(
                "各阶段耗时 p99", "s", (QUANTILE.format(q=0.99), "{{lane}} {{stage}}")
            ).transformations(p.renamed(WORDS))
        )
        .with_panel(
            p.measured(
                "死信（按原因）",
                "short",
                (
                    "sum by (lane, reason) (increase(carebell_messages_dead_total[$__rate_interval]))",
                    "{{lane}} {{reason}}",
                ),
                (
                    "sum by (lane, reason) (increase(carebell_messages_partly_dead_total[$__rate_interval]))",
                    "{{lane}} {{reason}}（部分）",
                ),
            ).transformations(p.renamed(WORDS))
        )
        .with_panel(
            p.measured(
                "在途与等待",
                "short",
                ("sum by (lane) (carebell_messages_in_flight)", "{{lane}} 在途"),
                ("sum by (lane) (carebell_messages_waiting)", "{{lane}} 等待"),
            ).transformations(p.renamed(WORDS))
        )
        .with_panel(
            p.measured(
                "重复与忽略",
                "short",
                (
                    "sum by (lane) (increase(carebell_messages_duplicate_total[$__rate_interval]))",
                    "{{lane}} 重复",
                ),
                (
                    "sum by (lane, reason) (increase(carebell_messages_ignored_total[$__rate_interval]))",
                    "{{lane}} 忽略 {{reason}}",
                ),
            ).transformations(p.renamed(WORDS))
        )
        .with_panel(
            p.measured(
                "自检报文往返",
                "s",
                (CANARY, "{{lane}} p99"),
                ("time() - max by (lane) (carebell_canary_timestamp_seconds)", "{{lane}} 距上次返回"),
            )
            .description("接收程序每 5 秒给自己发一条报文，经消息服务器和数据库返回；30 秒未返回即为故障。")
            .transformations(p.renamed(WORDS))
        )
        .with_panel(
            p.measured(
                "缺失与丢弃",
                "short",
                (MISSING, "按设备序号缺失"),
                ("sum(carebell_broker_dropped)", "消息服务器累计丢弃"),
            ).description("迟到补齐的报文不算缺失；丢弃数为消息服务器启动以来的累计值。")
        )
        .with_panel(
            p.measured(
                "磁盘",
                "bytes",
                ("carebell_disk_free_bytes", "可用 {{directory}}"),
                ("carebell_disk_size_bytes", "总量 {{directory}}"),
                ("carebell_database_bytes", "数据库"),
            ).description("数据库所在的磁盘；接收程序看不到它时没有数据。")
        )
    )
