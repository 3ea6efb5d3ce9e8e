"""The command `carebell`: one line per noun, nothing else.

A command is imported when it is asked for: the bridge does not wait for what only the desk needs.
"""

import importlib
import io
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

NOUNS: Final = {
    "demo": "ops.demo:demo",
    "serve": "ops.serve:serve",
    "ingest": "ops.ingest:ingest",
    "duty": "ops.duty:duty",
    "doctor": "ops.doctor:doctor",
    "record": "ops.record:record",
    "replay": "ops.record:replay",
    "alarm": "ops.alarm:app",
    "db": "ops.db:app",
    "dead": "ops.dead:app",
    "device": "ops.device:app",
    "drill": "ops.drill:drill",
    "notify": "ops.notify:app",
    "person": "ops.person:app",
    "region": "ops.region:app",
    "report": "ops.report:report",
    "rule": "ops.rule:app",
    "sim": "ops.sim:app",
    "source": "ops.source:app",
    "config": "ops.config:app",
    "token": "ops.token:app",
    "user": "ops.user:app",
}
"""Where each stands: a command, or an app of commands."""


class _Nouns(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a command as click has it
        module, _, attribute = NOUNS[name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, typer.Typer):
            group = get_group(found)
            group.name = name  # the help lists it by this
            return group
        alone = typer.Typer(add_completion=False)
        alone.command(name)(found)
        return get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(NOUNS)

    def __len__(self) -> int:
        return len(NOUNS)


class Carebell(TyperGroup):
    """The command whose nouns are imported when they are asked for."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - as Typer has it
        super().__init__(**settings)
        self.commands = _Nouns()  # type: ignore[assignment]  # it is only read

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - as click has it
        """Return all nouns, in their order."""
        return list(NOUNS)


app = typer.Typer(cls=Carebell, no_args_is_help=True, add_completion=False)


@app.callback()
def carebell() -> None:
    """From an elderly person's safety device to an alarm that somebody handles."""


def main() -> None:
    """Run the command line; what a terminal has no letter for is a question mark there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "aiomqtt"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    app()


if __name__ == "__main__":
    main()
