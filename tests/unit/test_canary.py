"""What is known of canaries: when the lanes have caught up, and what a forged one can do."""

import pytest

from ingest import metrics
from ingest.canary import REMEMBERED, Canary
from schemas.readings import Batch
from schemas.topics import Lane, canary, is_canary


class Flock:
    """Canaries over sessions whose connections a test numbers."""

    def __init__(self) -> None:
        """Begin with both sessions connected for the first time."""
        self.connections = {Lane.URGENT: 1, Lane.TELEMETRY: 1}
        self.canary = Canary(lambda: dict(self.connections))
        self.canary.reconnected()

    def land(self, payload: bytes, *lanes: Lane) -> None:
        """Let one come back on lanes, by default on both."""
        for lane in lanes or Lane:
            self.canary.land(Batch(lane, 0, canaries=[payload]))

    @property
    def state(self) -> tuple[bool, bool]:
        """Return whether one is back, and whether silence may be judged."""
        return self.canary.is_back, self.canary.caught_up


def test_nothing_is_claimed_before_the_first_return_on_both_lanes() -> None:
    """Neither on the way nor on one lane alone is a canary back."""
    flock = Flock()
    payload = flock.canary.take_off()
    states = [flock.state]
    for lane in Lane:
        flock.land(payload, lane)
        states.append(flock.state)
    assert states == [(False, False), (False, False), (True, True)]


def test_after_a_reconnect_one_must_return_that_was_published_since() -> None:
    """One of before stood in the middle of the backlog: behind it may be more."""
    flock = Flock()
    flock.land(flock.canary.take_off())
    old = flock.canary.take_off()
    flock.connections[Lane.TELEMETRY] = 2
    flock.canary.reconnected()
    assert flock.canary.due.is_set()
    assert flock.state == (True, False)
    flock.land(old)
    assert flock.state == (True, False)
    flock.land(flock.canary.take_off())
    assert flock.state == (True, True)


def test_one_that_was_published_while_a_lane_was_away_does_not_count_for_it() -> None:
    """It waited at the broker behind what came before, but not behind what came after."""
    flock = Flock()
    del flock.connections[Lane.URGENT]
    early = flock.canary.take_off()
    flock.connections[Lane.URGENT] = 2
    flock.land(early)
    assert flock.state == (True, False)


@pytest.mark.parametrize("forged", [b"", b"\xff", b'{"run": "0", "number": 1}', b"1"])
def test_a_forged_one_is_nothing(forged: bytes) -> None:
    """Nor is one of another run, or one that came back before."""
    flock, other = Flock(), Flock()
    flock.land(forged)
    flock.land(other.canary.take_off())
    assert flock.state == (False, False)
    real = flock.canary.take_off()
    flock.land(real)
    flock.connections = dict.fromkeys(Lane, 2)
    flock.land(real)
    assert flock.state == (True, False)


def test_a_redelivered_one_counts_once_on_each_lane() -> None:
    """Whoever overhears one and sends it again changes no figure."""
    flock = Flock()
    before = metrics._sum([metrics.CANARY])
    payload = flock.canary.take_off()
    flock.land(payload, Lane.URGENT)
    heard = metrics._sum([metrics.CANARY])
    flock.land(payload, Lane.URGENT)
    assert metrics._sum([metrics.CANARY]) == heard != before


def test_few_are_under_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the database away they come seldom; what is lost does not count once a later one is back."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    flock = Flock()
    payloads = [flock.canary.take_off() for clock[0] in (0.0, 5.0, 10.0)]
    may = [flock.canary.may_fly for clock[0] in (11.0, 69.0, 70.0)]
    flock.canary.due.set()
    may.append(flock.canary.may_fly)
    flock.canary.take_off()
    may.append(flock.canary.may_fly)
    flock.land(payloads[-1])
    may.append(flock.canary.may_fly)
    assert may == [False, False, True, True, False, True]


def test_what_never_returns_is_forgotten() -> None:
    """With the database away for days, memory does not grow, and the newest count."""
    flock = Flock()
    for _ in range(REMEMBERED + 10):
        flock.canary.take_off()
    newest = flock.canary.take_off()
    assert len(flock.canary._flights) == REMEMBERED
    flock.land(newest)
    assert flock.state == (True, True)


def test_a_broker_that_passes_none_on_blocks_nothing_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a while silence is judged all the same, and the log says once what is to be done."""
    flock = Flock()
    flock.canary.take_off()
    states = [flock.canary.caught_up]
    monkeypatch.setattr("ingest.canary.PATIENCE", 0)
    states += [flock.canary.caught_up, flock.canary.caught_up]
    assert caplog.text.count(canary("+")) == 1
    flock.canary.echoed()  # it is only late: a backlog is being drained
    states.append(flock.canary.caught_up)
    flock.canary.reconnected()
    del flock.connections[Lane.URGENT]
    states.append(flock.canary.caught_up)
    assert states == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (canary("carebell"), True),
        (canary("another_1"), True),
        ("carebell/v1/canary/a/b/event", False),
        ("carebell/v1/canary/event", False),
        ("carebell/v1/canary/a/sos", False),
        ("carebell/v1/430602/canary/event", False),
        ("x" + canary("carebell"), False),
        ("canary/a/event", False),
    ],
)
def test_only_the_topic_of_canaries_is_theirs(topic: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """A call for help, a device and a deeper topic are none."""
    assert is_canary(topic) is expected
