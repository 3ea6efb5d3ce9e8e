"""`carebell rule` and `carebell person set` at the command line, in both editions of the database."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ops import rule
from ops.cli import app
from ops.parts import Database
from rules import ruleset
from tests.contract.kit import Line, make_tables, script, settings_for, tuples
from tests.contract.registry import enter_both

pytestmark = pytest.mark.one_edition

SMALL = """
[thresholds]
top = 131

[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"

[[rule]]
kind = "hr_high"
when = "hr >= top"
"""


class Shell:
    """A command line with a configuration file that names the database, and a rule file."""

    def __init__(self, url: str, scratch: Path) -> None:
        self.url = url
        self.config = scratch / "carebell.toml"
        self.config.write_text(f'[database]\nurl = "{url}"\n', encoding="utf-8")
        self.file = scratch / "rules.toml"
        self.file.write_text(SMALL, encoding="utf-8")

    def run(self, *command: str) -> Result:
        """Run `carebell COMMAND`."""
        return CliRunner().invoke(
            app, [*command, "--config", str(self.config)], env={"COLUMNS": "200", "NO_COLOR": "1"}
        )

    def json(self, *command: str) -> Any:  # noqa: ANN401 - JSON is anything
        """Return what the command prints with --json."""
        result = self.run(*command, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def rule(self, command: str, *, path: bool = True) -> Result:
        """Run `carebell rule COMMAND FILE`."""
        return self.run("rule", *command.split(), *([str(self.file)] if path else []))

    def runs(self, *, ticks: bool = True) -> None:
        """Let a bridge start, tick and die."""

        async def work() -> None:
            async with Line(settings_for(self.url)) as line:
                if ticks:
                    await line.tick(1)

        asyncio.run(work())


@pytest.fixture
def shell(database: Database, tmp_path: Path) -> Shell:
    """Give a command line on a database with two people and three devices."""
    asyncio.run(make_tables(database.url))
    asyncio.run(enter_both(database.url))
    return Shell(database.url, tmp_path)


def fails(result: Result, says: str, code: int = 1) -> None:
    """Assert that a command ended with this code and said this on standard error, each line a sentence."""
    assert result.exit_code == code, result.output
    assert says in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


# -------------------------------------------------------------------------------------------------- the file


def test_a_good_file_is_in_order_without_a_database(tmp_path: Path) -> None:
    """Check and explain need nothing but the file."""
    shell = Shell("postgresql://nobody@127.0.0.1:1/none", tmp_path)
    assert shell.rule("check").stdout == f"{shell.file}: 3 rules, top = 131: in order\n"
    assert shell.json("rule", "check", str(shell.file)) == {
        "file": str(shell.file),
        "rules": 3,
        "thresholds": {"top": 131.0},
        "unknown": [],
    }
    said = shell.rule("explain").stdout
    assert "一旦符合“心率 ≥ top(131)”就报警" in said
    assert 'alarms as soon as "heart rate ≥ top(131)"' in said
    found = shell.json("rule", "explain", str(shell.file))
    assert [(each["number"], each["kind"]) for each in found] == [(1, "sos"), (2, "fall"), (3, "hr_high")]
    assert all(each["zh"] in said and each["en"] in said for each in found)


@pytest.mark.parametrize("command", ["check", "explain", "apply"])
def test_a_wrong_file_is_told_with_line_and_key(shell: Shell, command: str) -> None:
    """Each fault is a line of its own; nothing is written."""
    shell.file.write_text(
        SMALL.replace('top"', 'pulse"').replace("each = true", "each = true\nfor = '1m'"), "utf-8"
    )
    result = shell.rule(command)
    fails(result, f"{shell.file}:9: rule 1: for: ")
    fails(result, f"{shell.file}:17: rule 3: when: ")
    assert asyncio.run(tuples(shell.url, "SELECT FROM rule_sets")) == []


def test_no_file_is_wrong_usage(shell: Shell) -> None:
    """A name of nothing, and none where one is needed."""
    for command in ("check", "explain", "apply"):
        fails(shell.run("rule", command, "nowhere.toml"), "nowhere.toml: no such file", 2)
    assert shell.run("rule", "apply").exit_code == 2


def test_without_a_file_the_rules_in_force_are_meant(shell: Shell) -> None:
    """Before any bridge ran, those with which it would start."""
    assert shell.json("rule", "check")["rules"] == ruleset.load(ruleset.SHIPPED).count
    fails(shell.rule("show", path=False), "no bridge ever ran here")
    shell.rule("apply --by 王芳")
    shell.runs()
    assert shell.json("rule", "check")["rules"] == 3
    assert len(shell.json("rule", "explain")) == 3
    assert shell.rule("show", path=False).stdout == SMALL


# -------------------------------------------------------------------------------------------------- versions


def test_apply_without_a_bridge_is_written_down(shell: Shell) -> None:
    """It says so, and the next bridge starts with it; the list tells the whole story."""
    done = shell.rule("apply --by 王芳")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "version 1 is written down: no bridge runs, it will start with it" in done.stderr
    (found,) = shell.json("rule", "list")
    assert (found["version"], found["in_force"], found["applied_by"], found["used_at"]) == (
        1,
        False,
        "王芳",
        None,
    )
    shell.runs()
    (found,) = shell.json("rule", "list")
    assert (found["in_force"], found["used_at"] is None) == (True, False)
    listed = shell.rule("list", path=False).stdout
    for word in ("1 versions", "王芳", "yes"):
        assert word in listed
    again = shell.rule("apply --by 李强")
    assert again.exit_code == 0
    assert "these are the rules of version 1, applied last" in again.stderr
    assert "version 1 is in force since 20" in again.stdout


def test_any_version_can_be_read_and_applied_again(shell: Shell) -> None:
    """To go back is to apply what was there before, as a version of its own."""
    shell.runs()
    shell.rule("apply")
    shipped = shell.run("rule", "show", "1").stdout
    assert shipped == ruleset.SHIPPED.read_text("utf-8")
    shell.file.write_text(shipped, "utf-8")
    shell.rule("apply")
    assert [each["version"] for each in shell.json("rule", "list")] == [3, 2, 1]
    fails(shell.run("rule", "show", "4"), "there is no version 4 of the rules")
    assert [each["version"] for each in shell.json("rule", "list", "--limit", "1")] == [3]


def test_apply_says_what_a_running_bridge_made_of_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """In force, refused, overtaken by somebody else, or not taken at all."""
    monkeypatch.setattr(rule, "is_bridge_there", _there)
    monkeypatch.setattr(rule, "POLL", 0.01)
    made = iter(
        [
            "UPDATE rule_sets SET used_at = now() WHERE rule_set_id = 1",
            "UPDATE rule_sets SET refused = 'it is odd' WHERE rule_set_id = 2",
            "INSERT INTO rule_sets (sha256, source, applied_at) VALUES ('', '', now())",
        ]
    )

    async def sleep(_seconds: float) -> None:
        if (what := next(made, None)) is not None:
            await script(shell.url, what)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert "version 1 is in force since " in shell.rule("apply").stdout
    shell.file.write_text(f"{SMALL}#", "utf-8")
    fails(shell.rule("apply"), "the bridge refuses version 2 and goes on as before: it is odd")
    shell.file.write_text(f"{SMALL}##", "utf-8")
    fails(shell.rule("apply"), "version 3 was overtaken: somebody applied other rules after it")
    monkeypatch.setattr(rule, "PATIENCE", 0.05)
    shell.file.write_text(f"{SMALL}###", "utf-8")
    fails(shell.rule("apply"), "version 5 is written down, but the bridge has not taken it: see its log")
    assert [each["in_force"] for each in shell.json("rule", "list")] == [False] * 4 + [True]


async def _there(_connection: object) -> bool:
    return True


@pytest.mark.no_tables
def test_a_database_without_tables_is_one_sentence(native: Database, tmp_path: Path) -> None:
    """Every command that asks it says what to do."""
    shell = Shell(native.url, tmp_path)
    for command in ("list", "show", "explain", f"apply {shell.file}", f"check {shell.file} --people"):
        fails(shell.run("rule", *command.split()), "run `carebell db migrate`", 2)


# ---------------------------------------------------------------------------------------------------- people


def test_people_have_limits_and_a_care_level_of_their_own(shell: Shell) -> None:
    """They are set one by one and taken away by themselves; the devices of the person are read again."""
    read = "SELECT device FROM devices WHERE changed_at > registered_at"
    card = shell.json("person", "set", "YY-1", "--threshold", "top=150", "--threshold", "low=-4.5")
    assert (card["person"]["thresholds"], card["person"]["care_level"]) == ({"top": 150.0, "low": -4.5}, "")
    assert asyncio.run(tuples(shell.url, read)) == [("BELL-1",)]
    card = shell.json("person", "set", "YY-1", "--threshold", "low=", "--care-level", "一级")
    assert (card["person"]["thresholds"], card["person"]["care_level"]) == ({"top": 150.0}, "一级")
    assert "top=150" in shell.run("person", "show", "YY-1").stdout
    assert shell.json("person", "set", "YY-1", "--care-level", "")["person"]["care_level"] == ""


@pytest.mark.parametrize("said", ["top", "=4", "Top=1", "top=x", "top=nan", "top=inf", "top=1e10", "a b=1"])
def test_a_limit_is_a_name_and_a_number(native: Database, tmp_path: Path, said: str) -> None:
    """Whatever else is said is wrong usage and changes nothing."""
    shell = Shell(native.url, tmp_path)
    fails(shell.run("person", "set", "YY-1", "--threshold", said), "it is written name=number", 2)


def test_setting_nothing_or_of_nobody_is_refused(shell: Shell) -> None:
    """Wrong usage is code 2, an unknown person code 1."""
    fails(shell.run("person", "set", "YY-1"), "say --threshold NAME=VALUE or --care-level LEVEL", 2)
    fails(shell.run("person", "set", "NONE", "--care-level", "一级"), "nobody has the file number NONE")
    fails(shell.run("person", "set", "YY-1", "--care-level", "=1"), "--care-level begins with =", 2)


def test_limits_that_no_rule_asks_for_are_found(shell: Shell) -> None:
    """A misspelt one would protect nobody: the check lists it, of whom, and ends with 1."""
    shell.run("person", "set", "YY-1", "--threshold", "top=150")
    assert shell.rule("check --people").exit_code == 0
    shell.run("person", "set", "YY-2", "--threshold", "tpo=150", "--threshold", "top=140")
    result = shell.rule("check --people")
    assert result.exit_code == 1
    assert "YY-2" in result.stdout
    assert "tpo=150" in result.stdout
    assert "YY-1" not in result.stdout
    result = shell.run("rule", "check", str(shell.file), "--people", "--json")
    assert (result.exit_code, json.loads(result.stdout)["unknown"]) == (
        1,
        [{"person": "YY-2", "name": "李建国", "thresholds": {"tpo": 150.0}}],
    )
