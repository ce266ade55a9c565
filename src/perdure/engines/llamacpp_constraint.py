"""How llama.cpp is held to the tools and the schema of a call: by a grammar, whatever the model would like.

Two kinds of server: those with LLGuidance built in (ours) take one grammar for text, calls and JSON without
a blank; to any other the JSON schema is given as such. Neither can be trusted with a schema as users write
them: ours drops a grammar that it cannot compile *and answers freely*. So schemas are narrowed to what
compiles, and what is promised is checked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from perdure.dialects.item import Call, JsonSchema, Tool
from perdure.dialects.toolprompt import CALL_CLOSE, CALL_OPEN, call_opening
from perdure.engines.schema_bounds import OPEN, TIGHTEST, Bounded, Bounds, narrow
from perdure.engines.schema_loosen import loosen
from perdure.engines.schema_merge import Inexpressible
from perdure.errors import BadRequest

# From roomy to tight; each rung bounds what the schema leaves open.
LADDER = (
    *(Bounds(string_chars=n, array_items=128, map_keys=32, depth=3) for n in (262144, 131072, 65536, 32768)),
    *(Bounds(string_chars=n, array_items=64, map_keys=16, depth=3) for n in (16384, 8192, 4096)),
    *(Bounds(string_chars=n, array_items=32, map_keys=8, depth=2) for n in (4096, 2048, 1024)),
    *(Bounds(string_chars=n, array_items=8, map_keys=6, depth=2) for n in (1024, 512, 256)),
    *(Bounds(string_chars=n, array_items=4, map_keys=4, depth=1) for n in (256, 128, 64, 32)),
    *(Bounds(string_chars=n, array_items=2, map_keys=2, depth=1) for n in (64, 32, 16)),
    Bounds(string_chars=16, array_items=1, map_keys=1, depth=0),
)
CHARS_PER_TOKEN = 3  # of ordinary text; 4 is usual for English, fewer for nonsense
HEADER_BYTES = 20  # `":"`, `","arguments":` around a call's name
END_TOKENS = 1  # the model's end of turn
PLANS_MAX = 512
DRAWS_EACH = 4  # of each narrowing of a schema that a grammar cannot say whole

_WIRE_ANY: JsonSchema = {"type": "object", "properties": {}}
_PATTERN_FULL = 3  # llama.cpp's COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL
_LLG = "%llguidance {}\n"
_TEXT = "TEXT: /(?s:.*)/\n"
_NO_CALL = f"start: TEXT\nTEXT: /(?s:.*)/ & ~/(?s:.*{CALL_OPEN[:-1]}.*)/\n"
_CALLED = f"""called: "{{\\"name\\":\\"" call "}}{CALL_CLOSE}"\n"""
# Any text; once `<tool_call>` stands in it, a call and nothing else.
_MAY_CALL = f'start: TEXT | opening called\nopening[lazy]: TEXT "{CALL_OPEN}"\n{_TEXT}{_CALLED}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one generation is held to.

    fields   what is added to the request
    certain  the answer surely ends within its tokens and surely fits the schema
    draw     which of the draws that are held to the same fields this is
    """

    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    certain: bool = True
    draw: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """How a call is held to what it asks for.

    primed     how the answer begins; it stands at the end of the prompt already
    calls      whether the answer may be a call
    checked    whether the answer is promised to fit a schema
    attempts   to be made in this order until one fits; what is not certain is shown when it has been checked
    enough_tokens  so many would surely do
    """

    primed: str = ""
    calls: bool = False
    checked: bool = False
    attempts: tuple[Attempt, ...] = (Attempt(),)
    enough_tokens: int = 0


def primed_text(call: Call, *, guided: bool) -> str:
    """What is put at the end of the prompt of `call`; raises BadRequest for what cannot be promised."""
    if call.tool_choice.mode != "required":
        if call.tool_choice.allowed:
            allowed_tools(call)
        if call.output_schema is not None:
            _reject_stop(call)
            _checked_narrow(call.output_schema, OPEN, "the response format")
        return ""
    tools = allowed_tools(call)
    if call.sampling.ignore_eos:
        raise BadRequest("ignore_eos does not go with a required tool call; leave one of them out")
    for tool in tools:
        _checked_narrow(_parameters(tool), OPEN, f"tool {tool.name}")
    names = [tool.name for tool in tools]
    if guided:
        return call_opening(names)
    return f'{call_opening(names)}":' if len(names) == 1 else CALL_OPEN


def constrain(call: Call, max_output_tokens: int, *, guided: bool) -> Constraint:
    """How to hold `call` to its tools and schema within so many tokens, on a server of that kind."""
    if call.tool_choice.mode == "required":
        return _forced(call, max_output_tokens, guided=guided)
    callable_tools = allowed_tools(call) if call.tools and call.tool_choice.mode == "auto" else ()
    if call.output_schema is not None:
        return _structured(call, callable_tools, max_output_tokens, guided=guided)
    if not call.tools or call.sampling.ignore_eos:
        return Constraint()
    if not callable_tools:
        return Constraint(attempts=(Attempt(fields={"grammar": _LLG + _NO_CALL} if guided else {}),))
    return Constraint(calls=True, attempts=(Attempt(fields=_optional_call(callable_tools, guided=guided)),))


def allowed_tools(call: Call) -> tuple[Tool, ...]:
    """The tools that may be called, in the order in which they were given."""
    names = {tool.name for tool in call.tools}
    for name in call.tool_choice.allowed:
        if name not in names:
            raise BadRequest(f"tool_choice names {name!r}, which is not among the tools", param="tool_choice")
    if not call.tools:
        raise BadRequest("tool_choice requires a call, but no tools are given", param="tool_choice")
    return tuple(t for t in call.tools if not call.tool_choice.allowed or t.name in call.tool_choice.allowed)


def fits(schema: JsonSchema, value: Any) -> bool:
    """Whether `value` is one of `schema`."""
    return bool(Draft202012Validator(schema).is_valid(value))


def misfit(schema: JsonSchema, value: Any) -> str | None:
    """Which keyword of `schema` refuses `value`, and where; None when it fits."""
    error = next(Draft202012Validator(schema).iter_errors(value), None)
    return None if error is None else f"`{error.validator}` refuses {error.json_path}"


def parameters_of(call: Call, name: str) -> JsonSchema:
    """The schema of the arguments of the tool called `name`."""
    return next(_parameters(tool) for tool in call.tools if tool.name == name)


def _forced(call: Call, max_output_tokens: int, *, guided: bool) -> Constraint:
    tools = allowed_tools(call)
    header = HEADER_BYTES + max(len(tool.name.encode()) for tool in tools)
    room = max_output_tokens - END_TOKENS - header
    plans = [_plan(_parameters(tool), room, f"tool {tool.name}") for tool in tools]

    def attempt(bounded: Sequence[Bounded]) -> Attempt:
        certain = guided and all(b.exact and b.bytes_max <= room for b in bounded)
        return Attempt(fields=_call_fields(tools, bounded, guided=guided), certain=certain)

    return Constraint(
        primed=primed_text(call, guided=guided),
        calls=True,
        checked=True,
        attempts=_in_turn([attempt(b) for b in _stages(plans)], again=any(p.loose for p in plans)),
        enough_tokens=int(max(plan.tightest.bytes_max for plan in plans)) + header + END_TOKENS,
    )


def _structured(call: Call, tools: Sequence[Tool], max_output_tokens: int, *, guided: bool) -> Constraint:
    assert call.output_schema is not None
    room = max_output_tokens - END_TOKENS
    plan = _plan(call.output_schema, room, "the response format")

    def attempt(bounded: Bounded) -> Attempt:
        certain = guided and bounded.exact and bounded.bytes_max <= room and not tools
        return Attempt(fields=_text_fields(bounded, tools, guided=guided), certain=certain)

    return Constraint(
        calls=bool(tools) and guided,
        checked=True,
        attempts=_in_turn([attempt(bounded) for (bounded,) in _stages([plan])], again=plan.loose),
        enough_tokens=int(plan.tightest.bytes_max) + END_TOKENS,
    )


def _in_turn(attempts: Sequence[Attempt], *, again: bool) -> tuple[Attempt, ...]:
    """The attempts up to the first that is certain, each of them once, or with several draws (`again`)."""
    chosen: list[Attempt] = []
    for attempt in attempts:
        if attempt not in chosen:
            chosen.append(attempt)
        if attempt.certain:
            break
    if not again:
        return tuple(chosen)
    draws = [attempt for attempt in chosen for _ in range(1 if attempt.certain else DRAWS_EACH)]
    return tuple(replace(attempt, draw=number) for number, attempt in enumerate(draws))


def _stages(plans: "Sequence[_Plan]") -> list[list[Bounded]]:
    return [[p.roomy for p in plans], [p.safe for p in plans], [p.tightest for p in plans]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Three narrowings of a schema: roomy for ordinary values, safe so that it surely fits, and tightest."""

    roomy: Bounded
    safe: Bounded
    tightest: Bounded

    @property
    def loose(self) -> bool:
        """Whether the schema says what these do not, so that several draws may be needed."""
        return not self.tightest.exact


