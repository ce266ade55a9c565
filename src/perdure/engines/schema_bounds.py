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
from jsonschema import Draft202012Validator

from perdure.dialects.item import JsonSchema
from perdure.engines.schema_merge import Inexpressible, branches, number_range

INTEGER_LIMIT = 1_000_000_000  # of integers and numbers that the schema does not bound
DECIMALS = 6  # of a number, unless its range is so narrow that it needs more
DECIMALS_MAX = 15
STRING_CHAR_BYTES_MAX = 6  # \u0000
KEY_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,15}$"  # of keys that the schema does not name
KEY_CHARS_MAX = 16
FORMATS = ("date", "date-time", "time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri")
FORMAT_CHARS = 64  # of a string with a format, where the schema does not bound it
NODES_MAX = 4000  # of a schema written out

_NESTED = ("properties", "additionalProperties", "items", "prefixItems")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """A narrowed schema.

    chars_likely  length of a long but ordinary value, in characters
    bytes_max     of the longest value there is; as many tokens, at worst. Infinite where left open
    exact         every value of it is one of the original schema
    """

    schema: JsonSchema
    chars_likely: float
    bytes_max: float
    exact: bool = True


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
            return _enum(schema)
        match schema.get("type"):
            case "object":
                return self._object(schema, depth, path)
            case "array":
                return self._array(schema, depth, path)
            case "string":
                return self._string(schema)
            case "integer":
                return _integer(schema)
            case "number":
                return _number(schema)
            case "boolean":
                return Bounded(schema={"type": "boolean"}, chars_likely=5, bytes_max=5)
            case "null":
                return Bounded(schema={"type": "null"}, chars_likely=4, bytes_max=4)
            case _:
                return self._anything(depth)

    def _anything(self, depth: int) -> Bounded:
        kinds = ["string", "number", "boolean", "null"] + (["object", "array"] if depth > 0 else [])
        return self.value({"type": kinds}, depth - 1, ())

    def _string(self, schema: Mapping[str, Any]) -> Bounded:
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        kept = {key: schema[key] for key in ("pattern", "format", "minLength") if key in schema}
        if kept.get("format") not in FORMATS:
            kept.pop("format", None)  # an annotation to validators, too
        open_max = self.bounds.string_chars
        if kept.keys() & {"pattern", "format"} and open_max is not None:
            open_max = max(open_max, FORMAT_CHARS)
        most = _most(least, most, open_max, strict=self.bounds.strict)
        if most is not None:
            kept["maxLength"] = most
        return Bounded(
            schema={"type": "string", **kept},
            chars_likely=(most or 0) + 2,
            bytes_max=math.inf if most is None else STRING_CHAR_BYTES_MAX * most + 2,
            exact="pattern" not in kept,  # dialects of regular expressions differ
        )

    def _array(self, schema: Mapping[str, Any], depth: int, path: tuple[str, ...]) -> Bounded:
        least = int(schema.get("minItems", 0))
        most = _most(least, schema.get("maxItems"), self.bounds.array_items, strict=self.bounds.strict)
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
        most = _most(least, schema.get("maxProperties"), self.bounds.map_keys, strict=True)
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


def _most(least: int, own: Any, open_max: int | None, *, strict: bool) -> int | None:
    """The maximum to use: the schema's own, or ours where it has none (or where ours is strict)."""
    if own is not None and int(own) < least:
        raise Inexpressible("its minimum is above its maximum", empty=True)
    if open_max is None or (own is not None and not strict):
        return None if own is None else int(own)
    return max(least, open_max if own is None else min(int(own), open_max))


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
    frame = sum(len(_compact(key)) + 2 for key in used) + 2
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


def _enum(schema: Mapping[str, Any]) -> Bounded:
    """The listed values that the rest of the schema allows, as far as it speaks of them directly."""
    rest = {key: value for key, value in schema.items() if key not in ("enum", *_NESTED)}
    validator = Draft202012Validator(rest)
    values = [value for value in schema["enum"] if validator.is_valid(value)]
    if not values:
        raise Inexpressible("none of its enum's values fits the rest of it", empty=True)
    longest = max(len(_compact(value)) for value in values)
    exact = not any(key in schema for key in _NESTED)
    return Bounded(schema={"enum": values}, chars_likely=longest, bytes_max=longest, exact=exact)


def _integer(schema: Mapping[str, Any]) -> Bounded:
    low, high = number_range(schema)
    if low is None:
        low = min(-INTEGER_LIMIT, high - INTEGER_LIMIT) if high is not None else -INTEGER_LIMIT
    if high is None:
        high = max(INTEGER_LIMIT, low + INTEGER_LIMIT)
    least, most = math.ceil(low), math.floor(high)
    if schema.get("exclusiveMinimum") == least:
        least += 1
    if schema.get("exclusiveMaximum") == most:
        most -= 1
    narrowed: JsonSchema = {"type": "integer", "minimum": least, "maximum": most}
    if "multipleOf" in schema:
        step = schema["multipleOf"]
        if step != int(step):
            raise Inexpressible("its integer is a multiple of a fraction (multipleOf)")
        narrowed["multipleOf"] = int(step)
        if most // int(step) * int(step) < least:
            raise Inexpressible("no integer fits its range", empty=True)
    if least > most:
        raise Inexpressible("no integer fits its range", empty=True)
    longest = max(len(str(least)), len(str(most)))
    return Bounded(schema=narrowed, chars_likely=longest, bytes_max=longest + 1)


def _number(schema: Mapping[str, Any]) -> Bounded:
    """A number without exponent and with few decimals: digits are where small models run on."""
    low, high = number_range(schema)
    narrowed: JsonSchema = {"type": "number"}
    if low is None:
        low = narrowed["minimum"] = (
            min(-INTEGER_LIMIT, high - INTEGER_LIMIT) if high is not None else -INTEGER_LIMIT
        )
    if high is None:
        high = narrowed["maximum"] = max(INTEGER_LIMIT, low + INTEGER_LIMIT)
    open_ends = ("exclusiveMinimum" in schema) or ("exclusiveMaximum" in schema)
    if low > high or (low == high and open_ends):
        raise Inexpressible("no number fits its range", empty=True)
    for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if key in schema:
            narrowed[key] = schema[key]
    if low == high:
        return Bounded(schema={"enum": [low]}, chars_likely=len(str(low)), bytes_max=len(str(low)))
    decimals = max(DECIMALS, 3 - math.floor(math.log10(high - low)))
    if decimals > DECIMALS_MAX:
        raise Inexpressible(f"its numbers need more than {DECIMALS_MAX} decimals")
    narrowed["multipleOf"] = schema.get("multipleOf", float(f"1e-{decimals}"))
    digits = max(len(str(math.floor(low))), len(str(math.ceil(high))))
    return Bounded(
        schema=narrowed,
        chars_likely=digits + decimals + 1,
        bytes_max=digits + decimals + 2,
        exact="multipleOf" not in schema,  # a multiple of 0.1 is not one in binary
    )


def _compact(value: Any) -> bytes:
    return msgspec.json.encode(value)
