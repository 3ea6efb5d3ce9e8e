"""Compare what a database holds with a tally: pure, and every difference is a line."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from device_sims.tally import Bucket, Calls, Rows, Tally
from device_sims.truth import DeadKey
from device_sims.verify import Difference
from schemas.clock import SECOND, to_datetime

SLACK_SECONDS: Final = 60.0
"""How long after its publish a call may have been received, in real seconds: the backlog on the way."""
_SHOWN: Final = 50


class HeldRows(NamedTuple):
    """How many rows of a bucket stand, how many differ in device time or content, and the sums of these.

    `moved` rows stand under the device's time moved by whole hours, `away` under another time altogether.
    """

    number: int
    distinct: int
    sent: int
    said: int
    moved: int = 0
    away: int = 0


@dataclass(frozen=True)
class HeldAlarm:
    """A call's alarm; `closed_at` is None while it is open.

    `hidden` says why staff do not see it as they must, "" if they do.
    """

    device: str
    kind: str
    count: int
    raised_at: int
    last_at: int
    closed_at: int | None
    hidden: str


@dataclass
class Held:
    """What the database holds since a run began.

    `received` is when calls of a device and kind were, `unreadable` when dead letters of a topic and payload
    (sha256) were.
    """

    rows: dict[Bucket, HeldRows] = field(default_factory=dict)
    alarms: list[HeldAlarm] = field(default_factory=list)
    received: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    unreadable: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    dead: dict[DeadKey, int] = field(default_factory=dict)


@dataclass
class Audit:
    """What a comparison found; good if there is no difference."""

    scenario: str
    published: int
    again: int
    rows: int = 0
    rows_least: int = 0
    rows_most: int = 0
    copies: int = 0
    copies_least: int = 0
    copies_most: int = 0
    lost: int = 0
    double: int = 0
    calls: int = 0
    missed: int = 0
    alarms: int = 0
    activations: int = 0
    activations_least: int = 0
    activations_most: int = 0
    dead: int = 0
    dead_missing: int = 0
    dead_surplus: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Say whether all is as it must be."""
        return not self.differences

    @property
    def may_be_under_way(self) -> bool:
        """Say whether time alone could mend it: things are missing, and nothing is there that must not be."""
        waits = {"lost", "call_missed", "too_few", "dead_missing"}
        return bool(self.differences) and {each.what for each in self.differences} <= waits

    def __rich__(self) -> RenderableType:
        """Show the figures, and the first of the differences."""
        table = Table.grid(padding=(0, 2))
        again = f", {self.again} of them again after a lost connection" if self.again else ""
        table.add_row("published", f"{self.published:,}{again}")
        copies = f"{self.copies:,} copies, {_span(self.copies_least, self.copies_most)} expected"
        rows = f"{self.rows:,} rows, {_span(self.rows_least, self.rows_most)} expected"
        table.add_row("readings", f"{rows}; {copies}")
        table.add_row("by bucket", f"{self.lost:,} lost, {self.double:,} double")
        table.add_row("calls", f"{self.calls:,}: {_listed(self.causes)}")
        activations = _span(self.activations_least, self.activations_most)
        table.add_row(
            "alarms",
            f"{self.alarms:,} of life, activated {self.activations:,} times, {activations} expected;"
            f" {self.missed:,} calls in none",
        )
        table.add_row("dead letters", f"{self.dead:,}: {_listed(self.reasons)}")
        table.add_row("", f"{self.dead_missing:,} missing, {self.dead_surplus:,} surplus")
        if self.ok:
            return Group(table, Text("no difference", style="bold green"))
        lines = Table("what", "device", "kind", "detail", title=f"{len(self.differences)} differences")
        for each in self.differences[:_SHOWN]:
            lines.add_row(each.what, each.device, each.kind, each.detail)
        return Group(table, lines)


def _span(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items())) or "none"


def compare(tally: Tally, held: Held) -> Audit:
    """Return what differs between what must be and what is."""
    audit = Audit(tally.scenario, tally.published, tally.again, causes=dict(tally.causes))
    audit.calls = tally.causes.total()
    _compare_calls(tally, held, audit)
    _compare_rows(tally, held, audit)
    _compare_dead(tally, held, audit)
    return audit


# ------------------------------------------------------------------------------------------------------- rows


def _compare_rows(tally: Tally, held: Held, audit: Audit) -> None:
    devices = set(tally.devices)
    ours = {bucket: rows for bucket, rows in held.rows.items() if bucket.device in devices}
    for bucket in sorted(tally.rows.keys() | ours.keys(), key=repr):
        want, got = tally.rows.get(bucket, Rows()), ours.get(bucket, HeldRows(0, 0, 0, 0))
        most = want.again + want.perhaps + min(want.folded, got.moved)
        untold = want.perhaps if bucket.day is None else 0
        audit.rows += got.distinct
        audit.rows_least += want.distinct
        audit.rows_most += want.distinct
        audit.copies += got.number - got.distinct
        audit.copies_least += want.again
        audit.copies_most += most
        short = max(want.distinct - got.distinct, want.distinct + want.again - got.number)
        over = max(got.distinct - want.distinct - untold, got.number - got.distinct - most, 0)
        audit.lost += max(short, 0)
        audit.double += over
        is_known = got.distinct == want.distinct
        what = "lost" if short > 0 else "double" if over else _other(want, got) if is_known else ""
        if what:
            audit.differences.append(
                Difference(what, bucket.device, bucket.channel, 0, _told(bucket, want, got))
            )


