"""What rules and alarms say of themselves: right for every key, in both languages."""

from typing import Any

import pytest

from rules import ruleset
from rules.explain import Explained, explain
from rules.sentences import WORDS, duration, log_zh, moment, why_en, why_zh
from schemas.alarms import KINDS
from schemas.clock import SECOND
from schemas.readings import VALUES

NEEDED = """
[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"
"""
MINUTE = 60 * SECOND
AT = 1_772_352_000 * SECOND  # 2026-03-01 16:00 in Shanghai
CLOCK = "2026-03-01 16:00:00"


def explained(rule: str, thresholds: str = "") -> Explained:
    """Return what is said of a rule that stands after the needed ones."""
    found = explain(ruleset.parse(f"[thresholds]\n{thresholds}\n{NEEDED}\n[[rule]]\n{rule}"))
    assert [each.number for each in found] == [1, 2, 3]
    return found[-1]


def says(rule: str, zh: str, en: str, thresholds: str = "") -> None:
    """Assert that a rule is explained by sentences that hold these words."""
    found = explained(rule, thresholds)
    assert zh in found.zh, found.zh
    assert en in found.en, found.en


HEART = 'kind = "hr_high"\nwhen = "hr >= 131"\n'
PLUG = 'kind = "low_battery"\nwhen = "battery <= 15"\n'


def test_the_needed_rules_in_full() -> None:
    """A call and a fall: who, what is at stake, when, and who closes it."""
    sos, fall = explain(ruleset.parse(NEEDED))
    assert sos == Explained(
        1,
        "sos",
        "紧急呼叫（生命，紧急）：每条符合“收到紧急呼叫”的消息一收到就报警，不论设备时钟，次数都计；"
        "由值班员关闭。",
        'sos (life, critical): each message with "event sos" alarms on receipt, whatever its clock says, and'
        " is counted; closed by duty.",
    )
    assert (
        "疑似跌倒立即报警（高），确认跌倒立即报警（紧急）；疑似跌倒后 1 分钟内没有活动、没有取消，升为紧急"
        in fall.zh
    )
    assert "for 1 min no movement and not cancelled: critical" in fall.en


@pytest.mark.parametrize(
    ("keys", "zh", "en"),
    [
        ("", "一旦符合“心率 ≥ 131”就报警；上报不再符合时恢复，仍由值班员关闭。",
         'alarms as soon as "heart rate ≥ 131"; ceases at a reading without it, and is closed by duty.'),
        ('clear = "hr <= 120"', "；“心率 ≤ 120”时恢复，", '; ceases when "heart rate ≤ 120", '),
        ('for = "90s"', "“心率 ≥ 131”持续至少 90 秒时报警，", '"heart rate ≥ 131" for at least 90 s;'),
        ("samples = 3", "“心率 ≥ 131”至少 3 次上报时报警，", '"heart rate ≥ 131" in at least 3 readings;'),
        ('for = "10m"\nsamples = 3\ngap = "5m"',
         "持续至少 10 分钟、至少 3 次上报时报警，其间有一次不符合、或相邻两次相隔超过 5 分钟，就重新计算",
         "10 min and in at least 3 readings; a reading without it, or 5 min without one, begins anew"),
        ('for = "10m"', "相邻两次相隔超过 24 小时", "or 24 h without one"),
        ('cooldown = "1h"', "；报警后 1 小时内不再报警", "; not again within 1 h of an alarm"),
        ('severity = "low"', "心率过高（健康，低）：", "hr_high (health, low): "),
        ('steps = [{ after = "30m", severity = "critical" }]',
         "；报警 30 分钟后仍未恢复，升为紧急", "; critical if it lasts 30 min from the alarm on"),
        ('steps = [{ when = "hr >= 150", severity = "critical" }]',
         "；其间“心率 ≥ 150”时升为紧急", '; critical when meanwhile "heart rate ≥ 150"'),
        ('scope = { model = ["a", "b"], region = ["430602"] }',
         "；只对型号 a、b且区域 430602 及其下级", "; only for model a, b and region 430602 and below"),
        ('scope = { care_level = ["一级"], person = ["P1"], device = ["B"] }',
         "；只对护理等级 一级且档案编号 P1且设备 B", "; only for care level 一级 and person P1 and device B"),
        ('schedule = { days = "Mon-Fri,Sun", from = "22:00", to = "06:00" }',
         "；只看周一至周五、周日 22:00 到次日 06:00（Asia/Shanghai）的读数",
         "; only readings of Mon-Fri,Sun from 22:00 to the next day 06:00 (Asia/Shanghai)"),
        ('schedule = { from = "08:00", to = "20:00", zone = "UTC" }',
         "；只看每天 08:00 到 20:00（UTC）的读数", "; only readings of every day from 08:00 to 20:00 (UTC)"),
    ],
)  # fmt: skip
def test_every_key_of_a_rule_over_readings(keys: str, zh: str, en: str) -> None:
    """What a key does is said where it is given, and nothing of it where it is not."""
    says(HEART + keys, zh, en)


