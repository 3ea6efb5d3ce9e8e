"""A crowd's load without a broker: whose turn it is, what is in flight, how times are spread."""

import asyncio
import json
import math
import re
import resource
import tracemalloc
from collections import Counter
from dataclasses import replace

import mqtt5
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_sims.crowd.crowd import Crowd
from device_sims.crowd.figures import Figures
from device_sims.crowd.flights import Flights
from device_sims.crowd.ring import CAPACITY, Ring
from device_sims.crowd.spread import Spread
from device_sims.crowd.turns import JITTER, LONGEST_BACKOFF, Doors, Turns
from device_sims.crowd.wires import Wires, make_room
from device_sims.load import Load
from device_sims.stamp import FIRST_SEQ, Ints, Stamp
from ops.crowd import gather, send
from schemas.clock import Clock
from schemas.errors import UsageError, WeatherError
from schemas.settings import BrokerSettings

TICK = 0.01


def random() -> np.random.Generator:
    """Return the same random numbers each time."""
    return np.random.default_rng(7)


def take(turns: Turns, now: float, room: Ints, most: int) -> tuple[Ints, Ints]:
    """Return who speaks if all are up."""
    return turns.take(now, np.ones(len(room), np.bool_), room, most)


# ------------------------------------------------------------------------------------------------ packet ids


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 30_000), st.floats(0, 1)), max_size=20))
def test_an_id_in_flight_is_not_given_out(steps: list[tuple[int, float]]) -> None:
    """However many are taken and given back, an id has one bearer, and 0 is none."""
    ring, flying = Ring(), np.zeros(0, np.int64)
    for count, part in steps:
        taken = ring.take(np.arange(min(count, CAPACITY - len(flying))))
        assert not np.isin(taken, flying).any()
        flying = np.concatenate([flying, taken])
        assert len(np.unique(flying)) == len(flying)
        assert flying.min() >= 1
        assert flying.max() <= CAPACITY
        landing = int(len(flying) * part)
        assert ring.once(flying).all()
        ring.give_back(flying[:landing])
        assert not ring.once(flying[:landing]).any()
        flying = flying[landing:]


def test_all_ids_can_be_in_flight() -> None:
    """65,535 can be taken, again and again."""
    ring = Ring()
    for _ in range(3):
        ids = ring.take(np.full(CAPACITY, 5))
        assert sorted(ids.tolist()) == list(range(1, CAPACITY + 1))
        assert set(ring.give_back(ids).tolist()) == {5}


# ------------------------------------------------------------------------------------------------- in flight


def test_every_message_is_accounted_for() -> None:
    """Sent = acknowledged + refused + lost + in flight, in all and by device."""
    flights = Flights(3)
    ids = flights.begin(np.array([0, 0, 1, 1, 2, 2]))
    flights.left(ids, np.full(6, 1.0))
    flights.land([(0, int(ids[0]), 0, 1.25), (0, int(ids[1]), 0x10, 1.5), (1, int(ids[2]), 0x87, 2.0)])
    flights.lose([2])
    assert (flights.sent, flights.acked, flights.refused, flights.lost) == (6, 2, 1, 2)
    assert flights.in_flight == 1
    assert flights.of.tolist() == [0, 1, 0]
    assert flights.puback.quantile(1.0) == 1.0


@pytest.mark.parametrize(
    "puback",
    [(1, 0, 0, 1.0), (1, 65_535, 0, 1.0), (0, 1, 0, 1.0), (1, 2, 0, 1.0)],
    ids=["id 0", "not in flight", "of another device", "a second time"],
)
def test_a_puback_that_nobody_waits_for_counts_nothing(puback: tuple[int, int, int, float]) -> None:
    """Ids that are unknown, of another device's message or acknowledged before change no account."""
    flights = Flights(2)
    flights.begin(np.array([1, 1]))
    flights.land([(1, 2, 0, 1.0), puback])
    assert (flights.acked, flights.in_flight, flights.of.tolist()) == (1, 1, [0, 1])


# ------------------------------------------------------------------------------------------------ the spread


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 500), min_size=1, max_size=300))
def test_percentiles_are_right_to_a_hundredth(seconds: list[float]) -> None:
    """A percentile lies at most 1.1 % above the true one, and the longest time is exact."""
    spread, times = Spread(), np.array(seconds)
    for some in np.array_split(times, 3):
        spread.add(some)
    for part in (0.5, 0.9, 0.99):
        true = np.quantile(times, part, method="inverted_cdf")
        assert true * 0.999999 <= spread.quantile(part) <= true * 1.011
    assert spread.quantile(1.0) == times.max()


