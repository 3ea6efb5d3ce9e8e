"""Which devices there are, and who may come in: names from topics to device ids, held in memory."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rules.machine import Registered
from schemas.settings import IngestSettings
from store.restore import Device


class Registrar(Protocol):
    """What the registry needs of the store."""

    async def register(self, devices: dict[str, str | None]) -> dict[str, int]:
        """Add devices (name to region) that registered themselves and return the ids."""
        ...


class Registry:
    """Map device names to ids and admit strangers by the setting `ingest.unknown_devices`.

    Whoever calls for help is admitted always: an alarm needs a device to stand for. Under `dead_letter` he
    stays a stranger: his telemetry is not heard, so he cannot fall silent either.
    """

    def __init__(self, registrar: Registrar, settings: IngestSettings) -> None:
        """Start empty; `learn` fills it."""
        self._registrar = registrar
        self._settings = settings
        self._ids: dict[str, int] = {}
        self._strangers: dict[str, int] = {}
        self.stranger_ids: set[int] = set()
        self._self_registered: set[int] = set()

    def __len__(self) -> int:
        """Count the devices that are known, strangers included."""
        return len(self._ids) + len(self._strangers)

    def learn(self, device: str, device_id: int, *, self_registered: bool) -> None:
        """Take up one device from the database, or what has become of it: a stranger may be entered."""
        stranger = self_registered and (
            self._settings.unknown_devices == "dead_letter" or device.startswith("?")
        )
        known, other = (self._strangers, self._ids) if stranger else (self._ids, self._strangers)
        known[device] = device_id
        other.pop(device, None)
        for ids, belongs in ((self.stranger_ids, stranger), (self._self_registered, self_registered)):
            (ids.add if belongs else ids.discard)(device_id)

    def telemetry_id(self, device: str) -> int | None:
        """Return the id of a device whose readings are stored."""
        return self._ids.get(device)

    def life_id(self, device: str) -> int | None:
        """Return the id of any device for which an alarm can stand."""
        found = self._ids.get(device)
        return self._strangers.get(device) if found is None else found

    async def admit(self, life: dict[str, str | None], others: dict[str, str | None]) -> list[int]:
        """Register devices, name to region: all that call for help, the others while there is room."""
        room = 0
        if self._settings.unknown_devices == "register":
            room = max(0, self._settings.max_registered - len(self._self_registered) - len(life))
        wanted = {**dict(list(others.items())[:room]), **life}
        if not wanted:
            return []
        ids = await self._registrar.register(wanted)
        for device, device_id in ids.items():
            self.learn(device, device_id, self_registered=True)
        return list(ids.values())


class Closed:
    """A registrar for what was received long ago: nobody comes in any more."""

    async def register(self, devices: dict[str, str | None]) -> dict[str, int]:
        """Refuse; nothing that is only read again admits strangers."""
        raise AssertionError(f"{len(devices)} strangers would come into what is past")


def registered(devices: Sequence[Device]) -> Registered:
    """Return rows of the registry as columns, for the engine."""
    return Registered(
        device_ids=np.array([each.device_id for each in devices], np.intp),
        models=[each.model for each in devices],
        heartbeat_seconds=[each.heartbeat_seconds for each in devices],
        regions=[each.region for each in devices],
        gateways=[each.gateway for each in devices],
        care_levels=[each.care_level for each in devices],
        people=[each.person for each in devices],
        thresholds=[each.thresholds or {} for each in devices],
        devices=[each.device for each in devices],
    )
