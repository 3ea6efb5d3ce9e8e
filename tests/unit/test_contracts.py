"""The published contracts: written by the generator, valid, and saying what the bridge does."""

import json
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from docs.contracts import HERE, documents
from schemas.messages import ADAPTERS
from schemas.topics import CHANNELS
from tests.unit.kit import Bench, delivery

SCHEMAS: dict[str, Any] = {
    path.name: json.loads(path.read_text("utf-8")) for path in HERE.glob("*.schema.json")
}
UPLINK = {name: Draft202012Validator(SCHEMAS[f"{name}.schema.json"]) for name in CHANNELS}
CODE = {name: ADAPTERS[channel].json_schema() for name, channel in CHANNELS.items()}
"""What the bridge's models say of themselves, whatever the published schemas say."""
ODD: list[Any] = [
    None,
    True,
    "",
    "1",
    "80.5",
    "nan",
    "on",
    "online",
    "a\n",
    "一" * 33,
    -1,
    5.0,
    2**53 + 1,
    1e308,
    [],
    {},
    [{}],
]


def test_the_files_are_what_the_generator_writes() -> None:
    """Nobody changes a message, a topic or an answer without publishing it: `python -m docs.contracts`."""
    assert {path.name: path.read_text("utf-8") for path in HERE.glob("*.json")} == documents()


def test_every_message_has_a_schema() -> None:
    """Each channel has its document, and so have the downlink and what is announced."""
    assert SCHEMAS.keys() == {f"{name}.schema.json" for name in (*CHANNELS, "downlink", "unstored")}
    assert len({schema["$id"] for schema in SCHEMAS.values()}) == len(SCHEMAS)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_a_schema_is_valid_and_so_are_its_examples(schema: dict[str, Any]) -> None:
    """The dialect is 2020-12, every field is described, and there are examples."""
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    for part in (schema, *schema.get("$defs", {}).values()):
        assert all(field["description"] for field in part["properties"].values())
    assert schema["examples"]
    for example in schema["examples"]:
        Draft202012Validator(schema).validate(example)


@pytest.mark.parametrize("room", ["a\n", "a\nb", "\x00", "一" * 33])
def test_no_dialect_of_patterns_lets_a_control_character_in(room: str) -> None:
    """In Python $ also matches before a last line feed; the schema refuses it all the same."""
    assert not UPLINK["activity"].is_valid({"room": room})


@pytest.mark.parametrize("name", CHANNELS)
def test_a_schema_is_stricter_than_the_bridge(name: str) -> None:
    """Nulls, numbers as strings and unknown fields are taken by the bridge and yet not published."""
    (example, *_) = SCHEMAS[f"{name}.schema.json"]["examples"]
    for odd in ({"ts": None}, {"seq": "7"}, {"x": 1}, {"state": "online"}):
        message = {**example, **odd}
        assert not Bench().decode(delivery(name, json.dumps(message).encode())).dead
        assert not UPLINK[name].is_valid(message)


def said(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return what a schema describes: of these types and words, within these bounds."""
    if "$ref" in schema:
        return said(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return st.one_of([said(choice, root) for choice in schema["anyOf"]])
    kind = "enum" if "enum" in schema else schema["type"]
    if kind == "object":
        fields = {name: said(field, root) for name, field in schema["properties"].items()}
        must = {name: fields.pop(name) for name in schema.get("required", [])}
        return st.fixed_dictionaries(must, optional=fields)
    if kind == "array":
        return st.lists(said(schema["items"], root), max_size=3)
    return WORDS[kind](schema)


def whole(schema: dict[str, Any]) -> st.SearchStrategy[int]:
    """Return whole numbers within bounds, and these themselves."""
    low, high = schema["minimum"], schema["maximum"]
    return st.integers(low, high) | st.sampled_from([low, high])


WORDS: dict[str, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    "enum": lambda schema: st.sampled_from(schema["enum"]),
    "string": lambda schema: st.text(
        st.characters(exclude_categories=("Cs", "Cc")), max_size=schema["maxLength"]
    ),
    "boolean": lambda _: st.booleans(),
    "null": lambda _: st.none(),
    "integer": whole,
    "number": lambda schema: whole(schema) | st.floats(schema["minimum"], schema["maximum"]),
}


def bounds(part: Any) -> list[float]:  # noqa: ANN401 - any JSON
    """List all bounds of numbers in a schema, and what lies a step beyond them."""
    if not isinstance(part, dict):
        return [found for each in part for found in bounds(each)] if isinstance(part, list) else []
    here = [part[bound] + step for bound in ("minimum", "maximum") if bound in part for step in (-1, 0, 1)]
    return here + [found for each in part.values() for found in bounds(each)]


def odd(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects of which anything may be missing or null, and of which two fields may be anything."""
    fields = {name: said(field, root) for name, field in schema["properties"].items()}
    value = st.sampled_from([*ODD, *bounds(schema)]) | st.text("a一\n\x00", max_size=34)
    if "readings" in fields:
        value |= st.lists(odd(root["$defs"]["Vital"], root), max_size=3)
    wrong = st.dictionaries(st.sampled_from([*fields, "state", "x"]), value, max_size=2)
    return st.builds(operator.or_, st.fixed_dictionaries({}, optional=fields), wrong)


@pytest.mark.parametrize("name", CHANNELS)
def test_what_a_schema_describes_is_stored_whole(name: str) -> None:
    """Messages of the described types, words and bounds are valid, and the bridge refuses no part of them."""
    bench, schema = Bench(), SCHEMAS[f"{name}.schema.json"]

    @given(said(schema, schema))
    @settings(deadline=None)
    def holds(message: dict[str, Any]) -> None:
        UPLINK[name].validate(message)
        batch = bench.decode(delivery(name, json.dumps(message).encode()))
        assert not batch.dead
        assert len(batch.readings) >= 1

    holds()


def agree(bench: Bench, name: str, message: dict[str, Any]) -> None:
    """See that a valid message is stored whole, and that one stored whole is valid once spelt plainly."""
    dead = bench.decode(delivery(name, json.dumps(message).encode())).dead
    assert not (dead and UPLINK[name].is_valid(message)), dead
    if not dead:
        plain = without_null(ADAPTERS[CHANNELS[name]].validate_python(message))
        word = plain.pop("state", None)
        UPLINK[name].validate({"status": word, **plain} if word else plain)


@pytest.mark.parametrize("name", CHANNELS)
def test_schema_and_bridge_agree_on_every_field(name: str) -> None:
    """Each field alone, at and beyond its bounds, of each wrong kind: what one refuses, so does the other."""
    bench, known = Bench(), CODE[name]
    (example, *_) = SCHEMAS[f"{name}.schema.json"]["examples"]
    for field in [*known["properties"], "state", "x"]:
        for value in [*ODD, *bounds(known)]:
            agree(bench, name, {**example, field: value})
            agree(bench, name, {field: value})


@pytest.mark.parametrize("name", CHANNELS)
def test_schema_and_bridge_agree_on_any_message(name: str) -> None:
    """So do they on whole messages in which anything may be missing, null or odd."""
    bench, known = Bench(), CODE[name]

    @given(odd(known, known))
    @settings(deadline=None)
    def holds(message: dict[str, Any]) -> None:
        agree(bench, name, message)

    holds()


def without_null(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is null, in late readings too."""
    return {
        name: [without_null(each) for each in value] if name == "readings" else value
        for name, value in fields.items()
        if value is not None
    }
