"""The command line as a whole: what `--help` lists, and that each command shows how it is written."""

from collections.abc import Iterator
from typing import Any

import click
import pytest
import typer.main
from typer.testing import CliRunner

from ops.cli import NOUNS, app


def commands(group: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 - as click has it
    """Yield each command with the nouns before it."""
    for name in group.list_commands(click.Context(group)):
        found = group.commands[name]
        if hasattr(found, "commands"):
            yield from commands(found, f"{path}{name} ")
        else:
            yield f"{path}{name}"


def test_help_lists_every_noun_by_its_name() -> None:
    """Whoever does not know the nouns finds all of them."""
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).stdout
    listed = [line.split()[1] for line in said.splitlines() if line.startswith("│ ") and line[2] != " "]
    assert listed[listed.index("demo") :] == list(NOUNS)


@pytest.mark.parametrize("command", list(commands(typer.main.get_command(app))))
def test_help_has_an_example(command: str) -> None:
    """Each command shows how it is written."""
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "100"})
    assert shown.exit_code == 0
    assert f"Example: carebell {command}" in " ".join(shown.stdout.split())
