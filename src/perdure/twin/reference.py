"""What vLLM's scheduler does with calls, block by block: the exact reference, slow and plain.

vLLM V1 as of 0.19 (vllm/v1/core/sched/scheduler.py, vllm/v1/core/block_pool.py, vllm/v1/engine/core.py), told
anew: running calls first, then waiting ones in order of arrival; a budget of tokens for each step, so that
prompts are cut into chunks; blocks of KV that stay findable by content after their call ended, until they are
taken again; and where room runs out, the call that came last is set back and computes its context once more.

The compiled kernel is judged by this on small cases: same hits, same batches.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from perdure.errors import BadRequest
from perdure.models.batch import Batch, Decode, Prefill
from perdure.twin.reference_blocks import BlockPool

STEPS_MAX = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """One server, in vLLM's terms.

    kv_blocks         `num_gpu_blocks`, one of which vLLM keeps as its null block
    batch_tokens_max  `max_num_batched_tokens`; sequences_max: `max_num_seqs`
    overlapped        `async_scheduling`: a step is scheduled as the one before it starts, so that a call
                      which comes in during a step joins the next but one
    whole_prompt_fits `scheduler_reserve_full_isl`: a call begins only if all of its context has room
    """

    kv_blocks: int
    block_tokens: int = 16
    batch_tokens_max: int = 2048
    sequences_max: int = 256
    overlapped: bool = True
    prefix_caching: bool = True
    whole_prompt_fits: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`tokens` are the ids of prompt and answer: what makes blocks equal. The answer is what comes out."""

    ready_s: float
    tokens: Sequence[int]
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One forward pass: `parts` are (call, tokens computed before, new tokens), in the scheduler's order."""

    scheduled_s: float
    started_s: float
    ended_s: float
    parts: tuple[tuple[int, int, int], ...]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one call; only the engine writes it. `cached_tokens`: found when it first began."""

    started_s: float | None = None
    first_token_s: float | None = None
    ended_s: float | None = None
    cached_tokens: int = 0
    preemptions: int = 0


@dataclass(slots=True, kw_only=True)
class _Request:
    """A call under way; only the engine changes it.

    computed   tokens whose keys and values are there, or will be when the steps under way have ended
    known      tokens of prompt and of the answer so far
    in_flight  tokens of the answer that steps under way will bring
    """

    number: int
    call: Call
    known: int
    computed: int = 0
    in_flight: int = 0
    blocks: list[int] = field(default_factory=list[int])
    keys: list[int] = field(default_factory=list[int])
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def complete(self) -> bool:
        """Whether steps under way bring the last token."""
        return self.known + self.in_flight >= len(self.call.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Steps in order, and the outcome of each call in the order in which calls were given."""

    steps: tuple[Step, ...]
    outcomes: tuple[Outcome, ...]


Seconds = Callable[[Batch], float]
Then = Callable[[int, float], Iterable[Call]]


def replay(
    calls: Iterable[Call], settings: EngineSettings, seconds: Seconds, *, then: Then | None = None
) -> Replay:
    """Run `calls` on one engine whose batches take `seconds`.

    `then(number, ended_s)` gives the calls that follow from the end of a call: the next turn of its session.
    Raises BadRequest for a call that the engine's KV can never hold.
    """
    engine = _Engine(settings, seconds, then or _nothing)
    for call in calls:
        engine.add(call)
    engine.run()
    return Replay(steps=tuple(engine.steps), outcomes=tuple(request.outcome for request in engine.requests))


def _nothing(number: int, ended_s: float) -> Iterable[Call]:
    del number, ended_s
    return ()


