"""How a parsed body of each dialect becomes work for the platform."""

import asyncio
from collections import deque

import msgspec

from perdure.dialects.item import Caller, Item
from perdure.dialects.openai_chat import read_chat
from perdure.dialects.openai_chat_answer import ChatAnswer
from perdure.dialects.openai_responses import ResponsesRequest, read_responses
from perdure.dialects.openai_responses_answer import ResponsesAnswer
from perdure.errors import BadRequest, NotFound
from perdure.platform.endpoint import Read
from perdure.platform.generating import Work
from perdure.platform.limits import CHAIN_RESPONSES_MAX, RESPONSE_LIFE_S
from perdure.platform.platform import Platform
from perdure.platform.store import Store, StoredResponse
from perdure.rng import new_id


def reading_chat(platform: Platform) -> Read:
    """Chat Completions."""

    async def read(value: object, caller: Caller) -> Work:
        request = read_chat(value, caller)
        answer = ChatAnswer(request, answer_id=new_id("chatcmpl"), created_s=int(platform.clock.now_s()))
        return Work(call=request.call, stream=request.stream, ignored=request.ignored, rendering=answer)

    return read


def reading_responses(platform: Platform) -> Read:
    """Responses, with the history that `previous_response_id` leads to."""

    async def read(value: object, caller: Caller) -> Work:
        request = read_responses(value, caller)
        history: tuple[Item, ...] = ()
        if request.previous_id is not None:
            now_s = platform.clock.now_s()
            history = await asyncio.to_thread(
                _history, platform.store, request.previous_id, caller.workspace, now_s
            )
        answer = ResponsesAnswer(request, answer_id=new_id("resp"), clock=platform.clock)

        def stored() -> StoredResponse | None:
            return _stored(request, answer, platform.clock.now_s()) if request.store else None

        return Work(
            call=request.call(history),
            stream=request.stream,
            ignored=request.ignored,
            rendering=answer,
            stored=stored,
        )

    return read


def _history(store: Store, response_id: str, workspace: str, now_s: float) -> tuple[Item, ...]:
    """All items of the chain that ends in that response, oldest first."""
    parts: deque[list[Item]] = deque()
    wanted: str | None = response_id
    while wanted is not None:
        found = store.response(wanted, workspace, now_s)
        if found is None:
            raise NotFound(
                f"there is no response {wanted!r} to go on from; responses are kept 7 days for the workspace "
                "that made them, unless `store` was false. Send the conversation in `input` instead",
                param="previous_response_id",
            )
        parts.appendleft(msgspec.json.decode(found.items, type=list[Item]))
        if len(parts) > CHAIN_RESPONSES_MAX:
            raise BadRequest(
                f"the chain of responses is over {CHAIN_RESPONSES_MAX} long; send all of it in `input`",
                param="previous_response_id",
            )
        wanted = found.previous_id
    return tuple(item for part in parts for item in part)


def _stored(request: ResponsesRequest, answer: ResponsesAnswer, now_s: float) -> StoredResponse:
    return StoredResponse(
        id=answer.id,
        workspace=request.caller.workspace,
        previous_id=request.previous_id,
        body=answer.whole(),
        items=msgspec.json.encode([*request.added, *answer.items]),
        expires_s=now_s + RESPONSE_LIFE_S,
    )
