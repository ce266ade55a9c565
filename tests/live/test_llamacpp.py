"""The embedded engine with a real model: what it promises, however little the model understands."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator
from tests.eventually import eventually, eventually_async
from tests.hard_schemas import HARD
from tests.tiny_gguf import gguf

from perdure.clock import SystemClock
from perdure.dialects.item import (
    ArgumentsDelta,
    Call,
    CallStarted,
    Event,
    Finished,
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    Sampling,
    TextDelta,
    Tool,
    ToolChoice,
)
from perdure.engines.engine import Prepared
from perdure.engines.llamacpp import LlamaCpp
from perdure.errors import BadRequest, ContextTooLong, EngineFailed
from perdure.processes import identify

WINDOW_TOKENS = 1024
SEEDS = 42

POINT = {
    "type": "object",
    "properties": {"x": {"type": "number"}, "next": {"anyOf": [{"$ref": "#/$defs/point"}, {"type": "null"}]}},
    "required": ["x", "next"],
    "additionalProperties": False,
}
NASTY: dict[str, dict[str, Any]] = {
    "nested": {
        "type": "object",
        "properties": {
            "tile": {"type": "integer", "minimum": 1, "maximum": 64},
            "deep": {
                "type": "object",
                "properties": {"why": {"type": "string"}, "sure": {"type": "boolean"}},
                "required": ["why", "sure"],
            },
        },
        "required": ["tile", "deep"],
    },
    "anything": {"type": "object"},
    "lists": {
        "type": "object",
        "properties": {
            "sizes": {"type": "array", "items": {"type": "number"}},
            "names": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        },
        "required": ["sizes", "names"],
    },
    "options": {
        "type": "object",
        "properties": {
            "level": {"type": "integer", "minimum": -3, "exclusiveMaximum": 5},
            "order": {"enum": ["ijk", "größe", None, 3, {"a": [1]}]},
            "note": {"type": ["string", "null"]},
            "more": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["order"],
    },
    "union": {
        "type": "object",
        "properties": {
            "value": {
                "oneOf": [
                    {"type": "integer"},
                    {"type": "string", "pattern": "^[a-f]{3,6}$"},
                    {"type": "array", "items": {"$ref": "#/$defs/point"}, "maxItems": 3},
                ]
            }
        },
        "required": ["value"],
        "$defs": {"point": POINT},
    },
    "share": {
        "type": "object",
        "properties": {"share": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.001}},
        "required": ["share"],
    },
}
TOOLS = tuple(Tool(name=name, description=f"Sets {name}.", parameters=s) for name, s in NASTY.items())


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def engine(smollm2: Path) -> AsyncIterator[LlamaCpp]:
    engine = LlamaCpp(
        model_file=smollm2, model_id="smollm2-135m", window_tokens=WINDOW_TOKENS, clock=SystemClock()
    )
    await engine.start()
    yield engine
    await engine.close()


def user(text: str) -> tuple[Item, ...]:
    return (Message(role="user", text=text),)


async def ask(engine: LlamaCpp, **given: Any) -> list[Event]:
    return await everything(engine, await engine.prepare(Call(model="smollm2-135m", **given)))


async def everything(engine: LlamaCpp, prepared: Prepared) -> list[Event]:
    return [event async for event in engine.stream(prepared)]


def said(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def called(events: list[Event]) -> tuple[str, Any]:
    """Name and arguments of the one call that `events` are."""
    assert isinstance(events[0], CallStarted)
    assert all(isinstance(event, ArgumentsDelta) for event in events[1:-1])
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "tool_calls"
    return events[0].name, json.loads("".join(e.text for e in events if isinstance(e, ArgumentsDelta)))


def finish(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def check_forced_call(engine: LlamaCpp, seed: int) -> None:
    name = [*NASTY, None][seed % (len(NASTY) + 1)]
    events = await ask(
        engine,
        items=user(f"Set something, version {seed}."),
        tools=TOOLS,
        tool_choice=ToolChoice(mode="required", allowed=(name,) if name else ()),
        max_output_tokens=100,
        sampling=Sampling(seed=seed, temperature=1.0 + seed % 3 / 2),
    )
    chosen, arguments = called(events)
    assert name in (None, chosen)
    Draft202012Validator(NASTY[chosen]).validate(arguments)


async def test_a_forced_call_is_valid_whatever_the_seed(engine: LlamaCpp) -> None:
    """Over many seeds at high temperature, each call of each nasty schema validates."""
    for seed in range(0, SEEDS, 2):
        await asyncio.gather(check_forced_call(engine, seed), check_forced_call(engine, seed + 1))


@pytest.mark.soak
async def test_a_forced_call_is_valid_over_a_long_time(engine: LlamaCpp) -> None:
    """The same, with hundreds of seeds more."""
    for seed in range(SEEDS, SEEDS + 300, 2):
        await asyncio.gather(check_forced_call(engine, seed), check_forced_call(engine, seed + 1))


async def test_a_call_that_cannot_fit_names_the_tokens_that_would_do(engine: LlamaCpp) -> None:
    """With too few tokens the call is refused, and with as many as the message names it is made."""
    given = {
        "items": user("Set it."),
        "tools": TOOLS,
        "tool_choice": ToolChoice(mode="required", allowed=("nested",)),
        "sampling": Sampling(seed=7),
    }
    with pytest.raises(
        BadRequest, match=r"does not fit in 6 output tokens; \d+ are surely enough"
    ) as refused:
        await ask(engine, **given, max_output_tokens=6)
    enough = int(refused.value.message.rpartition(";")[2].split()[0])
    for seed in range(3):
        events = await ask(
            engine, **{**given, "sampling": Sampling(seed=seed, temperature=2.0)}, max_output_tokens=enough
        )
        Draft202012Validator(NASTY["nested"]).validate(called(events)[1])


async def test_what_no_grammar_expresses_is_kept_all_the_same(engine: LlamaCpp) -> None:
    """Conditions, negations and patterns of keys: each forced call validates against the whole schema."""
    for seed, (name, schema) in enumerate(HARD.items()):
        for temperature in (0.0, 1.5):
            events = await ask(
                engine,
                items=user(f"Set {name}."),
                tools=(Tool(name="odd", parameters=schema),),
                tool_choice=ToolChoice(mode="required"),
                max_output_tokens=100,
                sampling=Sampling(seed=seed, temperature=temperature),
            )
            Draft202012Validator(schema).validate(called(events)[1])


async def test_a_call_that_cannot_be_made_is_refused_by_name(engine: LlamaCpp) -> None:
    """What is at fault is named before anything is generated."""
    for tools, choice, said_so in (
        ((), ToolChoice(mode="required"), "no tools"),
        (TOOLS, ToolChoice(mode="required", allowed=("none such",)), "none such"),
        (
            (Tool(name="bad", parameters={"type": "thing"}),),
            ToolChoice(mode="required"),
            "tool bad.*not a JSON schema",
        ),
    ):
        with pytest.raises(BadRequest, match=said_so):
            await ask(engine, items=user("Hi"), tools=tools, tool_choice=choice)


async def test_an_answer_in_a_response_format_validates(engine: LlamaCpp) -> None:
    """The text is JSON of the schema, and nothing else."""
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
        "required": ["city", "people"],
    }
    for seed in range(6):
        events = await ask(
            engine,
            items=user("Name a city."),
            output_schema=schema,
            max_output_tokens=60,
            sampling=Sampling(seed=seed, temperature=1.5),
        )
        Draft202012Validator(schema).validate(json.loads(said(events)))
        assert finish(events).reason == "stop"


async def test_text_comes_in_pieces_and_the_same_seed_says_the_same(engine: LlamaCpp) -> None:
    """A seed decides what is said, the token budget where it ends, and both are reported."""
    given = {"items": user("Tell me a story."), "max_output_tokens": 16}
    first, again = [await ask(engine, **given, sampling=Sampling(seed=3)) for _ in range(2)]
    other = await ask(engine, **given, sampling=Sampling(seed=4))
    assert said(first) == said(again) != said(other)
    assert len(first) > 4
    assert finish(first).reason == "length"
    assert finish(first).usage.output_tokens == 16
    assert finish(first).decode_s


async def test_a_stop_string_ends_the_text_before_itself(engine: LlamaCpp) -> None:
    """What stops the text is not part of it."""
    items = user("Count: one two three four five six seven eight.")
    whole = said(await ask(engine, items=items, max_output_tokens=30, sampling=Sampling(temperature=0)))
    word = whole.split()[3]
    events = await ask(
        engine, items=items, max_output_tokens=30, sampling=Sampling(temperature=0, stop=(word,))
    )
    assert said(events) == whole[: whole.index(word)]
    assert finish(events).reason == "stop"


async def test_ignoring_the_end_of_turn_fills_the_budget(engine: LlamaCpp) -> None:
    """With `ignore_eos` exactly as many tokens come out as were asked for."""
    events = await ask(
        engine, items=user("Say yes."), max_output_tokens=90, sampling=Sampling(ignore_eos=True, seed=1)
    )
    assert finish(events).usage.output_tokens == 90


def turns(count: int, *, thought: str = "") -> list[Item]:
    """A conversation in which a tool was called `count` times, each time with a thought before."""
    items: list[Item] = [Message(role="system", text="You call functions.")]
    for city in ("Paris", "Rome", "Berlin", "Madrid")[:count]:
        items += [
            Message(role="user", text=f"Weather in {city}?"),
            *([Message(role="assistant", text=thought)] if thought else []),
            FunctionCall(call_id="c", name="weather", arguments=json.dumps({"city": city})),
            FunctionCallOutput(call_id="c", output="sunny"),
            Message(role="assistant", text="It is sunny."),
        ]
    return items


CITIES = ["Paris", "Rome", "Berlin", "Madrid", "Bergen"]
WEATHER = Tool(
    name="weather",
    description="The weather of a city.",
    parameters={"type": "object", "properties": {"city": {"enum": CITIES}}, "required": ["city"]},
)


@pytest.mark.parametrize("thought", ["", "I will look."])
async def test_an_optional_call_is_a_valid_call_or_text(engine: LlamaCpp, thought: str) -> None:
    """In mode auto the model may do either or both; once it opens a call, the call is one of the tool's.

    The model would ask for Oslo, which the schema does not allow.
    """
    items = (*turns(3, thought=thought), Message(role="user", text="Weather in Oslo?"))
    calls = 0
    for seed in range(6):
        sampling = Sampling(seed=seed, temperature=0.5)
        events = await ask(engine, items=items, tools=(WEATHER,), max_output_tokens=40, sampling=sampling)
        text = said(events)
        assert "<tool_call" not in text
        if finish(events).reason == "tool_calls":
            calls += text == thought
            name, arguments = called([event for event in events if not isinstance(event, TextDelta)])
            assert name == "weather"
            Draft202012Validator(WEATHER.parameters).validate(arguments)
    assert calls > 0, "shown three calls, the model makes one like them in six tries"


async def test_mode_none_gives_text_only(engine: LlamaCpp) -> None:
    """A conversation full of calls goes on without one."""
    items = (*turns(3), Message(role="user", text="Weather in Oslo?"))
    for seed in (2, 3, 4):
        events = await ask(
            engine,
            items=items,
            tools=(WEATHER,),
            tool_choice=ToolChoice(mode="none"),
            max_output_tokens=16,
            sampling=Sampling(seed=seed, temperature=0.7),
        )
        assert not any(isinstance(event, CallStarted) for event in events)
        assert "<tool_call" not in said(events)


async def test_the_next_turn_computes_only_what_is_new(engine: LlamaCpp) -> None:
    """What an agent's earlier turn computed is not computed again: the engine reports it as cached."""
    items = turns(2)
    before = finish(await ask(engine, items=tuple(items), tools=(WEATHER,), max_output_tokens=1)).usage
    grown = (*items, Message(role="user", text="And in Oslo?"))
    after = finish(await ask(engine, items=grown, tools=(WEATHER,), max_output_tokens=1)).usage
    assert after.prompt_tokens > before.prompt_tokens
    assert after.cached_tokens >= before.prompt_tokens - 8


