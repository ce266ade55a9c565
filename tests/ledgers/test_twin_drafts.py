"""Speculative decoding checked on paper: what a step costs, and how many tokens it makes."""

import pytest
from tests.paper_pool import BLOCK_TOKENS, STEP_S, TOKEN_S, calls, check_ended, paper_pool, simulated

from perdure.twin.pool import Engine, Pool
from perdure.twin.pool_make import make_pool


def drafting(drafts: int, accept: float) -> Pool:
    return paper_pool(
        engine=Engine(
            sequences_max=8,
            batch_tokens_max=8192,
            block_tokens=BLOCK_TOKENS,
            draft_tokens=drafts,
            accept=accept,
        )
    )


@pytest.mark.parametrize(("accept", "made"), [(0.0, 1.0), (0.5, 1.875), (0.7, 2.533), (1.0, 4.0)])
def test_a_step_makes_a_token_and_the_drafts_before_the_first_wrong_one(accept: float, made: float) -> None:
    """Three drafts, each right with p: 1 + p + p^2 + p^3 tokens a step, which checks four."""
    world = simulated(calls((1000, 1001)), drafting(3, accept))
    turn = world.turns[0]
    tpot_s = (turn.ended_s - turn.first_s) / 1000
    assert tpot_s == pytest.approx((STEP_S + 4 * TOKEN_S) / made, rel=1e-4)
    check_ended(world)


def test_steps_with_prompts_in_them_make_as_many() -> None:
    """While a prompt of 200,000 tokens is computed in 25 steps, an answer of 26 goes on at 2.5 a step."""
    world = simulated(
        calls((100, 27), (200_000, 2), arrival_s=lambda number: 0.001 * number), drafting(3, 0.7)
    )
    first, second = world.turns
    steps = (first.ended_s - first.first_s) / (STEP_S + 8192 * TOKEN_S)
    assert 26 / 2.533 <= steps <= 26 / 2.533 + 1
    assert second.ended_s > first.ended_s
    assert world.replicas[0].output_tokens == 27 + 2
    check_ended(world)


def test_a_batch_that_memory_bounds_gains_the_whole_factor() -> None:
    """On an H200 one decode of Llama-3.1-8B reads weights; three drafts at 0.7 make TPOT 2.5 times less."""
    lengths = [(1024, 257)]
    plain = simulated(calls(*lengths), make_pool("h200/llama-3.1-8b", {})).turns
    drafts = simulated(calls(*lengths), make_pool("h200/llama-3.1-8b:draft=3,accept=0.7", {})).turns
    ratio = (plain.ended_s - plain.first_s).mean() / (drafts.ended_s - drafts.first_s).mean()
    assert ratio == pytest.approx(2.533, rel=0.06)
