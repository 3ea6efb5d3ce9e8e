"""A source compiled: what each path, field, time and condition does is settled once, before any message.

Rules of this file: whatever a payload holds, nothing is raised. What cannot be used becomes a fault; a call
for help that can be seen in what cannot be read is a record all the same.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from schemas.errors import SenderFaultError
from schemas.readings import CALLS, KEPT_BYTES, Delivery, Event
from schemas.sources import ev07b, salvage, senml, setracker
from schemas.sources.events import EventRule, checks, event_rule
from schemas.sources.fields import field
from schemas.sources.mapping import Paths, Source, matches
from schemas.sources.paths import (
    MOST_RECORDS,
    Chain,
    Memo,
    finder,
    folded,
    joined,
    parsed,
    records,
    tree,
)
from schemas.sources.places import locator
from schemas.sources.records import Record, Said
from schemas.sources.values import MISSING, Parse, plain, shown, spellings, time_parser
from schemas.topics import PREFIX, Channel, nameless

_DECODERS: Final = {"setracker": setracker.read, "ev07b": ev07b.read}
_TOPICS_KEPT: Final = 200_000
_LONGEST_WORD: Final = 64
_BLANKS: Final = b" \t\r\n\0"
_LONGEST_ID: Final = 64
_NAME: Final = re.compile(rb'"([^"\\]{1,64})"\s*:')
_SENML_TWICE: Final = re.compile(rb'"(n|v|vb|vs)"\s*:[^{}]*"\1"\s*:')
_TEXT_OF_JSON: Final = re.compile(rb'"\s{0,8}[{\[][{\[\s]{0,8}\\"')
_APART: Final = b"_- "
_MOST_OTHERS: Final = 8
"""Of one condition in one object, where names that mean the same stand beside each other."""
_MOST_DOUBTFUL: Final = MOST_RECORDS
"""Records that are read again because their message cannot be trusted."""

Values = list[Any]
"""What stands at each path that a source names, MISSING for nothing; shape (paths,)."""


class _Moment(NamedTuple):
    """What one record says at one moment: the topic's levels, the device, its values, epoch milliseconds."""

    levels: Sequence[str]
    device: str
    values: Values
    ts: int | None