async def test_each_request_has_the_whole_window(smollm2: Path) -> None:
    """Two prompts that each fill nearly all of the window run at once; one token more than it is refused."""
    window_tokens = 256
    engine = LlamaCpp(
        model_file=smollm2, model_id="m", window_tokens=window_tokens, slots=2, clock=SystemClock()
    )
    await engine.start()
    try:
        filler = "word " * (window_tokens - 50)
        calls = [Call(model="m", items=user(f"{n} {filler}"), max_output_tokens=4) for n in (1, 2)]
        prepared = [await engine.prepare(call) for call in calls]
        assert all(len(p.prompt_token_ids) > window_tokens * 0.9 for p in prepared)
        for events in await asyncio.gather(*(everything(engine, p) for p in prepared)):
            assert finish(events).usage.output_tokens >= 1
        room = window_tokens - len(prepared[0].prompt_token_ids)
        with pytest.raises(ContextTooLong, match=f"window is {window_tokens}. Ask for at most {room}"):
            await engine.prepare(Call(model="m", items=user(f"1 {filler}"), max_output_tokens=room + 1))
    finally:
        await engine.close()


async def idle(engine: LlamaCpp) -> bool:
    """Whether none of the server's slots works."""
    return not any(slot.is_processing for slot in await engine.child.http.slots())


