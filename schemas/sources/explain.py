"""How a message is read, step by step, for people."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from schemas.sources.compiled import Reader
from schemas.sources.paths import parsed
from schemas.sources.records import Said
from schemas.sources.values import MISSING, shown


class Step(NamedTuple):
    """A step on the way of a message, for people: what was sought, where, what was there, what it became."""

    what: str
    where: str
    found: str
    became: str


def explain(reader: Reader, levels: Sequence[str], payload: bytes, received_at: int) -> list[Step]:
    """Return what stands at each path of a message of JSON and what it becomes; never raises."""
    if reader.decodes or reader.ignored(levels):
        return []
    try:
        root = parsed(payload)
    except ValueError:
        return []
    return [
        Step(f"{count} {what}", " | ".join(paths), shown(value), became)
        for count, chain in enumerate(reader.chains(root, received_at, Said()), 1)
        for (paths, slot), value in zip(reader.slots.items(), reader.look(chain), strict=True)
        if value is not MISSING
        for what, became in _roles(reader, slot, value)
    ]


def _roles(reader: Reader, slot: int, raw: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON
    """Yield what a value serves as, and what it becomes there."""
    uses: list[tuple[str, Callable[[Any], Any]]] = [
        (each.name, each.convert) for each in reader.fields if each.slot == slot
    ]
    uses += [("time", parse) for slots, parse in reader.times if slots == (slot,)]
    uses += [
        (f"event {rule.kind}", check.test)
        for rule in reader.events
        for check in (*rule.when, *rule.unless)
        if slot in check.slots
    ]
    if slot == reader.id_slot:
        uses.append(("id", str))
    for what, convert in uses or [("part of a time", str)]:
        try:
            became = convert(raw)
        except ValueError as error:
            yield what, f"refused: {error}"
        else:
            yield what, "no reading" if became is None else shown(became)