class Reader:
    """What one source makes of messages."""

    def __init__(self, source: Source) -> None:
        """Settle everything that no message can change."""
        self.source = source
        self._zone = ZoneInfo(source.zone)
        self._decode = _DECODERS.get(source.format)
        self.decodes = self._decode is not None
        self.slots: dict[Paths, int] = {}
        self._words = {word.strip().casefold(): said for word, said in source.words.items()}
        self.id_slot = self._slot(source.id.path) if source.id.path else None
        self.times = [
            (tuple(self._slot((each,)) for each in time.path), time_parser(time.format, self._zone))
            for time in source.time
        ]
        if source.format == "senml":
            self.times.insert(0, ((self._slot((senml.TIME,)),), time_parser("ms", self._zone)))
        self.own_time = self.times[0][1] if self.times else time_parser("epoch", self._zone)
        self.fields = [
            field(name, value, self._slot(value.path), checks(value.when, self._slot), again=before > 0)
            for name, ways in source.fields.items()
            for before, value in enumerate(ways)
        ]
        self.events = [event_rule(source.name, entry, self._slot) for entry in source.events]
        self.late = checks(source.late, self._slot) if isinstance(source.late, tuple) else ()
        conditions = [
            *(check for event in self.events for check in (*event.when, *event.unless)),
            *(check for each in self.fields for check in each.when),
        ]
        self._valued = sorted(
            {each.slot for each in self.fields} | {slot for check in conditions for slot in check.slots}
        )
        self._locate = locator(source.position) if source.position else None
        self._steps = [  # an array of documents is as many messages anyway
            [names.split(".") for names in path.removeprefix("[].").removesuffix("[]").split("[].")]
            for path in source.records
            if path != "[]"
        ]
        settings = [
            path
            for entry in source.events
            if entry.event in CALLS
            for condition in entry.when
            if condition.there or "true" in spellings(condition.is_ or ())
            for path in condition.path or ()
        ]
        calls = {self._slot((path,)) for path in settings}
        self.find = finder(self.slots, exact=source.format == "senml", calls=calls)
        self._ignored = list(source.ignore.items())
        called = [event for event in self.events if event.calls]
        self._watched = {name for event in called for check in event.when for name in check.names}
        self._id_names = [path.rpartition(".")[2] for path in source.id.path or ()]
        self._names = [*self._watched, *self._id_names]
        self._names += [name for event in called for check in event.unless for name in check.names]
        self._names = list(dict.fromkeys(self._names))
        lasts = {path.rpartition(".")[2] for path in settings}
        self._spellings = tree(
            [((name,), place, 0) for place, name in enumerate(self._names)],
            {place for place, name in enumerate(self._names) if name in lasts},
        )
        parts = {folded(name).encode() for name in self._watched}
        self._parts = [each for each in parts if not any(other != each and other in each for other in parts)]
        self._is_watched: Memo[bytes, bool] = Memo(
            lambda name: not self._watched.isdisjoint(self._meant(name.decode(errors="replace")))
        )

    def _slot(self, paths: Paths) -> int:
        return self.slots.setdefault(paths, len(self.slots))

    def _meant(self, name: str) -> list[str]:
        """Return the names of which a name is a spelling, of those that calls and ids depend on."""
        branch = self._spellings[name]
        return [self._names[place] for place, _ in branch.ends] if branch else []

    @property
    def watches(self) -> bool:
        """Say whether calls depend on any name."""
        return bool(self._watched)

    def is_doubtful(self, payload: bytes) -> bool:
        """Say whether a name that calls depend on may stand twice in one object of a document."""
        if not self.watches:
            return False
        if b"\\u" in payload:
            return True
        if self.source.format == "senml":
            return _SENML_TWICE.search(payload) is not None
        text = payload.translate(None, _APART).lower()
        for each in self._parts:
            if text.count(each) > 1:
                break
        else:
            return False
        found = [name for name in _NAME.findall(payload) if self._is_watched[name]]
        return len(set(found)) < len(found)

    # ------------------------------------------------------------------------------------------- messages

    def hear(self, levels: Sequence[str], delivery: Delivery, max_payload: int) -> Said:
        """Return what a message says; a payload longer than that is refused unread."""
        length = len(delivery.payload)
        if length <= max_payload:
            return self.read(levels, delivery.payload, delivery.received_at)
        fault = SenderFaultError("oversized", f"{length} bytes, allowed are {max_payload}")
        return self.unreadable(levels, delivery.payload, fault)

    def read(self, levels: Sequence[str], payload: bytes, received_at: int) -> Said:
        """Return what a message says; `levels` are those of its topic, `received_at` in microseconds."""
        said = Said(ignored=self.ignored(levels))
        if said.ignored:
            return said
        if self._decode:
            return self._decode(payload, self._zone, self._device(levels, ()))
        if len(payload) <= _LONGEST_WORD and self._words and self._say_word(levels, payload, said):
            return said
        try:
            root = parsed(payload)
        except ValueError as error:
            reason = "not_json" if payload.strip(_BLANKS) else "empty"
            self._salvage(levels, payload, said, SenderFaultError(reason, str(error)[:200]))
            return said
        for chain in self.chains(root, received_at, said):
            self._read_record(levels, chain, said)
        if not said.records and not said.faults:
            self._say_nothing(levels, (root,), said)
        if said.is_cut or (not said.records and not isinstance(root, dict)):
            self._seek(levels, payload, said)
        if self.is_doubtful(payload):
            self._doubt(levels, payload, said)
        return said

    def unreadable(self, levels: Sequence[str], payload: bytes, fault: SenderFaultError) -> Said:
        """Return what can be seen in a message that is refused unread: calls for help, beside its fault."""
        said = Said(ignored=self.ignored(levels))
        if said.ignored:
            return said
        if self._decode:
            seen = self._decode(payload[:KEPT_BYTES], self._zone, self._device(levels, ())).records
            said.records = [each._replace(readable=False) for each in seen if each.event in CALLS]
            said.faults.append(fault)
        else:
            self._salvage(levels, payload[:KEPT_BYTES], said, fault)
        return said

    def ignored(self, levels: Sequence[str]) -> str:
        """Return the name under which a topic is ignored, "" if it is not."""
        for topic_filter, reason in self._ignored:
            if matches(topic_filter, levels):
                return f"{self.source.name}:{reason}"
        return ""

    def _say_word(self, levels: Sequence[str], payload: bytes, said: Said) -> bool:
        word = self._words.get(payload.strip(_BLANKS + b'"').decode(errors="replace").casefold())
        if word is None:
            return False
        event = Event.ONLINE if word == "online" else Event.OFFLINE
        if device := self._device(levels, ()):
            said.records.append(Record(device, Channel.STATUS, event, {"status": word}))
        else:
            said.faults.append(SenderFaultError("bad_device", "no device id in it"))
        return True

    def _say_nothing(self, levels: Sequence[str], chain: Chain, said: Said) -> None:
        device = self._device(levels, self.look(chain))
        if self.source.presence and device:
            said.records.append(Record(device, Channel.HEARTBEAT, Event.NONE, {}))
        else:
            detail = f"nothing that {self.source.name} knows stands in it" if device else "no device id in it"
            said.faults.append(SenderFaultError("unmapped", detail))

    def chains(self, root: Any, received_at: int, said: Said) -> Iterator[Chain]:  # noqa: ANN401
        """Yield each record of a message with what is around it."""
        if self.source.format == "senml":
            found: Iterator[Chain] = ((each,) for each in senml.resolve(root, received_at, said.faults))
        else:
            found = records(root, self._steps, said)
        count = -1
        for count, chain in enumerate(found):
            if count == MOST_RECORDS:
                said.faults.append(SenderFaultError("bad_message", f"more than {MOST_RECORDS} records"))
                said.is_cut = True
                return
            yield chain
        if count < 0 and not said.faults:
            said.faults.append(SenderFaultError("bad_message", f"{shown(root)} is no JSON object"))

    def look(self, chain: Chain) -> Values:
        """Return what stands at each path."""
        return self._views(chain, Said())[0]

    def _views(self, chain: Chain, said: Said) -> list[Values]:
        """Return what stands at each path; a second view if names that mean the same say two things."""
        slots, found, others = self.find(chain)
        values = [MISSING] * len(self.slots)
        for slot, value in zip(slots, found, strict=True):
            values[slot] = value
        views = [values]
        count: Counter[int] = Counter()
        for slot, value in others:
            count[slot] += 1
            if count[slot] > _MOST_OTHERS:
                said.is_cut = True
                break
            if count[slot] == len(views):
                views.append(values.copy())
            views[count[slot]][slot] = value
        return views

    def sender(self, levels: Sequence[str], told: Any = MISSING) -> str:  # noqa: ANN401 - JSON can be anything
        """Return the vendor's id of the device, by what stands in a record for it; "" if there is none."""
        return _text_id(told) or self._device(levels, ())

    def _device(self, levels: Sequence[str], values: Sequence[Any]) -> str:
        """Return the vendor's id of the device, "" if there is none."""
        where = self.source.id
        told = _text_id(values[self.id_slot]) if values and self.id_slot is not None else ""
        if told or not where.level:
            return told
        return "/".join(levels[where.level - 1 :] if where.rest else levels[where.level - 1 : where.level])

    # -------------------------------------------------------------------------------------------- records

    def _read_record(self, levels: Sequence[str], chain: Chain, said: Said) -> None:
        values, *others = self._views(chain, said)
        self._read_values(levels, values, chain, said)
        for other in others:
            seen = Said()
            self._read_values(levels, other, chain, seen)
            for call in _new_calls(seen.records, said):
                said.records = [each for each in said.records if not _is_end(each, call)]
                said.records.append(call)

    def _read_values(self, levels: Sequence[str], values: Values, chain: Chain, said: Said) -> None:
        device = self._device(levels, values)
        if not device or len(device) > _LONGEST_ID:
            self._nobody(levels, values, said, device)
            return
        parts = [(values, MISSING)] if self.source.unwrap is None else list(self._unwrapped(values, said))
        before, known = len(said.records), False
        moment = None
        for part, raw_time in parts:
            ts = (
                self._time(part, said)
                if raw_time is MISSING
                else self._parsed_time(self.own_time, raw_time, said)
            )
            moment = _Moment(levels, device, part, ts)
            known = self._interpret(moment, chain, said) or known
        if moment and known and len(said.records) == before:
            fields = {} if moment.ts is None else {"ts": moment.ts}
            said.records.append(Record(device, Channel.HEARTBEAT, Event.NONE, fields, self._is_late(moment)))

    def _nobody(self, levels: Sequence[str], values: Values, said: Said, device: str) -> None:
        """Tell that a record is of nobody; a call for help in it is one all the same."""
        detail = f"the device id is {len(device)} characters long" if device else "no device id in it"
        said.faults.append(SenderFaultError("bad_device", detail))
        for event in self.events:
            if event.calls and event.holds(levels, values):
                name = nameless(device) if device else ""
                said.records.append(Record(name, event.channel, event.event, {}, readable=False))

    def _interpret(self, moment: _Moment, chain: Chain, said: Said) -> bool:
        """Add what one record says at one moment; say whether anything that is known stands in it."""
        common: dict[str, Any] = {} if moment.ts is None else {"ts": moment.ts}
        beside: dict[str, Any] = {}
        rows: dict[Channel, dict[str, Any]] = {}
        known = False
        for name, slot, channel, convert, when, again, *_ in self.fields:
            raw = moment.values[slot]
            if raw is MISSING or not all(each.holds(moment.levels, moment.values) for each in when):
                continue
            known = True
            if again and name in {**common, **beside, **rows.get(channel or Channel.EVENT, {})}:
                continue
            try:
                value = convert(raw)
            except ValueError as error:
                said.faults.append(SenderFaultError("bad_field", f"{name}: {error}"))
                continue
            if value is not None:
                target = (
                    common if name == "seq" else beside if channel is None else rows.setdefault(channel, {})
                )
                target[name] = value
        late = self._is_late(moment)
        for channel, fields in rows.items():
            said.records.append(Record(moment.device, channel, Event.NONE, {**common, **fields}, late))
        for event in self.events:
            known = self._judge(event, moment, {**common, **beside}, chain, said, late=late) or known
        return known

    def _is_late(self, moment: _Moment) -> bool:
        """Say whether a record is old by its own word."""
        if isinstance(self.source.late, bool):
            return self.source.late
        return all(each.holds(moment.levels, moment.values) for each in self.late)

    def _judge(
        self,
        event: EventRule,
        moment: _Moment,
        fields: dict[str, Any],
        chain: Chain,
        said: Said,
        *,
        late: bool,
    ) -> bool:
        """Add an event if a record tells of it; say whether the record tells anything about it."""
        seen = not event.when
        for check in event.when:
            if check.slots and all(moment.values[slot] is MISSING for slot in check.slots):
                return False
            seen = seen or bool(check.slots)
        holds = event.holds(moment.levels, moment.values)
        if not holds and (puzzles := event.puzzles(moment.levels, moment.values)):
            said.faults += [SenderFaultError("bad_field", each) for each in puzzles]
            if event.state:  # nobody knows, so the next call is one
                said.records.append(
                    Record(moment.device, event.channel, event.event, fields, late, event.state, on=False)
                )
            return True
        if holds or event.state:
            if holds and event.has_place:
                fields |= self._where(chain, said)
            said.records.append(
                Record(
                    moment.device,
                    event.channel,
                    event.event,
                    fields,
                    late,
                    event.state,
                    on=holds,
                    over=event.over,
                )
            )
        return seen

    def _where(self, chain: Chain, said: Said) -> dict[str, float]:
        """Return the position of a record in WGS-84, if it tells one."""
        try:
            return self._locate(chain) if self._locate else {}
        except ValueError as error:
            said.faults.append(SenderFaultError("bad_field", f"position: {error}"))
            return {}

    def _time(self, values: Values, said: Said) -> int | None:
        broken = Said()
        for slots, parse in self.times:
            raw = values[slots[0]] if len(slots) == 1 else joined([values[slot] for slot in slots])
            if raw is MISSING:
                continue
            ts = self._parsed_time(parse, raw, broken)
            if ts is not None:
                return ts
        said.faults += broken.faults[:1]
        return None

    @staticmethod
    def _parsed_time(parse: Parse, raw: Any, said: Said) -> int | None:  # noqa: ANN401 - JSON can be anything
        try:
            return parse(raw)
        except ValueError as error:
            said.faults.append(SenderFaultError("bad_field", f"time: {error}"))
            return None

    def _unwrapped(self, values: Values, said: Said) -> Iterator[tuple[Values, Any]]:
        """Yield what is said at the message's time, then what is said at times of its own."""
        unwrap = self.source.unwrap
        assert unwrap is not None  # noqa: S101 - the caller has looked
        bare = values.copy()
        present = [slot for slot in self._valued if values[slot] is not MISSING]
        empty = values.copy()
        for slot in present:
            empty[slot] = MISSING
        groups: dict[Any, tuple[Values, Any]] = {}
        taken: Counter[Any] = Counter()  # values of a slot and a time so far
        apart = False
        for slot in present:
            raw = values[slot]
            items = raw if isinstance(raw, list) else [raw]
            wrapped = [each for each in items if isinstance(each, dict) and unwrap.value in each]
            if not wrapped:
                apart = True
                continue
            if len(wrapped) < len(items):
                said.faults.append(SenderFaultError("bad_field", f"{shown(raw)} holds what is no value"))
            bare[slot] = MISSING
            if len(wrapped) > MOST_RECORDS:
                said.faults.append(
                    SenderFaultError("bad_message", f"more than {MOST_RECORDS} values of a field")
                )
                said.is_cut = True
            for item in wrapped[:MOST_RECORDS]:
                raw_time = item.get(unwrap.time)
                if raw_time is None and bare[slot] is MISSING:
                    bare[slot], apart = item[unwrap.value], True
                    continue
                time = plain(raw_time) if raw_time is not None else None
                taken[slot, time] += 1
                group = groups.setdefault((time, taken[slot, time]), (empty.copy(), raw_time))
                group[0][slot] = item[unwrap.value]
        if apart or not groups:
            yield bare, MISSING
        yield from ((group, MISSING if raw_time is None else raw_time) for group, raw_time in groups.values())

    # ------------------------------------------------------------------------------- what cannot be read

    def _salvage(self, levels: Sequence[str], payload: bytes, said: Said, fault: SenderFaultError) -> None:
        """Seek calls for help in a payload that is no JSON: in the documents in it, then in what is left."""
        said.faults.append(fault)
        documents, rest = salvage.documents(payload[:KEPT_BYTES])
        if rest and self._calls_by_topic(levels):  # what speaks against it may stand in the rest
            documents = []
        told = self._call(levels, documents, said, known=bool(rest))
        if said.is_cut or not any(each.event in CALLS for each in said.records):
            self._seek(levels, payload, said, whole=not told)
        elif rest:
            self._seek(levels, rest, said, whole=False)

    def _calls_by_topic(self, levels: Sequence[str]) -> bool:
        """Say whether a topic alone calls for help."""
        return any(
            not any(check.slots for check in event.when)
            and all(check.holds(levels, ()) for check in event.when)
            for event in self.events
            if event.calls
        )

    def _doubt(self, levels: Sequence[str], payload: bytes, said: Said) -> None:
        """Look for names that stand twice in one object: no call may hide behind the other value."""
        name, variants = salvage.variants(payload)
        if name:
            said.faults.append(SenderFaultError("bad_field", f"{shown(name)} stands twice in one object"))
        self._call(levels, variants, said)
        if said.is_cut:
            self._seek(levels, payload, said, whole=False)

    def _call(self, levels: Sequence[str], roots: Sequence[Any], said: Said, *, known: bool = False) -> bool:
        """Add the calls for help of documents that cannot be trusted in all they say; say whether any tells.

        Where one of them names its device, one that names none is nobody's; with `known` none is anyway.
        """
        seen = Said()
        chains = (chain for root in roots for chain in self.chains(root, 0, seen))
        for chain in islice(chains, _MOST_DOUBTFUL):
            self._read_record(levels, chain, seen)
        said.is_cut |= seen.is_cut or next(chains, None) is not None
        named = [each for each in seen.records if each.device and not each.device.startswith("?")]
        told = named if named or known else seen.records
        for record in _new_calls(told, said):
            fields = {name: value for name, value in record.fields.items() if name in ("lat", "lon")}
            said.records.append(record._replace(fields=fields, readable=False))
        return bool(told)

    def _seek(self, levels: Sequence[str], payload: bytes, said: Said, *, whole: bool = True) -> None:
        """Seek calls by name and value; of what is not the `whole` message, the topic alone tells none."""
        seen, unwrap = payload[:KEPT_BYTES], self.source.unwrap
        if _TEXT_OF_JSON.search(seen):
            seen = seen.replace(b'\\"', b'"')
        found = salvage.by_name(
            salvage.senml_pairs(seen)
            if self.source.format == "senml"
            else salvage.pairs(seen, unwrap.value if unwrap else ""),
            self._meant,
        )
        raised = {(each.device, each.event) for each in said.records if each.on}
        for event in self.events:
            is_told = whole or any(check.slots for check in event.when)
            at = salvage.happens(event, levels, found, seen) if event.calls and is_told else None
            if at is None:
                continue
            device = self._seen_device(levels, found, at, seen)
            if (device, event.event) not in raised:
                raised.add((device, event.event))
                said.records.append(
                    Record(device, event.channel, event.event, {}, state=event.state, readable=False)
                )

    def _seen_device(self, levels: Sequence[str], found: salvage.Pairs, at: int, payload: bytes) -> str:
        """Return the id that stands nearest to a call, best in its object, or before it."""
        told = salvage.nearest(self._id_names, found, at, payload)
        return next((each for each in told if 0 < len(each) <= _LONGEST_ID), "") or self._device(levels, ())


