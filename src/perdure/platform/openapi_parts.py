"""The pieces that the OpenAPI document is put together from."""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
COUNT: Schema = {"type": "integer", "minimum": 0}


def ref(name: str) -> Schema:
    """A schema that is named in the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def one_of(*schemas: Schema) -> Schema:
    return {"oneOf": list(schemas)}


def number(low: float, high: float) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high}


def whole(low: int) -> Schema:
    return {"type": "integer", "minimum": low}


def record(properties: Schema, required: list[str] | None = None) -> Schema:
    """An object of these properties."""
    schema: Schema = {"type": "object", "properties": properties}
    return schema if required is None else {**schema, "required": required}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


ERROR: Schema = {
    "description": "What went wrong, and what to do",
    "content": {"application/json": {"schema": ref("Error")}},
}

CALLER_HEADERS: list[Schema] = [
    {"name": name, "in": "header", "schema": TEXT, "description": meaning}
    for name, meaning in {
        "Idempotency-Key": "Same key and body: same answer, for 24 hours",
        "x-perdure-session": "One agent's chain of calls over one growing context",
        "x-perdure-program": "The tree of sessions that one job started",
        "x-perdure-parent": "The session that forked this one",
        "x-perdure-final": "1 when this session will not call again",
        "x-request-id": "Comes back on the answer, and is in the server's log",
    }.items()
]

_USAGE = record(
    {
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": record({"cached_tokens": COUNT}, ["cached_tokens"]),
    },
    ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"],
)

_FUNCTION = {"name": TEXT, "description": TEXT, "parameters": OBJECT, "strict": BOOLEAN}

_MESSAGE = {
    "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
    "content": nullable({"oneOf": [TEXT, array(OBJECT)]}),
    "tool_calls": array(OBJECT),
    "tool_call_id": TEXT,
}

_CHOICE = record(
    {"index": COUNT, "message": OBJECT, "finish_reason": {"enum": ["stop", "length", "tool_calls"]}},
    ["index", "message", "finish_reason"],
)

_MODEL = record(
    {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT, "max_model_len": COUNT},
    ["id", "object", "created", "owned_by", "max_model_len"],
)

GENERATED: Schema = {
    "ChatMessage": record(_MESSAGE, ["role"]),
    "Function": record(_FUNCTION, ["name"]),
    "FlatFunction": record({"type": {"const": "function"}, **_FUNCTION}, ["type", "name"]),
    "ChatCompletion": record(
        {
            "id": TEXT,
            "object": {"const": "chat.completion"},
            "created": COUNT,
            "model": TEXT,
            "choices": array(_CHOICE),
            "usage": _USAGE,
        },
        ["id", "object", "created", "model", "choices", "usage"],
    ),
    "Response": record(
        {
            "id": TEXT,
            "object": {"const": "response"},
            "status": {"enum": ["completed", "incomplete", "failed", "in_progress"]},
            "output": array(OBJECT),
            "usage": nullable(OBJECT),
        },
        ["id", "object", "status", "output", "usage"],
    ),
    "Model": _MODEL,
    "Models": record({"object": {"const": "list"}, "data": array(ref("Model"))}, ["object", "data"]),
    "Error": record(
        {
            "error": record(
                {"message": TEXT, "type": TEXT, "param": nullable(TEXT), "code": TEXT},
                ["message", "type", "param", "code"],
            )
        },
        ["error"],
    ),
}
"""Everything that is answered, and the parts of what is asked."""
