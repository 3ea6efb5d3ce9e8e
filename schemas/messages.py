"""Pydantic models of what is said over MQTT: each message one JSON object, all fields optional unless said.

`ADAPTERS` validate straight from JSON bytes into dicts, which is the fastest thing pydantic does. Numeric
strings and nulls are accepted, for real devices send them; unknown fields are passed over. What a device
should send is stricter: `docs/contracts` publishes it from these models, descriptions and units included.
"""

from typing import Annotated, Any, Literal, Required

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, with_config
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypedDict

from schemas.topics import Channel

_CONFIG = ConfigDict(extra="ignore", allow_inf_nan=False)

Milliseconds = Annotated[int, Field(ge=-(2**53), le=2**53, description="epoch milliseconds, device clock")]
Counter = Annotated[int, Field(ge=0, le=2**53, description="counter of the device's messages")]
Latitude = Annotated[float, Field(ge=-90, le=90, description="latitude, degrees, WGS-84")]
Longitude = Annotated[float, Field(ge=-180, le=180, description="longitude, degrees, WGS-84")]
Steps = Annotated[int, Field(ge=0, le=10_000_000, description="steps, count")]
Room = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^[^\x00-\x1f]*$",
        description="where motion was seen, without control characters",
        # in some languages $ also matches before a last line feed; this says it to all of them
        json_schema_extra={"not": {"pattern": r"[\x00-\x1f]"}},
    ),
]
Source = Annotated[Literal["button", "cord", "pendant", "voice"], Field(description="what was used")]
Phase = Annotated[Literal["detected", "confirmed", "cancelled"], Field(description="how far it has come")]
Connection = Annotated[Literal["online", "offline"], Field(description="offline is also the last will")]


class _Common(TypedDict, total=False):
    ts: Milliseconds | None
    seq: Counter | None


@with_config(_CONFIG)
class Sos(_Common, total=False):
    """Somebody asks for help. An empty object is enough."""

    source: Source | None
    lat: Latitude | None
    lon: Longitude | None


@with_config(_CONFIG)
class Fall(_Common, total=False):
    """A fall was detected, confirmed, or cancelled by the wearer; without a phase it is a detected one."""

    phase: Phase | None
    confidence: Annotated[float, Field(ge=0, le=1, description="how sure the device is, 0..1")] | None


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

    kind: Required[Annotated[EventKind, Field(description="what happened; check_in is the wearer's 报平安")]]


@with_config(_CONFIG)
class Heartbeat(_Common, total=False):
    """The device lives."""

    battery: Annotated[float, Field(ge=0, le=100, description="charge, %")] | None
    rssi: Annotated[float, Field(ge=-200, le=50, description="signal strength, dBm")] | None
    mains: Annotated[bool, Field(description="on mains power")] | None


class Vital(_Common, total=False):
    """What a band measured at one moment. 0, 1, 254 and 255 in `hr` and `spo2` mean no reading."""

    hr: Annotated[float, Field(ge=0, le=300, description="heart rate, bpm")] | None
    spo2: Annotated[float, Field(ge=0, le=255, description="blood oxygen saturation, %")] | None
    temp: Annotated[float, Field(ge=0, le=60, description="body temperature, degC")] | None
    sbp: Annotated[float, Field(ge=0, le=350, description="systolic blood pressure, mmHg")] | None
    dbp: Annotated[float, Field(ge=0, le=300, description="diastolic blood pressure, mmHg")] | None
    glucose: Annotated[float, Field(ge=0, le=100, description="blood glucose, mmol/L")] | None
    worn: Annotated[bool, Field(description="on the wrist")] | None
    steps: Steps | None


@with_config(_CONFIG)
class Vitals(Vital, total=False):
    """One measurement, or `readings`: a late batch of them."""

    readings: Annotated[list[Vital], Field(max_length=1000, description="a late batch")] | None


@with_config(_CONFIG)
class Activity(_Common, total=False):
    """Somebody moves at home."""

    motion: Annotated[bool, Field(description="somebody moves")] | None
    steps: Steps | None
    room: Room | None


@with_config({**_CONFIG, "json_schema_extra": {"required": ["status"]}})
class Status(_Common, total=False):
    """The device's own word on its connection, as an object; the bare words online and offline do as well."""

    status: Connection | None
    state: SkipJsonSchema[Connection | None]  # read where `status` is missing, and not published


class Downlink(BaseModel):
    """What duty does about an alarm of life, told to its device: a bell can light "help is coming"."""

    model_config = ConfigDict(frozen=True)

    alarm_id: Annotated[int, Field(description="number of the alarm: several messages are about one alarm")]
    kind: Annotated[str, Field(description="kind of the alarm, as sos or fall")]
    state: Annotated[
        Literal["raised", "acknowledged", "dispatched", "closed"],
        Field(description="raised again and again while it is open; dispatched: somebody is on the way"),
    ]


class Unstored(BaseModel):
    """A call for help that was received and is not stored yet, or that has been stored by now."""

    model_config = ConfigDict(frozen=True)

    state: Annotated[
        Literal["unstored", "stored"],
        Field(description="unstored again and again until it is in the database; then stored"),
    ]
    device: Annotated[str, Field(description="the device id; ? and a hash of the topic where that has none")]
    region: Annotated[str | None, Field(description="as in its topic; absent where that is malformed")] = None
    channel: Annotated[Literal["sos", "fall"], Field(description="which kind of alarm it will be")]
    event: Annotated[
        Literal["sos", "fall_detected", "fall_confirmed", "fall_cancelled"] | None,
        Field(description="what happened; absent where the payload cannot be read"),
    ] = None
    topic: Annotated[str, Field(description="where it came from, its first 1000 characters")]
    received_at: Annotated[AwareDatetime, Field(description="when it came; with the topic it is its name")]
    waiting: Annotated[float, Field(ge=0, description="for how long it has not been stored, seconds")]
    payload: Annotated[str, Field(description="its first 1000 characters; bytes that are none are replaced")]


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
