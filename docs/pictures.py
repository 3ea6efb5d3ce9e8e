"""Draw each board's content with matplotlib: `python -m docs.pictures` writes docs/pictures/*.png.

Rules of this file: these are no screenshots of Grafana. Panels, queries, words, units and colours are read
from the committed boards, and the queries are asked as the boards' role of a database that
docs/picture_data.py fills; only the drawing is ours. Panels that ask Prometheus are left empty. A Chinese
font must be there (`apt-get install fonts-wqy-microhei`).
"""

import asyncio
import io
import json
import math
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import psycopg
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import PercentFormatter
from PIL import Image

from docs.picture_data import DEVICE, NOW, PERSON, fill
from grafana import BOARDS, DASHBOARDS
from ops.parts import embedded_database, scratch_dir
from store import boards
from store.connection import connect
from store.migrate import migrate

PICTURES: Final = Path(__file__).with_name("pictures")
RANGES: Final = {"quality": timedelta(days=14), "device": timedelta(days=1), "person": timedelta(days=1)}
DRAWN: Final = [name for name in BOARDS if name != "system"]
"""系统运行 asks Prometheus only, and has nothing to show here."""

FONTS: Final = ["WenQuanYi Micro Hei", "Noto Sans CJK SC", "WenQuanYi Zen Hei"]
COLOURS: Final = {
    "red": "#e02f44",
    "orange": "#ff9830",
    "yellow": "#f2cc0c",
    "green": "#56a64b",
    "blue": "#3274d9",
    "transparent": "none",
}
SERIES: Final = ("#7eb26d", "#3274d9", "#ff9830", "#8f3bb8", "#e02f44")
INK, FAINT, BACK, PANEL = "#24292e", "#6e7681", "#f4f5f5", "#ffffff"
COLUMN, ROW = 0.56, 0.34
"""Inches of a square of the boards' grid."""

FEW: Final = 40
"""Points that are drawn as points too."""

Rows = tuple[list[str], list[tuple[Any, ...]]]


class Shown:
    """How a panel shows its columns: defaults, and what is said of one by its name."""

    def __init__(self, panel: Mapping[str, Any]) -> None:
        config = panel["fieldConfig"]
        self._defaults: dict[str, Any] = config["defaults"]
        self._of = {
            each["matcher"]["options"]: {one["id"]: one["value"] for one in each["properties"]}
            for each in config["overrides"]
        }

    def get(self, column: str, name: str) -> Any:  # noqa: ANN401 - as the JSON has it
        """Return a property of a column, or None."""
        return self._of.get(column, {}).get(name, self._defaults.get(name))

    def text(self, column: str, value: object) -> str:
        """Write a value as Grafana would: mapped, dated, with its unit."""
        mapped = self._mapped(column, value)
        if mapped is not None:
            return str(mapped["text"])
        if value is None:
            return ""
        if isinstance(value, datetime):
            return f"{value.astimezone(NOW.tzinfo):%m-%d %H:%M:%S}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return str(value)
        return _number(float(value), self.get(column, "unit"))

    def colour(self, column: str, value: object) -> str:
        """Return the colour that a value's mapping or level gives it, or none."""
        mapped = self._mapped(column, value)
        if mapped is not None:
            return COLOURS.get(mapped.get("color") or "", "none")
        levels = self.get(column, "thresholds")
        if not levels or isinstance(value, bool) or not isinstance(value, int | float):
            return "none"
        reached = [step for step in levels["steps"] if step["value"] is None or value >= step["value"]]
        return COLOURS[reached[-1]["color"]] if reached else "none"

    def _mapped(self, column: str, value: object) -> dict[str, Any] | None:
        mappings = self.get(column, "mappings")
        word = json.dumps(value) if isinstance(value, bool) else str(value)
        found: dict[str, Any] | None = mappings[0]["options"].get(word) if mappings else None
        return found


def _number(value: float, unit: str | None) -> str:
    if unit == "percentunit":
        return f"{value * 100:.1f} %"
    if unit == "percent":
        return f"{value:.0f} %"
    if unit == "s":
        for length, name in ((86_400, "天"), (3600, "小时"), (60, "分")):
            if value >= length:
                return f"{value / length:.1f} {name}"
        return f"{value:.0f} 秒"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def _width(text: str) -> float:
    """Return about how many letters wide a text is drawn."""
    return sum(1.8 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _cut(text: str, letters: float) -> str:
    """Return as much of a text as has room."""
    if _width(text) <= letters:
        return text
    while text and _width(text) > letters - 1:
        text = text[:-1]
    return f"{text}…"


# ---------------------------------------------------------------------------------------------------- panels


def _stat(axes: Axes, panel: Mapping[str, Any], found: Rows) -> None:
    """Draw each number of the one row in a box of its colour."""
    columns, rows = found
    shown, share = Shown(panel), 1 / len(columns)
    for place, (column, value) in enumerate(zip(columns, rows[0], strict=True)):
        colour = shown.colour(column, value)
        at = (place * share + 0.004, 0.04)
        back = COLOURS["blue"] if colour == "none" else colour
        axes.add_patch(Rectangle(at, share - 0.008, 0.92, color=back))
        middle = (place + 0.5) * share
        axes.text(middle, 0.46, shown.text(column, value), color="white", size=17, ha="center", va="center")
        axes.text(middle, 0.8, column, color="white", size=9, ha="center", va="center")


def _table(axes: Axes, panel: Mapping[str, Any], found: Rows) -> None:
    """Draw as many rows as there is room for."""
    columns, rows = found
    shown = Shown(panel)
    room = max(1, int(panel["gridPos"]["h"] * ROW / 0.24) - 2)
    texts = [
        [shown.text(name, value) for name, value in zip(columns, row, strict=True)] for row in rows[:room]
    ]
    letters = [
        min(40, max([_width(name), *(_width(line[place]) for line in texts)])) + 1.5
        for place, name in enumerate(columns)
    ]
    have = panel["gridPos"]["w"] * COLUMN * 14
    scale = min(1.0, have / sum(letters))
    left, high = 0.004, 1 / (room + 1)
    for place, name in enumerate(columns):
        wide = letters[place] / sum(letters) * 0.992
        fits = letters[place] * scale
        axes.text(left, 1 - high / 2, _cut(name, fits), color=COLOURS["blue"], size=8, va="center")
        for number, line in enumerate(texts):
            bottom = 1 - (number + 2) * high
            back = shown.colour(name, rows[number][place])
            if back != "none" and shown.get(name, "custom.cellOptions"):
                axes.add_patch(Rectangle((left - 0.002, bottom + 0.06 * high), wide, 0.88 * high, color=back))
            ink = "white" if back not in ("none", COLOURS["yellow"]) else INK
            linked = COLOURS["blue"] if shown.get(name, "links") and back == "none" else ink
            axes.text(left, bottom + high / 2, _cut(line[place], fits), color=linked, size=8, va="center")
        left += wide
    if not rows:
        axes.text(
            0.5, 0.5, str(panel["fieldConfig"]["defaults"].get("noValue", "")), color=FAINT, ha="center"
        )


def _course(axes: Axes, panel: Mapping[str, Any], found: Rows) -> None:
    """Draw a line or bars for each column but time."""
    columns, rows = found
    shown = Shown(panel)
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    axes.set_axis_on()
    times = [row[0].astimezone(NOW.tzinfo) for row in rows]
    step = min((b - a for a, b in pairwise(times)), default=timedelta(minutes=5))
    bottoms = [0.0] * len(rows)
    for place, name in enumerate(columns[1:], 1):
        fixed = shown.get(name, "color") or {}
        colour = COLOURS.get(fixed.get("fixedColor", ""), SERIES[(place - 1) % len(SERIES)])
        values = [math.nan if row[place] is None else float(row[place]) for row in rows]
        if custom.get("drawStyle") == "bars":
            axes.bar(times, values, step * 0.9, bottom=bottoms, color=colour, label=name, align="edge")  # type: ignore[arg-type]
            bottoms = [a + (0 if math.isnan(b) else b) for a, b in zip(bottoms, values, strict=True)]
        else:
            dashed = "--" if shown.get(name, "custom.lineStyle") else "-"
            _line(axes, times, values, colour=colour, dashed=dashed, name=name)
    unit = shown.get("", "unit")
    if unit == "percentunit":
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    elif unit not in (None, "short"):
        axes.set_ylabel({"percent": "%", "celsius": "℃"}.get(unit, unit), size=8)
    locator = AutoDateLocator(maxticks=8, tz=NOW.tzinfo)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(locator, tz=NOW.tzinfo, show_offset=False)  # type: ignore[no-untyped-call]
    )
    axes.tick_params(labelsize=7, colors=FAINT, length=2)
    axes.grid(color="#e4e7e7", linewidth=0.6)
    axes.legend(fontsize=7, frameon=False, ncol=5, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    for side in axes.spines.values():
        side.set_visible(False)


def _line(
    axes: Axes, times: list[datetime], values: list[float], *, colour: str, dashed: str, name: str
) -> None:
    """Draw a line that is broken where nothing was measured for two hours, except between days."""
    at: list[datetime] = []
    drawn: list[float] = []
    for moment, value in zip(times, values, strict=True):
        if at and timedelta(hours=2) < moment - at[-1] < timedelta(hours=23):
            at.append(moment)
            drawn.append(math.nan)
        if not math.isnan(value):
            at.append(moment)
            drawn.append(value)
    axes.plot(at, drawn, dashed, color=colour, label=name, linewidth=1.3, marker="." if len(at) < FEW else "")  # type: ignore[arg-type]


def _map(axes: Axes, panel: Mapping[str, Any], found: Rows) -> None:
    """Draw each point with its name; the ground comes from the net in Grafana and is left out."""
    columns, rows = found
    shown = Shown(panel)
    axes.set_axis_on()
    weight = columns.index("未关闭")
    for row in rows:
        east, north, value = row[columns.index("longitude")], row[columns.index("latitude")], row[weight]
        colour = shown.colour("未关闭", value)
        axes.scatter([east], [north], s=40 + 26 * value, color=colour, alpha=0.75, edgecolor="white")
        axes.annotate(
            f"{row[0]} {value}",
            (east, north),
            (0, 9 + value // 3),
            textcoords="offset points",
            size=8,
            ha="center",
        )
    axes.margins(0.18)
    for side in axes.spines.values():
        side.set_color("#dde4ed")
    axes.set_aspect(1 / math.cos(math.radians(29.4)), adjustable="datalim")
    axes.tick_params(labelsize=7, colors=FAINT, length=2)
    axes.grid(color="#e4e7e7", linewidth=0.6)


DRAW: Final[Mapping[str, Callable[[Axes, Mapping[str, Any], Rows], None]]] = {
    "stat": _stat,
    "table": _table,
    "timeseries": _course,
    "geomap": _map,
}


# ---------------------------------------------------------------------------------------------------- boards


def _asked(connection: psycopg.Connection, panel: Mapping[str, Any], name: str) -> Rows | None:
    """Ask what a panel asks; None if that is Prometheus."""
    query = panel["targets"][0].get("rawSql")
    if query is None:
        return None
    choice = {"device": DEVICE, "person": PERSON}
    text = boards.expand(query, NOW - RANGES.get(name, timedelta(hours=6)), NOW, choice)
    cursor = connection.execute(text.encode())
    return [column.name for column in cursor.description or []], cursor.fetchall()


def draw(connection: psycopg.Connection, name: str) -> bytes:
    """Return the picture of a board as a PNG."""
    board = json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))
    down = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) + 1.5
    figure = Figure(figsize=(24 * COLUMN, down * ROW), facecolor=BACK)
    figure.text(0.012, 1 - 0.8 / down, board["title"], size=14, color=INK, va="center")
    figure.text(0.13, 1 - 0.8 / down, board["description"], size=9, color=FAINT, va="center")
    for panel in board["panels"]:
        _panel(figure, panel, down, _asked(connection, panel, name))
    return _small(figure)


