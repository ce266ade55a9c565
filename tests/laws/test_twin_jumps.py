"""Runs of decode steps that are jumped over are the same steps, one by one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fleets import column, play, policies, pool, table, tier
from tests.twin_workloads import small_workloads

from perdure.models.batch import Span
from perdure.traces.programs import Programs

WINDOWS = ((Span(),), (Span(), Span(limit_entries=48, every_tokens=1)))


@settings(max_examples=25)
@given(
    programs=small_workloads(tokens_max=40, tools=True),
    blocks=st.integers(60, 140),
    spans=st.sampled_from(WINDOWS),
    lower=st.booleans(),
)
def test_jumped_and_single_steps_are_the_same_run(
    programs: Programs, blocks: int, spans: tuple[Span, ...], lower: bool
) -> None:
    """Law: with runs of one step each, every call is found, begun and ended as with runs of any length."""
    tiers = (tier(blocks=30, bytes_per_s=2e4),) if lower else ()
    engines = pool(blocks=blocks, sequences=3, batch=32, tiers=tiers, costs=table(spans=spans))
    jumped = play(programs, [engines], policies(order="plas", retain="ttl"))
    single = play(programs, [engines], policies(order="plas", retain="ttl"), run_steps_max=1)
    for name in ("outcome", "cached", "loaded", "preempted"):
        assert column(jumped, name).tolist() == column(single, name).tolist(), name
    for name in ("ready_s", "started_s", "first_s", "ended_s"):
        np.testing.assert_allclose(column(jumped, name), column(single, name), rtol=1e-9, atol=1e-9)
    assert jumped.replicas[0].steps == single.replicas[0].steps
    assert single.replicas[0].batches == single.replicas[0].steps
