"""A band on a real wrist: beat-to-beat intervals that were recorded once, sent as the minutes of a band."""

import json
from collections.abc import Iterable

from device_sims.town import Send, Town
from device_sims.truth import Fate, RowKey, Sent, Truth
from schemas.clock import SECOND
from schemas.topics import uplink

_MINUTE_MS = 60_000


def minutes(intervals: Iterable[float]) -> list[float]:
    """Return the mean heart rate of each minute, bpm with one decimal, from intervals in milliseconds.

    A beat belongs to the minute in which its interval ends; a minute that was not recorded to its end counts.
    """
    sums: list[list[float]] = []
    elapsed = 0.0
    for interval in intervals:
        elapsed += interval
        while len(sums) <= elapsed // _MINUTE_MS:
            sums.append([0.0, 0.0])
        sums[-1][0] += interval
        sums[-1][1] += 1
    return [round(_MINUTE_MS * beats / total, 1) for total, beats in sums if beats]


def recorded_band(intervals: Iterable[float], device: str, region: str, start: int, *, speed: float) -> Town:
    """Return a town of one band that sends the recording's minutes, each when it is over, from `start` on."""
    rates = minutes(intervals)
    topic = uplink(region, device, "vitals")
    sends, sent = [], []
    for number, rate in enumerate(rates):
        at = start + (number + 1) * 60 * SECOND
        payload = json.dumps({"ts": at // 1000, "seq": number, "hr": rate, "worn": True})
        sends.append(Send(number, at, device, topic, payload.encode(), retain=False))
        sent.append(Sent(at, device, topic, Fate.STORED, (RowKey(device, "vitals", number),)))
    end = sends[-1].at if sends else start
    truth = Truth(0, start, end, speed, [device], sent, expected=[], steps=[])
    return Town(sends, truth, registrations=[], plots={})
