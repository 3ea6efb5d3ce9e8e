"""CSV as spreadsheets write it: which encoding, which columns, and on which line each record begins.

Rules of this file: it knows nothing of devices or people. Memory is bounded by one record, whatever the file.
"""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple, TextIO

from schemas.errors import CarebellError

LONGEST_RECORD: Final = 65_536
"""Characters of one record; a quote that nobody closes would swallow the rest of the file."""

_SAVE_AS: Final = "save it as “CSV UTF-8 (comma delimited)”"
_BLOCK: Final = 1 << 20
_CJK: Final = re.compile("[\u4e00-\u9fff]")
_SEPARATOR: Final = re.compile("[;\t，|]")
_SHOWN: Final = 10
_SURELY_UTF8: Final = 3
"""Chinese characters in good UTF-8, after which a bad byte is damage and not another encoding."""


class FileError(CarebellError):
    """The file as a whole cannot be read: nothing in it was looked at, and nothing was changed."""


class LineError(NamedTuple):
    """What is wrong with a line; the first line of a file is 1."""

    line: int
    said: str


class Record(NamedTuple):
    """The cells of one record and the line on which it begins: quoted cells may hold line breaks."""

    line: int
    cells: list[str]


def encoding_of(file: BinaryIO) -> str:
    """Return `utf-8`, `utf-8-sig` or `gb18030`; reads the file once. Raises FileError for all others.

    What is not UTF-8 and can be read as GB18030 (of which GBK is a part) is taken for that.
    """
    if not file.seekable():
        raise FileError("the file is read twice, so it cannot be a pipe: save it first")
    start = file.read(4)
    file.seek(0)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileError(f"the file is UTF-16: {_SAVE_AS}")
    if start.startswith(b"PK"):
        raise FileError(f"the file is a workbook, not CSV: {_SAVE_AS}")
    has_mark = start.startswith(codecs.BOM_UTF8)
    bad_line, chinese = _first_bad_line(file, "utf-8")
    if not bad_line:
        return "utf-8-sig" if has_mark else "utf-8"
    if has_mark or chinese >= _SURELY_UTF8:
        raise FileError(f"line {bad_line} is damaged: the file is UTF-8, but these bytes are not")
    if _first_bad_line(file, "gb18030")[0]:
        raise FileError(f"the file is neither UTF-8 (see line {bad_line}) nor GB18030: {_SAVE_AS}")
    return "gb18030"


def _first_bad_line(file: BinaryIO, encoding: str) -> tuple[int, int]:
    """Return the line that cannot be decoded, or 0, and how many Chinese characters stand before it."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line, chinese = 1, 0
    file.seek(0)
    block = b"start"
    while block:
        block = file.read(_BLOCK)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            good = error.object[: error.start]
            return line + good.count(b"\n"), chinese + len(_CJK.findall(good.decode(encoding)))
        line += text.count("\n")
        chinese += len(_CJK.findall(text))
    return 0, chinese


class _TooLongError(Exception):
    """A record exceeds LONGEST_RECORD."""


class _Lines:
    """The lines of a file, counted, with a bound on how much one record may take."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._taken = 0
        self.number = 0

    def start_record(self) -> None:
        self._taken = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(LONGEST_RECORD + 1):
            self.number += 1
            self._taken += len(line)
            if self._taken > LONGEST_RECORD:
                raise _TooLongError
            yield line


def records(file: TextIO) -> Iterator[Record | LineError]:
    """Yield the records that hold anything; after a LineError from here the rest cannot be read.

    Open the file with `newline=""`.
    """
    lines = _Lines(file)
    reader = csv.reader(lines, strict=True)
    while True:
        first = lines.number + 1
        lines.start_record()
        try:
            cells = next(reader, None)
        except _TooLongError:
            said = f'is longer than {LONGEST_RECORD} characters: is there a quote (") that is never closed?'
            yield LineError(first, f"{said} What follows was not read.")
            return
        except UnicodeDecodeError as error:
            raise FileError("the file was changed while it was read: try again") from error
        except csv.Error as error:
            yield LineError(first, f'has quotes (") that do not match: {error}. What follows was not read.')
            return
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield Record(first, cells)


def columns(header: list[str], known: dict[str, str], required: Iterable[str]) -> list[str]:
    """Return which column each cell of the header means. Raises ValueError that names all that is wrong.

    `known` has what may stand in a header, in lower case, and which column it means.
    """
    separator = _SEPARATOR.search(header[0]) if len(header) == 1 else None
    if separator:
        raise ValueError(f"separate columns by commas, not by {separator[0]!r}")
    found = [known.get(cell.strip().lower(), "") for cell in header]
    spellings = {name: "/".join(cell for cell in known if known[cell] == name) for name in known.values()}
    wrong = [
        f"column {place} is {header[place - 1][:40]!r}" for place, name in enumerate(found, 1) if not name
    ]
    wrong += [f"{spellings[name]} is there more than once" for name in spellings if found.count(name) > 1]
    wrong += [f"{spellings[name]} is missing" for name in required if name not in found]
    if wrong:
        more = "; ..." if len(wrong) > _SHOWN else ""
        raise ValueError(f"{'; '.join(wrong[:_SHOWN])}{more}. Allowed are {', '.join(spellings.values())}")
    return found
