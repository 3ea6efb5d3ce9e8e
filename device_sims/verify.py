"""Compare what a database holds with the truth: pure, and every difference is a line."""

from collections import Counter
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from device_sims.truth import DeadKey, Expected, Fate, RowKey, Seen, SeenAlarm, Truth
from schemas.clock import SECOND, to_datetime

_SHOWN = 50


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it must be; `occurrence` is 0 for a message.

    `what` is missing, surplus, count, clearing, closing, quality, raise_time or clear_time for an alarm;
    lost, double, dead_missing or dead_surplus for a message.
    """

    what: str
    device: str
    kind: str
    occurrence: int
    detail: str


@dataclass
class Report:
    """What a comparison found. It is good if there is no difference."""

    expected: int = 0
    raised: int = 0
    sent: int = 0
    stored: int = 0
    duplicates: int = 0
    dead: int = 0
    lost: int = 0
    double: int = 0
    dead_missing: int = 0
    dead_surplus: int = 0
    repeated: int = 0  # sends repeated after a lost connection
    latest: int = 0  # the farthest that a raise was off, microseconds of the injected clock
    behind: int = 0  # the farthest that the player was behind the script, the same
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Say whether all is as it must be."""
        return not self.differences

    def __rich__(self) -> RenderableType:
        """Show the figures, and the first of the differences."""
        figures = Table.grid(padding=(0, 2))
        figures.add_row("alarms", f"{self.expected} expected, {self.raised} raised")
        figures.add_row("raise times", f"off by at most {self.latest / SECOND:.1f} s of the town's clock")
        figures.add_row(
            "messages",
            f"{self.sent} sent, {self.stored} rows, {self.duplicates} duplicates, {self.dead} dead letters",
        )
        figures.add_row("by key", f"{self.lost} lost, {self.double} double")
        figures.add_row("dead letters", f"{self.dead_missing} missing, {self.dead_surplus} surplus")
        if self.behind > SECOND:
            figures.add_row(
                "played", f"up to {self.behind / SECOND:.1f} s of the town's clock behind the script"
            )
        if self.repeated:
            figures.add_row("repeated", f"{self.repeated} sends, after a lost connection")
        if self.ok:
            return Group(figures, Text("no difference", style="bold green"))
        lines = Table("what", "device", "kind", "no.", "detail", title=f"{len(self.differences)} differences")
        for each in self.differences[:_SHOWN]:
            lines.add_row(each.what, each.device, each.kind, str(each.occurrence or ""), each.detail)
        return Group(figures, lines)


def compare(truth: Truth, seen: Seen) -> Report:
    """Return what differs between what must be and what is."""
    report = Report(sent=len(truth.sent), repeated=len(truth.uncertain))
    late = (played.tried - truth.sent[number].at for number, played in truth.played.items())
    report.behind = max(late, default=0)
    _compare_alarms(truth, seen, report)
    _compare_rows(truth, seen, report)
    _compare_dead(truth, seen, report)
    return report


# ----------------------------------------------------------------------------------------------------- alarms


def _compare_alarms(truth: Truth, seen: Seen, report: Report) -> None:
    expected = {(one.device, one.kind, one.occurrence): one for one in truth.expected}
    raised = {(one.device, one.kind, one.occurrence): one for one in seen.alarms if _concerns(truth, one)}
    report.expected, report.raised = len(expected), len(raised)
    leeway = Counter(
        (sent.device, sent.activates)
        for sent in (truth.sent[number] for number in truth.uncertain)
        if sent.activates and not sent.timed
    )
    for key in sorted(expected.keys() | raised.keys()):
        want, got = expected.get(key), raised.get(key)
        if want is None:
            report.differences.append(Difference("surplus", *key, _told(got)))
        elif got is None:
            at = _clock(truth.when(want.raised_by).tried + want.raised_after)
            report.differences.append(Difference("missing", *key, f"should have been raised at {at}"))
        else:
            found = _differences(truth, want, got, leeway[key[0], key[1]], report)
            report.differences += [Difference(what, *key, detail) for what, detail in found]


def _concerns(truth: Truth, alarm: SeenAlarm) -> bool:
    """Leave out other people's devices, and the silence after everybody has gone home."""
    if alarm.device.startswith("?"):
        return True
    after = alarm.kind == "device_silent" and alarm.raised_at > truth.end
    return alarm.device in truth.devices and not after


