"""Schemas of arguments that no grammar can say whole."""

from typing import Any

COUNTRY = {"country": {"enum": ["US", "DE"]}, "code": {"type": "string"}}
HARD: dict[str, dict[str, Any]] = {
    "not required": {"type": "object", "properties": COUNTRY, "not": {"required": ["code"]}},
    "not type": {"type": "object", "properties": {"v": {"not": {"type": "object"}}}, "required": ["v"]},
    "if": {
        "type": "object",
        "properties": COUNTRY,
        "required": ["country"],
        "if": {"properties": {"country": {"const": "US"}}},
        "then": {"required": ["code"]},
        "else": {"not": {"required": ["code"]}},
    },
    "dependentRequired": {
        "type": "object",
        "properties": COUNTRY,
        "required": ["country"],
        "dependentRequired": {"country": ["code"]},
    },
    "dependentSchemas": {
        "type": "object",
        "properties": COUNTRY,
        "required": ["code"],
        "dependentSchemas": {"code": {"properties": {"code": {"enum": ["x"]}}}},
    },
    "patternProperties": {
        "type": "object",
        "patternProperties": {"^x-[a-z]+$": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 1,
    },
    "pattern of a required key": {
        "type": "object",
        "patternProperties": {"^n": {"type": "integer"}},
        "additionalProperties": False,
        "required": ["n1"],
    },
    "propertyNames": {"type": "object", "propertyNames": {"enum": ["a"]}, "minProperties": 1},
    "a reference beside": {
        "type": "object",
        "properties": {"v": {"$ref": "#/$defs/n"}},
        "required": ["v"],
        "not": {"required": ["w"]},
        "$defs": {"n": {"type": "integer"}},
    },
}
