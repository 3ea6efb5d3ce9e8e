"""What the bridge counts, for Prometheus: received = stored + duplicate + dead + ignored + in flight."""

import time
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from schemas.readings import Batch
from schemas.topics import REASONS
from store.dead import Result

RECEIVED = Counter("carebell_messages_received", "Messages taken from the broker", ["lane"])
STORED = Counter("carebell_messages_stored", "Messages whose readings were committed", ["lane"])
DUPLICATE = Counter("carebell_messages_duplicate", "Messages that were in the database already", ["lane"])
DEAD = Counter("carebell_messages_dead", "Messages that became dead letters whole", ["lane", "reason"])
PARTLY_DEAD = Counter(
    "carebell_messages_partly_dead", "Dead letters for a part of a stored message", ["lane", "reason"]
)
IGNORED = Counter("carebell_messages_ignored", "Messages passed over, by reason", ["lane", "reason"])
REDRIVEN = Counter("carebell_messages_redriven", "Dead letters re-driven, by what became of them", ["result"])
IN_FLIGHT = Gauge("carebell_messages_in_flight", "Messages taken and not yet acknowledged", ["lane"])
WAITING = Gauge("carebell_messages_waiting", "Messages received and not yet taken", ["lane"])
LAG = Gauge("carebell_lag_seconds", "Age of the oldest message received and not yet acknowledged", ["lane"])
LINE = Gauge("carebell_line_timestamp_seconds", "When the line last finished a batch or a tick, unix time")
STAGE_SECONDS = Histogram(
    "carebell_stage_seconds",
    "Time of one batch with messages in a stage of the line",
    ["lane", "stage"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
CANARY_SECONDS = Histogram(
    "carebell_canary_seconds",
    "Time from publishing a message of our own to its commit and acknowledgement",
    ["lane"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
CANARY = Gauge("carebell_canary_timestamp_seconds", "When a canary last came back, unix time", ["lane"])
MISSING = Counter(
    "carebell_messages_missing",
    "Counters of devices of which nothing was stored: lost on the way, or dead letters",
)
FOUND = Counter("carebell_messages_found", "Messages counted as missing that came after all")
BROKER_DROPPED = Gauge(
    "carebell_broker_dropped", "Messages that the broker says it has thrown away since its start"
)
CONNECTED = Gauge("carebell_session_connected", "1 while the lane's MQTT session is up", ["lane"])
SESSIONS_LOST = Counter("carebell_sessions_lost", "Times the broker had forgotten our session", ["lane"])
TRANSITIONS = Counter("carebell_transitions", "Decisions of the engine", ["kind", "move"])
DRILL_TRANSITIONS = Counter(
    "carebell_drill_transitions", "Decisions of the engine about devices of drills", ["kind", "move"]
)
RULE_VERSION = Gauge("carebell_rule_version", "Version of the rules in force, as `carebell rule list` has it")
SILENCE_LATE = Histogram(
    "carebell_silence_late_seconds",
    "From the moment at which a device was silent for too long until this was seen",
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)
UNSTORED = Gauge("carebell_unstored", "Calls for help received and not stored for 2 s and longer")
ANNOUNCED = Counter("carebell_announced", "Calls for help announced as not stored, by way", ["way"])
RETRIES = Gauge("carebell_database_retries", "Times the database was away and the work was tried again")
DEVICES = Gauge("carebell_devices", "Devices that the bridge knows")
DISK_FREE = Gauge("carebell_disk_free_bytes", "Free on the database's disk, if seen from here", ["directory"])
DISK_SIZE = Gauge("carebell_disk_size_bytes", "Size of the database's disk, if seen from here", ["directory"])
DATABASE_BYTES = Gauge("carebell_database_bytes", "Size of the database")
MAINTAINED = Gauge("carebell_maintained_timestamp_seconds", "When `db maintain` last did its work; 0: never")

for _result in Result:
    REDRIVEN.labels(_result)
for _way in ("mqtt", "webhook"):
    ANNOUNCED.labels(_way)
# Every series of a lane is there from the start: a counter born with its first count hides it from increase()
for _lane in ("urgent", "telemetry"):
    for _metric in (RECEIVED, STORED, DUPLICATE, IN_FLIGHT, SESSIONS_LOST, CANARY, CANARY_SECONDS):
        _metric.labels(_lane)
    for _reason in REASONS:
        DEAD.labels(_lane, _reason)
        PARTLY_DEAD.labels(_lane, _reason)
    for _stage in ("decode", "deduplicate", "evaluate", "commit", "acknowledge"):
        STAGE_SECONDS.labels(_lane, _stage)


class Watch:
    """Time the stages that a batch passes; ticks and batches without messages are not counted."""

    def __init__(self, batch: Batch) -> None:
        """Start with the first stage."""
        self._lane = batch.lane.name.lower() if len(batch.receipts) else ""
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Note the end of one stage, which is the beginning of the next."""
        now = time.perf_counter()
        if self._lane:
            STAGE_SECONDS.labels(self._lane, stage).observe(now - self._since)
        self._since = now


BROKER_DROPPED.set(float("nan"))  # not every broker says


def line_finished() -> float:
    """Return when the line last finished a batch or a tick, unix time; 0 for never."""
    return _sum([LINE])


def identity_difference() -> float:
    """Return how many messages taken are not accounted for; 0 is right."""
    return _sum([RECEIVED]) - _sum([STORED, DUPLICATE, DEAD, IGNORED, IN_FLIGHT])


DIFFERENCE = Gauge(
    "carebell_identity_difference",
    "Messages taken that are neither stored, refused nor in flight; 0 is right",
)
DIFFERENCE.set_function(identity_difference)


def _sum(metrics: Iterable[Counter | Gauge]) -> float:
    samples = (sample for metric in metrics for family in metric.collect() for sample in family.samples)
    return sum(sample.value for sample in samples if not sample.name.endswith("_created"))
