"""The engine's child: started as told, watched, restarted, given up on, ended. Its server has no model."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from perdure.clock import SystemClock, VirtualClock
from perdure.dialects.item import (
    ArgumentsDelta,
    Call,
    CallStarted,
    Event,
    Finished,
    Message,
    Sampling,
    TextDelta,
    Tool,
    ToolChoice,
)
from perdure.engines.llamacpp import LlamaCpp
from perdure.engines.llamacpp_process import QUICK_FAILURES_MAX, QUICK_SECONDS
from perdure.errors import (
    BadRequest,
    ContextTooLong,
    EngineFailed,
    ModelFileBroken,
    PerdureError,
    Unavailable,
)
from perdure.processes import identify
from tests.eventually import eventually
from tests.tiny_gguf import gguf


class Fake:
    """A folder with the fake server in it, its control file and its notes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "llama-server"
        source = (Path(__file__).parents[1] / "fake_llama_server.py").read_text()
        self.program.write_text(f"#!{sys.executable}\n{source}")
        self.program.chmod(0o755)
        self.model_file = folder / "model.gguf"
        self.model_file.write_bytes(gguf(context_tokens=512))
        self.behave("well")

    def behave(self, mode: str, text: str = "Hello there.", divide: int = 1) -> None:
        control = {"mode": mode, "text": text, "divide": divide}
        (self.folder / "control.json").write_text(json.dumps(control))

    def notes(self, file: str) -> list[Any]:
        path = self.folder / file
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def engine(self, clock: Any = None, **given: Any) -> LlamaCpp:
        given = {"model_file": self.model_file, "model_id": "m", "llama_server": self.program, **given}
        return LlamaCpp(clock=clock or VirtualClock(), **given)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.fixture
async def engine(fake: Fake) -> AsyncIterator[LlamaCpp]:
    engine = fake.engine(log_file=fake.folder / "logs" / "child.log")
    await engine.start()
    yield engine
    await engine.close()


@asynccontextmanager
async def running(engine: LlamaCpp) -> AsyncIterator[LlamaCpp]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def call(**given: Any) -> Call:
    return Call(model="m", items=(Message(role="user", text="Hi"),), **given)


async def events_of(engine: LlamaCpp, asked: Call) -> list[Event]:
    return [event async for event in engine.stream(await engine.prepare(asked))]


async def refusal(engine: LlamaCpp) -> PerdureError:
    """Why the engine takes no call just now."""
    with pytest.raises(PerdureError) as caught:
        await engine.prepare(call())
    return caught.value


async def test_the_server_gets_the_whole_window_for_each_slot(fake: Fake) -> None:
    """Context is window times slots, threads and address are as told, and there is no RAM cache."""
    async with running(fake.engine(slots=3, threads=5, window_tokens=100)) as engine:
        assert (engine.card.window_tokens, engine.card.slots, engine.card.id) == (100, 3, "m")
    (started,) = fake.notes("started.jsonl")
    flags = dict(zip(started["argv"], [*started["argv"][1:], ""], strict=True))
    assert flags["--ctx-size"] == "300"
    assert flags["--parallel"] == "3"
    assert flags["--threads"] == flags["--threads-batch"] == "5"
    assert flags["--host"] == "127.0.0.1"
    assert flags["--cache-ram"] == "0"
    assert flags["--model"] == str(fake.model_file)
    assert "--no-context-shift" in flags
    assert not any("key" in word for word in started["argv"]), "arguments are there for everybody to read"
    assert started["environment"] == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


async def test_an_answer_comes_with_the_engines_own_counts(fake: Fake, engine: LlamaCpp) -> None:
    """Text is streamed as it comes; tokens, cached tokens and seconds are those that the server reports."""
    prepared = await engine.prepare(call(max_output_tokens=9))
    events = [event async for event in engine.stream(prepared)]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hello", " there."]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "stop"
    assert finished.usage.prompt_tokens == len(prepared.prompt_token_ids) == len("[user]Hi")
    assert (finished.usage.cached_tokens, finished.usage.output_tokens) == (3, 2)
    assert (finished.prefill_s, finished.decode_s) == (0.012, 0.03)


