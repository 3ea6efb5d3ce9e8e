"""Files of devices and people: from bytes to rows, or to what is wrong and where."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.csv_file import FileError, LineError, encoding_of
from schemas.registry import DEVICES, REGIONS, Kind, Row, people, rows

PEOPLE = people(2026)


def read(content: bytes | str, kind: Kind = DEVICES) -> list[Row | LineError]:
    """Return what a file says."""
    file = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    return list(rows(file, encoding_of(file), kind))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_of_devices(encoding: str, end: str) -> None:
    """Encodings and line ends make no difference; empty cells empty."""
    lines = [
        "设备编号,行政区划,型号,档案编号,心跳秒数,网关,别名",
        "BELL-1,430602001,平安钟,YY-1,60,3栋网关,860001；浴室 按钮;860001",
        "BELL-2,430602,,,,,",
    ]
    assert read((end.join(lines) + end).encode(encoding)) == [
        Row(2, ("BELL-1", "430602001", "平安钟", "YY-1", 60, "3栋网关", "860001;浴室 按钮")),
        Row(3, ("BELL-2", "430602", "", "", 0, "", "")),
    ]


def test_columns_that_are_absent_are_none() -> None:
    """What a file does not speak of is told apart from what it empties."""
    assert read("region,device\n430602,BELL-1\n") == [Row(2, ("BELL-1", "430602", *[None] * 5))]
    assert read("档案编号,姓名,联系人1电话\nYY-1,张,\n", PEOPLE) == [
        Row(2, ("YY-1", "张", *[None] * 6, "[]"))
    ]
    assert read("person,name\nYY-1,张\n", PEOPLE) == [Row(2, ("YY-1", "张", *[None] * 7))]


def test_a_person_with_contacts() -> None:
    """Contacts keep their rank, also where one is left out."""
    header = "档案编号,姓名,性别,出生年份,电话,住址,备注,护理等级"
    header += ",联系人1姓名,联系人1关系,联系人1电话,联系人3姓名,联系人3电话"
    found = read(
        f'{header}\nYY-1,张桂英,女,1941,+8613907300001,"岳阳楼\n3栋",独居,一级,,,,张强,13900000001\n', PEOPLE
    )
    (row,) = found
    assert isinstance(row, Row)
    card = ("YY-1", "张桂英", "female", 1941, "+8613907300001", "岳阳楼 3栋", "独居", "一级")
    assert row.values[:-1] == card
    assert json.loads(row.values[-1]) == [{"rank": 3, "name": "张强", "relation": "", "phone": "13900000001"}]


@pytest.mark.parametrize(
    ("kind", "text", "errors"),
    [
        (DEVICES, "device\nBELL-1\n", [(1, "the header: region/行政区划 is missing")]),
        (DEVICES, "\n\ndevice;region\n", [(3, "the header: separate columns by commas")]),
        (DEVICES, 'device,region\nBELL-1\n"a\nb",430602\n,1\n', [
            (2, "has 1 cells where the header has 2"), (3, "device: holds U+000A"),
            (5, "device: is empty"), (5, "region: “1” is no administrative code"),
        ]),
        (DEVICES, "设备编号,行政区划\n=1,160000\n", [
            (2, "设备编号: begins with ="), (2, "行政区划: 160000"),
        ]),
        (REGIONS, "region,name\n430602,\n", [(2, "name: is empty")]),
        (PEOPLE, "person,name,birth_year\nYY-1, ,2027\n", [(2, "name: is empty"), (2, "birth_year: 2027")]),
        (PEOPLE, "person,name,contact1_name\nYY-1,张,李\n", [(2, "contact1_phone missing")]),
        (PEOPLE, "person,name,contact2_phone\nYY-1,张,120\n", [(2, "contact2_name missing")]),
        (PEOPLE, 'person,name\nYY-1,"张\n', [(2, 'has quotes (") that do not match')]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(kind: Kind, text: str, errors: list[tuple[int, str]]) -> None:
    """Every wrong cell is told, under the header that the file gives it."""
    found = read(text, kind)
    assert [each.line for each in found] == [line for line, _ in errors]
    for each, (_, said) in zip(found, errors, strict=True):
        assert isinstance(each, LineError)
        assert each.said.startswith(said)


def test_an_empty_file_is_no_file() -> None:
    """A file without a header says nothing, not even that nothing is to be imported."""
    with pytest.raises(FileError, match="empty"):
        read("\r\n ,\n")


DEVICE = st.tuples(
    st.text("AZaz09_", min_size=1, max_size=64),
    st.sampled_from(["430602", "430602001", "340100001002"]),
    st.text('平安钟 é,"', max_size=40),
    st.sampled_from(["", "YY-1", "岳0002"]),
    st.one_of(st.just(""), st.integers(1, 604_800).map(str)),
    st.sampled_from(["", "G-1"]),
    st.sampled_from(["", "860001", "860001;卫生间"]),
)


@given(
    st.lists(DEVICE, max_size=8),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_good_file_is_read_whole(devices: list[tuple[str, ...]], quoting: int, end: str) -> None:
    """However a spreadsheet quotes and ends lines, each record becomes its row, in its order, on its line."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]  # one of the two
    writer.writerow([column.name for column in DEVICES.columns])
    writer.writerows(devices)
    found = read(text.getvalue())
    assert [(row.line, row.values[0], row.values[1]) for row in found if isinstance(row, Row)] == [
        (line, device[0], device[1]) for line, device in enumerate(devices, 2)
    ]
    assert len(found) == len(devices)


CELL = st.text(st.sampled_from('aA1=+-@",;\n\r\t \x00\u202e张é\ufeff0.E'), max_size=8)


@given(
    st.lists(st.lists(CELL, max_size=4), max_size=8),
    st.sampled_from(["utf-8", "gb18030"]),
    st.sampled_from(["", "device,region\n"]),
)
def test_every_other_file_says_where(lines: list[list[str]], encoding: str, header: str) -> None:
    """Whatever is in a file, each record is a good row or an error whose line is in the file, in order."""
    text = header + "\n".join(",".join(line) for line in lines)
    content = text.encode(encoding)
    try:
        found = read(content)
    except FileError:
        return
    count = len(text.splitlines()) + 1
    assert all(1 <= each.line <= count for each in found)
    assert [each.line for each in found] == sorted(each.line for each in found)
    for each in found:
        if isinstance(each, LineError):
            assert each.said
        else:
            assert each.values[0]
            assert each.values[1]
