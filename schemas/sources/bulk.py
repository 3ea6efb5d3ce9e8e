"""The fast way to read what vendors send: many messages of one source together, a column at a time.

Only plain messages are read here: one record, one moment, values and no event, nothing at fault. Every other
one is left to `compiled`, which reads it alone; what is found here is what would be found there.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from schemas.readings import ABSENT, VALUES
from schemas.sources.compiled import Reader
from schemas.sources.events import Check
from schemas.sources.fields import Field
from schemas.sources.mapping import Unwrap
from schemas.sources.paths import Chain, joined
from schemas.sources.records import Said
from schemas.sources.values import MISSING, Epoch, plain

_KEPT: Final = 10_000
_BROKEN: Final = object()
"""Stands for a value that makes no sense."""
_UNREAD: Final = object()
"""Stands for a time that no way has read so far."""
_NOTHING: Final = {type(None), type(MISSING)}
_NUMBERS: Final = {int, float, type(None)}
_TRUTHS: Final = {bool, str, *_NOTHING}
_WHOLES: Final = {int, str, *_NOTHING}
"""Kinds of which no two values are equal, unless they are the same."""
_SCALARS: Final = {bool, int, float, str, type(None), type(MISSING)}

Row = tuple[tuple[int, ...], Sequence[Any], Any]
"""One record: slots and what stands there, shape (n,) each, and the time that values say beside themselves.

