"""Which strings and numbers a schema lets an engine write, so that each surely ends."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from jsonschema import Draft202012Validator

from perdure.dialects.item import JsonSchema
from perdure.engines.schema_merge import Inexpressible

NUMBER_LIMIT = 1_000_000_000  # of integers and numbers that the schema does not bound
DECIMALS = 6  # of a number, unless its range is so narrow that it needs more
DECIMALS_MAX = 15
STRING_CHAR_BYTES_MAX = 6  # \u0000
FORMATS = ("date", "date-time", "time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri")
FORMAT_CHARS = 64  # of a string with a format, where the schema does not bound it

_NESTED = ("properties", "additionalProperties", "items", "prefixItems")


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


def enum(schema: Mapping[str, Any]) -> Bounded:
    """The listed values that the rest of the schema allows, as far as it speaks of them directly."""
    rest = {key: value for key, value in schema.items() if key not in ("enum", *_NESTED)}
    validator = Draft202012Validator(rest)
    values = [value for value in schema["enum"] if validator.is_valid(value)]
    if not values:
        raise Inexpressible("none of its enum's values fits the rest of it", empty=True)
    longest = max(len(msgspec.json.encode(value)) for value in values)
    exact = not any(key in schema for key in _NESTED)
    return Bounded(schema={"enum": values}, chars_likely=longest, bytes_max=longest, exact=exact)


def string(schema: Mapping[str, Any], chars_max: int | None, *, strict: bool) -> Bounded:
    """A string of at most `chars_max` characters where the schema leaves that open."""
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    kept = {key: schema[key] for key in ("pattern", "format", "minLength") if key in schema}
    if kept.get("format") not in FORMATS:
        kept.pop("format", None)  # an annotation to validators, too
    if kept.keys() & {"pattern", "format"} and chars_max is not None:
        chars_max = max(chars_max, FORMAT_CHARS)
    most = cap(least, most, chars_max, strict=strict)
    if most is not None:
        kept["maxLength"] = most
    return Bounded(
        schema={"type": "string", **kept},
        chars_likely=(most or 0) + 2,
        bytes_max=math.inf if most is None else STRING_CHAR_BYTES_MAX * most + 2,
        exact="pattern" not in kept,  # dialects of regular expressions differ
    )


def integer(schema: Mapping[str, Any]) -> Bounded:
    least, most = _grid(schema, 0)
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


def number(schema: Mapping[str, Any]) -> Bounded:
    """A number without exponent and with few decimals: digits are where small models run on.

    Its bounds are made inclusive, because LLGuidance lets a number reach an exclusive one.
    """
    low, high = _range(schema)
    exclusive = (low is not None and low == schema.get("exclusiveMinimum")) or (
        high is not None and high == schema.get("exclusiveMaximum")
    )
    if low is not None and high is not None and (low > high or (low == high and exclusive)):
        raise Inexpressible("no number fits its range", empty=True)
    if low is not None and low == high:
        length = len(msgspec.json.encode(low))
        return Bounded(schema={"enum": [low]}, chars_likely=length, bytes_max=length)
    decimals = DECIMALS
    if low is not None and high is not None:
        decimals = max(DECIMALS, 3 - math.floor(math.log10(high - low)))
    if decimals > DECIMALS_MAX:
        raise Inexpressible(f"its numbers need more than {DECIMALS_MAX} decimals")
    step = Decimal(1).scaleb(-decimals)
    least, most = (int(edge) * step for edge in _grid(schema, decimals))
    digits = max(len(str(math.floor(least))), len(str(math.ceil(most))))
    return Bounded(
        schema={
            "type": "number",
            "minimum": float(least),
            "maximum": float(most),
            "multipleOf": schema.get("multipleOf", float(step)),
        },
        chars_likely=digits + decimals + 1,
        bytes_max=digits + decimals + 2,
        exact="multipleOf" not in schema,  # a multiple of 0.1 is not one in binary
    )


def cap(least: int, own: Any, open_max: int | None, *, strict: bool) -> int | None:
    """The maximum to use: the schema's own, or ours where it has none (or where ours is strict)."""
    if own is not None and int(own) < least:
        raise Inexpressible("its minimum is above its maximum", empty=True)
    if open_max is None or (own is not None and not strict):
        return None if own is None else int(own)
    return max(least, open_max if own is None else min(int(own), open_max))


def _range(schema: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The least and the greatest number that `schema` names, whether or not they belong to it."""
    lows = [schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema]
    highs = [schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema]
    return (max(lows) if lows else None), (min(highs) if highs else None)


def _grid(schema: Mapping[str, Any], decimals: int) -> tuple[int, int]:
    """The least and the greatest allowed number of that many decimals, times ten to the power of them.

    Where the schema leaves an end open, it is put NUMBER_LIMIT away from zero, or from the other end.
    """
    scale = Decimal(1).scaleb(decimals)
    low, high = _range(schema)
    limit = NUMBER_LIMIT * int(scale)
    least = most = None
    if low is not None:
        edge = Decimal(repr(low)) * scale
        least = math.ceil(edge)
        least += int(least == edge and low == schema.get("exclusiveMinimum"))
    if high is not None:
        edge = Decimal(repr(high)) * scale
        most = math.floor(edge)
        most -= int(most == edge and high == schema.get("exclusiveMaximum"))
    if least is None:
        least = -limit if most is None else min(-limit, most - limit)
    return least, max(limit, least + limit) if most is None else most
