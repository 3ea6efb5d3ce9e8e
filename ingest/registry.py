"""Which devices there are, and who may come in: names from topics to device ids, held in memory."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rules.machine import Registered
from schemas.readings import Delivery
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
    stays a stranger: his telemetry is not heard, so he cannot fall silent either. So does a device of drills.
    """

    def __init__(self, registrar: Registrar, settings: IngestSettings) -> None:
        """Start empty; `learn` fills it."""
        self._registrar = registrar
        self._settings = settings
        self._ids: dict[str, int] = {}
        self._strangers: dict[str, int] = {}
        self.stranger_ids: set[int] = set()
        self.drill_ids: set[int] = set()
        self._self_registered: set[int] = set()
        self._aliases: dict[str, int] = {}
        self.aliases_of: dict[int, list[str]] = {}
        """By device, for those that have any."""
        self.clock_hours: dict[int, int] = {}
        """By how many hours a device's clock is fast, for those that are known to be wrong."""
        self.version = 0
        """Raised when a name may mean another device than before."""

    def __len__(self) -> int:
        """Count the devices that are known, strangers included."""
        return len(self._ids) + len(self._strangers)

    def learn(
        self,
        device: str,
        device_id: int,
        *,
        self_registered: bool,
        drill: bool = False,
        aliases: Sequence[str] = (),
        clock_hours: int = 0,
    ) -> None:
        """Take up one device from the database, or what has become of it: a stranger may be entered.

        `aliases` are other names by which its messages come.
        """
        stranger = drill or (
            self_registered and (self._settings.unknown_devices == "dead_letter" or device.startswith("?"))
        )
        known, other = (self._strangers, self._ids) if stranger else (self._ids, self._strangers)
        known[device] = device_id
        other.pop(device, None)
        for ids, belongs in (
            (self.stranger_ids, stranger),
            (self.drill_ids, drill),
            (self._self_registered, self_registered),
        ):
            (ids.add if belongs else ids.discard)(device_id)
        if aliases or device_id in self.aliases_of:
            self._rename(device_id, aliases)
        if clock_hours:
            self.clock_hours[device_id] = clock_hours
        else:
            self.clock_hours.pop(device_id, None)

    def enter(self, device: Device) -> None:
        """Take up a row of the registry."""
        self.learn(
            device.device,
            device.device_id,
            self_registered=device.self_registered,
            drill=device.drill,
            aliases=device.aliases or (),
            clock_hours=device.clock_hours,
        )

    def _rename(self, device_id: int, aliases: Sequence[str]) -> None:
        for name in self.aliases_of.pop(device_id, ()):
            if self._aliases.get(name) == device_id:
                del self._aliases[name]
        if aliases:
            self.aliases_of[device_id] = list(aliases)
            self._aliases.update(dict.fromkeys(aliases, device_id))
        self.version += 1

    def telemetry_id(self, device: str) -> int | None:
        """Return the id of a device whose readings are stored; an alias goes before a name."""
        alias = self._aliases.get(device)
        if alias is None:
            return self._ids.get(device)
        return None if alias in self.stranger_ids else alias

    def life_id(self, device: str) -> int | None:
        """Return the id of any device for which an alarm can stand; an alias goes before a name."""
        found = self._aliases.get(device)
        if found is None:
            found = self._ids.get(device)
        return self._strangers.get(device) if found is None else found

    def proves_life(self, device_id: int, delivery: Delivery) -> bool:
        """Say whether a message shows that its device lives: retained ones do not, and strangers cannot."""
        return not delivery.retained and device_id not in self.stranger_ids

    async def admit(self, life: dict[str, str | None], others: dict[str, str | None]) -> list[int]:
        """Register devices, name to region: all that call for help, the others while there is room.

        They are strangers until `enter` has been called with what the registry says of each.
        """
        room = 0
        if self._settings.unknown_devices == "register":
            room = max(0, self._settings.max_registered - len(self._self_registered) - len(life))
        others = {device: region for device, region in others.items() if device not in self._strangers}
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
