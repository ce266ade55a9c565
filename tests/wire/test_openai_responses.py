"""The official `openai` client speaks Responses with a running server."""

import asyncio
import json

import openai
import pytest
from openai.types.responses import Response

from perdure.dialects.item import FunctionCall, FunctionCallOutput, Message
from perdure.errors import EngineFailed

WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Lima"]}},
        "required": ["city"],
    },
    "strict": True,
}
# Not of this object: what OpenAI added for products that have no counterpart here.
ABSENT = {
    "access_programs",
    "image",
    "input_transformations",
    "moderation",
    "prompt_cache_diagnostics",
    "prompt_cache_options",
    "tool_usage",
}


async def test_a_response_is_made_and_got_again(served):
    """Create and get give the same object, and every field is there."""
    async with served.client() as client:
        made = await client.responses.create(
            model="scripted", input="Hello there", instructions="Be brief", metadata={"job": "7"}
        )
        got = await client.responses.retrieve(made.id)
    assert (made.output_text, made.status) == ("Hello there", "completed")
    assert got == made
    assert set(Response.model_fields) - made.model_fields_set == ABSENT
    assert (made.metadata, made.usage.output_tokens) == ({"job": "7"}, 3)
    assert [item.role for item in served.engine.calls[0].items] == ["system", "user"]


async def test_a_response_streams_every_event_in_order(served):
    """Sequence numbers count up, and the pieces put together are the final object."""
    async with served.client() as client:
        stream = await client.responses.create(model="scripted", input="Hello there", stream=True)
        events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == events[-1].response.output_text == "Hello there"
    assert all(event.content_index == 0 for event in events if "content_part" in event.type)


async def test_the_stream_helper_of_the_client_follows(served):
    """The client's own accumulator, which checks indices, arrives at the final response."""
    async with served.client() as client:
        async with client.responses.stream(model="scripted", input="Hello there") as stream:
            final = await stream.get_final_response()
    assert final.output_text == "Hello there"


async def test_a_required_tool_is_called_and_answered(served):
    """A function call goes out flat, and its output comes back over previous_response_id."""
    async with served.client() as client:
        first = await client.responses.create(
            model="scripted", input="Oslo?", tools=[WEATHER], tool_choice="required"
        )
        call = first.output[0]
        assert (call.type, call.name, json.loads(call.arguments)) == (
            "function_call",
            "weather",
            {"city": "Oslo"},
        )
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        second = await client.responses.create(
            model="scripted", input=[output], previous_response_id=first.id, tools=[WEATHER]
        )
    assert second.previous_response_id == first.id
    assert served.engine.calls[1].items == (
        Message(role="user", text="Oslo?"),
        FunctionCall(call_id=call.call_id, name="weather", arguments='{"city":"Oslo"}'),
        FunctionCallOutput(call_id=call.call_id, output="rain"),
    )


async def test_a_streamed_tool_call_is_whole(served):
    """Arguments come in deltas, then whole, under one item id."""
    async with served.client() as client:
        choice = {"type": "function", "name": "weather"}
        stream = await client.responses.create(
            model="scripted", input="Oslo?", tools=[WEATHER], tool_choice=choice, stream=True
        )
        events = [event async for event in stream]
    deltas = [event for event in events if event.type == "response.function_call_arguments.delta"]
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert "".join(event.delta for event in deltas) == done.arguments == '{"city":"Oslo"}'
    assert {event.item_id for event in deltas} == {done.item_id} == {events[-1].response.output[0].id}


async def test_a_chain_goes_on_from_its_last_response(served):
    """Each response adds its own items; the model sees all of them, oldest first."""
    async with served.client() as client:
        previous = None
        for text in ("one", "two", "three"):
            made = await client.responses.create(model="scripted", input=text, previous_response_id=previous)
            previous = made.id
    assert [item.text for item in served.engine.calls[-1].items] == ["one", "one", "two", "two", "three"]


async def test_a_response_not_stored_is_gone(served):
    """`store: false` keeps nothing: neither get nor a chain finds it."""
    async with served.client() as client:
        made = await client.responses.create(model="scripted", input="Hello", store=False)
        assert made.store is False
        with pytest.raises(openai.NotFoundError, match="there is no response"):
            await client.responses.retrieve(made.id)
        with pytest.raises(openai.NotFoundError, match="to go on from") as refused:
            await client.responses.create(model="scripted", input="x", previous_response_id=made.id)
    assert refused.value.param == "previous_response_id"


async def test_a_response_of_another_workspace_is_not_found(served):
    """Neither get nor a chain tells a stranger that a response exists."""
    stranger = await asyncio.to_thread(served.platform.keys.make, "other")
    async with served.client() as client, served.client(api_key=stranger) as other:
        made = await client.responses.create(model="scripted", input="Hello")
        with pytest.raises(openai.NotFoundError):
            await other.responses.retrieve(made.id)
        with pytest.raises(openai.NotFoundError):
            await other.responses.create(model="scripted", input="x", previous_response_id=made.id)


async def test_a_schema_shapes_the_answer(served):
    """`text.format` json_schema gives JSON of that schema, and is echoed."""
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    shape = {"format": {"type": "json_schema", "name": "sum", "schema": schema, "strict": True}}
    async with served.client() as client:
        made = await client.responses.create(model="scripted", input="1+1", text=shape)
    assert json.loads(made.output_text) == {"sum": 0}
    assert made.text.format.name == "sum"


async def test_a_token_limit_makes_it_incomplete(served):
    """`max_output_tokens` ends in status incomplete, with the reason, streamed or not."""
    async with served.client() as client:
        made = await client.responses.create(model="scripted", input="Hello there", max_output_tokens=2)
        stream = await client.responses.create(
            model="scripted", input="Hello there", max_output_tokens=2, stream=True
        )
        events = [event async for event in stream]
    assert (made.status, made.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert made.output[0].status == "incomplete"
    assert events[-1].type == "response.incomplete"


async def test_a_broken_stream_says_so(serving):
    """An engine that breaks half-way gives an error event, then the failed response."""
    async with serving([EngineFailed("the engine broke")]) as served, served.client() as client:
        stream = await client.responses.create(model="scripted", input="Hello", stream=True)
        events = [event async for event in stream]
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert events[-1].response.error.message == "the engine broke"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"background": True}, "background is not supported"),
        ({"truncation": "auto"}, "truncation must be 'disabled'"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, r"input\[0\].type"),
        (
            {"tools": [{"type": "code_interpreter", "container": "auto"}]},
            r"tools\[0\].type is 'code_interpreter'",
        ),
        ({"input": None}, "input is missing"),
        ({"conversation": "conv_1"}, "previous_response_id"),
    ],
)
async def test_what_cannot_be_honoured_is_refused(served, wrong, message):
    """400 that names the field, before anything is generated."""
    async with served.client() as client:
        with pytest.raises(openai.BadRequestError, match=message):
            await client.responses.create(**{"model": "scripted", "input": "Hello", **wrong})
    assert served.engine.calls == []


async def test_optional_hosted_tools_are_named_as_ignored(served):
    """A web search that the model can do without is left out, and the client is told."""
    async with served.client() as client:
        raw = await client.responses.with_raw_response.create(
            model="scripted", input="Hello", tools=[{"type": "web_search"}, WEATHER], include=[]
        )
    assert raw.headers["x-perdure-ignored"] == "include, tools[0] (web_search)"
