"""`carebell device`, `person` and `region` at the command line, in both editions of the database."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.parts import Database
from tests.contract.kit import make_tables, script
from tests.contract.registry import enter_both, wearers


class Shell:
    """A command line with a configuration file that names the database."""

    def __init__(self, url: str, config: Path) -> None:
        self.config = config
        config.write_text(f'[database]\nurl = "{url}"\n', encoding="utf-8")

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


@pytest.fixture
def shell(database: Database, tmp_path: Path) -> Shell:
    """Give a command line on a database with two people and three devices."""

    async def enter() -> None:
        await make_tables(database.url)
        await enter_both(database.url)

    asyncio.run(enter())
    return Shell(database.url, tmp_path / "carebell.toml")


def test_the_commands_list_and_show(shell: Shell, database: Database) -> None:
    """Lists can be narrowed, cards tell the whole story, --json has what the tables have."""
    assert [each["device"] for each in shell.json("device", "list")] == ["BELL-1", "BELL-2", "BELL-3"]
    assert [each["device"] for each in shell.json("device", "list", "--region", "430602001")] == [
        "BELL-1",
        "BELL-2",
    ]
    assert [each["device"] for each in shell.json("device", "list", "--person", "YY-2")] == ["BELL-2"]
    listed = shell.run("device", "list", "--limit", "2")
    assert "BELL-3" not in listed.stdout
    assert "there may be more than 2" in listed.stderr
    assert [each["name"] for each in shell.json("person", "list", "--name", "桂")] == ["张桂英"]
    moved = shell.json("device", "move", "BELL-1", "--to", "YY-2", "--region", "430602007")
    assert (moved["device"]["region"], moved["device"]["person"]) == ("430602007", "YY-2")
    asyncio.run(
        script(
            database.url,
            "INSERT INTO heartbeats (device_id, ts, received_at, time_quality, digest, batch)"
            " SELECT device_id, now(), '2026-03-01 00:00:00Z', 0, 1, 1 FROM devices WHERE device = 'BELL-1'",
        )
    )
    card = shell.json("device", "show", "BELL-1")
    assert card["last_heard"] == "2026-03-01T00:00:00Z"
    assert [(span["person"], span["until"] is None) for span in card["had_by"]] == [
        ("YY-2", True),
        ("YY-1", False),
    ]
    shown = shell.run("device", "show", "BELL-1").stdout
    assert "2026-03-01 08:00:00" in shown
    assert "never" in shell.run("device", "show", "BELL-2").stdout
    assert shell.json("person", "show", "YY-2")["person"]["devices"] == ["BELL-1", "BELL-2"]
    shown = shell.run("person", "show", "YY-1").stdout
    for word in ("张桂英", "高血压", "张强", "儿子", "BELL-1"):
        assert word in shown
    assert shell.json("region", "list") == [
        {
            **dict.fromkeys(("name", "parent_name"), ""),
            **dict.fromkeys(("lat", "lon")),
            "region": region,
            "parent": parent,
            "devices": devices,
        }
        for region, parent, devices in (
            ("430602", None, 1),
            ("430602001", "430602", 1),
            ("430602007", "430602", 1),
        )
    ]


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("device show NONE-1", 1, "there is no device NONE-1"),
        ("person show NONE", 1, "nobody has the file number NONE"),
        ("device move NONE-1 --none", 1, "there is no device NONE-1"),
        ("device move BELL-1 --to NONE", 1, "nobody has the file number NONE"),
        ("device move BELL-1", 2, "either --to PERSON or --none"),
        ("device move BELL-1 --to YY-1 --none", 2, "either --to PERSON or --none"),
        ("device move BELL-1 --none --region 16", 2, "--region .16. is no administrative code"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    native: Database, tmp_path: Path, command: str, code: int, says: str
) -> None:
    """Unknown devices and people end with 1, wrong usage with 2, and nothing is changed."""
    asyncio.run(make_tables(native.url))
    asyncio.run(enter_both(native.url))
    result = Shell(native.url, tmp_path / "carebell.toml").run(*command.split())
    assert result.exit_code == code
    assert says.replace(".16.", "“16”") in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert asyncio.run(wearers(native.url))[0] == ("BELL-1", "YY-1")


def test_odd_arguments_are_understood_or_one_sentence(shell: Shell) -> None:
    """Blanks around a code are taken off; what a terminal of another encoding sends is refused by name."""
    assert shell.json("device", "move", "BELL-1", "--none", "--region", "430602007 ")["device"]["region"] == (
        "430602007"
    )
    for command in (("device", "show", "\udcff"), ("person", "list", "--name", "\udce5")):
        result = shell.run(*command)
        assert (result.exit_code, "not UTF-8" in result.stderr) == (2, True), result.output


def test_a_hostile_name_is_only_text(shell: Shell, database: Database) -> None:
    """Neither markup nor control characters of what stands in the database reach the terminal."""
    asyncio.run(
        script(database.url, "UPDATE people SET name = E'[red]\\x1b[31m张\\u202e' WHERE person = 'YY-1'")
    )
    for command in (
        ("person", "list"),
        ("person", "show", "YY-1"),
        ("device", "list"),
        ("device", "show", "BELL-1"),
    ):
        shown = shell.run(*command).stdout
        assert "[red]\ufffd[31m张\ufffd" in shown
        assert "\x1b" not in shown
