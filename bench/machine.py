"""What the machine and its processes tell: CPU, memory, versions. Read from /proc, which disturbs nobody."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from ops.parts import find_mosquitto

RESULTS: Final = Path(__file__).with_name("results")
TICKS: Final = os.sysconf("SC_CLK_TCK")
MIB: Final = 1024
"""KiB in one."""

PACKAGES: Final = ("carebell", "iotcore", "mqtt5", "numpy", "paho-mqtt", "psycopg", "pydantic")


class NotMeasuredError(Exception):
    """A figure cannot be had; the message says why, and the others go on."""


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its living and finished children."""
    return sum(_own_cpu(each) for each in _family(pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:  # a thread that has just ended
            continue
        for child in found:
            yield from _family(int(child))


def _own_cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS


def is_running(pid: int) -> bool:
    """Say whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def memory_mib(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process, now and at its peak, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    now, peak = (re.search(rf"{name}:\s+(\d+) kB", text) for name in ("VmRSS", "VmHWM"))
    if now is None or peak is None:
        raise NotMeasuredError(f"process {pid} has ended")
    return round(int(now[1]) / MIB, 1), round(int(peak[1]) / MIB, 1)


def described() -> dict[str, Any]:
    """Name what figures depend on: cores, memory, and the versions of the parts on this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "mosquitto": mosquitto_version(),
        **{name: version(name) for name in PACKAGES},
    }


def mosquitto_version() -> str:
    """Return the version of mosquitto, empty where there is none."""
    program = find_mosquitto()
    if program is None:
        return ""
    said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\S+)", said)
    return found[1] if found else ""


def py_spy() -> str:
    """Find the sampling profiler; raise NotMeasuredError where there is none."""
    places = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    program = shutil.which("py-spy", path=places)
    if program is None:
        raise NotMeasuredError("py-spy is not installed: .venv/bin/pip install py-spy")
    return program
