"""Messages as a device should send them; the tests publish each to a real bridge."""

from typing import Any, Final

from schemas.topics import Channel

_AT: Final = 1_790_000_000_000

UPLINK: Final[dict[Channel, list[dict[str, Any]]]] = {
    Channel.SOS: [
        {},
        {"ts": _AT, "seq": 41, "source": "pendant", "lat": 29.3571, "lon": 113.1289},
    ],
    Channel.FALL: [
        {"ts": _AT, "seq": 42, "phase": "detected", "confidence": 0.87},
        {"ts": _AT + 20_000, "seq": 43, "phase": "cancelled"},
    ],
    Channel.EVENT: [
        {"ts": _AT, "seq": 44, "kind": "check_in"},
        {"ts": _AT + 1_000, "kind": "mains_lost"},
    ],
    Channel.HEARTBEAT: [
        {"ts": _AT, "seq": 45, "battery": 83, "rssi": -71, "mains": True},
    ],
    Channel.VITALS: [
        {"ts": _AT, "seq": 46, "hr": 72, "spo2": 97, "temp": 36.5, "worn": True, "steps": 4120},
        {"ts": _AT + 1_000, "sbp": 128, "dbp": 79, "glucose": 5.6},
        {
            "seq": 47,
            "readings": [{"ts": _AT - 120_000, "hr": 70}, {"ts": _AT - 60_000, "hr": 74, "spo2": 96}],
        },
    ],
    Channel.ACTIVITY: [
        {"ts": _AT, "seq": 48, "motion": True, "steps": 12, "room": "厨房"},
    ],
    Channel.STATUS: [
        {"ts": _AT, "status": "online"},
        {"status": "offline"},
    ],
}

DOWNLINK: Final[list[dict[str, Any]]] = [
    {"alarm_id": 1207, "kind": "sos", "state": "raised"},
    {"alarm_id": 1207, "kind": "sos", "state": "dispatched"},
]

_CALL: Final[dict[str, Any]] = {
    "device": "BELL-0001",
    "region": "430602",
    "channel": "sos",
    "event": "sos",
    "topic": "carebell/v1/430602/BELL-0001/sos",
    "received_at": "2026-09-21T13:33:20.123456Z",
    "payload": "{}",
}
UNSTORED: Final[list[dict[str, Any]]] = [
    {"state": "unstored", **_CALL, "waiting": 2.1},
    {"state": "stored", **_CALL, "waiting": 34.0},
]
