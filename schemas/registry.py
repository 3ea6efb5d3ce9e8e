"""The registry's files: which columns devices, people and regions have, and how a file becomes rows.

Headers are English or Chinese. A column that a file lacks is None in each row and leaves what the registry
has; an empty cell is "" or 0 and empties it.
"""

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, Final, NamedTuple

from schemas import cells, csv_file
from schemas.csv_file import FileError, LineError, Record

CONTACTS: Final = 5
"""Contacts that a file may give a person, in the order in which to call."""


class Column(NamedTuple):
    """A column: its name, its Chinese name, what reads a cell, whether a file and a cell must have it."""

    name: str
    zh: str
    read: Callable[[str], str | int]
    required: bool = False


class Kind(NamedTuple):
    """What a file is a list of; `row` lays the values of a record out for the database, the key first."""

    noun: str
    columns: tuple[Column, ...]
    row: Callable[[dict[str, Any]], tuple[Any, ...]]

    @property
    def headers(self) -> dict[str, str]:
        """Return what may stand in a header, and which column it means."""
        return {spelling: column.name for column in self.columns for spelling in (column.name, column.zh)}


class Row(NamedTuple):
    """The values of the record that begins on `line`."""

    line: int
    values: tuple[Any, ...]


def _values(*names: str) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    return lambda read: tuple(read.get(name) for name in names)


_region_values = _values("region", "name", "lat", "lon")


def _region_row(read: dict[str, Any]) -> tuple[Any, ...]:
    """Return the values of a code; raises ValueError if its place is half there."""
    if bool(read.get("lat")) != bool(read.get("lon")) or ("lat" in read) != ("lon" in read):
        raise ValueError("lat and lon make a place together: give both or neither")
    return _region_values(read)


REGIONS: Final = Kind(
    "region",
    (
        Column("region", "行政区划", cells.region, required=True),
        Column("name", "名称", cells.text, required=True),
        Column("lat", "纬度", partial(cells.degrees, bounds=cells.NORTH)),
        Column("lon", "经度", partial(cells.degrees, bounds=cells.EAST)),
    ),
    _region_row,
)

DEVICES: Final = Kind(
    "device",
    (
        Column("device", "设备编号", cells.device, required=True),
        Column("region", "行政区划", cells.region, required=True),
        Column("model", "型号", partial(cells.text, longest=64)),
        Column("person", "档案编号", lambda cell: cells.file_number(cell) if cell.strip() else ""),
        Column("heartbeat_seconds", "心跳秒数", cells.heartbeat_seconds),
        Column("gateway", "网关", partial(cells.text, longest=64)),
        Column("aliases", "别名", cells.aliases),
    ),
    _values("device", "region", "model", "person", "heartbeat_seconds", "gateway", "aliases"),
)


def people(this_year: int) -> Kind:
    """Return what a file of people is; nobody is born after `this_year`."""
    return Kind(
        "person",
        (
            Column("person", "档案编号", cells.file_number, required=True),
            Column("name", "姓名", cells.text, required=True),
            Column("sex", "性别", cells.sex),
            Column("birth_year", "出生年份", partial(cells.birth_year, this_year=this_year)),
            Column("phone", "电话", cells.phone),
            Column("address", "住址", partial(cells.several_lines, longest=200)),
            Column("notes", "备注", partial(cells.several_lines, longest=1000)),
            Column("care_level", "护理等级", partial(cells.text, longest=20)),
            *(column for rank in range(1, CONTACTS + 1) for column in _contact_columns(rank)),
        ),
        _person_row,
    )


def _contact_columns(rank: int) -> tuple[Column, ...]:
    return (
        Column(f"contact{rank}_name", f"联系人{rank}姓名", cells.text),
        Column(f"contact{rank}_relation", f"联系人{rank}关系", partial(cells.text, longest=50)),
        Column(f"contact{rank}_phone", f"联系人{rank}电话", cells.phone),
    )


_person_values = _values("person", "name", "sex", "birth_year", "phone", "address", "notes", "care_level")


def _person_row(read: dict[str, Any]) -> tuple[Any, ...]:
    """Return the values of a person, last the contacts as JSON; a file without their columns leaves them."""
    contacts = []
    for rank in range(1, CONTACTS + 1):
        contact = {name: read.get(f"contact{rank}_{name}") or "" for name in ("name", "relation", "phone")}
        if any(contact.values()):
            missing = [f"contact{rank}_{name}" for name in ("name", "phone") if not contact[name]]
            if missing:
                raise ValueError(f"{' and '.join(missing)} missing: a contact has a name and a phone")
            contacts.append({"rank": rank, **contact})
    is_given = any(name.startswith("contact") for name in read)
    return (*_person_values(read), json.dumps(contacts, ensure_ascii=False) if is_given else None)


def rows(file: BinaryIO, encoding: str, kind: Kind) -> Iterator[Row | LineError]:
    """Yield each record of a file as a row or as what is wrong with it; the first record is the header.

    Raises FileError if there is nothing to read.
    """
    file.seek(0)
    text = io.TextIOWrapper(file, encoding, newline="")
    try:
        yield from _rows(csv_file.records(text), kind)
    finally:
        text.detach()  # or it would close the file, which is the caller's


def _rows(found: Iterator[Record | LineError], kind: Kind) -> Iterator[Row | LineError]:
    header = next(found, None)
    if header is None:
        raise FileError("the file is empty: its first line must be the header")
    if isinstance(header, LineError):
        yield header
        return
    try:
        required = [column.name for column in kind.columns if column.required]
        names = csv_file.columns(header.cells, kind.headers, required)
    except ValueError as error:
        yield LineError(header.line, f"the header: {error}")
        return
    titled = [
        (title.strip(), column) for title, column in zip(header.cells, _in_order(kind, names), strict=True)
    ]
    for record in found:
        if isinstance(record, LineError):
            yield record
        else:
            yield from _row(kind, titled, record)


def _in_order(kind: Kind, names: list[str]) -> list[Column]:
    by_name = {column.name: column for column in kind.columns}
    return [by_name[name] for name in names]


def _row(kind: Kind, titled: list[tuple[str, Column]], record: Record) -> Iterator[Row | LineError]:
    """Yield one row, or each thing that is wrong with a record."""
    line, found = record
    if len(found) != len(titled):
        yield LineError(line, f"has {len(found)} cells where the header has {len(titled)}")
        return
    values: dict[str, Any] = {}
    for (title, column), cell in zip(titled, found, strict=True):
        try:
            values[column.name] = _value(column, cell)
        except ValueError as error:
            yield LineError(line, f"{title}: {error}")
    if len(values) < len(titled):
        return
    try:
        yield Row(line, kind.row(values))
    except ValueError as error:
        yield LineError(line, str(error))


def _value(column: Column, cell: str) -> str | int:
    if column.required and not cell.strip():
        raise ValueError("is empty")
    return column.read(cell)
