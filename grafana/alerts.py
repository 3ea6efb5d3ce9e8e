"""What Grafana itself tells, beside the boards: alert rules, whom to tell, and a dead man's switch.

Rules of this file: a rule asks a query of store/queries/boards.sql, or Prometheus, and gets one number; no $
stands in a rule, for Grafana takes that for a variable of its environment. What stops the line is told here
and by Prometheus (deploy/prometheus/rules), so that one of the two may be down. Written for Grafana 11.6; the
tests parse it and run what it asks, and have no Grafana to run it in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from grafana.panels import POSTGRES, PROMETHEUS
from store import boards

HEAD: Final = "# Written by `python -m grafana` from grafana/alerts.py.\n\n"
OPS, WATCHDOG = "carebell-ops", "carebell-watchdog"
"""Whom to tell: people, and the machine that raises the alarm when it hears nothing."""

DISK: Final = "min(carebell_disk_free_bytes / carebell_disk_size_bytes)"


@dataclass(frozen=True)
class Rule:
    """A number, the limit that it must not pass, for how long it may, and what then is wrong and to be done.

    `ask` is the name of a query, or an expression of Prometheus if `measured`. `absent` says what it means
    that there is no number: Alerting, or OK where another rule tells of it.
    """

    name: str
    title: str
    ask: str
    beyond: str
    limit: float
    hold: str
    severity: str
    runbook: str
    measured: bool = False
    absent: str = "Alerting"
    labels: Mapping[str, str] | None = None


RULES: Final = (
    Rule(
        "life",
        "生命告警超过 3 分钟无人确认",
        "alert_life",
        "gt",
        180,
        "0s",
        "critical",
        "See the board 值班告警: somebody must take the oldest call for help at once.",
    ),
    Rule(
        "line",
        "超过 1 分钟没有入库：新的呼救可能到不了值班台",
        "alert_line",
        "gt",
        60,
        "30s",
        "critical",
        "Run `carebell doctor`: it says which of bridge, broker and database stands still.",
    ),
    Rule(
        "silent",
        "超过五分之一的在册设备失联",
        "alert_silent",
        "gt",
        0.2,
        "5m",
        "high",
        "See the board 区域总览: one region means its network or power, all of them the broker.",
        absent="OK",
    ),
    Rule(
        "notices",
        "告警通知没有送达",
        "alert_notices",
        "gt",
        0,
        "0s",
        "high",
        "Somebody may not know of an alarm: call them. `carebell notify test` says which way does not work.",
        absent="OK",
    ),
    Rule(
        "disk",
        "数据库的磁盘剩余不足 10 %",
        DISK,
        "lt",
        0.1,
        "10m",
        "high",
        "Add disk, or shorten [history] and run `carebell db maintain`: a full disk stops the line.",
        measured=True,
        absent="OK",
    ),
    Rule(
        "watchdog",
        "值守信号：一直触发，停止即为故障",
        "alert_watchdog",
        "gt",
        0,
        "0s",
        "low",
        "Nothing is wrong while this fires. Where it arrives, its absence for 5 minutes must ring somebody.",
        absent="OK",
        labels={"watchdog": "true"},
    ),
)
"""The last one is the dead man's switch: it fires as long as Grafana, the database and the line work."""


def files() -> dict[str, str]:
    """Return the text of each file of grafana/provisioning/alerting by its name."""
    parts = {"rules": _groups(), "contacts": _contacts(), "policies": _policies()}
    return {f"{name}.yaml": HEAD + _text({"apiVersion": 1, **part}) for name, part in parts.items()}


def _groups() -> dict[str, Any]:
    group = {"orgId": 1, "name": "carebell", "folder": "carebell", "interval": "30s"}
    return {"groups": [{**group, "rules": [_rule(rule) for rule in RULES]}]}


def _rule(rule: Rule) -> dict[str, Any]:
    """Return a rule as Grafana provisions it: A asks, B compares."""
    compare = {
        "refId": "B",
        "datasource": {"type": "__expr__", "uid": "__expr__"},
        "type": "threshold",
        "expression": "A",
        "conditions": [{"evaluator": {"type": rule.beyond, "params": [rule.limit]}}],
    }
    return {
        "uid": f"carebell-{rule.name}",
        "title": rule.title,
        "condition": "B",
        "data": [_query("A", *_asked(rule)), _query("B", "__expr__", compare)],
        "noDataState": rule.absent,
        "execErrState": rule.absent,
        "for": rule.hold,
        "annotations": {"summary": rule.title, "runbook": rule.runbook},
        "labels": {"severity": rule.severity, **(rule.labels or {})},
        "isPaused": False,
    }


def _asked(rule: Rule) -> tuple[str, dict[str, Any]]:
    """Return the data source that a rule asks, and what."""
    source = PROMETHEUS if rule.measured else POSTGRES
    model: dict[str, Any] = {"refId": "A", "datasource": {"type": source.type_val, "uid": source.uid}}
    if rule.measured:
        model |= {"expr": rule.ask, "instant": True, "range": False}
    else:
        model |= {
            "rawSql": boards.queries()[rule.ask],
            "rawQuery": True,
            "format": "table",
            "editorMode": "code",
        }
    return str(source.uid), model


def _query(ref: str, source: str, model: dict[str, Any]) -> dict[str, Any]:
    return {
        "refId": ref,
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": source,
        "model": model,
    }


def _contacts() -> dict[str, Any]:
    """Return the two webhooks; their addresses come from the environment, for one may be a secret."""
    return {
        "contactPoints": [
            _webhook(OPS, "${GRAFANA_ALERT_WEBHOOK}", quiet=False),
            _webhook(WATCHDOG, "${GRAFANA_WATCHDOG_WEBHOOK}", quiet=True),
        ]
    }


def _webhook(name: str, url: str, *, quiet: bool) -> dict[str, Any]:
    """Return a webhook; a `quiet` one is not told that an alert is over, so that silence stays silence."""
    settings = {"url": url, "httpMethod": "POST"}
    receiver = {"uid": name, "type": "webhook", "settings": settings, "disableResolveMessage": quiet}
    return {"orgId": 1, "name": name, "receivers": [receiver]}


def _policies() -> dict[str, Any]:
    """Return who is told of what: people of each alert apart, the watchdog every minute."""
    grouped = {"group_by": ["grafana_folder", "alertname"]}
    watchdog = {
        "receiver": WATCHDOG,
        **grouped,
        "object_matchers": [["watchdog", "=", "true"]],
        "group_wait": "0s",
        "group_interval": "1m",
        "repeat_interval": "1m",
    }
    policy = {
        "orgId": 1,
        "receiver": OPS,
        **grouped,
        "group_wait": "0s",
        "group_interval": "1m",
        "repeat_interval": "30m",
        "routes": [watchdog],
    }
    return {"policies": [policy]}


class _Plain(yaml.SafeDumper):
    """Writes each value in full, and text of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - its API
        """Write what stands twice twice."""
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Plain.add_representer(str, _string)


def _text(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Plain, allow_unicode=True, sort_keys=False, width=120)