def _other(want: Rows, got: HeldRows) -> str:
    """Name what is wrong with rows that are as many as they must be."""
    if got.sent != want.sent:
        return "other_rows"
    if not want.unused <= got.away <= want.unused + want.unsure:
        return "other_times"
    return "other_values" if got.said != want.said else ""


def _told(bucket: Bucket, want: Rows, got: HeldRows) -> str:
    day = "no time" if bucket.day is None else f"day {bucket.day}"
    found = (
        f"{got.distinct} rows and {got.number - got.distinct} copies, times {got.sent}, values {got.said},"
        f" {got.away} under other times"
    )
    copies, away = _span(want.again, want.again + want.perhaps), _span(want.unused, want.unused + want.unsure)
    return f"{day}: {found}; expected {want.distinct} and {copies}, {want.sent}, {want.said}, {away}"


# ------------------------------------------------------------------------------------------------------ calls


def _compare_calls(tally: Tally, held: Held, audit: Audit) -> None:
    """Compare the alarms of life: each call within one, as many activations as calls, all before staff."""
    devices = set(tally.devices)
    by_kind: dict[tuple[str, str], list[HeldAlarm]] = {}
    for alarm in held.alarms:
        if alarm.device in devices:
            by_kind.setdefault((alarm.device, alarm.kind), []).append(alarm)
    slack = int(SLACK_SECONDS * max(tally.speed, 1.0) * SECOND)
    for key in sorted(tally.calls.keys() | by_kind.keys()):
        want, got = tally.calls.get(key, Calls()), by_kind.get(key, [])
        count = sum(alarm.count for alarm in got)
        audit.alarms += len(got)
        audit.activations += count
        audit.activations_least += want.least
        audit.activations_most += want.most
        received = [*held.received.get(key, ()), *_unreadable(want, held)]
        audit.differences += [
            Difference(what, *key, 0, detail) for what, detail in _of_calls(want, got, received, slack)
        ]
    audit.missed = sum(each.what == "call_missed" for each in audit.differences)


def _unreadable(want: Calls, held: Held) -> Iterator[int]:
    """Yield when calls were received that nobody can read."""
    for letter in set(want.unreadable):
        yield from held.unreadable.get(letter, ())


def _of_calls(
    want: Calls, got: list[HeldAlarm], received: list[int], slack: int
) -> Iterator[tuple[str, str]]:
    count = sum(alarm.count for alarm in got)
    if not want.least <= count <= want.most:
        what = "too_few" if count < want.least else "too_many"
        yield what, f"activated {count} times, {_span(want.least, want.most)} expected"
    for at in want.at:
        if not any(_holds(alarm, at, slack) for alarm in got):
            yield "call_missed", f"published at {_moment(at)}, in no alarm"
    for at in received:
        if not any(alarm.raised_at <= at <= alarm.last_at for alarm in got):
            yield "call_missed", f"received at {_moment(at)}, in no alarm"
    for alarm in got:
        if alarm.hidden:
            yield "hidden", f"raised at {_moment(alarm.raised_at)}, {alarm.hidden}"
        if not _explained(want.at, alarm, slack) and want.least == want.most:
            yield "false_alarm", f"raised at {_moment(alarm.raised_at)}, nobody called"


def _moment(at: int) -> str:
    return f"{to_datetime(at):%Y-%m-%d %H:%M:%S} UTC"


def _holds(alarm: HeldAlarm, at: int, slack: int) -> bool:
    """Say whether a call published then was received while this alarm was open, or raised it."""
    return alarm.raised_at <= at + slack and (alarm.closed_at is None or alarm.closed_at >= at)


def _explained(calls: list[int], alarm: HeldAlarm, slack: int) -> bool:
    """Say whether some call can have raised an alarm: one published not long before."""
    place = bisect_left(calls, alarm.raised_at - slack)
    return place < len(calls) and calls[place] <= alarm.raised_at


# ----------------------------------------------------------------------------------------------- dead letters


def _compare_dead(tally: Tally, held: Held, audit: Audit) -> None:
    ours = {key: n for key, n in held.dead.items() if key.topic in tally.topics}
    audit.dead = sum(ours.values())
    audit.reasons = _summed((key.reason, n) for key, n in ours.items())
    for key in sorted(tally.dead.keys() | ours.keys()):
        want, got = tally.dead[key], ours.get(key, 0)
        short, over = max(want - got, 0), max(got - want - tally.dead_again[key], 0)
        audit.dead_missing += short
        audit.dead_surplus += over
        if short or over:
            part = "whole" if key.whole else "in part"
            what = "dead_missing" if short else "dead_surplus"
            audit.differences.append(
                Difference(what, "", key.reason, 0, f"{key.topic} {part}: {got} times, expected {want}")
            )


def _summed(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, n in pairs:
        sums[name] = sums.get(name, 0) + n
    return sums
