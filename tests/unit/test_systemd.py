"""The units: systemd understands every line, and what they run and name exists."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.conftest import skip_service
from tests.deployment import DEPLOY, PAGE, ROOT, commands

UNITS = [path for path in sorted((DEPLOY / "systemd").glob("*.*")) if path.is_file()]
COMMON = DEPLOY / "systemd/carebell-.service.d/common.conf"
PROGRAM = "/opt/carebell/.venv/bin/carebell"


@pytest.fixture
def installed_units(tmp_path: Path) -> Path:
    """Give a directory with the units as installed, but with a program that this machine has."""
    shutil.copytree(DEPLOY / "systemd", tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*.service"):
        path.write_text(path.read_text("utf-8").replace(PROGRAM, sys.executable), "utf-8")
    return tmp_path


def verify(directory: Path) -> str:
    """Return what systemd has to say against the units of a directory."""
    if shutil.which("systemd-analyze") is None:
        skip_service("systemd-analyze", "not installed: run tests/services.sh install")
    units = [str(path) for path in directory.glob("carebell-*.*") if path.is_file()]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_systemd_understands_every_line(installed_units: Path) -> None:
    """It knows every key and value, also those that all units share."""
    assert verify(installed_units) == ""
    shared = installed_units / "carebell-.service.d/common.conf"
    shared.write_text(shared.read_text("utf-8").replace("ProtectHome=yes", "ProtectHouse=yes"), "utf-8")
    assert "ProtectHouse" in verify(installed_units), "or this test would see nothing of the shared lines"


def test_the_units_run_commands_of_carebell() -> None:
    """Bridge, desk and maintenance: commands that exist, of the program that `make setup` makes."""
    runs = {
        path.stem: line
        for path in UNITS
        for line in re.findall(r"^ExecStart=(.*)$", path.read_text("utf-8"), re.MULTILINE)
    }
    assert runs == {
        "carebell-duty": f"{PROGRAM} duty",
        "carebell-ingest": f"{PROGRAM} ingest",
        "carebell-maintain": f"{PROGRAM} db maintain",
    }
    assert {line.removeprefix(f"{PROGRAM} ") for line in runs.values()} <= commands()
    assert (DEPLOY / "systemd/carebell-maintain.timer").exists()
    assert "BIN := .venv/bin" in (ROOT / "Makefile").read_text("utf-8")


def test_bridge_and_desk_start_again_for_ever() -> None:
    """However they end and how often; neither needs the database or the broker to be up (P8)."""
    for name in ("carebell-ingest", "carebell-duty"):
        lines = (DEPLOY / f"systemd/{name}.service").read_text("utf-8").splitlines()
        assert {"Restart=always", "StartLimitIntervalSec=0", "WantedBy=multi-user.target"} <= set(lines)
    text = "".join(path.read_text("utf-8") for path in [*UNITS, COMMON])
    assert not re.search(r"^(Requires|BindsTo|Requisite)=", text, re.MULTILINE)
    assert "After=network-online.target postgresql.service mosquitto.service" in text.splitlines()


def test_the_configuration_of_the_page_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that docs/deploy.md shows loads, and is the one that the units read."""
    page = PAGE.read_text("utf-8")
    (shown,) = re.findall(r"`(/\S+\.toml)` \(.*?\):\n\n```toml\n", page)
    toml = "\n".join(re.findall(r"```toml\n(.*?)```", page, re.DOTALL))
    assert f"CAREBELL_CONFIG={shown} " in COMMON.read_text("utf-8")
    monkeypatch.delenv("CAREBELL_CONFIG", raising=False)
    path = tmp_path / "carebell.toml"
    path.write_text(toml, "utf-8")
    settings = Settings.load(path)
    assert settings.database.url == "postgresql://carebell@/carebell?host=/run/postgresql"
    assert settings.broker.password_file in page.split("```toml")[0]