def test_who_closes_an_alarm_depends_on_its_class() -> None:
    """A technical alarm closes itself, the others wait for duty."""
    says(PLUG, "上报不再符合时恢复，恢复即自动关闭。", "ceases at a reading without it, which closes it.")


def test_counting_and_lasting_rules() -> None:
    """Their keys change the whole sentence."""
    says(
        'kind = "suspect_device"\nwhen = "event == \'sos\'"\ncount = 3\nwithin = "1h"',
        "1 小时内第 3 次符合“收到紧急呼叫”时报警，最后一次之后满 1 小时自行恢复，恢复即自动关闭。",
        'alarms at 3 times "event sos" within 1 h, and ceases 1 h after the last one, which closes it.',
    )
    says(
        'kind = "not_worn"\nwhen = "worn == 0"\nclear = "worn == 1"\nlasting = true\nfor = "12h"',
        "从符合“未佩戴”起，满 12 小时仍未恢复就报警，其间不需要再上报；“已佩戴”时恢复",
        'alarms when 12 h have passed since "not worn" and it has not ceased, though nothing more is said;'
        ' ceases when "worn"',
    )

    says(
        'kind = "mains_lost"\nwhen = "mains == 0"\nclear = "mains == 1"\nlasting = true',
        "一旦符合“市电断开”就报警，此后不再上报也算持续；“市电正常”时恢复",
        'alarms as soon as "mains off", and holds though nothing more is said; ceases when "mains on"',
    )


@pytest.mark.parametrize(
    ("when", "zh", "en"),
    [
        ("hr < 40 or hr > 130 and worn == 1", "心率 < 40 或 (心率 > 130 且 已佩戴)",
         "heart rate < 40 or (heart rate > 130 and worn)"),
        ("not (hr >= 40)", "非(心率 ≥ 40)", "not (heart rate ≥ 40)"),
        ("worn != 0 and hr > 1", "没有上报未佩戴 且", "not reported as not worn and"),
        ("mains == 0", "市电断开", "mains off"),
        ("motion != 1", "没有上报有活动", "not reported as motion"),
        ("worn >= 1", "佩戴 ≥ 1", "worn ≥ 1"),
        ("hr > 1 and steps_per_min != steps_per_min", "心率 > 1 且 没有每分钟步数",
         "heart rate > 1 and no steps a minute"),
        ("hr != 100", "心率 ≠ 100（没有上报也算）", "heart rate ≠ 100 (or not reported)"),
        ("hr - baseline_hr > 30.5", "(心率 - 平时心率) > 30.5", "(heart rate - usual heart rate) > 30.5"),
        ("sbp / dbp * 2 + 1 == -3", "(((收缩压 ÷ 舒张压) × 2) + 1) = -3",
         "(((systolic pressure ÷ diastolic pressure) × 2) + 1) = -3"),
        ("hr > top and steps_per_min <= 5", "心率 > top(131) 且 每分钟步数 ≤ 5",
         "heart rate > top(131) and steps a minute ≤ 5"),
        ("hr > 1 and minutes_since('sos') < 5", "距上次紧急呼叫的分钟数 < 5",
         "minutes since the last sos < 5"),
        ("hr > 1 and minutes_since('spo2') < 5", "距上次血氧的分钟数 < 5", "minutes since the last SpO2 < 5"),
    ],
)  # fmt: skip
def test_every_part_of_an_expression(when: str, zh: str, en: str) -> None:
    """Nothing of the language is left as it is written."""
    says(f'kind = "hr_high"\nwhen = "{when}"', zh, en, "top = 131")


