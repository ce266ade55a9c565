"""The block-exact reference of vLLM's scheduler, step by step, on cases that can be followed on paper."""

import pytest

from perdure.errors import BadRequest
from perdure.models.batch import Batch
from perdure.twin.reference import Call, EngineSettings, replay


def one_second(batch: Batch) -> float:
    """Every step takes a second."""
    del batch
    return 1.0


def call(ready_s: float, prompt: range, answer: int) -> Call:
    """A call with that prompt; tokens of answers are like nothing else."""
    fresh = range(10_000 * (prompt.stop + 1), 10_000 * (prompt.stop + 1) + answer)
    return Call(ready_s=ready_s, tokens=(*prompt, *fresh), prompt_tokens=len(prompt))


def parts(calls: list[Call], settings: EngineSettings) -> list[tuple[tuple[int, int, int], ...]]:
    """What each step computes."""
    return [step.parts for step in replay(calls, settings, one_second).steps]


def test_a_prompt_is_cut_to_the_budget_after_running_calls_took_theirs() -> None:
    """A budget of 8 gives a prompt of 12 tokens 8, then 4; a second prompt gets what is left of each step."""
    settings = EngineSettings(kv_blocks=100, block_tokens=4, batch_tokens_max=8, overlapped=False)
    calls = [call(0, range(100, 112), 3), call(0, range(200, 206), 2)]
    assert parts(calls, settings) == [
        ((0, 0, 8),),
        ((0, 8, 4), (1, 0, 4)),
        ((0, 12, 1), (1, 4, 2)),
        ((0, 13, 1), (1, 6, 1)),
    ]


def test_a_call_that_comes_in_during_a_step_joins_the_next_but_one_where_steps_overlap() -> None:
    """Sent at 0.5, while step 1 runs and step 2 is scheduled: it runs in step 3, from 2 to 3 seconds.

    Without overlap it runs in step 2.
    """
    calls = [call(0, range(100, 104), 9), call(0.5, range(200, 204), 1)]
    for overlapped, first_s in ((True, 3.0), (False, 2.0)):
        settings = EngineSettings(kv_blocks=100, block_tokens=4, overlapped=overlapped)
        assert replay(calls, settings, one_second).outcomes[1].first_token_s == first_s


def test_a_prefix_is_found_in_whole_blocks_and_one_token_is_left_to_compute() -> None:
    """Of a prompt of 8 that was there before, blocks of 4: the second would leave nothing to compute."""
    settings = EngineSettings(kv_blocks=100, block_tokens=4, overlapped=False)
    calls = [call(0, range(100, 108), 1), call(5, range(100, 108), 1), call(9, range(100, 110), 1)]
    cached = [outcome.cached_tokens for outcome in replay(calls, settings, one_second).outcomes]
    assert cached == [0, 4, 8]


def test_the_end_of_a_context_is_forgotten_before_its_beginning() -> None:
    """Six blocks: a call leaves four behind, the next one takes five, and the third finds the first block."""
    settings = EngineSettings(kv_blocks=7, block_tokens=4, overlapped=False)
    calls = [call(0, range(100, 116), 1), call(5, range(200, 220), 1), call(9, range(100, 116), 1)]
    cached = [outcome.cached_tokens for outcome in replay(calls, settings, one_second).outcomes]
    assert cached == [0, 0, 4]


def test_where_room_runs_out_the_last_call_is_set_back_and_finds_what_was_not_taken() -> None:
    """Four blocks for two calls of 8 tokens and answers: the second gives way when the first wants a third.

    It waits until the first has ended, then finds its first block, as the first call took the second one.
    """
    settings = EngineSettings(kv_blocks=5, block_tokens=4, overlapped=False)
    calls = [call(0, range(100, 108), 4), call(0, range(200, 208), 4)]
    done = replay(calls, settings, one_second)
    assert [outcome.preemptions for outcome in done.outcomes] == [0, 1]
    assert [step.parts for step in done.steps] == [
        ((0, 0, 8), (1, 0, 8)),
        ((0, 8, 1),),
        ((0, 9, 1),),
        ((0, 10, 1),),
        ((1, 4, 5),),
        ((1, 9, 1),),
        ((1, 10, 1),),
    ]


def test_a_call_that_was_set_back_goes_before_those_that_wait() -> None:
    """As above, with a third call that had no room: once the first has ended, the second comes before it."""
    settings = EngineSettings(kv_blocks=5, block_tokens=4, overlapped=False)
    calls = [call(0, range(100, 108), 4), call(0, range(200, 208), 4), call(0, range(300, 303), 1)]
    steps = parts(calls, settings)
    assert steps[4] == ((1, 4, 5), (2, 0, 3))


def test_a_call_begins_only_if_all_of_its_prompt_has_room() -> None:
    """Five blocks, of which the first call takes two: a prompt of four waits for its end, or is begun."""
    calls = [call(0, range(100, 108), 4), call(0, range(200, 216), 1)]
    for whole, started_s in ((True, 4.0), (False, 0.0)):
        settings = EngineSettings(
            kv_blocks=6, block_tokens=4, batch_tokens_max=12, overlapped=False, whole_prompt_fits=whole
        )
        assert replay(calls, settings, one_second).outcomes[1].started_s == started_s


def test_the_next_turn_of_a_session_comes_when_the_last_one_has_ended() -> None:
    """A call that ends at 2 seconds is followed by one a second later, which goes on from its context."""
    settings = EngineSettings(kv_blocks=100, block_tokens=4, overlapped=False)
    first = call(0, range(100, 107), 2)

    def then(number: int, ended_s: float) -> list[Call]:
        tokens = (*first.tokens, *range(500, 508))
        return [] if number else [Call(ready_s=ended_s + 1, tokens=tokens, prompt_tokens=len(tokens) - 1)]

    done = replay([first], settings, one_second, then=then)
    assert done.outcomes[0].ended_s == 2.0
    assert done.outcomes[1].started_s == 3.0
    assert done.outcomes[1].cached_tokens == 8


def test_a_call_that_can_never_fit_is_refused() -> None:
    """Nine blocks are asked of six."""
    with pytest.raises(BadRequest, match="call 0 needs 9 blocks of KV; the engine has 6"):
        replay([call(0, range(100, 133), 4)], EngineSettings(kv_blocks=7, block_tokens=4), one_second)
