"""What of a JSON schema a grammar can say: `not`, `if`, `contains` and their like rewritten, or left out.

What a grammar cannot say has to be checked in what was written, and drawn again where it does not fit. So a
rewriting need not be exact; it should make what fits likely. Meanings: JSON Schema 2020-12, Core 10-11.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from perdure.dialects.item import JsonSchema
from perdure.engines.schema_merge import ANNOTATIONS, KNOWN

# Keywords that validators act on and a grammar cannot say. All others that we do not know, they ignore.
CHECKED = frozenset({
    *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"),
    *("propertyNames", "contains", "minContains", "maxContains", "unevaluatedProperties"),
    *("unevaluatedItems", "$dynamicRef"),
})  # fmt: skip
CONTAINED_MAX = 8
EXAMPLE_KEYS_MAX = 3

_TYPES = ("object", "array", "string", "number", "boolean", "null")
_SUFFIXES = ("", "a", "A", "1", "_", "-a", "a1", "ab", "AB", "12", "abc", "ABC", "123", "abcd", "1234")
_PREFIX = re.compile(r"\^?([A-Za-z0-9_-]*)(?![*+?{|])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loosened:
    """A schema of the keywords that a grammar can say; `checked` are those of the original that it cannot."""

    schema: JsonSchema
    checked: frozenset[str]


def loosen(schema: JsonSchema, *, plainly: bool = False) -> Loosened:
    """`schema` as far as a grammar can say it; `plainly` leaves out what it cannot, and rewrites nothing."""
    walk = _Walk(plainly=plainly)
    return Loosened(schema=walk.value(schema), checked=frozenset(walk.checked))


class _Walk:
    """One walk through a schema; `checked` grows on the way."""

    def __init__(self, *, plainly: bool) -> None:
        self.plainly = plainly
        self.checked: set[str] = set()

    def value(self, schema: Any) -> Any:
        if not isinstance(schema, dict):
            return schema
        found = _keywords(schema)
        self.checked.update(CHECKED & found.keys())
        kept: JsonSchema = {
            key: self._child(key, child)
            for key, child in found.items()
            if key in KNOWN or key in ANNOTATIONS or key.startswith("x-")
        }
        if self.plainly or not CHECKED & found.keys():
            return kept
        kept = self._contained(self._keyed(kept, found), found)
        ways = [self.value({"anyOf": list(way)}) for way in _ways(found)]
        return {**kept, "allOf": [*kept.get("allOf", ()), *ways]} if ways else kept

    def _child(self, key: str, child: Any) -> Any:
        if key in ("properties", "$defs", "definitions"):
            return {name: self.value(part) for name, part in child.items()}
        if key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            return [self.value(part) for part in child]
        return self.value(child) if key in ("items", "additionalProperties") else child

    def _keyed(self, kept: JsonSchema, found: Mapping[str, Any]) -> JsonSchema:
        """`kept` with what patterns say of keys said of the keys that it names, or of a few examples."""
        patterns: Mapping[str, Any] = found.get("patternProperties", {})
        required: Sequence[str] = found.get("required", ())
        names = dict.fromkeys([*kept.get("properties", ()), *required])
        if not names:
            examples = (key for pattern in _key_patterns(found) for key in _example_keys(pattern))
            names = dict.fromkeys([*_listed_keys(found), *examples])
        properties: JsonSchema = dict(kept.get("properties", {}))
        for name in names:
            said = [self.value(part) for pattern, part in patterns.items() if _matches(pattern, name)]
            if name in properties:
                said = [properties[name], *said]
            elif not said:
                said = [kept.get("additionalProperties", True)]
            properties[name] = said[0] if len(said) == 1 else {"allOf": said}
        return {**kept, "properties": properties} if properties else kept

    def _contained(self, kept: JsonSchema, found: Mapping[str, Any]) -> JsonSchema:
        """`kept` with what an array must contain as its first items."""
        count = int(found.get("minContains", 1))
        if "contains" not in found or "prefixItems" in kept or not 1 <= count <= CONTAINED_MAX:
            return kept
        item = {"allOf": [self.value(found["contains"]), kept.get("items", True)]}
        least = max(count, int(kept.get("minItems", 0)))
        return {**kept, "prefixItems": [item] * count, "minItems": least}


def _ways(schema: Mapping[str, Any]) -> Iterator[Sequence[JsonSchema]]:
    """For each condition of `schema`, the ways to satisfy it, of which the grammar is to take one."""
    if "if" in schema:
        yield [{"allOf": [schema["if"], schema.get("then", True)]}, {"allOf": [schema.get("else", True)]}]
    for name, others in schema.get("dependentRequired", {}).items():
        yield [{"required": [name, *others]}, _without(name)]
    for name, part in schema.get("dependentSchemas", {}).items():
        yield [{"allOf": [{"required": [name]}, part]}, _without(name)]
    refused = _keywords(schema.get("not"))
    if set(refused) == {"required"} and refused["required"]:
        yield [_without(name) for name in refused["required"]]
    if set(refused) == {"type"} and refused["type"] in _TYPES:
        yield [{"type": [kind for kind in _TYPES if kind != refused["type"]]}]


def _keywords(schema: Any) -> Mapping[str, Any]:
    """The keywords of a schema; `true` and `false` have none."""
    return cast("Mapping[str, Any]", schema) if isinstance(schema, dict) else {}


def _without(name: str) -> JsonSchema:
    return {"properties": {name: False}}


def _key_patterns(schema: Mapping[str, Any]) -> list[str]:
    names = _keywords(schema.get("propertyNames"))
    own = [str(names["pattern"])] if "pattern" in names else []
    return [*own, *schema.get("patternProperties", ())]


def _listed_keys(schema: Mapping[str, Any]) -> list[str]:
    return [str(key) for key in _keywords(schema.get("propertyNames")).get("enum", ())]


def _example_keys(pattern: str) -> list[str]:
    """A few keys that match `pattern`, where simple ones do."""
    start = _PREFIX.match(pattern)
    prefixes = dict.fromkeys([start.group(1) if start else "", ""])
    found = (prefix + suffix for prefix in prefixes for suffix in _SUFFIXES)
    return [key for key in found if key and _matches(pattern, key)][:EXAMPLE_KEYS_MAX]


def _matches(pattern: str, key: str) -> bool:
    try:
        return re.search(pattern, key) is not None
    except re.error:
        return False
