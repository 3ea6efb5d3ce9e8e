"""The figures of a month: how alarms were answered, whether somebody came, what they turned out to be.

docs/figures.md defines each figure; it and store/queries/figures.sql say the same. Rules of this file: the
database counts, in one statement, so that all figures are of one moment; what is reckoned from its counts is
reckoned here, without input or output. A share of nothing is None and never 0.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict, Field, computed_field

from duty.alarms import database_errors
from duty.handling import BadOrderError
from duty.workload import Load, Work, load_of
from schemas.alarms import CLASS_ZH, KINDS, Class, Outcome
from schemas.clock import Moment, to_datetime, to_microseconds
from schemas.settings import DutySettings
from store import sql

MONTH: Final = r"^20[0-9]{2}-(0[1-9]|1[0-2])$"
REGION: Final = r"^([0-9]{2}|[0-9]{4}|[0-9]{6}|[0-9]{9}|[0-9]{12})?$"
TARGET_60: Final = 0.975
TARGET_180: Final = 0.99
"""Shares of calls to be answered within 60 s and 180 s (UK TSA)."""
FALSE: Final = (Outcome.ACCIDENTAL, Outcome.TEST, Outcome.EQUIPMENT_FAULT)
"""Outcomes of which nobody was in need."""
SHIFTS: Final = {"early": "早班 08–16", "late": "晚班 16–24", "night": "夜班 00–08"}
NOBODY_ZH: Final = "未应答"
DRILL: Final = "drill"
MERGED: Final = "merged"
"""The outcome that is counted apart, under its own name."""

_THIRDS: Final = ("night", "early", "late")
_LEVELS: Final = {15: "all", 7: "shift", 11: "region", 13: "operator", 14: "kind"}
_SHANGHAI: Final = timezone(timedelta(hours=8), "CST")  # one zone, no summer time
_SQL: Final = sql.load("figures")


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


def share(part: int, whole: int) -> float | None:
    """Return which share of the whole a part is; of nothing there is none."""
    return part / whole if whole else None


class Figures(_Row):
    """Of one part of a month's alarms: numbers of alarms, seconds, and shares from 0 to 1."""

    raised: int = Field(0, description="all, also those that count nowhere else")
    merged: int = Field(0, description="of them those merged into another alarm, which counts for them")
    suppressed: int = Field(0, description="of them those explained by an outage, not before staff")
    alarms: int = Field(0, description="the rest: what everything below is about")
    cleared_alone: int = Field(0, description="closed themselves before anybody acknowledged them")
    answered: int = Field(0, description="acknowledged, however late")
    within_60: int = Field(0, description="acknowledged within 60 s")
    within_180: int = Field(0, description="acknowledged within 180 s")
    median_seconds: float | None = Field(None, description="of the answered: half took no longer")
    p95_seconds: float | None = Field(None, description="of the answered: 95 % took no longer")
    dispatched: int = Field(0, description="to which somebody was sent")
    arrived: int = Field(0, description="of the dispatched: somebody came")
    arrived_in_time: int = Field(
        0, description="of the dispatched: within the region's limit, from raised_at"
    )
    closed: int = 0
    outcomes: dict[Outcome, int] = Field({}, description="of the closed, those that occur")
    reopened: int = Field(0, description="closed and opened again, however often")
    stale: int = Field(0, description="stood open for more than 24 hours")
    chattering: int = Field(
        0, description="alarms of the kind chattering in the same part, of whatever class"
    )

    @computed_field(description="of those that waited for staff; not answered yet is not answered")  # type: ignore[prop-decorator]
    @property
    def share_60(self) -> float | None:
        """Return which share was answered within 60 s."""
        return share(self.within_60, self.alarms - self.cleared_alone)

    @computed_field(description="the same within 180 s")  # type: ignore[prop-decorator]
    @property
    def share_180(self) -> float | None:
        """Return which share was answered within 180 s."""
        return share(self.within_180, self.alarms - self.cleared_alone)

    @computed_field(description="of the dispatched; not on site yet is not on site")  # type: ignore[prop-decorator]
    @property
    def share_in_time(self) -> float | None:
        """Return to which share of the dispatched somebody came in time."""
        return share(self.arrived_in_time, self.dispatched)

    @computed_field(description="accidental, test or equipment_fault")  # type: ignore[prop-decorator]
    @property
    def false_alarms(self) -> int:
        """Return of how many nobody was in need."""
        return sum(self.outcomes.get(outcome, 0) for outcome in FALSE)

    @computed_field(description="of what people closed")  # type: ignore[prop-decorator]
    @property
    def false_share(self) -> float | None:
        """Return which share of what people closed was false."""
        return share(self.false_alarms, self.closed - self.outcomes.get(Outcome.CLEARED, 0))


