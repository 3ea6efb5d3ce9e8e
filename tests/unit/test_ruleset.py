"""Rule files: the shipped one, what each key makes of a rule, and every way to get one wrong."""

import re
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from rules import ruleset
from rules.durations import DAY, HOUR, MINUTE
from rules.machines import MACHINES
from rules.ruleset import LONGEST_FILE, MOST_RULES, SHIPPED, EachRule, LatchedRule, MachineRule, RuleSet, Step
from rules.schedule import Schedule
from schemas.alarms import KINDS, OWN_KINDS, Severity
from schemas.clock import SECOND
from schemas.errors import UsageError
from schemas.readings import Event

NEEDED = """[thresholds]
limit = 131

[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"

"""
"""What every file must hold; a third rule begins on line 13."""
HEADER = NEEDED.count("\n") + 1
HEART = 'kind = "hr_high"\nwhen = "hr >= limit"\n'
PLUG = 'kind = "mains_lost"\nwhen = "mains == 0"\nclear = "mains == 1"\n'
SILENCE = 'kind = "device_silent"\nmachine = "silence"\nmisses = 3\n'
OUTAGE = """kind = "area_outage"
machine = "outage"
share = 0.5
least = 20
window = "15m"
by = ["broker", "gateway"]
"""
INACTIVITY = 'kind = "inactivity"\nmachine = "inactivity"\n'
CHECK_IN = 'kind = "check_in_missed"\nmachine = "check_in"\n'
CHATTERING = 'kind = "chattering"\nmachine = "chattering"\ncycles = 5\nwindow = "1h"\nquiet = "4h"\n'


def parsed(*rules: str) -> RuleSet:
    """Return a rule set of the needed rules and these."""
    return ruleset.parse(NEEDED + "".join(f"[[rule]]\n{rule}\n" for rule in rules), "my.toml")


def latched(rule: str) -> LatchedRule:
    """Return what a third rule, one with state, became."""
    (found,) = parsed(rule).latched
    return found


def machine(rule: str) -> MachineRule:
    """Return what a machine became, beside silence, which some of them need."""
    (found,) = (each for each in parsed(SILENCE, rule).machines if each.number == 4)
    return found


def refusal(text: str) -> str:
    """Return why a rule file is refused."""
    with pytest.raises(UsageError) as refused:
        ruleset.parse(text, "my.toml")
    return str(refused.value)


def refused(rule: str) -> str:
    """Return why a third rule is refused."""
    return refusal(f"{NEEDED}[[rule]]\n{rule}\n")


def refuses(rule: str, key: str, sentence: str) -> None:
    """Assert that a third rule whose last line is wrong is refused by that line, the key and a sentence."""
    found = refused(rule)
    line = HEADER + len(rule.strip().splitlines())
    lines = found.splitlines()
    assert any(
        re.match(rf"my\.toml:{line}: rule 3: {re.escape(key)}: .*(?:{sentence})", said) for said in lines
    ), found


# ------------------------------------------------------------------------------------------- the shipped file


def test_the_shipped_rules_are_read() -> None:
    """They keep their own text, and raise every kind of the catalogue but those of the line itself."""
    rules = ruleset.load(SHIPPED)
    assert rules.text == SHIPPED.read_text("utf-8")
    assert {rule.kind for rule in rules.rules} == set(KINDS) - OWN_KINDS
    assert [rule.number for rule in rules.rules] == list(range(1, rules.count + 1))
    assert rules.thresholds["hr_high"] == 131
    assert [rule.kind for rule in rules.each] == ["sos", "tamper", "unknown_alarm"]
    assert [rule.machine for rule in rules.machines] == list(MACHINES)
    assert rules.shared == {"hr_high"}


def test_the_rules_of_a_file_are_sorted_by_what_they_are() -> None:
    """Each is found among its own, with its number in the file; machines in the order of their calls."""
    rules = parsed(OUTAGE, HEART, SILENCE, PLUG)
    assert [rule.number for rule in rules.each] == [1]
    assert [rule.number for rule in rules.latched] == [4, 6]
    assert [(rule.number, rule.machine) for rule in rules.machines] == [
        (2, "fall"),
        (5, "silence"),
        (3, "outage"),
    ]
    assert [each.text for each in rules.expressions] == [
        "event == 'sos'",
        "hr >= limit",
        "mains == 0",
        "mains == 1",
    ]


# ---------------------------------------------------------------------------- rules over readings, key by key


