"""How the server describes itself to programs."""

from typing import Any

from perdure.dialects import openai_chat, openai_responses
from perdure.platform.openapi_parts import (
    BOOLEAN,
    CALLER_HEADERS,
    ERROR,
    GENERATED,
    TEXT,
    array,
    number,
    one_of,
    record,
    ref,
    whole,
)
from perdure.version import __version__

KEYED: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]
JSON_OBJECT = {"type": "object"}
STRINGS = one_of(TEXT, array(TEXT))
NOTE = (
    "A parameter is honoured, or ignored and named in the header `x-perdure-ignored`, or refused with 400. "
    "Ignored: {ignored}. Refused: {refused}."
)


def description() -> dict[str, Any]:
    """The OpenAPI document of every endpoint."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Perdure", "version": __version__, "description": _INFO},
        "paths": {
            "/v1/chat/completions": {"post": _generating("Answer a chat", "ChatRequest", "ChatCompletion")},
            "/v1/responses": {"post": _generating("Make a response", "ResponsesRequest", "Response")},
            "/v1/responses/{response_id}": {"get": _getting("A stored response", "Response", "response_id")},
            "/v1/models": {"get": _getting("The models here", "Models")},
            "/v1/models/{model}": {"get": _getting("One model", "Model", "model")},
            "/v1/perdure/traces/{session}": {
                "get": _getting(
                    "What was recorded of a session's calls, a JSON object a line; no text", None, "session"
                )
            },
            "/health": {"get": _open("200 when requests are answered, else 503")},
            "/healthz": {"get": _open("200 while the process lives")},
            "/readyz": {"get": _open("200 when requests are answered, else 503")},
            "/metrics": {"get": _open("Metrics for Prometheus")},
            "/openapi.json": {"get": _open("This document")},
            "/": {"get": _open("What this server is")},
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": _schemas(),
        },
    }


_INFO = (
    "Answers OpenAI clients. Errors have OpenAI's envelope; `retry-after` and `x-should-retry` say whether "
    "to ask again. With an `Idempotency-Key`, a finished answer is replayed byte for byte for 24 hours, a "
    "running one is joined, and another body under the same key is 422."
)


def _generating(summary: str, request: str, answer: str) -> dict[str, Any]:
    answers = {"application/json": {"schema": ref(answer)}, "text/event-stream": {"schema": TEXT}}
    return {
        "summary": summary,
        "security": KEYED,
        "parameters": CALLER_HEADERS,
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref(request)}}},
        "responses": {"200": {"description": "The answer", "content": answers}, "default": ERROR},
    }


def _getting(summary: str, answer: str | None, parameter: str | None = None) -> dict[str, Any]:
    content = (
        {"application/json": {"schema": ref(answer)}}
        if answer
        else {"application/x-ndjson": {"schema": TEXT}}
    )
    operation: dict[str, Any] = {
        "summary": summary,
        "security": KEYED,
        "responses": {"200": {"description": summary, "content": content}, "default": ERROR},
    }
    if parameter is not None:
        operation["parameters"] = [{"name": parameter, "in": "path", "required": True, "schema": TEXT}]
    return operation


def _open(summary: str) -> dict[str, Any]:
    return {"summary": summary, "security": [], "responses": {"default": {"description": summary}}}


def _schemas() -> dict[str, Any]:
    return {
        "ChatRequest": {**record(_CHAT, ["model", "messages"]), "description": _note(openai_chat)},
        "ResponsesRequest": {**record(_RESPONSES, ["model"]), "description": _note(openai_responses)},
        **GENERATED,
    }


def _note(dialect: Any) -> str:
    return NOTE.format(ignored=", ".join(dialect.HARMLESS), refused=", ".join(dialect.REFUSED))


_SAMPLING = {
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "seed": {"type": "integer"},
    "stop": STRINGS,
    "frequency_penalty": number(-2, 2),
    "presence_penalty": number(-2, 2),
    "ignore_eos": {**BOOLEAN, "description": "Go on past the model's end mark, up to the token limit"},
    "stream": BOOLEAN,
    "parallel_tool_calls": BOOLEAN,
}

_CHAT = {
    "model": TEXT,
    "messages": array(ref("ChatMessage")),
    "tools": array(
        record({"type": {"const": "function"}, "function": ref("Function")}, ["type", "function"])
    ),
    "tool_choice": {
        "description": "none, auto, required, any (is required), one function, or allowed_tools",
        **one_of({"enum": ["none", "auto", "required", "any"]}, JSON_OBJECT),
    },
    "response_format": {**JSON_OBJECT, "description": "type text, json_object or json_schema"},
    "max_tokens": whole(1),
    "max_completion_tokens": whole(1),
    "n": {"const": 1},
    "modalities": {"const": ["text"]},
    "stream_options": record({"include_usage": BOOLEAN, "continuous_usage_stats": BOOLEAN}),
    **_SAMPLING,
}

_RESPONSES = {
    "model": TEXT,
    "input": one_of(TEXT, array(JSON_OBJECT)),
    "instructions": TEXT,
    "previous_response_id": TEXT,
    "store": {**BOOLEAN, "default": True, "description": "Keep the response for 7 days"},
    "tools": array(ref("FlatFunction")),
    "tool_choice": _CHAT["tool_choice"],
    "text": record({"format": {**JSON_OBJECT, "description": "type text, json_object or json_schema"}}),
    "max_output_tokens": whole(1),
    "metadata": {"type": "object", "additionalProperties": TEXT},
    "prompt_cache_key": TEXT,
    "safety_identifier": TEXT,
    "user": TEXT,
    "truncation": {"const": "disabled"},
    "stream_options": JSON_OBJECT,
    **_SAMPLING,
}