class Group(Figures):
    """The figures of a shift, a region of 6 digits, an operator or a class; `name` is for people."""

    key: str
    name: str


class KindGroup(Figures):
    """The figures of a kind of alarm on a model of device."""

    kind: str
    kind_zh: str
    model: str


class Report(_Row):
    """A month in Asia/Shanghai, by raised_at; of life alarms unless said otherwise, without drills."""

    month: str
    region: str = Field(description="only devices of it and in it; empty: all")
    since: Moment
    until: Moment = Field(description="the first moment after the month")
    at: Moment = Field(description="when this was asked; before `until` the month is not over")
    target_60: float = TARGET_60
    target_180: float = TARGET_180
    arrival_minutes: int = Field(description="limit until somebody is on site")
    arrival: dict[str, int] = Field(description="where another one holds: region or beginning of its code")
    life: Figures
    by_shift: list[Group]
    by_region: list[Group]
    by_operator: list[Group] = Field(description="by who acknowledged; an empty key: nobody did")
    by_kind: list[KindGroup] = Field(description="of all classes, the most false alarms first")
    by_class: list[Group] = Field(description="life, health and technical")
    drills: Figures = Field(description="alarms of drills, which count nowhere else")
    load: Load


class Question(NamedTuple):
    """What is asked: a month, a region or the beginning of its code, and the moment of asking."""

    month: str
    region: str
    at: int

    def span(self) -> tuple[datetime, datetime]:
        """Return the first moment of the month and the first after it. Raises BadOrderError."""
        if not re.fullmatch(MONTH, self.month, re.ASCII):
            raise BadOrderError(f"month {self.month!r}: a month is written 2026-10", "月份应写作 2026-10")
        if not re.fullmatch(REGION, self.region, re.ASCII):
            raise BadOrderError(
                f"region {self.region!r}: a region is 2, 4, 6, 9 or 12 digits",
                "行政区划应为 2、4、6、9 或 12 位数字",
            )
        year, month = map(int, self.month.split("-"))
        after = (year + month // 12, month % 12 + 1)
        since, until = (datetime(*first, 1, tzinfo=_SHANGHAI) for first in ((year, month), after))
        return since.astimezone(UTC), until.astimezone(UTC)


async def read(connection: AsyncConnection, question: Question, settings: DutySettings) -> Report:
    """Return the figures of a month. Raises BadOrderError if there is no such month or region."""
    since, until = question.span()
    values = {
        "since": since,
        "until": until,
        "at": to_datetime(question.at),
        "within": question.region,
        "arrival": settings.arrival_minutes * 60.0,
        "prefixes": list(settings.arrival),
        "limits": [minutes * 60.0 for minutes in settings.arrival.values()],
    }
    with database_errors():
        async with connection.transaction():
            await connection.execute(_SQL["bound_session"])
            rows = await (await connection.execute(_SQL["figures"], values)).fetchall()
            regions = sorted(
                {str(row["region"]) for part, row in rows if part == "answering" and row["region"]}
            )
            named = await connection.execute(_SQL["region_names"], {"regions": regions})
            names = {str(region): str(name) for region, name in await named.fetchall()}
    return report(question, settings, rows, names)


def report(
    question: Question,
    settings: DutySettings,
    rows: Iterable[tuple[str, dict[str, Any]]],
    names: Mapping[str, str],
) -> Report:
    """Lay out what store/queries/figures.sql counted; `names` are those of regions."""
    since, until = question.span()
    parts: dict[str, list[dict[str, Any]]] = {"answering": [], "window": [], "staff": []}
    for part, row in rows:
        parts[part].append(row)
    counted = _Counted(parts["answering"])
    end = max(since, min(until, to_datetime(question.at)))
    work = Work(
        {row["began"]: row["alarms"] for row in parts["window"]},
        {row["hour"]: row["operators"] for row in parts["staff"] if row["hour"] is not None},
        {row["operator"]: (row["alarms"], row["hours"]) for row in parts["staff"] if row["hour"] is None},
    )
    return Report(
        month=question.month,
        region=question.region,
        since=since,
        until=until,
        at=to_datetime(question.at),
        arrival_minutes=settings.arrival_minutes,
        arrival=dict(sorted(settings.arrival.items())),
        life=counted.whole(Class.LIFE),
        by_shift=counted.groups("shift", SHIFTS, list(SHIFTS)),
        by_region=counted.groups("region", {"": "未填区划", **names}),
        by_operator=counted.groups("operator", {"": NOBODY_ZH}),
        by_kind=counted.kinds(),
        by_class=counted.classes(),
        drills=counted.whole(DRILL, alone=True),
        load=load_of(work, to_microseconds(since) // 1_000_000, to_microseconds(end) // 1_000_000),
    )


class _Counted:
    """The rows of the statement, by block, level and key."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._kinds: list[dict[str, Any]] = []
        self._chattering: Counter[tuple[str, str]] = Counter()
        for row in rows:
            level = _LEVELS[row["level"]]
            if level == "kind":
                self._kinds.append(row)
                continue
            key = _THIRDS[row["third"]] if level == "shift" else "" if level == "all" else row[level]
            self._rows[row["block"], level, key] = row
            if row["block"] != DRILL:
                self._chattering[level, key] += row["chattering"]

    def whole(self, block: str, *, alone: bool = False) -> Figures:
        """Return the figures of a block; `alone` without what chattered in other blocks."""
        return Figures(**self._values(block, "all", "", alone=alone))

    def groups(self, level: str, names: Mapping[str, str], keys: Iterable[str] = ()) -> list[Group]:
        """Return life alarms by a level: all `keys`, or those that occur, by their order."""
        found = {key for block, of, key in self._rows if block == Class.LIFE and of == level}
        found |= {key for (of, key), count in self._chattering.items() if of == level and count}
        return [
            Group(key=key, name=names.get(key, key), **self._values(Class.LIFE, level, key))
            for key in keys or sorted(found)
        ]

    def classes(self) -> list[Group]:
        """Return each class as a whole."""
        return [
            Group(key=block, name=CLASS_ZH[block], **self._values(block, "all", "", alone=True))
            for block in Class
        ]

    def kinds(self) -> list[KindGroup]:
        """Return what is no drill by kind and model."""
        groups = [
            KindGroup(
                kind=row["kind"],
                kind_zh=KINDS[row["kind"]].zh if row["kind"] in KINDS else row["kind"],
                model=row["model"],
                **_values(row),
            )
            for row in self._kinds
            if row["block"] != DRILL
        ]
        return sorted(groups, key=lambda each: (-each.false_alarms, -each.raised, each.kind, each.model))

    def _values(self, block: str, level: str, key: str, *, alone: bool = False) -> dict[str, Any]:
        row = self._rows.get((block, level, key))
        values = _values(row) if row else {}
        return values if alone else {**values, "chattering": self._chattering[level, key]}


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of Figures in a row."""
    median, p95 = row["percentiles"] or (None, None)
    return {
        **{name: row[name] for name in Figures.model_fields if name in row},
        "median_seconds": median,
        "p95_seconds": p95,
        "outcomes": {code: row[code] for code in Outcome if code != MERGED and row.get(code)},
    }