def test_silence_says_where_the_interval_comes_from() -> None:
    """In their order: the device's own, its model's, what was learned, what the rule says."""
    rule = 'kind = "device_silent"\nmachine = "silence"\nmisses = 3\ninterval = "10m"\n'
    says(
        rule,
        "超过 3 个上报间隔没有消息就报警；间隔依次取：设备自己的心跳秒数，否则10 分钟；再次收到消息即恢复",
        "says nothing for 3 of its intervals: the device's own, else 10 min; ceases when it is heard again,",
    )
    says(
        rule + 'models = { bell = "5m", band = "2h" }\nlearn = true\nsteady = "90s"',
        "否则型号的（bell 5 分钟、band 2 小时），否则从它 20 次以上的消息间隔学到的，否则10 分钟；"
        "再次收到消息且此后 1 分钟 30 秒内没有再失联才恢复",
        "else that of its model (bell 5 min, band 2 h), else that learned from 20 and more of its messages,"
        " else 10 min; ceases when it is heard again and for 1 min 30 s does not fall silent anew",
    )


def test_the_other_machines() -> None:
    """Each says its settings."""
    silence = 'kind = "device_silent"\nmachine = "silence"\nmisses = 3\n[[rule]]\n'
    found = explain(
        ruleset.parse(
            f"{NEEDED}\n[[rule]]\n{silence}"
            'kind = "area_outage"\nmachine = "outage"\nshare = 0.3\nleast = 12\nwindow = "15m"\n'
            'by = ["gateway", "broker", "region6", "region9", "region12"]'
        )
    )[-1]
    assert (
        "（整个平台、区县、街道乡镇、社区、网关）的设备在 15 分钟内失联至少 12 台、且占 30% 以上时"
        in found.zh
    )
    assert "其中仍失联的不到 15% 时中断结束" in found.zh
    assert "where 12 devices or more, 30% of all, fell silent within 15 min" in found.en
    assert "less than 15% of them are silent" in found.en
    says(
        'kind = "inactivity"\nmachine = "inactivity"\n'
        'after = { "06:00-22:00" = "6h", "22:00-06:00" = "12h" }',
        "06:00-22:00 6 小时、22:00-06:00 12 小时（Asia/Shanghai）",
        "06:00-22:00 6 h, 22:00-06:00 12 h (Asia/Shanghai)",
    )
    says(
        'kind = "check_in_missed"\nmachine = "check_in"\nby = "10:30"\nfrom = "05:00"\nzone = "UTC"',
        "每天 05:00 到 10:30（UTC）没有报平安就报警",
        "alarms at 10:30 when a device that ever checked in has not done so since 05:00 (UTC)",
    )
    says(
        'kind = "chattering"\nmachine = "chattering"\ncycles = 4\nwindow = "10m"\nquiet = "30m"',
        "在 10 分钟内报了 4 次就报警；该种告警 30 分钟内不再出现即恢复",
        "raised 4 times within 10 min; ceases when it has not come for 30 min",
    )


