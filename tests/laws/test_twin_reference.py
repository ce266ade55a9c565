"""The kernel and the block-exact reference of vLLM's scheduler agree: same batches, same hits, same times.

The kernel differs on purpose in this, and worlds here are made so that it does not matter, or the reference
is told: a partial block is free as soon as nobody uses it; two calls that compute the same tokens hold them
once; what a call generates is found by others once its answer is complete.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fleets import column, play, pool, table
from tests.twin_reference import refer
from tests.twin_workloads import small_workloads

from perdure.traces.programs import Programs
from perdure.twin.reference import EngineSettings

BLOCK = 4


def agree(
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    *,
    spare_blocks: int,
    batch: int,
    sequences: int,
) -> None:
    """Fail where kernel and reference differ in what is found, computed or set back, and when.

    `spare_blocks` is how many more there are than the largest context takes.
    """
    largest = int((programs.prompt_tokens + programs.output_tokens).max())
    blocks = spare_blocks + -(-largest // BLOCK)
    done, outcomes = refer(
        programs,
        table(),
        EngineSettings(
            kv_blocks=blocks + 1,
            block_tokens=BLOCK,
            batch_tokens_max=max(batch, sequences),
            sequences_max=sequences,
            overlapped=False,
        ),
        monkeypatch,
    )
    world = play(
        programs,
        [pool(blocks=blocks, block_tokens=BLOCK, sequences=sequences, batch=max(batch, sequences))],
        preemptions_max=1 << 30,
    )
    assert column(world, "cached").tolist() == [one.cached_tokens for one in outcomes]
    assert column(world, "preempted").tolist() == [one.preemptions for one in outcomes]
    for name, times in (
        ("started_s", [one.started_s for one in outcomes]),
        ("first_s", [one.first_token_s for one in outcomes]),
        ("ended_s", [one.ended_s for one in outcomes]),
    ):
        np.testing.assert_allclose(column(world, name), np.array(times, float), rtol=1e-9, atol=1e-9)
    replica = world.replicas[0]
    assert replica.steps == len(done.steps)
    assert replica.output_tokens == programs.output_tokens.sum()
    assert replica.preemptions == sum(one.preemptions for one in outcomes)


small = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@small
@given(programs=small_workloads(), batch=st.integers(4, 40), sequences=st.integers(1, 6))
def test_with_room_for_all_the_kernel_does_what_vllm_does(
    programs: Programs, batch: int, sequences: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: without KV pressure the kernel finds, computes and ends what the reference does, when it does."""
    agree(programs, monkeypatch, spare_blocks=4096, batch=batch, sequences=sequences)


@small
@given(
    programs=small_workloads(tokens_max=24),
    spare_blocks=st.integers(0, 8),
    batch=st.integers(4, 40),
    sequences=st.integers(2, 6),
)
def test_short_of_room_the_kernel_evicts_and_sets_back_as_vllm_does(
    programs: Programs, spare_blocks: int, batch: int, sequences: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: with too few blocks the kernel evicts and preempts what the reference does, when it does."""
    agree(programs, monkeypatch, spare_blocks=spare_blocks, batch=batch, sequences=sequences)
