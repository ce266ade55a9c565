"""What a call to a model is, and what comes back, whatever dialect the client spoke.

The items are those of the OpenAI Responses API; every dialect is a translator to and from this module.
"""

from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant"]
JsonSchema = dict[str, Any]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag="message"):
    """Something said: plain text, by one of three roles (`developer` is read as `system`)."""

    role: Role
    text: str


class FunctionCall(msgspec.Struct, frozen=True, kw_only=True, tag="function_call"):
    """The model asks for a tool; `arguments` is JSON text, as on every wire."""

    call_id: str
    name: str
    arguments: str


class FunctionCallOutput(msgspec.Struct, frozen=True, kw_only=True, tag="function_call_output"):
    """What the tool answered to the call of the same `call_id`."""

    call_id: str
    output: str


Item = Message | FunctionCall | FunctionCallOutput


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call; `parameters` is the JSON schema of its arguments object."""

    name: str
    description: str = ""
    parameters: JsonSchema = {}


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the model must call a tool, and which it may: empty `allowed` means any of them.

    A call of one named tool is mode `required` with that name alone in `allowed`. The tools themselves
    stay in the prompt whatever is allowed, so that its prefix stays the same from turn to turn.
    """

    mode: Literal["none", "auto", "required"] = "auto"
    allowed: tuple[str, ...] = ()


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn. None means the engine's own default, except temperature and top_p (1.0)."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    ignore_eos: bool = False


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: the tenant, and the place of this call among an agent's calls (`x-perdure-*` headers).

    session   one agent's chain of calls over one growing context
    program   the tree of sessions that one job started
    parent    the session that forked this one
    final     the caller says that this session will not call again
    """

    workspace: str = "default"
    session: str | None = None
    program: str | None = None
    parent: str | None = None
    final: bool = False


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One generation asked of a model.

    max_output_tokens  None: as many as the window leaves
    output_schema      the answer's text must be JSON of this schema (`response_format: json_schema`)
    """

    model: str
    items: tuple[Item, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    output_schema: JsonSchema | None = None
    max_output_tokens: int | None = None
    sampling: Sampling = Sampling()
    caller: Caller = Caller()


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the engine counted them. `cached_tokens` is the part of the prompt not computed again."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class TextDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of the answer's text."""

    text: str


class CallStarted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is (from here on) a call of the tool `name`."""

    call_id: str
    name: str


class ArgumentsDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of the JSON text of the arguments of the call that was started last."""

    call_id: str
    text: str


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is complete.

    reason     `stop` at its natural end, `length` when the token budget cut it, `tool_calls` after a call
    prefill_s  seconds the engine spent on the prompt, decode_s on the answer; None where it does not say
    """

    reason: Literal["stop", "length", "tool_calls"]
    usage: Usage
    prefill_s: float | None = None
    decode_s: float | None = None


Event = TextDelta | CallStarted | ArgumentsDelta | Finished
