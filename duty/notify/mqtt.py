"""Notices over MQTT, to a bell or a lamp: at QoS 1, over a connection for each, for the rate is human."""

import json
import secrets
import ssl
from collections.abc import Sequence

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from duty.notify import words
from duty.notify.answers import TAKEN, Answer, safe
from duty.notify.hooks import key_of
from duty.notify.notices import Notice
from duty.notify.recipients import Topic
from schemas.errors import UsageError
from schemas.settings import BrokerSettings
from schemas.topics import DEVICE_PATTERN, REGION_PATTERN


class Publisher:
    """The way to a topic."""

    most = 1

    def __init__(self, recipient: Topic, broker: BrokerSettings, desk_url: str) -> None:
        """Publish at the broker of carebell.toml, as the desk's user."""
        self._topic = recipient.topic
        self._broker = broker
        self._desk_url = desk_url

    async def send(self, notices: Sequence[Notice]) -> Answer:
        """Publish, and return when the broker has it."""
        (notice,) = notices
        topic = self._place(notice)
        if not topic:
            return Answer("region or device of the alarm is no level of a topic", refused=True)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no annotation here
        properties.UserProperty = [("idempotency-key", key_of(notices))]
        properties.MessageExpiryInterval = 3600
        payload = json.dumps(words.body(notice, self._desk_url), ensure_ascii=False).encode()
        try:
            async with self._client() as client:
                await client.publish(topic, payload, qos=1, properties=properties)
        except (aiomqtt.MqttError, OSError, UsageError) as error:
            return Answer(safe(f"{type(error).__name__}: {error}", [self._broker.password or "\n"]))
        return TAKEN

    def _place(self, notice: Notice) -> str:
        """Return the topic of a notice; empty if a level of it cannot be one."""
        region = notice.region if REGION_PATTERN.fullmatch(notice.region) else ""
        device = notice.device if DEVICE_PATTERN.fullmatch(notice.device) else ""
        if notice.trial:
            region, device = "000000", "test"
        if ("{region}" in self._topic and not region) or ("{device}" in self._topic and not device):
            return ""
        return self._topic.replace("{region}", region).replace("{device}", device)

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username or None,
            password=broker.secret() or None,
            identifier=f"{broker.client_id}-notify-{secrets.token_hex(4)}",
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=ssl.create_default_context(cafile=broker.ca_file or None) if broker.tls else None,
            keepalive=broker.keep_alive,
        )
