"""Make PUBLISH packets by the thousand: one packet from the codec is the stamp, numpy fills in what varies.

Every variable field has a fixed width, so a run of packets is a table of bytes, one packet a row.
"""

from typing import Any

import mqtt5
import numpy as np
import numpy.typing as npt

from schemas.topics import uplink

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

NUMBER_DIGITS = 7
SEQ_DIGITS = 10
FIRST_SEQ: int = 10 ** (SEQ_DIGITS - 1)
_TS_DIGITS = 13
_VALUE_DIGITS = 2
_LOWEST_VALUE, _VALUES = 60, 40

_TS, _SEQ, _VALUE = "8" * _TS_DIGITS, "7" * SEQ_DIGITS, "6" * _VALUE_DIGITS
_NUMBER = "5" * NUMBER_DIGITS
_PACKET_ID = 0xABCD

_SAY = {
    "vitals": f'"hr":{_VALUE},"spo2":97,"worn":true,"steps":1234',
    "heartbeat": f'"battery":{_VALUE},"rssi":-71',
    "activity": f'"motion":true,"steps":{_VALUE},"room":"kitchen"',
}
CHANNELS = tuple(_SAY)


class Stamp:
    """PUBLISH packets at QoS 1 of one channel; values stay where no rule hits."""

    def __init__(self, channel: str, region: str, prefix: str, *, with_ts: bool) -> None:
        """Encode one packet and find its variable places; device names are `prefix` and seven digits."""
        topic = uplink(region, prefix + _NUMBER, channel)
        stamp = f'"ts":{_TS},' if with_ts else ""
        payload = f'{{{stamp}"seq":{_SEQ},{_SAY[channel]}}}'.encode()
        packet = mqtt5.PublishPacket(
            topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=_PACKET_ID
        ).write()
        body = len(packet) - len(payload)
        self._row: Bytes = np.frombuffer(packet, np.uint8)
        self._packet_id = slice(body - 3, body - 1)  # two bytes, then the length of no properties
        number_end = self._packet_id.start - len(f"/{channel}")
        self._number = slice(number_end - NUMBER_DIGITS, number_end)
        self._seq = _place(packet, _SEQ, body)
        self._value = _place(packet, _VALUE, self._seq.stop)
        self._ts = _place(packet, _TS, body) if with_ts else None

    def packets(self, packet_ids: Ints, numbers: Ints, seqs: Ints, now: int) -> bytes:
        """Return packets, one for each element; `now` in microseconds since 1970 is their `ts`."""
        table = np.tile(self._row, (len(seqs), 1))
        table[:, self._packet_id] = packet_ids.astype(">u2").view(np.uint8).reshape(-1, 2)
        table[:, self._number] = _digits(numbers, NUMBER_DIGITS)
        table[:, self._seq] = _digits(seqs, SEQ_DIGITS)
        table[:, self._value] = _digits(_LOWEST_VALUE + seqs % _VALUES, _VALUE_DIGITS)
        if self._ts is not None:
            table[:, self._ts] = np.frombuffer(str(now // 1000).encode(), np.uint8)
        return table.tobytes()


def _place(packet: bytes, mark: str, after: int) -> slice:
    start = packet.index(mark.encode(), after)
    return slice(start, start + len(mark))


def _digits(values: Ints, width: int) -> npt.NDArray[Any]:
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return (values[:, None] // powers % 10 + ord("0")).astype(np.uint8)
