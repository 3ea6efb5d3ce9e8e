"""A recording again: decoded, judged and folded into alarms in memory, cut into batches as one likes.

Cuts are made between readings that were judged one after the other: not across a tick, a change of rules or
of devices, nor where an urgent batch went before telemetry that had been received earlier.
"""

import json
import random
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ingest.decode import Decoder
from ingest.recording import Entry, deliveries, identities, unpacked
from ingest.redrive import complete
from ingest.registry import Closed, Registry, registered
from ingest.states import States
from rules import ruleset
from rules.engine import Engine
from rules.fold import AlarmRow, Fold, Key
from rules.ruleset import RuleSet
from schemas.alarms import AREA_DEVICE, Move, Severity, Transition
from schemas.errors import CarebellError
from schemas.readings import Batch, Columns, Letter
from schemas.settings import IngestSettings
from schemas.sources import mapping
from schemas.sources.compiled import Sources
from schemas.topics import Lane
from store.dead import Waiting
from store.restore import Device

Row = dict[str, Any]
"""An alarm by the names of its columns; times in microseconds since 1970."""
Cut = Callable[[], int]
"""How many readings the next batch shall have."""
Closings = Mapping[tuple[Key, int], int]
"""After how many decisions people had closed an alarm: its key, and its number among those of the key."""

SHOWN: Final = (
    "device",
    "kind",
    "class",
    "severity",
    "quality",
    "condition",
    "count",
    "raised_at",
    "last_at",
    "cleared_at",
    "suppressed",
    "rule",
    "detail",
)
"""Columns that a replay answers for. Handling is not among them."""
_MOST_AT_RANDOM: Final = 11


def every(size: int) -> Cut:
    """Cut batches of so many readings."""
    return lambda: size


def at_random(seed: int) -> Cut:
    """Cut batches of random sizes, small ones as often as large ones."""
    rng = random.Random(seed)  # noqa: S311 - must be repeatable, not secret
    return lambda: rng.randint(1, 2 ** rng.randint(0, _MOST_AT_RANDOM))


