"""系统运行 on a real Prometheus that scrapes a real bridge."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grafana import DASHBOARDS
from ops.children import write_config
from ops.parts import Broker, Database
from schemas.settings import HistorySettings
from tests.installation import Installation, installation, until
from tests.mqtt import Client
from tests.prometheus import Prometheus, prometheus_server

RATE_INTERVAL = "10s"
"""What Grafana puts for $__rate_interval: here ten scrapes."""

FAULT = {"groups": [{"name": "test", "rules": [{"alert": "AlwaysFiring", "expr": "vector(1)"}]}]}
"""One fault that there always is, for the panel that shows them."""


def expressions() -> list[tuple[str, str]]:
    """Return every expression of the board with its legend."""
    board = json.loads((DASHBOARDS / "system.json").read_text(encoding="utf-8"))
    return [
        (target["expr"], target["legendFormat"]) for panel in board["panels"] for target in panel["targets"]
    ]


@contextmanager
def prometheus(installed: Installation) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes the bridge and knows one fault."""
    metrics, rules = installed.settings.metrics, installed.scratch / "rules.yml"
    rules.write_text(json.dumps(FAULT))
    job = {"job_name": "carebell", "static_configs": [{"targets": [f"{metrics.host}:{metrics.port}"]}]}
    config = {"rule_files": [str(rules)], "scrape_configs": [job]}
    with prometheus_server(installed.scratch / "prometheus", config) as found:
        yield found


def _publish(installed: Installation) -> None:
    """Let devices send what is stored, what is not, and the same again."""
    with Client(installed.broker.town_url) as device:
        for number in range(20):
            device.publish(f"carebell/v1/430602/BELL-{number}/heartbeat", '{"battery": 80}')
            device.publish(f"carebell/v1/430602/BELL-{number}/vitals", '{"hr": 70, "spo2": "?"}')
            device.publish(f"carebell/v1/430602/BELL-{number}/vitals", "no JSON")
            device.publish(f"carebell/v1/430602/BELL-{number}/sos")
            device.publish(f"carebell/v1/430602/BELL-{number}/activity", '{"ts": 1700000000000, "seq": 1}')


async def test_every_expression_gives_a_number(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> None:
    """Each has a result that is a number, and each label that its legend names."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as installed:
        # the server's own directory is inside a chroot, where its disk is not seen
        seen = installed.settings.model_copy(update={"history": HistorySettings(disk=str(scratch))})
        write_config(seen, installed.config)
        await installed.start()
        await _ask_everything(installed)


async def _ask_everything(installed: Installation) -> None:
    with prometheus(installed) as server:
        wanted = expressions()

        async def ask() -> list[str]:
            await asyncio.to_thread(_publish, installed)
            return [expr for expr, legend in wanted if not await _answers(server, expr, legend)]

        assert await until(ask, lambda unanswered: not unanswered) == []


async def _answers(server: Prometheus, expression: str, legend: str) -> bool:
    found = await server.series(expression.replace("$__rate_interval", RATE_INTERVAL))
    labels = set(re.findall(r"\{\{(\w+)\}\}", legend))
    numbers = [each for each in found if each["value"][1] not in {"NaN", "+Inf", "-Inf"}]
    return bool(numbers) and all(labels <= set(each["metric"]) for each in numbers)
