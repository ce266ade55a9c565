"""Which JSON value is the smallest that a schema allows."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from perdure.errors import BadRequest

DEPTH_MAX = 32


def smallest(schema: Mapping[str, Any]) -> Any:
    """A small value that `schema` allows: required keys alone, first choices, least numbers.

    Knows the keywords that tool schemas use (type, enum, const, properties, required, items, anyOf, oneOf,
    allOf, $ref into the document, bounds); `pattern` and `format` it does not.
    """
    return _value(schema, schema, 0)


def _value(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise BadRequest(
            f"a JSON schema nests deeper than {DEPTH_MAX} levels, or refers to itself without end"
        )
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return _value(_referred(str(schema["$ref"]), root), root, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return _value({**_without(schema, keyword), **schema[keyword][0]}, root, depth + 1)
    if schema.get("allOf"):
        return _value(_merged(schema), root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    match _type_name(schema):
        case "object":
            properties: Mapping[str, Any] = schema.get("properties", {})
            required: Sequence[str] = schema.get("required", ())
            return {name: _value(properties.get(name, {}), root, depth + 1) for name in required}
        case "array":
            return [_value(schema.get("items", {}), root, depth + 1)] * int(schema.get("minItems", 0))
        case "string":
            return "x" * int(schema.get("minLength", 0))
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case _:
            return None


def _type_name(schema: Mapping[str, Any]) -> str:
    named: str | Sequence[str] | None = schema.get("type")
    if named is None:
        return "object" if "properties" in schema else "null"
    return named if isinstance(named, str) else named[0]


def _number(schema: Mapping[str, Any]) -> int | float:
    least = schema.get("minimum")
    above = schema.get("exclusiveMinimum")
    most = schema.get("maximum")
    if least is not None:
        return least
    if above is not None:
        return above + 1 if schema.get("type") == "integer" or most is None else (above + most) / 2
    return min(0, most) if most is not None else 0


def _referred(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or key not in found:
            raise BadRequest(f"a JSON schema refers to {reference!r}, which it does not define")
        found = cast("dict[str, Any]", found)[key]
    return found


def _merged(schema: Mapping[str, Any]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [_without(schema, "allOf"), *schema["allOf"]]
    merged: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required: list[str] = []
    for part in parts:
        merged.update(part)
        properties.update(part.get("properties", {}))
        required.extend(part.get("required", ()))
    return {**merged, "properties": properties, "required": required}


def _without(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != keyword}
