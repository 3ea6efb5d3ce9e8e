"""The boards as files, and what becomes of a query before the database sees it."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import yaml

from grafana import BOARDS, DASHBOARDS, panels, written
from schemas.alarms import EVENT_ZH, TIME_ZH
from schemas.readings import Event, Quality
from store import boards

PROVISIONING = DASHBOARDS.with_name("provisioning")
END = datetime(2026, 3, 1, 8, 0, 0, 250_000, timezone(timedelta(hours=8)))
START = END - timedelta(hours=1)


def expand(query: str, **variables: str) -> str:
    """Expand for the hour before END."""
    return boards.expand(query, START, END, variables)


def committed(name: str) -> dict[str, Any]:
    """Read a board as it is committed."""
    found: dict[str, Any] = json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def targets() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Give every query of every panel with its board and panel."""
    for name in BOARDS:
        for panel in committed(name)["panels"]:
            for target in panel["targets"]:
                yield name, panel, target


# ------------------------------------------------------------------------------------------------------ files


def test_the_committed_boards_are_what_the_generator_writes() -> None:
    """`python -m grafana` would change no file and leave none over."""
    assert {path: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()} == written()


def test_the_boards_are_the_four_of_the_design() -> None:
    """Titles, addresses, time zone and refresh are as duty staff know them."""
    found = {name: committed(name) for name in BOARDS}
    assert {(each["uid"], each["title"], each["refresh"]) for each in found.values()} == {
        ("carebell-duty", "值班告警", "5s"),
        ("carebell-device", "设备详情", "30s"),
        ("carebell-fleet", "设备在线与电量", "30s"),
        ("carebell-system", "系统运行", "30s"),
    }
    assert {each["timezone"] for each in found.values()} == {"Asia/Shanghai"}


def test_panels_are_numbered_and_do_not_overlap() -> None:
    """Each panel has a number of its own and squares of its own, within the 24 columns."""
    for name in BOARDS:
        placed = [(panel["id"], panel["gridPos"]) for panel in committed(name)["panels"]]
        assert [number for number, _ in placed] == list(range(1, len(placed) + 1))
        squares = [
            (x, y)
            for _, at in placed
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(squares) == len(set(squares)), name
        assert max(x for x, _ in squares) == 23, name


def test_every_query_is_one_of_the_file_and_every_one_of_the_file_is_asked() -> None:
    """Panels and the variable ask store/queries/boards.sql, whole, and nothing else."""
    asked = {target["rawSql"] for _, _, target in targets() if "rawSql" in target}
    asked |= {each["query"] for name in BOARDS for each in committed(name)["templating"].get("list", [])}
    assert asked == set(boards.queries().values())


def test_a_board_reads_views_only() -> None:
    """Whatever stands after FROM and JOIN and is no function is a board_* view."""
    named = re.findall(r"\b(?:FROM|JOIN)\s+(\w+)\b(?!\()", "\n".join(boards.queries().values()))
    assert len(named) >= len(boards.queries())
    assert [name for name in named if not name.startswith("board_")] == []


def test_the_data_sources_of_the_panels_are_provisioned() -> None:
    """Uid and type of each query's and panel's data source stand in the provisioning, with its interval."""
    given = yaml.safe_load((PROVISIONING / "datasources" / "carebell.yaml").read_text(encoding="utf-8"))
    known = {(each["uid"], each["type"]): each for each in given["datasources"]}
    for _, panel, target in targets():
        for source in (panel["datasource"], target["datasource"]):
            assert (source["uid"], source["type"]) in known, panel["title"]
    postgres = known[str(panels.POSTGRES.uid), str(panels.POSTGRES.type_val)]
    assert postgres["user"] == "carebell_grafana"
    assert postgres["jsonData"]["timeInterval"] == f"{boards.SHORTEST_INTERVAL // 60}m"
    assert not postgres["jsonData"]["timescaledb"], "time_bucket is in one edition only"
    assert postgres["secureJsonData"]["password"].startswith("$__file{")


def test_the_boards_are_provisioned_from_their_directory() -> None:
    """Grafana finds the directory under its own name and keeps nothing that was changed by hand."""
    given = yaml.safe_load((PROVISIONING / "dashboards" / "carebell.yaml").read_text(encoding="utf-8"))
    (provider,) = given["providers"]
    assert provider["options"]["path"].endswith(f"/{DASHBOARDS.name}")
    assert not provider["allowUiUpdates"]


def test_the_big_count_turns_red_at_one() -> None:
    """The number of open life alarms is green at 0 and red from 1 on, over its whole field."""
    (panel,) = [each for each in committed("duty")["panels"] if each["title"] == "未关闭的生命告警"]
    assert panel["type"] == "stat"
    assert panel["options"]["colorMode"] == "background"
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"] == [
        {"color": "green", "value": None},
        {"color": "red", "value": 1},
    ]


