"""A fast load generator: as many messages at QoS 1 as a broker takes, each with a (device, seq) of its own.

Packets are stamped out by the hundred, PUBACKs read in bulk: the generator is never the slowest part.
What was acknowledged is known at any moment, also when the connection dies in the middle.
"""

import asyncio
import contextlib
import secrets
import time

import mqtt5
import numpy as np

from device_sims.crowd.ring import Ring
from device_sims.crowd.wire import trust
from device_sims.load import Load, Outcome
from device_sims.stamp import CHANNELS, Ints, Stamp
from schemas.clock import Clock
from schemas.errors import FatalError, WeatherError
from schemas.settings import BrokerSettings

_TICK = 0.002
_PING_AFTER = 15.0
_REPLY_TIMEOUT = 10.0
_CHUNK = 500
_WORTHWHILE = 100
_REFUSED = 0x80
_PUBACK = 0x40
_SHORT_PUBACK, _LONG_PUBACK = 4, 6


async def burst(broker: BrokerSettings, load: Load, clock: Clock | None = None) -> Outcome:
    """Send a load over one connection; `clock` tells the messages' `ts`, real time by default.

    Raises WeatherError if the broker does not answer, FatalError if it refuses us. A connection that dies
    later ends the burst and is told in the outcome.
    """
    load.check()
    tls = trust(broker)
    loop = asyncio.get_running_loop()
    shown = clock or Clock()
    try:
        _, protocol = await loop.create_connection(
            lambda: _Connection(broker, load, shown), broker.host, broker.port, ssl=tls
        )
        return await protocol.run()
    except (OSError, TimeoutError) as error:
        raise WeatherError(f"no broker at {broker.host}:{broker.port}: {error}") from error


