"""What every engine must do, whoever wrote it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from perdure.dialects.item import Call, Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What an engine says of the model that it runs.

    window_tokens  prompt and answer of one request together; never divided among requests
    slots          requests that run at once; more of them wait in our queue, not in the engine's
    """

    id: str
    engine: str
    window_tokens: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A call made ready to run: its prompt as token ids, and how many tokens may come out."""

    call: Call
    prompt_token_ids: tuple[int, ...]
    max_output_tokens: int


class Engine(Protocol):
    """Runs one model.

    `start` returns once the model can answer, or raises EngineFailed, ModelFileBroken, or
    BadRequest for options that it cannot start with. `close` frees
    everything and is safe to call twice. `card` is known after `start`.

    `prepare` renders and tokenizes; it raises ContextTooLong when prompt and answer do not fit the
    window, and BadRequest for what this engine cannot do.

    `stream` yields any number of TextDelta, CallStarted and ArgumentsDelta, then exactly one Finished.
    Closing the generator cancels the generation and frees its memory. An engine that breaks raises
    EngineFailed; it never yields a partial Finished.

    `ready` says whether a call would be tried now (False while a child restarts).
    """

    @property
    def card(self) -> ModelCard: ...

    @property
    def ready(self) -> bool: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def prepare(self, call: Call) -> Prepared: ...

    def stream(self, prepared: Prepared) -> AsyncGenerator[Event, None]: ...
