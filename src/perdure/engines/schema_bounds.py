"""Which JSON of a schema an engine may write, so that it surely ends: the schema, made narrower.

A small model can run on inside a string or an array until its tokens are spent. So whatever a schema leaves
open gets a bound here, and what JSON a grammar cannot express is refused. Every value of the narrowed
schema is one of the schema, unless `exact` is False: then the answer has to be checked.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from perdure.dialects.item import JsonSchema
from perdure.engines.schema_leaves import Bounded, cap, enum, integer, number, string
from perdure.engines.schema_merge import Inexpressible, branches

KEY_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,15}$"  # of keys that the schema does not name
KEY_CHARS_MAX = 16
NODES_MAX = 4000  # of a schema written out


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of what a schema leaves open may be used.

    string_chars, array_items  None leaves them open
    map_keys                   keys of an object that names none
    depth                      of values without any schema, and of schemas that contain themselves
    optional                   whether properties that are not required may appear
    strict                     cut the schema's own maxima down to these as well
    """

    string_chars: int | None
    array_items: int | None
    map_keys: int
    depth: int
    optional: bool = True
    strict: bool = False


OPEN = Bounds(string_chars=None, array_items=None, map_keys=64, depth=3)
TIGHTEST = Bounds(string_chars=8, array_items=0, map_keys=0, depth=0, optional=False, strict=True)


def narrow(schema: JsonSchema, bounds: Bounds) -> Bounded:
    """`schema` within `bounds`; raises Inexpressible for what no grammar of ours can say."""
    return _Narrowing(schema, bounds).value(schema, bounds.depth, ())


class _Narrowing:
    """One walk through the schema `root`: `depth` is how far values without a schema may still nest,
    `path` the references that we are inside of.
    """

    def __init__(self, root: JsonSchema, bounds: Bounds) -> None:
        self.root = root
        self.bounds = bounds
        self.nodes = 0

    def value(self, schema: Any, depth: int, path: tuple[str, ...]) -> Bounded:
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise Inexpressible(f"it has more than {NODES_MAX} parts when written out")
        choices: list[Bounded] = []
        reason: Inexpressible | None = None
        found = branches(schema, self.root, path)
        for branch in found:
            if _recursion(branch.path) > self.bounds.depth:
                reason = reason or Inexpressible("it contains itself without an end", empty=True)
                continue
            try:
                choices.append(self._branch(branch.schema, depth, branch.path))
            except Inexpressible as failure:
                if not failure.empty:
                    raise
                reason = reason or failure
        if not choices:
            raise reason or Inexpressible("it allows no value", empty=True)
        exact = all(branch.exact for branch in found) and all(choice.exact for choice in choices)
        if len(choices) == 1:
            return replace(choices[0], exact=exact)
        return Bounded(
            schema={"anyOf": [choice.schema for choice in choices]},
            chars_likely=max(choice.chars_likely for choice in choices),
            bytes_max=max(choice.bytes_max for choice in choices),
            exact=exact,
        )

    def _branch(self, schema: Mapping[str, Any], depth: int, path: tuple[str, ...]) -> Bounded:
        if "enum" in schema:
            return enum(schema)
        match schema.get("type"):
            case "object":
                return self._object(schema, depth, path)
            case "array":
                return self._array(schema, depth, path)
            case "string":
                return string(schema, self.bounds.string_chars, strict=self.bounds.strict)
            case "integer":
                return integer(schema)
            case "number":
                return number(schema)
            case "boolean":
                return Bounded(schema={"type": "boolean"}, chars_likely=5, bytes_max=5)
            case "null":
                return Bounded(schema={"type": "null"}, chars_likely=4, bytes_max=4)
            case _:
                return self._anything(depth)

    def _anything(self, depth: int) -> Bounded:
        kinds = ["string", "number", "boolean", "null"] + (["object", "array"] if depth > 0 else [])
        return self.value({"type": kinds}, depth - 1, ())

    def _array(self, schema: Mapping[str, Any], depth: int, path: tuple[str, ...]) -> Bounded:
        least = int(schema.get("minItems", 0))
        most = cap(least, schema.get("maxItems"), self.bounds.array_items, strict=self.bounds.strict)
        leading: list[Bounded] = []
        rest: Bounded | None = None
        for child in (*schema.get("prefixItems", ())[:most], None):
            if child is None and len(leading) == most:
                break
            item = self._item(schema.get("items", True) if child is None else child, depth, path)
            if item is None:  # the array ends before what cannot be
                most = len(leading)
                break
            if child is None:
                rest = item
            else:
                leading.append(item)
        if most is not None and most < least:
            raise Inexpressible("its array needs more items than it allows", empty=True)
        one_at_most = most is not None and most <= 1
        return _items(leading, rest, least, most, exact=one_at_most or not schema.get("uniqueItems"))

    def _item(self, schema: Any, depth: int, path: tuple[str, ...]) -> Bounded | None:
        """An item, or None where there can be none."""
        try:
            return self.value(schema, depth, path)
        except Inexpressible as failure:
            if failure.empty:
                return None
            raise

    def _object(self, schema: Mapping[str, Any], depth: int, path: tuple[str, ...]) -> Bounded:
        named: Mapping[str, Any] = schema.get("properties", {})
        required = [str(key) for key in schema.get("required", ())]
        least = int(schema.get("minProperties", 0))
        if not named and not required:
            return self._map(schema, least, depth, path)
        others = schema.get("additionalProperties", True)
        wanted = {**named, **{key: others for key in required if key not in named}}
        kept: dict[str, Bounded] = {}
        for key, child in wanted.items():
            short = len(kept) < least
            if key not in required and not short and not self.bounds.optional:
                continue
            try:
                kept[key] = self.value(child, depth, path)
            except Inexpressible as failure:
                if not failure.empty or key in required:
                    raise
        return _named(kept, required, least, schema.get("maxProperties"))

    def _map(self, schema: Mapping[str, Any], least: int, depth: int, path: tuple[str, ...]) -> Bounded:
        """An object that names no property: a few keys of a simple form."""
        others = schema.get("additionalProperties", True)
        most = cap(least, schema.get("maxProperties"), self.bounds.map_keys, strict=True)
        assert most is not None
        try:
            child = self.value(others, depth, path) if most else None
        except Inexpressible as failure:
            if not failure.empty or least:
                raise
            child = None
        if child is None:
            return _named({}, [], least, None)
        narrowed: JsonSchema = {
            "type": "object",
            "patternProperties": {KEY_PATTERN: child.schema},
            "additionalProperties": False,
            "minProperties": least,
            "maxProperties": most,
        }
        pair = KEY_CHARS_MAX + 4
        return Bounded(
            schema=narrowed,
            chars_likely=2 + most * (child.chars_likely + pair),
            bytes_max=2 + most * (child.bytes_max + pair),
            exact=child.exact and least <= 1,  # a grammar may write the same key twice
        )


