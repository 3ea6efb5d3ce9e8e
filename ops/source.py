"""`carebell source`: list, show and check how vendors' messages are read."""

from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import BaseModel, TypeAdapter
from rich.console import Console

from ops.common import JsonOption, fail
from ops.listing import table
from schemas.errors import UsageError
from schemas.sources import mapping, samples
from schemas.sources.compiled import Sources

app = typer.Typer(no_args_is_help=True, help="List, show and check how vendors' messages are read.")

_LISTED: Final = ("file", "source", "title", "lane", "topics", "samples")

_File = Annotated[
    str, typer.Argument(metavar="FILE", help="A file of sources, or the name of a shipped one, as iw.")
]


class Shipped(BaseModel):
    """A source that ships, and how many samples its file has."""

    file: str
    source: str
    title: str
    lane: str
    topics: list[str]
    samples: int


class Checked(BaseModel):
    """What a check found: the sources of a file, its samples, and what differs."""

    file: str
    sources: list[str]
    samples: int
    differences: list[str]


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the mappings that ship: name them under `ingest.sources` to use them.

    Example: carebell source list
    """
    found = [
        Shipped(
            file=name,
            source=each.name,
            title=each.title,
            lane=each.lane,
            topics=list(each.topics),
            samples=len(_samples(samples.beside(name))),
        )
        for name in mapping.shipped()
        for each in mapping.load(mapping.texts([name]))
    ]
    if as_json:
        typer.echo(TypeAdapter(list[Shipped]).dump_json(found, indent=2))
    else:
        Console().print(table(f"{len(found)} sources", _LISTED, found))


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A shipped mapping, as `source list` names it.")
    ],
) -> None:
    """Print a shipped mapping word for word: to read it, or to make another one of it.

    Example: carebell source show alink > own.toml
    """
    if name not in mapping.shipped():
        fail(f"{name} does not ship: {', '.join(mapping.shipped())} do", 2)
    ((_, text),) = mapping.texts([name])
    typer.echo(text, nl=False)


@app.command()
def check(
    file: _File,
    samples_file: Annotated[
        Path | None,
        typer.Option("--samples", metavar="JSONL", help="[default: FILE with .jsonl, there or in samples/]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a file of sources, and which sample messages become something else than written.

    A line of samples is {"topic": ..., "payload": ..., "says": [...], "faults": [...], "ignored": ...};
    docs/devices explains both files. Exit code 1: something is wrong, or differs.

    Example: carebell source check own.toml --samples own.jsonl
    """
    if not mapping.file_of(file).is_file():
        fail(f"{file}: no such file, and none of that name ships", 2)
    if samples_file is not None and not samples_file.is_file():
        fail(f"{samples_file}: no such file", 2)
    try:
        sources = mapping.load(mapping.texts([file]))
        found = samples.read(samples_file) if samples_file else _samples(samples.beside(file))
    except UsageError as error:
        fail(str(error))
    differences = samples.differences(Sources(sources), found)
    names = [each.name for each in sources]
    if as_json:
        checked = Checked(file=file, sources=names, samples=len(found), differences=differences)
        typer.echo(checked.model_dump_json(indent=2))
    else:
        for sentence in differences:
            typer.echo(sentence)
        became = f"{len(differences)} differences" if differences else "in order"
        counted = f"{len(found)} samples" if found else "no samples beside it"
        typer.echo(f"{file}: {', '.join(names)}: {counted}: {became}")
    if differences:
        raise typer.Exit(1)


def _samples(path: Path) -> list[samples.Sample]:
    return samples.read(path) if path.is_file() else []
