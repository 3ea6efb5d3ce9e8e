"""`make bench` in a smoke run: every part measures something, and says so in the table and in the JSON."""

import asyncio
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contest import PEERS
from bench.machine import NotMeasuredError, py_spy
from bench.parts import CEILINGS, DESKS, EMBEDDED, FLEETS, LINE, ORDER, SOS, STEPS
from bench.steps import NAMES
from ops.parts import find_mosquitto
from tests.conftest import skip_service

ROOT = Path(__file__).parents[2]
WITHIN = 150.0  # a smoke run alone takes under a minute; beside other tests it may take longer


async def _quick(results: Path) -> tuple[str, dict[str, Any]]:
    """Run the smoke run; return what it printed and its report."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench", "--quick", "--results", str(results)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(WITHIN):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    (report,) = results.glob("*.json")  # noqa: ASYNC240 - a small directory
    return output.decode(), json.loads(report.read_text("utf-8"))


def _numbers(figures: Any) -> list[float]:  # noqa: ANN401 - JSON can be anything
    """Return every number in a part's figures."""
    if isinstance(figures, dict):
        return [number for each in figures.values() for number in _numbers(each)]
    if isinstance(figures, list):
        return [number for each in figures for number in _numbers(each)]
    return [float(figures)] if isinstance(figures, int | float) and not isinstance(figures, bool) else []


@pytest.mark.usefixtures("timescale_server")  # skips where there is none
async def test_every_part_of_the_bench_runs_and_nothing_is_lost_in_it(tmp_path: Path) -> None:
    """Each part has figures, all of them numbers; line and peers store each message once."""
    if find_mosquitto() is None:
        skip_service("mosquitto", "not installed: apt-get install mosquitto")
    output, report = await _quick(tmp_path)
    assert list(report["parts"]) == list(ORDER)
    missing = {name: part["not_measured"] for name, part in report["parts"].items() if "not_measured" in part}
    try:
        py_spy()
    except NotMeasuredError:
        assert "py-spy" in missing.pop(STEPS)
    assert missing == {}
    parts = report["parts"]
    for name in ORDER:
        assert name in output
        assert all(math.isfinite(number) for number in _numbers(parts[name]))
    for carried in (parts[LINE], *(parts[name]["best"] for name in PEERS), parts[EMBEDDED]["best"]):
        assert (carried["lost"], carried["double"]) == (0, 0)
        assert carried["published"] > 0
        assert carried["bridge_us"] > 0
    assert parts[CEILINGS]["broker"]["stored_rate"] > 0
    assert all(copied["rate"] > 0 for copied in parts[CEILINGS]["copy"])
    assert [parts[SOS][load]["n"] for load in ("idle", "loaded")] == [report["scale"]["presses"]] * 2
    at_desks, scale = parts[DESKS], report["scale"]
    assert (at_desks["streams"]["n"], at_desks["ended"]) == (scale["desks"] * scale["desk_presses"], 0)
    assert at_desks["page"] is None or at_desks["page"]["n"] == scale["desk_presses"]
    assert [fleet["devices"] for fleet in parts[FLEETS]["fleets"]] == report["scale"]["fleets"]
    assert report["machine"]["cores"] == os.cpu_count()
    assert set(parts[STEPS].get("steps", {})) <= set(NAMES)
