"""What holds the house together and no linter knows."""

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas", "rules", "store", "ingest", "duty", "device_sims", "ops")
# what a lock may not name: it must install anywhere, and from any index
MACHINE = re.compile(r"https?://|/work|/root|/home/|/tmp|file://|--index-url|--extra-index-url|--find-links")


def sources() -> list[Path]:
    """List the Python files of all rooms."""
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def helps() -> list[tuple[str, str]]:
    """List every command that does something, with its full name and its help."""
    if importlib.util.find_spec("ops.cli") is None:
        return []
    found = []
    todo = [("carebell", typer.main.get_command(importlib.import_module("ops.cli").app))]
    while todo:
        name, command = todo.pop()
        if isinstance(command, TyperGroup):
            todo += [(f"{name} {child}", below) for child, below in command.commands.items()]
        else:
            found.append((name, command.help or ""))
    return sorted(found)


def test_there_is_one_place_that_acknowledges() -> None:
    """Only the loop that committed a batch may acknowledge it: one call of `.ack(` in the code base."""
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "ack"
    ]
    assert len(calls) == 1, calls


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_tells_its_job_first(path: Path) -> None:
    """Every file begins with what it is."""
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_a_lock_names_no_machine(path: Path) -> None:
    """A lock file installs on any machine, from any index, and only what its hashes name."""
    text = path.read_text("utf-8")
    assert not MACHINE.findall(text)
    pins = re.findall(r"^[a-z0-9][^\n]*", text, re.MULTILINE)
    assert pins
    assert all(re.match(r"[a-z0-9-]+==\S+( ;.*)? \\$", pin) for pin in pins), (
        "every line is a pin with hashes"
    )


@pytest.mark.parametrize(("name", "text"), [pytest.param(*pair, id=pair[0]) for pair in helps()])
def test_a_command_shows_an_example(name: str, text: str) -> None:
    """Who asks a command for help sees how it is typed."""
    assert re.search("example|例", text, re.IGNORECASE), f"{name} has no example in its help"