class _Connection(asyncio.Protocol):
    """One connection: fills the window whenever PUBACKs come in, or at each tick where a rate is set."""

    def __init__(self, broker: BrokerSettings, load: Load, clock: Clock) -> None:
        self._broker, self._load, self._clock = broker, load, clock
        names = CHANNELS if load.channel == "mix" else (load.channel,)
        self._stamps = [Stamp(name, load.region, load.prefix, with_ts=load.with_ts) for name in names]
        self._ring = Ring()
        self._rest = b""
        self._writable = True
        self._window = load.window
        self._sent = self._refused = self._chunks = 0
        self._acked: list[Ints] = []
        self._acked_count = 0
        self._began = self._spoke = 0.0
        self._lost = ""
        loop = asyncio.get_running_loop()
        self._connack: asyncio.Future[mqtt5.ConnAckPacket] = loop.create_future()
        self._done: asyncio.Future[None] = loop.create_future()

    async def run(self) -> Outcome:
        """Connect, send, wait for the last PUBACK, tell."""
        connack = await asyncio.wait_for(self._connack, _REPLY_TIMEOUT)
        if connack.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            self._transport.abort()
            raise FatalError(
                f"the broker at {self._broker.host}:{self._broker.port} refuses the burst:"
                f" {connack.reason_code.name.lower()}"
            )
        self._window = min(self._window, connack.receive_max)
        cpu = time.process_time()
        self._began = self._spoke = time.perf_counter()
        self._fill()
        await self._tick_until_done()
        seconds = time.perf_counter() - self._began
        with contextlib.suppress(OSError):
            self._transport.write(mqtt5.DisconnectPacket().write())
        self._transport.close()
        acked = np.concatenate([np.empty(0, np.int64), *self._acked])
        return Outcome(
            sent=self._sent,
            acked=self._acked_count,
            refused=self._refused,
            seconds=seconds,
            rate=self._acked_count / seconds,
            cpu_seconds=time.process_time() - cpu,
            lost=self._lost,
            load=self._load,
            _acked=acked,
        )

    async def _tick_until_done(self) -> None:
        """Keep the rate and the connection alive; give up on PUBACKs that do not come for 10 seconds."""
        while not self._done.done():
            await asyncio.wait([self._done], timeout=_TICK)
            self._fill()
            idle = time.perf_counter() - self._spoke
            if idle > _REPLY_TIMEOUT and self._in_flight and not self._done.done():
                self._lost = f"no PUBACK for {_REPLY_TIMEOUT:g} s"
                self._done.set_result(None)
            if idle > _PING_AFTER and not self._transport.is_closing():
                self._write(mqtt5.PingReqPacket().write())

    # --------------------------------------------------------------------------------- asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a TCP connection has no other
        self._transport = transport
        transport.set_write_buffer_limits(high=4 * 1024 * 1024)
        secret = self._broker.secret()
        packet = mqtt5.ConnectPacket(
            f"burst-{secrets.token_hex(6)}",
            username=self._broker.username or None,
            password=secret.encode() if secret else None,
            clean_start=True,
            keep_alive=60,
        )
        transport.write(packet.write())

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._lost or (
            "" if self._done.done() else str(exc or "the broker closed the connection")
        )
        if not self._connack.done():
            self._connack.set_exception(ConnectionError(self._lost))
        if not self._done.done():
            self._done.set_result(None)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._fill(_WORTHWHILE)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        used = self._bulk(data) or self._one_by_one(data)
        self._rest = data[used:]
        self._fill(_WORTHWHILE)

    # ------------------------------------------------------------------------------------------- receiving

    def _bulk(self, data: bytes) -> int:
        """Read PUBACKs that all have the same length; return the bytes read, 0 if there is anything else."""
        if len(data) < _SHORT_PUBACK or not _SHORT_PUBACK <= 2 + data[1] <= _LONG_PUBACK:
            return 0
        length = 2 + data[1]
        whole = len(data) // length * length
        table = np.frombuffer(data, np.uint8, whole).reshape(-1, length)
        if not whole or (table[:, 0] != _PUBACK).any() or (table[:, 1] != data[1]).any():
            return 0
        ids = table[:, 2].astype(np.int64) << 8 | table[:, 3]
        self._take_acks(
            ids, table[:, 4] >= _REFUSED if length > _SHORT_PUBACK else np.zeros(len(ids), np.bool_)
        )
        return whole

    def _one_by_one(self, data: bytes) -> int:
        used = 0
        with memoryview(data) as view:
            while used < len(data):
                try:
                    packet, length = mqtt5.read(view[used:])
                except IndexError:
                    break
                used += length
                self._handle(packet)
        return used

    def _handle(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.PubAckPacket):
            self._take_acks(np.array([packet.packet_id]), np.array([int(packet.reason_code) >= _REFUSED]))
        elif isinstance(packet, mqtt5.ConnAckPacket):
            self._connack.set_result(packet)
        elif isinstance(packet, mqtt5.DisconnectPacket):
            self._lost = f"the broker said {packet.reason_code.name.lower()}"

    def _take_acks(self, ids: Ints, refused: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        mine = self._ring.once(ids)
        numbers = self._ring.give_back(ids[mine])
        good = numbers[~refused[mine]]
        self._acked.append(good)
        self._acked_count += len(good)
        self._refused += len(numbers) - len(good)
        self._spoke = time.perf_counter()
        if self._is_over() and self._in_flight == 0 and not self._done.done():
            self._done.set_result(None)

    # --------------------------------------------------------------------------------------------- sending

    @property
    def _in_flight(self) -> int:
        return self._sent - self._acked_count - self._refused

    def _is_over(self) -> bool:
        """Say whether nothing more is to be sent."""
        load = self._load
        if load.count and self._sent >= load.count:
            return True
        return bool(load.seconds) and time.perf_counter() - self._began >= load.seconds

    def _allowed(self) -> int:
        """Return how many messages may go out now."""
        load = self._load
        allowed = min(self._window - self._in_flight, _CHUNK)
        if load.count:
            allowed = min(allowed, load.count - self._sent)
        if load.rate:
            allowed = min(allowed, int(load.rate * (time.perf_counter() - self._began)) - self._sent)
        return allowed

    def _fill(self, least: int = 1) -> None:
        """Send what may go out, unless it is less than `least`: each tick asks for one."""
        if not self._began or self._done.done():
            return
        while self._writable and not self._is_over() and (n := self._allowed()) >= least:
            numbers = np.arange(self._sent, self._sent + n)
            stamp = self._stamps[self._chunks % len(self._stamps)]
            ids = self._ring.take(numbers)
            seqs = self._load.first_seq + numbers
            self._sent += n
            least = _WORTHWHILE  # what a rate allows meanwhile can wait for the next tick
            self._chunks += 1
            self._write(stamp.packets(ids, numbers % self._load.devices, seqs, self._clock.now()))
        if self._is_over() and self._in_flight == 0:
            self._done.set_result(None)

    def _write(self, data: bytes) -> None:
        self._spoke = time.perf_counter()
        self._transport.write(data)
