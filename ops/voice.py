"""A voice at the broker: what is said at QoS 1 at a human rate, each time with the broker's own answer."""

import asyncio
import math
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from schemas.errors import CarebellError, WeatherError
from schemas.settings import BrokerSettings

ANSWER: Final = 30.0
"""Seconds for which the broker's answer is waited for, also over reconnects."""
_NO_SUBSCRIBERS: Final = 16


class Voice:
    """A connection that comes back by itself and then says again what was not answered."""

    def __init__(self, client: paho.Client, address: str, answers: "asyncio.Queue[ReasonCode]") -> None:
        self._client, self._address, self._answers = client, address, answers

    async def say(self, topic: str, payload: str, *, expires: float) -> None:
        """Publish, and return when the broker has it and somebody is subscribed; one call at a time.

        What the broker cannot deliver within `expires` seconds it shall forget. Raises WeatherError without
        an answer, CarebellError if it refuses.
        """
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no annotation here
        properties.MessageExpiryInterval = max(1, math.floor(expires))
        self._client.publish(topic, payload, qos=1, properties=properties)
        reason = await _answer(self._answers, self._address)
        if reason.is_failure:
            raise CarebellError(
                f"the broker at {self._address} refuses {topic}: {reason}:"
                " name a user who may write there with --username"
            )
        if reason.value == _NO_SUBSCRIBERS:
            raise CarebellError(f"no bridge hears the broker at {self._address}: is it the bridge's own?")


@asynccontextmanager
async def voice(broker: BrokerSettings, role: str) -> AsyncIterator[Voice]:
    """Log in for a block, under a client id that bears the role.

    Raises WeatherError if the broker does not answer, CarebellError if it refuses.
    """
    loop, address = asyncio.get_running_loop(), f"{broker.host}:{broker.port}"
    let_in: asyncio.Queue[ReasonCode] = asyncio.Queue()
    answers: asyncio.Queue[ReasonCode] = asyncio.Queue()
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        f"{broker.client_id}-{role}-{secrets.token_hex(4)}",
        protocol=MQTTProtocolVersion.MQTTv5,
    )
    if broker.username:
        client.username_pw_set(broker.username, broker.secret() or None)
    if broker.tls:
        client.tls_set_context(ssl.create_default_context(cafile=broker.ca_file or None))

    def on_connect(_c: object, _u: object, _f: object, reason: ReasonCode, _p: object) -> None:
        loop.call_soon_threadsafe(let_in.put_nowait, reason)

    def on_publish(_c: object, _u: object, _m: object, reason: ReasonCode, _p: object) -> None:
        loop.call_soon_threadsafe(answers.put_nowait, reason)

    client.on_connect, client.on_publish = on_connect, on_publish
    try:
        await asyncio.to_thread(client.connect, broker.host, broker.port, broker.keep_alive)
    except OSError as error:
        raise WeatherError(f"the broker at {address} does not answer: {error}") from error
    client.loop_start()
    try:
        reason = await _answer(let_in, address)
        if reason.is_failure:
            who = broker.username or "nobody"
            raise CarebellError(f"the broker at {address} does not let {who} in: {reason}")
        yield Voice(client, address, answers)
    finally:
        client.disconnect()
        client.loop_stop()


async def _answer(answers: "asyncio.Queue[ReasonCode]", address: str) -> ReasonCode:
    try:
        async with asyncio.timeout(ANSWER):
            return await answers.get()
    except TimeoutError:
        raise WeatherError(f"the broker at {address} gives no answer within {ANSWER:g} s") from None
