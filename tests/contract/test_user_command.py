"""`carebell user` at the command line: users, tokens that are shown once, and the log, in both editions."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from duty.keys import digest_of
from ops.cli import app
from ops.parts import Database
from tests.contract.kit import script


class Shell:
    """A command line with a configuration file that names the database."""

    def __init__(self, url: str, config: Path) -> None:
        self.url = url
        self.config = config
        config.write_text(f'[database]\nurl = "{url}"\n', encoding="utf-8")

    def run(self, *command: str) -> Result:
        """Run `carebell user COMMAND`."""
        return CliRunner().invoke(
            app, ["user", *command, "--config", str(self.config)], env={"COLUMNS": "200", "NO_COLOR": "1"}
        )

    def json(self, *command: str) -> Any:  # noqa: ANN401 - JSON is anything
        """Return what the command prints with --json."""
        result = self.run(*command, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def fails(self, code: int, said: str, *command: str) -> None:
        """Hold that a command ends with this code and one sentence that says so."""
        result = self.run(*command)
        assert result.exit_code == code, result.output
        assert re.search(said, re.sub(r"\s+|│", " ", result.stderr)), result.stderr
        assert "Traceback" not in result.output


@pytest.fixture
def shell(database: Database, tmp_path: Path) -> Shell:
    """Give a command line on a database with its tables."""
    return Shell(database.url, tmp_path / "carebell.toml")


def test_a_user_from_beginning_to_end(shell: Shell) -> None:
    """Made, given tokens and another role, taken tokens from, disabled: lists and log tell it all."""
    made = shell.json("add", "王芳", "--role", "operator")
    assert (made["name"], made["role"], made["tokens"], made["disabled_at"]) == ("王芳", "operator", 0, None)
    first = shell.json("token", "王芳", "--days", "30", "--note", "三号台")
    second = shell.json("token", "王芳")
    assert len(first["token"]) >= 43
    assert first["token"] != second["token"]
    [user] = shell.json("list")
    assert (user["tokens"], user["until"]) == (2, second["expires_at"])
    tokens = shell.json("list", "--tokens")
    assert [(each["token_id"], each["note"], each["counts"]) for each in tokens] == [
        (second["token_id"], "", True),
        (first["token_id"], "三号台", True),
    ]
    assert first["token"] not in json.dumps(tokens)

    assert shell.json("role", "王芳", "supervisor")["role"] == "supervisor"
    revoked = shell.run("revoke", str(first["token_id"]))
    assert revoked.stdout == f"revoked: {first['token_id']}\n"
    assert shell.run("revoke", "--all", "王芳").stdout == f"revoked: {second['token_id']}\n"
    assert "nothing" in shell.run("revoke", "--all", "王芳").stdout
    assert shell.json("list")[0]["tokens"] == 0
    assert shell.json("disable", "王芳")["disabled_at"]
    assert shell.json("enable", "王芳")["disabled_at"] is None

    log = shell.json("log")
    assert [line["action"] for line in log] == [
        *("user enable", "user disable", "user revoke", "user revoke", "user role"),
        *("user token", "user token", "user add"),
    ]
    assert {(line["role"], line["status"]) for line in log} == {("ops", 0)}
    assert all(line["actor"] for line in log)
    for secret in (first["token"], second["token"], digest_of(first["token"]).hex()):
        assert secret not in json.dumps(log)


def test_tables_are_for_people(shell: Shell) -> None:
    """Without --json there are tables with names in Chinese, and times as duty staff know them."""
    shell.json("add", "王芳", "--role", "operator")
    made = shell.run("token", "王芳", "--note", "三号台")
    secret = re.search(r"#token=(\S+)", made.stdout)
    assert secret
    assert made.stdout.count(secret[1]) == 2
    listed = shell.run("list").stdout
    assert "1 users" in listed
    assert "王芳" in listed
    assert "三号台" in shell.run("list", "--tokens").stdout
    assert re.search(r"user token +│ *│ *│ 0", shell.run("log").stdout)
    assert secret[1] not in shell.run("list", "--tokens").stdout + shell.run("log").stdout
    assert re.search(r"^role +viewer$", shell.run("role", "王芳", "viewer").stdout, re.MULTILINE)


def test_what_is_refused_is_said_in_a_sentence(shell: Shell) -> None:
    """Found wrong ends with 1, wrong usage with 2; nothing is changed."""
    shell.json("add", "王芳", "--role", "viewer")
    shell.json("add", "李强", "--role", "viewer")
    shell.json("disable", "李强")
    token = shell.json("token", "王芳")["token_id"]
    before = shell.json("list"), shell.json("list", "--tokens"), shell.json("log")
    shell.fails(1, "there is a user 王芳 already", "add", "王芳", "--role", "admin")
    for command in ("token", "disable", "enable"):
        shell.fails(1, "there is no user nobody", command, "nobody")
    shell.fails(1, "there is no user nobody", "role", "nobody", "admin")
    shell.fails(1, "there is no user nobody", "revoke", "--all", "nobody")
    shell.fails(1, "李强 is disabled", "token", "李强")
    shell.fails(1, f"there is no token {token + 1}", "revoke", str(token + 1))
    for name in ("carebell", "", " ", " 王芳", "a\nb", "a\x1b[31m", "a\u202eb", "x" * 101):
        shell.fails(2, "NAME", "add", name, "--role", "viewer")
    shell.fails(2, "role", "add", "张三", "--role", "root")
    shell.fails(2, "role", "add", "张三")
    shell.fails(2, "days", "token", "王芳", "--days", "367")
    shell.fails(2, "days", "token", "王芳", "--days", "0")
    shell.fails(2, "note", "token", "王芳", "--note", "x" * 201)
    shell.fails(2, "--all NAME", "revoke")
    shell.fails(2, "--all NAME", "revoke", "1", "--all", "王芳")
    shell.fails(2, "--since gestern", "log", "--since", "gestern")
    assert (shell.json("list"), shell.json("list", "--tokens"), shell.json("log")) == before


def test_the_log_can_be_narrowed(shell: Shell) -> None:
    """--since and --limit choose, and a cut list says that there may be more."""
    for name in ("a", "b", "c"):
        shell.json("add", name, "--role", "viewer")
    cut = shell.run("log", "--limit", "2")
    assert "there may be more than 2" in cut.stderr
    assert [line["detail"]["name"] for line in shell.json("log", "--limit", "2")] == ["c", "b"]
    assert shell.json("log", "--since", "2099-01-01") == []
    assert len(shell.json("log", "--since", "2020-01-01T08:00")) == 3


def test_what_strangers_wrote_does_no_harm_on_a_terminal(shell: Shell) -> None:
    """The log shows what callers chose as text: no colour, no markup, no second line."""
    statement = (
        "INSERT INTO audit_log (actor, role, action, status, address, detail) VALUES"
        " (E'[red]x\\x1b[2J', '', 'refused', 401, '', '{\"first\": \"\\n\\u001b[2J[bold]\"}')"
    )
    asyncio.run(script(shell.url, statement))
    shown = shell.run("log").stdout
    assert "\x1b" not in shown
    assert "[red]x\ufffd" in shown
    assert "[bold]" in shown


def test_a_database_that_is_away_is_a_sentence(tmp_path: Path) -> None:
    """The command says that the database does not answer, and ends with 1."""
    shell = Shell("postgresql://127.0.0.1:1/none", tmp_path / "carebell.toml")
    shell.fails(1, "the database does not answer", "list")


@pytest.mark.no_tables
def test_a_database_without_tables_is_usage(shell: Shell) -> None:
    """The command says what to run first."""
    shell.fails(2, "carebell db migrate", "list")
    shell.fails(2, "carebell db migrate", "add", "a", "--role", "viewer")


def test_help_has_an_example_of_each() -> None:
    """Whoever asks for help sees how it is written."""
    for command in ("add", "list", "token", "revoke", "role", "disable", "enable", "log"):
        shown = CliRunner().invoke(app, ["user", command, "--help"])
        assert shown.exit_code == 0
        assert f"Example: carebell user {command}" in shown.stdout
    assert "carebell user" in CliRunner().invoke(app, ["token", "--help"]).stdout
