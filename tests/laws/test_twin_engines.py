"""What holds on engines of every kind, under pressure: calls, tokens and KV are conserved."""

import math
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.paper_pool import BLOCK_TOKENS, check_ended, paper_pool, simulated
from tests.workloads import workloads

from perdure.traces.programs import Programs
from perdure.twin.fault import Fault
from perdure.twin.kernel_records import DONE, OPEN, REPLICA_LOST
from perdure.twin.pool import Engine, Pool
from perdure.twin.world import Options


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


TIMES_S = st.floats(0, 3)
SPELLS_S = st.one_of(TIMES_S, st.just(math.inf))


@st.composite
def all_faults(draw: st.DrawFn, replicas: int) -> tuple[Fault, ...]:
    """Replicas that break for a while or for ever, are noticed late, slow down, or are restarted in turn."""
    made: list[Fault] = []
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, replicas - 1))
        kind = draw(st.sampled_from(["break", "slow", "restart"]))
        made.append(
            Fault(
                what=kind,
                first_replica=first,
                replicas=draw(st.integers(1, replicas - first)) if kind == "break" else 1,
                at_s=draw(TIMES_S),
                for_s=draw(TIMES_S if kind == "restart" else SPELLS_S),
                noticed_s=draw(TIMES_S) if kind == "break" else 0.0,
                slowness=draw(st.floats(1, 4)) if kind == "slow" else None,
                drain_s=draw(TIMES_S) if kind == "restart" else None,
            )
        )
    return tuple(made)


@given(programs=workloads(), small=smalls, draw=st.data())
@settings(max_examples=60)
def test_what_breaks_loses_no_call_and_no_block(
    programs: Programs, small: Small, draw: st.DataObject
) -> None:
    """Law: calls of broken replicas end elsewhere, later or by name; what nobody holds is not counted."""
    faults = draw.draw(all_faults(small.prefills + small.decodes))
    on_loss = draw.draw(st.sampled_from(["resume", "restart", "end"]))
    world = simulated(programs, small.pool, options=Options(faults=faults, on_loss=on_loss))
    assert not (world.replicas.down_s < 0).any()
    assert (world.replicas.closed >= 0).all()
    if all(fault.for_s < math.inf for fault in faults) and world.clock[0].end_s == np.inf:
        check_ended(world)
        assert (world.programs.open_sessions == 0).all()
        assert on_loss == "end" or not (world.turns.outcome == REPLICA_LOST).any()


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
