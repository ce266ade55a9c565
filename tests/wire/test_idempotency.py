"""The same request twice is one request: replayed, joined, refused or tried again."""

import asyncio

import orjson
import pytest

from perdure.errors import EngineFailed

BODY = {"model": "scripted", "messages": [{"role": "user", "content": "Hello there, you over there"}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_finished_answer_is_replayed_byte_for_byte(served, stream, raw):
    """The second answer is the first, to the byte, and the model is not asked again."""
    body = {**BODY, "stream": stream, "user": "u"}
    async with raw(served) as ask:
        _, first_headers, first = await ask(body)
        status, headers, second = await ask(body)
    assert (status, second) == (200, first)
    assert "x-perdure-replayed" not in first_headers
    assert headers["x-perdure-replayed"] == "true"
    for name in ("content-type", "x-perdure-ignored"):
        assert headers[name] == first_headers[name]
    assert len(served.engine.calls) == 1


async def test_a_replay_outlives_the_server(serving, raw):
    """A new server process on the same folder replays what the old one finished, and records nothing new."""
    async with serving() as served, raw(served) as ask:
        first = (await ask(BODY))[2]
        recorded = served.platform.recorder.read("default", None)
    async with serving() as served, raw(served) as ask:
        _, headers, second = await ask(BODY)
        assert served.platform.recorder.read("default", None) == recorded
        assert served.engine.calls == []
    assert second == first
    assert headers["x-perdure-replayed"] == "true"


async def test_a_stored_response_is_replayed_with_its_id(served, raw):
    """A Responses create under a key gives the same response id again, streamed or not."""
    body = {"model": "scripted", "input": "Hello"}
    async with raw(served) as ask:
        first = orjson.loads((await ask(body, path="/responses"))[2])
        second = orjson.loads((await ask(body, path="/responses"))[2])
    assert first["id"] == second["id"]


async def test_another_body_under_the_same_key_is_refused(served, raw):
    """422, whether the first answer is finished or not; the same body at another path is another body."""
    async with raw(served) as ask:
        await ask(BODY)
        status, _, body = await ask({**BODY, "temperature": 0})
    assert (status, orjson.loads(body)["error"]["code"]) == (422, "idempotency_key_reused")


async def test_a_key_belongs_to_its_workspace(served, raw):
    """Two workspaces may use the same key for different requests."""
    other = await asyncio.to_thread(served.platform.keys.make, "other")
    async with raw(served) as ask:
        await ask(BODY)
        status, headers, _ = await ask({**BODY, "temperature": 0}, api_key=other)
    assert status == 200
    assert "x-perdure-replayed" not in headers


async def test_a_running_answer_is_joined(serving, raw, until):
    """Requests that come while the first runs get the same bytes; the model is asked once."""
    async with serving(delay_s=0.08) as served, raw(served) as ask:
        body = {**BODY, "stream": True}
        first = asyncio.create_task(ask(body))
        await until(lambda: served.engine.calls)
        status, headers, joined = await ask(body)
        refused = await ask({**body, "seed": 1})
        assert (status, joined) == (200, (await first)[2])
        assert headers["x-perdure-joined"] == "true"
        assert refused[0] == 422
        assert len(served.engine.calls) == 1


async def test_a_joined_answer_goes_on_when_the_first_client_leaves(serving, raw, until):
    """A hang-up cancels the generation only when nobody else waits for it."""
    async with serving(delay_s=0.08) as served, raw(served) as ask:
        body = {**BODY, "stream": True}
        first = asyncio.create_task(ask(body))
        await until(lambda: served.engine.calls)
        second = asyncio.create_task(ask(body))
        await until(lambda: served.platform.active_requests == 2)
        first.cancel()
        _, _, bytes_ = await second
        assert bytes_.endswith(b"data: [DONE]\n\n")
        assert (served.engine.finished, served.engine.cancelled) == (1, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_attempt_is_tried_again(serving, stream, raw):
    """An answer that broke is not kept: the same request under the same key runs anew."""
    body = {**BODY, "stream": stream}
    async with serving([EngineFailed("the engine broke"), "all well"]) as served, raw(served) as ask:
        _, _, broken = await ask(body)
        status, headers, whole = await ask(body)
        assert b"the engine broke" in broken
        assert status == 200
        assert "x-perdure-replayed" not in headers
        assert b"all " in whole
        assert len(served.engine.calls) == 2


async def test_an_attempt_that_the_server_took_down_with_it_is_tried_again(serving, raw, until):
    """A request cut off by the end of its server leaves nothing behind that could answer for it."""
    async with serving(delay_s=0.08) as served, raw(served) as ask:
        lost = asyncio.create_task(ask({**BODY, "stream": True}))
        await until(lambda: served.engine.calls)
        await served.platform.answers.close()
        assert b"[DONE]" not in (await lost)[2]
    async with serving() as served, raw(served) as ask:
        _, headers, body = await ask({**BODY, "stream": True})
        assert "x-perdure-replayed" not in headers
        assert body.endswith(b"data: [DONE]\n\n")


async def test_an_abandoned_attempt_is_tried_again(serving, raw, until):
    """After the only client hung up, the same request does not join what is being torn down."""
    async with serving(delay_s=0.08) as served, raw(served) as ask:
        first = asyncio.create_task(ask(BODY))
        await until(lambda: served.engine.calls)
        first.cancel()
        await until(lambda: served.engine.cancelled)
        assert (await ask(BODY))[0] == 200
        assert len(served.engine.calls) == 2


async def test_a_key_too_long_is_refused(served, raw):
    """The limit is named."""
    async with raw(served) as ask:
        status, _, body = await ask(BODY, key="k" * 256)
    assert status == 400
    assert b"1 to 255 characters" in body
