"""个人详情: one person, whatever devices they have had.

Rules of this file: names and addresses are shown, as on the board of a device; telephone numbers, illnesses
and identity numbers never. They are on the desk, where reading is logged.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable
from grafana_foundation_sdk.models.dashboard import VariableRefresh

from grafana import panels as p
from store import boards

SEX = p.words({"male": "男", "female": "女"})
YES_RED = p.words({"false": "否", "true": "是"}, {"true": p.RED})


def board() -> Dashboard:
    """Return the board of one person, chosen by number or name."""
    person = (
        QueryVariable("person")
        .label("老人")
        .description("输入档案编号或姓名的开头")
        .datasource(p.POSTGRES)
        .query(boards.queries()["person_choices"])
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
    )
    about = "一位老人：体征、佩戴、活动、告警和用过的设备。超过 8 天的体征按小时、活动按天汇总。"
    return (
        p.board("carebell-person", "个人详情", about, "1m", "now-24h")
        .with_variable(person)
        .with_variable(p.desk())
        .with_panel(
            p.listing(
                "老人",
                "person_card",
                {
                    "性别": SEX,
                    "住址": p.wide(300),
                    "联系顺序": p.wide(360),
                    "未关闭告警": p.measure("none", {0: p.NONE, 1: p.RED}),
                },
                height=4,
            ).description("电话和病史在值班台的卡片上，查看留有记录。")
        )
        .with_panel(p.course("心率", "person_heart", "次/分"))
        .with_panel(p.course("血氧", "person_oxygen", "percent").axis_soft_max(100))
        .with_panel(p.course("血压", "person_pressure", "mmHg"))
        .with_panel(p.course("体温", "person_temperature", "celsius"))
        .with_panel(p.course("血糖", "person_glucose", "mmol/L"))
        .with_panel(
            p.course("佩戴", "person_worn", "percentunit", bars=True)
            .axis_soft_min(0)
            .axis_soft_max(1)
            .description("说明了是否佩戴的体征消息中，佩戴的占比。")
        )
        .with_panel(p.course("活动", "person_activity", "short", width=24, bars=True))
        .with_panel(
            p.listing(
                "告警",
                "person_alarms",
                {
                    "编号": p.on_desk(),
                    "发生时间": p.TIME,
                    "级别": p.SEVERITY,
                    "告警": p.KIND,
                    "设备": p.linked(),
                    "现状": p.CONDITION,
                    "处置": p.HANDLING,
                    "结果": p.OUTCOME,
                    "确认时间": p.TIME,
                    "到场时间": p.TIME,
                    "关闭时间": p.TIME,
                },
            ).description("时间范围内发生的，以及所有未关闭的；最多 200 条。")
        )
        .with_panel(
            p.listing(
                "设备",
                "person_devices",
                {
                    "设备": p.linked(),
                    "失联": YES_RED,
                    "电量低": YES_RED,
                    "最后上报": p.TIME,
                    "开始": p.TIME,
                    "结束": p.TIME,
                },
                height=8,
            )
        )
    )
