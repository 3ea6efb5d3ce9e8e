"""What the boards are built of: data sources, queries, panels and columns.

Rules of this file: a query is named, never written here; a column is named as its query names it, and a test
asks the database whether it does; a stored word is shown in Chinese by a mapping made from the one catalogue.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import geomap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    FrameGeometrySource,
    FrameGeometrySourceMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    MapLayerOptions,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
    VariableModel,
    VariableOption,
)
from grafana_foundation_sdk.models.geomap import TooltipMode

from schemas.alarms import (
    CONDITION_ZH,
    HANDLING_ZH,
    KINDS,
    OUTCOME_ZH,
    QUALITY_ZH,
    SEVERITY_ZH,
    Handling,
    Severity,
)
from store import boards

POSTGRES: Final = DataSourceRef("grafana-postgresql-datasource", "carebell-postgres")
PROMETHEUS: Final = DataSourceRef("prometheus", "carebell-prometheus")
"""Types and uids of the provisioned data sources (provisioning/datasources)."""

TIMEZONE: Final = "Asia/Shanghai"
DEVICE_BOARD: Final = "carebell-device"
DESK: Final = "http://127.0.0.1:8080/"
"""Where compose and `make demo` serve the desk; docs/deploy.md says how to name another place."""

RED, ORANGE, YELLOW, BLUE, GREEN, NONE = "red", "orange", "yellow", "blue", "green", "transparent"

GAP: Final = 2 * 3600 * 1000
"""Milliseconds without a value after which a line is broken."""

Column = list[DynamicConfigValue]
"""How one column or series is shown."""


@dataclass(frozen=True)
class Sql(Builder[Dataquery], Dataquery):
    """A query of the PostgreSQL data source, by its name in store/queries/boards.sql."""

    name: str
    format: str = "table"

    def build(self) -> Dataquery:
        """Return itself: it is complete as it is."""
        return self

    def to_json(self) -> dict[str, object]:
        """Return it as the data source stores it."""
        return {
            "refId": "A",
            "datasource": POSTGRES,
            "editorMode": "code",
            "format": self.format,
            "rawQuery": True,
            "rawSql": boards.queries()[self.name],
        }


# --------------------------------------------------------------------------------------------------- boards


def board(uid: str, title: str, description: str, refresh: str, since: str) -> build.Dashboard:
    """Begin a board; `since` is the start of the time range it opens with."""
    others = build.DashboardLink("看板").type(DashboardLinkType.DASHBOARDS).tags(["carebell"]).icon("bolt")
    return (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["carebell"])
        .readonly()
        .timezone(TIMEZONE)
        .week_start("monday")
        .time(since, "now")
        .refresh(refresh)
        .timepicker(build.TimePicker().refresh_intervals(["5s", "10s", "30s", "1m", "5m"]))
        .link(others)
    )


def desk() -> build.ConstantVariable:
    """Say where the desk is: a constant, so that no address of a board can lead elsewhere."""
    return _Constant("desk").label("值班台").description("值班台的网址").value(DESK)


class _Constant(build.ConstantVariable):
    """A constant as Grafana stores it, with the value that is current; the builder has no method for that."""

    def build(self) -> VariableModel:
        """Return it, out of reach of the address."""
        built = super().build()
        value = str(built.query)
        built.current = VariableOption(text=value, value=value, selected=True)
        built.skip_url_sync = True
        return built


# --------------------------------------------------------------------------------------------------- panels


def stalled() -> stat.Panel:
    """Show for how long the line has finished nothing; that nobody knows is as bad."""
    since = "time() - carebell_line_timestamp_seconds or on() vector(86400)"
    panel = gauge("线路停顿", (since, "停顿"), width=4, levels={10: YELLOW, 30: RED})
    return (
        panel.description("距上次完成一批消息的时间；超过 30 秒即为停顿，新的呼救不会成为告警。")
        .unit("s")
        .decimals(0)
    )


def count(title: str, query: str, *, width: int, levels: Mapping[float, str]) -> stat.Panel:
    """Show the one row of a query as big numbers that take the colour of the level they reach."""
    return _big(title, width, levels).datasource(POSTGRES).with_target(Sql(query))


def gauge(title: str, *expressions: tuple[str, str], width: int, levels: Mapping[float, str]) -> stat.Panel:
    """Show the newest values of Prometheus expressions, each with its legend, as big numbers."""
    panel = _big(title, width, levels).datasource(PROMETHEUS)
    return panel.targets([_prometheus(n, *each).instant() for n, each in enumerate(expressions)])


def _big(title: str, width: int, levels: Mapping[float, str]) -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .span(width)
        .height(5)
        .thresholds(thresholds(levels))
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))  # noqa: FBT003 - its API
        .no_value("无数据")
    )


def listing(
    title: str, query: str, columns: Mapping[str, Column], *, width: int = 24, height: int = 10
) -> table.Panel:
    """Show the rows of a query; `columns` says how to show those that are not plain text."""
    panel = (
        table.Panel()
        .title(title)
        .span(width)
        .height(height)
        .datasource(POSTGRES)
        .with_target(Sql(query))
        .no_value("无")
    )
    for name, properties in columns.items():
        panel = panel.override_by_name(name, properties)
    return panel


def course(
    title: str,
    query: str,
    unit: str,
    *,
    width: int = 12,
    bars: bool = False,
    columns: Mapping[str, Column] | None = None,
) -> timeseries.Panel:
    """Show the rows of a query over time, a line or bars for each column but `time`."""
    panel = _lines(title, unit, width).datasource(POSTGRES).with_target(Sql(query, "time_series"))
    # no line is drawn through a night without the band
    panel = panel.draw_style(GraphDrawStyle.BARS).fill_opacity(60) if bars else panel.insert_nulls(GAP)
    for name, properties in (columns or {}).items():
        panel = panel.override_by_name(name, properties)
    return panel


def map_of(title: str, query: str, weight: str, levels: Mapping[float, str]) -> geomap.Panel:
    """Show the rows of a query, which have latitude and longitude; one column gives size and colour."""
    place = FrameGeometrySource(FrameGeometrySourceMode.COORDS, latitude="latitude", longitude="longitude")
    size = {"field": weight, "fixed": 5, "min": 6, "max": 24}
    style = {"size": size, "color": {"field": weight, "fixed": GREEN}, "opacity": 0.7}
    style["text"] = {"mode": "field", "field": "地点", "fixed": ""}
    points = MapLayerOptions("markers", title, {"style": style, "showLegend": False}, place, tooltip=True)
    return (
        geomap.Panel()
        .title(title)
        .span(10)
        .height(12)
        .datasource(POSTGRES)
        .with_target(Sql(query))
        .thresholds(thresholds(levels))
        .color_scheme(build.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .view(geomap.MapViewConfig().id("fit").all_layers(True))  # noqa: FBT003 - its API
        .basemap(_Layer(MapLayerOptions("default", "底图")))
        .layers([_Layer(points)])
        .tooltip(geomap.TooltipOptions().mode(TooltipMode.DETAILS))
        .no_value("无数据")
    )


@dataclass(frozen=True)
class _Layer(Builder[MapLayerOptions]):
    """A layer of a map that is complete as it is."""

    layer: MapLayerOptions

    def build(self) -> MapLayerOptions:
        return self.layer


def measured(title: str, unit: str, *expressions: tuple[str, str], width: int = 12) -> timeseries.Panel:
    """Show Prometheus expressions over time, each with its legend."""
    panel = _lines(title, unit, width).datasource(PROMETHEUS)
    return panel.targets([_prometheus(n, *each).range() for n, each in enumerate(expressions)])


def _lines(title: str, unit: str, width: int) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    return (
        timeseries.Panel()
        .title(title)
        .span(width)
        .height(8)
        .unit(unit)
        .no_value("无数据")
        .show_points(VisibilityMode.AUTO)
        .legend(legend.show_legend(True))  # noqa: FBT003 - its API
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )


def _prometheus(number: int, expression: str, legend: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
    return query.datasource(PROMETHEUS)


def renamed(words: Mapping[str, str]) -> list[DataTransformerConfig]:
    """Show the words of labels in Chinese wherever a legend has them."""
    return [
        DataTransformerConfig(
            id_val="renameByRegex", options={"regex": rf"^(.*)\b{word}\b(.*)$", "renamePattern": f"$1{zh}$2"}
        )
        for word, zh in words.items()
    ]


# --------------------------------------------------------------------------------------------------- columns


def thresholds(levels: Mapping[float, str]) -> build.ThresholdsConfig:
    """Return the colours of values, each from its level on; below all of them it is green."""
    first = [] if float("-inf") in levels else [Threshold(None, GREEN)]
    steps = [Threshold(None if at == float("-inf") else at, colour) for at, colour in sorted(levels.items())]
    return build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(first + steps)


def mapping(zh: Mapping[str, str], colours: Mapping[str, str] | None = None) -> list[ValueMapping]:
    """Show stored words in Chinese, and in a colour where one is given."""
    results = {
        str(word): ValueMappingResult(text=text, color=(colours or {}).get(word), index=n)
        for n, (word, text) in enumerate(zh.items())
    }
    return [ValueMap(results)]


def words(zh: Mapping[str, str], colours: Mapping[str, str] | None = None) -> Column:
    """Show the stored words of a column in Chinese, and the cell in a colour where one is given."""
    coloured = [_cell("color-background")] if colours else []
    return [DynamicConfigValue("mappings", mapping(zh, colours)), *coloured]


def linked() -> Column:
    """Lead from a device's name to its own board."""
    link = {
        "title": "设备详情",
        "url": f"/d/{DEVICE_BOARD}?var-device=${{__value.raw:percentencode}}&from=now-24h&to=now",
    }
    return [DynamicConfigValue("links", [link])]


