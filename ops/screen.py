"""What `carebell demo` shows while it runs: figures and the newest open alarms."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families
from psycopg import AsyncConnection
from rich.console import Group
from rich.table import Table
from rich.text import Text

from device_sims.publish import Progress
from duty import alarms
from schemas.alarms import HANDLING_ZH, KINDS, SEVERITY_ZH, Handling, Severity
from schemas.settings import Settings
from store import sql

SHOWN: Final = 12
"""How many open alarms are shown."""

_QUERIES = sql.load("demo")


@dataclass
class Screen:
    """What the live table shows; `watch` fills it."""

    settings: Settings
    desk: str
    progress: Progress = field(default_factory=lambda: Progress(0))
    open_alarms: Sequence[alarms.Alarm] = ()
    counts: dict[str, int] = field(default_factory=dict)
    latencies: tuple[float | None, float | None] = (None, None)
    metrics: dict[str, float] = field(default_factory=dict)
    rate: float = 0.0

    def __rich__(self) -> Group:
        """Draw the figures and the newest open alarms."""
        return Group(_figures(self), _alarms(self.open_alarms))


async def watch(screen: Screen, connection: AsyncConnection) -> None:
    """Refresh the figures each second."""
    url = f"http://{screen.settings.metrics.host}:{screen.settings.metrics.port}/metrics"
    async with httpx.AsyncClient(timeout=5) as client:
        while True:
            before = screen.metrics.get("carebell_messages_received_total", 0.0)
            screen.metrics = _sums((await client.get(url)).text)
            screen.rate = screen.metrics.get("carebell_messages_received_total", 0.0) - before
            screen.open_alarms = await alarms.list_alarms(connection, "open", limit=SHOWN)
            rows = await (await connection.execute(_QUERIES["counts"])).fetchall()
            screen.counts = dict(rows)
            row = await (
                await connection.execute(_QUERIES["latencies"], _clock_parameters(screen))
            ).fetchone()
            screen.latencies = (row[0], row[1]) if row else (None, None)
            await asyncio.sleep(1.0)


def _clock_parameters(screen: Screen) -> dict[str, float]:
    clock = screen.settings.clock
    return {"origin": clock.origin, "start": clock.start, "speed": clock.speed}


def _sums(text: str) -> dict[str, float]:
    """Sum each metric over its labels, but for the stage of the line, which stands behind its name."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = f"{sample.name} {sample.labels.get('stage', '')}".rstrip()
            sums[name] = sums.get(name, 0.0) + sample.value
    return sums


def _figures(screen: Screen) -> Table:
    seen_metrics = screen.metrics
    commits = seen_metrics.get("carebell_stage_seconds_count commit", 0.0)
    mean = seen_metrics.get("carebell_stage_seconds_sum commit", 0.0) / commits * 1000 if commits else 0.0
    p50, p99 = screen.latencies
    table = Table.grid(padding=(0, 2))
    table.add_row("desk 值班台", Text(screen.desk, style="bold cyan", overflow="fold"))
    table.add_row("town's clock", f"runs {screen.settings.clock.speed:g} times as fast as ours")
    of_all = f" of {screen.progress.total}" if screen.progress.total else ""
    table.add_row("messages", f"{screen.progress.sent}{of_all} sent, {screen.rate:.0f}/s received")
    table.add_row(
        "accounts",
        ", ".join(
            f"{name} {seen_metrics.get(f'carebell_messages_{name}_total', 0):.0f}"
            for name in ("received", "stored", "duplicate", "dead", "ignored")
        ),
    )
    table.add_row("alarms", f"{screen.counts.get('open', 0)} open, {screen.counts.get('closed', 0)} closed")
    table.add_row("life alarm, received to committed", f"p50 {_ms(p50)}, p99 {_ms(p99)}")
    table.add_row("transaction", f"mean {mean:.1f} ms")
    return table


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{float(seconds) * 1000:.0f} ms"


def _alarms(found: Sequence[alarms.Alarm]) -> Table:
    table = Table("级别", "类型", "老人", "设备", "次数", "状态", title="待处理告警", title_justify="left")
    for alarm in found:
        table.add_row(
            SEVERITY_ZH[Severity(alarm.severity)],
            KINDS[alarm.kind].zh,
            Text(alarm.person),
            Text(alarm.device),
            str(alarm.count),
            HANDLING_ZH[Handling(alarm.handling)],
        )
    return table
