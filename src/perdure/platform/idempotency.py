"""Which requests are the same request: a finished answer is replayed, a running one is joined."""

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import Headers

from perdure.clock import Clock
from perdure.errors import BadRequest, Conflict, PerdureError, Unavailable
from perdure.platform.answer import Answer, Head
from perdure.platform.generating import Commit, Generation, Work, break_off
from perdure.platform.limits import (
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    PURGE_EVERY_S,
    REPLAY_BYTES_MAX,
    REPLAY_LIFE_S,
)
from perdure.platform.metrics import Metrics
from perdure.platform.store import Replay, Store, StoredResponse

logger = logging.getLogger(__name__)

REPLAYED = "x-perdure-replayed"
JOINED = "x-perdure-joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That this request is the one request under `key` in its workspace. The hash covers path and body."""

    workspace: str
    key: str
    body_hash: str


def read_claim(headers: Headers, *, workspace: str, path: str, body: bytes) -> Claim | None:
    """The claim in the header `Idempotency-Key`, or None without one."""
    key = headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= IDEMPOTENCY_KEY_CHARACTERS_MAX:
        raise BadRequest(
            f"the header Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} characters",
            param="Idempotency-Key",
        )
    digest = hashlib.sha256(path.encode() + b"\0" + body).hexdigest()
    return Claim(workspace=workspace, key=key, body_hash=digest)


class Answers:
    """Starts the task that makes each answer, unless the same request has one already.

    Running answers are known to this process alone, finished ones to the store: what a crash or an error
    cut off left no trace there, so the same request is simply tried again.
    """

    def __init__(self, *, store: Store, generation: Generation, metrics: Metrics, clock: Clock) -> None:
        self._store = store
        self._generation = generation
        self._metrics = metrics
        self._clock = clock
        self._claimed: dict[tuple[str, str], tuple[str, Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._purged_s = clock.monotonic_s()
        self._closed = False

    def open(self, work: Work, claim: Claim | None) -> tuple[Answer, bool]:
        """The answer to `work`, and whether it was running already. Whoever opens it joins and leaves it."""
        if self._closed:
            raise Unavailable("this server is shutting down; ask again, or ask another one")
        earlier: Answer | None = None
        if claim is not None:
            body_hash, earlier = self._claimed.get((claim.workspace, claim.key), ("", None))
            if earlier is not None and earlier.worth_joining:
                _check(claim, body_hash)
                return earlier, True
        answer = Answer()
        if claim is not None:
            self._claimed[claim.workspace, claim.key] = (claim.body_hash, answer)
        answer.task = asyncio.create_task(self._make(work, claim, answer, earlier), name="answer")
        self._tasks.add(answer.task)
        answer.task.add_done_callback(partial(self._settle, work, claim, answer))
        return answer, False

    async def close(self) -> None:
        """Give up every answer that is still being made, and make no more."""
        self._closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, work: Work, claim: Claim | None, answer: Answer, earlier: Answer | None) -> None:
        try:
            if earlier is not None and earlier.task is not None:
                # It was given up, but may be storing what it finished; then that is what we replay.
                await _to_its_end(earlier.task)
            if claim is None or not await self._replayed(claim, answer):
                await self._generation.write(work, answer, self._committing(claim, work))
        except PerdureError as error:
            answer.fail(error)
        except Exception:  # the edge of the task: whatever broke must not take the server with it
            logger.exception("a request for %s broke", work.call.model)
            break_off(answer, work, PerdureError("the server failed to answer; its log says why"))

    def _settle(self, work: Work, claim: Claim | None, answer: Answer, task: asyncio.Task[None]) -> None:
        """Run when the task has ended, in whatever way: it may have been cancelled before its first step."""
        self._tasks.discard(task)
        if claim is not None and self._claimed.get((claim.workspace, claim.key), ("", None))[1] is answer:
            del self._claimed[claim.workspace, claim.key]
        if not answer.done:
            stopped = Unavailable("the server stopped before the answer was complete; ask again")
            break_off(answer, work, stopped)

    async def _replayed(self, claim: Claim, answer: Answer) -> bool:
        """Write the finished answer of an earlier, same request, if there is one."""
        replay = await asyncio.to_thread(self._store.replay, claim.workspace, claim.key, self._clock.now_s())
        if replay is None:
            return False
        _check(claim, replay.body_hash)
        headers = {"content-type": replay.content_type, REPLAYED: "true"}
        if replay.ignored:
            headers["x-perdure-ignored"] = replay.ignored
        self._metrics.replays.inc()
        answer.start(Head(status=200, headers=headers))
        answer.write(replay.body)
        answer.finish()
        return True

    def _committing(self, claim: Claim | None, work: Work) -> Commit:
        """What `Generation.write` calls with a finished answer, before its last byte is handed out."""

        async def commit(response: StoredResponse | None, answer: Answer, last: bytes) -> None:
            replay = None
            if claim is not None:
                replay = self._replay(claim, work, answer.body() + last)
            if replay is not None or response is not None:
                storing = asyncio.create_task(asyncio.to_thread(self._finish, replay, response))
                await _to_its_end(storing)
                storing.result()

        return commit

    def _replay(self, claim: Claim, work: Work, body: bytes) -> Replay | None:
        if len(body) > REPLAY_BYTES_MAX:
            logger.warning("an answer of %d bytes is too long to be kept for replay", len(body))
            return None
        headers = work.head.headers
        return Replay(
            workspace=claim.workspace,
            key=claim.key,
            body_hash=claim.body_hash,
            content_type=headers["content-type"],
            ignored=headers.get("x-perdure-ignored", ""),
            body=body,
            expires_s=self._clock.now_s() + REPLAY_LIFE_S,
        )

    def _finish(self, replay: Replay | None, response: StoredResponse | None) -> None:
        self._store.finish(replay=replay, response=response)
        if self._clock.monotonic_s() - self._purged_s > PURGE_EVERY_S:
            self._purged_s = self._clock.monotonic_s()
            self._store.purge(self._clock.now_s())


async def _to_its_end(task: asyncio.Task[None]) -> None:
    """Wait until `task` has ended; whoever is cancelled meanwhile is so only then."""
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


def _check(claim: Claim, body_hash: str) -> None:
    if claim.body_hash != body_hash:
        raise Conflict(
            "this Idempotency-Key was used with another request in the last 24 hours. Send a new key with "
            "a new request, and the same key only with the same bytes",
            param="Idempotency-Key",
        )
