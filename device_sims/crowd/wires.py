"""The connections of a crowd of devices, all over one epoll: opened at a rate, kept alive, opened again.

A tick opens and keeps alive; between ticks `listen` reads what comes. PUBACKs, and the devices whose
connection died, wait in `pubacks` and `dead` until they are taken.
"""

import contextlib
import resource
import select
import ssl
import time
from collections import Counter
from pathlib import Path
from typing import Final

import mqtt5
import numpy as np

from device_sims.crowd.spread import Spread
from device_sims.crowd.turns import Doors
from device_sims.crowd.wire import REPLY_TIMEOUT, Place, Puback, Wire
from device_sims.stamp import Ints
from schemas.errors import UsageError
from schemas.settings import BrokerSettings

CARE: Final = 0.25
"""Seconds between looks at who must ping, and at whom the broker has forgotten."""
PING_AFTER: Final = 0.75
DEAD_AFTER: Final = 1.5
"""Parts of the keep-alive after which a silent device pings, and a silent broker is taken for lost."""

_SPARE_FILES: Final = 64
_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PING: Final = mqtt5.PingReqPacket().write()
_LEAVE: Final = mqtt5.DisconnectPacket().write()


class RefusedError(ConnectionError):
    """The broker answers CONNECT with a refusal; the argument is its reason."""


