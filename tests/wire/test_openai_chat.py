"""The official `openai` client speaks Chat Completions with a running server."""

import asyncio
import json

import openai
import pytest

from perdure.dialects.item import FunctionCall, ToolChoice
from perdure.errors import EngineFailed

HELLO = [{"role": "user", "content": "Hello there"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Lima"]}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


async def test_a_chat_is_answered(served):
    """A completion has text, a finish reason and usage with cached tokens."""
    async with served.client() as client:
        first = await client.chat.completions.create(model="scripted", messages=HELLO)
        again = await client.chat.completions.create(model="scripted", messages=HELLO)
    assert first.choices[0].message.content == "Hello there"
    assert first.choices[0].finish_reason == "stop"
    assert first.usage.completion_tokens == 3
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert again.usage.prompt_tokens_details.cached_tokens == again.usage.prompt_tokens - 1
    assert first.usage.total_tokens == first.usage.prompt_tokens + 3


async def test_the_synchronous_client_is_answered(served):
    """The blocking client gets the same answer, whole and streamed."""

    def ask() -> tuple[str, str]:
        with served.sync_client() as client:
            whole = client.chat.completions.create(model="scripted", messages=HELLO)
            chunks = client.chat.completions.create(model="scripted", messages=HELLO, stream=True)
            return whole.choices[0].message.content, "".join(
                chunk.choices[0].delta.content or "" for chunk in chunks
            )

    assert await asyncio.to_thread(ask) == ("Hello there", "Hello there")


async def test_a_stream_ends_with_usage_when_asked(served):
    """`include_usage` brings one last chunk without choices; the others say null."""
    async with served.client() as client:
        stream = await client.chat.completions.create(
            model="scripted", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 3
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"


async def test_continuous_usage_counts_up(served):
    """With `continuous_usage_stats` every chunk says how many tokens there were so far."""
    async with served.client() as client:
        options = {"include_usage": True, "continuous_usage_stats": True}
        stream = await client.chat.completions.create(
            model="scripted", messages=HELLO, stream=True, stream_options=options
        )
        counts = [chunk.usage.completion_tokens async for chunk in stream]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 3)


@pytest.mark.parametrize("word", ["required", "any"])
async def test_a_required_tool_is_called_with_valid_arguments(word, served):
    """`tool_choice: required`, or Anthropic's `any`, yields a call even where the model would rather talk."""
    async with served.client() as client:
        answer = await client.chat.completions.create(
            model="scripted", messages=HELLO, tools=[WEATHER, CLOCK], tool_choice=word
        )
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "weather",
        {"city": "Oslo", "days": 1},
    )


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "clock"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "clock"}}],
            },
        },
    ],
)
async def test_a_named_tool_is_the_one_called(served, choice):
    """One named function, and a list of allowed ones, both reach the engine as required with that name."""
    async with served.client() as client:
        answer = await client.chat.completions.create(
            model="scripted", messages=HELLO, tools=[WEATHER, CLOCK], tool_choice=choice
        )
    assert answer.choices[0].message.tool_calls[0].function.name == "clock"
    assert served.engine.calls[0].tool_choice == ToolChoice(mode="required", allowed=("clock",))
    assert [tool.name for tool in served.engine.calls[0].tools] == ["weather", "clock"]


async def test_a_tool_turn_goes_round(serving):
    """A call the model makes by itself can be answered by a tool message, and the chat goes on."""
    call = FunctionCall(call_id="call_1", name="clock", arguments='{"zone":"UTC"}')
    async with serving([call, "noon"]) as served, served.client() as client:
        stream = await client.chat.completions.create(
            model="scripted", messages=HELLO, tools=[CLOCK], stream=True
        )
        deltas = [chunk.choices[0].delta async for chunk in stream]
        calls = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
        assert (calls[0].id, calls[0].function.name) == ("call_1", "clock")
        arguments = "".join(part.function.arguments or "" for part in calls)
        assert arguments == '{"zone":"UTC"}'
        asked = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": arguments}}
        turn = [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "12:00"}]},
        ]
        answer = await client.chat.completions.create(model="scripted", messages=turn, tools=[CLOCK])
        assert answer.choices[0].message.content == "noon"
        kinds = [type(item).__name__ for item in served.engine.calls[1].items]
        assert kinds == ["Message", "FunctionCall", "FunctionCallOutput"]


