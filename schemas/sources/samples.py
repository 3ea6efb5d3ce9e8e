"""Samples of a vendor's messages, kept beside its mapping: a line each, with what the message becomes.

    {"about": "no reading", "topic": "iw/hb", "payload": {"IMEI": "8651", "battery": 67, "heartRate": 0},
     "says": [{"device": "8651", "channel": "heartbeat", "fields": {"battery": 67}}]}

`payload`: a text is sent as it stands, {"base64": ...} as bytes, anything else as JSON. `says`: the records,
in any order; `event`, `late`, `state`, `on`, `over` and `readable` only where they are not as in most
records; `ts` stands among the fields. `faults`: the reason of each. `ignored`: why, without the source.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.clock import SECOND
from schemas.errors import UsageError
from schemas.readings import Event
from schemas.sources.compiled import Sources
from schemas.sources.mapping import SHIPPED, file_of
from schemas.sources.records import Record, Said

RECEIVED: Final = 1_750_000_000 * SECOND
"""When samples are received: 2025-06-15 15:06:40 UTC. Only relative times lean on it."""

_BYTES: Final = {"base64"}


class Sample(BaseModel):
    """One message, and what it becomes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: Annotated[str, Field(min_length=1)]
    payload: Any
    about: str = ""
    says: tuple[dict[str, Any], ...] = ()
    faults: tuple[str, ...] = ()
    ignored: str = ""
    line: int = 0

    def sent(self) -> bytes:
        """Return the payload as it is sent; raises ValueError if it is no base64."""
        if isinstance(self.payload, str):
            return self.payload.encode()
        if isinstance(self.payload, dict) and self.payload.keys() == _BYTES:
            return base64.b64decode(self.payload["base64"], validate=True)
        return json.dumps(self.payload, ensure_ascii=False).encode()


def beside(name: str) -> Path:
    """Return where the samples of a file of sources stand: beside it, else in a folder samples there."""
    path = file_of(name)
    near = path.with_suffix(".jsonl")
    return near if path.parent != SHIPPED and near.is_file() else path.parent / "samples" / near.name


def read(path: Path) -> list[Sample]:
    """Read a file of samples; raises UsageError with the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: cannot be read: {said}") from error
    return [_sample(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _sample(path: Path, number: int, line: str) -> Sample:
    try:
        found = Sample.model_validate({**json.loads(line), "line": number})
        found.sent()
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}:{number}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}:{number}: {error}") from error
    return found


def said_of(sources: Sources, topic: str, payload: bytes, received_at: int = RECEIVED) -> Said | None:
    """Return what a message says to the source that takes its topic; None if no source does."""
    found = sources.find(topic)
    return found[0].read(found[1], payload, received_at) if found else None


def shown(record: Record) -> dict[str, Any]:
    """Return a record as samples write it."""
    found: dict[str, Any] = {"device": record.device, "channel": record.channel.name.lower()}
    if record.event is not Event.NONE:
        found["event"] = record.event.name.lower()
    found["fields"] = dict(record.fields)
    found |= {"late": True} if record.late else {}
    found |= {"state": record.state, "on": record.on} if record.state else {}
    found |= {"over": record.over.name.lower()} if record.over is not None else {}
    return found | ({} if record.readable else {"readable": False})


def differences(sources: Sources, samples: Iterable[Sample]) -> list[str]:
    """Run samples; return a sentence for each difference from what is written."""
    return [
        f"line {sample.line}, {sample.topic}: {sentence}"
        for sample in samples
        for sentence in _differences(sources, sample)
    ]


def _differences(sources: Sources, sample: Sample) -> list[str]:
    said = said_of(sources, sample.topic, sample.sent())
    if said is None:
        return ["no source takes this topic"]
    found = [_text(shown(record)) for record in said.records]
    wanted = [_text(_complete(each)) for each in sample.says]
    sentences = [f"it does not say {each}" for each in _less(wanted, found)]
    sentences += [f"it says {each}, which is not written" for each in _less(found, wanted)]
    faults = [fault.reason for fault in said.faults]
    sentences += [f"the fault {each} is not found" for each in _less(sample.faults, faults)]
    untold = _less(faults, sample.faults)
    sentences += [f"{fault}, which is not written" for fault in said.faults if fault.reason in untold]
    ignored = said.ignored.rpartition(":")[2]
    if ignored != sample.ignored:
        sentences.append(f"it is ignored as {ignored!r}, written is {sample.ignored!r}")
    return sentences


def _complete(written: dict[str, Any]) -> dict[str, Any]:
    """Return a written record with what may be left out of it."""
    found = {"fields": {}, **written}
    return {**found, "on": found.get("on", True)} if "state" in found else found


def _text(record: dict[str, Any]) -> str:
    """Return a record as one text; 72.0 is written as 72."""
    fields = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in record["fields"].items()
    }
    return json.dumps({**record, "fields": fields}, ensure_ascii=False, sort_keys=True)


def _less(some: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return what stands in `some` more often than in `others`."""
    return list((Counter(some) - Counter(others)).elements())
