"""Constraints checked on paper: the grammar of a small tool, and the bytes that its calls can have."""

import json
from typing import Any

import pytest

from perdure.dialects.item import Call, Message, Sampling, Tool, ToolChoice
from perdure.engines.llamacpp_constraint import constrain, primed_text
from perdure.errors import BadRequest

SIZE = Tool(
    name="size",
    parameters={
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 64}},
        "required": ["n"],
    },
)
NOTE = Tool(
    name="note",
    parameters={"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
)
REQUIRED = ToolChoice(mode="required")


def call(*tools: Tool, **given: Any) -> Call:
    return Call(model="m", items=(Message(role="user", text="Go"),), tools=tools, **given)


def test_one_required_tool_is_primed_up_to_its_arguments() -> None:
    """The prompt holds all that is certain; the model writes `":{"n":8}` and its end of turn."""
    forced = call(SIZE, tool_choice=REQUIRED)
    assert primed_text(forced, guided=True) == '<tool_call>{"name":"size","arguments'
    (grammar,) = {attempt.fields["grammar"] for attempt in constrain(forced, 50, guided=True).attempts}
    head, start = grammar.strip().split("\n")
    assert head == "%llguidance {}"
    assert start.startswith('start: "\\":" %json {')
    schema = json.loads(start.partition("%json ")[2])
    assert schema.pop("x-guidance") == {"whitespace_flexible": False}
    assert schema == {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 64}},
        "required": ["n"],
        "additionalProperties": False,
    }


def test_the_tokens_that_are_surely_enough_are_the_bytes_of_the_longest_call() -> None:
    """`{"n":64}` has 8 bytes; with a sign and a comma 10, the header's 20, `size`'s 4 and the end: 35."""
    constraint = constrain(call(SIZE, tool_choice=REQUIRED), 35, guided=True)
    assert constraint.enough_tokens == 35
    assert constraint.attempts[0].certain
    assert not constrain(call(SIZE, tool_choice=REQUIRED), 34, guided=True).attempts[0].certain


def test_a_free_string_gets_room_for_an_ordinary_answer_and_a_shorter_sure_one() -> None:
    """Of 300 tokens 275 are for the arguments: up to 825 characters at 3 a token, and 512 is the next rung.

    Surely, with 6 bytes for a character and 1 for a token: 32, which make 192 + 14 for the rest.
    """
    roomy, safe = constrain(call(NOTE, tool_choice=REQUIRED), 300, guided=True).attempts
    lengths = [
        json.loads(a.fields["grammar"].partition("%json ")[2])["properties"]["text"]["maxLength"]
        for a in (roomy, safe)
    ]
    assert lengths == [512, 32]
    assert (roomy.certain, safe.certain) == (False, True)


def test_several_required_tools_share_what_is_primed() -> None:
    """The model chooses the name; only the tools that are allowed stand in the grammar."""
    forced = call(SIZE, NOTE, SIZE_TOO := Tool(name="size2"), tool_choice=REQUIRED)
    assert primed_text(forced, guided=True) == '<tool_call>{"name'
    grammar = constrain(forced, 100, guided=True).attempts[0].fields["grammar"]
    assert 'call_0: "size\\",\\"arguments\\":" %json' in grammar
    assert f'call_2: "{SIZE_TOO.name}\\",\\"arguments\\":" %json' in grammar
    allowed = call(SIZE, NOTE, tool_choice=ToolChoice(mode="required", allowed=("note",)))
    assert '"size' not in constrain(allowed, 100, guided=True).attempts[0].fields["grammar"]


def test_another_server_is_given_the_schema_of_the_whole_call() -> None:
    """Without our grammar nothing is certain, so every answer is checked before it is shown."""
    one, two = call(SIZE, tool_choice=REQUIRED), call(SIZE, NOTE, tool_choice=REQUIRED)
    assert primed_text(one, guided=False) == '<tool_call>{"name":"size","arguments":'
    assert primed_text(two, guided=False) == "<tool_call>"
    attempts = constrain(two, 200, guided=False).attempts
    assert not any(attempt.certain for attempt in attempts)
    names = [option["properties"]["name"] for option in attempts[0].fields["json_schema"]["anyOf"]]
    assert names == [{"const": "size"}, {"const": "note"}]


def test_nothing_is_constrained_that_need_not_be() -> None:
    """Plain text without tools goes to the model as it is."""
    (attempt,) = constrain(call(), 100, guided=True).attempts
    assert (attempt.fields, attempt.certain) == ({}, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tool_choice": REQUIRED, "sampling": Sampling(ignore_eos=True)}, "ignore_eos does not go"),
        ({"output_schema": {}, "sampling": Sampling(stop=("}",))}, "a stop string would cut"),
        ({"output_schema": {}, "sampling": Sampling(ignore_eos=True)}, "ignore_eos does not go"),
        ({"output_schema": {"enum": []}}, "schema of the response format"),
        ({"output_schema": {"type": "thing"}}, "not a JSON schema"),
        ({"tool_choice": ToolChoice(mode="auto", allowed=("none",))}, "names 'none'"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], said: str) -> None:
    """A wish that cannot be kept is refused before anything is generated."""
    with pytest.raises(BadRequest, match=said):
        primed_text(call(SIZE, **given), guided=True)
