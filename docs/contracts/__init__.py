"""The published contracts, generated from the code that keeps them; `python -m docs.contracts` writes them.

The JSON Schemas say what a device should send, which is stricter than what the bridge takes: no nulls, no
numbers as strings, no unknown fields. What they accept, the bridge stores whole.
"""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from docs.contracts.asyncapi import describe
from docs.contracts.examples import DOWNLINK, UNSTORED, UPLINK
from duty.api import create_app, make_pool
from schemas.messages import MODELS, Downlink, Unstored
from schemas.settings import Settings

HERE: Final = Path(__file__).parent


class _Published(GenerateJsonSchema):
    """Write down what should be sent: no null where a field can be left out, and no field of other names."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        return {**super().typed_dict_schema(schema), "additionalProperties": False}

    def field_title_should_be_set(self, schema: object) -> bool:
        del schema
        return False  # it would repeat the field's name


def payloads(definitions: str = "#/$defs/") -> dict[str, dict[str, Any]]:
    """Return the schemas of all payloads by name; what they share stands at `definitions`."""
    models = {channel.name.lower(): (model, UPLINK[channel]) for channel, model in MODELS.items()}
    ours = {"downlink": (Downlink, DOWNLINK), "unstored": (Unstored, UNSTORED)}
    return {
        name: {
            **TypeAdapter(model).json_schema(
                schema_generator=_Published, ref_template=definitions + "{model}"
            ),
            "title": name,
            "examples": examples,
        }
        for name, (model, examples) in {**models, **ours}.items()
    }


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return a JSON Schema document for each kind of message, by file name."""
    return {
        f"{name}.schema.json": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:carebell:v1:{name}",
            **schema,
        }
        for name, schema in payloads().items()
    }


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI document of the topics, with the schemas of all payloads inside."""
    schemas = payloads("#/components/schemas/")
    shared = [schema.pop("$defs", {}) for schema in schemas.values()]
    return describe(schemas, {name: schema for part in shared for name, schema in part.items()})


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the duty API, the one that it serves at /openapi.json itself."""
    return create_app(Settings(), make_pool("")).openapi()


def documents() -> dict[str, str]:
    """Return the text of every published file, by its name."""
    found = {**json_schemas(), "asyncapi.json": asyncapi(), "openapi.json": openapi()}
    return {
        name: json.dumps(document, ensure_ascii=False, indent=2) + "\n" for name, document in found.items()
    }
