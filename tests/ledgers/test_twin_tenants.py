"""Quotas, priorities and swapping, checked on paper."""

from dataclasses import replace

import pytest
from tests.paper_pool import BLOCK_TOKENS, KV_BYTES, check_ended, paper_pool, simulated

from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.traces.programs import Programs
from perdure.traces.sessions import ProgramsBuilder, Turn
from perdure.twin.fleet_text import parse_pool
from perdure.twin.pool import Engine, Tier
from perdure.twin.tenant_text import parse_priorities, parse_quotas
from perdure.twin.world import Options


def of_tenants(*tenants: str, output: int = 11, apart_s: float = 0.0) -> Programs:
    """A call of each of them, with 1,000 tokens, one after the other."""
    builder = ProgramsBuilder()
    for number, tenant in enumerate(tenants):
        builder.program(number * apart_s, tenant)
        session = builder.session("paper")
        builder.turn(session, Turn(kept_tokens=0, new_tokens=1000, output_tokens=output, gap_s=0.0))
    return builder.build()


def test_a_tenant_has_no_more_under_way_than_its_quota() -> None:
    """Of three calls of acme with quota 1, each begins when the one before has ended; zeta's runs at once."""
    programs = of_tenants("acme", "acme", "acme", "zeta")
    world = simulated(programs, paper_pool(), options=Options(quotas=(1, None)))
    turns = world.turns
    assert turns.started_s[3] == turns.started_s[0] == 0.0
    assert turns.started_s[1] == pytest.approx(turns.ended_s[0])
    assert turns.started_s[2] == pytest.approx(turns.ended_s[1])
    assert turns.ready_s.tolist() == [0.0] * 4
    check_ended(world)


def test_a_quota_counts_calls_that_fail() -> None:
    """A call that ends for want of preemptions gives its place to the next."""
    programs = of_tenants("acme", "acme", "acme", output=600)
    world = simulated(programs, paper_pool(kv_tokens=2600), options=Options(quotas=(2,), preemptions_max=0))
    assert not (world.turns.outcome == 0).any()
    assert (world.turns.outcome > 1).any()


def test_who_is_less_urgent_gives_way() -> None:
    """Three calls outgrow the KV; the one of lower priority is set back, though it was there first."""
    programs = of_tenants("slow", "fast", "fast", output=400, apart_s=0.2)
    pool = paper_pool(kv_tokens=3500)
    plain = simulated(programs, pool)
    urgent = simulated(programs, pool, options=Options(priorities=(0, 1)))
    assert plain.turns.preempted[0] == 0
    assert plain.turns.preempted[2] > 0
    assert urgent.turns.preempted[0] > 0
    assert not urgent.turns.preempted[1:].any()
    check_ended(urgent)


def test_a_swapped_call_comes_back_without_being_computed_again() -> None:
    """Recomputing costs the evicted prompt once more; swapping moves its whole blocks down and up again."""
    programs = of_tenants("all", "all", "all", output=400)
    host = Tier(name="host", size_bytes=1e12, read_bytes_per_s=1e10, write_bytes_per_s=1e10, latency_s=1e-5)
    engine = Engine(sequences_max=8, batch_tokens_max=8192, block_tokens=BLOCK_TOKENS, swaps=True)
    again = simulated(programs, paper_pool(kv_tokens=3500))
    swaps = simulated(programs, replace(paper_pool(kv_tokens=3500, engine=engine), tiers=(host,)))
    assert swaps.turns.preempted.sum() > 0
    assert again.replicas[0].computed_tokens > 3000 + 100
    assert swaps.replicas[0].computed_tokens <= 3000 + BLOCK_TOKENS * int(swaps.turns.preempted.sum())
    below = swaps.holders[2]
    assert below.written_bytes >= 1000 * swaps.holders[1].kv_bytes_per_token
    assert below.read_bytes >= 992 * KV_BYTES  # all of it, not just what others wanted
    check_ended(swaps)


def test_names_and_numbers_of_tenants_are_checked() -> None:
    """The message names a tenant that there is, and the limits."""
    assert parse_quotas(["zeta=3"], ("acme", "zeta")) == (None, 3)
    assert parse_priorities(["acme=-1"], ("acme", "zeta")) == (-1, 0)
    for text in ("acem=3", "acme=0", "acme=many", "acme"):
        with pytest.raises(BadRequest, match="acme"):
            parse_quotas([text], ("acme", "zeta"))


def test_swapping_needs_a_tier() -> None:
    """Without host memory there is nothing to swap to, and the message says so."""
    with pytest.raises(BadRequest, match="host=SIZE"):
        parse_pool("h200x8/llama-3.1-8b:preempt=swap", load_catalog())