def _new_calls(records: Iterable[Record], said: Said) -> list[Record]:
    """Return the calls for help among records that are not among what is said so far, each once."""
    raised = {(each.device, each.event) for each in said.records if each.on}
    calls = [each for each in records if each.event in CALLS and each.on]
    found = {(each.device, each.event): each for each in reversed(calls)}
    return [each for key, each in reversed(found.items()) if key not in raised]


def _is_end(record: Record, call: Record) -> bool:
    """Say whether a record is the end of the state that a call begins."""
    return record.device == call.device and record.state == call.state != "" and not record.on


def _text_id(raw: Any) -> str:  # noqa: ANN401 - JSON can be anything
    if raw is MISSING or raw is None or isinstance(raw, bool | list | dict):
        return ""
    return str(raw).strip()


class Sources:
    """All sources of an installation; a topic belongs to one of them at most."""

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        """Compile them."""
        self.readers = [Reader(source) for source in sources]
        self._known: dict[str, tuple[Reader, list[str]] | None] = {}

    @property
    def names(self) -> list[str]:
        """Return what names of states begin with: the sources' names, and those of their formats."""
        return sorted({name for each in self.readers for name in (each.source.name, each.source.format)})

    def filters(self, *, urgent: bool) -> tuple[str, ...]:
        """Return the filters to which one of the two sessions subscribes."""
        return tuple(
            topic for each in self.readers if each.source.urgent is urgent for topic in each.source.topics
        )

    def find(self, topic: str) -> tuple[Reader, list[str]] | None:
        """Return who reads a topic, and its levels; None for the contract's own topics and unknown ones."""
        if not self.readers or topic.startswith(PREFIX):
            return None
        if topic in self._known:
            return self._known[topic]
        levels = topic.split("/")
        found = next(
            (each for each in self.readers if any(matches(own, levels) for own in each.source.topics)), None
        )
        if len(self._known) >= _TOPICS_KEPT:
            self._known.clear()
        known = self._known[topic] = (found, levels) if found else None
        return known
