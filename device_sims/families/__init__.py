"""Families of devices, by the names that scenarios use."""

from device_sims.families.band import Band
from device_sims.families.base import Device
from device_sims.families.cloud import Alink, Iotda, Onenet, Senml
from device_sims.families.ev07b import Ev07b
from device_sims.families.g6xx import G6xx
from device_sims.families.harmony import Harmony
from device_sims.families.home import Bell, Caller, Motion
from device_sims.families.iw import Iw
from device_sims.families.setracker import Setracker
from device_sims.families.zigbee import Button, Pir

__all__ = ["FAMILIES", "Device"]

_OWN: tuple[type[Device], ...] = (Bell, Caller, Band, Motion)
_VENDORS: tuple[type[Device], ...] = (
    Iw,
    G6xx,
    Setracker,
    Ev07b,
    Button,
    Pir,
    Alink,
    Iotda,
    Onenet,
    Senml,
    Harmony,
)
FAMILIES: dict[str, type[Device]] = {family.family: family for family in (*_OWN, *_VENDORS)}