def test_every_shipped_rule_is_explained() -> None:
    """One entry for each, which ends as a sentence does, and leaves no name as the file has it."""
    rules = ruleset.load(ruleset.SHIPPED)
    found = explain(rules)
    assert [each.number for each in found] == list(range(1, rules.count + 1))
    for each in found:
        assert each.zh.startswith(KINDS[each.kind].zh)
        assert each.zh.endswith("。")
        assert each.en.endswith(".")


# ------------------------------------------------------------------------------------------------- alarms


@pytest.mark.parametrize(
    ("kind", "values", "zh", "en"),
    [
        ("hr_high",
         {"when": "hr >= top", "ts": AT, "hr": 140.0, "worn": 1.0, "top": 131.0, "hits": 3,
          "since": AT - 10 * MINUTE, "steps_per_min": 0.0, "minutes_since_sos": 12.5},
         (f"心率 140 次/分，已佩戴，每分钟 0 步，自 2026-03-01 15:50:00 起，共 3 次符合，设备时间 {CLOCK}，"
          "条件 hr >= top，距上次紧急呼叫 12.5 分钟，top 131"),
         ("heart rate 140 bpm, worn, 0 steps a minute, since 2026-03-01 15:50:00, 3 hits,"
          f" device time {CLOCK}, condition hr >= top, 12.5 min since the last sos, top 131")),
        ("sos", {"event": "sos", "ts": AT, "when": "event == 'sos'"},
         f"收到“紧急呼叫”，设备时间 {CLOCK}，条件 event == 'sos'",
         f"event sos, device time {CLOCK}, condition event == 'sos'"),
        ("sos", {"event": "sos", "ts": AT + 1, "when": "event == 'sos'", "hits": 1},  # the time of receipt
         "收到“紧急呼叫”，共 1 次符合，条件 event == 'sos'", "event sos, 1 hit, condition event == 'sos'"),
        ("device_silent", {"last_heard": AT, "limit": 15 * MINUTE},
         f"最后一次收到消息：{CLOCK}，时限 15 分钟", f"last heard {CLOCK}, limit 15 min"),
        ("area_outage", {"silent": 18, "of": 20}, "18 台设备失联，共 20 台", "18 devices silent, of 20"),
        ("inactivity", {"last_moved": AT, "after": 360 * MINUTE}, f"最后一次活动：{CLOCK}，已满 6 小时",
         f"last movement {CLOCK}, after 6 h"),
        ("check_in_missed", {"by": AT, "last_check_in": AT - 60 * MINUTE},
         f"应在 {CLOCK} 前报平安，上次报平安：2026-03-01 15:00:00",
         f"check-in due by {CLOCK}, last check-in 2026-03-01 15:00:00"),
        ("chattering", {"kind": "low_battery", "cycles": 4, "since": AT},
         f"“电量低”反复发生，4 次，自 {CLOCK} 起",
         f"low_battery again and again, 4 times, since {CLOCK}"),
    ],
)  # fmt: skip
def test_why_an_alarm_was_raised(kind: str, values: dict[str, Any], zh: str, en: str) -> None:
    """Each value that a rule or machine stores is said with its unit."""
    assert why_zh(kind, values) == zh
    assert why_en(kind, values) == en


def test_a_threshold_of_any_name_is_a_threshold() -> None:
    """Beside a condition, a name that machines use otherwise is one of the file's own."""
    assert (
        why_zh("hr_high", {"when": "hr > of", "hr": 99.0, "of": 5.0}) == "心率 99 次/分，条件 hr > of，of 5"
    )


def test_every_field_has_words() -> None:
    """No value of a reading is told as a bare name."""
    assert set(VALUES) < set(WORDS)
    for name in ("worn", "mains", "motion"):
        assert why_zh("removed", {name: 0.0}) != why_zh("removed", {name: 1.0})


