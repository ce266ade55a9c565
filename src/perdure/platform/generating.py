"""How a request that asks a model for something is carried out, whatever dialect it spoke."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from perdure.clock import Clock
from perdure.dialects.item import Call, CallStarted, Event, Finished
from perdure.engines.engine import Engine, Prepared
from perdure.errors import EngineFailed, PerdureError, UnknownModel
from perdure.platform.answer import Answer, Head
from perdure.platform.asgi import JSON
from perdure.platform.metrics import Metrics
from perdure.platform.recorder import Recorder
from perdure.platform.scheduler import Scheduler
from perdure.platform.store import StoredResponse
from perdure.traces.record import CallRecord

logger = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream; charset=utf-8"


class Rendering(Protocol):
    """One answer in one dialect.

    `begin`, `add` and `end` give the bytes of a stream; `whole` is the body for a client that wants none.
    `broken` ends a stream whose answer broke.
    """

    def begin(self, prompt_tokens: int) -> bytes: ...

    def add(self, event: Event) -> bytes: ...

    def end(self) -> bytes: ...

    def broken(self, error: PerdureError) -> bytes: ...

    def whole(self) -> bytes: ...


def _nothing_stored() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One request, understood. `stored` says what the platform keeps of its finished answer, if anything."""

    call: Call
    stream: bool
    ignored: tuple[str, ...]
    rendering: Rendering
    stored: Callable[[], StoredResponse | None] = _nothing_stored

    @property
    def head(self) -> Head:
        headers = {"content-type": EVENT_STREAM if self.stream else JSON}
        if self.stream:
            headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
        if self.ignored:
            headers["x-perdure-ignored"] = ", ".join(self.ignored)
        return Head(status=200, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One engine and its queue."""

    engine: Engine
    scheduler: Scheduler


@dataclass(slots=True, kw_only=True)
class _Progress:
    """What is known of a call while it is served."""

    start_s: float
    arrived_s: float
    queue_s: float = 0.0
    tool: str | None = None


def break_off(answer: Answer, work: Work, error: PerdureError) -> None:
    """End an answer with an error: inside its stream where that has begun, else in place of the answer."""
    if answer.started:
        answer.write(work.rendering.broken(error))
    answer.fail(error)


Commit = Callable[[StoredResponse | None, Answer, bytes], Awaitable[None]]
"""Keeps what the finished answer leaves behind, before its last byte is handed out."""


class Generation:
    """Runs calls on the engines, and notes what each one cost."""

    def __init__(self, *, lines: dict[str, Line], clock: Clock, recorder: Recorder, metrics: Metrics) -> None:
        self._lines = lines
        self._clock = clock
        self._recorder = recorder
        self._metrics = metrics

    def line(self, model: str) -> Line:
        """The engine that runs `model`; UnknownModel names those there are."""
        line = self._lines.get(model)
        if line is None:
            there = ", ".join(self._lines)
            raise UnknownModel(f"no model {model!r} here; this server has: {there}", param="model")
        return line

    async def write(self, work: Work, answer: Answer, commit: Commit) -> None:
        """Generate, and write the answer as it comes. If it breaks half-way, it ends in an error event."""
        try:
            await self._generate(work, answer, commit)
        except PerdureError as error:
            logger.warning("a call of %s broke: %s: %s", work.call.model, error.code, error.message)
            break_off(answer, work, error)

    async def _generate(self, work: Work, answer: Answer, commit: Commit) -> None:
        line = self.line(work.call.model)
        progress = _Progress(start_s=self._clock.now_s(), arrived_s=self._clock.monotonic_s())
        with line.scheduler.place():
            prepared = await line.engine.prepare(work.call)
            turn = line.scheduler.turn(
                prompt_tokens=len(prepared.prompt_token_ids), max_output_tokens=prepared.max_output_tokens
            )
            async with turn as waited_s:
                self._metrics.queue_wait.labels(work.call.model).observe(waited_s)
                progress.queue_s = self._clock.monotonic_s() - progress.arrived_s
                with self._metrics.in_flight.labels(work.call.model).track_inprogress():
                    finished = await self._stream(line.engine, prepared, work, answer, progress)
        last = work.rendering.add(finished)
        self._metrics.served(work.call.model, finished.usage)
        await asyncio.to_thread(self._record, prepared, finished, progress)
        piece = last + work.rendering.end() if work.stream else work.rendering.whole()
        await commit(work.stored(), answer, piece)
        if not answer.started:
            answer.start(work.head)
        answer.write(piece)
        answer.finish()

    async def _stream(
        self, engine: Engine, prepared: Prepared, work: Work, answer: Answer, progress: _Progress
    ) -> Finished:
        """Hand out all events but the last, and return that."""
        opening = work.rendering.begin(len(prepared.prompt_token_ids))
        finished: Finished | None = None
        async with aclosing(engine.stream(prepared)) as events:
            async for event in events:
                if work.stream and not answer.started:
                    answer.start(work.head)
                    answer.write(opening)
                if isinstance(event, Finished):
                    finished = event
                    continue
                if isinstance(event, CallStarted) and progress.tool is None:
                    progress.tool = event.name
                piece = work.rendering.add(event)
                if work.stream:
                    answer.write(piece)
        if finished is None:
            raise EngineFailed("the engine ended its answer without finishing it; try again")
        return finished

    def _record(self, prepared: Prepared, finished: Finished, progress: _Progress) -> None:
        caller = prepared.call.caller
        self._recorder.write(
            caller.workspace,
            CallRecord(
                model=prepared.call.model,
                session=caller.session,
                program=caller.program,
                parent=caller.parent,
                start_s=progress.start_s,
                prompt_tokens=finished.usage.prompt_tokens,
                cached_tokens=finished.usage.cached_tokens,
                output_tokens=finished.usage.output_tokens,
                queue_s=progress.queue_s,
                prefill_s=finished.prefill_s,
                decode_s=finished.decode_s,
                reason=finished.reason,
                tool=progress.tool,
            ),
            prepared.prompt_token_ids,
        )
