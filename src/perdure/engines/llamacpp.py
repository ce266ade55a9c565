"""How our own engine runs a model: llama.cpp in a child process, spoken to over loopback only."""

import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

from perdure.clock import Clock
from perdure.dialects.item import Call, Event
from perdure.dialects.toolprompt import PLAIN_STOP, render, render_plain
from perdure.engines.engine import ModelCard, Prepared
from perdure.engines.llamacpp_answer import answer
from perdure.engines.llamacpp_child import ChildSettings
from perdure.engines.llamacpp_constraint import primed_text
from perdure.engines.llamacpp_http import LlamaHttp
from perdure.engines.llamacpp_launch import ServerPlan
from perdure.engines.llamacpp_process import LlamaProcess, how_it_ended
from perdure.errors import BadRequest, ContextTooLong, EngineFailed
from perdure.models.weights_gguf import read_gguf
from perdure.processes import usable_cores
from perdure.rng import new_secret

SLOTS_MAX = 64
WINDOW_TOKENS_DEFAULT = 4096  # of a model that does not say what it was trained for


class LlamaCpp:
    """Runs the model in `model_file`; keeps the contract of `Engine`.

    window_tokens  of one request, prompt and answer together: the model's own, capped by this
    slots          requests that run at once, each with the whole window
    threads        cores to use; None is all that this process may use
    llama_server   any `llama-server` program, instead of the one that comes with us
    log_file       where the child's log goes; None keeps it only as long as the engine
    """

    def __init__(
        self,
        *,
        model_file: Path,
        model_id: str,
        window_tokens: int | None = None,
        slots: int = 2,
        threads: int | None = None,
        llama_server: Path | None = None,
        log_file: Path | None = None,
        clock: Clock,
    ) -> None:
        if not 1 <= slots <= SLOTS_MAX:
            raise BadRequest(f"slots is {slots}; give 1 to {SLOTS_MAX}", param="slots")
        self._model_file = model_file
        self._model_id = model_id
        self._window_tokens = window_tokens
        self._slots = slots
        self._threads = threads or usable_cores()
        self._program = llama_server
        self._log_file = log_file
        self._clock = clock
        self._stack = AsyncExitStack()
        self._process: LlamaProcess | None = None
        self._card: ModelCard | None = None
        self._has_template = False
        self._guided = False

    @property
    def card(self) -> ModelCard:
        assert self._card is not None, "the card is known after start"
        return self._card

    @property
    def ready(self) -> bool:
        return self._process is not None and self._process.ready

    @property
    def restarts(self) -> int:
        """How often the child was started again; a server's metrics show it."""
        return 0 if self._process is None else self._process.restarts

    async def start(self) -> None:
        header = read_gguf(self._model_file)
        trained = header.context_tokens or WINDOW_TOKENS_DEFAULT
        window = min(trained, self._window_tokens or trained)
        plan = ServerPlan(
            settings=ChildSettings(
                model_file=str(self._model_file),
                window_tokens=window,
                slots=self._slots,
                threads=self._threads,
                api_key=new_secret(),
            ),
            program=self._program,
            log_file=self._log_path(),
        )
        process = LlamaProcess(plan, self._clock)
        self._stack.push_async_callback(process.close)
        try:
            await process.start()
            self._guided = await process.child.http.guided()
        except BaseException:
            await self.close()
            raise
        self._process = process
        self._has_template = header.chat_template
        self._card = ModelCard(id=self._model_id, engine="llama.cpp", window_tokens=window, slots=self._slots)

    async def close(self) -> None:
        await self._stack.aclose()

    async def prepare(self, call: Call) -> Prepared:
        primed = primed_text(call, guided=self._guided)
        messages = render(call.items, call.tools)
        async with self._running() as http:
            text = await http.apply_template(messages) if self._has_template else render_plain(messages)
            prompt = await http.tokenize(text + primed)
        return Prepared(call=call, prompt_token_ids=prompt, max_output_tokens=self._room(call, len(prompt)))

    async def stream(self, prepared: Prepared) -> AsyncGenerator[Event, None]:
        stop = () if self._has_template else (PLAIN_STOP,)
        async with self._running() as http:
            async with aclosing(answer(http, prepared, guided=self._guided, stop=stop)) as events:
                async for event in events:
                    yield event

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[LlamaHttp, None]:
        """The server that runs now; if it dies meanwhile, EngineFailed says how."""
        if self._process is None:
            raise EngineFailed("the engine is not running; start it first")
        child = self._process.child
        try:
            yield child.http
        except EngineFailed as failure:
            ended = await how_it_ended(child)
            if ended is None:
                raise
            raise EngineFailed(
                f"the engine {ended} in the middle of the answer; it is starting again, so ask again"
            ) from failure

    def _room(self, call: Call, prompt_tokens: int) -> int:
        """How many tokens may come out, or ContextTooLong."""
        room = self.card.window_tokens - prompt_tokens
        asked = call.max_output_tokens
        if room < (1 if asked is None else asked):
            raise ContextTooLong(
                prompt_tokens=prompt_tokens,
                max_output_tokens=asked or 1,
                window_tokens=self.card.window_tokens,
                remedy=_remedy(room),
            )
        return room if asked is None else asked

    def _log_path(self) -> Path:
        if self._log_file is not None:
            self._log_file.parent.mkdir(parents=True, exist_ok=True)
            return self._log_file
        folder = Path(tempfile.mkdtemp(prefix="perdure-llamacpp-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder / "llamacpp.log"


def _remedy(room_tokens: int) -> str:
    if room_tokens > 0:
        return f"Ask for at most {room_tokens} output tokens, or shorten messages and tools."
    return "Shorten the messages and tools, or serve a model with a longer window."
