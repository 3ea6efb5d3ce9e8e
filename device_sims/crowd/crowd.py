"""Many devices, each on a connection of its own: as many as the files and ports of one process allow.

All connect first, at a rate; then they speak, each at its interval, at QoS 1. A connection that dies is
opened again after a while; what had no PUBACK by then is lost and not sent again.

One thread with one epoll: sockets are read when they have something to say; all else is done at each tick for
all devices at once, over arrays. An asyncio transport for each device took twice the CPU.
"""

import itertools
import math
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from device_sims.crowd.figures import Figures, Standing
from device_sims.crowd.flights import Flights
from device_sims.crowd.turns import Doors, Turns
from device_sims.crowd.wires import RefusedError, Wires, make_room, reason
from device_sims.load import Load
from device_sims.stamp import CHANNELS, Ints, Stamp
from schemas.clock import Clock
from schemas.errors import FatalError, UsageError, WeatherError
from schemas.settings import BrokerSettings

TICKS: Final = 0.002, 0.02
"""The shortest and the longest, in seconds; between them each is for some forty messages."""
_WORTHWHILE: Final = 40
REPORT_EVERY: Final = 0.25
PATIENCE: Final = 10.0
"""Seconds without any PUBACK after which the last ones are given up."""
LEEWAY: Final = 1.0
"""Seconds after the end in which what was due by then may still go out."""
_AT_ONCE: Final = 250
"""Messages of a tick: more would keep the PUBACKs waiting, and make them look late."""