async def test_a_schema_shapes_the_answer(served):
    """`response_format: json_schema` gives JSON of that schema."""
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    shape = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": True}}
    async with served.client() as client:
        answer = await client.chat.completions.create(model="scripted", messages=HELLO, response_format=shape)
    assert json.loads(answer.choices[0].message.content) == {"sum": 0}


async def test_a_token_limit_cuts_the_answer(served):
    """`max_completion_tokens` ends the answer with reason `length`."""
    async with served.client() as client:
        answer = await client.chat.completions.create(
            model="scripted", messages=HELLO, max_completion_tokens=2
        )
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hello th", "length")


async def test_ignored_parameters_are_named(served):
    """A harmless parameter that changes nothing is named in a header, never dropped in silence."""
    async with served.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="scripted", messages=[{**HELLO[0], "name": "ann"}], user="u", reasoning_effort="low"
        )
    assert raw.headers["x-perdure-ignored"] == "user, reasoning_effort, messages[].name"
    assert raw.headers["x-request-id"].startswith("req_")
    assert int(raw.headers["openai-processing-ms"]) >= 0


async def test_models_say_their_window(served):
    """The list and the single model agree, and say how long a request may be."""
    async with served.client() as client:
        models = [model async for model in client.models.list()]
        one = await client.models.retrieve("scripted")
    assert [model.id for model in models] == ["scripted"]
    assert one == models[0]
    assert one.max_model_len == 4096


async def test_an_unknown_model_names_those_there_are(served):
    """404 with the models that exist."""
    async with served.client() as client:
        with pytest.raises(openai.NotFoundError, match="this server has: scripted") as refused:
            await client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_a_context_too_long_says_need_window_and_remedy(serving):
    """400 with OpenAI's own code, so that clients that shorten by themselves do."""
    async with serving(window_tokens=50) as served, served.client() as client:
        with pytest.raises(openai.BadRequestError, match=r"window is 50\. Shorten") as refused:
            await client.chat.completions.create(
                model="scripted", messages=[{"role": "user", "content": "x" * 400}]
            )
    assert refused.value.code == "context_length_exceeded"


async def test_a_wrong_key_is_refused(served):
    """401, and the message says where the right key is."""
    async with served.client(api_key="sk-perdure-wrong") as client:
        with pytest.raises(openai.AuthenticationError, match="perdure env") as refused:
            await client.models.list()
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n": 2}, "n must be 1"),
        ({"logprobs": True}, "logprobs cannot be had"),
        ({"temperature": 3}, "temperature is 3; it must lie between 0 and 2"),
        ({"extra_body": {"top_q": 1}}, "top_q is not a parameter"),
        ({"tool_choice": "required"}, "tools is empty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "text",
        ),
        ({"max_tokens": 2, "max_completion_tokens": 3}, "send one of them"),
    ],
)
async def test_what_cannot_be_honoured_is_refused(served, wrong, message):
    """400 that names the field, before anything is generated."""
    async with served.client() as client:
        with pytest.raises(openai.BadRequestError, match=message):
            await client.chat.completions.create(**{"model": "scripted", "messages": HELLO, **wrong})
    assert served.engine.calls == []


async def test_an_error_mid_stream_is_an_error_event(serving):
    """An engine that breaks half-way ends the stream with an error that the client raises."""
    async with serving([EngineFailed("the engine broke")]) as served, served.client() as client:
        stream = await client.chat.completions.create(model="scripted", messages=HELLO, stream=True)
        said: list[str] = []
        with pytest.raises(openai.APIError, match="the engine broke"):
            await _note(stream, said)
    assert "".join(said) == "broken"


async def _note(stream, said: list[str]) -> None:
    async for chunk in stream:
        said += chunk.choices[0].delta.content or ""


async def test_an_error_before_the_first_byte_has_its_own_status(serving):
    """A call that breaks without a stream is 502, and the client is told to try again."""
    async with serving([EngineFailed("the engine broke")]) as served, served.client() as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model="scripted", messages=HELLO)
    assert refused.value.status_code == 502
    assert refused.value.response.headers["x-should-retry"] == "true"
