"""`carebell device try`: what one message becomes, step by step, without broker and database."""

from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from pydantic import BaseModel
from rich.console import Console

from ingest.decode import Decoder
from ingest.registry import Closed, Registry
from ops.common import ConfigOption, JsonOption, fail, load_settings
from ops.listing import printable, table
from schemas.clock import to_datetime
from schemas.errors import UsageError
from schemas.readings import ABSENT, VALUES, Batch, Delivery, Event, Quality
from schemas.settings import Settings
from schemas.sources import mapping, samples
from schemas.sources.compiled import Reader, Sources
from schemas.sources.explain import explain
from schemas.topics import PREFIX, Channel, Lane

_STEPS: Final = ("what", "where", "found", "became")
_RECORDS: Final = ("device", "channel", "event", "fields", "late", "state", "on", "over", "readable")
_ROWS: Final = ("device", "channel", "event", "ts", "quality", "values", "detail", "alive", "stored")

_Topic = Annotated[str, typer.Option("--topic", metavar="T", help="The topic it comes on.")]
_Payload = Annotated[
    str, typer.Option("--payload", metavar="P", help="Its text, @FILE for a file's bytes, or hex:0a1b...")
]
_Source = Annotated[
    list[str] | None,
    typer.Option(
        "--source", metavar="FILE", help="A file of sources or a shipped one; may be given again. "
        "[default: ingest.sources, else all that ship]"
    ),
]  # fmt: skip


class Step(BaseModel):
    """What was sought, where, what stood there, and what it became; `what` begins with the record."""

    what: str
    where: str
    found: str
    became: str


class Record(BaseModel):
    """What the message says, in carebell's words: see docs/devices."""

    device: str
    channel: str
    event: str = ""
    fields: dict[str, Any]
    late: bool = False
    state: str = ""
    on: bool = True
    over: str = ""
    readable: bool = True


class Row(BaseModel):
    """A row of the history, as if the message were received now."""

    device: str
    channel: str
    event: str
    ts: str
    quality: str
    values: dict[str, Any]
    detail: dict[str, Any]
    alive: bool
    stored: bool


class Fault(BaseModel):
    """Something that cannot be used: the message goes to the dead letters, with the rest stored."""

    reason: str
    detail: str


class Tried(BaseModel):
    """What a message becomes."""

    topic: str
    source: str
    filter: str
    lane: str
    ignored: str
    steps: list[Step]
    records: list[Record]
    rows: list[Row]
    faults: list[Fault]


def try_(
    topic: _Topic,
    payload: _Payload,
    source: _Source = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show step by step what a message would become: nothing is sent, nothing is stored.

    Every device counts as registered. Exit code 1: no source takes the topic, or something is at fault.

    Example: carebell device try --topic iw/hb --payload '{"IMEI": "861234050000017", "battery": 67}'
    """
    settings = load_settings(config)
    try:
        sources = Sources(mapping.load(mapping.texts(source or settings.ingest.sources or mapping.shipped())))
        found = _tried(sources, settings, topic, _bytes(payload))
    except UsageError as error:
        fail(str(error), 2)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found)
    if found.faults or not found.source:
        raise typer.Exit(1)


def _bytes(payload: str) -> bytes:
    """Return what is sent; raises UsageError if it cannot be read."""
    try:
        if payload.startswith("@"):
            return Path(payload[1:]).read_bytes()
        if payload.startswith("hex:"):
            return bytes.fromhex(payload[4:])
        return payload.encode()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--payload {payload[:80]}: {said}") from error


def _tried(sources: Sources, settings: Settings, topic: str, payload: bytes) -> Tried:
    now = settings.clock.clock().now()
    delivery = Delivery(topic, payload, 0, duplicate=False, retained=False, received_at=now)
    batch, names = _decoded(sources, settings, delivery)
    taken = sources.find(topic)
    tried = Tried(
        topic=topic,
        source=PREFIX + "#" if topic.startswith(PREFIX) else "",
        filter="",
        lane="",
        ignored=", ".join(batch.ignored),
        steps=[],
        records=[],
        rows=_rows(batch, names),
        faults=[Fault(reason=each.reason, detail=each.detail) for each in batch.dead],
    )
    return _with_source(tried, *taken, delivery, settings.ingest.max_payload) if taken else tried


def _with_source(
    tried: Tried, reader: Reader, levels: list[str], delivery: Delivery, max_payload: int
) -> Tried:
    source = reader.source
    said = reader.hear(levels, delivery, max_payload)
    steps = explain(reader, levels, delivery.payload[:max_payload], delivery.received_at)
    return tried.model_copy(
        update={
            "source": f"{source.name} ({source.title})",
            "filter": next(each for each in source.topics if mapping.matches(each, levels)),
            "lane": source.lane,
            "steps": [Step(**each._asdict()) for each in steps],
            "records": [Record(**samples.shown(each)) for each in said.records],
            "faults": [Fault(reason=each.reason, detail=each.detail) for each in said.faults] or tried.faults,
        }
    )


def _decoded(sources: Sources, settings: Settings, delivery: Delivery) -> tuple[Batch, dict[int, str]]:
    """Return the batch that a message makes in a bridge which knows everybody, and their names by id."""
    registry = Registry(Closed(), settings.ingest)
    decoder = Decoder(registry, settings.ingest.max_payload, sources)
    life, others = decoder.strangers([delivery])
    names = dict(enumerate({**life, **others}, 1))
    for number, name in names.items():
        registry.learn(name, number, self_registered=False)
    lane = Lane.URGENT
    if delivery.topic.startswith(PREFIX) and not delivery.topic.endswith(("/sos", "/fall", "/event")):
        lane = Lane.TELEMETRY
    return decoder.decode(lane, [delivery], delivery.received_at), names


def _rows(batch: Batch, names: dict[int, str]) -> list[Row]:
    return [
        Row(
            device=names.get(int(row["device_id"]), ""),
            channel=Channel(row["channel"]).name.lower(),
            event=Event(row["event"]).name.lower() if row["event"] else "",
            ts=_time(row),
            quality=Quality(row["quality"]).name.lower(),
            values={name: round(float(row[name]), 3) for name in VALUES if not np.isnan(row[name])},
            detail=batch.details[row["detail"]] if row["detail"] >= 0 else {},
            alive=bool(row["alive"]),
            stored=bool(row["stored"]),
        )
        for row in batch.readings
    ]


def _time(row: np.void) -> str:
    sent = "" if row["ts_sent"] == ABSENT else f", sent {row['ts_sent']}"
    return printable(to_datetime(int(row["ts"]))) + sent


def _print(tried: Tried) -> None:
    typer.echo(f"{'topic':10} {printable(tried.topic)}")
    if not tried.source:
        typer.echo(
            "no source takes it: `carebell source list` shows what ships, docs/devices how to write one"
        )
    else:
        typer.echo(f"{'source':10} {tried.source}")
    if tried.filter:
        typer.echo(f"{'filter':10} {tried.filter}, {tried.lane}")
    if tried.ignored:
        typer.echo(f"{'ignored':10} {tried.ignored}")
    console = Console()
    for title, columns, found in (
        ("what stands in it", _STEPS, tried.steps),
        ("what it says", _RECORDS, tried.records),
        ("rows, if it were received now", _ROWS, tried.rows),
        ("what cannot be used", ("reason", "detail"), tried.faults),
    ):
        if found:
            console.print(table(title, columns, found))