def test_a_rule_that_says_nothing_else_has_the_defaults() -> None:
    """Only `kind` and `when` are needed; the severity is the kind's own."""
    rule = latched(HEART)
    assert (rule.kind, rule.when.text, rule.clear, rule.severity) == (
        "hr_high",
        "hr >= limit",
        None,
        Severity.HIGH,
    )
    assert (rule.hold, rule.samples, rule.gap, rule.lasting) == (0, 1, DAY, False)
    assert (rule.count, rule.within, rule.cooldown, rule.steps) == (0, 0, 0, ())
    assert (rule.scope, rule.schedule) == ({}, None)


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ('for = "90s"', "hold", 90 * SECOND),
        ('for = "0s"', "hold", 0),
        ("samples = 3", "samples", 3),
        ("samples = 1000", "samples", 1000),
        ('gap = "2h"', "gap", 2 * HOUR),
        ('gap = "8784h"', "gap", 366 * DAY),
        ("lasting = false", "lasting", False),
        ('cooldown = "5m"', "cooldown", 5 * MINUTE),
        *((f'severity = "{each}"', "severity", each) for each in Severity),
        ('scope = { model = ["bell", "band"] }', "scope", {"model": ("bell", "band")}),
        ('scope.region = ["430602"]', "scope", {"region": ("430602",)}),
        (
            'scope = { care_level = ["3"], person = ["P1"], device = ["D1"] }',
            "scope",
            {"care_level": ("3",), "person": ("P1",), "device": ("D1",)},
        ),
        (
            'steps = [{ after = "30m", severity = "critical" }]',
            "steps",
            (Step(Severity.CRITICAL, 30 * MINUTE, None),),
        ),
        ("schedule = {}", "schedule", Schedule.model_validate({})),
    ],
)
def test_every_key_of_a_rule_arrives(line: str, attribute: str, value: object) -> None:
    """Durations arrive in microseconds, lists as tuples."""
    assert getattr(latched(HEART + line), attribute) == value


def test_clear_is_an_expression_of_its_own() -> None:
    """It may name thresholds as `when` may."""
    clear = latched(HEART + 'clear = "hr < limit - 11"').clear
    assert clear is not None
    assert (clear.text, clear.names) == ("hr < limit - 11", ["hr", "limit"])


def test_a_lasting_rule_holds_until_it_is_cleared() -> None:
    """It takes `for` and `cooldown`."""
    rule = latched(PLUG + 'lasting = true\nfor = "12h"\ncooldown = "1h"')
    assert (rule.lasting, rule.hold, rule.cooldown) == (True, 12 * HOUR, HOUR)


@pytest.mark.parametrize("count", [2, 20])
def test_a_rule_may_count(count: int) -> None:
    """So many hits within so long."""
    rule = latched(HEART + f'count = {count}\nwithin = "24h"')
    assert (rule.count, rule.within) == (count, DAY)


def test_a_rule_may_fire_at_every_hit() -> None:
    """It takes a `clear`, a severity and a scope, and is not among the rules with state."""
    more = 'clear = "hr < 90"\neach = true\nseverity = "low"\nscope = { model = ["band"] }'
    rule = parsed(HEART + more).each[-1]
    assert type(rule) is EachRule
    assert (rule.number, rule.severity, rule.scope) == (3, Severity.LOW, {"model": ("band",)})
    assert [each.text for each in rule.expressions] == ["hr >= limit", "hr < 90"]


def test_steps_come_by_time_or_by_an_expression() -> None:
    """Up to three, in the order of the list, and what they ask is asked."""
    rule = latched(
        HEART
        + """steps = [{ when = "hr >= 150", severity = "critical" }, { after = "1m", severity = "low" },
        { after = "2m", severity = "high" }]"""
    )
    assert [step.severity for step in rule.steps] == ["critical", "low", "high"]
    assert [step.after for step in rule.steps] == [None, MINUTE, 2 * MINUTE]
    assert [each.text for each in rule.expressions] == ["hr >= limit", "hr >= 150"]


def test_a_schedule_says_days_hours_and_zone() -> None:
    """Days are of the week, hours may go over midnight."""
    schedule = latched(
        HEART + 'schedule = { days = "Fri-Sun, Tue", from = "22:00", to = "06:30", zone = "Europe/Paris" }'
    ).schedule
    assert schedule is not None
    assert schedule.days == {1, 4, 5, 6}
    assert (schedule.begin, schedule.end, schedule.zone) == (22 * 60, 6 * 60 + 30, ZoneInfo("Europe/Paris"))


def test_several_rules_may_share_a_kind() -> None:
    """Two causes, one alarm."""
    rules = parsed(HEART, 'kind = "hr_high"\nwhen = "hr > 180"\n')
    assert [rule.kind for rule in rules.latched] == ["hr_high", "hr_high"]
    assert rules.shared == {"hr_high"}


def test_the_same_rule_twice_is_refused() -> None:
    """The second one could not be told from the first."""
    assert refused(HEART + "[[rule]]\n" + HEART) == "my.toml:17: rule 4: kind: says the same as rule 3"


# --------------------------------------------------------------------------------------- machines, key by key