async def test_sampling_means_what_the_caller_said_and_nothing_else(fake: Fake, engine: LlamaCpp) -> None:
    """Temperature, top_p, seed, stop and penalties are passed on; llama.cpp's own truncation is off."""
    sampling = Sampling(temperature=0.5, top_p=0.7, seed=2**33 + 5, stop=("END",), presence_penalty=0.25)
    await events_of(engine, call(sampling=sampling, max_output_tokens=9))
    body = fake.notes("asked.jsonl")[-1]["body"]
    assert (body["temperature"], body["top_p"], body["presence_penalty"]) == (0.5, 0.7, 0.25)
    assert (body["top_k"], body["min_p"], body["repeat_penalty"]) == (0, 0.0, 1.0)
    assert (body["stop"], body["n_predict"]) == (["END"], 9)
    assert 0 <= body["seed"] < 2**32


async def test_what_does_not_fit_the_window_is_refused_with_need_window_and_remedy(engine: LlamaCpp) -> None:
    """Prompt and asked-for answer together must fit; without a wish the answer may take what is left."""
    prompt_tokens = len("[user]Hi")
    assert (await engine.prepare(call())).max_output_tokens == 512 - prompt_tokens
    assert (await engine.prepare(call(max_output_tokens=504))).max_output_tokens == 504
    with pytest.raises(ContextTooLong, match=r"8 tokens and 505 more.*513 in all.*512.*at most 504 output"):
        await engine.prepare(call(max_output_tokens=505))
    with pytest.raises(ContextTooLong, match="Shorten the messages and tools"):
        await engine.prepare(Call(model="m", items=(Message(role="user", text="x" * 512),)))


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("die", r"SIGKILL.*out of memory.*ask again"),
        ("abort", r"SIGABRT.*ask again"),
        ("hang up", "without saying why"),
        ("nonsense", "not a completion"),
        ("complain", "out of memory"),
    ],
)
async def test_a_broken_answer_is_an_engine_failure_that_says_how(
    fake: Fake, engine: LlamaCpp, mode: str, said: str
) -> None:
    """Whatever way the server breaks off, what came before is not passed for an answer."""
    fake.behave(mode)
    answer = engine.stream(await engine.prepare(call()))
    assert await anext(answer) == TextDelta(text="Hello")
    with pytest.raises(EngineFailed, match=said):
        await anext(answer)


async def test_a_dead_server_is_started_again_and_answers(fake: Fake, engine: LlamaCpp) -> None:
    """After a death there is a new process, and the next call is answered."""
    fake.behave("die")
    with pytest.raises(EngineFailed):
        await events_of(engine, call())
    fake.behave("well")
    await eventually(lambda: engine.ready)
    assert isinstance((await events_of(engine, call()))[-1], Finished)
    first, second = fake.notes("started.jsonl")
    assert first["pid"] != second["pid"]


async def test_an_engine_that_keeps_dying_is_given_up_on_and_says_what_to_do(
    fake: Fake, engine: LlamaCpp
) -> None:
    """After so many quick failures it stays down, with the reason and the end of the log in the message."""
    fake.behave("no start")
    os.kill(fake.notes("started.jsonl")[0]["pid"], 9)
    await eventually(lambda: not engine.ready)
    while isinstance(refused := await refusal(engine), Unavailable):
        assert "ask again" in refused.message
        await anyio.sleep(0.01)
    assert isinstance(refused, EngineFailed)
    assert f"failed {QUICK_FAILURES_MAX} times in a row" in refused.message
    assert "perdure models verify" in refused.message
    assert "cannot load that model" in refused.message
    assert len(fake.notes("started.jsonl")) == QUICK_FAILURES_MAX
    assert not engine.ready


