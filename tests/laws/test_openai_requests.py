"""Laws of reading OpenAI requests: nothing is dropped in silence, and nonsense is the caller's error."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.dialects import openai_chat, openai_responses
from perdure.dialects.item import Caller, FunctionCall, FunctionCallOutput, Item, Message
from perdure.dialects.openai_chat import read_chat
from perdure.dialects.openai_responses import read_responses
from perdure.errors import BadRequest
from perdure.platform.openapi import description

HELLO = [{"role": "user", "content": "x"}]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SCHEMAS = description()["components"]["schemas"]
chat_fields = st.sampled_from(
    sorted({*SCHEMAS["ChatRequest"]["properties"], *openai_chat.HARMLESS, *openai_chat.REFUSED, "odd"})
)
responses_fields = st.sampled_from(
    sorted(
        {
            *SCHEMAS["ResponsesRequest"]["properties"],
            *openai_responses.HARMLESS,
            *openai_responses.REFUSED,
            "odd",
        }
    )
)


@given(body=json_values | st.dictionaries(chat_fields, json_values, max_size=6))
def test_whatever_is_sent_as_a_chat_is_read_or_refused(body: object) -> None:
    """Law: no body makes reading fail in any other way than BadRequest."""
    with suppress(BadRequest):
        read_chat(body, Caller())


@given(body=json_values | st.dictionaries(responses_fields, json_values, max_size=6))
def test_whatever_is_sent_as_a_response_is_read_or_refused(body: object) -> None:
    """Law: no body makes reading fail in any other way than BadRequest."""
    with suppress(BadRequest):
        read_responses(body, Caller())


@given(name=st.text(min_size=1, max_size=12), value=json_values)
def test_an_unknown_parameter_is_never_dropped_in_silence(name: str, value: object) -> None:
    """Law: a parameter is described, or named among the ignored, or refused; null asks for nothing."""
    body = {"model": "m", "messages": HELLO, name: value}
    described = {*SCHEMAS["ChatRequest"]["properties"]}
    if name in described or value is None:
        return
    named = name in openai_chat.HARMLESS or (name in openai_chat.REFUSED and not value)
    if named:
        assert read_chat(body, Caller()).ignored == ((name,) if name in openai_chat.HARMLESS else ())
    else:
        with pytest.raises(BadRequest) as refused:
            read_chat(body, Caller())
        assert refused.value.param == name


texts = st.text(max_size=20)
call_ids = st.from_regex(r"call_[a-z0-9]{1,6}", fullmatch=True)
items = st.lists(
    st.one_of(
        st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), text=texts),
        st.builds(FunctionCall, call_id=call_ids, name=st.just("f"), arguments=st.just('{"a":1}')),
        st.builds(FunctionCallOutput, call_id=call_ids, output=texts),
    ),
    min_size=1,
    max_size=8,
)


def as_message(item: Item) -> dict[str, object]:
    if isinstance(item, Message):
        return {"role": item.role, "content": item.text}
    if isinstance(item, FunctionCallOutput):
        return {"role": "tool", "tool_call_id": item.call_id, "content": item.output}
    function = {"name": item.name, "arguments": item.arguments}
    return {
        "role": "assistant",
        "tool_calls": [{"id": item.call_id, "type": "function", "function": function}],
    }


def as_input(item: Item) -> dict[str, object]:
    if isinstance(item, Message):
        return {"role": item.role, "content": [{"type": "input_text", "text": item.text}]}
    if isinstance(item, FunctionCallOutput):
        return {"type": "function_call_output", "call_id": item.call_id, "output": item.output}
    return {
        "type": "function_call",
        "call_id": item.call_id,
        "name": item.name,
        "arguments": item.arguments,
    }


@given(items=items)
def test_both_dialects_carry_a_conversation_unchanged(items: list[Item]) -> None:
    """Law: the same conversation in either dialect is the same items."""
    chat = read_chat({"model": "m", "messages": [as_message(item) for item in items]}, Caller())
    responses = read_responses({"model": "m", "input": [as_input(item) for item in items]}, Caller())
    assert list(chat.call.items) == items
    assert list(responses.call().items) == items
