"""What is asked of llama.cpp for one call, and how its text becomes the events of an answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from perdure.dialects.item import (
    ArgumentsDelta,
    CallStarted,
    Event,
    Finished,
    TextDelta,
    Usage,
)
from perdure.engines.engine import Prepared
from perdure.engines.llamacpp_http import Chunk, LlamaHttp
from perdure.errors import EngineFailed
from perdure.rng import new_id


async def answer(http: LlamaHttp, prepared: Prepared) -> AsyncGenerator[Event, None]:
    call = prepared.call
    body = request_body(prepared)
    forced = call.tool_choice.mode == "required"
    tools: list[Any] = []
    if forced:
        names = call.tool_choice.allowed or tuple(t.name for t in call.tools)
        tools = [t for t in call.tools if t.name in names]
        body["grammar"] = _grammar(tools)
        body["stop"] = []
    elif call.output_schema is not None:
        body["grammar"] = f"%llguidance {{}}\nstart: %json {_compact(call.output_schema)}"
    text = ""
    async with aclosing(http.completion(body)) as chunks:
        async for chunk in chunks:
            if chunk.content and not forced:
                yield TextDelta(text=chunk.content)
            text += chunk.content
            if chunk.stop:
                if forced:
                    for event in _call_events(text, tools):
                        yield event
                yield _finished(chunk, len(prepared.prompt_token_ids), forced)


def _call_events(text: str, tools: list[Any]) -> list[Event]:
    opening = f'{{"name":"{tools[0].name}","arguments' if len(tools) == 1 else '{"name'
    try:
        parsed = msgspec.json.decode(opening + text)
    except msgspec.DecodeError as error:
        raise EngineFailed("the call was cut off; allow more output tokens") from error
    call_id = new_id("call")
    arguments = msgspec.json.encode(parsed["arguments"]).decode()
    return [
        CallStarted(call_id=call_id, name=parsed["name"]),
        ArgumentsDelta(call_id=call_id, text=arguments),
    ]


def _grammar(tools: list[Any]) -> str:
    if len(tools) == 1:
        return f'%llguidance {{}}\nstart: "\\":" %json {_compact(tools[0].parameters)} "}}"'
    calls = " | ".join(f"call{i}" for i in range(len(tools)))
    rules = "\n".join(
        f"call{i}: {_quoted(_json(tool.name)[1:] + ',')} {_quoted(chr(34) + 'arguments' + chr(34) + ':')} "
        f'%json {_compact(tool.parameters)} "}}"'
        for i, tool in enumerate(tools)
    )
    return f'%llguidance {{}}\nstart: "\\":\\"" ({calls})\n{rules}'


def _quoted(text: str) -> str:
    return _json(text)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _compact(schema: dict[str, Any]) -> str:
    return _json(
        {
            "additionalProperties": False,
            **(schema or {"type": "object"}),
            "x-guidance": {"whitespace_flexible": False},
        }
    )


def request_body(prepared: Prepared) -> dict[str, Any]:
    sampling = prepared.call.sampling
    return {
        "prompt": prepared.prompt_token_ids,
        "n_predict": prepared.max_output_tokens,
        "stream": True,
        "cache_prompt": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "samplers": ["penalties", "temperature", "top_p"],
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "repeat_last_n": prepared.max_output_tokens,
        "ignore_eos": sampling.ignore_eos,
        "stop": list(sampling.stop),
        "response_fields": [
            "content",
            "stop",
            "stop_type",
            "stopping_word",
            "tokens_predicted",
            "truncated",
            "timings",
        ],
    } | ({} if sampling.seed is None else {"seed": sampling.seed % 0xFFFFFFFF})


def _finished(chunk: Chunk, prompt_tokens: int, called: bool) -> Finished:
    reason = "length" if chunk.stop_type == "limit" else "tool_calls" if called else "stop"
    timings = chunk.timings
    return Finished(
        reason=reason,
        usage=Usage(
            prompt_tokens=prompt_tokens, cached_tokens=timings.cache_n, output_tokens=chunk.tokens_predicted
        ),
        prefill_s=timings.prompt_ms / 1000,
        decode_s=timings.predicted_ms / 1000,
    )
