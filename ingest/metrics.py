"""What the bridge counts, for Prometheus: received = stored + duplicate + dead + ignored + in flight."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

RECEIVED = Counter("carebell_messages_received", "Messages taken from the broker", ["lane"])
STORED = Counter("carebell_messages_stored", "Messages whose readings were committed", ["lane"])
DUPLICATE = Counter("carebell_messages_duplicate", "Messages that were in the database already", ["lane"])
DEAD = Counter("carebell_messages_dead", "Messages that became dead letters whole", ["lane"])
PARTLY_DEAD = Counter(
    "carebell_messages_partly_dead", "Stored messages of which a part is a dead letter", ["lane"]
)
IGNORED = Counter("carebell_messages_ignored", "Messages passed over, by reason", ["lane", "reason"])
IN_FLIGHT = Gauge("carebell_messages_in_flight", "Messages taken and not yet acknowledged", ["lane"])
WAITING = Gauge("carebell_messages_waiting", "Messages received and not yet taken", ["lane"])
CONNECTED = Gauge("carebell_session_connected", "1 while the lane's MQTT session is up", ["lane"])
TRANSITIONS = Counter("carebell_transitions", "Decisions of the engine", ["kind", "move"])
COMMIT_SECONDS = Histogram(
    "carebell_commit_seconds",
    "Time of one transaction",
    ["lane"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
RETRIES = Gauge("carebell_database_retries", "Times the database was away and the work was tried again")


def identity_holds() -> bool:
    """Say whether every message taken is accounted for."""
    return _sum([RECEIVED]) == _sum([STORED, DUPLICATE, DEAD, IGNORED, IN_FLIGHT])


def _sum(metrics: Iterable[Counter | Gauge]) -> float:
    samples = (sample for metric in metrics for family in metric.collect() for sample in family.samples)
    return sum(sample.value for sample in samples if not sample.name.endswith("_created"))