class _Engine:
    """vLLM's engine core: its queues, its blocks and its clock."""

    def __init__(self, settings: EngineSettings, seconds: Seconds, then: Then) -> None:
        self.settings = settings
        self.requests: list[_Request] = []
        self.steps: list[Step] = []
        self._seconds = seconds
        self._then = then
        self._pool = BlockPool(settings.kv_blocks - 1, settings.block_tokens)
        self._coming: list[tuple[float, int]] = []
        self._waiting: list[_Request] = []
        self._running: list[_Request] = []
        self._now_s = 0.0
        self._free_s = 0.0  # when the chips have ended what they were given

    def add(self, call: Call) -> None:
        """A call that will arrive at `call.ready_s`."""
        needed = self._pool.blocks_of(len(call.tokens) - 1)
        if needed > self.settings.kv_blocks - 1:
            raise BadRequest(
                f"call {len(self.requests)} needs {needed} blocks of KV; the engine has "
                f"{self.settings.kv_blocks - 1}"
            )
        request = _Request(number=len(self.requests), call=call, known=call.prompt_tokens)
        self.requests.append(request)
        heapq.heappush(self._coming, (call.ready_s, request.number))

    def run(self) -> None:
        """Until nothing waits, runs or comes."""
        under_way: list[Step] = []
        depth = 2 if self.settings.overlapped else 1
        for _ in range(STEPS_MAX):
            self._arrive()
            step = self._schedule()
            if step is not None:
                under_way.append(step)
                self.steps.append(step)
                if len(under_way) < depth:
                    continue
            if under_way:
                ended = under_way.pop(0)
                self._now_s = max(self._now_s, ended.ended_s)
                self._finish(ended)
            elif self._coming:
                self._now_s = max(self._now_s, self._coming[0][0])
            else:
                assert not self._waiting, "what waits fits, as every call fits alone"
                return
        raise AssertionError("a replay has a limit of steps")

    def _arrive(self) -> None:
        while self._coming and self._coming[0][0] <= self._now_s:
            self._waiting.append(self.requests[heapq.heappop(self._coming)[1]])

    def _schedule(self) -> Step | None:
        """The next step, or None where there is nothing to compute."""
        budget = self.settings.batch_tokens_max
        parts: dict[int, tuple[int, int]] = {}
        budget, preempted = self._schedule_running(budget, parts)
        if not preempted:
            self._schedule_waiting(budget, parts)
        if not parts:
            return None
        batch = self._batch(parts)
        for number, (before, new) in parts.items():
            request = self.requests[number]
            request.computed = before + new
            if request.computed == request.known + request.in_flight:
                request.in_flight += 1
        started_s = max(self._now_s, self._free_s)
        self._free_s = started_s + self._seconds(batch)
        return Step(
            scheduled_s=self._now_s,
            started_s=started_s,
            ended_s=self._free_s,
            parts=tuple((number, before, new) for number, (before, new) in parts.items()),
        )

    def _schedule_running(self, budget: int, parts: dict[int, tuple[int, int]]) -> tuple[int, bool]:
        preempted, index = False, 0
        while index < len(self._running) and budget > 0:
            request = self._running[index]
            new = min(request.known + request.in_flight - request.computed, budget)
            if request.complete or new == 0:
                index += 1
                continue
            while not self._allocate(request, request.computed + new):
                last = self._running.pop()
                self._preempt(last)
                preempted = True
                if last is request:
                    return budget, True
            parts[request.number] = (request.computed, new)
            budget -= new
            index += 1
        return budget, preempted

    def _schedule_waiting(self, budget: int, parts: dict[int, tuple[int, int]]) -> None:
        while self._waiting and budget > 0 and len(self._running) < self.settings.sequences_max:
            request = self._waiting[0]
            hits: list[int] = []
            if self.settings.prefix_caching:
                hits = self._pool.find(self._keys(request, request.known), tokens_max=request.known - 1)
            cached = len(hits) * self.settings.block_tokens
            new = min(request.known - cached, budget)
            whole = request.known if self.settings.whole_prompt_fits else cached + new
            if not self._pool.has_room(self._pool.blocks_of(whole) - len(hits), hits):
                return
            self._waiting.pop(0)
            self._pool.hold(hits)
            request.blocks = hits
            fitted = self._allocate(request, cached + new)
            assert fitted, "there was room for as much or more"
            self._running.append(request)
            parts[request.number] = (cached, new)
            budget -= new
            if request.outcome.started_s is None:
                request.outcome.started_s = self._now_s
                request.outcome.cached_tokens = cached

    def _allocate(self, request: _Request, tokens: int) -> bool:
        """Blocks for the first `tokens` of the context; False, and none taken, where there is no room."""
        missing = self._pool.blocks_of(tokens) - len(request.blocks)
        if not self._pool.has_room(missing, ()):
            return False
        request.blocks += self._pool.take(missing)
        self._publish(request, min(tokens, request.known))
        return True

    def _publish(self, request: _Request, tokens: int) -> None:
        """Make full blocks of the first `tokens` findable."""
        if self.settings.prefix_caching:
            self._pool.publish(request.blocks, self._keys(request, tokens))

    def _preempt(self, request: _Request) -> None:
        self._pool.free(request.blocks)
        request.blocks = []
        request.computed = 0
        request.outcome.preemptions += 1
        self._waiting.insert(0, request)

    def _finish(self, step: Step) -> None:
        """Take in what a step brought: the next token of each call whose context it completed."""
        for number, before, new in step.parts:
            request = self.requests[number]
            if before + new < request.known:
                continue
            request.known += 1
            request.in_flight -= 1
            if request.outcome.first_token_s is None:
                request.outcome.first_token_s = self._now_s
            if request.known == len(request.call.tokens):
                self._end(request)
            elif request.blocks:
                self._publish(request, min(request.computed, request.known))

    def _end(self, request: _Request) -> None:
        request.outcome.ended_s = self._now_s
        self._pool.free(request.blocks)
        request.blocks = []
        (self._running if request in self._running else self._waiting).remove(request)
        for call in self._then(request.number, self._now_s):
            self.add(call)

    def _keys(self, request: _Request, tokens: int) -> list[int]:
        """Of the full blocks among the first `tokens`."""
        full = tokens // self.settings.block_tokens
        self._pool.extend_keys(request.keys, request.call.tokens, full)
        return request.keys[:full]

    def _batch(self, parts: dict[int, tuple[int, int]]) -> Batch:
        """A sequence that computes one token of which all others are at hand decodes; others are prompts."""
        prefills: list[Prefill] = []
        decodes: list[Decode] = []
        for before, new in parts.values():
            if new == 1 and before > 0:
                decodes.append(Decode(context_tokens=before + 1))
            else:
                prefills.append(Prefill(new_tokens=new, cached_tokens=before))
        return Batch(prefills=tuple(prefills), decodes=tuple(decodes))