@pytest.mark.parametrize(
    ("rule", "name", "severity"),
    [
        (SILENCE, "silence", Severity.MEDIUM),
        (OUTAGE, "outage", Severity.HIGH),
        (CHATTERING, "chattering", Severity.LOW),
        (INACTIVITY + 'after = { "00:00-24:00" = "6h" }', "inactivity", Severity.MEDIUM),
        (CHECK_IN + 'by = "10:00"', "check_in", Severity.MEDIUM),
    ],
)
def test_every_machine_is_known_by_name(rule: str, name: str, severity: Severity) -> None:
    """It has its kind's severity, or the one that is given."""
    beside = [] if rule is SILENCE else [SILENCE]
    found = {each.machine: each for each in parsed(*beside, rule).machines}
    assert found[name].severity is severity
    changed = {each.machine: each for each in parsed(*beside, rule + '\nseverity = "critical"').machines}
    assert changed[name].severity is Severity.CRITICAL


def test_the_fall_machine_takes_how_long_nothing_may_move() -> None:
    """The setting is kept as written."""
    text = NEEDED.replace('machine = "fall"', 'machine = "fall"\nimmobile = "90s"')
    (fall,) = ruleset.parse(text).machines
    assert (fall.number, fall.kind, fall.entry) == (2, "fall", {"immobile": "90s"})


def test_a_fall_takes_no_severity() -> None:
    """It would say nothing: what happens after the fall decides."""
    with pytest.raises(UsageError, match="rule 2: severity: a fall has its own"):
        ruleset.parse(NEEDED.replace('machine = "fall"', 'machine = "fall"\nseverity = "low"'))


@pytest.mark.parametrize(
    "rule",
    [
        SILENCE + 'interval = "5m"\nmodels = { bell = "1m" }\nlearn = true\nsteady = "0s"',
        SILENCE.replace("3", "100"),
    ],
)
def test_silence_takes_all_its_keys(rule: str) -> None:
    """They are kept as written."""
    silence = next(each for each in parsed(rule).machines if each.machine == "silence")
    assert silence.entry["misses"] in {3, 100}
    assert silence.entry.keys() <= {"misses", "interval", "models", "learn", "steady"}


@pytest.mark.parametrize("place", ["broker", "region6", "region9", "region12", "gateway"])
def test_an_outage_may_be_of_each_place(place: str) -> None:
    """One group is enough."""
    assert machine(OUTAGE.replace('"broker", "gateway"', f'"{place}"')).entry["by"] == [place]


@pytest.mark.parametrize(
    ("rule", "entry"),
    [
        (
            INACTIVITY + 'after = { "06:00-22:00" = "6h", "22:00-06:00" = "12h" }\nzone = "Asia/Tokyo"',
            {"after": {"06:00-22:00": "6h", "22:00-06:00": "12h"}, "zone": "Asia/Tokyo"},
        ),
        (
            CHECK_IN + 'by = "10:00"\nfrom = "06:00"\nzone = "UTC"',
            {"by": "10:00", "from": "06:00", "zone": "UTC"},
        ),
        (CHATTERING, {"cycles": 5, "window": "1h", "quiet": "4h"}),
    ],
)
def test_the_other_machines_take_their_keys(rule: str, entry: dict[str, object]) -> None:
    """They are kept as written."""
    assert machine(rule).entry == entry