def on_desk() -> Column:
    """Lead from an alarm's number to the alarm on the desk."""
    link = {"title": "在值班台打开", "url": "${desk}#alarm=${__value.raw}", "targetBlank": True}
    return [DynamicConfigValue("links", [link]), *wide(80)]


def measure(unit: str, levels: Mapping[float, str] | None = None, *, decimals: int | None = None) -> Column:
    """Show a number with its unit, and the cell in the colour of the level it reaches."""
    found = [DynamicConfigValue("unit", unit)]
    if decimals is not None:
        found.append(DynamicConfigValue("decimals", decimals))
    if levels:
        found += [DynamicConfigValue("thresholds", thresholds(levels).build()), _cell("color-background")]
    return found


def wide(pixels: int) -> Column:
    """Give a column of text its width."""
    return [DynamicConfigValue("custom.width", pixels)]


def _cell(kind: str) -> DynamicConfigValue:
    return DynamicConfigValue("custom.cellOptions", {"type": kind, "mode": "basic"})


SEVERITY: Final = words(
    {str(key): zh for key, zh in SEVERITY_ZH.items()},
    {Severity.CRITICAL: RED, Severity.HIGH: ORANGE, Severity.MEDIUM: YELLOW, Severity.LOW: BLUE},
)
KIND: Final = words({name: kind.zh for name, kind in KINDS.items()})
CONDITION: Final = words({**CONDITION_ZH, "active": "持续"})
QUALITY: Final = words({**QUALITY_ZH, "ok": "正常"})
HANDLING: Final = words({str(key): zh for key, zh in HANDLING_ZH.items()}, {Handling.UNACKNOWLEDGED: RED})
OUTCOME: Final = words({str(key): zh for key, zh in OUTCOME_ZH.items()})
TIME: Final = [DynamicConfigValue("unit", "time:YYYY-MM-DD HH:mm:ss"), *wide(160)]
AGE: Final = [DynamicConfigValue("unit", "s"), DynamicConfigValue("decimals", 0)]
