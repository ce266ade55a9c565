"""How a session reaches its model: one chat completion over HTTP, like any customer's."""

from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import orjson

from perdure.errors import (
    BadRequest,
    Busy,
    Conflict,
    ContextTooLong,
    EngineFailed,
    NotAllowed,
    PerdureError,
    Unavailable,
    UnknownModel,
)

ANSWER_S_MAX = 3600.0
CONNECT_S_MAX = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said: text, tool calls as (call id, name, arguments as JSON text), and token counts."""

    text: str
    calls: tuple[tuple[str, str, str], ...]
    reason: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which session calls, and in which program: sent as `x-perdure-*` headers."""

    session: str
    program: str
    parent: str | None = None


class ModelClient:
    """Asks one server, whose `base_url` ends in `/v1`. Use it as an async context manager."""

    def __init__(self, *, base_url: str, api_key: str | None) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "ModelClient":
        timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX, sock_connect=CONNECT_S_MAX)
        self._http = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._http is not None
        await self._http.close()

    async def ask(self, body: dict[str, Any], *, key: str, who: Identity, final: bool = False) -> Answer:
        """The answer to one chat completion. Asked again under the same `key`, a finished one is replayed.

        Raises ContextTooLong, BadRequest, NotAllowed and Conflict for what asking again cannot mend, and
        Busy, EngineFailed and Unavailable for what it can.
        """
        assert self._http is not None, "use the client inside `async with`"
        headers = {
            "content-type": "application/json",
            "idempotency-key": key,
            "x-perdure-session": who.session,
            "x-perdure-program": who.program,
        }
        if self._api_key:
            headers["authorization"] = f"Bearer {self._api_key}"
        if who.parent:
            headers["x-perdure-parent"] = who.parent
        if final:
            headers["x-perdure-final"] = "1"
        url = f"{self._base_url}/chat/completions"
        try:
            async with self._http.post(url, data=orjson.dumps(body), headers=headers) as response:
                raw = await response.read()
                if response.status != 200:
                    raise _error(response.status, raw, response.headers.get("retry-after"), self._base_url)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as lost:
            raise Unavailable(f"no answer from {self._base_url}: {lost or type(lost).__name__}") from lost
        return _answer(raw)


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    function: _Function


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Completion(msgspec.Struct):
    """The part of a chat completion that a session reads."""

    choices: list[_Choice]
    usage: _Usage | None = None


def _answer(raw: bytes) -> Answer:
    try:
        parsed = msgspec.json.decode(raw, type=_Completion)
        choice = parsed.choices[0]
    except (msgspec.DecodeError, IndexError) as garbage:
        raise EngineFailed(f"the server's answer is not a chat completion ({garbage})") from garbage
    usage = parsed.usage or _Usage()
    details = usage.prompt_tokens_details or _Details()
    calls = choice.message.tool_calls or []
    return Answer(
        text=choice.message.content or "",
        calls=tuple((call.id, call.function.name, call.function.arguments) for call in calls),
        reason=choice.finish_reason or "stop",
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=details.cached_tokens or 0,
        output_tokens=usage.completion_tokens,
    )


def _error(status: int, raw: bytes, retry_after: str | None, base_url: str) -> PerdureError:
    """The server's refusal, as one of ours."""
    message, code = _said(raw, status)
    if code == "context_length_exceeded":
        refused = ContextTooLong(prompt_tokens=0, max_output_tokens=0, window_tokens=0, remedy="")
        refused.message = message
        return refused
    if status == 401:
        return NotAllowed(f"{base_url} refused the key: {message}. See: perdure env")
    if status == 404:
        return UnknownModel(message)
    if status == 422:
        return Conflict(message)
    if status == 429:
        return Busy(message, retry_after_s=float(retry_after or 1.0))
    if status in (502, 500):
        return EngineFailed(message)
    if status in (503, 504, 507, 408):
        return Unavailable(message)
    return BadRequest(message)


def _said(raw: bytes, status: int) -> tuple[str, str]:
    try:
        error = orjson.loads(raw)["error"]
        return str(error["message"]), str(error.get("code") or "")
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"HTTP {status}: {raw[:200].decode(errors='replace')}", ""
