"""Rule files: the shipped one, and every way to get one wrong."""

from pathlib import Path
from typing import Any

import pytest

from rules import ruleset
from rules.ruleset import SHIPPED, Rule, SilenceRule
from schemas.alarms import KINDS, OWN_KINDS, Severity
from schemas.clock import SECOND
from schemas.errors import UsageError

MINUTE = 60 * SECOND
LIFE = """
[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
when = "event == 'fall_detected' or event == 'fall_confirmed'"
each = true
"""


def third(**keys: Any) -> str:  # noqa: ANN401 - anything that TOML can say
    """Return a rule file whose third rule has these keys, written as in TOML."""
    lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
    return f"{LIFE}\n[[rule]]\n{lines}\n"


def refusal(text: str) -> str:
    """Return why a rule file is refused."""
    with pytest.raises(UsageError) as refused:
        ruleset.parse(text, "my.toml")
    return str(refused.value)


def test_the_shipped_rules_are_read() -> None:
    """They cover every kind of the catalogue, with its severity, and keep their own text."""
    rules = ruleset.load(SHIPPED)
    assert rules.text == SHIPPED.read_text("utf-8")
    assert [rule.kind for rule in rules.each] == ["sos", "fall", "tamper"]
    assert {rule.kind for rule in (*rules.each, *rules.latched)} | {"device_silent"} == set(KINDS) - OWN_KINDS
    assert all(rule.severity is KINDS[rule.kind].severity for rule in (*rules.each, *rules.latched))
    by_kind = {rule.kind: rule for rule in rules.latched}
    assert (by_kind["hr_high"].hold, by_kind["hr_high"].gap) == (10 * MINUTE, 10 * MINUTE)
    assert (by_kind["low_battery"].hold, by_kind["low_battery"].gap) == (0, 24 * 60 * MINUTE)
    assert rules.silence is not None


@pytest.mark.parametrize(
    ("model", "heartbeat_seconds", "minutes"),
    [
        ("bell", None, 15),
        ("caller", None, 30),
        ("band", None, 30),
        ("", None, 30),
        ("x", None, 30),
        ("bell", 60, 3),
    ],
)
def test_a_device_may_be_silent_for_three_of_its_intervals(
    model: str, heartbeat_seconds: int | None, minutes: int
) -> None:
    """The device's own interval wins over its model's, and that over the rule's."""
    silence = ruleset.load(SHIPPED).silence
    assert silence is not None
    assert silence.limit(model, heartbeat_seconds) == minutes * MINUTE


def test_a_rule_says_what_it_was_given() -> None:
    """Every key arrives, durations in microseconds."""
    text = third(kind='"hr_high"', when='"hr > 140"', clear='"hr < 100"', **{"for": '"90s"'}, gap='"2h"')
    (rule,) = ruleset.parse(text + 'severity = "critical"\n').latched
    assert isinstance(rule, Rule)
    assert rule.clear is not None
    assert (rule.when.text, rule.clear.text) == ("hr > 140", "hr < 100")
    assert (rule.hold, rule.gap, rule.each) == (90 * SECOND, 120 * MINUTE, False)
    assert rule.severity is Severity.CRITICAL
    silent = ruleset.parse(third(kind='"device_silent"', silence=2, models='{ bell = "1m" }')).silence
    assert silent == SilenceRule("device_silent", Severity.MEDIUM, 2, 10 * MINUTE, {"bell": MINUTE})


def test_several_rules_may_share_a_kind() -> None:
    """Two causes, one alarm."""
    text = third(kind='"hr_high"', when='"hr > 140"') + '[[rule]]\nkind = "hr_high"\nwhen = "hr > 180"\n'
    assert [rule.kind for rule in ruleset.parse(text).latched] == ["hr_high", "hr_high"]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"kind": '"hr_hgh"', "when": '"hr > 1"'}, "kind = 'hr_hgh': allowed are sos, fall, hr_high"),
        ({"when": '"hr > 1"'}, "kind: Field required"),
        ({"kind": "5", "when": '"hr > 1"'}, "kind: Input should be a valid string"),
        ({"kind": '"hr_high"'}, "`when` is missing"),
        ({"kind": '"hr_high"', "when": '"pulse > 1"'}, "when: .*there is no field 'pulse'; allowed are"),
        ({"kind": '"hr_high"', "when": "5"}, "when: .*an expression is a text"),
        ({"kind": '"hr_high"', "when": '"hr > 1"', "clear": '"hr >"'}, "clear: .*is not an expression"),
        ({"kind": '"hr_high"', "when": '"hr > 1"', "hold": '"5m"'}, "hold: Extra inputs are not permitted"),
        ({"kind": '"hr_high"', "whem": '"hr > 1"'}, "whem: Extra inputs are not permitted"),
        *(
            (
                {"kind": '"hr_high"', "when": '"hr > 1"', key: value},
                f"{key}: .*a duration is a number and a unit",
            )
            for key in ("for", "gap")
            for value in ("600", '"600"', '"10 m"', '"1d"', '"-5m"', '"1.5h"', '""', '"1234567s"', "true")
        ),
        ({"kind": '"hr_high"', "when": '"hr > 1"', "gap": '"0s"'}, "gap: Input should be greater than 0"),
        (
            {"kind": '"hr_high"', "when": '"hr > 1"', "each": '"maybe"'},
            "each: Input should be a valid boolean",
        ),
        ({"kind": '"hr_high"', "when": '"hr > 1"', "severity": '"urgent"'}, "severity: .*'critical', 'high'"),
        (
            {"kind": '"hr_high"', "when": '"hr > 1"', "each": "true", "for": '"5m"'},
            "each = true .*takes no `for`",
        ),
        (
            {"kind": '"hr_high"', "when": '"hr > 1"', "each": "true", "gap": '"5m"'},
            "each = true .*takes no `gap`",
        ),
        (
            {"kind": '"hr_high"', "when": '"hr > 1"', "interval": '"5m"', "models": "{}"},
            "without `silence` takes no `interval`, `models`",
        ),
        ({"kind": '"device_silent"', "silence": 0}, "silence: .*greater than or equal to 1"),
        ({"kind": '"device_silent"', "silence": 101}, "silence: .*less than or equal to 100"),
        ({"kind": '"device_silent"', "silence": '"3x"'}, "silence: .*valid integer"),
        ({"kind": '"device_silent"', "silence": 3, "interval": '"0m"'}, "interval: .*greater than 0"),
        (
            {"kind": '"device_silent"', "silence": 3, "models": '{ bell = "x" }'},
            "models.bell: .*a duration is",
        ),
        (
            {"kind": '"device_silent"', "silence": 3, "models": '{ bell = "0s" }'},
            "models.bell: .*greater than 0",
        ),
        ({"kind": '"device_silent"', "silence": 3, "when": '"hr > 1"'}, "with `silence` takes no `when`"),
        ({"kind": '"device_silent"', "silence": 3, "each": "false"}, "with `silence` takes no `each`"),
        ({"kind": '"device_silent"', "silence": 3, "for": '"1m"'}, "with `silence` takes no `for`"),
    ],
)
def test_a_wrong_rule_is_refused_by_file_number_and_key(keys: dict[str, Any], sentence: str) -> None:
    """The sentence names the file, the third rule, the key, and what is allowed."""
    said = refusal(third(**keys))
    assert said.startswith("my.toml: rule 3: ")
    with pytest.raises(UsageError, match=sentence):
        ruleset.parse(third(**keys), "my.toml")