@pytest.mark.parametrize(
    ("rule", "key", "sentence"),
    [
        (
            'kind = "fall"\nmachine = "falls"',
            "machine",
            "'falls' is none; allowed are fall, inactivity, check_in",
        ),
        ('kind = "fall"\nmachine = 5', "machine", "this is none; allowed are fall"),
        (
            'machine = "silence"\nmisses = 3\nkind = "sos"',
            "kind",
            "of machine = 'silence' it is 'device_silent'",
        ),
        (SILENCE + 'severity = "urgent"', "severity", "allowed are critical, high, medium, low"),
        (
            SILENCE + 'when = "hr > 1"',
            "when",
            "no such key; allowed are kind, machine, severity, misses, interval",
        ),
        (SILENCE + 'interval = "0m"', "interval", "greater than 0"),
        (SILENCE + "interval = 600", "interval", "a duration is a number and a unit"),
        (SILENCE + 'models = { bell = "0s" }', "models.bell", "greater than 0"),
        (SILENCE + "learn = 7", "learn", "boolean"),
        (SILENCE + 'steady = "-1s"', "steady", "a duration is"),
        ('kind = "device_silent"\nmachine = "silence"\nmisses = 0', "misses", "greater than or equal to 1"),
        ('kind = "device_silent"\nmachine = "silence"\nmisses = 101', "misses", "less than or equal to 100"),
        (OUTAGE.replace("share = 0.5\n", "") + "share = 0", "share", "greater than 0"),
        (OUTAGE.replace("share = 0.5\n", "") + "share = 1.01", "share", "less than or equal to 1"),
        (OUTAGE.replace("share = 0.5\n", "") + "share = nan", "share", "Input should be"),
        (OUTAGE.replace("least = 20\n", "") + "least = 1", "least", "greater than or equal to 2"),
        (OUTAGE.replace('window = "15m"\n', "") + 'window = "25h"', "window", "less than or equal to"),
        (OUTAGE.partition("by =")[0] + "by = []", "by", "at least 1 item"),
        (OUTAGE.partition("by =")[0] + 'by = ["street"]', "by.0", "'broker', 'region6'"),
        (INACTIVITY + "after = {}", "after", "at least 1 item"),
        (INACTIVITY + 'after = { "6-22" = "6h" }', "after", "a time of the day is written '06:00'"),
        (INACTIVITY + 'after = { "06:00" = "6h" }', "after", "hours are written '06:00-22:00'"),
        (INACTIVITY + 'after = { "06:00-22:00" = "6h", "21:00-23:00" = "1h" }', "after", "the hours overlap"),
        (
            INACTIVITY + 'after = { "06:00-22:00" = "6h" }\nzone = "localtime"',
            "zone",
            "a time zone is a name such as 'Asia/Shanghai'",
        ),
        (
            INACTIVITY + 'after = { "06:00-22:00" = "6h" }\nzone = "Mars/Base"',
            "zone",
            "a time zone is a name such as",
        ),
        (CHECK_IN + 'by = "10 am"', "by", "a time of the day is written"),
        (CHECK_IN + 'by = "10:00"\nzone = "../../etc/passwd"', "zone", "a time zone is a name such as"),
        (CHATTERING.replace("cycles = 5\n", "") + "cycles = 1", "cycles", "greater than or equal to 2"),
        (CHATTERING.replace("cycles = 5\n", "") + "cycles = 21", "cycles", "less than or equal to 20"),
        (CHATTERING.partition("quiet")[0] + 'quiet = "0s"', "quiet", "greater than 0"),
        (CHATTERING.partition("quiet")[0] + 'quiet = "745h"', "quiet", "less than or equal to"),
    ],
)
def test_a_wrong_machine_is_refused_by_line_number_and_key(rule: str, key: str, sentence: str) -> None:
    """The sentence says what is allowed."""
    refuses(rule, key, sentence)


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ('kind = "device_silent"\nmachine = "silence"', "misses"),
        (OUTAGE.replace("share = 0.5\n", ""), "share"),
        (OUTAGE.replace("least = 20\n", ""), "least"),
        (OUTAGE.replace('window = "15m"\n', ""), "window"),
        (OUTAGE.partition("by =")[0], "by"),
        (INACTIVITY, "after"),
        (CHECK_IN, "by"),
        (CHATTERING.replace("cycles = 5\n", ""), "cycles"),
        (CHATTERING.replace('window = "1h"\n', ""), "window"),
        (CHATTERING.partition("quiet")[0], "quiet"),
        ('when = "hr > 1"', "kind"),
        ('kind = "hr_high"', "when"),
    ],
)
def test_a_key_that_is_needed_is_missed(rule: str, key: str) -> None:
    """The line is that on which the rule begins."""
    assert refused(rule) == f"my.toml:{HEADER}: rule 3: {key}: is missing"


def test_a_check_in_is_awaited_before_it_is_judged() -> None:
    """A day that ends before it begins makes no sense."""
    said = refused(CHECK_IN + 'by = "10:00"\nfrom = "10:00"')
    assert "`from` must be before `by`" in said


def test_a_machine_stands_once_in_a_file() -> None:
    """Two limits for one device would contradict each other."""
    said = refused(SILENCE + "[[rule]]\n" + SILENCE.replace("3", "4"))
    assert said.startswith(
        f"my.toml:{HEADER + 2}: rule 3: machine: only one rule may have machine = 'silence'"
    )


def test_an_outage_needs_silence() -> None:
    """It counts silent devices."""
    said = refused(OUTAGE)
    assert said.startswith(f"my.toml:{HEADER + 2}: rule 3: machine: 'outage' counts silent devices")


# ------------------------------------------------------------------------------------------------ wrong rules


DURATION = "a duration is a number and a unit, at most a year: '30s', '10m', '2h'"


