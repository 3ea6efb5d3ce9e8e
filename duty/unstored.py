"""Calls for help that were received and are not in the database yet (未入库), as the bridge announces them.

Nothing here needs the database. The bridge repeats each call until it is stored, so a desk that starts anew
soon knows them all. What stands as an alarm is listed no more, what nobody repeats for an hour only counted.
"""

import asyncio
import contextlib
import logging
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final

import aiomqtt
from pydantic import BaseModel, Field, ValidationError

from duty.alarms import Alarm
from schemas.alarms import EVENT_ZH, KINDS
from schemas.clock import Moment
from schemas.errors import UsageError, WeatherError
from schemas.messages import Unstored
from schemas.readings import Event
from schemas.settings import BrokerSettings
from schemas.topics import UNSTORED_FILTER

log = logging.getLogger(__name__)

SILENT: Final = 3600.0
"""Seconds without a word after which a call is not listed any more, only counted."""
FORGOTTEN: Final = 12 * 3600.0
"""Seconds without a word, a shift, after which it is not even counted."""
KEPT: Final = 10_000
"""Calls that are remembered; the bridge repeats the others until there is room."""
LISTED: Final = 200
LONGEST: Final = 16_384
"""Bytes of the longest announcement that is read: the bridge's own are shorter."""
AGAIN: Final = 0.5
"""Seconds after which whoever listens is told once more to stop."""
FIRST_BACKOFF: Final = 0.5
LONGEST_BACKOFF: Final = 5.0


class Call(BaseModel):
    """A call for help that is not in the database."""

    device: str
    region: str
    kind: str
    kind_zh: str
    event_zh: str = Field(description="what happened, as far as the payload can be read; else empty")
    topic: str
    payload: str
    received_at: Moment
    waiting: Annotated[float, Field(description="for how long it has been waiting, seconds")]
    silent: Annotated[float, Field(description="since when the bridge has not repeated it, seconds")]


class Calls(BaseModel):
    """The calls that wait, oldest first, and how many in all, for the list has a limit."""

    listening: Annotated[
        bool, Field(description="false: the desk does not hear the bridge, there may be more")
    ]
    count: int
    silent: Annotated[int, Field(description="those not repeated for an hour, which are not listed any more")]
    calls: list[Call]


@dataclass
class Heard:
    """What the desk has heard of calls that are not stored. Times are monotonic seconds."""

    listening: bool = False
    _calls: dict[tuple[str, datetime], tuple[Unstored, float]] = field(default_factory=dict)

    def hear(self, said: Unstored, now: float) -> None:
        """Take up one announcement: it begins, goes on or ends a call."""
        name = said.topic, said.received_at
        if said.state == "stored":
            self._calls.pop(name, None)
        elif name in self._calls or len(self._calls) < KEPT:
            self._calls[name] = said, now

    def settle(self, alarms: Iterable[Alarm]) -> None:
        """Take off what is known to stand as an alarm, also if nobody said that it was stored."""
        if not self._calls:
            return
        newest = {(alarm.device, alarm.kind): alarm.last_at for alarm in alarms}
        for name, (said, _) in list(self._calls.items()):
            last_at = newest.get((said.device, said.channel))
            if last_at and last_at >= said.received_at:
                del self._calls[name]

    def waiting(self, now: float) -> Calls:
        """Return what waits now, and forget what nobody has spoken of for a shift."""
        self._calls = {name: call for name, call in self._calls.items() if now - call[1] < FORGOTTEN}
        speaking = [call for call in self._calls.values() if now - call[1] < SILENT]
        speaking.sort(key=lambda call: call[0].received_at)
        return Calls(
            listening=self.listening,
            count=len(speaking),
            silent=len(self._calls) - len(speaking),
            calls=[_call(said, now - heard_at) for said, heard_at in speaking[:LISTED]],
        )


def _call(said: Unstored, silent: float) -> Call:
    return Call(
        device=said.device,
        region=said.region or "",
        kind=said.channel,
        kind_zh=KINDS[said.channel].zh,
        event_zh=EVENT_ZH[Event[said.event.upper()]] if said.event else "",
        topic=said.topic,
        payload=said.payload,
        received_at=said.received_at,
        waiting=said.waiting + silent,
        silent=silent,
    )


@contextlib.asynccontextmanager
async def listening(broker: BrokerSettings, heard: Heard) -> AsyncIterator[None]:
    """Hear the bridge for as long as the block."""
    task = asyncio.create_task(_listen(broker, heard))
    try:
        yield
    finally:
        while not task.done():  # a client that is just connecting may swallow the first word
            task.cancel()
            await asyncio.wait([task], timeout=AGAIN)


async def _listen(broker: BrokerSettings, heard: Heard) -> None:
    """Hear the bridge for ever; a broker that is away is waited for, and the desk works without."""
    backoff, told = FIRST_BACKOFF, False
    while True:
        try:
            async with _client(broker) as client:
                await _subscribe(client)
                heard.listening, backoff, told = True, FIRST_BACKOFF, False
                async for message in client.messages:
                    _take(heard, message.payload)
        except (aiomqtt.MqttError, OSError, UsageError, WeatherError) as error:
            if not told:
                log.warning("what is not stored yet cannot be heard from the broker: %s; trying on", error)
            told = True
        finally:
            heard.listening = False
        await asyncio.sleep(backoff)
        backoff = min(LONGEST_BACKOFF, backoff * 2)


async def _subscribe(client: aiomqtt.Client) -> None:
    (code,) = await client.subscribe(UNSTORED_FILTER, qos=1)
    if getattr(code, "is_failure", False):
        raise WeatherError(f"it refuses {UNSTORED_FILTER}: see ops/mosquitto/carebell.acl")


def _client(broker: BrokerSettings) -> aiomqtt.Client:
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.username or None,
        password=broker.secret() or None,
        identifier=f"{broker.client_id}-desk-{secrets.token_hex(4)}",
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=ssl.create_default_context(cafile=broker.ca_file or None) if broker.tls else None,
        keepalive=broker.keep_alive,
    )


def _take(heard: Heard, payload: object) -> None:
    """Read one announcement; what is none is passed over."""
    if isinstance(payload, bytes) and len(payload) <= LONGEST:
        with contextlib.suppress(ValidationError):
            heard.hear(Unstored.model_validate_json(payload), time.monotonic())