def test_every_event_and_quality_has_a_chinese_name() -> None:
    """The catalogue has a word for whatever the history may hold."""
    assert set(EVENT_ZH) == set(Event) - {Event.NONE}
    assert set(TIME_ZH) == set(Quality)


# ----------------------------------------------------------------------------------------------------- expand


def test_macros_become_what_grafana_makes_of_them() -> None:
    """Times are written in UTC, as Grafana does, and the interval in its largest unit."""
    assert expand("WHERE $__timeFilter(raised_at)") == (
        "WHERE raised_at BETWEEN '2026-02-28T23:00:00.250000Z' AND '2026-03-01T00:00:00.250000Z'"
    )
    assert expand("$__timeFrom()::timestamptz, $__timeTo()") == (
        "'2026-02-28T23:00:00.250000Z'::timestamptz, '2026-03-01T00:00:00.250000Z'"
    )
    assert expand("date_bin('$__interval', ts, 'epoch')") == "date_bin('1m', ts, 'epoch')"
    assert boards.expand("$__interval", END - timedelta(days=1095), END, {}) == "1d"


@pytest.mark.parametrize(
    ("length", "seconds"),
    [
        (timedelta(minutes=1), 60),
        (timedelta(days=1), 60),
        (timedelta(days=2), 120),
        (timedelta(days=8), 600),
        (timedelta(days=31), 1800),
        (timedelta(days=1095), 86_400),
    ],
)
def test_the_interval_follows_the_range(length: timedelta, seconds: int) -> None:
    """A range is cut into about a thousand pieces of a length people know, never shorter than a minute."""
    assert boards.interval(length) == seconds


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("BELL-0001", "'BELL-0001'"),
        ("", "''"),
        ("' OR true --", "''' OR true --'"),
        ("''; DROP TABLE people; --", "'''''; DROP TABLE people; --'"),
        ('"', "'\\\"'"),
        ("${device:sqlstring}", "'${device:sqlstring}'"),
    ],
)
def test_a_value_stays_within_its_quotes(value: str, literal: str) -> None:
    """Whatever a variable holds becomes one literal, as Grafana's format sqlstring writes it."""
    assert expand("device = ${device:sqlstring}", device=value) == f"device = {literal}"


def test_a_variable_without_a_format_is_escaped_and_not_quoted() -> None:
    """That is what the data source does with a variable of one value, so a query must quote it itself."""
    assert expand("'$device' '${device}'", device="it's") == "'it''s' 'it''s'"


def test_the_search_filter_finds_everything_until_somebody_types() -> None:
    """The list of devices begins with all of them; what is typed is the beginning of a name."""
    assert expand("LIKE ${__searchFilter:sqlstring}") == "LIKE '%'"
    assert expand("LIKE ${__searchFilter:sqlstring}", __searchFilter="李%") == "LIKE '李%'"


@pytest.mark.parametrize("query", ["$__unixEpochFilter(ts)", "${device:csv}"])
def test_what_the_boards_do_not_use_is_refused(query: str) -> None:
    """An unknown macro or format raises here, before it fails in Grafana."""
    with pytest.raises(ValueError, match="the boards use"):
        expand(query, device="BELL-0001")


def test_what_is_no_variable_stays() -> None:
    """A name that no variable has is left as it is, which the database then refuses."""
    assert expand("$nobody ${nobody:sqlstring}") == "$nobody ${nobody:sqlstring}"
