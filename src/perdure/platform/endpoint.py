"""How one generating endpoint answers over HTTP: key, body, claim, then the bytes as they come."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from perdure.dialects.item import Caller
from perdure.platform.answer import Answer
from perdure.platform.asgi import (
    ClientGone,
    parse_json,
    read_body,
    read_caller,
    read_key,
    send_body,
    send_head,
)
from perdure.platform.generating import Generation, Work
from perdure.platform.idempotency import JOINED, Answers, read_claim
from perdure.platform.keys import Keys

Read = Callable[[object, Caller], Awaitable[Work]]
"""Understands a parsed body; raises BadRequest naming the field that is wrong."""


class GeneratingEndpoint:
    """A plain ASGI endpoint: it is on the hot path."""

    def __init__(self, *, keys: Keys, generation: Generation, answers: Answers, read: Read) -> None:
        self._keys = keys
        self._generation = generation
        self._answers = answers
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        workspace = await self._keys.workspace_of(read_key(headers))
        body = await read_body(scope, receive)
        work = await self._read(parse_json(body), read_caller(headers, workspace))
        self._generation.line(work.call.model)
        claim = read_claim(headers, workspace=workspace, path=scope["path"], body=body)
        answer, joined = self._answers.open(work, claim)
        answer.join()
        try:
            await _until_gone(receive, _relay(answer, work, joined, send))
        finally:
            answer.leave()


async def _relay(answer: Answer, work: Work, joined: bool, send: Send) -> None:
    head = await answer.head()
    headers = {**head.headers, JOINED: "true"} if joined else head.headers
    if not work.stream:
        await answer.finished()
        await send_body(send, head.status, headers, answer.body())
        return
    await send_head(send, head.status, headers)
    async for piece in answer.pieces():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive, relaying: Awaitable[None]) -> None:
    """Relay until the end, or until the client hangs up."""
    relay = asyncio.ensure_future(relaying)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((relay, gone), return_when=asyncio.FIRST_COMPLETED)
        if not relay.done():
            raise ClientGone
        relay.result()
    finally:
        for task in (relay, gone):
            task.cancel()
        await asyncio.gather(relay, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
