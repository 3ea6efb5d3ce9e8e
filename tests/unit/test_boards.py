"""The boards as files, and what becomes of a query before the database sees it."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest
import yaml
from PIL import Image

from grafana import ALERTING, BOARDS, DASHBOARDS, alerts, panels, written
from schemas.alarms import EVENT_ZH, TIME_ZH, Severity
from schemas.readings import Event, Quality
from store import boards
from tests.deployment import ROOT, compose

PICTURES = ROOT / "docs/pictures"
DRAWN = sorted(set(BOARDS) - {"system"})
"""系统运行 asks Prometheus only, which the pictures have none of."""
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


def variables(name: str) -> list[dict[str, Any]]:
    """Return the variables of a board."""
    found: list[dict[str, Any]] = committed(name)["templating"].get("list", [])
    return found


def provisioned(name: str) -> dict[str, Any]:
    """Read a file of the alerts."""
    found: dict[str, Any] = yaml.safe_load((ALERTING / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def rules() -> list[dict[str, Any]]:
    """Return the alert rules as Grafana reads them."""
    return [rule for group in provisioned("rules")["groups"] for rule in group["rules"]]


def models(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a rule asks, then how it compares."""
    return [each["model"] for each in rule["data"]]


# ------------------------------------------------------------------------------------------------------ files


def test_the_committed_boards_are_what_the_generator_writes() -> None:
    """`python -m grafana` would change no file and leave none over."""
    there = [*DASHBOARDS.iterdir(), *ALERTING.iterdir()]
    assert {path: path.read_text(encoding="utf-8") for path in there} == written()


