"""The JSON Schema of a model, and the questions that the rest of the configuration asks of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from factory.config.positions import Location

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A key that holds no further keys; `kinds` are its possible JSON types, `of` those of a list's items."""

    location: Location
    description: str
    default: Any
    kinds: frozenset[str]
    of: frozenset[str]

    @property
    def key(self) -> str:
        """The dotted key, like `image.name`."""
        return dotted(self.location)


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a file that `model` describes."""
    return {"$schema": DIALECT} | model.model_json_schema(by_alias=True, mode="validation")


def leaves(schema: Mapping[str, Any]) -> Iterator[Leaf]:
    """Yield every key of the schema that holds no further keys, in the order of the model."""
    yield from _leaves(schema, schema, ())


def keys_at(schema: Mapping[str, Any], location: Location) -> tuple[str, ...]:
    """Return the keys that are known under `location`, none where it is no table."""
    node: Mapping[str, Any] = schema
    for step in location:
        node = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
        node = _resolved(schema, node)
    return tuple(node.get("properties", {}))


def dotted(location: Location) -> str:
    """Return a location as users read it, in one line: `image.tags.0`."""
    steps = (str(step) for step in location)
    return ".".join(step if step.isprintable() else json.dumps(step) for step in steps)


def _leaves(schema: Mapping[str, Any], table: Mapping[str, Any], location: Location) -> Iterator[Leaf]:
    for name, value in table["properties"].items():
        node = _resolved(schema, value)
        here = (*location, name)
        if "properties" in node:
            yield from _leaves(schema, node, here)
            continue
        yield Leaf(
            location=here,
            description=node.get("description", ""),
            default=node.get("default"),
            kinds=_kinds(node),
            of=_kinds(_resolved(schema, node.get("items", {}))),
        )


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    name = node.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = schema["$defs"][name] if name else node
    return found


def _kinds(node: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(choice["type"] for choice in node.get("anyOf", [node]) if "type" in choice)
