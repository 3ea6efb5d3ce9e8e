"""`carebell alarm` and `carebell token` at the command line, in both editions of the database."""

import asyncio
import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ops import alarm, token
from ops.parts import Database
from schemas.settings import Settings
from tests.desk import migrated, raise_alarm

pytestmark = pytest.mark.one_edition


class Shell:
    """A command line with a configuration file that names the database."""

    def __init__(self, url: str, config: Path) -> None:
        self.url = url
        self.config = config
        config.write_text(f'[database]\nurl = "{url}"\n', encoding="utf-8")

    def run(self, command: str) -> Result:
        """Run `carebell alarm COMMAND`."""
        verb, *arguments = command.split()
        return CliRunner().invoke(
            alarm.app,
            [verb, *arguments, "--config", str(self.config)],
            env={"COLUMNS": "200", "NO_COLOR": "1"},
        )

    def json(self, command: str) -> Any:  # noqa: ANN401  # JSON is anything
        """Return what the command prints with --json."""
        result = self.run(f"{command} --json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def raise_alarm(self, device: str = "BELL-1", kind: str = "sos", **person: Any) -> int:  # noqa: ANN401  # as it takes them
        """Raise an alarm as ingest does."""

        async def work() -> int:
            async with migrated(self.url) as connection:
                return await raise_alarm(connection, device, kind, **person)

        return asyncio.run(work())


@pytest.fixture
def shell(database: Database, tmp_path: Path) -> Shell:
    """Give a command line on an empty database."""
    return Shell(database.url, tmp_path / "carebell.toml")


def fails(result: Result, says: str, code: int = 1) -> None:
    """Assert that a command ended with this code and one sentence on standard error."""
    assert result.exit_code == code, result.output
    assert re.search(says, result.stderr), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("carebell: ")
    assert not result.stdout


def test_from_list_to_close(shell: Shell) -> None:
    """Without a desk, alarms can be listed, taken up, sent to and closed by hand."""
    number = shell.raise_alarm(name="张奶奶[red]", notes="独居")
    listed = shell.run("list")
    assert listed.exit_code == 0
    for word in (str(number), "紧急", "紧急呼叫", "张奶奶[red]", "BELL-1", "2026-03-01 16:00:00", "未确认"):
        assert word in listed.stdout
    assert f"{number} 紧急呼叫 BELL-1: 已确认\n" == shell.run(f"ack {number} --by 王芳").stdout
    assert shell.json(f"dispatch {number} --to 李强 --by 王芳")["dispatched_to"] == "李强"
    closed = shell.run(f"close {number} --outcome other_help --by 王芳 --note 已送药 --version 3")
    assert closed.stdout == f"{number} 紧急呼叫 BELL-1: 已关闭 真实-其他求助\n"
    shown = shell.run(f"show {number}")
    for word in ("独居", "王芳", "确认", "派人：李强", "关闭", "已送药"):
        assert word in shown.stdout
    card = shell.json(f"show {number}")
    assert [entry["actor"] for entry in card["log"]] == ["王芳"] * 3
    assert card["alarm"]["outcome"] == "other_help"
    assert shell.json("list") == []
    assert [found["class"] for found in shell.json("list --all")] == ["life"]
    assert shell.json("list --all --device BELL-2") == []


def test_every_verb_has_a_command(shell: Shell) -> None:
    """Arrival, assignment, notes, merging, shelves and re-opening can be done without a desk as well."""
    call, battery = shell.raise_alarm(), shell.raise_alarm(kind="low_battery")
    assert shell.json(f"assign {battery} --to 赵敏 --by 王芳")["assigned_to"] == "赵敏"
    assert shell.run(f"note {battery} 电池已订 --by 王芳").exit_code == 0
    assert shell.json(f"shelve {battery} --minutes 60 --by 王芳")["shelved_until"]
    assert [found["alarm_id"] for found in shell.json("list")] == [call]
    assert [found["alarm_id"] for found in shell.json("list --shelved")] == [battery]
    fails(shell.run("list --all --shelved"), "say one of them", 2)
    assert shell.json(f"unshelve {battery} --by 王芳")["shelved_until"] is None
    for verb in (f"ack {call}", f"dispatch {call} --to 李强", f"ack {battery}"):
        assert shell.run(f"{verb} --by 王芳").exit_code == 0
    assert f"{call} 紧急呼叫 BELL-1: 已到场\n" == shell.run(f"arrive {call} --by 王芳").stdout
    assert shell.json(f"merge {battery} --into {call} --by 王芳")["parent_id"] == call
    assert shell.json(f"reopen {battery} --by 李强")["assigned_to"] == "李强"
    fails(shell.run(f"shelve {call} --minutes 5 --by 王芳"), "never shelved")
    fails(shell.run(f"close {call} --outcome test --explained --by 王芳"), "only the outage")
    assert shell.run(f"shelve {battery} --minutes 1441").exit_code == 2


def test_who_does_it_is_the_login_name_unless_said(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log never lacks a name, and never has the engine's."""
    monkeypatch.setenv("LOGNAME", "wangfang")
    number = shell.raise_alarm()
    assert shell.json(f"ack {number}")["acknowledged_by"] == "wangfang"
    monkeypatch.setenv("LOGNAME", "carebell")
    fails(shell.run(f"close {number} --outcome test"), "a person's name, and not carebell")


def test_what_is_refused_is_one_sentence_and_code_1(shell: Shell) -> None:
    """An illegal move, a stale version and an unknown alarm say so and change nothing."""
    number = shell.raise_alarm()
    fails(
        shell.run(f"close {number} --outcome test --by 李强"), "cannot close an alarm that is unacknowledged"
    )
    shell.run(f"ack {number} --by 王芳")
    fails(shell.run(f"ack {number} --by 李强"), "王芳 was first")
    fails(shell.run(f"close {number} --outcome test --by 李强 --version 1"), "version 1 was looked at, 2 is")
    fails(shell.run(f"close {number} --outcome cleared --by 李强"), "outcome = cleared")
    fails(shell.run("show 77777"), "there is no alarm 77777")
    [alone] = shell.json("list")
    assert (alone["handling"], alone["version"]) == ("acknowledged", 2)


@pytest.mark.no_tables
def test_wrong_usage_is_code_2(shell: Shell) -> None:
    """Arguments and settings that could never work end with code 2, and what the database lacks does."""
    assert shell.run("ack nobody").exit_code == 2
    assert shell.run("close 1 --outcome gone").exit_code == 2
    assert shell.run("list --limit 0").exit_code == 2
    fails(shell.run("list"), "run `carebell db migrate`", 2)
    shell.config.write_text("[duty]\nport = 0\n", encoding="utf-8")
    fails(shell.run("list"), r"duty\.port = 0", 2)
    shell.config.unlink()
    fails(shell.run("list"), "no such file", 2)


def test_a_database_that_is_away_is_one_sentence(shell: Shell, database: Database) -> None:
    """The command says that the database does not answer, and succeeds as soon as it does."""
    shell.raise_alarm()
    database.stop()
    try:
        fails(shell.run("list"), "the database does not answer: .*refused")
    finally:
        database.start()
    assert len(shell.json("list")) == 1


@pytest.mark.parametrize("name", ["wang", "王芳", 'a "b" \\c'])
def test_a_new_token_opens_the_desk(name: str, tmp_path: Path) -> None:
    """The printed line goes into the configuration as it is, and holds the digest of the printed token."""
    result = CliRunner().invoke(token.app, ["new", name])
    assert result.exit_code == 0
    secret = re.search(r"#token=(\S+)", result.stdout)
    line = re.search(r"under \[duty\.tokens\]: +(.*)", result.stdout)
    assert secret
    assert line
    config = tmp_path / "carebell.toml"
    config.write_text(f"[duty.tokens]\n{line[1]}\n", encoding="utf-8")
    assert tomllib.loads(config.read_text("utf-8"))
    digest = hashlib.sha256(secret[1].encode()).hexdigest()
    assert Settings.load(config).duty.tokens == {name: digest}
    assert digest not in secret[1]
    again = CliRunner().invoke(token.app, ["new", name])
    assert secret[1] not in again.stdout


def test_a_token_for_nobody_is_refused() -> None:
    """A name that the log could not bear gets no token."""
    fails(CliRunner().invoke(token.app, ["new", "a\nb"]), "NAME: by: at most 100 characters", 2)
    fails(CliRunner().invoke(token.app, ["new", "carebell"]), "not carebell", 2)
