"""The block-exact reference of vLLM's scheduler: what holds for any calls."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from perdure.models.batch import Batch
from perdure.twin.reference import Call, EngineSettings, Replay, replay

BLOCK = 4


def seconds(batch: Batch) -> float:
    """A step of one second, and a hundredth for each token."""
    return 1.0 + 0.01 * batch.new_tokens


@st.composite
def calls_of(draw: st.DrawFn) -> list[Call]:
    """Calls whose prompts start alike in part, each with an answer of its own."""
    shared = list(range(100))
    found: list[Call] = []
    for number in range(draw(st.integers(1, 8))):
        alike, own = draw(st.integers(0, 24)), draw(st.integers(1, 16))
        answer = draw(st.integers(1, 12))
        fresh = range(1000 * (number + 1), 1000 * (number + 1) + own + answer)
        tokens = (*shared[:alike], *fresh)
        found.append(Call(ready_s=draw(st.floats(0, 30)), tokens=tokens, prompt_tokens=len(tokens) - answer))
    return found


settings_of = st.builds(
    EngineSettings,
    kv_blocks=st.integers(15, 40),
    block_tokens=st.just(BLOCK),
    batch_tokens_max=st.integers(4, 64),
    sequences_max=st.integers(1, 6),
    overlapped=st.booleans(),
    prefix_caching=st.booleans(),
    whole_prompt_fits=st.booleans(),
)


@given(calls=calls_of(), settings=settings_of)
def test_every_call_is_computed_whole_and_once_unless_set_back(
    calls: list[Call], settings: EngineSettings
) -> None:
    """Law: tokens found and computed of a call that was never set back are its context, but the last one."""
    done = replay(calls, settings, seconds)
    for number, (call, outcome) in enumerate(zip(calls, done.outcomes, strict=True)):
        computed = sum(new for step in done.steps for who, _, new in step.parts if who == number)
        context = len(call.tokens) - 1
        if outcome.preemptions == 0:
            assert outcome.cached_tokens + computed == context
        else:
            assert computed >= context - call.prompt_tokens - BLOCK


@given(calls=calls_of(), settings=settings_of)
def test_steps_keep_their_limits_and_chunks_follow_each_other(
    calls: list[Call], settings: EngineSettings
) -> None:
    """Law: no step is larger than allowed, and none starts before the one before it has ended."""
    done = replay(calls, settings, seconds)
    assert all(sum(new for *_, new in step.parts) <= settings.batch_tokens_max for step in done.steps)
    assert all(len(step.parts) <= settings.sequences_max for step in done.steps)
    for earlier, later in zip(done.steps, done.steps[1:], strict=False):
        assert later.started_s >= earlier.ended_s
        assert later.scheduled_s <= later.started_s
    _check_progress(done, len(calls))


@given(calls=calls_of(), settings=settings_of)
def test_only_whole_blocks_that_were_computed_before_are_found(
    calls: list[Call], settings: EngineSettings
) -> None:
    """Law: what a call finds is whole blocks, some earlier call's prefix, and never its whole prompt."""
    done = replay(calls, settings, seconds)
    for number, (call, outcome) in enumerate(zip(calls, done.outcomes, strict=True)):
        assert outcome.cached_tokens % BLOCK == 0
        assert outcome.cached_tokens < call.prompt_tokens
        others = (other for place, other in enumerate(calls) if place != number)
        alike = max((_common(call.tokens, other.tokens) for other in others), default=0)
        assert outcome.cached_tokens <= (alike if settings.prefix_caching else 0)


@given(calls=calls_of(), settings=settings_of)
def test_times_of_a_call_are_in_order(calls: list[Call], settings: EngineSettings) -> None:
    """Law: a call begins after it came, and its last token is not before its first."""
    for call, outcome in zip(calls, replay(calls, settings, seconds).outcomes, strict=True):
        assert outcome.started_s is not None
        assert outcome.first_token_s is not None
        assert outcome.ended_s is not None
        assert call.ready_s <= outcome.started_s < outcome.first_token_s <= outcome.ended_s


@given(calls=calls_of(), settings=settings_of)
def test_the_same_replay_twice_is_the_same(calls: list[Call], settings: EngineSettings) -> None:
    """Law: a replay is a pure function of calls, settings and prices."""
    assert replay(calls, settings, seconds) == replay(calls, settings, seconds)


def _check_progress(done: Replay, calls: int) -> None:
    """Each part goes on where the call's last one ended, or starts anew after the call was set back."""
    at: list[int | None] = [None] * calls
    restarts = [0] * calls
    for step in done.steps:
        for number, before, new in step.parts:
            if at[number] is not None and before != at[number]:
                restarts[number] += 1
            at[number] = before + new
    for number, outcome in enumerate(done.outcomes):
        assert restarts[number] <= outcome.preemptions


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