@pytest.mark.parametrize(
    ("line", "key", "sentence"),
    [
        ('hold = "5m"', "hold", "no such key; allowed are machine, kind, when, clear, for, samples, gap"),
        ('whem = "hr > 1"', "whem", "no such key"),
        ('"a b" = 1', "a b", "no such key"),
        ('clear = "hr >"', "clear", "is not an expression"),
        ("clear = 5", "clear", "an expression is a text"),
        *(
            (f"{key} = {value}", key, DURATION)
            for key in ("for", "gap", "cooldown", "within")
            for value in (
                "600",
                '"600"',
                '"10 m"',
                '"1d"',
                '"-5m"',
                '"1.5h"',
                '""',
                '"8785h"',
                "true",
                "12:00:00",
            )
        ),
        ('gap = "0s"', "gap", "greater than 0"),
        ('within = "0s"', "within", "greater than 0"),
        *(
            (f"samples = {value}", "samples", "Input should be")
            for value in ("0", "-1", "1001", "2.0", '"3"', "true", "inf")
        ),
        *(
            (f"count = {value}", "count", "Input should be")
            for value in ("1", "21", "2.0", '"3"', "true", "nan")
        ),
        *(
            (f"{key} = {value}", key, "boolean")
            for key in ("lasting", "each")
            for value in ('"true"', "1", "[]")
        ),
        ('severity = "urgent"', "severity", "'critical', 'high', 'medium' or 'low'"),
        ("severity = 1", "severity", "'critical', 'high', 'medium' or 'low'"),
        ("scope = 5", "scope", "is a table"),
        (
            'scope = { street = ["x"] }',
            "scope.street",
            "allowed are model, region, care_level, person, device",
        ),
        ('scope = { model = "bell" }', "scope.model", "list"),
        ("scope = { model = [] }", "scope.model", "at least 1 item"),
        ('scope = { model = [""] }', "scope.model.0", "at least 1 character"),
        ("scope = { region = [430602] }", "scope.region.0", "string"),
        ('steps = "critical"', "steps", "list"),
        ('steps = [{ after = "1m" }]', "steps.0.severity", "is missing"),
        ('steps = [{ severity = "high" }]', "steps.0", "either `after` or `when`"),
        (
            'steps = [{ after = "1m", when = "hr > 1", severity = "high" }]',
            "steps.0",
            "either `after` or `when`",
        ),
        ('steps = [{ after = "0s", severity = "high" }]', "steps.0.after", "greater than 0"),
        ('steps = [{ when = "pulse > 1", severity = "high" }]', "steps.0.when", "there is no field 'pulse'"),
        ('steps = [{ at = "1m", severity = "high" }]', "steps.0.at", "allowed are severity, after, when"),
        ("steps = [" + 4 * '{ after = "1m", severity = "high" }, ' + "]", "steps", "at most 3 items"),
        ('schedule = "night"', "schedule", "is a table"),
        ('schedule = { until = "06:00" }', "schedule.until", "allowed are days, from, to, zone"),
        ('schedule = { days = "Mon-Fry" }', "schedule.days", "days are written 'Mon-Fri' or 'Sat,Sun'"),
        ('schedule = { days = "" }', "schedule.days", "days are written"),
        ("schedule = { days = [1] }", "schedule.days", "days are written"),
        ('schedule = { from = "24:30" }', "schedule.from", "a time of the day is written '06:00'"),
        ('schedule = { to = "6:00" }', "schedule.to", "a time of the day is written '06:00'"),
        ('schedule = { from = "06:00", to = "06:00" }', "schedule", "`from` and `to` must differ"),
        ('schedule = { from = "24:00" }', "schedule", "`from` must be before 24:00"),
        (
            'schedule = { zone = "Mars/Base" }',
            "schedule.zone",
            "a time zone is a name such as 'Asia/Shanghai'",
        ),
        ("schedule = { zone = 8 }", "schedule.zone", "a time zone is a name such as 'Asia/Shanghai'"),
    ],
)
def test_a_wrong_key_is_refused_by_line_number_and_key(line: str, key: str, sentence: str) -> None:
    """The sentence says what is allowed."""
    refuses(HEART + line, key, sentence)


@pytest.mark.parametrize("kind", ['"hr_hgh"', '""', '"session_lost"', '"messages_dropped"'])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    """The sentence lists the kinds, without those that befall the line itself."""
    said = refused(f'when = "hr > 1"\nkind = {kind}')
    assert said.startswith(f"my.toml:{HEADER + 2}: rule 3: kind: {kind.replace(chr(34), chr(39))} is none")
    assert said.endswith("allowed are " + ", ".join(kind for kind in KINDS if kind not in OWN_KINDS))


@pytest.mark.parametrize("kind", ["5", "[]", "1979-05-27", "nan"])
def test_a_kind_is_a_text(kind: str) -> None:
    """Whatever else TOML can say is refused."""
    refuses(f'when = "hr > 1"\nkind = {kind}', "kind", "valid string")


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        *(
            (f"each = true\n{line}", line.partition(" ")[0])
            for line in (
                'for = "5m"',
                "samples = 2",
                'gap = "5m"',
                "lasting = false",
                "count = 3",
                'within = "1h"',
                'cooldown = "1h"',
                'steps = [{ after = "1m", severity = "critical" }]',
                "schedule = {}",
            )
        ),
        *(
            (f'clear = "hr < 1"\nlasting = true\n{line}', line.partition(" ")[0])
            for line in ('gap = "5m"', "samples = 2", "count = 3", 'within = "1h"')
        ),
        *(
            (f'count = 3\nwithin = "1h"\n{line}', line.partition(" ")[0])
            for line in ('for = "5m"', "samples = 2", 'gap = "5m"', 'clear = "hr < 1"', "lasting = true")
        ),
    ],
)
def test_keys_that_exclude_each_other_are_refused(lines: str, key: str) -> None:
    """The sentence names the one that is too many and what excludes it."""
    refuses(HEART + lines, key, "each = true takes only|lasting = true takes no|a rule with `count` takes no")


