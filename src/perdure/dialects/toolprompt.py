"""How a conversation with tools is written for a model that knows only text: chat messages, and back.

The same items always give the same bytes, and more items only ever add to the end, so that an engine's
prefix cache holds from turn to turn. The tags are those that Hermes-style models are trained on.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.dialects.item import FunctionCall, FunctionCallOutput, Item, Message, Role, Tool

CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"
RESPONSE_OPEN = "<tool_response>"
RESPONSE_CLOSE = "</tool_response>"
NO_WIDTH = "\u200b"
_OURS = {CALL_OPEN, CALL_CLOSE, RESPONSE_OPEN, RESPONSE_CLOSE}  # control tokens of some models

_HOW_TO_CALL = f"""\
You can call functions. Each line between <tools> and </tools> is one; its parameters are a JSON schema.
<tools>
%s
</tools>
To call a function, answer with its name and arguments as JSON, in this form and with nothing after it:
{CALL_OPEN}{{"name":"NAME","arguments":{{"KEY":"VALUE"}}}}{CALL_CLOSE}
The result comes back between {RESPONSE_OPEN} and {RESPONSE_CLOSE}."""


_NAMES: dict[Role, str] = {"system": "", "user": "User:", "assistant": "Assistant:"}


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message as chat templates take it."""

    role: Role
    content: str


def render(items: Sequence[Item], tools: Sequence[Tool]) -> tuple[ChatMessage, ...]:
    """The chat messages for `items`, with `tools` described in a system message at the front.

    Neighbours of one role become one message, because many templates refuse two in a row.
    """
    messages: list[ChatMessage] = []
    for role, text in _turns(items, tools):
        if messages and messages[-1].role == role:
            text = _joined(messages.pop().content, text)
        messages.append(ChatMessage(role=role, content=text))
    return tuple(messages)


def disarm(messages: Sequence[ChatMessage], control_tokens: Sequence[str]) -> tuple[ChatMessage, ...]:
    """`messages` in which no text is read as a command of the chat template, whoever wrote it.

    Without this, a web page that a tool fetched could end the turn and speak as the system. A blank of no
    width goes into what would be a control token, so that it stays text and looks the same.
    """
    theirs = sorted({token for token in control_tokens if len(token) > 1} - _OURS, key=len, reverse=True)
    if not theirs:
        return tuple(messages)
    harmful = re.compile("|".join(map(re.escape, theirs)))
    return tuple(ChatMessage(role=m.role, content=_disarmed(m.content, harmful)) for m in messages)


def render_plain(messages: Sequence[ChatMessage]) -> str:
    """The prompt for a model without a chat template: a script that ends where the model speaks."""
    return "".join(f"{_NAMES[m.role]}{_spaced(m)}\n\n" for m in messages) + _NAMES["assistant"]


PLAIN_STOP = "\nUser:"
"""Where a model without a chat template starts to write the other side's part."""


def call_opening(names: Sequence[str]) -> str:
    """The text that every call of one of `names` begins with: put at the end of the prompt, it need not be
    generated. It stops short of a quote, because tokenizers glue the quote to what follows.
    """
    if len(names) == 1:
        return f'{CALL_OPEN}{{"name":{_json(names[0])},"arguments'
    return f'{CALL_OPEN}{{"name'


def call_text(name: str, arguments: str) -> str:
    """A call as the model writes it; `arguments` keeps its bytes."""
    return f'{CALL_OPEN}{{"name":{_json(name)},"arguments":{arguments}}}{CALL_CLOSE}'


def tool_text(tool: Tool) -> str:
    """One tool as one line of JSON; the order of its keys is that of the schema."""
    parameters: dict[str, Any] = tool.parameters or {"type": "object", "properties": {}}
    return _json({"name": tool.name, "description": tool.description, "parameters": parameters})


def _disarmed(text: str, harmful: re.Pattern[str]) -> str:
    while harmful.search(text):  # again, where two of them overlap
        text = harmful.sub(lambda found: f"{found[0][:1]}{NO_WIDTH}{found[0][1:]}", text)
    return text


def _spaced(message: ChatMessage) -> str:
    """What stands behind the name: a model begins with the blank itself, so it is added where missing."""
    said = message.content
    return said if message.role == "system" or said[:1].isspace() else f" {said}"


def _turns(items: Sequence[Item], tools: Sequence[Tool]) -> list[tuple[Role, str]]:
    turns: list[tuple[Role, str]] = []
    rest = list(items)
    while rest and isinstance(rest[0], Message) and rest[0].role == "system":
        turns.append(("system", rest.pop(0).text))  # type: ignore[union-attr]
    if tools:
        turns.append(("system", _HOW_TO_CALL % "\n".join(map(tool_text, tools))))
    turns.extend(map(_turn, rest))
    return turns


def _joined(before: str, after: str) -> str:
    """Two texts of one role as one; a call stands right behind the text that led to it, as generated."""
    if not before or after.startswith(CALL_OPEN):
        return before + after
    return f"{before}\n\n{after}"


def _turn(item: Item) -> tuple[Role, str]:
    match item:
        case Message(role=role, text=text):
            return role, text
        case FunctionCall(name=name, arguments=arguments):
            return "assistant", call_text(name, arguments)
        case FunctionCallOutput(output=output):
            return "user", f"{RESPONSE_OPEN}\n{output}\n{RESPONSE_CLOSE}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
