"""MQTT topics of the contract, their lanes, and the names of every reason to refuse a message.

uplink    carebell/v1/<region>/<device>/<channel>
downlink  carebell/down/v1/<region>/<device>/alarm
unstored  carebell/unstored/v1/<region>/<device>/<channel>
"""

import hashlib
import re
import unicodedata
from enum import IntEnum
from typing import NamedTuple

from schemas.errors import SenderFaultError


class Lane(IntEnum):
    """The two MQTT sessions: urgent goes first."""

    URGENT = 0
    TELEMETRY = 1


class Channel(IntEnum):
    """The last level of an uplink topic; the numbers are stored, so they never change."""

    SOS = 1
    FALL = 2
    EVENT = 3
    HEARTBEAT = 4
    VITALS = 5
    ACTIVITY = 6
    STATUS = 7


URGENT_CHANNELS = frozenset({Channel.SOS, Channel.FALL, Channel.EVENT})
LIFE_CHANNELS = frozenset({Channel.SOS, Channel.FALL})
CHANNELS = {channel.name.lower(): channel for channel in Channel}

PREFIX = "carebell/v1/"
_LEVELS = 3  # after the prefix: region, device, channel
URGENT_FILTERS = tuple(f"{PREFIX}+/+/{channel.name.lower()}" for channel in sorted(URGENT_CHANNELS))
TELEMETRY_FILTERS = (f"{PREFIX}#",)

DROPPED = "$SYS/broker/publish/messages/dropped"
"""Where mosquitto counts the messages that it has thrown away; other brokers do not say."""

UNSTORED = "carebell/unstored/v1/{region}/{device}/{channel}"
UNSTORED_FILTER = "carebell/unstored/v1/#"
UNKNOWN = "unknown"
"""Stands in the topic of an announcement for a region or a device that cannot be read."""

DEVICE_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_IN_A_LEVEL = str.maketrans("/+#", "...")
_LONGEST_NAME = 64
REGION_PATTERN = re.compile(r"[0-9]{6}(?:[0-9]{3}){0,2}")

REASONS = {
    "bad_topic": "the topic is not carebell/v1/<region>/<device>/<channel>",
    "bad_region": "the region is not 6, 9 or 12 digits",
    "bad_device": "the device id is not 1 to 64 of A-Z a-z 0-9 _ -",
    "unknown_channel": "the channel is none of the contract's",
    "unknown_device": "the device is not registered, and registering itself is off or at its cap",
    "unmapped": "nothing stands in the message that the mapping of its source knows",
    "empty": "the payload is empty",
    "oversized": "the payload is over the limit; its first 64 KiB, its length and its sha256 are kept",
    "not_json": "the payload is not a JSON object in UTF-8",
    "bad_field": "a field has the wrong type or is out of range; the other fields are stored",
    "bad_message": "no field of the message could be used",
    "refused": "the database refused the row",
}
"""Every reason a dead letter can bear, and what it means."""

IGNORED_URGENT_TWIN = "urgent_twin"
"""Why telemetry ignores an urgent topic: the urgent session carries the same message."""
IGNORED_CANARY = "canary"
"""Why both lanes ignore carebell/v1/canary/<client id>/event: a bridge sends it to see it come back."""

_CANARY_REGION = "canary"  # no code of a region: no device can stand there


class Address(NamedTuple):
    """Who sent a message and on which channel."""

    region: str
    device: str
    channel: Channel


def parse(topic: str) -> Address:
    """Return the address in an uplink topic.

    Raises SenderFaultError with the reason bad_topic, bad_region, bad_device or unknown_channel.
    """
    levels = topic.removeprefix(PREFIX).split("/")
    if len(levels) != _LEVELS or not topic.startswith(PREFIX):
        raise SenderFaultError("bad_topic", topic[:200])
    region, device, name = levels
    channel = CHANNELS.get(name)
    if channel is None:
        raise SenderFaultError("unknown_channel", name[:100])
    if not DEVICE_PATTERN.fullmatch(device):
        raise SenderFaultError("bad_device", device[:100])
    if not REGION_PATTERN.fullmatch(region):
        raise SenderFaultError("bad_region", region[:100])
    return Address(region, device, channel)


def nameless(text: str) -> str:
    """Return a name for a device that names itself by this text: no real device can bear such a name."""
    return "?" + hashlib.sha256(text.encode()).hexdigest()[:16]


def vendor_device(vendor_id: str) -> str | None:
    """Return the name under which a vendor's device is known: its id, as far as it fits into a topic.

    None if it cannot be a name: 1 to 64 characters that can be seen, not beginning with ?.
    """
    name = vendor_id.strip()
    if not DEVICE_PATTERN.fullmatch(name):
        if len(name) > 2 * _LONGEST_NAME:
            return None
        name = unicodedata.normalize("NFC", name).translate(_NOT_IN_A_LEVEL)
        if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or name.startswith("?"):
            return None
    return name


def device_in(topic: str) -> str | None:
    """Return the device in a topic of the right length, even if its region or channel is malformed."""
    levels = topic.removeprefix(PREFIX).split("/")
    return levels[1] if len(levels) == _LEVELS and DEVICE_PATTERN.fullmatch(levels[1]) else None


def life_channel(topic: str) -> Channel | None:
    """Return SOS or FALL if the topic, however malformed, ends as a life alarm's does."""
    channel = CHANNELS.get(topic.rstrip("/ ").rsplit("/", 1)[-1].strip().lower())
    return channel if channel in LIFE_CHANNELS else None


def reaches_urgent(topic: str) -> bool:
    """Say whether one of the urgent filters matches a topic, however malformed its region and device are."""
    levels = topic.removeprefix(PREFIX).split("/")
    return topic.startswith(PREFIX) and len(levels) == _LEVELS and CHANNELS.get(levels[-1]) in URGENT_CHANNELS


def uplink(region: str, device: str, channel: str) -> str:
    """Return the topic on which a device publishes."""
    return f"{PREFIX}{region}/{device}/{channel}"


def canary(client_id: str) -> str:
    """Return the topic on which a bridge publishes what it wants to see come back: both lanes hear it."""
    return uplink(_CANARY_REGION, client_id, Channel.EVENT.name.lower())


def is_canary(topic: str) -> bool:
    """Say whether a topic is that of a bridge's canary, our own or another one's."""
    levels = topic.removeprefix(PREFIX).split("/")
    return topic.startswith(PREFIX) and len(levels) == _LEVELS and topic == canary(levels[1])


def downlink(region: str, device: str) -> str:
    """Return the topic on which a device hears of its alarm."""
    return f"carebell/down/v1/{region}/{device}/alarm"


def unstored(region: str, device: str, channel: str) -> str:
    """Return the topic on which a call for help is announced that is not stored yet."""
    region = region if REGION_PATTERN.fullmatch(region) else UNKNOWN
    device = device if DEVICE_PATTERN.fullmatch(device) else UNKNOWN
    return UNSTORED.format(region=region, device=device, channel=channel)
