"""The doctor's look at the broker, as a client of it: login, session, limits, ACL, what it has dropped."""

import queue
import ssl
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ops.doctor.finding import Finding, State, fault, judge
from schemas.errors import CarebellError, UsageError
from schemas.settings import BrokerSettings, Settings
from schemas.topics import (
    DROPPED,
    TELEMETRY_FILTERS,
    UNSTORED_FILTER,
    URGENT_FILTERS,
    canary,
    downlink,
    unstored,
)

T = TypeVar("T")

WAIT: Final = 5.0
KEPT: Final = 60
"""Seconds for which the doctor's own session is to be kept."""


class RefusedError(CarebellError):
    """The broker does not let us in, or does not answer."""


class Visit:
    """One connection to the broker, for a `with` block."""

    def __init__(
        self, settings: BrokerSettings, *, anonymous: bool = False, clean: bool = True, expiry: int = 0
    ) -> None:
        """Log in as the bridge, or as nobody, under a client id of the doctor's own."""
        self._settings = settings
        self._clean, self._expiry = clean, expiry
        self._connacks: queue.Queue[tuple[ReasonCode, bool, Properties | None]] = queue.Queue()
        self._subacks: queue.Queue[ReasonCode] = queue.Queue()
        self._pubacks: queue.Queue[ReasonCode] = queue.Queue()
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.session_present = False
        self.limits: dict[str, Any] = {}
        self._paho = paho.Client(
            CallbackAPIVersion.VERSION2, f"{settings.client_id}-doctor", protocol=MQTTProtocolVersion.MQTTv5
        )
        if settings.username and not anonymous:
            self._paho.username_pw_set(settings.username, settings.secret() or None)
        if settings.tls:
            self._paho.tls_set_context(ssl.create_default_context(cafile=settings.ca_file or None))
        self._paho.on_connect = lambda _c, _u, flags, reason, properties: self._connacks.put(
            (reason, flags.session_present, properties)
        )
        self._paho.on_disconnect = lambda _c, _u, _f, reason, _p: self._connacks.put((reason, False, None))
        self._paho.on_subscribe = lambda _c, _u, _m, reasons, _p: self._subacks.put(reasons[0])
        self._paho.on_publish = lambda _c, _u, _m, reason, _p: self._pubacks.put(reason)
        self._paho.on_message = lambda _c, _u, message: self.messages.put(message)

    def __enter__(self) -> Self:
        """Connect; raises RefusedError with the broker's reason."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._expiry
        try:
            self._paho.connect(
                self._settings.host,
                self._settings.port,
                keepalive=self._settings.keep_alive,
                clean_start=self._clean,
                properties=properties,
            )
            self._paho.loop_start()
            reason, self.session_present, said = _answer(self._connacks)
        except (OSError, ValueError) as error:
            raise RefusedError(str(error)) from error
        if reason.is_failure or said is None:
            self._leave()
            raise RefusedError(str(reason))
        self.limits = said.json()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def subscribe(self, topic_filter: str, *, retained: bool = False) -> ReasonCode:
        """Subscribe at QoS 1 and return the broker's answer, without what a whole fleet has retained."""
        handling = (
            SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if retained else SubscribeOptions.RETAIN_DO_NOT_SEND
        )
        self._paho.subscribe(topic_filter, options=SubscribeOptions(qos=1, retainHandling=handling))
        return _answer(self._subacks)

    def unsubscribe(self, topic_filter: str) -> None:
        """End a subscription, whatever the broker says."""
        self._paho.unsubscribe(topic_filter)

    def publish(self, topic: str, payload: str) -> ReasonCode:
        """Publish at QoS 1 and return the broker's answer."""
        self._paho.publish(topic, payload, qos=1)
        return _answer(self._pubacks)

    def _leave(self) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()


def _answer(answers: "queue.Queue[T]") -> T:
    try:
        return answers.get(timeout=WAIT)
    except queue.Empty:
        raise RefusedError(f"no answer within {WAIT:g} s") from None


def check_broker(settings: Settings) -> Iterator[Finding]:
    """Try what the bridge needs of the broker; stops where nothing more can be tried."""
    broker = settings.broker
    try:
        yield from _bridge_login(broker, settings.ingest.max_payload)
        yield _dropped(broker)
        yield _session(broker)
        yield _anonymous(broker)
    except (RefusedError, UsageError) as error:
        found = f"{broker.host}:{broker.port}: {error}"
        yield fault("broker", "login", found, _advice(str(error)))


