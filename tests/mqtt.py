"""An independent MQTT 5 client for tests, on paho-mqtt: what a device or a listening neighbour would see."""

import contextlib
import queue
import threading
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

WAIT = 10.0  # seconds after which a test gives up: never a measurement


class RefusedError(Exception):
    """The broker answered CONNECT with a refusal, or by hanging up; the argument is the reason."""


class Client:
    """A client for a `with` block: connected when the block begins, disconnected at its end."""

    def __init__(
        self,
        url: str,
        client_id: str = "",
        *,
        user: str | None = None,
        password: str | None = None,
        session_expiry: int = 0,
    ) -> None:
        address = urlsplit(url)
        self._address = address.hostname or "127.0.0.1", address.port or 1883
        self._session_expiry = session_expiry
        self._connected: queue.Queue[ReasonCode] = queue.Queue()
        self._subscribed: queue.Queue[list[ReasonCode]] = queue.Queue()
        self._published: dict[int, ReasonCode] = {}
        self._news = threading.Condition()
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        login = (user, password) if user is not None else (address.username, address.password)
        if login[0] is not None:
            self.paho.username_pw_set(unquote(login[0]), None if login[1] is None else unquote(login[1]))
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_connect  # before CONNACK: refused without a word
        self.paho.on_subscribe = self._on_subscribe
        self.paho.on_publish = self._on_publish
        self.paho.on_message = self._on_message

    def __enter__(self) -> Self:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no annotation here
        properties.SessionExpiryInterval = self._session_expiry
        # a session that is to be found again must not be wiped by the connect
        clean = not self._session_expiry
        self.paho.connect(*self._address, keepalive=30, clean_start=clean, properties=properties)
        self.paho.loop_start()
        reason = self._connected.get(timeout=WAIT)
        if reason.is_failure:
            self._leave()
            raise RefusedError(str(reason))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def subscribe(self, topic: str, qos: int = 1) -> ReasonCode:
        """Subscribe and return the broker's answer."""
        self.paho.subscribe(topic, options=SubscribeOptions(qos=qos))
        return self._subscribed.get(timeout=WAIT)[0]

    def publish(self, topic: str, payload: str | bytes = b"{}", *, retain: bool = False) -> ReasonCode:
        """Publish at QoS 1 and return the reason in the broker's PUBACK."""
        sent = self.paho.publish(topic, payload, qos=1, retain=retain)
        with self._news:
            if not self._news.wait_for(lambda: sent.mid in self._published, WAIT):
                raise TimeoutError(f"no PUBACK for {topic}")
            return self._published.pop(sent.mid)

    def receive(self) -> paho.MQTTMessage:
        """Wait for the next message; raise queue.Empty when none comes."""
        return self.messages.get(timeout=WAIT)

    def _leave(self) -> None:
        self.paho.disconnect()
        with contextlib.suppress(AttributeError):  # paho forgets a thread that ends, also while it is joined
            self.paho.loop_stop()

    def _on_connect(self, _c: object, _u: object, _f: object, reason: ReasonCode, _p: object) -> None:
        self._connected.put(reason)

    def _on_subscribe(
        self, _c: object, _u: object, _m: object, reasons: list[ReasonCode], _p: object
    ) -> None:
        self._subscribed.put(reasons)

    def _on_publish(self, _c: object, _u: object, mid: int, reason: ReasonCode, _p: object) -> None:
        with self._news:
            self._published[mid] = reason
            self._news.notify_all()

    def _on_message(self, _c: object, _u: object, message: paho.MQTTMessage) -> None:
        self.messages.put(message)
