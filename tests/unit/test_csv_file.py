"""CSV files as a whole: encodings, records and their lines, headers."""

import io

import pytest

from schemas.csv_file import LONGEST_RECORD, FileError, LineError, Record, columns, encoding_of, records

TEXT = "姓名,住址\n张桂英,岳阳楼街道\n"
KNOWN = {"device": "device", "设备编号": "device", "region": "region", "行政区划": "region", "model": "model"}


def read(text: str) -> list[Record | LineError]:
    """Return the records of a file."""
    return list(records(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (b"device,region\n", "utf-8"),
        (b"", "utf-8"),
        (TEXT.encode("utf-8-sig"), "utf-8-sig"),
        (TEXT.encode("gbk"), "gb18030"),
        ("姓名\n\U00020bb7田\n".encode("gb18030"), "gb18030"),
        ("name\n联通\n联\n".encode("gbk"), "gb18030"),  # these two are also good UTF-8 by themselves
        (("x" * 2**20 + "张\n").encode(), "utf-8"),
        (("x" * (2**20 - 1) + "张桂英\n").encode(), "utf-8"),  # a letter across two blocks
        (("x" * (2**20 - 1) + "张桂英\n").encode("gbk"), "gb18030"),
    ],
)
def test_the_encoding_is_found(content: bytes, encoding: str) -> None:
    """UTF-8 with and without its mark, and GB18030, of which GBK is a part."""
    assert encoding_of(io.BytesIO(content)) == encoding


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (TEXT.encode("utf-16"), "UTF-16: save it as"),
        (b"PK\x03\x04", "workbook"),
        (TEXT.encode() + b"\xff\xff,x\n", "line 3 is damaged"),
        (TEXT.encode("utf-8-sig") + b"x\n\xd5\xc5\n", "line 4 is damaged"),
        (b"name\nx\n\xff\xff\n", r"neither UTF-8 \(see line 3\) nor GB18030"),
        (b"name\nJos\xe9", r"neither UTF-8 \(see line 2\) nor GB18030"),
    ],
)
def test_other_encodings_are_refused(content: bytes, says: str) -> None:
    """What cannot be read is not guessed at: the sentence says what the file is or where it is damaged."""
    with pytest.raises(FileError, match=says):
        encoding_of(io.BytesIO(content))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_records_know_the_line_on_which_they_begin(end: str) -> None:
    """Line breaks inside quotes, empty lines and rows of empty cells count as lines, whatever ends a line."""
    lines = ["a,b", '"1', "", '2",x', "", ",", '3,"4 ""quoted"", yes"', "5,6"]
    assert read(end.join(lines)) == [
        Record(1, ["a", "b"]),
        Record(2, [f"1{end}{end}2", "x"]),
        Record(7, ["3", '4 "quoted", yes']),
        Record(8, ["5", "6"]),
    ]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a,b\n1,2\n" + "x" * LONGEST_RECORD + "y\n3,4\n", 3, "longer than 65536 characters"),
        ('a,b\n1,2\n"3,4\n' + "5,6\n" * LONGEST_RECORD, 3, "never closed"),
        ('a,b\n1,"2\n', 2, "quotes"),
        ('a,b\n1,2\n"3"4,5\n6,7', 3, "quotes"),
    ],
)
def test_a_record_that_cannot_end_ends_the_file(text: str, line: int, says: str) -> None:
    """An open quote or an endless line is told with its line; what follows is not taken for other records."""
    *good, bad = read(text)
    assert [record.line for record in good] == list(range(1, line))
    assert isinstance(bad, LineError)
    assert bad.line == line
    assert says in bad.said
    assert "What follows was not read" in bad.said


def test_an_endless_line_is_not_taken_into_memory() -> None:
    """Of a line without an end only as much is read as one record may have."""

    class Endless(io.StringIO):
        taken = 0

        def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # as StringIO does
            assert size > 0
            self.taken += size
            return "x" * size

    file = Endless()
    (bad,) = records(file)
    assert isinstance(bad, LineError)
    assert file.taken <= 2 * LONGEST_RECORD


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (["device", "region"], ["device", "region"]),
        ([" 行政区划 ", "设备编号"], ["region", "device"]),
        (["Region", "DEVICE", "model"], ["region", "device", "model"]),
    ],
)
def test_headers_are_english_or_chinese_in_any_order(header: list[str], found: list[str]) -> None:
    """Either name of a column will do, in any case, with spaces around it."""
    assert columns(header, KNOWN, ["device", "region"]) == found


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (["device"], "region/行政区划 is missing"),
        (["device", "region", "colour"], "column 3 is 'colour'"),
        (["device", "region", ""], "column 3 is ''"),
        (["device", "region", "设备编号"], "device/设备编号 is there more than once"),
        (["device;region"], "separate columns by commas, not by ';'"),
        (["device\tregion"], r"not by '\\t'"),
        (["设备编号，行政区划"], "not by '，'"),
        ([f"c{n}" for n in range(1000)], r"column 10 is 'c9'; \.\.\.\. Allowed are device/设备编号, region"),
    ],
)
def test_what_is_wrong_with_a_header_is_named(header: list[str], says: str) -> None:
    """Missing, unknown and double columns are named, and which there may be."""
    with pytest.raises(ValueError, match=says):
        columns(header, KNOWN, ["device", "region"])
