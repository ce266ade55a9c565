"""How errors, usage and stream frames look on OpenAI's wire."""

import orjson

from perdure.dialects.item import Usage
from perdure.errors import Busy, PerdureError

DONE = b"data: [DONE]\n\n"


def encoded(body: object) -> bytes:
    """`body` as JSON."""
    return orjson.dumps(body)


def frame(body: object, event: str | None = None) -> bytes:
    """One server-sent event."""
    name = b"" if event is None else b"event: " + event.encode() + b"\n"
    return name + b"data: " + orjson.dumps(body) + b"\n\n"


def error_body(error: PerdureError) -> dict[str, object]:
    """OpenAI's error envelope."""
    return {
        "error": {
            "message": error.message,
            "type": error_type(error),
            "param": error.param,
            "code": error.code,
        }
    }


def error_type(error: PerdureError) -> str:
    """The coarse kind that OpenAI puts beside the code."""
    if isinstance(error, Busy):
        return "rate_limit_error"
    return "server_error" if error.status >= 500 else "invalid_request_error"


def chat_usage(usage: Usage) -> dict[str, object]:
    """Usage as Chat Completions reports it."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def responses_usage(usage: Usage) -> dict[str, object]:
    """Usage as Responses reports it."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }
