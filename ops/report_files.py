"""A report as a file for a spreadsheet (CSV) and as a page to print (HTML).

Rules of this file: names come from people and devices, so a cell is never a formula, a line end or markup.
The page has no script and asks for nothing from elsewhere.
"""

import csv
import io
from html import escape
from pathlib import Path
from typing import Final

from duty.figures import Report
from ops.listing import printable
from ops.report_tables import NOTHING, Sheet, heading, remark, sheets

BOM: Final = "\ufeff"
"""By which Excel knows UTF-8."""

_FORMULA: Final = tuple(
    "=+-@\t\r\n＝＋－＠"
)  # full width, too: a Chinese Excel may take it for the narrow one
_STYLE: Final = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def harmless(cell: str) -> str:
    """Return a cell that a spreadsheet takes for text: one that could begin a formula gets an apostrophe."""
    mark = "'" if cell.startswith(_FORMULA) or cell.lstrip().startswith(_FORMULA) else ""
    return mark + printable(cell)


def as_csv(found: Report) -> str:
    """Return the report as one CSV file: the tables one under another, an empty line between them."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow([heading(found)])
    lines.writerow([remark(found)])
    for sheet in sheets(found):
        lines.writerow([])
        lines.writerow([sheet.title])
        lines.writerow(sheet.columns)
        lines.writerows([harmless(cell) for cell in row] for row in sheet.rows or [(NOTHING,)])
        if sheet.note:
            lines.writerow([sheet.note])
    return BOM + text.getvalue()


def as_page(found: Report) -> str:
    """Return the report as one page in itself, for A4."""
    title = _text(heading(found))
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{title}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1>\n<p>{_text(remark(found))}</p>\n"
        + "".join(map(_section, sheets(found)))
        + "<p>指标的定义见 carebell 的 docs/figures.md。</p>\n</body>\n</html>\n"
    )


def _section(sheet: Sheet) -> str:
    rows = sheet.rows or [(NOTHING, *("" for _ in sheet.columns[1:]))]
    head = "".join(f'<th scope="col">{_text(column)}</th>' for column in sheet.columns)
    body = "".join(f"<tr>{_row(row)}</tr>\n" for row in rows)
    note = f"<p>{_text(sheet.note)}</p>\n" if sheet.note else ""
    return (
        f"<section>\n<h2>{_text(sheet.title)}</h2>\n<table>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table>\n{note}</section>\n"
    )


def _row(row: tuple[str, ...]) -> str:
    first, *rest = (_text(cell) for cell in row)
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest)


def _text(value: str) -> str:
    return escape(printable(value))
