"""What may stand in a cell: each rule with what it takes and what it refuses, and in which words."""

from collections.abc import Callable

import pytest

from schemas import cells

Read = Callable[[str], str | int]


def birth_year(cell: str) -> int:
    """Read a year of birth in 2026."""
    return cells.birth_year(cell, 2026)


def notes(cell: str) -> str:
    """Read a text that may have several lines."""
    return cells.several_lines(cell, 1000)


def north(cell: str) -> str:
    """Read degrees north."""
    return cells.degrees(cell, cells.NORTH)


@pytest.mark.parametrize(
    ("read", "cell", "value"),
    [
        (cells.text, "张桂英", "张桂英"),
        (cells.text, " \u3000张桂英\u3000 ", "张桂英"),
        (cells.text, "e\u0301", "\u00e9"),  # in normal form C
        (cells.text, "3-1=2", "3-1=2"),
        (cells.text, "", ""),
        (cells.text, "x" * 100, "x" * 100),
        (notes, "独居\r\n钥匙在邻居家 \n\n", "独居 钥匙在邻居家"),
        (cells.device, " BELL-0001 ", "BELL-0001"),
        (cells.device, "1E5", "1E5"),
        (cells.region, "430602", "430602"),
        (cells.region, "430602001", "430602001"),
        (cells.region, "430602001002", "430602001002"),
        (cells.region, "820000", "820000"),
        (cells.file_number, "岳-0017_a", "岳-0017_a"),
        (cells.file_number, "0017", "0017"),
        (cells.phone, "", ""),
        (cells.phone, "13907300001", "13907300001"),
        (cells.phone, "139 0730 0001", "139 0730 0001"),
        (cells.phone, "+86 139-0730-0001", "+86 139-0730-0001"),
        (cells.phone, " +8613907300001", "+8613907300001"),
        (cells.phone, "008613907300001", "008613907300001"),
        (cells.phone, "0730-8881234", "0730-8881234"),
        (cells.phone, "(0730)8881234转801", "(0730)8881234转801"),
        (cells.phone, "010-88812345", "010-88812345"),
        (cells.phone, "400-810-1234", "400-810-1234"),
        (cells.phone, "8881234", "8881234"),
        (cells.phone, "120", "120"),
        (cells.sex, "女", "female"),
        (cells.sex, "Male", "male"),
        (cells.sex, "", ""),
        (birth_year, "1941", 1941),
        (birth_year, "2026", 2026),
        (birth_year, "", 0),
        (cells.heartbeat_seconds, "60", 60),
        (cells.heartbeat_seconds, "604800", 604_800),
        (cells.heartbeat_seconds, " ", 0),
        (north, " 29.3570 ", "29.3570"),
        (north, "29", "29"),
        (north, "", ""),
    ],
)
def test_a_cell_is_read(read: Read, cell: str, value: str | int) -> None:
    """What people write is taken as it is, trimmed and in one Unicode form."""
    assert read(cell) == value


@pytest.mark.parametrize(
    ("read", "cell", "says"),
    [
        *(
            (cells.text, begin + "1+1", "formula")
            for begin in ("=", "+", "-", "@", "\t", "\r", " =", "\u3000@", "\xa0-")
        ),
        (notes, "=HYPERLINK(1)", "formula"),
        (notes, "\n=HYPERLINK(1)", "formula"),
        (cells.device, "-BELL", "formula"),
        (cells.phone, "=13907300001", "formula"),
        (cells.phone, "-13907300001", "formula"),
        (cells.text, "a\x00b", r"U\+0000"),
        (cells.text, "a\x1b[31mb", r"U\+001B"),
        (cells.text, "a\nb", r"U\+000A"),
        (cells.text, "a\u202eb", r"U\+202E"),
        (cells.text, "a\u200bb", r"U\+200B"),
        (cells.text, "张\ufffd英", r"U\+FFFD"),
        (cells.text, "x" * 101, "101 characters long: at most 100"),
        (notes, "x" * 1001, "at most 1000"),
        (cells.device, "?12ab", "no device id"),
        (cells.device, "BELL 1", "no device id"),
        (cells.device, "钟1", "no device id"),
        (cells.device, "x" * 65, "no device id"),
        (cells.device, "8.6E+14", "spreadsheet made of a long number.*format the column as text"),
        (cells.device, "860000000000001.0", r"format the column as text"),
        (cells.region, "4.30602E+11", "spreadsheet made of a long number.*format the column as text"),
        (cells.region, "430602.0", "format the column as text"),
        (cells.region, "43060", "6, 9 or 12 digits"),
        (cells.region, "4306020", "6, 9 or 12 digits"),
        (cells.region, "４３０６０２", "6, 9 or 12 digits"),
        (cells.region, "yueyang", "6, 9 or 12 digits"),
        (cells.region, "163062", "16 is none of China's provinces"),
        (cells.region, "003062", "00 is none of China's provinces"),
        (cells.region, "720000", "72 is none of China's provinces"),
        (cells.file_number, "a b", "no file number"),
        (cells.file_number, "1.2E+10", "spreadsheet made of a long number"),
        (cells.phone, "7308881234", "0 of its area code, which spreadsheets drop"),
        (cells.phone, "75588812345", "0 of its area code, which spreadsheets drop"),
        (cells.phone, "1.39073E+10", "spreadsheet made of a long number"),
        (cells.phone, "13907300001.0", "format the column as text"),
        (cells.phone, "12", "it has 2 digits"),
        (cells.phone, "1390730000112", "it has 13 digits"),
        (cells.phone, "ask the son", "no telephone number"),
        (cells.phone, "１３９０７３００００１", "no telephone number"),
        (cells.phone, "+123", "7 to 15 digits"),
        (cells.phone, "+=1", "no telephone number"),
        (cells.sex, "先生", "男, 女, male, female"),
        (birth_year, "1899", "1900 to 2026"),
        (birth_year, "2027", "1900 to 2026"),
        (birth_year, "41", "four digits"),
        (birth_year, "1941-03-02", "four digits"),
        (birth_year, "１９４１", "four digits"),
        (cells.heartbeat_seconds, "0", "1 to 604800"),
        (cells.heartbeat_seconds, "604801", "1 to 604800"),
        (cells.heartbeat_seconds, "1.5", "whole number"),
        (cells.heartbeat_seconds, "9" * 99, "whole number"),
        (north, "113.129", "outside China, 3 to 54: are the two swapped"),
        (north, "1e1", "no degrees with decimals"),
        (north, "29°21′N", "no degrees with decimals"),
        (north, "nan", "no degrees with decimals"),
        (north, "９", "no degrees with decimals"),
    ],
)
def test_a_cell_is_refused_with_a_reason(read: Read, cell: str, says: str) -> None:
    """What is no value, what a spreadsheet destroyed and what could harm whoever opens it is refused."""
    with pytest.raises(ValueError, match=says) as refused:
        read(cell)
    assert len(str(refused.value)) < 250
    assert "\n" not in str(refused.value)