@pytest.mark.parametrize(
    ("line", "key", "sentence"),
    [
        ("lasting = true", "lasting", "needs `clear`"),
        ("count = 3", "count", "`count` and `within` need each other"),
        ('within = "1h"', "within", "`count` and `within` need each other"),
    ],
)
def test_keys_that_need_each_other_are_refused_alone(line: str, key: str, sentence: str) -> None:
    """The sentence names what is missing."""
    refuses(HEART + line, key, sentence)


def test_every_fault_of_a_file_is_named_at_once() -> None:
    """Who made three mistakes in two rules reads of all of them, each with its line."""
    said = refused('kind = "hr_high"\nwhen = "hr >"\ngap = "5"\n\n[[rule]]\nkind = "x"\nwhen = "hr > 1"')
    found = [line.split(": ")[:3] for line in said.splitlines()]
    assert found == [
        ["my.toml:15", "rule 3", "when"],
        ["my.toml:16", "rule 3", "gap"],
        ["my.toml:19", "rule 4", "kind"],
    ]


@pytest.mark.parametrize(
    "lines",
    [
        '[rule.schedule]\nzone = "x"',
        '[ rule . "schedule" ]\nzone = "x"',
        'schedule.zone = "x"',
        '"schedule" = { zone = "x" }',
        '# \u2028 \x85 schedule\nschedule = { zone = "x" } # schedule',
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_line_is_that_of_the_key_however_it_is_written(lines: str, end: str) -> None:
    """Inline or as a table of its own, quoted or not, and with the ends of lines of either world."""
    text = f"{NEEDED}[[ rule ]] # third\n{HEART}{lines}\n".replace("\n", end)
    line = HEADER + 3 + lines.startswith("#")
    assert refusal(text).startswith(f"my.toml:{line}: rule 3: schedule.zone: ")


# ------------------------------------------------------------------------------------------------ expressions


@pytest.mark.parametrize(
    ("when", "sentence"),
    [
        (
            "pulse > 1",
            "there is no field 'pulse'; allowed are comparisons .* of hr, spo2, .*, limit and numbers",
        ),
        ("hr > hr_top", "there is no field 'hr_top'"),
        ("hr / 0 > 1", "divides by zero"),
        ("hr / (2 - 2) > 1", "divides by zero"),
        ("hr > 1 and 1 < 2", "compares constants"),
        ("hr > 1000000001", "is beyond 1e.09"),
        ("hr > 1e400", "is beyond 1e.09"),
        ("hr > 100000 * 100000", "is beyond 1e.09"),
        ("limit > 100", "names no field and no event"),
        ("baseline_hr > 100", "names no field and no event"),
        ("event != 'sos'", "is not understood; event == one of sos, fall_detected"),
        ("event == 'sso'", "is not understood; event == one of sos, fall_detected"),
        ("hr > 1 and minutes_since('sso') > 5", "is of no event"),
        ("hr > 1 " + 100 * "or hr > 1 ", "may have 500 characters"),
        (21 * "not " + "hr > 1", "nested more than 20 deep"),
        (400 * "(" + "hr > 1", "is not an expression"),
        ("", "is not an expression"),
        ("hr > 1; hr > 2", "is not an expression"),
        ("hr", "is not understood"),
        ("80 < hr < 90", "is not understood"),
    ],
)
@pytest.mark.parametrize("key", ["when", "clear"])
def test_a_wrong_expression_is_refused(key: str, when: str, sentence: str) -> None:
    """The sentence says what was not understood and what is."""
    other = 'when = "hr > 1"\n' if key == "clear" else ""
    refuses(f'kind = "hr_high"\n{other}{key} = "{when}"', key, sentence)


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('touch {path}') > 0",
        "hr > __import__('pathlib').Path('{path}').touch()",
        "hr.__class__ > 1",
        "[open('{path}', 'w') for x in (1,)] > 1",
        "(lambda: open('{path}', 'w'))() > hr",
        "(hr := 5) > 1",
        "hr > 9 ** 9 ** 9",
        "hr > (1 if open('{path}', 'w') else 2)",
        "f'{{open(1)}}' == 'x'",
        "event == open('{path}', 'w')",
        "minutes_since(open('{path}', 'w')) > hr",
        "exec('x = 1') or hr > 1",
        "hr[0] > 1",
        "hr > 1 if True else hr > 2",
    ],
)
def test_nothing_of_an_expression_runs(code: str, tmp_path: Path) -> None:
    """What is code is refused, and has no effect."""
    path = tmp_path / "here"
    refuses(f'kind = "hr_high"\nwhen = "{code.format(path=path)}"', "when", "allowed are|event == one of")
    assert not path.exists()


def test_a_division_by_what_may_be_zero_is_allowed() -> None:
    """It is absent when it is."""
    assert latched('kind = "hr_high"\nwhen = "hr / steps > limit"').when.fields == {"hr", "steps"}


# ------------------------------------------------------------------------------------------------- thresholds


