"""A real hour of heartbeats, replayed through a simulated band at 60x on the injected clock."""

import time
from importlib.metadata import files
from pathlib import Path

import numpy as np

from device_sims.publish import play
from device_sims.recorded import recorded_band
from ops.parts import Broker, Database
from schemas.clock import SECOND, to_microseconds
from schemas.settings import ClockSettings, IngestSettings
from tests.installation import installation

RULES = """
[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"

[[rule]]
kind = "hr_high"
when = "hr >= 78.5"
clear = "hr <= 75"
for = "4m"
gap = "2m"
"""
SPEED = 60.0


def _recording() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the intervals between beats, in milliseconds; the package is located, never imported."""
    found = [path for path in files("pyhrv") or [] if path.name == "SampleNNISeriesLong.npy"]
    intervals: np.ndarray[tuple[int], np.dtype[np.int64]] = np.load(str(found[0].locate()))
    return intervals


def _minutes_by_hand(intervals: list[int]) -> list[float]:
    """Count beats minute by minute, independently of the simulator."""
    beats: dict[int, list[int]] = {}
    at = 0
    for interval in intervals:
        at += interval
        beats.setdefault(at // 60_000, []).append(interval)
    return [round(60_000 * len(minute) / sum(minute), 1) for _, minute in sorted(beats.items())]


def _fires_by_hand(rates: list[float]) -> list[int]:
    """Return the minutes at which hr >= 78.5 has held for four minutes and no alarm is on."""
    fired, begun, active = [], None, False
    for minute, rate in enumerate(rates):
        if active:
            active = rate > 75
            continue
        if rate < 78.5:
            begun = None
            continue
        begun = minute if begun is None else begun
        if minute - begun >= 4:
            fired.append(minute)
            active, begun = True, None
    return fired


async def test_a_real_hour_is_stored_minute_by_minute_and_fires_as_computed_by_hand(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> None:
    """The stored minutes equal the source's, and hr_high fires exactly at the minute worked out by hand."""
    intervals = _recording().tolist()
    rates = _minutes_by_hand(intervals)
    assert (len(intervals), len(rates)) == (4684, 60)
    assert _fires_by_hand(rates) == [43]
    (scratch / "rules.toml").write_text(RULES)
    now = time.time()
    clock = ClockSettings(origin=now, start=now, speed=SPEED)
    ingest = IngestSettings(rules=str(scratch / "rules.toml"))
    async with installation(fresh_mosquitto, timescale.url, scratch, ingest=ingest, clock=clock) as installed:
        await installed.start()
        start = clock.clock().now() + 60 * SECOND
        await play(
            recorded_band(intervals, "BAND-1", "430602", start, speed=SPEED), installed.town, clock.clock()
        )
        await installed.until_rows("SELECT FROM vitals", lambda rows: len(rows) == len(rates))
        stored = await installed.rows("SELECT hr::float8, ts FROM vitals ORDER BY ts")
        assert [round(rate, 1) for rate, _ in stored] == rates
        moments = [start // 1000 * 1000 + (minute + 1) * 60 * SECOND for minute in range(len(rates))]
        assert [to_microseconds(ts) for _, ts in stored] == [moment // 1000 * 1000 for moment in moments]
        alarms = await installed.rows("SELECT kind, count, (detail->>'ts')::bigint FROM alarms")
        assert alarms == [("hr_high", 1, moments[43] // 1000 * 1000)]