def test_a_spread_does_not_grow() -> None:
    """A million times take no more memory than one."""
    spread = Spread()
    spread.add(random().random(1000))
    tracemalloc.start()
    for _ in range(1000):
        spread.add(random().random(1000))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100_000


def test_no_times_have_no_percentile() -> None:
    """Of nothing all figures are 0; times beyond all buckets still count as the longest."""
    spread = Spread()
    assert spread.milliseconds() == {"p50": 0, "p90": 0, "p99": 0, "max": 0}
    spread.add(np.array([0.0, 1e9]))
    assert spread.quantile(0.5) < 2e-6


# ------------------------------------------------------------------------------------------------- the turns


def test_each_device_keeps_its_interval() -> None:
    """In 100 intervals each speaks about 100 times, an interval apart but for the jitter, not all at once."""
    turns, room = Turns(50, 1.0, random()), np.full(50, 10)
    turns.begin(0.0)
    said: list[list[float]] = [[] for _ in range(50)]
    for now in np.arange(0, 100, TICK):
        for device in take(turns, now, room, 1000)[0]:
            said[device].append(now)
    assert all(98 <= len(each) <= 102 for each in said)
    assert len({each[0] for each in said}) > 30
    gaps = np.concatenate([np.diff(each) for each in said])
    assert 1 - JITTER - TICK < gaps.min() < 1 - JITTER / 2
    assert 1 + JITTER / 2 < gaps.max() < 1 + JITTER + TICK
    assert turns.behind <= TICK


def test_a_rate_is_kept_when_intervals_are_shorter_than_ticks() -> None:
    """A device that is to speak a thousand times a second does, several times at each tick."""
    turns = Turns(3, 0.001, random())
    turns.begin(0.0)
    said = np.zeros(3, np.int64)
    for now in np.arange(0, 5, TICK):
        who, times = take(turns, now, np.full(3, 100), 1000)
        said[who] += times
    assert np.all(np.abs(said - 5000) < 100)


def test_room_and_bound_are_kept_and_told() -> None:
    """Nobody speaks without room, no more than the bound in all; what is late is told, and made up for."""
    turns = Turns(4, 1.0, random())
    turns.begin(0.0)
    who, times = take(turns, 10.0, np.array([0, 1, 100, 100]), 12)
    assert 0 not in who
    assert times[who == 1].sum() <= 1
    assert times.sum() <= 12
    assert turns.behind >= 9.0
    made_up = sum(take(turns, 10.0, np.full(4, 100), 1000)[1].sum() for _ in range(5))
    assert 34 <= times.sum() + made_up <= 46


def test_nobody_is_passed_over() -> None:
    """Where the bound lets only a few speak at a time, all come to speak equally often."""
    turns, said = Turns(10, 0.0, random()), np.zeros(10, np.int64)
    turns.begin(0.0)
    for _ in range(50):
        who, times = take(turns, 1.0, np.full(10, 5), 3)
        assert times.sum() == 3
        said[who] += times
    assert said.min() == said.max() == 15


def test_as_many_as_go_are_shared_out() -> None:
    """Without a rate all that have room share the bound."""
    turns = Turns(10, 0.0, random())
    turns.begin(0.0)
    who, times = take(turns, 1.0, np.full(10, 50), 100)
    assert who.tolist() == list(range(10))
    assert set(times.tolist()) == {10}


def test_missed_turns_are_told_and_not_made_up_for() -> None:
    """A device that was away goes on as it would have, nobody is late, and what it missed is counted."""
    turns = Turns(2, 1.0, random())
    turns.begin(0.0)
    for now in np.arange(0, 60, TICK):
        turns.take(now, np.array([True, False]), np.full(2, 5), 100)
    assert 59 <= turns.missed <= 61
    said = [take(turns, now, np.array([0, 5]), 100)[1].sum() for now in np.arange(60, 62, TICK)]
    assert 1 <= sum(said) <= 3
    assert turns.behind <= TICK
    away = Turns(3, 1.0, random())
    away.begin(0.0)
    away.take(10.0, np.zeros(3, np.bool_), np.full(3, 5), 100)
    assert 27 <= away.missed <= 33
    seldom = Turns(10, 0.05, random())
    seldom.begin(0.0)
    for now in np.arange(0, 10, 0.02):
        seldom.take(now, np.zeros(10, np.bool_), np.full(10, 5), 100)
    assert 1900 <= seldom.missed <= 2100


