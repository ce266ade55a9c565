"""How we speak to a llama.cpp server: its own HTTP API, on loopback."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import aiohttp
import msgspec
import orjson

from perdure.dialects.toolprompt import ChatMessage
from perdure.errors import BadRequest, EngineFailed

REPLY_SECONDS_MAX = 60.0  # for everything but a generation, which takes as long as it takes
CONNECT_SECONDS_MAX = 10.0
SILENCE_SECONDS_MAX = 3600.0  # a long prompt on a slow machine makes no sound until its first token
LINE_BYTES_MAX = 1024 * 1024
COMPLAINT_CHARS_MAX = 300


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """What the server measured: `cache_n` prompt tokens came out of the slot, `prompt_n` were computed."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a streamed completion; the last one has `stop`, and says why in `stop_type`."""

    content: str = ""
    stop: bool = False
    stop_type: str = "none"
    stopping_word: str = ""
    tokens_predicted: int = 0
    truncated: bool = False
    timings: Timings = Timings()


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One place for a request. `has_next_token` stays true of an answer that was cut off."""

    class Next(msgspec.Struct, frozen=True, kw_only=True):
        has_next_token: bool

    is_processing: bool
    next_token: list[Next]


class _Props(msgspec.Struct):
    class Defaults(msgspec.Struct):
        n_ctx: int

    default_generation_settings: Defaults


class LlamaHttp:
    """One llama.cpp server. Raises EngineFailed when it is gone or answers nonsense."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self._session = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {api_key}"},
            # A connection for each request: the server closes idle ones, and a request could meet that.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS_MAX, sock_read=SILENCE_SECONDS_MAX
            ),
            read_bufsize=LINE_BYTES_MAX,
        )

    async def close(self) -> None:
        await self._session.close()

    async def healthy(self) -> bool:
        """Whether the model is loaded and the server answers."""
        try:
            async with self._session.get(f"{self.url}/health", timeout=_REPLY) as reply:
                return reply.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def slot_tokens(self) -> int:
        """The context of one slot, as the server divided it."""
        props = msgspec.json.decode(await self._ask("GET", "/props", None), type=_Props)
        return props.default_generation_settings.n_ctx

    async def slots(self) -> list[Slot]:
        """What each slot does just now."""
        return msgspec.json.decode(await self._ask("GET", "/slots", None), type=list[Slot])

    async def apply_template(self, messages: Sequence[ChatMessage]) -> str:
        """The prompt that the model's own chat template makes of `messages`, up to where the model speaks."""
        reply = await self._ask("POST", "/apply-template", {"messages": msgspec.to_builtins(messages)})
        return str(orjson.loads(reply)["prompt"])

    async def tokenize(self, text: str) -> tuple[int, ...]:
        """The token ids of a whole prompt; control tokens written in it count as such."""
        body = {"content": text, "add_special": True, "parse_special": True}
        return tuple(orjson.loads(await self._ask("POST", "/tokenize", body))["tokens"])

    async def guided(self) -> bool:
        """Whether the server was built with LLGuidance.

        Asked in a roundabout way, because a server without it aborts on a grammar for it: llama.cpp's own
        converter refuses patterns that are not anchored, LLGuidance takes them.
        """
        body = {"prompt": "-", "n_predict": 1, "json_schema": {"type": "string", "pattern": "a"}}
        try:
            async for _ in self.completion({**body, "stream": True}):
                pass
        except BadRequest:
            return False
        return True

    async def completion(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The chunks of a generation, the last with `stop`. Closing the generator ends it in the server."""
        try:
            async with self._session.post(f"{self.url}/completion", data=orjson.dumps(body)) as reply:
                if reply.status != 200:
                    raise _refused(reply.status, await reply.read())
                async for line in reply.content:
                    if line.startswith(b"error:"):
                        raise EngineFailed(f"llama.cpp broke off: {_message(line[6:])}")
                    if not line.startswith(b"data:"):
                        continue
                    chunk = _chunk(line[5:])
                    yield chunk
                    if chunk.stop:
                        return
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineFailed(f"the connection to llama.cpp broke ({type(error).__name__})") from error
        raise EngineFailed("llama.cpp ended its answer without saying why")

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        sent = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(method, f"{self.url}{path}", data=sent, timeout=_REPLY) as reply:
                received = await reply.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineFailed(f"llama.cpp does not answer {path} ({type(error).__name__})") from error
        if reply.status != 200:
            raise _refused(reply.status, received)
        return received


_REPLY = aiohttp.ClientTimeout(total=REPLY_SECONDS_MAX)


def _chunk(line: bytes) -> Chunk:
    try:
        return msgspec.json.decode(line, type=Chunk)
    except msgspec.DecodeError as error:
        raise EngineFailed(f"llama.cpp sent what is not a completion: {_message(line)}") from error


def _refused(status: int, received: bytes) -> BadRequest | EngineFailed:
    reason = f"llama.cpp refused the request: {_message(received)}"
    return BadRequest(reason) if 400 <= status < 500 and status not in (401, 403) else EngineFailed(reason)


class _Complaint(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Complaint


def _message(received: bytes) -> str:
    """What the server complains of, from its error object where there is one."""
    try:
        return msgspec.json.decode(received, type=_ErrorBody).error.message[:COMPLAINT_CHARS_MAX]
    except msgspec.DecodeError:
        return received.decode(errors="replace").strip()[:COMPLAINT_CHARS_MAX]