def _plan(schema: JsonSchema, room: int, what: str) -> _Plan:
    return _plan_cached(msgspec.json.encode(schema), room, what)


@lru_cache(maxsize=PLANS_MAX)
def _plan_cached(schema_json: bytes, room: int, what: str) -> _Plan:
    schema: JsonSchema = msgspec.json.decode(schema_json)
    tightest = _checked_narrow(schema, TIGHTEST, what)
    roomy = _first(schema, LADDER, lambda b: b.chars_likely <= room * CHARS_PER_TOKEN)
    strict = [replace(rung, strict=True) for rung in LADDER]
    safe = _first(schema, strict, lambda b: b.bytes_max <= room)
    return _Plan(
        roomy=roomy or _narrowed(schema, LADDER[-1]) or tightest,
        safe=safe or tightest,
        tightest=tightest,
    )


def _first(schema: JsonSchema, rungs: Sequence[Bounds], good: Callable[[Bounded], bool]) -> Bounded | None:
    narrowed = (_narrowed(schema, rung) for rung in rungs)
    return next((bounded for bounded in narrowed if bounded is not None and good(bounded)), None)


def _narrowed(schema: JsonSchema, bounds: Bounds) -> Bounded | None:
    """`schema` within `bounds`, or None where it gets too large with them."""
    try:
        return _narrow(schema, bounds)
    except Inexpressible:
        return None


