"""How a plain ASGI endpoint reads a request and sends an answer."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from perdure.dialects.item import Caller
from perdure.dialects.openai_wire import encoded, error_body
from perdure.errors import BadRequest, BodyTooLarge, Busy, EngineFailed, PerdureError, Unavailable
from perdure.platform.limits import BODY_BYTES_MAX, NAME_CHARACTERS_MAX

JSON = "application/json"
UNAVAILABLE_RETRY_AFTER_S = 2.0
PRINTABLE = re.compile(r"[\x21-\x7e]+")


class ClientGone(Exception):
    """The client hung up before its request was read; there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole request body; BodyTooLarge beyond the limit, before it is read to the end."""
    declared = Headers(scope=scope).get("content-length", "")
    if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        raise BodyTooLarge(size_bytes=int(declared), limit_bytes=BODY_BYTES_MAX)
    pieces: list[bytes] = []
    size_bytes = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size_bytes += len(piece)
        if size_bytes > BODY_BYTES_MAX:
            raise BodyTooLarge(size_bytes=size_bytes, limit_bytes=BODY_BYTES_MAX)
        pieces.append(piece)
        more = message.get("more_body", False)
    return b"".join(pieces)


def parse_json(body: bytes) -> object:
    """The JSON in `body`; BadRequest says where it stops being JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(
            f"the request body is not JSON: {error.msg.partition(':')[0]} at line {error.lineno}, column "
            f"{error.colno} (character {error.pos})"
        ) from error


def read_key(headers: Headers) -> str | None:
    """The API key, from `Authorization: Bearer` or `x-api-key`."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key")


def read_caller(headers: Headers, workspace: str) -> Caller:
    """Who calls, from the `x-perdure-*` headers."""
    return Caller(
        workspace=workspace,
        session=_name(headers, "x-perdure-session"),
        program=_name(headers, "x-perdure-program"),
        parent=_name(headers, "x-perdure-parent"),
        final=headers.get("x-perdure-final", "").lower() in ("1", "true"),
    )


async def send_body(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """A whole answer."""
    await send_head(send, status, {**headers, "content-length": str(len(body))})
    await send({"type": "http.response.body", "body": body})


async def send_head(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """The status line and headers."""
    await send({"type": "http.response.start", "status": status, "headers": list(raw_headers(headers))})


def raw_headers(headers: Mapping[str, str]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers.items():
        yield name.encode("latin-1"), value.encode("latin-1", "replace")


async def send_error(send: Send, error: PerdureError) -> None:
    """OpenAI's envelope, with what a client needs to know about asking again."""
    await send_body(send, error.status, error_headers(error), encoded(error_body(error)))


def error_headers(error: PerdureError) -> dict[str, str]:
    """`retry-after` and `x-should-retry` where they make sense."""
    headers = {"content-type": JSON}
    retry_after_s = _retry_after_s(error)
    if retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(retry_after_s))
        headers["retry-after-ms"] = str(math.ceil(retry_after_s * 1000))
    if retry_after_s is not None or isinstance(error, EngineFailed):
        headers["x-should-retry"] = "true"
    elif error.status < 500:
        headers["x-should-retry"] = "false"
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def _retry_after_s(error: PerdureError) -> float | None:
    if isinstance(error, Busy):
        return error.retry_after_s
    return UNAVAILABLE_RETRY_AFTER_S if isinstance(error, Unavailable) else None


def _name(headers: Headers, header: str) -> str | None:
    name = headers.get(header)
    if not name:
        return None
    if len(name) > NAME_CHARACTERS_MAX or not PRINTABLE.fullmatch(name):
        raise BadRequest(
            f"the header {header} must be 1 to {NAME_CHARACTERS_MAX} printable characters without spaces",
            param=header,
        )
    return name


def state_of(scope: Scope) -> Any:
    """What `build_app` put on its app."""
    return scope["app"].state