def _differences(
    truth: Truth, want: Expected, got: SeenAlarm, leeway: int, report: Report
) -> list[tuple[str, str]]:
    """Compare one alarm with the expected one."""
    found = []
    if not want.count <= got.count <= want.count + leeway:
        found.append(("count", f"{got.count}, expected {want.count}"))
    if (got.cleared_at is None) != (want.cleared_by is None):
        how = "not cleared" if got.cleared_at is None else f"cleared at {_clock(got.cleared_at)}"
        found.append(("clearing", how))
    if got.closed != want.closed:
        found.append(("closing", f"closed by {got.closed or 'nobody'}, expected {want.closed or 'nobody'}"))
    if want.quality and got.quality != want.quality:
        found.append(("quality", f"{got.quality}, expected {want.quality}"))
    off = _off(truth, want.raised_by, want.raised_after, got.raised_at)
    report.latest = max(report.latest, off)
    if off > truth.tolerance:
        found.append(("raise_time", f"off by {off / SECOND:.1f} s: raised at {_clock(got.raised_at)}"))
    if want.cleared_by is not None and got.cleared_at is not None:
        off = _off(truth, want.cleared_by, 0, got.cleared_at)
        if off > truth.tolerance:
            found.append(("clear_time", f"off by {off / SECOND:.1f} s: cleared at {_clock(got.cleared_at)}"))
    return found


def _off(truth: Truth, number: int, after: int, at: int) -> int:
    """Return how far a moment lies from the send that decides it; it may fall anywhere until the PUBACK."""
    played = truth.when(number)
    return max(played.tried + after - at, at - played.acknowledged - after, 0)


def _told(alarm: SeenAlarm | None) -> str:
    return f"raised at {_clock(alarm.raised_at)}, count {alarm.count}" if alarm else ""


def _clock(moment: int) -> str:
    return f"{to_datetime(moment):%H:%M:%S} UTC"


# --------------------------------------------------------------------------------------------------- messages


def _compare_rows(truth: Truth, seen: Seen, report: Report) -> None:
    """Compare the history by key; a repeated send without a time of its own may stand in it once more."""
    want = Counter(row for sent in truth.sent for row in sent.rows)
    leeway = Counter(
        row for number in truth.uncertain for row in truth.sent[number].rows if not truth.sent[number].timed
    )
    town = set(truth.devices)
    got = {key: times for key, times in seen.rows.items() if key.device in town}
    report.stored = sum(got.values())
    report.duplicates = sum(sent.fate is Fate.DUPLICATE for sent in truth.sent)
    for key in sorted(want.keys() | got.keys(), key=repr):
        short, over = _miss(want[key], got.get(key, 0), leeway[key])
        report.lost += short
        report.double += over
        if short or over:
            report.differences.append(_of_row("lost" if short else "double", key, want[key], got.get(key, 0)))


def _miss(want: int, got: int, leeway: int) -> tuple[int, int]:
    return max(want - got, 0), max(got - want - leeway, 0)


def _of_row(what: str, key: RowKey, want: int, got: int) -> Difference:
    return Difference(what, key.device, key.channel, 0, f"seq {key.seq}: {got} times, expected {want}")


def _compare_dead(truth: Truth, seen: Seen, report: Report) -> None:
    want = Counter(sent.dead for sent in truth.sent if sent.dead)
    leeway = Counter(dead for number in truth.uncertain if (dead := truth.sent[number].dead))
    ours = {sent.topic for sent in truth.sent}
    got = {key: times for key, times in seen.dead.items() if key.topic in ours}
    report.dead = sum(got.values())
    for key in sorted(want.keys() | got.keys()):
        short, over = _miss(want[key], got.get(key, 0), leeway[key])
        report.dead_missing += short
        report.dead_surplus += over
        if short or over:
            what = "dead_missing" if short else "dead_surplus"
            report.differences.append(_of_dead(what, key, want[key], got.get(key, 0)))


def _of_dead(what: str, key: DeadKey, want: int, got: int) -> Difference:
    part = "whole" if key.whole else "in part"
    return Difference(what, "", key.reason, 0, f"{key.topic} {part}: {got} times, expected {want}")