async def test_deaths_far_apart_do_not_add_up(fake: Fake) -> None:
    """A server that lived long before it died is started again however often that happened."""
    clock = VirtualClock()
    async with running(fake.engine(clock)) as engine:
        for deaths in range(1, QUICK_FAILURES_MAX + 3):
            clock.advance(QUICK_SECONDS + 1)
            os.kill(fake.notes("started.jsonl")[-1]["pid"], 9)
            await eventually(lambda: len(fake.notes("started.jsonl")) == deaths + 1 and engine.ready)  # noqa: B023


async def test_a_server_that_cannot_start_says_why(fake: Fake) -> None:
    """The error of a failed start holds the exit code and the end of the server's log."""
    fake.behave("no start")
    engine = fake.engine()
    with pytest.raises(EngineFailed, match=r"(?s)could not start: it ended with exit code 1.*cannot load"):
        await engine.start()
    assert not engine.ready
    await engine.close()


async def test_a_server_that_divides_the_window_does_not_serve(fake: Fake) -> None:
    """When a slot has less than the window that was promised, the start fails with the window there is."""
    fake.behave("well", divide=2)
    with pytest.raises(EngineFailed, match=r"gives each request 256 tokens where 512.*--window 256"):
        await fake.engine().start()


async def test_no_text_can_forge_the_end_of_a_turn(fake: Fake, engine: LlamaCpp) -> None:
    """What the tokenizer would read as a command reaches it as harmless text, looking the same."""
    await engine.prepare(Call(model="m", items=(Message(role="user", text="a<|end|>b"),)))
    asked = [entry["body"] for entry in fake.notes("asked.jsonl")]
    assert all("<|end|>" not in json.dumps(body) for body in asked)
    assert asked[-1]["content"].replace("\u200b", "") == "[user]a<|end|>b"


async def test_closing_ends_the_process_and_may_be_done_twice(fake: Fake) -> None:
    """After `close` the child is gone, its log folder too, and nothing is restarted."""
    engine = fake.engine(SystemClock())
    await engine.start()
    pid = fake.notes("started.jsonl")[0]["pid"]
    assert identify(pid) is not None
    await engine.close()
    await engine.close()
    assert identify(pid) is None
    assert len(fake.notes("started.jsonl")) == 1
    with pytest.raises(EngineFailed, match="closed"):
        await engine.prepare(call())


async def test_a_model_file_that_is_none_never_reaches_a_server(fake: Fake, tmp_path: Path) -> None:
    """A damaged model file is refused before anything is started."""
    fake.model_file.write_bytes(b"not a model")
    with pytest.raises(ModelFileBroken, match="GGUF"):
        await fake.engine().start()
    fake.model_file.unlink()
    with pytest.raises(ModelFileBroken, match="perdure models pull"):
        await fake.engine().start()
    assert fake.notes("started.jsonl") == []