def _narrow(schema: JsonSchema, bounds: Bounds) -> Bounded:
    """What a grammar can say of `schema`, within `bounds`; inexact where it cannot say all."""
    loose = loosen(schema)
    try:
        bounded = narrow(loose.schema, bounds)
    except Inexpressible:
        if not loose.checked:
            raise
        bounded = narrow(loosen(schema, plainly=True).schema, bounds)
    return replace(bounded, exact=False) if loose.checked else bounded


def _checked_narrow(schema: JsonSchema, bounds: Bounds, what: str) -> Bounded:
    """`schema` within `bounds`, or BadRequest that names `what` it is the schema of."""
    return _checked_narrow_cached(msgspec.json.encode(schema), bounds, what)


@lru_cache(maxsize=PLANS_MAX)
def _checked_narrow_cached(schema_json: bytes, bounds: Bounds, what: str) -> Bounded:
    schema: JsonSchema = msgspec.json.decode(schema_json)
    try:
        Draft202012Validator.check_schema(schema)
        return _narrow(schema, bounds)
    except SchemaError as error:
        raise BadRequest(f"the schema of {what} is not a JSON schema: {error.message}") from error
    except Inexpressible as error:
        raise BadRequest(
            f"the schema of {what} cannot be enforced by this engine: {error.message}. "
            "Write it with properties, enums, bounds and anyOf."
        ) from error


