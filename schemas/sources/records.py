"""What a vendor's message says, in carebell's words, before anybody has looked its device up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.errors import SenderFaultError
from schemas.readings import Event
from schemas.topics import Channel


class Record(NamedTuple):
    """One reading or event of a message.

    `device` is the vendor's id of it. `fields` are named and measured as in `schemas.messages`: `ts` in epoch
    milliseconds as the device sent it, values in the units of the contract, absent ones left out.
    `late`: old by its own word, so it goes to the history and is not judged. `state` names a state of which
    the event is the beginning: `on` says whether it holds now, and only its beginning is the event; `over`,
    if there is one, is the event of its end.
    Not `readable`: a call for help that was found in a message which cannot be read. Its `device` may be "".
    """

    device: str
    channel: Channel
    event: Event
    fields: Mapping[str, Any]
    late: bool = False
    state: str = ""
    on: bool = True
    over: Event | None = None
    readable: bool = True


@dataclass
class Said:
    """All that one message says: its records, what of it cannot be used, or the reason to ignore it.

    `is_cut`: there was more in it than is read.
    """

    records: list[Record] = field(default_factory=list)
    faults: list[SenderFaultError] = field(default_factory=list)
    ignored: str = ""
    is_cut: bool = False