def test_the_boards_are_those_of_the_design() -> None:
    """Titles, addresses, time zone and refresh are as duty staff know them."""
    found = {name: committed(name) for name in BOARDS}
    assert {(each["uid"], each["title"], each["refresh"]) for each in found.values()} == {
        ("carebell-duty", "值班告警", "5s"),
        ("carebell-device", "设备详情", "30s"),
        ("carebell-fleet", "设备在线与电量", "30s"),
        ("carebell-system", "系统运行", "30s"),
        ("carebell-region", "区域总览", "10s"),
        ("carebell-quality", "告警质量", "5m"),
        ("carebell-person", "个人详情", "1m"),
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
    """Panels, variables and alerts ask store/queries/boards.sql, whole, and nothing else."""
    asked = {target["rawSql"] for _, _, target in targets() if "rawSql" in target}
    asked |= {each["query"] for name in BOARDS for each in variables(name) if each["type"] == "query"}
    asked |= {model["rawSql"] for rule in rules() for model in models(rule) if "rawSql" in model}
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
    for rule in rules():
        asked, compared = (model["datasource"] for model in models(rule))
        assert (asked["uid"], asked["type"]) in known, rule["title"]
        assert set(compared.values()) == {"__expr__"}
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


# -------------------------------------------------------------------------------------------------- the desk

DESK_LINK = "${desk}#alarm=${__value.raw}"


def test_an_alarm_in_a_table_leads_to_the_desk() -> None:
    """Wherever a table has numbers of alarms, a click opens the alarm; its board knows where the desk is."""
    linked = set()
    for name, panel, target in targets():
        if '"编号"' not in target.get("rawSql", "") or target["rawSql"] == boards.queries()["person_card"]:
            continue
        columns = {
            override["matcher"]["options"]: {each["id"]: each["value"] for each in override["properties"]}
            for override in panel["fieldConfig"]["overrides"]
        }
        (link,) = columns["编号"]["links"]
        assert link["url"] == DESK_LINK, panel["title"]
        linked.add(name)
    assert linked == {"duty", "device", "region", "quality", "person"}
    assert linked == {name for name in BOARDS if any(each["name"] == "desk" for each in variables(name))}


def test_no_address_of_a_board_can_lead_to_another_desk() -> None:
    """The desk is a constant that the address bar does not set: no link to a board leads staff elsewhere."""
    desks = [each for name in BOARDS for each in variables(name) if each["name"] == "desk"]
    assert {(each["type"], each["skipUrlSync"], each["query"]) for each in desks} == {
        ("constant", True, panels.DESK)
    }
    assert {each["current"]["value"] for each in desks} == {panels.DESK}
    (port,) = (port for port in compose()["services"]["carebell"]["ports"] if port.endswith(":8080"))
    assert f"http://{port.removesuffix(':8080')}/" == panels.DESK


# ---------------------------------------------------------------------------------------------------- alerts

QUERY = {
    "type": "object",
    "required": ["refId", "datasourceUid", "relativeTimeRange", "model"],
    "additionalProperties": False,
    "properties": {
        "refId": {"enum": ["A", "B"]},
        "datasourceUid": {"type": "string"},
        "relativeTimeRange": {"type": "object", "required": ["from", "to"]},
        "model": {"type": "object", "required": ["refId", "datasource"]},
    },
}
STATES = {"enum": ["Alerting", "NoData", "OK", "KeepLast"]}
DURATION = {"type": "string", "pattern": "^[0-9]+[smh]$"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
RULE = {
    "type": "object",
    "required": ["uid", "title", "condition", "data", "noDataState", "execErrState", "for"],
    "additionalProperties": False,
    "properties": {
        "uid": {"type": "string", "pattern": "^[a-z-]{1,40}$"},
        "title": {"type": "string", "maxLength": 190},
        "condition": {"const": "B"},
        "data": {"type": "array", "items": QUERY, "minItems": 2, "maxItems": 2},
        "noDataState": STATES,
        "execErrState": {"enum": ["Alerting", "Error", "OK", "KeepLast"]},
        "for": DURATION,
        "annotations": TEXTS,
        "labels": TEXTS,
        "isPaused": {"const": False},
    },
}
FILES = {
    "rules": {
        "groups": {
            "required": ["orgId", "name", "folder", "interval", "rules"],
            "properties": {"interval": DURATION, "rules": {"type": "array", "items": RULE}},
        }
    },
    "contacts": {
        "contactPoints": {
            "required": ["orgId", "name", "receivers"],
            "properties": {
                "receivers": {
                    "items": {
                        "required": ["uid", "type", "settings"],
                        "properties": {"type": {"const": "webhook"}, "settings": {"required": ["url"]}},
                    }
                }
            },
        }
    },
    "policies": {
        "policies": {
            "required": ["orgId", "receiver", "group_by", "routes"],
            "properties": {
                "group_wait": DURATION,
                "group_interval": DURATION,
                "repeat_interval": DURATION,
            },
        }
    },
}
"""What Grafana 11.6 reads of its provisioning, as its documentation has it; other names would be lost."""


@pytest.mark.parametrize("name", FILES)
def test_the_alerts_have_the_form_that_grafana_reads(name: str) -> None:
    """Each file has its parts, of the right types, and nothing that Grafana does not know."""
    (part,) = FILES[name]
    schema = {
        "type": "object",
        "required": ["apiVersion", part],
        "additionalProperties": False,
        "properties": {"apiVersion": {"const": 1}, part: {"type": "array", "items": FILES[name][part]}},
    }
    jsonschema.validate(provisioned(name), schema)


def test_the_alerts_are_those_of_the_design() -> None:
    """Each has a limit, a severity of the catalogue, words for staff and for ops, and a uid of its own."""
    assert len({rule["uid"] for rule in rules()}) == len(rules()) == len(alerts.RULES)
    limits = {rule["uid"]: models(rule)[1]["conditions"][0]["evaluator"] for rule in rules()}
    assert limits["carebell-life"] == {"type": "gt", "params": [180]}
    assert limits["carebell-line"] == {"type": "gt", "params": [60]}
    assert {"carebell-silent", "carebell-disk", "carebell-watchdog"} <= set(limits)
    for rule in rules():
        assert rule["labels"]["severity"] in set(Severity)
        assert re.search(r"[\u4e00-\u9fff]", rule["annotations"]["summary"])
        assert rule["annotations"]["runbook"].endswith(".")
        assert models(rule)[1]["expression"] == "A"


def test_no_alert_holds_what_grafana_takes_for_a_variable() -> None:
    """A $ is an address that the environment gives, in contact points and nowhere else."""
    found = {path.name: re.findall(r"\$\S*", path.read_text("utf-8")) for path in ALERTING.iterdir()}
    assert found == {
        "contacts.yaml": ["${GRAFANA_ALERT_WEBHOOK}", "${GRAFANA_WATCHDOG_WEBHOOK}"],
        "policies.yaml": [],
        "rules.yaml": [],
    }


def test_who_is_told_is_there() -> None:
    """Each policy names a contact point; only the watchdog's rule goes to the watchdog and never ends."""
    points = {each["name"]: each["receivers"][0] for each in provisioned("contacts")["contactPoints"]}
    (policy,) = provisioned("policies")["policies"]
    (route,) = policy["routes"]
    assert {policy["receiver"], route["receiver"]} == set(points)
    assert points[route["receiver"]]["disableResolveMessage"] is True
    ((label, equals, value),) = route["object_matchers"]
    assert equals == "="
    assert [rule["uid"] for rule in rules() if rule["labels"].get(label) == value] == ["carebell-watchdog"]


def test_the_webhooks_have_addresses_in_compose() -> None:
    """A webhook without an address keeps Grafana from starting: compose gives each, to be set outside."""
    given = compose()["services"]["grafana"]["environment"]
    for name in ("GRAFANA_ALERT_WEBHOOK", "GRAFANA_WATCHDOG_WEBHOOK"):
        assert re.fullmatch(rf"\$\{{{name}:-http://\S+\}}", given[name])


# -------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("name", DRAWN)
def test_a_board_has_a_picture(name: str) -> None:
    """It is a PNG of at most 150 KB with something on it, and README shows it."""
    path = PICTURES / f"{name}.png"
    assert path.stat().st_size <= 150_000
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 40
    assert f"docs/pictures/{name}.png" in (ROOT / "README.md").read_text("utf-8")


def test_every_picture_is_of_a_board() -> None:
    """What asks Prometheus only has none; README says that they are drawn, and that no Grafana was run."""
    assert {path.stem for path in PICTURES.iterdir()} == set(DRAWN)
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert "not screenshots" in text
    assert "were not run in a Grafana" in text


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
