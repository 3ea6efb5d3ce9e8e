"""What may stand in one cell of a file that people made with a spreadsheet, and how it is read.

Rules of this file: each function takes a cell as it stands in the file and returns its value, or raises
ValueError with what is wrong, in words that help whoever made the file. Nothing is guessed: what a
spreadsheet destroyed is refused, with how to keep it from doing so.
"""

import re
import unicodedata
from typing import Final

from schemas.topics import DEVICE_PATTERN, REGION_PATTERN, vendor_device

_PROVINCE: Final = re.compile("1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[12]")
# The first two digits of the administrative codes of China (GB/T 2260).

OLDEST_BIRTH: Final = 1900
LONGEST_HEARTBEAT: Final = 7 * 86_400
"""Seconds: a device that says nothing for longer cannot be watched."""

NORTH: Final = (3.0, 54.0)
EAST: Final = (73.0, 136.0)
"""Degrees between which all of China lies; so a place whose numbers were swapped lies outside."""
_DEGREES: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,12})?")

_FORMULA: Final = frozenset("=+-@\t\r")
_SPACES: Final = " \xa0\u3000"
MOST_ALIASES: Final = 8
_SEMICOLON: Final = re.compile("[;；]")
_LINE_BREAK: Final = re.compile(r"\s*[\r\n]+\s*")
_HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# Control characters, signs without width or that turn letters round, the sign for what could not be read.
_SCIENTIFIC: Final = re.compile(r"[0-9](?:\.[0-9]+)?[eE]\+[0-9]+")
_WITH_FRACTION: Final = re.compile(r"[0-9]+\.0+")
_FILE_NUMBER: Final = re.compile(r"[\w-]{1,64}")
_PHONE: Final = re.compile(r"(\+?)([0-9][0-9 ()-]*|\([0-9][0-9 ()-]*)(?:转 ?[0-9]{1,6})?")
_NATIONAL: Final = re.compile(r"0[0-9]{9,11}|1[3-9][0-9]{9}|[48]00[0-9]{7}|[0-9]{3,8}|00[0-9]{8,15}")
_LOST_ZERO: Final = re.compile(r"[1-9][0-9]{8,10}")
_SEXES: Final = {"男": "male", "女": "female", "male": "male", "female": "female", "": ""}
_AS_TEXT: Final = "format the column as text, enter it again and save"


def text(cell: str, longest: int = 100, *, plus: bool = False) -> str:
    """Return a cell trimmed and in Unicode's normal form C; refuses formulas and what cannot be seen.

    `plus` lets it begin with a plus.
    """
    first = cell.lstrip(_SPACES)[:1]
    if first in _FORMULA and not (plus and first == "+"):
        raise ValueError(f"begins with {_show(first)}, which spreadsheets take for a formula: leave it out")
    value = cell.strip()
    if not value.isascii():
        value = unicodedata.normalize("NFC", value)
    hidden = _HIDDEN.search(value)
    if hidden:
        raise ValueError(f"holds {_show(hidden[0])}, which is no text: take it out")
    if len(value) > longest:
        raise ValueError(f"is {len(value)} characters long: at most {longest} are allowed")
    return value


def several_lines(cell: str, longest: int) -> str:
    """Return a text, its lines joined by spaces: spreadsheets let people break lines inside a cell."""
    return text(_LINE_BREAK.sub(" ", cell), longest)


def device(cell: str) -> str:
    """Return a device id as it stands in topics."""
    value = text(cell)
    _refuse_damage(value)
    if not DEVICE_PATTERN.fullmatch(value):
        raise ValueError(f"{_quote(value)} is no device id: 1 to 64 of A-Z a-z 0-9 _ -")
    return value


def aliases(cell: str) -> str:
    """Return other names of a device, as an IMEI, with semicolons between."""
    names = []
    for part in filter(None, map(str.strip, _SEMICOLON.split(text(cell, longest=600)))):
        _refuse_damage(part)
        name = vendor_device(part)
        if name is None:
            raise ValueError(f"{_quote(part)} cannot be the name of a device: 1 to 64 visible characters")
        names.append(name)
    if len(names) > MOST_ALIASES:
        raise ValueError(f"holds {len(names)} names: at most {MOST_ALIASES} are allowed")
    return ";".join(dict.fromkeys(names))


