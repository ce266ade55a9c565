"""How a model behaves that says exactly what a test, or a dry run, tells it to say."""

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Literal

import msgspec

from perdure.clock import Clock
from perdure.dialects.item import (
    ArgumentsDelta,
    Call,
    CallStarted,
    Event,
    Finished,
    FunctionCall,
    TextDelta,
    Tool,
    Usage,
)
from perdure.engines.engine import ModelCard, Prepared
from perdure.engines.smallest import smallest
from perdure.errors import ContextTooLong, EngineFailed, PerdureError

CHARACTERS_PER_TOKEN = 4
PROMPTS_REMEMBERED_MAX = 64  # for the count of cached tokens

Reply = str | FunctionCall | PerdureError
"""Text to say, a tool to call, or an error to break with half-way."""

Script = Callable[[Call], Reply] | Sequence[Reply]


class ScriptedEngine:
    """Keeps the contract of `Engine` without a model: every count is exact and the same on every run.

    `answers` is a function of the call, or replies given in turn; None echoes the last thing said. A call
    that must use a tool, or answer in a schema, gets the smallest JSON that fits when the reply is plain
    text that does not. A token is four characters. `delay_s` is slept on `clock` before each token.
    Tests may read `calls`, `finished` and `cancelled`, and set `ready`.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        answers: Script | None = None,
        model_id: str = "scripted",
        window_tokens: int = 4096,
        slots: int = 2,
        delay_s: float = 0.0,
    ) -> None:
        self.card = ModelCard(id=model_id, engine="scripted", window_tokens=window_tokens, slots=slots)
        self.ready = False
        self.calls: list[Call] = []
        self.finished = 0
        self.cancelled = 0
        self._answers: Callable[[Call], Reply] = _echo if answers is None else _script(answers)
        self._clock = clock
        self._delay_s = delay_s
        self._seen: deque[tuple[int, ...]] = deque(maxlen=PROMPTS_REMEMBERED_MAX)

    async def start(self) -> None:
        self.ready = True

    async def close(self) -> None:
        self.ready = False

    async def prepare(self, call: Call) -> Prepared:
        prompt = _tokens(_rendered(call))
        room = self.card.window_tokens - len(prompt)
        asked = call.max_output_tokens or 1
        if asked > room:
            raise ContextTooLong(
                prompt_tokens=len(prompt),
                max_output_tokens=asked,
                window_tokens=self.card.window_tokens,
                remedy="Shorten the conversation, or give the scripted engine a larger window_tokens.",
            )
        return Prepared(
            call=call,
            prompt_token_ids=tuple(zlib.crc32(token.encode()) for token in prompt),
            max_output_tokens=call.max_output_tokens or room,
        )

    async def stream(self, prepared: Prepared) -> AsyncGenerator[Event, None]:
        self.calls.append(prepared.call)
        started_s = self._clock.monotonic_s()
        reply = _fitting(self._answers(prepared.call), prepared.call)
        cached = max((_common(prepared.prompt_token_ids, seen) for seen in self._seen), default=0)
        self._seen.append(prepared.prompt_token_ids)
        ended = False
        try:
            text = _text(reply, prepared.call)
            tokens = _tokens(text)[: prepared.max_output_tokens]
            if isinstance(reply, FunctionCall):
                yield CallStarted(call_id=reply.call_id, name=reply.name)
            for token in tokens:
                await self._clock.sleep(self._delay_s)
                yield _delta(reply, token)
            if isinstance(reply, PerdureError):
                raise reply
            ended = True
            self.finished += 1
            yield Finished(
                reason=_reason(reply, cut="".join(tokens) != text),
                usage=Usage(
                    prompt_tokens=len(prepared.prompt_token_ids),
                    cached_tokens=min(cached, len(prepared.prompt_token_ids) - 1),
                    output_tokens=len(tokens),
                ),
                prefill_s=0.0,
                decode_s=self._clock.monotonic_s() - started_s,
            )
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += not ended
            raise


def _script(answers: Script) -> Callable[[Call], Reply]:
    if callable(answers):
        return answers
    waiting: deque[Reply] = deque(answers)

    def next_reply(call: Call) -> Reply:
        return waiting.popleft() if waiting else EngineFailed("the script has no answers left; give it more")

    return next_reply


def _echo(call: Call) -> Reply:
    said = msgspec.to_builtins(call.items[-1])
    return str(said.get("text") or said.get("output") or said.get("arguments") or "nothing")


def _fitting(reply: Reply, call: Call) -> Reply:
    """`reply`, made to keep what the call asks of the answer's shape."""
    if isinstance(reply, PerdureError):
        return reply
    choice = call.tool_choice
    allowed = [tool for tool in call.tools if not choice.allowed or tool.name in choice.allowed]
    if choice.mode == "required" and allowed:
        if isinstance(reply, FunctionCall) and reply.name in {tool.name for tool in allowed}:
            return reply
        return _smallest_call(allowed[0], call)
    if isinstance(reply, FunctionCall):
        return reply if choice.mode == "auto" and call.tools else f"(no tool may be called: {reply.name})"
    if call.output_schema is not None and not reply.startswith(("{", "[")):
        return msgspec.json.encode(smallest(call.output_schema)).decode()
    return reply


def _smallest_call(tool: Tool, call: Call) -> FunctionCall:
    return FunctionCall(
        call_id=f"call_{len(call.items)}",
        name=tool.name,
        arguments=msgspec.json.encode(smallest(tool.parameters or {"type": "object"})).decode(),
    )


def _text(reply: Reply, call: Call) -> str:
    if isinstance(reply, FunctionCall):
        return reply.arguments
    if isinstance(reply, PerdureError):
        return "broken"
    ends = [end for stop in call.sampling.stop if (end := reply.find(stop)) >= 0]
    return reply[: min(ends)] if ends else reply


def _delta(reply: Reply, token: str) -> Event:
    if isinstance(reply, FunctionCall):
        return ArgumentsDelta(call_id=reply.call_id, text=token)
    return TextDelta(text=token)


def _reason(reply: Reply, *, cut: bool) -> Literal["stop", "length", "tool_calls"]:
    if cut:
        return "length"
    return "tool_calls" if isinstance(reply, FunctionCall) else "stop"


def _rendered(call: Call) -> str:
    lines: Iterable[object] = (*call.tools, *call.items)
    return "\n".join(msgspec.json.encode(line).decode() for line in lines)


def _tokens(text: str) -> list[str]:
    return [text[at : at + CHARACTERS_PER_TOKEN] for at in range(0, len(text), CHARACTERS_PER_TOKEN)]


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Length of the common prefix."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))