def test_what_is_due_at_the_end_and_has_not_gone_out_is_told() -> None:
    """Who had no room by the end owes all of it and is late by all of it; nothing falls due afterwards."""
    turns = Turns(2, 1.0, random())
    turns.begin(0.0)
    for now in np.arange(0, 10, TICK):
        take(turns, now, np.array([0, 5]), 100)
    assert turns.behind <= TICK
    turns.end(10.0)
    assert 10 <= turns.unsent(11.0) <= 11
    assert 10 <= turns.behind <= 11
    gone = sum(take(turns, 20.0, np.full(2, 5), 100)[1].sum() for _ in range(4))
    assert 9 <= gone <= 12
    assert turns.unsent(20.0) == 0


def test_as_many_as_go_owes_nothing() -> None:
    """Without a rate no message has a time of its own: none is missed, none is left over."""
    turns = Turns(2, 0.0, random())
    turns.begin(0.0)
    turns.take(5.0, np.zeros(2, np.bool_), np.full(2, 5), 100)
    turns.end(10.0)
    assert (turns.missed, turns.unsent(11.0), turns.behind) == (0, 0, 0.0)


# ------------------------------------------------------------------------------------------------- the doors


def test_connections_are_opened_at_the_rate() -> None:
    """In any second no more than asked for, each device once, the first at once."""
    doors = Doors(500, 100.0, random())
    tried = {}
    for now in np.arange(5.0, 12.0, TICK):
        for device in doors.due(now, 500):
            assert device not in tried
            tried[device] = now
    times = sorted(tried.values())
    assert times[0] == 5.0
    assert len(times) == 500
    assert all(later - earlier > 0.9 for earlier, later in zip(times, times[106:], strict=False))
    assert times[-1] == pytest.approx(10.0, abs=0.2)


def test_a_pause_is_not_made_up_for() -> None:
    """After a stall only a few are opened together, so that the broker's queue is not overrun."""
    doors = Doors(500, 100.0, random())
    doors.due(0.0, 500)
    assert len(doors.due(60.0, 500)) == 5


def test_who_fails_tries_ever_more_seldom() -> None:
    """The wait grows from half a second to half a minute, and begins anew once the device came up."""
    doors, now, waits = Doors(1, 1000.0, random()), 1.0, []

    def wait() -> float:
        began = later = now
        doors.failed(0, began)
        while not doors.due(later, 1):
            later += TICK
        return later - began

    assert doors.due(now, 1) == [0]
    assert doors.due(now, 1) == []  # it is under way
    for _ in range(10):
        waits.append(wait())
        now += waits[-1]
    assert 0.25 <= waits[0] <= 0.5 + TICK
    assert 1.0 <= waits[2] <= 2.0 + TICK
    assert LONGEST_BACKOFF / 2 <= waits[-1] <= LONGEST_BACKOFF + TICK
    doors.passed(0)
    assert wait() <= 0.5 + TICK


# -------------------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": math.nan},
        {"seconds": -1.0},
        {"rate": math.inf},
        {"rate": math.nan},
        {"count": -1},
        {"window": 0},
        {"window": 65_536},
        {"prefix": "a/#"},
        {"prefix": "LONG" * 16},
        {"region": "+"},
    ],
    ids=str,
)
def test_a_load_of_nonsense_is_refused(wrong: dict[str, float]) -> None:
    """Numbers that are none, windows that no ids are for, names that make no topic: one sentence for each."""
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}"):
        Load(**{"count": 1, **wrong}).check()  # type: ignore[arg-type]  # wrong on purpose


def test_more_connections_than_files_or_ports_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can have ten million: the sentence says what there is, and the limit stays as it was."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(UsageError, match=r"10000000 connections need .*(LimitNOFILE|ip_local_port_range)"):
        make_room(10_000_000)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    monkeypatch.setattr(resource, "getrlimit", lambda _: (50, 100))
    with pytest.raises(
        UsageError, match=r"200 connections need \d+ open files, and this process may have 100"
    ):
        make_room(200)


