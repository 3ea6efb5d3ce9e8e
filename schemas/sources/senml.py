"""SenML (RFC 8428): an array of records that lean on each other, resolved into one object a moment."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from schemas.errors import SenderFaultError
from schemas.sources.values import number, shown

TIME: Final = "t"
"""Under which name an object bears its time, epoch milliseconds."""

Found = dict[tuple[str, int | None, int], dict[str, Any]]
"""Objects by base name, time, and how often one of their names came before at that time."""
Taken = Counter[tuple[str, int | None, str]]

_RELATIVE: Final = 2**28
"""Seconds: what is smaller is counted from now (RFC 8428 section 4.5.3)."""
_VERSION: Final = 10
_APART: Final = re.compile("[:/]")
_URN: Final = "urn:dev:"
"""Names by RFC 9039: a component of the device stands behind an underscore."""
_UNITS: Final = {
    **dict.fromkeys(("", "1", "count", "%", "%el", "cel", "degc", "mmhg", "mmol/l", "dbm"), (1, 0)),
    **dict.fromkeys(("beat/min", "beats/min", "beats", "bpm", "1/min", "s", "m", "lat", "lon"), (1, 0)),
    "hz": (60, 0),
    "k": (1, -273.15),
    "degf": (5 / 9, -160 / 9),
    "/": (100, 0),
    "pa": (0.007500617, 0),
    "hpa": (0.7500617, 0),
    "kpa": (7.500617, 0),
    "mg/dl": (1 / 18.0156, 0),
}
"""Factor and offset that turn units of the registry, and usual ones, into the contract's; without case."""


def resolve(root: Any, now: int, faults: list[SenderFaultError]) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Yield an object for each base name and time: value by name, `bn`, and the time in ms if one is told.

    `now` is in microseconds, for relative times. A name is that of the record, without the base name.
    """
    base: dict[str, Any] = {}
    found: Found = {}
    taken: Taken = Counter()
    for record in root if isinstance(root, list) else [root]:
        if not isinstance(record, dict):
            faults.append(SenderFaultError("bad_field", f"{shown(record)} is no record of SenML"))
            continue
        base |= {name: value for name, value in record.items() if name in ("bn", "bt", "bu", "bv", "bver")}
        try:
            _take(record, base, now, found, taken)
        except ValueError as error:
            faults.append(SenderFaultError("bad_field", f"{shown(record.get('n'))}: {error}"))
    yield from found.values()


def _take(
    record: dict[str, Any],
    base: dict[str, Any],
    now: int,
    found: Found,
    taken: Taken,
) -> None:
    version = number(base.get("bver"))
    if version is not None and version > _VERSION:
        raise ValueError(f"SenML of version {version:g}, known is {_VERSION}")
    if unknown := [name for name in record if name.endswith("_")]:
        raise ValueError(f"{unknown[0]} must be understood, and is not")
    value = _value(record, base)
    if value is None:
        return
    prefix, name = str(base.get("bn") or ""), str(record.get("n") or "")
    if not name or _APART.search(name):
        prefix, name = apart(prefix + name)
    prefix = holder(prefix)
    at = (number(base.get("bt")) or 0) + (number(record.get("t")) or 0)
    milliseconds = None
    if at:
        milliseconds = round(at * 1000) + (now // 1000 if abs(at) < _RELATIVE else 0)
    said = found.setdefault((prefix, milliseconds, 0), {"bn": prefix})
    if name in said:  # no value hides behind another one of its time
        taken[prefix, milliseconds, name] += 1
        said = found.setdefault((prefix, milliseconds, taken[prefix, milliseconds, name]), {"bn": prefix})
    if milliseconds is not None:
        said[TIME] = milliseconds
    said[name] = value


def apart(whole: str) -> tuple[str, str]:
    """Return a whole name's base and its last part; a device's by RFC 9039 is parted by an underscore."""
    name = _APART.split(whole)[-1]
    if whole.startswith(_URN) and whole.removesuffix(name).endswith(":"):
        name = name.partition("_")[2] or name
    return whole.removesuffix(name), name


def holder(base: str) -> str:
    """Return who a base name means."""
    return base.rstrip(":/_" if base.startswith(_URN) else ":/")


def _value(record: dict[str, Any], base: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON can be anything
    """Return the value of a record: a text if its unit is not known, for then it is no number."""
    for name in ("vb", "vs"):
        if name in record:
            return record[name]
    measured, first = number(record.get("v")), number(base.get("bv"))
    if measured is None and (first is None or "n" not in record):
        return None
    total = (measured or 0) + (first or 0)
    unit = str(record.get("u") or base.get("bu") or "")
    known = _UNITS.get(unit.casefold())
    if known is None:
        return total if total in (0, 1) else f"{total:g} {unit}"
    factor, offset = known
    return round(total * factor + offset, 6)
