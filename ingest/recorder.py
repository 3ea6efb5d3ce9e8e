"""The engine that writes down what it is given; without `ingest.record` there is none of this in the line.

Rules of this file: a place that cannot be written to is refused at the start. After that, and when the disk
is full, what cannot be written ends the recording, never the line.
"""

import asyncio
import errno
import logging
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Final

from ingest import recording
from ingest.recording import Entry, Tape
from ingest.registry import Registry
from ingest.states import States
from rules.engine import Engine
from rules.machine import Delta, Registered
from rules.ruleset import RuleSet
from schemas.alarms import Transition
from schemas.errors import UsageError
from schemas.readings import Batch
from schemas.topics import Lane
from store import recording as recorded
from store.recording import Alarms, Marks
from store.writer import Store

log = logging.getLogger(__name__)

PATIENCE: Final = 5.0
"""Seconds for which the end of a recording waits for the database."""
AT_ONCE: Final = 1_000
"""Devices in one line."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Recorder(Engine):
    """Judge as the engine does, and write down before each commit what was judged."""

    def __init__(self, rules: RuleSet, path: Path, max_payload: int) -> None:
        """Write to a file, or go on with it; nothing is written before `start`.

        Raises UsageError if it cannot be a file.
        """
        super().__init__(rules)
        _want_file(path)
        self._path = path
        self._max_payload = max_payload
        self._tape: Tape | None = None
        self._store: Store | None = None
        self._registry: Registry | None = None
        self._marks = Marks(0, 0, [])
        self._known: list[Registered] = []
        self._held: Mapping[str, list[int]] = {}

    # ---------------------------------------------------------------------------- what an engine is given

    def enrol(self, devices: Registered) -> None:
        """Learn of devices."""
        super().enrol(devices)
        if not any(devices.devices):
            return  # the engine itself makes room for a number that nobody has told it of
        if self._store is None:
            self._known.append(devices)
        elif self._tape:
            self._write(*self._devices(devices))

    def begin(self, held: Mapping[str, list[int]]) -> None:
        """End a restore."""
        super().begin(held)
        self._held = held

    def forgive(self, now: int, pieces: Iterable[int] | None = None) -> None:
        """Count silence from now on."""
        super().forgive(now, pieces)
        self._write({"is": "forgive", "now": now})

    def adopt(self, rules: RuleSet, now: int) -> list[Transition]:
        """Go on with other rules."""
        self._write({"is": "rules", "now": now, "rules": rules.text})
        return super().adopt(rules, now)

    def evaluate(self, batch: Batch) -> Delta:
        """Return what a batch means."""
        if self._tape:
            self._write(_entry(batch))
        return super().evaluate(batch)

    def note_lost(self, lane: Lane, now: int) -> None:
        """Note that the broker has lost a session; its alarm is none of the engine's."""
        self._write({"is": "session_lost", "lane": lane.name.lower(), "now": now})

    # -------------------------------------------------------------------------------- beginning and end

    async def start(
        self, store: Store, registry: Registry, states: States, sources: list[tuple[str, str]]
    ) -> None:
        """Begin to write; call it when a restore has ended. A file that fits is gone on with.

        `states` hold now; `sources` are names and texts of the mappings that are in use.

        One of another database, or without which batches were committed since, is moved aside. Raises
        UsageError if the file cannot be opened, unless the disk is full: alarms are worth more.
        """
        self._store, self._registry = store, registry
        marks, alarms = await store.connection.run(recorded.begin)
        database = await store.connection.run(recorded.database)
        try:
            self._open(marks, alarms, database, {"states": list(states), "sources": sources})
        except OSError as error:
            if error.errno not in _FULL:
                raise _refused(self._path, error) from error
            self._give_up(error)
        self._known, self._held = [], {}

    def _open(self, marks: Marks, alarms: Alarms, database: str, vendors: Entry) -> None:
        _want_file(self._path)
        size, lines = _fitting(self._path, alarms.batch, database)
        if self._path.exists() and not size:
            aside = _free(self._path.with_name(f"{self._path.name}.before-{alarms.batch}"))
            log.warning("%s cannot be gone on with; it is %s now", self._path, aside)
            self._path.rename(aside)
        first: Entry = {"is": "restart", "batch": alarms.batch, **vendors}
        self._marks = marks
        if size:
            self._marks = Marks(*recording.first_line(self._path)["marks"])
        else:
            first = {
                "is": "start",
                "format": recording.FORMAT,
                "database": database,
                "batch": alarms.batch,
                "max_payload": self._max_payload,
                "marks": marks,
                "alarms": alarms.rows,
                "rules": self.rules.text,
                **vendors,
            }
        self._tape = Tape(self._path, size, lines)
        log.info("recording to %s", self._path)
        # what a recording begins with is committed already, and no restart may leave it out
        number = alarms.batch + 1 if size else alarms.batch
        for entry in self._beginning(first):
            self._write({**entry, "n": number})

    def _beginning(self, first: Entry) -> Iterator[Entry]:
        yield first
        for devices in self._known:
            yield from self._devices(devices)
        for piece in range(self.pieces) if first["is"] == "start" else ():
            yield {"is": "piece", "piece": piece, "state": b64encode(self.checkpoint(piece)).decode()}
        yield {"is": "begin", "held": dict(self._held), "rules": self.rules.text}

    async def finish(self) -> None:
        """Write what has become of the alarms, if the database says so soon, and close the file."""
        if not self._tape or not self._store:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._store.connection.run(lambda c: recorded.alarms(c, self._marks))
        except TimeoutError:
            log.warning("the recording ends without its alarms: the database is away")
        else:
            closed = list(found.closed.items())
            self._write({"is": "end", "batch": found.batch, "alarms": found.rows, "closed": closed})
        self._stop()

    # ------------------------------------------------------------------------------------------ writing

    def _write(self, *entries: Entry) -> None:
        """Write entries, under the number of the next commit unless they have one.

        If that cannot be, the recording ends.
        """
        if not self._tape or not self._store:
            return
        number = self._store.batch + 1
        try:
            self._tape.write(*({"n": number, **entry} for entry in entries))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.error("the recording has ended, the line goes on: %s: %s", self._path, error.strerror)
        self._stop()

    def _stop(self) -> None:
        if self._tape:
            self._tape.close()
            self._tape = None

    def _devices(self, devices: Registered) -> Iterator[Entry]:
        known = self._registry
        strangers = known.stranger_ids if known else set()
        aliases = known.aliases_of if known else {}
        clocks = known.clock_hours if known else {}
        columns = (
            devices.device_ids.tolist(),
            devices.devices,
            [device_id in strangers for device_id in devices.device_ids.tolist()],
            devices.models,
            devices.heartbeat_seconds,
            devices.regions,
            devices.gateways,
            devices.care_levels,
            devices.people,
            devices.thresholds,
            [False] * len(devices.device_ids),  # of a drill: a stranger, which is said already
            [aliases.get(device_id) for device_id in devices.device_ids.tolist()],
            [clocks.get(device_id, 0) for device_id in devices.device_ids.tolist()],
        )
        rows = list(zip(*columns, strict=True))
        for first in range(0, len(rows), AT_ONCE):
            yield {"is": "device", "devices": rows[first : first + AT_ONCE]}