ALL_WELL = Figures(
    wanted=10,
    connected=10,
    peak=10,
    open_at_end=10,
    reconnects=5,
    troubles=Counter(),
    connecting=Spread(),
    asked=0.0,
    sent=100,
    acked=100,
    refused=0,
    lost=0,
    missed=0,
    unsent=0,
    seconds=1.0,
    behind=0.0,
    puback=Spread(),
    cpu_seconds=0.5,
)


@pytest.mark.parametrize(
    ("figures", "fault"),
    [
        ({}, ""),
        ({"connected": 9, "open_at_end": 9}, "1 of 10 devices could not connect"),
        ({"open_at_end": 7}, "3 devices had no connection at the end"),
        ({"acked": 98, "lost": 2}, "2 of 100 messages were not taken over"),
        ({"missed": 5}, "5 messages had no connection to go by"),
        ({"unsent": 4}, "4 messages were due and did not go out"),
    ],
)
def test_what_is_missing_is_a_fault(figures: dict[str, int], fault: str) -> None:
    """A device without a connection and a message that did not go or had no PUBACK are, nothing else is."""
    found = replace(ALL_WELL, **figures)  # type: ignore[arg-type]  # counts only
    assert found.fault == fault
    assert found.plain()["cpu_us_per_message"] == 5000
    assert found.plain()["cpu_share"] == 0.5


@pytest.mark.parametrize("prefix", ["G5", "G555", "5555555", "W7777777777-", "T8888888888888-6666"])
def test_a_prefix_is_not_taken_for_what_varies(prefix: str) -> None:
    """Names that end in the digits of the stamp still name each device, and each `seq` is its own."""
    load = Load(count=1, prefix=prefix)
    load.check()
    numbers = np.array([0, 12, 9_999_999])
    stamp = Stamp("vitals", load.region, prefix, with_ts=True)
    data = memoryview(stamp.packets(numbers + 1, numbers, FIRST_SEQ + numbers, 1_700_000_000_123_000))
    for number in numbers.tolist():
        packet, length = mqtt5.read(data)
        data = data[length:]
        assert isinstance(packet, mqtt5.PublishPacket)
        assert packet.topic == f"carebell/v1/430602/{load.name(number)}/vitals"
        said = json.loads(packet.payload)
        assert (said["seq"], said["ts"]) == (FIRST_SEQ + number, 1_700_000_000_123)
        assert 60 <= said["hr"] < 100


@pytest.mark.parametrize(
    ("host", "to", "refused"),
    [
        ("127.0.0.1", "", ""),
        ("::1", "", ""),
        ("Localhost", "", ""),
        ("mqtt.example", "mqtt.example", ""),
        ("mqtt.example", "", "mqtt.example is another machine: a load goes there with --to mqtt.example"),
        ("10.0.0.5", "", "10.0.0.5 is another machine: a load goes there with --to 10.0.0.5"),
        ("127.0.0.1.example", "", "127.0.0.1.example is another machine"),
        ("127.0.0.1", "mqtt.example", "--to mqtt.example: broker.host is 127.0.0.1"),
    ],
)
def test_another_machine_is_loaded_only_by_name(
    host: str, to: str, refused: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A load goes to this machine, else to the one that is named, and says where; burst and crowd alike."""

    def away(*_: object) -> None:
        raise WeatherError("away")

    monkeypatch.setattr("ops.crowd.burst", away)
    monkeypatch.setattr(Crowd, "run", away)
    broker, load = BrokerSettings(host=host, port=4711), Load(devices=1, seconds=1.0)
    burst = send(broker, load, Clock(), to=to)
    crowd = gather(broker, load, Clock(), to=to, ramp=1.0, own_logins=False)
    for each in (burst, crowd):
        with pytest.raises(UsageError if refused else WeatherError, match=re.escape(refused or "away")):
            asyncio.run(each)
    assert capsys.readouterr().err == ("" if refused else f"load for {host}:4711\n" * 2)


def test_only_who_is_connected_hears() -> None:
    """Words that come with the end of a connection set no deadline for the next one."""
    wires = Wires(["A", "B"], BrokerSettings(), Doors(2, 1.0, random()), own_logins=False)
    wires.up[0] = True
    wires.heard(np.array([0, 1]), 5.0)
    assert wires._deadline.tolist() == [5.0, math.inf]
    wires.leave()