def _panel(figure: Figure, panel: Mapping[str, Any], down: float, found: Rows | None) -> None:
    """Draw a panel's frame and title where the board has it, and its content within."""
    at = panel["gridPos"]
    left, wide = at["x"] / 24 + 0.003, at["w"] / 24 - 0.006
    top, high = 1 - (at["y"] + 1.6) / down, (at["h"] - 0.2) / down
    frame = FancyBboxPatch(
        (left, top - high), wide, high, boxstyle="square,pad=0", facecolor=PANEL, edgecolor="#dde4ed"
    )
    frame.set_transform(figure.transFigure)
    figure.add_artist(frame)
    figure.text(left + 0.005, top - 0.5 / down, panel["title"], size=9, color=INK, va="center")
    course = panel["type"] in ("timeseries", "geomap")
    inner = (0.045, 1.5) if course else (0.004, 0.1)
    box = (left + inner[0] * (12 / at["w"] if course else 1) * 0.8, top - high + inner[1] / down)
    axes = figure.add_axes((*box, left + wide - box[0] - 0.008, top - 1 / down - box[1]))
    axes.set_zorder(2)  # above the frame
    axes.set_axis_off()
    if found is None:
        axes.text(0.5, 0.5, "数据来自 Prometheus，此图未画", color=FAINT, size=8, ha="center", va="center")
        return
    if not course:
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
    DRAW[panel["type"]](axes, panel, found)


def _small(figure: Figure) -> bytes:
    """Return a figure as a PNG of few colours, the same bytes for the same content."""
    whole, small = io.BytesIO(), io.BytesIO()
    figure.savefig(whole, format="png", dpi=84, facecolor=figure.get_facecolor())
    whole.seek(0)
    Image.open(whole).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


async def _migrate(url: str) -> None:
    async with await connect(url) as connection:
        await migrate(connection, NOW)


def main() -> None:
    """Fill a database and write every picture."""
    mpl.rcParams["font.sans-serif"] = FONTS
    mpl.rcParams["axes.unicode_minus"] = False
    PICTURES.mkdir(exist_ok=True)
    with scratch_dir() as scratch, embedded_database(scratch) as database:
        asyncio.run(_migrate(database.url))
        with psycopg.connect(database.url, autocommit=True) as connection:
            fill(connection)
            connection.execute(f"SET ROLE {boards.ROLE}".encode())
            for name in DRAWN:
                (PICTURES / f"{name}.png").write_bytes(draw(connection, name))


if __name__ == "__main__":
    main()