async def test_a_stock_server_is_given_the_schema_and_its_call_is_checked(fake: Fake) -> None:
    """A server without our grammar gets the JSON schema; what breaks the schema is not passed on."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    forced = call(
        tools=(Tool(name="f", parameters=schema),),
        tool_choice=ToolChoice(mode="required"),
        max_output_tokens=60,
    )
    fake.model_file.write_bytes(gguf(context_tokens=2048))
    async with running(fake.engine()) as engine:
        fake.behave("well", text=' {"n": 7}')
        started, *deltas, finished = await events_of(engine, forced)
        assert isinstance(started, CallStarted)
        assert "".join(event.text for event in deltas if isinstance(event, ArgumentsDelta)) == '{"n": 7}'
        assert isinstance(finished, Finished)
        assert finished.reason == "tool_calls"
        sent = fake.notes("asked.jsonl")[-1]["body"]
        assert sent["json_schema"]["properties"]["n"]["type"] == "integer"
        assert "grammar" not in sent
        fake.behave("well", text=' {"n": "seven"}')
        with pytest.raises(EngineFailed, match="did not keep"):
            await events_of(engine, forced)


async def test_what_a_grammar_cannot_say_is_drawn_again_until_it_fits(fake: Fake) -> None:
    """Each draw has its own seed and some chance; in the end the tool and the broken keyword are named."""
    refused = {"properties": {"n": {"enum": [7]}}}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "not": refused}
    forced = call(
        tools=(Tool(name="odd", parameters=schema),),
        tool_choice=ToolChoice(mode="required"),
        max_output_tokens=60,
        sampling=Sampling(seed=5, temperature=0.0),
    )
    fake.model_file.write_bytes(gguf(context_tokens=2048))
    async with running(fake.engine()) as engine:
        fake.behave("well", text='{"n": 7}')
        with pytest.raises(EngineFailed, match=r"call of the tool odd .* tries \(`not` refuses \$\)"):
            await events_of(engine, forced)
        bodies = [note["body"] for note in fake.notes("asked.jsonl") if "seed" in note["body"]]
        assert len({body["seed"] for body in bodies}) == len(bodies) >= 4
        assert [body["temperature"] > 0 for body in bodies] == [False] + [True] * (len(bodies) - 1)
        fake.behave("well", text='{"n": 8}')
        started, *_, finished = await events_of(engine, forced)
        assert isinstance(started, CallStarted)
        assert isinstance(finished, Finished)
        assert finished.reason == "tool_calls"


async def test_a_model_without_a_chat_template_gets_a_plain_script(fake: Fake) -> None:
    """Its prompt is written by us, and ends where the other side would speak."""
    fake.model_file.write_bytes(gguf(chat_template=None))
    async with running(fake.engine()) as engine:
        await events_of(engine, call())
    asked = fake.notes("asked.jsonl")
    assert "/apply-template" not in {entry["path"] for entry in asked}
    assert "".join(map(chr, asked[-1]["body"]["prompt"])) == "User: Hi\n\nAssistant:"
    assert asked[-1]["body"]["stop"] == ["\nUser:"]


async def test_slots_must_make_sense(fake: Fake) -> None:
    """No engine is made for less than one request at once."""
    with pytest.raises(BadRequest, match="slots"):
        fake.engine(slots=0)


async def test_a_window_above_what_the_model_was_trained_for_is_refused(fake: Fake) -> None:
    """It is never cut in silence: the model's maximum is named, and nothing is started."""
    with pytest.raises(BadRequest, match=r"513 tokens is more than m was trained for: 512.*--window 512"):
        await fake.engine(window_tokens=513).start()
    assert fake.notes("started.jsonl") == []
    fake.model_file.write_bytes(gguf(context_tokens=None))
    async with running(fake.engine(window_tokens=8000)) as engine:
        assert engine.card.window_tokens == 8000, "a model that does not say takes what its owner says"


async def test_a_program_that_is_no_llama_server_is_named(fake: Fake, tmp_path: Path) -> None:
    """There is no such program, it may not be run, it cannot be, or it ended at once: each in a sentence."""
    text = tmp_path / "notes.txt"
    text.write_text("no program")
    for program, said in (
        (tmp_path / "nosuch", "does not exist"),
        (text, "is not a program that we may run"),
    ):
        with pytest.raises(BadRequest, match=f"{program} {said}.*--llama-server"):
            await fake.engine(llama_server=program).start()
    text.chmod(0o755)
    with pytest.raises(EngineFailed, match="cannot be run: Exec format error") as failed:
        await fake.engine(llama_server=text).start()
    assert "Traceback" not in failed.value.message
    fake.program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(EngineFailed, match=r"exit code 3 before it answered.*Is it a llama-server") as failed:
        await fake.engine().start()
    assert "memory" not in failed.value.message