The time is MISSING where no value stands in an object, None where those objects say none.
"""
Column = list[Any]
"""What stands at one path in each of n messages, MISSING or None for nothing."""
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


class Plain(NamedTuple):
    """What was read of n messages: which of them are plain, and of these their times and values.

    Shapes: `is_plain` (n,), `ts` (n,) in epoch milliseconds or ABSENT, each of `values` (n,), NaN for none.
    """

    is_plain: Mask
    ts: npt.NDArray[np.int64]
    values: Mapping[str, Floats]


class Bulk:
    """What one source makes of plain messages."""

    def __init__(self, reader: Reader) -> None:
        """Settle how each column is read."""
        source = reader.source
        self._reader = reader
        self._is_one_object = source.format == "json" and not source.records
        self._inside = source.unwrap
        self._pick = itemgetter(source.unwrap.value, source.unwrap.time) if source.unwrap else tuple
        self._columns = [(field, _column(field)) for field in reader.fields]
        self._times = [(slots, _remembering(parse)) for slots, parse in reader.times]
        self._own_time = _remembering(reader.own_time)
        alone = [event.when for event in reader.events] + ([reader.late] if reader.late else [])
        self._by_topic = [checks for checks in alone if not any(check.slots for check in checks)]
        self._alone = [[check for check in checks if check.slots] for checks in alone]
        self._alone = [checks for checks in self._alone if checks]
        self._could_hold = {
            check: _remembering(_could_hold(check)) for checks in self._alone for check in checks
        }
        self._holds = {check: _remembering(_holds(check)) for field in reader.fields for check in field.when}
        self.late = source.late is True
        self.channels = sorted({field.channel for field in reader.fields if field.channel})
        self.names = {
            channel: sorted({field.name for field in reader.fields if field.channel is channel} & {*VALUES})
            for channel in self.channels
        }
        self.has_states = any(event.state for event in reader.events)
        self._measured = {field.slot for field in reader.fields}
        conditions = [check for checks in self._alone for check in checks] + list(self._holds)
        self._unwrapped = {slot for check in conditions for slot in check.slots} | self._measured
        self._unwrapped -= {slot for slots, _ in reader.times for slot in slots} | {reader.id_slot}
        self._only_measured = self._measured & self._unwrapped

    @staticmethod
    def of(reader: Reader) -> "Bulk | None":
        """Return the fast way for a source, None if it has no columns."""
        return Bulk(reader) if reader.source.format in ("json", "senml") and reader.fields else None

    def fits(self, levels: Sequence[str]) -> bool:
        """Say whether messages on a topic can be plain: it neither says more than they do nor is ignored."""
        tells = any(all(check.holds(levels, ()) for check in checks) for checks in self._by_topic)
        return not tells and not self._reader.ignored(levels)

    def record(self, payload: bytes, received_at: int) -> Row | None:
        """Return the one record of a payload; None for what must be read alone."""
        try:
            found = from_json(payload, allow_inf_nan=False, cache_strings="keys")
        except ValueError:
            return None
        if (
            self._reader.watches
            and not _is_plainly_once(payload, found)
            and self._reader.is_doubtful(payload)
        ):
            return None
        if self._is_one_object:
            chain: Chain = (found,) if type(found) is dict else ()
        else:
            said = Said()
            records = self._reader.chains(found, received_at, said)
            chain = next(records, ())
            if next(records, None) is not None or said.faults or said.is_cut:
                return None
        if not chain:
            return None
        slots, values, others = self._reader.find(chain)
        if others:
            return None
        return self._unwrap(slots, values, self._inside) if self._inside else (slots, values, MISSING)

    def _unwrap(self, slots: tuple[int, ...], raws: tuple[Any, ...], unwrap: Unwrap) -> Row | None:
        """Return the values that stand in objects; None unless all that are measured are of one time."""
        time_of, value_of = unwrap.time, unwrap.value
        if slots and self._only_measured.issuperset(slots):
            try:
                values, times = zip(*map(self._pick, raws), strict=True)
            except (KeyError, TypeError):
                pass
            else:
                time = times[0]
                same = times.count(time) == len(times) and {*map(type, times)} == {type(time)}
                return (slots, values, time) if same else None
        found, common = [], MISSING
        for slot, raw in zip(slots, raws, strict=True):
            inner = raw[0] if type(raw) is list and len(raw) == 1 else raw
            if slot not in self._unwrapped or type(inner) is not dict or value_of not in inner:
                value, time = raw, None
            else:
                value, time = inner[value_of], inner.get(time_of)
            if slot in self._measured:
                if common is MISSING:
                    common = time
                elif common != time or type(common) is not type(time):
                    return None
            elif time is not None and self._own_time(time) is _BROKEN:
                value = raw
            found.append(value)
        return slots, found, common

    def sender(self, record: Row) -> Any:  # noqa: ANN401 - JSON can be anything
        """Return what stands in a record as its device's id."""
        (slots, values, _), slot = record, self._reader.id_slot
        return values[slots.index(slot)] if slot in slots else MISSING

    def read(self, records: Sequence[Row]) -> Plain:
        """Return what plain records say; all that are not plain are for `compiled`."""
        n = len(records)
        there = self._there(records)
        is_plain = np.ones(n, np.bool_)
        for checks in self._alone:
            is_plain &= ~self._may_all_hold(checks, there, n)
        values: dict[str, Floats] = {}
        for field, read_column in self._columns:
            column = self._column_of(field, there)
            if column is None:
                continue
            measured, good = read_column(column)
            is_plain &= good
            before = values.get(field.name)
            values[field.name] = measured if before is None else np.where(np.isnan(before), measured, before)
        anything = np.zeros(n, np.bool_)
        for each in values.values():
            anything |= ~np.isnan(each)
        ts, is_good = self._told([time for _, _, time in records], there)
        return Plain(is_plain & is_good & anything, ts, values)

    @staticmethod
    def _there(records: Sequence[Row]) -> dict[int, Column]:
        """Return a column for each slot at which anything stands."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for row, (slots, _, _) in enumerate(records):
            alike.setdefault(slots, []).append(row)
        columns: dict[int, Column] = {}
        for slots, rows in alike.items():
            found = zip(*[records[row][1] for row in rows], strict=True)
            for slot, values in zip(slots, found, strict=True):
                column = columns.setdefault(slot, [MISSING] * len(records))
                for row, value in zip(rows, values, strict=True):
                    column[row] = value
        return columns

    def _may_all_hold(self, checks: Sequence[Check], there: Mapping[int, Column], n: int) -> Mask:
        """Mark the records in which an event may happen: the topic is taken to speak for it."""
        happens = np.ones(n, np.bool_)
        for check in checks:
            columns = [there[slot] for slot in check.slots if slot in there]
            if not columns:
                return np.zeros(n, np.bool_)
            could_hold = self._could_hold[check]
            happens &= np.any([[could_hold(raw) for raw in column] for column in columns], axis=0)
        return happens

    def _column_of(self, field: Field, there: Mapping[int, Column]) -> Column | None:
        """Return what stands where a field does, as far as its conditions hold; None for nothing."""
        column = there.get(field.slot)
        if column is None:
            return None
        for check in field.when:
            holds = np.zeros(len(column), np.bool_)
            for slot in check.slots:
                if slot in there:
                    holds |= np.array([self._holds[check](raw) for raw in there[slot]], np.bool_)
            column = [raw if held else MISSING for raw, held in zip(column, holds.tolist(), strict=True)]
        return column

    def _told(self, own: Column, there: Mapping[int, Column]) -> tuple[npt.NDArray[np.int64], Mask]:
        """Return the times of records, and which are good: one that is their values' own goes first."""
        if (whole := self._whole(own, there)) is not None:
            return whole, np.ones(len(own), np.bool_)
        ts: Column = [None if raw is MISSING else self._own_time(raw) for raw in own]
        broken = np.array([each is _BROKEN for each in ts], np.bool_)
        for slots, parse in self._times:
            columns = [there[slot] for slot in slots if slot in there]
            if len(columns) < len(slots):
                continue
            raws = columns[0]
            if len(columns) > 1:
                raws = [joined(list(each)) for each in zip(*columns, strict=True)]
            for row, raw in enumerate(raws):
                if raw is not MISSING and (ts[row] is None or ts[row] is _UNREAD):
                    told = parse(raw)
                    ts[row] = _UNREAD if told is _BROKEN else told if told is not None else ts[row]
        good = ~broken & np.array([each is not _UNREAD for each in ts], np.bool_)
        return np.array([each if type(each) is int else ABSENT for each in ts], np.int64), good

    def _whole(self, own: Column, there: Mapping[int, Column]) -> npt.NDArray[np.int64] | None:
        """Return the times of records that all tell a whole number where a time stands first; else None."""
        parse, column = self._reader.own_time, own
        if self._reader.times and {*map(type, own)} <= _NOTHING:
            (first, *more), parse = self._reader.times[0]
            column = [] if more else there.get(first, [])
        return parse.together(column) if isinstance(parse, Epoch) and {*map(type, column)} == {int} else None


