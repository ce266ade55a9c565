"""Laws of the scripted engine: it keeps the engines' contract, and what it makes up is valid."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from perdure.clock import VirtualClock
from perdure.dialects.item import Call, Finished, FunctionCall, Message, TextDelta, Tool, ToolChoice
from perdure.engines.scripted import ScriptedEngine
from perdure.engines.smallest import smallest
from perdure.errors import BadRequest, ContextTooLong, EngineFailed

leaves = st.one_of(
    st.builds(lambda low: {"type": "integer", "minimum": low}, st.integers(-9, 9)),
    st.builds(lambda low: {"type": "number", "exclusiveMinimum": low}, st.integers(-9, 9)),
    st.builds(lambda high: {"type": "integer", "maximum": high}, st.integers(-9, 9)),
    st.builds(lambda low: {"type": "string", "minLength": low}, st.integers(0, 3)),
    st.builds(lambda choices: {"enum": choices}, st.lists(st.text(max_size=3), min_size=1, max_size=3)),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": 7}, {"type": ["string", "null"]}, {}]),
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
            st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True), inner, max_size=3),
        ),
        st.builds(
            lambda items, n: {"type": "array", "items": items, "minItems": n}, inner, st.integers(0, 2)
        ),
        st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=6,
)


@given(schema=schemas)
def test_the_smallest_value_is_valid(schema: dict) -> None:
    """Law: what is made up for a schema keeps it."""
    Draft202012Validator(schema).validate(smallest(schema))


def test_a_schema_may_refer_into_itself_but_not_for_ever() -> None:
    """A $ref is followed; one that never ends is refused."""
    node = {"$defs": {"n": {"type": "integer", "minimum": 4}}, "$ref": "#/$defs/n"}
    assert smallest(node) == 4
    with pytest.raises(BadRequest, match="refers to itself"):
        smallest({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})


def a_call(**more: object) -> Call:
    return Call(model="scripted", items=(Message(role="user", text="Hello there"),), **more)


async def events_of(engine: ScriptedEngine, call: Call) -> list:
    return [event async for event in engine.stream(await engine.prepare(call))]


async def test_it_yields_deltas_then_one_finished() -> None:
    """Text in four-character tokens, then the counts."""
    engine = ScriptedEngine(clock=VirtualClock(), answers=["Hello there"], delay_s=0.5)
    *deltas, last = await events_of(engine, a_call())
    assert deltas == [TextDelta(text=text) for text in ("Hell", "o th", "ere")]
    assert isinstance(last, Finished)
    assert (last.usage.output_tokens, last.decode_s) == (3, 1.5)


async def test_a_function_answers_and_a_list_runs_out() -> None:
    """A script may be a function of the call; a list that is used up is an engine failure."""
    engine = ScriptedEngine(clock=VirtualClock(), answers=lambda call: call.items[-1].text.upper())
    assert (await events_of(engine, a_call()))[0] == TextDelta(text="HELL")
    empty = ScriptedEngine(clock=VirtualClock(), answers=[])
    with pytest.raises(EngineFailed, match="no answers left"):
        await events_of(empty, a_call())


async def test_a_required_tool_is_called_whatever_the_script_says() -> None:
    """A reply that is no allowed call is replaced by the smallest valid one; an allowed call is kept."""
    tool = Tool(
        name="f", parameters={"type": "object", "properties": {"a": {"enum": [5]}}, "required": ["a"]}
    )
    wanted = FunctionCall(call_id="c", name="f", arguments='{"a":5}')
    for reply in ("talk", wanted, FunctionCall(call_id="c", name="g", arguments="{}")):
        engine = ScriptedEngine(clock=VirtualClock(), answers=[reply])
        started, *deltas, last = await events_of(
            engine, a_call(tools=(tool,), tool_choice=ToolChoice(mode="required"))
        )
        assert started.name == "f"
        assert json.loads("".join(delta.text for delta in deltas)) == {"a": 5}
        assert last.reason == "tool_calls"


async def test_a_prompt_over_the_window_is_refused() -> None:
    """The window holds prompt and answer together."""
    engine = ScriptedEngine(clock=VirtualClock(), window_tokens=20)
    room = 20 - len((await engine.prepare(a_call())).prompt_token_ids)
    await engine.prepare(a_call(max_output_tokens=room))
    with pytest.raises(ContextTooLong):
        await engine.prepare(a_call(max_output_tokens=room + 1))


async def test_closing_the_stream_is_a_cancellation() -> None:
    """What is closed half-way is counted as cancelled, what is read to its end as finished."""
    engine = ScriptedEngine(clock=VirtualClock())
    stream = engine.stream(await engine.prepare(a_call()))
    await anext(stream)
    await stream.aclose()
    await events_of(engine, a_call())
    assert (engine.cancelled, engine.finished) == (1, 1)
