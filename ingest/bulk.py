"""The fast way to validate: many plain payloads of one channel as one JSON array.

What is found must be what each payload would give alone, whatever its sender wrote. So only payloads are
joined that begin with their only { and end with their only }. If the array then holds as many objects as
there are payloads, each { opened an object of the array, so the one before had ended at its own }: no payload
can reach into another one. All others are validated alone.
"""

from itertools import repeat
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from schemas.messages import ADAPTERS, Activity, Heartbeat, Vitals
from schemas.topics import Channel

_RUN = 64  # payloads joined: one that is at fault costs so many a second look
_ADAPTERS: Final[dict[Channel, TypeAdapter[Any]]] = {
    Channel.VITALS: TypeAdapter(list[Vitals]),
    Channel.HEARTBEAT: TypeAdapter(list[Heartbeat]),
    Channel.ACTIVITY: TypeAdapter(list[Activity]),
}

CHANNELS: Final = tuple(_ADAPTERS)

Fields = dict[str, Any]


def validate(channel: Channel, payloads: list[bytes], max_payload: int) -> list[Fields | None]:
    """Return the fields of each payload, shape (n,); None where it must be looked at more closely."""
    found: list[Fields | None] = []
    for start in range(0, len(payloads), _RUN):
        run = payloads[start : start + _RUN]
        found += _together(channel, run, max_payload) or [_alone(channel, each, max_payload) for each in run]
    return found


def _together(channel: Channel, run: list[bytes], max_payload: int) -> list[Fields] | None:
    joined, n = b",".join(run), len(run)
    if (
        len(joined) > max_payload
        or (joined.count(b"{"), joined.count(b"}"), joined.count(b"},{")) != (n, n, n - 1)
        or not joined.endswith(b"}")
        or not all(map(bytes.startswith, run, repeat(b"{")))
    ):
        return None
    try:
        found: list[Fields] = _ADAPTERS[channel].validate_json(b"[%b]" % joined)
    except ValidationError:
        return None
    return found if len(found) == n else None


def _alone(channel: Channel, payload: bytes, max_payload: int) -> Fields | None:
    if len(payload) > max_payload:
        return None
    try:
        fields = ADAPTERS[channel].validate_json(payload)
    except ValidationError:
        return None
    return None if fields.get("readings") else fields