class Replay:
    """Play the entries of one recording."""

    def __init__(
        self, rules: RuleSet | None = None, cut: Cut | None = None, closed: Closings | None = None
    ) -> None:
        """Judge by `rules`, else by those of the recording; cut by `cut`, else as the line did."""
        self.messages = self.readings = self.ticks = 0
        self._rules = rules
        self._cut = cut
        self._closed = closed or {}
        self._engine = Engine(rules or ruleset.load(ruleset.SHIPPED))
        self._registry = Registry(Closed(), IngestSettings(unknown_devices="dead_letter"))
        self._decoder = Decoder(self._registry, 0)
        self._max_payload = 0
        self._names: dict[int, str] = {}
        self._waiting: list[Batch] = []
        self._told: set[tuple[int, str, int]] = set()
        self._done: list[AlarmRow] = []
        self._fold = Fold(self._is_closed, self._done.append)

    def play(self, entries: Iterable[Entry]) -> list[Row]:
        """Return the alarms that come of it, by device and kind, the oldest first."""
        does: dict[str, Callable[[Entry], None]] = {
            "start": self._start,
            "restart": self._read_vendors,
            "device": self._learn,
            "piece": lambda entry: self._restore(entry["piece"], entry["state"]),
            "begin": self._begin,
            "forgive": lambda entry: self._engine.forgive(entry["now"]),
            "rules": self._adopt,
            "tick": self._tick,
            "batch": self._take,
        }
        for entry in entries:
            if entry["is"] != "batch":
                self._judge_waiting()
            if does_it := does.get(entry["is"]):
                does_it(entry)
        self._judge_waiting()
        rows = sorted(
            [*self._done, *self._fold.open.values()],
            key=lambda row: (self._name(row), row.kind, row.occurrence),
        )
        return [self._row(row) for row in rows]

    def _start(self, entry: Entry) -> None:
        self._engine = Engine(self._rules or ruleset.parse(entry["rules"], "the rules of the recording"))
        self._max_payload = entry["max_payload"]
        self._read_vendors(entry)
        for row in entry["alarms"]:
            self._fold.adopt(_alarm(row))

    def _read_vendors(self, entry: Entry) -> None:
        """Read vendors' messages as the line did from here on; recordings of old know none."""
        sources = Sources(mapping.load(entry.get("sources", [])))
        states = States((device, state) for device, state in entry.get("states", []))
        self._decoder = Decoder(self._registry, self._max_payload, sources, states)

    def _learn(self, entry: Entry) -> None:
        devices = [
            Device(device_id, device, model, heartbeat, stranger, *rest)
            for device_id, device, stranger, model, heartbeat, *rest in entry["devices"]
        ]
        for each in devices:
            self._names[each.device_id] = each.device
            self._registry.enter(each)
        self._engine.enrol(registered(devices))

    def _restore(self, piece: int, state: str) -> None:
        self._engine.restore(piece, b64decode(state))

    def _begin(self, entry: Entry) -> None:
        """End a restore: of what was in memory, or of all if this is where the recording begins."""
        if not self._rules and entry["rules"] != self._engine.rules.text:
            self._engine.adopt(ruleset.parse(entry["rules"], "the rules of the recording"), 0)
        self._engine.begin(entry["held"])

    def _adopt(self, entry: Entry) -> None:
        if not self._rules:
            rules = ruleset.parse(entry["rules"], "the rules of the recording")
            self._fold_in(self._engine.adopt(rules, entry["now"]))

    def _tick(self, entry: Entry) -> None:
        self.ticks += 1
        self._judge(Batch(Lane.TELEMETRY, entry["now"], entry["scan"]))

    def _take(self, entry: Entry) -> None:
        """Decode messages, leave out what the line left out, and put the rest into the stream."""
        sent = deliveries(entry["messages"])
        batch = self._decoder.decode(
            Lane[entry["lane"].upper()], sent, entry["now"], redriven=entry["redriven"]
        )
        if entry["redriven"]:
            complete(batch, [Waiting(Letter(0, 0, 0, whole=True), each) for each in sent])
        batch.scan = entry["scan"]
        batch.readings = batch.readings[_judged(batch.readings, unpacked(entry["readings"]), entry["n"])]
        self.messages += len(sent)
        self.readings += len(batch.readings)
        if not len(batch.readings):
            return
        if self._waiting and not _follows(self._waiting[-1], batch):
            self._judge_waiting()
        self._waiting.append(batch)
        if self._cut is None or batch.letters:
            self._judge_waiting()

    def _judge_waiting(self) -> None:
        """Judge the stream so far, in batches of the wanted sizes."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._cut is None or waiting[-1].letters:
            self._judge(waiting[-1])
            return
        readings = np.concatenate([batch.readings for batch in waiting])
        first = 0
        while first < len(readings):
            some = readings[first : first + self._cut()]
            self._judge(Batch(waiting[0].lane, waiting[-1].now, waiting[0].scan, readings=some))
            first += len(some)

    def _judge(self, batch: Batch) -> None:
        delta = self._engine.evaluate(batch)
        self._engine.apply(delta)
        self._fold_in(self._unsaid(delta.transitions) if batch.letters else delta.transitions)

    def _unsaid(self, decisions: list[Transition]) -> list[Transition]:
        """Return the raises that were not told when the call was received: as store/dead.py does."""
        return [
            each
            for each in decisions
            if each.move is Move.RAISE and (each.device_id, each.kind, each.at) not in self._told
        ]

    def _fold_in(self, decisions: list[Transition]) -> None:
        for each in decisions:
            self._fold.take(each)
            if each.move is Move.RAISE:
                self._told.add((each.device_id, each.kind, each.at))

    def _is_closed(self, row: AlarmRow, _at: int) -> bool:
        moves = self._closed.get((row.key, row.occurrence))
        return moves is not None and row.moves >= moves

    def _name(self, row: AlarmRow) -> str:
        device_id, area, _ = row.key
        return f"{AREA_DEVICE}{area}" if area else self._names.get(device_id, f"?{device_id}")

    def _row(self, row: AlarmRow) -> Row:
        return {
            "device": self._name(row),
            "kind": row.kind,
            "class": row.alarm_class.value,
            "severity": row.severity.value,
            "quality": row.quality,
            "condition": row.condition,
            "count": row.count,
            "raised_at": row.raised_at,
            "last_at": row.last_at,
            "cleared_at": row.cleared_at,
            "suppressed": row.suppressed,
            "rule": row.rule or None,
            "detail": row.detail,
        }


def _follows(before: Batch, batch: Batch) -> bool:
    """Say whether two batches could have been one."""
    received = before.readings["received_at"][-1] <= batch.readings["received_at"][0]
    return bool(received) and before.scan == batch.scan and not batch.letters


def _judged(readings: Columns, wanted: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.bool_]:
    """Mark the readings, shape (n,), that the line judged; the others stood in the history already."""
    names = identities(readings)
    judged = np.zeros(len(names), np.bool_)
    place = 0
    if np.array_equal(names, wanted):
        judged[:] = True
        place = len(wanted)
    else:
        for row, name in enumerate(names.tolist()):
            if place < len(wanted) and name == wanted[place]:
                judged[row] = True
                place += 1
    if place < len(wanted):
        raise CarebellError(f"batch {number}: messages are read in another way than when they were recorded")
    return judged


def _key(row: Row) -> Key:
    area = row["device"].removeprefix(AREA_DEVICE)
    return (row["device_id"], "", row["kind"]) if area == row["device"] else (-1, area, row["kind"])


def _alarm(row: Row) -> AlarmRow:
    """Return an alarm that was open when the recording began."""
    return AlarmRow(
        _key(row),
        1,
        Severity(row["severity"]),
        row["quality"],
        row["raised_at"],
        row["last_at"],
        row["rule"] or 0,
        row["suppressed"],
        row["detail"],
        row["condition"],
        row["count"],
        row["cleared_at"],
        moves=0,
    )


def closings(rows: Iterable[Row], closed: Mapping[int, int]) -> Closings:
    """Return where people had closed the alarms of a database, whose rows are given the oldest first."""
    seen: Counter[Key] = Counter()
    found: dict[tuple[Key, int], int] = {}
    for row in rows:
        key = _key(row)
        seen[key] += 1
        if row["alarm_id"] in closed:
            found[key, seen[key]] = closed[row["alarm_id"]]
    return found


def lines(rows: Iterable[Row]) -> list[str]:
    """Return alarms as text, one a line, by device and kind: the same alarms are the same bytes."""
    ordered = sorted(rows, key=lambda row: (row["device"], row["kind"]))
    return [
        json.dumps({name: _plain(row[name]) for name in SHOWN}, ensure_ascii=False, sort_keys=True)
        for row in ordered
    ]


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON can be anything
    """Return a value as it comes back from the database: 140.0 is 140 there."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
