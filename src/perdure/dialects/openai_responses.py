"""How a Responses request becomes a `Call`."""

from collections.abc import Iterable
from dataclasses import dataclass

from perdure.dialects.item import (
    Call,
    Caller,
    FunctionCall,
    FunctionCallOutput,
    Item,
    JsonSchema,
    Message,
    Sampling,
    Tool,
    ToolChoice,
)
from perdure.dialects.openai_chat import MESSAGES_MAX, OUTPUT_TOKENS_MAX, read_content, read_sampling
from perdure.dialects.openai_fields import Fields
from perdure.dialects.openai_tools import read_format, read_tool_choice, read_tools

METADATA_ENTRIES_MAX = 16

# Known, and without effect on what this server answers.
HARMLESS = (
    "client_metadata",
    "include",
    "max_tool_calls",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "service_tier",
)
REFUSED = {
    "background": "is not supported yet; leave it out and keep the connection open",
    "conversation": "is not supported; chain responses with previous_response_id",
    "prompt": "is not supported; send the text in instructions and input",
    "context_management": "is not supported; shorten the input yourself",
    "top_logprobs": "cannot be had: the engine's log probabilities are not passed on; leave it out",
    "moderation": "is not supported",
}
HARMLESS_IN_ITEMS = ("id", "status", "phase", "name", "caller", "cache_control")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesRequest:
    """What was asked, before the history that `previous_id` names is laid in front of it.

    added    the items of `input`: what this request adds to its conversation
    echoed   fields of the request that the response object repeats
    ignored  harmless parameters that changed nothing; the caller is told in a header
    """

    model: str
    instructions: str | None
    added: tuple[Item, ...]
    previous_id: str | None
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice
    output_schema: JsonSchema | None
    max_output_tokens: int | None
    sampling: Sampling
    caller: Caller
    stream: bool
    store: bool
    echoed: dict[str, object]
    ignored: tuple[str, ...]

    def call(self, history: tuple[Item, ...] = ()) -> Call:
        """The call, with `history` before what this request adds. Instructions are never inherited."""
        spoken = () if self.instructions is None else (Message(role="system", text=self.instructions),)
        return Call(
            model=self.model,
            items=(*spoken, *history, *self.added),
            tools=self.tools,
            tool_choice=self.tool_choice,
            output_schema=self.output_schema,
            max_output_tokens=self.max_output_tokens,
            sampling=self.sampling,
            caller=self.caller,
        )


def read_responses(value: object, caller: Caller) -> ResponsesRequest:
    """The request in a parsed body; raises BadRequest naming the field that is wrong."""
    body = Fields(value)
    model = body.needed_text("model")
    instructions = body.text("instructions")
    ignored: dict[str, None] = {}
    added = tuple(_input(body, ignored))
    previous_id = body.text("previous_response_id")
    if not added and previous_id is None:
        raise body.wrong("input", "is missing; it must be a string or a list of items")
    echoed = _echoed(body)
    tools, tools_ignored = read_tools(body, nested=False)
    tool_choice = read_tool_choice(body, tools, nested=False)
    text = body.inner("text") or Fields({}, "text")
    schema, echoed_format = read_format(text, "format", nested=False)
    text_ignored = text.finish(("verbosity",))
    echoed["text"] = {"format": echoed_format, "verbosity": "medium"}
    echoed["max_output_tokens"] = max_output_tokens = body.whole("max_output_tokens", 1, OUTPUT_TOKENS_MAX)
    sampling = read_sampling(body)
    stream, store = body.flag("stream"), body.flag("store", default=True)
    options = body.inner("stream_options") or Fields({}, "stream_options")
    options_ignored = options.finish(("include_obfuscation",))
    body.only("truncation", ("disabled",), "must be 'disabled'; nothing is ever dropped from the input here")
    body.refuse(REFUSED)
    return ResponsesRequest(
        model=model,
        instructions=instructions,
        added=added,
        previous_id=previous_id,
        tools=tools,
        tool_choice=tool_choice,
        output_schema=schema,
        max_output_tokens=max_output_tokens,
        sampling=sampling,
        caller=caller,
        stream=stream,
        store=store,
        echoed=echoed,
        ignored=(*body.finish(HARMLESS), *ignored, *tools_ignored, *text_ignored, *options_ignored),
    )


def _echoed(body: Fields) -> dict[str, object]:
    """Fields that change nothing but come back in the response object, as on OpenAI's own server."""
    metadata = body.inner("metadata") or Fields({}, "metadata")
    body.take("parallel_tool_calls")  # an answer never holds more calls than the model makes: one or none
    return {
        "metadata": _metadata(metadata),
        "prompt_cache_key": body.text("prompt_cache_key"),
        "safety_identifier": body.text("safety_identifier"),
        "user": body.text("user"),
    }


def _metadata(metadata: Fields) -> dict[str, str]:
    names = metadata.names()
    if len(names) > METADATA_ENTRIES_MAX:
        raise metadata.wrong("*", f"has {len(names)} entries; the limit is {METADATA_ENTRIES_MAX}")
    return {name: metadata.text(name) or "" for name in names}


def _input(body: Fields, ignored: dict[str, None]) -> Iterable[Item]:
    value = body.take("input")
    if value is None:
        return
    if isinstance(value, str):
        yield Message(role="user", text=value)
        return
    for entry in body.again("input", value).objects("input", MESSAGES_MAX):
        kind = entry.text("type") or "message"
        if kind == "reasoning":
            ignored["input[] (reasoning)"] = None
            continue
        yield _item(kind, entry)
        for path in entry.finish(HARMLESS_IN_ITEMS):
            name = path.rpartition(".")[2]
            if name not in ("id", "status", "phase"):
                ignored[f"input[].{name}"] = None


def _item(kind: str, entry: Fields) -> Item:
    if kind == "message":
        return _message(entry)
    if kind == "function_call":
        return FunctionCall(
            call_id=entry.needed_text("call_id"),
            name=entry.needed_text("name"),
            arguments=entry.text("arguments") or "{}",
        )
    if kind == "function_call_output":
        call_id = entry.needed_text("call_id")
        return FunctionCallOutput(call_id=call_id, output=_content(entry, "output"))
    raise entry.wrong("type", f"is {kind!r}; use message, function_call or function_call_output")


def _message(entry: Fields) -> Message:
    role = entry.needed_text("role")
    text = _content(entry, "content")
    if role == "user":
        return Message(role="user", text=text)
    if role == "assistant":
        return Message(role="assistant", text=text)
    if role in ("system", "developer"):
        return Message(role="system", text=text)
    raise entry.wrong("role", f"is {role!r}; use system, developer, user or assistant")


def _content(entry: Fields, name: str) -> str:
    text = read_content(entry, name)
    if text is None:
        raise entry.wrong(name, "is missing; it must be a string or a list of text parts")
    return text