def make_room(connections: int) -> None:
    """Raise this process's limit of open files to what so many need; raises UsageError if that cannot be."""
    needed = connections + len(list(Path("/proc/self/fd").iterdir())) + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageError(
            f"{connections} connections need {needed} open files, and this process may have {hard}:"
            " raise the limit (ulimit -Hn, or LimitNOFILE of the service)"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    first, last = map(int, _PORTS.read_text("ascii").split())
    if connections > last - first + 1:
        raise UsageError(
            f"{connections} connections need as many ports, and an address has {last - first + 1}:"
            " widen net.ipv4.ip_local_port_range"
        )


def reason(error: Exception) -> str:
    """Say why a connection failed or died."""
    if isinstance(error, RefusedError):
        return f"the broker refuses: {error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted, see broker.ca_file: {error.verify_message}"
    return (getattr(error, "strerror", "") or str(error)).lower()


class Wires:
    """One connection for each device; arrays are by device."""

    def __init__(self, names: list[str], broker: BrokerSettings, doors: Doors, *, own_logins: bool) -> None:
        """Connect nobody yet; `wanted` says how many of the first devices are to be connected."""
        count = len(names)
        self.wanted = 0
        self.up, self.was_up, self.answered = (np.zeros(count, np.bool_) for _ in range(3))
        self.receive_max = np.zeros(count, np.int64)
        self.pubacks: list[Puback] = []
        self.dead: list[int] = []
        self.error: Exception | None = None
        self.troubles: Counter[str] = Counter()
        self.connecting = Spread()
        self.peak = self.reconnects = 0
        self._names, self._broker, self._doors, self._own_logins = names, broker, doors, own_logins
        self._secret = broker.secret().encode() or None
        self._place: Place | None = None
        self._poll = select.epoll()
        self._wires: dict[int, Wire] = {}
        self._by_file: dict[int, Wire] = {}
        self._next_care = 0.0
        self._began_at, self._spoke_at, self._keep_alive = (np.zeros(count) for _ in range(3))
        self._deadline = np.full(count, np.inf)  # until when the broker must have said something

    def find(self) -> None:
        """Look where the broker is; raises WeatherError or UsageError."""
        self._place = Place.of(self._broker)

    def listen(self, seconds: float) -> None:
        """Read what comes, and return at the latest after so many seconds."""
        for file, events in self._poll.poll(max(0.0, seconds)):
            wire = self._by_file.get(file)
            if wire is None:
                continue
            try:
                if events & select.EPOLLOUT or not wire.is_open:
                    self._poll.modify(file, wire.advance())
                if events & ~select.EPOLLOUT and wire.is_open:
                    now = time.perf_counter()
                    for packet in wire.read(now, self.pubacks):
                        self._hear(wire.device, packet, now)
            except OSError as error:
                self._fail(wire.device, error)

    def tick(self, now: float) -> None:
        """Open the connections whose turn it is, and every now and then look after the others."""
        for device in self._doors.due(now, self.wanted):
            self._open(device)
        if now >= self._next_care:
            self._next_care = now + CARE
            self._care(now)

    def send(self, device: int, data: bytes | memoryview) -> None:
        """Send; a connection that dies of it is found in `dead`."""
        wire = self._wires[device]
        try:
            if wire.send(data):
                self._poll.modify(wire.file, select.EPOLLIN | select.EPOLLOUT)
        except OSError as error:
            self._fail(device, error)

    def spoke(self, devices: Ints, now: float) -> None:
        """Note who has sent something: they need not ping."""
        self._spoke_at[devices] = now

    def heard(self, devices: Ints, now: float) -> None:
        """Note who has heard something: the broker lives."""
        devices = devices[self.up[devices]]
        self._deadline[devices] = now + DEAD_AFTER * self._keep_alive[devices]

    def leave(self) -> None:
        """Say good-bye and close all."""
        for device, wire in list(self._wires.items()):
            if self.up[device]:
                with contextlib.suppress(OSError):
                    wire.send(_LEAVE)
            wire.close()
        self._poll.close()

    def _open(self, device: int) -> None:
        self._began_at[device] = now = time.perf_counter()
        self._deadline[device] = now + REPLY_TIMEOUT
        assert self._place is not None  # noqa: S101  # `find` comes first
        try:
            wire = Wire(device, self._place, self._hello(device))
        except OSError as error:
            self._fail(device, error)
            return
        self._wires[device] = self._by_file[wire.file] = wire
        self._poll.register(wire.file, select.EPOLLOUT)

    def _hello(self, device: int) -> bytes:
        name = self._names[device]
        return mqtt5.ConnectPacket(
            name,
            username=name if self._own_logins else self._broker.username or None,
            password=self._secret,
            clean_start=True,
            keep_alive=self._broker.keep_alive,
        ).write()

    def _hear(self, device: int, packet: mqtt5.Packet, now: float) -> None:
        if isinstance(packet, mqtt5.ConnAckPacket):
            self._connack(device, packet, now)
        elif isinstance(packet, mqtt5.PubAckPacket):
            self.pubacks.append((device, packet.packet_id, int(packet.reason_code), now))
        elif isinstance(packet, mqtt5.DisconnectPacket):
            raise ConnectionError(f"the broker said {packet.reason_code.name.lower()}")
        else:
            self.heard(np.array([device]), now)

    def _connack(self, device: int, packet: mqtt5.ConnAckPacket, now: float) -> None:
        if packet.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            raise RefusedError(packet.reason_code.name.lower())
        if self.up[device]:
            raise ConnectionError("the broker said CONNACK twice")
        self._doors.passed(device)
        self.connecting.add(now - self._began_at[[device]])
        self.reconnects += int(self.was_up[device])
        self.up[device] = self.was_up[device] = self.answered[device] = True
        self.peak = max(self.peak, int(self.up.sum()))
        self.receive_max[device] = packet.receive_max
        self._keep_alive[device] = packet.server_keep_alive or self._broker.keep_alive
        self._spoke_at[device] = now
        self.heard(np.array([device]), now)

    def _fail(self, device: int, error: Exception) -> None:
        """Bury a connection, and let its device try again after a while."""
        if wire := self._wires.pop(device, None):
            del self._by_file[wire.file]
            wire.close()
        if self.up[device]:
            self.dead.append(device)
        self.error = error
        self.troubles[reason(error)] += 1
        self.up[device], self.answered[device] = False, True
        self._deadline[device] = np.inf
        self._doors.failed(device, time.perf_counter())

    def _care(self, now: float) -> None:
        for device in np.flatnonzero(self._deadline < now).tolist():
            self._fail(device, TimeoutError("the broker says nothing"))
        silent = np.flatnonzero(self.up & (self._spoke_at + PING_AFTER * self._keep_alive < now))
        self.spoke(silent, now)
        for device in silent.tolist():
            self.send(device, _PING)
