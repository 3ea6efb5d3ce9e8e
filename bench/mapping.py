"""What a vendor's message costs to decode, against the contract's own: the decoder alone, on one core.

CPU time of the thread for whole batches, strangers looked for as the line does; the median of many batches.
"""

import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from bench.table import Line
from ingest.bridge import COLLECT
from ingest.decode import Decoder
from ingest.registry import Closed, Registry
from schemas.clock import SECOND
from schemas.readings import Delivery
from schemas.settings import IngestSettings
from schemas.sources import mapping
from schemas.sources.compiled import Sources
from schemas.topics import Lane, uplink

BATCH: Final = 5_000
DEVICES: Final = 20_000
START: Final = 1_790_000_000 * SECOND
TARGET: Final = 3.0
SHAPES: Final = """
[[source]]
name = "numbers"
title = "The values of the contract under other names"
topics = ["numbers/+/data"]
lane = "telemetry"
id = { level = 2 }
time = { path = "time", format = "ms" }
fields.hr = { path = "heartRate" }
fields.spo2 = { path = "spO2" }
fields.temp = { path = "bodyTemperature" }
fields.worn = { path = "isWearing" }
fields.steps = { path = "step" }

[[source]]
name = "strings"
title = "The same as texts, the device inside, a state told over and over"
topics = ["strings/data"]
lane = "urgent"
id = { path = "IMEI" }
time = { path = "time", format = "%d/%m/%Y %H:%M:%S" }
fields.hr = { path = "heartRate" }
fields.spo2 = { path = "spO2" }
fields.temp = { path = "bodyTemperature", unit = "0.1 degC" }
fields.worn = { path = "isWearing" }
fields.steps = { path = "step" }
[[source.events]]
kind = "sos"
when = { path = "sos", is = true }
mode = "edge"

[[source]]
name = "nested"
title = "The same deep inside, each value with a time of its own"
topics = ["nested/+/post"]
lane = "telemetry"
id = { level = 2 }
unwrap = { value = "value", time = "time" }
fields.hr = { path = "params.heartRate" }
fields.spo2 = { path = "params.spO2" }
fields.temp = { path = "params.bodyTemperature" }
fields.worn = { path = "params.isWearing" }
fields.steps = { path = "params.step" }
"""

Message = tuple[str, Any]


@dataclass(frozen=True)
class Mapped:
    """Microseconds of CPU a message: the contract's, and each shape of vendors' JSON."""

    contract: float
    numbers: float
    strings: float
    nested: float

    def lines(self) -> list[Line]:
        """Show it."""
        shown = {
            "numbers": "the same values under other names",
            "strings": "as texts, with a state and local time",
            "nested": "deep inside, each with a time of its own",
        }
        found = [Line("the contract's vitals, us/msg", f"{self.contract:.2f}")]
        for name, words in shown.items():
            us = asdict(self)[name]
            found.append(Line(words, f"{us:.2f} us, {us / self.contract:.1f}x", f"{TARGET:.0f}x"))
        return found


def mapped(batches: int) -> Mapped:
    """Measure so many batches of each shape; what lives is looked through for garbage as in the bridge."""
    decoder = _decoder()
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    names: dict[str, Callable[[int, int], Message]] = {
        "contract": _contract,
        "numbers": _numbers,
        "strings": _strings,
        "nested": _nested,
    }
    try:
        return Mapped(**{name: _us(decoder, make, batches) for name, make in names.items()})
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _decoder() -> Decoder:
    registry = Registry(Closed(), IngestSettings())
    for number in range(DEVICES):
        registry.learn(_device(number), number, self_registered=False)
    return Decoder(registry, 65_536, Sources(mapping.parse(SHAPES, "bench")))


def _us(decoder: Decoder, make: Callable[[int, int], Message], batches: int) -> float:
    seconds = []
    for batch in range(batches + 1):  # the first one fills the caches
        sent = _deliveries(make, batch * BATCH)
        began = time.thread_time()
        if any(decoder.strangers(sent)):
            raise AssertionError("a device of the bench is unknown")
        found = decoder.decode(Lane.TELEMETRY, sent, sent[-1].received_at)
        seconds.append(time.thread_time() - began)
        if found.dead or len(found.readings) < BATCH:
            raise AssertionError(f"{len(found.dead)} dead letters, {len(found.readings)} readings")
    return median(seconds[1:]) / BATCH * 1e6


def _deliveries(make: Callable[[int, int], Message], first: int) -> Sequence[Delivery]:
    sent = []
    for number in range(first, first + BATCH):
        at = START + number * 1000
        topic, body = make(number, at // 1000)
        payload = json.dumps(body, separators=(",", ":")).encode()
        sent.append(Delivery(topic, payload, 0, duplicate=False, retained=False, received_at=at))
    return sent


def _device(number: int) -> str:
    return f"BAND-{number % DEVICES:07d}"


def _contract(number: int, ms: int) -> Message:
    body = {"ts": ms, "hr": 60 + number % 40, "spo2": 97, "temp": 36.5, "worn": True, "steps": number % 9999}
    return uplink("430602", _device(number), "vitals"), body


def _vendor(number: int) -> dict[str, Any]:
    return {
        "heartRate": 60 + number % 40,
        "spO2": 97,
        "bodyTemperature": 36.5,
        "isWearing": True,
        "step": number % 9999,
    }


def _numbers(number: int, ms: int) -> Message:
    return f"numbers/{_device(number)}/data", {"time": ms, **_vendor(number)}


def _strings(number: int, ms: int) -> Message:
    texts = {name: str(value) for name, value in _vendor(number).items()}
    local = time.strftime("%d/%m/%Y %H:%M:%S", time.gmtime(ms // 1000 + 8 * 3600))
    body = {**texts, "bodyTemperature": "365", "IMEI": _device(number), "time": local, "sos": "false"}
    return "strings/data", body


def _nested(number: int, ms: int) -> Message:
    params = {name: {"value": value, "time": ms} for name, value in _vendor(number).items()}
    return f"nested/{_device(number)}/post", {"id": str(number), "version": "1.0", "params": params}
