"""Pydantic models of every channel's payload: one JSON object, all fields optional unless said.

`ADAPTERS` validate straight from JSON bytes into dicts, which is the fastest thing pydantic does. Numeric
strings and nulls are accepted, for real devices send them; unknown fields are passed over.
"""

from typing import Annotated, Any, Literal, Required

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from schemas.topics import Channel

_CONFIG = ConfigDict(extra="ignore", allow_inf_nan=False)

Milliseconds = Annotated[int, Field(ge=-(2**53), le=2**53, description="epoch milliseconds, device clock")]
Counter = Annotated[int, Field(ge=0, le=2**53, description="counter of the device's messages")]
Latitude = Annotated[float, Field(ge=-90, le=90, description="degrees, WGS-84")]
Longitude = Annotated[float, Field(ge=-180, le=180, description="degrees, WGS-84")]
Steps = Annotated[int, Field(ge=0, le=10_000_000, description="count")]
Room = Annotated[str, Field(max_length=32, pattern=r"^[^\x00-\x1f]*$", description="where motion was seen")]


class _Common(TypedDict, total=False):
    ts: Milliseconds | None
    seq: Counter | None


@with_config(_CONFIG)
class Sos(_Common, total=False):
    """Somebody asks for help. An empty object is enough."""

    source: Literal["button", "cord", "pendant", "voice"] | None
    lat: Latitude | None
    lon: Longitude | None


@with_config(_CONFIG)
class Fall(_Common, total=False):
    """A fall was detected, confirmed, or cancelled by the wearer; without a phase it is a detected one."""

    phase: Literal["detected", "confirmed", "cancelled"] | None
    confidence: Annotated[float, Field(ge=0, le=1, description="0..1")] | None


EventKind = Literal[
    "low_battery",
    "tamper",
    "mains_lost",
    "mains_restored",
    "test",
    "reset",
    "removed",
    "worn",
    "check_in",
    "area_left",
    "area_entered",
]


@with_config(_CONFIG)
class Event(_Common, total=False):
    """Something happened to the device or its wearer."""

    kind: Required[EventKind]


@with_config(_CONFIG)
class Heartbeat(_Common, total=False):
    """The device lives."""

    battery: Annotated[float, Field(ge=0, le=100, description="%")] | None
    rssi: Annotated[float, Field(ge=-200, le=50, description="dBm")] | None
    mains: Annotated[bool, Field(description="on mains power")] | None


class Vital(_Common, total=False):
    """What a band measured at one moment. 0, 1, 254 and 255 in `hr` and `spo2` mean no reading."""

    hr: Annotated[float, Field(ge=0, le=300, description="bpm")] | None
    spo2: Annotated[float, Field(ge=0, le=255, description="%")] | None
    temp: Annotated[float, Field(ge=0, le=60, description="degC")] | None
    sbp: Annotated[float, Field(ge=0, le=350, description="mmHg")] | None
    dbp: Annotated[float, Field(ge=0, le=300, description="mmHg")] | None
    glucose: Annotated[float, Field(ge=0, le=100, description="mmol/L")] | None
    worn: Annotated[bool, Field(description="on the wrist")] | None
    steps: Steps | None


@with_config(_CONFIG)
class Vitals(Vital, total=False):
    """One measurement, or `readings`: a late batch of them."""

    readings: Annotated[list[Vital], Field(max_length=1000)] | None


@with_config(_CONFIG)
class Activity(_Common, total=False):
    """Somebody moves at home."""

    motion: bool | None
    steps: Steps | None
    room: Room | None


@with_config(_CONFIG)
class Status(_Common, total=False):
    """The device's own word on its connection, as an object; the bare words online and offline do as well."""

    status: Literal["online", "offline"] | None
    state: Literal["online", "offline"] | None


MODELS: dict[Channel, Any] = {
    Channel.SOS: Sos,
    Channel.FALL: Fall,
    Channel.EVENT: Event,
    Channel.HEARTBEAT: Heartbeat,
    Channel.VITALS: Vitals,
    Channel.ACTIVITY: Activity,
    Channel.STATUS: Status,
}

ADAPTERS: dict[Channel, TypeAdapter[dict[str, Any]]] = {
    channel: TypeAdapter(model) for channel, model in MODELS.items()
}