@pytest.mark.parametrize(
    ("kind", "verb", "values", "zh"),
    [
        ("hr_high", "stepped", {"severity": "critical", "since": AT, "after": 30 * MINUTE},
         f"自 {CLOCK} 起，已满 30 分钟，级别升为紧急"),
        ("device_silent", "suppressed", {"area": "430602"}, "因区域 430602 中断而不列出"),
        ("device_silent", "suppressed", {"area": "broker"}, "因整个平台中断而不列出"),
        ("device_silent", "unsuppressed", {}, "不再属于区域中断，重新列出"),
        ("mains_lost", "closed", {"ended": "mains == 0", "mains": 1.0}, "市电正常，不再符合条件 mains == 0"),
        ("mains_lost", "closed", {"when": "mains == 1", "mains": 1.0}, "市电正常，条件 mains == 1"),
        ("hr_high", "cleared", {"ended": "hr > calm or event == 'worn'", "hr": 80.0, "calm": 90.0},
         "心率 80 次/分，不再符合条件 hr > calm or event == 'worn'，calm 90"),
        ("hr_high", "cleared", {"when": "hr < calm or event == 'worn'", "hr": 80.0, "calm": 90.0},
         "心率 80 次/分，条件 hr < calm or event == 'worn'，calm 90"),
        ("removed", "closed", {"when": "event == 'worn'", "event": "worn"},
         "收到“佩戴”，条件 event == 'worn'"),
        ("suspect_device", "closed", {"ended": "event == 'sos'", "since": AT, "after": 60 * MINUTE},
         f"自 {CLOCK} 起，已满 1 小时，不再符合条件 event == 'sos'"),
        ("fall", "cleared", {}, "收到“取消跌倒”"),
        ("inactivity", "cleared", {}, "又有活动"),
        ("check_in_missed", "cleared", {}, "收到“报平安”"),
        ("device_silent", "closed", {}, "再次收到消息，或规则已更改"),
        ("chattering", "closed", {}, "一段时间内未再反复，或规则已更改"),
        ("low_battery", "closed", {}, "规则已更改"),
        ("area_outage", "closed", {}, "规则已更改"),
        ("area_outage", "closed", {"silent": 1, "of": 20}, "1 台设备失联，共 20 台"),
        ("sos", "dispatched", {"to": "李强", "note": "带钥匙"}, "李强，带钥匙"),
        ("sos", "closed", {"outcome": "accidental"}, "结果：误触"),
        ("device_silent", "moved", {"person": "P17"}, "改属 P17"),
        ("device_silent", "moved", {"person": None}, ""),
        ("session_lost", "raised", {"lane": "urgent"}, "紧急通道可能丢失报文"),
        ("messages_dropped", "acknowledged", {"note": "在查"}, "在查"),
    ],
)  # fmt: skip
def test_what_a_line_of_the_log_tells(kind: str, verb: str, values: dict[str, Any], zh: str) -> None:
    """Of decisions and of what people did."""
    assert log_zh(kind, verb, values) == zh


def test_one_is_not_many() -> None:
    """In English, of whatever is counted."""
    assert why_en("area_outage", {"silent": 1, "of": 20}) == "1 device silent, of 20"
    assert why_en("area_outage", {"silent": 2, "of": 20}) == "2 devices silent, of 20"


def test_alarms_of_the_line_itself_have_a_remark_instead() -> None:
    """What they mean is said beside them already."""
    assert why_zh("session_lost", {"lane": "urgent"}) == why_en("session_lost", {"lane": "urgent"}) == ""


def test_odd_values_are_still_said() -> None:
    """What an older or newer release stored is told as it is, and a time that never was is never."""
    assert why_zh("hr_high", {"of_later": [1, 2], "event": "of_later"}) == "收到“of_later”，of_later [1, 2]"
    assert [moment(0, zh) for zh in (True, False)] == ["从未", "never"]
    assert [duration(each * SECOND, zh=True) for each in (0, 61, 90_061)] == [
        "0 秒",
        "1 分钟 1 秒",
        "1 天 1 小时 1 分钟 1 秒",
    ]
