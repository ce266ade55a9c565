"""Laws of claims: what makes two requests the same, and which answer is worth joining."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from perdure.clock import VirtualClock
from perdure.config import Places
from perdure.dialects.item import Caller
from perdure.engines.scripted import ScriptedEngine
from perdure.errors import BadRequest, Conflict, EngineFailed, Unavailable
from perdure.platform.generating import Work
from perdure.platform.idempotency import Claim, read_claim
from perdure.platform.platform import Platform
from perdure.platform.reading import reading_chat

BODY = {"model": "scripted", "messages": [{"role": "user", "content": "Hello there"}]}
CLAIM = Claim(workspace="w", key="k", body_hash="h")


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform whose engine fails first, then answers."""
    clock = VirtualClock()
    engine = ScriptedEngine(clock=clock, answers=[EngineFailed("broken"), "one", "two"])
    places = Places(cache_dir=tmp_path, data_dir=tmp_path / "data", config_dir=tmp_path)
    async with Platform(engines=[engine], places=places, clock=clock) as started:
        yield started


async def work(platform: Platform) -> Work:
    return await reading_chat(platform)(BODY, Caller(workspace="w"))


def test_a_claim_covers_workspace_path_and_every_byte_of_the_body() -> None:
    """Each of them changed makes another request; no header makes no claim, an odd one is refused."""
    headers = Headers({"idempotency-key": "k"})
    claims = {
        read_claim(headers, workspace=workspace, path=path, body=body)
        for workspace, path, body in (
            ("w", "/a", b"x"),
            ("w", "/a", b"x "),
            ("w", "/b", b"x"),
            ("v", "/a", b"x"),
        )
    }
    assert len(claims) == 4
    assert read_claim(Headers({}), workspace="w", path="/a", body=b"x") is None
    for odd in ("", "k" * 256):
        with pytest.raises(BadRequest, match="1 to 255"):
            read_claim(Headers({"idempotency-key": odd}), workspace="w", path="/a", body=b"x")


async def test_only_an_answer_that_somebody_waits_for_is_joined(platform: Platform) -> None:
    """An abandoned answer is being torn down: the same request gets a new one at once."""
    first, joined = platform.answers.open(await work(platform), CLAIM)
    first.join()
    assert not joined
    same, joined = platform.answers.open(await work(platform), CLAIM)
    assert (same is first, joined) == (True, True)
    first.leave()
    second, joined = platform.answers.open(await work(platform), CLAIM)
    assert (second is first, joined) == (False, False)
    second.join()
    second.leave()


async def test_what_an_abandoned_answer_still_stored_is_replayed(platform: Platform) -> None:
    """Hung up upon while it is being stored, an answer counts: later requests do not make another."""
    stored, go_on, finish = threading.Event(), threading.Event(), platform.store.finish

    def slowly(**row: object) -> None:
        stored.set()
        assert go_on.wait(20)
        finish(**row)

    failing, _ = platform.answers.open(await work(platform), None)
    with pytest.raises(EngineFailed):
        await failing.head()
    platform.store.finish = slowly  # type: ignore[method-assign]
    first, _ = platform.answers.open(await work(platform), CLAIM)
    first.join()
    await asyncio.to_thread(stored.wait, 20)
    first.leave()
    second, joined = platform.answers.open(await work(platform), CLAIM)
    second.join()
    await asyncio.sleep(0)
    second.leave()
    third, joined_third = platform.answers.open(await work(platform), CLAIM)
    third.join()
    await asyncio.sleep(0.1)  # time enough to look for a stored answer too early, and not find it
    go_on.set()
    assert (joined, joined_third) == (False, False)
    assert (await third.head()).headers["x-perdure-replayed"] == "true"


async def test_a_failed_answer_is_not_joined(platform: Platform) -> None:
    """The same request, sent in the very moment when the first fails, is tried again."""
    first, _ = platform.answers.open(await work(platform), CLAIM)
    first.join()
    with pytest.raises(EngineFailed):
        await first.head()
    second, joined = platform.answers.open(await work(platform), CLAIM)
    assert not joined
    second.join()
    assert (await second.head()).status == 200


async def test_another_body_under_a_running_key_is_a_conflict(platform: Platform) -> None:
    """At once, before anything is generated."""
    running, _ = platform.answers.open(await work(platform), CLAIM)
    running.join()
    with pytest.raises(Conflict, match="Send a new key"):
        platform.answers.open(await work(platform), Claim(workspace="w", key="k", body_hash="other"))
    running.leave()


async def test_answers_given_up_before_their_first_step_still_end(platform: Platform) -> None:
    """A reader of an answer whose task was cancelled before it ran is told, not left waiting."""
    answer, _ = platform.answers.open(await work(platform), CLAIM)
    answer.join()
    await platform.answers.close()
    with pytest.raises(Unavailable, match="ask again"):
        await answer.head()
    with pytest.raises(Unavailable, match="shutting down"):
        platform.answers.open(await work(platform), CLAIM)