async def test_closing_an_answer_stops_the_generation(engine: LlamaCpp) -> None:
    """When the reader goes away, the slot becomes free with its answer unfinished."""
    endless = Sampling(ignore_eos=True)
    call = Call(model="m", items=user("Go on for ever."), sampling=endless, max_output_tokens=900)
    answer = engine.stream(await engine.prepare(call))
    await anext(answer)
    assert not await idle(engine)
    await answer.aclose()
    await eventually_async(lambda: idle(engine))
    cut_off = [slot.next_token[0].has_next_token for slot in await engine.child.http.slots()]
    assert any(cut_off), "a slot that came to the end of its answer has no next token"


async def test_the_port_is_closed_to_those_without_the_key(engine: LlamaCpp) -> None:
    """Another user of this machine who finds the port can neither read nor generate."""
    http = engine.child.http
    async with aiohttp.ClientSession() as stranger:
        async with stranger.post(f"{http.url}/completion", json={"prompt": "Hi"}) as reply:
            assert reply.status == 401
        async with stranger.get(f"{http.url}/slots") as reply:
            assert reply.status == 401


async def test_a_child_killed_in_mid_answer_fails_that_answer_and_comes_back(smollm2: Path) -> None:
    """The answer fails with the reason, nothing partial passes for whole, and the next one is answered."""
    engine = LlamaCpp(model_file=smollm2, model_id="m", window_tokens=256, slots=1, clock=SystemClock())
    await engine.start()
    try:
        pid = engine.child.identity.pid
        answer = engine.stream(
            await engine.prepare(Call(model="m", items=user("Go on."), max_output_tokens=99))
        )
        await anext(answer)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineFailed, match="SIGKILL"):
            async for _ in answer:
                pass
        await eventually(lambda: engine.ready)
        assert said(await ask(engine, items=user("Hello"), max_output_tokens=4))
    finally:
        await engine.close()


async def test_a_file_that_is_gguf_but_no_model_says_what_llama_cpp_says(tmp_path: Path) -> None:
    """A well-formed file without a usable model fails at the start, with the engine's own reason."""
    path = tmp_path / "empty.gguf"
    path.write_bytes(gguf())
    engine = LlamaCpp(model_file=path, model_id="m", clock=SystemClock())
    with pytest.raises(EngineFailed, match=r"(?s)could not start.*Its log ends"):
        await engine.start()


PARENT = """
import asyncio, sys
from pathlib import Path
from perdure.clock import SystemClock
from perdure.engines.engine import Prepared
from perdure.engines.llamacpp import LlamaCpp

async def main():
    engine = LlamaCpp(model_file=Path(sys.argv[1]), model_id="m", window_tokens=256, clock=SystemClock())
    await engine.start()
    print(engine.child.identity.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_the_child_dies_with_its_parent(smollm2: Path) -> None:
    """After SIGKILL of the process that started it, no server is left behind."""
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(smollm2)), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = identify(int(await parent.stdout.readline()))
    assert child is not None
    parent.kill()
    await parent.wait()
    await eventually(lambda: identify(child.pid) != child)
