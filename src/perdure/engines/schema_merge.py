"""What a JSON schema means once its references, its `allOf` and its alternatives are written out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from perdure.dialects.item import JsonSchema
from perdure.errors import PerdureError

BRANCHES_MAX = 256
REFERENCES_MAX = 64

# What validators do not act on, and nor do we.
ANNOTATIONS = frozenset({
    *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"),
    *("$schema", "$comment", "$id", "$defs", "definitions", "contentEncoding", "contentMediaType"),
    *("contentSchema", "nullable", "discriminator", "xml", "externalDocs", "strict"),
})  # fmt: skip
KNOWN = frozenset({
    *("type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "multipleOf"),
    *("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    *("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    *("minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
})  # fmt: skip

# Which type a keyword speaks of: on a schema without `type` it leaves all others free, but who writes
# `properties` means an object.
_SPEAKS_OF = {
    **dict.fromkeys(
        ("properties", "required", "additionalProperties", "minProperties", "maxProperties"), "object"
    ),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems", "uniqueItems"), "array"),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), "string"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
}
_HIGHEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_LOWEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


class Inexpressible(PerdureError):
    """A schema that cannot be turned into a grammar; `empty` when that is because no value fits it."""

    def __init__(self, message: str, *, empty: bool = False) -> None:
        super().__init__(message)
        self.empty = empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One way to satisfy a schema: no references, no combinations, at most one `type`.

    path   the references that were entered on the way here
    exact  False when satisfying this may still not satisfy the whole (`oneOf`)
    """

    schema: JsonSchema
    path: tuple[str, ...] = ()
    exact: bool = True


def branches(schema: Any, root: JsonSchema, path: tuple[str, ...] = ()) -> list[Branch]:
    """The ways to satisfy `schema`, first those that it names first."""
    found = [typed for branch in _untyped(schema, root, path) for typed in _by_type(branch)]
    if len(found) > BRANCHES_MAX:
        raise Inexpressible(f"it has more than {BRANCHES_MAX} alternatives")
    return found


def _untyped(schema: Any, root: JsonSchema, path: tuple[str, ...]) -> list[Branch]:
    if schema is False:
        return []
    if schema is True:
        return [Branch(schema={}, path=path)]
    if len(path) > REFERENCES_MAX:
        raise Inexpressible("it contains itself without an end", empty=True)
    own = _own(schema)
    combined = [Branch(schema=own, path=path)]
    if "$ref" in schema:
        target, inner = _resolve(str(schema["$ref"]), root), (*path, str(schema["$ref"]))
        combined = _product(combined, _untyped(target, root, inner))
    for part in schema.get("allOf", ()):
        combined = _product(combined, _untyped(part, root, path))
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            options = [branch for part in schema[keyword] for branch in _untyped(part, root, path)]
            combined = _product(combined, options)
            if keyword == "oneOf" and not _apart(combined):
                combined = [Branch(schema=b.schema, path=b.path, exact=False) for b in combined]
    return combined


def _own(schema: Mapping[str, Any]) -> JsonSchema:
    """The keywords of `schema` itself; raises Inexpressible for those that we cannot keep."""
    for keyword in schema:
        if keyword not in KNOWN and keyword not in ANNOTATIONS and not keyword.startswith("x-"):
            raise Inexpressible(f"it uses `{keyword}`")
    if isinstance(schema.get("items"), list):
        raise Inexpressible("it has a list in `items` (write `prefixItems`)")
    own = {key: value for key, value in schema.items() if key in KNOWN}
    for keyword in ("$ref", "allOf", "anyOf", "oneOf"):
        own.pop(keyword, None)
    if "const" in own:
        constant = own.pop("const")
        own["enum"] = [value for value in own.get("enum", [constant]) if value == constant]
    return own


def _by_type(branch: Branch) -> list[Branch]:
    types = branch.schema.get("type")
    if types is None and "enum" not in branch.schema:
        types = next((_SPEAKS_OF[key] for key in branch.schema if key in _SPEAKS_OF), None)
    if types is None or isinstance(types, str):
        typed = branch.schema if types is None else {**branch.schema, "type": types}
        return [Branch(schema=typed, path=branch.path, exact=branch.exact)]
    return [Branch(schema={**branch.schema, "type": t}, path=branch.path, exact=branch.exact) for t in types]


def _product(left: Iterable[Branch], right: Iterable[Branch]) -> list[Branch]:
    """Every way to satisfy one of `left` and one of `right` together."""
    others = list(right)
    product = [
        Branch(schema=merged, path=max(a.path, b.path, key=len), exact=a.exact and b.exact)
        for a in left
        for b in others
        if (merged := _merge(a.schema, b.schema)) is not None
    ]
    if len(product) > BRANCHES_MAX:
        raise Inexpressible(f"it has more than {BRANCHES_MAX} alternatives")
    return product