def _recursion(path: tuple[str, ...]) -> int:
    """How often the reference that we are in was entered before."""
    return path.count(path[-1]) - 1 if path else 0


def _items(
    leading: list[Bounded], rest: Bounded | None, least: int, most: int | None, *, exact: bool
) -> Bounded:
    """An array of `leading` items and then any number of `rest`, `least` to `most` in all."""
    narrowed: JsonSchema = {"type": "array", "minItems": least}
    if leading:
        narrowed["prefixItems"] = [item.schema for item in leading]
    if rest is not None:
        narrowed["items"] = rest.schema
    if most is not None:
        narrowed["maxItems"] = most
    used = list(leading)
    rest_bytes = rest_chars = 0.0
    if rest is not None:
        used.append(rest)
        rest_bytes = math.inf if most is None else (most - len(leading)) * (rest.bytes_max + 1)
        rest_chars = 0 if most is None else (most - len(leading)) * (rest.chars_likely + 1)
    return Bounded(
        schema=narrowed,
        chars_likely=2 + sum(item.chars_likely + 1 for item in leading) + rest_chars,
        bytes_max=2 + sum(item.bytes_max + 1 for item in leading) + rest_bytes,
        exact=exact and all(item.exact for item in used),
    )


def _named(kept: dict[str, Bounded], required: list[str], least: int, most: Any) -> Bounded:
    """An object of named properties, in the order in which the schema names them."""
    optional = [key for key in kept if key not in required]
    if most is not None:
        room = int(most) - len(required)
        if room < 0:
            raise Inexpressible("its object requires more properties than it allows", empty=True)
        optional = optional[:room]
    needed = max(0, least - len(required))
    if needed > len(optional):
        raise Inexpressible("its object needs more properties than it names (minProperties)")
    required = [*required, *optional[:needed]]
    used = {key: child for key, child in kept.items() if key in required or key in optional}
    frame = sum(len(msgspec.json.encode(key)) + 2 for key in used) + 2
    return Bounded(
        schema={
            "type": "object",
            "properties": {key: child.schema for key, child in used.items()},
            "required": [key for key in used if key in required],
            "additionalProperties": False,
        },
        chars_likely=frame + sum(child.chars_likely for child in used.values()),
        bytes_max=frame + sum(child.bytes_max for child in used.values()),
        exact=all(child.exact for child in used.values()),
    )
