"""How OpenAI clients describe tools, tool choices and output formats, in both of its dialects."""

import re

from perdure.dialects.item import JsonSchema, Tool, ToolChoice
from perdure.dialects.openai_fields import Fields
from perdure.errors import BadRequest

TOOLS_MAX = 512
TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
ANY_OBJECT: JsonSchema = {"type": "object"}
# Hosted tools that a model may do without; they are named in `x-perdure-ignored`.
OPTIONAL_HOSTED_TOOLS = ("web_search", "web_search_preview")


def read_tools(body: Fields, *, nested: bool) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """The functions in `tools`, and what was ignored among them.

    `nested`: Chat Completions keeps a function under `function`; Responses writes it flat.
    """
    tools: list[Tool] = []
    ignored: list[str] = []
    for index, entry in enumerate(body.objects("tools", TOOLS_MAX)):
        kind = entry.needed_text("type")
        if kind in OPTIONAL_HOSTED_TOOLS and not nested:
            ignored.append(f"tools[{index}] ({kind})")
            continue
        if kind != "function":
            raise entry.wrong("type", f"is {kind!r}; this server runs tools of type 'function' only")
        function = entry
        if nested:
            function = entry.inner("function") or Fields(None, entry.path("function"))
            ignored.extend(entry.finish(("cache_control",)))
        tools.append(_tool(function))
        ignored.extend(function.finish(("strict", "cache_control")))
    names = [tool.name for tool in tools]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise BadRequest(
            f"tools names {twice[0]!r} more than once; give each tool its own name", param="tools"
        )
    # Arguments always keep their schema here, so `strict` is honoured whatever it says.
    return tuple(tools), tuple(name for name in ignored if not name.endswith(".strict"))


def read_tool_choice(body: Fields, tools: tuple[Tool, ...], *, nested: bool) -> ToolChoice:
    """`tool_choice`: a word, one named function, or a list of allowed ones."""
    choice = _choice(body, nested=nested)
    known = {tool.name for tool in tools}
    if unknown := [name for name in choice.allowed if name not in known]:
        raise BadRequest(
            f"tool_choice names {unknown[0]!r}; the tools are: {', '.join(sorted(known)) or 'none'}",
            param="tool_choice",
        )
    if choice.mode == "required" and not tools:
        raise BadRequest("tool_choice asks for a tool call, but tools is empty", param="tool_choice")
    return choice


def read_format(holder: Fields, name: str, *, nested: bool) -> tuple[JsonSchema | None, dict[str, object]]:
    """The schema that the answer must keep (None: plain text), and the format as it is echoed."""
    asked = holder.inner(name)
    if asked is None:
        return None, {"type": "text"}
    kind = asked.needed_text("type")
    if kind == "text":
        asked.finish()
        return None, {"type": "text"}
    if kind == "json_object":
        asked.finish()
        return ANY_OBJECT, {"type": "json_object"}
    if kind != "json_schema":
        raise asked.wrong("type", f"is {kind!r}; use text, json_object or json_schema")
    described = asked
    if nested:
        described = asked.inner("json_schema") or Fields(None, asked.path("json_schema"))
        asked.finish()
    schema = described.schema("schema") or ANY_OBJECT
    echo: dict[str, object] = {
        "type": "json_schema",
        "name": described.text("name") or "answer",
        "description": described.text("description"),
        "schema": schema,
        "strict": described.flag("strict", default=True),
    }
    described.finish()
    return schema, echo


def _tool(function: Fields) -> Tool:
    name = function.needed_text("name")
    if not TOOL_NAME.fullmatch(name):
        raise function.wrong("name", f"is {name!r}; use 1 to 128 letters, digits, '_', '-' or '.'")
    return Tool(
        name=name,
        description=function.text("description") or "",
        parameters=function.schema("parameters") or {"type": "object", "properties": {}},
    )


def _choice(body: Fields, *, nested: bool) -> ToolChoice:
    value = body.take("tool_choice")
    if value is None or value == "auto":
        return ToolChoice()
    if value == "none":
        return ToolChoice(mode="none")
    if value in ("required", "any"):  # `any` is Anthropic's word, which some OpenAI clients send too
        return ToolChoice(mode="required")
    if isinstance(value, str):
        raise body.wrong("tool_choice", f"is {value!r}; use none, auto, required, any or an object")
    choice = Fields(value, body.path("tool_choice"))
    kind = choice.needed_text("type")
    if kind == "function":
        name = _function_name(choice, nested=nested)
        return ToolChoice(mode="required", allowed=(name,))
    if kind == "allowed_tools":
        return _allowed(choice, nested=nested)
    raise choice.wrong("type", f"is {kind!r}; use 'function' or 'allowed_tools'")


def _allowed(choice: Fields, *, nested: bool) -> ToolChoice:
    """Chat nests the list under `allowed_tools`; Responses writes it flat. Either form is read in both."""
    holder = choice.inner("allowed_tools") or choice
    mode = holder.text("mode") or "auto"
    names: list[str] = []
    for entry in holder.objects("tools", TOOLS_MAX):
        if entry.needed_text("type") != "function":
            raise entry.wrong("type", "must be 'function'")
        names.append(_function_name(entry, nested=nested))
    holder.finish()
    choice.finish()
    if not names:
        raise holder.wrong("tools", "is empty; name at least one tool, or use tool_choice 'none'")
    if mode == "auto":
        return ToolChoice(mode="auto", allowed=tuple(names))
    if mode == "required":
        return ToolChoice(mode="required", allowed=tuple(names))
    raise holder.wrong("mode", f"is {mode!r}; use auto or required")


def _function_name(entry: Fields, *, nested: bool) -> str:
    inner = entry.inner("function")
    if inner is None and nested:
        inner = Fields(None, entry.path("function"))
    name = (inner or entry).needed_text("name")
    if inner is not None:
        inner.finish()
    entry.finish()
    return name
