"""How a Chat Completions request becomes a `Call`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from perdure.dialects.item import (
    Call,
    Caller,
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Sampling,
)
from perdure.dialects.openai_fields import Fields
from perdure.dialects.openai_tools import read_format, read_tool_choice, read_tools

MESSAGES_MAX = 20_000
PARTS_MAX = 1_000
TOOL_CALLS_MAX = 128
STOPS_MAX = 16
OUTPUT_TOKENS_MAX = 10_000_000
INT64_MAX = 2**63 - 1

# Known, and without effect on what this server answers.
HARMLESS = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "reasoning_effort",
    "verbosity",
    "prediction",
)
HARMLESS_IN_MESSAGES = ("name", "refusal", "annotations", "reasoning_content", "reasoning", "cache_control")
REFUSED = {
    "logprobs": "cannot be had: the engine's log probabilities are not passed on; leave it out",
    "top_logprobs": "cannot be had: the engine's log probabilities are not passed on; leave it out",
    "logit_bias": "is not supported; constrain the answer with response_format or tool_choice instead",
    "audio": "is not supported; this server answers in text",
    "functions": "is the old form; use tools",
    "function_call": "is the old form; use tool_choice",
    "web_search_options": "is not supported; this server has no web search",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A call, and how its answer is to be delivered.

    ignored  harmless parameters that changed nothing; the caller is told in a header
    """

    call: Call
    stream: bool
    include_usage: bool
    continuous_usage: bool
    ignored: tuple[str, ...]


def read_chat(value: object, caller: Caller) -> ChatRequest:
    """The request in a parsed body; raises BadRequest naming the field that is wrong."""
    body = Fields(value)
    model = body.needed_text("model")
    messages_ignored: dict[str, None] = {}
    items = tuple(_items(body, messages_ignored))
    if not items:
        raise body.wrong("messages", "is empty; send at least one message")
    tools, tools_ignored = read_tools(body, nested=True)
    schema, _ = read_format(body, "response_format", nested=True)
    call = Call(
        model=model,
        items=items,
        tools=tools,
        tool_choice=read_tool_choice(body, tools, nested=True),
        output_schema=schema,
        max_output_tokens=_max_output_tokens(body),
        sampling=read_sampling(body),
        caller=caller,
    )
    stream = body.flag("stream")
    options = body.inner("stream_options") or Fields({}, "stream_options")
    include_usage = options.flag("include_usage")
    continuous_usage = options.flag("continuous_usage_stats")
    options_ignored = options.finish(("include_obfuscation",))
    body.take("parallel_tool_calls")  # an answer never holds more calls than the model makes: one or none
    body.only("n", (1,), "must be 1; this server gives one answer to a request")
    body.only("modalities", (["text"],), "must be ['text']; this server answers in text")
    body.refuse(REFUSED)
    ignored = body.finish(HARMLESS)
    return ChatRequest(
        call=call,
        stream=stream,
        include_usage=include_usage,
        continuous_usage=continuous_usage,
        ignored=(*ignored, *messages_ignored, *tools_ignored, *options_ignored),
    )


def read_sampling(body: Fields) -> Sampling:
    """How tokens are drawn, from the fields that Chat Completions and Responses share."""
    temperature = body.number("temperature", 0.0, 2.0)
    top_p = body.number("top_p", 0.0, 1.0)
    return Sampling(
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        seed=body.whole("seed", -INT64_MAX, INT64_MAX),
        stop=_stops(body),
        frequency_penalty=body.number("frequency_penalty", -2.0, 2.0) or 0.0,
        presence_penalty=body.number("presence_penalty", -2.0, 2.0) or 0.0,
        ignore_eos=body.flag("ignore_eos"),
    )


def _max_output_tokens(body: Fields) -> int | None:
    old = body.whole("max_tokens", 1, OUTPUT_TOKENS_MAX)
    new = body.whole("max_completion_tokens", 1, OUTPUT_TOKENS_MAX)
    if old is not None and new is not None and old != new:
        raise body.wrong("max_tokens", f"is {old}, but max_completion_tokens is {new}; send one of them")
    return old if new is None else new


def _stops(body: Fields) -> tuple[str, ...]:
    value = body.take("stop")
    if value is None:
        return ()
    stops = body.again("stop", [value] if isinstance(value, str) else value).array("stop", STOPS_MAX)
    texts = tuple(stop for stop in stops if isinstance(stop, str) and stop)
    if len(texts) != len(stops):
        raise body.wrong("stop", "must be a string or a list of strings, none of them empty")
    return texts


def _items(body: Fields, ignored: dict[str, None]) -> Iterable[Item]:
    for message in body.objects("messages", MESSAGES_MAX):
        yield from _message(message)
        for path in message.finish(HARMLESS_IN_MESSAGES):
            ignored["messages[]." + path.rpartition(".")[2]] = None


def _message(message: Fields) -> Iterable[Item]:
    role = message.needed_text("role")
    if role in ("system", "developer"):
        yield Message(role="system", text=_needed_content(message))
    elif role == "user":
        yield Message(role="user", text=_needed_content(message))
    elif role == "tool":
        call_id = message.needed_text("tool_call_id")
        yield FunctionCallOutput(call_id=call_id, output=_needed_content(message))
    elif role == "assistant":
        yield from _assistant(message)
    else:
        raise message.wrong("role", f"is {role!r}; use system, developer, user, assistant or tool")


def _assistant(message: Fields) -> Iterable[Item]:
    text = read_content(message, "content")
    message.refuse({"function_call": "is the old form; use tool_calls", "audio": "is not supported"})
    calls = tuple(_tool_call(entry) for entry in message.objects("tool_calls", TOOL_CALLS_MAX))
    if text is None and not calls:
        raise message.wrong("content", "is missing, and so are tool_calls; an assistant message needs one")
    if text or not calls:
        yield Message(role="assistant", text=text or "")
    yield from calls


def _tool_call(entry: Fields) -> FunctionCall:
    entry.only("type", ("function",), "must be 'function'")
    entry.take("index")  # left over by clients that send streamed deltas back
    function = entry.inner("function") or Fields(None, entry.path("function"))
    call = FunctionCall(
        call_id=entry.needed_text("id"),
        name=function.needed_text("name"),
        arguments=function.text("arguments") or "{}",
    )
    function.finish()
    entry.finish()
    return call


def _needed_content(message: Fields) -> str:
    text = read_content(message, "content")
    if text is None:
        raise message.wrong("content", "is missing; it must be a string or a list of text parts")
    return text


def read_content(holder: Fields, name: str) -> str | None:
    """Text given as a string, or as a list of text parts; other kinds of part are refused."""
    if isinstance(value := holder.take(name), str):
        return value
    if value is None:
        return None
    if not isinstance(value, list):
        raise holder.wrong(name, "must be a string or a list of text parts")
    parts = holder.again(name, cast("list[object]", value)).objects(name, PARTS_MAX)
    return "".join(_part(part) for part in parts)


def _part(part: Fields) -> str:
    kind = part.needed_text("type")
    if kind in ("text", "input_text", "output_text"):
        text = part.text("text")
        part.finish(("cache_control", "annotations", "logprobs", "prompt_cache_breakpoint"))
        return text or ""
    if kind == "refusal":
        return part.text("refusal") or ""
    raise part.wrong("type", f"is {kind!r}; the models here read text parts only")
