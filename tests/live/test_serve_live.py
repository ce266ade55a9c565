"""The official client, the whole server and a real model: what only the real thing can show."""

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import openai
import pytest

from perdure.clock import SystemClock
from perdure.config import Places
from perdure.engines.llamacpp import LlamaCpp
from perdure.platform.platform import WORKSPACE, Platform
from perdure.platform.server import bind, listening

MODEL = "smollm2-135m"
PARIS = [{"role": "user", "content": "What is the capital of France?"}]
PLAN = {
    "type": "object",
    "properties": {
        "tile": {"enum": [8, 16, 32]},
        "order": {"type": "string", "enum": ["ijk", "ikj"]},
        "threads": {"type": "integer", "minimum": 1, "maximum": 4},
    },
    "required": ["tile", "order", "threads"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Served:
    client: openai.AsyncOpenAI
    platform: Platform
    home: Path


@pytest.fixture
async def served(tmp_path: Path, smollm2: Path) -> AsyncIterator[Served]:
    """A server with SmolLM2, on a loopback port."""
    clock = SystemClock()
    engine = LlamaCpp(model_file=smollm2, model_id=MODEL, window_tokens=1024, slots=2, threads=1, clock=clock)
    places = Places(cache_dir=tmp_path, data_dir=tmp_path / "data", config_dir=tmp_path)
    platform = Platform(engines=[engine], places=places, clock=clock)
    socket = bind("127.0.0.1", 0)
    async with platform, listening(platform, [socket]):
        base_url = f"http://127.0.0.1:{socket.getsockname()[1]}/v1"
        key = platform.keys.make(WORKSPACE)
        async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
            yield Served(client=client, platform=platform, home=tmp_path)


async def test_one_conversation_through_the_real_thing(served: Served):
    """A chat is answered, whole and streamed, cached the second time, and recorded with its lengths."""
    ask = served.client.chat.completions.create
    asked = {"model": MODEL, "messages": PARIS, "temperature": 0, "max_completion_tokens": 24}
    headers = {"x-perdure-session": "paris"}
    whole = await ask(**asked, extra_headers=headers)
    assert whole.choices[0].message.content
    stream = await ask(**asked, stream=True, stream_options={"include_usage": True}, extra_headers=headers)
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 0
    lines = served.platform.recorder.read(WORKSPACE, "paris").splitlines()
    counts = [(json.loads(line)["prompt_tokens"], json.loads(line)["output_tokens"]) for line in lines]
    usages = (whole.usage, chunks[-1].usage)
    assert counts == [(usage.prompt_tokens, usage.completion_tokens) for usage in usages]


async def test_a_forced_call_and_a_schema_hold_on_a_tiny_model(served: Served):
    """`required`, a named function and json_schema give valid JSON from a model that cannot call tools."""
    function = {"name": "propose", "description": "Propose a kernel.", "parameters": PLAN}
    other = {"name": "wait", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}, {"type": "function", "function": other}]
    for choice in ("required", {"type": "function", "function": {"name": "propose"}}):
        answer = await served.client.chat.completions.create(
            model=MODEL, messages=PARIS, tools=tools, tool_choice=choice, seed=1
        )
        call = answer.choices[0].message.tool_calls[0]
        schema = {"propose": PLAN, "wait": other["parameters"]}[call.function.name]
        jsonschema.validate(json.loads(call.function.arguments), schema)
        assert answer.choices[0].finish_reason == "tool_calls"
    text = {"format": {"type": "json_schema", "name": "plan", "schema": PLAN}}
    made = await served.client.responses.create(model=MODEL, input="A plan, please.", text=text)
    jsonschema.validate(json.loads(made.output_text), PLAN)


async def test_a_context_too_long_is_refused_by_the_real_count(served: Served):
    """The window is the model's tokens, not an estimate, and the error has OpenAI's code."""
    long = [{"role": "user", "content": "word " * 2000}]
    with pytest.raises(openai.BadRequestError, match="window is 1024") as refused:
        await served.client.chat.completions.create(model=MODEL, messages=long)
    assert refused.value.code == "context_length_exceeded"


async def test_a_hang_up_frees_the_engine(served: Served):
    """After more hang-ups than there are slots, the next call is answered."""
    endless = {"model": MODEL, "messages": PARIS, "extra_body": {"ignore_eos": True}, "stream": True}
    for _ in range(4):
        stream = await served.client.chat.completions.create(**endless)
        await anext(stream)
        await stream.close()
    answer = await served.client.chat.completions.create(model=MODEL, messages=PARIS, max_completion_tokens=4)
    assert answer.usage.completion_tokens <= 4
    assert served.platform.lines[MODEL].scheduler.running == 0


async def test_an_engine_killed_mid_stream_costs_one_answer(served: Served):
    """The stream ends in an error that says to ask again, and asking again works."""
    endless = {"model": MODEL, "messages": PARIS, "extra_body": {"ignore_eos": True}, "stream": True}
    stream = await served.client.chat.completions.create(**endless)
    await anext(stream)
    for child in _children():
        os.kill(child, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="ask again"):
        await _exhaust(stream)
    patient = served.client.with_options(max_retries=8)
    answer = await patient.chat.completions.create(model=MODEL, messages=PARIS, max_completion_tokens=4)
    assert answer.choices[0].message.content
    root = str(served.client.base_url).removesuffix("v1/")
    page = await asyncio.to_thread(_read, f"{root}metrics")
    assert f'perdure_engine_restarts{{model="{MODEL}"}} 1.0' in page


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as page:
        return page.read().decode()


async def _exhaust(stream) -> None:
    async for _ in stream:
        pass


def _children() -> list[int]:
    """The processes that this one started (the engine is the only one in this test)."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


async def test_two_answers_run_at_once(served: Served):
    """Two slots serve two clients side by side; each gets its own answer."""
    ask = served.client.chat.completions.create
    asked = {"model": MODEL, "temperature": 0, "max_completion_tokens": 16}
    both = await asyncio.gather(
        ask(messages=PARIS, **asked),
        ask(messages=[{"role": "user", "content": "Count to ten, please, and then stop."}], **asked),
    )
    assert all(answer.choices[0].message.content for answer in both)
    assert both[0].usage.prompt_tokens != both[1].usage.prompt_tokens