def _is_plainly_once(payload: bytes, document: Any) -> bool:  # noqa: ANN401 - JSON can be anything
    """Say, of a document without others in it, that no name stands in it twice: it has as many as colons.

    Fewer names can be read than are written, never more, and a name is written with a colon behind it. Colons
    in texts are not behind a quote, or there are too many.
    """
    if type(document) is not dict:
        return False
    names = len(document)
    return payload.count(b":") == names or (
        payload.count(b'":') == names
        and b'" ' not in payload
        and b'"\n' not in payload
        and b'"\t' not in payload
        and b'"\r' not in payload
    )


ReadColumn = Callable[[Column], tuple[Floats, Mask]]
"""From values to numbers, shape (n,), and which of the values are good."""


def _column(field: Field) -> ReadColumn:
    """Return what reads a field; what is no number, or depends on the topic, is left to `compiled`."""
    if field.name not in VALUES or not all(check.slots for check in field.when):
        return _left_alone
    return _together(field) if field.plain else _one_by_one(field)


def _left_alone(column: Column) -> tuple[Floats, Mask]:
    nothing = np.array([raw is MISSING for raw in column], np.bool_)
    return np.full(len(column), np.nan, np.float32), nothing


def _one_by_one(field: Field) -> ReadColumn:
    convert = _remembering(field.convert)  # a fleet says the same few texts over and over

    def read(column: Column) -> tuple[Floats, Mask]:
        found: Column
        kinds = {*map(type, column)}
        if kinds <= _TRUTHS or kinds <= _WHOLES:
            known = {raw: None if raw is MISSING else convert(raw) for raw in set(column)}
            found = [known[raw] for raw in column]
        else:
            found = [None if raw is MISSING else convert(raw) for raw in column]
        if _BROKEN not in found:
            return np.array(found, np.float32), np.ones(len(column), np.bool_)
        good = np.array([value is not _BROKEN for value in found], np.bool_)
        return np.array([None if value is _BROKEN else value for value in found], np.float32), good

    return read


def _together(field: Field) -> ReadColumn:
    (low, high), codes, one_by_one = field.bounds, list(field.codes), _one_by_one(field)
    kinds = _NUMBERS - {float} if field.whole else _NUMBERS

    def read(column: Column) -> tuple[Floats, Mask]:
        numbers = [None if each is MISSING else each for each in column]
        if not set(map(type, numbers)) <= kinds:
            return one_by_one(column)
        try:
            measured = np.array(numbers, np.float64)
        except OverflowError:
            return one_by_one(column)
        measured[np.isin(measured, codes)] = np.nan
        good = np.isnan(measured) | ((measured >= low) & (measured <= high))
        return np.where(good, measured, np.nan).astype(np.float32), good

    return read


def _holds(check: Check) -> Callable[[Any], bool]:
    """Return what says of a value whether a condition holds; what is no scalar is left to be looked at."""
    return lambda raw: raw is not MISSING and (type(raw) not in _SCALARS or check.test(raw))


def _could_hold(check: Check) -> Callable[[Any], bool]:
    """Return what says of a value whether a condition holds, or whether it must be looked at alone."""

    def judge(raw: Any) -> bool:  # noqa: ANN401 - JSON can be anything
        if raw is MISSING:
            return False
        if type(raw) not in _SCALARS:
            return True
        text = plain(raw)
        if check.answers is not None and text not in check.answers:
            return True
        return check.test(raw)

    return judge


def _remembering(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what does the same, knows scalars again, and says _BROKEN for what makes no sense."""
    known: dict[tuple[type, Any], Any] = {}

    def done(raw: Any) -> Any:  # noqa: ANN401 - JSON can be anything
        if type(raw) not in _SCALARS:
            return undone(raw)
        key = (type(raw), raw)
        found = known.get(key, known)
        if found is known:
            if len(known) >= _KEPT:
                known.clear()
            found = known[key] = undone(raw)
        return found

    def undone(raw: Any) -> Any:  # noqa: ANN401 - JSON can be anything
        try:
            return work(raw)
        except ValueError:
            return _BROKEN

    return done
