"""What a simulated device sends, and beside it the truth about it, which is never sent.

The truth is the family's own knowledge of its format: no decoder of carebell is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple


class Row(NamedTuple):
    """A row of the history that must come of a message.

    `sent` is the device's time in milliseconds as the message tells it, None for none. `said` is what
    `said` returns of its values; `seq` is its number, where the device numbers them.
    """

    channel: str
    sent: int | None
    said: int = 0
    seq: int | None = None


class Entry(NamedTuple):
    """What was measured at a moment: the device's time as in `Row`, values by the contract's names."""

    shown: int | None
    values: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Message:
    """One message; `at` is when it is ready to be sent, microseconds since 1970.

    `call` is the kind of life alarm that it raises, sos or fall, and `cause` says why. `state`: it tells
    whether the state of a call holds, of which only the beginning calls; then `edge` is the row of that.
    `entry` is what of it may be told otherwise if it could not be sent in time. `sure`: it is never given
    up nor cut off, as calls are not. `dead`: why it is a dead letter, and whether all of it is.
    """

    at: int
    topic: str
    payload: bytes
    rows: tuple[Row, ...] = ()
    call: str = ""
    cause: str = ""
    state: bool | None = None
    edge: Row | None = None
    entry: Entry | None = None
    retain: bool = False
    sure: bool = False
    dead: tuple[str, bool] | None = None
    has_called: bool = False  # set by the tally, when the state began with it


COUNTED: Final = {"hr": 1, "battery": 1, "spo2": 3, "temp": 7, "sbp": 11, "dbp": 13, "steps": 17}
"""Values that are summed up, to see that what was sent is what stands in the history, each with a weight of
its own (those of soak.sql), so that none can stand in the place of another."""
_NO_READING = {"hr": (0, 1, 254, 255), "spo2": (0, 1, 254, 255), "temp": (0,), "sbp": (0,), "dbp": (0,)}


def said(fields: Mapping[str, Any]) -> int:
    """Return the weighted sum of a row's values in tenths; texts count as numbers, no reading as nothing."""
    total = 0
    for name, value in fields.items():
        if name in COUNTED:
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            if number not in _NO_READING.get(name, ()):
                total += round(number * 10) * COUNTED[name]
    return total
