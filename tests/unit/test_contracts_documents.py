"""The published AsyncAPI and OpenAPI documents: valid by public validators, and saying what the code does."""

import copy
import json
import re
import warnings
from typing import Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import ValidationError

from docs.contracts import HERE
from duty import answers
from schemas import topics
from schemas.topics import CHANNELS, LIFE_CHANNELS, Lane

with warnings.catch_warnings(action="ignore"):  # it names a field "schema", which pydantic warns of
    from asyncapi3.models.asyncapi import AsyncAPI3  # type: ignore[import-untyped]  # it ships no py.typed

ASYNCAPI: dict[str, Any] = json.loads((HERE / "asyncapi.json").read_text("utf-8"))
OPENAPI: dict[str, Any] = json.loads((HERE / "openapi.json").read_text("utf-8"))


# --------------------------------------------------------------------------------------------------- AsyncAPI


def references(part: Any) -> list[str]:  # noqa: ANN401 - any JSON
    """List every $ref in a document."""
    if isinstance(part, dict):
        here = [str(part["$ref"])] if "$ref" in part else []
        return here + [found for each in part.values() for found in references(each)]
    return [found for each in part for found in references(each)] if isinstance(part, list) else []


def resolve(document: dict[str, Any], reference: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what a reference inside the document points to; raises KeyError if there is nothing."""
    part: Any = document
    for step in reference.removeprefix("#/").split("/"):
        part = part[step]
    return part


def check_asyncapi(document: dict[str, Any]) -> None:
    """Raise unless a document is AsyncAPI 3.0, its payloads are schemas, and its references resolve."""
    AsyncAPI3.model_validate(document)
    assert document["asyncapi"] == "3.0.0"
    for schema in document["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)  # the AsyncAPI Schema Object is a superset of draft 07
    for reference in references(document):
        resolve(document, reference)
    for channel in document["channels"].values():
        assert channel["parameters"].keys() == set(re.findall(r"{(\w+)}", channel["address"]))


def test_asyncapi_is_valid() -> None:
    """The document of the topics is AsyncAPI 3.0, and no reference in it dangles."""
    check_asyncapi(ASYNCAPI)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (["asyncapi"], "2.6.0"),
        (["asyncapi"], ...),
        (["chanels"], {}),
        (["info", "title"], ...),
        (["info", "versoin"], "1"),
        (["servers", "urgent", "host"], ...),
        (["servers", "urgent", "bindings", "mqtt", "cleanSesion"], True),
        (["servers", "urgent", "security", 0, "$ref"], "#/components/securitySchemes/logon"),
        (["channels", "sos", "adress"], "x"),
        (["channels", "sos", "address"], "carebell/v1/{region}/{devise}/sos"),
        (["channels", "sos", "servers", 0, "$ref"], "#/servers/urgnet"),
        (["channels", "sos", "messages", "sos", "$ref"], "#/components/messages/help"),
        (["operations", "sos", "action"], "publish"),
        (["operations", "sos", "channel"], ...),
        (["operations", "sos", "channel", "$ref"], "#/channels/help"),
        (["operations", "sos", "bindings", "mqtt", "qos"], 3),
        (["components", "messages", "sos", "payload", "$ref"], "#/components/schemas/help"),
        (["components", "messages", "sos", "payload", "$ref"], 7),
        (["components", "messages", "sos", "paylod"], {}),
        (["components", "schemas", "sos", "properties", "lat", "type"], "nummer"),
        (["components", "securitySchemes", "login", "type"], "password"),
    ],
)
def test_the_check_of_asyncapi_is_strict(place: list[str | int], wrong: Any) -> None:  # noqa: ANN401 - any JSON
    """A wrong key, word or reference and a missing key are refused wherever they stand."""
    document = copy.deepcopy(ASYNCAPI)
    *path, last = place
    part: Any = document
    for step in path:
        part = part[step]
    if wrong is ...:
        del part[last]
    else:
        part[last] = wrong
    with pytest.raises((ValidationError, SchemaError, KeyError, AssertionError)):
        check_asyncapi(document)


def test_asyncapi_has_the_topics_and_lanes_of_the_code() -> None:
    """Every channel is received by the lane that the code gives it, at QoS 1; the two others are sent."""
    operations = ASYNCAPI["operations"]
    assert operations.keys() == ASYNCAPI["channels"].keys() == {*CHANNELS, "downlink", "unstored"}
    for name, channel in ASYNCAPI["channels"].items():
        topic = channel["address"].format(region="430602", device="BELL-1", channel="sos")
        server = channel["servers"][0]["$ref"].removeprefix("#/servers/")
        assert operations[name]["bindings"]["mqtt"]["qos"] == 1
        if name == "downlink":
            assert (topic, server) == (topics.downlink("430602", "BELL-1"), "downlink")
            assert operations[name]["action"] == "send"
            continue
        if name == "unstored":
            assert (topic, server) == (topics.unstored("430602", "BELL-1", "sos"), "announce")
            assert operations[name]["action"] == "send"
            assert set(channel["parameters"]["channel"]["enum"]) == {c.name.lower() for c in LIFE_CHANNELS}
            continue
        assert topics.parse(topic) == ("430602", "BELL-1", CHANNELS[name])
        lane = Lane.URGENT if topics.reaches_urgent(topic) else Lane.TELEMETRY
        assert (server, operations[name]["action"]) == (lane.name.lower(), "receive")
    assert ASYNCAPI["info"]["x-dead-letter-reasons"] == topics.REASONS


def test_the_parameters_of_a_topic_have_the_patterns_of_the_code() -> None:
    """What a pattern accepts, the bridge reads, and nothing else; the examples match."""
    for name, ok, wrong in [
        ("region", ["430602", "430602001", "430602001002"], ["4306", "4306020", "yueyang", "430602\n"]),
        ("device", ["B", "a_-9", "B" * 64], ["", "B" * 65, "B 1", "铃"]),
    ]:
        parameter = ASYNCAPI["components"]["parameters"][name]
        other = {"region": "430602", "device": "BELL-1"}
        for value in [*parameter["examples"], *ok]:
            assert re.fullmatch(parameter["x-pattern"], value)
            topics.parse("carebell/v1/{region}/{device}/sos".format(**{**other, name: value}))
        assert not [value for value in wrong if re.fullmatch(parameter["x-pattern"], value)]


# ---------------------------------------------------------------------------------------------------- OpenAPI


def test_openapi_is_valid() -> None:
    """The document of the duty API is OpenAPI 3.1, and no reference in it dangles."""
    OpenAPIV31SpecValidator(OPENAPI).validate()
    for reference in references(OPENAPI):
        resolve(OPENAPI, reference)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [("opanapi", "3.1.0"), ("info", {"title": "x"}), ("paths", {"/{a}": {"get": {"responses": {}}}})],
)
def test_the_validator_of_openapi_is_strict(key: str, wrong: Any) -> None:  # noqa: ANN401 - any JSON
    """A wrong key, a missing key and a wrong kind of value are refused."""
    assert list(OpenAPIV31SpecValidator({**OPENAPI, key: wrong}).iter_errors())


def test_whoever_needs_a_token_is_told_so() -> None:
    """Everything under /api, and nothing else, asks for the bearer token that the document describes."""
    assert (
        OPENAPI["components"]["securitySchemes"]["token"].items()
        >= {"type": "http", "scheme": "bearer"}.items()
    )
    for path, operations in OPENAPI["paths"].items():
        for operation in operations.values():
            assert operation.get("security", []) == ([{"token": []}] if path.startswith("/api/") else [])


def test_every_error_of_the_code_has_its_meaning_in_the_document() -> None:
    """A program that gets an error's name finds it in the description of the answer with that status."""
    described = {
        (int(status), name)
        for operations in OPENAPI["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        for name in re.findall(r"`(\w+)`:", answer["description"])
    }
    assert described >= {(status, name) for _, status, name in answers._ERRORS}