def test_every_fault_of_a_rule_is_named_at_once() -> None:
    """Who made two mistakes reads of both."""
    lines = refusal(third(kind='"hr_high"', when='"hr >"', gap="5")).splitlines()
    assert [line.split(": ")[2] for line in lines] == ["when", "gap"]


@pytest.mark.parametrize(
    "text", ["", "rule = 5", "[rule]\nkind = 'sos'", "rule = []", f"{LIFE}\n[rules]\n", f"x = 1\n{LIFE}"]
)
def test_a_rule_file_holds_rules_and_nothing_else(text: str) -> None:
    """What is no list of [[rule]] tables is refused as a whole."""
    assert refusal(text) == "my.toml: a rule file holds 1 to 500 [[rule]] tables and nothing else"


def test_a_rule_is_a_table() -> None:
    """A number among the rules is refused by its place."""
    assert refusal("rule = [5]").startswith("my.toml: rule 1: ")


def test_too_many_rules_are_refused() -> None:
    """There is an end."""
    assert "1 to 500" in refusal(LIFE + '[[rule]]\nkind = "tamper"\nwhen = "hr > 1"\n' * 499)


def test_what_is_no_toml_is_refused() -> None:
    """The place of the mistake is in the sentence."""
    assert refusal("[[rule]\n").startswith("my.toml: not TOML: ")


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ('kind = "sos"', 'kind = "tamper"', "sos"),
        ('kind = "fall"', 'kind = "tamper"', "fall"),
        ("each = true", "each = false", "sos"),
        ("event == 'sos'", "event == 'check_in'", "sos"),
        ("event == 'sos'", "event == 'sos' and hr > 100", "sos"),
        ("event == 'sos'", "hr > 100", "sos"),
        ("event == 'fall_detected' or", "event == 'test' or", "fall"),
        ("or event == 'fall_confirmed'", "", "fall"),
    ],
)
def test_no_rule_file_can_silence_a_call_for_help(old: str, new: str, missing: str) -> None:
    """Every SOS and every fall must alarm on receipt, whatever else the message says: promise P2."""
    assert old in LIFE
    assert f"{missing} must have a rule with each = true" in refusal(LIFE.replace(old, new))


def test_only_one_rule_is_about_silence() -> None:
    """Two limits for one device would contradict each other."""
    silent = '[[rule]]\nkind = "device_silent"\nsilence = 3\n'
    assert refusal(LIFE + silent * 2) == "my.toml: only one rule may have `silence`"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and one in another encoding are refused by name."""
    gbk = tmp_path / "gbk.toml"
    gbk.write_bytes("# 规则".encode("gbk"))
    for path in (gbk, tmp_path / "missing.toml", tmp_path):
        with pytest.raises(UsageError, match=f"^{path}: cannot be read: "):
            ruleset.load(path)


def test_a_fingerprint_is_of_what_decides_the_state() -> None:
    """Severity is not in it; expression, durations and kind are."""
    texts = [
        {"kind": '"hr_high"', "when": '"hr > 1"', "severity": '"low"'},
        {"kind": '"hr_high"', "when": '"hr > 1"'},
        {"kind": '"hr_low"', "when": '"hr > 1"'},
        {"kind": '"hr_high"', "when": '"hr > 2"'},
        {"kind": '"hr_high"', "when": '"hr > 1"', "clear": '"hr < 1"'},
        {"kind": '"hr_high"', "when": '"hr > 1"', "for": '"1m"'},
        {"kind": '"hr_high"', "when": '"hr > 1"', "gap": '"1m"'},
    ]
    prints = [ruleset.parse(third(**keys)).latched[0].fingerprint for keys in texts]
    assert prints[0] == prints[1]
    assert len(set(prints)) == len(prints) - 1