class Crowd:
    """The devices of a load: `run` it once, in any thread; `stop` it from any other."""

    def __init__(
        self,
        broker: BrokerSettings,
        load: Load,
        clock: Clock | None = None,
        *,
        ramp: float = 500.0,
        own_logins: bool = False,
    ) -> None:
        """Take a load whose `rate` its devices share; `ramp` is in connections a second.

        `own_logins`: each device logs in by its own name, all with the broker's password. Raises UsageError.
        """
        load.check()
        if not load.seconds or not 0 < ramp < math.inf:
            raise UsageError(f"seconds = {load.seconds:g}, ramp = {ramp:g}: both must be above 0")
        make_room(load.devices)
        self._broker, self._load, self._clock = broker, load, clock or Clock()
        random = np.random.default_rng()
        self._turns = Turns(load.devices, load.devices / load.rate if load.rate else 0.0, random)
        self._flights = Flights(load.devices)
        self._seq = np.full(load.devices, load.first_seq)
        channels = CHANNELS if load.channel == "mix" else (load.channel,)
        self._stamps = itertools.cycle(
            [Stamp(channel, load.region, load.prefix, with_ts=load.with_ts) for channel in channels]
        )
        names = [load.name(device) for device in range(load.devices)]
        self._wires = Wires(names, broker, Doors(load.devices, ramp, random), own_logins=own_logins)
        shortest, longest = TICKS
        self._tick_seconds = min(longest, max(shortest, _WORTHWHILE / load.rate if load.rate else 0.0))
        self._stopped = self._speaking = False
        self._began = self._ended = self._last_puback = self._next_tick = self._next_report = 0.0

    def stop(self) -> None:
        """Let nothing more fall due, so that `run` returns when the last PUBACKs have come."""
        self._stopped = True

    def run(self, report: Callable[[Standing], None] = lambda _: None) -> Figures:
        """Connect, send, wait for the last PUBACKs; calls `report` a few times a second.

        Raises WeatherError if the broker does not answer the first device, FatalError if it refuses it.
        """
        try:
            self._connect(report)
            cpu = time.process_time()
            if not self._stopped:
                self._speak(report)
            open_at_end, unsent = int(self._wires.up.sum()), self._unsent()
            self._wait(report)
            report(self._standing(time.perf_counter()))
            return self._figures(time.process_time() - cpu, open_at_end, unsent)
        finally:
            self._wires.leave()

    # ------------------------------------------------------------------------------------------------ phases

    def _connect(self, report: Callable[[Standing], None]) -> None:
        """Connect the first device alone, so that what is wrong with all is told at once; then the others."""
        wires = self._wires
        wires.find()
        wires.wanted = 1
        self._live(lambda: not (wires.answered[0] or self._stopped), report)
        if wires.error:
            where = f"{self._broker.host}:{self._broker.port}"
            if isinstance(wires.error, RefusedError):
                raise FatalError(f"the broker at {where} refuses the load: {wires.error}")
            raise WeatherError(f"no broker at {where}: {reason(wires.error)}")
        wires.wanted = self._load.devices
        self._live(lambda: not (wires.answered.all() or self._stopped), report)

    def _speak(self, report: Callable[[Standing], None]) -> None:
        load, flights = self._load, self._flights
        self._began = time.perf_counter()
        self._turns.begin(self._began)
        self._turns.end(self._began + load.seconds)
        self._speaking = True
        self._live(
            lambda: (
                not self._stopped
                and time.perf_counter() < self._began + load.seconds
                and not (load.count and flights.sent >= load.count)
            ),
            report,
        )
        self._ended = time.perf_counter()
        self._turns.end(self._ended)
        self._live(lambda: self._unsent() > 0 and time.perf_counter() < self._ended + LEEWAY, report)
        self._speaking = False

    def _unsent(self) -> int:
        """Return how many messages are due, of those that the load asks for."""
        due = self._turns.unsent(time.perf_counter())
        return min(due, self._load.count - self._flights.sent) if self._load.count else due

    def _wait(self, report: Callable[[Standing], None]) -> None:
        self._wires.wanted = 0
        self._live(
            lambda: (
                self._flights.in_flight > 0
                and time.perf_counter() < max(self._ended, self._last_puback) + PATIENCE
            ),
            report,
        )

    def _live(self, goes_on: Callable[[], bool], report: Callable[[Standing], None]) -> None:
        """Listen, and tick, as long as it goes on."""
        while goes_on():
            self._wires.listen(self._next_tick - time.perf_counter())
            now = time.perf_counter()
            if now >= self._next_tick:
                self._next_tick = now + self._tick_seconds
                self._tick(now)
            if now >= self._next_report:
                self._next_report = now + REPORT_EVERY
                report(self._standing(now))

    # -------------------------------------------------------------------------------------------- every tick

    def _tick(self, now: float) -> None:
        wires, flights = self._wires, self._flights
        if wires.pubacks:
            devices, self._last_puback = flights.land(wires.pubacks)
            wires.heard(devices, now)
            wires.pubacks.clear()
        if wires.dead:
            flights.lose(wires.dead)
            wires.dead.clear()
        wires.tick(now)
        if self._speaking:
            self._publish(now)

    def _publish(self, now: float) -> None:
        """Let those speak whose turn it is."""
        load, flights, wires = self._load, self._flights, self._wires
        most = min(_AT_ONCE, load.window - flights.in_flight)
        if load.count:
            most = min(most, load.count - flights.sent)
        who, times = self._turns.take(now, wires.up, wires.receive_max - flights.of, most)
        if not len(who):
            return
        each = np.repeat(who, times)
        ends = np.cumsum(times)
        seqs = self._seq[each] + np.arange(len(each)) - np.repeat(ends - times, times)
        self._seq[who] += times
        ids = flights.begin(each)
        packets = next(self._stamps).packets(ids, each, seqs, self._clock.now())
        flights.left(ids, np.repeat(self._send(who, ends, packets), times))
        wires.spoke(who, now)
        if len(each) == _AT_ONCE:
            self._next_tick = now  # there is more to say

    def _send(self, who: Ints, ends: Ints, packets: bytes) -> list[float]:
        """Send to each device its part of the packets, as far as its end; return when."""
        length, view, begin = len(packets) // int(ends[-1]), memoryview(packets), 0
        at = []
        for device, end in zip(who.tolist(), (ends * length).tolist(), strict=True):
            at.append(time.perf_counter())
            self._wires.send(device, view[begin:end])
            begin = end
        return at

    # -------------------------------------------------------------------------------------------- what it was

    def _standing(self, now: float) -> Standing:
        spoken = (self._ended or now) - self._began if self._began else 0.0
        return Standing(int(self._wires.up.sum()), self._flights.sent, self._flights.acked, spoken)

    def _figures(self, cpu_seconds: float, open_at_end: int, unsent: int) -> Figures:
        wires, flights = self._wires, self._flights
        return Figures(
            wanted=int(wires.answered.sum()),
            connected=int(wires.was_up.sum()),
            peak=wires.peak,
            open_at_end=open_at_end,
            reconnects=wires.reconnects,
            troubles=wires.troubles,
            connecting=wires.connecting,
            asked=self._load.rate,
            sent=flights.sent,
            acked=flights.acked,
            refused=flights.refused,
            lost=flights.lost + flights.in_flight,
            missed=self._turns.missed,
            unsent=unsent,
            seconds=max(self._ended, self._last_puback) - self._began,
            behind=self._turns.behind,
            puback=flights.puback,
            cpu_seconds=cpu_seconds,
        )
