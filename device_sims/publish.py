"""Play a timeline over MQTT 5 at QoS 1, as real devices would.

Each device keeps its order and sends again what was not acknowledged. The devices share a few connections.
After a lost connection a send that had no PUBACK goes out again as a new packet, and its number is noted in
the truth as uncertain.
"""

import asyncio
import contextlib
import math
import secrets
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import aiomqtt

from device_sims.town import Send, Town
from device_sims.truth import Played, Truth
from schemas.clock import Clock
from schemas.errors import FatalError, WeatherError
from schemas.settings import BrokerSettings

CONNECTIONS = 8
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 3.0
PATIENCE = 60.0
"""Real seconds without a broker after which the player gives up."""

_HOPELESS = {132, 133, 134, 135, 138}  # version, client id, user or password, not authorized, banned
_TO_COME = 1_000_000


@dataclass
class Progress:
    """How far the play is: `behind` is how late the newest send was, in real seconds."""

    total: int
    sent: int = 0
    acknowledged: int = 0
    behind: float = 0.0
    reconnects: int = 0


async def play(
    town: Town,
    broker: BrokerSettings,
    clock: Clock,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    connections: int = CONNECTIONS,
) -> Progress:
    """Publish a town's timeline at its times; fills in `played` and `uncertain` of its truth.

    Returns when every send has its PUBACK. Raises WeatherError if the broker stays away, FatalError if it
    refuses us.
    """
    progress = Progress(len(town.sends))
    count = min(connections, len(town.truth.devices))
    turn = {device: number % count for number, device in enumerate(town.truth.devices)}
    lines = [
        _Line(
            broker,
            clock,
            town.truth,
            (send for send in town.sends if turn[send.device] == number),
            progress=progress,
            report=on_progress or _say_nothing,
        )
        for number in range(count)
    ]
    try:
        async with asyncio.TaskGroup() as group:
            for line in lines:
                group.create_task(line.run())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return progress


def _say_nothing(_: Progress) -> None:
    """Stand in for a listener."""


class _Line:
    """One connection with its share of the devices."""

    def __init__(
        self,
        broker: BrokerSettings,
        clock: Clock,
        truth: Truth,
        sends: Iterable[Send],
        *,
        progress: Progress,
        report: Callable[[Progress], None],
    ) -> None:
        """Take the sends of some devices, in order."""
        self._broker = broker
        self._clock = clock
        self._truth = truth
        self._progress = progress
        self._report = report
        self._waiting = deque(sends)
        self._unacknowledged: dict[int, Send] = {}

    async def run(self) -> None:
        """Play to the end, over as many connections as it takes."""
        backoff, away_since = FIRST_BACKOFF, math.inf
        loop = asyncio.get_running_loop()
        while self._waiting or self._unacknowledged:
            before = self._progress.acknowledged
            trouble = await self._connected()
            if trouble is None:
                return
            self._progress.reconnects += 1
            self._report(self._progress)
            if self._progress.acknowledged > before:
                backoff, away_since = FIRST_BACKOFF, math.inf
            away_since = min(away_since, loop.time())
            if loop.time() - away_since > PATIENCE:
                raise WeatherError(f"the broker at {self._address} stays away: {trouble}")
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF)

    @property
    def _address(self) -> str:
        return f"{self._broker.host}:{self._broker.port}"

    async def _connected(self) -> Exception | None:
        """Play over one connection; return what ended it, or None if all is done."""
        try:
            async with self._client() as client, asyncio.TaskGroup() as group:
                client.pending_calls_threshold = _TO_COME
                watch = group.create_task(_until_lost(client))
                await self._publish_all(client, group)
                watch.cancel()
        except aiomqtt.MqttError as error:
            code = getattr(getattr(error, "rc", None), "value", 0)
            if code in _HOPELESS:
                raise FatalError(f"the broker at {self._address} refuses the simulators: {error}") from error
            return error
        except ExceptionGroup as failed:
            lost, other = failed.split(aiomqtt.MqttError)
            if other is not None:
                raise other from None
            return lost
        return None

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        tls = ssl.create_default_context(cafile=broker.ca_file or None) if broker.tls else None
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username or None,
            password=broker.secret() or None,
            identifier=f"sim-{secrets.token_hex(6)}",
            protocol=aiomqtt.ProtocolVersion.V5,
            keepalive=broker.keep_alive,
            tls_context=tls,
        )

    async def _publish_all(self, client: aiomqtt.Client, group: asyncio.TaskGroup) -> None:
        """Send again what was not acknowledged, then each send at its time, until all have their PUBACK."""
        self._truth.uncertain.update(self._unacknowledged)
        under_way = [group.create_task(self._publish(client, each)) for each in self._unacknowledged.values()]
        while self._waiting:
            send = self._waiting[0]
            late = -self._clock.seconds_until(send.at)
            if late < 0:
                await asyncio.sleep(-late)
                continue
            self._progress.behind = late
            self._progress.sent += 1
            self._unacknowledged[send.number] = self._waiting.popleft()
            under_way.append(group.create_task(self._publish(client, send)))
            await asyncio.sleep(0)
        await asyncio.gather(*under_way)

    async def _publish(self, client: aiomqtt.Client, send: Send) -> None:
        """Publish, wait for the PUBACK, and write down when both took place."""
        first = self._truth.played.get(send.number)
        tried = first.tried if first else self._clock.now()
        self._truth.played[send.number] = Played(tried, tried)
        await client.publish(send.topic, send.payload, qos=1, retain=send.retain, timeout=math.inf)
        self._truth.played[send.number] = Played(tried, self._clock.now())
        self._unacknowledged.pop(send.number, None)
        self._progress.acknowledged += 1
        self._report(self._progress)


async def _until_lost(client: aiomqtt.Client) -> None:
    """Wait for ever on messages that nobody sends us: a lost connection raises MqttError here."""
    with contextlib.suppress(asyncio.CancelledError):
        async for _ in client.messages:
            pass
