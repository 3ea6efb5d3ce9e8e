"""What the bench reckons with: which step a sample belongs to, and what an empty subscriber sees."""

import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.parts import FLEETS, SOS, Bench
from bench.peers.messages import Vitals
from bench.peers.rules import Alarm, Rules
from bench.scale import QUICK
from bench.steps import NAMES, OTHER, STEPS, read, step_of
from bench.subscriber import _alike
from bench.table import Line, table
from device_sims.stamp import FIRST_SEQ, Stamp
from ops.parts import PartError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("stack", "step"),
    [
        ("Session.puback (ingest/mqtt.py:1)", "acknowledge"),
        ("_Protocol._packets (ingest/mqtt.py:1);_Protocol.data_received (ingest/mqtt.py:2)", "receive"),
        ("copy_to (psycopg/generators.py:3);write (store/copy.py:2)", "encode, COPY, commit"),
        (
            "x (psycopg/x.py:3);L.run (store/connection.py:3);S.commit (store/writer.py:3)",
            "encode, COPY, commit",
        ),
        ("isin (numpy/x.py:1);Store._drop (store/writer.py:4);run_line (ingest/line.py:7)", "deduplicate"),
        ("Engine.evaluate (rules/engine.py:1);run_line (ingest/line.py:7)", "evaluate"),
        ("_run_once (asyncio/base_events.py:1);run (asyncio/runners.py:7)", OTHER),
    ],
)
def test_a_sample_belongs_to_the_innermost_step(stack: str, step: str) -> None:
    """What a library does counts for the step that called it, and what nobody of ours called for the loop."""
    assert step_of(stack.split(";")) == step


def test_each_step_names_files_that_there_are() -> None:
    """A file of ours that was renamed would be counted for the loop in silence."""
    ours = [str(path.relative_to(ROOT)) for path in ROOT.glob("*/*.py")]
    for file, _, _ in STEPS:
        assert file.startswith("asyncio/") or any(re.fullmatch(file, path) for path in ours), file


def test_only_the_loop_counts_and_only_while_it_works() -> None:
    """Samples of other threads and of the wait in select are left out; the shares are of the rest."""
    profile = read(
        [
            "thread (1): MainThread;run (asyncio/runners.py:1);Engine.evaluate (rules/engine.py:9) 30",
            "thread (1): MainThread;run (asyncio/runners.py:1);puback (ingest/mqtt.py:9) 10",
            "thread (1): MainThread;run (asyncio/runners.py:1);EpollSelector.select (selectors.py:4) 500",
            "thread (2): worker;Condition.wait (threading.py:3) 900",
        ],
        8.0,
    )
    assert profile.samples == 40
    assert profile.steps == {"evaluate": 0.75, "acknowledge": 0.25}
    assert [line.what for line in profile.lines()] == list(NAMES)
    assert "75.0%, 6.00 us/msg" in [line.measured for line in profile.lines()]


@pytest.mark.parametrize("prefix", ["D-", "DEVICE-OF-A-LONG-NAME-"])
def test_an_empty_subscriber_sees_the_ids_of_whole_packets_of_one_length(prefix: str) -> None:
    """It sees each whole message of a load once, leaves a cut one for later, and all others to the codec."""
    ids = np.array([1, 256, 65_535, 7])
    packets = Stamp("vitals", "430602", prefix, with_ts=True).packets(ids, ids, FIRST_SEQ + ids, 10**15)
    length = len(packets) // len(ids)
    found, used = _alike(packets + packets[: length // 2])
    assert (found.tolist(), used) == (ids.tolist(), len(packets))
    assert _alike(b"\x40\x02\x00\x01" + packets)[1] == 0
    assert _alike(packets + b"\x40\x02\x00\x01" + packets)[1] == 0
    assert _alike(packets[: length - 1])[1] == 0


def test_the_rules_of_the_peers_are_the_shipped_ones() -> None:
    """A pulse of 131 for ten minutes raises, a gap begins anew, 120 clears, 30 silent minutes raise."""
    rules, minute = Rules(), 60.0
    high, fair = Vitals(hr=131), Vitals(hr=120)

    def pulse(said: Vitals, at: float) -> list[Alarm]:
        return rules.evaluate(7, "vitals", said, at * minute, at * minute)

    assert [pulse(high, at) for at in (0, 5, 9.9)] == [[], [], []]
    assert pulse(high, 10) == [Alarm(7, "hr_high", is_raised=True, at=10 * minute)]
    assert pulse(high, 11) == []
    assert pulse(fair, 12) == [Alarm(7, "hr_high", is_raised=False, at=12 * minute)]
    assert [pulse(high, at) for at in (13, 24, 33)] == [[], [], []]
    assert rules.scan(63 * minute) == []
    assert rules.scan(63.1 * minute) == [Alarm(7, "device_silent", is_raised=True, at=63.1 * minute)]
    assert rules.scan(64 * minute) == []


def _fail(error: Exception) -> None:
    raise error


async def test_a_part_that_cannot_be_measured_says_why_and_leaves_the_others() -> None:
    """What was measured stays, the rest is named with the reason; a fault of the bench ends it."""
    bench = Bench(QUICK, Console(quiet=True))
    async with bench._may_fail(SOS, FLEETS):
        bench._add(SOS, [Line("idle", "12.0", "50")], {"p99_ms": 12.0})
        _fail(PartError("no database"))
    assert [(part.name, part.figures) for part in bench.parts] == [
        (SOS, {"p99_ms": 12.0}),
        (FLEETS, {"not_measured": "PartError: no database"}),
    ]
    shown = Console(width=120)
    with shown.capture() as captured:
        shown.print(table(bench.parts, "figures"))
    assert "PartError: no database" in captured.get()
    with pytest.raises(ZeroDivisionError):
        async with bench._may_fail(FLEETS):
            _fail(ZeroDivisionError())
