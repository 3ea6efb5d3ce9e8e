"""Which devices there are, and who may come in: names from topics to device ids, held in memory."""

from typing import Protocol

from schemas.settings import IngestSettings


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
