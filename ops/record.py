"""`carebell record` and `carebell replay`: what the line judged, kept word for word, and judged again."""

import json
from difflib import unified_diff
from pathlib import Path
from typing import Annotated, Final

import typer

from ingest import recording
from ingest import replay as replaying
from ingest.replay import Cut, Replay, Row
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.ingest import run_bridge
from rules import ruleset
from schemas.errors import CarebellError, UsageError
from schemas.settings import Settings
from store import recording as recorded
from store.dead_desk import is_bridge_there
from store.recording import Alarms, Marks

MOST_SHOWN: Final = 40
"""Lines of a difference."""


def record(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write; gone on with if it fits.")
    ],
    config: ConfigOption = None,
) -> None:
    """Run the bridge, as `carebell ingest` does, and write down all that it judges; Ctrl-C ends both.

    Under `carebell serve` set ingest.record instead. The file holds people's data: only its owner can read
    it.

    Example: carebell record --out stream.jsonl
    """
    settings = load_settings(config)
    ingest = settings.ingest.model_copy(update={"record": str(out.absolute())})
    run(_record(settings.model_copy(update={"ingest": ingest})))


async def _record(settings: Settings) -> None:
    async with connected(settings) as connection:
        if await is_bridge_there(connection):
            raise CarebellError("a bridge runs already: end it, or let it record by ingest.record")
    await run_bridge(settings)


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording.")],
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="FILE", help="Judge by these rules. [default: the recorded]"),
    ] = None,
    cut: Annotated[
        str, typer.Option("--cut", metavar="N|random", help="Readings in a batch. [default: as recorded]")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="The same seed cuts the same way.")] = 1,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare with the alarms that there were.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Judge a recording again, in memory, and print the alarms that come of it, one a line.

    With --compare only what differs is printed: from the alarms in the recording, or from those in the
    database if the recording was broken off. Exit code 1: something differs.

    Example: carebell replay stream.jsonl --cut random --seed 3 --compare
    """
    if compare and rules:
        fail("--compare is with what the recorded rules did: leave --rules out", 2)
    try:
        start, (last, _) = recording.first_line(file), recording.last_line(file)
        alarms = _alarms(last) if last.get("is") == "end" else None
        if compare and alarms is None:
            alarms = run(_in_database(load_settings(config), Marks(*start["marks"]), last["n"]))
        closed = replaying.closings(alarms.rows, alarms.closed) if alarms and not rules else None
        player = Replay(ruleset.load(rules) if rules else None, _cut(cut, seed), closed)
        rows = player.play(recording.read(file, alarms.batch if alarms else None))
    except UsageError as error:
        fail(str(error), 2)
    except CarebellError as error:
        fail(str(error))
    if alarms is None:
        typer.echo("carebell: the recording was broken off: what staff had closed is not in it", err=True)
    typer.echo(
        f"carebell: {player.messages} messages, {player.readings} readings, {player.ticks} ticks:"
        f" {len(rows)} alarms",
        err=True,
    )
    if alarms and compare:
        _compare(alarms.rows, rows, as_json=as_json)
    elif as_json:
        typer.echo(
            json.dumps([json.loads(line) for line in replaying.lines(rows)], ensure_ascii=False, indent=2)
        )
    else:
        typer.echo("".join(f"{line}\n" for line in replaying.lines(rows)), nl=False)


def _cut(text: str, seed: int) -> Cut | None:
    if not text:
        return None
    if text == "random":
        return replaying.at_random(seed)
    if not text.isdecimal() or not int(text):
        fail(f"--cut {text}: it is a number of readings, or random", 2)
    return replaying.every(int(text))


def _alarms(end: recording.Entry) -> Alarms:
    return Alarms(end["batch"], end["alarms"], dict(end["closed"]))


async def _in_database(settings: Settings, marks: Marks, number: int) -> Alarms:
    """Return the alarms of a recording that was broken off; raises CarebellError if there are later ones."""
    async with connected(settings) as connection:
        found = await recorded.alarms(connection, marks)
    if found.batch not in (number - 1, number):
        raise CarebellError(
            f"the recording was broken off at batch {number}, and the database is at {found.batch}:"
            " there is nothing to compare with"
        )
    return found


def _compare(there: list[Row], here: list[Row], *, as_json: bool) -> None:
    """Print what differs; exit with 1 if anything does."""
    before, after = replaying.lines(there), replaying.lines(here)
    differences = list(unified_diff(before, after, "recorded", "replayed", lineterm="", n=0))
    if as_json:
        typer.echo(json.dumps({"equal": not differences, "alarms": len(after), "differences": differences}))
    elif differences:
        typer.echo("\n".join(differences[:MOST_SHOWN]))
    else:
        typer.echo(f"equal: {len(after)} alarms")
    if differences:
        raise typer.Exit(1)
