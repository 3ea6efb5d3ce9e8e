"""A Prometheus of a test's own, run as a part and asked over HTTP."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from ops.parts import free_port
from ops.parts.common import running
from ops.parts.process import Process
from tests.conftest import skip_service


class Prometheus:
    """A Prometheus of our own, asked over HTTP."""

    def __init__(self, url: str) -> None:
        """Remember where it is."""
        self.url = url

    async def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - each page has a shape of its own
        """Return the data of a page of its API."""
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(f"{self.url}/api/v1/{path}", params=parameters)
            assert answer.is_success, f"{parameters}: {answer.text}"
            return answer.json()["data"]

    async def series(self, query: str) -> list[dict[str, Any]]:
        """Return what a query finds now."""
        found: list[dict[str, Any]] = (await self.ask("query", query=query))["result"]
        return found

    async def states(self) -> dict[str, tuple[str, str]]:
        """Return of each alert its health and its state."""
        (group,) = (await self.ask("rules"))["groups"]
        return {rule["name"]: (rule["health"], rule["state"]) for rule in group["rules"]}


@contextlib.contextmanager
def prometheus_server(
    home: Path, config: dict[str, Any], options: str = "", ready: str = "/-/ready"
) -> Iterator[Prometheus]:
    """Run a Prometheus with this configuration, which scrapes and judges each second; skip without one.

    `options` are its own, and `ready` is the page that answers as soon as it is up.
    """
    if shutil.which("prometheus") is None:
        skip_service("prometheus", "not installed: run tests/services.sh install")
    home.mkdir(exist_ok=True)
    paced = {**config, "global": {"scrape_interval": "1s", "evaluation_interval": "1s"}}
    (home / "prometheus.yml").write_text(yaml.safe_dump(paced), "utf-8")
    options = options or f"--config.file={home}/prometheus.yml --storage.tsdb.path={home}/tsdb"
    address = f"127.0.0.1:{free_port()}"
    process = Process(
        ["prometheus", *options.split(), f"--web.listen-address={address}"],
        lambda: _answers(f"http://{address}{ready}"),
        home / "prometheus.log",
    )
    with running(process):
        yield Prometheus(f"http://{address}")


def _answers(page: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(page).is_success
    return False