def test_thresholds_are_numbers_by_name() -> None:
    """Whole or not, of either sign, up to a thousand million."""
    text = NEEDED.replace("limit = 131", "limit = 131\nlow_2 = -1.5\nmost = 1e9")
    assert ruleset.parse(text).thresholds == {"limit": 131, "low_2": -1.5, "most": 1e9}


@pytest.mark.parametrize(
    "value", ['"131"', "true", "nan", "inf", "-inf", "1000000001", "[1]", "1979-05-27", "{}"]
)
def test_a_threshold_is_a_number(value: str) -> None:
    """Whatever else TOML can say is refused by its line."""
    said = refusal(NEEDED.replace("limit = 131", f"limit = {value}"))
    assert said == "my.toml:2: thresholds: limit: a threshold is a number, at most 1e+09"


@pytest.mark.parametrize("name", ["Limit", "9lives", "_x", "a-b", '""', '"a b"', '"心率"', "and", "x" * 41])
def test_a_threshold_has_a_name_that_expressions_can_say(name: str) -> None:
    """Others are refused by their line."""
    said = refusal(NEEDED.replace("limit = 131", f"limit = 131\n{name} = 1"))
    assert said.startswith(f"my.toml:3: thresholds: {name.strip(chr(34))}: a name is up to 40 of a-z")


@pytest.mark.parametrize(
    "name", ["hr", "event", "steps_per_min", "baseline_hr", "minutes_since", "minutes_since_sos"]
)
def test_a_threshold_takes_no_name_that_means_something_else(name: str) -> None:
    """A rule that asks for the pulse must get the pulse."""
    said = refusal(NEEDED.replace("limit = 131", f"limit = 131\n{name} = 1"))
    assert said == f"my.toml:3: thresholds: {name}: this name means something else in an expression"


@pytest.mark.parametrize("table", ["thresholds = 5", "thresholds = []"])
def test_thresholds_are_a_table(table: str) -> None:
    """Anything else is refused by its line."""
    assert refusal(f"\n{table}\n") == "my.toml:2: [thresholds] is a table of up to 100 numbers by name"


def test_a_file_may_have_no_thresholds() -> None:
    """They are not needed."""
    assert ruleset.parse(NEEDED.partition("131")[2]).thresholds == {}


# --------------------------------------------------------------------------------------------- the whole file


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("\nrule = 5", ":2"),
        ("[rule]\nkind = 'sos'", ":1"),
        ("rule = []", ":1"),
        (f"{NEEDED}\n[rules]\n", f":{HEADER + 1}"),
        (f"x = 1\n{NEEDED}", ":1"),
        (NEEDED + '[[rule]]\nkind = "tamper"\nwhen = "hr > 1"\n' * (MOST_RULES - 1), ":4"),
    ],
)
def test_a_rule_file_holds_rules_and_thresholds_and_nothing_else(text: str, line: str) -> None:
    """None, too many, and what is no list of [[rule]] tables is refused as a whole."""
    allowed = "a rule file holds 1 to 500 [[rule]] tables, [thresholds] and nothing else"
    assert refusal(text) == f"my.toml{line}: {allowed}"


def test_a_rule_is_a_table() -> None:
    """A number among the rules is refused by its place."""
    assert refusal("rule = [5]") == "my.toml: rule 1: rule: is a table, written [[rule]]"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("\n[[rule]\n", ":2"),
        (NEEDED + "[[rule]]\nkind = 'fall'\nkind = 'sos'\n", f":{HEADER + 2}"),
        ("x = \x00", ":1"),
        ("x = " + 100_000 * "[", ""),
        ("x = " + 100_000 * "9", ""),
    ],
)
def test_what_is_no_toml_is_refused(text: str, place: str) -> None:
    """The place of the mistake is in the sentence, as far as it is known."""
    assert refusal(text).startswith(f"my.toml{place}: not TOML: ")


def test_a_file_may_be_so_long_and_no_longer() -> None:
    """A comment may fill it up to the last character."""
    full = NEEDED.ljust(LONGEST_FILE, "#")
    assert ruleset.parse(full).count == 2
    assert refusal(full + "#") == "my.toml: a rule file may have 300,000 characters"


