"""The alerts about the line itself: promtool judges the files, every alert fires in a test of its own.

A real Prometheus on a real bridge sees each series that they ask for.
"""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ops.children import write_config
from ops.parts import Broker, Database
from schemas.alarms import Severity
from schemas.settings import HistorySettings
from tests.conftest import skip_service
from tests.deployment import DEPLOY, PAGE, RULES, compose, read_yaml, unknown_commands
from tests.installation import Installation, installation, until
from tests.prometheus import Prometheus, prometheus_server

PROMETHEUS = DEPLOY / "prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTS: list[dict[str, Any]] = read_yaml(RULES)["groups"][0]["rules"]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def promtool(*arguments: str) -> str:
    """Run promtool and return what it says; fail with what it found."""
    if shutil.which("promtool") is None:
        skip_service("promtool", "not installed: run tests/services.sh install")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_takes_the_files() -> None:
    """Prometheus reads its configuration, and the rules that it names."""
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: object) -> None:
    """Each fires on its fault, not just below or just before, and none on a good day."""
    promtool("test", "rules", str(path))


def test_every_alert_is_seen_to_fire_and_to_be_quiet() -> None:
    """No alert is without a test in which it fires and, at another moment, nothing does."""
    seen: dict[str, set[bool]] = {}
    for block in read_yaml(PROMETHEUS / "tests/faults.yml")["tests"]:
        name = block["name"].split(",")[0]
        for look in block["promql_expr_test"]:
            fired = {sample["labels"] for sample in look.get("exp_samples", [])}
            assert all(f'alertname="{name}"' in labels for labels in fired), block["name"]
            seen.setdefault(name, set()).add(bool(fired))
    assert {alert["alert"] for alert in ALERTS} == set(seen)
    assert [name for name, looks in seen.items() if looks != {True, False}] == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(alert: dict[str, Any]) -> None:
    """Chinese for duty staff, English for ops, commands that there are; severities are those of alarms."""
    assert alert["labels"]["severity"] in set(Severity)
    assert CHINESE.search(alert["annotations"]["summary"])
    runbook = alert["annotations"]["runbook"]
    assert runbook.endswith(".")
    assert not unknown_commands(runbook)
    named = set(re.findall(r"Carebell\w+", runbook))
    assert named <= {each["alert"] for each in ALERTS}


def test_the_page_names_the_prometheus_that_judged() -> None:
    """Which version the alerts were tried on is what docs/deploy.md says."""
    found = re.search(r"version (\d+\.\d+)", promtool("--version"))
    assert found
    assert f"on Prometheus {found[1]}" in " ".join(PAGE.read_text("utf-8").split())


# ------------------------------------------------------------------------------------------ on a real bridge

SELECTOR = re.compile(r"\b(?:carebell_\w+|up|process_\w+)(?:\{[^}]*\})?")


@pytest.fixture
async def bridge(fresh_mosquitto: Broker, timescale: Database, scratch: Path) -> AsyncIterator[Installation]:
    """Give a bridge on a database that was maintained, whose disk can be seen."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as found:
        history = HistorySettings(disk=str(scratch))
        write_config(found.settings.model_copy(update={"history": history}), found.config)
        code, said, errors = await found.carebell("db", "maintain")
        assert code == 0, said + errors
        await found.start()
        yield found


@pytest.fixture
async def prometheus(bridge: Installation, scratch: Path) -> AsyncIterator[Prometheus]:
    """Give a Prometheus with the shipped configuration and options, which scrapes the bridge."""
    config = read_yaml(PROMETHEUS / "prometheus.yml")
    config["rule_files"] = [str(PROMETHEUS / pattern) for pattern in config["rule_files"]]
    address = f"127.0.0.1:{bridge.settings.metrics.port}"
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [address]
    service = compose()["services"]["prometheus"]
    options = " ".join(service["command"])
    options = options.replace("/etc/prometheus/", f"{scratch}/").replace("=/prometheus", f"={scratch}/tsdb")
    ready = service["healthcheck"]["test"][-1].removeprefix("http://127.0.0.1:9090")
    with prometheus_server(scratch, config, options, ready) as found:
        yield found


async def test_the_alerts_see_what_the_bridge_exports(prometheus: Prometheus, bridge: Installation) -> None:
    """Each series that an alert asks for is there from the start; none stirs until the bridge is gone."""
    rules = read_yaml(RULES)["groups"][0]["rules"]
    asked = {selector for rule in rules for selector in SELECTOR.findall(rule["expr"])}
    assert await until(lambda: prometheus.series('up{job="carebell"} == 1'), bool)

    async def missing() -> set[str]:
        return {selector for selector in asked if not await prometheus.series(selector)}

    assert await until(missing, lambda found: not found) == set()
    states = await until(
        prometheus.states, lambda states: {health for health, _ in states.values()} == {"ok"}
    )
    assert {name: state for name, state in states.items() if state != ("ok", "inactive")} == {}
    await bridge.kill()
    states = await until(prometheus.states, lambda states: states["CarebellBridgeDown"] == ("ok", "pending"))
    assert {name for name, state in states.items() if state != ("ok", "inactive")} == {"CarebellBridgeDown"}
