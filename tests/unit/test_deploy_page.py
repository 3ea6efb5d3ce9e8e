"""docs/deploy.md names only what there is: files, commands, units, services, secrets, ports."""

import re

import pytest

from tests.deployment import COMPOSE_FILES, DEPLOY, PAGE, ROOT, commands, compose, unknown_commands

TEXT = PAGE.read_text("utf-8")
CODE = "\n".join(
    re.findall(r"^ {4}.*$", TEXT, re.MULTILINE)
    + re.findall(r"`([^`\n]+)`", TEXT)
    + re.findall(r"```\w+\n(.*?)```", TEXT, re.DOTALL)
)
SERVICES = compose()["services"]


def test_its_commands_of_carebell_exist() -> None:
    """Whoever types what it shows gets no usage error."""
    assert not unknown_commands(CODE)
    shown = {name for name in commands() if f"carebell {name}" in CODE}
    assert shown >= {"db migrate", "doctor", "user add", "user token", "config sample"}


def test_its_files_exist() -> None:
    """Each file of the repository that it names is there; each secret is one that compose reads."""
    named = set(re.findall(r"(?<![\w.-])(?<!etc/)((?:deploy|ops|docs|grafana)/[\w./-]*\w)", CODE))
    secrets = {f"deploy/{secret['file']}" for secret in compose()["secrets"].values()}
    assert named
    assert {name for name in named - secrets if not (ROOT / name).exists()} == set()
    assert set(re.findall(r"(?<=-f )\S+", CODE)) == {path.name for path in COMPOSE_FILES}
    assert re.findall(r"\./([\w.]+)", CODE)
    assert all((DEPLOY / name).exists() for name in re.findall(r"(?<=\./)secrets\.sh", CODE))


def test_its_units_and_services_exist() -> None:
    """Each unit that it starts, stops or reads is shipped; each service is one of compose.yaml."""
    units = set(re.findall(r"carebell-(?:ingest|duty|maintain)(?:\.\w+)?", CODE))
    files = {name if "." in name else f"{name}.service" for name in units}
    assert len(files) == 3
    assert [name for name in files if not (DEPLOY / "systemd" / name).exists()] == []
    said = re.findall(
        r"docker compose (?:exec(?: -T)?|run --rm|kill --signal HUP|up --detach --wait) (\w+)", CODE
    )
    assert said
    assert set(said) <= set(SERVICES)


def test_its_addresses_are_published() -> None:
    """Each address that it sends people to is one that compose.yaml publishes."""
    published = {
        port.rpartition(":")[0] for service in SERVICES.values() for port in service.get("ports", [])
    }
    shown = set(re.findall(r"\| (?:http://)?(127\.0\.0\.1:\d+)", TEXT))
    assert shown == published - {"8883"}
    assert "port 8883 of all addresses" in TEXT


@pytest.mark.parametrize(
    "version", ["mosquitto 2.0.11", "TimescaleDB 2.19", "PostgreSQL 17", "Prometheus 2.42"]
)
def test_it_says_what_was_not_run(version: str) -> None:
    """It says plainly that containers and units were not run, and on which versions the rest was."""
    lines = " ".join(TEXT.split())
    assert "have been parsed, not run" in lines
    assert version in lines.split("## Containers")[0]
