"""How our own engine runs a model: llama.cpp in a child process, spoken to over loopback only."""

import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from perdure.clock import Clock
from perdure.dialects.item import Call, Event
from perdure.dialects.toolprompt import PLAIN_STOP, disarm, render, render_plain
from perdure.engines.engine import ModelCard, Prepared
from perdure.engines.llamacpp_answer import answer
from perdure.engines.llamacpp_child import ChildSettings
from perdure.engines.llamacpp_constraint import primed_text
from perdure.engines.llamacpp_http import LlamaHttp
from perdure.engines.llamacpp_launch import Child, ServerPlan, check_program
from perdure.engines.llamacpp_process import LlamaProcess, how_it_ended
from perdure.errors import BadRequest, ContextTooLong, EngineFailed
from perdure.models.weights_gguf import GgufHeader, read_gguf
from perdure.processes import usable_cores
from perdure.rng import new_secret

SLOTS_MAX = 64
LOG_BYTES_MAX = 1024 * 1024
WINDOW_TOKENS_DEFAULT = 4096  # of a model that does not say what it was trained for


class LlamaCpp:
    """Runs the model in `model_file`; keeps the contract of `Engine`.

    window_tokens  of one request, prompt and answer together; None is what the model was trained for
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
        self._started: _Started | None = None

    @property
    def card(self) -> ModelCard:
        return self._running.card

    @property
    def ready(self) -> bool:
        return self._started is not None and self._started.process.ready

    @property
    def child(self) -> Child:
        """The server process that runs now; raises as `prepare` does when there is none."""
        return self._running.process.child

    @property
    def restarts(self) -> int:
        """How often the child was started again; a server's metrics show it."""
        return 0 if self._started is None else self._started.process.restarts

    async def start(self) -> None:
        header = read_gguf(self._model_file)
        check_program(self._program)
        window = self._window(header)
        process = LlamaProcess(self._plan(window), self._clock)
        self._stack.push_async_callback(process.close)
        try:
            await process.start()
            http = process.child.http
            await _check_window(http, window)
            self._started = _Started(
                process=process,
                header=header,
                guided=await http.guided(),
                card=ModelCard(
                    id=self._model_id, engine="llama.cpp", window_tokens=window, slots=self._slots
                ),
            )
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._stack.aclose()

    async def prepare(self, call: Call) -> Prepared:
        running = self._running
        primed = primed_text(call, guided=running.guided)
        messages = disarm(render(call.items, call.tools), running.header.control_tokens)
        async with _explained(running.process) as http:
            templated = running.header.chat_template
            text = await http.apply_template(messages) if templated else render_plain(messages)
            prompt = await http.tokenize(text + primed)
        room = _room(call, len(prompt), running.card.window_tokens)
        return Prepared(call=call, prompt_token_ids=prompt, max_output_tokens=room)

    async def stream(self, prepared: Prepared) -> AsyncGenerator[Event, None]:
        running = self._running
        stop = () if running.header.chat_template else (PLAIN_STOP,)
        async with _explained(running.process) as http:
            async with aclosing(answer(http, prepared, guided=running.guided, stop=stop)) as events:
                async for event in events:
                    yield event

    @property
    def _running(self) -> "_Started":
        if self._started is None:
            raise EngineFailed("the engine is not running; start it first")
        return self._started

    def _window(self, header: GgufHeader) -> int:
        """The window of one request: as asked for, if the model was trained for that many tokens."""
        trained, asked = header.context_tokens, self._window_tokens
        if trained is not None and asked is not None and asked > trained:
            raise BadRequest(
                f"a window of {asked} tokens is more than {self._model_id} was trained for: {trained}. "
                f"Give at most --window {trained}, or leave it out to have that",
                param="window",
            )
        return asked or trained or WINDOW_TOKENS_DEFAULT

    def _plan(self, window_tokens: int) -> ServerPlan:
        settings = ChildSettings(
            model_file=str(self._model_file),
            window_tokens=window_tokens,
            slots=self._slots,
            threads=self._threads,
            api_key=new_secret(),
        )
        return ServerPlan(settings=settings, program=self._program, log_file=self._log_path())

    def _log_path(self) -> Path:
        """Where the child's log goes; an old one that has grown large is begun anew."""
        if self._log_file is None:
            folder = Path(tempfile.mkdtemp(prefix="perdure-llamacpp-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            return folder / "llamacpp.log"
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_BYTES_MAX:
            self._log_file.write_bytes(b"")
        return self._log_file


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    """What is known once the engine runs. `guided`: the server takes grammars of LLGuidance."""

    process: LlamaProcess
    header: GgufHeader
    guided: bool
    card: ModelCard


@asynccontextmanager
async def _explained(process: LlamaProcess) -> AsyncGenerator[LlamaHttp, None]:
    """The server that runs now; if it dies meanwhile, EngineFailed says how."""
    child = process.child
    try:
        yield child.http
    except EngineFailed as failure:
        ended = await how_it_ended(child)
        if ended is None:
            raise
        raise EngineFailed(
            f"the engine {ended} in the middle of the answer; it is starting again, so ask again"
        ) from failure


async def _check_window(http: LlamaHttp, window_tokens: int) -> None:
    """A server that divides the context among its slots otherwise than we think must not serve."""
    slot_tokens = await http.slot_tokens()
    if slot_tokens < window_tokens:
        raise EngineFailed(
            f"llama.cpp gives each request {slot_tokens} tokens where {window_tokens} were asked for; "
            f"serve with --window {slot_tokens}, or another llama-server"
        )


def _room(call: Call, prompt_tokens: int, window_tokens: int) -> int:
    """How many tokens may come out, or ContextTooLong."""
    room = window_tokens - prompt_tokens
    asked = call.max_output_tokens
    if room < (1 if asked is None else asked):
        raise ContextTooLong(
            prompt_tokens=prompt_tokens,
            max_output_tokens=asked or 1,
            window_tokens=window_tokens,
            remedy=_remedy(room),
        )
    return room if asked is None else asked


def _remedy(room_tokens: int) -> str:
    if room_tokens > 0:
        return f"Ask for at most {room_tokens} output tokens, or shorten messages and tools."
    return "Shorten the messages and tools, or serve a model with a longer window."
