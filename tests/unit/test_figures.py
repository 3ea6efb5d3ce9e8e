"""The figures of a month without a database: months, shares, load, and the files made of them."""

import csv
import io
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duty import figures
from duty.figures import SHIFTS, Figures, Question, Report
from duty.handling import BadOrderError
from duty.workload import WINDOW, Work, load_of
from ops.report_files import BOM, as_csv, as_page, harmless
from ops.report_tables import percent, sheets
from schemas.alarms import Outcome
from schemas.clock import to_datetime, to_microseconds
from schemas.settings import DutySettings

MARCH = Question("2026-03", "", to_microseconds(datetime(2026, 4, 2, tzinfo=UTC)))
HOSTILE = ["=1+1", "<script>alert(1)</script>", "王\r\nSet-Cookie: a=b", "@SUM(A1)", "-2+3", '"><img src=x>']
ELEMENTS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section"} | {
    *("table", "thead", "tbody", "tr", "th", "td")
}
COUNTS = [
    name
    for name, field in Figures.model_fields.items()
    if field.annotation is int and name not in {"within_60", "within_180"}
]
LEVELS = {"all": 15, "shift": 7, "region": 11, "operator": 13, "kind": 14}


def row(level: str = "all", block: str = "life", **values: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - of any column
    """Return a row of the statement; columns that are not given count nothing."""
    counts = dict.fromkeys([*Figures.model_fields, *Outcome], 0)
    places = {"third": None, "region": None, "operator": None, "kind": None, "model": None}
    return "answering", {
        **counts,
        "percentiles": None,
        **places,
        "block": block,
        "level": LEVELS[level],
        **values,
    }


def report(*rows: tuple[str, dict[str, Any]], question: Question = MARCH) -> Report:
    """Return the report of rows."""
    return figures.report(question, DutySettings(), rows, {})


@pytest.mark.parametrize(
    ("month", "since", "until"),
    [
        ("2026-03", "2026-02-28T16:00", "2026-03-31T16:00"),
        ("2026-12", "2026-11-30T16:00", "2026-12-31T16:00"),
        ("2024-02", "2024-01-31T16:00", "2024-02-29T16:00"),
    ],
)
def test_a_month_is_one_of_shanghai(month: str, since: str, until: str) -> None:
    """It begins and ends at 16:00 UTC of the day before its first day and the next one's."""
    found = Question(month, "", 0).span()
    assert found == tuple(datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (since, until))


@pytest.mark.parametrize(
    "month", ["", "2026", "2026-13", "2026-00", "1999-01", "2026-1", "2026-10\n", "２０２６-10"]
)
def test_what_is_no_month_is_refused(month: str) -> None:
    """It is named, in both tongues."""
    with pytest.raises(BadOrderError, match="a month is written 2026-10") as refused:
        Question(month, "", 0).span()
    assert refused.value.zh == "月份应写作 2026-10"


@pytest.mark.parametrize("region", ["4", "430", "43060200", "%", "43'", "4306021234567"])
def test_what_is_no_region_is_refused(region: str) -> None:
    """A region is 2, 4, 6, 9 or 12 digits."""
    with pytest.raises(BadOrderError, match="a region is"):
        Question("2026-03", region, 0).span()


def test_an_empty_month_has_no_shares() -> None:
    """Nothing is divided by nothing: shares and times are None, and every table says 无."""
    found = report()
    assert (found.life.share_60, found.life.share_in_time, found.life.false_share) == (None, None, None)
    assert [each.key for each in found.by_shift] == list(SHIFTS)
    assert (found.load.mean, found.load.peak_at, found.load.floods) == (0.0, None, 0)
    cells = {cell[0]: cell[1] for cell in sheets(found)[0].rows}
    assert cells["60 秒内应答"] == cells["应答用时中位数（秒）"] == cells["派人后按时到场"] == "无"
    assert "nan" not in as_csv(found).lower()
    assert "None" not in as_page(found)


def test_a_month_that_has_not_begun_has_no_windows() -> None:
    """Its load is of nothing."""
    found = report(question=Question("2026-03", "", to_microseconds(datetime(2026, 1, 1, tzinfo=UTC))))
    assert (found.load.windows, found.load.mean, found.load.in_flood) == (0, None, None)


def test_shares_are_of_what_waited_for_staff() -> None:
    """What closed itself before anybody came is in no share of answering, and none of false alarms."""
    values: dict[str, Any] = {
        "raised": 12,
        "merged": 2,
        "alarms": 10,
        "cleared_alone": 2,
        "answered": 7,
        "within_60": 4,
    }
    outcomes: dict[str, Any] = {"accidental": 1, "test": 1, "cleared": 2, "fall": 2, "closed": 6}
    found = report(row(**values, **outcomes, within_180=6, dispatched=4, arrived=3, arrived_in_time=1)).life
    assert (found.share_60, found.share_180, found.share_in_time) == (0.5, 0.75, 0.25)
    assert (found.false_alarms, found.false_share) == (2, 0.5)
    assert found.outcomes == {"fall": 2, "accidental": 1, "test": 1, "cleared": 2}


def test_what_chatters_is_told_where_it_is() -> None:
    """It is of class technical and stands beside the calls of its shift; drills never do."""
    found = report(
        row(raised=1),
        row(block="technical", raised=3, chattering=2),
        row(block="drill", raised=3, chattering=1),
        row("shift", "technical", third=0, chattering=2),
        row("region", "technical", region="430602", chattering=2),
    )
    assert found.life.chattering == 2
    assert {each.key: each.chattering for each in found.by_shift} == {"early": 0, "late": 0, "night": 2}
    assert [(each.key, each.raised, each.chattering) for each in found.by_region] == [("430602", 0, 2)]
    assert found.drills.raised == 3


def test_a_load_by_hand() -> None:
    """Rates are per operator of the hour, and one where nobody acknowledged; a flood ends below 5."""
    start = 1_772_294_400 - 1_772_294_400 % 3600
    counts = [0, 11, 6, 5, 4, 12, *([0] * 6)]
    alarms = {start + place * WINDOW: count for place, count in enumerate(counts)}
    alone = load_of(Work(alarms), start, start + 7200)
    assert (alone.windows, alone.alarms, alone.floods) == (12, 38, 2)
    assert alone.in_flood == pytest.approx(4 / 12)
    assert alone.above_bearable == pytest.approx(5 / 12)
    assert (alone.peak, alone.peak_at) == (12.0, to_datetime((start + 5 * WINDOW) * 1_000_000))
    two = load_of(Work(alarms, {start: 2}, {"王芳": (30, 2)}), start, start + 7200)
    assert (two.floods, two.peak) == (0, 6.0)
    assert two.mean == pytest.approx(38 / 2 / 12)
    assert (two.by_operator[0].alarms, two.by_operator[0].mean) == (30, 2.5)
    hour = (start // 3600 + 8) % 24
    assert two.by_hour[hour].alarms == 38
    assert two.by_hour[hour].mean == pytest.approx(38 / 2 / 6)


@given(st.lists(st.integers(0, 30), max_size=60))
def test_a_flood_is_never_longer_than_the_time(counts: list[int]) -> None:
    """Floods are at most as many as their windows, and all alarms are in some hour of the day."""
    found = load_of(
        Work({place * WINDOW: count for place, count in enumerate(counts)}), 0, len(counts) * WINDOW
    )
    assert found.floods <= (found.in_flood or 0) * found.windows + 1e-9
    assert sum(hour.alarms for hour in found.by_hour) == found.alarms == sum(counts)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2]), *(st.integers(0, 50) for _ in COUNTS)),
        max_size=3,
        unique_by=lambda each: each[0],
    )
)
def test_shifts_sum_to_the_whole(shifts: list[tuple[int, ...]]) -> None:
    """What the database counted by shift is laid out without losing or doubling any."""
    rows = [row("shift", third=third, **_counts(counts)) for third, *counts in shifts]
    whole: dict[str, Any] = {
        name: sum(each[place + 1] for each in shifts) for place, name in enumerate(COUNTS)
    }
    found = report(row(**whole), *rows)
    for name in COUNTS:
        assert sum(getattr(each, name) for each in found.by_shift) == getattr(found.life, name), name


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+86", "'+86"),
        ("-2", "'-2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\ufffd=1"),
        ("\r=1", "'\ufffd=1"),
        (" =1", "' =1"),
        ("＝1+1", "'＝1+1"),
        ("王芳", "王芳"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_a_cell_is_never_a_formula(cell: str, shown: str) -> None:
    """What could begin one gets an apostrophe; control characters are shown as such."""
    assert harmless(cell) == shown


def _counts(counts: list[int]) -> dict[str, Any]:
    return dict(zip(COUNTS, counts, strict=True))


def hostile_report() -> Report:
    """Return a report in which every name that people and devices choose is hostile."""
    return report(
        row(raised=1),
        *(row("operator", operator=name, raised=1, alarms=1) for name in HOSTILE),
        *(row("kind", kind=name, model=name, raised=1, alarms=1) for name in HOSTILE),
        *(("staff", {"hour": None, "operator": name, "alarms": 1, "hours": 1}) for name in HOSTILE),
    )


def test_a_spreadsheet_takes_no_name_for_a_formula() -> None:
    """UTF-8 with the mark that Excel wants, a line for each row, and no cell that begins a formula."""
    text = as_csv(hostile_report())
    assert text.startswith(BOM)
    lines = list(csv.reader(io.StringIO(text.removeprefix(BOM), newline="")))
    cells = [cell for line in lines for cell in line]
    assert "'=1+1" in cells
    assert not [cell for cell in cells if re.match(r"\s*[=+\-@]", cell)]
    assert not [cell for cell in cells if "\r" in cell or "\n" in cell]


class Tags(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what begins."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_a_page_to_print_has_no_script_and_no_markup_of_names() -> None:
    """Whatever people are called, the page has its own elements alone, and names stand as they are."""
    page = as_page(hostile_report())
    tags = Tags()
    tags.feed(page)
    assert tags.tags <= ELEMENTS
    assert tags.attributes <= {"lang", "charset", "http-equiv", "content", "scope"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "size: A4" in page
    assert "\r" not in page


def test_what_falls_short_of_a_target_never_reads_as_it() -> None:
    """Shares are rounded down."""
    assert percent(0.97499) == "97.4%"
    assert percent(0.975) == "97.5%"
    assert percent(1.0) == "100.0%"
    assert percent(0.29) == "29.0%"