def _merge(a: JsonSchema, b: JsonSchema) -> JsonSchema | None:
    """The schema of what satisfies both, or None when nothing can."""
    merged: JsonSchema = {**a, **b}
    for key in a.keys() & b.keys():
        if a[key] == b[key]:
            continue
        if key in _HIGHEST:
            merged[key] = max(a[key], b[key])
        elif key in _LOWEST:
            merged[key] = min(a[key], b[key])
        elif key == "type":
            merged[key] = _common_types(a[key], b[key])
        elif key == "enum":
            merged[key] = [value for value in a[key] if value in b[key]]
        elif key == "required":
            merged[key] = list(dict.fromkeys([*a[key], *b[key]]))
        elif key == "properties":
            continue  # put together below
        elif key in ("items", "additionalProperties"):
            merged[key] = _both(a[key], b[key])
        elif key == "uniqueItems":
            merged[key] = True
        else:
            raise Inexpressible(f"two parts of it say different things about `{key}`")
    for one, other in ((a, b), (b, a)):
        if "prefixItems" in one and {"items", "prefixItems"} & other.keys():
            raise Inexpressible("two parts of it say different things about `prefixItems`")
    if merged.get("type") == [] or merged.get("enum") == []:
        return None
    return _with_properties(a, b, merged)


def _with_properties(a: JsonSchema, b: JsonSchema, merged: JsonSchema) -> JsonSchema | None:
    """`merged` with each property as both parts have it; None when one is required but forbidden.

    A part that does not name a property makes of it what its `additionalProperties` says.
    """
    names = dict.fromkeys([*a.get("properties", ()), *b.get("properties", ())])
    if not names:
        return merged
    properties: JsonSchema = {}
    for name in names:
        said = [named for part in (a, b) if (named := _said_of(name, part)) is not None]
        if False in said:
            properties[name] = False  # kept: a third part may name it, too
        else:
            properties[name] = said[0] if len(said) == 1 else {"allOf": said}
    if any(properties.get(name) is False for name in merged.get("required", ())):
        return None
    return {**merged, "properties": properties}


def _said_of(name: str, schema: JsonSchema) -> Any:
    """What `schema` says of the property `name`; None where it says nothing."""
    properties = schema.get("properties", {})
    return properties[name] if name in properties else schema.get("additionalProperties")


def _both(a: Any, b: Any) -> Any:
    if a is False or b is False:
        return False
    return {"allOf": [a, b]}


def _common_types(a: str | list[str], b: str | list[str]) -> list[str]:
    ours, theirs = ([t] if isinstance(t, str) else t for t in (a, b))
    common = [t for t in ours if t in theirs]
    if "integer" in (*ours, *theirs) and "number" in (*ours, *theirs) and "number" not in common:
        common.append("integer")
    return list(dict.fromkeys(common))


def _apart(options: list[Branch]) -> bool:
    """Whether no value can satisfy two of `options`, as far as one can see at once."""
    return all(_distinct(a.schema, b.schema) for index, a in enumerate(options) for b in options[index + 1 :])


def _distinct(a: JsonSchema, b: JsonSchema) -> bool:
    if "type" in a and "type" in b and not _common_types(a["type"], b["type"]):
        return True
    if "enum" in a and "enum" in b:
        return not any(value in b["enum"] for value in a["enum"])
    shared = set(a.get("required", ())) & set(b.get("required", ()))
    return any(_differ(_property(a, key), _property(b, key)) for key in shared)


def _property(schema: JsonSchema, name: str) -> Any:
    return schema.get("properties", {}).get(name)


def _differ(a: Any, b: Any) -> bool:
    """Whether `a` and `b` are schemas of two different constants."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return False
    ours, theirs = cast("JsonSchema", a), cast("JsonSchema", b)
    return "const" in ours and "const" in theirs and ours["const"] != theirs["const"]


def _resolve(reference: str, root: JsonSchema) -> Any:
    if not reference.startswith("#"):
        raise Inexpressible(f"it refers to another document ({reference})")
    target: Any = root
    for word in reference[1:].split("/")[1:]:
        key = word.replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict) and key in target:
            target = cast("dict[str, Any]", target)[key]
        elif isinstance(target, list) and key.isdecimal() and int(key) < len(cast("list[Any]", target)):
            target = cast("list[Any]", target)[int(key)]
        else:
            raise Inexpressible(f"its reference {reference} leads nowhere")
    return target
