"""Laws of narrowing a schema: what the grammar may write is allowed, and it ends."""

import contextlib
import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from perdure.engines.llamacpp_constraint import LADDER
from perdure.engines.schema_bounds import OPEN, TIGHTEST, Bounds, narrow
from perdure.engines.schema_merge import Inexpressible

PATTERNS = {"^[a-f]{1,6}$": "abc", "^x-\\d{2}$": "x-07"}
WRITTEN = {
    *("anyOf", "enum", "type", "properties", "required", "additionalProperties", "patternProperties"),
    *("minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems", "minLength"),
    *("maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "multipleOf",
}

small = st.integers(0, 4)
keys = st.sampled_from(["a", "b", "c", "größe"])
scalars = st.sampled_from([None, True, 0, 7, -3, 2.5, "", "x", 'q"uote', "\n"])


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def typed(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return optional(**fields).map(lambda rest: {"type": kind, **rest})


leaves = st.one_of(
    st.sampled_from([True, {}, {"type": "null"}, {"type": "boolean"}, {"$ref": "#/$defs/node"}]),
    typed(
        "integer",
        minimum=st.integers(-50, 50),
        maximum=st.integers(-50, 10**12),
        exclusiveMinimum=small,
        exclusiveMaximum=st.integers(0, 60),
    ),
    typed("number", minimum=st.floats(-9, 9), exclusiveMaximum=st.floats(-9, 99), maximum=small),
    typed("string", minLength=small, maxLength=st.integers(0, 300)),
    st.sampled_from(list(PATTERNS)).map(lambda pattern: {"type": "string", "pattern": pattern}),
    st.lists(scalars, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    scalars.map(lambda value: {"const": value}),
    st.lists(st.sampled_from(["string", "integer", "null", "object", "array"]), min_size=1, unique=True).map(
        lambda types: {"type": types}
    ),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        typed(
            "object",
            properties=st.dictionaries(keys, inner, max_size=3),
            required=st.lists(keys, max_size=2, unique=True),
            additionalProperties=st.one_of(st.booleans(), inner),
            minProperties=small,
            maxProperties=small,
        ),
        typed(
            "array",
            items=st.one_of(st.just(False), inner),
            prefixItems=several,
            minItems=st.integers(0, 2),
            maxItems=small,
            uniqueItems=st.booleans(),
        ),
        several.map(lambda options: {"anyOf": options}),
        several.map(lambda options: {"oneOf": options}),
        several.map(lambda options: {"allOf": options}),
        st.tuples(inner, inner).map(
            lambda two: {"properties": {"a": two[0]}, "anyOf": [two[1], {"required": ["a"]}]}
        ),
    )


NODE = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
    "required": ["v", "next"],
}
schemas = st.recursive(leaves, containers, max_leaves=6).map(
    lambda schema: {**(schema if isinstance(schema, dict) else {"allOf": [schema]}), "$defs": {"node": NODE}}
)
bounds = st.sampled_from(
    [
        *LADDER[7:],
        TIGHTEST,
        *(Bounds(string_chars=n, array_items=2, map_keys=2, depth=2, strict=True) for n in (0, 5)),
    ]
)
unhurried = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])


def _narrowed(schema: dict[str, Any], within: Bounds) -> Any:
    try:
        return narrow(schema, within)
    except Inexpressible:
        assume(False)


def _write(schema: dict[str, Any], chance: random.Random) -> Any:
    """One value that a grammar for the narrowed `schema` may write; long ones are likely."""
    if "anyOf" in schema:
        return _write(chance.choice(schema["anyOf"]), chance)
    if "enum" in schema:
        return chance.choice(schema["enum"])
    match schema["type"]:
        case "null":
            return None
        case "boolean":
            return chance.choice([True, False])
        case "integer" | "number":
            return _write_number(schema, chance)
        case "string":
            return _write_string(schema, chance)
        case "array":
            return _write_array(schema, chance)
        case "object":
            return _write_object(schema, chance)
        case _:
            raise AssertionError(schema)


def _write_number(schema: dict[str, Any], chance: random.Random) -> Any:
    low = max(schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema)
    high = min(schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema)
    if schema["type"] == "integer":
        return chance.choice([low, high, chance.randint(low, high)])
    step = schema["multipleOf"]
    decimals = len(f"{step:.15f}".rstrip("0").partition(".")[2])
    inside = Draft202012Validator({key: value for key, value in schema.items() if key != "multipleOf"})
    drawn = (round(chance.randint(int(low / step), int(high / step)) * step, decimals) for _ in range(100))
    return next(value for value in drawn if inside.is_valid(value))


def _write_string(schema: dict[str, Any], chance: random.Random) -> str:
    if "pattern" in schema:
        return PATTERNS[schema["pattern"]][: schema["maxLength"]]
    length = chance.choice([schema.get("minLength", 0), schema["maxLength"]])
    return "".join(chance.choice('ab"\\\n\0é漢🦊') for _ in range(length))


