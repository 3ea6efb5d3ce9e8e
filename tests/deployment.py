"""What deploy/ holds, as the tests read it: services, mounts, commands, pages that must answer."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import typer.main
import yaml
from typer.core import TyperGroup

from tests.conftest import skip_service

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus/rules/carebell.yml"
PAGE = ROOT / "docs/deploy.md"
COMPOSE_FILES = (DEPLOY / "compose.yaml", DEPLOY / "compose.tls.yaml")


def read_yaml(path: Path) -> Any:  # noqa: ANN401 - YAML may hold anything
    """Read a YAML file."""
    return yaml.safe_load(path.read_text("utf-8"))


def compose() -> dict[str, Any]:
    """Return compose.yaml with what compose.tls.yaml adds."""
    found: dict[str, Any]
    found, added = map(read_yaml, COMPOSE_FILES)
    found["secrets"] |= added["secrets"]
    for name, service in added["services"].items():
        for key, values in service.items():
            found["services"][name].setdefault(key, []).extend(values)
    return found


def mounts(service: dict[str, Any], secrets: dict[str, Any]) -> dict[str, str]:
    """Return what a service finds where: path inside -> file or directory below deploy/, or named volume."""
    found = {}
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        found[target] = source
    for each in service.get("secrets", []):
        name, target = (each, each) if isinstance(each, str) else (each["source"], each["target"])
        found[str(Path("/run/secrets", target))] = secrets[name]["file"]
    return found


def make_secrets(directory: Path) -> Path:
    """Let deploy/secrets.sh make its secrets below another directory; return where they are."""
    shutil.copy(DEPLOY / "secrets.sh", directory)
    run_secrets(directory)
    return directory / "secrets"


def run_secrets(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the copy of deploy/secrets.sh that lies in a directory."""
    if shutil.which("openssl") is None:
        skip_service("openssl", "not installed: run tests/services.sh install")
    done = subprocess.run(
        [str(directory / "secrets.sh"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1, 2}, done.stderr
    return done


def dockerfile() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", "").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def instructions(word: str) -> list[str]:
    """Return the arguments of each instruction of one kind."""
    return [rest for each, rest in dockerfile() if each == word]


def health_command() -> list[str]:
    """Return the command of the Dockerfile's health check."""
    (check,) = instructions("HEALTHCHECK")
    command: list[str] = json.loads(check.partition(" CMD ")[2])
    return command


def copied() -> list[str]:
    """Return the files and directories of the repository that the Dockerfile copies."""
    return [
        source
        for rest in instructions("COPY")
        if not rest.startswith("--from")
        for source in shlex.split(rest)[:-1]
    ]


def commands() -> set[str]:
    """Return every command of carebell, without its first word."""
    found: set[str] = set()
    todo = [("", typer.main.get_command(importlib.import_module("ops.cli").app))]
    while todo:
        name, command = todo.pop()
        if isinstance(command, TyperGroup):
            todo += [(f"{name} {child}".strip(), below) for child, below in command.commands.items()]
        else:
            found.add(name)
    return found


def unknown_commands(text: str) -> set[str]:
    """Return what a text calls as a command of carebell and is none."""
    known = commands()
    said = re.findall(r"(?<![\w=/-])carebell (?!carebell)(?=([a-z]+(?: [a-z]+)?))", text)
    return {words for words in said if not {words, words.split(maxsplit=1)[0]} & known}
