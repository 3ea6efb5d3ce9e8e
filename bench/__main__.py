"""`make bench`: measure this machine against the targets of the design; print one table, write one JSON.

Load generator, broker, database and bridge share this machine's cores: let nothing else run. A part that
cannot be measured says why, and the others go on.
"""

import argparse
import asyncio
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.machine import RESULTS, described
from bench.parts import Bench
from bench.scale import QUICK, Scale
from bench.table import table

SIZES: Final = ("rows", "devices", "seconds", "presses")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=int, help="rows of vitals that are there before (20,000,000)")
    parser.add_argument("--devices", type=int, help="devices of the load and the history (100,000)")
    parser.add_argument("--seconds", type=float, help="length of the load that counts (60)")
    parser.add_argument("--presses", type=int, help="SOS presses, idle and again beside a load (1,000)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the JSON")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    arguments = parser.parse_args()
    given = {name: value for name, value in vars(arguments).items() if name in SIZES and value is not None}
    scale = replace(QUICK if arguments.quick else Scale(), **given)
    console = Console(width=140)
    began = datetime.now(UTC)
    bench = Bench(scale, console)
    asyncio.run(bench.run())
    machine = described() | bench.versions
    console.print(
        table(bench.parts, f"{began:%Y-%m-%d}, {machine['cores']} cores, carebell {machine['carebell']}")
    )
    report = {
        "at": began.isoformat(),
        "quick": arguments.quick,
        "machine": machine,
        "scale": asdict(scale),
        "settings": bench.settings,
        "parts": {part.name: part.figures for part in bench.parts},
    }
    arguments.results.mkdir(exist_ok=True)
    path = arguments.results / f"{began:%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps(report, indent=2, default=str))
    console.print(f"written to {path}")


if __name__ == "__main__":
    main()