def _reject_stop(call: Call) -> None:
    if call.sampling.stop:
        raise BadRequest(
            "a stop string would cut the JSON of the response format; leave one of them out", param="stop"
        )
    if call.sampling.ignore_eos:
        raise BadRequest(
            "ignore_eos does not go with a response format; leave one of them out", param="ignore_eos"
        )


def _parameters(tool: Tool) -> JsonSchema:
    return tool.parameters or _WIRE_ANY


def _call_fields(tools: Sequence[Tool], bounded: Sequence[Bounded], *, guided: bool) -> dict[str, Any]:
    """The request fields that force a call, whose beginning stands in the prompt."""
    if guided and len(tools) == 1:
        return {"grammar": f'{_LLG}start: "\\":" %json {_compact(bounded[0].schema)}\n'}
    if guided:
        return {"grammar": f'{_LLG}start: "\\":\\"" call\n{_call_rules(tools, [b.schema for b in bounded])}'}
    if len(tools) == 1:
        return {"json_schema": bounded[0].schema}
    return {"json_schema": {"anyOf": [_whole_call(t, b.schema) for t, b in zip(tools, bounded, strict=True)]}}


def _text_fields(bounded: Bounded, tools: Sequence[Tool], *, guided: bool) -> dict[str, Any]:
    """The request fields for an answer that is JSON, or a call where there are tools."""
    if not guided:
        return {"json_schema": bounded.schema}
    if not tools:
        return {"grammar": f"{_LLG}start: %json {_compact(bounded.schema)}\n"}
    rules = _call_rules(tools, [_loosely(tool) for tool in tools])
    start = f'start: answer | "{CALL_OPEN}" called\nanswer: %json {_compact(bounded.schema)}\n'
    return {"grammar": f"{_LLG}{start}{_CALLED}{rules}"}


def _optional_call(tools: Sequence[Tool], *, guided: bool) -> dict[str, Any]:
    """The request fields for text that may turn into a call: once `<tool_call>` stands there, it is one."""
    schemas = [_loosely(tool) for tool in tools]
    if guided:
        return {"grammar": f"{_LLG}{_MAY_CALL}{_call_rules(tools, schemas)}"}
    calls = {"anyOf": [_whole_call(t, s) for t, s in zip(tools, schemas, strict=True)]}
    trigger = {"type": _PATTERN_FULL, "value": rf"[\s\S]*?{CALL_OPEN}\s*(\{{[\s\S]*)"}
    return {"json_schema": calls, "grammar_lazy": True, "grammar_triggers": [trigger]}


def _loosely(tool: Tool) -> JsonSchema:
    """The narrowed schema of `tool`; any object where a call is not promised and the schema is too hard."""
    narrowed = _narrowed(_parameters(tool), OPEN)
    return narrowed.schema if narrowed is not None else {"type": "object"}


def _call_rules(tools: Sequence[Tool], schemas: Sequence[JsonSchema]) -> str:
    """The rule `call`: a tool's name, from inside its quotes, up to the end of its arguments."""
    names = " | ".join(f"call_{index}" for index in range(len(tools)))
    headers = [_json(f'{tool.name}","arguments":') for tool in tools]
    rules = "".join(
        f"call_{index}: {header} %json {_compact(schema)}\n"
        for index, (header, schema) in enumerate(zip(headers, schemas, strict=True))
    )
    return f"call: {names}\n{rules}"


def _whole_call(tool: Tool, schema: JsonSchema) -> JsonSchema:
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": schema},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _compact(schema: JsonSchema) -> str:
    """A schema for LLGuidance, whose values are to have no blanks."""
    return _json({**schema, "x-guidance": {"whitespace_flexible": False}})


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