def region(cell: str) -> str:
    """Return an administrative code."""
    value = text(cell)
    _refuse_damage(value)
    if not REGION_PATTERN.fullmatch(value):
        raise ValueError(f"{_quote(value)} is no administrative code: 6, 9 or 12 digits")
    if not _PROVINCE.match(value):
        raise ValueError(f"{value} is no administrative code: {value[:2]} is none of China's provinces")
    return value


def degrees(cell: str, bounds: tuple[float, float]) -> str:
    """Return degrees with decimals as they were written, or "" for none; refuses those beyond the bounds."""
    value = text(cell)
    if value and not _DEGREES.fullmatch(value):
        raise ValueError(f"{_quote(value)} is no degrees with decimals, as 29.3570")
    least, most = bounds
    if value and not least <= float(value) <= most:
        raise ValueError(f"{value} lies outside China, {least:g} to {most:g}: are the two swapped?")
    return value


def file_number(cell: str) -> str:
    """Return the number that a person bears in files."""
    value = text(cell)
    _refuse_damage(value)
    if not _FILE_NUMBER.fullmatch(value):
        raise ValueError(f"{_quote(value)} is no file number: 1 to 64 letters, digits, _ or -")
    return value


def phone(cell: str) -> str:
    """Return a telephone number as it was written."""
    value = text(cell, 32, plus=True)
    if not value:
        return ""
    _refuse_damage(value)
    match = _PHONE.fullmatch(value)
    if not match:
        raise ValueError(
            f"{_quote(value)} is no telephone number: it may hold digits, spaces, - and ( ),"
            " + at its beginning, and 转 before an extension"
        )
    digits = re.sub(r"[ ()-]", "", match[2])
    if match[1]:
        if not 7 <= len(digits) <= 15:  # noqa: PLR2004 - ITU-T E.164
            raise ValueError(f"{_quote(value)} is no telephone number: 7 to 15 digits follow +")
    elif not _NATIONAL.fullmatch(digits):
        if _LOST_ZERO.fullmatch(digits):
            raise ValueError(
                f"{_quote(value)} is neither a mobile number nor does it begin with the 0 of its area code,"
                f" which spreadsheets drop: {_AS_TEXT}; a number abroad begins with +"
            )
        raise ValueError(f"{_quote(value)} is no telephone number: it has {len(digits)} digits")
    return value


def sex(cell: str) -> str:
    """Return male, female or nothing."""
    value = text(cell)
    if value.lower() not in _SEXES:
        raise ValueError(f"{_quote(value)} is none of 男, 女, male, female")
    return _SEXES[value.lower()]


def birth_year(cell: str, this_year: int) -> int:
    """Return a year of birth; 0 if there is none."""
    value = text(cell)
    if not value:
        return 0
    if not re.fullmatch(r"[0-9]{4}", value):
        raise ValueError(f"{_quote(value)} is no year of birth: four digits and nothing else, such as 1945")
    if not OLDEST_BIRTH <= int(value) <= this_year:
        raise ValueError(f"{value} is no year of birth of a living person: {OLDEST_BIRTH} to {this_year}")
    return int(value)


def heartbeat_seconds(cell: str) -> int:
    """Return an interval in seconds; 0 if there is none."""
    value = text(cell)
    if not value:
        return 0
    if not re.fullmatch(r"[0-9]{1,6}", value) or not 1 <= int(value) <= LONGEST_HEARTBEAT:
        raise ValueError(
            f"{_quote(value)} is no interval: a whole number of seconds from 1 to {LONGEST_HEARTBEAT}"
        )
    return int(value)


def _refuse_damage(value: str) -> None:
    if _SCIENTIFIC.fullmatch(value):
        raise ValueError(
            f"{value} is what a spreadsheet made of a long number, whose digits are lost: {_AS_TEXT}"
        )
    if _WITH_FRACTION.fullmatch(value):
        raise ValueError(f"{value} is what a program made of a number that is a name: {_AS_TEXT}")


def _show(character: str) -> str:
    return f"U+{ord(character):04X}" if _HIDDEN.match(character) else character


def _quote(value: str) -> str:
    """Show what was found, short enough for one line."""
    return f"“{value[:40]}…”" if len(value) > 41 else f"“{value}”"  # noqa: PLR2004 - 40 and the dots