@pytest.mark.parametrize(
    "text",
    [
        f"{NEEDED}[[rule]]\n{HEART}" + "".join(f"k{number} = 1\n" for number in range(5_000)),
        " " * 50_000 + f"\nx = 1\n{NEEDED}",
        f"{NEEDED}[[rule]]\n{HEART}x = 1" + "\n" * 290_000,
        NEEDED + f"[[rule]]\n{HEART}x = 1\n" * 400,
        ".".join("a" * 20_000) + f" = 1\n{NEEDED}",
        f"[{'.'.join('a' * 20_000)}]\n{NEEDED}",
        NEEDED.replace("[thresholds]", f"[thresholds]\n{'a' * 290_000} = 1"),
        NEEDED.replace(
            "[thresholds]", "#\n" * 140_000 + "[thresholds]\n" + "".join(f"X{n} = 1\n" for n in range(99))
        ),
        NEEDED.replace('machine = "fall"', f"machine = 0x{'f' * 5_000}"),
        NEEDED + "[[rule]]\n" * 30_000,
    ],
)
def test_a_long_file_full_of_mistakes_is_refused_in_time(text: str) -> None:
    """Of one rule no more is told than can be read, and nobody waits for it."""
    began = time.process_time()
    said = refusal(text)
    assert 1 <= len(said.splitlines()) <= 40
    assert len(said) < 10_000
    assert time.process_time() - began < 15


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, one in another encoding and a directory are refused by name."""
    gbk = tmp_path / "gbk.toml"
    gbk.write_bytes("# 规则".encode("gbk"))
    for path in (gbk, tmp_path / "missing.toml", tmp_path):
        with pytest.raises(UsageError, match=f"^{re.escape(str(path))}: cannot be read: "):
            ruleset.load(path)


def test_a_file_that_is_wrong_is_named_by_its_path(tmp_path: Path) -> None:
    """Who reads the sentence knows which file to open."""
    path = tmp_path / "mine.toml"
    path.write_text(NEEDED + "[[rule]]\n")
    with pytest.raises(UsageError, match=f"^{re.escape(str(path))}:{HEADER}: rule 3: kind: is missing"):
        ruleset.load(path)


# -------------------------------------------------------------------------------------------- calls and falls


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "sos"', 'kind = "tamper"'),
        ("each = true", "each = false"),
        ("each = true", 'each = true\nscope = { model = ["bell"] }'),
        *(
            ("event == 'sos'", when)
            for when in (
                "event == 'check_in'",
                "hr > 100",
                "event == 'sos' and hr > 100",
                "event == 'sos' and worn != 0",
                "event == 'sos' and not worn == 0",
                "event == 'sos' and limit != 131",
                "event == 'sos' and not limit < 5",
                "event == 'sos' and steps_per_min != 0",
                "event == 'sos' and minutes_since('sos') != 0",
                "event == 'sos' and event == 'test'",
                "not event == 'test' and hr != 5",
            )
        ),
    ],
)
def test_no_rule_file_can_silence_a_call_for_help(old: str, new: str) -> None:
    """Every SOS must alarm on receipt, whatever else the message and anybody's thresholds say: P2."""
    assert old in NEEDED
    allowed = "sos must have a rule with each = true, without scope, that event == 'sos' alone fulfils"
    assert allowed in refusal(NEEDED.replace(old, new))


@pytest.mark.parametrize(
    "when",
    [
        "event == 'sos' or hr > 200",
        "hr > 200 or event == 'sos'",
        "event == 'sos' and not event == 'test'",
        "event == 'test' or event == 'sos'",
        "event == 'sos' and (event == 'sos' or worn != 0)",
    ],
)
def test_a_call_for_help_may_be_more_than_one_event(when: str) -> None:
    """As long as an SOS is enough."""
    assert ruleset.parse(NEEDED.replace("event == 'sos'", when)).each[0].when.events >= {Event.SOS}


def test_another_rule_may_be_about_calls_too() -> None:
    """One that always fires is enough."""
    assert parsed('kind = "sos"\nwhen = "event == \'sos\' and worn == 1"\nfor = "1m"').count == 3


def test_no_rule_file_can_silence_a_fall() -> None:
    """An expression over falls does not replace the machine."""
    each = '[[rule]]\nkind = "fall"\nwhen = "event == \'fall_detected\'"\neach = true\n'
    text = NEEDED.replace('[[rule]]\nkind = "fall"\nmachine = "fall"\n', each)
    assert refusal(text) == "my.toml: there must be a rule with machine = 'fall': it alarms on receipt"


# ----------------------------------------------------------------------------------------------- fingerprints


def test_a_fingerprint_is_of_what_decides_the_state() -> None:
    """Severity and steps are not in it, every other key is."""
    same = ["", 'severity = "low"', 'steps = [{ after = "1m", severity = "critical" }]', "samples = 1"]
    assert len({latched(HEART + line).fingerprint for line in same}) == 1
    others = [
        HEART,
        'kind = "hr_low"\nwhen = "hr >= limit"\n',
        'kind = "hr_high"\nwhen = "hr > limit"\n',
        HEART + 'clear = "hr < 90"',
        HEART + 'clear = "hr < 90"\nlasting = true',
        HEART + 'for = "1m"',
        HEART + 'gap = "1m"',
        HEART + "samples = 2",
        HEART + 'cooldown = "1m"',
        HEART + 'count = 2\nwithin = "1m"',
        HEART + 'count = 3\nwithin = "1m"',
        HEART + 'count = 3\nwithin = "2m"',
        HEART + 'scope = { model = ["bell"] }',
        HEART + 'scope = { person = ["bell"] }',
        HEART + "schedule = {}",
        HEART + 'schedule = { days = "Mon" }',
    ]
    assert len({latched(rule).fingerprint for rule in others}) == len(others)
