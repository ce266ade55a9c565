"""What is asked of llama.cpp for one call, and how its text becomes the events of an answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from perdure.dialects.item import Call, Event, Finished, Usage
from perdure.engines.call_reader import AnswerReader
from perdure.engines.engine import Prepared
from perdure.engines.llamacpp_constraint import Attempt, Constraint, constrain, fits, misfit, parameters_of
from perdure.engines.llamacpp_http import Chunk, LlamaHttp
from perdure.errors import BadRequest, EngineFailed
from perdure.rng import new_id

SEEDS = 0xFFFFFFFF  # llama.cpp takes 32 bits, and the last of them for "draw one"

REDRAW_TEMPERATURE = 1.0

_FIELDS = ["content", "stop", "stop_type", "stopping_word", "tokens_predicted", "truncated", "timings"]


@dataclass(slots=True)
class _Spent:
    """What the attempts have cost so far; only the one that runs adds to it."""

    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    cached_tokens: int | None = None

    def add(self, chunk: Chunk) -> None:
        self.prefill_ms += chunk.timings.prompt_ms
        self.decode_ms += chunk.timings.predicted_ms
        if self.cached_tokens is None:  # later attempts find what the first one computed
            self.cached_tokens = chunk.timings.cache_n


@dataclass(slots=True)
class _Answer:
    """One attempt's answer, and whether it kept what was promised."""

    reader: AnswerReader
    last: Chunk = field(default_factory=Chunk)

    def kept(self, call: Call, constraint: Constraint) -> bool:
        if self.reader.called:
            if not self.reader.complete:
                return False
            schema = parameters_of(call, self.reader.name or "")
            return call.tool_choice.mode != "required" or _fits(schema, self.reader.arguments)
        if call.output_schema is None or call.tool_choice.mode == "required":
            return not constraint.checked
        return _fits(call.output_schema, self.reader.text)


async def answer(
    http: LlamaHttp, prepared: Prepared, *, guided: bool, stop: tuple[str, ...] = ()
) -> AsyncGenerator[Event, None]:
    """The events of the answer to `prepared`, which also ends at any of `stop`.

    What is promised to fit a schema is shown as it comes when it surely will, and else when it does.
    """
    call = prepared.call
    constraint = constrain(call, prepared.max_output_tokens, guided=guided)
    spent = _Spent()
    for attempt in constraint.attempts:
        given = _Answer(AnswerReader(new_id("call"), primed=constraint.primed, calls=constraint.calls))
        held: list[Event] = []
        async with aclosing(_events(http, _request(prepared, attempt, stop), given)) as events:
            async for event in events:
                if attempt.certain:
                    yield event
                else:
                    held.append(event)
        spent.add(given.last)
        if not constraint.checked or given.kept(call, constraint):
            for event in held:
                yield event
            yield _finished(prepared, given, spent)
            return
        if attempt is constraint.attempts[-1]:
            raise _broken_promise(constraint, prepared, given)


def _request(prepared: Prepared, attempt: Attempt, stop: tuple[str, ...]) -> dict[str, Any]:
    """The body of one completion; temperature and top_p alone shape the draw, as OpenAI has it."""
    call, sampling = prepared.call, prepared.call.sampling
    # A forced call and promised JSON have no free text for a stop string to end.
    free_text = call.tool_choice.mode != "required" and call.output_schema is None
    body: dict[str, Any] = {
        "prompt": prepared.prompt_token_ids,
        "n_predict": prepared.max_output_tokens,
        "stream": True,
        "cache_prompt": True,
        "samplers": ["penalties", "temperature", "top_p"],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "repeat_last_n": prepared.max_output_tokens,
        "ignore_eos": sampling.ignore_eos,
        "stop": [*sampling.stop, *stop] if free_text else [],
        "response_fields": _FIELDS,
        **attempt.fields,
    }
    if sampling.seed is not None:
        body["seed"] = (sampling.seed + attempt.draw) % SEEDS
    if attempt.draw > 0:  # without chance the same would be drawn again
        body["temperature"] = max(sampling.temperature, REDRAW_TEMPERATURE)
    return body


async def _events(http: LlamaHttp, body: dict[str, Any], given: _Answer) -> AsyncGenerator[Event, None]:
    async with aclosing(http.completion(body)) as chunks:
        async for chunk in chunks:
            for event in given.reader.feed(chunk.content):
                yield event
            given.last = chunk
    for event in given.reader.end():
        yield event


def _finished(prepared: Prepared, given: _Answer, spent: _Spent) -> Finished:
    reason: Literal["stop", "length", "tool_calls"] = "stop"
    if given.reader.called and given.reader.complete:
        reason = "tool_calls"
    elif given.last.stop_type == "limit":
        reason = "length"
    return Finished(
        reason=reason,
        usage=Usage(
            prompt_tokens=len(prepared.prompt_token_ids),
            cached_tokens=spent.cached_tokens or 0,
            output_tokens=given.last.tokens_predicted,
        ),
        prefill_s=spent.prefill_ms / 1000,
        decode_s=spent.decode_ms / 1000,
    )


def _broken_promise(constraint: Constraint, prepared: Prepared, given: _Answer) -> BadRequest | EngineFailed:
    what = "the tool call" if constraint.calls else "the answer in the response format"
    if given.last.stop_type == "limit":
        return BadRequest(
            f"{what} does not fit in {prepared.max_output_tokens} output tokens; "
            f"{constraint.enough_tokens} are surely enough",
            param="max_output_tokens",
        )
    if given.reader.called and given.reader.name:
        what = f"the call of the tool {given.reader.name}"
    tries = len(constraint.attempts)
    return EngineFailed(
        f"the engine did not keep {what} to its schema in {tries} tries"
        f"{_why(prepared.call, given)}; simplify that part of the schema"
    )


def _why(call: Call, given: _Answer) -> str:
    """Which keyword the last answer broke, as the end of a sentence, as far as it is JSON."""
    called = given.reader.called and given.reader.name
    schema = parameters_of(call, called) if called else call.output_schema
    try:
        value = msgspec.json.decode(given.reader.arguments if called else given.reader.text)
    except msgspec.DecodeError:
        return ""
    broken = misfit(schema, value) if schema is not None else None
    return "" if broken is None else f" ({broken})"


def _fits(schema: dict[str, Any], text: str) -> bool:
    try:
        return fits(schema, msgspec.json.decode(text))
    except msgspec.DecodeError:
        return False
