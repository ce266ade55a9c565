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

from perdure.traces.programs import Programs
from perdure.traces.sessions import ProgramsBuilder, Turn
from perdure.twin.reference import EngineSettings

BLOCK = 4
# Gaps and arrivals of no common measure: two things never happen at the same time by chance.
ODD_S = (0.0, 0.0137, 0.1731, 0.9377, 3.1871, 11.0113)


@st.composite
def small_workloads(draw: st.DrawFn, *, tokens_max: int = 14) -> Programs:
    """Programs with forks, joins, shared prefixes, edited contexts; prompts end in tokens of their own."""
    builder = ProgramsBuilder()
    arrival_s = 0.0
    for number in range(draw(st.integers(1, 5))):
        arrival_s += draw(st.sampled_from(ODD_S)) + 1e-5 * number
        builder.program(arrival_s)
        started: list[int] = []
        for _ in range(draw(st.integers(1, 3))):
            started.append(_session(draw, builder, started, tokens_max))
    return builder.build()


def _session(draw: st.DrawFn, builder: ProgramsBuilder, started: list[int], tokens_max: int) -> int:
    parent = draw(st.sampled_from([None, *started])) if started else None
    fork = prefix = None
    if parent is not None:
        fork = parent, draw(st.integers(0, len(builder.sessions[parent].turns) - 1))
        turn = builder.sessions[parent].turns[fork[1]]
        reach = turn.kept_tokens + turn.new_tokens + turn.output_tokens
        prefix = parent, draw(st.integers(0, reach))
    elif builder.sessions and draw(st.booleans()):
        other = draw(st.integers(0, len(builder.sessions) - 1))
        first = builder.sessions[other].turns[0]
        prefix = other, draw(st.integers(0, first.kept_tokens + first.new_tokens))
    session = builder.session("model", fork=fork, prefix=prefix)
    if fork is not None and fork[1] + 1 < len(builder.sessions[fork[0]].turns) and draw(st.booleans()):
        builder.sessions[session].join_turn = fork[1] + 1
    context = prefix[1] if prefix else 0
    for number in range(draw(st.integers(1, 3))):
        edited = number > 0 and draw(st.integers(0, 3)) == 0
        kept = draw(st.integers(0, context)) if edited else context
        new, output = draw(st.integers(1, tokens_max)), draw(st.integers(1, tokens_max))
        gap_s = draw(st.sampled_from(ODD_S)) + 1e-4 * session + 1e-6 * number
        builder.turn(session, Turn(kept_tokens=kept, new_tokens=new, output_tokens=output, gap_s=gap_s))
        context = kept + new + output
    return session


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


small = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


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
