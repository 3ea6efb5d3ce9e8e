"""The AsyncAPI document: topics, lanes, quality of service, and what becomes a dead letter.

carebell is the application: it receives on the channels of the uplink and sends on the other two.
Each of its MQTT sessions is a server here, so that a channel says by which one it goes.
"""

from typing import Any, Final

from ingest.mqtt import SESSION_FOREVER
from schemas.messages import MODELS
from schemas.settings import BrokerSettings, IngestSettings
from schemas.topics import (
    DEVICE_PATTERN,
    IGNORED_URGENT_TWIN,
    LIFE_CHANNELS,
    REASONS,
    REGION_PATTERN,
    TELEMETRY_FILTERS,
    UNKNOWN,
    UNSTORED,
    URGENT_CHANNELS,
    URGENT_FILTERS,
    Channel,
    downlink,
    uplink,
)

VERSION: Final = "1.0.0"
"""Version of the contract; its first number stands in every topic."""

_BINDING: Final = "0.2.0"
_BROKER: Final = BrokerSettings()
_LIMITS: Final = IngestSettings()

_ABOUT: Final = f"""\
What safety devices say to carebell over MQTT, and what it says to them.

A message is one JSON object in UTF-8, as RFC 7493 (I-JSON) has it, of at most {_LIMITS.max_payload} bytes,
published at QoS 1. Send what the schemas say: what they accept is stored whole. The bridge takes more for the
sake of real devices: null for a field that is absent, numbers as strings, fields it does not know (it passes
them over).

A message that cannot be used becomes a dead letter with one of `x-dead-letter-reasons`; on `sos` and `fall`
it is an alarm all the same.
"""

_LANES: Final = {
    "urgent": f"Calls for help and events, taken before everything else. Subscribes to"
    f" {', '.join(URGENT_FILTERS)}; at most {_LIMITS.urgent_in_flight} messages await their commit.",
    "telemetry": f"All else. Subscribes to {', '.join(TELEMETRY_FILTERS)} and ignores what the urgent lane"
    f" takes (`{IGNORED_URGENT_TWIN}`); at most {_LIMITS.telemetry_in_flight} messages await their commit.",
}


_ANNOUNCED: Final = (
    "Calls for help that were received and are not in the database after 2 s, told at least once, and every"
    " 10 s until they are. For the desk and for integrators whose login may read it; devices may not. What"
    f" cannot be read of the topic of a call stands as `{UNKNOWN}` in this one."
)


def describe(payloads: dict[str, dict[str, Any]], shared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the document with these payload schemas, which refer to the `shared` ones."""
    channels = {channel.name.lower(): _uplink(channel) for channel in MODELS}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:carebell:v1",
        "info": {
            "title": "carebell MQTT",
            "version": VERSION,
            "description": _ABOUT,
            "x-dead-letter-reasons": REASONS,
        },
        "defaultContentType": "application/json",
        "servers": {
            **{name: _lane(name) for name in _LANES},
            "downlink": _server("downlink", "What becomes of its alarm, told to a device at least once."),
            "announce": _server("announce", _ANNOUNCED),
        },
        "channels": {**channels, "downlink": _downlink(), "unstored": _unstored()},
        "operations": {
            **{name: _operation("receive", name) for name in channels},
            "downlink": _operation("send", "downlink"),
            "unstored": _operation("send", "unstored"),
        },
        "components": {
            "schemas": {**payloads, **shared},
            "messages": {name: _message(name, schema) for name, schema in payloads.items()},
            "parameters": _parameters(),
            "securitySchemes": {
                "login": {"type": "userPassword", "description": "a device's user name is its device id"}
            },
        },
    }


def _server(name: str, description: str, **session: object) -> dict[str, Any]:
    return {
        "host": f"{_BROKER.host}:{_BROKER.port}",
        "protocol": "mqtt",
        "protocolVersion": "5.0",
        "description": description,
        "security": [{"$ref": "#/components/securitySchemes/login"}],
        "bindings": {
            "mqtt": {
                "clientId": f"{_BROKER.client_id}-{name}",
                "keepAlive": _BROKER.keep_alive,
                **session,
                "bindingVersion": _BINDING,
            }
        },
    }


def _lane(name: str) -> dict[str, Any]:
    return _server(name, _LANES[name], cleanSession=False, sessionExpiryInterval=SESSION_FOREVER)


def _uplink(channel: Channel) -> dict[str, Any]:
    name = channel.name.lower()
    lane = "urgent" if channel in URGENT_CHANNELS else "telemetry"
    return _channel(name, uplink("{region}", "{device}", name), lane)


def _downlink() -> dict[str, Any]:
    return _channel("downlink", downlink("{region}", "{device}"), "downlink")


def _unstored() -> dict[str, Any]:
    found = _channel("unstored", UNSTORED, "announce")
    names = [channel.name.lower() for channel in sorted(LIFE_CHANNELS)]
    found["parameters"]["channel"] = {"description": "which kind of alarm it will be", "enum": names}
    return found


def _channel(name: str, address: str, server: str) -> dict[str, Any]:
    return {
        "address": address,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "parameters": {each: {"$ref": f"#/components/parameters/{each}"} for each in _parameters()},
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _parameters() -> dict[str, Any]:
    return {
        "region": {
            "description": "行政区划代码, 6, 9 or 12 digits; a device's region in the registry wins over it",
            "examples": ["430602", "430602001"],
            "x-pattern": f"^{REGION_PATTERN.pattern}$",
        },
        "device": {
            "description": "the device id, 1 to 64 of A-Z a-z 0-9 _ -",
            "examples": ["BELL-0001"],
            "x-pattern": f"^{DEVICE_PATTERN.pattern}$",
        },
    }


def _message(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": schema["description"],
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "examples": [{"payload": example} for example in schema["examples"]],
    }


def _operation(action: str, name: str) -> dict[str, Any]:
    """Describe what carebell does on a channel; a device does the opposite, at the same QoS."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "bindings": {
            "mqtt": {"qos": 1, "retain": name == Channel.STATUS.name.lower(), "bindingVersion": _BINDING}
        },
    }
