"""carebell's own commands as child processes: the demo and the tests run the real command line."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from schemas.errors import FatalError
from schemas.settings import Settings

READY_WITHIN: Final = 60.0
"""Seconds that a child may take until it answers."""


def write_config(settings: Settings, path: Path) -> Path:
    """Write settings as the configuration file that a child reads, for its owner's eyes only."""
    lines: list[str] = []
    for section, values in settings.model_dump().items():
        tables = {key: value for key, value in values.items() if isinstance(value, dict)}
        lines.append(f"[{section}]")
        lines += [f"{key} = {_toml(value)}" for key, value in values.items() if key not in tables]
        for key, table in tables.items():
            lines.append(f"[{section}.{key}]")
            lines += [f"{_toml(name)} = {_toml(value)}" for name, value in table.items()]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _toml(value: object) -> str:
    """Write a text, number or boolean as TOML, which for these is JSON."""
    return json.dumps(value, ensure_ascii=False)


@asynccontextmanager
async def child(
    *arguments: str, ready: str, log: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `carebell <arguments>` until the end of the block; enter it when the URL `ready` answers 200.

    Its output goes to `log`, or nowhere. Raises FatalError with its last words if it ends before.
    """
    output = log.open("ab") if log else None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAREBELL_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output or asyncio.subprocess.DEVNULL,
        stderr=output or asyncio.subprocess.DEVNULL,
        env=environment,
    )
    try:
        await _until_ready(process, arguments[0], ready, log)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        if output:
            output.close()


async def _until_ready(process: asyncio.subprocess.Process, name: str, url: str, log: Path | None) -> None:
    async with httpx.AsyncClient(timeout=1.0) as client:
        for _ in range(int(READY_WITHIN / 0.1)):
            if process.returncode is not None:
                break
            try:
                if (await client.get(url)).is_success:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
    raise FatalError(f"`carebell {name}` did not get ready: {_last_words(log)}")


def _last_words(log: Path | None) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log else []
    return " / ".join(lines[-5:]) or "it said nothing"
