"""`carebell report` at the command line: a table, a spreadsheet, a page to print, and what it refuses."""

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.parts import Database
from tests.contract.test_alarm_command import fails
from tests.contract.test_figures import MONTH, OPERATORS, add
from tests.desk import migrated

pytestmark = pytest.mark.one_edition


class Shell:
    """A command line with a configuration file that names the database."""

    def __init__(self, url: str, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "carebell.toml"
        self.config.write_text(f'[database]\nurl = "{url}"\n[duty.arrival]\n"4306" = 10\n', encoding="utf-8")

    def run(self, *arguments: str) -> Result:
        """Run `carebell report ARGUMENTS`."""
        environment = {"COLUMNS": "200", "NO_COLOR": "1"}
        return CliRunner().invoke(app, ["report", *arguments, "--config", str(self.config)], env=environment)


@pytest.fixture
def shell(database: Database, tmp_path: Path) -> Shell:
    """Give a command line on a database with a call of March for each operator, and one without answer."""

    async def fill() -> None:
        async with migrated(database.url) as connection:
            for place, operator in enumerate(OPERATORS):
                await add(connection, MONTH, device=f"BELL-{place}", answered=30, by=operator)
            await add(connection, MONTH, device="BELL-LATE")

    asyncio.run(fill())
    return Shell(database.url, tmp_path)


def test_a_month_on_the_terminal(shell: Shell) -> None:
    """Every block is there, with shares against their targets, and names as text."""
    shown = shell.run("--month", "2026-03")
    assert shown.exit_code == 0, shown.output
    for words in (
        *("2026 年 3 月值班月报", "统计至 2026-04-01 00:00:00", "83.3% 未达标", "未应答", "王芳", "夜班"),
        *("430602", "<script>", "告警负荷", "演练（不计入以上各表）", "4306 开头 10 分钟"),
    ):
        assert words in shown.stdout, words
    assert "\r" not in shown.stdout


def test_a_month_as_json(shell: Shell) -> None:
    """Programs get what the API answers, every name as it is."""
    found = json.loads(shell.run("--month", "2026-03", "--region", "4306", "--json").stdout)
    assert (found["life"]["raised"], found["life"]["share_60"]) == (6, 5 / 6)
    assert {each["key"] for each in found["by_operator"]} == {"", *OPERATORS}
    assert found["arrival"] == {"4306": 10}
    nothing = json.loads(shell.run("--month", "2026-03", "--region", "11", "--json").stdout)
    assert (nothing["life"]["raised"], nothing["life"]["share_60"]) == (0, None)


def test_a_month_for_a_spreadsheet(shell: Shell) -> None:
    """UTF-8 with a mark, each row a line, formulas as text."""
    file = shell.directory / "march.csv"
    assert shell.run("--month", "2026-03", "--csv", str(file)).stdout == f"wrote {file}\n"
    text = file.read_bytes().decode("utf-8")
    assert text.startswith("\ufeff")
    lines = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    named = [line[0] for line in lines if line]
    assert {"'=HYPERLINK(1)", "<script>", "a\ufffd\ufffdb", "王芳"} <= set(named)
    assert ["60 秒内应答", "83.3% 未达标", "97.5%"] in lines


def test_a_month_on_paper(shell: Shell) -> None:
    """One page in itself, without a script, for A4; names are text."""
    file = shell.directory / "march.html"
    assert shell.run("--month", "2026-03", "--html", str(file)).exit_code == 0
    page = file.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "size: A4" in page
    assert "src=" not in page
    assert "href=" not in page


def test_without_a_month_it_is_the_present_one(shell: Shell) -> None:
    """It says that the month is not over."""
    shown = shell.run()
    assert shown.exit_code == 0
    assert "本月尚未结束" in shown.stdout


def test_what_cannot_be_is_one_sentence(shell: Shell) -> None:
    """A month, region or combination that cannot be ends with 2, a file that cannot be written with 1."""
    fails(shell.run("--month", "2026-13"), "--month '2026-13': a month is written 2026-10", 2)
    fails(shell.run("--month", "2026-03", "--region", "x"), "--region 'x': a region is", 2)
    fails(shell.run("--month", "2026-03", "--json", "--csv", "x"), "one of --csv, --html and --json", 2)
    fails(shell.run("--month", "2026-03", "--csv", "/nowhere/at/all.csv"), "/nowhere/at/all.csv: cannot be")


@pytest.mark.no_tables
def test_a_database_without_tables_is_named(database: Database, tmp_path: Path) -> None:
    """Before `carebell db migrate` the command says what to run."""
    fails(Shell(database.url, tmp_path).run("--month", "2026-03"), "run `carebell db migrate`", 2)