def _write_array(schema: dict[str, Any], chance: random.Random) -> list[Any]:
    count = chance.choice([schema["minItems"], schema["maxItems"]])
    leading = [_write(item, chance) for item in schema.get("prefixItems", ())[:count]]
    return leading + [_write(schema["items"], chance) for _ in range(count - len(leading))]


def _write_object(schema: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    if "patternProperties" in schema:
        (child,) = schema["patternProperties"].values()
        count = chance.choice([schema["minProperties"], schema["maxProperties"]])
        return {f"KeyKeyKeyKeyK{n:03}": _write(child, chance) for n in range(count)}
    return {
        key: _write(child, chance)
        for key, child in schema["properties"].items()
        if key in schema["required"] or chance.random() < 0.7
    }


@unhurried
@given(schema=schemas, within=bounds, seed=st.integers(0, 2**32))
def test_what_a_narrowed_schema_allows_the_schema_allows(
    schema: dict[str, Any], within: Bounds, seed: int
) -> None:
    """Where narrowing claims to be exact, no value of the narrowed schema breaks the original."""
    bounded = _narrowed(schema, within)
    assume(bounded.exact)
    value = _write(bounded.schema, random.Random(seed))
    assert list(Draft202012Validator(schema).iter_errors(value)) == []


@unhurried
@given(schema=schemas, within=bounds, seed=st.integers(0, 2**32))
def test_no_value_is_longer_than_foreseen(schema: dict[str, Any], within: Bounds, seed: int) -> None:
    """The JSON of every value has at most `bytes_max` bytes, even where each character is escaped."""
    bounded = _narrowed(schema, within)
    value = _write(bounded.schema, random.Random(seed))
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    shortest = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert min(len(text), len(shortest.encode())) <= bounded.bytes_max


@unhurried
@given(schema=schemas, within=bounds)
def test_a_narrowed_schema_uses_only_what_the_grammar_engine_knows(
    schema: dict[str, Any], within: Bounds
) -> None:
    """The engine ignores a grammar that it cannot compile, so it must know every keyword that reaches it."""

    def check(part: Any) -> None:
        assert set(part) <= WRITTEN, part
        for key in ("anyOf", "prefixItems"):
            for child in part.get(key, ()):
                check(child)
        for key in ("properties", "patternProperties"):
            for child in part.get(key, {}).values():
                check(child)
        if "items" in part:
            check(part["items"])

    check(_narrowed(schema, within).schema)


@unhurried
@given(schema=schemas)
def test_tighter_is_never_longer(schema: dict[str, Any]) -> None:
    """The tightest bounds give the shortest longest value: if it does not fit, nothing does."""
    tightest = _narrowed(schema, TIGHTEST)
    for rung in (LADDER[0], LADDER[10], LADDER[-1]):
        assert tightest.bytes_max <= _narrowed(schema, rung).bytes_max


@unhurried
@given(schema=schemas)
def test_a_schema_is_narrowed_or_refused_with_a_reason(schema: dict[str, Any]) -> None:
    """No schema of known keywords makes narrowing fail in any other way."""
    with contextlib.suppress(Inexpressible):
        narrow(schema, OPEN)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"not": {"type": "string"}}, "`not`"),
        ({"type": "object", "patternProperties": {"^a": {}}}, "`patternProperties`"),
        ({"if": {"type": "string"}, "then": {"minLength": 3}}, "`if`"),
        ({"type": "array", "contains": {"type": "integer"}}, "`contains`"),
        ({"$ref": "https://example.com/other.json"}, "another document"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no integer"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "no value"),
        (
            {
                "$ref": "#/$defs/a",
                "$defs": {
                    "a": {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/a"}}}
                },
            },
            "without an end",
        ),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(schema: dict[str, Any], reason: str) -> None:
    """The reason names the keyword or the contradiction."""
    with pytest.raises(Inexpressible, match=reason):
        narrow(schema, OPEN)


def test_the_schemas_own_bounds_are_kept_unless_that_is_too_long() -> None:
    """Roomy bounds leave `maxLength` and `maxItems` alone; strict ones cut them, never below the minimum."""
    schema = {
        "type": "array",
        "items": {"type": "string", "maxLength": 900, "minLength": 3},
        "minItems": 2,
        "maxItems": 50,
    }
    within = Bounds(string_chars=10, array_items=4, map_keys=1, depth=1)
    roomy = narrow(schema, within).schema
    assert roomy["maxItems"] == 50
    assert roomy["items"]["maxLength"] == 900
    strict = narrow(schema, TIGHTEST).schema
    assert strict["maxItems"] == 2
    assert strict["items"]["maxLength"] == 8
