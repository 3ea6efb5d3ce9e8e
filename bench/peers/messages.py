"""The messages of the contract as pydantic models, with the limits of schemas/messages.py."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Counter = Annotated[int, Field(ge=0, le=2**53)]
Steps = Annotated[int, Field(ge=0, le=10_000_000)]


class Message(BaseModel):
    """What every message may bear."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    ts: Annotated[int, Field(ge=-(2**53), le=2**53)] | None = None
    seq: Counter | None = None


class Vital(Message):
    """What a band measured at one moment."""

    hr: Annotated[float, Field(ge=0, le=300)] | None = None
    spo2: Annotated[float, Field(ge=0, le=255)] | None = None
    temp: Annotated[float, Field(ge=0, le=60)] | None = None
    sbp: Annotated[float, Field(ge=0, le=350)] | None = None
    dbp: Annotated[float, Field(ge=0, le=300)] | None = None
    glucose: Annotated[float, Field(ge=0, le=100)] | None = None
    worn: bool | None = None
    steps: Steps | None = None


class Vitals(Vital):
    """One measurement, or a late batch of them."""

    readings: Annotated[list[Vital], Field(max_length=1000)] | None = None


class Heartbeat(Message):
    """The device lives."""

    battery: Annotated[float, Field(ge=0, le=100)] | None = None
    rssi: Annotated[float, Field(ge=-200, le=50)] | None = None
    mains: bool | None = None


class Activity(Message):
    """Somebody moves at home."""

    motion: bool | None = None
    steps: Steps | None = None
    room: Annotated[str, Field(max_length=32)] | None = None


class Sos(Message):
    """Somebody asks for help."""

    source: Literal["button", "cord", "pendant", "voice"] | None = None


class Fall(Message):
    """A fall was detected, confirmed or cancelled."""

    phase: Literal["detected", "confirmed", "cancelled"] = "detected"


class Event(Message):
    """Something happened to the device or its wearer."""

    kind: str


class Status(Message):
    """The device's word on its connection."""

    status: Literal["online", "offline"]


MODELS: dict[str, type[Message]] = {
    "vitals": Vitals,
    "heartbeat": Heartbeat,
    "activity": Activity,
    "sos": Sos,
    "fall": Fall,
    "event": Event,
    "status": Status,
}
