"""What holds on engines of every kind, under pressure: calls, tokens and KV are conserved."""

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.traces.programs import Programs
from perdure.twin.kernel_records import DONE, OPEN
from perdure.twin.pool import Engine, Pool

from ..paper_pool import BLOCK_TOKENS, check_ended, paper_pool, simulated
from ..workloads import workloads


class Small(NamedTuple):
    """Few replicas of small engines: short of slots, of tokens in a batch, and of KV."""

    prefills: int
    decodes: int
    kv_tokens: int
    sequences: int
    batch_tokens: int
    drafts: int
    accept: float
    prefill_cache: bool

    @property
    def pool(self) -> Pool:
        engine = Engine(
            sequences_max=self.sequences,
            batch_tokens_max=self.batch_tokens,
            block_tokens=BLOCK_TOKENS,
            draft_tokens=self.drafts,
            accept=self.accept,
            prefill_cache=self.prefill_cache,
        )
        return paper_pool(
            replicas=self.prefills + self.decodes,
            prefill_replicas=self.prefills,
            kv_tokens=self.kv_tokens,
            engine=engine,
        )


smalls = st.builds(
    Small,
    prefills=st.integers(0, 2),
    decodes=st.integers(1, 2),
    kv_tokens=st.sampled_from([4_000, 9_000, 100_000]),
    sequences=st.integers(1, 4),
    batch_tokens=st.sampled_from([64, 700, 8192]),
    drafts=st.sampled_from([0, 1, 4]),
    accept=st.floats(0, 1),
    prefill_cache=st.booleans(),
)


@given(
    programs=workloads(),
    small=smalls,
    retain=st.sampled_from(["lru", "infercept"]),
    place=st.sampled_from(["least_load", "soft_affinity"]),
)
@settings(max_examples=60)
def test_calls_tokens_and_kv_are_conserved(programs: Programs, small: Small, retain: str, place: str) -> None:
    """Law: when all is done nobody holds anything, and what was answered was generated, once at least."""
    world = simulated(programs, small.pool, retain=retain, place=place)
    turns = world.turns
    done = turns.outcome == DONE
    assert (turns.first_s[done] >= turns.started_s[done]).all()
    assert (turns.ended_s[done] >= turns.first_s[done] + turns.move_s[done] - 1e-9).all()
    generated = world.replicas.output_tokens.sum()
    assert generated >= turns.output[done].sum()
    if not (turns.preempted.any() or (turns.outcome > DONE).any() or (turns.outcome == OPEN).any()):
        assert generated == turns.output.sum()
    if world.clock[0].end_s == np.inf:
        check_ended(world)
        assert (world.programs.open_sessions == 0).all()
