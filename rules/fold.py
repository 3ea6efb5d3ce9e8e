"""Promise P3 without a database: what the engine decides, folded into the rows that `alarms` would hold.

It says what store/queries/ingest.sql says. What people do about an alarm is given: only when it was closed
matters here, for a raise after that is a new alarm.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from schemas.alarms import KINDS, Class, Move, Severity, Transition

_RANK = {severity: rank for rank, severity in enumerate(Severity)}

Key = tuple[int, str, str]
"""Of which alarms only one is open: device, area ("" for none), kind."""


@dataclass
class AlarmRow:
    """An alarm as its row would be; times in microseconds since 1970.

    `occurrence` counts the alarms of its key, from 1; `moves` counts the decisions that changed it, the first
    raise included. `shown_at` is for whoever wants to note when it first stood before staff.
    """

    key: Key
    occurrence: int
    severity: Severity
    quality: str
    raised_at: int
    last_at: int
    rule: int = 0
    suppressed: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    condition: str = "active"
    count: int = 1
    cleared_at: int | None = None
    moves: int = 1
    shown_at: int | None = None

    @property
    def kind(self) -> str:
        """Return its kind."""
        return self.key[2]

    @property
    def alarm_class(self) -> Class:
        """Return what is at stake."""
        return KINDS[self.kind].alarm_class


class Fold:
    """The alarms that are open, as decisions come in."""

    def __init__(self, handled: Callable[[AlarmRow, int], bool], closed: Callable[[AlarmRow], None]) -> None:
        """Ask `handled(row, at)` whether people had closed it when a decision came; tell `closed` of each."""
        self.open: dict[Key, AlarmRow] = {}
        self._handled = handled
        self._closed = closed
        self._occurrences: Counter[Key] = Counter()

    def adopt(self, row: AlarmRow) -> None:
        """Take up an alarm that was open before."""
        self._occurrences[row.key] = row.occurrence
        self.open[row.key] = row

    def sweep(self, at: int) -> None:
        """Let go of the alarms that people had closed by then, so that what is held stays bounded."""
        for row in [row for row in self.open.values() if self._handled(row, at)]:
            self._close(row)

    def take(self, decision: Transition) -> None:
        """Do to the alarms what the database would do."""
        key = key_of(decision)
        row = self.open.get(key)
        if row is not None and self._handled(row, decision.at):
            self._close(row)
            row = None
        if decision.move is Move.RAISE:
            self._raise(key, row, decision)
        elif row is None:
            pass  # a decision about an alarm that is closed says nothing any more
        elif decision.move is Move.STEP:
            self._step(row, decision.severity)
        elif decision.move is Move.CLEAR:
            self._clear(row, decision.at)
        else:
            self._suppress(row, decision)

    def _raise(self, key: Key, row: AlarmRow | None, decision: Transition) -> None:
        area = _hiding(decision)
        if row is None:
            self._occurrences[key] += 1
            self.open[key] = AlarmRow(
                key,
                self._occurrences[key],
                decision.severity,
                decision.quality,
                decision.at,
                decision.at,
                decision.rule,
                area,
                decision.values,
            )
            return
        row.count += 1
        row.moves += 1
        row.last_at = max(row.last_at, decision.at)
        row.quality = "ok" if decision.quality == "ok" else row.quality
        row.severity = min(row.severity, decision.severity, key=_RANK.__getitem__)
        row.condition, row.cleared_at = "active", None
        if row.suppressed is not None:
            row.suppressed = area

    @staticmethod
    def _step(row: AlarmRow, severity: Severity) -> None:
        if _RANK[severity] < _RANK[row.severity]:
            row.severity = severity
            row.moves += 1

    @staticmethod
    def _suppress(row: AlarmRow, decision: Transition) -> None:
        area = _hiding(decision)
        if row.alarm_class is not Class.LIFE and row.suppressed != area:
            row.moves += 1
            row.suppressed = area

    def _clear(self, row: AlarmRow, at: int) -> None:
        if row.condition == "active":
            row.condition, row.cleared_at = "cleared", at
            row.moves += 1
            if row.alarm_class is Class.TECHNICAL:
                self._close(row)

    def _close(self, row: AlarmRow) -> None:
        del self.open[row.key]
        self._closed(row)


def key_of(decision: Transition) -> Key:
    """Return what a decision is about."""
    return decision.device_id, decision.area, decision.kind


def _hiding(decision: Transition) -> str | None:
    """Return the area whose outage hides the alarm; life alarms never are, whatever a decision says."""
    if decision.move is Move.UNSUPPRESS or KINDS[decision.kind].alarm_class is Class.LIFE:
        return None
    return decision.parent or None