def _entry(batch: Batch) -> Entry:
    if not batch.deliveries:
        return {"is": "tick", "now": batch.now, "scan": batch.scan}
    return {
        "is": "batch",
        "lane": batch.lane.name.lower(),
        "now": batch.now,
        "scan": batch.scan,
        "redriven": bool(batch.letters),
        "messages": recording.said(batch.deliveries),
        "readings": recording.packed(recording.identities(batch.readings)),
    }


def _want_file(path: Path) -> None:
    """Raise UsageError unless a path is that of a file, or of one that can be made."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(
                f"record: {path} is no regular file: name a recording, or a file that is not there"
            )
        if not path.parent.is_dir():
            raise UsageError(f"record: there is no folder {path.parent}: make it, or name another file")
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> UsageError:
    return UsageError(f"record: {path} cannot be written: {error.strerror}: name another file")


def _free(path: Path) -> Path:
    """Return a path at which there is nothing: this one, or with a number after it."""
    names = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return path if not os.path.lexists(path) else next(name for name in names if not os.path.lexists(name))


def _fitting(path: Path, batch: int, database: str) -> tuple[int, int]:
    """Return how many bytes and lines of a file are a recording up to a batch; 0, 0 if it is none."""
    if not path.exists():
        return 0, 0
    try:
        first = recording.first_line(path)
        last, size = recording.last_line(path)
    except UsageError:
        return 0, 0
    known = (last["batch"],) if last["is"] == "end" else (last["n"], last["n"] - 1)
    fits = batch in known and last["is"] not in ("start", "device", "piece")
    return (size, last["line"]) if fits and first["database"] == database else (0, 0)