def _advice(said: str) -> str:
    if "authorized" in said.lower() or "password" in said.lower():
        return "compare broker.username and broker.password_file with the broker's password file"
    return "see broker.host, broker.port and broker.tls, and whether the broker runs"


def _bridge_login(broker: BrokerSettings, max_payload: int) -> Iterator[Finding]:
    with Visit(broker) as visit:
        yield judge("broker", "login", f"{broker.host}:{broker.port} as {broker.username or 'nobody'}")
        yield from _limits(visit.limits, max_payload)
        advice = "let the bridge's user read it at QoS 1: see ops/mosquitto/carebell.acl"
        for topic_filter in (*URGENT_FILTERS, *TELEMETRY_FILTERS):
            reason = visit.subscribe(topic_filter)
            visit.unsubscribe(topic_filter)
            yield judge("broker", f"may subscribe to {topic_filter}", str(reason), reason.value == 1, advice)
        reason = visit.publish(downlink("000000", "doctor"), "{}")
        advice = "let the bridge's user write carebell/down/v1/#"
        yield judge("broker", "may write to devices", str(reason), not reason.is_failure, advice)
        reason = visit.publish(unstored("000000", "doctor", "sos"), "{}")  # which the desk passes over
        advice = f"let the bridge's user read and write {UNSTORED_FILTER}: see ops/mosquitto/carebell.acl"
        yield judge("broker", "may announce", str(reason), not reason.is_failure, advice)
        reason = visit.publish(canary(broker.client_id), "{}")
        advice = f"let the bridge's user write {canary('+')}: see ops/mosquitto/carebell.acl"
        yield judge("broker", "may send its canary", str(reason), not reason.is_failure, advice)


def _limits(limits: Mapping[str, object], max_payload: int) -> Iterator[Finding]:
    """Compare what CONNACK says with what the contract needs; what it does not say is not limited."""
    qos = limits.get("MaximumQoS", 1)
    yield judge("broker", "QoS", str(qos), bool(qos), "the broker offers QoS 0 only: messages get lost")
    wildcards = bool(limits.get("WildcardSubscriptionAvailable", 1))
    advice = "the bridge subscribes with wildcards: allow them"
    yield judge("broker", "wildcards", "yes" if wildcards else "no", wildcards, advice)
    largest = limits.get("MaximumPacketSize")
    enough = not isinstance(largest, int) or largest > max_payload
    advice = "below ingest.max_payload: the broker refuses what we would keep as a dead letter"
    found = str(largest or "no limit")
    yield judge("broker", "largest packet", found, enough, advice, otherwise=State.WARNING)


def _dropped(broker: BrokerSettings) -> Finding:
    try:
        with Visit(broker) as visit:
            visit.subscribe(DROPPED, retained=True)
            count = visit.messages.get(timeout=1).payload.decode(errors="replace")
    except (RefusedError, queue.Empty):
        return judge(
            "broker",
            "dropped messages",
            "none said lately; what was thrown away before is an alarm (服务器丢弃消息)",
        )
    advice = "it has thrown messages away: see max_queued_messages in its configuration"
    return judge("broker", "dropped messages", count, count == "0", advice, otherwise=State.WARNING)


def _session(broker: BrokerSettings) -> Finding:
    """Come, go and come back: the broker must still know the session."""
    with Visit(broker, expiry=KEPT) as first:
        first.subscribe("carebell/v1/000000/doctor/none")
        granted = first.limits.get("SessionExpiryInterval", KEPT)
    with Visit(broker, clean=False) as second:
        kept = second.session_present and granted == KEPT
    advice = "messages that come while the bridge is away are lost: use a broker that keeps sessions"
    return judge("broker", "session kept", "yes" if kept else "no", kept, advice)


def _anonymous(broker: BrokerSettings) -> Finding:
    try:
        with Visit(broker, anonymous=True):
            pass
    except RefusedError:
        return judge("broker", "without login", "refused")
    advice = "anybody may speak for any device: set allow_anonymous false"
    return fault("broker", "without login", "let in", advice)
